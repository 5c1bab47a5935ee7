//! Quantized tensors: integers with a scale and a zero point. Products accumulate in `i32`.
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::ValueId;

use super::conv::conv;
use super::cx::Cx;
use super::elementwise::element_type;
use super::matmul::mat_mul;
use super::registry::{OpImport, onnx};
use super::value::{Val, all, one};
use crate::error::Result;
use crate::proto::NodeProto;

type Vals = Result<Vec<Val>>;

pub(crate) const OPS: &[OpImport] = &[
    onnx("QuantizeLinear", quantize_linear),
    onnx("DequantizeLinear", dequantize_linear),
    onnx("DynamicQuantizeLinear", dynamic_quantize),
    onnx("MatMulInteger", |cx, node| {
        let a = centred(cx, node, 0, 2, Vector::Rows)?;
        let b = centred(cx, node, 1, 3, Vector::Last)?;
        mat_mul(cx, a, b).map(one)
    }),
    onnx("QLinearMatMul", q_linear_mat_mul),
    onnx("ConvInteger", |cx, node| {
        let x = centred(cx, node, 0, 2, Vector::Last)?;
        let w = centred(cx, node, 1, 3, Vector::First)?;
        conv(cx, node, x, w, None).map(one)
    }),
    onnx("QLinearConv", q_linear_conv),
];

/// Which axis of a tensor the elements of a scale or zero point belong to, if there are several.
#[derive(Clone, Copy)]
enum Vector {
    First,
    Rows,
    Last,
}

/// A scale or zero point, to broadcast against a tensor of some rank.
fn vector(cx: &mut Cx<'_>, v: ValueId, rank: usize, along: Vector) -> Result<ValueId> {
    if cx.ty(v).count().is(1) {
        return cx.reshape(v, vec![]);
    }
    if cx.rank(v) != 1 || rank == 0 {
        return Ok(v);
    }
    let axis = match along {
        Vector::First => 0,
        Vector::Rows => rank.saturating_sub(2),
        Vector::Last => rank - 1,
    };
    cx.along_axis(v, axis, rank)
}

/// Operand `k` as `i32`, less the zero point that is operand `zero`.
fn centred(
    cx: &mut Cx<'_>,
    node: &NodeProto,
    k: usize,
    zero: usize,
    along: Vector,
) -> Result<ValueId> {
    let x = cx.input(node, k)?;
    let rank = cx.rank(x);
    let x = cx.cast(x, DType::I32)?;
    let Some(zero) = cx.optional(node, zero)? else {
        return Ok(x);
    };
    let zero = vector(cx, zero, rank, along)?;
    let zero = cx.cast(zero, DType::I32)?;
    cx.binary("sub", x, zero)
}

/// A scale or zero point of [`quantize_linear`] and its inverse, to broadcast against `x`: one
/// for all, one per index of an axis, or one per block along an axis.
fn parameter(cx: &mut Cx<'_>, node: &NodeProto, x: ValueId, v: ValueId) -> Result<ValueId> {
    if cx.ty(v).count().is(1) {
        return cx.reshape(v, vec![]);
    }
    let rank = cx.rank(x);
    let axis = cx.axis(node.attr_i_or("axis", 1)?, rank)?;
    let block = node.attr_i_or("block_size", 0)?;
    if block == 0 && cx.rank(v) == 1 {
        return cx.along_axis(v, axis, rank);
    }
    let (shape, extent) = (cx.shape(v), cx.shape(x)[axis].clone());
    let blocks = shape.get(axis).and_then(Expr::as_const);
    let (Some(blocks), Some(n)) = (blocks, extent.as_const()) else {
        return Err(cx.unsupported("blocks along an axis whose extent is not constant"));
    };
    let covered = block.checked_mul(blocks);
    if block < 1 || shape.len() != rank || covered.is_none_or(|covered| covered < n) {
        return Err(cx.invalid(format!("{blocks} blocks of {block} for an extent of {n}")));
    }
    let v = cx.insert_axis(v, axis + 1)?;
    let mut wide = cx.shape(v);
    wide[axis + 1] = block.into();
    let v = cx.expand(v, wide)?;
    let mut flat = shape;
    flat[axis] = (blocks * block).into();
    let v = cx.reshape(v, flat)?;
    cx.slice_axis(v, axis, 0, n)
}

/// `x` in units of a scale, moved by a zero point, rounded to even and bounded by the type.
fn quantize(cx: &mut Cx<'_>, scaled: ValueId, zero: Option<ValueId>, to: DType) -> Result<ValueId> {
    let mut y = cx.unary("round", scaled)?;
    if let Some(zero) = zero {
        let zero = cx.cast(zero, cx.dtype(y))?;
        y = cx.binary("add", y, zero)?;
    }
    let Some((least, most)) = to.int_range().filter(|_| to.bytes() <= 2) else {
        return Err(cx.unsupported(format!("quantization to {to}")));
    };
    let y = cx.with_scalar("max", y, least as f64)?;
    let y = cx.with_scalar("min", y, most as f64)?;
    cx.cast(y, to)
}

fn quantize_linear(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let (x, scale) = (cx.input(node, 0)?, cx.input(node, 1)?);
    let zero = cx.optional(node, 2)?;
    let to = match (node.attr_i_or("output_dtype", 0)?, zero) {
        (0, Some(zero)) => cx.dtype(zero),
        (0, None) => DType::U8,
        (number, _) => element_type(cx, number)?,
    };
    let scale = parameter(cx, node, x, scale)?;
    let zero = match zero {
        Some(zero) => Some(parameter(cx, node, x, zero)?),
        None => None,
    };
    let (wide, scale) = (cx.cast(x, DType::F32)?, cx.cast(scale, DType::F32)?);
    let scaled = cx.binary("div", wide, scale)?;
    quantize(cx, scaled, zero, to).map(one)
}

fn dequantize_linear(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let (mut x, scale) = (cx.input(node, 0)?, cx.input(node, 1)?);
    if cx.dtype(x).is_float() {
        return Err(cx.unsupported(format!("quantized values of type {}", cx.dtype(x))));
    }
    let to = match node.attr_i_or("output_dtype", 0)? {
        0 => cx.dtype(scale),
        number => element_type(cx, number)?,
    };
    let scale = parameter(cx, node, x, scale)?;
    let zero = match cx.optional(node, 2)? {
        Some(zero) => Some(parameter(cx, node, x, zero)?),
        None => None,
    };
    x = cx.cast(x, DType::I32)?;
    if let Some(zero) = zero {
        let zero = cx.cast(zero, DType::I32)?;
        x = cx.binary("sub", x, zero)?;
    }
    let scale = cx.cast(scale, DType::F32)?;
    // So that products of small weights are seen to be those of integers, too.
    let y = cx.without_folding(|cx| {
        let x = cx.cast(x, DType::F32)?;
        cx.binary("mul", x, scale)
    })?;
    cx.cast(y, to).map(one)
}

/// To `u8`, with the scale and the zero point that the least and the greatest element ask for.
fn dynamic_quantize(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = cx.input(node, 0)?;
    let axes: Vec<usize> = (0..cx.rank(x)).collect();
    let least = cx.reduce("reduce_min", x, &axes, false)?;
    let least = cx.with_scalar("min", least, 0.0)?;
    let most = cx.reduce("reduce_max", x, &axes, false)?;
    let most = cx.with_scalar("max", most, 0.0)?;
    let span = cx.binary("sub", most, least)?;
    let scale = cx.with_scalar("div", span, 255.0)?;
    let below = cx.unary("neg", least)?;
    let steps = cx.binary("div", below, scale)?;
    let zero = quantize(cx, steps, None, DType::U8)?;
    let scaled = cx.binary("div", x, scale)?;
    let y = quantize(cx, scaled, Some(zero), DType::U8)?;
    Ok(all(vec![y, scale, zero]))
}

/// Sums of products as quantized values: times the operands' scales over that of the result.
fn requantize(
    cx: &mut Cx<'_>,
    node: &NodeProto,
    sums: ValueId,
    scales: [ValueId; 2],
) -> Result<ValueId> {
    let (scale, zero) = (cx.input(node, 6)?, cx.input(node, 7)?);
    let to = cx.dtype(zero);
    let rank = cx.rank(sums);
    let scale = vector(cx, scale, rank, Vector::Rows)?;
    let zero = vector(cx, zero, rank, Vector::Rows)?;
    let mut factors = Vec::new();
    for scale in [scales[0], scales[1], scale] {
        factors.push(cx.cast(scale, DType::F32)?);
    }
    let product = cx.binary("mul", factors[0], factors[1])?;
    let factor = cx.binary("div", product, factors[2])?;
    let sums = cx.cast(sums, DType::F32)?;
    let scaled = cx.binary("mul", sums, factor)?;
    quantize(cx, scaled, Some(zero), to)
}

fn q_linear_mat_mul(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let a = centred(cx, node, 0, 2, Vector::Rows)?;
    let b = centred(cx, node, 3, 5, Vector::Last)?;
    let sums = mat_mul(cx, a, b)?;
    let (ra, rb) = (cx.rank(a), cx.rank(b));
    let (scale_a, scale_b) = (cx.input(node, 1)?, cx.input(node, 4)?);
    let scale_a = vector(cx, scale_a, ra, Vector::Rows)?;
    let scale_b = vector(cx, scale_b, rb, Vector::Last)?;
    requantize(cx, node, sums, [scale_a, scale_b]).map(one)
}

fn q_linear_conv(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = centred(cx, node, 0, 2, Vector::Last)?;
    let w = centred(cx, node, 3, 5, Vector::First)?;
    let bias = cx.optional(node, 8)?;
    let sums = conv(cx, node, x, w, bias)?;
    let (scale_x, mut scale_w) = (cx.input(node, 1)?, cx.input(node, 4)?);
    let scale_x = vector(cx, scale_x, 0, Vector::Last)?;
    scale_w = match cx.ty(scale_w).count().is(1) {
        true => cx.reshape(scale_w, vec![])?,
        false => cx.along_axis(scale_w, 1, cx.rank(sums))?,
    };
    requantize(cx, node, sums, [scale_x, scale_w]).map(one)
}
