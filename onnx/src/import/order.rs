//! Operators that go along one axis in order, and those that need whole rows.
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::{Attrs, ValueId};

use super::cx::Cx;
use super::registry::{OpImport, onnx};
use super::shape::flatten;
use super::value::{Val, all, one};
use crate::error::Result;
use crate::proto::NodeProto;

type Vals = Result<Vec<Val>>;

pub(crate) const OPS: &[OpImport] = &[
    onnx("TopK", top_k),
    onnx("CumSum", |cx, node| running(cx, node, "cumsum")),
    onnx("CumProd", |cx, node| running(cx, node, "cumprod")),
    onnx("Softmax", |cx, node| {
        along(cx, node, &|cx, x, axis| softmax(cx, "softmax", x, axis))
    }),
    onnx("LogSoftmax", |cx, node| {
        along(cx, node, &|cx, x, axis| softmax(cx, "log_softmax", x, axis))
    }),
    onnx("Hardmax", |cx, node| along(cx, node, &hardmax)),
];

fn top_k(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = cx.input(node, 0)?;
    let axis = cx.axis(node.attr_i_or("axis", -1)?, cx.rank(x))?;
    let k = match node.attr_i("k")? {
        Some(k) if cx.opset() < 10 => vec![k.into()],
        _ => cx.dims(node, 1)?,
    };
    let attrs = Attrs::new()
        .with("axis", axis as i64)
        .with("k", k)
        .with("largest", node.attr_bool_or("largest", true)?)
        .with("sorted", node.attr_bool_or("sorted", true)?);
    cx.rows("topk", &[x], attrs).map(all)
}

fn running(cx: &mut Cx<'_>, node: &NodeProto, row: &str) -> Vals {
    let x = cx.input(node, 0)?;
    let axis = cx.ints(node, 1)?;
    let [axis] = axis[..] else {
        return Err(cx.invalid("the axis is not one element"));
    };
    let attrs = Attrs::new()
        .with("axis", cx.axis(axis, cx.rank(x))? as i64)
        .with("exclusive", node.attr_bool_or("exclusive", false)?)
        .with("reverse", node.attr_bool_or("reverse", false)?);
    cx.row(row, &[x], attrs).map(one)
}

/// What is computed along one axis.
type Along<'a> = &'a dyn Fn(&mut Cx<'_>, ValueId, usize) -> Result<ValueId>;

/// Applies `f` along the axis that the node names; before operator set 13, along all axes from
/// that one on, together.
fn along(cx: &mut Cx<'_>, node: &NodeProto, f: Along<'_>) -> Vals {
    let x = cx.input(node, 0)?;
    if cx.opset() >= 13 {
        let axis = cx.axis(node.attr_i_or("axis", -1)?, cx.rank(x))?;
        return f(cx, x, axis).map(one);
    }
    let axis = node.attr_i_or("axis", 1)?;
    if axis == cx.rank(x) as i64 - 1 || axis == -1 {
        let axis = cx.axis(axis, cx.rank(x))?;
        return f(cx, x, axis).map(one);
    }
    let shape = cx.shape(x);
    let matrix = flatten(cx, x, axis)?;
    let y = f(cx, matrix, 1)?;
    cx.reshape(y, shape).map(one)
}

fn softmax(cx: &mut Cx<'_>, row: &str, x: ValueId, axis: usize) -> Result<ValueId> {
    cx.row(row, &[x], Attrs::new().with("axis", axis as i64))
}

fn hardmax(cx: &mut Cx<'_>, x: ValueId, axis: usize) -> Result<ValueId> {
    let attrs = Attrs::new()
        .with("axis", axis as i64)
        .with("keepdims", true)
        .with("last", false);
    let greatest = cx.row("argmax", &[x], attrs)?;
    let (shape, dtype) = (cx.shape(x), cx.dtype(x));
    let line = cx.iota(vec![shape[axis].clone()], 0, DType::I64)?;
    let line = cx.along_axis(line, axis, shape.len())?;
    let hit = cx.binary("eq", line, greatest)?;
    cx.cast(hit, dtype)
}
