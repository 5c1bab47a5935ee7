//! Computes small results that depend on constants only.
//!
//! Requires: nothing.
//! Ensures: scalar work on small constants is done; large constant expressions stay, for the plan
//! that prepares constants.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[3]
//!   %1 = const "a" : f32[] = [4.0]
//!   %2 = sqrt(%1) {} "s" : f32[]
//!   %3 = mul(%0, %2) {} "m" : f32[3]
//!   output "y" = %3
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[3]
//!   %1 = const "s" : f32[] = [2.0]
//!   %2 = mul(%0, %1) {} "m" : f32[3]
//!   output "y" = %2
//! }
//! ```
//! Source: Wegman and Zadeck, Constant propagation with conditional branches.
use super::Rewriter;
use std::collections::HashMap;
use tensmith_ir::eval::{Sizes, eval_node};
use tensmith_ir::graph::{Graph, GraphError, Node, TensorType, ValueId};
use tensmith_ir::ops::Class;
use tensmith_ir::tensor::Tensor;

/// Results of more elements are cheaper to compute by compiled code.
const MAX_ELEMENTS: usize = 4096;

/// The graph with small constant results computed; `fold_bytes` bounds each.
///
/// Errors: never for a valid graph.
pub fn fold_constants(graph: &Graph, fold_bytes: usize) -> Result<Graph, GraphError> {
    // Results of `expand` stay nodes: what reads them needs one element only.
    let mut expanded: HashMap<ValueId, Tensor> = HashMap::new();
    Rewriter::run(graph, &mut |cx, node| {
        if !is_foldable(cx.old, node, fold_bytes) {
            return Ok(None);
        }
        let operands = cx.operands(node);
        let known = |v: &ValueId| cx.constant(*v).or_else(|| expanded.get(v)).cloned();
        let Some(known) = operands.iter().map(known).collect::<Option<Vec<Tensor>>>() else {
            return Ok(None);
        };
        if known.iter().map(Tensor::count).sum::<usize>() > MAX_ELEMENTS {
            return Ok(None);
        }
        let known: Vec<&Tensor> = known.iter().collect();
        // What cannot be evaluated fails at run time, where the error names its place.
        let Ok(results) = eval_node(cx.old, node, &known, &Sizes::new()) else {
            return Ok(None);
        };
        if node.op.name == "expand" {
            let kept = cx.add("expand", &node.name, &operands, node.attrs.clone())?;
            expanded.extend(results.into_iter().map(|t| (kept, t)));
            return Ok(Some(vec![kept]));
        }
        let names = node.outputs.iter().map(|v| &graph.value(*v).name);
        let folded = names
            .zip(results)
            .map(|(name, t)| cx.new.add_constant(name, t));
        Ok(Some(folded.collect()))
    })
}

fn is_foldable(graph: &Graph, node: &Node, fold_bytes: usize) -> bool {
    let small = |ty: &TensorType| {
        let count = ty.count().as_const().and_then(|n| usize::try_from(n).ok());
        count.is_some_and(|n| n <= MAX_ELEMENTS && n * ty.dtype.bytes() <= fold_bytes)
            && ty.static_shape().is_some()
    };
    !matches!(node.op.class, Class::Contraction | Class::Control)
        && node.outputs.iter().all(|v| small(graph.ty(*v)))
}
