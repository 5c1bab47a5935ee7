//! Marks an outermost loop, or one in the steps of a serial loop, whose iterations are dealt to
//! threads.
//!
//! Halide: `parallel`; TVM: `parallel`. Each thread gets contiguous iterations, and no result
//! depends on their number.
//!
//! Threads wait for each other between loops in the steps of a serial loop.
//!
//! Requires: an outermost loop of independent iterations without a mark; each has registers of its
//! own and writes other elements of results. In steps, each also has elements of its own of the
//! scratch that other statements use, and all threads get to the loop alike.
//! Before:
//! ```text
//! kernel k() {
//!   in a: f32[1000]
//!   out o: f32[1000]
//!   for i0 < 1000 space {
//!     o[i0] = a[i0]
//!   }
//! }
//! ```
//! Schedule: `parallelize i0`
//! After:
//! ```text
//! kernel k() {
//!   in a: f32[1000]
//!   out o: f32[1000]
//!   for i0 < 1000 space parallel {
//!     o[i0] = a[i0]
//!   }
//! }
//! ```
use super::edit::{Place, change, find_plain};
use super::lanes::threads;
use super::{Forwarded, Rejected};
use tensmith_ir::expr::Var;
use tensmith_ir::loops::team::{TeamFault, team_fault};
use tensmith_ir::loops::{Kernel, Mark, Role, Stmt};

/// Marks the loop over `var`.
///
/// Errors: what the head of this file requires.
pub fn apply(kernel: &mut Kernel, var: Var) -> Result<Forwarded, Rejected> {
    let (place, l) = find_plain(kernel, var)?;
    if place.parent().is_some() && !in_steps(kernel, &place) {
        return Err(Rejected::Inside(var));
    }
    threads(kernel, l)?;
    change(kernel, &place, |l| l.mark = Mark::Parallel);
    let fault = match team_fault(kernel) {
        None => return Ok(Forwarded::nothing()),
        Some(TeamFault::Around(v)) => Rejected::Inside(v),
        Some(TeamFault::Shared(v, b)) => Rejected::SameElement(v, b),
        Some(TeamFault::Register(b)) => Rejected::Carried(var, b),
    };
    change(kernel, &place, |l| l.mark = Mark::Plain);
    Err(fault)
}

/// Whether a serial loop is around a place.
fn in_steps(kernel: &Kernel, place: &Place) -> bool {
    let mut around = std::iter::successors(place.parent(), Place::parent);
    around.any(|p| {
        let stmt = &p.list(&kernel.body)[p.at];
        matches!(stmt, Stmt::For(l) if l.role == Role::Serial)
    })
}
