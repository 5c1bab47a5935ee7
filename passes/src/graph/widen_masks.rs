//! Widens boolean masks that streamed chains read from memory to numbers of 32 bits, which lanes of
//! vectors can hold there.
//!
//! Requires: nothing.
//! Ensures: streamed chains read no boolean from memory.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "q" : f32[4, 8, 2]
//!   %1 = input "k" : f32[4, 2, 8]
//!   %2 = input "m" : bool[8, 8]
//!   %3 = input "n" : f32[]
//!   %4 = contract(%0, %1) {spec="bld,bds->bls"} "c" : f32[4, 8, 8]
//!   %5 = select(%2, %4, %3) {} "w" : f32[4, 8, 8]
//!   %6 = softmax(%5) {axis=2} "s" : f32[4, 8, 8]
//!   %7 = contract(%6, %0) {spec="bls,bsd->bld"} "y" : f32[4, 8, 2]
//!   output "y" = %7
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "q" : f32[4, 8, 2]
//!   %1 = input "k" : f32[4, 2, 8]
//!   %2 = input "m" : bool[8, 8]
//!   %3 = input "n" : f32[]
//!   %4 = contract(%0, %1) {spec="bld,bds->bls"} "c" : f32[4, 8, 8]
//!   %5 = cast(%2) {to=i32} "w" : i32[8, 8]
//!   %6 = const "w" : i32[] = [0]
//!   %7 = lt(%6, %5) {} "w" : bool[8, 8]
//!   %8 = select(%7, %4, %3) {} "w" : f32[4, 8, 8]
//!   %9 = softmax(%8) {axis=2} "s" : f32[4, 8, 8]
//!   %10 = contract(%9, %0) {spec="bls,bsd->bld"} "y" : f32[4, 8, 2]
//!   output "y" = %10
//! }
//! ```
//! Source: a mask is read once for each head, and widened once.
use super::Rewriter;
use crate::partition::streams_of;
use std::collections::BTreeSet;
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::{Attrs, Graph, GraphError, NodeId, ValueId};
use tensmith_ir::tensor::Tensor;

/// The graph with wide masks for streamed chains.
///
/// Errors: never for a valid graph.
pub fn widen_masks(graph: &Graph) -> Result<Graph, GraphError> {
    let streamed: BTreeSet<NodeId> = streams_of(graph);
    let is_narrow = |v: &ValueId| {
        let outside = graph.producer(*v).is_none_or(|n| !streamed.contains(&n));
        outside && graph.ty(*v).dtype == DType::Bool
    };
    Rewriter::run(graph, &mut |cx, node| {
        let inside = graph.producer(node.outputs[0]);
        let inside = inside.is_some_and(|id| streamed.contains(&id));
        if !inside || !node.inputs.iter().any(is_narrow) {
            return Ok(None);
        }
        let mut operands = Vec::new();
        for value in &node.inputs {
            let mut operand = cx.get(*value);
            if is_narrow(value) {
                let attrs = Attrs::new().with("to", DType::I32);
                let wide = cx.add("cast", &node.name, &[operand], attrs)?;
                let zero = Tensor::splat(DType::I32, vec![], 0.0);
                let zero = cx.new.add_constant(&node.name, zero);
                operand = cx.add("lt", &node.name, &[zero, wide], Attrs::new())?;
            }
            operands.push(operand);
        }
        let name = node.op.name;
        let result = cx.add(name, &node.name, &operands, node.attrs.clone())?;
        Ok(Some(vec![result]))
    })
}
