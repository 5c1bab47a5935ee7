//! Removes loops of one iteration.
//!
//! Before: `for i0 < 1 space { o[i0] = a[i0] }`. After: `o[0] = a[0]`.
use super::nest::{all_ranges, substitute};
use std::collections::HashMap;
use tensmith_ir::expr::Expr;
use tensmith_ir::loops::{Kernel, Stmt};

/// Puts 0 in the place of the variables of all loops of one iteration.
pub fn drop_unit_loops(kernel: &mut Kernel) {
    let mut zeros = HashMap::new();
    let body = std::mem::take(&mut kernel.body);
    kernel.body = without(body, &mut zeros);
    let ranges = all_ranges(kernel);
    substitute(&mut kernel.body, &zeros, &ranges);
}

fn without(stmts: Vec<Stmt>, zeros: &mut HashMap<tensmith_ir::expr::Var, Expr>) -> Vec<Stmt> {
    let mut out = Vec::new();
    for mut stmt in stmts {
        for body in stmt.bodies_mut() {
            *body = without(std::mem::take(body), zeros);
        }
        match stmt {
            Stmt::For(l) if l.extent.is(1) && l.reduction.is_none() => {
                zeros.insert(l.var, 0.into());
                out.extend(l.body);
            }
            other => out.push(other),
        }
    }
    out
}
