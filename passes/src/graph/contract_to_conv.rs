//! Writes products of channels with constant weights as convolutions of one tap.
//!
//! Requires: nothing.
//! Ensures: no contraction of constant weights of two axes with the second of three to five axes of
//! a value, if the result has the other axes in their order.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2, 2, 12]
//!   %1 = const "w" : f32[3, 2] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
//!   %2 = contract(%1, %0) {spec="oc,ncp->nop"} "y" : f32[2, 3, 12]
//!   output "y" = %2
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2, 2, 12]
//!   %1 = const "w" : f32[3, 2] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
//!   %2 = reshape(%1) {shape=[3, 2, 1]} "y" : f32[3, 2, 1]
//!   %3 = conv(%0, %2) {dilations=[1], groups=1, pads_after=[0], pads_before=[0], strides=[1]} "y" : f32[2, 3, 12]
//!   output "y" = %3
//! }
//! ```
//! Source: a filter of one tap is a product at each place.
use super::Rewriter;
use super::cancel_transposes::{has_conv, one_tap};
use super::fold_factors::is_fixed;
use tensmith_ir::graph::{Graph, GraphError, Node};
use tensmith_ir::ops::Spec;

/// The graph with convolutions for products of channels.
///
/// Errors: never for a valid graph.
pub fn contract_to_conv(graph: &Graph) -> Result<Graph, GraphError> {
    Rewriter::run(graph, &mut |cx, node| {
        for k in [0, 1] {
            if is_of_channels(graph, node, k) {
                let spec = Spec::of(&node.attrs);
                let own = if k == 0 { spec.a } else { spec.b };
                let operands = cx.operands(node);
                let across = own[1] == spec.out[1];
                let (w, x) = (operands[k], operands[1 - k]);
                return one_tap(cx, &node.name, x, (w, across)).map(|y| Some(vec![y]));
            }
        }
        Ok(None)
    })
}

/// Whether operand `k` is constant weights of the channels of the other one.
fn is_of_channels(graph: &Graph, node: &Node, k: usize) -> bool {
    if node.op.name != "contract" || !is_fixed(graph, node.inputs[k]) {
        return false;
    }
    let spec = Spec::of(&node.attrs);
    let (w, x) = match k {
        0 => (&spec.a, &spec.b),
        _ => (&spec.b, &spec.a),
    };
    let rank = x.len();
    has_conv(rank)
        && w.len() == 2
        && spec.out.len() == rank
        && (0..rank).all(|d| d == 1 || x[d] == spec.out[d])
        && x[1] != spec.out[1]
        && w.contains(&x[1])
        && w.contains(&spec.out[1])
        && !is_fixed(graph, node.inputs[1 - k])
}
