//! Cuts the innermost loop of a nest where a guard changes, so that no guard depends on it.
//!
//! `for i < 8 { o[i] = guard([i - 5], b[i - 5], a[i]) }` becomes
//! `for i < 5 { o[i] = a[i] } for i < 3 { o[i + 5] = b[i] }`.
use super::nest::{Nest, visit_scalars};
use super::primitives::{At, Primitive, Rejected};
use super::scheduler::Scheduler;
use std::collections::BTreeSet;
use tensmith_ir::expr::{Expr, Var};
use tensmith_ir::loops::{Cond, Scalar, Stmt};

/// Loops that one loop becomes at most.
const PARTS: usize = 16;

/// Where to cut the innermost loop of a nest, if all guards that depend on it do so by a constant
/// bound.
pub fn choose(nest: &Nest<'_>) -> Option<(Var, Vec<i64>)> {
    let (var, extent) = nest.loops.last()?;
    let mut starts = starts(nest.body, *var, extent.as_const()?)?;
    if starts.len() < 2 || starts.len() > PARTS {
        return None;
    }
    starts.remove(&0);
    Some((*var, starts.into_iter().collect()))
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
