//! Nests loops in another order.
//!
//! Halide: `reorder`; TVM: `reorder`. Loops of independent iterations may run in any order. Loops
//! of a reduction may if all they do is update accumulators; this reorders the terms of sums.
//!
//! Requires: loops that are nested perfectly and have no marks; none that ends up outside of a
//! loop on which its extent depends.
//! Before:
//! ```text
//! kernel k() {
//!   in a: f32[8, 100]
//!   out o: f32[8, 100]
//!   for i0 < 8 space {
//!     for i1 < 100 space {
//!       o[i0, i1] = a[i0, i1]
//!     }
//!   }
//! }
//! ```
//! Schedule: `reorder i1, i0`
//! After:
//! ```text
//! kernel k() {
//!   in a: f32[8, 100]
//!   out o: f32[8, 100]
//!   for i1 < 100 space {
//!     for i0 < 8 space {
//!       o[i0, i1] = a[i0, i1]
//!     }
//!   }
//! }
//! ```
use super::edit::{band, find, heads, replace, wrap};
use super::registers::{accumulators, locals, written};
use super::{Forwarded, Rejected};
use tensmith_ir::expr::Var;
use tensmith_ir::loops::{For, Kernel, Role, Scope};

/// Nests `vars` in the order in which they are listed, outermost first.
///
/// Errors: what the head of this file requires.
pub fn apply(kernel: &mut Kernel, vars: &[Var]) -> Result<Forwarded, Rejected> {
    let (place, order) = band(kernel, vars)?;
    if order == vars {
        return Err(Rejected::NoEffect);
    }
    let (_, outermost) = find(kernel, order[0])?;
    let exact = may_permute(kernel, outermost, &order)?;
    for (k, var) in vars.iter().enumerate() {
        let (_, l) = find(kernel, *var)?;
        if let Some(inner) = vars[k..].iter().find(|v| l.extent.mentions(**v)) {
            return Err(Rejected::Depends(*var, *inner));
        }
    }
    replace(kernel, &place, |_, l| {
        let (mut found, body) = heads(l, vars.len());
        found.sort_by_key(|l| vars.iter().position(|v| *v == l.var));
        wrap(found, body)
    });
    Ok(Forwarded {
        exact,
        ..Forwarded::nothing()
    })
}

/// Whether loops of a band may be permuted; says whether all results stay as they are.
fn may_permute(kernel: &Kernel, outermost: &For, order: &[Var]) -> Result<bool, Rejected> {
    for var in order {
        let (_, l) = find(kernel, *var)?;
        match l.role {
            Role::Serial => return Err(Rejected::Serial(*var)),
            role if role != outermost.role => return Err(Rejected::Roles(outermost.var, *var)),
            _ => {}
        }
    }
    if outermost.role == Role::Reduce {
        return match accumulators(kernel, outermost) {
            Some(_) => Ok(false),
            None => Err(Rejected::Body(outermost.var)),
        };
    }
    handed_on(kernel, outermost).map(|()| true)
}

/// Errors: a register that iterations of a loop hand on.
pub fn handed_on(kernel: &Kernel, l: &For) -> Result<(), Rejected> {
    let own = locals(kernel, l);
    let mut carried = written(&l.body);
    carried.retain(|b| kernel.buffer(*b).scope == Scope::Register && !own.contains(b));
    match carried.first() {
        Some(b) => Err(Rejected::Carried(l.var, *b)),
        None => Ok(()),
    }
}
