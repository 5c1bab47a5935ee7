//! Computes of a transposed convolution only the elements that taps meet, where stride and dilation
//! have a common divisor, and puts zeros between them.
//!
//! Along an axis, taps meet elements at multiples of the divisor from the first of the padding. An
//! operand of one element has any stride: with one as long as the kernel, each phase has one tap and
//! none meets padding.
//!
//! Requires: the standard precision, as what follows.
//! Ensures: no transposed convolution with a common divisor of stride and dilation.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 4, 5]
//!   %1 = input "w" : f32[4, 8, 3]
//!   %2 = conv_transpose(%0, %1) {dilations=[2], groups=1, output_padding=[0], pads_after=[1], pads_before=[1], strides=[2]} "c" : f32[1, 8, 11]
//!   output "y" = %2
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 4, 5]
//!   %1 = input "w" : f32[4, 8, 3]
//!   %2 = conv_transpose(%0, %1) {dilations=[1], groups=1, output_padding=[0], pads_after=[1], pads_before=[0], strides=[1]} "c" : f32[1, 8, 6]
//!   %3 = depth_to_space(%2) {blocks=[2], groups=1, phases=[1]} "c" : f32[1, 8, 12]
//!   %4 = slice(%3) {sizes=[1, 8, 11], starts=[0, 0, 1], steps=[1, 1, 1]} "c" : f32[1, 8, 11]
//!   output "y" = %4
//! }
//! ```
//! Source: the definition of the operation.
use super::Rewriter;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, ValueId};
use tensmith_ir::integer::gcd;

/// Blocks of zeros and an element at most, of which all but one are zeros.
const BLOCK: i64 = 1 << 12;

/// The graph with zeros between the elements of transposed convolutions.
///
/// Errors: never for a valid graph.
pub fn interleave_zeros(graph: &Graph) -> Result<Graph, GraphError> {
    Rewriter::run(graph, &mut |cx, node| {
        if node.op.name != "conv_transpose" {
            return Ok(None);
        }
        match axes(cx.old, node).filter(|axes| pays(node, axes)) {
            None => Ok(None),
            Some(axes) => rewrite(cx, node, &axes).map(|v| Some(vec![v])),
        }
    })
}

/// One spatial axis: what computes the elements `block * u - start` of the result, for all `u`.
struct Axis {
    stride: i64,
    dilation: i64,
    before: i64,
    after: i64,
    more: i64,
    block: i64,
    start: i64,
}

/// The spatial axes; `None` if the kernel's extents are not known.
fn axes(graph: &Graph, node: &Node) -> Option<Vec<Axis>> {
    let (x, w) = (
        &graph.ty(node.inputs[0]).shape,
        &graph.ty(node.inputs[1]).shape,
    );
    let of = |name: &str, d: usize| node.attrs.ints(name)[d];
    let axis = |d: usize| {
        let kernel = w[d + 2].as_const().filter(|k| *k > 0)?;
        let dilation = if kernel == 1 { 1 } else { of("dilations", d) };
        let stride = match x[d + 2].is(1) {
            true if kernel > 1 => dilation.checked_mul(kernel)?,
            true => 1,
            false => of("strides", d),
        };
        let block = gcd(dilation, stride);
        let (stride, dilation) = (stride / block, dilation / block);
        let pads = of("pads_before", d);
        let (before, start) = (pads / block, pads % block);
        // Elements of the result beyond a stride for each but the first of x, in blocks.
        let reach = (kernel - 1) * of("dilations", d) + 1;
        let all = reach + of("output_padding", d) - pads - of("pads_after", d);
        let blocks = (all + start + block - 1).div_euclid(block);
        let beyond = blocks - ((kernel - 1) * dilation + 1) + before;
        Some(Axis {
            stride,
            dilation,
            before,
            after: (-beyond).max(0),
            more: beyond.max(0),
            block,
            start,
        })
    };
    (0..x.len() - 2).map(axis).collect()
}

/// Whether an axis has zeros between elements, or another stride.
fn pays(node: &Node, axes: &[Axis]) -> bool {
    let strides = node.attrs.ints("strides");
    let differs = axes.iter().zip(strides).any(|(a, s)| a.stride != *s);
    let blocks = axes.iter().fold(1i64, |n, a| n.saturating_mul(a.block));
    blocks <= BLOCK && (differs || blocks > 1)
}

fn rewrite(cx: &mut Rewriter<'_>, node: &Node, axes: &[Axis]) -> Result<ValueId, GraphError> {
    let (x, w) = (cx.get(node.inputs[0]), cx.get(node.inputs[1]));
    let list = |f: &dyn Fn(&Axis) -> i64| axes.iter().map(f).collect::<Vec<i64>>();
    let attrs = Attrs::new()
        .with("strides", list(&|a| a.stride))
        .with("dilations", list(&|a| a.dilation))
        .with("pads_before", list(&|a| a.before))
        .with("pads_after", list(&|a| a.after))
        .with("output_padding", list(&|a| a.more))
        .with("groups", node.attrs.int("groups"));
    let mut y = cx.add("conv_transpose", &node.name, &[x, w], attrs)?;
    let blocks = list(&|a| a.block);
    if blocks.iter().any(|b| *b > 1) {
        let attrs = Attrs::new()
            .with("blocks", blocks)
            .with("phases", list(&|_| 1))
            .with("groups", 1);
        y = cx.add("depth_to_space", &node.name, &[y], attrs)?;
    }
    let to = cx.old.ty(node.outputs[0]).shape.clone();
    if cx.ty(y).shape == to {
        return Ok(y);
    }
    let starts = axes.iter().map(|a| Expr::from(a.start));
    let starts = [Expr::from(0), Expr::from(0)].into_iter().chain(starts);
    let attrs = Attrs::new()
        .with("starts", starts.collect::<Vec<_>>())
        .with("sizes", to.clone())
        .with("steps", vec![1; to.len()]);
    cx.add("slice", &node.name, &[y], attrs)
}
