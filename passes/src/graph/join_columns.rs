//! Joins axes of constant weights that stand side by side wherever a product has them, so that
//! weights are matrices, however many axes they were written with.
//!
//! Requires: nothing.
//! Ensures: no two neighbouring axes of constant weights of a product are neighbours, in this order,
//! in its result or in its other operand too.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2, 5, 3]
//!   %1 = const "w" : f32[3, 2, 1] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
//!   %2 = contract(%0, %1) {spec="abc,cde->abde"} "y" : f32[2, 5, 2, 1]
//!   output "y" = %2
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2, 5, 3]
//!   %1 = const "w" : f32[3, 2, 1] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
//!   %2 = reshape(%1) {shape=[3, 2]} "y" : f32[3, 2]
//!   %3 = contract(%0, %2) {spec="abc,cd->abd"} "y" : f32[2, 5, 2]
//!   %4 = reshape(%3) {shape=[2, 5, 2, 1]} "y" : f32[2, 5, 2, 1]
//!   output "y" = %4
//! }
//! ```
//! Source: the definition of a contraction; Flax, `DenseGeneral`, whose kernels have an axis for
//! heads.
use super::Rewriter;
use super::fold_factors::is_fixed;
use super::share_operands::spelled;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, ValueId};
use tensmith_ir::ops::Spec;

/// The graph with matrices of weights.
///
/// Errors: never for a valid graph.
pub fn join_columns(graph: &Graph) -> Result<Graph, GraphError> {
    Rewriter::run(graph, &mut |cx, node| {
        let of_weights = node.op.name == "contract"
            && is_fixed(graph, node.inputs[1])
            && !is_fixed(graph, node.inputs[0]);
        if !of_weights {
            return Ok(None);
        }
        let mut spec = Spec::of(&node.attrs);
        let operands = cx.operands(node);
        let mut shapes = [operands[0], operands[1]].map(|v| cx.ty(v).shape.clone());
        let before = spec.b.len();
        while let Some((first, second)) = pair(&spec) {
            let [a, b] = &mut shapes;
            for (letters, shape) in [(&mut spec.a, a), (&mut spec.b, b)] {
                join(letters, shape, [first, second]);
            }
            spec.out.retain(|c| *c != second);
        }
        match spec.b.len() < before {
            true => joined(cx, node, [operands[0], operands[1]], (&spec, &shapes)).map(Some),
            false => Ok(None),
        }
    })
}

/// Two axes of the weights that are neighbours wherever they are.
fn pair(spec: &Spec) -> Option<(u8, u8)> {
    let beside = |letters: &[u8], pair: &[u8]| {
        let has = pair.iter().filter(|c| letters.contains(c)).count();
        has == 0 || letters.windows(2).any(|w| w == pair)
    };
    let both = |letters: &[u8], pair: &[u8]| letters.windows(2).any(|w| w == pair);
    let mut pairs = spec.b.windows(2).filter(|p| {
        let everywhere = beside(&spec.a, p) && beside(&spec.out, p);
        // Batches stay as they are.
        everywhere && !(both(&spec.a, p) && both(&spec.out, p))
    });
    pairs.next().map(|p| (p[0], p[1]))
}

/// Makes one axis of two neighbours, if these are among the letters.
fn join(letters: &mut Vec<u8>, shape: &mut Vec<Expr>, [first, second]: [u8; 2]) {
    let place = letters.iter().position(|c| *c == first);
    if let Some(k) = place.filter(|k| letters.get(k + 1) == Some(&second)) {
        letters.remove(k + 1);
        let extent = shape.remove(k + 1);
        shape[k] = shape[k].clone() * extent;
    }
}

fn joined(
    cx: &mut Rewriter<'_>,
    node: &Node,
    [x, w]: [ValueId; 2],
    (spec, [a, b]): (&Spec, &[Vec<Expr>; 2]),
) -> Result<Vec<ValueId>, GraphError> {
    let x = cx.reshape(x, a, &node.name)?;
    let w = cx.reshape(w, b, &node.name)?;
    let form = spelled([&spec.a, &spec.b, &spec.out]);
    let attrs = Attrs::new().with("spec", form);
    let y = cx.add("contract", &node.name, &[x, w], attrs)?;
    let to = cx.old.ty(node.outputs[0]).shape.clone();
    Ok(vec![cx.reshape(y, &to, &node.name)?])
}
