//! Reductions along axes.
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::{Attrs, ValueId};

use super::cx::Cx;
use super::registry::{OpImport, onnx};
use super::value::{Val, one};
use crate::error::Result;
use crate::proto::NodeProto;

type Vals = Result<Vec<Val>>;

pub(crate) const OPS: &[OpImport] = &[
    onnx("ReduceSum", |cx, node| {
        reduce(cx, node, &plain("reduce_sum"))
    }),
    onnx("ReduceMean", |cx, node| {
        reduce(cx, node, &plain("reduce_mean"))
    }),
    onnx("ReduceMax", |cx, node| {
        reduce(cx, node, &plain("reduce_max"))
    }),
    onnx("ReduceMin", |cx, node| {
        reduce(cx, node, &plain("reduce_min"))
    }),
    onnx("ReduceProd", |cx, node| {
        reduce(cx, node, &plain("reduce_prod"))
    }),
    onnx("ReduceL1", |cx, node| {
        reduce(cx, node, &|cx, x, axes, keep| {
            let x = cx.unary("abs", x)?;
            cx.reduce("reduce_sum", x, axes, keep)
        })
    }),
    onnx("ReduceL2", |cx, node| reduce(cx, node, &in_floats(l2))),
    onnx("ReduceLogSum", |cx, node| {
        reduce(cx, node, &in_floats(log_sum))
    }),
    onnx("ReduceLogSumExp", |cx, node| {
        reduce(cx, node, &in_floats(log_sum_exp))
    }),
    onnx("ReduceSumSquare", |cx, node| {
        reduce(cx, node, &|cx, x, axes, keep| {
            let x = cx.binary("mul", x, x)?;
            cx.reduce("reduce_sum", x, axes, keep)
        })
    }),
    onnx("ArgMax", |cx, node| extreme_index(cx, node, "argmax")),
    onnx("ArgMin", |cx, node| extreme_index(cx, node, "argmin")),
];

/// A reduction of a value over sorted axes, which stay with extent 1 or go.
type Reduce<'a> = &'a dyn Fn(&mut Cx<'_>, ValueId, &[usize], bool) -> Result<ValueId>;

/// Integers go through `f64`; the result is truncated back.
fn in_floats(
    f: fn(&mut Cx<'_>, ValueId, &[usize], bool) -> Result<ValueId>,
) -> impl Fn(&mut Cx<'_>, ValueId, &[usize], bool) -> Result<ValueId> {
    move |cx, x, axes, keep| {
        let dtype = cx.dtype(x);
        let float = if dtype.is_float() { dtype } else { DType::F64 };
        let x = cx.cast(x, float)?;
        let y = f(cx, x, axes, keep)?;
        cx.cast(y, dtype)
    }
}

fn plain(row: &'static str) -> impl Fn(&mut Cx<'_>, ValueId, &[usize], bool) -> Result<ValueId> {
    move |cx, x, axes, keep| cx.reduce(row, x, axes, keep)
}

fn reduce(cx: &mut Cx<'_>, node: &NodeProto, f: Reduce<'_>) -> Vals {
    let x = cx.input(node, 0)?;
    let rank = cx.rank(x);
    let axes = match node.attr_ints("axes")? {
        Some(axes) => Some(axes.to_vec()),
        None if node.operand(1).is_some() => Some(cx.ints(node, 1)?),
        None => None,
    };
    let mut axes = axes.filter(|axes| !axes.is_empty());
    if axes.is_none() && !node.attr_bool_or("noop_with_empty_axes", false)? {
        axes = Some((0..rank as i64).collect());
    }
    let axes = cx.axes(&axes.unwrap_or_default(), rank)?;
    f(cx, x, &axes, node.attr_bool_or("keepdims", true)?).map(one)
}

fn l2(cx: &mut Cx<'_>, x: ValueId, axes: &[usize], keep: bool) -> Result<ValueId> {
    let squares = cx.binary("mul", x, x)?;
    let sum = cx.reduce("reduce_sum", squares, axes, keep)?;
    cx.unary("sqrt", sum)
}

fn log_sum(cx: &mut Cx<'_>, x: ValueId, axes: &[usize], keep: bool) -> Result<ValueId> {
    let sum = cx.reduce("reduce_sum", x, axes, keep)?;
    cx.unary("log", sum)
}

/// With the greatest element taken out first, so that no power overflows; an infinite or missing
/// greatest element counts as 0.
fn log_sum_exp(cx: &mut Cx<'_>, x: ValueId, axes: &[usize], keep: bool) -> Result<ValueId> {
    let greatest = cx.reduce("reduce_max", x, axes, true)?;
    let infinite = cx.unary("isinf", greatest)?;
    let zero = cx.scalar(cx.dtype(x), 0.0);
    let shift = cx.select(infinite, zero, greatest)?;
    let shifted = cx.binary("sub", x, shift)?;
    let powers = cx.unary("exp", shifted)?;
    let sum = cx.reduce("reduce_sum", powers, axes, keep)?;
    let log = cx.unary("log", sum)?;
    let shape = cx.shape(log);
    let shift = cx.reshape(shift, shape)?;
    cx.binary("add", log, shift)
}

fn extreme_index(cx: &mut Cx<'_>, node: &NodeProto, row: &str) -> Vals {
    let x = cx.input(node, 0)?;
    let axis = cx.axis(node.attr_i_or("axis", 0)?, cx.rank(x))?;
    let attrs = Attrs::new()
        .with("axis", axis as i64)
        .with("keepdims", node.attr_bool_or("keepdims", true)?)
        .with("last", node.attr_bool_or("select_last_index", false)?);
    cx.row(row, &[x], attrs).map(one)
}
