//! Schedules: how the loops of a kernel are run.
//!
//! [`default_schedule`] reads from top to bottom: cleanups, then the first recipe that fits, then
//! threads. Recipes decide; [`primitives`] are all that changes a kernel, and the [`trace`] of a
//! kernel lists those that made it. Every primitive keeps what the kernel computes; only sums
//! change their order.
mod block_sums;
mod borders;
mod checks;
mod collapse;
mod contraction;
mod copies;
mod dots;
mod folds;
mod groups;
mod index_split;
mod interleave;
mod narrow;
mod nest;
mod packable;
mod panels;
pub mod parameters;
mod parts;
mod phases;
pub mod primitives;
mod reorder;
mod repeats;
mod rows;
mod scheduler;
mod steps;
mod strips;
pub mod task;
mod team;
mod terms;
mod tile;
pub mod trace;
mod transform;
mod transpose;
mod turned;
mod vectorise;
mod window;

use crate::cost::{Analytic, CostModel};
pub(crate) use contraction::least_cycles;
use nest::Nest;
pub use packable::Packable;
use parameters::{Parameter, Values};
use primitives::edit::Place;
use primitives::{Primitive, Rejected};
use scheduler::Scheduler;
use std::sync::Arc;
use task::Task;
use tensmith_ir::expr::{Expr, Var, product};
use tensmith_ir::loops::{BufferId, Kernel, Role, Scalar, Stmt};
use trace::Trace;

/// What schedules need to know of the machine.
#[derive(Clone, Debug)]
pub struct Target {
    /// Units: bytes of a vector register.
    pub vector_bytes: usize,
    /// Whether multiply and add can be one instruction.
    pub fma: bool,
    /// Whether vectors have dot products of bytes, four terms a lane.
    pub dots: bool,
    /// Whether sums may change the order of their terms, and products and sums contract.
    pub reassociate: bool,
    /// The number of threads that a run is planned for.
    pub threads: usize,
    /// What work costs.
    pub cost: Arc<dyn CostModel>,
}

impl Target {
    /// `f32` lanes of a vector register.
    pub(crate) fn lanes(&self) -> i64 {
        (self.vector_bytes / 4) as i64
    }

    /// Vector registers.
    pub(crate) fn registers(&self) -> i64 {
        if self.vector_bytes >= 64 { 32 } else { 16 }
    }

    /// Whether a vector may be loaded and stored in part, so that the end of a loop needs no
    /// scalar code.
    pub(crate) fn masks(&self) -> bool {
        self.vector_bytes >= 32
    }
}

impl Default for Target {
    fn default() -> Self {
        Target {
            vector_bytes: 16,
            fma: false,
            dots: false,
            reassociate: true,
            threads: 1,
            cost: Arc::new(Analytic::default()),
        }
    }
}

/// Work below which handing a part to another thread costs more than it saves.
/// Units: vectors of iterations of innermost statements; a hand-off and a barrier take about as
/// long as a thousand.
const PARALLEL_WORK: i64 = 2048;

/// A kernel and the schedule that made it of its naive one.
#[derive(Clone, Debug)]
pub struct Scheduled {
    /// The kernel.
    pub kernel: Kernel,
    /// What was done to the naive kernel.
    pub trace: Trace,
    /// The parameters that recipes asked for on the way.
    pub parameters: Vec<Parameter>,
}

/// How a kernel came about.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The kernel as the definitions give it.
    pub task: Task,
    /// What was done to it.
    pub trace: Trace,
    /// The parameters that recipes asked for on the way.
    pub parameters: Vec<Parameter>,
}

/// Schedules a naive kernel as the cost model prefers; `packable` says which inputs are constants,
/// whose layout may change.
pub fn default_schedule(
    kernel: Kernel,
    target: &Target,
    packable: &dyn Fn(BufferId) -> bool,
) -> Scheduled {
    schedule_with(kernel, target, &packable, Values::default())
}

/// Schedules a naive kernel as [`default_schedule`] does, but for parameters of which values are
/// said.
pub fn schedule_with(
    kernel: Kernel,
    target: &Target,
    packable: &dyn Packable,
    values: Values,
) -> Scheduled {
    let mut s = Scheduler::new(kernel, values);
    clean_up(&mut s, target);
    let work = work(&s.kernel().body);
    let all = s.kernel().body.len();
    schedule_list(&mut s, Place::default(), all, target, packable);
    s.choices().next_nest();
    let parallel = work.is_none_or(|w| w >= PARALLEL_WORK * target.lanes());
    let team = team::choose(s.kernel(), target).is_some_and(|nests| {
        s.recipe("team", |s| team::schedule(s, target, nests))
            .is_ok()
    });
    // A kernel without an outermost loop of independent iterations is one thread's.
    let _ = match parallel {
        _ if team => Ok(()),
        true => s.recipe("threads", |s| parallelise(s, target)),
        false => s.recipe("frame", attach_all),
    };
    let (kernel, trace, parameters) = s.finish();
    Scheduled {
        kernel,
        trace,
        parameters,
    }
}

/// Removes loops of one iteration, and makes products and sums one operation.
fn clean_up(s: &mut Scheduler, target: &Target) {
    let mut units = Vec::new();
    primitives::registers::visit_stmts(&s.kernel().body, &mut |stmt| {
        if let Stmt::For(l) = stmt
            && l.extent.is(1)
            && l.reduction.is_none()
        {
            units.push(l.var);
        }
    });
    // Either may have nothing to do.
    let _ = s.apply(Primitive::DropUnitLoops(units));
    if target.fma && target.reassociate {
        let _ = s.apply(Primitive::ContractFma);
    }
}

/// Schedules so many statements from a place on, one after the other.
fn schedule_list(
    s: &mut Scheduler,
    mut place: Place,
    count: usize,
    target: &Target,
    packable: &dyn Packable,
) {
    for _ in 0..count {
        if let Stmt::Store { .. } = place.list(&s.kernel().body)[place.at] {
            place.at += 1;
            continue;
        }
        let before = length(s, &place);
        schedule_nest(s, &place, target, packable);
        place.at += 1 + length(s, &place) - before;
        s.choices().next_nest();
    }
}

/// The statements of the list that a place is in.
fn length(s: &Scheduler, place: &Place) -> usize {
    place.list(&s.kernel().body).len()
}

/// Schedules the statement at a place by the first recipe that fits. A recipe that a primitive
/// rejects leaves the nest to the next one.
fn schedule_nest(s: &mut Scheduler, at: &Place, target: &Target, packable: &dyn Packable) {
    let lists = strips::choose(s.kernel(), at).or_else(|| steps::choose(s.kernel(), at));
    if let Some(lists) = lists {
        for list in lists {
            let all = length(s, &list);
            schedule_list(s, list, all, target, packable);
        }
        return;
    }
    let parts = panels::split_panels(s, at);
    if parts > 1 {
        schedule_list(s, at.clone(), parts, target, packable);
        return;
    }
    reorder::follow_results(s, at);
    groups::split_groups(s, at, target);
    repeats::split_repeats(s, at);
    // What is packed along a loop needs an index of its own.
    let nest = &Nest::at(s.kernel(), at);
    let anchor = contraction::is_anchor(s.kernel(), nest, target);
    let best = contraction::cheapest(s.kernel(), nest, target, packable);
    let pays = |b| packable.cycles(b) == 0.0 || best.is_some_and(|(_, packed)| packed == Some(b));
    collapse::collapse(s, at, &|b| anchor && packable.admits(b) && pays(b));
    if let Some(choice) = terms::choose(s, at, target, packable) {
        let steps = |s: &mut Scheduler| terms::schedule(s, target, choice);
        if s.recipe("few_columns", steps).is_ok() {
            return;
        }
    }
    if let Some(choice) = dots::choose(s, at, target, packable) {
        let steps = |s: &mut Scheduler| dots::schedule(s, target, choice);
        if s.recipe("dots", steps).is_ok() {
            return;
        }
    }
    if let Some(choice) = contraction::choose(s, at, target, packable) {
        let steps = |s: &mut Scheduler| contraction::schedule(s, target, choice);
        if s.recipe("contraction", steps).is_ok() {
            return;
        }
    }
    if let Some(choice) = borders::choose_columns(s.kernel(), &Nest::at(s.kernel(), at)) {
        let steps = |s: &mut Scheduler| borders::schedule(s, at, choice);
        if let Ok((parts, count)) = s.recipe("borders", steps) {
            schedule_list(s, parts, count, target, packable);
            return;
        }
    }
    if let Some(choice) = window::choose(s, at, target, packable) {
        let steps = |s: &mut Scheduler| window::schedule(s, target, choice);
        if s.recipe("window", steps).is_ok() {
            return;
        }
    }
    if let Some(choice) = narrow::choose(s, at, target) {
        let steps = |s: &mut Scheduler| narrow::schedule(s, target, choice);
        if s.recipe("narrow_rows", steps).is_ok() {
            return;
        }
    }
    if let Some(choice) = borders::choose(s.kernel(), &Nest::at(s.kernel(), at)) {
        let steps = |s: &mut Scheduler| borders::schedule(s, at, choice);
        if let Ok((parts, count)) = s.recipe("borders", steps) {
            schedule_list(s, parts, count, target, packable);
            return;
        }
    }
    if let Some(choice) = folds::choose(s.kernel(), &Nest::at(s.kernel(), at)) {
        let steps = |s: &mut Scheduler| folds::schedule(s, at, choice);
        if let Ok((parts, count)) = s.recipe("folds", steps) {
            schedule_list(s, parts, count, target, packable);
            return;
        }
    }
    if let Some(choice) = phases::choose(s, at, target) {
        let steps = |s: &mut Scheduler| phases::schedule(s, target, choice);
        if s.recipe("phases", steps).is_ok() {
            return;
        }
    }
    if let Some(groups) = phases::groups(s.kernel(), &Nest::at(s.kernel(), at)) {
        let steps = |s: &mut Scheduler| phases::schedule_groups(s, at, target, groups);
        if s.recipe("groups_of_channels", steps).is_ok() {
            return;
        }
    }
    if let Some(choice) = interleave::choose(s.kernel(), &Nest::at(s.kernel(), at), target) {
        let steps = |s: &mut Scheduler| interleave::schedule(s, target, choice);
        if s.recipe("interleaved_rows", steps).is_ok() {
            return;
        }
    }
    if let Some(choice) = transform::choose(s, at, target) {
        let steps = |s: &mut Scheduler| transform::schedule(s, target, choice);
        if s.recipe("transform", steps).is_ok() {
            return;
        }
    }
    if let Some(choice) = borders::choose_turned(s.kernel(), &Nest::at(s.kernel(), at), target) {
        let steps = |s: &mut Scheduler| borders::schedule(s, at, choice);
        if let Ok((parts, count)) = s.recipe("borders", steps) {
            schedule_list(s, parts, count, target, packable);
            return;
        }
    }
    if let Some(choice) = transpose::choose(s, at, target) {
        let steps = |s: &mut Scheduler| transpose::schedule(s, target, choice);
        if s.recipe("transpose", steps).is_ok() {
            return;
        }
    }
    if let Some(choice) = checks::choose(s, at) {
        let steps = |s: &mut Scheduler| checks::schedule(s, target, choice);
        if s.recipe("checks", steps).is_ok() {
            return;
        }
    }
    vectors(s, at, target);
}

/// The recipe of everything else: each loop that can be vectors. A part that a primitive rejects
/// does no harm to the others.
fn vectors(s: &mut Scheduler, at: &Place, target: &Target) {
    let before = length(s, at);
    if let Some(choice) = index_split::choose(&Nest::at(s.kernel(), at)) {
        let _ = s.recipe("ranges", |s| index_split::schedule(s, choice));
    }
    if let Some(choice) = parts::choose(s.kernel(), &Nest::at(s.kernel(), at), target) {
        let steps = |s: &mut Scheduler| parts::schedule(s, target, choice);
        if s.recipe("short_parts", steps).is_ok() {
            return;
        }
    }
    if target.reassociate {
        reorder::sums_follow_operands(s, at);
    }
    collapse::collapse_sums(s, at);
    for sum in Nest::at(s.kernel(), at).sums() {
        let _ = s.step("terms", Primitive::Stage(sum));
    }
    for choice in index_split::choose_rows(&Nest::at(s.kernel(), at), target) {
        let _ = s.recipe("ranges", |s| index_split::schedule(s, choice));
    }
    let end = at.at + 1 + length(s, at) - before;
    let stmts = &at.list(&s.kernel().body)[at.at..end];
    for var in vectorise::choose(s.kernel(), target, stmts) {
        let _ = s.recipe("vectors", |s| vectorise::schedule(s, target, var));
    }
    if let Some(choice) = rows::choose(s, at, target) {
        let _ = s.recipe("rows", |s| rows::schedule(s, target, choice));
    }
    let end = at.at + 1 + length(s, at) - before;
    let stmts = &at.list(&s.kernel().body)[at.at..end];
    for var in copies::choose(stmts) {
        let _ = s.recipe("copies", |s| copies::schedule(s, target, var));
    }
}

/// What a function takes. Units: other statements.
const CALL: i64 = 8;

/// The iterations of all innermost statements, functions of them counted as several; `None` if sizes
/// are not known.
fn work(stmts: &[Stmt]) -> Option<i64> {
    stmts.iter().try_fold(0i64, |sum, stmt| {
        let own = match stmt {
            Stmt::Store { value, .. } => {
                let mut calls = 0;
                value.visit(&mut |s| calls += i64::from(matches!(s, Scalar::Call(..))));
                1 + CALL * calls
            }
            Stmt::For(l) => work(&l.body)?
                .max(1)
                .saturating_mul(l.extent.as_const()?.max(0)),
            other => other
                .bodies()
                .into_iter()
                .try_fold(1i64, |s, b| Some(s.saturating_add(work(b)?)))?,
        };
        Some(sum.saturating_add(own))
    })
}

/// Deals the outermost loops to threads: neighbouring outer loops become one while the outermost
/// has too few iterations to balance. What is before them becomes part of their begin.
///
/// Errors: as the primitives.
fn parallelise(s: &mut Scheduler, target: &Target) -> Result<(), Rejected> {
    let mut last = Place::default();
    last.at = s.kernel().body.len().saturating_sub(1);
    let Some(Stmt::For(l)) = s.kernel().body.last() else {
        return Err(Rejected::NoEffect);
    };
    if l.role != Role::Space {
        return Err(Rejected::Serial(l.var));
    }
    let outermost = l.var;
    let nest = Nest::at(s.kernel(), &last);
    let few = |e: &Expr| e.as_const().is_some_and(|n| n < 16);
    // Blocks that are cut off short, and what is inside of them, are no loop with those around them.
    let varies = |(_, e): &(Var, Expr)| nest.vars().into_iter().any(|v| e.mentions(v));
    let fixed = nest.loops.iter().take_while(|l| !varies(l));
    let extents: Vec<Expr> = fixed.map(|(_, e)| e.clone()).collect();
    let mut joined = 1;
    while joined < extents.len() && few(&product(&extents[..joined])) {
        joined += 1;
    }
    let mut vars = nest.vars();
    if target.threads > 1 && !extents.is_empty() {
        let options: Vec<usize> = (1..=extents.len()).collect();
        joined = s.choices().ask("joined", &options, joined - 1);
    }
    vars.truncate(joined);
    let parallel = match vars.len() {
        0 | 1 => outermost,
        _ => s.fuse(vars)?,
    };
    s.apply(Primitive::Parallelize(parallel))?;
    attach_all(s)
}

/// Makes one nest of the last loop and those before it.
///
/// Errors: as `attach`.
fn attach_all(s: &mut Scheduler) -> Result<(), Rejected> {
    while let [.., Stmt::For(first), Stmt::For(second)] = &s.kernel().body[..] {
        let (first, second) = (first.var, second.var);
        s.apply(Primitive::Attach(first, second))?;
    }
    match s.kernel().body.len() {
        1 => Ok(()),
        _ => Err(Rejected::NoEffect),
    }
}
