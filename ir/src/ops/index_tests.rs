use super::super::testing::{check_samples, fails, ints, run};
use super::*;
use crate::define::define_task;
use crate::loops::Stmt;
use crate::ops::{op, single_node_graph};
use std::collections::HashSet;

fn matrix() -> Tensor {
    Tensor::from_i64(vec![2, 3], &[1, 2, 3, 4, 5, 6])
}

fn axis(axis: i64) -> Attrs {
    Attrs::new().with("axis", axis)
}

#[test]
fn gathers_by_hand() {
    let y = run("gather", &[matrix(), ints(&[-1, 0])], axis(1));
    assert_eq!(
        (y.shape.clone(), y.to_i64()),
        (vec![2, 2], vec![3, 1, 6, 4])
    );
    let at = Tensor::from_i64(vec![1, 2], &[1, -2]);
    assert_eq!(
        run("gather_elements", &[matrix(), at], axis(0)).to_i64(),
        [4, 2]
    );
    let at = Tensor::from_i64(vec![2, 1], &[2, -3]);
    let y = run(
        "gather_nd",
        &[matrix(), at],
        Attrs::new().with("batch_dims", 1i64),
    );
    assert_eq!((y.shape.clone(), y.to_i64()), (vec![2], vec![3, 4]));
    let at = Tensor::from_i64(vec![1, 1], &[1]);
    let y = run(
        "gather_nd",
        &[matrix(), at],
        Attrs::new().with("batch_dims", 0i64),
    );
    assert_eq!((y.shape.clone(), y.to_i64()), (vec![1, 3], vec![4, 5, 6]));
}

#[test]
fn scatters_by_hand() {
    let scatter = |reduction: &str| {
        let attrs = axis(0).with("reduction", reduction);
        let inputs = [ints(&[1, 2, 3]), ints(&[2, 2, -3]), ints(&[5, 4, 7])];
        run("scatter_elements", &inputs, attrs).to_i64()
    };
    assert_eq!(scatter("none"), [7, 2, 4]);
    assert_eq!(scatter("add"), [8, 2, 12]);
    assert_eq!(scatter("mul"), [7, 2, 60]);
    assert_eq!(scatter("min"), [1, 2, 3]);
    assert_eq!(scatter("max"), [7, 2, 5]);
    let at = Tensor::from_i64(vec![1, 1], &[-1]);
    let updates = Tensor::from_i64(vec![1, 3], &[7, 8, 9]);
    let y = run(
        "scatter_nd",
        &[matrix(), at, updates],
        Attrs::new().with("reduction", "add"),
    );
    assert_eq!(y.to_i64(), [1, 2, 3, 11, 13, 15]);
}

#[test]
fn reverses_by_hand() {
    let attrs = Attrs::new()
        .with("batch_axis", 0i64)
        .with("time_axis", 1i64);
    let y = run("reverse_sequence", &[matrix(), ints(&[2, 3])], attrs);
    assert_eq!(y.to_i64(), [2, 1, 3, 6, 5, 4]);
}

#[test]
fn indices_out_of_range_are_errors() {
    for index in [3, -4, i64::MIN, i64::MAX] {
        assert!(fails("gather", &[matrix(), ints(&[index])], axis(1)));
    }
}

#[test]
fn rows_are_checked_once() {
    let [x, at] = [(DType::F32, 64), (DType::I64, 5)];
    let types = [
        TensorType::new(x.0, vec![9.into(), x.1.into()]),
        TensorType::new(at.0, vec![at.1.into()]),
    ];
    let graph = single_node_graph(op("gather"), &types, axis(0)).expect("it fits");
    let root = graph.node_ids().next().expect("there is a node");
    let kernel = define_task(&graph, root, &HashSet::from([root])).kernel;
    let [Stmt::For(rows)] = &kernel.body[..] else {
        panic!("want one loop, found {:?}", kernel.body)
    };
    let [Stmt::Check { body, .. }] = &rows.body[..] else {
        panic!("want one check per row, found {:?}", rows.body)
    };
    assert!(matches!(&body[..], [Stmt::For(_)]));
}

#[test]
fn samples_evaluate_and_define() {
    check_samples(OPS);
}
