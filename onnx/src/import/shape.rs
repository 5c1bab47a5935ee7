//! Shapes, and tensors under other shapes.
use tensmith_ir::expr::{Expr, product};
use tensmith_ir::graph::{Attrs, ValueId};

use super::cx::Cx;
use super::refusal;
use super::registry::{OpImport, onnx};
use super::value::{Val, one};
use crate::error::Result;
use crate::proto::NodeProto;

type Vals = Result<Vec<Val>>;

pub(crate) const OPS: &[OpImport] = &[
    onnx("Shape", shape),
    onnx("Size", |cx, node| {
        let x = cx.input(node, 0)?;
        let count = cx.ty(x).count();
        cx.size_value(&count).map(one)
    }),
    onnx("Reshape", reshape),
    onnx("Flatten", |cx, node| {
        let x = cx.input(node, 0)?;
        let axis = node.attr_i_or("axis", 1)?;
        flatten(cx, x, axis).map(one)
    }),
    onnx("Squeeze", squeeze),
    onnx("Unsqueeze", unsqueeze),
    onnx("Expand", expand),
    onnx("Tile", tile),
    onnx("DepthToSpace", depth_to_space),
    onnx("SpaceToDepth", space_to_depth),
];

fn shape(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = cx.input(node, 0)?;
    let dims = cx.shape(x);
    let rank = dims.len() as i64;
    let clamped = |at: i64| (if at < 0 { at + rank } else { at }).clamp(0, rank) as usize;
    let start = clamped(node.attr_i_or("start", 0)?);
    let end = clamped(node.attr_i_or("end", rank)?).max(start);
    cx.dims_value(&dims[start..end]).map(one)
}

fn reshape(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = cx.input(node, 0)?;
    let wanted = match node.attr_ints("shape")? {
        Some(shape) if cx.opset() < 5 => shape.iter().map(|n| Expr::from(*n)).collect(),
        _ => cx.dims(node, 1)?,
    };
    let keep_zero = node.attr_bool_or("allowzero", false)?;
    let shape = resolve_shape(cx, &cx.shape(x), wanted, keep_zero)?;
    cx.reshape(x, shape).map(one)
}

/// The shape that Reshape's operand means: 0 copies an extent, -1 is what remains.
fn resolve_shape(
    cx: &Cx<'_>,
    from: &[Expr],
    mut wanted: Vec<Expr>,
    keep_zero: bool,
) -> Result<Vec<Expr>> {
    for (d, extent) in wanted.iter_mut().enumerate() {
        if extent.is(0) && !keep_zero {
            let copied = from.get(d).ok_or_else(|| cx.invalid("0 copies no axis"))?;
            *extent = copied.clone();
        }
    }
    let mut open = (0..wanted.len()).filter(|d| wanted[*d].is(-1));
    let (first, second) = (open.next(), open.next());
    if second.is_some() {
        return Err(cx.invalid("-1 occurs twice"));
    }
    if let Some(d) = first {
        wanted[d] = 1.into();
        wanted[d] = quotient(cx, &product(from), from, &wanted)?;
    }
    match wanted.iter().find(|e| e.as_const().is_some_and(|n| n < 0)) {
        Some(extent) => Err(cx.invalid(format!("extent {extent} of the shape is negative"))),
        None => Ok(wanted),
    }
}

/// The element count over the product of the other extents, which must divide it.
fn quotient(cx: &Cx<'_>, count: &Expr, from: &[Expr], others: &[Expr]) -> Result<Expr> {
    let known = product(others);
    if known.is(0) || count.is(0) {
        return Ok(0.into());
    }
    // Extents on both sides cancel, whatever they are.
    let mut left: Vec<Expr> = from.to_vec();
    let mut divisors = Vec::new();
    for extent in others {
        match left.iter().position(|e| e == extent) {
            Some(at) => drop(left.remove(at)),
            None => divisors.push(extent.clone()),
        }
    }
    let (count, by) = (product(&left), product(&divisors));
    let quotient = count.div(by.clone()).simplify(&cx.ranges());
    if quotient.clone() * by.clone() == count {
        return Ok(quotient);
    }
    match (count.as_const(), by.as_const()) {
        (Some(n), Some(d)) => Err(cx.invalid(format!("{n} elements are no multiple of {d}"))),
        _ => Err(cx.unsupported(format!("{count} is not proved to be a multiple of {by}"))),
    }
}

/// A matrix: axes before `axis` together, and those from `axis` on.
pub(crate) fn flatten(cx: &mut Cx<'_>, x: ValueId, axis: i64) -> Result<ValueId> {
    let shape = cx.shape(x);
    let rank = shape.len() as i64;
    let at = if axis < 0 { axis + rank } else { axis };
    if !(0..=rank).contains(&at) {
        return Err(cx.invalid(format!("axis {axis} is outside of rank {rank}")));
    }
    let (rows, columns) = shape.split_at(at as usize);
    cx.reshape(x, vec![product(rows), product(columns)])
}

/// Axes out of operand 1 (from operator set 13 on) or the attribute.
fn axes_of(cx: &mut Cx<'_>, node: &NodeProto) -> Result<Option<Vec<i64>>> {
    if node.operand(1).is_some() {
        return cx.ints(node, 1).map(Some);
    }
    Ok(node.attr_ints("axes")?.map(<[i64]>::to_vec))
}

fn squeeze(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = cx.input(node, 0)?;
    let shape = cx.shape(x);
    let axes = match axes_of(cx, node)? {
        Some(axes) => cx.axes(&axes, shape.len())?,
        None => (0..shape.len()).filter(|d| shape[*d].is(1)).collect(),
    };
    if let Some(d) = axes.iter().find(|d| !shape[**d].is(1)) {
        let what = format!("axis {d} has extent {}, which is not 1", shape[*d]);
        return Err(match shape[*d].as_const() {
            Some(_) => cx.invalid(what),
            None => cx.unsupported(what),
        });
    }
    let kept = shape.iter().enumerate().filter(|(d, _)| !axes.contains(d));
    let kept = kept.map(|(_, e)| e.clone()).collect();
    cx.reshape(x, kept).map(one)
}

fn unsqueeze(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = cx.input(node, 0)?;
    let axes = node.require_attr("axes", axes_of(cx, node)?)?;
    let mut shape = cx.shape(x);
    for axis in cx.axes(&axes, shape.len() + axes.len())? {
        shape.insert(axis, 1.into());
    }
    cx.reshape(x, shape).map(one)
}

fn expand(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = cx.input(node, 0)?;
    let wanted = cx.dims(node, 1)?;
    let own = cx.shape(x);
    let shape = broadcast(cx, &own, &wanted)?;
    // An extent of 1 against a larger one of `x` keeps that.
    cx.expand(x, shape).map(one)
}

/// The shape that two shapes broadcast to.
pub(crate) fn broadcast(cx: &mut Cx<'_>, a: &[Expr], b: &[Expr]) -> Result<Vec<Expr>> {
    tensmith_ir::ops::broadcast_shapes(&[a, b]).map_err(|reason| {
        if let Some((symbol, most)) = refusal::greatest_to_broadcast(&cx.ranges(), &[a, b]) {
            cx.at_most(&symbol, most);
        }
        cx.unproved(&[a, b], reason)
    })
}

fn tile(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = cx.input(node, 0)?;
    let repeats = cx.dims(node, 1)?;
    if repeats.iter().all(|r| r.is(1)) {
        return Ok(one(x));
    }
    cx.row("tile", &[x], Attrs::new().with("repeats", repeats))
        .map(one)
}

/// Batch, channels, height, width and the block size.
fn blocks(cx: &mut Cx<'_>, node: &NodeProto) -> Result<(ValueId, [Expr; 4], i64)> {
    let x = cx.input(node, 0)?;
    let block = node.require_attr("blocksize", node.attr_i("blocksize")?)?;
    let shape: [Expr; 4] = (cx.shape(x).try_into()).map_err(|_| cx.invalid("rank is not 4"))?;
    match (1..=1 << 20).contains(&block) {
        true => Ok((x, shape, block)),
        false => Err(cx.invalid(format!("block size {block}"))),
    }
}

fn depth_to_space(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let (x, [_, c, ..], block) = blocks(cx, node)?;
    let groups = match node.attr_s_or("mode", "DCR")? {
        "CRD" => {
            let results = c.div(block * block).as_const();
            results
                .ok_or_else(|| cx.unsupported(format!("{c} channels")))?
                .max(1)
        }
        _ => 1,
    };
    let attrs = Attrs::new()
        .with("blocks", vec![block, block])
        .with("phases", vec![block, block])
        .with("groups", groups);
    cx.row("depth_to_space", &[x], attrs).map(one)
}

fn space_to_depth(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let (x, [n, c, h, w], block) = blocks(cx, node)?;
    let b = Expr::from(block);
    let (rows, columns) = (h.div(block), w.div(block));
    let split = vec![
        n.clone(),
        c.clone(),
        rows.clone(),
        b.clone(),
        columns.clone(),
        b,
    ];
    let y = cx.reshape(x, split)?;
    let perm = match node.attr_s_or("mode", "DCR")? {
        "CRD" => [0, 1, 3, 5, 2, 4],
        _ => [0, 3, 5, 1, 2, 4],
    };
    let y = cx.transpose(y, &perm)?;
    cx.reshape(y, vec![n, c * block * block, rows, columns])
        .map(one)
}
