//! Constants, and tensors made from shapes.
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, ValueId};
use tensmith_ir::tensor::Tensor;

use super::cx::Cx;
use super::elementwise::element_type;
use super::ir_tensor;
use super::registry::{OpImport, onnx};
use super::value::{Val, one};
use crate::error::{OnnxError, Result};
use crate::proto::{AttrKind, NodeProto};

type Vals = Result<Vec<Val>>;

pub(crate) const OPS: &[OpImport] = &[
    onnx("Constant", constant),
    onnx("ConstantOfShape", constant_of_shape),
    onnx("EyeLike", eye_like),
    onnx("OneHot", one_hot),
    onnx("Range", range),
    onnx("Trilu", trilu),
];

fn constant(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let place = node.label();
    let attr = node.attribute.first();
    let attr = attr.ok_or_else(|| cx.invalid("it has no value"))?;
    let tensor = match attr.kind(&place)? {
        AttrKind::Tensor => {
            let proto = node.attr_t(&attr.name)?;
            let proto = proto.ok_or_else(|| cx.invalid("it has no value"))?;
            if proto.data_type == crate::ElemType::String.number() {
                return Err(cx.unsupported("strings"));
            }
            ir_tensor(&cx.model.tensor(proto, &place)?, &place)?
        }
        AttrKind::SparseTensor => {
            let proto = node.attr_sparse(&attr.name)?;
            let proto = proto.ok_or_else(|| cx.invalid("it has no value"))?;
            ir_tensor(&cx.model.dense(proto, &place)?, &place)?
        }
        AttrKind::Float => Tensor::from_f32(vec![], &[attr.f.unwrap_or(0.0)]),
        AttrKind::Floats => Tensor::from_f32(vec![attr.floats.len()], &attr.floats),
        AttrKind::Int => Tensor::from_i64(vec![], &[attr.i.unwrap_or(0)]),
        AttrKind::Ints => Tensor::from_i64(vec![attr.ints.len()], &attr.ints),
        AttrKind::String | AttrKind::Strings => return Err(cx.unsupported("strings")),
        other => return Err(cx.invalid(format!("attribute {:?} is {other:?}", attr.name))),
    };
    Ok(one(cx.constant(tensor)))
}

fn constant_of_shape(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let shape = cx.dims(node, 0)?;
    let place = node.label();
    let value = match node.attr_t("value")? {
        Some(proto) => ir_tensor(&cx.model.tensor(proto, &place)?, &place)?,
        None => Tensor::from_f32(vec![1], &[0.0]),
    };
    if value.count() != 1 {
        return Err(OnnxError::invalid(place, "its value is not one element"));
    }
    let value = cx.constant(value);
    let scalar = cx.reshape(value, vec![])?;
    cx.expand(scalar, shape).map(one)
}

/// Column minus row index of the last two axes, as `i64`, and then a comparison with `k`.
fn diagonal(cx: &mut Cx<'_>, rows: &Expr, columns: &Expr) -> Result<ValueId> {
    let shape = vec![rows.clone(), columns.clone()];
    let row = cx.iota(shape.clone(), 0, DType::I64)?;
    let column = cx.iota(shape, 1, DType::I64)?;
    cx.binary("sub", column, row)
}

fn eye_like(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = cx.input(node, 0)?;
    let shape = cx.shape(x);
    let [rows, columns] = &shape[..] else {
        return Err(cx.invalid("its operand is not a matrix"));
    };
    let dtype = match node.attr_i("dtype")? {
        Some(number) => element_type(cx, number)?,
        None => cx.dtype(x),
    };
    let distance = diagonal(cx, rows, columns)?;
    let k = node.attr_i_or("k", 0)?;
    let hit = cx.with_scalar("eq", distance, k as f64)?;
    cx.cast(hit, dtype).map(one)
}

fn trilu(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = cx.input(node, 0)?;
    let shape = cx.shape(x);
    let [.., rows, columns] = &shape[..] else {
        return Err(cx.invalid("its operand has less than two axes"));
    };
    let k = match cx.optional(node, 1)? {
        Some(k) => cx.reshape(k, vec![])?,
        None => cx.scalar(DType::I64, 0.0),
    };
    let distance = diagonal(cx, rows, columns)?;
    let upper = node.attr_bool_or("upper", true)?;
    let keep = cx.binary(if upper { "ge" } else { "le" }, distance, k)?;
    let zero = cx.scalar(cx.dtype(x), 0.0);
    cx.select(keep, x, zero).map(one)
}

fn one_hot(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let indices = cx.input(node, 0)?;
    let depth = match cx.dims(node, 1) {
        Ok(dims) => dims,
        Err(error) => match cx.tensor(node, 1) {
            Ok(tensor) => tensor.to_i64().into_iter().map(Expr::from).collect(),
            Err(_) => return Err(error),
        },
    };
    let [depth] = &depth[..] else {
        return Err(cx.invalid("depth is not one element"));
    };
    let values = cx.input(node, 2)?;
    let rank = cx.rank(indices) + 1;
    let axis = cx.axis(node.attr_i_or("axis", -1)?, rank)?;
    let dtype = cx.dtype(indices);
    let indices = match dtype.is_float() || !dtype.is_signed() {
        true => cx.cast(indices, DType::I64)?,
        false => indices,
    };
    let dtype = cx.dtype(indices);
    let count = cx.size_value(depth)?;
    let count = cx.cast(count, dtype)?;
    let wrapped = cx.binary("add", indices, count)?;
    let negative = cx.with_scalar("lt", indices, 0.0)?;
    let indices = cx.select(negative, wrapped, indices)?;
    let indices = cx.insert_axis(indices, axis)?;
    let line = cx.iota(vec![depth.clone()], 0, dtype)?;
    let line = cx.along_axis(line, axis, rank)?;
    let hit = cx.binary("eq", indices, line)?;
    let [off, on] = [0, 1].map(|k| cx.slice_axis(values, 0, k, 1));
    let (off, on) = (cx.reshape(off?, vec![])?, cx.reshape(on?, vec![])?);
    cx.select(hit, on, off).map(one)
}

fn range(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let [start, limit, delta] = [cx.input(node, 0)?, cx.input(node, 1)?, cx.input(node, 2)?];
    let count = range_count(cx, node, [start, limit, delta])?;
    let (start, delta) = (cx.reshape(start, vec![])?, cx.reshape(delta, vec![])?);
    let attrs = Attrs::new().with("count", vec![count]);
    cx.row("range", &[start, delta], attrs).map(one)
}

fn range_count(cx: &mut Cx<'_>, node: &NodeProto, operands: [ValueId; 3]) -> Result<Expr> {
    if cx.dtype(operands[0]).is_float() {
        let [start, limit, delta] = [0, 1, 2].map(|k| cx.floats(node, k));
        let (start, limit, delta) = (start?[0], limit?[0], delta?[0]);
        let count = ((limit - start) / delta).ceil().max(0.0);
        if !count.is_finite() || count > 1e12 {
            return Err(cx.invalid(format!("{start} to {limit} by {delta} never ends")));
        }
        return Ok(Expr::from(count as i64));
    }
    let (start, limit) = (cx.dims(node, 0)?, cx.dims(node, 1)?);
    let delta = cx.ints(node, 2)?;
    let gap = limit[0].clone() - start[0].clone();
    let count = match delta[0] {
        0 => return Err(cx.invalid("delta is 0")),
        step if step > 0 => gap.ceil_div(step),
        i64::MIN => return Err(cx.invalid("delta is out of range")),
        step => (-gap).ceil_div(-step),
    };
    Ok(Expr::at_least(&count, 0).simplify(&cx.ranges()))
}
