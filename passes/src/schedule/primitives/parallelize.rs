//! Marks an outermost loop whose iterations are dealt to threads.
//!
//! Halide: `parallel`; TVM: `parallel`. Each thread gets contiguous iterations, and no result
//! depends on their number.
//!
//! Requires: an outermost loop of independent iterations without a mark; each has registers of its
//! own and writes other elements of results.
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
use super::edit::{change, find_plain};
use super::lanes::threads;
use super::{Forwarded, Rejected};
use tensmith_ir::expr::Var;
use tensmith_ir::loops::{Kernel, Mark};

/// Marks the loop over `var`.
///
/// Errors: what the head of this file requires.
pub fn apply(kernel: &mut Kernel, var: Var) -> Result<Forwarded, Rejected> {
    let (place, l) = find_plain(kernel, var)?;
    if place.parent().is_some() {
        return Err(Rejected::Inside(var));
    }
    threads(kernel, l)?;
    change(kernel, &place, |l| l.mark = Mark::Parallel);
    Ok(Forwarded::nothing())
}
