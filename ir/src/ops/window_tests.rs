use super::super::testing::{check_samples, run};
use super::super::{reduce, row};
use super::*;

fn line(values: &[f32]) -> Tensor {
    Tensor::from_f32(vec![1, 1, values.len()], values)
}

fn attrs(kernel: i64, stride: i64, before: i64, after: i64) -> Attrs {
    Attrs::new()
        .with("kernel", vec![kernel])
        .with("strides", vec![stride])
        .with("dilations", vec![1i64])
        .with("pads_before", vec![before])
        .with("pads_after", vec![after])
}

#[test]
fn maxima_by_hand() {
    let x = line(&[1.0, 5.0, 5.0, -4.0]);
    let y = run("pool_max", std::slice::from_ref(&x), attrs(2, 1, 1, 0));
    assert_eq!(y.to_f64(), [1.0, 5.0, 5.0, 5.0]);
    let at = attrs(2, 1, 1, 0).with("storage_order", 0i64);
    let y = run("pool_argmax", &[x], at);
    assert_eq!(y.to_i64(), [0, 1, 1, 2]);
}

#[test]
fn positions_count_within_the_whole_tensor() {
    let x = Tensor::from_f32(vec![1, 2, 2, 2], &[1.0, 2.0, 9.0, 3.0, 0.0, 7.0, 1.0, 2.0]);
    let window = |order: i64| {
        Attrs::new()
            .with("kernel", vec![2i64, 2])
            .with("strides", vec![1i64, 1])
            .with("dilations", vec![1i64, 1])
            .with("pads_before", vec![0i64, 0])
            .with("pads_after", vec![0i64, 0])
            .with("storage_order", order)
    };
    let y = |order| run("pool_argmax", std::slice::from_ref(&x), window(order)).to_i64();
    assert_eq!(y(0), [2, 5]);
    assert_eq!(y(1), [1, 6]);
}

#[test]
fn averages_by_hand() {
    let x = line(&[1.0, 2.0, 3.0]);
    let mean = |window: Attrs, extra: i64, include: bool| {
        let attrs = window
            .with("ceil_pads", vec![extra])
            .with("count_include_pad", include);
        run("pool_avg", std::slice::from_ref(&x), attrs).to_f64()
    };
    assert_eq!(mean(attrs(3, 1, 1, 1), 0, false), [1.5, 2.0, 2.5]);
    let third = f64::from(5.0f32 / 3.0);
    assert_eq!(mean(attrs(3, 1, 1, 1), 0, true), [1.0, 2.0, third]);
    assert_eq!(mean(attrs(2, 2, 0, 1), 1, true), [1.5, 3.0]);
    assert_eq!(mean(attrs(2, 2, 0, 1), 0, true), [1.5, 1.5]);
    let y = run("pool_sum", std::slice::from_ref(&x), attrs(2, 1, 0, 1));
    assert_eq!(y.to_f64(), [3.0, 5.0, 3.0]);
}

#[test]
fn axes_by_hand() {
    let x = Tensor::from_f32(vec![2, 3], &[1.0, 2.0, 3.0, 4.0, 6.0, 6.0]);
    let reduced = |name: &str, axes: &[i64]| {
        let attrs = Attrs::new().with("axes", axes.to_vec());
        run(
            name,
            std::slice::from_ref(&x),
            attrs.with("keepdims", false),
        )
        .to_f64()
    };
    assert_eq!(reduced("reduce_sum", &[1]), [6.0, 16.0]);
    assert_eq!(reduced("reduce_mean", &[0]), [2.5, 4.0, 4.5]);
    assert_eq!(reduced("reduce_max", &[0, 1]), [6.0]);
    assert_eq!(reduced("reduce_min", &[1]), [1.0, 4.0]);
    assert_eq!(reduced("reduce_prod", &[1]), [6.0, 144.0]);
    assert_eq!(reduced("reduce_sum", &[]), x.to_f64());
    let found = |name: &str, last: bool| {
        let attrs = Attrs::new().with("axis", 1i64).with("keepdims", true);
        run(name, std::slice::from_ref(&x), attrs.with("last", last)).to_i64()
    };
    assert_eq!(found("argmax", false), [2, 1]);
    assert_eq!(found("argmax", true), [2, 2]);
    assert_eq!(found("argmin", false), [0, 0]);
}

#[test]
fn empty_reductions_give_the_identity() {
    let x = Tensor::from_f32(vec![0], &[]);
    let reduced = |name: &str| {
        let attrs = Attrs::new().with("axes", vec![0i64]);
        run(name, std::slice::from_ref(&x), attrs.with("keepdims", true)).to_f64()[0]
    };
    assert_eq!(reduced("reduce_sum"), 0.0);
    assert_eq!(reduced("reduce_prod"), 1.0);
    assert_eq!(reduced("reduce_max"), f64::NEG_INFINITY);
    assert_eq!(reduced("reduce_min"), f64::INFINITY);
    assert!(reduced("reduce_mean").is_nan());
}

#[test]
fn softmax_by_hand() {
    // Large values must not overflow.
    let x = Tensor::from_f32(vec![2, 1], &[1000.0, 1000.0 + 3f32.ln()]);
    let y = |name| {
        run(
            name,
            std::slice::from_ref(&x),
            Attrs::new().with("axis", 0i64),
        )
        .to_f64()
    };
    let near = |found: Vec<f64>, want: [f64; 2]| {
        let close = found.iter().zip(want).all(|(f, w)| (f - w).abs() < 1e-4);
        assert!(close, "{found:?}, want {want:?}");
    };
    // 1000 + ln 3 is rounded to 2^-14.
    near(y("softmax"), [0.25, 0.75]);
    near(y("log_softmax"), [0.25f64.ln(), 0.75f64.ln()]);
}

#[test]
fn samples_hold() {
    check_samples(OPS);
    check_samples(reduce::OPS);
    check_samples(row::OPS);
}
