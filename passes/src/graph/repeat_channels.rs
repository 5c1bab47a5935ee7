//! Repeats the channels of a depthwise convolution with few results for each, so that each result has
//! a channel of its own: vectors along channels load, multiply and store what lies side by side.
//!
//! Requires: nothing.
//! Ensures: no depthwise convolution has two or three results for a channel.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 4, 6, 6]
//!   %1 = input "w" : f32[8, 1, 3, 3]
//!   %2 = conv(%0, %1) {dilations=[1, 1], groups=4, pads_after=[0, 0], pads_before=[0, 0], strides=[1, 1]} "c" : f32[1, 8, 4, 4]
//!   output "y" = %2
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 4, 6, 6]
//!   %1 = repeat(%0) {counts=[1, 2, 1, 1]} "c" : f32[1, 8, 6, 6]
//!   %2 = input "w" : f32[8, 1, 3, 3]
//!   %3 = conv(%1, %2) {dilations=[1, 1], groups=8, pads_after=[0, 0], pads_before=[0, 0], strides=[1, 1]} "c" : f32[1, 8, 4, 4]
//!   output "y" = %3
//! }
//! ```
//! Source: the definition of the operation.
use super::{Rewriter, is_depthwise};
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node};

/// Results of a channel at most for which it is repeated: more fill vectors by themselves.
const FEW: i64 = 3;

/// The graph with a channel for each result of depthwise convolutions.
///
/// Errors: never for a valid graph.
pub fn repeat_channels(graph: &Graph) -> Result<Graph, GraphError> {
    Rewriter::run(graph, &mut |cx, node| {
        let Some(count) = results_of_channel(cx.old, node) else {
            return Ok(None);
        };
        let mut counts = vec![1; cx.old.ty(node.inputs[0]).rank()];
        counts[1] = count;
        let mut operands = cx.operands(node);
        let attrs = Attrs::new().with("counts", counts);
        operands[0] = cx.add("repeat", &node.name, &[operands[0]], attrs)?;
        let groups = node.attrs.int("groups") * count;
        let attrs = node.attrs.clone().with("groups", groups);
        Ok(Some(vec![cx.add("conv", &node.name, &operands, attrs)?]))
    })
}

/// Results for each channel of a depthwise convolution, if these are few, but more than one.
fn results_of_channel(graph: &Graph, node: &Node) -> Option<i64> {
    if !is_depthwise(graph, node) {
        return None;
    }
    let results = graph.ty(node.inputs[1]).shape[0].as_const()?;
    let count = results / node.attrs.int("groups");
    (2..=FEW).contains(&count).then_some(count)
}
