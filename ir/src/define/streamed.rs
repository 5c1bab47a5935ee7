//! The streamed definition of a chain: a contraction, scalar work, a softmax, a contraction.
//!
//! The plain definition of each of these writes all of its result. Streamed, the queries (the rows
//! of the softmax) are dealt in strips; the scores of a strip lie in scratch memory while their
//! softmax is taken and multiplied by the values, so that memory grows with the length of a row
//! only. What is computed is the same, term by term.
//!
//! ```text
//! for b < batch { for strip < ceil(queries / 32) {
//!   for r < 32 { for s < keys { t0[r, s] = score of query 32*strip + r }}
//!   for r < 32 { for s < keys { t1[r, s] = weight of t0[r, s] }}
//!   for r < 32 { for d < size { o[b, 32*strip + r, d] = sum of t1[r, s] * values }}
//! }}
//! ```
//! Source: Rabe and Staats, Self-attention does not need O(n^2) memory, 2021.
use super::{Define, Definition, reshaped, task_name};
use crate::expr::Expr;
use crate::graph::{Graph, NodeId, ValueId};
use crate::loops::{BufferId, Cond, Role, Stmt};
use std::collections::HashSet;

/// What a streamed task needs to know besides its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streamed {
    /// The operand of the softmax. Its last axis are the keys, the one before the queries; so it
    /// is for all values between the contractions.
    pub scores: ValueId,
    /// The operand of the last contraction that the softmax makes.
    pub weights: ValueId,
    /// The axes of the result that batches and heads run along.
    pub outer: Vec<usize>,
    /// The axis of the result that queries run along.
    pub row: usize,
    /// Queries of a strip.
    pub rows: i64,
    /// Keys of a block where their number is known at run time only.
    pub keys: i64,
}

/// A value of which a strip lies in scratch memory.
pub(super) struct Kept {
    /// The scratch buffer.
    pub buffer: BufferId,
    /// The axes of the value that the buffer has.
    pub axes: Vec<usize>,
    /// That of them along which the strip is a part.
    pub row: usize,
    /// The first index of the strip on it.
    pub first: Expr,
}

impl Kept {
    /// The element of the scratch buffer that holds the element at an index of the value.
    pub fn place(&self, index: &[Expr]) -> (BufferId, Vec<Expr>) {
        let part = |d: &usize| match *d == self.row {
            true => index[*d].clone() - self.first.clone(),
            false => index[*d].clone(),
        };
        (self.buffer, self.axes.iter().map(part).collect())
    }
}

/// Defines the task that computes the result of `root`, a contraction, strip by strip.
pub fn define_streamed(
    graph: &Graph,
    root: NodeId,
    members: &HashSet<NodeId>,
    streamed: &Streamed,
) -> Definition {
    let mut cx = Define::new(graph, members);
    cx.kernel.name = format!("streamed_{}", task_name(graph, root, members));
    cx.strips(root, streamed);
    cx.finish()
}

impl Define<'_> {
    fn strips(&mut self, root: NodeId, streamed: &Streamed) {
        let out = self.output_buffer(self.graph.node(root).outputs[0]);
        let shape = self.result_type(root, 0).shape.clone();
        let scores = self.graph.ty(streamed.scores);
        let keys = scores.shape[scores.rank() - 1].clone();
        let kept = [streamed.scores, streamed.weights].map(|value| {
            let strip = vec![streamed.rows.into(), keys.clone()];
            (value, self.scratch(self.graph.ty(value).dtype, strip))
        });
        let queries = shape[streamed.row].clone();
        let outer = streamed.outer.iter().map(|d| shape[*d].clone());
        let loops: Vec<Expr> = outer.chain([queries.ceil_div(streamed.rows)]).collect();
        self.nest(&loops, Role::Space, &mut |cx, vars| {
            let mut index = vec![Expr::from(0); shape.len()];
            for (d, v) in streamed.outer.iter().zip(vars) {
                index[*d] = v.clone();
            }
            let first = vars[vars.len() - 1].clone() * streamed.rows;
            let strip = Strip {
                root,
                out,
                streamed,
                kept: &kept,
                index,
                first: first.clone(),
            };
            let left = queries.clone() - first;
            cx.whole_or_tail(&strip, &queries, &left);
        });
    }

    /// Whole strips have a known number of rows; the last may have fewer.
    fn whole_or_tail(&mut self, strip: &Strip<'_>, queries: &Expr, left: &Expr) {
        let rows = strip.streamed.rows;
        let tail = match queries.as_const() {
            Some(n) if n % rows == 0 => return self.strip(strip, &rows.into()),
            Some(n) => Expr::from(n % rows),
            None => left.at_most(rows),
        };
        let [then, otherwise] =
            [rows.into(), tail].map(|rows| self.in_guard(|cx| cx.strip(strip, &rows)));
        self.push(Stmt::If {
            cond: Cond::Affine(vec![left.clone() - rows]),
            then,
            otherwise,
        });
    }

    fn strip(&mut self, strip: &Strip<'_>, rows: &Expr) {
        let [(scores, _), (weights, _)] = strip.kept;
        let ty = self.graph.ty(*scores);
        let keys = ty.shape[ty.rank() - 1].clone();
        for (first, blocks, count) in blocks(&keys, strip.streamed.keys) {
            let loops = [blocks, rows.clone(), count.clone()];
            self.nest(&loops, Role::Space, &mut |cx, at| {
                let key = first.clone() + at[0].clone() * count.clone() + at[2].clone();
                cx.keep(strip, 0, &at[1], key);
            });
        }
        self.keeping(*scores, strip);
        self.nest(std::slice::from_ref(rows), Role::Space, &mut |cx, r| {
            let keys = std::slice::from_ref(&keys);
            cx.nest(keys, Role::Space, &mut |cx, s| {
                cx.keep(strip, 1, &r[0], s[0].clone());
            });
        });
        self.keeping(*weights, strip);
        self.products(strip, rows);
        self.kept.clear();
    }

    /// Stores an element of a value in scratch memory.
    fn keep(&mut self, strip: &Strip<'_>, which: usize, row: &Expr, key: Expr) {
        let (value, buffer) = strip.kept[which];
        let at = strip.index_of(self, value, row, &key);
        let element = self.value(value, &at);
        self.store(buffer, vec![row.clone(), key], element);
    }

    /// Lets what follows read a value from scratch memory.
    fn keeping(&mut self, value: ValueId, strip: &Strip<'_>) {
        let (_, buffer) = strip.kept[usize::from(value == strip.kept[1].0)];
        let key = self.graph.ty(value).rank() - 1;
        let kept = Kept {
            buffer,
            axes: vec![key - 1, key],
            row: key - 1,
            first: strip.first.clone(),
        };
        self.kept.insert(value, kept);
    }

    /// The rows of the result.
    fn products(&mut self, strip: &Strip<'_>, rows: &Expr) {
        let shape = &self.result_type(strip.root, 0).shape;
        let streamed = strip.streamed;
        let is_column = |d: &usize| *d != streamed.row && !streamed.outer.contains(d);
        let columns: Vec<usize> = (0..shape.len()).filter(is_column).collect();
        let extents = columns.iter().map(|d| shape[*d].clone());
        let loops: Vec<Expr> = [rows.clone()].into_iter().chain(extents).collect();
        self.nest(&loops, Role::Space, &mut |cx, at| {
            let mut index = strip.index.clone();
            index[streamed.row] = strip.first.clone() + at[0].clone();
            for (d, v) in columns.iter().zip(&at[1..]) {
                index[*d] = v.clone();
            }
            let value = cx.node_value(strip.root, 0, &index);
            cx.store(strip.out, index, value);
        });
    }
}

/// Blocks of keys: the first key, how many blocks, and keys of a block.
fn blocks(keys: &Expr, most: i64) -> Vec<(Expr, Expr, Expr)> {
    if keys.as_const().is_some() {
        return vec![(0.into(), 1.into(), keys.clone())];
    }
    let whole = keys.div(most);
    let done = whole.clone() * most;
    let rest = keys.clone() - done.clone();
    vec![(0.into(), whole, most.into()), (done, 1.into(), rest)]
}

/// Where a strip is.
struct Strip<'s> {
    root: NodeId,
    out: BufferId,
    streamed: &'s Streamed,
    /// The scores and the weights, and where they lie.
    kept: &'s [(ValueId, BufferId); 2],
    /// The index of the result, but for queries and columns.
    index: Vec<Expr>,
    first: Expr,
}

impl Strip<'_> {
    /// The index of a value between the contractions.
    fn index_of(&self, cx: &Define<'_>, value: ValueId, row: &Expr, key: &Expr) -> Vec<Expr> {
        let leading = |value: ValueId| {
            let shape = &cx.graph.ty(value).shape;
            &shape[..shape.len() - 2]
        };
        let outer = self.streamed.outer.iter().map(|d| self.index[*d].clone());
        let outer: Vec<Expr> = outer.collect();
        let mut index = reshaped(&outer, leading(self.kept[1].0), leading(value), &cx.ranges);
        index.extend([self.first.clone() + row.clone(), key.clone()]);
        index
    }
}
