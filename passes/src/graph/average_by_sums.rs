//! Divides sums of windows by constants instead of counting the taps of each window at run time.
//!
//! Requires: nothing.
//! Ensures: no average pooling of `f32` or `f64` over positions whose number is known and not
//! enormous.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 3, 4]
//!   %1 = pool_avg(%0) {ceil_pads=[0], count_include_pad=false, dilations=[1], kernel=[2], pads_after=[1], pads_before=[0], strides=[1]} "a" : f32[1, 3, 4]
//!   output "y" = %1
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 3, 4]
//!   %1 = const "a" : f32[1, 1, 4] = [1.0, 1.0, 1.0, 1.0]
//!   %2 = pool_sum(%0) {dilations=[1], kernel=[2], pads_after=[1], pads_before=[0], strides=[1]} "a" : f32[1, 3, 4]
//!   %3 = pool_sum(%1) {dilations=[1], kernel=[2], pads_after=[1], pads_before=[0], strides=[1]} "a" : f32[1, 1, 4]
//!   %4 = div(%2, %3) {} "a" : f32[1, 3, 4]
//!   output "y" = %4
//! }
//! ```
//! Source: the definition of the average.
use super::Rewriter;
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, ValueId};
use tensmith_ir::tensor::Tensor;

/// More positions are counted at run time: their counts would be a large constant.
const POSITIONS: usize = 1 << 20;

/// The graph with sums and constant counts for averages.
///
/// Errors: never for a valid graph.
pub fn average_by_sums(graph: &Graph) -> Result<Graph, GraphError> {
    Rewriter::run(graph, &mut |cx, node| {
        if node.op.name != "pool_avg" {
            return Ok(None);
        }
        // Halves would round the sum once more.
        let ty = cx.old.ty(node.inputs[0]);
        let positions: Option<Vec<i64>> = ty.shape[2..].iter().map(|e| e.as_const()).collect();
        match positions {
            Some(positions) if matches!(ty.dtype, DType::F32 | DType::F64) => {
                Ok(rewrite(cx, node, &positions)?.map(|v| vec![v]))
            }
            _ => Ok(None),
        }
    })
}

fn rewrite(
    cx: &mut Rewriter<'_>,
    node: &Node,
    positions: &[i64],
) -> Result<Option<ValueId>, GraphError> {
    let x = cx.get(node.inputs[0]);
    let attr = |name: &str| node.attrs.ints(name).to_vec();
    let (mut before, mut after) = (attr("pads_before"), attr("pads_after"));
    let plain = |before: Vec<i64>, after: Vec<i64>| {
        Attrs::new()
            .with("kernel", attr("kernel"))
            .with("strides", attr("strides"))
            .with("dilations", attr("dilations"))
            .with("pads_before", before)
            .with("pads_after", after)
    };
    let sums = plain(before.clone(), after.clone());
    let mut shape = vec![1, 1];
    for (d, extent) in positions.iter().enumerate() {
        let mut extent = *extent;
        if node.attrs.flag("count_include_pad") {
            let beyond = node.attrs.ints("ceil_pads")[d];
            extent += before[d] + after[d] - beyond;
            (before[d], after[d]) = (0, beyond);
        }
        shape.push(extent.max(0) as usize);
    }
    let count = shape.iter().try_fold(1usize, |n, e| n.checked_mul(*e));
    if count.is_none_or(|n| n > POSITIONS) {
        return Ok(None);
    }
    let sums = cx.add("pool_sum", &node.name, &[x], sums)?;
    let ones = Tensor::splat(cx.ty(x).dtype, shape, 1.0);
    let ones = cx.new.add_constant(&node.name, ones);
    let counts = cx.add("pool_sum", &node.name, &[ones], plain(before, after))?;
    let averages = cx.add("div", &node.name, &[sums, counts], Attrs::new())?;
    Ok(Some(averages))
}
