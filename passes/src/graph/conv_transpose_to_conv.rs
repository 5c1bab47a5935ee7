//! Turns transposed convolutions into convolutions that compute all phases of the stride as
//! channels, and moves these channels to their places: no kernel asks which taps meet an element.
//!
//! Requires: the standard precision: taps are summed in another order, beside products with zeros.
//! Ensures: no transposed convolution with a fixed kernel, and without dilation along axes with a
//! stride, unless most weights were zeros.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 3, 4]
//!   %1 = input "w" : f32[3, 6, 2]
//!   %2 = conv_transpose(%0, %1) {dilations=[1], groups=1, output_padding=[0], pads_after=[0], pads_before=[1], strides=[2]} "c" : f32[1, 6, 7]
//!   output "y" = %2
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 3, 4]
//!   %1 = input "w" : f32[3, 6, 2]
//!   %2 = reshape(%1) {shape=[1, 3, 6, 1, 2]} "c" : f32[1, 3, 6, 1, 2]
//!   %3 = transpose(%2) {perm=[0, 4, 2, 1, 3]} "c" : f32[1, 2, 6, 3, 1]
//!   %4 = reshape(%3) {shape=[12, 3, 1]} "c" : f32[12, 3, 1]
//!   %5 = conv(%0, %4) {dilations=[1], groups=1, pads_after=[0], pads_before=[0], strides=[1]} "c" : f32[1, 12, 4]
//!   %6 = depth_to_space(%5) {blocks=[2], groups=1, phases=[2]} "c" : f32[1, 6, 8]
//!   %7 = slice(%6) {sizes=[1, 6, 7], starts=[0, 0, 1], steps=[1, 1, 1]} "c" : f32[1, 6, 7]
//!   output "y" = %7
//! }
//! ```
//! Source: Shi et al., Is the deconvolution layer the same as a convolutional layer? (2016).
use super::Rewriter;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, ValueId};
use tensmith_ir::tensor::Tensor;

/// How many weights there may be for each of the model's: those that fill up the last step of a
/// stride that the kernel exceeds are zeros.
const GROWTH: f64 = 8.0;

/// The graph with convolutions for transposed convolutions.
///
/// Errors: never for a valid graph.
pub fn conv_transpose_to_conv(graph: &Graph) -> Result<Graph, GraphError> {
    Rewriter::run(graph, &mut |cx, node| {
        if node.op.name != "conv_transpose" {
            return Ok(None);
        }
        match axes(cx.old, node) {
            None => Ok(None),
            Some(axes) => rewrite(cx, node, &axes).map(|v| Some(vec![v])),
        }
    })
}

/// One spatial axis. The result at `stride * q + phase - before` is the sum over `taps` of
/// `x[q - dilation * tap] * w[stride * tap + phase]`; a convolution computes all phases of the
/// positions `q` that are asked for. Either the stride or the dilation is 1.
struct Axis {
    kernel: i64,
    stride: i64,
    /// Phases that taps meet: the first ones of a stride.
    phases: i64,
    dilation: i64,
    /// The kernel's extent in steps of the stride, rounded up.
    taps: i64,
    pad_before: i64,
    pad_after: i64,
    /// How many elements before the result the first phase of the first position is.
    start: i64,
}

/// Whether one convolution may compute all phases of a transposed one.
pub(super) fn phases_join(graph: &Graph, node: &Node) -> bool {
    axes(graph, node).is_some()
}

/// The spatial axes; `None` if the kernel's extents are not known, phases meet elements apart, or too
/// many weights were zeros; or if the operands are bytes, whose convolution has words for sums.
fn axes(graph: &Graph, node: &Node) -> Option<Vec<Axis>> {
    if graph.ty(node.inputs[0]).dtype.is_byte() {
        return None;
    }
    let kernel = &graph.ty(node.inputs[1]).shape[2..];
    let of = |name: &str, d: usize| node.attrs.ints(name)[d];
    let axis = |(d, kernel): (usize, &Expr)| {
        let kernel = kernel.as_const().filter(|k| *k > 0)?;
        let (stride, before) = (of("strides", d), of("pads_before", d));
        let dilation = if kernel == 1 { 1 } else { of("dilations", d) };
        if stride > 1 && dilation > 1 {
            return None;
        }
        let taps = (kernel + stride - 1) / stride;
        let skipped = (before / stride).min((taps - 1) * dilation);
        // Positions behind the last element of x that the result reaches.
        let span = (kernel - 1) * dilation + 1;
        let reach = span + of("output_padding", d) - of("pads_after", d);
        let pad_after = ((reach + stride - 1).div_euclid(stride) - 1).max(0);
        Some(Axis {
            kernel,
            stride,
            phases: kernel.min(stride),
            dilation,
            taps,
            pad_before: (taps - 1) * dilation - skipped,
            pad_after,
            start: before - skipped * stride,
        })
    };
    let axes: Vec<Axis> = kernel.iter().enumerate().map(axis).collect::<Option<_>>()?;
    let grows = |a: &Axis| (a.taps as f64) * (a.phases as f64) / (a.kernel as f64);
    (axes.iter().map(grows).product::<f64>() <= GROWTH).then_some(axes)
}

fn rewrite(cx: &mut Rewriter<'_>, node: &Node, axes: &[Axis]) -> Result<ValueId, GraphError> {
    let (x, w) = (cx.get(node.inputs[0]), cx.get(node.inputs[1]));
    let w = phases_as_channels(cx, node, w, axes)?;
    let list = |f: &dyn Fn(&Axis) -> i64| axes.iter().map(f).collect::<Vec<i64>>();
    let attrs = Attrs::new()
        .with("strides", list(&|_| 1))
        .with("dilations", list(&|a| a.dilation))
        .with("pads_before", list(&|a| a.pad_before))
        .with("pads_after", list(&|a| a.pad_after))
        .with("groups", node.attrs.int("groups"));
    let y = cx.add("conv", &node.name, &[x, w], attrs)?;
    let y = channels_to_places(cx, node, y, axes)?;
    let to = cx.old.ty(node.outputs[0]).shape.clone();
    if cx.ty(y).shape == to {
        return Ok(y);
    }
    let mut starts = vec![Expr::from(0); 2];
    starts.extend(axes.iter().map(|a| Expr::from(a.start)));
    let attrs = Attrs::new()
        .with("starts", starts)
        .with("sizes", to.clone());
    let attrs = attrs.with("steps", vec![1; to.len()]);
    cx.add("slice", &node.name, &[y], attrs)
}

/// `w[c, o, k...]` as weights of a convolution, `[group and phases and o, c of the group, taps...]`.
fn phases_as_channels(
    cx: &mut Rewriter<'_>,
    node: &Node,
    w: ValueId,
    axes: &[Axis],
) -> Result<ValueId, GraphError> {
    let (rank, spatial) = (axes.len() + 2, axes.len());
    let groups = node.attrs.int("groups");
    let (mut w, dtype) = (w, cx.ty(w).dtype);
    if axes.iter().any(|a| a.taps * a.phases != a.kernel) {
        let mut after = vec![Expr::from(0); 2];
        after.extend(
            axes.iter()
                .map(|a| Expr::from(a.taps * a.phases - a.kernel)),
        );
        let zero = Tensor::splat(dtype, vec![], 0.0);
        let zero = cx.new.add_constant(&node.name, zero);
        let attrs = Attrs::new()
            .with("before", vec![Expr::from(0); rank])
            .with("after", after)
            .with("mode", "constant");
        w = cx.add("pad", &node.name, &[w, zero], attrs)?;
    }
    let shape = cx.ty(w).shape.clone();
    let inner = match groups {
        1 => shape[0].clone(),
        _ => shape[0].div(groups),
    };
    let mut split = vec![Expr::from(groups), inner.clone(), shape[1].clone()];
    for a in axes {
        split.extend([Expr::from(a.taps), Expr::from(a.phases)]);
    }
    w = cx.reshape(w, &split, &node.name)?;
    if axes.iter().any(|a| a.taps > 1) {
        w = reverse_taps(cx, node, w, axes)?;
    }
    let mut perm = vec![0];
    perm.extend((0..spatial as i64).map(|d| 4 + 2 * d));
    perm.extend([2, 1]);
    perm.extend((0..spatial as i64).map(|d| 3 + 2 * d));
    w = cx.add(
        "transpose",
        &node.name,
        &[w],
        Attrs::new().with("perm", perm),
    )?;
    let phases: i64 = axes.iter().map(|a| a.phases).product();
    let mut shape = vec![shape[1].clone() * (groups * phases), inner];
    shape.extend(axes.iter().map(|a| Expr::from(a.taps)));
    cx.reshape(w, &shape, &node.name)
}

/// The last tap first, in weights whose taps are axes 3, 5, ...
fn reverse_taps(
    cx: &mut Rewriter<'_>,
    node: &Node,
    w: ValueId,
    axes: &[Axis],
) -> Result<ValueId, GraphError> {
    let sizes = cx.ty(w).shape.clone();
    let mut starts = vec![Expr::from(0); sizes.len()];
    let mut steps = vec![1; sizes.len()];
    for (d, a) in axes.iter().enumerate() {
        starts[3 + 2 * d] = Expr::from(a.taps - 1);
        steps[3 + 2 * d] = -1;
    }
    let attrs = Attrs::new().with("starts", starts).with("sizes", sizes);
    cx.add("slice", &node.name, &[w], attrs.with("steps", steps))
}

/// `[n, group and phases and o, positions...]` as `[n, o, positions and phases...]`.
fn channels_to_places(
    cx: &mut Rewriter<'_>,
    node: &Node,
    y: ValueId,
    axes: &[Axis],
) -> Result<ValueId, GraphError> {
    if axes.iter().all(|a| a.stride == 1) {
        return Ok(y);
    }
    let list = |f: &dyn Fn(&Axis) -> i64| axes.iter().map(f).collect::<Vec<i64>>();
    let attrs = Attrs::new()
        .with("blocks", list(&|a| a.stride))
        .with("phases", list(&|a| a.phases))
        .with("groups", node.attrs.int("groups"));
    cx.add("depth_to_space", &node.name, &[y], attrs)
}
