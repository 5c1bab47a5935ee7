//! Makes the padding of convolutions a node, so that their inner loops need no conditions.
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
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, ValueId};
use tensmith_ir::tensor::Tensor;

/// The graph with padding nodes before convolutions.
///
/// Errors: never for a valid graph.
pub fn materialise_padding(graph: &Graph) -> Result<Graph, GraphError> {
    Rewriter::run(graph, &mut |cx, node| {
        let pads = |name: &str| node.attrs.ints(name).iter().any(|p| *p > 0);
        if node.op.name != "conv" || !(pads("pads_before") || pads("pads_after")) {
            return Ok(None);
        }
        rewrite(cx, node).map(|v| Some(vec![v]))
    })
}

fn rewrite(cx: &mut Rewriter<'_>, node: &Node) -> Result<ValueId, GraphError> {
    let (x, w) = (cx.get(node.inputs[0]), cx.get(node.inputs[1]));
    let amounts = |name: &str| -> Vec<Expr> {
        let spatial = node.attrs.ints(name).iter().map(|p| Expr::from(*p));
        [Expr::from(0), Expr::from(0)]
            .into_iter()
            .chain(spatial)
            .collect()
    };
    let zero = Tensor::splat(cx.ty(x).dtype, vec![], 0.0);
    let zero = cx.new.add_constant(&node.name, zero);
    let pad = Attrs::new()
        .with("before", amounts("pads_before"))
        .with("after", amounts("pads_after"))
        .with("mode", "constant");
    let x = cx.add("pad", &node.name, &[x, zero], pad)?;
    let none = vec![0; node.attrs.ints("strides").len()];
    let mut attrs = node.attrs.clone();
    attrs.set("pads_before", none.clone());
    attrs.set("pads_after", none);
    cx.add("conv", &node.name, &[x, w], attrs)
}
