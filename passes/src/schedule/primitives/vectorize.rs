//! Marks a loop whose iterations are the lanes of vectors.
//!
//! Halide: `vectorize`; TVM: `vectorize`. An extent that is no multiple of a register makes the
//! last register masked, on targets that have masks; `cut` gives it loops of its own elsewhere.
//! Lanes of a reduction join their terms in any order.
//!
//! Requires: what `jam` requires; besides, no vector loop around or inside, and a body of 32-bit
//! elements and operations that have a form for lanes.
//! Before:
//! ```text
//! kernel k() {
//!   in a: f32[16]
//!   out o: f32[16]
//!   for i0 < 16 space {
//!     o[i0] = a[i0] * 2.0f32
//!   }
//! }
//! ```
//! Schedule: `vectorize i0`
//! After:
//! ```text
//! kernel k() {
//!   in a: f32[16]
//!   out o: f32[16]
//!   for i0 < 16 space vector {
//!     o[i0] = a[i0] * 2.0f32
//!   }
//! }
//! ```
use super::edit::{change, find_plain};
use super::lanes::{around, lock_step};
use super::{Forwarded, Rejected};
use tensmith_ir::expr::Var;
use tensmith_ir::loops::{Kernel, Mark, vectorisable};

/// Units: lanes of a loop at most: those of all registers of any target.
const MOST: i64 = 1024;

/// Marks the loop over `var`.
///
/// Errors: what the head of this file requires.
pub fn apply(kernel: &mut Kernel, var: Var) -> Result<Forwarded, Rejected> {
    let (place, l) = find_plain(kernel, var)?;
    let exact = lock_step(kernel, l)?;
    if l.extent.as_const().is_none_or(|n| n > MOST) {
        return Err(Rejected::TooLarge(var));
    }
    if !vectorisable(kernel, l) || around(kernel, &place, &[Mark::Vector]) {
        return Err(Rejected::NoLanes(var));
    }
    change(kernel, &place, |l| l.mark = Mark::Vector);
    Ok(Forwarded::inexact(!exact))
}
