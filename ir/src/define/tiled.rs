//! The streamed definition of a Winograd convolution: transform, contraction, transform back.
//!
//! The plain definition of each of these writes all of its result, which is 2.25 or 4 times as
//! large as the image. Streamed, rows of tiles are dealt in strips; the transformed tiles of a strip
//! and their products lie in scratch memory that a near cache holds. What is computed is the same,
//! term by term.
//!
//! ```text
//! for n < batch { for strip < ceil(height / (m * 2)) {
//!   for i, j < m + 2 { for t < 2 { for u, c { t0[i, j, t, u, c] = tile row 2*strip + t }}}
//!   for i, j < m + 2 { for t < 2 { for u, o { t1[i, j, t, u, o] = sum over c of t0 * weights }}}
//!   for o { for h < m * 2 { for w { y[n, o, m * 2*strip + h, w] = transform of t1 }}}
//! }}
//! ```
//! Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016.
use super::strips::Kept;
use super::{Define, Definition, task_name};
use crate::expr::Expr;
use crate::graph::{Graph, NodeId, ValueId};
use crate::loops::{BufferId, Role};
use std::collections::HashSet;

/// The axes of tiles and of products: two of elements, then these, then the channels.
const BATCH: usize = 2;
const ROW: usize = 3;

/// What a streamed Winograd convolution needs to know besides its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tiled {
    /// The transformed tiles.
    pub tiles: ValueId,
    /// Their products with the weights.
    pub products: ValueId,
    /// Units: elements of the result that a tile has along an axis.
    pub tile: i64,
    /// Rows of tiles of a strip.
    pub rows: i64,
}

/// Defines the task that computes the result of `root`, which lies as the result of the second
/// transform, strip by strip.
pub fn define_tiled(
    graph: &Graph,
    root: NodeId,
    members: &HashSet<NodeId>,
    tiled: &Tiled,
) -> Definition {
    let mut cx = Define::new(graph, members);
    cx.kernel.name = format!("streamed_{}", task_name(graph, root, members));
    cx.tile_strips(root, tiled);
    cx.finish()
}

/// Where a strip is.
struct Strip<'s> {
    root: NodeId,
    out: BufferId,
    tiled: &'s Tiled,
    /// The tiles and the products, and where they lie.
    kept: [(ValueId, BufferId); 2],
    batch: Expr,
    /// The first row of tiles.
    first: Expr,
}

impl Define<'_> {
    fn tile_strips(&mut self, root: NodeId, tiled: &Tiled) {
        let out = self.output_buffer(self.graph.node(root).outputs[0]);
        let shape = self.result_type(root, 0).shape.clone();
        let kept = [tiled.tiles, tiled.products].map(|value| {
            let ty = self.graph.ty(value);
            let mut part = ty.shape.clone();
            part[ROW] = tiled.rows.into();
            part.remove(BATCH);
            (value, self.scratch(ty.dtype, part))
        });
        let step = tiled.tile * tiled.rows;
        let height = shape[2].as_const();
        let height = height.expect("invariant: Winograd convolutions have known heights");
        let loops = [shape[0].clone(), shape[2].ceil_div(step)];
        self.nest(&loops, Role::Space, &mut |cx, vars| {
            let strip = Strip {
                root,
                out,
                tiled,
                kept,
                batch: vars[0].clone(),
                first: vars[1].clone() * tiled.rows,
            };
            cx.strip_or_tail(height, step, &vars[1], &mut |cx, height| {
                cx.tile_strip(&strip, height);
            });
        });
    }

    /// A strip whose result has `height` rows.
    fn tile_strip(&mut self, strip: &Strip<'_>, height: i64) {
        let rows = (height + strip.tiled.tile - 1) / strip.tiled.tile;
        for (value, buffer) in strip.kept {
            let mut part = self.graph.ty(value).shape.clone();
            part[BATCH] = 1.into();
            part[ROW] = rows.into();
            self.nest(&part, Role::Space, &mut |cx, at| {
                let mut index = at.to_vec();
                index[BATCH] = strip.batch.clone();
                index[ROW] = strip.first.clone() + at[ROW].clone();
                let element = cx.value(value, &index);
                let mut place = at.to_vec();
                place.remove(BATCH);
                cx.store(buffer, place, element);
            });
            let rank = part.len();
            let kept = Kept {
                buffer,
                axes: (0..rank).filter(|d| *d != BATCH).collect(),
                part: Some((ROW, strip.first.clone())),
            };
            self.kept.insert(value, kept);
        }
        self.tile_results(strip, height);
        self.kept.clear();
    }

    fn tile_results(&mut self, strip: &Strip<'_>, height: i64) {
        let shape = &self.result_type(strip.root, 0).shape;
        let loops = [shape[1].clone(), height.into(), shape[3].clone()];
        self.nest(&loops, Role::Space, &mut |cx, at| {
            let row = strip.first.clone() * strip.tiled.tile + at[1].clone();
            let index = [strip.batch.clone(), at[0].clone(), row, at[2].clone()];
            let value = cx.node_value(strip.root, 0, &index);
            cx.store(strip.out, index.to_vec(), value);
        });
    }
}
