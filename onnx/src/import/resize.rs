//! Resampling.
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, ValueId};

use super::cx::Cx;
use super::registry::{OpImport, onnx};
use super::value::{Val, one};
use crate::error::Result;
use crate::proto::NodeProto;

pub(crate) const OPS: &[OpImport] = &[onnx("Resize", resize), onnx("Upsample", upsample)];

/// Extents of the result, and the scales that coordinates use (none: the ratio of extents).
struct Target {
    sizes: Vec<Expr>,
    scales: Vec<f64>,
}

/// Before operator set 11: coordinates are scaled, and the nearest element is the one below.
fn upsample(cx: &mut Cx<'_>, node: &NodeProto) -> Result<Vec<Val>> {
    let x = cx.input(node, 0)?;
    let scales = match node.attr_floats("scales")? {
        Some(scales) => scales.iter().map(|s| f64::from(*s)).collect(),
        None => cx.floats(node, 1)?,
    };
    let target = scaled(cx, x, scales, &[])?;
    let mode = node.attr_s_or("mode", "nearest")?;
    let mode = if mode == "bilinear" { "linear" } else { mode };
    let attrs = Attrs::new()
        .with("mode", mode)
        .with("coordinate", "asymmetric")
        .with("nearest", "floor")
        .with("cubic_coeff", -0.75)
        .with("exclude_outside", false)
        .with("antialias", false)
        .with("roi", Vec::<f64>::new())
        .with("extrapolation", 0.0);
    resample(cx, x, target, attrs)
}

fn resize(cx: &mut Cx<'_>, node: &NodeProto) -> Result<Vec<Val>> {
    if cx.opset() < 11 {
        return upsample(cx, node);
    }
    let x = cx.input(node, 0)?;
    let rank = cx.rank(x);
    let axes = match node.attr_ints("axes")? {
        Some(axes) => axes
            .iter()
            .map(|a| cx.axis(*a, rank))
            .collect::<Result<_>>()?,
        None => (0..rank).collect::<Vec<_>>(),
    };
    let coordinate = node.attr_s_or("coordinate_transformation_mode", "half_pixel")?;
    let crops = coordinate == "tf_crop_and_resize";
    let roi = if crops {
        region(cx, node, &axes, rank)?
    } else {
        vec![]
    };
    let has_scales = match cx.optional(node, 2)? {
        Some(scales) => !cx.ty(scales).count().is(0),
        None => false,
    };
    let target = if has_scales {
        if let Some(sizes) = cx.optional(node, 3)?
            && !cx.ty(sizes).count().is(0)
        {
            return Err(cx.invalid("both scales and sizes: one of these at most"));
        }
        let given = cx.floats(node, 2)?;
        let scales = spread(cx, &axes, &given, rank)?;
        scaled(cx, x, scales, &roi)?
    } else {
        sized(cx, node, x, &axes)?
    };
    let attrs = Attrs::new()
        .with("mode", node.attr_s_or("mode", "nearest")?)
        .with("coordinate", coordinate)
        .with(
            "nearest",
            node.attr_s_or("nearest_mode", "round_prefer_floor")?,
        )
        .with(
            "cubic_coeff",
            f64::from(node.attr_f_or("cubic_coeff_a", -0.75)?),
        )
        .with(
            "exclude_outside",
            node.attr_bool_or("exclude_outside", false)?,
        )
        .with("antialias", node.attr_bool_or("antialias", false)?)
        .with("roi", roi)
        .with(
            "extrapolation",
            f64::from(node.attr_f_or("extrapolation_value", 0.0)?),
        );
    resample(cx, x, target, attrs)
}

fn resample(cx: &mut Cx<'_>, x: ValueId, target: Target, attrs: Attrs) -> Result<Vec<Val>> {
    let attrs = attrs
        .with("sizes", target.sizes)
        .with("scales", target.scales);
    cx.row("resize", &[x], attrs).map(one)
}

/// Starts, then ends, of all axes; axes that are not listed are whole.
fn region(cx: &mut Cx<'_>, node: &NodeProto, axes: &[usize], rank: usize) -> Result<Vec<f64>> {
    let given = cx.floats(node, 1)?;
    if given.len() != 2 * axes.len() {
        return Err(cx.invalid("roi does not fit the axes"));
    }
    let mut roi = [vec![0.0; rank], vec![1.0; rank]].concat();
    for (k, axis) in axes.iter().enumerate() {
        roi[*axis] = given[k];
        roi[rank + axis] = given[axes.len() + k];
    }
    Ok(roi)
}

/// One scale per axis, 1 for those not listed.
fn spread(cx: &Cx<'_>, axes: &[usize], given: &[f64], rank: usize) -> Result<Vec<f64>> {
    if given.len() != axes.len() {
        let (found, want) = (given.len(), axes.len());
        return Err(cx.invalid(format!("{found} scales for {want} axes")));
    }
    let mut scales = vec![1.0; rank];
    axes.iter().zip(given).for_each(|(a, s)| scales[*a] = *s);
    Ok(scales)
}

fn scaled(cx: &Cx<'_>, x: ValueId, scales: Vec<f64>, roi: &[f64]) -> Result<Target> {
    let shape = cx.shape(x);
    let rank = shape.len();
    if scales.len() != rank || scales.iter().any(|s| s.is_nan() || *s <= 0.0) {
        return Err(cx.invalid(format!("scales {scales:?} for a tensor of rank {rank}")));
    }
    let mut sizes = Vec::new();
    for (d, extent) in shape.iter().enumerate() {
        let share = if roi.is_empty() {
            1.0
        } else {
            roi[rank + d] - roi[d]
        };
        sizes.push(scaled_extent(cx, extent, scales[d] * share)?);
    }
    Ok(Target { sizes, scales })
}

fn scaled_extent(cx: &Cx<'_>, extent: &Expr, scale: f64) -> Result<Expr> {
    let whole = |s: f64| (s.fract() == 0.0 && (1.0..65536.0).contains(&s)).then_some(s as i64);
    if let Some(n) = extent.as_const() {
        let size = (n as f64 * scale).floor();
        return match (0.0..1e12).contains(&size) {
            true => Ok((size as i64).into()),
            false => Err(cx.invalid(format!("extent {n} scaled by {scale}"))),
        };
    }
    match (whole(scale), whole(1.0 / scale)) {
        (Some(times), _) => Ok(extent.clone() * times),
        (_, Some(parts)) => Ok(extent.div(parts).simplify(&cx.ranges())),
        _ => Err(cx.unsupported(format!("the symbolic extent {extent} scaled by {scale}"))),
    }
}

fn sized(cx: &mut Cx<'_>, node: &NodeProto, x: ValueId, axes: &[usize]) -> Result<Target> {
    let given = cx.dims(node, 3)?;
    let shape = cx.shape(x);
    if given.len() != axes.len() {
        let (found, want) = (given.len(), axes.len());
        return Err(cx.invalid(format!("{found} sizes for {want} axes")));
    }
    let mut sizes = shape.clone();
    axes.iter()
        .zip(&given)
        .for_each(|(a, s)| sizes[*a] = s.clone());
    let policy = node.attr_s_or("keep_aspect_ratio_policy", "stretch")?;
    if policy == "stretch" {
        let scales = vec![];
        return Ok(Target { sizes, scales });
    }
    let ratios: Option<Vec<f64>> = (axes.iter())
        .map(|a| Some(sizes[*a].as_const()? as f64 / shape[*a].as_const()? as f64))
        .collect();
    let ratios = ratios.ok_or_else(|| cx.unsupported("an aspect ratio of symbolic extents"))?;
    let scale = match policy {
        "not_larger" => ratios.iter().copied().fold(f64::INFINITY, f64::min),
        "not_smaller" => ratios.iter().copied().fold(0.0, f64::max),
        other => return Err(cx.invalid(format!("keep_aspect_ratio_policy {other:?}"))),
    };
    let mut scales = vec![1.0; shape.len()];
    for axis in axes {
        let extent = shape[*axis].as_const().unwrap_or(0) as f64;
        sizes[*axis] = ((scale * extent + 0.5).floor() as i64).into();
        scales[*axis] = scale;
    }
    Ok(Target { sizes, scales })
}
