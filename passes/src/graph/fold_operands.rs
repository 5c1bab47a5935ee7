//! Moves constant factors and summands of the image of a convolution behind it: factors go into its
//! weights, and summands become one for each filter.
//!
//! Exporters write the normalisation of an image before the first convolution, which would be a
//! kernel of its own.
//!
//! Requires: the standard precision: products and sums are rounded in another order.
//! Ensures: no image of a convolution with constant weights is a product or a quotient with a
//! constant for each channel that nothing else reads, or a sum of that kind, if the convolution reads
//! no padding and the constants are no larger than bytes, unless it is converted or a contraction
//! computes it.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 2, 4]
//!   %1 = const "w" : f32[1, 2, 1] = [1.0, 2.0]
//!   %2 = const "o" : f32[] = [0.5]
//!   %3 = const "s" : f32[2, 1] = [2.0, 4.0]
//!   %4 = sub(%0, %2) {} "d" : f32[1, 2, 4]
//!   %5 = mul(%4, %3) {} "n" : f32[1, 2, 4]
//!   %6 = conv(%5, %1) {dilations=[1], groups=1, pads_after=[0], pads_before=[0], strides=[1]} "y" : f32[1, 1, 4]
//!   output "y" = %6
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 2, 4]
//!   %1 = const "s" : f32[2, 1] = [2.0, 4.0]
//!   %2 = reshape(%1) {shape=[1, 2, 1]} "y" : f32[1, 2, 1]
//!   %3 = const "w" : f32[1, 2, 1] = [1.0, 2.0]
//!   %4 = mul(%3, %2) {} "y" : f32[1, 2, 1]
//!   %5 = const "o" : f32[] = [0.5]
//!   %6 = mul(%4, %5) {} "y" : f32[1, 2, 1]
//!   %7 = reduce_sum(%6) {axes=[1, 2], keepdims=false} "y" : f32[1]
//!   %8 = neg(%7) {} "y" : f32[1]
//!   %9 = conv(%0, %4) {dilations=[1], groups=1, pads_after=[0], pads_before=[0], strides=[1]} "y" : f32[1, 1, 4]
//!   %10 = reshape(%8) {shape=[1, 1]} "y" : f32[1, 1]
//!   %11 = add(%9, %10) {} "y" : f32[1, 1, 4]
//!   output "y" = %11
//! }
//! ```
//! Source: linearity; Jacob et al., Quantization and training of neural networks, section 3.2.
use super::Rewriter;
use super::fold_factors::is_fixed;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, NodeId, ValueId};
use tensmith_ir::ops::Class;

/// Magnitude of a summand, at most: that of a byte. A larger one may be far larger than what is left
/// of the image, and its product with the weights would take digits of the result.
const LARGEST: f64 = 256.0;

/// The graph with factors and summands behind convolutions.
///
/// Errors: never for a valid graph.
pub fn fold_operands(graph: &Graph) -> Result<Graph, GraphError> {
    let uses = graph.uses();
    Rewriter::run(graph, &mut |cx, node| {
        let is_conv = node.op.name == "conv" && graph.ty(node.outputs[0]).dtype.is_float();
        if !is_conv || !is_fixed(graph, node.inputs[1]) {
            return Ok(None);
        }
        let (image, steps) = steps(graph, &uses, node);
        match steps.is_empty() {
            true => Ok(None),
            false => folded(cx, node, image, &steps).map(|v| Some(vec![v])),
        }
    })
}

/// Scalar work on an image with a constant for each channel.
struct Step<'g> {
    op: &'g str,
    constant: ValueId,
}

/// What an image is scalar work on, and the steps of that work, the last one first.
fn steps<'g>(graph: &'g Graph, uses: &[Vec<NodeId>], conv: &Node) -> (ValueId, Vec<Step<'g>>) {
    let mut at = conv.inputs[0];
    let mut steps = Vec::new();
    let none = (at, vec![]);
    while let Some(id) = graph.producer(at) {
        let node = graph.node(id);
        if node.op.class == Class::Contraction || matches!(node.op.name, "cast" | "dequantize") {
            return none;
        }
        let once = uses[at.0 as usize].len() == 1 && !graph.outputs.contains(&at);
        match step(graph, conv, node).filter(|_| once) {
            Some((from, step)) => {
                at = from;
                steps.push(step);
            }
            None => break,
        }
    }
    (at, steps)
}

/// A step, and the operand that is no constant.
fn step<'g>(graph: &'g Graph, conv: &Node, node: &'g Node) -> Option<(ValueId, Step<'g>)> {
    let op = node.op.name;
    let [a, b] = node.inputs[..] else { return None };
    let (x, constant) = match op {
        "mul" | "add" if is_fixed(graph, a) => (b, a),
        "mul" | "add" | "sub" | "div" => (a, b),
        _ => return None,
    };
    let ty = graph.ty(node.outputs[0]);
    let of = graph.ty(constant);
    let missing = ty.rank() - of.rank();
    let is_whole = |d: usize| of.shape[d].is(1) || d + missing == 1;
    let fits = graph.ty(x) == ty && (0..of.rank()).all(is_whole);
    let pads = ["pads_before", "pads_after"].map(|n| conv.attrs.ints(n));
    let unpadded = pads.concat().iter().all(|p| *p == 0);
    let small = || {
        let known = graph.constant(constant).map(|t| t.to_f64());
        known.is_some_and(|t| t.iter().all(|v| v.abs() <= LARGEST))
    };
    let admits = matches!(op, "mul" | "div") || unpadded && small();
    let admits = admits && fits && is_fixed(graph, constant) && !is_fixed(graph, x);
    admits.then_some((x, Step { op, constant }))
}

fn folded(
    cx: &mut Rewriter<'_>,
    node: &Node,
    image: ValueId,
    steps: &[Step<'_>],
) -> Result<ValueId, GraphError> {
    let mut weights = cx.get(node.inputs[1]);
    let shape = cx.ty(weights).shape.clone();
    let groups = node.attrs.int("groups");
    // Weights with an axis for groups, and what each of their channels is multiplied by.
    let parted = match groups {
        1 => shape.clone(),
        _ => [&[groups.into(), shape[0].div(groups)], &shape[1..]].concat(),
    };
    let channel = parted.len() - shape.len() + 1;
    let mut under = vec![Expr::from(1); parted.len()];
    under[channel] = shape[1].clone();
    if groups > 1 {
        under[0] = groups.into();
    }
    weights = cx.reshape(weights, &parted, &node.name)?;
    let mut summand: Option<ValueId> = None;
    for step in steps {
        let mut constant = cx.get(step.constant);
        match cx.ty(constant).shape.iter().all(|e| e.is(1)) {
            true => constant = cx.reshape(constant, &[], &node.name)?,
            false => constant = cx.reshape(constant, &under, &node.name)?,
        }
        if matches!(step.op, "mul" | "div") {
            weights = cx.add(step.op, &node.name, &[weights, constant], Attrs::new())?;
            continue;
        }
        let product = cx.add("mul", &node.name, &[weights, constant], Attrs::new())?;
        let axes: Vec<i64> = (channel as i64..parted.len() as i64).collect();
        let attrs = Attrs::new().with("axes", axes).with("keepdims", false);
        let sum = cx.add("reduce_sum", &node.name, &[product], attrs)?;
        summand = Some(match summand {
            Some(before) => cx.add(step.op, &node.name, &[before, sum], Attrs::new())?,
            None if step.op == "sub" => cx.add("neg", &node.name, &[sum], Attrs::new())?,
            None => sum,
        });
    }
    weights = cx.reshape(weights, &shape, &node.name)?;
    let operands = [cx.get(image), weights];
    let y = cx.add("conv", &node.name, &operands, node.attrs.clone())?;
    let Some(summand) = summand else {
        return Ok(y);
    };
    let mut of = vec![Expr::from(1); shape.len() - 1];
    of[0] = shape[0].clone();
    let summand = cx.reshape(summand, &of, &node.name)?;
    cx.add("add", &node.name, &[y, summand], Attrs::new())
}

#[cfg(test)]
mod tests {
    use crate::graph::{eliminate_dead_code, fold_operands};
    use tensmith_ir::eval::eval_graph;
    use tensmith_ir::graph::{Graph, parse_graph};
    use tensmith_ir::tensor::Tensor;

    /// Four channels in two groups, moved by one constant and scaled by four.
    fn normalised(pad: usize, summand: &str) -> Graph {
        let extent = 3 + 2 * pad;
        let text = format!(
            r#"graph "g" () {{
  %0 = input "x" : f32[1, 4, 4]
  %1 = const "w" : f32[2, 2, 2] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
  %2 = const "s" : f32[4, 1] = [2.0, 4.0, 0.5, 8.0]
  %3 = const "o" : f32[] = [{summand}]
  %4 = mul(%0, %2) {{}} "m" : f32[1, 4, 4]
  %5 = sub(%4, %3) {{}} "a" : f32[1, 4, 4]
  %6 = conv(%5, %1) {{dilations=[1], groups=2, pads_after=[{pad}], pads_before=[{pad}], strides=[1]}} "y" : f32[1, 2, {extent}]
  output "y" = %6
}}
"#
        );
        parse_graph(&text).unwrap()
    }

    fn reads_its_input(graph: &Graph) -> bool {
        let conv = graph.nodes.iter().find(|n| n.op.name == "conv").unwrap();
        graph.inputs.contains(&conv.inputs[0])
    }

    #[test]
    fn groups_have_constants_of_their_own() {
        let graph = normalised(0, "3.0");
        let folded = eliminate_dead_code(&fold_operands(&graph).unwrap()).unwrap();
        assert!(reads_its_input(&folded), "{folded}");
        let x: Vec<f32> = (0..16).map(|k| (k * k % 7) as f32).collect();
        let x = [Tensor::from_f32(vec![1, 4, 4], &x)];
        let of = |g| eval_graph(g, &x).unwrap()[0].to_f64();
        assert_eq!(of(&folded), of(&graph));
    }

    /// Zeros around an image are not moved, and what is far larger than an image takes its digits.
    #[test]
    fn summands_stay_before_padding_and_where_they_are_large() {
        for graph in [normalised(1, "3.0"), normalised(0, "1000000.0")] {
            assert!(!reads_its_input(&fold_operands(&graph).unwrap()));
        }
    }
}
