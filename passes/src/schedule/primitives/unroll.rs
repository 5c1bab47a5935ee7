//! Marks a loop whose body is copied, one iteration after the other.
//!
//! Halide: `unroll`; TVM: `unroll`. Code generation makes the copies; `straighten` makes them
//! here.
//!
//! Requires: a loop of known extent without a mark.
//! Before:
//! ```text
//! kernel k() {
//!   in a: f32[3, 8]
//!   out o: f32[8]
//!   reg r: f32[]
//!   for i0 < 8 space {
//!     r = 0.0f32
//!     for i1 < 3 reduce {
//!       r = r + a[i1, i0]
//!     }
//!     o[i0] = r
//!   }
//! }
//! ```
//! Schedule: `unroll i1`
//! After:
//! ```text
//! kernel k() {
//!   in a: f32[3, 8]
//!   out o: f32[8]
//!   reg r: f32[]
//!   for i0 < 8 space {
//!     r = 0.0f32
//!     for i1 < 3 reduce unroll {
//!       r = r + a[i1, i0]
//!     }
//!     o[i0] = r
//!   }
//! }
//! ```
use super::edit::{change, find_plain};
use super::{Forwarded, Rejected};
use tensmith_ir::expr::Var;
use tensmith_ir::loops::{Kernel, Mark};

/// Units: iterations of an unrolled loop at most; more only fill the instruction cache.
const MOST: i64 = 256;

/// Marks the loop over `var`.
///
/// Errors: what the head of this file requires.
pub fn apply(kernel: &mut Kernel, var: Var) -> Result<Forwarded, Rejected> {
    let (place, l) = find_plain(kernel, var)?;
    let extent = l.extent.as_const().ok_or(Rejected::Unknown(var))?;
    if extent > MOST {
        return Err(Rejected::TooLarge(var));
    }
    change(kernel, &place, |l| l.mark = Mark::Unroll);
    Ok(Forwarded::nothing())
}
