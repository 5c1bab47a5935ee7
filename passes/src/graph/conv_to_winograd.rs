//! Computes 3x3 convolutions by Winograd's minimal filtering where a cost model says that it is
//! faster and the errors to be expected for the actual weights are admissible.
//!
//! Taps may have steps between them: places in such steps are images of their own.
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
use super::fold_factors::is_fixed;
use crate::pipeline::{Decisions, PassOptions};
use std::collections::HashMap;
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
    // What results in steps are joined of, with the layers that they are of.
    let mut apart: HashMap<ValueId, (ValueId, &Layer)> = HashMap::new();
    Rewriter::run(graph, &mut |cx, node| {
        let [result] = node.outputs[..] else {
            return Ok(None);
        };
        let Some((layer, m)) = chosen.get(&result) else {
            return with_bias(cx, node, &apart);
        };
        let y = rewrite(cx, node, layer, *m)?;
        if layer.steps == [1, 1] {
            return Ok(Some(vec![y]));
        }
        apart.insert(result, (y, layer));
        joined(cx, y, layer, node).map(|y| Some(vec![y]))
    })
}

/// A sum of results whose places in steps are images, and of constants for channels, before these
/// are joined.
fn with_bias(
    cx: &mut Rewriter<'_>,
    node: &Node,
    apart: &HashMap<ValueId, (ValueId, &Layer)>,
) -> Result<Option<Vec<ValueId>>, GraphError> {
    let (Some(of), "add") = (
        node.inputs.iter().position(|v| apart.contains_key(v)),
        node.op.name,
    ) else {
        return Ok(None);
    };
    let (y, layer) = apart[&node.inputs[of]];
    let bias = node.inputs[1 - of];
    let shape = &cx.old.ty(bias).shape;
    let of_channels = (0..shape.len()).all(|d| shape.len() == d + 3 || shape[d].is(1));
    if !of_channels || !is_fixed(cx.old, bias) {
        return Ok(None);
    }
    let bias = cx.get(bias);
    let y = cx.add("add", &node.name, &[y, bias], Attrs::new())?;
    joined(cx, y, layer, node).map(|y| Some(vec![y]))
}

fn rewrite(
    cx: &mut Rewriter<'_>,
    node: &Node,
    layer: &Layer,
    m: i64,
) -> Result<ValueId, GraphError> {
    let (x, w) = (cx.get(node.inputs[0]), cx.get(node.inputs[1]));
    let whole = layer.places().map(|e| (e + m - 1) / m * m);
    let parts = layer.steps != [1, 1];
    let zero = Tensor::splat(DType::F32, vec![], 0.0);
    let zero = cx.new.add_constant(&node.name, zero);
    let pad = |cx: &mut Rewriter<'_>, x: ValueId, before: [i64; 2], after: [i64; 2]| {
        let amounts = |of: [i64; 2]| [0, 0, of[0], of[1]].map(Expr::from).to_vec();
        let attrs = Attrs::new()
            .with("before", amounts(before))
            .with("after", amounts(after))
            .with("mode", "constant");
        cx.add("pad", &node.name, &[x, zero], attrs)
    };
    let places = layer.places();
    let to_places = |d: usize| layer.steps[d] * (places[d] + 2) - layer.image[d] - layer.before[d];
    let to_tiles = std::array::from_fn(|d| whole[d] - places[d]);
    let images = match parts {
        // Tiles read places with channels innermost, which the second padding brings them to.
        true => {
            let x = pad(cx, x, layer.before, std::array::from_fn(to_places))?;
            let x = parted(cx, x, layer.steps, &node.name)?;
            pad(cx, x, [0, 0], to_tiles)?
        }
        false => {
            let after = std::array::from_fn(|d| to_places(d) + to_tiles[d]);
            pad(cx, x, layer.before, after)?
        }
    };
    let tile = || Attrs::new().with("tile", m);
    let tiles = cx.add("winograd_input", &node.name, &[images], tile())?;
    let weights = cx.add("winograd_weights", &node.name, &[w], tile())?;
    let spec = Attrs::new().with("spec", "ijntuc,ijco->ijntuo");
    let products = cx.add("contract", &node.name, &[tiles, weights], spec)?;
    let attrs = tile().with("extents", layer.places().to_vec());
    cx.add("winograd_output", &node.name, &[products], attrs)
}

/// The places of images in steps as images of their own, in the batch.
fn parted(
    cx: &mut Rewriter<'_>,
    x: ValueId,
    steps: [i64; 2],
    label: &str,
) -> Result<ValueId, GraphError> {
    let [n, c, h, w] = shape_of(cx, x);
    let [p, q] = steps.map(Expr::from);
    let places = |e: Expr, step: i64| e.as_const().map_or(e, |n| (n / step).into());
    let (h, w) = (places(h, steps[0]), places(w, steps[1]));
    let split = [&n, &c, &h, &p, &w, &q].map(Expr::clone);
    let x = cx.reshape(x, &split, label)?;
    let perm = Attrs::new().with("perm", vec![3, 5, 0, 1, 2, 4]);
    let x = cx.add("transpose", label, &[x], perm)?;
    cx.reshape(x, &[n * (steps[0] * steps[1]), c, h, w], label)
}

/// What [`parted`] made of one image, as that again, with the extents of the result of a node.
fn joined(
    cx: &mut Rewriter<'_>,
    y: ValueId,
    layer: &Layer,
    node: &Node,
) -> Result<ValueId, GraphError> {
    let steps = layer.steps;
    let label = &node.name;
    let to = cx.old.ty(node.outputs[0]).shape.clone();
    let [_, c, h, w] = shape_of(cx, y);
    let [p, q] = steps.map(Expr::from);
    let split = [p, q, to[0].clone(), c.clone(), h.clone(), w.clone()];
    let y = cx.reshape(y, &split, label)?;
    let perm = Attrs::new().with("perm", vec![2, 3, 4, 0, 5, 1]);
    let y = cx.add("transpose", label, &[y], perm)?;
    let whole = [to[0].clone(), c, h * steps[0], w * steps[1]];
    let mut y = cx.reshape(y, &whole, label)?;
    for d in [2, 3] {
        y = cx.slice(y, d, (0.into(), to[d].clone(), 1), label)?;
    }
    Ok(y)
}

fn shape_of(cx: &Rewriter<'_>, image: ValueId) -> [Expr; 4] {
    let shape = cx.ty(image).shape.clone();
    shape.try_into().expect("invariant: an image has four axes")
}
