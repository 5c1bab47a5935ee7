//! The recipe of everything else: innermost loops become vectors.
//!
//! Innermost space loops are split into tiles of vector lanes; innermost reductions by plain
//! updates become lanes that each reduce their share of the terms and are joined once.
use super::block_sums::block_sums;
use super::primitives::{At, Primitive, Rejected};
use super::scheduler::Scheduler;
use super::tile::{Tile, tile};
use super::{Target, window};
use tensmith_ir::expr::{Expr, Ranges, Var};
use tensmith_ir::loops::{
    BufferId, For, Kernel, Mark, Role, Scalar, Scope, Stmt, is_update, vectorisable,
};

/// Registers of a tile: enough to hide the latency of short chains.
const REGISTERS: i64 = 4;
/// Fewer iterations than these are no vector.
const FEW: i64 = 4;

/// The innermost loops among `stmts`, at any depth, that can be vectors.
pub fn choose(kernel: &Kernel, target: &Target, stmts: &[Stmt]) -> Vec<Var> {
    let mut found = Vec::new();
    for stmt in stmts {
        match stmt {
            Stmt::For(l) if l.mark == Mark::Plain && eligible(kernel, target, l) => {
                found.push(l.var);
            }
            _ => {
                let nested = stmt.bodies().into_iter();
                found.extend(nested.flat_map(|b| choose(kernel, target, b)));
            }
        }
    }
    found
}

/// Makes vectors of a loop that was chosen.
///
/// Errors: as the primitives.
pub fn schedule(s: &mut Scheduler, target: &Target, var: Var) -> Result<(), Rejected> {
    match s.find(var)?.role {
        Role::Space => split_space(s, target, var),
        _ => split_reduce(s, target, var),
    }
}

fn eligible(kernel: &Kernel, target: &Target, l: &For) -> bool {
    let innermost = !l
        .body
        .iter()
        .any(|s| matches!(s, Stmt::For(_) | Stmt::While { .. } | Stmt::Check { .. }));
    let around_sums = l.role == Role::Space
        && window::reduces(&l.body)
        && window::contiguous(kernel, l, window::STEP, &|_| false);
    let long = l.extent.as_const().is_none_or(|e| e >= FEW);
    let role = match l.role {
        Role::Space => contiguous(kernel, l),
        Role::Reduce => target.reassociate && l.reduction.is_none() && plain_updates(kernel, l),
        Role::Serial => false,
    };
    (innermost && role || around_sums) && long && vectorisable(kernel, l)
}

/// Whether at least one store or load has consecutive lanes: else vectors only add work.
fn contiguous(kernel: &Kernel, l: &For) -> bool {
    l.body.iter().any(|s| match s {
        Stmt::Store { buffer, index, .. } => beside(kernel, l, *buffer, index),
        _ => false,
    })
}

/// Whether consecutive iterations have consecutive elements in memory.
fn beside(kernel: &Kernel, l: &For, buffer: BufferId, index: &[Expr]) -> bool {
    let buffer = kernel.buffer(buffer);
    let offset = buffer.offset(index).simplify(&Ranges::new());
    let step = offset.linear_coefficient(l.var);
    buffer.scope != Scope::Register && step.is_some_and(|c| c.is(1))
}

/// Whether every store is an update of a register, or sets a register that is read only after, or
/// an element of memory that lies beside that of the next iteration.
fn plain_updates(kernel: &Kernel, l: &For) -> bool {
    l.body.iter().all(|s| match s {
        Stmt::Store { buffer, value, .. } if kernel.buffer(*buffer).scope == Scope::Register => {
            is_update(*buffer, value) || !reads(&l.body, *buffer, s)
        }
        Stmt::Store { buffer, index, .. } => beside(kernel, l, *buffer, index),
        _ => false,
    })
}

/// Whether `buffer` is read in `body` before or in statement `at`.
fn reads(body: &[Stmt], buffer: BufferId, at: &Stmt) -> bool {
    let mut found = false;
    for stmt in body {
        if let Stmt::Store { value, .. } = stmt {
            value.visit(&mut |s| found |= matches!(s, Scalar::Load(b, _) if *b == buffer));
        }
        if std::ptr::eq(stmt, at) {
            break;
        }
    }
    found
}

fn split_space(s: &mut Scheduler, target: &Target, var: Var) -> Result<(), Rejected> {
    for window in window::short_windows(&s.find(var)?.body) {
        s.apply(Primitive::Unroll(window))?;
    }
    if target.reassociate {
        block_sums(s, var)?;
    }
    let lanes = Tile {
        var,
        size: REGISTERS * target.lanes(),
        mark: Mark::Vector,
    };
    tile(s, target, &[lanes], &[var]).map(drop)
}

/// Lanes of the narrowest register.
const LANES: i64 = 4;

/// A tile of lanes that each reduce their share of the terms and are joined at the end, then the
/// rest: as lanes where vectors may be partly filled, else one by one.
fn split_reduce(s: &mut Scheduler, target: &Target, var: Var) -> Result<(), Rejected> {
    let Some(extent) = s.extent(var) else {
        // The rest is as long as a tile at most, and runs one by one.
        let width = target.lanes();
        let whole = s.cut(var, At::Multiple(width))?[0];
        return share(s, whole, width);
    };
    let width = REGISTERS * target.lanes();
    let done = extent / width * width;
    let rest = extent - done;
    let last = match target.masks() {
        true => rest,
        false => rest / LANES * LANES,
    };
    let last = if last >= FEW { last } else { 0 };
    let mut ends = vec![done, done + last];
    ends.retain(|end| (1..extent).contains(end));
    ends.dedup();
    let parts = match ends.is_empty() {
        true => vec![var],
        false => s.cut(var, At::Points(ends))?,
    };
    let mut parts = parts.into_iter();
    for lanes in [done, last] {
        if lanes > 0
            && let Some(part) = parts.next()
        {
            share(s, part, width)?;
        }
    }
    Ok(())
}

/// Makes lanes of a loop: `width` that each reduce their share of the terms, or a lane for each
/// term if there are no more.
fn share(s: &mut Scheduler, var: Var, width: i64) -> Result<(), Rejected> {
    if s.extent(var).is_some_and(|n| n <= width) {
        return s.apply(Primitive::Vectorize(var)).map(drop);
    }
    let (terms, lanes) = s.split(var, width)?;
    s.reorder(vec![lanes, terms])?;
    s.apply(Primitive::Rfactor(terms))?;
    block_sums(s, terms)?;
    s.apply(Primitive::Vectorize(lanes)).map(drop)
}
