//! Computes 3x3 convolutions by Winograd's minimal filtering where that is less work.
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
use crate::split::constant_values;
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, ValueId};
use tensmith_ir::tensor::Tensor;

/// Fewer channels are not worth the transforms.
const CHANNELS: i64 = 16;

/// The graph with transforms and contractions for convolutions.
///
/// Errors: never for a valid graph.
pub fn conv_to_winograd(graph: &Graph) -> Result<Graph, GraphError> {
    let constant = constant_values(graph);
    Rewriter::run(graph, &mut |cx, node| {
        let known = |v: ValueId| constant[v.0 as usize];
        match Layer::of(graph, node, &known).and_then(|l| Some((l.tile()?, l))) {
            Some((m, layer)) => rewrite(cx, node, &layer, m).map(|v| Some(vec![v])),
            None => Ok(None),
        }
    })
}

/// The extents of a convolution that could be computed so.
struct Layer {
    batch: i64,
    channels: i64,
    results: i64,
    /// Of the result.
    extents: [i64; 2],
}

impl Layer {
    fn of(graph: &Graph, node: &Node, known: &dyn Fn(ValueId) -> bool) -> Option<Layer> {
        if node.op.name != "conv" || !known(node.inputs[1]) {
            return None;
        }
        let (x, w) = (graph.ty(node.inputs[0]), graph.ty(node.inputs[1]));
        let y = graph.ty(node.outputs[0]);
        let ones = |name: &str| node.attrs.ints(name).iter().all(|v| *v == 1);
        let plain = ones("strides") && ones("dilations") && node.attrs.int("groups") == 1;
        let taps: Option<Vec<i64>> = w.shape.iter().map(|e| e.as_const()).collect();
        let taps: [i64; 4] = taps?.try_into().ok()?;
        let ([results, channels, 3, 3], true, DType::F32) = (taps, plain, x.dtype) else {
            return None;
        };
        Some(Layer {
            // The choice does not depend on a batch that is not known.
            batch: x.shape[0].as_const().unwrap_or(1),
            channels,
            results,
            extents: [y.shape[2].as_const()?, y.shape[3].as_const()?],
        })
    }

    fn tiles(&self, m: i64) -> i64 {
        let along = |e: i64| (e + m - 1) / m;
        self.batch * along(self.extents[0]) * along(self.extents[1])
    }

    /// The tile that costs least; `None` if that is the convolution as it is.
    fn tile(&self) -> Option<i64> {
        if self.channels < CHANNELS || self.results < CHANNELS {
            return None;
        }
        let direct = self.direct();
        let candidates = [4, 2].into_iter().map(|m| (self.cost(m), m));
        let best = candidates.min_by(|a, b| a.0.total_cmp(&b.0))?;
        (best.0 < direct).then_some(best.1)
    }

    /// Units: multiply-adds.
    fn direct(&self) -> f64 {
        let weights = 9 * self.channels * self.results;
        let positions = self.batch * self.extents[0] * self.extents[1];
        weights as f64 * (positions as f64).max(WEIGHT)
    }

    /// Units: multiply-adds.
    fn cost(&self, m: i64) -> f64 {
        let (a, tiles) = (m + 2, self.tiles(m) as f64);
        let weights = (a * a * self.channels * self.results) as f64;
        let moved = (a * a * (self.channels + self.results)) as f64 * tiles;
        weights * tiles.max(WEIGHT) + moved * TRANSFORMED
    }
}

/// What loading one weight takes. Units: multiply-adds.
const WEIGHT: f64 = 16.0;
/// What making, writing and reading one transformed element takes. Units: multiply-adds.
const TRANSFORMED: f64 = 16.0;

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
