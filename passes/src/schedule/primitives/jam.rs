//! Marks a loop whose iterations run in lock step, as copies of each statement.
//!
//! Halide: `unroll` of a loop around others, with `reorder`; compilers: unroll and jam. A nest of
//! `jam` and `vector` loops around a reduction is a register tile. Lanes of a reduction join their
//! terms in any order.
//!
//! Requires: a loop of known extent without a mark, whose iterations are independent or only update
//! accumulators; each has registers of its own and writes other elements, and what runs is the same
//! for all.
//! Before:
//! ```text
//! kernel k() {
//!   in a: f32[4, 64]
//!   out o: f32[4]
//!   reg r: f32[]
//!   for i0 < 4 space {
//!     r = 0.0f32
//!     for i1 < 64 reduce {
//!       r = r + a[i0, i1]
//!     }
//!     o[i0] = r
//!   }
//! }
//! ```
//! Schedule: `jam i0`
//! After:
//! ```text
//! kernel k() {
//!   in a: f32[4, 64]
//!   out o: f32[4]
//!   reg r: f32[]
//!   for i0 < 4 space jam {
//!     r = 0.0f32
//!     for i1 < 64 reduce {
//!       r = r + a[i0, i1]
//!     }
//!     o[i0] = r
//!   }
//! }
//! ```
use super::edit::{change, find_plain};
use super::lanes::lock_step;
use super::{Forwarded, Rejected};
use tensmith_ir::expr::Var;
use tensmith_ir::loops::{Kernel, Mark};

/// Units: iterations that run in lock step at most: more than any register file holds.
const MOST: i64 = 64;

/// Marks the loop over `var`.
///
/// Errors: what the head of this file requires.
pub fn apply(kernel: &mut Kernel, var: Var) -> Result<Forwarded, Rejected> {
    let (place, l) = find_plain(kernel, var)?;
    let exact = lock_step(kernel, l)?;
    if l.extent.as_const().is_none_or(|n| n > MOST) {
        return Err(Rejected::TooLarge(var));
    }
    change(kernel, &place, |l| l.mark = Mark::Jam);
    Ok(Forwarded::inexact(!exact))
}
