//! Removes nodes that do nothing, and joins neighbours that do one thing.
//!
//! Requires: nothing.
//! Ensures: no cast to the same type, no `x * 1`, `x / 1`, `x - 0`, no bound of floats at an infinity; no transpose, reshape, expand,
//! slice, pad, tile or concat that moves nothing, but for copies of images that transforms of tiles
//! read; chains of transposes, of reshapes and
//! of slices are one node; transposes that only move axes of extent 1 are reshapes; a reshaped constant is a
//! constant; no select by a constant; no bound of a float at an end of the type that it is cast to.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2, 3]
//!   %1 = const "one" : f32[] = [1.0]
//!   %2 = mul(%0, %1) {} "a" : f32[2, 3]
//!   %3 = transpose(%2) {perm=[1, 0]} "b" : f32[3, 2]
//!   %4 = transpose(%3) {perm=[1, 0]} "c" : f32[2, 3]
//!   %5 = reshape(%4) {shape=[6]} "d" : f32[6]
//!   %6 = reshape(%5) {shape=[3, 2]} "e" : f32[3, 2]
//!   output "y" = %6
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2, 3]
//!   %1 = reshape(%0) {shape=[3, 2]} "e" : f32[3, 2]
//!   output "y" = %1
//! }
//! ```
//! Source: the definitions of the ops. `x + 0` stays for floats: it makes a negative zero positive.
use super::Rewriter;
use crate::partition::fixed_values;
use std::collections::HashSet;
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, ValueId};
use tensmith_ir::tensor::Tensor;

/// Constants of more elements are not compared with 0 and 1.
const MAX_ELEMENTS: usize = 4096;

/// The graph without nodes that do nothing.
///
/// Errors: never for a valid graph.
pub fn fold_identities(graph: &Graph) -> Result<Graph, GraphError> {
    let copies = copies(graph);
    Rewriter::run(graph, &mut |cx, node| {
        let Some(first) = node
            .inputs
            .first()
            .filter(|_| !copies.contains(&node.outputs[0]))
        else {
            return Ok(None);
        };
        let x = cx.get(*first);
        let folded = match node.op.name {
            "mul" | "add" | "sub" | "div" | "max" | "min" => neutral_operand(cx, node),
            "select" => chosen_operand(cx, node),
            "transpose" => return transpose(cx, node, x),
            "reshape" => return reshape(cx, node, x),
            "slice" if !moves_nothing(cx, node, x) => return slice(cx, node, x),
            "cast" if !moves_nothing(cx, node, x) => return saturated(cx, node, x),
            _ => moves_nothing(cx, node, x).then_some(x),
        };
        Ok(folded.map(|v| vec![v]))
    })
}

/// Images that transforms read, padded by nothing, of values that are row-major whoever reads them:
/// transforms of tiles read channels side by side, and such a copy has them there.
fn copies(graph: &Graph) -> HashSet<ValueId> {
    let transforms = graph.nodes.iter().filter(|n| n.op.name == "winograd_input");
    let images: Vec<ValueId> = transforms.map(|n| n.inputs[0]).collect();
    if images.is_empty() {
        return HashSet::new();
    }
    let fixed = fixed_values(graph);
    let is_copy = |v: &ValueId| {
        let pad = graph.producer(*v).map(|id| graph.node(id));
        let pad = pad.filter(|n| n.op.name == "pad");
        pad.is_some_and(|n| {
            let of = n.inputs[0];
            graph.producer(of).is_none() || fixed.contains(&of)
        })
    };
    images.into_iter().filter(is_copy).collect()
}

/// The number that all elements of a constant are.
pub(super) fn uniform(t: &Tensor) -> Option<f64> {
    if t.count() == 0 || t.count() > MAX_ELEMENTS {
        return None;
    }
    let values = t.to_f64();
    let same = |x: &f64| x.to_bits() == values[0].to_bits();
    values.iter().all(same).then_some(values[0])
}

/// Whether products may be taken in another order around a number: results then differ by roundings
/// only as long as what the model computes stays as far from the ends of the type's range. Larger
/// ones are not multiplied into sums either: `y + (1 - m) * 10000` would be rounded at the magnitude
/// of the number even where the product is 0, as that of a mask is.
pub(super) fn moderate(dtype: DType, number: f64) -> bool {
    // Halves end at 2^16 and 2^-14, others not before 2^127 and 2^-126; but 2^10 roundings of `f32`
    // are less than the tolerance of errors.
    let most = if dtype == DType::F16 { 16.0 } else { 1024.0 };
    (1.0 / most..=most).contains(&number.abs())
}

/// The operand that is the result, if the other one changes nothing.
fn neutral_operand(cx: &mut Rewriter<'_>, node: &Node) -> Option<ValueId> {
    let operands = cx.operands(node);
    let result = cx.old.ty(node.outputs[0]).clone();
    let float = result.dtype.is_float();
    let neutral = |n: f64| match node.op.name {
        "mul" | "div" => n == 1.0,
        "max" => float && n == f64::NEG_INFINITY,
        "min" => float && n == f64::INFINITY,
        "sub" => n == 0.0 && !n.is_sign_negative(),
        _ => n == 0.0 && (!float || n.is_sign_negative()),
    };
    let commutes = matches!(node.op.name, "mul" | "add" | "max" | "min");
    let pairs = [(operands[0], operands[1]), (operands[1], operands[0])];
    let pairs = &pairs[..if commutes { 2 } else { 1 }];
    pairs
        .iter()
        .find(|(x, c)| {
            *cx.ty(*x) == result && cx.constant(*c).and_then(uniform).is_some_and(neutral)
        })
        .map(|(x, _)| *x)
}

/// A cast of a float without the bounds at which it saturates anyway.
fn saturated(
    cx: &mut Rewriter<'_>,
    node: &Node,
    x: ValueId,
) -> Result<Option<Vec<ValueId>>, GraphError> {
    let to = node.attrs.dtype("to");
    let (Some((least, most)), true) = (to.int_range(), to.bytes() <= 2 && to != DType::Bool) else {
        return Ok(None);
    };
    let mut from = x;
    for (op, end) in [("min", most), ("max", least), ("min", most)] {
        let Some(bound) = cx.producer(from, op) else {
            continue;
        };
        let [value, number] = bound.inputs[..] else {
            continue;
        };
        let number = cx.constant(number).and_then(uniform);
        let floats = cx.ty(value).dtype.is_float() && cx.ty(value) == cx.ty(from);
        if floats && number == Some(end as f64) {
            from = value;
        }
    }
    if from == x {
        return Ok(None);
    }
    let cast = cx.add("cast", &node.name, &[from], node.attrs.clone())?;
    Ok(Some(vec![cast]))
}

/// The operand that a constant condition chooses.
fn chosen_operand(cx: &mut Rewriter<'_>, node: &Node) -> Option<ValueId> {
    let operands = cx.operands(node);
    let cond = cx.constant(operands[0]).and_then(uniform)?;
    let chosen = operands[if cond != 0.0 { 1 } else { 2 }];
    (cx.ty(chosen) == cx.old.ty(node.outputs[0])).then_some(chosen)
}

/// Whether a node gives back its first operand.
fn moves_nothing(cx: &Rewriter<'_>, node: &Node, x: ValueId) -> bool {
    let same_type = cx.ty(x) == cx.old.ty(node.outputs[0]);
    let zero = |name: &str| node.attrs.dims(name).iter().all(|d| d.is(0));
    same_type
        && match node.op.name {
            "cast" | "expand" | "tile" => true,
            "concat" => node.inputs.len() == 1,
            "slice" => zero("starts") && node.attrs.ints("steps").iter().all(|s| *s == 1),
            "pad" => zero("before") && zero("after"),
            _ => false,
        }
}

fn transpose(
    cx: &mut Rewriter<'_>,
    node: &Node,
    x: ValueId,
) -> Result<Option<Vec<ValueId>>, GraphError> {
    let mut perm = node.attrs.ints("perm").to_vec();
    let mut from = x;
    if let Some(inner) = cx.producer(x, "transpose") {
        let first = inner.attrs.ints("perm");
        perm = perm.iter().map(|p| first[*p as usize]).collect();
        from = inner.inputs[0];
    }
    let shape = &cx.ty(from).shape;
    let moved: Vec<i64> = perm
        .iter()
        .copied()
        .filter(|p| !shape[*p as usize].is(1))
        .collect();
    let result = if perm.iter().enumerate().all(|(k, p)| k as i64 == *p) {
        from
    } else if moved.windows(2).all(|w| w[0] < w[1]) {
        let to: Vec<Expr> = perm.iter().map(|p| shape[*p as usize].clone()).collect();
        reshaped(cx, node, from, &to)?
    } else if from == x {
        return Ok(None);
    } else {
        let attrs = Attrs::new().with("perm", perm);
        cx.add("transpose", &node.name, &[from], attrs)?
    };
    Ok(Some(vec![result]))
}

/// A slice of what its operand is a slice of. Every other element along the last axis of a run is
/// not: where others take the rest of that run, they are read together. Neither is one along symbolic
/// axes that is not proved to lie within them.
fn slice(
    cx: &mut Rewriter<'_>,
    node: &Node,
    x: ValueId,
) -> Result<Option<Vec<ValueId>>, GraphError> {
    let Some(inner) = cx.producer(x, "slice") else {
        return Ok(None);
    };
    let (first, then) = (inner.attrs.ints("steps"), node.attrs.ints("steps"));
    if first.iter().all(|s| *s == 1) && then.last().is_some_and(|s| *s != 1) {
        return Ok(None);
    }
    let steps = first.iter().zip(then).map(|(a, b)| a.checked_mul(*b));
    let Some(steps) = steps.collect::<Option<Vec<i64>>>() else {
        return Ok(None);
    };
    let (from, starts) = (inner.inputs[0], inner.attrs.dims("starts"));
    let place = |(d, at): (usize, &Expr)| starts[d].clone() + at.clone() * first[d];
    let places = node.attrs.dims("starts").iter().enumerate().map(place);
    let attrs = node
        .attrs
        .clone()
        .with("starts", places.collect::<Vec<_>>());
    let part = cx.add("slice", &node.name, &[from], attrs.with("steps", steps));
    Ok(part.ok().map(|part| vec![part]))
}

fn reshape(
    cx: &mut Rewriter<'_>,
    node: &Node,
    x: ValueId,
) -> Result<Option<Vec<ValueId>>, GraphError> {
    let shape = cx.old.ty(node.outputs[0]).shape.clone();
    reshaped(cx, node, x, &shape).map(|v| Some(vec![v]))
}

/// A value under another shape, by the shortest way.
fn reshaped(
    cx: &mut Rewriter<'_>,
    node: &Node,
    x: ValueId,
    shape: &[Expr],
) -> Result<ValueId, GraphError> {
    let from = cx.producer(x, "reshape").map_or(x, |inner| inner.inputs[0]);
    let extents = shape.iter().map(|d| usize::try_from(d.as_const()?).ok());
    if let (Some(t), Some(extents)) = (cx.constant(from), extents.collect::<Option<Vec<_>>>())
        && let Some(t) = Tensor::new(t.dtype, extents, t.data.clone())
    {
        let name = cx.new.value(from).name.clone();
        return Ok(cx.new.add_constant(&name, t));
    }
    cx.reshape(from, shape, &node.name)
}
