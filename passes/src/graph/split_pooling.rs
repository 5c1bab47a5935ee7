//! Takes the greatest element of a large window as that of its rows' greatest elements, which
//! windows that overlap share, and its sum as that of its rows' sums.
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
const GAIN: i64 = 2;

/// The attributes that have an entry for each spatial axis, and what they are for no window.
const AXES: [(&str, i64); 5] = [
    ("kernel", 1),
    ("strides", 1),
    ("dilations", 1),
    ("pads_before", 0),
    ("pads_after", 0),
];

/// The graph with windows in two parts; sums too, if they may `reassociate`.
///
/// Errors: never for a valid graph.
pub fn split_pooling(graph: &Graph, reassociate: bool) -> Result<Graph, GraphError> {
    Rewriter::run(graph, &mut |cx, node| {
        let separable = match node.op.name {
            "pool_max" => true,
            "pool_sum" => reassociate && is_wide(cx.old.ty(node.inputs[0]).dtype),
            _ => false,
        };
        match separable && pays(node) {
            true => rewrite(cx, node).map(|v| Some(vec![v])),
            false => Ok(None),
        }
    })
}

/// Whether sums of rows are as precise as the results are.
fn is_wide(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F64)
}

/// Whether the parts have far fewer taps for an element of the result: the first has one for each
/// row that the second reads.
fn pays(node: &Node) -> bool {
    let (kernel, strides) = (node.attrs.ints("kernel"), node.attrs.ints("strides"));
    let Some((last, others)) = kernel.split_last() else {
        return false;
    };
    let product = |of: &[i64]| of.iter().fold(1i64, |n, k| n.saturating_mul(*k));
    let rows = product(&strides[..others.len()]);
    let parts = product(&[*last, rows]).saturating_add(product(others));
    product(kernel) > GAIN.saturating_mul(parts)
}

fn rewrite(cx: &mut Rewriter<'_>, node: &Node) -> Result<ValueId, GraphError> {
    let last = node.attrs.ints("kernel").len() - 1;
    let part = |own: &dyn Fn(usize) -> bool| {
        AXES.iter().fold(Attrs::new(), |attrs, (name, none)| {
            let all = node.attrs.ints(name).iter().enumerate();
            let kept = all.map(|(d, v)| if own(d) { *v } else { *none });
            attrs.with(name, kept.collect::<Vec<i64>>())
        })
    };
    let x = cx.get(node.inputs[0]);
    let rows = cx.add(node.op.name, &node.name, &[x], part(&|d| d == last))?;
    cx.add(node.op.name, &node.name, &[rows], part(&|d| d != last))
}
