use super::super::testing::{check_samples, run};
use super::*;
use crate::define::define_task;
use crate::loops::interp::run_kernel;
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

/// 1.5 over the scale is 4.9999998, or 5 in single precision.
#[test]
fn nearest_coordinates_are_of_single_precision() {
    let x = vector(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
    let attrs = attrs(&[3], "nearest", "half_pixel", "round_prefer_ceil");
    let attrs = attrs.with("scales", vec![f64::from(0.3f32)]);
    assert_eq!(run("resize", &[x], attrs).to_f64(), [1.0, 5.0, 8.0]);
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

/// Long axes, with scales of few and of many digits, and none: loops against the reference.
#[test]
fn known_ratios_need_no_table() {
    let x: Vec<f32> = (0..47 * 3).map(|k| (k * k % 101) as f32 - 50.0).collect();
    let x = Tensor::from_f32(vec![3, 47], &x);
    for mode in MODES {
        for coordinate in COORDINATES {
            for (scale, size) in [(Some(1.7f32), 79), (Some(0.3), 14), (None, 31), (None, 94)] {
                let scales = scale.map(|s| vec![1.0, f64::from(s)]);
                let attrs = attrs(&[3, size], mode, coordinate, "round_prefer_floor")
                    .with("scales", scales.unwrap_or_default())
                    .with("roi", vec![0.0, 0.1, 1.0, 1.2]);
                let want = run("resize", std::slice::from_ref(&x), attrs.clone());
                let graph = graph_of("resize", std::slice::from_ref(&x), attrs);
                let root = graph.node_ids().next().expect("there is a node");
                let task = define_task(&graph, root, &HashSet::from([root]));
                let tables = *coordinate == "tf_crop_and_resize";
                assert_eq!(!task.sites.is_empty(), tables, "{mode} {coordinate} {size}");
                let y = run_kernel(&task.kernel, &[], std::slice::from_ref(&x));
                let y = y.expect("the kernel runs").remove(0);
                let pairs = y.to_f64().into_iter().zip(want.to_f64());
                let most = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                let bound = if *mode == "nearest" { 0.0 } else { 1e-4 };
                assert!(most <= bound, "{mode} {coordinate} {size}: {most}");
            }
        }
    }
}

#[test]
fn samples_evaluate_and_define() {
    check_samples(OPS);
}
