//! Moves reshapes of contractions behind the scalar work on their results, so that it can be done
//! where the contraction stores.
//!
//! Requires: nothing.
//! Ensures: scalar work on a reshaped result of a contraction is done on the result itself, if all
//! other operands can be seen under its shape.
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
//!   output "y" = %5
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
//!   %6 = reshape(%5) {shape=[2, 6, 4, 5]} "a" : f32[2, 6, 4, 5]
//!   output "y" = %6
//! }
//! ```
//! Source: scalar work does not depend on the shape of its operands.
use super::Rewriter;
use std::ops::Range;
use tensmith_ir::expr::{Expr, product};
use tensmith_ir::graph::{Graph, GraphError, Node, ValueId};
use tensmith_ir::ops::Class;

/// The graph with scalar work before reshapes.
///
/// Errors: never for a valid graph.
pub fn sink_reshapes(graph: &Graph) -> Result<Graph, GraphError> {
    Rewriter::run(graph, &mut |cx, node| {
        if node.op.class != Class::Elementwise || node.outputs.len() != 1 {
            return Ok(None);
        }
        let operands = cx.operands(node);
        let to = cx.old.ty(node.outputs[0]).shape.clone();
        let Some(base) = operands.iter().find_map(|v| contracted(cx, *v, &to)) else {
            return Ok(None);
        };
        let from = cx.ty(base).shape.clone();
        let Some(groups) = dim_groups(&from, &to) else {
            return Ok(None);
        };
        let shapes: Option<Vec<Vec<Expr>>> = operands
            .iter()
            .map(|v| seen_under(&cx.ty(*v).shape, &from, &to, &groups))
            .collect();
        let Some(shapes) = shapes else {
            return Ok(None);
        };
        rewrite(cx, node, &operands, &shapes, &to).map(|v| Some(vec![v]))
    })
}

fn rewrite(
    cx: &mut Rewriter<'_>,
    node: &Node,
    operands: &[ValueId],
    shapes: &[Vec<Expr>],
    to: &[Expr],
) -> Result<ValueId, GraphError> {
    let mut inner = Vec::new();
    for (v, shape) in operands.iter().zip(shapes) {
        let source = cx.producer(*v, "reshape").map(|n| n.inputs[0]);
        let source = source.filter(|s| cx.ty(*s).shape == *shape).unwrap_or(*v);
        inner.push(cx.reshape(source, shape, &node.name)?);
    }
    let result = cx
        .new
        .add_one(node.op, &node.name, &inner, node.attrs.clone())?;
    cx.reshape(result, to, &node.name)
}

/// The value of another shape behind a reshape to `to`, if a contraction computes it, with scalar
/// work on its result perhaps.
fn contracted(cx: &Rewriter<'_>, value: ValueId, to: &[Expr]) -> Option<ValueId> {
    let base = cx.producer(value, "reshape")?.inputs[0];
    (cx.ty(value).shape == to && follows_contraction(cx, base)).then_some(base)
}

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
            Class::Elementwise => {}
            _ => return false,
        }
        let same = node.inputs.iter().find(|v| cx.ty(**v).shape == *shape);
        match same {
            Some(v) => at = *v,
            None => return false,
        }
    }
}

/// Pairs of dimensions that hold the same elements, in order.
fn dim_groups(from: &[Expr], to: &[Expr]) -> Option<Vec<(Range<usize>, Range<usize>)>> {
    let mut groups = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < from.len() || j < to.len() {
        let (a, b) = (i, j);
        i = (i + 1).min(from.len());
        j = (j + 1).min(to.len());
        while product(&from[a..i]) != product(&to[b..j]) {
            let grow_from = match (
                product(&from[a..i]).as_const(),
                product(&to[b..j]).as_const(),
            ) {
                (Some(x), Some(y)) => x < y,
                _ => i - a <= j - b && i < from.len(),
            };
            match grow_from {
                true if i < from.len() => i += 1,
                false if j < to.len() => j += 1,
                _ => return None,
            }
        }
        groups.push((a..i, b..j));
    }
    Some(groups)
}

/// The shape under which an operand broadcasts to `from` as it does to `to` now.
fn seen_under(
    shape: &[Expr],
    from: &[Expr],
    to: &[Expr],
    groups: &[(Range<usize>, Range<usize>)],
) -> Option<Vec<Expr>> {
    let missing = to.len().checked_sub(shape.len())?;
    let own = |d: usize| match d.checked_sub(missing) {
        Some(k) => shape[k].clone(),
        None => 1.into(),
    };
    let mut seen = Vec::new();
    for (f, t) in groups {
        if t.clone().all(|d| own(d) == to[d]) {
            seen.extend_from_slice(&from[f.clone()]);
        } else if t.clone().all(|d| own(d).is(1)) {
            seen.extend(f.clone().map(|_| Expr::from(1)));
        } else {
            return None;
        }
    }
    // What repeats along the first axes need not have them.
    let ones = seen.iter().take_while(|d| d.is(1)).count();
    Some(seen.split_off(ones))
}
