//! Several terms of a sum in one iteration, where vectors are wide.
//!
//! Multiply-adds of vectors of 256 bits share their ports with the instructions that count
//! iterations: with a step of few multiply-adds, those cost a tenth of the rate. Those of 512 bits
//! do not, but a step of one term ends in a branch before the loads of the next are under way.
use crate::schedule::Target;
use crate::schedule::parameters::Choices;
use crate::schedule::primitives::registers::visit_stmts;
use crate::schedule::primitives::{At, Primitive, Rejected};
use crate::schedule::scheduler::Scheduler;
use tensmith_ir::expr::Var;
use tensmith_ir::loops::{For, Mark, Role, Stmt};

/// Terms of an iteration.
const TERMS: i64 = 4;

/// The terms of a sum in one iteration.
pub(super) fn steps(choices: &mut Choices, target: &Target) -> i64 {
    let default = if target.masks() { TERMS } else { 1 };
    choices.number("terms", &[1, 2, 4, 8], default)
}

/// Unrolls so many terms of the innermost loops of the sums in the loops over `vars`.
///
/// Errors: as the primitives.
pub(super) fn unroll_terms(s: &mut Scheduler, terms: i64, vars: &[Var]) -> Result<(), Rejected> {
    if terms == 1 {
        return Ok(());
    }
    let mut found: Vec<Var> = Vec::new();
    for var in vars {
        // A loop that runs once is gone.
        let Ok(l) = s.find(*var) else { continue };
        visit_stmts(&l.body, &mut |stmt| match stmt {
            Stmt::For(l) if is_long_sum(l, terms) && !found.contains(&l.var) => found.push(l.var),
            _ => {}
        });
    }
    found.into_iter().try_for_each(|var| unroll(s, var, terms))
}

/// Unrolls so many iterations of those of the loops that have several times as many.
///
/// Errors: as the primitives.
pub(super) fn unroll_all(s: &mut Scheduler, vars: Vec<Var>, terms: i64) -> Result<(), Rejected> {
    let long = |v: &Var| terms > 1 && s.extent(*v).is_some_and(|n| n >= 2 * terms);
    let vars: Vec<Var> = vars.into_iter().filter(long).collect();
    vars.into_iter().try_for_each(|var| unroll(s, var, terms))
}

/// Whether a loop is an innermost one of a sum, with several iterations' worth of terms.
fn is_long_sum(l: &For, terms: i64) -> bool {
    let innermost = l.body.iter().all(|s| matches!(s, Stmt::Store { .. }));
    let plain = l.mark == Mark::Plain && l.role == Role::Reduce && l.reduction.is_none();
    innermost && plain && l.extent.as_const().is_some_and(|n| n >= 2 * terms)
}

fn unroll(s: &mut Scheduler, var: Var, terms: i64) -> Result<(), Rejected> {
    let whole = match s.extent(var) {
        Some(n) if n % terms != 0 => s.cut(var, At::Multiple(terms))?[0],
        _ => var,
    };
    let (_, step) = s.split(whole, terms)?;
    s.apply(Primitive::Unroll(step)).map(drop)
}
