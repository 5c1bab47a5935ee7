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
use super::edit::{find_plain, heads, new_register, replace};
use super::fold_guards::fold_guards;
use super::registers::{read, seen_outside, visit_stmts, written};
use super::{Forwarded, Rejected};
use crate::schedule::nest::substitute;
use std::collections::HashMap;
use tensmith_ir::expr::{Atom, Ranges, Var};
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
    let depth = gone.len();
    replace(kernel, &place, |kernel, l| {
        let (loops, body) = heads(l, depth);
        let straight = Unrolling::new(&loops, body, ranges).all();
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

/// The iterations of a nest, with numbers in the place of its variables.
struct Unrolling {
    /// The variables and how often their loops run, outermost first.
    loops: Vec<(Var, i64)>,
    /// The statements, and the places in `loops` of the variables that each looks at.
    body: Vec<(Stmt, Vec<usize>)>,
    ranges: Ranges,
    /// Statements by their place in the body and the values of the variables that they look at: a
    /// transform by rows is one for all columns.
    known: HashMap<(usize, Vec<i64>), Vec<Stmt>>,
}

impl Unrolling {
    fn new(loops: &[For], body: Vec<Stmt>, ranges: Ranges) -> Unrolling {
        let extent = |l: &For| (l.var, l.extent.as_const().unwrap_or(0));
        let loops: Vec<(Var, i64)> = loops.iter().map(extent).collect();
        let seen = |stmt: Stmt| {
            let mut seen = vec![false; loops.len()];
            stmt.visit_exprs(&mut |e| {
                let sees = |(seen, (var, _)): (&mut bool, &(Var, i64))| *seen |= e.mentions(*var);
                seen.iter_mut().zip(&loops).for_each(sees);
            });
            let places = (0..loops.len()).filter(|k| seen[*k]).collect();
            (stmt, places)
        };
        Unrolling {
            body: body.into_iter().map(seen).collect(),
            loops,
            ranges,
            known: HashMap::new(),
        }
    }

    /// All iterations, in order.
    fn all(mut self) -> Vec<Stmt> {
        let iterations: i64 = self.loops.iter().map(|(_, n)| n).product();
        let mut out = Vec::new();
        for iteration in 0..iterations {
            let mut at = vec![0; self.loops.len()];
            let mut left = iteration;
            for (value, (_, n)) in at.iter_mut().zip(&self.loops).rev() {
                (*value, left) = (left % n, left / n);
            }
            (0..self.body.len()).for_each(|k| out.extend_from_slice(self.stmt(k, &at)));
        }
        out
    }

    /// What becomes of a statement where the variables have these values.
    fn stmt(&mut self, k: usize, at: &[i64]) -> &[Stmt] {
        let (stmt, seen) = &self.body[k];
        let values: Vec<i64> = seen.iter().map(|place| at[*place]).collect();
        self.known.entry((k, values)).or_insert_with_key(|(_, v)| {
            let vars = seen.iter().map(|place| self.loops[*place].0);
            let at: HashMap<Var, i64> = vars.zip(v.iter().copied()).collect();
            let mut copy = vec![decided(stmt, &at)];
            let with = at.iter().map(|(var, n)| (*var, (*n).into())).collect();
            substitute(&mut copy, &with, &self.ranges);
            fold_guards(&mut copy, &self.ranges);
            copy
        })
    }
}

/// A copy of a statement without the branches of guards that numbers decide.
fn decided(stmt: &Stmt, at: &HashMap<Var, i64>) -> Stmt {
    let Stmt::Store {
        buffer,
        index,
        value,
    } = stmt
    else {
        return stmt.clone();
    };
    let number = |a: &Atom| match a {
        Atom::Var(v) => at.get(v).copied(),
        _ => None,
    };
    let mut value = value;
    while let Scalar::Guard(conds, then, otherwise) = value {
        let mut holds = conds.iter().map(|c| c.eval(&number));
        value = match holds.try_fold(true, |all, c| Some(all && c? >= 0)) {
            Some(true) => then,
            Some(false) => otherwise,
            None => break,
        };
    }
    Stmt::Store {
        buffer: *buffer,
        index: index.clone(),
        value: value.clone(),
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
