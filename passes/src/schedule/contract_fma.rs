//! Makes multiply and add one operation where a sum accumulates products.
//!
//! Before: `r = r + a*b`. After: `r = fma(a, b, r)`. Rounding: once instead of twice, so only
//! under a precision that lets reductions contract, and only for targets that have it.
use tensmith_ir::dtype::DType;
use tensmith_ir::loops::{BinaryOp, BufferId, Kernel, Scalar, Scope, Stmt};

/// Rewrites every accumulating store of a register of `f32` or `f64`.
pub fn contract_fma(kernel: &mut Kernel) {
    let eligible: Vec<bool> = kernel
        .buffers
        .iter()
        .map(|b| b.scope == Scope::Register && matches!(b.dtype, DType::F32 | DType::F64))
        .collect();
    visit(&mut kernel.body, &eligible);
}

fn visit(stmts: &mut [Stmt], eligible: &[bool]) {
    for stmt in stmts {
        if let Stmt::Store { buffer, value, .. } = stmt
            && eligible[buffer.0 as usize]
        {
            contract(*buffer, value);
        }
        stmt.bodies_mut()
            .into_iter()
            .for_each(|b| visit(b, eligible));
    }
}

/// Contracts an update of a register, in each branch of a guard on its own.
fn contract(register: BufferId, value: &mut Scalar) {
    match value {
        Scalar::Guard(_, then, otherwise) => {
            contract(register, then);
            contract(register, otherwise);
        }
        Scalar::Binary(BinaryOp::Add, acc, product) if matches!(&**acc, Scalar::Load(b, _) if *b == register) => {
            if let Scalar::Binary(BinaryOp::Mul, x, y) = &**product {
                *value = Scalar::Fma(x.clone(), y.clone(), acc.clone());
            }
        }
        _ => {}
    }
}
