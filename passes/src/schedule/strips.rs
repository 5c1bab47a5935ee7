//! The recipe of strips: nests that hand parts of a value on in scratch memory.
//!
//! An anchor is a nest around several nests, one of which fills a scratch buffer that another
//! reads. Each of them is scheduled on its own, by whatever recipe fits it; the loops around them
//! stay, and are dealt to threads. Halide: `compute_at` of a producer at a loop over tiles.
use super::nest::Nest;
use super::{Target, schedule_nest};
use tensmith_ir::loops::{BufferId, Cond, Kernel, Mark, Role, Scope, Stmt};

/// Schedules the nest if it is an anchor.
pub fn schedule(
    kernel: &mut Kernel,
    nest: &Nest,
    target: &Target,
    packable: &dyn Fn(BufferId) -> bool,
) -> Option<Vec<Stmt>> {
    if !nest.body.iter().all(is_nest) || !fills_scratch(kernel, &nest.body) {
        return None;
    }
    // What is scheduled sees the loops around it.
    let around = |body| {
        let loops = nest.loops.clone();
        Nest { loops, body }.rebuild()
    };
    let outside = std::mem::replace(&mut kernel.body, around(nest.body.clone()));
    let body = each(kernel, nest.body.clone(), target, packable);
    kernel.body = outside;
    Some(around(body))
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

fn each(
    kernel: &mut Kernel,
    stmts: Vec<Stmt>,
    target: &Target,
    packable: &dyn Fn(BufferId) -> bool,
) -> Vec<Stmt> {
    let mut out = Vec::new();
    for mut stmt in stmts {
        if let Stmt::If { .. } = stmt {
            for body in stmt.bodies_mut() {
                *body = each(kernel, std::mem::take(body), target, packable);
            }
            out.push(stmt);
        } else {
            out.extend(schedule_nest(kernel, stmt, target, packable));
        }
    }
    out
}
