//! Moves what a loop computes into the loop behind it that reads it.
//!
//! Halide: `compute_at`; TVM: `compute_at`; compilers: loop fusion. The opposite of `fission`.
//!
//! Requires: loops side by side without marks and of one extent, the first of independent
//! iterations and with registers of its own; in each buffer that one of them writes and the other
//! one uses, iterations of both stay with elements of their own number along some dimension.
//! Before:
//! ```text
//! kernel k() {
//!   in a: f32[8]
//!   out o: f32[8]
//!   scratch t: f32[8]
//!   for i0 < 8 space {
//!     t[i0] = exp(a[i0])
//!   }
//!   for i1 < 8 space {
//!     o[i1] = t[i1] * t[i1]
//!   }
//! }
//! ```
//! Schedule: `compute_at i0, i1`
//! After:
//! ```text
//! kernel k() {
//!   in a: f32[8]
//!   out o: f32[8]
//!   scratch t: f32[8]
//!   for i1 < 8 space {
//!     t[i1] = exp(a[i1])
//!     o[i1] = t[i1] * t[i1]
//!   }
//! }
//! ```
use super::edit::{Known, find_plain};
use super::registers::{Set, read, visit_stmts, written};
use super::reorder::handed_on;
use super::{Forwarded, Rejected};
use crate::schedule::nest::visit_scalars;
use tensmith_ir::expr::{Expr, Var};
use tensmith_ir::loops::{BufferId, For, Kernel, Role, Scalar, Scope, Stmt};

/// Moves the body of the loop over `producer` into that over `consumer`.
///
/// Errors: what the head of this file requires.
pub fn apply(kernel: &mut Kernel, producer: Var, consumer: Var) -> Result<Forwarded, Rejected> {
    let (place, first) = find_plain(kernel, producer)?;
    let (next, second) = find_plain(kernel, consumer)?;
    let mut behind = place.clone();
    behind.at += 1;
    if next != behind {
        return Err(Rejected::NotBeside(producer, consumer));
    }
    if first.role != Role::Space {
        return Err(Rejected::Serial(producer));
    }
    if first.extent != second.extent {
        return Err(Rejected::Extent(producer));
    }
    handed_on(kernel, first)?;
    check_shared(kernel, first, second)?;
    let known = Known::of(kernel);
    let list = place.list_mut(&mut kernel.body);
    let first = list.remove(place.at);
    if let (Stmt::For(mut first), Stmt::For(second)) = (first, &mut list[place.at]) {
        known.put(&mut first.body, producer, consumer.into());
        second.body.splice(0..0, first.body);
    }
    Ok(Forwarded::one(producer, vec![consumer]))
}

/// Checks that an iteration of the second loop needs and changes nothing of other iterations of
/// the first.
fn check_shared(kernel: &Kernel, first: &For, second: &For) -> Result<(), Rejected> {
    let (writes, reads) = (written(&first.body), read(&first.body));
    let (later_writes, later_reads) = (written(&second.body), read(&second.body));
    let mut shared: Set = writes
        .iter()
        .filter(|b| later_reads.contains(b) || later_writes.contains(b))
        .copied()
        .collect();
    shared.extend(reads.intersection(&later_writes));
    for b in shared {
        let rank = kernel.buffer(b).shape.len();
        let own =
            |d: usize| stays(&first.body, b, d, first.var) && stays(&second.body, b, d, second.var);
        let memory = kernel.buffer(b).scope != Scope::Register;
        if !memory || !(0..rank).any(own) {
            return Err(Rejected::Carried(first.var, b));
        }
    }
    Ok(())
}

/// Whether all accesses of a buffer have the variable as their index along a dimension.
fn stays(stmts: &[Stmt], buffer: BufferId, dim: usize, var: Var) -> bool {
    let mut fine = true;
    let mut look = |b: BufferId, index: &[Expr]| {
        fine &= b != buffer || index[dim].as_var() == Some(var);
    };
    visit_stmts(stmts, &mut |s| {
        if let Stmt::Store { buffer, index, .. } = s {
            look(*buffer, index);
        }
    });
    visit_scalars(stmts, &mut |s| {
        s.visit(&mut |s| {
            if let Scalar::Load(b, index) = s {
                look(*b, index);
            }
        });
    });
    fine
}
