//! Makes nodes with the same op, operands and attributes one, and constants with the same bytes.
//!
//! Requires: nothing.
//! Ensures: no two nodes without subgraphs compute the same.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[3]
//!   %1 = exp(%0) {} "a" : f32[3]
//!   %2 = exp(%0) {} "b" : f32[3]
//!   %3 = mul(%1, %2) {} "c" : f32[3]
//!   output "y" = %3
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[3]
//!   %1 = exp(%0) {} "a" : f32[3]
//!   %2 = mul(%1, %1) {} "c" : f32[3]
//!   output "y" = %2
//! }
//! ```
//! Source: Cocke, Global common subexpression elimination.
use super::Rewriter;
use std::collections::HashMap;
use tensmith_ir::graph::{Def, Graph, GraphError, ValueId};
use tensmith_ir::tensor::Tensor;

/// Units: bytes. Larger constants are the same only if they share their bytes.
const COMPARE_BYTES: usize = 256;

/// The graph with each expression computed once.
///
/// Errors: never for a valid graph.
pub fn eliminate_common_subexpressions(graph: &Graph) -> Result<Graph, GraphError> {
    let twins = constant_twins(graph);
    let mut known: HashMap<(&str, Vec<ValueId>, String), Vec<ValueId>> = HashMap::new();
    Rewriter::run(graph, &mut |cx, node| {
        for operand in &node.inputs {
            if let Some(twin) = twins.get(operand) {
                let twin = cx.get(*twin);
                cx.set(*operand, twin);
            }
        }
        if !node.regions.is_empty() {
            return Ok(None);
        }
        let key = (node.op.name, cx.operands(node), node.attrs.to_string());
        if let Some(results) = known.get(&key) {
            return Ok(Some(results.clone()));
        }
        let results = cx
            .new
            .add(node.op, &node.name, &key.1, node.attrs.clone())?;
        known.insert(key, results.clone());
        Ok(Some(results))
    })
}

/// For constants that occur before: their first occurrence.
fn constant_twins(graph: &Graph) -> HashMap<ValueId, ValueId> {
    let mut first: HashMap<(String, Vec<u8>, usize), ValueId> = HashMap::new();
    let mut twins = HashMap::new();
    for (k, value) in graph.values.iter().enumerate() {
        if let Def::Constant(t) = &value.def {
            let id = ValueId(k as u32);
            let twin = *first.entry(constant_key(t)).or_insert(id);
            if twin != id {
                twins.insert(id, twin);
            }
        }
    }
    twins
}

/// Type and elements: the bytes of small constants, the address of large ones.
fn constant_key(t: &Tensor) -> (String, Vec<u8>, usize) {
    let ty = format!("{}{:?}", t.dtype, t.shape);
    match t.data.len() {
        n if n <= COMPARE_BYTES => (ty, t.data.to_vec(), 0),
        _ => (ty, vec![], t.data.as_ptr() as usize),
    }
}
