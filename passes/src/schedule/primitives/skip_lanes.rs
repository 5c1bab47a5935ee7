//! Copies the body of a loop of a sum, and leaves out of each copy the lanes that only multiply
//! elements that are known to be 0.
//!
//! Compilers: peeling by the bounds of what is read, of loops in lock step. Which elements are 0 is
//! said of an input, as for `skip_zeros`, which leaves out whole iterations. Here the lane and the
//! copy alone decide, so that code generation makes no branch: a copy has just the updates that count.
//! A sum without such terms is the same, if the other factors are finite.
//!
//! Requires: a loop of a sum, without a mark and of few iterations, that updates registers by products
//! with such an input, where an index is linear in the loop and in loops in lock step around it, and in
//! nothing else.
//! Before:
//! ```text
//! kernel k() {
//!   in a: f32[6] nonzero([1, 5])
//!   in b: f32[3]
//!   out o: f32[4]
//!   reg r: f32[]
//!   for i0 < 4 space jam {
//!     r = 0.0f32
//!     for i1 < 3 reduce {
//!       r = r + a[i0 + i1] * b[i1]
//!     }
//!     o[i0] = r
//!   }
//! }
//! ```
//! Schedule: `skip_lanes i1`
//! After:
//! ```text
//! kernel k() {
//!   in a: f32[6] nonzero([1, 5])
//!   in b: f32[3]
//!   out o: f32[4]
//!   reg r: f32[]
//!   for i0 < 4 space jam {
//!     r = 0.0f32
//!     for i1 < 3 reduce unroll {
//!       r = guard([i0 + i1 - 1, -i0 - i1 + 4], r + a[i0 + i1] * b[i1], r)
//!     }
//!     o[i0] = r
//!   }
//! }
//! ```
use super::edit::{change, find_plain};
use super::skip_zeros::{conditions, lanes_around};
use super::{Forwarded, Rejected};
use tensmith_ir::expr::{Atom, Expr, Var};
use tensmith_ir::loops::{For, Kernel, Mark, Role, Scalar, Stmt};

/// Units: copies of the body at most.
const MOST: i64 = 8;

/// Marks the loop over `var`, and guards what it updates.
///
/// Errors: what the head of this file requires; nothing to leave out.
pub fn apply(kernel: &mut Kernel, var: Var) -> Result<Forwarded, Rejected> {
    let (place, l) = find_plain(kernel, var)?;
    let extent = l.extent.as_const().ok_or(Rejected::Unknown(var))?;
    if l.role != Role::Reduce || l.reduction.is_some() {
        return Err(Rejected::Body(var));
    }
    if extent > MOST {
        return Err(Rejected::TooLarge(var));
    }
    let lanes = lanes_around(kernel, &place);
    // Lanes of a sum share what they update.
    if lanes.iter().any(|l| l.role != Role::Space) {
        return Err(Rejected::Body(var));
    }
    let is_told = |v: Var| v == var || lanes.iter().any(|l| l.var == v && l.mark == Mark::Jam);
    let ranges = kernel.all_ranges();
    let told = |e: &Expr| {
        let mut fine = true;
        e.visit(&mut |atom| fine &= matches!(atom, Atom::Var(v) if is_told(*v)));
        fine
    };
    let decide = |stmt: &Stmt| -> Option<Vec<Expr>> {
        let mut conds = conditions(kernel, stmt, var, &[])?;
        conds.retain(|c| !ranges.proves_non_negative(c));
        conds.retain(told);
        Some(conds)
    };
    let mut body = l.body.clone();
    let guarded = guard(&mut body, &decide).ok_or(Rejected::Body(var))?;
    if !guarded {
        return Err(Rejected::NoEffect);
    }
    change(kernel, &place, |l: &mut For| {
        (l.body, l.mark) = (body, Mark::Unroll);
    });
    Ok(Forwarded::nothing())
}

/// Guards updates by what decides them. Says whether any is; `None` if a statement is of another
/// kind.
fn guard(stmts: &mut [Stmt], decide: &dyn Fn(&Stmt) -> Option<Vec<Expr>>) -> Option<bool> {
    let mut guarded = false;
    for stmt in stmts {
        match stmt {
            Stmt::For(inner) if matches!(inner.mark, Mark::Plain | Mark::Unroll) => {
                guarded |= guard(&mut inner.body, decide)?;
            }
            Stmt::Store { .. } => {
                let conds = decide(stmt)?;
                if !conds.is_empty()
                    && let Stmt::Store { buffer, value, .. } = stmt
                {
                    let kept = Scalar::Load(*buffer, vec![]);
                    let updated = std::mem::replace(value, kept.clone());
                    *value = Scalar::Guard(conds, Box::new(updated), Box::new(kept));
                    guarded = true;
                }
            }
            _ => return None,
        }
    }
    Some(guarded)
}
