//! Turns convolutions that look at one position into matrix products.
//!
//! Requires: nothing.
//! Ensures: no convolution of one group with a kernel of one element, without stride and padding.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2, 3, 4, 5]
//!   %1 = input "w" : f32[6, 3, 1, 1]
//!   %2 = conv(%0, %1) {dilations=[1, 1], groups=1, pads_after=[0, 0], pads_before=[0, 0], strides=[1, 1]} "c" : f32[2, 6, 4, 5]
//!   output "y" = %2
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2, 3, 4, 5]
//!   %1 = input "w" : f32[6, 3, 1, 1]
//!   %2 = reshape(%0) {shape=[2, 3, 20]} "c" : f32[2, 3, 20]
//!   %3 = reshape(%1) {shape=[6, 3]} "c" : f32[6, 3]
//!   %4 = contract(%3, %2) {spec="oc,ncp->nop"} "c" : f32[2, 6, 20]
//!   %5 = reshape(%4) {shape=[2, 6, 4, 5]} "c" : f32[2, 6, 4, 5]
//!   output "y" = %5
//! }
//! ```
//! Source: the definition of convolution.
use super::Rewriter;
use tensmith_ir::expr::product;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, ValueId};

/// The graph with matrix products for convolutions over one position.
///
/// Errors: never for a valid graph.
pub fn conv_to_contract(graph: &Graph) -> Result<Graph, GraphError> {
    Rewriter::run(graph, &mut |cx, node| {
        if node.op.name != "conv" || !is_pointwise(cx.old, node) {
            return Ok(None);
        }
        rewrite(cx, node).map(|v| Some(vec![v]))
    })
}

/// Whether each result element looks at one position.
fn is_pointwise(graph: &Graph, node: &Node) -> bool {
    let all = |name: &str, n: i64| node.attrs.ints(name).iter().all(|x| *x == n);
    let kernel = &graph.ty(node.inputs[1]).shape[2..];
    kernel.iter().all(|d| d.is(1))
        && all("strides", 1)
        && all("pads_before", 0)
        && all("pads_after", 0)
        && node.attrs.int("groups") == 1
}

fn rewrite(cx: &mut Rewriter<'_>, node: &Node) -> Result<ValueId, GraphError> {
    let (x, w) = (cx.get(node.inputs[0]), cx.get(node.inputs[1]));
    let (from, weights) = (cx.ty(x).shape.clone(), cx.ty(w).shape.clone());
    let flat = [from[0].clone(), from[1].clone(), product(&from[2..])];
    let x = cx.reshape(x, &flat, &node.name)?;
    let w = cx.reshape(w, &weights[..2], &node.name)?;
    let spec = Attrs::new().with("spec", "oc,ncp->nop");
    let y = cx.add("contract", &node.name, &[w, x], spec)?;
    let shape = cx.old.ty(node.outputs[0]).shape.clone();
    cx.reshape(y, &shape, &node.name)
}
