//! Rows: a few reductions along an axis, then elementwise.
use super::elementwise::{compute_type, result, widen};
use super::reduce::extreme;
use super::types::FLOATS;
use super::{AttrDef, Class, InferCx, Lower, OpDef, Sample, Sampler, Tolerance, attr};
use crate::define::Define;
use crate::eval::{EvalCx, EvalError};
use crate::expr::Expr;
use crate::graph::{AttrKind, Attrs, NodeId, TensorType};
use crate::loops::math::MathFn;
use crate::loops::{BinaryOp, Const, Scalar};
use crate::tensor::{Tensor, Wide};

const AXIS: &[AttrDef] = &[attr("axis", AttrKind::Int, "what rows run along")];

/// The rows of this family.
pub const OPS: &[OpDef] = &[
    row(
        "softmax",
        "y = exp(x - max) / sum of exp(x - max) along axis",
        |cx| eval(cx, |d, sum| d.exp() / sum),
        // Rounding x - max moves the exponential by as many half units as x - max is large, here
        // up to 8; four more for exp, the reciprocal and the product; the sum of a row adds less than its root.
        Tolerance::Ulp(16.0),
    ),
    row(
        "log_softmax",
        "y = x - max - log(sum of exp(x - max)) along axis",
        |cx| eval(cx, |d, sum| d - sum.ln()),
        // The difference cancels near 0, so the error is one of the largest magnitude.
        Tolerance::Sum(4.0),
    ),
];

const fn row(
    name: &'static str,
    doc: &'static str,
    eval: fn(&EvalCx<'_>) -> Result<Vec<Tensor>, EvalError>,
    tolerance: Tolerance,
) -> OpDef {
    OpDef {
        name,
        doc,
        arity: (1, 1),
        attrs: AXIS,
        class: Class::Row,
        types: FLOATS,
        infer,
        eval,
        lower: Lower::Pointwise(lower),
        row_axes: Some(|attrs, _| vec![attrs.int("axis") as usize]),
        tolerance,
        samples,
        source: "ONNX operators, Softmax and LogSoftmax (since version 13)",
    }
}

fn infer(cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
    cx.axis(0, "axis")?;
    Ok(vec![cx.inputs[0].clone()])
}

fn lower(cx: &mut Define<'_>, node: NodeId, _: usize, index: &[Expr]) -> Scalar {
    let row = cx.node(node);
    let axis = row.attrs.int("axis") as usize;
    let mut others = index.to_vec();
    others.remove(axis);
    let extent = cx.operand_type(node, 0).shape[axis].clone();
    let state = cx.row_value((node, 0), (&others, &extent), &mut |cx| {
        statistics(cx, node, axis, index)
    });
    let x = widened(cx, node, index);
    let shifted = Scalar::binary(BinaryOp::Sub, x, state[0].clone());
    let y = if row.op.name == "softmax" {
        let e = Scalar::Call(MathFn::ExpNegative, vec![shifted]);
        Scalar::binary(BinaryOp::Mul, e, state[1].clone())
    } else {
        Scalar::binary(BinaryOp::Sub, shifted, state[1].clone())
    };
    result(cx, node, y)
}

fn widened(cx: &mut Define<'_>, node: NodeId, index: &[Expr]) -> Scalar {
    let x = cx.operand(node, 0, index);
    widen(cx, x)
}

/// The maximum of the row, and the reciprocal or the logarithm of the sum of exponentials. That
/// sum is at least 1, the exponential of the maximum less itself, so the reciprocal is normal.
fn statistics(cx: &mut Define<'_>, node: NodeId, axis: usize, index: &[Expr]) -> Vec<Scalar> {
    let x = cx.operand_type(node, 0);
    let (acc, extent) = (compute_type(x.dtype), x.shape[axis].clone());
    let at = |k: &Expr| {
        let mut at = index.to_vec();
        at[axis] = k.clone();
        at
    };
    let extents = std::slice::from_ref(&extent);
    let least = extreme(acc, false);
    let max = cx.reduce(extents, BinaryOp::Max, least, &mut |cx, k| {
        widened(cx, node, &at(&k[0]))
    });
    let zero = Const::new(acc, 0.0);
    let sum = cx.reduce(extents, BinaryOp::Add, zero, &mut |cx, k| {
        let x = widened(cx, node, &at(&k[0]));
        Scalar::Call(
            MathFn::ExpNegative,
            vec![Scalar::binary(BinaryOp::Sub, x, max.clone())],
        )
    });
    if cx.node(node).op.name == "softmax" {
        let one = Scalar::Const(Const::new(acc, 1.0));
        vec![max, Scalar::binary(BinaryOp::Div, one, sum)]
    } else {
        vec![max, Scalar::Call(MathFn::Log, vec![sum])]
    }
}

/// Calls `f` with each element less its row's maximum, and the sum of the row's exponentials.
fn eval(cx: &EvalCx<'_>, f: impl Fn(f64, f64) -> f64) -> Result<Vec<Tensor>, EvalError> {
    let x = cx.inputs[0];
    let axis = cx.attrs.int("axis") as usize;
    let extent = x.shape[axis];
    let inner: usize = x.shape[axis + 1..].iter().product();
    let mut v = x.to_f64();
    for row in 0..v.len().checked_div(extent).unwrap_or(0) {
        let base = row / inner * extent * inner + row % inner;
        let places = || (0..extent).map(|k| base + k * inner);
        let max = places().map(|p| v[p]).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = places().map(|p| (v[p] - max).exp()).sum();
        places().for_each(|p| v[p] = f(v[p] - max, sum));
    }
    Ok(vec![Tensor::from_wide(
        x.dtype,
        x.shape.clone(),
        &Wide::Float(v),
    )])
}

fn samples(s: &mut Sampler) -> Vec<Sample> {
    let rank = s.int(1, 4) as usize;
    let shape = s.shape(rank);
    let dtype = s.dtype(FLOATS);
    let x = s.tensor(dtype, &shape, -4.0, 4.0);
    let attrs = Attrs::new().with("axis", s.int(0, rank as i64 - 1));
    vec![Sample::new(vec![x], attrs)]
}
