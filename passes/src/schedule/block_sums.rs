//! Adds long sums up in blocks, so that rounding errors grow with the length of a block and the
//! number of blocks, not with the length of the sum.
//!
//! `for i < 1024 { r = r + a[i] }` becomes
//! `for b < 32 { t = -0; for i < 32 { t = t + a[32*b + i] }; r = r + t }`.
//! Source: N. J. Higham, The accuracy of floating point summation, SIAM J. Sci. Comput. 14, 1993.
use super::primitives::{At, Primitive, Rejected};
use super::scheduler::Scheduler;
use tensmith_ir::expr::Var;
use tensmith_ir::loops::{BinaryOp, For, Kernel, Mark, Role, Scalar, Stmt, is_update};

/// Terms of a block.
const BLOCK: i64 = 32;

/// Splits the innermost loops of sums of at least two blocks in the loop over `var`.
///
/// Errors: as the primitives.
pub fn block_sums(s: &mut Scheduler, var: Var) -> Result<(), Rejected> {
    let mut found = Vec::new();
    collect(s.kernel(), s.find(var)?, &mut found);
    found.into_iter().try_for_each(|var| split(s, var))
}

fn collect(kernel: &Kernel, l: &For, found: &mut Vec<Var>) {
    if is_long_sum(kernel, l) {
        return found.push(l.var);
    }
    super::primitives::registers::visit_stmts(&l.body, &mut |s| {
        if let Stmt::For(l) = s
            && is_long_sum(kernel, l)
        {
            found.push(l.var);
        }
    });
}

/// Whether a loop is a long innermost sum of floats.
fn is_long_sum(kernel: &Kernel, l: &For) -> bool {
    let long = l.extent.as_const().is_some_and(|n| n >= 2 * BLOCK);
    let plain = l.role == Role::Reduce && l.mark == Mark::Plain && l.reduction.is_none();
    let Some((Stmt::Store { buffer, value, .. }, others)) = l.body.split_last() else {
        return false;
    };
    let sets =
        |s: &Stmt| matches!(s, Stmt::Store { buffer, value, .. } if !is_update(*buffer, value));
    if !others.iter().all(sets) {
        return false;
    }
    let sum = matches!(value, Scalar::Binary(BinaryOp::Add, ..));
    long && plain && sum && kernel.buffer(*buffer).dtype.is_float() && is_update(*buffer, value)
}

fn split(s: &mut Scheduler, var: Var) -> Result<(), Rejected> {
    let whole = match s.extent(var) {
        Some(n) if n % BLOCK != 0 => s.cut(var, At::Multiple(BLOCK))?[0],
        _ => var,
    };
    let (_, terms) = s.split(whole, BLOCK)?;
    s.apply(Primitive::Rfactor(terms)).map(drop)
}
