//! The recipe of strips: nests that hand parts of a value on in scratch memory.
//!
//! An anchor is a nest around several nests, one of which fills a scratch buffer that another
//! reads; numbers that all of them read are computed first. Each of them is scheduled on its own, by whatever recipe fits it; the loops around them
//! stay, and are dealt to threads. Halide: `compute_at` of a producer at a loop over tiles.
use super::nest::Nest;
use super::primitives::edit::Place;
use tensmith_ir::loops::{Cond, Kernel, Mark, Role, Scope, Stmt};

/// The lists of nests that are scheduled on their own, if there is an anchor at a place, or a
/// choice between lists inside of one.
pub fn choose(kernel: &Kernel, place: &Place) -> Option<Vec<Place>> {
    let stmt = &place.list(&kernel.body)[place.at];
    if place.parent().is_some() && matches!(stmt, Stmt::If { .. }) {
        let lists = 0..stmt.bodies().len();
        return Some(lists.map(|nested| place.inside(nested)).collect());
    }
    let nest = Nest::at(kernel, place);
    let computes = |s: &&Stmt| matches!(s, Stmt::Store { buffer, .. } if kernel.buffer(*buffer).scope == Scope::Register);
    let once = nest.body.iter().take_while(computes).count();
    if !nest.body[once..].iter().all(is_nest) || !fills_scratch(kernel, nest.body) {
        return None;
    }
    let inside = nest.loops.iter().fold(place.clone(), |p, _| p.inside(0));
    Some(vec![inside])
}

/// Whether a statement is a space loop, or a choice between lists of them.
fn is_nest(stmt: &Stmt) -> bool {
    match stmt {
        Stmt::For(l) => l.role == Role::Space && l.mark == Mark::Plain,
        Stmt::If {
            cond: Cond::Affine(_),
            then,
            otherwise,
        } => then.iter().chain(otherwise).all(is_nest),
        _ => false,
    }
}

fn fills_scratch(kernel: &Kernel, stmts: &[Stmt]) -> bool {
    stmts.iter().any(|s| match s {
        Stmt::Store { buffer, .. } => kernel.buffer(*buffer).scope == Scope::Scratch,
        other => (other.bodies().into_iter()).any(|b| fills_scratch(kernel, b)),
    })
}
