//! The recipe of rows that are put together of short parts.
//!
//! An anchor is a nest around a list of scalar work: stores of single elements, and short loops, as a
//! concatenation along the innermost axis makes them of positions and their sines. No part is long
//! enough to be lanes. The innermost loop around the list becomes lanes instead; the short loops
//! become straight code, so that neighbouring columns are turned in registers and stored as rows.
//!
//! Before: `for r < 64 { o[r, 0] = a[r]; for i < 2 { o[r, 1 + i] = sin(b[r, i]) } }`. After:
//! `for t < 4 { for r < 16 vector { o[r, 0] = ..; o[r, 1] = sin(b[r, 0]); o[r, 2] = .. } }`.
use super::Target;
use super::index_split;
use super::nest::Nest;
use super::primitives::{At, Primitive, Rejected};
use super::scheduler::Scheduler;
use super::tile::{Tile, tile};
use super::transpose::{are_turned, is_scalar_work};
use super::window::visit_stores;
use tensmith_ir::expr::{Ranges, Var};
use tensmith_ir::loops::{Kernel, Mark, Role, Scalar, Scope, Stmt};

/// Iterations of a short loop, which are no vector.
const FEW: i64 = 3;
/// The same where functions are computed: lanes that stay empty take as long as full ones.
const FEW_OF_CALLS: i64 = 8;
/// Elements of a row at most.
const MOST: i64 = 128;
/// Functions of straight code at most: more only fill the instruction cache.
const MOST_CALLS: i64 = 64;
/// The same of those that are computed for several vectors in turns.
const MOST_TURNED: i64 = 16;
/// Vectors whose functions are computed in turns.
const TURNS: i64 = 2;

/// What is decided for an anchor.
pub struct Choice {
    /// All loops around the list, outermost first.
    order: Vec<Var>,
    /// Where guards change along the last of them.
    points: Vec<i64>,
    /// The short loops of the list.
    short: Vec<Var>,
    lanes: Tile,
}

/// What the list of an anchor takes.
#[derive(Default)]
struct Work {
    short: Vec<Var>,
    stores: i64,
    calls: i64,
    longest: i64,
}

/// What to do with a nest if it is an anchor.
pub fn choose(kernel: &Kernel, nest: &Nest<'_>, target: &Target) -> Option<Choice> {
    if !target.masks() {
        return None;
    }
    // A list of one short loop is nested perfectly.
    let mut outer = nest.clone();
    let mut work = Work::default();
    let is_few = |n: i64| (2..=FEW_OF_CALLS).contains(&n);
    if let Some((var, extent)) = nest.loops.last()
        && extent.as_const().is_some_and(is_few)
        && is_scalar_work(nest.body)
    {
        work.longest = extent.as_const()?;
        work.short.push(*var);
        outer.loops.pop();
    }
    let copies = work.longest.max(1);
    work.add(kernel, nest.body, copies)?;
    let (var, extent) = outer.loops.last()?;
    let count = extent.as_const()?;
    let few = if work.calls > 0 { FEW_OF_CALLS } else { FEW };
    let fits = count >= target.lanes() / 2
        && work.longest <= few
        && (2..=MOST).contains(&work.stores)
        && work.calls <= MOST_CALLS;
    if !fits || !are_turned(kernel, target, nest.body) || !goes_across(kernel, nest.body, *var) {
        return None;
    }
    let in_turns = (1..=MOST_TURNED).contains(&work.calls);
    let vectors = if in_turns { TURNS } else { 1 };
    let lanes = Tile {
        var: *var,
        size: vectors * target.lanes(),
        mark: Mark::Vector,
    };
    Some(Choice {
        points: index_split::choose(&outer).map_or(vec![], |(_, points)| points),
        order: outer.vars(),
        short: work.short,
        lanes,
    })
}

/// Schedules the nest as was decided: parts of the loop of lanes within which no guard changes, one
/// after the other.
///
/// Errors: as the primitives.
pub fn schedule(s: &mut Scheduler, target: &Target, choice: Choice) -> Result<(), Rejected> {
    let lanes = choice.lanes;
    if choice.points.is_empty() {
        return lanes_of(s, target, lanes, &choice.short, choice.order);
    }
    let forwarded = s.apply(Primitive::Cut(lanes.var, At::Points(choice.points)))?;
    for (n, var) in forwarded.of(lanes.var).into_iter().enumerate() {
        s.try_apply(Primitive::FoldGuards(var))?;
        if s.extent(var).is_some_and(|count| count >= lanes.size / 2) {
            let short: Vec<Var> = choice.short.iter().map(|v| forwarded.of(*v)[n]).collect();
            lanes_of(s, target, Tile { var, ..lanes }, &short, vec![var])?;
        }
    }
    Ok(())
}

/// Straight code of lanes.
fn lanes_of(
    s: &mut Scheduler,
    target: &Target,
    lanes: Tile,
    short: &[Var],
    order: Vec<Var>,
) -> Result<(), Rejected> {
    for var in short {
        s.apply(Primitive::Straighten(*var))?;
    }
    tile(s, target, &[lanes], &order, None).map(drop)
}

impl Work {
    /// Adds what statements take that are run so many times; `None` if they are no list of scalar
    /// work.
    fn add(&mut self, kernel: &Kernel, stmts: &[Stmt], copies: i64) -> Option<()> {
        for stmt in stmts {
            match stmt {
                Stmt::Store { buffer, value, .. } => {
                    let in_memory = kernel.buffer(*buffer).scope != Scope::Register;
                    self.stores += copies * i64::from(in_memory);
                    value.visit(&mut |s| {
                        self.calls += copies * i64::from(matches!(s, Scalar::Call(..)));
                    });
                }
                Stmt::For(l) if l.role == Role::Space && l.mark == Mark::Plain && copies == 1 => {
                    let extent = l.extent.as_const().filter(|_| is_scalar_work(&l.body))?;
                    self.longest = self.longest.max(extent);
                    self.short.push(l.var);
                    self.add(kernel, &l.body, extent)?;
                }
                _ => return None,
            }
        }
        Some(())
    }
}

/// Whether everything is stored to results, at elements that lie apart along a loop.
fn goes_across(kernel: &Kernel, body: &[Stmt], var: Var) -> bool {
    let mut fine = true;
    visit_stores(body, &mut |b, index| {
        let buffer = kernel.buffer(b);
        if buffer.scope == Scope::Register {
            return;
        }
        let offset = buffer.offset(index).simplify(&Ranges::new());
        let step = offset.linear_coefficient(var).and_then(|c| c.as_const());
        fine &= buffer.scope == Scope::Output && step.is_some_and(|n| n > 1);
    });
    fine
}
