//! The definition of a convolution whose image is made strip by strip.
//!
//! The plain definition of what makes the image, padding for instance or another convolution,
//! writes all of it. Here rows of the result are dealt in strips; the rows of the image that a strip
//! reads are made in scratch memory that a near cache holds. Rows that two strips read are made
//! twice.
//!
//! ```text
//! for n < batch { for strip < ceil(height / 8) {
//!   for c { for r < rows { for w { t0[c, r, w] = element of row 8*strip*stride + r of the image }}}
//!   for o { for h < 8 { for w { y[n, o, 8*strip + h, w] = sum over windows of t0 }}}
//! }}
//! ```
//! Source: Alwani et al., Fused-layer CNN accelerators, 2016.
use super::strips::Kept;
use super::{Define, Definition, first_ops};
use crate::expr::Expr;
use crate::graph::{Graph, NodeId, ValueId};
use crate::loops::{BufferId, Layout, LayoutDim, Role};
use std::collections::HashSet;

/// The axes of images: batch, channels, rows.
const BATCH: usize = 0;
const ROW: usize = 2;

/// What a convolution of strips of an image needs to know besides its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRows {
    /// The image, which a node of the task makes.
    pub image: ValueId,
    /// Rows of the result of a strip.
    pub rows: i64,
    /// Rows of the image from a row of the result to the next one.
    pub stride: i64,
    /// Rows of the image that a row of the result reads, those between its taps included.
    pub window: i64,
    /// Whether channels lie side by side in scratch memory; else elements of a row do.
    pub channels_last: bool,
}

impl ImageRows {
    /// Rows of the image that so many rows of the result read.
    pub fn of_image(&self, rows: i64) -> i64 {
        (rows - 1) * self.stride + self.window
    }
}

/// Defines the task that computes the result of `root`, which lies as that of the convolution,
/// strip by strip.
pub fn define_image_rows(
    graph: &Graph,
    root: NodeId,
    members: &HashSet<NodeId>,
    rows: &ImageRows,
) -> Definition {
    let mut cx = Define::new(graph, members);
    // Some ops of what makes the image, and some of what reads it.
    let last = graph.producer(rows.image);
    let (make, read): (Vec<NodeId>, Vec<NodeId>) =
        members.iter().partition(|id| Some(**id) <= last);
    let [make, read] = [make, read].map(|ids| first_ops(graph, ids.into_iter(), 3));
    cx.kernel.name = format!("{make}_{read}");
    cx.image_strips(root, rows);
    cx.finish()
}

/// Where a strip is.
struct Strip<'s> {
    root: NodeId,
    out: BufferId,
    strips: &'s ImageRows,
    /// Where the rows of the image lie.
    image: BufferId,
    batch: Expr,
    /// The strip's number.
    number: Expr,
}

impl Define<'_> {
    fn image_strips(&mut self, root: NodeId, strips: &ImageRows) {
        let out = self.output_buffer(self.graph.node(root).outputs[0]);
        let shape = self.result_type(root, 0).shape.clone();
        let image = self.graph.ty(strips.image);
        let mut part = image.shape[1..].to_vec();
        part[ROW - 1] = strips.of_image(strips.rows).into();
        let image = self.scratch(image.dtype, part);
        if strips.channels_last {
            let order = (1..shape.len() - 1).chain([0]);
            let dim = |dim| LayoutDim {
                dim,
                step: 1,
                extent: None,
            };
            let buffer = &mut self.kernel.buffers[image.0 as usize];
            buffer.layout = Layout(order.map(dim).collect());
        }
        let height = shape[ROW].as_const();
        let height = height.expect("invariant: heights of strips are known");
        let loops = [shape[BATCH].clone(), shape[ROW].ceil_div(strips.rows)];
        self.nest(&loops, Role::Space, &mut |cx, vars| {
            let strip = Strip {
                root,
                out,
                strips,
                image,
                batch: vars[0].clone(),
                number: vars[1].clone(),
            };
            cx.strip_or_tail(height, strips.rows, &vars[1], &mut |cx, rows| {
                cx.image_strip(&strip, rows);
            });
        });
    }

    /// A strip whose result has `rows` rows.
    fn image_strip(&mut self, strip: &Strip<'_>, rows: i64) {
        let (strips, value) = (strip.strips, strip.strips.image);
        let first = strip.number.clone() * (strips.rows * strips.stride);
        let mut part = self.graph.ty(value).shape[1..].to_vec();
        part[ROW - 1] = strips.of_image(rows).into();
        self.nest(&part, Role::Space, &mut |cx, at| {
            let mut index = [std::slice::from_ref(&strip.batch), at].concat();
            index[ROW] = index[ROW].clone() + first.clone();
            let element = cx.value(value, &index);
            cx.store(strip.image, at.to_vec(), element);
        });
        let kept = Kept {
            buffer: strip.image,
            axes: (1..=part.len()).collect(),
            part: Some((ROW, first)),
        };
        self.kept.insert(value, kept);
        let mut shape = self.result_type(strip.root, 0).shape[1..].to_vec();
        shape[ROW - 1] = rows.into();
        self.nest(&shape, Role::Space, &mut |cx, at| {
            let mut index = [std::slice::from_ref(&strip.batch), at].concat();
            index[ROW] = index[ROW].clone() + strip.number.clone() * strips.rows;
            let value = cx.node_value(strip.root, 0, &index);
            cx.store(strip.out, index, value);
        });
        self.kept.clear();
    }
}
