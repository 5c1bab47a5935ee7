//! The recipe of transforms by small matrices, such as those of Winograd convolutions.
//!
//! An anchor is a nest of scalar work whose guards look at small loops, or at the remainder of a
//! loop, and choose what is added: a matrix with zeros, written down. Its innermost other loop
//! runs along consecutive elements of all operands, but for those that are turned, and becomes vectors; the small loops are unrolled inside of
//! it, which decides all their guards, and what several elements of a tile share is computed
//! once.
//!
//! Before: `for i < 2 { for c < 64 { r = a[c] + b[c]; o[i, c] = guard([-i], r, r * 2) } }`. After:
//! `for c < 64 vector { r = a[c] + b[c]; o[0, c] = r; o[1, c] = r * 2 }`.
use super::Target;
use super::nest::{Nest, space, visit_scalars};
use super::primitives::edit::Place;
use super::primitives::{Primitive, Rejected};
use super::scheduler::Scheduler;
use super::tile::{Tile, tile};
use super::turned::turned;
use super::window::contiguous;
use tensmith_ir::expr::{Atom, Expr, Var};
use tensmith_ir::loops::{BufferId, Kernel, Mark, Scalar, Scope, Stmt, vectorisable};

/// A loop of more iterations is not unrolled.
const SMALL: i64 = 8;
/// Unrolled iterations of all small loops at most.
const COPIES: i64 = 64;
/// Vectors along the innermost loop where there are so many registers; else one.
const VECTORS: i64 = 4;
/// Registers that a tile of several vectors needs.
const MANY_REGISTERS: i64 = 32;
/// Fewer elements along the innermost loop are no vector.
const FEW: i64 = 4;

/// What is decided for an anchor.
pub struct Choice {
    /// The loops of the nest, the columns innermost.
    order: Vec<Var>,
    /// The columns, then the small loops.
    tiles: Vec<Tile>,
}

/// What to do with the nest at a place if it is an anchor.
pub fn choose(s: &mut Scheduler, at: &Place, target: &Target) -> Option<Choice> {
    let (kernel, choices) = s.kernel_and_choices();
    let nest = &Nest::at(kernel, at);
    if !nest.body.iter().all(|s| matches!(s, Stmt::Store { .. })) {
        return None;
    }
    let small = small_loops(nest);
    if small.is_empty() || small.iter().map(|(_, tile)| tile).product::<i64>() > COPIES {
        return None;
    }
    let is_small = |k: usize| small.iter().any(|(s, _)| *s == k);
    let columns = (0..nest.loops.len()).rev().find(|k| !is_small(*k))?;
    let (var, extent) = nest.loops[columns].clone();
    extent.as_const().filter(|e| *e >= FEW)?;
    let Stmt::For(l) = &space(var, extent, Mark::Vector, nest.body.to_vec()) else {
        return None;
    };
    let rows: Vec<Var> = small.iter().map(|(k, _)| nest.loops[*k].0).collect();
    let turned = turned(kernel, nest, target, var, &rows);
    let done = |b| kernel.buffer(b).scope == Scope::Output || turned.contains(&b);
    if reads_results(kernel, nest.body)
        || !vectorisable(kernel, l)
        || !contiguous(kernel, l, 1, &done)
    {
        return None;
    }
    let most = match target.registers() {
        MANY_REGISTERS.. => VECTORS,
        _ => 1,
    };
    let size = choices.number("vectors", &[1, 2, 4], most) * target.lanes();
    let columns = Tile {
        var,
        size,
        mark: Mark::Vector,
    };
    let small = small.into_iter().map(|(k, size)| Tile {
        var: nest.loops[k].0,
        size,
        mark: Mark::Unroll,
    });
    let others = nest.vars().into_iter().filter(|v| *v != var);
    Some(Choice {
        order: others.chain([var]).collect(),
        tiles: [columns].into_iter().chain(small).collect(),
    })
}

/// Schedules the nest as was decided.
///
/// Errors: as the primitives.
pub fn schedule(s: &mut Scheduler, target: &Target, choice: Choice) -> Result<(), Rejected> {
    let copies = tile(s, target, &choice.tiles, &choice.order, None)?;
    // The outermost of the small loops that are left holds the others.
    for var in copies[1..].concat() {
        if s.extent(var).is_some() {
            s.apply(Primitive::Straighten(var))?;
        }
    }
    Ok(())
}

/// The loops whose guards an unrolled tile decides, and the iterations of a tile.
fn small_loops(nest: &Nest<'_>) -> Vec<(usize, i64)> {
    let loops = nest.loops.iter().enumerate();
    let tile = |(k, (var, extent)): (usize, &(Var, Expr))| {
        let mut found = None;
        visit_scalars(nest.body, &mut |s| {
            s.visit(&mut |s| {
                if let Scalar::Guard(conds, ..) = s {
                    let tiles = conds.iter().filter_map(|c| decided_by(c, *var, extent));
                    found = found.or(tiles.max());
                }
            });
        });
        found.map(|tile| (k, tile))
    };
    loops.filter_map(tile).collect()
}

/// The iterations of a loop after which a condition repeats: those of the whole loop if the
/// condition compares its variable with a constant, the divisor if it looks at a remainder.
fn decided_by(cond: &Expr, var: Var, extent: &Expr) -> Option<i64> {
    let [(atoms, _)] = cond.terms() else {
        return None;
    };
    let period = match &atoms[..] {
        [Atom::Var(v)] if *v == var => extent.as_const(),
        [Atom::Mod(parts)] if parts.0.as_var() == Some(var) => parts.1.as_const(),
        _ => None,
    };
    period.filter(|p| (1..=SMALL).contains(p))
}

/// Whether the statements of a body load what others of them store, but for registers.
fn reads_results(kernel: &Kernel, body: &[Stmt]) -> bool {
    let stored = |b: &BufferId| {
        let in_memory = kernel.buffer(*b).scope != Scope::Register;
        let stores = |s: &Stmt| matches!(s, Stmt::Store { buffer, .. } if buffer == b);
        in_memory && body.iter().any(stores)
    };
    let mut found = false;
    visit_scalars(body, &mut |s| {
        s.visit(&mut |s| found |= matches!(s, Scalar::Load(b, _) if stored(b)));
    });
    found
}
