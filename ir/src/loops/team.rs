//! Kernels that a team of threads runs together: their parallel loops are inside of serial ones.
//!
//! Each thread goes through the serial loops and the branches around parallel loops, and sets the
//! registers that these read. A parallel loop is dealt to the threads, and what else writes memory
//! is the first thread's. Threads wait for each other between two statements that conflict. Scratch
//! that more than one of these statements uses is the team's; all else is a thread's own.
use super::{BufferId, Cond, Kernel, Mark, Role, Scalar, Scope, Stmt};
use crate::expr::{Expr, Ranges, Var};
use std::collections::BTreeSet;

type Set = BTreeSet<BufferId>;

/// What a thread of a team does with a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Its share of the iterations of a parallel loop.
    Share,
    /// It runs what is around a parallel loop.
    Around,
    /// It runs the statement, which sets registers only.
    All,
    /// It leaves the statement to the first thread.
    First,
}

/// Why threads cannot run a kernel as a team.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TeamFault {
    /// Around a parallel loop is something else than plain loops and branches that all threads
    /// decide alike.
    Around(Var),
    /// Iterations of a parallel loop may use the same element of the team's scratch memory.
    Shared(Var, BufferId),
    /// A register of one thread is seen by others.
    Register(BufferId),
}

/// Memory that statements use.
#[derive(Clone, Debug, Default)]
pub struct Touched {
    reads: Set,
    writes: Set,
}

impl Touched {
    /// That of a statement.
    pub fn of(kernel: &Kernel, stmt: &Stmt) -> Touched {
        let mut touched = Touched::default();
        let memory = |b: BufferId| kernel.buffer(b).scope != Scope::Register;
        accesses(stmt, &mut |b, _, writes| match writes {
            true if memory(b) => drop(touched.writes.insert(b)),
            false if memory(b) => drop(touched.reads.insert(b)),
            _ => {}
        });
        touched
    }

    /// Whether nothing is used.
    pub fn is_empty(&self) -> bool {
        self.reads.is_empty() && self.writes.is_empty()
    }

    /// Whether nothing is written.
    pub fn only_reads(&self) -> bool {
        self.writes.is_empty()
    }

    /// Whether one of two accesses of a buffer writes.
    pub fn conflicts(&self, other: &Touched) -> bool {
        let meet = |a: &Set, b: &Set| !a.is_disjoint(b);
        meet(&self.writes, &other.writes)
            || meet(&self.writes, &other.reads)
            || meet(&self.reads, &other.writes)
    }

    /// Adds what other statements use.
    pub fn add(&mut self, other: Touched) {
        self.reads.extend(other.reads);
        self.writes.extend(other.writes);
    }
}

/// Whether a team of threads runs a kernel.
pub fn is_team(kernel: &Kernel) -> bool {
    let mut found = false;
    parallel_loops(&kernel.body, false, &mut |in_steps| found |= in_steps);
    found
}

/// Whether all parallel loops of a kernel are in serial ones, whose steps a team shares.
pub fn shares_steps(kernel: &Kernel) -> bool {
    let mut all = true;
    parallel_loops(&kernel.body, false, &mut |in_steps| all &= in_steps);
    all
}

/// Calls `f` for each parallel loop that is in no other with whether it is in a serial one.
fn parallel_loops(stmts: &[Stmt], in_steps: bool, f: &mut dyn FnMut(bool)) {
    for stmt in stmts {
        match stmt {
            Stmt::For(l) if l.mark == Mark::Parallel => f(in_steps),
            Stmt::For(l) => parallel_loops(&l.body, in_steps || l.role == Role::Serial, f),
            other => (other.bodies().into_iter()).for_each(|b| parallel_loops(b, in_steps, f)),
        }
    }
}

/// What the threads of a team do with a statement that is in no parallel loop.
pub fn part(kernel: &Kernel, stmt: &Stmt) -> Part {
    match stmt {
        Stmt::For(l) if l.mark == Mark::Parallel => Part::Share,
        _ if holds_parallel(stmt) => Part::Around,
        _ if Touched::of(kernel, stmt).only_reads() => Part::All,
        _ => Part::First,
    }
}

/// The scratch memory that is the team's.
pub fn shared_scratch(kernel: &Kernel) -> Set {
    let (mut once, mut shared) = (Set::new(), Set::new());
    leaves(&kernel.body, &mut |stmt| {
        let touched = Touched::of(kernel, stmt);
        for b in touched.reads.union(&touched.writes) {
            if kernel.buffer(*b).scope == Scope::Scratch && !once.insert(*b) {
                shared.insert(*b);
            }
        }
    });
    shared
}

/// Why threads cannot run a kernel as a team, if it is one's.
pub fn team_fault(kernel: &Kernel) -> Option<TeamFault> {
    if !is_team(kernel) {
        return None;
    }
    let shared = shared_scratch(kernel);
    let ranges = kernel.all_ranges();
    around(kernel, &kernel.body).or_else(|| {
        let mut fault = None;
        leaves(&kernel.body, &mut |stmt| {
            fault = fault.or_else(|| match part(kernel, stmt) {
                Part::Share => own_elements(stmt, &shared, &ranges),
                Part::First => own_registers(kernel, stmt),
                Part::All | Part::Around => None,
            });
        });
        fault
    })
}

/// Whether a parallel loop is in a statement, or is it.
pub fn holds_parallel(stmt: &Stmt) -> bool {
    let own = matches!(stmt, Stmt::For(l) if l.mark == Mark::Parallel);
    own || stmt.bodies().into_iter().flatten().any(holds_parallel)
}

/// Calls `f` with each statement that a thread does not just go through.
fn leaves<'s>(stmts: &'s [Stmt], f: &mut dyn FnMut(&'s Stmt)) {
    for stmt in stmts {
        match stmt {
            Stmt::For(l) if l.mark == Mark::Parallel => f(stmt),
            _ if holds_parallel(stmt) => {
                stmt.bodies().into_iter().for_each(|b| leaves(b, f));
            }
            _ => f(stmt),
        }
    }
}

/// Calls `f` with each access of a statement: buffer, index, and whether it writes.
fn accesses<'s>(stmt: &'s Stmt, f: &mut dyn FnMut(BufferId, &'s [Expr], bool)) {
    let mut value = |s: &'s Scalar| {
        s.visit(&mut |s| {
            if let Scalar::Load(b, index) = s {
                f(*b, index, false);
            }
        });
    };
    match stmt {
        Stmt::Store { value: s, .. } | Stmt::Check { value: s, .. } => value(s),
        Stmt::If {
            cond: Cond::Scalar(s),
            ..
        } => value(s),
        Stmt::While { cond, .. } => value(cond),
        _ => {}
    }
    if let Stmt::Store { buffer, index, .. } = stmt {
        f(*buffer, index, true);
    }
    for s in stmt.bodies().into_iter().flatten() {
        accesses(s, f);
    }
}

/// Checks that all threads take the same way to parallel loops.
fn around(kernel: &Kernel, stmts: &[Stmt]) -> Option<TeamFault> {
    stmts
        .iter()
        .filter(|s| holds_parallel(s))
        .find_map(|stmt| match stmt {
            Stmt::For(l) if l.mark == Mark::Parallel => {
                let nested = l.body.iter().any(holds_parallel);
                nested.then_some(TeamFault::Around(l.var))
            }
            Stmt::For(l) if l.mark == Mark::Plain && l.role != Role::Reduce => {
                around(kernel, &l.body)
            }
            Stmt::If {
                cond,
                then,
                otherwise,
            } if is_alike(kernel, cond) => {
                around(kernel, then).or_else(|| around(kernel, otherwise))
            }
            other => Some(TeamFault::Around(first_parallel(other)?)),
        })
}

/// Whether all threads decide a condition alike: it needs nothing that a thread writes to memory.
fn is_alike(kernel: &Kernel, cond: &Cond) -> bool {
    let Cond::Scalar(s) = cond else { return true };
    let mut alike = true;
    s.visit(&mut |s| {
        if let Scalar::Load(b, _) = s {
            alike &= matches!(kernel.buffer(*b).scope, Scope::Register | Scope::Input);
        }
    });
    alike
}

fn first_parallel(stmt: &Stmt) -> Option<Var> {
    match stmt {
        Stmt::For(l) if l.mark == Mark::Parallel => Some(l.var),
        other => (other.bodies().into_iter().flatten()).find_map(first_parallel),
    }
}

/// Checks that iterations of a parallel loop use elements of their own of what is shared and
/// written.
fn own_elements(stmt: &Stmt, shared: &Set, ranges: &Ranges) -> Option<TeamFault> {
    let Stmt::For(l) = stmt else { return None };
    let mut used: Vec<(BufferId, &[Expr], bool)> = Vec::new();
    accesses(stmt, &mut |b, index, writes| used.push((b, index, writes)));
    let written: Set = used.iter().filter(|a| a.2).map(|a| a.0).collect();
    written.intersection(shared).find_map(|b| {
        let of = || used.iter().filter(|a| a.0 == *b).map(|a| a.1);
        let rank = of().next()?.len();
        let apart = (0..rank).any(|d| are_apart(of().map(|index| &index[d]), l.var, ranges));
        (!apart).then_some(TeamFault::Shared(l.var, *b))
    })
}

/// Whether no two iterations of a loop have an index in common: they are steps of which none
/// reaches the next.
fn are_apart<'e>(indices: impl Iterator<Item = &'e Expr>, var: Var, ranges: &Ranges) -> bool {
    let mut all: Option<(i64, i64, i64)> = None;
    for e in indices {
        let step = e.linear_coefficient(var).and_then(|c| c.as_const());
        let Some(step) = step.filter(|n| *n > 0) else {
            return false;
        };
        let (lo, hi) = ranges.bounds(&(e.clone() - Expr::from(var) * step));
        let (first, low, high) = all.unwrap_or((step, lo, hi));
        if first != step {
            return false;
        }
        all = Some((step, low.min(lo), high.max(hi)));
    }
    all.is_some_and(|(step, lo, hi)| hi.checked_sub(lo).is_some_and(|n| n < step))
}

/// Checks that nothing else sees the registers that the first thread sets.
fn own_registers(kernel: &Kernel, stmt: &Stmt) -> Option<TeamFault> {
    let count = |stmts: &[Stmt], register: BufferId| {
        let mut n = 0;
        let mut look = |s: &Stmt| accesses(s, &mut |b, _, _| n += usize::from(b == register));
        stmts.iter().for_each(&mut look);
        n
    };
    let mut own = Set::new();
    accesses(stmt, &mut |b, _, writes| {
        if writes && kernel.buffer(b).scope == Scope::Register {
            own.insert(b);
        }
    });
    let stmt = std::slice::from_ref(stmt);
    let seen = |b: &BufferId| count(stmt, *b) != count(&kernel.body, *b);
    own.into_iter().find(seen).map(TeamFault::Register)
}
