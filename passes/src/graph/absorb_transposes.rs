//! Reads rows of products where they lie: a transpose of the first operand goes into the spec.
//!
//! Requires: nothing.
//! Ensures: no first operand of a product, outside of what is streamed, is a transpose that only
//! such operands read, unless it brings batches or no axis of the product's own behind all others.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[3, 4]
//!   %1 = input "w" : f32[3, 2]
//!   %2 = transpose(%0) {perm=[1, 0]} "t" : f32[4, 3]
//!   %3 = contract(%2, %1) {spec="ab,bc->ac"} "y" : f32[4, 2]
//!   output "y" = %3
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[3, 4]
//!   %1 = input "w" : f32[3, 2]
//!   %2 = contract(%0, %1) {spec="ba,bc->ac"} "y" : f32[4, 2]
//!   output "y" = %2
//! }
//! ```
//! Source: the definition of a contraction names axes, and their order in memory is none of its
//! business.
use super::Rewriter;
use crate::partition::streams_of;
use tensmith_ir::graph::{Graph, GraphError, Node, NodeId, ValueId};
use tensmith_ir::ops::Spec;

/// The graph with transposes of rows in specs.
///
/// Errors: never for a valid graph.
pub fn absorb_transposes(graph: &Graph) -> Result<Graph, GraphError> {
    let uses = graph.uses();
    let streamed = streams_of(graph);
    let reads = |id: &NodeId, value: ValueId| {
        let node = graph.node(*id);
        let rows = node.op.name == "contract" && node.inputs[0] == value;
        rows && node.inputs[1] != value && !streamed.contains(id)
    };
    let absorbed = |node: &Node| {
        let value = *node.inputs.first()?;
        let made = graph.node(graph.producer(value)?);
        let only = uses[value.0 as usize].iter().all(|id| reads(id, value));
        if made.op.name != "transpose" || !only || graph.outputs.contains(&value) {
            return None;
        }
        let spec = Spec::of(&node.attrs);
        let mut before = spec.a.clone();
        for (letter, from) in spec.a.iter().zip(made.attrs.ints("perm")) {
            before[*from as usize] = *letter;
        }
        // Whatever is broadcast or loaded for the tile lies side by side then.
        let last = before.last()?;
        let batch = spec.b.contains(last) && spec.out.contains(last);
        (!batch).then_some((made.inputs[0], Spec { a: before, ..spec }))
    };
    Rewriter::run(graph, &mut |cx, node| {
        if node.op.name != "contract" {
            return Ok(None);
        }
        let Some((x, spec)) = absorbed(node) else {
            return Ok(None);
        };
        let operands = [cx.get(x), cx.get(node.inputs[1])];
        let lists = [&spec.a, &spec.b, &spec.out].map(|l| String::from_utf8_lossy(l).into_owned());
        let [a, b, out] = lists;
        let attrs = node.attrs.clone().with("spec", format!("{a},{b}->{out}"));
        let y = cx.add("contract", &node.name, &operands, attrs)?;
        Ok(Some(vec![y]))
    })
}
