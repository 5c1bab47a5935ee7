//! Transposes the second operand of a product of rows with rows, so that its columns lie side by
//! side in memory.
//!
//! Requires: nothing.
//! Ensures: in no contraction of at least 8 rows do both operands lie contiguous along the only
//! axis that is summed over, unless one of them is a constant (constants are packed).
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "q" : f32[2, 20, 4]
//!   %1 = input "k" : f32[2, 30, 4]
//!   %2 = contract(%0, %1) {spec="bld,bsd->bls"} "c" : f32[2, 20, 30]
//!   output "y" = %2
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "q" : f32[2, 20, 4]
//!   %1 = input "k" : f32[2, 30, 4]
//!   %2 = transpose(%1) {perm=[0, 2, 1]} "c" : f32[2, 4, 30]
//!   %3 = contract(%0, %2) {spec="bld,bds->bls"} "c" : f32[2, 20, 30]
//!   output "y" = %3
//! }
//! ```
//! Source: Goto and van de Geijn, Anatomy of high-performance matrix multiplication, 2008: packing
//! costs one pass over an operand that is read once for each row.
use super::Rewriter;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node};
use tensmith_ir::ops::Spec;

/// Fewer rows are not worth a pass over the other operand.
const ROWS: i64 = 8;

/// The graph with operands whose columns are contiguous.
///
/// Errors: never for a valid graph.
pub fn transpose_columns(graph: &Graph) -> Result<Graph, GraphError> {
    Rewriter::run(graph, &mut |cx, node| {
        let Some(spec) = transposed(cx.old, node) else {
            return Ok(None);
        };
        let [a, b] = [0, 1].map(|k| cx.get(node.inputs[k]));
        let last = spec.b.len() - 1;
        let mut perm: Vec<i64> = (0..=last as i64).collect();
        perm.swap(last - 1, last);
        let b = cx.add(
            "transpose",
            &node.name,
            &[b],
            Attrs::new().with("perm", perm),
        )?;
        let text = |letters: &[u8]| String::from_utf8_lossy(letters).into_owned();
        let form = format!("{},{}->{}", text(&spec.a), text(&spec.b), text(&spec.out));
        let attrs = Attrs::new().with("spec", form);
        let y = cx.add("contract", &node.name, &[a, b], attrs)?;
        Ok(Some(vec![y]))
    })
}

/// The letters of a contraction with the last two of the second operand exchanged, if that pays.
fn transposed(graph: &Graph, node: &Node) -> Option<Spec> {
    if node.op.name != "contract" || node.inputs.iter().any(|v| graph.constant(*v).is_some()) {
        return None;
    }
    let mut spec = Spec::of(&node.attrs);
    let (Some(sum), [.., column, last]) = (spec.a.last(), &spec.b[..]) else {
        return None;
    };
    let rows = spec.a.iter().filter(|c| !spec.b.contains(c));
    let extent = |c: &u8| {
        let k = spec.a.iter().position(|a| a == c)?;
        graph.ty(node.inputs[0]).shape[k].as_const()
    };
    let many = rows.map(extent).any(|e| e.is_none_or(|n| n >= ROWS));
    if sum != last || spec.summed() != [*sum] || spec.a.contains(column) || !many {
        return None;
    }
    let end = spec.b.len();
    spec.b.swap(end - 2, end - 1);
    Some(spec)
}
