use super::super::contract;
use super::super::testing::{check_samples, run};
use super::*;
use crate::dtype::DType;
use crate::expr::Symbol;
use crate::graph::Attrs;
use crate::ops::{op, single_node_graph};

fn tensor(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_f32(shape.to_vec(), values)
}

/// Attributes of one spatial axis.
fn line(stride: i64, dilation: i64, before: i64, after: i64, groups: i64) -> Attrs {
    Attrs::new()
        .with("strides", vec![stride])
        .with("dilations", vec![dilation])
        .with("pads_before", vec![before])
        .with("pads_after", vec![after])
        .with("groups", groups)
}

fn matrices(spec: &str) -> Vec<f64> {
    let a = tensor(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let b = tensor(&[2, 2], &[5.0, 6.0, 7.0, 8.0]);
    run("contract", &[a, b], Attrs::new().with("spec", spec)).to_f64()
}

#[test]
fn contractions_by_hand() {
    assert_eq!(matrices("mk,kn->mn"), [19.0, 22.0, 43.0, 50.0]);
    assert_eq!(matrices("ij,jk->ki"), [19.0, 43.0, 22.0, 50.0]);
    assert_eq!(matrices("ij,ij->"), [70.0]);
    assert_eq!(matrices("ij,ij->ji"), [5.0, 21.0, 12.0, 32.0]);
    // Letters of one operand only are summed, too: (1+2) * (5+7), ...
    assert_eq!(matrices("ab,cd->ad"), [36.0, 42.0, 84.0, 98.0]);
    // Sums wrap, but those of bytes have 32 bits.
    let product = |dtypes: [DType; 2]| {
        let operands = [(dtypes[0], 100.0), (dtypes[1], 2.0)];
        let operands = operands.map(|(d, v)| Tensor::splat(d, vec![400], v));
        run("contract", &operands, Attrs::new().with("spec", "i,i->")).to_i64()
    };
    assert_eq!(product([DType::I16, DType::I16]), [80_000 - 65_536]);
    assert_eq!(product([DType::I8, DType::I8]), [80_000]);
    assert_eq!(product([DType::U8, DType::I8]), [80_000]);
}

#[test]
fn specs_that_make_no_sense_are_refused() {
    for text in ["mk,kn", "mk->m", "mm,mk->k", "mk,kn->mz", "m1,kn->n"] {
        assert!(contract::Spec::parse(text).is_err(), "{text}");
    }
    let types = [2, 3].map(|n: usize| TensorType::new(DType::F32, vec![n.into()]));
    let attrs = Attrs::new().with("spec", "i,i->");
    assert!(single_node_graph(op("contract"), &types, attrs).is_err());
}

#[test]
fn convolutions_by_hand() {
    let x = tensor(&[1, 1, 4], &[1.0, 2.0, 3.0, 4.0]);
    let w = tensor(&[1, 1, 3], &[1.0, 0.0, -1.0]);
    let conv = |attrs| run("conv", &[x.clone(), w.clone()], attrs).to_f64();
    assert_eq!(conv(line(1, 1, 1, 1, 1)), [-2.0, -2.0, -2.0, 3.0]);
    assert_eq!(conv(line(2, 1, 1, 1, 1)), [-2.0, -2.0]);
    assert_eq!(conv(line(1, 2, 0, 2, 1)), [1.0, 2.0]);
    assert_eq!(conv(line(1, 2, 2, 0, 1)), [-3.0, -4.0]);
    let x = tensor(&[1, 4, 1], &[1.0, 2.0, 3.0, 4.0]);
    let w = tensor(&[2, 2, 1], &[1.0, 10.0, 100.0, 1000.0]);
    let y = run("conv", &[x, w], line(1, 1, 0, 0, 2));
    assert_eq!(y.to_f64(), [21.0, 4300.0]);
}

#[test]
fn a_plane_by_hand() {
    let values: Vec<f32> = (0..25).map(|v| v as f32).collect();
    let (x, w) = (
        tensor(&[1, 1, 5, 5], &values),
        tensor(&[1, 1, 3, 3], &[1.0; 9]),
    );
    let attrs = Attrs::new()
        .with("strides", vec![2i64, 1])
        .with("dilations", vec![1i64, 1])
        .with("pads_before", vec![1i64, 0])
        .with("pads_after", vec![1i64, 0])
        .with("groups", 1i64);
    let y = run("conv", &[x, w], attrs);
    let want = [21.0, 27.0, 33.0, 99.0, 108.0, 117.0, 111.0, 117.0, 123.0];
    assert_eq!(y.to_f64(), want);
}

#[test]
fn transposed_convolutions_by_hand() {
    let x = tensor(&[1, 1, 3], &[1.0, 2.0, 3.0]);
    let w = tensor(&[1, 1, 2], &[1.0, 10.0]);
    let conv = |attrs: Attrs, more: i64| {
        let attrs = attrs.with("output_padding", vec![more]);
        run("conv_transpose", &[x.clone(), w.clone()], attrs).to_f64()
    };
    assert_eq!(conv(line(1, 1, 0, 0, 1), 0), [1.0, 12.0, 23.0, 30.0]);
    assert_eq!(conv(line(1, 1, 1, 1, 1), 0), [12.0, 23.0]);
    let want = [1.0, 10.0, 2.0, 20.0, 3.0, 30.0, 0.0];
    assert_eq!(conv(line(2, 1, 0, 0, 1), 1), want);
    assert_eq!(conv(line(1, 2, 0, 0, 1), 0), [1.0, 2.0, 13.0, 20.0, 30.0]);
}

#[test]
fn extents_stay_symbolic() {
    let n = |name: &str| Expr::size(Symbol::new(name));
    let x = TensorType::new(DType::F32, vec![n("b"), 3.into(), n("h")]);
    let w = TensorType::new(DType::F32, vec![8.into(), 3.into(), 3.into()]);
    let graph = single_node_graph(op("conv"), &[x, w], line(2, 1, 1, 1, 1));
    let graph = graph.expect("the operands fit");
    let want = vec![n("b"), 8.into(), (n("h") - 1).div(2) + 1];
    assert_eq!(graph.ty(graph.outputs[0]).shape, want);
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let ty =
        |shape: &[i64]| TensorType::new(DType::F32, shape.iter().map(|d| (*d).into()).collect());
    let fits = |x: &[i64], w: &[i64], attrs| single_node_graph(op("conv"), &[ty(x), ty(w)], attrs);
    assert!(fits(&[1, 4, 5], &[6, 2, 3], line(1, 1, 0, 0, 2)).is_ok());
    assert!(fits(&[1, 4, 5], &[6, 4, 3], line(1, 1, 0, 0, 2)).is_err());
    assert!(fits(&[1, 4, 5], &[5, 2, 3], line(1, 1, 0, 0, 2)).is_err());
    assert!(fits(&[1, 4, 1], &[6, 2, 3], line(1, 1, 0, 0, 2)).is_err());
    assert!(fits(&[1, 4, 5], &[6, 4, 3], line(0, 1, 0, 0, 1)).is_err());
    assert!(fits(&[1, 4, 5], &[6, 4, 3], line(1, 1, -1, 0, 1)).is_err());
    assert!(fits(&[1, 4], &[6, 4], line(1, 1, 0, 0, 1)).is_err());
}

#[test]
fn samples_hold() {
    check_samples(OPS);
    check_samples(contract::OPS);
}
