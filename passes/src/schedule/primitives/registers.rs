//! What statements do with buffers: who reads and writes them, and which registers an iteration
//! hands on to the next one.
use super::distinct::writes_are_distinct;
use crate::schedule::nest::visit_scalars;
use std::collections::{BTreeMap, BTreeSet};
use tensmith_ir::loops::{BufferId, Cond, For, Kernel, Role, Scalar, Scope, Stmt, is_update};

/// Buffers.
pub type Set = BTreeSet<BufferId>;

/// What statements store to.
pub fn written(stmts: &[Stmt]) -> Set {
    let mut all = Set::new();
    visit_stmts(stmts, &mut |s| match s {
        Stmt::Store { buffer, .. } => drop(all.insert(*buffer)),
        Stmt::For(l) => all.extend(l.reduction.iter().flat_map(|r| r.state.iter().copied())),
        _ => {}
    });
    all
}

/// What statements load from.
pub fn read(stmts: &[Stmt]) -> Set {
    let mut all = Set::new();
    visit_scalars(stmts, &mut |s| loads(s, &mut all));
    visit_stmts(stmts, &mut |s| {
        if let Stmt::For(l) = s
            && let Some(r) = &l.reduction
        {
            all.extend(r.state.iter().chain(&r.other).copied());
        }
    });
    all
}

/// Adds what a scalar loads from.
pub fn loads(s: &Scalar, all: &mut Set) {
    s.visit(&mut |s| {
        if let Scalar::Load(b, _) = s {
            all.insert(*b);
        }
    });
}

/// Calls `f` with every statement, at any depth.
pub fn visit_stmts<'s>(stmts: &'s [Stmt], f: &mut dyn FnMut(&'s Stmt)) {
    for stmt in stmts {
        f(stmt);
        for body in stmt.bodies() {
            visit_stmts(body, f);
        }
    }
}

/// How often each buffer of a kernel occurs, by its number.
fn counts(kernel: &Kernel, stmts: &[Stmt]) -> Vec<usize> {
    let mut all = vec![0; kernel.buffers.len()];
    let mut count = |b: BufferId| all[b.0 as usize] += 1;
    visit_stmts(stmts, &mut |s| match s {
        Stmt::Store { buffer, .. } => count(*buffer),
        Stmt::For(l) => {
            if let Some(r) = &l.reduction {
                r.state.iter().chain(&r.other).for_each(|b| count(*b));
            }
        }
        _ => {}
    });
    visit_scalars(stmts, &mut |s| {
        s.visit(&mut |s| {
            if let Scalar::Load(b, _) = s {
                count(*b);
            }
        });
    });
    all
}

/// The buffers of `among` that occur outside of these statements of the kernel.
pub fn seen_outside(kernel: &Kernel, stmts: &[Stmt], among: &Set) -> Set {
    if among.is_empty() {
        return Set::new();
    }
    let (all, inside) = (counts(kernel, &kernel.body), counts(kernel, stmts));
    let outside = |b: &&BufferId| all[b.0 as usize] != inside[b.0 as usize];
    among.iter().filter(outside).copied().collect()
}

fn is_scalar(kernel: &Kernel, b: BufferId) -> bool {
    kernel.buffer(b).scope == Scope::Register && kernel.buffer(b).shape.is_empty()
}

/// The scalar registers that statements may read before they write them.
pub fn exposed(kernel: &Kernel, stmts: &[Stmt]) -> Set {
    let mut found = Set::new();
    expose(kernel, stmts, &mut Set::new(), &mut found);
    found
}

fn expose(kernel: &Kernel, stmts: &[Stmt], before: &mut Set, found: &mut Set) {
    let read = |s: &Scalar, before: &Set, found: &mut Set| {
        let mut all = Set::new();
        loads(s, &mut all);
        found.extend(all.into_iter().filter(|b| !before.contains(b)));
    };
    for stmt in stmts {
        match stmt {
            Stmt::Store { buffer, value, .. } => {
                read(value, before, found);
                before.insert(*buffer);
            }
            Stmt::If {
                cond,
                then,
                otherwise,
            } => {
                if let Cond::Scalar(s) = cond {
                    read(s, before, found);
                }
                let (mut a, mut b) = (before.clone(), before.clone());
                expose(kernel, then, &mut a, found);
                expose(kernel, otherwise, &mut b, found);
                before.extend(a.intersection(&b));
            }
            Stmt::For(l) => {
                if let Some(r) = &l.reduction {
                    found.extend(r.state.iter().filter(|b| !before.contains(b)));
                }
                let mut inside = before.clone();
                expose(kernel, &l.body, &mut inside, found);
                if l.extent.as_const().is_some_and(|n| n > 0) {
                    *before = inside;
                }
            }
            Stmt::Check { value, body, .. } | Stmt::While { cond: value, body } => {
                read(value, before, found);
                expose(kernel, body, &mut before.clone(), found);
            }
        }
    }
    found.retain(|b| is_scalar(kernel, *b));
}

/// The scalar registers that belong to one iteration of a loop: written in it before they are
/// read, and seen nowhere else.
pub fn locals(kernel: &Kernel, l: &For) -> Set {
    let mut own = written(&l.body);
    own.retain(|b| is_scalar(kernel, *b));
    let outside = seen_outside(kernel, &l.body, &own);
    let exposed = exposed(kernel, &l.body);
    own.retain(|b| !outside.contains(b) && !exposed.contains(b));
    own
}

/// A register that joins the terms of a loop, and how.
pub struct Accumulator {
    /// The register.
    pub register: BufferId,
    /// What makes terms of two sums one.
    pub op: tensmith_ir::loops::BinaryOp,
}

/// The registers that a loop only updates, by one operation each; `None` if it hands on another
/// one from iteration to iteration, or writes memory other than an element of its own, which
/// nothing in it reads, in each iteration.
pub fn accumulators(kernel: &Kernel, l: &For) -> Option<Vec<Accumulator>> {
    let own = locals(kernel, l);
    let mut found: Vec<Accumulator> = Vec::new();
    let mut fine = l.role == Role::Reduce;
    let mut updates: BTreeMap<BufferId, usize> = BTreeMap::new();
    let read = read(&l.body);
    let mut memory = false;
    visit_stmts(&l.body, &mut |s| match s {
        Stmt::Store { buffer, .. } if own.contains(buffer) => {}
        Stmt::Store { buffer, .. } if !is_scalar(kernel, *buffer) => {
            memory = true;
            fine &= !read.contains(buffer) && kernel.buffer(*buffer).scope != Scope::Register;
        }
        Stmt::Store { buffer, value, .. } => {
            let op = update_op(*buffer, value).filter(|_| is_scalar(kernel, *buffer));
            *updates.entry(*buffer).or_insert(0) += 1;
            match (op, found.iter().find(|a| a.register == *buffer)) {
                (None, _) => fine = false,
                (Some(op), Some(a)) => fine &= a.op == op,
                (Some(op), None) => found.push(Accumulator {
                    register: *buffer,
                    op,
                }),
            }
        }
        Stmt::For(l) => fine &= l.reduction.is_none(),
        _ => {}
    });
    // An update stores and loads once each.
    let counts = counts(kernel, &l.body);
    fine &= updates.iter().all(|(b, n)| counts[b.0 as usize] == 2 * n);
    fine &= !memory || writes_are_distinct(kernel, l);
    fine.then_some(found)
}

/// By which operation a store updates its register.
pub fn update_op(register: BufferId, value: &Scalar) -> Option<tensmith_ir::loops::BinaryOp> {
    match value {
        _ if !is_update(register, value) => None,
        Scalar::Binary(op, ..) => Some(*op),
        _ => Some(tensmith_ir::loops::BinaryOp::Add),
    }
}
