//! Operators that move elements by rules known at import.
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::ValueId;

use super::cx::Cx;
use super::registry::{OpImport, onnx};
use super::value::{Val, all, one};
use crate::error::Result;
use crate::proto::NodeProto;

type Vals = Result<Vec<Val>>;

pub(crate) const OPS: &[OpImport] = &[
    onnx("Transpose", transpose),
    onnx("Concat", concat),
    onnx("Split", split),
    onnx("Slice", slice),
    onnx("Pad", pad),
    onnx("CenterCropPad", center_crop_pad),
];

fn transpose(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = cx.input(node, 0)?;
    let rank = cx.rank(x);
    let perm = match node.attr_ints("perm")? {
        Some(perm) => perm
            .iter()
            .map(|p| cx.axis(*p, rank))
            .collect::<Result<_>>()?,
        None => (0..rank).rev().collect::<Vec<_>>(),
    };
    let mut seen = perm.clone();
    seen.sort_unstable();
    if !seen.into_iter().eq(0..rank) {
        return Err(cx.invalid(format!("perm {perm:?} does not name each axis once")));
    }
    cx.transpose(x, &perm).map(one)
}

fn concat(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let inputs = cx.inputs(node)?;
    let Some(first) = inputs.first() else {
        return Err(cx.invalid("it has no operands"));
    };
    let axis = match node.attr_i("axis")? {
        None if cx.opset() >= 4 => return Err(cx.invalid("attribute axis is missing")),
        axis => cx.axis(axis.unwrap_or(1), cx.rank(*first))?,
    };
    cx.concat(&inputs, axis).map(one)
}

fn split(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = cx.input(node, 0)?;
    let axis = cx.axis(node.attr_i_or("axis", 0)?, cx.rank(x))?;
    let extent = cx.shape(x)[axis].clone();
    let parts = split_extents(cx, node, &extent)?;
    let sum = parts
        .iter()
        .fold(Expr::from(0), |sum, part| sum + part.clone());
    if (sum.clone() - extent.clone())
        .as_const()
        .is_some_and(|rest| rest != 0)
    {
        return Err(cx.invalid(format!(
            "parts of {sum} elements of axis {axis}, which has {extent}"
        )));
    }
    let mut start = Expr::from(0);
    let mut outputs = Vec::new();
    for part in parts {
        outputs.push(cx.slice_axis(x, axis, start.clone(), part.clone())?);
        start = start + part;
    }
    Ok(all(outputs))
}

fn split_extents(cx: &mut Cx<'_>, node: &NodeProto, extent: &Expr) -> Result<Vec<Expr>> {
    if node.operand(1).is_some() {
        return cx.dims(node, 1);
    }
    if let Some(parts) = node.attr_ints("split")? {
        return Ok(parts.iter().map(|n| Expr::from(*n)).collect());
    }
    let count = node.attr_i_or("num_outputs", node.output.len() as i64)?;
    if !(1..=1 << 16).contains(&count) {
        return Err(cx.invalid(format!("{count} results")));
    }
    let chunk = extent.ceil_div(count).simplify(&cx.ranges());
    let part = |k: i64| {
        let left = extent.clone() - chunk.clone() * k;
        left.at_most(chunk.clone())
            .at_least(0)
            .simplify(&cx.ranges())
    };
    let even = chunk.clone() * count == *extent;
    Ok((0..count)
        .map(|k| if even { chunk.clone() } else { part(k) })
        .collect())
}

/// Starts, ends, axes and steps of a slice, before clamping.
struct Bounds {
    starts: Vec<Expr>,
    ends: Vec<Expr>,
    axes: Vec<usize>,
    steps: Vec<i64>,
}

fn bounds(cx: &mut Cx<'_>, node: &NodeProto, rank: usize) -> Result<Bounds> {
    let exprs = |v: &[i64]| v.iter().map(|n| Expr::from(*n)).collect::<Vec<_>>();
    let (starts, ends) = if cx.opset() < 10 {
        let starts = node.require_attr("starts", node.attr_ints("starts")?)?;
        let ends = node.require_attr("ends", node.attr_ints("ends")?)?;
        (exprs(starts), exprs(ends))
    } else {
        (cx.dims(node, 1)?, cx.dims(node, 2)?)
    };
    let axes = match node.attr_ints("axes")? {
        Some(axes) => axes.to_vec(),
        None if node.operand(3).is_some() => cx.ints(node, 3)?,
        None => (0..starts.len() as i64).collect(),
    };
    let steps = match node.operand(4) {
        Some(_) => cx.ints(node, 4)?,
        None => vec![1; starts.len()],
    };
    let axes: Vec<usize> = axes
        .iter()
        .map(|a| cx.axis(*a, rank))
        .collect::<Result<_>>()?;
    let count = starts.len();
    if [ends.len(), axes.len(), steps.len()] != [count; 3] {
        return Err(cx.invalid("starts, ends, axes and steps differ in length"));
    }
    Ok(Bounds {
        starts,
        ends,
        axes,
        steps,
    })
}

fn slice(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = cx.input(node, 0)?;
    let rank = cx.rank(x);
    let Bounds {
        starts,
        ends,
        axes,
        steps,
    } = bounds(cx, node, rank)?;
    let shape = cx.shape(x);
    let mut at = vec![Expr::from(0); rank];
    let mut sizes = shape.clone();
    let mut strides = vec![1; rank];
    for (k, axis) in axes.into_iter().enumerate() {
        let (start, size) = clamped(cx, &starts[k], &ends[k], steps[k], &shape[axis])?;
        (at[axis], sizes[axis], strides[axis]) = (start, size, steps[k]);
    }
    cx.slice(x, at, sizes, strides).map(one)
}

/// First index and number of elements of a slice of an axis of extent `n`.
fn clamped(cx: &Cx<'_>, start: &Expr, end: &Expr, step: i64, n: &Expr) -> Result<(Expr, Expr)> {
    let ranges = cx.ranges();
    let absolute = |e: &Expr| {
        // Beyond any extent; keeps sums far from overflow.
        const FAR: i64 = 1 << 47;
        let e = e
            .as_const()
            .map_or(e.clone(), |c| c.clamp(-FAR, FAR).into());
        if ranges.proves_non_negative(&e) {
            Ok(e)
        } else if ranges.proves_non_negative(&(-e.clone() - 1)) {
            Ok(e + n.clone())
        } else {
            Err(cx.unsupported(format!("the bound {e} may be negative or not")))
        }
    };
    let (low, high) = match step {
        0 | i64::MIN => return Err(cx.invalid(format!("step {step}"))),
        1.. => (Expr::from(0), n.clone()),
        _ => (Expr::from(-1), n.clone() - 1),
    };
    let clamp = |e: Expr, low: &Expr| {
        e.at_most(high.clone())
            .at_least(low.clone())
            .simplify(&ranges)
    };
    let (start, end) = (absolute(start)?, absolute(end)?);
    let (start, end) = (clamp(start, &0.into()), clamp(end, &low));
    let gap = if step > 0 {
        end - start.clone()
    } else {
        start.clone() - end
    };
    let size = gap.ceil_div(step.abs()).at_least(0).simplify(&ranges);
    if size.is(0) || n.is(0) {
        return Ok((0.into(), 0.into()));
    }
    Ok((start, size))
}

fn pad(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = cx.input(node, 0)?;
    let (rank, dtype) = (cx.rank(x), cx.dtype(x));
    let (pads, value) = if cx.opset() < 11 {
        let pads = node.attr_ints("pads")?.or(node.attr_ints("paddings")?);
        let pads = node.require_attr("pads", pads)?;
        let pads = pads.iter().map(|n| Expr::from(*n)).collect();
        (pads, cx.scalar(dtype, node.attr_f_or("value", 0.0)?.into()))
    } else {
        let pads = cx.dims(node, 1)?;
        let value = match cx.optional(node, 2)? {
            Some(value) => cx.reshape(value, vec![])?,
            None => cx.scalar(dtype, 0.0),
        };
        (pads, value)
    };
    let axes = match node.operand(3) {
        Some(_) => cx.ints(node, 3)?,
        None => (0..rank as i64).collect(),
    };
    let axes: Vec<usize> = axes
        .iter()
        .map(|a| cx.axis(*a, rank))
        .collect::<Result<_>>()?;
    if pads.len() != 2 * axes.len() {
        let (found, want) = (pads.len(), 2 * axes.len());
        return Err(cx.invalid(format!("{found} pads, want {want}")));
    }
    let (mut before, mut after) = (vec![Expr::from(0); rank], vec![Expr::from(0); rank]);
    for (k, axis) in axes.iter().enumerate() {
        before[*axis] = pads[k].clone();
        after[*axis] = pads[axes.len() + k].clone();
    }
    let mode = node.attr_s_or("mode", "constant")?;
    pad_or_crop(cx, x, value, before, after, mode).map(one)
}

/// Pads; negative amounts crop.
fn pad_or_crop(
    cx: &mut Cx<'_>,
    x: ValueId,
    value: ValueId,
    mut before: Vec<Expr>,
    mut after: Vec<Expr>,
    mode: &str,
) -> Result<ValueId> {
    let ranges = cx.ranges();
    let mut sizes = cx.shape(x);
    let mut starts = vec![Expr::from(0); sizes.len()];
    for d in 0..sizes.len() {
        for (amount, first) in [(&mut before[d], true), (&mut after[d], false)] {
            if ranges.proves_non_negative(amount) {
                continue;
            }
            let crop = (-amount.clone()).at_least(0).simplify(&ranges);
            *amount = amount.at_least(0).simplify(&ranges);
            sizes[d] = sizes[d].clone() - crop.clone();
            if first {
                starts[d] = crop;
            }
        }
    }
    if mode == "reflect" {
        for (extent, amount) in sizes.iter().zip(&before).chain(sizes.iter().zip(&after)) {
            check_reflection(cx, extent, amount)?;
        }
    }
    let pads = before.iter().zip(&after).map(|(b, a)| !b.is(0) || !a.is(0));
    if mode != "constant" && sizes.iter().zip(pads).any(|(n, pads)| pads && n.is(0)) {
        return Err(cx.invalid(format!("pads an axis of no elements by mode {mode:?}")));
    }
    let steps = vec![1; sizes.len()];
    let cropped = cx.slice(x, starts, sizes, steps)?;
    cx.pad(cropped, value, before, after, mode)
}

/// Checks that an axis has more elements than are mirrored at its end; where that depends on a
/// dimension of an input, smaller values of it are excluded, with a note.
fn check_reflection(cx: &mut Cx<'_>, extent: &Expr, amount: &Expr) -> Result<()> {
    let spare = extent.clone() - 1 - amount.clone();
    if amount.is(0) || cx.ranges().proves_non_negative(&spare) {
        return Ok(());
    }
    if spare.as_const().is_some() {
        return Err(cx.invalid(format!(
            "reflects {amount} elements at the end of an axis of {extent}: one less than these at most"
        )));
    }
    let symbol = spare.symbols().into_iter().find_map(|symbol| {
        let rest = spare.clone() - Expr::size(symbol.clone());
        Some((symbol, -rest.as_const()?))
    });
    match symbol {
        Some((symbol, least)) => cx.at_least(&symbol, least),
        None => Err(cx.unsupported(format!(
            "reflection of {amount} elements at the end of an axis of {extent}"
        ))),
    }
}

fn center_crop_pad(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = cx.input(node, 0)?;
    let wanted = cx.dims(node, 1)?;
    let rank = cx.rank(x);
    let axes = match node.attr_ints("axes")? {
        Some(axes) => axes
            .iter()
            .map(|a| cx.axis(*a, rank))
            .collect::<Result<_>>()?,
        None => (0..rank).collect::<Vec<_>>(),
    };
    if axes.len() != wanted.len() {
        return Err(cx.invalid("shape and axes differ in length"));
    }
    let shape = cx.shape(x);
    let (mut before, mut after) = (vec![Expr::from(0); rank], vec![Expr::from(0); rank]);
    for (axis, want) in axes.into_iter().zip(wanted) {
        if want.as_const().is_some_and(|n| n < 0) {
            return Err(cx.invalid(format!("extent {want}")));
        }
        let gap = (want.clone() - shape[axis].clone()).as_const();
        let gap = gap.ok_or_else(|| cx.unsupported(format!("{want} of {}", shape[axis])))?;
        // What is odd goes behind: more of the padding, and more of what is cut off.
        let first = if gap >= 0 { gap / 2 } else { -(-gap / 2) };
        (before[axis], after[axis]) = (first.into(), (gap - first).into());
    }
    let zero = cx.scalar(cx.dtype(x), 0.0);
    pad_or_crop(cx, x, zero, before, after, "constant").map(one)
}
