//! Makes padding a node, so that inner loops need no conditions: that of convolutions, and that of
//! pooling of row-major images many of whose windows reach out, or whose results convolutions read:
//! those lie with channels innermost, so that the image is copied in any case, and the copy writes it
//! inside of a frame.
//!
//! Requires: nothing.
//! Ensures: no convolution pads.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 3, 4]
//!   %1 = input "w" : f32[6, 3, 3]
//!   %2 = conv(%0, %1) {dilations=[1], groups=1, pads_after=[2], pads_before=[1], strides=[1]} "c" : f32[1, 6, 5]
//!   output "y" = %2
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 3, 4]
//!   %1 = input "w" : f32[6, 3, 3]
//!   %2 = const "c" : f32[] = [0.0]
//!   %3 = pad(%0, %2) {after=[0, 0, 2], before=[0, 0, 1], mode="constant"} "c" : f32[1, 3, 7]
//!   %4 = conv(%3, %1) {dilations=[1], groups=1, pads_after=[0], pads_before=[0], strides=[1]} "c" : f32[1, 6, 5]
//!   output "y" = %4
//! }
//! ```
//! Source: the definition of convolution.
use super::Rewriter;
use crate::partition::few_channels;
use std::collections::HashSet;
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Def, Graph, GraphError, Node, NodeId, ValueId};
use tensmith_ir::ops::{Class, Lower};
use tensmith_ir::tensor::Tensor;

/// Of so many windows along an axis at least one must reach out: fewer are cut off by the schedule
/// for less than a copy of the image costs.
const INSIDE: i64 = 8;

/// The graph with padding nodes before convolutions, and before pooling where that pays.
///
/// Errors: never for a valid graph.
pub fn materialise_padding(graph: &Graph) -> Result<Graph, GraphError> {
    let uses = graph.uses();
    Rewriter::run(graph, &mut |cx, node| {
        let wanted = || framed(graph, node) || fixed(graph, node) && unlike(graph, &uses, node);
        let fill = match node.op.name {
            "conv" if pads(node) => 0.0,
            "pool_sum" if wanted() => 0.0,
            "pool_max" if wanted() => f64::NEG_INFINITY,
            _ => return Ok(None),
        };
        rewrite(cx, node, fill).map(|v| Some(vec![v]))
    })
}

fn pads(node: &Node) -> bool {
    let amounts = ["pads_before", "pads_after"].map(|name| node.attrs.ints(name));
    amounts.concat().iter().any(|p| *p > 0)
}

/// Whether a node pads what a kernel makes, which can write it inside of a frame.
fn framed(graph: &Graph, node: &Node) -> bool {
    let x = node.inputs[0];
    let maker = graph.producer(x).map(|n| graph.node(n));
    let made = maker
        .is_some_and(|n| matches!(n.op.lower, Lower::Pointwise(_)) && n.op.class != Class::Opaque);
    made && pads(node) && graph.ty(x).dtype == DType::F32
}

/// Whether a node reads an image that lies row-major whatever is around it: an input, or what a view
/// or control makes.
fn fixed(graph: &Graph, node: &Node) -> bool {
    let x = node.inputs[0];
    let fixed = match graph.producer(x) {
        Some(maker) => matches!(graph.node(maker).op.lower, Lower::View | Lower::Plan),
        None => matches!(graph.value(x).def, Def::Input(_)),
    };
    fixed && graph.ty(x).dtype.is_float()
}

/// Whether windows of a row-major image are better inside of a frame: many of an axis reach out, or
/// they are passed over in another order.
fn unlike(graph: &Graph, uses: &[Vec<NodeId>], node: &Node) -> bool {
    let turned = || !few_channels(graph.ty(node.inputs[0])) && meets_channels(graph, uses, node);
    reaches_out(graph, node) || pads(node) && turned()
}

fn reaches_out(graph: &Graph, node: &Node) -> bool {
    let extents = graph.ty(node.outputs[0]).shape[2..].iter();
    let [before, after, strides] =
        ["pads_before", "pads_after", "strides"].map(|name| node.attrs.ints(name));
    let mut extents = extents.enumerate();
    extents.any(|(d, extent)| {
        let out = |pad: i64| (pad + strides[d] - 1) / strides[d];
        let out = out(before[d]) + out(after[d]);
        extent.as_const().is_some_and(|n| out * INSIDE > n)
    })
}

/// Whether a convolution reads the result of a node, or what scalar work, windows and movements that
/// keep its axes make of it.
fn meets_channels(graph: &Graph, uses: &[Vec<NodeId>], node: &Node) -> bool {
    let mut seen: HashSet<ValueId> = node.outputs.iter().copied().collect();
    let mut next: Vec<ValueId> = node.outputs.clone();
    while let Some(value) = next.pop() {
        for reader in uses[value.0 as usize].iter().map(|id| graph.node(*id)) {
            let along = matches!(reader.op.lower, Lower::Pointwise(_))
                && !matches!(reader.op.name, "transpose" | "contract");
            match reader.op.name {
                "conv" | "winograd_input" if reader.inputs[0] == value => return true,
                _ if along => next.extend(reader.outputs.iter().filter(|v| seen.insert(**v))),
                _ => {}
            }
        }
    }
    false
}

fn rewrite(cx: &mut Rewriter<'_>, node: &Node, fill: f64) -> Result<ValueId, GraphError> {
    let x = cx.get(node.inputs[0]);
    let amounts = |name: &str| -> Vec<Expr> {
        let spatial = node.attrs.ints(name).iter().map(|p| Expr::from(*p));
        [Expr::from(0), Expr::from(0)]
            .into_iter()
            .chain(spatial)
            .collect()
    };
    let fill = Tensor::splat(cx.ty(x).dtype, vec![], fill);
    let fill = cx.new.add_constant(&node.name, fill);
    let pad = Attrs::new()
        .with("before", amounts("pads_before"))
        .with("after", amounts("pads_after"))
        .with("mode", "constant");
    let x = cx.add("pad", &node.name, &[x, fill], pad)?;
    let none = vec![0; node.attrs.ints("strides").len()];
    let mut attrs = node.attrs.clone();
    attrs.set("pads_before", none.clone());
    attrs.set("pads_after", none);
    let others = node.inputs[1..].iter().map(|v| cx.get(*v));
    let inputs: Vec<ValueId> = [x].into_iter().chain(others).collect();
    cx.add(node.op.name, &node.name, &inputs, attrs)
}
