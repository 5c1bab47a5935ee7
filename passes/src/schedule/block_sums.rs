//! Adds long sums up in blocks, so that rounding errors grow with the length of a block and the
//! number of blocks, not with the length of the sum.
//!
//! Before: `for i < 1024 { r = r + a[i] }`. After:
//! `for b < 32 { t = 0; for i < 32 { t = t + a[32*b + i] }; r = r + t }`.
//! Source: N. J. Higham, The accuracy of floating point summation, SIAM J. Sci. Comput. 14, 1993.
use super::nest::{reduce, substitute};
use std::collections::HashMap;
use tensmith_ir::expr::{Expr, Ranges, Var};
use tensmith_ir::loops::{
    BinaryOp, Buffer, BufferId, Const, For, Kernel, Layout, Mark, Role, Scalar, Scope, Stmt,
    is_update,
};

/// Terms of a block.
const BLOCK: i64 = 32;

/// Splits the innermost loops of sums of at least two blocks, at any depth.
pub fn block_sums(kernel: &mut Kernel, ranges: &mut Ranges, stmts: &mut Vec<Stmt>) {
    for stmt in std::mem::take(stmts) {
        match stmt {
            Stmt::For(l) if sum_of(kernel, &l).is_some() => stmts.extend(split(kernel, ranges, *l)),
            mut other => {
                for body in other.bodies_mut() {
                    block_sums(kernel, ranges, body);
                }
                stmts.push(other);
            }
        }
    }
}

/// The register of a long innermost sum of floats, and its term.
fn sum_of(kernel: &Kernel, l: &For) -> Option<(BufferId, Scalar)> {
    let long = l.extent.as_const().is_some_and(|n| n >= 2 * BLOCK);
    let [Stmt::Store { buffer, value, .. }] = &l.body[..] else {
        return None;
    };
    let plain = l.role == Role::Reduce && l.mark == Mark::Plain && l.reduction.is_none();
    let float = kernel.buffer(*buffer).dtype.is_float();
    if !long || !plain || !float || !is_update(*buffer, value) {
        return None;
    }
    let is_acc = |s: &Scalar| matches!(s, Scalar::Load(b, _) if b == buffer);
    match value {
        Scalar::Binary(BinaryOp::Add, a, b) if is_acc(a) => Some((*buffer, (**b).clone())),
        Scalar::Binary(BinaryOp::Add, a, b) if is_acc(b) => Some((*buffer, (**a).clone())),
        _ => None,
    }
}

fn split(kernel: &mut Kernel, ranges: &mut Ranges, l: For) -> Vec<Stmt> {
    let (sum, term) = sum_of(kernel, &l).expect("invariant: the caller looked");
    let count = l
        .extent
        .as_const()
        .expect("invariant: long sums are static");
    let partial = kernel.add_buffer(Buffer {
        name: format!("r{}", kernel.buffers.len()),
        dtype: kernel.buffer(sum).dtype,
        shape: vec![],
        layout: Layout::row_major(0),
        scope: Scope::Register,
    });
    let [block, inner, last] = [count / BLOCK, BLOCK, count % BLOCK].map(|extent| {
        let var = kernel.fresh_var();
        ranges.bind(var, &extent.into());
        (var, extent)
    });
    let terms_of = |(var, extent): (Var, i64), body| reduce(var, extent.into(), Mark::Plain, body);
    let add = |to: BufferId, term: Scalar| Stmt::Store {
        buffer: to,
        index: vec![],
        value: Scalar::binary(BinaryOp::Add, Scalar::load(to, vec![]), term),
    };
    let term_at = |to: BufferId, place: Expr| {
        let mut stmts = vec![add(to, term.clone())];
        substitute(&mut stmts, &HashMap::from([(l.var, place)]), ranges);
        stmts
    };
    let zero = Stmt::Store {
        buffer: partial,
        index: vec![],
        value: Scalar::Const(Const::new(kernel.buffer(sum).dtype, 0.0)),
    };
    let place = Expr::from(block.0) * BLOCK + Expr::from(inner.0);
    let terms = terms_of(inner, term_at(partial, place));
    let joined = add(sum, Scalar::load(partial, vec![]));
    let mut out = vec![terms_of(block, vec![zero, terms, joined])];
    if last.1 > 0 {
        let place = Expr::from(last.0) + (count - last.1);
        out.push(terms_of(last, term_at(sum, place)));
    }
    out
}
