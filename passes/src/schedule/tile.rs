//! Splits space loops into tiles that run in lock step, with tails of their own size.
//!
//! Before: `for i < 10 { s(i) }`. After, with tiles of 4:
//! `for t < 3 { if 10 - 4*t - 4 >= 0 { for j < 4 jam { s(4*t + j) } } else { for j < 2 jam { .. } } }`.
//! Halide: `split` and `unroll` or `vectorize`, tail strategy "separate code".
use super::Target;
use super::nest::{Nest, fresh_copy, space, substitute};
use std::collections::HashMap;
use tensmith_ir::expr::{Expr, Ranges, Var};
use tensmith_ir::loops::{Cond, Kernel, Mark, Stmt};

/// How a nest is tiled: loops by their position, with the iterations of a whole tile.
#[derive(Clone, Copy, Debug)]
pub struct Tiling {
    /// What becomes vectors.
    pub columns: (usize, i64),
    /// What runs in lock step with them.
    pub rows: Option<(usize, i64)>,
    /// How the loops over tiles nest.
    pub order: Order,
}

/// How loops over tiles nest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Columns, the other loops, rows: a panel of columns stays in cache.
    ColumnsOutermost,
    /// The other loops, rows, columns: memory is passed in order.
    ColumnsInnermost,
}

/// Tiles a nest.
pub fn tile_nest(
    kernel: &mut Kernel,
    nest: &Nest,
    target: &Target,
    tiling: &Tiling,
    ranges: &mut Ranges,
) -> Vec<Stmt> {
    let mut splits = Vec::new();
    let mut tile_loop =
        |kernel: &mut Kernel, ranges: &mut Ranges, (k, tile): (usize, i64), mark| {
            let (var, extent): (Var, Expr) = nest.loops[k].clone();
            let split = Split {
                var,
                extent,
                tile,
                mark,
                whole: if target.masks() { 0 } else { target.lanes() },
            };
            let (var, count) = (kernel.fresh_var(), split.count());
            ranges.bind(var, &count);
            splits.push((split, var));
            (var, count)
        };
    let rows = tiling.rows.map(|r| tile_loop(kernel, ranges, r, Mark::Jam));
    let columns = tile_loop(kernel, ranges, tiling.columns, Mark::Vector);
    let mut body = tiles(kernel, ranges, &splits, &nest.body);
    let loops = nest.loops.iter().enumerate();
    let others =
        loops.filter(|(k, _)| *k != tiling.columns.0 && Some(*k) != tiling.rows.map(|r| r.0));
    let others = others.map(|(_, l)| l.clone());
    let order: Vec<(Var, Expr)> = match tiling.order {
        Order::ColumnsOutermost => [columns].into_iter().chain(others).chain(rows).collect(),
        Order::ColumnsInnermost => others.chain(rows).chain([columns]).collect(),
    };
    let units = order.iter().filter(|(_, e)| e.is(1));
    let zeros = units.map(|(v, _)| (*v, Expr::from(0))).collect();
    substitute(&mut body, &zeros, ranges);
    let loops = order.into_iter().filter(|(_, e)| !e.is(1)).rev();
    loops.fold(body, |body, (var, extent)| {
        vec![space(var, extent, Mark::Plain, body)]
    })
}

/// How one loop is split.
#[derive(Clone, Debug)]
pub struct Split {
    /// The loop's variable.
    pub var: Var,
    /// Its extent.
    pub extent: Expr,
    /// Iterations of a whole tile.
    pub tile: i64,
    /// `Vector` or `Jam`.
    pub mark: Mark,
    /// Lanes of a vector register; 0 if vectors may end in the middle of a register.
    pub whole: i64,
}

/// One lock-step loop of a tile: where it begins within the tile's range, and how it runs.
#[derive(Clone, Copy)]
struct Piece {
    start: i64,
    size: i64,
    mark: Mark,
}

/// So many iterations are no vector.
const FEW: i64 = 2;

impl Split {
    /// The number of tiles, a tail included.
    pub fn count(&self) -> Expr {
        self.extent.ceil_div(self.tile)
    }

    /// The pieces of a range of `size` iterations: vector lanes in whole registers first.
    fn pieces(&self, size: i64) -> Vec<Piece> {
        let whole = match (self.mark, self.whole) {
            (Mark::Vector, 0) if size <= FEW => 0,
            (Mark::Vector, lanes @ 1..) => size / lanes * lanes,
            _ => size,
        };
        let mut pieces = Vec::new();
        if whole > 0 {
            pieces.push(Piece {
                start: 0,
                size: whole,
                mark: self.mark,
            });
        }
        if size > whole {
            pieces.push(Piece {
                start: whole,
                size: size - whole,
                mark: Mark::Jam,
            });
        }
        pieces
    }
}

/// The code of one tile: `splits` (outermost first) with the variable of each tile loop. Whole
/// tiles and tails are separate code, chosen by branches.
pub fn tiles(
    kernel: &mut Kernel,
    ranges: &mut Ranges,
    splits: &[(Split, Var)],
    body: &[Stmt],
) -> Vec<Stmt> {
    build(kernel, ranges, splits, body, &mut Vec::new())
}

fn build(
    kernel: &mut Kernel,
    ranges: &mut Ranges,
    splits: &[(Split, Var)],
    body: &[Stmt],
    chosen: &mut Vec<(Var, Expr, Piece)>,
) -> Vec<Stmt> {
    let Some(((split, tile_var), rest)) = splits.split_first() else {
        return lock_step(kernel, ranges, chosen, body);
    };
    let base = Expr::from(*tile_var) * split.tile;
    let variant = |kernel: &mut Kernel, ranges: &mut Ranges, size: i64, chosen: &mut Vec<_>| {
        let mut stmts = Vec::new();
        for piece in split.pieces(size) {
            chosen.push((split.var, base.clone() + piece.start, piece));
            stmts.extend(build(kernel, ranges, rest, body, chosen));
            chosen.pop();
        }
        stmts
    };
    let Some(extent) = split.extent.as_const() else {
        let whole = variant(kernel, ranges, split.tile, chosen);
        let tail = dynamic_tail(kernel, ranges, split, *tile_var, rest, body, chosen);
        return vec![branch(split, *tile_var, whole, tail)];
    };
    let tail_size = extent % split.tile;
    if tail_size == 0 {
        return variant(kernel, ranges, split.tile, chosen);
    }
    let tail = variant(kernel, ranges, tail_size, chosen);
    if extent < split.tile {
        return tail;
    }
    let whole = variant(kernel, ranges, split.tile, chosen);
    vec![branch(split, *tile_var, whole, tail)]
}

fn branch(split: &Split, tile_var: Var, then: Vec<Stmt>, otherwise: Vec<Stmt>) -> Stmt {
    let left = split.extent.clone() - Expr::from(tile_var) * split.tile - split.tile;
    Stmt::If {
        cond: Cond::Affine(vec![left]),
        then,
        otherwise,
    }
}

/// The tail of an extent that is known only at run time: one iteration after the other.
fn dynamic_tail(
    kernel: &mut Kernel,
    ranges: &mut Ranges,
    split: &Split,
    tile_var: Var,
    rest: &[(Split, Var)],
    body: &[Stmt],
    chosen: &mut Vec<(Var, Expr, Piece)>,
) -> Vec<Stmt> {
    let base = Expr::from(tile_var) * split.tile;
    let left = split.extent.clone() - base.clone();
    let var = kernel.fresh_var();
    ranges.bind(var, &left);
    let one = Piece {
        start: 0,
        size: 1,
        mark: Mark::Jam,
    };
    chosen.push((split.var, base + Expr::from(var), one));
    let inner = build(kernel, ranges, rest, body, chosen);
    chosen.pop();
    vec![space(var, left, Mark::Plain, inner)]
}

/// A copy of the body inside the chosen lock-step loops.
fn lock_step(
    kernel: &mut Kernel,
    ranges: &mut Ranges,
    chosen: &[(Var, Expr, Piece)],
    body: &[Stmt],
) -> Vec<Stmt> {
    let mut copy = fresh_copy(kernel, body, ranges);
    let mut with = HashMap::new();
    let mut loops = Vec::new();
    for (var, base, piece) in chosen {
        if piece.size == 1 {
            with.insert(*var, base.clone());
            continue;
        }
        let lane = kernel.fresh_var();
        ranges.bind(lane, &piece.size.into());
        with.insert(*var, base.clone() + Expr::from(lane));
        loops.push((lane, *piece));
    }
    substitute(&mut copy, &with, ranges);
    loops.into_iter().rev().fold(copy, |body, (lane, piece)| {
        vec![space(lane, piece.size.into(), piece.mark, body)]
    })
}
