//! Parts an axis before a slice of it rather than behind: what is parted behind a slice is copied,
//! and what is cut from a parted axis is read in place.
//!
//! Exporters cut queries, keys and values from one product, and part each into heads.
//!
//! Requires: no dead nodes.
//! Ensures: no reshape of a slice, whose operand is in memory, that parts the axis of the slice, if
//! the parts fit into that axis and into where the slice begins.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[5, 6]
//!   %1 = slice(%0) {sizes=[5, 4], starts=[0, 2], steps=[1, 1]} "q" : f32[5, 4]
//!   %2 = reshape(%1) {shape=[5, 2, 2]} "h" : f32[5, 2, 2]
//!   %3 = neg(%2) {} "y" : f32[5, 2, 2]
//!   output "y" = %3
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[5, 6]
//!   %1 = reshape(%0) {shape=[5, 3, 2]} "h" : f32[5, 3, 2]
//!   %2 = slice(%1) {sizes=[5, 2, 2], starts=[0, 1, 0], steps=[1, 1, 1]} "q" : f32[5, 2, 2]
//!   %3 = neg(%2) {} "y" : f32[5, 2, 2]
//!   output "y" = %3
//! }
//! ```
//! Source: the definitions of the ops.
use super::Rewriter;
use super::fold_factors::is_fixed;
use super::shape_groups::dim_groups;
use tensmith_ir::expr::{Expr, product};
use tensmith_ir::graph::{Graph, GraphError, Node, NodeId, ValueId};
use tensmith_ir::ops::Class;

/// The graph with axes parted before slices.
///
/// Errors: never for a valid graph.
pub fn part_before_slices(graph: &Graph) -> Result<Graph, GraphError> {
    let uses = graph.uses();
    Rewriter::run(graph, &mut |cx, node| {
        let Some((slice, parted)) = parted(graph, &uses, node) else {
            return Ok(None);
        };
        let x = cx.get(slice.inputs[0]);
        let whole = cx.reshape(x, &parted.shape, &node.name)?;
        let part = cx.slice(whole, parted.axis, parted.taken, &slice.name)?;
        Ok(Some(vec![part]))
    })
}

/// What a slice is cut from, parted.
struct Parted {
    shape: Vec<Expr>,
    axis: usize,
    /// Where the slice begins, its extent, and its step.
    taken: (Expr, Expr, i64),
}

/// The slice that a reshape parts, and how to part before it.
fn parted<'g>(graph: &'g Graph, uses: &[Vec<NodeId>], node: &Node) -> Option<(&'g Node, Parted)> {
    if node.op.name != "reshape" {
        return None;
    }
    let slice = graph.node(graph.producer(node.inputs[0])?);
    if slice.op.name != "slice" || !is_in_memory(graph, uses, slice.inputs[0]) {
        return None;
    }
    let [of, cut, to] =
        [slice.inputs[0], node.inputs[0], node.outputs[0]].map(|v| graph.ty(v).shape.as_slice());
    let starts = slice.attrs.dims("starts");
    let partial: Vec<usize> = (0..of.len()).filter(|d| of[*d] != cut[*d]).collect();
    let in_steps = slice.attrs.ints("steps").iter().any(|s| *s != 1);
    let [axis] = partial[..] else { return None };
    let groups = dim_groups(cut, to)?;
    let (own, parts) = groups.into_iter().find(|(f, _)| f.contains(&axis))?;
    let outer = parts.clone().find(|d| !to[*d].is(1))?;
    let inner = product(&to[outer + 1..parts.end]);
    let alone = own.into_iter().all(|d| d == axis || cut[d].is(1));
    if in_steps || !alone || inner.is(1) {
        return None;
    }
    let whole = |extent: &Expr| {
        let times = extent.div(inner.clone());
        (times.clone() * inner.clone() == *extent).then_some(times)
    };
    let mut shape = to.to_vec();
    shape[outer] = whole(&of[axis])?;
    let taken = (whole(&starts[axis])?, to[outer].clone(), 1);
    let parted = Parted {
        shape,
        axis: outer,
        taken,
    };
    Some((slice, parted))
}

/// Whether a value is in memory whatever reads it: an input, the result of a contraction, or of
/// scalar work on one, or what several nodes read.
fn is_in_memory(graph: &Graph, uses: &[Vec<NodeId>], value: ValueId) -> bool {
    if is_fixed(graph, value) {
        return false;
    }
    let mut at = value;
    loop {
        let Some(id) = graph.producer(at) else {
            return true;
        };
        let node = graph.node(id);
        let shape = &graph.ty(at).shape;
        let same = |v: &&ValueId| graph.ty(**v).shape == *shape && !is_fixed(graph, **v);
        match node.op.class {
            Class::Contraction => return true,
            Class::Elementwise => match node.inputs.iter().find(same) {
                Some(v) => at = *v,
                None => break,
            },
            _ => break,
        }
    }
    uses[value.0 as usize].len() > 1
}

#[cfg(test)]
mod tests {
    use crate::graph::part_before_slices;
    use tensmith_ir::eval::eval_graph;
    use tensmith_ir::graph::parse_graph;
    use tensmith_ir::tensor::Tensor;

    /// Heads of a sequence whose batch has extent 1 are parted before; what does not begin where a
    /// head does is not.
    #[test]
    fn parts_must_fit_where_the_slice_begins() {
        for (start, parts) in [(4, true), (3, false)] {
            let text = format!(
                r#"graph "g" () {{
  %0 = input "x" : f32[3, 1, 8]
  %1 = slice(%0) {{sizes=[3, 1, 4], starts=[0, 0, {start}], steps=[1, 1, 1]}} "q" : f32[3, 1, 4]
  %2 = reshape(%1) {{shape=[3, 2, 2]}} "h" : f32[3, 2, 2]
  output "y" = %2
}}
"#
            );
            let graph = parse_graph(&text).unwrap();
            let parted = part_before_slices(&graph).unwrap();
            let last = parted.node(parted.producer(parted.outputs[0]).unwrap());
            assert_eq!(last.op.name == "slice", parts, "{parted}");
            let x: Vec<f32> = (0..24).map(|k| k as f32).collect();
            let x = [Tensor::from_f32(vec![3, 1, 8], &x)];
            let of = |g| eval_graph(g, &x).unwrap()[0].to_f64();
            assert_eq!(of(&parted), of(&graph));
        }
    }
}
