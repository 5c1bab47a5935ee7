//! Writes what only moves elements in one way: repeated elements, slices, and what they are of.
//!
//! Requires: nothing.
//! Ensures: no tile of an axis of extent 1, no concatenation of one value along such an axis, no
//! gather by constant indices or tuples that run in steps or repeat each place, or that turn two to
//! four parts; no expanded operand and no
//! constant with repetitions of scalar work that repeats it anyway; no slice of a scalar function;
//! no slice of a transpose that only slices read, and no transpose of what is only padded for it;
//! no slices in steps along the last axis, if together they take all of it, and no slice of parts of
//! an axis that a reshape splits before another one; no transpose of what is
//! repeated, and no transpose before axes of extent 1 are left out.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "k" : f32[2, 3]
//!   %1 = input "x" : f32[4, 3]
//!   %2 = const "i" : i64[4] = [0, 0, 1, 1]
//!   %3 = gather(%0, %2) {axis=0} "g" : f32[4, 3]
//!   %4 = reshape(%3) {shape=[4, 1, 3]} "r" : f32[4, 1, 3]
//!   %5 = tile(%4) {repeats=[1, 5, 1]} "t" : f32[4, 5, 3]
//!   %6 = reshape(%1) {shape=[4, 1, 3]} "s" : f32[4, 1, 3]
//!   %7 = expand(%6) {shape=[4, 5, 3]} "e" : f32[4, 5, 3]
//!   %8 = add(%5, %7) {} "y" : f32[4, 5, 3]
//!   %9 = exp(%8) {} "z" : f32[4, 5, 3]
//!   %10 = slice(%9) {starts=[0, 1, 0], sizes=[4, 1, 3], steps=[1, 1, 1]} "p" : f32[4, 1, 3]
//!   output "y" = %10
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "k" : f32[2, 3]
//!   %1 = input "x" : f32[4, 3]
//!   %2 = repeat(%0) {counts=[2, 1]} "g" : f32[4, 3]
//!   %3 = reshape(%2) {shape=[4, 1, 3]} "r" : f32[4, 1, 3]
//!   %4 = reshape(%1) {shape=[4, 1, 3]} "s" : f32[4, 1, 3]
//!   %5 = expand(%4) {shape=[4, 5, 3]} "e" : f32[4, 5, 3]
//!   %6 = add(%3, %5) {} "y" : f32[4, 5, 3]
//!   %7 = slice(%6) {starts=[0, 1, 0], sizes=[4, 1, 3], steps=[1, 1, 1]} "p" : f32[4, 1, 3]
//!   %8 = exp(%7) {} "p" : f32[4, 1, 3]
//!   output "y" = %8
//! }
//! ```
//! Source: the definitions of the ops.
use super::Rewriter;
use super::constant_gathers::{gathered, gathered_tuples};
use super::shape_groups::{broadcasts, dim_groups};
use std::collections::HashSet;
use tensmith_ir::expr::{Expr, product};
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, NodeId, ValueId};
use tensmith_ir::ops::Class;
use tensmith_ir::tensor::Tensor;

type Found = Result<Option<ValueId>, GraphError>;

/// Constants of more elements are not searched for repetitions.
const REPEATED: usize = 1 << 16;

/// The graph with simple movements.
///
/// Errors: never for a valid graph.
pub fn simplify_movement(graph: &Graph) -> Result<Graph, GraphError> {
    let uses = graph.uses();
    Rewriter::run(graph, &mut |cx, node| {
        let found = match node.op.name {
            "tile" | "concat" => repeated(cx, node)?,
            "gather" => gathered(cx, node)?,
            "gather_nd" => gathered_tuples(cx, node)?,
            "reshape" => match merged(cx, node)? {
                Some(found) => Some(found),
                None if let Some(found) = of_joined(cx, node, &uses)? => Some(found),
                None => {
                    let x = cx.get(node.inputs[0]);
                    let to = cx.old.ty(node.outputs[0]).shape.clone();
                    narrowed(cx, x, &to, &node.name)?
                }
            },
            "transpose" => transposed(cx, node, &uses)?,
            "slice" => {
                // What is computed for others is not computed once more.
                let of = node.inputs[0];
                let users = &uses[of.0 as usize];
                let sliced = |n: &NodeId| graph.node(*n).op.name == "slice";
                let only = users.iter().all(sliced) && !graph.outputs.contains(&of);
                match only
                    .then(|| sliced_function(cx, node))
                    .transpose()?
                    .flatten()
                {
                    Some(found) => Some(found),
                    None if only && let Some(found) = of_cut(cx, node)? => Some(found),
                    None => match of_pairs(cx, node, users)? {
                        Some(found) => Some(found),
                        None if only => match of_transpose(cx, node)? {
                            Some(found) => Some(found),
                            None => of_split_axis(cx, node, &uses)?,
                        },
                        None => of_split_axis(cx, node, &uses)?,
                    },
                }
            }
            _ if node.op.class == Class::Elementwise => {
                let scalar = |n: &NodeId| graph.node(*n).op.class == Class::Elementwise;
                let wanted = |v: &ValueId| !uses[v.0 as usize].iter().all(scalar);
                match without_expansions(cx, node, &wanted)? {
                    Some(found) => Some(found),
                    None if wanted(&node.outputs[0])
                        || graph.outputs.contains(&node.outputs[0]) =>
                    {
                        None
                    }
                    None => expanded_later(cx, node, &wanted)?,
                }
            }
            _ => None,
        };
        Ok(found.map(|v| vec![v]))
    })
}

/// A tile, or a concatenation of one value, of an axis of extent 1.
fn repeated(cx: &mut Rewriter<'_>, node: &Node) -> Found {
    let operands = cx.operands(node);
    let x = operands[0];
    let from = &cx.ty(x).shape;
    let to = &cx.old.ty(node.outputs[0]).shape;
    let same = operands.iter().all(|v| *v == x);
    let fits = from.iter().zip(to).all(|(a, b)| a == b || a.is(1));
    if !same || !fits || from == to {
        return Ok(None);
    }
    expanded(cx, node, x).map(Some)
}

fn expanded(cx: &mut Rewriter<'_>, node: &Node, x: ValueId) -> Result<ValueId, GraphError> {
    let shape = cx.old.ty(node.outputs[0]).shape.clone();
    let attrs = Attrs::new().with("shape", shape);
    cx.add("expand", &node.name, &[x], attrs)
}

pub(super) fn repetition(
    cx: &mut Rewriter<'_>,
    node: &Node,
    x: ValueId,
    axis: usize,
    times: i64,
) -> Result<ValueId, GraphError> {
    let mut counts = vec![1; cx.ty(x).rank()];
    counts[axis] = times;
    cx.add(
        "repeat",
        &node.name,
        &[x],
        Attrs::new().with("counts", counts),
    )
}

/// A reshape that joins an axis with the one behind it, along which elements repeat.
fn merged(cx: &mut Rewriter<'_>, node: &Node) -> Found {
    let x = cx.get(node.inputs[0]);
    let Some(inner) = cx.producer(x, "expand") else {
        return Ok(None);
    };
    let from = inner.inputs[0];
    let (narrow, wide) = (cx.ty(from).shape.clone(), cx.ty(x).shape.clone());
    if narrow.len() != wide.len() {
        return Ok(None);
    }
    let differ: Vec<usize> = (0..wide.len()).filter(|d| narrow[*d] != wide[*d]).collect();
    let [axis] = differ[..] else { return Ok(None) };
    let Some(times) = wide[axis].as_const().filter(|_| axis > 0) else {
        return Ok(None);
    };
    let mut joined = wide.clone();
    joined[axis - 1] = joined[axis - 1].clone() * times;
    joined.remove(axis);
    if cx.old.ty(node.outputs[0]).shape != joined {
        return Ok(None);
    }
    let mut shape = narrow;
    shape.remove(axis);
    let single = shape[axis - 1].is(1);
    let from = cx.reshape(from, &shape, &node.name)?;
    match single {
        true => expanded(cx, node, from).map(Some),
        false => repetition(cx, node, from, axis - 1, times).map(Some),
    }
}

/// A slice of a function as the function of a slice.
fn sliced_function(cx: &mut Rewriter<'_>, node: &Node) -> Found {
    let x = cx.get(node.inputs[0]);
    let Some(id) = cx.new.producer(x) else {
        return Ok(None);
    };
    let inner = cx.new.node(id).clone();
    let (Class::Elementwise, [from]) = (inner.op.class, &inner.inputs[..]) else {
        return Ok(None);
    };
    let part = match of_part(cx, *from, &node.attrs, &node.name)? {
        Some(part) => part,
        None => cx.add("slice", &node.name, &[*from], node.attrs.clone())?,
    };
    cx.add(inner.op.name, &node.name, &[part], inner.attrs)
        .map(Some)
}

/// A slice of a concatenation, if it is as [`of_part`] says.
fn of_cut(cx: &mut Rewriter<'_>, node: &Node) -> Found {
    let x = cx.get(node.inputs[0]);
    of_part(cx, x, &node.attrs, &node.name)
}

/// A slice of a concatenation that lies in one part, as a slice of that.
fn of_part(cx: &mut Rewriter<'_>, x: ValueId, slice: &Attrs, label: &str) -> Found {
    let Some(joined) = cx.producer(x, "concat").cloned() else {
        return Ok(None);
    };
    let axis = joined.attrs.int("axis") as usize;
    let dims = |name: &str| slice.dims(name)[axis].as_const();
    let step = slice.ints("steps")[axis];
    let (Some(start), Some(size)) = (dims("starts"), dims("sizes")) else {
        return Ok(None);
    };
    if step < 1 || size < 1 {
        return Ok(None);
    }
    let mut before = 0;
    for part in joined.inputs {
        let Some(extent) = cx.ty(part).shape[axis].as_const() else {
            return Ok(None);
        };
        if (before..before + extent).contains(&start) {
            if start + (size - 1) * step >= before + extent {
                return Ok(None);
            }
            let mut starts = slice.dims("starts").to_vec();
            starts[axis] = (start - before).into();
            let attrs = slice.clone().with("starts", starts.clone());
            let plain = slice.ints("steps").iter().all(|s| *s == 1);
            let whole = cx.ty(part).shape == slice.dims("sizes");
            return match plain && whole && starts.iter().all(|e| e.is(0)) {
                true => Ok(Some(part)),
                false => cx.add("slice", label, &[part], attrs).map(Some),
            };
        }
        before += extent;
    }
    Ok(None)
}

/// A reshape of a concatenation of reshapes as the concatenation of what these are of, if it joins
/// the axis of the parts with those behind it.
fn of_joined(cx: &mut Rewriter<'_>, node: &Node, uses: &[Vec<NodeId>]) -> Found {
    let (x, of) = (cx.get(node.inputs[0]), node.inputs[0]);
    let alone = uses[of.0 as usize].len() == 1 && !cx.old.outputs.contains(&of);
    let Some(joined) = cx.producer(x, "concat").filter(|_| alone).cloned() else {
        return Ok(None);
    };
    let axis = joined.attrs.int("axis") as usize;
    let from = cx.ty(x).shape.clone();
    let to = cx.old.ty(node.outputs[0]).shape.clone();
    let groups = dim_groups(&from, &to).unwrap_or_default();
    let Some((own, along)) = groups.into_iter().find(|(f, _)| f.contains(&axis)) else {
        return Ok(None);
    };
    let is_first = (own.start..axis).all(|d| from[d].is(1));
    if !is_first || along.len() != 1 || own.len() < 2 {
        return Ok(None);
    }
    let behind = product(&from[axis + 1..own.end]);
    let mut parts = Vec::new();
    for part in joined.inputs {
        let mut shape = to.clone();
        shape[along.start] = cx.ty(part).shape[axis].clone() * behind.clone();
        let inner = cx.producer(part, "reshape").map(|n| n.inputs[0]);
        match inner.filter(|v| cx.ty(*v).shape == shape) {
            Some(inner) => parts.push(inner),
            None => return Ok(None),
        }
    }
    let attrs = Attrs::new().with("axis", along.start as i64);
    cx.add("concat", &node.name, &parts, attrs).map(Some)
}

/// A slice of parts of an axis that a reshape splits, as the reshape of a slice of that axis, if
/// others reshape it further.
fn of_split_axis(cx: &mut Rewriter<'_>, node: &Node, uses: &[Vec<NodeId>]) -> Found {
    let readers = &uses[node.outputs[0].0 as usize];
    let reshapes = |n: &NodeId| cx.old.node(*n).op.name == "reshape";
    if cx.old.outputs.contains(&node.outputs[0]) || !readers.iter().all(reshapes) {
        return Ok(None);
    }
    let x = cx.get(node.inputs[0]);
    let attrs = node.attrs.clone();
    split_axis(cx, x, &attrs, &node.name)
}

/// A slice of a value, if it is as [`of_split_axis`] says.
fn split_axis(cx: &mut Rewriter<'_>, x: ValueId, slice: &Attrs, label: &str) -> Found {
    let Some(from) = cx.producer(x, "reshape").map(|n| n.inputs[0]) else {
        return Ok(None);
    };
    let (narrow, wide) = (cx.ty(from).shape.clone(), cx.ty(x).shape.clone());
    let Some(groups) = dim_groups(&narrow, &wide) else {
        return Ok(None);
    };
    let [starts, sizes] = ["starts", "sizes"].map(|name| slice.dims(name));
    let in_steps = slice.ints("steps").iter().any(|s| *s != 1);
    let is_whole = |d: usize| starts[d].is(0) && sizes[d] == wide[d];
    let (mut start, mut size) = (vec![Expr::from(0); narrow.len()], narrow.clone());
    for (of, parts) in groups {
        let Some(cut) = parts.clone().find(|d| !is_whole(*d)) else {
            continue;
        };
        // A part of the first axis of several lies in one piece.
        let [outer, inner] = [parts.start..cut, cut + 1..parts.end];
        let is_first = outer.clone().all(|d| wide[d].is(1));
        if in_steps || of.len() != 1 || !is_first || !inner.clone().all(is_whole) {
            return Ok(None);
        }
        let piece = product(&wide[inner]);
        start[of.start] = starts[cut].clone() * piece.clone();
        size[of.start] = sizes[cut].clone() * piece;
    }
    let attrs = Attrs::new()
        .with("starts", start)
        .with("steps", vec![1; narrow.len()])
        .with("sizes", size);
    let part = cx.add("slice", label, &[from], attrs)?;
    cx.reshape(part, sizes, label).map(Some)
}

/// A slice of a transpose that only slices read, as the transpose of a slice.
fn of_transpose(cx: &mut Rewriter<'_>, node: &Node) -> Found {
    let x = cx.get(node.inputs[0]);
    let Some(inner) = cx.producer(x, "transpose").cloned() else {
        return Ok(None);
    };
    let (from, perm) = (inner.inputs[0], inner.attrs.ints("perm"));
    let place = |d: usize| perm.iter().position(|p| *p == d as i64).unwrap_or(d);
    let dims = |name: &str| -> Vec<Expr> {
        let own = node.attrs.dims(name);
        (0..perm.len()).map(|d| own[place(d)].clone()).collect()
    };
    let steps = node.attrs.ints("steps");
    let steps: Vec<i64> = (0..perm.len()).map(|d| steps[place(d)]).collect();
    let attrs = Attrs::new()
        .with("starts", dims("starts"))
        .with("sizes", dims("sizes"))
        .with("steps", steps);
    let part = match split_axis(cx, from, &attrs, &node.name)? {
        Some(part) => part,
        None => cx.add("slice", &node.name, &[from], attrs)?,
    };
    cx.add("transpose", &node.name, &[part], inner.attrs)
        .map(Some)
}

/// The step of a slice along the last axis, and where it starts, if it takes one element of each
/// step and all of the other axes.
fn phase(graph: &Graph, node: &Node) -> Option<(i64, i64)> {
    if node.op.name != "slice" {
        return None;
    }
    let (last, rest) = graph.ty(node.inputs[0]).shape.split_last()?;
    let (starts, sizes) = (node.attrs.dims("starts"), node.attrs.dims("sizes"));
    let steps = node.attrs.ints("steps");
    let whole = |d: usize| starts[d].is(0) && steps[d] == 1 && sizes[d] == rest[d];
    let axis = rest.len();
    let (step, start) = (steps[axis], starts[axis].as_const()?);
    let fits = step > 1 && start < step && sizes[axis].clone() * step == *last;
    ((0..axis).all(whole) && fits).then_some((step, start))
}

/// A slice in steps, of which there is one for each start, as one element of a last axis.
fn of_pairs(cx: &mut Rewriter<'_>, node: &Node, users: &[NodeId]) -> Found {
    let Some((step, start)) = phase(cx.old, node) else {
        return Ok(None);
    };
    let phases: HashSet<(i64, i64)> = users
        .iter()
        .filter_map(|n| phase(cx.old, cx.old.node(*n)))
        .collect();
    if !(0..step).all(|k| phases.contains(&(step, k))) {
        return Ok(None);
    }
    let x = cx.get(node.inputs[0]);
    let to = cx.old.ty(node.outputs[0]).shape.clone();
    let split = [&to[..], &[step.into()]].concat();
    let pairs = cx.reshape(x, &split, &node.name)?;
    let part = cx.slice(pairs, to.len(), (start.into(), 1.into(), 1), &node.name)?;
    cx.reshape(part, &to, &node.name).map(Some)
}

/// A transpose of what nothing else reads padded, as padding of the transpose.
fn padded(cx: &mut Rewriter<'_>, node: &Node, pad: &Node, uses: &[Vec<NodeId>]) -> Found {
    let alone = uses[node.inputs[0].0 as usize].len() == 1;
    if !alone || cx.old.outputs.contains(&node.inputs[0]) {
        return Ok(None);
    }
    let perm = node.attrs.ints("perm");
    let [before, after] = ["before", "after"].map(|name| {
        let amounts = pad.attrs.dims(name);
        let moved = perm.iter().map(|p| amounts[*p as usize].clone());
        moved.collect::<Vec<Expr>>()
    });
    let y = cx.add(
        "transpose",
        &node.name,
        &[pad.inputs[0]],
        node.attrs.clone(),
    )?;
    let attrs = pad
        .attrs
        .clone()
        .with("before", before)
        .with("after", after);
    cx.add("pad", &node.name, &[y, pad.inputs[1]], attrs)
        .map(Some)
}

/// A transpose of a reshape that only adds axes of extent 1 to what is padded, as such a reshape of a
/// transpose, which is one copy with the padding.
fn widened(cx: &mut Rewriter<'_>, node: &Node, reshape: &Node) -> Found {
    let from = reshape.inputs[0];
    if cx.producer(from, "pad").is_none() {
        return Ok(None);
    }
    let (narrow, wide) = (
        cx.ty(from).shape.clone(),
        reshape.attrs.dims("shape").to_vec(),
    );
    // The axis of the narrow shape that each axis of the wide one is.
    let mut next = 0;
    let mut axes = Vec::new();
    for extent in &wide {
        let same = narrow.get(next) == Some(extent);
        axes.push(same.then_some(next as i64));
        next += usize::from(same);
        if !same && !extent.is(1) {
            return Ok(None);
        }
    }
    if next < narrow.len() || narrow.len() == wide.len() {
        return Ok(None);
    }
    let perm = node.attrs.ints("perm");
    let order: Vec<i64> = perm.iter().filter_map(|p| axes[*p as usize]).collect();
    let attrs = Attrs::new().with("perm", order);
    let y = cx.add("transpose", &node.name, &[from], attrs)?;
    let to = cx.old.ty(node.outputs[0]).shape.clone();
    cx.reshape(y, &to, &node.name).map(Some)
}

/// A transpose of what is repeated as a repetition of the transpose.
fn transposed(cx: &mut Rewriter<'_>, node: &Node, uses: &[Vec<NodeId>]) -> Found {
    let x = cx.get(node.inputs[0]);
    let perm = node.attrs.ints("perm").to_vec();
    let inner = ["expand", "repeat", "pad", "reshape"]
        .iter()
        .find_map(|name| cx.producer(x, name));
    let Some(inner) = inner.cloned() else {
        return Ok(None);
    };
    match inner.op.name {
        "reshape" => return widened(cx, node, &inner),
        "pad" => return padded(cx, node, &inner, uses),
        _ => {}
    }
    let from = inner.inputs[0];
    if cx.ty(from).rank() != perm.len() {
        return Ok(None);
    }
    let y = cx.add("transpose", &node.name, &[from], node.attrs.clone())?;
    if inner.op.name == "expand" {
        return expanded(cx, node, y).map(Some);
    }
    let counts = inner.attrs.ints("counts");
    let counts: Vec<i64> = perm.iter().map(|p| counts[*p as usize]).collect();
    let attrs = Attrs::new().with("counts", counts);
    cx.add("repeat", &node.name, &[y], attrs).map(Some)
}

/// A reshape that leaves out axes of extent 1 of a transpose as a transpose of such a reshape.
pub(super) fn narrowed(cx: &mut Rewriter<'_>, x: ValueId, to: &[Expr], label: &str) -> Found {
    let Some(inner) = cx.producer(x, "transpose") else {
        return Ok(None);
    };
    let from = inner.inputs[0];
    let perm = inner.attrs.ints("perm").to_vec();
    let wide = cx.ty(x).shape.clone();
    let mut kept = Vec::new();
    for (d, extent) in wide.iter().enumerate() {
        match to.get(kept.len()) {
            Some(next) if next == extent => kept.push(d),
            _ if extent.is(1) => {}
            _ => return Ok(None),
        }
    }
    if kept.len() != to.len() || kept.len() == wide.len() {
        return Ok(None);
    }
    let order: Vec<i64> = kept.iter().map(|d| perm[*d]).collect();
    let mut axes = order.clone();
    axes.sort_unstable();
    let place = |p: &i64| axes.iter().position(|a| a == p).map_or(0, |k| k as i64);
    let perm: Vec<i64> = order.iter().map(place).collect();
    let of = cx.ty(from).shape.clone();
    let shape: Vec<Expr> = axes.iter().map(|a| of[*a as usize].clone()).collect();
    let narrow = cx.reshape(from, &shape, label)?;
    let attrs = Attrs::new().with("perm", perm);
    cx.add("transpose", label, &[narrow], attrs).map(Some)
}

/// Scalar work on what its operands are expanded from, where others have the result's shape, and
/// nothing else wants what is expanded.
fn without_expansions(
    cx: &mut Rewriter<'_>,
    node: &Node,
    wanted: &dyn Fn(&ValueId) -> bool,
) -> Found {
    let mut operands = cx.operands(node);
    let to = cx.old.ty(node.outputs[0]).shape.clone();
    let mut changed = false;
    for k in 0..operands.len() {
        let inner = cx.producer(operands[k], "expand");
        let inner = inner.filter(|_| !wanted(&node.inputs[k]));
        let from = match (inner, cx.constant(operands[k]).and_then(unrepeated)) {
            (Some(inner), _) => inner.inputs[0],
            (None, Some(t)) => cx.new.add_constant(&node.name, t),
            (None, None) => continue,
        };
        let mut others = operands.clone();
        others[k] = from;
        let shapes: Vec<&[Expr]> = others.iter().map(|v| &cx.ty(*v).shape[..]).collect();
        if broadcasts(&shapes, &to) {
            (operands, changed) = (others, true);
        }
    }
    if !changed {
        return Ok(None);
    }
    let y = cx.add(node.op.name, &node.name, &operands, node.attrs.clone())?;
    Ok(Some(y))
}

/// Scalar work on expanded operands that others repeat along no axis, as the expansion of that work
/// on what they are expanded from.
fn expanded_later(cx: &mut Rewriter<'_>, node: &Node, wanted: &dyn Fn(&ValueId) -> bool) -> Found {
    let mut operands = cx.operands(node);
    for (operand, old) in operands.iter_mut().zip(&node.inputs) {
        let inner = cx.producer(*operand, "expand");
        if let Some(inner) = inner.filter(|_| !wanted(old)) {
            *operand = inner.inputs[0];
        }
    }
    if operands == cx.operands(node) {
        return Ok(None);
    }
    let y = cx.add(node.op.name, &node.name, &operands, node.attrs.clone())?;
    if cx.ty(y).shape == cx.old.ty(node.outputs[0]).shape {
        return Ok(None);
    }
    expanded(cx, node, y).map(Some)
}

/// A constant with extent 1 for the axes along which it repeats, if there are such.
fn unrepeated(t: &Tensor) -> Option<Tensor> {
    let bytes = t.dtype.bytes();
    if t.count() == 0 || t.count() > REPEATED {
        return None;
    }
    let (mut shape, mut data) = (t.shape.clone(), t.data.to_vec());
    for d in 0..shape.len() {
        let inner = shape[d + 1..].iter().product::<usize>() * bytes;
        let mut rows = data.chunks(inner * shape[d]);
        let same = rows.all(|row| row.chunks(inner).all(|part| part == &row[..inner]));
        if shape[d] > 1 && same {
            let rows = data.chunks(inner * shape[d]);
            data = rows.flat_map(|row| row[..inner].to_vec()).collect();
            shape[d] = 1;
        }
    }
    (shape != t.shape).then(|| Tensor::new(t.dtype, shape, data.into()))?
}
