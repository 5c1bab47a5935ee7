//! Puts straight code in the place of small loops, and computes what several iterations share once.
//!
//! Halide: `unroll` and the elimination of common subexpressions. Numbers take the places of the
//! variables, which decides the guards that look at them.
//!
//! Requires: loops without marks and of known extent, nested perfectly from `var` on; a body of
//! stores to results and to registers that nothing else sees, which reads inputs, registers, and
//! scratch that it does not write.
//! Before:
//! ```text
//! kernel k() {
//!   in a: f32[64]
//!   in b: f32[64]
//!   out o: f32[64, 2]
//!   reg r: f32[]
//!   for i0 < 64 space {
//!     for i1 < 2 space {
//!       r = a[i0] + b[i0]
//!       o[i0, i1] = guard([-i1], r, r * 2.0f32)
//!     }
//!   }
//! }
//! ```
//! Schedule: `straighten i1`
//! After:
//! ```text
//! kernel k() {
//!   in a: f32[64]
//!   in b: f32[64]
//!   out o: f32[64, 2]
//!   reg r: f32[]
//!   reg r4: f32[]
//!   for i0 < 64 space {
//!     r4 = a[i0] + b[i0]
//!     o[i0, 0] = r4
//!     o[i0, 1] = r4 * 2.0f32
//!   }
//! }
//! ```
use super::edit::{find_plain, new_register, replace};
use super::fold_guards::fold_guards;
use super::registers::{read, seen_outside, visit_stmts, written};
use super::{Forwarded, Rejected};
use crate::schedule::nest::substitute;
use std::collections::HashMap;
use tensmith_ir::expr::{Expr, Ranges, Var};
use tensmith_ir::loops::{BufferId, For, Kernel, Mark, Scalar, Scope, Stmt};

/// Iterations at most.
const MOST: i64 = 4096;

/// Straightens the loop over `var` and those that it holds.
///
/// Errors: what the head of this file requires.
pub fn apply(kernel: &mut Kernel, var: Var) -> Result<Forwarded, Rejected> {
    let (place, l) = find_plain(kernel, var)?;
    let iterations = iterations(l)?;
    if iterations > MOST {
        return Err(Rejected::TooLarge(var));
    }
    check_buffers(kernel, l)?;
    let mut gone = vec![(var, vec![])];
    visit_stmts(&l.body, &mut |s| {
        if let Stmt::For(l) = s {
            gone.push((l.var, vec![]));
        }
    });
    let ranges = kernel.all_ranges();
    replace(kernel, &place, |kernel, l| {
        let mut straight = Vec::new();
        let stmt = Stmt::For(Box::new(l));
        unrolled(&stmt, &HashMap::new(), &ranges, &mut straight);
        shared(kernel, straight)
    });
    Ok(Forwarded {
        map: gone,
        ..Forwarded::nothing()
    })
}

/// The iterations of the loops, if they are of the kind that this primitive takes.
fn iterations(l: &For) -> Result<i64, Rejected> {
    if l.mark != Mark::Plain || l.reduction.is_some() {
        return Err(Rejected::Marked(l.var));
    }
    let extent = l.extent.as_const().ok_or(Rejected::Unknown(l.var))?;
    match &l.body[..] {
        [Stmt::For(inner)] => Ok(extent.saturating_mul(iterations(inner)?)),
        stores if stores.iter().all(|s| matches!(s, Stmt::Store { .. })) => Ok(extent),
        _ => Err(Rejected::Body(l.var)),
    }
}

/// Checks that values do not change between iterations but for registers of the loop's own.
fn check_buffers(kernel: &Kernel, l: &For) -> Result<(), Rejected> {
    let is_register = |b: &BufferId| kernel.buffer(*b).scope == Scope::Register;
    let written = written(&l.body);
    for b in read(&l.body) {
        let fixed = match kernel.buffer(b).scope {
            Scope::Input | Scope::Register => true,
            Scope::Scratch => !written.contains(&b),
            Scope::Output => false,
        };
        if !fixed {
            return Err(Rejected::Use(b));
        }
    }
    let mut own = written;
    own.retain(is_register);
    if let Some(b) = own.iter().find(|b| !kernel.buffer(**b).shape.is_empty()) {
        return Err(Rejected::Use(*b));
    }
    match seen_outside(kernel, &l.body, &own).first() {
        Some(b) => Err(Rejected::Carried(l.var, *b)),
        None => Ok(()),
    }
}

/// Appends the iterations of a nest, with numbers in the place of its variables.
fn unrolled(stmt: &Stmt, at: &HashMap<Var, Expr>, ranges: &Ranges, out: &mut Vec<Stmt>) {
    match stmt {
        Stmt::For(l) => {
            for k in 0..l.extent.as_const().unwrap_or(0) {
                let mut at = at.clone();
                at.insert(l.var, k.into());
                l.body.iter().for_each(|s| unrolled(s, &at, ranges, out));
            }
        }
        _ => {
            let mut copy = vec![decided(stmt, at)];
            substitute(&mut copy, at, ranges);
            fold_guards(&mut copy, ranges);
            out.extend(copy);
        }
    }
}

/// A copy of a statement without the branches of guards that numbers decide.
fn decided(stmt: &Stmt, at: &HashMap<Var, Expr>) -> Stmt {
    match stmt {
        Stmt::Store {
            buffer,
            index,
            value: Scalar::Guard(conds, then, otherwise),
        } => {
            let mut holds = conds
                .iter()
                .map(|c| c.substitute(&|v| at.get(&v).cloned()).as_const());
            let value = match holds.try_fold(true, |all, c| Some(all && c? >= 0)) {
                Some(true) => then,
                Some(false) => otherwise,
                None => return stmt.clone(),
            };
            let value = (**value).clone();
            let (buffer, index) = (*buffer, index.clone());
            let store = Stmt::Store {
                buffer,
                index,
                value,
            };
            decided(&store, at)
        }
        _ => stmt.clone(),
    }
}

/// Stores of registers as values that are computed once.
fn shared(kernel: &mut Kernel, stmts: Vec<Stmt>) -> Vec<Stmt> {
    let mut holds: HashMap<BufferId, Scalar> = HashMap::new();
    let mut known: HashMap<Scalar, Scalar> = HashMap::new();
    let mut out = Vec::new();
    for mut stmt in stmts {
        let Stmt::Store { buffer, value, .. } = &mut stmt else {
            continue;
        };
        follow(value, &holds);
        let written = *buffer;
        if kernel.buffer(written).scope != Scope::Register {
            out.push(stmt);
            continue;
        }
        let simple = matches!(value, Scalar::Const(_) | Scalar::Load(..));
        let place = match known.get(value) {
            _ if simple => value.clone(),
            Some(place) => place.clone(),
            None => {
                let register = new_register(kernel, written);
                let place = Scalar::load(register, vec![]);
                known.insert(value.clone(), place.clone());
                *buffer = register;
                out.push(stmt);
                place
            }
        };
        holds.insert(written, place);
    }
    out
}

/// Puts what registers hold in the place of loads of them.
fn follow(value: &mut Scalar, holds: &HashMap<BufferId, Scalar>) {
    if let Scalar::Load(b, _) = value
        && let Some(held) = holds.get(b)
    {
        *value = held.clone();
        return;
    }
    value
        .children_mut()
        .into_iter()
        .for_each(|c| follow(c, holds));
}
