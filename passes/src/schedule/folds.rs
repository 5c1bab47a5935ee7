//! Cuts loops along operands where an index turns round, as reflected and wrapped borders do.
//!
//! An anchor is a nest of scalar work that reads consecutive elements of an operand at an index with
//! remainders, minima or maxima, which depends on one loop and is linear but at few places. That loop
//! is cut there; each part, in which the index is linear, is scheduled on its own.
//!
//! Before: `for i < 12 { o[i] = a[min(mod(i + 12, 14), 14 - mod(i + 12, 14))] }`. After:
//! `for i < 2 { o[i] = a[2 - i] } for i < 8 { o[i + 2] = a[i] } for i < 2 { .. }`.
use super::nest::{Nest, visit_scalars};
use super::primitives::edit::Place;
use super::primitives::{At, Primitive, Rejected};
use super::scheduler::Scheduler;
use super::transpose::is_scalar_work;
use std::collections::BTreeSet;
use tensmith_ir::expr::{Atom, Expr, Var};
use tensmith_ir::loops::{BufferId, Kernel, Scalar, Scope};

/// Parts at most.
const PARTS: usize = 8;
/// Iterations that are looked at, at most.
const MOST: i64 = 1 << 14;
/// Fewer iterations are no vector.
const FEW: i64 = 8;

/// What is decided for an anchor.
pub struct Choice {
    /// The loops around the one that is cut.
    around: usize,
    var: Var,
    points: Vec<i64>,
}

/// What to do with a nest if it is an anchor.
pub fn choose(kernel: &Kernel, nest: &Nest<'_>) -> Option<Choice> {
    if !is_scalar_work(nest.body) {
        return None;
    }
    (0..nest.loops.len()).rev().find_map(|around| {
        let (var, extent) = &nest.loops[around];
        let extent = extent.as_const().filter(|n| (FEW..=MOST).contains(n))?;
        let mut points = BTreeSet::new();
        for e in indices(kernel, nest).filter(|e| folds(e, *var)) {
            turns_within(e, *var, extent, &mut points)?;
        }
        let points: Vec<i64> = points.into_iter().collect();
        let ends = points.iter().copied().chain([extent]);
        let starts = [0].into_iter().chain(points.iter().copied());
        let longest = ends.zip(starts).map(|(end, start)| end - start).max()?;
        let fits = (1..PARTS).contains(&points.len()) && longest >= FEW.max(extent / 2);
        fits.then_some(Choice {
            around,
            var: *var,
            points,
        })
    })
}

/// Cuts the nest at a place as was decided; gives where the first part stands, and how many there
/// are.
///
/// Errors: as the primitives.
pub fn schedule(
    s: &mut Scheduler,
    place: &Place,
    choice: Choice,
) -> Result<(Place, usize), Rejected> {
    let parts = s.cut(choice.var, At::Points(choice.points))?;
    for part in &parts {
        s.try_apply(Primitive::FoldGuards(*part))?;
    }
    let first = (0..choice.around).fold(place.clone(), |p, _| p.inside(0));
    Ok((first, parts.len()))
}

/// The indices along the innermost axis of operands.
fn indices<'n>(kernel: &Kernel, nest: &Nest<'n>) -> impl Iterator<Item = &'n Expr> {
    let mut found: Vec<&'n Expr> = Vec::new();
    let row_major = |b: BufferId| {
        let buffer = kernel.buffer(b);
        buffer.scope == Scope::Input && buffer.layout.is_row_major()
    };
    visit_scalars(nest.body, &mut |s| {
        s.visit(&mut |s| {
            if let Scalar::Load(b, index) = s
                && row_major(*b)
            {
                found.extend(index.last());
            }
        });
    });
    found.into_iter()
}

/// Whether an index is no linear function of a loop, as far as it shows.
fn folds(e: &Expr, var: Var) -> bool {
    let mut atoms = e.terms().iter().flat_map(|(atoms, _)| atoms);
    atoms.any(|a| !matches!(a, Atom::Size(_) | Atom::Var(_)) && a.mentions(var))
}

/// The turns of an index and of all that it is made of.
fn turns_within(e: &Expr, var: Var, extent: i64, points: &mut BTreeSet<i64>) -> Option<()> {
    points.extend(turns(e, var, extent)?);
    for atom in e.terms().iter().flat_map(|(atoms, _)| atoms) {
        if let Atom::Div(pair) | Atom::Mod(pair) | Atom::Min(pair) | Atom::Max(pair) = atom {
            let own = Expr::atom(atom.clone());
            points.extend(turns(&own, var, extent)?);
            turns_within(&pair.0, var, extent, points)?;
            turns_within(&pair.1, var, extent, points)?;
        }
    }
    Some(())
}

/// The iterations of a loop before which the steps of an index change; `None` if it depends on
/// something else, or if it changes too often.
fn turns(e: &Expr, var: Var, extent: i64) -> Option<Vec<i64>> {
    let at = |n: i64| {
        e.eval(&|atom| match atom {
            Atom::Var(v) if *v == var => Some(n),
            _ => None,
        })
    };
    let mut points = Vec::new();
    // The first place of the part at hand, and its step, once it has two places.
    let (mut before, mut step) = (at(0)?, None);
    for n in 1..extent {
        let here = at(n)?;
        let found = here - before;
        if step.is_some_and(|s| s != found) {
            points.push(n);
            step = None;
        } else {
            step = Some(found);
        }
        if points.len() >= PARTS {
            return None;
        }
        before = here;
    }
    Some(points)
}
