//! Cuts off the taps of windows that no position has inside of its operand, as those of kernels that
//! are larger than an image, or dilated beyond it.
//!
//! Requires: the standard precision: products of padding with weights that are not finite are left
//! out.
//! Ensures: nothing of its own.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 8, 1, 9]
//!   %1 = input "w" : f32[8, 1, 5, 3]
//!   %2 = conv(%0, %1) {dilations=[1, 1], groups=8, pads_after=[2, 1], pads_before=[2, 1], strides=[1, 1]} "c" : f32[1, 8, 1, 9]
//!   output "y" = %2
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 8, 1, 9]
//!   %1 = input "w" : f32[8, 1, 5, 3]
//!   %2 = slice(%1) {sizes=[8, 1, 1, 3], starts=[0, 0, 2, 0], steps=[1, 1, 1, 1]} "c" : f32[8, 1, 1, 3]
//!   %3 = conv(%0, %2) {dilations=[1, 1], groups=8, pads_after=[0, 1], pads_before=[0, 1], strides=[1, 1]} "c" : f32[1, 8, 1, 9]
//!   output "y" = %3
//! }
//! ```
//! Source: the definitions of convolution and pooling.
use super::Rewriter;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, ValueId};

/// The graph with windows of taps that meet elements.
///
/// Errors: never for a valid graph.
pub fn trim_windows(graph: &Graph) -> Result<Graph, GraphError> {
    Rewriter::run(graph, &mut |cx, node| {
        if !matches!(node.op.name, "conv" | "pool_max" | "pool_sum") {
            return Ok(None);
        }
        match axes(cx.old, node).filter(|axes| axes.iter().any(Axis::is_trimmed)) {
            Some(axes) => rewrite(cx, node, &axes).map(|v| Some(vec![v])),
            None => Ok(None),
        }
    })
}

/// One spatial axis.
struct Axis {
    /// Taps that are cut off before and behind those that are kept.
    before: i64,
    after: i64,
    kept: i64,
    /// Padding that is left.
    pads: [i64; 2],
}

impl Axis {
    fn is_trimmed(&self) -> bool {
        self.before > 0 || self.after > 0
    }
}

/// The spatial axes; `None` if extents are not known.
fn axes(graph: &Graph, node: &Node) -> Option<Vec<Axis>> {
    let extents = |v: ValueId| -> Option<Vec<i64>> {
        let shape = &graph.ty(v).shape;
        shape[2..].iter().map(Expr::as_const).collect()
    };
    let (x, y) = (extents(node.inputs[0])?, extents(node.outputs[0])?);
    let kernel = match node.op.name {
        "conv" => extents(node.inputs[1])?,
        _ => node.attrs.ints("kernel").to_vec(),
    };
    let of = |name: &str, d: usize| node.attrs.ints(name)[d];
    let axis = |d: usize| {
        let (stride, dilation) = (of("strides", d), of("dilations", d));
        let pads = [of("pads_before", d), of("pads_after", d)];
        let meets = |tap: &i64| {
            let first = tap * dilation - pads[0];
            // The first position whose tap is not before the operand.
            let position = (-first).div_euclid(stride) + i64::from((-first).rem_euclid(stride) > 0);
            let position = position.max(0);
            position < y[d] && position * stride + first < x[d]
        };
        let first = (0..kernel[d]).find(meets)?;
        let last = (0..kernel[d]).rfind(meets)?;
        // Padding is never negative.
        let before = first.min(pads[0] / dilation);
        let after = (kernel[d] - 1 - last).min(pads[1] / dilation);
        Some(Axis {
            before,
            after,
            kept: kernel[d] - before - after,
            pads: [pads[0] - before * dilation, pads[1] - after * dilation],
        })
    };
    (0..x.len()).map(axis).collect()
}

fn rewrite(cx: &mut Rewriter<'_>, node: &Node, axes: &[Axis]) -> Result<ValueId, GraphError> {
    let list = |of: &dyn Fn(&Axis) -> i64| axes.iter().map(of).collect::<Vec<i64>>();
    let mut inputs = vec![cx.get(node.inputs[0])];
    let mut attrs = Attrs::new()
        .with("strides", node.attrs.ints("strides").to_vec())
        .with("dilations", node.attrs.ints("dilations").to_vec())
        .with("pads_before", list(&|a| a.pads[0]))
        .with("pads_after", list(&|a| a.pads[1]));
    if node.op.name == "conv" {
        attrs = attrs.with("groups", node.attrs.int("groups"));
        let w = cx.get(node.inputs[1]);
        let mut sizes = cx.ty(w).shape.clone();
        let mut starts = vec![Expr::from(0); sizes.len()];
        for (d, axis) in axes.iter().enumerate() {
            (starts[d + 2], sizes[d + 2]) = (axis.before.into(), axis.kept.into());
        }
        let steps = vec![1; sizes.len()];
        let part = Attrs::new().with("starts", starts).with("sizes", sizes);
        inputs.push(cx.add("slice", &node.name, &[w], part.with("steps", steps))?);
    } else {
        attrs = attrs.with("kernel", list(&|a| a.kept));
    }
    cx.add(node.op.name, &node.name, &inputs, attrs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensmith_ir::dtype::DType;
    use tensmith_ir::eval::eval_graph;
    use tensmith_ir::graph::TensorType;
    use tensmith_ir::ops::op;
    use tensmith_ir::tensor::Tensor;

    /// Of a window along an axis, and an operand: the taps that are kept, with the same results.
    fn kept([extent, kernel, stride, dilation]: [i64; 4], pads: [i64; 2]) -> i64 {
        let ty = |shape: &[i64]| {
            TensorType::new(DType::F32, shape.iter().map(|n| Expr::from(*n)).collect())
        };
        let numbers = |shape: &[i64]| {
            let count = shape.iter().product::<i64>();
            let values: Vec<f32> = (0..count).map(|k| ((k * 7 + 3) % 11 - 5) as f32).collect();
            Tensor::from_f32(shape.iter().map(|n| *n as usize).collect(), &values)
        };
        let (x, w) = ([1, 2, extent], [4, 1, kernel]);
        let mut graph = Graph::default();
        let inputs = [graph.add_input("x", ty(&x)), graph.add_input("w", ty(&w))];
        let attrs = Attrs::new()
            .with("strides", vec![stride])
            .with("dilations", vec![dilation])
            .with("pads_before", vec![pads[0]])
            .with("pads_after", vec![pads[1]]);
        let conv = attrs.clone().with("groups", 2);
        let y = graph.add_one(op("conv"), "c", &inputs, conv).unwrap();
        graph.add_output("y", y);
        let pool = attrs.with("kernel", vec![kernel]);
        let z = graph.add_one(op("pool_max"), "p", &inputs[..1], pool);
        graph.add_output("z", z.unwrap());
        let after = trim_windows(&graph).unwrap();
        let run = |g: &Graph| eval_graph(g, &[numbers(&x), numbers(&w)]).unwrap();
        assert_eq!(run(&graph), run(&after), "{graph}{after}");
        let pool = after.nodes.iter().find(|n| n.op.name == "pool_max");
        pool.unwrap().attrs.ints("kernel")[0]
    }

    #[test]
    fn taps_that_meet_nothing_are_cut_off() {
        assert_eq!(kept([1, 13, 2, 1], [6, 6]), 1);
        assert_eq!(kept([3, 13, 1, 1], [6, 6]), 5);
        assert_eq!(kept([5, 3, 1, 6], [6, 6]), 1);
        assert_eq!(kept([5, 3, 1, 4], [4, 4]), 3);
        assert_eq!(kept([9, 3, 1, 1], [1, 1]), 3);
        for extent in 1..5 {
            for kernel in 1..7 {
                for (stride, dilation) in [(1, 1), (2, 1), (3, 1), (1, 2), (2, 3)] {
                    for pads in [[0, 0], [3, 3], [2, 5], [6, 1]] {
                        if extent + pads[0] + pads[1] > (kernel - 1) * dilation {
                            kept([extent, kernel, stride, dilation], pads);
                        }
                    }
                }
            }
        }
    }
}
