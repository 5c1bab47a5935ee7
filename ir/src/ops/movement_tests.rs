use super::super::testing::{check_samples, ints, run};
use super::*;
use crate::expr::Symbol;
use crate::graph::Graph;
use crate::ops::{op, single_node_graph};

fn exprs(values: &[i64]) -> Vec<Expr> {
    values.iter().map(|v| (*v).into()).collect()
}

fn n() -> Expr {
    Expr::size(Symbol::new("n"))
}

#[test]
fn moves_by_hand() {
    let x = Tensor::from_i64(vec![2, 3], &[1, 2, 3, 4, 5, 6]);
    let y = run(
        "transpose",
        std::slice::from_ref(&x),
        Attrs::new().with("perm", vec![1i64, 0]),
    );
    assert_eq!(
        (y.shape.clone(), y.to_i64()),
        (vec![3, 2], vec![1, 4, 2, 5, 3, 6])
    );
    let attrs = Attrs::new()
        .with("starts", exprs(&[1, 2]))
        .with("sizes", exprs(&[1, 2]))
        .with("steps", vec![1i64, -2]);
    assert_eq!(
        run("slice", std::slice::from_ref(&x), attrs).to_i64(),
        [6, 4]
    );
    let attrs = Attrs::new().with("repeats", exprs(&[1, 2]));
    assert_eq!(
        run("tile", std::slice::from_ref(&x), attrs).to_i64(),
        [1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6]
    );
    let thin = Tensor::from_i64(vec![2, 1], &[7, 8]);
    assert_eq!(
        run("concat", &[x, thin], Attrs::new().with("axis", 1i64)).to_i64(),
        [1, 2, 3, 7, 4, 5, 6, 8]
    );
}

#[test]
fn pads_by_hand() {
    let pad = |mode: &str, x: &[i64], before: i64, after: i64| {
        let attrs = Attrs::new()
            .with("before", exprs(&[before]))
            .with("after", exprs(&[after]))
            .with("mode", mode);
        run("pad", &[ints(x), Tensor::from_i64(vec![], &[9])], attrs).to_i64()
    };
    assert_eq!(pad("constant", &[1, 2], 1, 2), [9, 1, 2, 9, 9]);
    assert_eq!(pad("edge", &[1, 2, 3], 2, 1), [1, 1, 1, 2, 3, 3]);
    assert_eq!(pad("reflect", &[1, 2, 3], 3, 2), [2, 3, 2, 1, 2, 3, 2, 1]);
    assert_eq!(pad("reflect", &[4], 1, 2), [4, 4, 4, 4]);
    assert_eq!(pad("wrap", &[1, 2, 3], 4, 1), [3, 1, 2, 3, 1, 2, 3, 1]);
    assert_eq!(pad("edge", &[], 1, 1), [0, 0]);
}

#[test]
fn folded_indices_agree_with_the_reference() {
    for mode in ["edge", "reflect", "wrap"] {
        for (extent, at) in (1..5).flat_map(|n| (-9..9).map(move |at| (n, at))) {
            let want = padded_source(mode, at, extent).map(|i| i as i64);
            // So many elements more, and no more than there are.
            let reach = [(-at).max(0), (at - extent + 1).max(0)];
            for more in [reach, [9, 9]] {
                let more = more.map(Expr::from);
                let folded = fold_into(mode, &at.into(), &extent.into(), &more).as_const();
                assert_eq!(folded, want, "{mode} {at} in {extent}");
            }
        }
    }
}

#[test]
fn counts_by_hand() {
    let iota = Attrs::new()
        .with("shape", exprs(&[2, 2]))
        .with("axis", 0i64)
        .with("dtype", DType::F16);
    assert_eq!(run("iota", &[], iota).to_f64(), [0.0, 0.0, 1.0, 1.0]);
    let scalar = |v: f64| Tensor::splat(DType::F32, vec![], v);
    let count = Attrs::new().with("count", exprs(&[3]));
    assert_eq!(
        run("range", &[scalar(1.0), scalar(-0.5)], count).to_f64(),
        [1.0, 0.5, 0.0]
    );
}

fn slice_of_n(start: Expr, size: Expr, step: i64) -> Result<Graph, crate::graph::GraphError> {
    let attrs = Attrs::new()
        .with("starts", vec![start])
        .with("sizes", vec![size])
        .with("steps", vec![step]);
    single_node_graph(
        op("slice"),
        &[TensorType::new(DType::F32, vec![n()])],
        attrs,
    )
}

#[test]
fn symbolic_slices_are_proved_or_refused() {
    assert!(slice_of_n(1.into(), n() - 1, 1).is_ok());
    assert!(slice_of_n(0.into(), n().ceil_div(2), 2).is_ok());
    assert!(slice_of_n(n() - 1, n(), -1).is_ok());
    assert!(slice_of_n(Expr::at_least(&(n() - 3), 0), Expr::at_most(&n(), 3), 1).is_ok());
    assert!(slice_of_n(0.into(), Expr::at_most(&n(), 5), 1).is_ok());
    assert!(slice_of_n(0.into(), 5.into(), 1).is_err());
    assert!(slice_of_n(1.into(), n(), 1).is_err());
    assert!(slice_of_n(n(), n(), -1).is_err());
}

#[test]
fn symbolic_reshape_is_proved_or_refused() {
    let reshape = |shape: Vec<Expr>| {
        let x = TensorType::new(DType::F32, vec![n(), 6.into()]);
        single_node_graph(op("reshape"), &[x], Attrs::new().with("shape", shape))
    };
    assert!(reshape(vec![n() * 2, 3.into()]).is_ok());
    assert!(reshape(vec![n() * 2, 4.into()]).is_err());
}

#[test]
fn samples_evaluate_and_define() {
    check_samples(OPS);
}
