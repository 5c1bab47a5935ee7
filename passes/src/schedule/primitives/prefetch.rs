//! Says how far ahead of its use an input is fetched.
//!
//! Halide: `prefetch`. Each vector that is loaded of the buffer asks for what lies `by` elements
//! behind it, which emitters may leave out. Nothing else changes.
//!
//! Requires: an input or scratch.
//! Before:
//! ```text
//! kernel k() {
//!   in a: f32[64, 64]
//!   out o: f32[64, 64]
//!   for i0 < 64 space {
//!     for i1 < 64 space vector {
//!       o[i0, i1] = a[i0, i1]
//!     }
//!   }
//! }
//! ```
//! Schedule: `prefetch a by 1024`
//! After:
//! ```text
//! kernel k() {
//!   in a: f32[64, 64] prefetch(1024)
//!   out o: f32[64, 64]
//!   for i0 < 64 space {
//!     for i1 < 64 space vector {
//!       o[i0, i1] = a[i0, i1]
//!     }
//!   }
//! }
//! ```
use super::{Forwarded, Rejected, named};
use tensmith_ir::loops::{Buffer, Kernel, Scope};

/// Gives the buffer called `name` a hint of `by` elements; 0 takes it away.
///
/// Errors: what the head of this file requires.
pub fn apply(kernel: &mut Kernel, name: &str, by: i64) -> Result<Forwarded, Rejected> {
    let id = named(kernel, name)?;
    if !(0..=Buffer::MOST_PREFETCH).contains(&by) {
        return Err(Rejected::Number(by));
    }
    let buffer = &mut kernel.buffers[id.0 as usize];
    if !matches!(buffer.scope, Scope::Input | Scope::Scratch) {
        return Err(Rejected::Use(id));
    }
    if buffer.prefetch == by {
        return Err(Rejected::NoEffect);
    }
    buffer.prefetch = by;
    Ok(Forwarded::nothing())
}
