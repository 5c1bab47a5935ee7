//! Moves reshapes behind what can be computed without them: scalar work, reductions, rows,
//! contractions of batches, and convolutions. So it is done where the operands are computed, and patterns are seen
//! whatever shapes they were written in.
//!
//! Requires: nothing.
//! Ensures: scalar work on a reshaped value is done on the value itself if all other operands can be
//! seen under its shape, and if a contraction computes it or no operand gets a reshape by that which
//! is not there.
//! Nothing is reduced under a shape that only splits or joins axes that are reduced, or joins the
//! first axis with a part of the second one. No reshape brings back what a reduction drops, or drops
//! what a reduction that nothing else reads keeps. No operand that repeats is a reshape that only adds
//! or drops first axes of extent 1. A reshape that follows scalar work on reshaped values is done by
//! those.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "w" : f32[6, 3]
//!   %1 = input "x" : f32[2, 3, 20]
//!   %2 = input "b" : f32[1, 6, 1, 1]
//!   %3 = contract(%0, %1) {spec="oc,ncp->nop"} "c" : f32[2, 6, 20]
//!   %4 = reshape(%3) {shape=[2, 6, 4, 5]} "r" : f32[2, 6, 4, 5]
//!   %5 = add(%4, %2) {} "a" : f32[2, 6, 4, 5]
//!   %6 = reshape(%5) {shape=[12, 20]} "s" : f32[12, 20]
//!   %7 = softmax(%6) {axis=1} "p" : f32[12, 20]
//!   %8 = reduce_max(%7) {axes=[1], keepdims=false} "m" : f32[12]
//!   output "y" = %8
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "w" : f32[6, 3]
//!   %1 = input "x" : f32[2, 3, 20]
//!   %2 = input "b" : f32[1, 6, 1, 1]
//!   %3 = contract(%0, %1) {spec="oc,ncp->nop"} "c" : f32[2, 6, 20]
//!   %4 = reshape(%2) {shape=[6, 1]} "a" : f32[6, 1]
//!   %5 = add(%3, %4) {} "a" : f32[2, 6, 20]
//!   %6 = softmax(%5) {axis=2} "p" : f32[2, 6, 20]
//!   %7 = reduce_max(%6) {axes=[2], keepdims=true} "m" : f32[2, 6, 1]
//!   %8 = reshape(%7) {shape=[12]} "m" : f32[12]
//!   output "y" = %8
//! }
//! ```
//! Source: scalar work does not depend on the shape of its operands, and rows and sums only on that
//! along their axes.
use super::Rewriter;
use super::conv_of_view;
use super::existing_views::{existing_view, has_other_views, is_cut, views_of_all};
use super::fold_factors::is_fixed;
use super::kept_axes::kept;
use super::shape_groups::{Groups, axes_under, dim_groups, seen_under, without_first_ones};
use super::share_operands::spelled;
use std::collections::{BTreeSet, HashSet};
use tensmith_ir::expr::{Expr, product};
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, NodeId, ValueId};
use tensmith_ir::ops::{Class, Spec};

type Found = Result<Option<ValueId>, GraphError>;

/// Operations that a reshape moves over, at most.
const DEPTH: usize = 8;

/// The graph with scalar work, reductions and rows before reshapes.
///
/// Errors: never for a valid graph.
pub fn sink_reshapes(graph: &Graph) -> Result<Graph, GraphError> {
    let uses = graph.uses();
    // New values that stand for old ones of one use.
    let mut once: HashSet<ValueId> = HashSet::new();
    Rewriter::run(graph, &mut |cx, node| {
        let [result] = node.outputs[..] else {
            return Ok(None);
        };
        let found = match node.op.class {
            Class::Elementwise => scalar(cx, &uses, &once, node)?,
            Class::Reduction => reduction(cx, node)?,
            Class::Row if node.inputs.len() == 1 => row(cx, node)?,
            Class::Contraction if node.op.name == "contract" => batches(cx, node)?,
            Class::Contraction if node.op.name == "conv" => image(cx, node)?,
            _ if node.op.name == "reshape" => {
                let x = cx.get(node.inputs[0]);
                let to = cx.old.ty(result).shape.clone();
                let users = uses[result.0 as usize].iter().map(|n| graph.node(*n));
                let mut found = kept_or_under(cx, &once, x, &to)?;
                if found.is_none() {
                    found = restored(cx, &once, x, &to)?;
                }
                if found.is_none() {
                    found = existing_view(cx, &once, x, &to)?;
                }
                if found.is_none() {
                    found = in_two_steps(cx, node, users)?;
                }
                match found {
                    Some(found) => Some(found),
                    None => Some(viewed(cx, x, &to, &node.name)?),
                }
            }
            _ => None,
        };
        let is_once = uses[result.0 as usize].len() == 1 && !graph.outputs.contains(&result);
        let Some(found) = found else {
            cx.copy(node)?;
            let new = cx.get(result);
            if is_once {
                once.insert(new);
            }
            return Ok(Some(vec![new]));
        };
        if is_once && node.op.class == Class::Reduction {
            once.insert(found);
            once.extend(cx.producer(found, "reshape").map(|n| n.inputs[0]));
        }
        Ok(Some(vec![found]))
    })
}

/// Scalar work on the value that an operand is a reshape of.
fn scalar(
    cx: &mut Rewriter<'_>,
    uses: &[Vec<NodeId>],
    once: &HashSet<ValueId>,
    node: &Node,
) -> Found {
    let operands = cx.operands(node);
    let to = cx.old.ty(node.outputs[0]).shape.clone();
    for (k, operand) in operands.iter().enumerate() {
        let Some(inner) = cx.producer(*operand, "reshape") else {
            continue;
        };
        let base = inner.inputs[0];
        let Some(from) = widened(&cx.ty(base).shape, &cx.ty(*operand).shape, &to) else {
            continue;
        };
        if from == to {
            continue;
        }
        let whole = cx.ty(*operand).shape == to;
        let view = node.inputs[k];
        if is_reduced(cx.old, uses, view, &cx.ty(base).shape) || is_cut(cx.old, uses, view) {
            continue;
        }
        let Some(groups) = dim_groups(&from, &to) else {
            continue;
        };
        let seen = |v: &ValueId| seen_under(&cx.ty(*v).shape, &from, &to, &groups);
        let Some(shapes) = operands.iter().map(seen).collect::<Option<Vec<_>>>() else {
            continue;
        };
        let mut pairs = operands.iter().zip(&shapes);
        let split = has_other_views(cx.old, uses, node.inputs[k]);
        let free = !split && pairs.all(|(v, s)| is_free(cx, *v, s, &from));
        if free || whole && follows_contraction(cx, base) {
            return rewrite(cx, node, &operands, &shapes, [&from, &to]).map(Some);
        }
        if !split && let Some(inner) = views_of_all(cx, once, &operands, (&shapes, &from))? {
            let result = cx.add(node.op.name, &node.name, &inner, node.attrs.clone())?;
            return cx.reshape(result, &to, &node.name).map(Some);
        }
    }
    without_views(cx, node, &operands, &to)
}

/// The shape of a result of scalar work for one that an operand is a view of, where `view` is the
/// shape of that operand and `to` that of the result: axes along which the view repeats have the
/// result's extents. `None` if what it is a view of has no such axes.
fn widened(base: &[Expr], view: &[Expr], to: &[Expr]) -> Option<Vec<Expr>> {
    if view == to {
        return Some(base.to_vec());
    }
    let mut found = base.to_vec();
    for (f, t) in dim_groups(base, view).filter(|_| view.len() == to.len())? {
        if view[t.clone()] == to[t.clone()] {
            continue;
        }
        if f.len() != t.len() || !view[t.clone()].iter().all(|d| d.is(1)) {
            return None;
        }
        found[f].clone_from_slice(&to[t]);
    }
    Some(found)
}

/// Scalar work on what its operands are reshapes of that only add or drop first axes of extent 1, as
/// a value that has those of the result: all operands may have fewer than it.
fn without_views(cx: &mut Rewriter<'_>, node: &Node, operands: &[ValueId], to: &[Expr]) -> Found {
    let bare = |v: &ValueId| {
        let seen = without_first_ones(&cx.ty(*v).shape);
        let repeats = cx.ty(*v).shape != to;
        repeats.then(|| as_seen(cx, *v, seen, to)).flatten()
    };
    let inner: Vec<ValueId> = operands.iter().map(|v| bare(v).unwrap_or(*v)).collect();
    if inner == operands {
        return Ok(None);
    }
    let result = cx.add(node.op.name, &node.name, &inner, node.attrs.clone())?;
    cx.reshape(result, to, &node.name).map(Some)
}

/// Whether a value is reduced in a way that has no like under another shape, so that it is wanted as
/// it is.
fn is_reduced(graph: &Graph, uses: &[Vec<NodeId>], value: ValueId, under: &[Expr]) -> bool {
    let shape = &graph.ty(value).shape;
    let users = uses[value.0 as usize].iter().map(|n| graph.node(*n));
    let mut reductions = users.filter(|n| n.op.class == Class::Reduction);
    reductions.any(|n| {
        let axes = n.attrs.get("axes").map(|_| n.attrs.ints("axes"));
        axes.is_some_and(|axes| axes_under(axes, under, shape).is_none())
    })
}

/// Whether a value is seen under a shape without a reshape that is computed in a run.
pub(super) fn is_free(cx: &Rewriter<'_>, value: ValueId, seen: &[Expr], under: &[Expr]) -> bool {
    as_seen(cx, value, seen, under).is_some() || is_fixed(&cx.new, value)
}

/// What a value is a reshape of, or the value, if it is seen so under a shape: as a whole, or as an
/// operand that repeats, for which first axes of extent 1 do not count.
pub(super) fn as_seen(
    cx: &Rewriter<'_>,
    value: ValueId,
    seen: &[Expr],
    under: &[Expr],
) -> Option<ValueId> {
    let source = cx.producer(value, "reshape").map(|n| n.inputs[0]);
    let fits = |v: &ValueId| {
        let shape = &cx.ty(*v).shape;
        let repeats = seen != under && shape.len() <= under.len();
        shape == seen || repeats && without_first_ones(shape) == without_first_ones(seen)
    };
    source.into_iter().chain([value]).find(fits)
}

/// A value under a shape with the same elements, by the shortest way.
pub(super) fn viewed(
    cx: &mut Rewriter<'_>,
    value: ValueId,
    shape: &[Expr],
    label: &str,
) -> Result<ValueId, GraphError> {
    let source = cx.producer(value, "reshape").map(|n| n.inputs[0]);
    cx.reshape(source.unwrap_or(value), shape, label)
}

fn rewrite(
    cx: &mut Rewriter<'_>,
    node: &Node,
    operands: &[ValueId],
    shapes: &[Vec<Expr>],
    [from, to]: [&[Expr]; 2],
) -> Result<ValueId, GraphError> {
    let mut inner = Vec::new();
    for (v, shape) in operands.iter().zip(shapes) {
        inner.push(match as_seen(cx, *v, shape, from) {
            Some(seen) => seen,
            None => viewed(cx, *v, shape, &node.name)?,
        });
    }
    let result = cx
        .new
        .add_one(node.op, &node.name, &inner, node.attrs.clone())?;
    cx.reshape(result, to, &node.name)
}

/// Whether a contraction computes a value, with scalar work and rows on its result perhaps.
fn follows_contraction(cx: &Rewriter<'_>, value: ValueId) -> bool {
    let shape = &cx.ty(value).shape;
    let mut at = value;
    loop {
        let Some(id) = cx.new.producer(at) else {
            return false;
        };
        let node = cx.new.node(id);
        match node.op.class {
            Class::Contraction => return true,
            Class::Elementwise | Class::Row => {}
            _ => return false,
        }
        let same = node.inputs.iter().find(|v| cx.ty(**v).shape == *shape);
        match same {
            Some(v) => at = *v,
            None => return false,
        }
    }
}

/// A reduction of the value that its operand is a reshape of.
fn reduction(cx: &mut Rewriter<'_>, node: &Node) -> Found {
    let x = cx.get(node.inputs[0]);
    let (Some(inner), Some(_)) = (cx.producer(x, "reshape"), node.attrs.get("axes")) else {
        return Ok(None);
    };
    let base = inner.inputs[0];
    let axes = node.attrs.ints("axes");
    let Some(axes) = axes_under(axes, &cx.ty(base).shape, &cx.ty(x).shape) else {
        return Ok(None);
    };
    let to = cx.old.ty(node.outputs[0]).shape.clone();
    let of = &cx.ty(base).shape;
    let unit = (0..of.len() as i64).filter(|d| of[*d as usize].is(1));
    let more: Vec<i64> = unit.chain(axes.clone()).collect();
    let all = |axes: &[i64]| {
        let rest = of.iter().enumerate();
        let rest = rest.filter(|(d, _)| !axes.contains(&(*d as i64)));
        rest.map(|(_, e)| e).eq(&to)
    };
    let (axes, keepdims) = match all(&axes) {
        true => (axes, false),
        false if all(&more) => (more, false),
        false => (axes, true),
    };
    let axes: BTreeSet<i64> = axes.into_iter().collect();
    let attrs = node.attrs.clone();
    let attrs = attrs.with("axes", axes.into_iter().collect::<Vec<i64>>());
    let attrs = attrs.with("keepdims", keepdims);
    let y = cx.add(node.op.name, &node.name, &[base], attrs)?;
    cx.reshape(y, &to, &node.name).map(Some)
}

/// A view of scalar work on a reduction that drops axes of extent 1 with those that it is along, as a
/// view of that work on what keeps all of them, if the view brings some back.
fn restored(cx: &mut Rewriter<'_>, once: &HashSet<ValueId>, x: ValueId, to: &[Expr]) -> Found {
    let shape = cx.ty(x).shape.clone();
    let mut at = x;
    let kept = loop {
        let Some(id) = cx.new.producer(at).filter(|_| once.contains(&at)) else {
            return Ok(None);
        };
        let node = cx.new.node(id);
        match node.op.class {
            Class::Reduction if node.attrs.get("axes").is_some() => {
                let of = &cx.ty(node.inputs[0]).shape;
                let axes = node.attrs.ints("axes");
                let reduced = |d: usize| axes.contains(&(d as i64));
                let units = (0..of.len()).any(|d| reduced(d) && of[d].is(1));
                if !units || node.attrs.flag("keepdims") || to.len() <= shape.len() {
                    return Ok(None);
                }
                let extent = |d: usize| if reduced(d) { 1.into() } else { of[d].clone() };
                break (0..of.len()).map(extent).collect::<Vec<Expr>>();
            }
            Class::Elementwise => match node.inputs.iter().find(|v| cx.ty(**v).shape == shape) {
                Some(v) => at = *v,
                None => return Ok(None),
            },
            _ => return Ok(None),
        }
    };
    let found = match kept_or_under(cx, once, x, &kept)? {
        Some(found) => found,
        None => return Ok(None),
    };
    let label = cx.new.value(x).name.clone();
    cx.reshape(found, to, &label).map(Some)
}

/// A value under another shape, if it is a reduction that may keep its axes, or scalar work on what
/// has that shape.
fn kept_or_under(
    cx: &mut Rewriter<'_>,
    once: &HashSet<ValueId>,
    value: ValueId,
    to: &[Expr],
) -> Found {
    match kept(cx, once, value, to)? {
        Some(found) => Ok(Some(found)),
        None => under(cx, once, value, to, DEPTH),
    }
}

/// Rows of the value that the operand is a reshape of.
fn row(cx: &mut Rewriter<'_>, node: &Node) -> Found {
    let x = cx.get(node.inputs[0]);
    let (Some(inner), Some(_)) = (cx.producer(x, "reshape"), node.attrs.get("axis")) else {
        return Ok(None);
    };
    let base = inner.inputs[0];
    let (from, to) = (cx.ty(base).shape.clone(), cx.ty(x).shape.clone());
    let axes = axes_under(&[node.attrs.int("axis")], &from, &to);
    let many = |d: &i64| !from[*d as usize].is(1);
    let axes: Vec<i64> = axes.into_iter().flatten().filter(many).collect();
    let [axis] = axes[..] else {
        return Ok(None);
    };
    let attrs = node.attrs.clone().with("axis", axis);
    let y = cx.add(node.op.name, &node.name, &[base], attrs)?;
    cx.reshape(y, &to, &node.name).map(Some)
}

/// A contraction of values whose batches, or whose rows under constant weights, were joined by
/// reshapes, with an axis for each.
fn batches(cx: &mut Rewriter<'_>, node: &Node) -> Found {
    let spec = Spec::of(&node.attrs);
    let operands = cx.operands(node);
    let source = |v: &ValueId| cx.producer(*v, "reshape").map_or(*v, |n| n.inputs[0]);
    let bases: Vec<ValueId> = operands.iter().map(source).collect();
    let side = |k: usize, letters: &[u8]| {
        let [from, to] = [bases[k], operands[k]].map(|v| cx.ty(v).shape.clone());
        parts(&from, &to, letters)
    };
    let (Some(a), Some(b)) = (side(0, &spec.a), side(1, &spec.b)) else {
        return Ok(None);
    };
    let split = |of: &[(u8, Vec<Expr>)]| -> Vec<(u8, Vec<Expr>)> {
        of.iter().filter(|(_, e)| e.len() > 1).cloned().collect()
    };
    let (mut of_a, mut of_b) = (split(&a), split(&b));
    of_a.sort_by_key(|(c, _)| *c);
    of_b.sort_by_key(|(c, _)| *c);
    let stays = |(c, _): &(u8, Vec<Expr>)| spec.out.contains(c);
    let rows = |(c, _): &(u8, Vec<Expr>)| !spec.b.contains(c);
    let of_rows = of_b.is_empty() && of_a.iter().all(rows) && is_fixed(&cx.new, operands[1]);
    if of_a.is_empty() || !(of_rows || of_a == of_b) || !of_a.iter().all(stays) {
        return Ok(None);
    }
    let known = [&spec.a[..], &spec.b, &spec.out].concat();
    let mut free = (b'a'..=b'z')
        .chain(b'A'..=b'Z')
        .filter(|c| !known.contains(c));
    let mut more: Vec<(u8, Vec<u8>)> = Vec::new();
    for (c, extents) in &of_a {
        let letters: Vec<u8> = free.by_ref().take(extents.len() - 1).collect();
        more.push((*c, [&[*c], &letters[..]].concat()));
    }
    let all = |letters: &[u8]| -> Vec<u8> {
        let all = |c: &u8| match more.iter().find(|(m, _)| m == c) {
            Some((_, letters)) => letters.clone(),
            None => vec![*c],
        };
        letters.iter().flat_map(all).collect()
    };
    let form = spelled([&all(&spec.a), &all(&spec.b), &all(&spec.out)]);
    let y = cx.add(
        "contract",
        &node.name,
        &bases,
        Attrs::new().with("spec", form),
    )?;
    let to = cx.old.ty(node.outputs[0]).shape.clone();
    cx.reshape(y, &to, &node.name).map(Some)
}

/// A convolution of the image that its operand is a reshape of.
fn image(cx: &mut Rewriter<'_>, node: &Node) -> Found {
    let (x, w) = (cx.get(node.inputs[0]), cx.get(node.inputs[1]));
    let Some(inner) = cx.producer(x, "reshape") else {
        return Ok(None);
    };
    let base = inner.inputs[0];
    let weights = cx.ty(w).shape.clone();
    let kernel: Option<Vec<i64>> = weights[2..].iter().map(Expr::as_const).collect();
    let viewed = kernel.and_then(|kernel| {
        conv_of_view::under(&cx.ty(base).shape, &cx.ty(x).shape, &kernel, &node.attrs)
    });
    let Some(viewed) = viewed else {
        return Ok(None);
    };
    let taps = viewed.kernel.iter().map(|k| Expr::from(*k));
    let shape: Vec<Expr> = weights[..2].iter().cloned().chain(taps).collect();
    let w = cx.reshape(w, &shape, &node.name)?;
    let y = cx.add("conv", &node.name, &[base, w], viewed.attrs)?;
    let to = cx.old.ty(node.outputs[0]).shape.clone();
    cx.reshape(y, &to, &node.name).map(Some)
}

/// For each letter the extents that its axis had before a reshape that only joined axes.
fn parts(from: &[Expr], to: &[Expr], letters: &[u8]) -> Option<Vec<(u8, Vec<Expr>)>> {
    let groups: Groups = dim_groups(from, to)?;
    let one = |(f, t): &(std::ops::Range<usize>, std::ops::Range<usize>)| {
        (t.len() == 1 && !f.is_empty()).then(|| (letters[t.start], from[f.clone()].to_vec()))
    };
    groups.iter().map(one).collect()
}

/// A value under another shape, if it is scalar work on reshapes, which take that shape instead.
fn under(
    cx: &mut Rewriter<'_>,
    once: &HashSet<ValueId>,
    value: ValueId,
    to: &[Expr],
    depth: usize,
) -> Found {
    let Some(id) = cx
        .new
        .producer(value)
        .filter(|_| depth > 0 && once.contains(&value))
    else {
        return Ok(None);
    };
    let node = cx.new.node(id).clone();
    let from = cx.ty(value).shape.clone();
    if node.op.class == Class::Reduction {
        return kept(cx, once, value, to);
    }
    if node.op.class != Class::Elementwise {
        return Ok(None);
    }
    let Some(groups) = dim_groups(to, &from) else {
        return Ok(None);
    };
    let mut operands = Vec::new();
    let mut moved = false;
    for operand in &node.inputs {
        let Some(seen) = seen_under(&cx.ty(*operand).shape, to, &from, &groups) else {
            return Ok(None);
        };
        let source = cx.producer(*operand, "reshape").map(|n| n.inputs[0]);
        let whole = seen == to;
        operands.push(match source {
            Some(source) if whole => {
                moved = true;
                cx.reshape(source, to, &node.name)?
            }
            _ if !whole && as_seen(cx, *operand, &seen, to).is_some() => {
                as_seen(cx, *operand, &seen, to).unwrap_or(*operand)
            }
            _ if !whole && is_fixed(&cx.new, *operand) => {
                cx.reshape(*operand, &seen, &node.name)?
            }
            _ => match under(cx, once, *operand, to, depth - 1)? {
                Some(found) if whole => {
                    moved = true;
                    found
                }
                _ => return Ok(None),
            },
        });
    }
    if !moved {
        return Ok(None);
    }
    cx.add(node.op.name, &node.name, &operands, node.attrs)
        .map(Some)
}

/// A reshape whose result is reduced, in two steps: neighbouring axes that are reduced are joined
/// before, and what is in front of them is split at the axes that the operand has there.
fn in_two_steps<'n>(
    cx: &mut Rewriter<'_>,
    node: &Node,
    users: impl Iterator<Item = &'n Node>,
) -> Found {
    let x = cx.get(node.inputs[0]);
    let to = cx.old.ty(node.outputs[0]).shape.clone();
    let mut reductions = users.filter(|n| n.op.class == Class::Reduction);
    let axes = reductions.find_map(|n| n.attrs.get("axes").map(|_| n.attrs.ints("axes")));
    let Some(axes) = axes else { return Ok(None) };
    if axes_under(axes, &cx.ty(x).shape, &to).is_some() {
        return Ok(None);
    }
    let reduced = |d: usize| axes.contains(&(d as i64));
    let mut joined: Vec<Expr> = Vec::new();
    for (d, extent) in to.iter().enumerate() {
        if reduced(d) && d > 0 && reduced(d - 1) {
            let last = joined.pop().unwrap_or(1.into());
            joined.push(product(&[last, extent.clone()]));
        } else if joined.is_empty() && !reduced(d) {
            joined.extend(split_by(extent, &cx.ty(x).shape));
        } else {
            joined.push(extent.clone());
        }
    }
    if joined == to {
        return Ok(None);
    }
    let first = cx.reshape(x, &joined, &node.name)?;
    cx.reshape(first, &to, &node.name).map(Some)
}

/// The extent of a first axis as that of the first axis of another shape and the rest, if there is
/// one. An axis of extent 1 is none.
fn split_by(extent: &Expr, shape: &[Expr]) -> Vec<Expr> {
    let Some(first) = shape.iter().find(|d| !d.is(1)).filter(|d| *d != extent) else {
        return vec![extent.clone()];
    };
    if extent.is(1) {
        return vec![];
    }
    let rest = extent.div(first.clone());
    match rest.clone() * first.clone() == *extent && !rest.is(1) {
        true => vec![first.clone(), rest],
        false => vec![extent.clone()],
    }
}
