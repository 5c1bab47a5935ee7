//! Takes the greatest element of a large window as that of its rows' greatest elements, which
//! windows that overlap share, and its sum as that of its rows' sums; so along every axis, that
//! with the fewest taps first. Taps along rows whose windows lie several elements apart count once
//! for each vector that a vector of them is chosen out of.
//!
//! Requires: for sums, the standard precision: their terms are added up in another order.
//! Ensures: nothing of its own.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 3, 9, 8]
//!   %1 = pool_max(%0) {dilations=[1, 1], kernel=[5, 5], pads_after=[2, 2], pads_before=[2, 2], strides=[1, 1]} "p" : f32[1, 3, 9, 8]
//!   output "y" = %1
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 3, 9, 8]
//!   %1 = pool_max(%0) {dilations=[1, 1], kernel=[1, 5], pads_after=[0, 2], pads_before=[0, 2], strides=[1, 1]} "p" : f32[1, 3, 9, 8]
//!   %2 = pool_max(%1) {dilations=[1, 1], kernel=[5, 1], pads_after=[2, 0], pads_before=[2, 0], strides=[1, 1]} "p" : f32[1, 3, 9, 8]
//!   output "y" = %2
//! }
//! ```
//! Source: the greatest of the greatest; van Herk, A fast algorithm for local minimum and maximum
//! filters on rectangular and octagonal kernels (1992).
use super::Rewriter;
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, ValueId};

/// A pass over memory between both parts must save at least so many times the taps.
const GAIN: f64 = 2.0;
/// Elements from a result's taps in a row to the next one's at most that are chosen out of vectors.
const NEAR: i64 = 7;
/// Results of such a row at most are few lanes of a vector, where those of a column are rows.
const NARROW: i64 = 8;

/// The attributes that have an entry for each spatial axis, and what they are for no window.
const AXES: [(&str, i64); 5] = [
    ("kernel", 1),
    ("strides", 1),
    ("dilations", 1),
    ("pads_before", 0),
    ("pads_after", 0),
];

/// The graph with windows in parts; sums too, if they may `reassociate`.
///
/// Errors: never for a valid graph.
pub fn split_pooling(graph: &Graph, reassociate: bool) -> Result<Graph, GraphError> {
    Rewriter::run(graph, &mut |cx, node| {
        let separable = match node.op.name {
            "pool_max" => true,
            "pool_sum" => reassociate && is_wide(cx.old.ty(node.inputs[0]).dtype),
            _ => false,
        };
        let parts = if separable {
            parts(cx.old, node)
        } else {
            vec![]
        };
        match parts.len() {
            0 | 1 => Ok(None),
            _ => rewrite(cx, node, &parts).map(|v| Some(vec![v])),
        }
    })
}

/// Whether sums of rows are as precise as the results are.
fn is_wide(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F64)
}

/// One spatial axis of a window.
#[derive(Clone, Copy)]
struct Axis {
    /// Its place among the spatial axes.
    at: usize,
    kernel: i64,
    /// Vectors of the operand, at most, that have the elements of a vector of taps.
    vectors: i64,
    /// Elements of the operand and of the result, or so many for one another.
    extents: [i64; 2],
}

impl Axis {
    /// What its taps of a result take.
    fn taps(&self) -> f64 {
        (self.kernel * self.vectors) as f64
    }
}

/// The axes of the parts of a window, one after the other: as long as that takes far fewer taps, the
/// axis with which it takes the fewest is a part of its own.
fn parts(graph: &Graph, node: &Node) -> Vec<Vec<usize>> {
    let kernel = node.attrs.ints("kernel").iter().enumerate();
    let rank = kernel.len();
    let mut left: Vec<Axis> = kernel
        .map(|(at, kernel)| {
            let extent = |v: ValueId| graph.ty(v).shape[at + 2].as_const();
            let extents = extent(node.inputs[0]).zip(extent(node.outputs[0]));
            let stride = node.attrs.ints("strides")[at];
            let (from, to) = extents.unwrap_or((stride, 1));
            let strided = at + 1 == rank && stride <= NEAR && to > NARROW;
            Axis {
                at,
                kernel: *kernel,
                vectors: if strided { stride } else { 1 },
                extents: [from, to],
            }
        })
        .collect();
    let mut parts = Vec::new();
    loop {
        let taps = |k: &usize| taps_apart(&left, *k);
        let all: f64 = left
            .iter()
            .map(|a| a.taps() * a.extents[1] as f64)
            .product();
        // Of equal ones the last, along rows.
        let least = (0..left.len())
            .rev()
            .min_by(|a, b| taps(a).total_cmp(&taps(b)));
        let narrow = left
            .last()
            .is_some_and(|a| a.extents[1] <= NARROW && a.kernel > 1);
        let gain = if narrow { 1.0 } else { GAIN };
        match least.filter(|k| all > gain * taps(k)) {
            Some(k) => parts.push(vec![left.remove(k).at]),
            None => break,
        }
    }
    parts.push(left.iter().map(|a| a.at).collect());
    parts
}

/// Taps of a part along axis `k`, and of one along the others.
fn taps_apart(all: &[Axis], k: usize) -> f64 {
    let others = || all.iter().enumerate().filter(|(other, _)| *other != k);
    let own = all[k].taps();
    let read: f64 = others().map(|(_, a)| a.extents[0] as f64).product();
    let made: f64 = all.iter().map(|a| a.extents[1] as f64).product();
    let rest: f64 = others().map(|(_, a)| a.taps()).product();
    own * read * all[k].extents[1] as f64 + rest * made
}

fn rewrite(
    cx: &mut Rewriter<'_>,
    node: &Node,
    parts: &[Vec<usize>],
) -> Result<ValueId, GraphError> {
    let mut x = cx.get(node.inputs[0]);
    for own in parts {
        let attrs = AXES.iter().fold(Attrs::new(), |attrs, (name, none)| {
            let all = node.attrs.ints(name).iter().enumerate();
            let kept = all.map(|(d, v)| if own.contains(&d) { *v } else { *none });
            attrs.with(name, kept.collect::<Vec<i64>>())
        });
        x = cx.add(node.op.name, &node.name, &[x], attrs)?;
    }
    Ok(x)
}
