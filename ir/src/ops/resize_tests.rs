use super::super::testing::{check_samples, run};
use super::*;
use crate::define::define_task;
use crate::ops::testing::graph_of;
use std::collections::HashSet;

fn attrs(sizes: &[i64], mode: &str, coordinate: &str, nearest: &str) -> Attrs {
    Attrs::new()
        .with(
            "sizes",
            sizes.iter().map(|n| (*n).into()).collect::<Vec<Expr>>(),
        )
        .with("mode", mode)
        .with("scales", Vec::<f64>::new())
        .with("coordinate", coordinate)
        .with("nearest", nearest)
        .with("cubic_coeff", -0.75)
        .with("exclude_outside", false)
        .with("antialias", false)
        .with("roi", Vec::<f64>::new())
        .with("extrapolation", 0.0)
}

fn vector(values: &[f32]) -> Tensor {
    Tensor::from_f32(vec![values.len()], values)
}

#[test]
fn nearest_by_hand() {
    let y = |size, coordinate, nearest| {
        let attrs = attrs(&[size], "nearest", coordinate, nearest);
        run("resize", &[vector(&[1.0, 2.0, 3.0, 4.0])], attrs).to_f64()
    };
    let doubled = [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0];
    assert_eq!(y(8, "asymmetric", "floor"), doubled);
    assert_eq!(y(8, "half_pixel", "round_prefer_floor"), doubled);
    assert_eq!(
        y(8, "asymmetric", "ceil"),
        [1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 4.0]
    );
    assert_eq!(y(2, "half_pixel", "round_prefer_floor"), [1.0, 3.0]);
    assert_eq!(y(2, "half_pixel", "round_prefer_ceil"), [2.0, 4.0]);
}

#[test]
fn linear_by_hand() {
    let y = |size, coordinate| {
        let attrs = attrs(&[size], "linear", coordinate, "floor");
        run("resize", &[vector(&[0.0, 4.0])], attrs).to_f64()
    };
    assert_eq!(y(4, "half_pixel"), [0.0, 1.0, 3.0, 4.0]);
    assert_eq!(y(4, "asymmetric"), [0.0, 2.0, 4.0, 4.0]);
    assert_eq!(y(5, "align_corners"), [0.0, 1.0, 2.0, 3.0, 4.0]);
    assert_eq!(y(1, "align_corners"), [0.0]);
    assert_eq!(y(1, "pytorch_half_pixel"), [0.0]);
}

#[test]
fn cubic_by_hand() {
    let cubic = attrs(&[4], "cubic", "half_pixel", "floor");
    // Distances 1/4, 3/4, 5/4 and 7/4 weigh 225, 67, -27 and -9 parts in 256; the border repeats.
    let y = run("resize", &[vector(&[0.0, 256.0])], cubic).to_f64();
    assert_eq!(y, [-27.0, 67.0 - 9.0, 225.0 - 27.0, 256.0 + 27.0]);
}

#[test]
fn antialiasing_averages() {
    let attrs = attrs(&[1], "linear", "half_pixel", "floor").with("antialias", true);
    // Coordinate 3/2; weights 5/8, 7/8, 7/8, 5/8 and twice 3/8 and 1/8 beyond the border.
    let y = run("resize", &[vector(&[8.0, 0.0, 0.0, 0.0])], attrs).to_f64();
    assert_eq!(y, [8.0 * (5.0 / 8.0 + 3.0 / 8.0 + 1.0 / 8.0) / 4.0]);
}

#[test]
fn crops_extrapolate() {
    let attrs = attrs(&[3], "linear", "tf_crop_and_resize", "floor")
        .with("roi", vec![0.0, 2.0])
        .with("extrapolation", -1.0);
    let y = run("resize", &[vector(&[1.0, 2.0, 3.0])], attrs).to_f64();
    assert_eq!(y, [1.0, 3.0, -1.0]);
}

#[test]
fn whole_factors_need_no_table() {
    let x = Tensor::from_f32(vec![1, 2, 3, 3], &[0.0; 18]);
    let attrs = attrs(&[1, 2, 6, 9], "nearest", "asymmetric", "floor");
    let graph = graph_of("resize", &[x], attrs);
    let root = graph.node_ids().next().expect("there is a node");
    let task = define_task(&graph, root, &HashSet::from([root]));
    assert_eq!(task.kernel.buffers.len(), 2);
    assert!(task.sites.is_empty());
}

#[test]
fn samples_evaluate_and_define() {
    check_samples(OPS);
}
