//! Puts the loops of a nest in the order in which results lie in memory.
//!
//! `for c < 8 { for p < 100 { o[c, p] = .. } }` with the first dimension of `o` innermost in memory
//! becomes `for p < 100 { for c < 8 { o[c, p] = .. } }`.
use super::nest::Nest;
use super::primitives::edit::Place;
use super::scheduler::Scheduler;
use std::cmp::Reverse;
use tensmith_ir::expr::{Expr, Var};
use tensmith_ir::loops::{Kernel, Scope, Stmt};

/// Sorts the loops of the nest of statement `at` by their strides in the first buffer that is
/// stored to, the greatest outermost; loops whose strides are not known numbers keep the places
/// that they have.
pub fn follow_results(s: &mut Scheduler, at: &Place) {
    let nest = Nest::at(s.kernel(), at);
    let Some(offset) = first_store(s.kernel(), nest.body) else {
        return;
    };
    let depends = |(_, extent): &(Var, Expr)| nest.loops.iter().any(|(v, _)| extent.mentions(*v));
    if nest.loops.iter().any(depends) {
        return;
    }
    let stride = |v: &Var| offset.linear_coefficient(*v)?.as_const();
    let mut order = nest.vars();
    let known: Vec<usize> = (0..order.len())
        .filter(|k| stride(&order[*k]).is_some())
        .collect();
    let mut sorted: Vec<Var> = known.iter().map(|k| order[*k]).collect();
    sorted.sort_by_key(|v| Reverse(stride(v)));
    for (k, v) in known.into_iter().zip(sorted) {
        order[k] = v;
    }
    // Loops that must keep their order do.
    let _ = s.reorder(order);
}

fn first_store(kernel: &Kernel, stmts: &[Stmt]) -> Option<Expr> {
    stmts.iter().find_map(|stmt| match stmt {
        Stmt::Store { buffer, index, .. } if kernel.buffer(*buffer).scope != Scope::Register => {
            Some(kernel.buffer(*buffer).offset(index))
        }
        other => (other.bodies().into_iter()).find_map(|b| first_store(kernel, b)),
    })
}
