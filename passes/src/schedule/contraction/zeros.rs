//! Terms that only multiply zeros, such as those of windows that lie in the padding of an image.
//!
//! A factor that is known to be 0 outside of some indices makes terms of a window that count for
//! some rows only. What is left out is decided for all rows of a tile at once, or, if a tile has all
//! rows there are, for each when its code is made.
use super::factors::Factor;
use crate::schedule::nest::Nest;
use crate::schedule::primitives::registers::visit_stmts;
use crate::schedule::primitives::{Primitive, Rejected};
use crate::schedule::scheduler::Scheduler;
use tensmith_ir::expr::{Expr, Var};
use tensmith_ir::loops::{Kernel, Mark, Role, Stmt};

/// Terms in an iteration at least, for which a branch costs little.
const TERMS: i64 = 16;

/// The part of the terms that tiles of so many rows need: `rows` is the loop of rows.
pub(super) fn needed(
    kernel: &Kernel,
    nest: &Nest<'_>,
    factor: &Factor<'_>,
    rows: Option<usize>,
    size: i64,
) -> f64 {
    let known = &kernel.buffer(factor.buffer).nonzero;
    let mut reductions: Vec<(Var, i64)> = Vec::new();
    visit_stmts(nest.body, &mut |stmt| {
        if let Stmt::For(l) = stmt
            && l.role == Role::Reduce
            && let Some(extent) = l.extent.as_const()
        {
            reductions.push((l.var, extent));
        }
    });
    let tile = |var: Var, extent: i64| match rows {
        Some(k) if nest.loops[k].0 == var && extent > size => size,
        _ => 1,
    };
    let of_dimension = |(range, index): (&(i64, i64), &Expr)| {
        let space = nest.loops.iter().find(|(v, _)| index.mentions(*v))?;
        let taps = *reductions.iter().find(|(v, _)| index.mentions(*v))?;
        let window = (index, *range, taps);
        let extent = space.1.as_const()?;
        needed_of_window(window, (space.0, extent), tile(space.0, extent))
    };
    let dimensions = known.iter().zip(factor.index);
    dimensions.map(|d| of_dimension(d).unwrap_or(1.0)).product()
}

/// The part of the taps of a window that tiles of so many positions need, if its index is linear in
/// nothing but taps and positions.
fn needed_of_window(
    (index, (from, to), (tap, taps)): (&Expr, (i64, i64), (Var, i64)),
    (position, positions): (Var, i64),
    size: i64,
) -> Option<f64> {
    let [tap_step, step] = [tap, position].map(|v| index.linear_coefficient(v)?.as_const());
    let (tap_step, step) = (tap_step?, step?.max(0));
    let none = |v: Var| (v == tap || v == position).then(|| Expr::from(0));
    let first = index.substitute(&none).as_const()?;
    let mut runs = 0;
    for begin in (0..positions).step_by(size.max(1) as usize) {
        let count = size.min(positions - begin);
        for k in 0..taps {
            let least = first + tap_step * k + step * begin;
            let needed = least < to && least + step * (count - 1) >= from;
            runs += i64::from(needed) * count;
        }
    }
    (taps * positions > 0).then(|| runs as f64 / (taps * positions) as f64)
}

/// Leaves out terms of the sums in the loops over `vars`.
///
/// Errors: as the primitives, other than that nothing is left out.
pub(super) fn skip(s: &mut Scheduler, vars: &[Var]) -> Result<(), Rejected> {
    if s.kernel().buffers.iter().all(|b| b.nonzero.is_empty()) {
        return Ok(());
    }
    let mut windows = Vec::new();
    for var in vars {
        // A loop that runs once is gone.
        let Ok(l) = s.find(*var) else { continue };
        visit_stmts(&l.body, &mut |stmt| {
            if let Stmt::For(l) = stmt
                && l.role == Role::Reduce
                && l.mark == Mark::Plain
                && terms(&l.body) >= TERMS
                && !windows.contains(&l.var)
            {
                windows.push(l.var);
            }
        });
    }
    for var in windows {
        let mut tried = s.apply(Primitive::SkipZeros(var));
        if tried == Err(Rejected::NoEffect) {
            tried = s.apply(Primitive::SkipLanes(var));
        }
        match tried {
            Ok(_) | Err(Rejected::NoEffect | Rejected::Body(_) | Rejected::TooLarge(_)) => {}
            Err(reason) => return Err(reason),
        }
    }
    Ok(())
}

/// The terms of the first sum among statements, at most.
fn terms(stmts: &[Stmt]) -> i64 {
    let inner = stmts.iter().find_map(|stmt| match stmt {
        Stmt::For(l) => Some(l.extent.as_const()?.saturating_mul(terms(&l.body))),
        _ => None,
    });
    inner.unwrap_or(1)
}
