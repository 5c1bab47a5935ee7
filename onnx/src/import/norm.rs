//! Normalisations composed of reductions and elementwise rows. Halves are computed in `f32`.
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, ValueId};
use tensmith_ir::tensor::Tensor;

use super::activation::wide_type;
use super::cx::Cx;
use super::elementwise::element_type;
use super::registry::{OpImport, onnx};
use super::value::{Val, all, one};
use crate::error::Result;
use crate::proto::NodeProto;

type Vals = Result<Vec<Val>>;

pub(crate) const OPS: &[OpImport] = &[
    onnx("BatchNormalization", batch),
    onnx("InstanceNormalization", instance),
    onnx("LayerNormalization", layer),
    onnx("GroupNormalization", group),
    onnx("RMSNormalization", rms),
    onnx("LRN", local_response),
    onnx("MeanVarianceNormalization", mean_variance),
    onnx("LpNormalization", lp),
];

/// Constants of more elements are not looked at.
const MANY: usize = 1 << 16;

/// The mean and the variance over axes, which stay with extent 1, and `x` minus the mean.
struct Moments {
    mean: ValueId,
    variance: ValueId,
    centred: ValueId,
}

fn moments(cx: &mut Cx<'_>, x: ValueId, axes: &[usize]) -> Result<Moments> {
    let mean = cx.reduce("reduce_mean", x, axes, true)?;
    let centred = cx.binary("sub", x, mean)?;
    let squares = cx.binary("mul", centred, centred)?;
    let variance = cx.reduce("reduce_mean", squares, axes, true)?;
    Ok(Moments {
        mean,
        variance,
        centred,
    })
}

/// `1 / sqrt(x + epsilon)`.
fn inverse_root(cx: &mut Cx<'_>, x: ValueId, epsilon: f32) -> Result<ValueId> {
    let more = cx.with_scalar("add", x, epsilon.into())?;
    let root = cx.unary("sqrt", more)?;
    cx.unary("reciprocal", root)
}

/// The type to compute in: that of the attribute `stash_type`, or a wider one of `x`.
fn stash(cx: &Cx<'_>, node: &NodeProto, x: ValueId) -> Result<(DType, DType)> {
    let stash = element_type(cx, node.attr_i_or("stash_type", 1)?)?;
    if !stash.is_float() || !cx.dtype(x).is_float() {
        return Err(cx.invalid("operand 0 and stash_type must be floats"));
    }
    let compute = match cx.dtype(x) {
        DType::F64 => DType::F64,
        _ => stash,
    };
    Ok((compute, stash))
}

/// `x * scale + bias`; a bias of zeros is none.
fn affine(cx: &mut Cx<'_>, x: ValueId, scale: ValueId, bias: Option<ValueId>) -> Result<ValueId> {
    let constant = bias.and_then(|b| cx.frame().graph.constant(b));
    let zeros = |t: &Tensor| t.count() <= MANY && t.to_f64().iter().all(|x| *x == 0.0);
    let bias = if constant.is_some_and(zeros) {
        None
    } else {
        bias
    };
    let dtype = cx.dtype(x);
    let scale = cx.cast(scale, dtype)?;
    let y = cx.binary("mul", x, scale)?;
    match bias {
        Some(bias) => {
            let bias = cx.cast(bias, dtype)?;
            cx.binary("add", y, bias)
        }
        None => Ok(y),
    }
}

fn batch(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = cx.input(node, 0)?;
    let rank = cx.rank(x);
    let dtype = cx.dtype(x);
    if rank == 0 || !dtype.is_float() {
        return Err(cx.invalid("operand 0 must be of floats, with a batch axis at least"));
    }
    let channels = 1.min(rank - 1);
    if !node.attr_bool_or("spatial", true)? && rank > 2 {
        return Err(cx.unsupported("spatial = 0: normalise each place by its own moments"));
    }
    if cx.opset() < 7 && !node.attr_bool_or("is_test", false)? {
        return Err(cx.unsupported("training mode: export the model for inference"));
    }
    let compute = wide_type(dtype);
    let mut vectors = Vec::new();
    for (k, what) in ["the scale", "the bias", "the mean", "the variance"]
        .iter()
        .enumerate()
    {
        let v = cx.input(node, k + 1)?;
        cx.check_extent(what, &cx.ty(v).count(), &cx.shape(x)[channels])?;
        vectors.push(cx.cast(v, compute)?);
    }
    let wide = cx.cast(x, compute)?;
    let epsilon = node.attr_f_or("epsilon", 1e-5)?;
    if !node.attr_bool_or("training_mode", false)? {
        let y = normalise_channels(cx, wide, &vectors, epsilon, channels)?;
        return cx.cast(y, dtype).map(one);
    }
    let stored = [3, 4].map(|k| cx.input(node, k));
    let axes: Vec<usize> = (0..rank).filter(|d| *d != channels).collect();
    let found = moments(cx, wide, &axes)?;
    let extent = vec![cx.shape(x)[channels].clone()];
    let mut results = Vec::new();
    for (k, moment) in [(2, found.mean), (3, found.variance)] {
        let now = cx.reshape(moment, extent.clone())?;
        let momentum = f64::from(node.attr_f_or("momentum", 0.9)?);
        let before = cx.with_scalar("mul", vectors[k], momentum)?;
        let new = cx.with_scalar("mul", now, 1.0 - momentum)?;
        results.push(cx.binary("add", before, new)?);
        vectors[k] = now;
    }
    for (result, stored) in results.iter_mut().zip(stored) {
        let dtype = cx.dtype(stored?);
        *result = cx.cast(*result, dtype)?;
    }
    let y = normalise_channels(cx, wide, &vectors, epsilon, channels)?;
    results.insert(0, cx.cast(y, dtype)?);
    Ok(all(results))
}

/// One product and one sum per element, by vectors `[scale, bias, mean, variance]`.
fn normalise_channels(
    cx: &mut Cx<'_>,
    x: ValueId,
    vectors: &[ValueId],
    epsilon: f32,
    channels: usize,
) -> Result<ValueId> {
    let rank = cx.rank(x);
    let inverse = inverse_root(cx, vectors[3], epsilon)?;
    let factor = cx.binary("mul", vectors[0], inverse)?;
    let moved = cx.binary("mul", vectors[2], factor)?;
    let offset = cx.binary("sub", vectors[1], moved)?;
    let factor = cx.along_axis(factor, channels, rank)?;
    let offset = cx.along_axis(offset, channels, rank)?;
    let scaled = cx.binary("mul", x, factor)?;
    cx.binary("add", scaled, offset)
}

fn instance(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = cx.input(node, 0)?;
    let (rank, dtype) = (cx.rank(x), cx.dtype(x));
    if rank < 2 {
        return Err(cx.invalid("operand 0 has no channel axis"));
    }
    let wide = cx.widened(x)?;
    let axes: Vec<usize> = (2..rank).collect();
    let found = moments(cx, wide, &axes)?;
    let inverse = inverse_root(cx, found.variance, node.attr_f_or("epsilon", 1e-5)?)?;
    let unit = cx.binary("mul", found.centred, inverse)?;
    let (scale, bias) = (cx.input(node, 1)?, cx.input(node, 2)?);
    let scale = cx.vector_along(("the scale", scale), x, 1)?;
    let bias = cx.vector_along(("the bias", bias), x, 1)?;
    let y = affine(cx, unit, scale, Some(bias))?;
    cx.cast(y, dtype).map(one)
}

/// The axes from attribute `axis` to the last one.
fn last_axes(cx: &Cx<'_>, node: &NodeProto, x: ValueId) -> Result<Vec<usize>> {
    let rank = cx.rank(x);
    let first = cx.axis(node.attr_i_or("axis", -1)?, rank)?;
    Ok((first..rank).collect())
}

fn layer(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = cx.input(node, 0)?;
    let dtype = cx.dtype(x);
    let (compute, stash) = stash(cx, node, x)?;
    let axes = last_axes(cx, node, x)?;
    let wide = cx.cast(x, compute)?;
    let found = moments(cx, wide, &axes)?;
    let inverse = inverse_root(cx, found.variance, node.attr_f_or("epsilon", 1e-5)?)?;
    let unit = cx.binary("mul", found.centred, inverse)?;
    let (scale, bias) = (cx.input(node, 1)?, cx.optional(node, 2)?);
    let y = affine(cx, unit, scale, bias)?;
    let y = cx.cast(y, dtype)?;
    let mean = cx.cast(found.mean, stash)?;
    let inverse = cx.cast(inverse, stash)?;
    Ok(all(vec![y, mean, inverse]))
}

fn rms(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = cx.input(node, 0)?;
    let dtype = cx.dtype(x);
    let (compute, _) = stash(cx, node, x)?;
    let axes = last_axes(cx, node, x)?;
    let wide = cx.cast(x, compute)?;
    let squares = cx.binary("mul", wide, wide)?;
    let mean = cx.reduce("reduce_mean", squares, &axes, true)?;
    let inverse = inverse_root(cx, mean, node.attr_f_or("epsilon", 1e-5)?)?;
    let unit = cx.binary("mul", wide, inverse)?;
    let scale = cx.input(node, 1)?;
    let y = affine(cx, unit, scale, None)?;
    cx.cast(y, dtype).map(one)
}

fn group(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = cx.input(node, 0)?;
    let (dtype, shape) = (cx.dtype(x), cx.shape(x));
    let groups = node.require_attr("num_groups", node.attr_i("num_groups")?)?;
    let channels = match shape.get(1).map(Expr::as_const) {
        Some(Some(channels)) => channels,
        Some(None) => return Err(cx.unsupported("a number of channels that is not constant")),
        None => return Err(cx.invalid("operand 0 has no channel axis")),
    };
    if groups < 1 || channels % groups != 0 {
        return Err(cx.invalid(format!("{channels} channels in {groups} groups")));
    }
    let (compute, _) = stash(cx, node, x)?;
    let wide = cx.cast(x, compute)?;
    let own = Expr::from(channels / groups) * tensmith_ir::expr::product(&shape[2..]);
    let per_group = cx.opset() < 21;
    let split = vec![shape[0].clone(), groups.into(), own];
    let wide = cx.reshape(wide, split)?;
    let found = moments(cx, wide, &[2])?;
    let inverse = inverse_root(cx, found.variance, node.attr_f_or("epsilon", 1e-5)?)?;
    let mut unit = cx.binary("mul", found.centred, inverse)?;
    let (mut scale, mut bias) = (cx.input(node, 1)?, cx.input(node, 2)?);
    if !per_group {
        unit = cx.reshape(unit, shape.clone())?;
    }
    let rank = cx.rank(unit);
    scale = cx.along_axis(scale, 1, rank)?;
    bias = cx.along_axis(bias, 1, rank)?;
    let y = affine(cx, unit, scale, Some(bias))?;
    let y = cx.reshape(y, shape)?;
    cx.cast(y, dtype).map(one)
}

fn local_response(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = cx.input(node, 0)?;
    let (dtype, shape) = (cx.dtype(x), cx.shape(x));
    let size = node.require_attr("size", node.attr_i("size")?)?;
    if shape.len() < 2 || !(1..1 << 24).contains(&size) {
        return Err(cx.invalid(format!("size {size} for rank {}", shape.len())));
    }
    let alpha = f64::from(node.attr_f_or("alpha", 1e-4)?) / size as f64;
    let (beta, bias) = (node.attr_f_or("beta", 0.75)?, node.attr_f_or("bias", 1.0)?);
    let wide = cx.widened(x)?;
    let squares = cx.binary("mul", wide, wide)?;
    let sums = channel_sums(cx, squares, size)?;
    let scaled = cx.with_scalar("mul", sums, alpha)?;
    let base = cx.with_scalar("add", scaled, bias.into())?;
    let power = cx.with_scalar("pow", base, beta.into())?;
    let y = cx.binary("div", wide, power)?;
    cx.cast(y, dtype).map(one)
}

/// Windows of at most so many channels are sums of slices, which are computed beside each other.
const SLICES: i64 = 9;

/// Sums over windows of `size` channels.
fn channel_sums(cx: &mut Cx<'_>, x: ValueId, size: i64) -> Result<ValueId> {
    let shape = cx.shape(x);
    let (before, after) = ((size - 1) / 2, size / 2);
    if size <= SLICES {
        let amounts = |n: i64| -> Vec<Expr> {
            let of = |d| if d == 1 { Expr::from(n) } else { Expr::from(0) };
            (0..shape.len()).map(of).collect()
        };
        let zero = cx.scalar(cx.dtype(x), 0.0);
        let attrs = Attrs::new()
            .with("before", amounts(before))
            .with("after", amounts(after))
            .with("mode", "constant");
        let padded = cx.row("pad", &[x, zero], attrs)?;
        let mut sums = None;
        for k in 0..size {
            let attrs = Attrs::new()
                .with("starts", amounts(k))
                .with("sizes", shape.clone())
                .with("steps", vec![1; shape.len()]);
            let part = cx.row("slice", &[padded], attrs)?;
            sums = Some(match sums {
                Some(sums) => cx.binary("add", sums, part)?,
                None => part,
            });
        }
        if let Some(sums) = sums {
            return Ok(sums);
        }
    }
    let rest = tensmith_ir::expr::product(&shape[2..]);
    let image = vec![shape[0].clone(), 1.into(), shape[1].clone(), rest];
    let image = cx.reshape(x, image)?;
    let attrs = Attrs::new()
        .with("kernel", vec![size, 1])
        .with("strides", vec![1, 1])
        .with("dilations", vec![1, 1])
        .with("pads_before", vec![before, 0])
        .with("pads_after", vec![after, 0]);
    let sums = cx.row("pool_sum", &[image], attrs)?;
    cx.reshape(sums, shape)
}

fn mean_variance(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = cx.input(node, 0)?;
    let dtype = cx.dtype(x);
    let axes = node.attr_ints("axes")?.unwrap_or(&[0, 2, 3]);
    let axes = cx.axes(axes, cx.rank(x))?;
    let wide = cx.widened(x)?;
    let found = moments(cx, wide, &axes)?;
    let deviation = cx.unary("sqrt", found.variance)?;
    let deviation = cx.with_scalar("add", deviation, 1e-9)?;
    let y = cx.binary("div", found.centred, deviation)?;
    cx.cast(y, dtype).map(one)
}

/// A vector of norm 0 stays as it is.
fn lp(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = cx.input(node, 0)?;
    let dtype = cx.dtype(x);
    let axis = cx.axis(node.attr_i_or("axis", -1)?, cx.rank(x))?;
    let wide = cx.widened(x)?;
    let norm = match node.attr_i_or("p", 2)? {
        1 => {
            let sizes = cx.unary("abs", wide)?;
            cx.reduce("reduce_sum", sizes, &[axis], true)?
        }
        2 => {
            let squares = cx.binary("mul", wide, wide)?;
            let sum = cx.reduce("reduce_sum", squares, &[axis], true)?;
            cx.unary("sqrt", sum)?
        }
        p => return Err(cx.invalid(format!("p is {p}, neither 1 nor 2"))),
    };
    let zero = cx.with_scalar("eq", norm, 0.0)?;
    let one_ = cx.scalar(cx.dtype(norm), 1.0);
    let divisor = cx.select(zero, one_, norm)?;
    let y = cx.binary("div", wide, divisor)?;
    cx.cast(y, dtype).map(one)
}
