//! The streamed definition of a chain: a contraction, scalar work, a softmax, a contraction.
//!
//! The plain definition of each of these writes all of its result. Streamed, the queries (the rows
//! of the softmax) are dealt in strips; the scores of a strip lie in scratch memory while their
//! softmax is taken and multiplied by the values, so that memory grows with the length of a row
//! only. What is computed is the same, term by term.
//!
//! ```text
//! for b < batch { for strip < ceil(queries / 32) {
//!   for d < size { for s < keys { t2[d, s] = element d of key s }}   if keys are not so in memory
//!   for r < 32 { for s < keys { t0[r, s] = score of query 32*strip + r }}
//!   for r < 32 { for s < keys { t1[r, s] = weight of t0[r, s] }}
//!   for r < 32 { for d < size { o[b, 32*strip + r, d] = sum of t1[r, s] * values }}
//! }}
//! ```
//! Source: Rabe and Staats, Self-attention does not need O(n^2) memory, 2021.
use super::strips::Kept;
use super::{Define, Definition, first_ops, reshaped};
use crate::expr::Expr;
use crate::graph::{Graph, NodeId, ValueId};
use crate::loops::{BufferId, Cond, Role, Stmt};
use crate::ops::{Class, Lower, Spec};
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
    /// What else of the operands of the scores lies in scratch memory.
    pub staged: Vec<Staged>,
}

/// An operand of the contraction that makes the scores, of which each strip has a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    /// The operand; its last two axes are a matrix.
    pub value: ValueId,
    /// The contraction.
    pub product: NodeId,
    /// What of a matrix a strip has.
    pub part: Part,
}

/// A part of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The rows of the strip.
    Rows,
    /// All of it.
    Whole,
}

/// Defines the task that computes the result of `root`, a contraction, strip by strip.
pub fn define_streamed(
    graph: &Graph,
    root: NodeId,
    members: &HashSet<NodeId>,
    streamed: &Streamed,
) -> Definition {
    let mut cx = Define::new(graph, members);
    // Movements are but indices here.
    let works = |id: &&NodeId| {
        let op = graph.node(**id).op;
        op.class != Class::Movement && !matches!(op.lower, Lower::View)
    };
    let work = members.iter().filter(works).copied();
    cx.kernel.name = format!("streamed_{}", first_ops(graph, work, 6));
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
        let staged: Vec<BufferId> = streamed
            .staged
            .iter()
            .map(|s| self.room(s, streamed))
            .collect();
        let queries = shape[streamed.row].clone();
        let outer = streamed.outer.iter().map(|d| shape[*d].clone());
        let loops: Vec<Expr> = outer.chain([queries.ceil_div(streamed.rows)]).collect();
        self.nest(&loops, Role::Space, &mut |cx, vars| {
            let mut index = vec![Expr::from(0); shape.len()];
            for (d, v) in streamed.outer.iter().zip(vars) {
                index[*d] = v.clone();
            }
            let number = &vars[vars.len() - 1];
            let strip = Strip {
                root,
                out,
                streamed,
                kept: &kept,
                staged: &staged,
                index,
                first: number.clone() * streamed.rows,
            };
            cx.whole_or_tail(&strip, &queries, number);
        });
    }

    /// Whole strips have a known number of rows; the last may have fewer, and how many may be known
    /// at run time only.
    fn whole_or_tail(&mut self, strip: &Strip<'_>, queries: &Expr, number: &Expr) {
        let rows = strip.streamed.rows;
        if let Some(n) = queries.as_const() {
            return self.strip_or_tail(n, rows, number, &mut |cx, rows| {
                cx.strip(strip, &rows.into());
            });
        }
        let left = queries.clone() - strip.first.clone();
        let [then, otherwise] = [rows.into(), left.clone().at_most(rows)]
            .map(|rows| self.in_guard(|cx| cx.strip(strip, &rows)));
        self.push(Stmt::If {
            cond: Cond::Affine(vec![left - rows]),
            then,
            otherwise,
        });
    }

    /// Scratch memory for a staged operand.
    fn room(&mut self, staged: &Staged, streamed: &Streamed) -> BufferId {
        let ty = self.graph.ty(staged.value);
        let mut matrix = ty.shape[ty.rank() - 2..].to_vec();
        if staged.part == Part::Rows {
            matrix[0] = streamed.rows.into();
        }
        self.scratch(ty.dtype, matrix)
    }

    fn strip(&mut self, strip: &Strip<'_>, rows: &Expr) {
        for (staged, buffer) in strip.streamed.staged.iter().zip(strip.staged) {
            self.stage(strip, staged, *buffer, rows);
        }
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

    /// Copies what a strip needs of an operand of the scores to scratch memory.
    fn stage(&mut self, strip: &Strip<'_>, staged: &Staged, buffer: BufferId, rows: &Expr) {
        let rank = self.graph.ty(staged.value).rank();
        let mut loops = self.graph.ty(staged.value).shape[rank - 2..].to_vec();
        let first = match staged.part {
            Part::Rows => Some(strip.first.clone()),
            Part::Whole => None,
        };
        if first.is_some() {
            loops[0] = rows.clone();
        }
        let matrix = strip.matrix_of(self, staged);
        self.nest(&loops, Role::Space, &mut |cx, at| {
            let row = first.iter().fold(at[0].clone(), |row, f| row + f.clone());
            let index = [&matrix[..], &[row, at[1].clone()]].concat();
            let element = cx.value(staged.value, &index);
            cx.store(buffer, at.to_vec(), element);
        });
        let kept = Kept {
            buffer,
            axes: vec![rank - 2, rank - 1],
            part: first.map(|f| (rank - 2, f)),
        };
        self.kept.insert(staged.value, kept);
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
            part: Some((key - 1, strip.first.clone())),
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
    /// Where the staged operands lie.
    staged: &'s [BufferId],
    /// The index of the result, but for queries and columns.
    index: Vec<Expr>,
    first: Expr,
}

impl Strip<'_> {
    /// The index of a value between the contractions.
    fn index_of(&self, cx: &Define<'_>, value: ValueId, row: &Expr, key: &Expr) -> Vec<Expr> {
        let mut index = self.outer_of(cx, value);
        index.extend([self.first.clone() + row.clone(), key.clone()]);
        index
    }

    /// The index of a value between the contractions, but for queries and keys.
    fn outer_of(&self, cx: &Define<'_>, value: ValueId) -> Vec<Expr> {
        let leading = |value: ValueId| {
            let shape = &cx.graph.ty(value).shape;
            &shape[..shape.len() - 2]
        };
        let result = &cx.result_type(self.root, 0).shape;
        let outer = &self.streamed.outer;
        let [index, extents] = [&self.index, result]
            .map(|of| outer.iter().map(|d| of[*d].clone()).collect::<Vec<Expr>>());
        reshaped(&index, &extents, leading(value), &cx.ranges)
    }

    /// The index of a staged operand, but for its matrix.
    fn matrix_of(&self, cx: &Define<'_>, staged: &Staged) -> Vec<Expr> {
        let product = cx.graph.node(staged.product);
        let spec = Spec::of(&product.attrs);
        let outer = self.outer_of(cx, product.outputs[0]);
        let letters = match product.inputs[0] == staged.value {
            true => &spec.a,
            false => &spec.b,
        };
        let place = |c: &u8| {
            let own = spec.out.iter().position(|o| o == c);
            outer[own.expect("invariant: only the last axis is summed over")].clone()
        };
        letters[..letters.len() - 2].iter().map(place).collect()
    }
}
