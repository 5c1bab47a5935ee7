//! Moves constant signs of a concatenation into its parts, so that a rotation of halves is one,
//! however its signs are written.
//!
//! Requires: nothing.
//! Ensures: no product of a concatenation that is needed once with a constant that is 1 or -1 all
//! along each part.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2, 3]
//!   %1 = input "y" : f32[2, 1]
//!   %2 = const "w" : f32[4] = [-1.0, -1.0, -1.0, 1.0]
//!   %3 = concat(%0, %1) {axis=1} "c" : f32[2, 4]
//!   %4 = mul(%3, %2) {} "m" : f32[2, 4]
//!   output "y" = %4
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2, 3]
//!   %1 = neg(%0) {} "c" : f32[2, 3]
//!   %2 = input "y" : f32[2, 1]
//!   %3 = concat(%1, %2) {axis=1} "c" : f32[2, 4]
//!   output "y" = %3
//! }
//! ```
//! Source: a product with -1 is the negative, bit by bit.
use super::Rewriter;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, NodeId, ValueId};

/// Extents of constants that are looked at, at most.
const MANY: i64 = 1 << 16;

/// The graph with signs of parts where the parts are.
///
/// Errors: never for a valid graph.
pub fn fold_signs(graph: &Graph) -> Result<Graph, GraphError> {
    let uses = graph.uses();
    Rewriter::run(graph, &mut |cx, node| {
        if node.op.name != "mul" || !graph.ty(node.outputs[0]).dtype.is_float() {
            return Ok(None);
        }
        let [a, b] = node.inputs[..] else {
            return Ok(None);
        };
        for (joined, factor) in [(a, b), (b, a)] {
            let Some(parts) = Parts::of(graph, &uses, node, joined) else {
                continue;
            };
            if let Some(signs) = parts.signs_of(cx, factor) {
                return parts.signed(cx, &signs).map(|v| Some(vec![v]));
            }
        }
        Ok(None)
    })
}

/// A concatenation that is only multiplied, in the old graph.
struct Parts<'g> {
    graph: &'g Graph,
    node: &'g Node,
    axis: usize,
    /// Elements of each part along the axis.
    extents: Vec<i64>,
}

impl<'g> Parts<'g> {
    fn of(
        graph: &'g Graph,
        uses: &[Vec<NodeId>],
        product: &Node,
        value: ValueId,
    ) -> Option<Parts<'g>> {
        let node = graph.node(graph.producer(value)?);
        let once = uses[value.0 as usize].len() == 1 && !graph.outputs.contains(&value);
        let same = graph.ty(value) == graph.ty(product.outputs[0]);
        if node.op.name != "concat" || !once || !same {
            return None;
        }
        let axis = node.attrs.int("axis") as usize;
        let extent = |v: &ValueId| graph.ty(*v).shape[axis].as_const();
        let extents: Vec<i64> = node.inputs.iter().map(extent).collect::<Option<_>>()?;
        (extents.iter().sum::<i64>() <= MANY).then_some(Parts {
            graph,
            node,
            axis,
            extents,
        })
    }

    /// How many axes are behind the one that is joined, this one included.
    fn behind_axis(&self) -> usize {
        self.graph.ty(self.node.outputs[0]).rank() - self.axis
    }

    /// The signs of the parts that a constant is, if it is nothing but signs of parts.
    fn signs_of(&self, cx: &mut Rewriter<'_>, factor: ValueId) -> Option<Vec<f64>> {
        let factor = cx.get(factor);
        let tensor = cx.constant(factor)?;
        let whole = self.extents.iter().sum::<i64>();
        let place = tensor.shape.len().checked_sub(self.behind_axis())?;
        let along = tensor.shape[place] as i64 == whole && tensor.count() as i64 == whole;
        if !along {
            return None;
        }
        let values = tensor.to_f64();
        let mut signs = Vec::new();
        let mut at = 0;
        for extent in &self.extents {
            let part = &values[at..at + *extent as usize];
            at += *extent as usize;
            let sign = *part.first()?;
            if sign.abs() != 1.0 || part.iter().any(|v| *v != sign) {
                return None;
            }
            signs.push(sign);
        }
        Some(signs)
    }

    /// The concatenation of parts with signs.
    fn signed(&self, cx: &mut Rewriter<'_>, signs: &[f64]) -> Result<ValueId, GraphError> {
        let mut parts = Vec::new();
        for (part, sign) in self.node.inputs.iter().zip(signs) {
            let part = cx.get(*part);
            parts.push(match *sign < 0.0 {
                true => cx.add("neg", &self.node.name, &[part], Attrs::new())?,
                false => part,
            });
        }
        cx.add("concat", &self.node.name, &parts, self.node.attrs.clone())
    }
}
