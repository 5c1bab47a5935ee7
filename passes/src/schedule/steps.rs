//! The recipe of steps: a serial loop around nests that hand a state on in scratch memory.
//!
//! An anchor is a list of nests, one of which is a serial loop around a list of nests
//! and of choices between them, as in
//! `for i < 8 { h[i] = .. }  for t < 50 serial { for i < 8 { s[i] = .. } for i < 8 { h[i] = .. } }`.
//! Each nest is scheduled on its own, by whatever recipe fits it; the loops around them stay.
use super::nest::Nest;
use super::primitives::edit::Place;
use tensmith_ir::loops::{Kernel, Mark, Role, Stmt};

/// The list of nests that are scheduled on their own, if there is an anchor at a place, or a serial
/// loop of one.
pub fn choose(kernel: &Kernel, place: &Place) -> Option<Vec<Place>> {
    if is_steps(&place.list(&kernel.body)[place.at]) {
        return Some(vec![place.inside(0)]);
    }
    let nest = Nest::at(kernel, place);
    let fits = nest.body.iter().all(|s| is_nest(s) || is_steps(s));
    (fits && nest.body.iter().any(is_steps)).then(|| {
        let inside = nest.loops.iter().fold(place.clone(), |p, _| p.inside(0));
        vec![inside]
    })
}

fn is_steps(stmt: &Stmt) -> bool {
    matches!(stmt, Stmt::For(l) if l.role == Role::Serial
        && l.body.iter().all(is_nest) && l.body.iter().any(has_loop))
}

/// Whether there is a loop: steps of scalar work alone are part of the nest around them.
fn has_loop(stmt: &Stmt) -> bool {
    let mut nested = stmt.bodies().into_iter().flatten();
    matches!(stmt, Stmt::For(_)) || nested.any(has_loop)
}

/// Whether a statement is a space loop or a sum, or chooses between lists of them by a register.
fn is_nest(stmt: &Stmt) -> bool {
    match stmt {
        Stmt::For(l) => matches!(l.role, Role::Space | Role::Reduce) && l.mark == Mark::Plain,
        Stmt::Store { .. } => true,
        Stmt::If { .. } => stmt.bodies().into_iter().flatten().all(is_nest),
        _ => false,
    }
}
