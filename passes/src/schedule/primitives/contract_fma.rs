//! Makes multiply and add one operation where a sum accumulates products.
//!
//! LLVM: contraction of `fmul` and `fadd`. Rounding: once instead of twice, so only under a
//! precision that lets reductions contract, and only for targets that have the operation.
//!
//! Requires: an update of a register of `f32` or `f64` by a product.
//! Before:
//! ```text
//! kernel k() {
//!   in a: f32[8]
//!   in b: f32[8]
//!   out o: f32[]
//!   reg r: f32[]
//!   r = 0.0f32
//!   for i0 < 8 reduce {
//!     r = r + a[i0] * b[i0]
//!   }
//!   o = r
//! }
//! ```
//! Schedule: `contract_fma`
//! After:
//! ```text
//! kernel k() {
//!   in a: f32[8]
//!   in b: f32[8]
//!   out o: f32[]
//!   reg r: f32[]
//!   r = 0.0f32
//!   for i0 < 8 reduce {
//!     r = fma(a[i0], b[i0], r)
//!   }
//!   o = r
//! }
//! ```
use super::{Forwarded, Rejected};
use tensmith_ir::dtype::DType;
use tensmith_ir::loops::{BinaryOp, BufferId, Kernel, Scalar, Scope, Stmt};

/// Rewrites every accumulating store of a register of `f32` or `f64`.
///
/// Errors: there is none.
pub fn apply(kernel: &mut Kernel) -> Result<Forwarded, Rejected> {
    let eligible: Vec<bool> = kernel
        .buffers
        .iter()
        .map(|b| b.scope == Scope::Register && matches!(b.dtype, DType::F32 | DType::F64))
        .collect();
    match visit(&mut kernel.body, &eligible) {
        0 => Err(Rejected::NoEffect),
        _ => Ok(Forwarded::inexact(true)),
    }
}

/// The number of updates that were rewritten.
fn visit(stmts: &mut [Stmt], eligible: &[bool]) -> usize {
    let mut count = 0;
    for stmt in stmts {
        if let Stmt::Store { buffer, value, .. } = stmt
            && eligible[buffer.0 as usize]
        {
            count += contract(*buffer, value);
        }
        for body in stmt.bodies_mut() {
            count += visit(body, eligible);
        }
    }
    count
}

/// Contracts an update of a register, in each branch of a guard on its own.
fn contract(register: BufferId, value: &mut Scalar) -> usize {
    let is_acc = |s: &Scalar| matches!(s, Scalar::Load(b, _) if *b == register);
    match value {
        Scalar::Guard(_, then, otherwise) => {
            contract(register, then) + contract(register, otherwise)
        }
        Scalar::Binary(BinaryOp::Add, acc, product) if is_acc(acc) => match &**product {
            Scalar::Binary(BinaryOp::Mul, x, y) => {
                *value = Scalar::Fma(x.clone(), y.clone(), acc.clone());
                1
            }
            _ => 0,
        },
        _ => 0,
    }
}
