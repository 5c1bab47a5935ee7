//! Multiplies the integers of scaled ones, and scales the sums: `sum (s*i) * (t*j)` is
//! `(sum i*j) * s * t`, whose sum is one of dot products of bytes.
//!
//! So what a model computes between quantized tensors becomes a product of integers, which is exact,
//! and is rounded by its scales only. Depthwise convolutions, whose sums are short, add the integers
//! up in floats, which is exact as well.
//!
//! Requires: a target with dot products of bytes; a precision that lets sums change their order.
//! Ensures: nothing.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : u8[20, 4]
//!   %1 = const "w" : i8[4, 2] = [1, -2, 3, -4, 5, -6, 7, -8]
//!   %2 = const "s" : f32[] = [0.5]
//!   %3 = const "t" : f32[1, 2] = [0.25, 0.125]
//!   %4 = cast(%0) {to=i32} "a" : i32[20, 4]
//!   %5 = cast(%4) {to=f32} "a" : f32[20, 4]
//!   %6 = mul(%5, %2) {} "a" : f32[20, 4]
//!   %7 = cast(%1) {to=i32} "b" : i32[4, 2]
//!   %8 = cast(%7) {to=f32} "b" : f32[4, 2]
//!   %9 = mul(%8, %3) {} "b" : f32[4, 2]
//!   %10 = contract(%6, %9) {spec="mk,kn->mn"} "c" : f32[20, 2]
//!   output "y" = %10
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : u8[20, 4]
//!   %1 = cast(%0) {to=i32} "a" : i32[20, 4]
//!   %2 = const "w" : i8[4, 2] = [1, -2, 3, -4, 5, -6, 7, -8]
//!   %3 = cast(%2) {to=i32} "b" : i32[4, 2]
//!   %4 = contract(%1, %3) {spec="mk,kn->mn"} "c" : i32[20, 2]
//!   %5 = cast(%4) {to=f32} "c" : f32[20, 2]
//!   %6 = const "s" : f32[] = [0.5]
//!   %7 = mul(%5, %6) {} "c" : f32[20, 2]
//!   %8 = const "t" : f32[1, 2] = [0.25, 0.125]
//!   %9 = reshape(%8) {shape=[2]} "c" : f32[2]
//!   %10 = mul(%7, %9) {} "c" : f32[20, 2]
//!   output "y" = %10
//! }
//! ```
//! Source: B. Jacob et al., "Quantization and Training of Neural Networks for Efficient
//! Integer-Arithmetic-Only Inference", 2018, section 2.2.
use super::integer_bounds::Known;
use super::multiply_bytes::product;
use super::{Rewriter, is_depthwise};
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, ValueId};
use tensmith_ir::ops::Spec;

/// Integers up to this magnitude are exact in `f32`, and so are their sums.
const EXACT: i64 = 1 << 24;

/// The graph with scales behind products.
///
/// Errors: never for a valid graph.
pub fn scale_products(graph: &Graph) -> Result<Graph, GraphError> {
    let mut known = Known::new(graph);
    Rewriter::run(
        graph,
        &mut |cx, node| match scaled_product(cx.old, node, &mut known) {
            Some(operands) => rewrite(cx, node, operands).map(|v| Some(vec![v])),
            None => Ok(None),
        },
    )
}

/// A scaled integer.
#[derive(Clone)]
struct Scaled {
    integers: ValueId,
    scale: Option<Scale>,
}

/// A scale and its shape against the result of a product.
#[derive(Clone)]
struct Scale {
    value: ValueId,
    shape: Vec<Expr>,
}

/// The operands of a node as scaled integers, if their sums are those of bytes.
fn scaled_product(graph: &Graph, node: &Node, known: &mut Known<'_>) -> Option<[Scaled; 2]> {
    let sums = matches!(node.op.name, "contract" | "conv");
    let [a, b] = node.inputs[..] else { return None };
    if !sums || graph.ty(a).dtype != DType::F32 {
        return None;
    }
    let operands = [scaled(graph, node, 0, a)?, scaled(graph, node, 1, b)?];
    let integers = operands.each_ref().map(|s| s.integers);
    // Its sums are few and stay in floats.
    let depthwise = is_depthwise(graph, node);
    if !depthwise {
        product(graph, node, integers, known)?;
    }
    let mut most = terms(graph, node)?;
    for v in integers {
        let (least, greatest) = known.bounds(graph, v)?;
        most = most.checked_mul(least.checked_abs()?.max(greatest.checked_abs()?))?;
    }
    let limit = if depthwise { EXACT } else { i32::MAX.into() };
    (most <= limit).then_some(operands)
}

/// An operand as integers and the scale that is the same for all terms of a sum.
fn scaled(graph: &Graph, node: &Node, operand: usize, value: ValueId) -> Option<Scaled> {
    let maker = graph.node(graph.producer(value)?);
    let integers = |v: ValueId| {
        let cast = graph.node(graph.producer(v)?);
        let wide = |v: &ValueId| graph.ty(*v).dtype == DType::I32;
        let of = cast.inputs.first().filter(|v| wide(v))?;
        (cast.op.name == "cast").then_some(*of)
    };
    if let Some(integers) = integers(value) {
        let scale = None;
        return Some(Scaled { integers, scale });
    }
    let [x, y] = maker.inputs[..] else {
        return None;
    };
    let shape = &graph.ty(value).shape;
    let orders = [(x, y), (y, x)];
    let mut found = orders.into_iter().filter(|_| maker.op.name == "mul");
    found.find_map(|(x, scale)| {
        let integers = integers(x).filter(|_| graph.ty(x).shape == *shape)?;
        let shape = shape_behind(graph, node, operand, scale)?;
        let scale = Some(Scale {
            value: scale,
            shape,
        });
        Some(Scaled { integers, scale })
    })
}

/// The shape of an operand's scale against the result: none for one number, or an axis of the
/// result that the operand has.
fn shape_behind(graph: &Graph, node: &Node, operand: usize, scale: ValueId) -> Option<Vec<Expr>> {
    let shape = &graph.ty(scale).shape;
    let rank = graph.ty(node.inputs[operand]).shape.len();
    let several: Vec<usize> = (0..shape.len()).filter(|d| !shape[*d].is(1)).collect();
    let axis = match several[..] {
        [] => return Some(vec![]),
        [d] => d + rank.checked_sub(shape.len())?,
        _ => return None,
    };
    let out = graph.ty(node.outputs[0]).shape.len();
    let place = match node.op.name {
        "conv" => (operand == 1 && axis == 0).then_some(1)?,
        _ => {
            let spec = Spec::of(&node.attrs);
            let letters = if operand == 0 { &spec.a } else { &spec.b };
            spec.out.iter().position(|c| *c == letters[axis])?
        }
    };
    let mut behind = vec![Expr::from(1); out - place];
    behind[0] = shape[several[0]].clone();
    Some(behind)
}

/// The terms of a sum.
fn terms(graph: &Graph, node: &Node) -> Option<i64> {
    let shape = &graph.ty(node.inputs[1]).shape;
    let mut extents = match node.op.name {
        "conv" => shape[1..].to_vec(),
        _ => {
            let spec = Spec::of(&node.attrs);
            let all = spec.extents(&graph.ty(node.inputs[0]).shape, shape).ok()?;
            spec.summed().iter().map(|c| all[c].clone()).collect()
        }
    };
    (extents.drain(..)).try_fold(1i64, |n, e| n.checked_mul(e.as_const()?))
}

fn rewrite(
    cx: &mut Rewriter<'_>,
    node: &Node,
    operands: [Scaled; 2],
) -> Result<ValueId, GraphError> {
    let mut integers = operands.each_ref().map(|s| cx.get(s.integers));
    let floats = is_depthwise(cx.old, node);
    let to = Attrs::new().with("to", DType::F32);
    if floats {
        for value in &mut integers {
            *value = cx.add("cast", &node.name, &[*value], to.clone())?;
        }
    }
    let mut scaled = cx.add(node.op.name, &node.name, &integers, node.attrs.clone())?;
    if !floats {
        scaled = cx.add("cast", &node.name, &[scaled], to)?;
    }
    // One after the other: scales that are far from one may overflow where no result does.
    for scale in operands.into_iter().filter_map(|s| s.scale) {
        let next = cx.get(scale.value);
        let next = cx.reshape(next, &scale.shape, &node.name)?;
        scaled = cx.add("mul", &node.name, &[scaled, next], Attrs::new())?;
    }
    Ok(scaled)
}
