//! Images sampled at computed places, and sums of blocks into images.
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::{Expr, product};
use tensmith_ir::graph::{Attrs, ValueId};

use super::cx::Cx;
use super::registry::{OpImport, onnx};
use super::value::{Val, one};
use crate::error::Result;
use crate::proto::NodeProto;

type Vals = Result<Vec<Val>>;

pub(crate) const OPS: &[OpImport] = &[
    onnx("AffineGrid", affine_grid),
    onnx("GridSample", grid_sample),
    onnx("Col2Im", col2im),
];

/// Places beyond are as far outside as those at this distance; sums with it are exact enough.
const FAR: f64 = 1e9;
/// The coefficient of cubic interpolation.
const CUBIC: f64 = -0.75;
/// Taps on one axis of a block; more of them in all make a kernel of that many squared.
const BLOCK_MAX: i64 = 4096;

fn affine_grid(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let theta = cx.input(node, 0)?;
    let size = cx.dims(node, 1)?;
    let rank = size.len().saturating_sub(2);
    let fits = cx.rank(theta) == 3 && cx.shape(theta)[1].is(rank as i64);
    if !(2..=3).contains(&rank) || !fits || !cx.shape(theta)[2].is(rank as i64 + 1) {
        return Err(cx.invalid(format!("a size of {} entries", size.len())));
    }
    let corners = node.attr_bool_or("align_corners", false)?;
    let dtype = cx.dtype(theta);
    let theta = cx.widened(theta)?;
    let compute = cx.dtype(theta);
    // Columns of theta belong to x, y, z and 1; x runs along the last axis.
    let column = |cx: &mut Cx<'_>, k: usize| {
        let column = cx.slice_axis(theta, 2, k, 1)?;
        let mut shape = vec![cx.shape(theta)[0].clone()];
        shape.extend(vec![Expr::from(1); rank]);
        shape.push(rank.into());
        cx.reshape(column, shape)
    };
    let mut y = column(cx, rank)?;
    for k in (0..rank).rev() {
        let axis = rank - k;
        let extent = size[axis + 1].clone();
        let Some(n) = extent.as_const() else {
            return Err(cx.unsupported(format!("a size of {extent}")));
        };
        let mut line = vec![Expr::from(1); rank + 2];
        line[axis] = extent;
        let index = cx.iota(line, axis, compute)?;
        let (first, step) = match corners {
            true if n == 1 => (0.0, 0.0),
            true => (-1.0, 2.0 / (n - 1) as f64),
            false => (1.0 / n as f64 - 1.0, 2.0 / n as f64),
        };
        let scaled = cx.with_scalar("mul", index, step)?;
        let place = cx.with_scalar("add", scaled, first)?;
        let factor = column(cx, k)?;
        let part = cx.binary("mul", place, factor)?;
        y = cx.binary("add", y, part)?;
    }
    let mut shape = vec![cx.shape(theta)[0].clone()];
    shape.extend_from_slice(&size[2..]);
    shape.push(rank.into());
    let y = cx.expand(y, shape)?;
    cx.cast(y, dtype).map(one)
}

/// How places become elements.
struct Sampling {
    cubic: bool,
    nearest: bool,
    padding: Padding,
    corners: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Padding {
    Zeros,
    Border,
    Reflection,
}

/// An index on one axis per sampled place, and its weight (1 if none).
struct Tap {
    index: ValueId,
    weight: Option<ValueId>,
}

fn sampling(cx: &Cx<'_>, node: &NodeProto) -> Result<Sampling> {
    let mode = node.attr_s_or("mode", "linear")?;
    let padding = match node.attr_s_or("padding_mode", "zeros")? {
        "zeros" => Padding::Zeros,
        "border" => Padding::Border,
        "reflection" => Padding::Reflection,
        other => return Err(cx.invalid(format!("padding_mode {other:?}"))),
    };
    let known = ["linear", "bilinear", "nearest", "cubic", "bicubic"];
    if !known.contains(&mode) {
        return Err(cx.invalid(format!("mode {mode:?}")));
    }
    Ok(Sampling {
        cubic: mode.ends_with("cubic"),
        nearest: mode == "nearest",
        padding,
        corners: node.attr_bool_or("align_corners", false)?,
    })
}

fn grid_sample(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let (x, grid) = (cx.input(node, 0)?, cx.input(node, 1)?);
    let (shape, places) = (cx.shape(x), cx.shape(grid));
    let rank = shape.len().saturating_sub(2);
    if !(1..=3).contains(&rank) || places.len() != rank + 2 || !places[rank + 1].is(rank as i64) {
        return Err(cx.invalid("the grid does not have a place per axis of the image"));
    }
    let how = sampling(cx, node)?;
    let dtype = cx.dtype(x);
    let wide = cx.widened(x)?;
    let compute = match cx.dtype(wide) {
        d if d.is_float() => d,
        _ => DType::F32,
    };
    let count = product(&places[1..=rank]);
    let mut taps: Vec<Tap> = Vec::new();
    for d in 0..rank {
        let Some(n) = shape[d + 2].as_const().filter(|n| (1..1 << 30).contains(n)) else {
            return Err(cx.unsupported(format!("an image extent of {}", shape[d + 2])));
        };
        let place = cx.slice_axis(grid, rank + 1, rank - 1 - d, 1)?;
        let place = cx.reshape(place, vec![places[0].clone(), 1.into(), count.clone()])?;
        let place = cx.cast(place, compute)?;
        let own = axis_taps(cx, place, n, &how)?;
        taps = combined(cx, taps, own, n)?;
    }
    let flat = vec![shape[0].clone(), shape[1].clone(), product(&shape[2..])];
    let full = vec![shape[0].clone(), shape[1].clone(), count];
    let image = cx.reshape(x, flat)?;
    let mut total = None;
    for tap in taps {
        let index = cx.expand(tap.index, full.clone())?;
        let attrs = Attrs::new().with("axis", 2);
        let mut value = cx.row("gather_elements", &[image, index], attrs)?;
        if let Some(weight) = tap.weight {
            value = cx.cast(value, compute)?;
            value = cx.binary("mul", value, weight)?;
        }
        total = Some(match total {
            Some(total) => cx.binary("add", total, value)?,
            None => value,
        });
    }
    let total = total.ok_or_else(|| cx.invalid("no axes"))?;
    let mut out = vec![shape[0].clone(), shape[1].clone()];
    out.extend_from_slice(&places[1..=rank]);
    let y = cx.cast(total, dtype)?;
    cx.reshape(y, out).map(one)
}

/// Every tap of the axes before with every tap of one more axis, of extent `n`.
fn combined(cx: &mut Cx<'_>, before: Vec<Tap>, own: Vec<Tap>, n: i64) -> Result<Vec<Tap>> {
    if before.is_empty() {
        return Ok(own);
    }
    let mut all = Vec::new();
    for a in &before {
        let row = cx.with_scalar("mul", a.index, n as f64)?;
        for b in &own {
            let index = cx.binary("add", row, b.index)?;
            let weight = match (a.weight, b.weight) {
                (Some(a), Some(b)) => Some(cx.binary("mul", a, b)?),
                (a, b) => a.or(b),
            };
            all.push(Tap { index, weight });
        }
    }
    Ok(all)
}

/// The elements of an axis of extent `n` that a place in -1..=1 takes, and their weights.
fn axis_taps(cx: &mut Cx<'_>, place: ValueId, n: i64, how: &Sampling) -> Result<Vec<Tap>> {
    let (factor, offset) = match how.corners {
        true => ((n - 1) as f64 / 2.0, (n - 1) as f64 / 2.0),
        false => (n as f64 / 2.0, (n - 1) as f64 / 2.0),
    };
    let scaled = cx.with_scalar("mul", place, factor)?;
    let at = cx.with_scalar("add", scaled, offset)?;
    let at = cx.with_scalar("max", at, -FAR)?;
    let at = cx.with_scalar("min", at, FAR)?;
    let first = cx.unary(if how.nearest { "round" } else { "floor" }, at)?;
    let index = cx.cast(first, DType::I64)?;
    if how.nearest {
        return Ok(vec![tap(cx, index, 0, None, n, how)?]);
    }
    let t = cx.binary("sub", at, first)?;
    let back = cx.unary("neg", t)?;
    let rest = cx.with_scalar("add", back, 1.0)?;
    if !how.cubic {
        let near = tap(cx, index, 0, Some(rest), n, how)?;
        return Ok(vec![near, tap(cx, index, 1, Some(t), n, how)?]);
    }
    let mut taps = Vec::new();
    for (k, distance, outer) in [
        (-1, t, true),
        (0, t, false),
        (1, rest, false),
        (2, rest, true),
    ] {
        let weight = cubic_weight(cx, distance, outer)?;
        taps.push(tap(cx, index, k, Some(weight), n, how)?);
    }
    Ok(taps)
}

/// The weight of a tap at distance `t` (inner taps) or `t + 1` (outer ones).
fn cubic_weight(cx: &mut Cx<'_>, t: ValueId, outer: bool) -> Result<ValueId> {
    let a = CUBIC;
    let (s, coefficients) = match outer {
        true => (
            cx.with_scalar("add", t, 1.0)?,
            [a, -5.0 * a, 8.0 * a, -4.0 * a],
        ),
        false => (t, [a + 2.0, -(a + 3.0), 0.0, 1.0]),
    };
    let mut y = cx.with_scalar("mul", s, coefficients[0])?;
    y = cx.with_scalar("add", y, coefficients[1])?;
    for c in &coefficients[2..] {
        y = cx.binary("mul", y, s)?;
        y = cx.with_scalar("add", y, *c)?;
    }
    Ok(y)
}

/// The tap at `index + offset`, brought inside of `0..n`.
fn tap(
    cx: &mut Cx<'_>,
    index: ValueId,
    offset: i64,
    weight: Option<ValueId>,
    n: i64,
    how: &Sampling,
) -> Result<Tap> {
    let index = match offset {
        0 => index,
        _ => cx.with_scalar("add", index, offset as f64)?,
    };
    if how.padding == Padding::Reflection {
        let (period, last) = match how.corners {
            true => ((2 * (n - 1)).max(1), 2 * (n - 1)),
            false => (2 * n, 2 * n - 1),
        };
        let index = cx.with_scalar("mod", index, period as f64)?;
        let mirrored = cx.unary("neg", index)?;
        let mirrored = cx.with_scalar("add", mirrored, last as f64)?;
        let straight = cx.with_scalar("lt", index, n as f64)?;
        let index = cx.select(straight, index, mirrored)?;
        return Ok(Tap { index, weight });
    }
    let low = cx.with_scalar("max", index, 0.0)?;
    let inside = cx.with_scalar("min", low, (n - 1) as f64)?;
    if how.padding == Padding::Border {
        return Ok(Tap {
            index: inside,
            weight,
        });
    }
    let hit = cx.binary("eq", index, inside)?;
    let weight = match weight {
        Some(weight) => {
            let zero = cx.scalar(cx.dtype(weight), 0.0);
            cx.select(hit, weight, zero)?
        }
        None => cx.cast(hit, DType::F32)?,
    };
    Ok(Tap {
        index: inside,
        weight: Some(weight),
    })
}

/// A transposed convolution whose kernel puts each row of a block at its place.
fn col2im(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = cx.input(node, 0)?;
    let (image, block) = (cx.ints(node, 1)?, cx.ints(node, 2)?);
    let (rank, shape) = (image.len(), cx.shape(x));
    let list = |name: &str, default: i64, len: usize| -> Result<Vec<i64>> {
        let values = node.attr_ints(name)?.map(<[i64]>::to_vec);
        Ok(values.unwrap_or_else(|| vec![default; len]))
    };
    let (strides, dilations) = (list("strides", 1, rank)?, list("dilations", 1, rank)?);
    let pads = list("pads", 0, 2 * rank)?;
    let positive = |v: &[i64]| v.len() == rank && v.iter().all(|n| (1..1 << 24).contains(n));
    let fits = [&image, &block, &strides, &dilations]
        .into_iter()
        .all(|v| positive(v));
    let padded = pads.len() == 2 * rank && pads.iter().all(|n| (0..1 << 24).contains(n));
    if !(1..=3).contains(&rank) || !fits || !padded || shape.len() != 3 {
        return Err(cx.invalid("shapes of the image, the blocks, strides, dilations or pads"));
    }
    let taps = block.iter().try_fold(1i64, |a, b| a.checked_mul(*b));
    let Some(taps) = taps.filter(|taps| *taps <= BLOCK_MAX) else {
        return Err(cx.unsupported(format!("blocks of {block:?}")));
    };
    let Some(rows) = shape[1].as_const().filter(|rows| rows % taps == 0) else {
        return Err(cx.invalid(format!("{} rows for blocks of {taps}", shape[1])));
    };
    let channels = Expr::from(rows / taps);
    let mut columns = vec![shape[0].clone() * channels.clone(), taps.into()];
    let mut more = Vec::new();
    for d in 0..rank {
        let span = (block[d] - 1) * dilations[d] + 1;
        let free = image[d] + pads[d] + pads[d + rank] - span;
        if free < 0 {
            return Err(cx.invalid(format!("a block of {span} in an image of {}", image[d])));
        }
        columns.push((free / strides[d] + 1).into());
        more.push(free % strides[d]);
    }
    let columns = cx.reshape(x, columns)?;
    let dtype = cx.dtype(x);
    let row = cx.iota(vec![taps.into(), 1.into()], 0, DType::I64)?;
    let column = cx.iota(vec![1.into(), taps.into()], 1, DType::I64)?;
    let same = cx.binary("eq", row, column)?;
    let kernel = cx.cast(same, dtype)?;
    let mut extents = vec![Expr::from(taps), 1.into()];
    extents.extend(block.iter().map(|n| Expr::from(*n)));
    let kernel = cx.reshape(kernel, extents)?;
    let attrs = Attrs::new()
        .with("strides", strides)
        .with("dilations", dilations)
        .with("pads_before", pads[..rank].to_vec())
        .with("pads_after", pads[rank..].to_vec())
        .with("output_padding", more)
        .with("groups", 1);
    let y = cx.row("conv_transpose", &[columns, kernel], attrs)?;
    let mut out = vec![shape[0].clone(), channels];
    out.extend(image.iter().map(|n| Expr::from(*n)));
    cx.reshape(y, out).map(one)
}
