//! The definition of a convolution of a padded image that copies the image strip by strip.
//!
//! The plain definition of padding writes the whole padded image. Here rows of the result are dealt
//! in strips; the padded rows that a strip reads lie in scratch memory that a near cache holds.
//!
//! ```text
//! for n < batch { for strip < ceil(height / 8) {
//!   for c { for r < rows { for w { t0[c, r, w] = padded element of row 8*strip*stride + r }}}
//!   for o { for h < 8 { for w { y[n, o, 8*strip + h, w] = sum over windows of t0 }}}
//! }}
//! ```
use super::streamed::Kept;
use super::{Define, Definition, task_name};
use crate::expr::Expr;
use crate::graph::{Graph, NodeId, ValueId};
use crate::loops::{BufferId, Role};
use std::collections::HashSet;

/// The axes of images, padded or not: batch, channels, rows.
const BATCH: usize = 0;
const ROW: usize = 2;

/// What a convolution of strips of a padded image needs to know besides its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Padded {
    /// The padded image.
    pub image: ValueId,
    /// Rows of the result of a strip.
    pub rows: i64,
    /// Rows of the image from a row of the result to the next one.
    pub stride: i64,
    /// Rows of the image that a row of the result reads, those between its taps included.
    pub window: i64,
}

impl Padded {
    /// Rows of the image that so many rows of the result read.
    pub fn image_rows(&self, rows: i64) -> i64 {
        (rows - 1) * self.stride + self.window
    }
}

/// Defines the task that computes the result of `root`, which lies as that of the convolution,
/// strip by strip.
pub fn define_padded(
    graph: &Graph,
    root: NodeId,
    members: &HashSet<NodeId>,
    padded: &Padded,
) -> Definition {
    let mut cx = Define::new(graph, members);
    cx.kernel.name = task_name(graph, root, members);
    cx.padded_strips(root, padded);
    cx.finish()
}

/// Where a strip is.
struct Strip<'s> {
    root: NodeId,
    out: BufferId,
    padded: &'s Padded,
    /// Where the rows of the padded image lie.
    image: BufferId,
    batch: Expr,
    /// The strip's number.
    number: Expr,
}

impl Define<'_> {
    fn padded_strips(&mut self, root: NodeId, padded: &Padded) {
        let out = self.output_buffer(self.graph.node(root).outputs[0]);
        let shape = self.result_type(root, 0).shape.clone();
        let image = self.graph.ty(padded.image);
        let mut part = image.shape[1..].to_vec();
        part[ROW - 1] = padded.image_rows(padded.rows).into();
        let image = self.scratch(image.dtype, part);
        let height = shape[ROW].as_const();
        let height = height.expect("invariant: heights of padded strips are known");
        let loops = [shape[BATCH].clone(), shape[ROW].ceil_div(padded.rows)];
        self.nest(&loops, Role::Space, &mut |cx, vars| {
            let strip = Strip {
                root,
                out,
                padded,
                image,
                batch: vars[0].clone(),
                number: vars[1].clone(),
            };
            cx.strip_or_tail(height, padded.rows, &vars[1], &mut |cx, rows| {
                cx.padded_strip(&strip, rows);
            });
        });
    }

    /// A strip whose result has `rows` rows.
    fn padded_strip(&mut self, strip: &Strip<'_>, rows: i64) {
        let (padded, value) = (strip.padded, strip.padded.image);
        let first = strip.number.clone() * (padded.rows * padded.stride);
        let mut part = self.graph.ty(value).shape[1..].to_vec();
        part[ROW - 1] = padded.image_rows(rows).into();
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
            index[ROW] = index[ROW].clone() + strip.number.clone() * padded.rows;
            let value = cx.node_value(strip.root, 0, &index);
            cx.store(strip.out, index, value);
        });
        self.kept.clear();
    }
}
