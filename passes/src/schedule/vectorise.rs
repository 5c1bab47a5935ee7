//! The recipe of everything else: innermost loops become vectors.
//!
//! Innermost space loops are split into tiles of vector lanes; innermost reductions by plain
//! updates become lanes that each reduce their share of the terms and are joined once.
use super::block_sums::block_sums;
use super::nest::visit_scalars;
use super::primitives::{At, Primitive, Rejected};
use super::scheduler::Scheduler;
use super::tile::{Tile, tile};
use super::{Target, window};
use tensmith_ir::expr::{Atom, Expr, Ranges, Var};
use tensmith_ir::loops::{
    BufferId, For, Kernel, Mark, Role, Scalar, Scope, Stmt, is_update, vectorisable,
};

/// Registers of a tile: enough to hide the latency of short chains.
const REGISTERS: i64 = 4;
/// Registers of a tile whose lanes have indices that are constants of each register.
const LISTED: i64 = 64;
/// The same where no shorter tile will do.
const MOST_LISTED: i64 = 256;
/// Registers after which such indices may move by the same steps again.
const PERIOD: i64 = 16;
/// Units: elements from each lane to the next. What lies so near is picked out of few vectors where
/// its places are constants.
const NEAR: f64 = 4.0;
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
        _ => {
            let registers = whole(s, target, var).unwrap_or(REGISTERS);
            split_reduce(s, target, var, registers)
        }
    }
}

/// The registers that hold all of a loop, if these are few: its lanes are joined once, and what the
/// next loop reads again can stay where it is.
fn whole(s: &Scheduler, target: &Target, var: Var) -> Option<i64> {
    let vectors = (s.extent(var)? + target.lanes() - 1) / target.lanes();
    (target.masks() && vectors <= target.registers() / 2).then_some(vectors.max(REGISTERS))
}

/// Whether a loop stands beside a reduction, as those over a row of a softmax do.
fn beside_sum(s: &Scheduler, var: Var) -> bool {
    let is_sum = |s: &Stmt| matches!(s, Stmt::For(l) if l.role == Role::Reduce);
    s.siblings(var).iter().any(is_sum)
}

fn eligible(kernel: &Kernel, target: &Target, l: &For) -> bool {
    let innermost = !l
        .body
        .iter()
        .any(|s| matches!(s, Stmt::For(_) | Stmt::While { .. } | Stmt::Check { .. }));
    let around_sums = l.role == Role::Space
        && window::reduces(&l.body)
        && window::contiguous(kernel, l, window::steps(target), &|_| false);
    let long = l.extent.as_const().is_none_or(|e| e >= FEW);
    let role = match l.role {
        Role::Space => contiguous(kernel, l) && indices_fit(l, target),
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

/// The registers of a tile whose lanes have numbers or places that are constants of each register.
enum Registers {
    /// Any: those of all registers are the same steps.
    Any,
    /// So many, after which they are.
    These(i64),
    /// No number of registers will do: each lane computes its own.
    None,
}

impl Registers {
    /// Those of a loop with all that `repeats` within so many lanes.
    fn of(l: &For, target: &Target, repeats: &dyn Fn(i64) -> bool) -> Registers {
        let lanes = target.lanes();
        if repeats(lanes) {
            return Registers::Any;
        }
        let within = |most: i64| l.extent.as_const().is_some_and(|n| n <= most * lanes);
        if !target.masks() {
            return Registers::None;
        }
        if within(LISTED) {
            return Registers::These(LISTED);
        }
        let period = (2..=PERIOD).find(|registers| repeats(registers * lanes));
        let listed = within(MOST_LISTED).then_some(MOST_LISTED);
        match period.or(listed) {
            Some(registers) => Registers::These(registers),
            None => Registers::None,
        }
    }
}

/// Whether numbers that are indices are constants of registers: else each lane computes its own,
/// which takes longer than without lanes.
fn indices_fit(l: &For, target: &Target) -> bool {
    let registers = Registers::of(l, target, &|lanes| numbers_repeat(l, lanes));
    !matches!(registers, Registers::None)
}

/// Whether the numbers that are indices move by the same steps within so many lanes.
fn numbers_repeat(l: &For, lanes: i64) -> bool {
    let mut fine = true;
    visit_scalars(&l.body, &mut |s| {
        s.visit(&mut |s| {
            if let Scalar::Index(e) = s {
                fine &= steps_repeat(e, l.var, lanes);
            }
        });
    });
    fine
}

/// Whether the places of elements that lie near each other do.
fn places_repeat(kernel: &Kernel, l: &For, lanes: i64) -> bool {
    let mut fine = true;
    visit_scalars(&l.body, &mut |s| {
        s.visit(&mut |s| {
            if let Scalar::Load(b, index) = s
                && kernel.buffer(*b).scope != Scope::Register
            {
                let offset = kernel.buffer(*b).offset(index);
                let near = slope(&offset, l.var).is_some_and(|step| step <= NEAR);
                fine &= !near || steps_repeat(&offset, l.var, lanes);
            }
        });
    });
    fine
}

/// By how much an index moves with each iteration, about; `None` if it leaps.
fn slope(e: &Expr, var: Var) -> Option<f64> {
    let mut total = 0.0;
    for (atoms, coefficient) in e.terms() {
        if !atoms.iter().any(|atom| atom.mentions(var)) {
            continue;
        }
        let [atom] = &atoms[..] else { return None };
        let step = match atom {
            Atom::Size(_) | Atom::Var(_) => 1.0,
            Atom::Div(p) => slope(&p.0, var)? / p.1.as_const()? as f64,
            Atom::Mod(_) => return None,
            Atom::Min(p) | Atom::Max(p) => {
                f64::max(slope(&p.0, var)?.abs(), slope(&p.1, var)?.abs())
            }
        };
        total += *coefficient as f64 * step;
    }
    Some(total.abs())
}

fn steps_repeat(e: &Expr, var: Var, lanes: i64) -> bool {
    let mut atoms = e.terms().iter().flat_map(|(atoms, _)| atoms);
    atoms.all(|atom| match atom {
        Atom::Size(_) | Atom::Var(_) => true,
        Atom::Div(pair) | Atom::Mod(pair) => {
            let step = pair.0.linear_coefficient(var).and_then(|c| c.as_const());
            let whole = |(c, d): (i64, i64)| c.checked_mul(lanes).is_some_and(|n| n % d == 0);
            step == Some(0) || step.zip(pair.1.as_const()).is_some_and(whole)
        }
        Atom::Min(pair) | Atom::Max(pair) => !pair.0.mentions(var) && !pair.1.mentions(var),
    })
}

fn split_space(s: &mut Scheduler, target: &Target, var: Var) -> Result<(), Rejected> {
    let body = s.find(var)?.body.clone();
    for window in window::unrolled(s.choices(), &body) {
        s.apply(Primitive::Unroll(window))?;
    }
    if target.reassociate {
        block_sums(s, var)?;
    }
    let l = s.find(var)?;
    let all_repeat = |lanes| numbers_repeat(l, lanes) && places_repeat(s.kernel(), l, lanes);
    let registers = match Registers::of(l, target, &all_repeat) {
        Registers::These(registers) => registers,
        _ => {
            let whole = whole(s, target, var).filter(|_| beside_sum(s, var));
            let default = whole.unwrap_or(REGISTERS);
            s.choices().number("registers", &[1, 2, 4, 8], default)
        }
    };
    let lanes = Tile {
        var,
        size: registers * target.lanes(),
        mark: Mark::Vector,
    };
    tile(s, target, &[lanes], &[var], None).map(drop)
}

/// Lanes of the narrowest register.
const LANES: i64 = 4;

/// A tile of lanes that each reduce their share of the terms and are joined at the end, then the
/// rest: as lanes where vectors may be partly filled, else one by one. `registers` are those of a
/// tile, unless a parameter says another number.
///
/// Errors: as the primitives.
pub(super) fn split_reduce(
    s: &mut Scheduler,
    target: &Target,
    var: Var,
    registers: i64,
) -> Result<(), Rejected> {
    let Some(extent) = s.extent(var) else {
        // The rest is as long as a tile at most, and runs one by one.
        let width = target.lanes();
        let whole = s.cut(var, At::Multiple(width))?[0];
        return share(s, whole, width);
    };
    let registers = s.choices().number("sums", &[1, 2, 4, 8], registers);
    let width = registers * target.lanes();
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
