//! The recipe of steps that threads share.
//!
//! An anchor is a kernel with a serial loop around nests, as the recipe of steps leaves it, whose
//! loops around that one have too few iterations for all threads, and whose steps are long enough
//! to pay for waits between nests. Of each nest in a step, the loop that deals best comes outermost
//! and is parallel; nests that have none stay with one thread.
//!
//! Before: `for t < 50 serial { for i < 8 { s[i] = .. } for i < 4 { h[i] = .. } }`. After:
//! `for t < 50 serial { for i < 8 parallel { s[i] = .. } for i < 4 parallel { h[i] = .. } }`.
use super::nest::Nest;
use super::primitives::edit::place_where;
use super::primitives::{Primitive, Rejected};
use super::scheduler::Scheduler;
use super::{PARALLEL_WORK, Target, work};
use tensmith_ir::expr::Var;
use tensmith_ir::loops::{Kernel, Mark, Role, Stmt};

/// The share of the time that threads are busy, from which on the loops around steps are enough.
const BUSY: f64 = 0.8;

/// Work of a step below which waits take about as long as threads save: most steps have two, and
/// cores hand their states to each other.
/// Units: as those of [`PARALLEL_WORK`].
const STEP_WORK: i64 = 4 * PARALLEL_WORK;

/// The nests of the steps, the longest first, if the kernel is an anchor.
pub fn choose(kernel: &Kernel, target: &Target) -> Option<Vec<Var>> {
    let threads = target.threads as i64;
    let (mut list, mut strips) = (&kernel.body[..], 1);
    let steps = loop {
        let serial = list.iter().find_map(|s| match s {
            Stmt::For(l) if l.role == Role::Serial && l.mark == Mark::Plain => Some(l),
            _ => None,
        });
        match (serial, list) {
            (Some(l), _) => break l,
            (None, [Stmt::For(l)]) if l.role == Role::Space => {
                strips *= l.extent.as_const()?;
                list = &l.body;
            }
            _ => return None,
        }
    };
    let long = work(&steps.body)? >= STEP_WORK * target.lanes();
    if threads < 2 || !long || busy(strips, threads) >= BUSY {
        return None;
    }
    let mut nests = Vec::new();
    collect(&steps.body, &mut nests);
    nests.sort_by_key(|(work, _)| std::cmp::Reverse(*work));
    (!nests.is_empty()).then(|| nests.into_iter().map(|(_, var)| var).collect())
}

/// Deals the nests over these loops.
///
/// Errors: as `parallelize` for the first, which is the longest.
pub fn schedule(s: &mut Scheduler, target: &Target, nests: Vec<Var>) -> Result<(), Rejected> {
    for (k, var) in nests.into_iter().enumerate() {
        let dealt = deal(s, target, var);
        if k == 0 {
            dealt?;
        }
    }
    Ok(())
}

/// Deals the loop of a nest that keeps threads busy best, and brings it outermost.
fn deal(s: &mut Scheduler, target: &Target, outermost: Var) -> Result<(), Rejected> {
    let is = |stmt: &Stmt| matches!(stmt, Stmt::For(l) if l.var == outermost);
    let place = place_where(&s.kernel().body, &is).ok_or(Rejected::NoLoop(outermost))?;
    let nest = Nest::at(s.kernel(), &place);
    let mut best: Option<(f64, usize)> = None;
    for (k, (_, extent)) in nest.loops.iter().enumerate() {
        let Some(n) = extent.as_const() else { break };
        let found = busy(n, target.threads as i64);
        if best.is_none_or(|(b, _)| found > b) {
            best = Some((found, k));
        }
    }
    let (_, k) = best.ok_or(Rejected::Unknown(outermost))?;
    let vars = nest.vars();
    let var = vars[k];
    if k > 0 {
        let others = vars[..k].iter().copied();
        s.reorder([var].into_iter().chain(others).collect())?;
    }
    s.apply(Primitive::Parallelize(var)).map(drop)
}

/// The share of the time that threads are busy with so many iterations.
fn busy(iterations: i64, threads: i64) -> f64 {
    let rounds = (iterations + threads - 1) / threads;
    iterations as f64 / (rounds * threads).max(1) as f64
}

/// The outermost loops of nests of more than one iteration, and their work.
fn collect(stmts: &[Stmt], nests: &mut Vec<(i64, Var)>) {
    for stmt in stmts {
        match stmt {
            Stmt::For(l) if l.role == Role::Space && l.mark == Mark::Plain => {
                let work = work(std::slice::from_ref(stmt));
                nests.extend(work.map(|w| (w, l.var)));
            }
            Stmt::If {
                then, otherwise, ..
            } => {
                collect(then, nests);
                collect(otherwise, nests);
            }
            _ => {}
        }
    }
}
