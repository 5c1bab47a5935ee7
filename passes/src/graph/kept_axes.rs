//! Views of reductions as reductions that keep or drop the axes which the views bring back or drop.
use super::Rewriter;
use std::collections::HashSet;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{GraphError, ValueId};
use tensmith_ir::ops::Class;

/// A reduction that keeps its axes, for one that drops them and a reshape that brings them back; one
/// that drops all that a reshape drops, if only that reads the reduction. `once` has the values of one
/// use.
///
/// Errors: never for a valid graph.
pub fn kept(
    cx: &mut Rewriter<'_>,
    once: &HashSet<ValueId>,
    x: ValueId,
    to: &[Expr],
) -> Result<Option<ValueId>, GraphError> {
    let view = cx.producer(x, "reshape").filter(|_| once.contains(&x));
    let x = view.map_or(x, |n| n.inputs[0]);
    let Some(id) = cx.new.producer(x) else {
        return Ok(None);
    };
    let node = cx.new.node(id).clone();
    if node.op.class != Class::Reduction || node.attrs.get("axes").is_none() {
        return Ok(None);
    }
    let of = &cx.ty(node.inputs[0]).shape;
    let axes = node.attrs.ints("axes");
    let extent = |(d, e): (usize, &Expr)| match axes.contains(&(d as i64)) {
        true => Expr::from(1),
        false => e.clone(),
    };
    let shape: Vec<Expr> = of.iter().enumerate().map(extent).collect();
    let attrs = if shape == to && !node.attrs.flag("keepdims") {
        let many = |d: &&i64| !of[**d as usize].is(1);
        let along: Vec<i64> = axes.iter().filter(many).copied().collect();
        let axes = if along.is_empty() {
            axes.to_vec()
        } else {
            along
        };
        node.attrs.clone().with("axes", axes).with("keepdims", true)
    } else if let Some(axes) = dropped(&shape, axes, to).filter(|_| once.contains(&x)) {
        node.attrs
            .clone()
            .with("axes", axes)
            .with("keepdims", false)
    } else {
        return Ok(None);
    };
    cx.add(node.op.name, &node.name, &node.inputs, attrs)
        .map(Some)
}

/// Axes that are reduced, and those of extent 1 with which a shape has to lose them to be another.
fn dropped(shape: &[Expr], axes: &[i64], to: &[Expr]) -> Option<Vec<i64>> {
    let (mut dropped, mut kept) = (Vec::new(), 0);
    for (d, extent) in shape.iter().enumerate() {
        let reduced = axes.contains(&(d as i64));
        match to.get(kept) {
            Some(next) if next == extent && !reduced => kept += 1,
            _ if extent.is(1) => dropped.push(d as i64),
            _ => return None,
        }
    }
    (kept == to.len()).then_some(dropped)
}
