//! Moves a constant factor behind bounds into them and into the factor before them.
//!
//! Requires: the standard precision: products and sums are rounded in another order.
//! Ensures: no product of a constant above 0, or of a multiple of another value by one, with a line,
//! bounded by constants, that has a factor already: the line and its bounds are scaled instead.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2, 3]
//!   %1 = const "a" : f32[] = [0.5]
//!   %2 = const "b" : f32[] = [3.0]
//!   %3 = const "lo" : f32[] = [0.0]
//!   %4 = const "hi" : f32[] = [1.0]
//!   %5 = const "c" : f32[] = [4.0]
//!   %6 = mul(%0, %1) {} "m" : f32[2, 3]
//!   %7 = add(%6, %2) {} "a" : f32[2, 3]
//!   %8 = max(%7, %3) {} "l" : f32[2, 3]
//!   %9 = min(%8, %4) {} "h" : f32[2, 3]
//!   %10 = mul(%9, %5) {} "s" : f32[2, 3]
//!   output "y" = %10
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2, 3]
//!   %1 = const "s" : f32[] = [2.0]
//!   %2 = mul(%0, %1) {} "s" : f32[2, 3]
//!   %3 = const "s" : f32[] = [12.0]
//!   %4 = add(%2, %3) {} "s" : f32[2, 3]
//!   %5 = const "s" : f32[] = [0.0]
//!   %6 = max(%4, %5) {} "s" : f32[2, 3]
//!   %7 = const "s" : f32[] = [4.0]
//!   %8 = min(%6, %7) {} "s" : f32[2, 3]
//!   output "y" = %8
//! }
//! ```
//! Source: a scaled gate of MobileNetV3: Howard et al., Searching for MobileNetV3, section 5.2.
use super::Rewriter;
use super::fold_identities::uniform;
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, ValueId};
use tensmith_ir::tensor::Tensor;

/// Factors within these neither overflow nor lose digits where their product is taken.
const FACTORS: std::ops::Range<f64> = 1e-6..1e6;

/// Scalar maps between two factors, at most.
const DEPTH: usize = 8;

/// The graph with factors in bounds.
///
/// Errors: never for a valid graph.
pub fn scale_bounds(graph: &Graph) -> Result<Graph, GraphError> {
    let uses = graph.uses();
    let once = |v: ValueId| uses[v.0 as usize].len() == 1 && !graph.outputs.contains(&v);
    Rewriter::run(graph, &mut |cx, node| {
        if node.op.name != "mul" {
            return Ok(None);
        }
        if let Some((value, factor)) = scalar_map(graph, node) {
            let found = line(graph, &once, value).filter(|_| FACTORS.contains(&factor));
            let made = found
                .map(|line| scaled(cx, node, &line, factor))
                .transpose()?;
            return Ok(made.map(|v| vec![v]));
        }
        let [a, b] = node.inputs[..] else {
            return Ok(None);
        };
        for (gate, value) in [(a, b), (b, a)] {
            if let (Some(line), Some((value, factor))) =
                (line(graph, &once, gate), multiple(graph, &once, value))
                && graph.ty(gate) == graph.ty(node.outputs[0])
            {
                let gate = scaled(cx, node, &line, factor)?;
                let value = cx.get(value);
                return cx
                    .add("mul", &node.name, &[value, gate], Attrs::new())
                    .map(|v| Some(vec![v]));
            }
        }
        Ok(None)
    })
}

/// The operand and the factor of a product with a constant above 0 that is needed once.
fn multiple(
    graph: &Graph,
    once: &dyn Fn(ValueId) -> bool,
    value: ValueId,
) -> Option<(ValueId, f64)> {
    let node = graph.node(graph.producer(value).filter(|_| once(value))?);
    let found = scalar_map(graph, node).filter(|_| node.op.name == "mul");
    found.filter(|(_, factor)| FACTORS.contains(factor))
}

/// The operand, of the result's type, and the number that a node joins to it.
fn scalar_map(graph: &Graph, node: &Node) -> Option<(ValueId, f64)> {
    if !matches!(node.op.name, "mul" | "add" | "max" | "min") {
        return None;
    }
    let [a, b] = node.inputs[..] else { return None };
    let number = |v: ValueId| graph.constant(v).and_then(uniform);
    let (value, number) = match (number(a), number(b)) {
        (None, Some(n)) => (a, n),
        (Some(n), None) => (b, n),
        _ => return None,
    };
    let ty = graph.ty(node.outputs[0]);
    (graph.ty(value) == ty && matches!(ty.dtype, DType::F32 | DType::F64))
        .then_some((value, number))
}

/// A value and the steps that are taken from it, the last one first.
type Line = (ValueId, Vec<(&'static str, f64)>);

/// The steps from a value that is multiplied to a value that was bounded.
fn line(graph: &Graph, once: &dyn Fn(ValueId) -> bool, mut value: ValueId) -> Option<Line> {
    let mut steps = Vec::new();
    while once(value) && steps.len() < DEPTH {
        let node = graph.node(graph.producer(value)?);
        let (operand, number) = scalar_map(graph, node)?;
        steps.push((node.op.name, number));
        value = operand;
        if node.op.name == "mul" {
            let bounded = steps.iter().any(|(op, _)| matches!(*op, "max" | "min"));
            return (bounded && FACTORS.contains(&number.abs())).then_some((value, steps));
        }
    }
    None
}

/// All steps again, with scaled numbers.
fn scaled(
    cx: &mut Rewriter<'_>,
    node: &Node,
    (x, steps): &Line,
    factor: f64,
) -> Result<ValueId, GraphError> {
    let mut value = cx.get(*x);
    let dtype = cx.ty(value).dtype;
    for (op, number) in steps.iter().rev() {
        let number = Tensor::splat(dtype, vec![], number * factor);
        let number = cx.new.add_constant(&node.name, number);
        value = cx.add(op, &node.name, &[value, number], Attrs::new())?;
    }
    Ok(value)
}
