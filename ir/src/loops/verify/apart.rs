//! Whether statements write elements of their own.
use super::super::{BufferId, Cond, Kernel, Stmt};
use super::prover::Prover;
use super::{assuming, refuting};
use crate::expr::Expr;

/// Whether two statements of the body of a kernel never write the same element of a buffer, as it
/// can be proved along some axis.
pub fn stores_are_apart(kernel: &Kernel, a: &Stmt, b: &Stmt, buffer: BufferId) -> bool {
    let known = Prover::new(kernel.ranges());
    let mut apart = true;
    let (a, b) = (std::slice::from_ref(a), std::slice::from_ref(b));
    stores(a, buffer, &known, &mut |first, known| {
        stores(b, buffer, known, &mut |second, known| {
            let mut axes = first.iter().zip(second);
            apart = apart && axes.any(|(i, j)| differ(known, i, j));
        });
    });
    apart
}

/// Whether one index is always the greater one.
fn differ(known: &Prover, i: &Expr, j: &Expr) -> bool {
    let distance = i.clone() - j.clone();
    known.proves(&(distance.clone() - 1)) || known.proves(&(-distance - 1))
}

/// Calls `f` with the index of each store to a buffer, and with what is known there.
fn stores(stmts: &[Stmt], id: BufferId, known: &Prover, f: &mut dyn FnMut(&[Expr], &Prover)) {
    for stmt in stmts {
        match stmt {
            Stmt::Store { buffer, index, .. } if *buffer == id => f(index, known),
            Stmt::Store { .. } => {}
            Stmt::If {
                cond: Cond::Affine(es),
                then,
                otherwise,
            } => {
                stores(then, id, &assuming(known, es), f);
                stores(otherwise, id, &refuting(known, es), f);
            }
            other => {
                let mut inside = known.clone();
                match other {
                    Stmt::For(l) => inside.bind(l.var, &l.extent),
                    Stmt::Check { var, extent, .. } => inside.bind(*var, extent),
                    _ => {}
                }
                for body in other.bodies() {
                    stores(body, id, &inside, f);
                }
            }
        }
    }
}
