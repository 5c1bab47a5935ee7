//! Cuts the innermost loop of a nest, or the loops over its rows, where a guard changes, so that no
//! guard depends on it, and where the lesser or the greater of two indices does.
//!
//! `for i < 8 { o[i] = guard([i - 5], b[i - 5], a[i]) }` becomes
//! `for i < 5 { o[i] = a[i] } for i < 3 { o[i + 5] = b[i] }`;
//! `for i < 8 { o[i] = a[min(i, 5)] }` becomes
//! `for i < 6 { o[i] = a[i] } for i < 2 { o[i + 6] = a[5] }`.
use super::Target;
use super::nest::{Nest, visit_scalars};
use super::primitives::{At, Primitive, Rejected};
use super::scheduler::Scheduler;
use std::collections::BTreeSet;
use tensmith_ir::expr::{Atom, Expr, Var};
use tensmith_ir::loops::{Cond, Mark, Role, Scalar, Stmt};

/// Loops that one loop becomes at most.
const PARTS: usize = 128;

/// Where to cut the innermost loop of a nest, if all guards that depend on it do so by a constant
/// bound.
pub fn choose(nest: &Nest<'_>) -> Option<(Var, Vec<i64>)> {
    let (var, extent) = nest.loops.last()?;
    Some((*var, points(nest.body, *var, extent.as_const()?)?))
}

/// Where to cut the innermost loops in a nest, such as those over rows that are joined of several: those
/// in which all guards change by a constant bound, and a part is long enough for vectors.
pub fn choose_rows(nest: &Nest<'_>, target: &Target) -> Vec<(Var, Vec<i64>)> {
    let cuts = nest.body.iter().filter_map(|stmt| {
        let Stmt::For(l) = stmt else { return None };
        let innermost = l.body.iter().all(|s| matches!(s, Stmt::Store { .. }));
        let role = matches!(l.role, Role::Reduce | Role::Space);
        let plain = role && l.mark == Mark::Plain && l.reduction.is_none();
        let extent = l.extent.as_const().filter(|_| innermost && plain)?;
        let points = points(&l.body, l.var, extent)?;
        let ends = points.iter().copied().chain([extent]);
        let parts = [0].into_iter().chain(points.iter().copied()).zip(ends);
        let longest = parts.map(|(from, to)| to - from).max()?;
        (longest >= target.lanes()).then_some((l.var, points))
    });
    cuts.collect()
}

/// The points inside of `0..extent` where what a loop computes changes; `None` if there are none, too
/// many, or others that are not known.
fn points(body: &[Stmt], var: Var, extent: i64) -> Option<Vec<i64>> {
    let mut starts = starts(body, var, extent)?;
    starts.extend(crossings(body, var, extent));
    if starts.len() < 2 || starts.len() > PARTS {
        return None;
    }
    starts.remove(&0);
    Some(starts.into_iter().collect())
}

/// Cuts the loop at the points that were chosen.
///
/// Errors: as the primitives.
pub fn schedule(s: &mut Scheduler, (var, points): (Var, Vec<i64>)) -> Result<(), Rejected> {
    for part in s.cut(var, At::Points(points))? {
        s.try_apply(Primitive::FoldGuards(part))?;
    }
    Ok(())
}

/// Where in `0..extent` a guard begins to hold or to fail, and 0; `None` if a guard or a
/// branch depends on more than the loop.
fn starts(body: &[Stmt], var: Var, extent: i64) -> Option<BTreeSet<i64>> {
    let mut starts = BTreeSet::from([0]);
    let mut fine = true;
    let mut look = |conds: &[Expr]| {
        for cond in conds.iter().filter(|c| c.mentions(var)) {
            let coefficient = cond.linear_coefficient(var).and_then(|c| c.as_const());
            let rest = cond.substitute(&|v| (v == var).then(|| 0.into()));
            match (coefficient, rest.as_const()) {
                // v + c >= 0 from -c on; c - v >= 0 up to c.
                (Some(1), Some(c)) => drop(starts.insert(-c)),
                (Some(-1), Some(c)) => drop(starts.insert(c + 1)),
                _ => fine = false,
            }
        }
    };
    visit_scalars(body, &mut |s| {
        s.visit(&mut |s| {
            if let Scalar::Guard(conds, ..) = s {
                look(conds);
            }
        });
    });
    visit_branches(body, &mut look);
    starts.retain(|s| (0..extent).contains(s));
    fine.then_some(starts)
}

/// Where in `0..extent` another operand of a minimum or a maximum becomes the result: once, as
/// both rise or fall steadily.
fn crossings(body: &[Stmt], var: Var, extent: i64) -> BTreeSet<i64> {
    let mut found = BTreeSet::new();
    let mut look = |difference: &Expr| found.extend(crossing(difference, var, extent));
    visit_scalars(body, &mut |s| {
        s.visit(&mut |s| match s {
            Scalar::Load(_, index) => index.iter().for_each(|e| visit_extremes(e, &mut look)),
            Scalar::Index(e) => visit_extremes(e, &mut look),
            _ => {}
        });
    });
    found
}

/// Calls `f` with the difference of the operands of each minimum and maximum.
fn visit_extremes(e: &Expr, f: &mut dyn FnMut(&Expr)) {
    for atom in e.terms().iter().flat_map(|(atoms, _)| atoms) {
        let (Atom::Div(pair) | Atom::Mod(pair) | Atom::Min(pair) | Atom::Max(pair)) = atom else {
            continue;
        };
        if matches!(atom, Atom::Min(_) | Atom::Max(_)) {
            f(&(pair.0.clone() - pair.1.clone()));
        }
        visit_extremes(&pair.0, f);
        visit_extremes(&pair.1, f);
    }
}

/// The first value of a variable in `0..extent` for which an expression of it alone has another
/// sign than for 0.
fn crossing(e: &Expr, var: Var, extent: i64) -> Option<i64> {
    let negative = |at: i64| {
        let value = e.substitute(&|v| (v == var).then(|| at.into()));
        value.as_const().map(|n| n < 0)
    };
    let (mut before, mut from) = (0, extent - 1);
    let first = negative(before)?;
    if negative(from)? == first {
        return None;
    }
    while from - before > 1 {
        let middle = before + (from - before) / 2;
        match negative(middle)? == first {
            true => before = middle,
            false => from = middle,
        }
    }
    Some(from)
}

fn visit_branches(stmts: &[Stmt], look: &mut dyn FnMut(&[Expr])) {
    for stmt in stmts {
        if let Stmt::If {
            cond: Cond::Affine(conds),
            ..
        } = stmt
        {
            look(conds);
        }
        for body in stmt.bodies() {
            visit_branches(body, look);
        }
    }
}
