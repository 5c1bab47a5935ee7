//! Values under shapes that others see them under: what is a view of memory for one reader costs
//! nothing for another one.
use super::Rewriter;
use super::shape_groups::{dim_groups, seen_under};
use super::sink_reshapes::{as_seen, is_free, viewed};
use std::collections::HashSet;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Graph, GraphError, Node, NodeId, ValueId};
use tensmith_ir::ops::Class;

/// Operations between a value and what is seen under another shape, at most.
const DEPTH: usize = 4;

/// The operands of scalar work under other shapes, by which the result has the shape `under`, if that
/// adds no reshape that is computed in a run; `once` has the values that nothing else reads.
///
/// Errors: never for a valid graph.
pub fn views_of_all(
    cx: &mut Rewriter<'_>,
    once: &HashSet<ValueId>,
    operands: &[ValueId],
    (shapes, under): (&[Vec<Expr>], &[Expr]),
) -> Result<Option<Vec<ValueId>>, GraphError> {
    let mut found = Vec::new();
    for (value, shape) in operands.iter().zip(shapes) {
        let view = match is_free(cx, *value, shape, under) {
            true => Some(match as_seen(cx, *value, shape, under) {
                Some(seen) => seen,
                None => viewed(cx, *value, shape, "view")?,
            }),
            false if shape == under => existing_view(cx, once, *value, under)?,
            false => None,
        };
        let Some(view) = view else { return Ok(None) };
        found.push(view);
    }
    Ok(Some(found))
}

/// A value under a shape that others see it under, or that all of what it is scalar work on is seen
/// under; `once` has the values that nothing else reads.
///
/// Errors: never for a valid graph.
pub fn existing_view(
    cx: &mut Rewriter<'_>,
    once: &HashSet<ValueId>,
    value: ValueId,
    shape: &[Expr],
) -> Result<Option<ValueId>, GraphError> {
    view(cx, once, value, shape, DEPTH)
}

fn view(
    cx: &mut Rewriter<'_>,
    once: &HashSet<ValueId>,
    value: ValueId,
    shape: &[Expr],
    depth: usize,
) -> Result<Option<ValueId>, GraphError> {
    let is_view = |n: &&Node| {
        n.op.name == "reshape" && n.inputs[0] == value && cx.ty(n.outputs[0]).shape == shape
    };
    if let Some(there) = cx.new.nodes.iter().find(is_view) {
        return Ok(Some(there.outputs[0]));
    }
    let Some(id) = cx.new.producer(value).filter(|_| once.contains(&value)) else {
        return Ok(None);
    };
    let node = cx.new.node(id).clone();
    let from = cx.ty(value).shape.clone();
    let groups = dim_groups(shape, &from);
    let (Class::Elementwise, Some(groups), 1..) = (node.op.class, groups, depth) else {
        return Ok(None);
    };
    let mut operands = Vec::new();
    for operand in &node.inputs {
        let Some(seen) = seen_under(&cx.ty(*operand).shape, shape, &from, &groups) else {
            return Ok(None);
        };
        let inner = match is_free(cx, *operand, &seen, shape) {
            true => Some(viewed(cx, *operand, &seen, &node.name)?),
            false if seen == shape => view(cx, once, *operand, shape, depth - 1)?,
            false => None,
        };
        let Some(inner) = inner else { return Ok(None) };
        operands.push(inner);
    }
    let made = cx.add(node.op.name, &node.name, &operands, node.attrs)?;
    // All operands may lack first axes of extent 1.
    cx.reshape(made, shape, &node.name).map(Some)
}

/// Whether what a value is a reshape of has reshapes to other shapes: work on it would be done once
/// for all of them, in a kernel of its own.
pub fn has_other_views(graph: &Graph, uses: &[Vec<NodeId>], value: ValueId) -> bool {
    let reshape = |id: NodeId| Some(graph.node(id)).filter(|n| n.op.name == "reshape");
    let Some(own) = graph.producer(value).and_then(reshape) else {
        return false;
    };
    let shape = |n: &Node| graph.ty(n.outputs[0]).shape.clone();
    let users = uses[own.inputs[0].0 as usize].iter();
    let mut others = users.filter_map(|n| reshape(*n));
    others.any(|n| shape(n) != shape(own))
}

/// Whether parts of a value are taken by the axes of a view that it is, so that the view stays.
pub fn is_cut(graph: &Graph, uses: &[Vec<NodeId>], value: ValueId) -> bool {
    let maker = graph.producer(value).map(|n| graph.node(n).op.name);
    let cuts = |n: &NodeId| graph.node(*n).op.name == "slice";
    maker == Some("reshape") && uses[value.0 as usize].iter().any(cuts)
}

#[cfg(test)]
mod tests {
    use crate::graph::{eliminate_dead_code, sink_reshapes};
    use tensmith_ir::eval::eval_graph;
    use tensmith_ir::graph::{Graph, Node, parse_graph};
    use tensmith_ir::tensor::Tensor;

    /// The text of a sum of turned pairs of `x` and a product, with a last line.
    fn pairs(last: &str) -> Graph {
        let text = format!(
            r#"graph "g" () {{
  %0 = input "x" : f32[2, 4]
  %1 = const "c" : f32[4] = [1.0, 2.0, 3.0, 4.0]
  %2 = reshape(%0) {{shape=[2, 2, 2]}} "p" : f32[2, 2, 2]
  %3 = slice(%2) {{sizes=[2, 2, 1], starts=[0, 0, 1], steps=[1, 1, 1]}} "b" : f32[2, 2, 1]
  %4 = slice(%2) {{sizes=[2, 2, 1], starts=[0, 0, 0], steps=[1, 1, 1]}} "a" : f32[2, 2, 1]
  %5 = concat(%3, %4) {{axis=2}} "t" : f32[2, 2, 2]
  %6 = mul(%0, %1) {{}} "m" : f32[2, 4]
{last}
  output "y" = %8
}}
"#
        );
        parse_graph(&text).unwrap()
    }

    #[test]
    fn scalar_work_is_done_under_the_shape_that_is_there() {
        let ways = [
            r#"  %7 = reshape(%5) {shape=[2, 4]} "r" : f32[2, 4]
  %8 = add(%6, %7) {} "y" : f32[2, 4]"#,
            r#"  %7 = reshape(%6) {shape=[2, 2, 2]} "r" : f32[2, 2, 2]
  %8 = add(%5, %7) {} "y" : f32[2, 2, 2]"#,
        ];
        for graph in ways.map(pairs) {
            let sunk = sink_reshapes(&graph).unwrap();
            let sunk = eliminate_dead_code(&sunk).unwrap();
            let pairs = |n: &Node| sunk.ty(n.outputs[0]).rank() == 3;
            let mut products = sunk.nodes.iter().filter(|n| n.op.name == "mul");
            assert!(products.all(pairs), "{sunk}");
            let x: Vec<f32> = (0..8).map(|k| k as f32).collect();
            let x = [Tensor::from_f32(vec![2, 4], &x)];
            let of = |g| eval_graph(g, &x).unwrap()[0].to_f64();
            assert_eq!(of(&sunk), of(&graph));
        }
    }
}
