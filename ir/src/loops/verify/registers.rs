//! Scalar registers are written before they are read.
use super::super::{BufferId, Cond, For, Kernel, Mark, Role, Scalar, Scope, Stmt, is_update};
use super::at;
use std::collections::BTreeSet;

type Set = BTreeSet<BufferId>;

/// Checks all reads of scalar registers.
///
/// Errors: the first that may come before a write.
pub(super) fn check(kernel: &Kernel) -> Result<(), String> {
    body(kernel, &kernel.body, Set::new()).map(|_| ())
}

/// What statements write.
pub(super) fn written_in(stmts: &[Stmt]) -> Set {
    let mut all = Set::new();
    for stmt in stmts {
        if let Stmt::Store { buffer, .. } = stmt {
            all.insert(*buffer);
        }
        for nested in stmt.bodies() {
            all.extend(written_in(nested));
        }
    }
    all
}

/// The registers of which each lane of a lock-step loop has its own: those that it writes, but
/// for the accumulators of a reduction, which join the lanes.
pub fn own_of_lanes(l: &For) -> Set {
    let mut own = written_in(&l.body);
    if l.role == Role::Reduce {
        own.retain(|b| !accumulates(&l.body, *b));
    }
    own
}

/// Whether every store of a register is an update.
fn accumulates(stmts: &[Stmt], register: BufferId) -> bool {
    stmts.iter().all(|s| match s {
        Stmt::Store { buffer, value, .. } => *buffer != register || is_update(register, value),
        other => other.bodies().into_iter().all(|b| accumulates(b, register)),
    })
}

/// The registers that are written after the statements, given those before.
fn body(kernel: &Kernel, stmts: &[Stmt], before: Set) -> Result<Set, String> {
    stmts.iter().try_fold(before, |b, s| stmt(kernel, s, b))
}

fn stmt(kernel: &Kernel, s: &Stmt, before: Set) -> Result<Set, String> {
    let read = |value: &Scalar| reads(kernel, value, &before).map_err(|e| at(kernel, s, &e));
    match s {
        Stmt::For(l) => for_loop(kernel, l, before),
        Stmt::Store { buffer, value, .. } => {
            read(value)?;
            let mut after = before;
            after.insert(*buffer);
            Ok(after)
        }
        Stmt::If {
            cond,
            then,
            otherwise,
        } => {
            if let Cond::Scalar(value) = cond {
                read(value)?;
            }
            let then = body(kernel, then, before.clone())?;
            let otherwise = body(kernel, otherwise, before)?;
            Ok(then.intersection(&otherwise).copied().collect())
        }
        Stmt::Check {
            value,
            body: inside,
            ..
        } => {
            read(value)?;
            body(kernel, inside, before.clone())?;
            Ok(before)
        }
        Stmt::While { cond, body: inside } => {
            read(cond)?;
            body(kernel, inside, before.clone())?;
            Ok(before)
        }
    }
}

fn for_loop(kernel: &Kernel, l: &For, mut before: Set) -> Result<Set, String> {
    if matches!(l.mark, Mark::Parallel | Mark::Vector | Mark::Jam) {
        let own = own_of_lanes(l);
        before.retain(|b| !own.contains(b));
        body(kernel, &l.body, before.clone())?;
        return Ok(before);
    }
    let after = body(kernel, &l.body, before.clone())?;
    let runs = l.extent.as_const().is_some_and(|n| n > 0);
    Ok(if runs { after } else { before })
}

fn reads(kernel: &Kernel, value: &Scalar, written: &Set) -> Result<(), String> {
    let mut wrong = Ok(());
    value.visit(&mut |s| {
        if let Scalar::Load(id, _) = s {
            let b = kernel.buffer(*id);
            let scalar = b.scope == Scope::Register && b.shape.is_empty();
            if scalar && !written.contains(id) {
                wrong = Err(format!("`{}` may be read before it is written", b.name));
            }
        }
    });
    wrong
}
