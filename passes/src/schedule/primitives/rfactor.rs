//! Gives the terms of a loop a sum of their own, which joins the whole sum once.
//!
//! Halide: `rfactor`; TVM: `rfactor`. After `split` and `reorder`, lanes reduce their shares so;
//! without, long sums are added up in blocks, whose rounding errors grow more slowly. The terms of
//! sums are associated in another way.
//!
//! Requires: a loop of a reduction without a mark that only updates accumulators, by operations
//! that have an identity.
//! Before:
//! ```text
//! kernel k() {
//!   in a: f32[8, 32]
//!   out o: f32[]
//!   reg r: f32[]
//!   r = 0.0f32
//!   for i0 < 8 reduce {
//!     for i1 < 32 reduce {
//!       r = r + a[i0, i1]
//!     }
//!   }
//!   o = r
//! }
//! ```
//! Schedule: `rfactor i1`
//! After:
//! ```text
//! kernel k() {
//!   in a: f32[8, 32]
//!   out o: f32[]
//!   reg r: f32[]
//!   reg r3: f32[]
//!   r = 0.0f32
//!   for i0 < 8 reduce {
//!     r3 = -0.0f32
//!     for i1 < 32 reduce {
//!       r3 = r3 + a[i0, i1]
//!     }
//!     r = r + r3
//!   }
//!   o = r
//! }
//! ```
use super::edit::{find_plain, new_register, rename_registers, replace};
use super::registers::accumulators;
use super::{Forwarded, Rejected};
use tensmith_ir::expr::Var;
use tensmith_ir::loops::{BufferId, Kernel, Scalar, Stmt};

/// Factors the loop over `var`.
///
/// Errors: what the head of this file requires.
pub fn apply(kernel: &mut Kernel, var: Var) -> Result<Forwarded, Rejected> {
    let (place, l) = find_plain(kernel, var)?;
    let sums = accumulators(kernel, l).ok_or(Rejected::Body(var))?;
    if sums.is_empty() {
        return Err(Rejected::NoEffect);
    }
    let mut factored = Vec::new();
    for sum in &sums {
        let identity = sum.op.identity(kernel.buffer(sum.register).dtype);
        factored.push((sum, identity.ok_or(Rejected::Use(sum.register))?));
    }
    let exact = sums
        .iter()
        .all(|s| !kernel.buffer(s.register).dtype.is_float());
    replace(kernel, &place, |kernel, mut l| {
        let (mut begin, mut end, mut names) = (vec![], vec![], vec![]);
        for (sum, identity) in factored {
            let partial = new_register(kernel, sum.register);
            names.push((sum.register, partial));
            begin.push(set(partial, Scalar::Const(identity)));
            let [left, right] = [sum.register, partial].map(|b| Scalar::load(b, vec![]));
            end.push(set(sum.register, Scalar::binary(sum.op, left, right)));
        }
        rename_registers(&mut l.body, &names);
        begin.push(Stmt::For(Box::new(l)));
        begin.extend(end);
        begin
    });
    Ok(Forwarded::inexact(!exact))
}

fn set(buffer: BufferId, value: Scalar) -> Stmt {
    Stmt::Store {
        buffer,
        index: vec![],
        value,
    }
}
