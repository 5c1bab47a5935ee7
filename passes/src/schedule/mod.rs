//! Schedules: how the loops of a kernel are run.
//!
//! [`default_schedule`] reads from top to bottom: cleanups, then the first recipe that fits, then
//! threads. Every step keeps what the kernel computes; only sums change their order.
mod block_sums;
mod collapse;
mod contract_fma;
mod contraction;
mod drop_unit_loops;
mod index_split;
mod nest;
mod reorder;
mod stage;
mod strips;
mod tile;
mod transform;
mod transpose;
mod vectorise;
mod window;

use nest::{Nest, all_ranges};
use tensmith_ir::expr::{Expr, Ranges, product};
use tensmith_ir::loops::{BufferId, Kernel, Mark, Role, Stmt};

/// What schedules need to know of the machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Units: bytes of a vector register.
    pub vector_bytes: usize,
    /// Whether multiply and add can be one instruction.
    pub fma: bool,
    /// Whether sums may change the order of their terms, and products and sums contract.
    pub reassociate: bool,
    /// The number of threads that a run is planned for.
    pub threads: usize,
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

    /// Whether a multiply-add reads one element for all lanes from memory, so that a broadcast
    /// needs no register.
    pub(crate) fn broadcasts_from_memory(&self) -> bool {
        self.vector_bytes >= 64
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
            reassociate: true,
            threads: 1,
        }
    }
}

/// Work below which handing a part to another thread costs more than it saves.
/// Units: iterations of innermost statements; a hand-off takes about as long as some thousands.
const PARALLEL_WORK: i64 = 4096;

/// Schedules a naive kernel; `packable` says which inputs are constants, whose layout may change.
pub fn default_schedule(
    mut kernel: Kernel,
    target: &Target,
    packable: &dyn Fn(BufferId) -> bool,
) -> Kernel {
    drop_unit_loops::drop_unit_loops(&mut kernel);
    if target.fma && target.reassociate {
        contract_fma::contract_fma(&mut kernel);
    }
    let work = work(&kernel.body);
    let body = std::mem::take(&mut kernel.body);
    let body: Vec<Stmt> = body
        .into_iter()
        .flat_map(|s| schedule_nest(&mut kernel, s, target, packable))
        .collect();
    kernel.body = body;
    if work.is_none_or(|w| w >= PARALLEL_WORK) {
        parallelise(&mut kernel);
    }
    kernel
}

fn schedule_nest(
    kernel: &mut Kernel,
    stmt: Stmt,
    target: &Target,
    packable: &dyn Fn(BufferId) -> bool,
) -> Vec<Stmt> {
    let mut nest = Nest::of(stmt);
    if let Some(strips) = strips::schedule(kernel, &nest, target, packable) {
        return strips;
    }
    reorder::follow_results(kernel, &mut nest);
    // What is packed along a loop needs an index of its own.
    let anchor = contraction::is_anchor(kernel, &nest);
    collapse::collapse(kernel, &mut nest, &|b| anchor && packable(b));
    if let Some(tiled) = contraction::schedule(kernel, &nest, target, packable) {
        return tiled;
    }
    if let Some(tiled) = window::schedule(kernel, &nest, target, packable) {
        return tiled;
    }
    if let Some(tiled) = transform::schedule(kernel, &nest, target) {
        return tiled;
    }
    if let Some(tiled) = transpose::schedule(kernel, &nest, target) {
        return tiled;
    }
    let mut ranges = nest_ranges(kernel, &nest);
    index_split::index_split(kernel, &mut nest, &mut ranges);
    stage::stage(kernel, &mut ranges, &mut nest.body);
    let body = nest.rebuild();
    vectorise::vectorise(kernel, &mut ranges, target, body)
}

/// What is known of the variables of a nest, and of those around it.
fn nest_ranges(kernel: &Kernel, nest: &Nest) -> Ranges {
    let mut ranges = all_ranges(&Kernel {
        body: [kernel.body.clone(), nest.body.clone()].concat(),
        ..kernel.clone()
    });
    for (var, extent) in &nest.loops {
        ranges.bind(*var, extent);
    }
    ranges
}

/// The iterations of all innermost statements; `None` if sizes are not known.
fn work(stmts: &[Stmt]) -> Option<i64> {
    stmts.iter().try_fold(0i64, |sum, stmt| {
        let own = match stmt {
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
/// has too few iterations to balance.
fn parallelise(kernel: &mut Kernel) {
    let [Stmt::For(l)] = &mut kernel.body[..] else {
        return;
    };
    if l.role != Role::Space || l.mark != Mark::Plain {
        return;
    }
    let stmt = Stmt::For(l.clone());
    let mut nest = Nest::of(stmt);
    let few = |e: &Expr| e.as_const().is_some_and(|n| n < 16);
    let mut joined = 1;
    while joined < nest.loops.len() && few(&product(&extents(&nest, joined))) {
        joined += 1;
    }
    if joined > 1 {
        join_outer(kernel, &mut nest, joined);
    }
    let mut body = nest.rebuild();
    if let [Stmt::For(l)] = &mut body[..] {
        l.mark = Mark::Parallel;
    }
    kernel.body = body;
}

fn extents(nest: &Nest, count: usize) -> Vec<Expr> {
    nest.loops[..count].iter().map(|(_, e)| e.clone()).collect()
}

/// One loop in the place of the outermost `count`.
fn join_outer(kernel: &mut Kernel, nest: &mut Nest, count: usize) {
    let extents = extents(nest, count);
    let var = kernel.fresh_var();
    let mut ranges = all_ranges(kernel);
    let total = product(&extents);
    ranges.bind(var, &total);
    let index = tensmith_ir::define::unflatten(&var.into(), &extents, &ranges);
    let with = nest.loops[..count]
        .iter()
        .map(|(v, _)| *v)
        .zip(index)
        .collect();
    nest::substitute(&mut nest.body, &with, &ranges);
    for (_, extent) in &mut nest.loops[count..] {
        *extent = extent.substitute(&|v| with.get(&v).cloned());
    }
    nest.loops.drain(1..count);
    nest.loops[0] = (var, total);
}
