//! Computes a transposed convolution as one convolution for each phase of the stride, where phases
//! meet different numbers of taps: as channels of one convolution, most would have products with
//! zeros. With a dilation beside a stride phases also meet elements apart.
//!
//! Requires: the standard precision: taps are summed in another order; stride and dilation of an axis
//! without a common divisor.
//! Ensures: with few phases, no transposed convolution with a fixed kernel that is not to become one
//! convolution.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 16, 9]
//!   %1 = input "w" : f32[16, 32, 3]
//!   %2 = conv_transpose(%0, %1) {dilations=[1], groups=1, output_padding=[1], pads_after=[1], pads_before=[1], strides=[2]} "c" : f32[1, 32, 18]
//!   output "y" = %2
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 16, 9]
//!   %1 = const "c" : f32[] = [0.0]
//!   %2 = pad(%0, %1) {after=[0, 0, 1], before=[0, 0, 0], mode="constant"} "c" : f32[1, 16, 10]
//!   %3 = slice(%2) {sizes=[1, 16, 9], starts=[0, 0, 0], steps=[1, 1, 1]} "c" : f32[1, 16, 9]
//!   %4 = input "w" : f32[16, 32, 3]
//!   %5 = slice(%4) {sizes=[16, 32, 1], starts=[0, 0, 1], steps=[1, 1, -2]} "c" : f32[16, 32, 1]
//!   %6 = transpose(%5) {perm=[1, 0, 2]} "c" : f32[32, 16, 1]
//!   %7 = conv(%3, %6) {dilations=[1], groups=1, pads_after=[0], pads_before=[0], strides=[1]} "c" : f32[1, 32, 9]
//!   %8 = slice(%4) {sizes=[16, 32, 2], starts=[0, 0, 2], steps=[1, 1, -2]} "c" : f32[16, 32, 2]
//!   %9 = transpose(%8) {perm=[1, 0, 2]} "c" : f32[32, 16, 2]
//!   %10 = conv(%2, %9) {dilations=[1], groups=1, pads_after=[0], pads_before=[0], strides=[1]} "c" : f32[1, 32, 9]
//!   %11 = concat(%7, %10) {axis=1} "c" : f32[1, 64, 9]
//!   %12 = depth_to_space(%11) {blocks=[2], groups=1, phases=[2]} "c" : f32[1, 32, 18]
//!   output "y" = %12
//! }
//! ```
//! Source: Shi et al., Is the deconvolution layer the same as a convolutional layer? (2016).
use super::Rewriter;
use super::conv_transpose_to_conv::phases_join;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, ValueId};
use tensmith_ir::tensor::Tensor;

/// Channels of a result that are computed together, as many as a 512-bit vector has lanes: fewer
/// take as long.
const LANES: i64 = 16;
/// One convolution takes at most so many times the products that one a phase takes: what those
/// read of the image again.
const GAIN: f64 = 1.25;
/// Fewer channels of the operand have too few products for what is saved of them to matter.
const CHANNELS: i64 = 16;
/// Phases at most where one convolution could compute all: each is a kernel.
const PHASES: i64 = 9;
/// Phases at most where no one convolution could.
const MOST_PHASES: i64 = 64;
/// Taps of one convolution that minimal filtering computes with fewer products than are saved here.
const FILTERED: [i64; 2] = [3, 3];

/// The graph with a convolution for each phase.
///
/// Errors: never for a valid graph.
pub fn split_conv_transpose(graph: &Graph) -> Result<Graph, GraphError> {
    Rewriter::run(graph, &mut |cx, node| {
        if node.op.name != "conv_transpose" {
            return Ok(None);
        }
        match axes(cx.old, node).filter(|axes| pays(cx.old, node, axes)) {
            None => Ok(None),
            Some(axes) => rewrite(cx, node, &axes).map(|v| Some(vec![v])),
        }
    })
}

/// One spatial axis.
struct Axis {
    kernel: i64,
    stride: i64,
    dilation: i64,
    /// How many elements before the result the first phase is.
    start: i64,
    /// Elements of each phase beyond those of x: the result has `stride` times as many, or fewer
    /// by what the first and last phases lack.
    more: i64,
    /// Phases of a stride; without those behind all that taps meet.
    phases: Vec<Phase>,
}

/// Elements of the result at `stride * r + p - start` for a phase `p`: the sums over `taps` of
/// `x[r + last - dilation * tap] * w[stride * tap + first]`.
#[derive(Clone, Copy)]
struct Phase {
    first: i64,
    taps: i64,
    last: i64,
}

impl Axis {
    /// Elements of x from the first that a phase reads for an element to the last.
    fn reach(&self, phase: &Phase) -> i64 {
        (phase.taps - 1) * self.dilation
    }

    /// How many elements of x before the first a phase reads.
    fn before(&self, phase: &Phase) -> i64 {
        self.reach(phase) - phase.last
    }

    fn pads(&self) -> (i64, i64) {
        let met = || self.phases.iter().filter(|p| p.taps > 0);
        let before = met().map(|p| self.before(p));
        let after = met().map(|p| p.last + self.more);
        (before.fold(0, i64::max), after.fold(0, i64::max))
    }

    /// Taps of one convolution that computes all phases.
    fn joined_taps(&self) -> i64 {
        (self.kernel + self.stride - 1) / self.stride
    }
}

/// The spatial axes; `None` if the kernel's extents are not known, or there are too many phases; or if
/// the operands are bytes, whose convolution has words for sums.
fn axes(graph: &Graph, node: &Node) -> Option<Vec<Axis>> {
    if graph.ty(node.inputs[0]).dtype.is_byte() {
        return None;
    }
    let kernel = &graph.ty(node.inputs[1]).shape[2..];
    let of = |name: &str, d: usize| node.attrs.ints(name)[d];
    let axis = |(d, kernel): (usize, &Expr)| {
        let (stride, before) = (of("strides", d), of("pads_before", d));
        let dilation = of("dilations", d);
        let kernel = kernel.as_const().filter(|k| *k > 0)?;
        let span = (kernel - 1) * dilation + 1;
        // The taps of a short kernel meet the first phases from where the first tap is.
        let start = if kernel < stride { before % stride } else { 0 };
        let before = before - start;
        let reach = span + of("output_padding", d) - before - of("pads_after", d);
        let phase = |p: i64| {
            // The tap that meets this phase of the stride, of which there is one.
            let meets = |k: &i64| (p + before - k * dilation).rem_euclid(stride) == 0;
            let first = (0..stride).find(meets)?;
            Some(Phase {
                first,
                taps: (kernel - first + stride - 1).div_euclid(stride).max(0),
                last: (p + before - first * dilation) / stride,
            })
        };
        let phases = (0..stride.min(MOST_PHASES + 1)).map(phase);
        let mut phases: Vec<Phase> = phases.collect::<Option<_>>()?;
        while phases.pop_if(|p| p.taps == 0).is_some() {}
        Some(Axis {
            kernel,
            stride,
            dilation,
            start,
            more: (reach + stride - 1).div_euclid(stride) - 1,
            phases,
        })
    };
    let axes: Vec<Axis> = kernel.iter().enumerate().map(axis).collect::<Option<_>>()?;
    let count = |n: i64, a: &Axis| n.saturating_mul(a.phases.len() as i64);
    let phases = axes.iter().fold(1, count);
    (phases <= MOST_PHASES).then_some(axes)
}

/// Whether there is no other way, or convolutions apart have far fewer products, with zeros included,
/// or have the channels of a depthwise one in their order, which are vectors.
fn pays(graph: &Graph, node: &Node, axes: &[Axis]) -> bool {
    if !phases_join(graph, node) {
        return true;
    }
    let groups = node.attrs.int("groups");
    let w = &graph.ty(node.inputs[1]).shape;
    let (Some(channels), Some(results)) = (w[0].as_const(), w[1].as_const()) else {
        return false;
    };
    let product = |f: &dyn Fn(&Axis) -> i64| axes.iter().map(f).product::<i64>();
    let phases = product(&|a| a.phases.len() as i64);
    if groups > 1 && results < LANES {
        return (2..=PHASES).contains(&phases);
    }
    if axes.iter().any(|a| a.dilation > 1) {
        return false;
    }
    let vectors = |channels: i64| ((channels + LANES - 1) / LANES) as f64;
    let taps: Vec<i64> = axes.iter().map(Axis::joined_taps).collect();
    let joined = taps.iter().product::<i64>() as f64 * vectors(results.saturating_mul(phases));
    let apart = product(&|a| a.kernel) as f64 * vectors(results);
    let few = channels < CHANNELS * groups || phases > PHASES;
    !few && taps != FILTERED && joined > GAIN * apart
}

/// All phases of all axes, those of the last axis next to each other.
fn all_phases(axes: &[Axis]) -> Vec<Vec<Phase>> {
    axes.iter().fold(vec![vec![]], |all, axis| {
        let with = |own: &Vec<Phase>| {
            let own = own.clone();
            let one = move |p: &Phase| [own.clone(), vec![*p]].concat();
            axis.phases.iter().map(one).collect::<Vec<_>>()
        };
        all.iter().flat_map(with).collect()
    })
}

fn rewrite(cx: &mut Rewriter<'_>, node: &Node, axes: &[Axis]) -> Result<ValueId, GraphError> {
    let image = padded(cx, node, axes)?;
    let mut parts = Vec::new();
    for phases in all_phases(axes) {
        if phases.iter().any(|p| p.taps == 0) {
            parts.push(zeros(cx, node, axes)?);
            continue;
        }
        let x = part_of_image(cx, node, image, (axes, &phases))?;
        let w = taps_of_phase(cx, node, (axes, &phases))?;
        let none = vec![0; axes.len()];
        let dilations: Vec<i64> = axes.iter().map(|a| a.dilation).collect();
        let attrs = Attrs::new()
            .with("strides", vec![1; axes.len()])
            .with("dilations", dilations)
            .with("pads_before", none.clone())
            .with("pads_after", none)
            .with("groups", node.attrs.int("groups"));
        parts.push(cx.add("conv", &node.name, &[x, w], attrs)?);
    }
    let y = cx.add("concat", &node.name, &parts, Attrs::new().with("axis", 1))?;
    let blocks: Vec<i64> = axes.iter().map(|a| a.stride).collect();
    let phases: Vec<i64> = axes.iter().map(|a| a.phases.len() as i64).collect();
    let attrs = Attrs::new().with("blocks", blocks).with("groups", 1);
    let attrs = attrs.with("phases", phases);
    let y = cx.add("depth_to_space", &node.name, &[y], attrs)?;
    let to = cx.old.ty(node.outputs[0]).shape.clone();
    let starts = axes.iter().map(|a| Expr::from(a.start));
    let starts = [0.into(), 0.into()].into_iter().chain(starts).collect();
    sliced(cx, node, y, (starts, to))
}

/// The elements of a phase that no tap meets.
fn zeros(cx: &mut Rewriter<'_>, node: &Node, axes: &[Axis]) -> Result<ValueId, GraphError> {
    let ty = cx.old.ty(node.outputs[0]);
    let mut shape = ty.shape[..2].to_vec();
    let extents = cx.old.ty(node.inputs[0]).shape[2..].iter().zip(axes);
    shape.extend(extents.map(|(n, axis)| n.clone() + axis.more));
    let zero = Tensor::splat(ty.dtype, vec![], 0.0);
    let zero = cx.new.add_constant(&node.name, zero);
    let attrs = Attrs::new().with("shape", shape);
    cx.add("expand", &node.name, &[zero], attrs)
}

/// The operand with the zeros that any phase reads.
fn padded(cx: &mut Rewriter<'_>, node: &Node, axes: &[Axis]) -> Result<ValueId, GraphError> {
    let x = cx.get(node.inputs[0]);
    let pads: Vec<(i64, i64)> = axes.iter().map(Axis::pads).collect();
    if pads.iter().all(|p| *p == (0, 0)) {
        return Ok(x);
    }
    let zero = Tensor::splat(cx.ty(x).dtype, vec![], 0.0);
    let zero = cx.new.add_constant(&node.name, zero);
    let list = |of: &dyn Fn(&(i64, i64)) -> i64| {
        let spatial = pads.iter().map(|p| Expr::from(of(p)));
        [0.into(), 0.into()].into_iter().chain(spatial).collect()
    };
    let (before, after): (Vec<Expr>, Vec<Expr>) = (list(&|p| p.0), list(&|p| p.1));
    let attrs = Attrs::new().with("before", before).with("after", after);
    let attrs = attrs.with("mode", "constant");
    cx.add("pad", &node.name, &[x, zero], attrs)
}

/// What a phase reads of the padded image.
fn part_of_image(
    cx: &mut Rewriter<'_>,
    node: &Node,
    image: ValueId,
    (axes, phases): (&[Axis], &[Phase]),
) -> Result<ValueId, GraphError> {
    let shape = &cx.old.ty(node.inputs[0]).shape;
    let (mut starts, mut sizes) = (vec![Expr::from(0); 2], shape[..2].to_vec());
    for ((axis, phase), extent) in axes.iter().zip(phases).zip(&shape[2..]) {
        starts.push(Expr::from(axis.pads().0 - axis.before(phase)));
        sizes.push(extent.clone() + axis.more + axis.reach(phase));
    }
    sliced(cx, node, image, (starts, sizes))
}

/// A part of a value, or the value if that is all of it.
fn sliced(
    cx: &mut Rewriter<'_>,
    node: &Node,
    value: ValueId,
    (starts, sizes): (Vec<Expr>, Vec<Expr>),
) -> Result<ValueId, GraphError> {
    if cx.ty(value).shape == sizes {
        return Ok(value);
    }
    let steps = vec![1; sizes.len()];
    let attrs = Attrs::new().with("starts", starts).with("sizes", sizes);
    cx.add("slice", &node.name, &[value], attrs.with("steps", steps))
}

/// The taps of a phase of `w[c, o, k...]`, the last one first, as weights `[o, c, taps...]`.
fn taps_of_phase(
    cx: &mut Rewriter<'_>,
    node: &Node,
    (axes, phases): (&[Axis], &[Phase]),
) -> Result<ValueId, GraphError> {
    let groups = node.attrs.int("groups");
    let rank = axes.len() as i64;
    let mut w = cx.get(node.inputs[1]);
    if groups > 1 {
        w = results_first(cx, node, w)?;
    }
    let mut sizes = cx.ty(w).shape.clone();
    let (mut starts, mut steps) = (vec![Expr::from(0); sizes.len()], vec![1; sizes.len()]);
    for (d, (axis, phase)) in axes.iter().zip(phases).enumerate() {
        sizes[d + 2] = phase.taps.into();
        starts[d + 2] = (phase.first + axis.stride * (phase.taps - 1)).into();
        steps[d + 2] = -axis.stride;
    }
    let attrs = Attrs::new().with("starts", starts).with("sizes", sizes);
    let part = cx.add("slice", &node.name, &[w], attrs.with("steps", steps))?;
    if groups > 1 {
        return Ok(part);
    }
    let perm: Vec<i64> = [1, 0].into_iter().chain(2..2 + rank).collect();
    let attrs = Attrs::new().with("perm", perm);
    cx.add("transpose", &node.name, &[part], attrs)
}

/// `w[c, o, k...]` of several groups as `[o, c, k...]`: a group's channels are beside its results.
/// All phases read that, so weights that are known at run time only are moved once.
fn results_first(cx: &mut Rewriter<'_>, node: &Node, w: ValueId) -> Result<ValueId, GraphError> {
    let groups = node.attrs.int("groups");
    let shape = cx.ty(w).shape.clone();
    let (inner, results) = (shape[0].div(groups), shape[1].clone());
    let spatial = || shape[2..].iter().cloned();
    let apart = [Expr::from(groups), inner.clone(), results.clone()];
    let apart: Vec<Expr> = apart.into_iter().chain(spatial()).collect();
    let w = cx.reshape(w, &apart, &node.name)?;
    let perm: Vec<i64> = [0, 2, 1]
        .into_iter()
        .chain(3..1 + shape.len() as i64)
        .collect();
    let attrs = Attrs::new().with("perm", perm);
    let w = cx.add("transpose", &node.name, &[w], attrs)?;
    let all = [results * groups, inner].into_iter().chain(spatial());
    cx.reshape(w, &all.collect::<Vec<Expr>>(), &node.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{conv_transpose_to_conv, interleave_zeros};
    use tensmith_ir::dtype::DType;
    use tensmith_ir::eval::eval_graph;
    use tensmith_ir::graph::TensorType;
    use tensmith_ir::ops::op;

    /// `y = conv_transpose(x, w)` over axes of (extent, kernel, stride, before, after, added).
    fn layer(channels: [i64; 2], axes: &[[i64; 6]]) -> Graph {
        dilated_layer(channels, axes, 1, &vec![1; axes.len()])
    }

    fn dilated_layer(
        [channels, results]: [i64; 2],
        axes: &[[i64; 6]],
        groups: i64,
        dilations: &[i64],
    ) -> Graph {
        let list = |k: usize| axes.iter().map(|a| a[k]).collect::<Vec<i64>>();
        let shape = |first: [i64; 2], k: usize| {
            let all = first.into_iter().chain(list(k));
            TensorType::new(DType::F32, all.map(Expr::from).collect())
        };
        let mut graph = Graph::default();
        let x = graph.add_input("x", shape([2, channels], 0));
        let w = graph.add_input("w", shape([channels, results], 1));
        let attrs = Attrs::new()
            .with("strides", list(2))
            .with("dilations", dilations.to_vec())
            .with("pads_before", list(3))
            .with("pads_after", list(4))
            .with("output_padding", list(5))
            .with("groups", groups);
        let y = graph.add_one(op("conv_transpose"), "c", &[x, w], attrs);
        graph.add_output("y", y.unwrap());
        graph
    }

    fn numbers(ty: &TensorType) -> Tensor {
        let shape: Vec<usize> = ty
            .shape
            .iter()
            .map(|e| e.as_const().unwrap() as usize)
            .collect();
        let count = shape.iter().product::<usize>() as i64;
        let values: Vec<f32> = (0..count)
            .map(|k| ((k * 37 + 11) % 64 - 30) as f32)
            .collect();
        Tensor::from_f32(shape, &values)
    }

    fn is_split_alike(channels: [i64; 2], axes: &[[i64; 6]]) -> bool {
        is_alike(&layer(channels, axes), &|g| {
            split_conv_transpose(g).unwrap()
        })
    }

    /// Whether a pass leaves no transposed convolution, with the same values.
    fn is_alike(before: &Graph, pass: &dyn Fn(&Graph) -> Graph) -> bool {
        let after = pass(before);
        let inputs: Vec<Tensor> = before
            .inputs
            .iter()
            .map(|v| numbers(before.ty(*v)))
            .collect();
        let run = |g: &Graph| eval_graph(g, &inputs).unwrap();
        assert_eq!(run(before), run(&after), "{before}");
        after.nodes.iter().all(|n| n.op.name != "conv_transpose")
    }

    #[test]
    fn phases_of_uneven_kernels_are_apart() {
        for kernel in 2..8 {
            for stride in 2..4 {
                for (before, after, added) in [(0, 0, 0), (1, 1, 1), (2, 0, 0), (1, 3, 1)] {
                    let axis = [6, kernel, stride, before, after, added];
                    let wants = kernel > stride && kernel % stride != 0;
                    let gains = (kernel + stride - 1) / stride * stride * 4 > kernel * 5;
                    assert_eq!(
                        is_split_alike([16, 16], &[axis]),
                        wants && gains,
                        "{axis:?}"
                    );
                }
            }
        }
        assert!(is_split_alike(
            [16, 32],
            &[[4, 3, 2, 1, 1, 1], [5, 3, 2, 1, 1, 0]]
        ));
        assert!(is_split_alike(
            [16, 16],
            &[[4, 3, 2, 0, 1, 0], [5, 3, 1, 1, 1, 0]]
        ));
    }

    #[test]
    fn few_channels_and_filtered_taps_stay_together() {
        assert!(!is_split_alike(
            [3, 32],
            &[[4, 3, 2, 1, 1, 1], [5, 3, 2, 1, 1, 1]]
        ));
        assert!(!is_split_alike(
            [16, 3],
            &[[4, 3, 2, 1, 1, 1], [5, 3, 2, 1, 1, 1]]
        ));
        assert!(!is_split_alike(
            [16, 32],
            &[[4, 5, 2, 2, 2, 1], [5, 5, 2, 2, 2, 1]]
        ));
    }

    /// Of any dilation, stride, padding and groups, all become convolutions.
    #[test]
    fn all_phases_of_dilated_kernels_are_convolutions() {
        let pass = |g: &Graph| {
            let graph = interleave_zeros(g).unwrap();
            conv_transpose_to_conv(&split_conv_transpose(&graph).unwrap()).unwrap()
        };
        let mut layers = 0;
        for kernel in 1..5 {
            for stride in 1..5 {
                for dilation in 1..5 {
                    for [extent, before, after, added] in [
                        [5, 0, 0, 0],
                        [5, 1, 0, 1],
                        [6, 2, 3, 1],
                        [1, 0, 0, 0],
                        [1, 0, 0, 2],
                    ] {
                        let axis = [extent, kernel, stride, before, after, added];
                        let span = (kernel - 1) * dilation + 1;
                        if (extent - 1) * stride + span + added <= before + after {
                            continue;
                        }
                        let (groups, other) = (1 + layers % 2, [2, 3, 2, 1, 0, 0]);
                        let axes = [axis, other];
                        let layer = dilated_layer([4, 2], &axes, groups, &[dilation, 1]);
                        assert!(is_alike(&layer, &pass), "{layer}");
                        layers += 1;
                    }
                }
            }
        }
        assert!(layers > 200, "{layers}");
    }
}
