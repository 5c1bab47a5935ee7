//! Puts the loops of a nest in the order in which results lie in memory.
//!
//! Before: `for c < 8 { for p < 100 { o[c, p] = .. } }` with the first dimension of `o` innermost
//! in memory. After: `for p < 100 { for c < 8 { o[c, p] = .. } }`. Halide: `reorder`.
use super::nest::Nest;
use std::cmp::Reverse;
use tensmith_ir::expr::{Expr, Var};
use tensmith_ir::loops::{Kernel, Scope, Stmt};

/// Sorts the loops by their strides in the first buffer that is stored to, the greatest
/// outermost; loops whose strides are not known numbers keep the places that they have.
pub fn follow_results(kernel: &Kernel, nest: &mut Nest) {
    let Some(offset) = first_store(kernel, &nest.body) else {
        return;
    };
    let depends = |(_, extent): &(Var, Expr)| nest.loops.iter().any(|(v, _)| extent.mentions(*v));
    if nest.loops.iter().any(depends) {
        return;
    }
    let stride = |(v, _): &(Var, Expr)| offset.linear_coefficient(*v)?.as_const();
    let known: Vec<usize> = (0..nest.loops.len())
        .filter(|k| stride(&nest.loops[*k]).is_some())
        .collect();
    let mut sorted: Vec<(Var, Expr)> = known.iter().map(|k| nest.loops[*k].clone()).collect();
    sorted.sort_by_key(|l| Reverse(stride(l)));
    for (k, l) in known.into_iter().zip(sorted) {
        nest.loops[k] = l;
    }
}

fn first_store(kernel: &Kernel, stmts: &[Stmt]) -> Option<Expr> {
    stmts.iter().find_map(|stmt| match stmt {
        Stmt::Store { buffer, index, .. } if kernel.buffer(*buffer).scope != Scope::Register => {
            Some(kernel.buffer(*buffer).offset(index))
        }
        other => (other.bodies().into_iter()).find_map(|b| first_store(kernel, b)),
    })
}
