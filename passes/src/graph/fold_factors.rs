//! Moves constant factors of contractions into their weights, and joins constant summands: batch
//! norm behind a convolution leaves one addition.
//!
//! Requires: the standard precision: products and sums are rounded in another order.
//! Ensures: no contraction by constant weights is followed by a product with a constant that
//! varies along the axes of the weights only.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2, 3]
//!   %1 = const "w" : f32[3, 2] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
//!   %2 = const "s" : f32[2] = [2.0, 3.0]
//!   %3 = const "b" : f32[2] = [1.0, 1.0]
//!   %4 = contract(%0, %1) {spec="mk,kn->mn"} "c" : f32[2, 2]
//!   %5 = add(%4, %3) {} "a" : f32[2, 2]
//!   %6 = mul(%5, %2) {} "m" : f32[2, 2]
//!   output "y" = %6
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2, 3]
//!   %1 = const "w" : f32[3, 2] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
//!   %2 = const "s" : f32[2] = [2.0, 3.0]
//!   %3 = reshape(%2) {shape=[1, 2]} "m" : f32[1, 2]
//!   %4 = mul(%1, %3) {} "m" : f32[3, 2]
//!   %5 = contract(%0, %4) {spec="mk,kn->mn"} "c" : f32[2, 2]
//!   %6 = const "b" : f32[2] = [1.0, 1.0]
//!   %7 = mul(%6, %2) {} "m" : f32[2]
//!   %8 = add(%5, %7) {} "m" : f32[2, 2]
//!   output "y" = %8
//! }
//! ```
//! Source: Jacob et al., Quantization and training of neural networks, section 3.2.
use super::Rewriter;
use super::fold_identities::{moderate, uniform};
use super::keep_half_weights::are_half_weights;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, ValueId};

/// The graph with constant factors in the weights.
///
/// Errors: never for a valid graph.
pub fn fold_factors(graph: &Graph) -> Result<Graph, GraphError> {
    let uses = graph.uses();
    let once = |v: ValueId| uses[v.0 as usize].len() == 1 && !graph.outputs.contains(&v);
    Rewriter::run(graph, &mut |cx, node| {
        if !graph.ty(node.outputs[0]).dtype.is_float() {
            return Ok(None);
        }
        let single = node.inputs.iter().all(|v| once(*v) || is_fixed(graph, *v));
        let operands = cx.operands(node);
        let shape = &graph.ty(node.outputs[0]).shape;
        let mut folded = None;
        if single && let [a, b] = operands[..] {
            let (fixed_a, fixed_b) = (is_fixed(&cx.new, a), is_fixed(&cx.new, b));
            let (y, c) = match node.op.name {
                "mul" | "add" if fixed_a && !fixed_b => (b, a),
                "mul" | "add" | "sub" | "div" if fixed_b && !fixed_a => (a, b),
                _ => return Ok(None),
            };
            if cx.ty(y).shape == *shape {
                folded = fold(cx, node, y, c)?;
            }
        }
        Ok(folded.map(|v| vec![v]))
    })
}

/// Whether a value depends on constants only.
pub(super) fn is_fixed(graph: &Graph, value: ValueId) -> bool {
    let node = match graph.producer(value) {
        None => return graph.constant(value).is_some(),
        Some(id) => graph.node(id),
    };
    node.regions.is_empty()
        && !node.inputs.is_empty()
        && node.inputs.iter().all(|v| is_fixed(graph, *v))
}

/// `y op c`, with `c` moved towards the weights above; `None` if it cannot be.
fn fold(
    cx: &mut Rewriter<'_>,
    node: &Node,
    y: ValueId,
    c: ValueId,
) -> Result<Option<ValueId>, GraphError> {
    let none = Attrs::new;
    match node.op.name {
        "mul" => scale(cx, node, y, c),
        "div" if can_scale(cx, y, c) => {
            let c = cx.add("reciprocal", &node.name, &[c], none())?;
            scale(cx, node, y, c)
        }
        "add" | "sub" => {
            let Some((inner, b)) = sum(cx, y) else {
                if node.op.name == "add" || weights(cx, y).is_none() {
                    return Ok(None);
                }
                // As a sum, so that a factor that follows is found.
                let c = cx.add("neg", &node.name, &[c], none())?;
                return cx.add("add", &node.name, &[y, c], none()).map(Some);
            };
            let joined = cx.add(node.op.name, &node.name, &[b, c], none())?;
            cx.add("add", &node.name, &[inner, joined], none())
                .map(Some)
        }
        _ => Ok(None),
    }
}

/// The operands of a sum of a scaled contraction's result (of the same shape) and a constant.
fn sum(cx: &Rewriter<'_>, y: ValueId) -> Option<(ValueId, ValueId)> {
    let node = cx.producer(y, "add")?;
    let (a, b) = (node.inputs[0], node.inputs[1]);
    let pair = if is_fixed(&cx.new, b) { (a, b) } else { (b, a) };
    let fits = cx.ty(pair.0).shape == cx.ty(y).shape;
    (is_fixed(&cx.new, pair.1) && fits && weights(cx, pair.0).is_some()).then_some(pair)
}

/// The contraction that computes a value, and the operand that is its constant weights.
fn weights<'a>(cx: &'a Rewriter<'_>, y: ValueId) -> Option<(&'a Node, usize)> {
    let node = ["conv", "contract", "conv_transpose"]
        .iter()
        .find_map(|name| cx.producer(y, name))?;
    let k = (0..2).rev().find(|k| is_fixed(&cx.new, node.inputs[*k]))?;
    if are_half_weights(&cx.new, node, k) {
        return None;
    }
    (node.op.name == "contract" || k == 1).then_some((node, k))
}

fn can_scale(cx: &Rewriter<'_>, y: ValueId, c: ValueId) -> bool {
    let number = cx.constant(c).and_then(uniform);
    if number.is_some_and(|n| !moderate(cx.ty(c).dtype, n)) {
        return false;
    }
    let base = sum(cx, y).map_or(y, |(inner, _)| inner);
    weights(cx, base).is_some_and(|(node, k)| factor_shape(cx, node, k, base, c).is_some())
}

/// `y * c` with `c` in the weights.
fn scale(
    cx: &mut Rewriter<'_>,
    node: &Node,
    y: ValueId,
    c: ValueId,
) -> Result<Option<ValueId>, GraphError> {
    if !can_scale(cx, y, c) {
        return Ok(None);
    }
    let Some((inner, b)) = sum(cx, y) else {
        return scale_weights(cx, node, y, c).map(Some);
    };
    let inner = scale_weights(cx, node, inner, c)?;
    let b = cx.add("mul", &node.name, &[b, c], Attrs::new())?;
    cx.add("add", &node.name, &[inner, b], Attrs::new())
        .map(Some)
}

fn scale_weights(
    cx: &mut Rewriter<'_>,
    node: &Node,
    y: ValueId,
    c: ValueId,
) -> Result<ValueId, GraphError> {
    let (contraction, k) = weights(cx, y).expect("invariant: `can_scale` found weights");
    let shape =
        factor_shape(cx, contraction, k, y, c).expect("invariant: `can_scale` saw the shape");
    let contraction = contraction.clone();
    let c = cx.reshape(c, &shape, &node.name)?;
    let mut operands = contraction.inputs.clone();
    operands[k] = cx.add("mul", &node.name, &[operands[k], c], Attrs::new())?;
    let (op, attrs) = (contraction.op, contraction.attrs);
    cx.new.add_one(op, &contraction.name, &operands, attrs)
}

/// The shape under which a factor of the result multiplies operand `k`; `None` if it varies along
/// axes which that operand lacks.
fn factor_shape(
    cx: &Rewriter<'_>,
    contraction: &Node,
    k: usize,
    y: ValueId,
    c: ValueId,
) -> Option<Vec<Expr>> {
    let (to, from) = (&cx.ty(y).shape, &cx.ty(c).shape);
    let missing = to.len().checked_sub(from.len())?;
    let mut shape = vec![Expr::from(1); cx.ty(contraction.inputs[k]).rank()];
    for (d, extent) in from.iter().enumerate() {
        if extent.is(1) {
            continue;
        }
        let axis = weight_axis(contraction, k, d + missing)?;
        shape[axis] = extent.clone();
    }
    Some(shape)
}

/// The axis of operand `k` that axis `d` of the result is.
fn weight_axis(contraction: &Node, k: usize, d: usize) -> Option<usize> {
    match contraction.op.name {
        "conv" => return (d == 1).then_some(0),
        "conv_transpose" => {
            return (d == 1 && contraction.attrs.int("groups") == 1).then_some(1);
        }
        _ => {}
    }
    let (operands, out) = contraction.attrs.str("spec").split_once("->")?;
    let letter = out.chars().nth(d)?;
    operands
        .split(',')
        .nth(k)?
        .chars()
        .position(|c| c == letter)
}
