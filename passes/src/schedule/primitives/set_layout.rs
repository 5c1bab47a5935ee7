//! Lays a buffer out in another way.
//!
//! Halide: `store_in` and `reorder_storage`; TVM: `transform_layout`. The elements of the buffer
//! and what is computed stay the same; whoever passes an input passes it in its layout.
//!
//! Requires: an input or scratch; a layout that gives every element a place of its own.
//! Before:
//! ```text
//! kernel k() {
//!   in a: f32[4, 64]
//!   out o: f32[64, 4]
//!   for i0 < 64 space {
//!     for i1 < 4 space {
//!       o[i0, i1] = a[i1, i0]
//!     }
//!   }
//! }
//! ```
//! Schedule: `set_layout a layout(d1/16, d0, d1 mod 16)`
//! After:
//! ```text
//! kernel k() {
//!   in a: f32[4, 64] layout(d1/16, d0, d1 mod 16)
//!   out o: f32[64, 4]
//!   for i0 < 64 space {
//!     for i1 < 4 space {
//!       o[i0, i1] = a[i1, i0]
//!     }
//!   }
//! }
//! ```
use super::{Forwarded, Rejected, named};
use tensmith_ir::loops::{Buffer, Kernel, Layout, LayoutDim, Scope};

/// Units: elements of a block at most.
const LARGEST: i64 = 1 << 20;

/// Gives the buffer called `name` a layout.
///
/// Errors: what the head of this file requires.
pub fn apply(kernel: &mut Kernel, name: &str, layout: &Layout) -> Result<Forwarded, Rejected> {
    let id = named(kernel, name)?;
    let buffer = kernel.buffer(id);
    if buffer.layout == *layout {
        return Err(Rejected::NoEffect);
    }
    if !matches!(buffer.scope, Scope::Input | Scope::Scratch) {
        return Err(Rejected::Use(id));
    }
    let rank = buffer.shape.len();
    let known = layout.0.iter().all(|d| d.dim < rank);
    if !known || !(0..rank).all(|dim| tells_apart(buffer, layout, dim)) {
        return Err(Rejected::Layout(id));
    }
    kernel.buffers[id.0 as usize].layout = layout.clone();
    Ok(Forwarded::nothing())
}

/// Whether the parts of a dimension are blocks of blocks, with an open one outermost.
fn tells_apart(buffer: &Buffer, layout: &Layout, dim: usize) -> bool {
    let mut parts: Vec<&LayoutDim> = layout.0.iter().filter(|d| d.dim == dim).collect();
    parts.sort_by_key(|d| (d.step, d.extent.is_none()));
    let mut covered = Some(1i64);
    for part in parts {
        covered = match (covered, part.extent) {
            (Some(step), Some(extent)) if step == part.step && extent >= 1 => {
                step.checked_mul(extent).filter(|c| *c <= LARGEST)
            }
            (Some(step), None) if step == part.step => None,
            _ => return false,
        };
        if covered.is_none() && part.extent.is_some() {
            return false;
        }
    }
    let extent = buffer.shape[dim].as_const();
    covered.is_none_or(|covered| extent.is_some_and(|n| n <= covered))
}
