//! Removes loops of one iteration.
//!
//! Halide and TVM do so when they simplify.
//!
//! Requires: loops whose extent is 1, without state of their own.
//! Before:
//! ```text
//! kernel k() {
//!   in a: f32[1, 8]
//!   out o: f32[1, 8]
//!   for i0 < 1 space {
//!     for i1 < 8 space {
//!       o[i0, i1] = a[i0, i1]
//!     }
//!   }
//! }
//! ```
//! Schedule: `drop_unit_loops i0`
//! After:
//! ```text
//! kernel k() {
//!   in a: f32[1, 8]
//!   out o: f32[1, 8]
//!   for i1 < 8 space {
//!     o[0, i1] = a[0, i1]
//!   }
//! }
//! ```
use super::edit::find;
use super::{Forwarded, Rejected};
use crate::schedule::nest::substitute;
use tensmith_ir::expr::Var;
use tensmith_ir::loops::{Kernel, Stmt};

/// Puts 0 in the place of the variables of loops.
///
/// Errors: what the head of this file requires.
pub fn apply(kernel: &mut Kernel, vars: &[Var]) -> Result<Forwarded, Rejected> {
    if vars.is_empty() {
        return Err(Rejected::NoEffect);
    }
    for var in vars {
        let (_, l) = find(kernel, *var)?;
        if l.reduction.is_some() {
            return Err(Rejected::State(*var));
        }
        if !l.extent.is(1) {
            return Err(Rejected::NotUnit(*var));
        }
    }
    remove(&mut kernel.body, vars);
    let ranges = kernel.all_ranges();
    let zeros = vars.iter().map(|v| (*v, 0.into())).collect();
    substitute(&mut kernel.body, &zeros, &ranges);
    let map = vars.iter().map(|v| (*v, vec![])).collect();
    Ok(Forwarded {
        map,
        ..Forwarded::nothing()
    })
}

fn remove(stmts: &mut Vec<Stmt>, vars: &[Var]) {
    let mut k = 0;
    while k < stmts.len() {
        if let Stmt::For(l) = &mut stmts[k]
            && vars.contains(&l.var)
        {
            let body = std::mem::take(&mut l.body);
            stmts.splice(k..=k, body);
            continue;
        }
        for body in stmts[k].bodies_mut() {
            remove(body, vars);
        }
        k += 1;
    }
}
