//! Drops rows of extent 1 from batched products that have other rows: heads that share keys while one
//! position is decoded are the rows of one product then, not a product each.
//!
//! Requires: nothing.
//! Ensures: no product of batches has an axis of extent 1 which, as another of its axes, only the
//! first operand and the result have.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "q" : f32[4, 8, 1, 64]
//!   %1 = input "k" : f32[4, 64, 300]
//!   %2 = contract(%0, %1) {spec="bgqd,bdk->bgqk"} "s" : f32[4, 8, 1, 300]
//!   output "y" = %2
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "q" : f32[4, 8, 1, 64]
//!   %1 = input "k" : f32[4, 64, 300]
//!   %2 = reshape(%0) {shape=[4, 8, 64]} "s" : f32[4, 8, 64]
//!   %3 = contract(%2, %1) {spec="bgd,bdk->bgk"} "s" : f32[4, 8, 300]
//!   %4 = reshape(%3) {shape=[4, 8, 1, 300]} "s" : f32[4, 8, 1, 300]
//!   output "y" = %4
//! }
//! ```
//! Source: Ainslie et al., GQA: Training Generalized Multi-Query Transformer Models from Multi-Head
//! Checkpoints, section 2.
use super::Rewriter;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node};
use tensmith_ir::ops::Spec;

/// The graph without rows of extent 1 beside others.
///
/// Errors: never for a valid graph.
pub fn drop_unit_rows(graph: &Graph) -> Result<Graph, GraphError> {
    Rewriter::run(graph, &mut |cx, node| {
        let Some((spec, unit)) = unit_row(graph, node) else {
            return Ok(None);
        };
        let name = &node.name;
        let [a, b] = cx.operands(node)[..] else {
            return Ok(None);
        };
        let kept = spec.a.iter().zip(&graph.ty(node.inputs[0]).shape);
        let kept = kept.filter(|(c, _)| **c != unit);
        let shape: Vec<Expr> = kept.map(|(_, e)| e.clone()).collect();
        let rows = cx.reshape(a, &shape, name)?;
        let letters = |list: &[u8]| -> String {
            let kept = list.iter().filter(|c| **c != unit);
            kept.map(|c| char::from(*c)).collect()
        };
        let [a, out] = [&spec.a, &spec.out].map(|list| letters(list));
        let text = format!("{a},{}->{out}", letters(&spec.b));
        let attrs = Attrs::new().with("spec", text);
        let made = cx.add("contract", name, &[rows, b], attrs)?;
        let shape = &graph.ty(node.outputs[0]).shape;
        cx.reshape(made, shape, name).map(|v| Some(vec![v]))
    })
}

/// An axis of extent 1 of the first operand and the result of a product of batches that has other
/// such axes, of more than one row.
fn unit_row(graph: &Graph, node: &Node) -> Option<(Spec, u8)> {
    if node.op.name != "contract" {
        return None;
    }
    let spec = Spec::of(&node.attrs);
    let shape = &graph.ty(node.inputs[0]).shape;
    let is_batch = |c: &u8| spec.b.contains(c) && spec.out.contains(c);
    let is_row = |c: &u8| !spec.b.contains(c) && spec.out.contains(c);
    let extent = |c: &u8| spec.a.iter().position(|d| d == c).map(|k| &shape[k]);
    let rows: Vec<u8> = spec.a.iter().copied().filter(is_row).collect();
    let is_one = |c: &u8| extent(c).is_some_and(|e| e.is(1));
    let unit = rows.iter().copied().find(is_one)?;
    let others = rows.iter().any(|c| !is_one(c));
    (others && spec.a.iter().any(is_batch)).then_some((spec, unit))
}
