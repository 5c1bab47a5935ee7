//! Computes 3x3 convolutions by Winograd's minimal filtering where a cost model says that it is
//! faster and the errors to be expected for the actual weights are admissible.
//!
//! Requires: a precision under which sums may change their order.
//! Ensures: nothing.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 64, 14, 14]
//!   %1 = const "c" : f32[] = [0.5]
//!   %2 = expand(%1) {shape=[64, 64, 3, 3]} "w" : f32[64, 64, 3, 3]
//!   %3 = conv(%0, %2) {dilations=[1, 1], groups=1, pads_after=[1, 1], pads_before=[1, 1], strides=[1, 1]} "c" : f32[1, 64, 14, 14]
//!   output "y" = %3
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 64, 14, 14]
//!   %1 = const "c" : f32[] = [0.5]
//!   %2 = expand(%1) {shape=[64, 64, 3, 3]} "w" : f32[64, 64, 3, 3]
//!   %3 = const "c" : f32[] = [0.0]
//!   %4 = pad(%0, %3) {after=[0, 0, 3, 3], before=[0, 0, 1, 1], mode="constant"} "c" : f32[1, 64, 18, 18]
//!   %5 = winograd_input(%4) {tile=4} "c" : f32[6, 6, 1, 4, 4, 64]
//!   %6 = winograd_weights(%2) {tile=4} "c" : f32[6, 6, 64, 64]
//!   %7 = contract(%5, %6) {spec="ijntuc,ijco->ijntuo"} "c" : f32[6, 6, 1, 4, 4, 64]
//!   %8 = winograd_output(%7) {extents=[14, 14], tile=4} "c" : f32[1, 64, 14, 14]
//!   output "y" = %8
//! }
//! ```
//! Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016.
use super::Rewriter;
use super::conv_algorithm::{Layer, choose};
use crate::pipeline::{Decisions, PassOptions};
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, ValueId};
use tensmith_ir::tensor::Tensor;

/// The graph with transforms and contractions for convolutions; `decisions` get which algorithm
/// computes each convolution that could be one of these.
///
/// Errors: never for a valid graph.
pub fn conv_to_winograd(
    graph: &Graph,
    options: &PassOptions,
    decisions: &mut Decisions,
) -> Result<Graph, GraphError> {
    let chosen = choose(graph, options, decisions);
    Rewriter::run(graph, &mut |cx, node| match chosen.get(&node.outputs[0]) {
        Some((layer, m)) => rewrite(cx, node, layer, *m).map(|v| Some(vec![v])),
        None => Ok(None),
    })
}

fn rewrite(
    cx: &mut Rewriter<'_>,
    node: &Node,
    layer: &Layer,
    m: i64,
) -> Result<ValueId, GraphError> {
    let (x, w) = (cx.get(node.inputs[0]), cx.get(node.inputs[1]));
    let whole = layer.extents.map(|e| (e + m - 1) / m * m);
    let before = node.attrs.ints("pads_before");
    let after = node.attrs.ints("pads_after");
    let more = |d: usize| after[d] + whole[d] - layer.extents[d];
    let amounts = |spatial: [i64; 2]| -> Vec<Expr> {
        [0, 0, spatial[0], spatial[1]].map(Expr::from).to_vec()
    };
    let zero = Tensor::splat(DType::F32, vec![], 0.0);
    let zero = cx.new.add_constant(&node.name, zero);
    let pad = Attrs::new()
        .with("before", amounts([before[0], before[1]]))
        .with("after", amounts([more(0), more(1)]))
        .with("mode", "constant");
    let tile = || Attrs::new().with("tile", m);
    let padded = cx.add("pad", &node.name, &[x, zero], pad)?;
    let tiles = cx.add("winograd_input", &node.name, &[padded], tile())?;
    let weights = cx.add("winograd_weights", &node.name, &[w], tile())?;
    let spec = Attrs::new().with("spec", "ijntuc,ijco->ijntuo");
    let products = cx.add("contract", &node.name, &[tiles, weights], spec)?;
    let attrs = tile().with("extents", layer.extents.to_vec());
    cx.add("winograd_output", &node.name, &[products], attrs)
}
