//! Converts constant weights of 16 bits behind what moves them, so that products which read each
//! weight once can read them as they are stored.
//!
//! Such a product, of one row, takes as long as its weights take from memory: halves are half of
//! that, and are converted where they are loaded ([`reads_halves_once`]).
//!
//! Requires: nothing.
//! Ensures: no constant is converted to `f32` before it is moved only.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 2]
//!   %1 = const "w" : f16[2, 2] = [1.0, 2.0, 3.0, 4.0]
//!   %2 = cast(%1) {to=f32} "f" : f32[2, 2]
//!   %3 = transpose(%2) {perm=[1, 0]} "t" : f32[2, 2]
//!   %4 = contract(%0, %3) {spec="mk,kn->mn"} "y" : f32[1, 2]
//!   output "y" = %4
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 2]
//!   %1 = const "w" : f16[2, 2] = [1.0, 2.0, 3.0, 4.0]
//!   %2 = transpose(%1) {perm=[1, 0]} "t" : f16[2, 2]
//!   %3 = cast(%2) {to=f32} "t" : f32[2, 2]
//!   %4 = contract(%0, %3) {spec="mk,kn->mn"} "y" : f32[1, 2]
//!   output "y" = %4
//! }
//! ```
//! Source: a product of one row does two operations for each weight, and is bound by their bytes.
use super::Rewriter;
use super::fold_factors::is_fixed;
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, NodeId, ValueId};
use tensmith_ir::ops::Spec;

/// Units: elements of weights, at least: fewer stay in the first cache as floats.
const LEAST: i64 = 1 << 14;

/// Movements between halves and the product that reads them, at most.
const MOVES: usize = 8;

/// The graph with conversions of constants behind movements.
///
/// Errors: never for a valid graph.
pub fn keep_half_weights(graph: &Graph) -> Result<Graph, GraphError> {
    Rewriter::run(graph, &mut |cx, node| {
        if !moves(node) {
            return Ok(None);
        }
        let operands = cx.operands(node);
        let halves = operands.iter().map(|v| half_before(&cx.new, *v));
        let Some(halves) = halves.collect::<Option<Vec<ValueId>>>() else {
            return Ok(None);
        };
        let dtype = cx.ty(halves[0]).dtype;
        if halves.iter().any(|v| cx.ty(*v).dtype != dtype) {
            return Ok(None);
        }
        let moved = cx.add(node.op.name, &node.name, &halves, node.attrs.clone())?;
        let attrs = Attrs::new().with("to", DType::F32);
        let wide = cx.add("cast", &node.name, &[moved], attrs)?;
        Ok(Some(vec![wide]))
    })
}

fn moves(node: &Node) -> bool {
    let name = node.op.name;
    matches!(name, "reshape" | "transpose" | "slice" | "concat")
}

/// The constant of half precision that a value is as `f32`.
fn half_before(graph: &Graph, v: ValueId) -> Option<ValueId> {
    let node = graph.node(graph.producer(v)?);
    (is_widening(graph, node) && is_fixed(graph, node.inputs[0])).then(|| node.inputs[0])
}

fn is_widening(graph: &Graph, node: &Node) -> bool {
    node.op.name == "cast"
        && graph.ty(node.inputs[0]).dtype.is_half()
        && graph.ty(node.outputs[0]).dtype == DType::F32
}

/// Whether a node converts halves to `f32` of which products of one row, which alone read them, read
/// each once.
pub fn reads_halves_once(graph: &Graph, uses: &[Vec<NodeId>], node: &Node) -> bool {
    if !is_widening(graph, node) {
        return false;
    }
    let value = node.outputs[0];
    let users = &uses[value.0 as usize];
    let reads = |id: &NodeId| {
        let reader = graph.node(*id);
        (0..reader.inputs.len())
            .all(|k| reader.inputs[k] != value || is_read_once(graph, reader, k))
    };
    !graph.outputs.contains(&value) && users.len() == 1 && users.iter().all(reads)
}

/// Whether operand `k` of a product is large, and each of its elements is read once.
fn is_read_once(graph: &Graph, node: &Node, k: usize) -> bool {
    if node.op.name != "contract" || k > 1 {
        return false;
    }
    let spec = Spec::of(&node.attrs);
    let (own, other) = match k {
        0 => (&spec.a, node.inputs[1]),
        _ => (&spec.b, node.inputs[0]),
    };
    let letters = if k == 0 { &spec.b } else { &spec.a };
    let extents = letters.iter().zip(&graph.ty(other).shape);
    let mut rows = extents.filter(|(c, _)| !own.contains(c));
    let count = graph.ty(node.inputs[k]).count().as_const();
    rows.all(|(_, e)| e.is(1)) && count.is_some_and(|n| n >= LEAST)
}

/// Whether a constant operand of a product is made of halves by movements only, and is read once:
/// what is folded into it would make floats of it.
pub(super) fn are_half_weights(graph: &Graph, node: &Node, k: usize) -> bool {
    fn of_halves(graph: &Graph, v: ValueId, depth: usize) -> bool {
        let Some(id) = graph.producer(v) else {
            return false;
        };
        let node = graph.node(id);
        half_before(graph, v).is_some()
            || depth > 0
                && moves(node)
                && node.inputs.iter().all(|v| of_halves(graph, *v, depth - 1))
    }
    is_read_once(graph, node, k) && of_halves(graph, node.inputs[k], MOVES)
}
