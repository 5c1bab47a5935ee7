//! Puts the loops of a nest in the order in which results lie in memory.
//!
//! `for c < 8 { for p < 100 { o[c, p] = .. } }` with the first dimension of `o` innermost in memory
//! becomes `for p < 100 { for c < 8 { o[c, p] = .. } }`. Loops of a sum follow what it reads.
use super::nest::Nest;
use super::primitives::edit::Place;
use super::scheduler::Scheduler;
use std::cmp::Reverse;
use tensmith_ir::expr::{Expr, Ranges, Var};
use tensmith_ir::loops::{For, Kernel, Mark, Role, Scalar, Scope, Stmt};

/// Sorts the loops of the nest of statement `at` by their strides in the first buffer that is
/// stored to, the greatest outermost; loops whose strides are not known numbers keep the places
/// that they have.
pub fn follow_results(s: &mut Scheduler, at: &Place) {
    let nest = Nest::at(s.kernel(), at);
    let Some(offset) = first_store(s.kernel(), nest.body, &s.kernel().all_ranges()) else {
        return;
    };
    let order = sorted(&nest.loops, &offset);
    // Loops that must keep their order do.
    let _ = order.and_then(|order| s.reorder(order).ok());
}

/// Sorts the loops of sums in the nest of statement `at` by their strides in the first buffer that
/// each sum reads, the greatest outermost.
pub fn sums_follow_operands(s: &mut Scheduler, at: &Place) {
    let mut bands = Vec::new();
    for stmt in Nest::at(s.kernel(), at).body {
        sums(s.kernel(), stmt, &mut bands);
    }
    for order in bands {
        // As above.
        let _ = s.reorder(order);
    }
}

/// The orders of the loops of sums.
fn sums(kernel: &Kernel, stmt: &Stmt, orders: &mut Vec<Vec<Var>>) {
    let is_sum = |l: &For| l.role == Role::Reduce && l.mark == Mark::Plain && l.reduction.is_none();
    let (mut loops, mut inner) = (Vec::new(), stmt);
    while let Stmt::For(l) = inner
        && is_sum(l)
    {
        loops.push((l.var, l.extent.clone()));
        match &l.body[..] {
            [one] => inner = one,
            _ => break,
        }
    }
    if loops.len() > 1 {
        let body = std::slice::from_ref(inner);
        let body = match inner {
            Stmt::For(l) if is_sum(l) => &l.body[..],
            _ => body,
        };
        let offset = first_load(kernel, body);
        orders.extend(offset.and_then(|offset| sorted(&loops, &offset)));
        return;
    }
    for stmt in stmt.bodies().into_iter().flatten() {
        sums(kernel, stmt, orders);
    }
}

/// The loops by their strides in an offset, if that is another order.
fn sorted(loops: &[(Var, Expr)], offset: &Expr) -> Option<Vec<Var>> {
    let depends = |(_, extent): &(Var, Expr)| loops.iter().any(|(v, _)| extent.mentions(*v));
    if loops.iter().any(depends) {
        return None;
    }
    let stride = |v: &Var| offset.linear_coefficient(*v)?.as_const();
    let vars: Vec<Var> = loops.iter().map(|(v, _)| *v).collect();
    let mut order = vars.clone();
    let known: Vec<usize> = (0..order.len())
        .filter(|k| stride(&order[*k]).is_some())
        .collect();
    let mut sorted: Vec<Var> = known.iter().map(|k| order[*k]).collect();
    sorted.sort_by_key(|v| Reverse(stride(v)));
    for (k, v) in known.into_iter().zip(sorted) {
        order[k] = v;
    }
    (order != vars).then_some(order)
}

fn first_store(kernel: &Kernel, stmts: &[Stmt], ranges: &Ranges) -> Option<Expr> {
    stmts.iter().find_map(|stmt| match stmt {
        Stmt::Store { buffer, index, .. } if kernel.buffer(*buffer).scope != Scope::Register => {
            Some(kernel.buffer(*buffer).offset(index).simplify(ranges))
        }
        other => (other.bodies().into_iter()).find_map(|b| first_store(kernel, b, ranges)),
    })
}

fn first_load(kernel: &Kernel, stmts: &[Stmt]) -> Option<Expr> {
    let of_scalar = |value: &Scalar| {
        let mut found = None;
        value.visit(&mut |s| match s {
            Scalar::Load(b, index) if kernel.buffer(*b).scope != Scope::Register => {
                found.get_or_insert_with(|| kernel.buffer(*b).offset(index));
            }
            _ => {}
        });
        found
    };
    stmts.iter().find_map(|stmt| match stmt {
        Stmt::Store { value, .. } => of_scalar(value),
        other => (other.bodies().into_iter()).find_map(|b| first_load(kernel, b)),
    })
}
