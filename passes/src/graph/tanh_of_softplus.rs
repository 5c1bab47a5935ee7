//! Computes the hyperbolic tangent of a softplus, the gate of mish, from one power.
//!
//! Requires: the standard precision: the quotient is rounded otherwise.
//! Ensures: no `tanh(log(1 + e^x))` as recognisers write it: with `w = e^min(x, 20)`, it is
//! `w (w + 2) / (w (w + 2) + 2)`, which is 1 in `f32` from there on, and never overflows.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[4]
//!   %1 = const "zero" : f32[] = [0.0]
//!   %2 = const "one" : f32[] = [1.0]
//!   %3 = abs(%0) {} "a" : f32[4]
//!   %4 = neg(%3) {} "n" : f32[4]
//!   %5 = exp(%4) {} "e" : f32[4]
//!   %6 = add(%5, %2) {} "s" : f32[4]
//!   %7 = log(%6) {} "l" : f32[4]
//!   %8 = max(%0, %1) {} "m" : f32[4]
//!   %9 = add(%8, %7) {} "p" : f32[4]
//!   %10 = tanh(%9) {} "t" : f32[4]
//!   output "y" = %10
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[4]
//!   %1 = const "t" : f32[] = [20.0]
//!   %2 = min(%0, %1) {} "t" : f32[4]
//!   %3 = exp(%2) {} "t" : f32[4]
//!   %4 = const "t" : f32[] = [2.0]
//!   %5 = add(%3, %4) {} "t" : f32[4]
//!   %6 = mul(%3, %5) {} "t" : f32[4]
//!   %7 = add(%6, %4) {} "t" : f32[4]
//!   %8 = div(%6, %7) {} "t" : f32[4]
//!   output "y" = %8
//! }
//! ```
//! Source: with `u = 1 + e^x`, `tanh(log u) = (u^2 - 1) / (u^2 + 1)`.
use super::Rewriter;
use super::fold_identities::uniform;
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, ValueId};
use tensmith_ir::tensor::Tensor;

/// From here on, the gate differs from 1 by less than a rounding of `f32`, and its power to the
/// second is far from overflow.
const FLAT: f64 = 20.0;

/// The graph with gates of one power.
///
/// Errors: never for a valid graph.
pub fn tanh_of_softplus(graph: &Graph) -> Result<Graph, GraphError> {
    Rewriter::run(graph, &mut |cx, node| {
        let Some(x) = softplus_below(graph, node) else {
            return Ok(None);
        };
        let x = cx.get(x);
        let name = &node.name;
        let mut number = |n| {
            let n = Tensor::splat(DType::F32, vec![], n);
            cx.new.add_constant(name, n)
        };
        let [flat, two] = [number(FLAT), number(2.0)];
        let mut make = |op: &str, operands: &[ValueId]| cx.add(op, name, operands, Attrs::new());
        let below = make("min", &[x, flat])?;
        let power = make("exp", &[below])?;
        let above = make("add", &[power, two])?;
        let part = make("mul", &[power, above])?;
        let whole = make("add", &[part, two])?;
        make("div", &[part, whole]).map(|v| Some(vec![v]))
    })
}

/// The operand of the softplus that a node is the hyperbolic tangent of.
fn softplus_below(graph: &Graph, node: &Node) -> Option<ValueId> {
    let made = |v: ValueId, op: &str| {
        let node = graph.node(graph.producer(v)?);
        (node.op.name == op).then_some(node)
    };
    let number = |v: ValueId| graph.constant(v).and_then(uniform);
    // The other operand of a node one of whose operands is a number.
    let beside = |v: ValueId, op: &str, n: f64| {
        let node = made(v, op)?;
        let [a, b] = node.inputs[..] else { return None };
        let other = match (number(a), number(b)) {
            (None, Some(m)) if m == n => a,
            (Some(m), None) if m == n => b,
            _ => return None,
        };
        (graph.ty(other) == graph.ty(v)).then_some(other)
    };
    if node.op.name != "tanh" || graph.ty(node.outputs[0]).dtype != DType::F32 {
        return None;
    }
    let sum = made(node.inputs[0], "add")?;
    let [a, b] = sum.inputs[..] else { return None };
    [(a, b), (b, a)].into_iter().find_map(|(positive, log)| {
        let x = beside(positive, "max", 0.0)?;
        let power = beside(made(log, "log")?.inputs[0], "add", 1.0)?;
        let size = made(made(power, "exp")?.inputs[0], "neg")?.inputs[0];
        (made(size, "abs")?.inputs[0] == x).then_some(x)
    })
}
