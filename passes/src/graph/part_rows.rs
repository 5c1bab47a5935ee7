//! Parts the rows of a matrix before a product with weights, if the rows of its result are parted.
//!
//! Exporters make a matrix of what has more axes for a product, and part its rows again behind it.
//! Where the matrix is a view of other axes than those of the result, neither view can move over
//! the product, but both are one before it.
//!
//! Requires: nothing.
//! Ensures: no reshape, behind scalar work with constants for columns, that parts the rows of a
//! product of a reshaped matrix with a constant matrix, if nothing else reads what is between.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[6, 4, 2]
//!   %1 = const "w" : f32[4, 1] = [1.0, 2.0, 3.0, 4.0]
//!   %2 = const "b" : f32[1] = [5.0]
//!   %3 = reshape(%0) {shape=[12, 4]} "r" : f32[12, 4]
//!   %4 = contract(%3, %1) {spec="ab,bc->ac"} "c" : f32[12, 1]
//!   %5 = add(%4, %2) {} "a" : f32[12, 1]
//!   %6 = reshape(%5) {shape=[3, 4, 1]} "y" : f32[3, 4, 1]
//!   output "y" = %6
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[6, 4, 2]
//!   %1 = reshape(%0) {shape=[3, 4, 4]} "c" : f32[3, 4, 4]
//!   %2 = const "w" : f32[4, 1] = [1.0, 2.0, 3.0, 4.0]
//!   %3 = contract(%1, %2) {spec="adb,bc->adc"} "c" : f32[3, 4, 1]
//!   %4 = const "b" : f32[1] = [5.0]
//!   %5 = add(%3, %4) {} "a" : f32[3, 4, 1]
//!   output "y" = %5
//! }
//! ```
//! Source: the rows of a product depend on those of the matrix alone, whatever their indices are.
use super::Rewriter;
use super::fold_factors::is_fixed;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, NodeId, ValueId};
use tensmith_ir::ops::{Class, Spec};

/// Operations between a product and the reshape behind it, at most.
const DEPTH: usize = 8;

/// The graph with rows parted before products.
///
/// Errors: never for a valid graph.
pub fn part_rows(graph: &Graph) -> Result<Graph, GraphError> {
    let uses = graph.uses();
    Rewriter::run(graph, &mut |cx, node| {
        let Some(chain) = Chain::above(graph, &uses, node) else {
            return Ok(None);
        };
        let shape = &graph.ty(node.outputs[0]).shape;
        Ok(Some(vec![chain.parted(cx, shape)?]))
    })
}

/// A product and the scalar work behind it.
struct Chain<'g> {
    product: &'g Node,
    /// The node, and which operand the value before it is; from the product to the result.
    work: Vec<(&'g Node, usize)>,
}

impl<'g> Chain<'g> {
    /// What is above a reshape that parts rows, if nothing else reads it.
    fn above(graph: &'g Graph, uses: &[Vec<NodeId>], reshape: &Node) -> Option<Self> {
        if reshape.op.name != "reshape" {
            return None;
        }
        let [from, to] =
            [reshape.inputs[0], reshape.outputs[0]].map(|v| graph.ty(v).shape.as_slice());
        if from.len() != 2 || to.len() < 3 || from.last() != to.last() {
            return None;
        }
        let mut work = Vec::new();
        let mut value = reshape.inputs[0];
        for _ in 0..DEPTH {
            let alone = uses[value.0 as usize].len() == 1 && !graph.outputs.contains(&value);
            let node = graph.node(graph.producer(value).filter(|_| alone)?);
            if is_product(graph, node) {
                work.reverse();
                return Some(Chain {
                    product: node,
                    work,
                });
            }
            let operand = scalar_work(graph, node)?;
            work.push((node, operand));
            value = node.inputs[operand];
        }
        None
    }

    /// The result, with the axes of `shape`.
    fn parted(&self, cx: &mut Rewriter<'_>, shape: &[Expr]) -> Result<ValueId, GraphError> {
        let rows = &shape[..shape.len() - 1];
        let spec = Spec::of(&self.product.attrs);
        let free = (b'a'..=b'z').filter(|l| *l != spec.a[1] && *l != spec.out[1]);
        let more: String = free.take(rows.len()).map(char::from).collect();
        let [sum, column] = [spec.a[1], spec.out[1]].map(char::from);
        let weights = String::from_utf8_lossy(&spec.b);
        let form = format!("{more}{sum},{weights}->{more}{column}");
        let [x, w] = [0, 1].map(|k| cx.get(self.product.inputs[k]));
        let depth = cx.ty(x).shape[1].clone();
        let x = match cx.producer(x, "reshape").map(|view| view.inputs[0]) {
            Some(source) => source,
            None => x,
        };
        let label = &self.product.name;
        let x = cx.reshape(x, &[rows, &[depth]].concat(), label)?;
        let attrs = Attrs::new().with("spec", form);
        let mut y = cx.add("contract", label, &[x, w], attrs)?;
        for (node, operand) in &self.work {
            let mut operands = cx.operands(node);
            operands[*operand] = y;
            y = cx.add(node.op.name, &node.name, &operands, node.attrs.clone())?;
        }
        Ok(y)
    }
}

/// Whether a node is a product of the rows of a reshaped matrix with constant weights.
fn is_product(graph: &Graph, node: &Node) -> bool {
    let [x, w] = node.inputs[..] else {
        return false;
    };
    let is_view = || {
        let view = graph.producer(x).map(|id| graph.node(id));
        view.is_some_and(|n| n.op.name == "reshape")
    };
    let plain = || {
        let spec = Spec::of(&node.attrs);
        let [row, sum] = spec.a[..] else {
            return false;
        };
        let [b, out] = [&spec.b, &spec.out].map(Vec::len);
        b == 2 && out == 2 && spec.out[0] == row && spec.summed() == [sum] && !spec.b.contains(&row)
    };
    node.op.name == "contract" && is_view() && is_fixed(graph, w) && plain()
}

/// The operand of scalar work that has rows, if all others are constants that have none.
fn scalar_work(graph: &Graph, node: &Node) -> Option<usize> {
    let [result] = node.outputs[..] else {
        return None;
    };
    let wide = |v: &ValueId| graph.ty(*v).shape == graph.ty(result).shape;
    let along_columns = |v: &ValueId| graph.ty(*v).rank() < 2 && is_fixed(graph, *v);
    let operand = node.inputs.iter().position(wide)?;
    let mut others = node
        .inputs
        .iter()
        .enumerate()
        .filter(|(k, _)| *k != operand);
    let fits = node.op.class == Class::Elementwise && others.all(|(_, v)| along_columns(v));
    fits.then_some(operand)
}
