//! Computes sums of products of small integers in `f32`, where they are exact: vectors multiply and
//! add floats in one instruction, and 32-bit integers in several.
//!
//! Requires: nothing. Algorithms that round must have been chosen before.
//! Ensures: nothing.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : u8[20, 300]
//!   %1 = input "w" : u8[300, 10]
//!   %2 = cast(%0) {to=i32} "a" : i32[20, 300]
//!   %3 = cast(%1) {to=i32} "b" : i32[300, 10]
//!   %4 = contract(%2, %3) {spec="mk,kn->mn"} "c" : i32[20, 10]
//!   output "y" = %4
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : u8[20, 300]
//!   %1 = input "w" : u8[300, 10]
//!   %2 = cast(%0) {to=i32} "a" : i32[20, 300]
//!   %3 = cast(%1) {to=i32} "b" : i32[300, 10]
//!   %4 = cast(%2) {to=f32} "c" : f32[20, 300]
//!   %5 = cast(%3) {to=f32} "c" : f32[300, 10]
//!   %6 = slice(%4) {sizes=[20, 258], starts=[0, 0], steps=[1, 1]} "c" : f32[20, 258]
//!   %7 = slice(%5) {sizes=[258, 10], starts=[0, 0], steps=[1, 1]} "c" : f32[258, 10]
//!   %8 = contract(%6, %7) {spec="mk,kn->mn"} "c" : f32[20, 10]
//!   %9 = cast(%8) {to=i32} "c" : i32[20, 10]
//!   %10 = slice(%4) {sizes=[20, 42], starts=[0, 258], steps=[1, 1]} "c" : f32[20, 42]
//!   %11 = slice(%5) {sizes=[42, 10], starts=[258, 0], steps=[1, 1]} "c" : f32[42, 10]
//!   %12 = contract(%10, %11) {spec="mk,kn->mn"} "c" : f32[20, 10]
//!   %13 = cast(%12) {to=i32} "c" : i32[20, 10]
//!   %14 = add(%9, %13) {} "c" : i32[20, 10]
//!   output "y" = %14
//! }
//! ```
//! Source: every integer of at most `2^24` in magnitude is an `f32` (IEEE 754). A sum whose terms'
//! magnitudes add up to no more passes through such integers only, whatever the order.
use super::Rewriter;
use super::integer_bounds::{Known, magnitude};
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, ValueId};
use tensmith_ir::ops::Spec;
use tensmith_ir::tensor::Tensor;

/// Up to it, all integers are `f32`.
const EXACT: i64 = 1 << 24;

/// Parts of one sum at most: each is a pass over the results.
const PARTS: usize = 16;

/// The graph with sums of floats in place of those of small integers.
///
/// Errors: never for a valid graph.
pub fn sum_integers_in_floats(graph: &Graph) -> Result<Graph, GraphError> {
    let mut known = Known::new(graph);
    Rewriter::run(
        graph,
        &mut |cx, node| match parts(cx.old, node, &mut known) {
            Some(parts) => rewrite(cx, node, &parts).map(|v| Some(vec![v])),
            None => Ok(None),
        },
    )
}

/// How a sum is cut into parts that are exact.
struct Parts {
    /// The axis of each operand that is cut.
    axes: [usize; 2],
    /// The first terms of all parts, and the end of the last.
    ends: Vec<i64>,
}

/// The parts of a sum of integers, if there are not too many.
fn parts(graph: &Graph, node: &Node, known: &mut Known<'_>) -> Option<Parts> {
    let sums = matches!(node.op.name, "contract" | "conv");
    let [a, b] = node.inputs[..] else { return None };
    if !sums || graph.ty(a).dtype != DType::I32 {
        return None;
    }
    let most = [a, b].map(|v| magnitude(graph, v));
    let axes = summed(node)?;
    let count = graph.ty(b).shape.get(axes[1])?.as_const()?;
    let mut ends = vec![0];
    let known = [a, b].map(|v| known.tensor(graph, v));
    let cut = match (known, most) {
        ([_, Some(b)], [Some(most), _]) => Cut::of(&b, axes[1], node.op.name == "conv", most)?,
        // A convolution adds up what is in a window of its image, which is not one channel's.
        ([Some(a), _], [_, Some(most)]) if node.op.name == "contract" => {
            Cut::of(&a, axes[0], false, most)?
        }
        (_, [Some(a), Some(b)]) => Cut::Each(a.checked_mul(b)?.checked_mul(taps(graph, node)?)?),
        _ => return None,
    };
    cut.add_ends(count, &mut ends)?;
    let most = match node.op.name {
        "conv" if node.attrs.int("groups") != 1 => 1,
        _ => PARTS,
    };
    (2..=most + 1)
        .contains(&ends.len())
        .then_some(Parts { axes, ends })
}

/// The axes of both operands that a node sums over, or one that it can be cut along.
fn summed(node: &Node) -> Option<[usize; 2]> {
    if node.op.name == "conv" {
        return Some([1, 1]);
    }
    let spec = Spec::of(&node.attrs);
    let [letter] = spec.summed()[..] else {
        return None;
    };
    let place = |letters: &[u8]| letters.iter().position(|c| *c == letter);
    Some([place(&spec.a)?, place(&spec.b)?])
}

/// The terms of a sum at each index of the axis that is cut.
fn taps(graph: &Graph, node: &Node) -> Option<i64> {
    let spatial = match node.op.name {
        "conv" => graph.ty(node.inputs[1]).shape.get(2..)?,
        _ => &[],
    };
    (spatial.iter()).try_fold(1i64, |n, e| n.checked_mul(e.as_const()?))
}

/// What the terms of all sums add up to at most.
enum Cut {
    /// At each index.
    Each(i64),
    /// At each index, for every sum.
    Sums(Vec<Vec<i64>>),
}

impl Cut {
    /// For an operand whose elements are known, and the magnitude of those of the other. Filters
    /// have further axes behind, which are summed over as well.
    fn of(known: &Tensor, axis: usize, filters: bool, most: i64) -> Option<Cut> {
        let (values, _) = known.data.as_chunks::<4>();
        let inner: usize = known.shape[axis + 1..].iter().product();
        let outer: usize = known.shape[..axis].iter().product();
        let count = known.shape[axis];
        let mut sums = vec![vec![0i64; if filters { outer } else { outer * inner }]; count];
        for (at, bytes) in values.iter().enumerate() {
            let (front, back) = (at / inner / count, at % inner);
            let sum = if filters { front } else { front * inner + back };
            let value = i64::from(i32::from_le_bytes(*bytes));
            let term = value.abs().checked_mul(most)?;
            let place = &mut sums[at / inner % count][sum];
            *place = place.checked_add(term)?;
        }
        Some(Cut::Sums(sums))
    }

    /// Appends the ends of parts that are exact; `None` if one index alone is not.
    fn add_ends(&self, count: i64, ends: &mut Vec<i64>) -> Option<()> {
        match self {
            Cut::Each(most) => {
                let long = if *most == 0 { count } else { EXACT / most };
                let mut at = 0;
                while at < count {
                    at = at.checked_add(long).filter(|_| long > 0)?.min(count);
                    ends.push(at);
                }
            }
            Cut::Sums(terms) => {
                let mut sums = vec![0i64; terms.first()?.len()];
                for (at, terms) in terms.iter().enumerate() {
                    if terms.iter().any(|t| *t > EXACT) {
                        return None;
                    }
                    if sums.iter().zip(terms).any(|(s, t)| s + t > EXACT) {
                        ends.push(at as i64);
                        sums.fill(0);
                    }
                    sums.iter_mut().zip(terms).for_each(|(s, t)| *s += t);
                }
                ends.push(count);
            }
        }
        Some(())
    }
}

fn rewrite(cx: &mut Rewriter<'_>, node: &Node, parts: &Parts) -> Result<ValueId, GraphError> {
    let to = |dtype: DType| Attrs::new().with("to", dtype);
    let mut operands = Vec::new();
    for input in &node.inputs {
        let v = cx.get(*input);
        operands.push(cx.add("cast", &node.name, &[v], to(DType::F32))?);
    }
    let mut sum = None;
    for ends in parts.ends.windows(2) {
        let mut part = operands.clone();
        // A convolution in groups is never cut: each group has channels of its own.
        if parts.ends.len() > 2 {
            for (v, axis) in part.iter_mut().zip(parts.axes) {
                let taken = (ends[0].into(), (ends[1] - ends[0]).into(), 1);
                *v = cx.slice(*v, axis, taken, &node.name)?;
            }
        }
        let floats = cx.add(node.op.name, &node.name, &part, node.attrs.clone())?;
        let exact = cx.add("cast", &node.name, &[floats], to(DType::I32))?;
        sum = Some(match sum {
            Some(before) => cx.add("add", &node.name, &[before, exact], Attrs::new())?,
            None => exact,
        });
    }
    Ok(sum.expect("invariant: a sum has parts"))
}
