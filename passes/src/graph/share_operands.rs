//! Contracts with operands themselves where they are repeated first, as keys and values are that
//! several heads of attention share.
//!
//! Requires: repetitions stand behind transposes, as `simplify_movement` leaves them.
//! Ensures: no operand of a contraction is repeated along an axis that both operands and the result
//! have.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "q" : f32[4, 10, 16]
//!   %1 = input "k" : f32[2, 12, 16]
//!   %2 = repeat(%1) {counts=[2, 1, 1]} "r" : f32[4, 12, 16]
//!   %3 = contract(%0, %2) {spec="hld,hsd->hls"} "c" : f32[4, 10, 12]
//!   output "y" = %3
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "q" : f32[4, 10, 16]
//!   %1 = input "k" : f32[2, 12, 16]
//!   %2 = reshape(%0) {shape=[2, 2, 10, 16]} "c" : f32[2, 2, 10, 16]
//!   %3 = contract(%2, %1) {spec="abcd,aed->abce"} "c" : f32[2, 2, 10, 12]
//!   %4 = reshape(%3) {shape=[4, 10, 12]} "c" : f32[4, 10, 12]
//!   output "y" = %4
//! }
//! ```
//! Source: Ainslie et al., GQA: training generalized multi-query transformer models, 2023.
use super::Rewriter;
use super::simplify_movement::narrowed;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, ValueId};
use tensmith_ir::ops::Spec;

/// The graph without repeated operands of contractions.
///
/// Errors: never for a valid graph.
pub fn share_operands(graph: &Graph) -> Result<Graph, GraphError> {
    Rewriter::run(graph, &mut |cx, node| {
        if node.op.name != "contract" {
            return Ok(None);
        }
        for k in [1, 0] {
            if let Some(y) = shared(cx, node, k)? {
                return Ok(Some(vec![y]));
            }
        }
        Ok(None)
    })
}

/// What an operand repeats: a value, the axis, and how often.
fn repeated(cx: &Rewriter<'_>, operand: ValueId) -> Option<(ValueId, usize, Expr)> {
    let wide = &cx.ty(operand).shape;
    let of = cx.producer(operand, "repeat");
    let from = of.or_else(|| cx.producer(operand, "expand"))?.inputs[0];
    let narrow = &cx.ty(from).shape;
    if narrow.len() != wide.len() {
        return None;
    }
    let differ: Vec<usize> = (0..wide.len()).filter(|d| narrow[*d] != wide[*d]).collect();
    let [axis] = differ[..] else { return None };
    let times = match cx.producer(operand, "repeat") {
        Some(node) => node.attrs.ints("counts")[axis].into(),
        None => wide[axis].clone(),
    };
    Some((from, axis, times))
}

/// The contraction with operand `k` itself: the axis along which it repeats is two of the other
/// operand and of the result, or is left out if the operand has one element along it.
fn shared(cx: &mut Rewriter<'_>, node: &Node, k: usize) -> Result<Option<ValueId>, GraphError> {
    let operands = cx.operands(node);
    let spec = Spec::of(&node.attrs);
    let Some((from, axis, times)) = repeated(cx, operands[k]) else {
        return Ok(None);
    };
    let sides = [&spec.a, &spec.b];
    let letter = sides[k][axis];
    let Some(place) = sides[1 - k].iter().position(|c| *c == letter) else {
        return Ok(None);
    };
    let Some(at) = spec.out.iter().position(|c| *c == letter) else {
        return Ok(None);
    };
    let mut own = sides[k].clone();
    let (mut other, mut out) = (sides[1 - k].clone(), spec.out.clone());
    let mut shape = cx.ty(operands[1 - k]).shape.clone();
    let mut narrow = cx.ty(from).shape.clone();
    if narrow[axis].is(1) {
        own.remove(axis);
        narrow.remove(axis);
    } else {
        let known = [&own[..], &other, &out].concat();
        let fresh = (b'a'..=b'z').chain(b'A'..=b'Z');
        let Some(fresh) = fresh.into_iter().find(|c| !known.contains(c)) else {
            return Ok(None);
        };
        other.insert(place + 1, fresh);
        out.insert(at + 1, fresh);
        shape.splice(place..=place, [narrow[axis].clone(), times]);
    }
    let mut inputs = [operands[1 - k]; 2];
    inputs[k] = match narrowed(cx, from, &narrow, &node.name)? {
        Some(narrow) => narrow,
        None => cx.reshape(from, &narrow, &node.name)?,
    };
    inputs[1 - k] = cx.reshape(operands[1 - k], &shape, &node.name)?;
    let form = match k {
        0 => spelled([&own, &other, &out]),
        _ => spelled([&other, &own, &out]),
    };
    let y = cx.add(
        "contract",
        &node.name,
        &inputs,
        Attrs::new().with("spec", form),
    )?;
    let to = cx.old.ty(node.outputs[0]).shape.clone();
    cx.reshape(y, &to, &node.name).map(Some)
}

/// The text of a contraction with letters in the order of their first use.
pub(super) fn spelled([a, b, out]: [&[u8]; 3]) -> String {
    let mut known: Vec<u8> = Vec::new();
    for c in [a, b].concat() {
        if !known.contains(&c) {
            known.push(c);
        }
    }
    let names = |letters: &[u8]| -> String {
        let place = |c: &u8| known.iter().position(|k| k == c).unwrap_or(0) as u8;
        let name = |k: u8| if k < 26 { b'a' + k } else { b'A' + k - 26 };
        letters.iter().map(|c| char::from(name(place(c)))).collect()
    };
    format!("{},{}->{}", names(a), names(b), names(out))
}
