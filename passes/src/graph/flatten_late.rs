//! Joins the places of an image behind the transpose that brings its channels last, which the
//! convolution that makes it can do while it writes.
//!
//! Requires: nothing.
//! Ensures: no transpose of a reshape that joins places of an image, if nothing else reads that, a
//! convolution makes the image, the transpose brings its channels last, and no product reads it.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2, 3, 8, 8]
//!   %1 = input "w" : f32[4, 3, 2, 2]
//!   %2 = conv(%0, %1) {dilations=[1, 1], groups=1, pads_after=[0, 0], pads_before=[0, 0], strides=[2, 2]} "c" : f32[2, 4, 4, 4]
//!   %3 = reshape(%2) {shape=[2, 4, 16]} "r" : f32[2, 4, 16]
//!   %4 = transpose(%3) {perm=[0, 2, 1]} "y" : f32[2, 16, 4]
//!   output "y" = %4
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2, 3, 8, 8]
//!   %1 = input "w" : f32[4, 3, 2, 2]
//!   %2 = conv(%0, %1) {dilations=[1, 1], groups=1, pads_after=[0, 0], pads_before=[0, 0], strides=[2, 2]} "c" : f32[2, 4, 4, 4]
//!   %3 = transpose(%2) {perm=[0, 2, 3, 1]} "y" : f32[2, 4, 4, 4]
//!   %4 = reshape(%3) {shape=[2, 16, 4]} "y" : f32[2, 16, 4]
//!   output "y" = %4
//! }
//! ```
//! Source: the definitions of the ops.
use super::Rewriter;
use super::cancel_transposes::before_reshape;
use super::sink_transposes::is_image;
use tensmith_ir::graph::{Attrs, Graph, GraphError, NodeId};
use tensmith_ir::ops::Class;

/// The graph with places of images joined behind transposes.
///
/// Errors: never for a valid graph.
pub fn flatten_late(graph: &Graph) -> Result<Graph, GraphError> {
    let uses = graph.uses();
    Rewriter::run(graph, &mut |cx, node| {
        if node.op.name != "transpose" {
            return Ok(None);
        }
        let Some((image, perm)) = before_reshape(graph, &uses, node) else {
            return Ok(None);
        };
        // Products read their operands by index, and need neither of the two.
        let multiplies = |n: &NodeId| graph.node(*n).op.class == Class::Contraction;
        let multiplied = uses[node.outputs[0].0 as usize].iter().any(multiplies);
        if multiplied || perm.last() != Some(&1) || !is_image(graph, image) {
            return Ok(None);
        }
        let x = cx.get(image);
        let attrs = Attrs::new().with("perm", perm);
        let y = cx.add("transpose", &node.name, &[x], attrs)?;
        let shape = &graph.ty(node.outputs[0]).shape;
        cx.reshape(y, shape, &node.name).map(|y| Some(vec![y]))
    })
}
