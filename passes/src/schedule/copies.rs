//! The recipe of short scalar work: several iterations, one after the other, in one.
//!
//! An anchor is an innermost loop over independent iterations that has no lanes, because its
//! elements are of types that vectors do not hold, or lie where data says. Counting and branching
//! take as long as such an iteration itself.
//!
//! Before: `for i < 9 { o[i] = a[i] + 1i64 }`. After:
//! `for t < 3 { if 5 - 4*t { for j < 4 unroll { o[4*t + j] = .. } } else { for j < 1 unroll { .. } } }`.
use super::Target;
use super::nest::visit_scalars;
use super::primitives::{Primitive, Rejected};
use super::scheduler::Scheduler;
use super::tile::{Tile, tile};
use tensmith_ir::expr::Var;
use tensmith_ir::loops::{Mark, Role, Scalar, Stmt};

/// Iterations in one.
const COPIES: i64 = 4;
/// Scalar operations, loads and constants of an iteration at most.
const WORK: usize = 24;

/// The loops among `stmts`, at any depth, that are anchors.
pub fn choose(stmts: &[Stmt]) -> Vec<Var> {
    let mut found = Vec::new();
    for stmt in stmts {
        match stmt {
            Stmt::For(l) if l.role == Role::Space && l.mark == Mark::Plain && is_short(&l.body) => {
                let long = l.extent.as_const().is_some_and(|n| n >= 2 * COPIES);
                found.extend(long.then_some(l.var));
            }
            // Lanes have their own loops.
            Stmt::For(l) if matches!(l.mark, Mark::Vector | Mark::Jam) => {}
            _ => found.extend(stmt.bodies().into_iter().flat_map(|b| choose(b))),
        }
    }
    found
}

/// Whether a body is a few steps without loops, branches and functions.
fn is_short(body: &[Stmt]) -> bool {
    fn is_straight(stmts: &[Stmt]) -> bool {
        stmts.iter().all(|stmt| match stmt {
            Stmt::Store { .. } => true,
            Stmt::Check { body, .. } => is_straight(body),
            _ => false,
        })
    }
    let mut work = 0;
    visit_scalars(body, &mut |s| {
        s.visit(&mut |s| {
            work += if matches!(s, Scalar::Call(..)) {
                WORK
            } else {
                1
            }
        });
    });
    is_straight(body) && work < WORK
}

/// Schedules a loop that was chosen.
///
/// Errors: as the primitives.
pub fn schedule(s: &mut Scheduler, target: &Target, var: Var) -> Result<(), Rejected> {
    let size = s.choices().number("copies", &[1, 2, 4, 8], COPIES);
    let copies = Tile {
        var,
        size,
        mark: Mark::Unroll,
    };
    if size == 1 {
        return Err(Rejected::NoEffect);
    }
    let copies = tile(s, target, &[copies], &[var], None)?.concat();
    for var in copies {
        if s.extent(var).is_some_and(|n| n > 1) {
            s.apply(Primitive::Unroll(var))?;
        }
    }
    Ok(())
}
