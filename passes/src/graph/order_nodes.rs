//! Puts nodes in the order in which the outputs need them.
//!
//! Requires: nothing.
//! Ensures: nodes that no output needs are gone; each of the others comes right before what needs it
//! first, operand by operand. So the order does not depend on how a model lists its nodes.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2]
//!   %1 = input "y" : f32[2]
//!   %2 = exp(%1) {} "b" : f32[2]
//!   %3 = exp(%0) {} "a" : f32[2]
//!   %4 = sub(%3, %2) {} "c" : f32[2]
//!   output "z" = %4
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2]
//!   %1 = exp(%0) {} "a" : f32[2]
//!   %2 = input "y" : f32[2]
//!   %3 = exp(%2) {} "b" : f32[2]
//!   %4 = sub(%1, %3) {} "c" : f32[2]
//!   output "z" = %4
//! }
//! ```
//! Source: depth-first order.
use super::Rewriter;
use tensmith_ir::graph::{Graph, GraphError, NodeId};

/// The graph with nodes in the order in which they are needed.
///
/// Errors: never for a valid graph.
pub fn order_nodes(graph: &Graph) -> Result<Graph, GraphError> {
    let mut cx = Rewriter::new(graph);
    let mut seen = vec![false; graph.nodes.len()];
    for output in &graph.outputs {
        let mut open: Vec<(NodeId, usize)> = Vec::new();
        let root = graph.producer(*output);
        open.extend(root.map(|id| (id, 0)));
        while let Some((id, next)) = open.last_mut() {
            let node = graph.node(*id);
            if *next == 0 && std::mem::replace(&mut seen[id.0 as usize], true) {
                open.pop();
                continue;
            }
            let operand = node.inputs.get(*next);
            *next += 1;
            match operand {
                Some(value) => {
                    let unseen = |id: &NodeId| !seen[id.0 as usize];
                    let producer = graph.producer(*value).filter(unseen);
                    open.extend(producer.map(|id| (id, 0)));
                }
                None => {
                    open.pop();
                    cx.copy(node)?;
                }
            }
        }
    }
    Ok(cx.finish())
}
