//! Removes nodes and constants that no output depends on.
//!
//! Requires: nothing.
//! Ensures: every node has a result that an output depends on.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[3]
//!   %1 = exp(%0) {} "a" : f32[3]
//!   %2 = neg(%0) {} "b" : f32[3]
//!   output "y" = %2
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[3]
//!   %1 = neg(%0) {} "b" : f32[3]
//!   output "y" = %1
//! }
//! ```
//! Source: Cytron et al., Efficiently computing static single assignment form, section 7.1.
use super::Rewriter;
use tensmith_ir::graph::{Graph, GraphError};

/// The graph without nodes that no output depends on.
///
/// Errors: never for a valid graph.
pub fn eliminate_dead_code(graph: &Graph) -> Result<Graph, GraphError> {
    let mut live = vec![false; graph.values.len()];
    graph.outputs.iter().for_each(|v| live[v.0 as usize] = true);
    for node in graph.nodes.iter().rev() {
        if node.outputs.iter().any(|v| live[v.0 as usize]) {
            let operands = node.inputs.iter();
            operands.for_each(|v| live[v.0 as usize] = true);
        }
    }
    let mut cx = Rewriter::new(graph);
    for node in &graph.nodes {
        if node.outputs.iter().any(|v| live[v.0 as usize]) {
            cx.copy(node)?;
        }
    }
    Ok(cx.finish())
}
