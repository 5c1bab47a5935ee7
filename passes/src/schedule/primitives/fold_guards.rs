//! Removes guards and branches that what is known of the variables decides.
//!
//! Halide: simplification of likely ranges after loop partition. With `cut` at the places where a
//! guard begins to hold or to fail, no guard is left inside of the loops.
//!
//! Requires: a guard or a branch in the loop that always holds or never does.
//! Before:
//! ```text
//! kernel k() {
//!   in a: f32[8]
//!   in b: f32[3]
//!   out o: f32[8]
//!   for i1 < 5 space {
//!     o[i1] = guard([i1 - 5], b[i1 - 5], a[i1])
//!   }
//! }
//! ```
//! Schedule: `fold_guards i1`
//! After:
//! ```text
//! kernel k() {
//!   in a: f32[8]
//!   in b: f32[3]
//!   out o: f32[8]
//!   for i1 < 5 space {
//!     o[i1] = a[i1]
//!   }
//! }
//! ```
use super::edit::{find, replace, wrap};
use super::{Forwarded, Rejected};
use tensmith_ir::expr::{Expr, Ranges, Var};
use tensmith_ir::loops::{Cond, Kernel, Scalar, Stmt};

/// Folds the guards in the body of the loop over `var`.
///
/// Errors: what the head of this file requires.
pub fn apply(kernel: &mut Kernel, var: Var) -> Result<Forwarded, Rejected> {
    let (place, _) = find(kernel, var)?;
    let ranges = kernel.all_ranges();
    let mut folded = 0;
    replace(kernel, &place, |_, mut l| {
        let mut body = std::mem::take(&mut l.body);
        folded = fold_guards(&mut body, &ranges);
        wrap(vec![l], body)
    });
    match folded {
        0 => Err(Rejected::NoEffect),
        _ => Ok(Forwarded::nothing()),
    }
}

/// Folds guards and branches of statements by what is known of their variables; gives how many
/// conditions went.
pub fn fold_guards(stmts: &mut Vec<Stmt>, ranges: &Ranges) -> usize {
    let mut folded = 0;
    for mut stmt in std::mem::take(stmts) {
        if let Some(s) = super::edit::scalar_mut(&mut stmt) {
            folded += fold(s, ranges);
        }
        for body in stmt.bodies_mut() {
            folded += fold_guards(body, ranges);
        }
        if let Stmt::If {
            cond: Cond::Affine(conds),
            ..
        } = &mut stmt
            && !conds.iter().any(|c| never(c, ranges))
        {
            let before = conds.len();
            conds.retain(|c| !ranges.proves_non_negative(c));
            // One that is left without conditions is counted below.
            folded += (before - conds.len()).saturating_sub(usize::from(conds.is_empty()));
        }
        match stmt {
            Stmt::If {
                cond: Cond::Affine(conds),
                otherwise,
                ..
            } if conds.iter().any(|c| never(c, ranges)) => {
                stmts.extend(otherwise);
                folded += 1;
            }
            Stmt::If {
                cond: Cond::Affine(conds),
                then,
                ..
            } if conds.is_empty() => {
                stmts.extend(then);
                folded += 1;
            }
            other => stmts.push(other),
        }
    }
    folded
}

fn never(cond: &Expr, ranges: &Ranges) -> bool {
    ranges.proves_non_negative(&(-cond.clone() - 1))
}

/// Drops conditions that always hold, and guards that never do.
fn fold(s: &mut Scalar, ranges: &Ranges) -> usize {
    let mut folded = 0;
    if let Scalar::Guard(conds, then, otherwise) = s {
        if conds.iter().any(|c| never(c, ranges)) {
            *s = std::mem::replace(otherwise, Scalar::Index(0.into()));
            return 1 + fold(s, ranges);
        }
        let before = conds.len();
        conds.retain(|c| !ranges.proves_non_negative(c));
        folded += before - conds.len();
        if conds.is_empty() {
            *s = std::mem::replace(then, Scalar::Index(0.into()));
            return folded + 1 + fold(s, ranges);
        }
    }
    for child in s.children_mut() {
        folded += fold(child, ranges);
    }
    folded
}
