//! Repeats elements where a resize picks the nearest of them and the scales are whole numbers.
//!
//! Requires: nothing.
//! Ensures: nothing.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 3, 4, 4]
//!   %1 = resize(%0) {antialias=false, coordinate="asymmetric", cubic_coeff=-0.75, exclude_outside=false, extrapolation=0.0, mode="nearest", nearest="floor", roi=[], scales=[1.0, 1.0, 2.0, 3.0], sizes=[1, 3, 8, 12]} "r" : f32[1, 3, 8, 12]
//!   output "y" = %1
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 3, 4, 4]
//!   %1 = repeat(%0) {counts=[1, 1, 2, 3]} "r" : f32[1, 3, 8, 12]
//!   output "y" = %1
//! }
//! ```
//! Source: ONNX operators, Resize: with scale s, `floor(i / s)`, and `(i + 0.5) / s - 0.5` rounded,
//! which is never half-way between two elements.
use super::Rewriter;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node};

/// Larger scales than these are left alone.
const LARGEST: f64 = 1024.0;

/// The graph with repetitions for resizes.
///
/// Errors: never for a valid graph.
pub fn resize_to_repeat(graph: &Graph) -> Result<Graph, GraphError> {
    Rewriter::run(graph, &mut |cx, node| match counts(graph, node) {
        Some(counts) => {
            let x = cx.get(node.inputs[0]);
            let attrs = Attrs::new().with("counts", counts);
            Ok(Some(vec![cx.add("repeat", &node.name, &[x], attrs)?]))
        }
        None => Ok(None),
    })
}

/// How often each element is repeated on each axis.
fn counts(graph: &Graph, node: &Node) -> Option<Vec<i64>> {
    if node.op.name != "resize" || node.attrs.str("mode") != "nearest" {
        return None;
    }
    let rounds = node.attrs.str("nearest").starts_with("round_");
    let whole = match node.attrs.str("coordinate") {
        "asymmetric" => node.attrs.str("nearest") == "floor",
        "half_pixel" | "half_pixel_symmetric" => rounds,
        _ => false,
    };
    let (x, y) = (graph.ty(node.inputs[0]), graph.ty(node.outputs[0]));
    let scales = node.attrs.floats("scales");
    let count = |d: usize| {
        let scale = match scales.get(d) {
            Some(s) => *s,
            None => y.shape[d].as_const()? as f64 / x.shape[d].as_const()? as f64,
        };
        let fits = (1.0..=LARGEST).contains(&scale) && scale.fract() == 0.0;
        let count = fits.then_some(scale as i64)?;
        (x.shape[d].clone() * count == y.shape[d]).then_some(count)
    };
    (0..x.rank())
        .map(count)
        .collect::<Option<_>>()
        .filter(|_| whole)
}
