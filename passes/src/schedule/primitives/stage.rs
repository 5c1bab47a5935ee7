//! Keeps the terms of a sum in the result that needs them again, instead of computing them twice.
//!
//! Halide: `compute_with` on a stage stored in the output; TVM: `cache_write`. The rows of a softmax
//! are such: the cost of one exponential is that of many loads.
//!
//! Requires: a loop without a mark whose sum adds up calls of functions, and a later loop beside it
//! over as many elements of a result, which computes them again.
//! Before:
//! ```text
//! kernel k() {
//!   in a: f32[8]
//!   out o: f32[8]
//!   reg r: f32[]
//!   r = 0.0f32
//!   for i0 < 8 reduce {
//!     r = r + exp(a[i0])
//!   }
//!   for i1 < 8 space {
//!     o[i1] = exp(a[i1]) / r
//!   }
//! }
//! ```
//! Schedule: `stage i0`
//! After:
//! ```text
//! kernel k() {
//!   in a: f32[8]
//!   out o: f32[8]
//!   reg r: f32[]
//!   reg r3: f32[]
//!   r = 0.0f32
//!   for i0 < 8 reduce {
//!     r3 = exp(a[i0])
//!     o[i0] = r3
//!     r = r + r3
//!   }
//!   for i1 < 8 space {
//!     o[i1] = o[i1] / r
//!   }
//! }
//! ```
use super::edit::{find_plain, new_register};
use super::{Forwarded, Rejected};
use crate::schedule::nest::visit_scalars;
use std::collections::HashSet;
use tensmith_ir::expr::{Expr, Ranges, Var};
use tensmith_ir::loops::{BufferId, For, Kernel, Mark, Role, Scalar, Scope, Stmt, is_update};

/// Stages the terms of the sum over `var`.
///
/// Errors: what the head of this file requires.
pub fn apply(kernel: &mut Kernel, var: Var) -> Result<Forwarded, Rejected> {
    let (place, _) = find_plain(kernel, var)?;
    let ranges = kernel.all_ranges();
    let mut stmts = std::mem::take(place.list_mut(&mut kernel.body));
    let found = find(kernel, &ranges, &stmts, place.at);
    let done = found.map(|found| keep(kernel, &ranges, &mut stmts, place.at, &found));
    *place.list_mut(&mut kernel.body) = stmts;
    done.map(|()| Forwarded::nothing())
        .ok_or(Rejected::Body(var))
}

/// A sum whose terms a later loop computes again.
struct Found {
    /// The register of the sum, and its loop.
    sum: BufferId,
    sum_var: Var,
    /// The term, over `sum_var`.
    term: Scalar,
    /// Where the later loop stands.
    reader: usize,
    /// The variable of the later loop.
    reader_var: Var,
    /// The result that the later loop writes, and where, over `reader_var`.
    result: BufferId,
    index: Vec<Expr>,
}

fn find(kernel: &Kernel, ranges: &Ranges, stmts: &[Stmt], at: usize) -> Option<Found> {
    let sum = plain_loop(&stmts[at], Role::Reduce)?;
    let (register, value) = last_store(kernel, sum)?;
    let term = inlined(expensive_term(register, value)?, &sum.body);
    let dtype = term.dtype(&|b| kernel.buffer(b).dtype);
    for (reader, stmt) in stmts.iter().enumerate().skip(at + 1) {
        let Some(l) = plain_loop(stmt, Role::Space).filter(|l| l.extent == sum.extent) else {
            continue;
        };
        let (Some((result, _)), Some(Stmt::Store { index, .. })) =
            (last_store(kernel, l), l.body.last())
        else {
            continue;
        };
        let again = over(&term, sum.var, l.var, ranges);
        let mut repeats = false;
        visit_scalars(&l.body, &mut |s| {
            s.visit(&mut |s| repeats |= inlined(s, &l.body) == again);
        });
        if repeats
            && matches!(kernel.buffer(result).scope, Scope::Output | Scope::Scratch)
            && kernel.buffer(result).dtype == dtype
            && touches(stmts, result) == 1
            && lasts(kernel, &term, &stmts[at..=reader])
        {
            return Some(Found {
                sum: register,
                sum_var: sum.var,
                term,
                reader,
                reader_var: l.var,
                result,
                index: index.clone(),
            });
        }
    }
    None
}

/// Lets the sum fill the result, and the later loop read it.
fn keep(kernel: &mut Kernel, ranges: &Ranges, stmts: &mut [Stmt], at: usize, found: &Found) {
    let term = new_register(kernel, found.sum);
    let kept = Scalar::load(term, vec![]);
    put(stmts, at, &found.term, &kept);
    if let Stmt::For(l) = &mut stmts[at] {
        let store = |buffer, index, value| Stmt::Store {
            buffer,
            index,
            value,
        };
        let index = indices(&found.index, found.reader_var, found.sum_var, ranges);
        let fill = [
            store(term, vec![], found.term.clone()),
            store(found.result, index, kept),
        ];
        l.body.splice(0..0, fill);
    }
    drop_unread(kernel, stmts, at);
    let again = over(&found.term, found.sum_var, found.reader_var, ranges);
    let kept = Scalar::load(found.result, found.index.clone());
    put(stmts, found.reader, &again, &kept);
    drop_unread(kernel, stmts, found.reader);
}

/// Puts `with` in the place of what computes `what` in a loop.
fn put(stmts: &mut [Stmt], at: usize, what: &Scalar, with: &Scalar) {
    if let Stmt::For(l) = &mut stmts[at] {
        let computed = l.body.clone();
        for stmt in &mut l.body {
            if let Stmt::Store { value, .. } = stmt {
                replace(value, what, with, &computed);
            }
        }
    }
}

fn plain_loop(stmt: &Stmt, role: Role) -> Option<&For> {
    match stmt {
        Stmt::For(l) if l.role == role && l.mark == Mark::Plain && l.reduction.is_none() => Some(l),
        _ => None,
    }
}

/// What the last statement of a body stores, if all before it only set registers.
fn last_store<'l>(kernel: &Kernel, l: &'l For) -> Option<(BufferId, &'l Scalar)> {
    let (last, temporaries) = l.body.split_last()?;
    let sets_register = |s: &Stmt| match s {
        Stmt::Store { buffer, value, .. } => {
            let once = stores(&l.body, *buffer) == 1;
            once && kernel.buffer(*buffer).scope == Scope::Register && !is_update(*buffer, value)
        }
        _ => false,
    };
    match last {
        Stmt::Store { buffer, value, .. } if temporaries.iter().all(sets_register) => {
            Some((*buffer, value))
        }
        _ => None,
    }
}

/// A scalar of a body with what its registers hold in their places.
fn inlined(scalar: &Scalar, body: &[Stmt]) -> Scalar {
    if let Scalar::Load(b, index) = scalar
        && index.is_empty()
        && let Some(value) = set_in(body, *b)
    {
        return inlined(value, body);
    }
    let mut whole = scalar.clone();
    for child in whole.children_mut() {
        *child = inlined(child, body);
    }
    whole
}

/// To what a body sets a register that it does not update.
fn set_in(body: &[Stmt], register: BufferId) -> Option<&Scalar> {
    body.iter().find_map(|s| match s {
        Stmt::Store { buffer, value, .. } if *buffer == register && !is_update(register, value) => {
            Some(value)
        }
        _ => None,
    })
}

/// Drops what a loop sets and nothing reads any more.
fn drop_unread(kernel: &Kernel, stmts: &mut [Stmt], at: usize) {
    loop {
        let Stmt::For(l) = &stmts[at] else { return };
        let unread = l.body.iter().position(|s| match s {
            Stmt::Store { buffer, .. } => {
                kernel.buffer(*buffer).scope == Scope::Register && loads(stmts, *buffer) == 0
            }
            _ => false,
        });
        let (Some(k), Stmt::For(l)) = (unread, &mut stmts[at]) else {
            return;
        };
        l.body.remove(k);
    }
}

/// What an update adds, if computing it takes a function.
fn expensive_term(register: BufferId, value: &Scalar) -> Option<&Scalar> {
    let Scalar::Binary(_, a, b) = value else {
        return None;
    };
    if !is_update(register, value) {
        return None;
    }
    let is_acc = |s: &Scalar| matches!(s, Scalar::Load(b, _) if *b == register);
    let term = if is_acc(a) { &**b } else { &**a };
    let mut calls = false;
    term.visit(&mut |s| calls |= matches!(s, Scalar::Call(..)));
    calls.then_some(term)
}

/// Whether the term has the same value wherever it is computed within `stmts`: it reads inputs,
/// and registers that none of them writes.
fn lasts(kernel: &Kernel, term: &Scalar, stmts: &[Stmt]) -> bool {
    let mut read = HashSet::new();
    term.visit(&mut |s| {
        if let Scalar::Load(b, _) = s {
            read.insert(*b);
        }
    });
    read.into_iter().all(|b| match kernel.buffer(b).scope {
        Scope::Input => true,
        Scope::Register | Scope::Scratch => stores(stmts, b) == 0,
        Scope::Output => false,
    })
}

/// How many statements write a buffer.
fn stores(stmts: &[Stmt], buffer: BufferId) -> usize {
    let own = |s: &Stmt| match s {
        Stmt::Store { buffer: b, .. } => usize::from(*b == buffer),
        Stmt::For(l) => l.reduction.as_ref().map_or(0, |r| {
            r.state
                .iter()
                .chain(&r.other)
                .filter(|b| **b == buffer)
                .count()
        }),
        _ => 0,
    };
    stmts
        .iter()
        .map(|s| {
            let inner = s.bodies().into_iter().map(|b| stores(b, buffer));
            own(s) + inner.sum::<usize>()
        })
        .sum()
}

/// How often statements read a buffer.
fn loads(stmts: &[Stmt], buffer: BufferId) -> usize {
    let mut loads = 0;
    visit_scalars(stmts, &mut |s| {
        s.visit(&mut |s| loads += usize::from(matches!(s, Scalar::Load(b, _) if *b == buffer)));
    });
    loads
}

/// How often statements read or write a buffer.
fn touches(stmts: &[Stmt], buffer: BufferId) -> usize {
    loads(stmts, buffer) + stores(stmts, buffer)
}

/// A scalar over another variable.
fn over(scalar: &Scalar, from: Var, to: Var, ranges: &Ranges) -> Scalar {
    let mut moved = scalar.clone();
    moved.map_exprs(&|e| renamed(e, from, to, ranges));
    moved
}

fn indices(index: &[Expr], from: Var, to: Var, ranges: &Ranges) -> Vec<Expr> {
    index.iter().map(|e| renamed(e, from, to, ranges)).collect()
}

fn renamed(e: &Expr, from: Var, to: Var, ranges: &Ranges) -> Expr {
    e.substitute(&|v| (v == from).then(|| to.into()))
        .simplify(ranges)
}

/// Puts `with` in the place of what computes `what` in a body.
fn replace(scalar: &mut Scalar, what: &Scalar, with: &Scalar, body: &[Stmt]) {
    if inlined(scalar, body) == *what {
        *scalar = with.clone();
        return;
    }
    for child in scalar.children_mut() {
        replace(child, what, with, body);
    }
}
