//! The recipe of images that are put together of phases, some of which are no elements.
//!
//! An anchor is a nest of scalar work whose guards look at a remainder of its innermost loop, along
//! consecutive elements of the result, and choose an element, another one, or a constant: what a
//! transposed convolution computed for each phase of its stride goes to its place, and zeros go
//! between. Another loop runs along consecutive elements of the operands, such as the channels of an
//! image, and becomes vectors; a block of the innermost loop, of whole periods of its phases, runs in
//! lock step, which decides the guards, and its vectors are turned in registers.
//!
//! Channels that lie in groups are split into groups and channels of a group, for this recipe and for
//! that of transposing copies.
//!
//! Before: `for c < 64 { for i < 56 { o[c, i] = guard([-mod(i, 2)], a[div(i, 2), c], 0) } }`. After:
//! `for t < 4 { for b < 4 { for j < 14 jam { for c < 16 vector { .. } } } }`.
use super::Target;
use super::nest::{Nest, space, visit_scalars};
use super::primitives::Rejected;
use super::primitives::edit::Place;
use super::scheduler::Scheduler;
use super::tile::{Tile, tile};
use super::transpose::{self, are_turned, is_scalar_work};
use super::turned::turned;
use super::window::contiguous;
use tensmith_ir::expr::{Atom, Expr, Ranges, Var};
use tensmith_ir::integer::gcd;
use tensmith_ir::loops::{BufferId, Stmt};
use tensmith_ir::loops::{Kernel, Mark, Scalar, Scope, vectorisable};

/// Elements of a block along the result at most.
const BLOCK: i64 = 16;
/// Fewer channels are no vector.
const FEW: i64 = 8;

/// What is decided for an anchor.
pub struct Choice {
    /// The loops of the nest; of tiled ones, those over blocks.
    order: Vec<Var>,
    tiles: [Tile; 2],
}

/// What to do with the nest at a place if it is an anchor.
pub fn choose(s: &Scheduler, at: &Place, target: &Target) -> Option<Choice> {
    let kernel = s.kernel();
    let nest = &Nest::at(kernel, at);
    let columns = nest.loops.len().checked_sub(1)?;
    let (var, extent) = nest.loops[columns].clone();
    let extent = extent.as_const().filter(|n| *n > 1)?;
    if !target.masks()
        || !is_scalar_work(nest.body)
        || !are_turned(kernel, target, nest.body)
        || !stores_words(kernel, nest.body)
    {
        return None;
    }
    let period = guarded_period(nest.body, var)?;
    let size = match extent {
        ..=BLOCK => extent,
        _ if period <= BLOCK => BLOCK / period * period,
        _ => BLOCK,
    };
    let runs = |k: &usize| runs_along(kernel, nest, target, *k);
    let channels = (0..columns).rev().find(runs)?;
    let channels = nest.loops[channels].0;
    let others = nest.vars().into_iter();
    let others = others.filter(|v| ![channels, var].contains(v));
    let block = Tile {
        var,
        size,
        mark: Mark::Jam,
    };
    let lanes = Tile {
        var: channels,
        size: target.lanes(),
        mark: Mark::Vector,
    };
    Some(Choice {
        order: others.chain([channels, var]).collect(),
        tiles: [block, lanes],
    })
}

/// Schedules the nest as was decided.
///
/// Errors: as the primitives.
pub fn schedule(s: &mut Scheduler, target: &Target, choice: Choice) -> Result<(), Rejected> {
    tile(s, target, &choice.tiles, &choice.order, None).map(drop)
}

/// A loop of channels in groups, and the channels of one, if elements are loaded at the remainder.
pub fn groups(kernel: &Kernel, nest: &Nest<'_>) -> Option<(Var, i64)> {
    let (_, others) = nest.loops.split_last()?;
    let mut found = None;
    visit_scalars(nest.body, &mut |s| {
        s.visit(&mut |s| {
            let Scalar::Load(b, index) = s else { return };
            if kernel.buffer(*b).scope != Scope::Input {
                return;
            }
            let offset = kernel.buffer(*b).offset(index).simplify(&Ranges::new());
            found = found.or(offset.terms().iter().find_map(|term| {
                let ([Atom::Mod(parts)], 1) = (&term.0[..], term.1) else {
                    return None;
                };
                let (var, size) = (parts.0.as_var()?, parts.1.as_const()?);
                let (_, extent) = others.iter().find(|(v, _)| *v == var)?;
                let extent = extent.as_const()?;
                let fits = size >= FEW && size < extent && extent % size == 0;
                fits.then_some((var, size))
            }));
        });
    });
    found
}

/// Schedules the nest at a place with its channels in groups, as this recipe does or as copies that
/// transpose are.
///
/// Errors: as the primitives, or neither recipe is for the nest.
pub fn schedule_groups(
    s: &mut Scheduler,
    at: &Place,
    target: &Target,
    (var, size): (Var, i64),
) -> Result<(), Rejected> {
    s.split(var, size)?;
    if let Some(choice) = choose(s, at, target) {
        return schedule(s, target, choice);
    }
    match transpose::choose(s, at, target) {
        Some(choice) => transpose::schedule(s, target, choice),
        None => Err(Rejected::NoEffect),
    }
}

/// Whether all results in memory are of 32 bits.
pub(super) fn stores_words(kernel: &Kernel, body: &[Stmt]) -> bool {
    body.iter().all(|s| match s {
        Stmt::Store { buffer, .. } => {
            let b = kernel.buffer(*buffer);
            b.scope == Scope::Register || b.dtype.bytes() == 4
        }
        other => (other.bodies().into_iter()).all(|b| stores_words(kernel, b)),
    })
}

/// Iterations of a loop after which the guards that look at its remainders repeat, if there are any,
/// and if all of them choose among elements and constants.
fn guarded_period(body: &[Stmt], var: Var) -> Option<i64> {
    let (mut all, mut chooses) = (1i64, true);
    visit_scalars(body, &mut |s| {
        s.visit(&mut |s| {
            let Scalar::Guard(conds, a, b) = s else {
                return;
            };
            for cond in conds.iter().filter(|c| c.mentions(var)) {
                let own = period(cond, var);
                chooses &= own.is_some_and(|n| n > 1) && is_element(a) && is_element(b);
                all = join(all, own.unwrap_or(1)).unwrap_or(i64::MAX);
            }
        });
    });
    (chooses && all > 1).then_some(all)
}

/// Whether a scalar is an element, a constant, or one of several.
fn is_element(s: &Scalar) -> bool {
    match s {
        Scalar::Load(..) | Scalar::Const(_) => true,
        Scalar::Guard(_, a, b) => is_element(a) && is_element(b),
        _ => false,
    }
}

/// Iterations of a variable after which an expression repeats, if it is of remainders of it, or moves
/// by the same step each time.
pub(super) fn period(e: &Expr, var: Var) -> Option<i64> {
    let mut all = 1;
    for atom in e.terms().iter().flat_map(|(atoms, _)| atoms) {
        if let Atom::Div(parts) | Atom::Mod(parts) = atom
            && parts.0.mentions(var)
        {
            let own = period(&parts.0, var)?.checked_mul(parts.1.as_const()?)?;
            all = join(all, own)?;
        }
    }
    Some(all)
}

/// The least common multiple.
pub(super) fn join(a: i64, b: i64) -> Option<i64> {
    (a / gcd(a, b).max(1)).checked_mul(b)
}

/// Whether loop `k` can be the lanes of vectors that are elements side by side of an operand, and
/// whose other operands are so, too, are the same for all lanes, or are turned.
fn runs_along(kernel: &Kernel, nest: &Nest<'_>, target: &Target, k: usize) -> bool {
    let (var, extent) = nest.loops[k].clone();
    if extent.as_const().is_none_or(|n| n < FEW) {
        return false;
    }
    let body = nest.body.to_vec();
    let Stmt::For(l) = &space(var, extent, Mark::Vector, body) else {
        return false;
    };
    let rows: Vec<Var> = nest.loops.last().map(|(v, _)| *v).into_iter().collect();
    let turned = turned(kernel, nest, target, var, &rows);
    let done = |b: BufferId| kernel.buffer(b).scope == Scope::Output || turned.contains(&b);
    vectorisable(kernel, l) && contiguous(kernel, l, 1, &done)
}
