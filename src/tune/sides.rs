//! Variants of one model that differ in what was found for it, run in turns.
//!
//! Of two equal models in a process, the one that was made first is faster by up to 2 %, for the
//! pages that its memory lies in. So there are two of each variant, the second ones made in the
//! opposite order, and rounds are of the first and of the second ones in turns. A model that ran a
//! short while ago is faster, too, since it finds its weights in caches. So each model comes again
//! after as many others: the first ones always run in their order, the second ones in the opposite.
//! And as models are used again and again, one that is fast runs once before its times count.
use super::until::Until;
use crate::compile::{optimised, plan_with_schedules};
use crate::error::Result;
use crate::explain::new_profile;
use crate::explain::timeline::Timeline;
use crate::model::Imported;
use crate::options::Options;
use crate::session::Session;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tensmith_codegen::entry::numbered_steps;
use tensmith_ir::graph::Graph;
use tensmith_ir::plan::Step;
use tensmith_passes::schedule::task::Tuned;
use tensmith_runtime::stats::{Interval, median};
use tensmith_runtime::{Profile, Stopwatch, Tensor, TensorView};

/// A model that takes less than this part of another one's time is faster. Two equal ones may differ
/// by half a percent for as long as they live, by where their memory lies.
const FASTER: f64 = 0.995;
/// Rounds at least, and at most.
const ROUNDS: [usize; 2] = [15, 400];
/// Units: nanoseconds of a run that reads more than caches hold from one run to the next: what ran
/// before it makes no difference.
const LONG_NS: f64 = 20e6;
/// Units: nanoseconds of the runs of a turn whose times count, together, if one is shorter.
const TURN_NS: f64 = 500e3;
/// Runs of a turn whose times count, at most.
const MOST_RUNS: f64 = 16.0;

/// What a model does when it is its turn.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Turn {
    /// Whether it runs once before.
    is_warmed: bool,
    /// Runs whose times count, as their median.
    runs: usize,
}

impl Turn {
    /// Of models of so many nanoseconds.
    fn of(latency_ns: f64) -> Turn {
        Turn {
            is_warmed: latency_ns < LONG_NS,
            runs: (TURN_NS / latency_ns.max(1.0)).clamp(1.0, MOST_RUNS) as usize,
        }
    }

    fn all_runs(self) -> u64 {
        self.runs as u64 + u64::from(self.is_warmed)
    }
}

/// A model to be compiled with what was found for it, and the graph that this makes of it.
#[derive(Clone)]
pub struct Variant<'m> {
    imported: &'m Imported,
    options: &'m Options,
    graph: Arc<Graph>,
    tuned: Option<Arc<dyn Tuned>>,
}

impl<'m> Variant<'m> {
    /// With what was found; `None`: nothing.
    ///
    /// Errors: as compilation.
    pub fn new(
        imported: &'m Imported,
        options: &'m Options,
        tuned: Option<Arc<dyn Tuned>>,
    ) -> Result<Self> {
        let with = Options {
            tuned: tuned.clone(),
            ..options.clone()
        };
        Ok(Variant {
            imported,
            options,
            graph: Arc::new(optimised(&imported.graph, &with)?),
            tuned,
        })
    }

    /// The same choices of structure, and this for kernels; it has to say of the choices what was
    /// said before.
    pub fn with_kernels(&self, tuned: Option<Arc<dyn Tuned>>) -> Variant<'m> {
        Variant {
            tuned,
            ..self.clone()
        }
    }

    /// The same model with something else.
    ///
    /// Errors: as compilation.
    pub fn with(&self, tuned: Option<Arc<dyn Tuned>>) -> Result<Self> {
        Variant::new(self.imported, self.options, tuned)
    }
}

impl Variant<'_> {
    /// The texts of the tasks of its kernels.
    ///
    /// Errors: as compilation.
    pub fn tasks(&self) -> Result<BTreeSet<String>> {
        let options = self.compile_options();
        let (_, schedules) = plan_with_schedules(&self.graph, &options)?;
        Ok(schedules.iter().map(|s| s.task.to_string()).collect())
    }

    /// The options that all variants of the model share.
    pub fn options(&self) -> &Options {
        self.options
    }

    fn compile_options(&self) -> Options {
        Options {
            tuned: self.tuned.clone(),
            ..self.options.clone()
        }
    }
}

/// Two models of each variant.
pub struct Sides {
    sets: [Vec<Side>; 2],
    turn: Turn,
}

impl Sides {
    /// Compiles each variant twice, of a model of so many nanoseconds; `None` if there is no time for
    /// it.
    ///
    /// Errors: as compilation.
    pub fn new(
        variants: &[Variant<'_>],
        latency_ns: f64,
        until: &Until<'_>,
    ) -> Result<Option<Sides>> {
        let mut made = Vec::new();
        for variant in variants.iter().chain(variants.iter().rev()) {
            if until.is_over() {
                return Ok(None);
            }
            made.push(Side::new(variant)?);
        }
        let mut second = made.split_off(variants.len());
        second.reverse();
        Ok(Some(Sides {
            sets: [made, second],
            turn: Turn::of(latency_ns),
        }))
    }

    /// Replaces a variant, in the place of memory that it leaves.
    ///
    /// Errors: as compilation.
    pub fn replace(&mut self, number: usize, variant: &Variant<'_>) -> Result<()> {
        for set in &mut self.sets {
            set[number] = Side::new(variant)?;
        }
        Ok(())
    }

    /// Calls `one` with each variant, its number and the runs that it is to time, round by round for
    /// so long, after a run of each. Whether there was time for the rounds that a verdict needs.
    fn rounds(
        &mut self,
        inputs: &[TensorView<'_>],
        duration_ns: u64,
        until: &Until<'_>,
        mut one: impl FnMut(&mut Side, usize, usize) -> Result<()>,
    ) -> Result<bool> {
        let turn = self.turn;
        for side in self.sets.iter_mut().flatten() {
            if until.is_over() {
                return Ok(false);
            }
            side.run(inputs)?;
        }
        let total = Stopwatch::start();
        for round in 0..ROUNDS[1] {
            let is_enough = round >= ROUNDS[0];
            if is_enough && (total.elapsed_ns() > duration_ns || until.is_over()) {
                break;
            }
            let set = &mut self.sets[round % 2];
            for number in order(round, set.len()) {
                if !is_enough && until.is_over() {
                    return Ok(false);
                }
                let side = &mut set[number];
                if turn.is_warmed {
                    side.run(inputs)?;
                }
                one(side, number, turn.runs)?;
            }
        }
        Ok(true)
    }

    /// Units: nanoseconds of runs of each variant, one turn of each in a round; `None` if there was
    /// no time for enough of them.
    ///
    /// Errors: as runs.
    pub fn whole(
        &mut self,
        inputs: &[TensorView<'_>],
        duration_ns: u64,
        until: &Until<'_>,
    ) -> Result<Option<Vec<Vec<f64>>>> {
        let mut times = vec![Vec::new(); self.sets[0].len()];
        let done = self.rounds(inputs, duration_ns, until, |side, number, runs| {
            let runs = (0..runs).map(|_| side.run(inputs));
            times[number].push(median(&runs.collect::<Result<Vec<f64>>>()?));
            Ok(())
        })?;
        Ok(done.then_some(times))
    }

    /// Units: nanoseconds of each task in runs of each variant that keep time, all kernels of a
    /// task together; nothing of a variant that has no such kernel. `None` if there was no time for
    /// enough of them.
    ///
    /// Errors: as runs.
    pub fn by_task(
        &mut self,
        inputs: &[TensorView<'_>],
        duration_ns: u64,
        until: &Until<'_>,
    ) -> Result<Option<BTreeMap<String, Vec<Vec<f64>>>>> {
        let count = self.sets[0].len();
        let mut times: BTreeMap<String, Vec<Vec<f64>>> = BTreeMap::new();
        let done = self.rounds(inputs, duration_ns, until, |side, number, runs| {
            let mut all: BTreeMap<String, Vec<f64>> = BTreeMap::new();
            for _ in 0..runs {
                for (task, ns) in side.task_times(inputs)? {
                    all.entry(task).or_default().push(ns);
                }
            }
            for (task, ns) in all {
                let of_task = times.entry(task);
                let of_task = of_task.or_insert_with(|| vec![Vec::new(); count]);
                of_task[number].push(median(&ns));
            }
            Ok(())
        })?;
        Ok(done.then_some(times))
    }

    /// Units: nanoseconds that [`Sides::whole`] and [`Sides::by_task`] take at least, of so many
    /// variants of a model of so many nanoseconds.
    pub fn least_ns(variants: u64, latency_ns: f64) -> u64 {
        Sides::rounds_ns(ROUNDS[0], variants, latency_ns)
    }

    /// Units: as `least_ns`, that they are expected to take where they are to take `duration_ns`.
    pub fn expected_ns(variants: u64, latency_ns: f64, duration_ns: u64) -> u64 {
        let [least, most] = ROUNDS.map(|n| Sides::rounds_ns(n, variants, latency_ns));
        duration_ns.clamp(least, most)
    }

    fn rounds_ns(rounds: usize, variants: u64, latency_ns: f64) -> u64 {
        let runs = 2 + rounds as u64 * Turn::of(latency_ns).all_runs();
        ((variants * runs) as f64 * latency_ns) as u64
    }
}

/// Whether a ratio of models says that the second one is faster beyond doubt.
pub fn is_faster(ratio: Option<Interval>) -> bool {
    ratio.is_some_and(|r| r.high < FASTER)
}

/// Whether a ratio of models says that the second one is slower beyond doubt.
pub fn is_slower(ratio: Option<Interval>) -> bool {
    ratio.is_some_and(|r| r.low > 1.0 / FASTER)
}

/// The order of `count` variants in a round.
fn order(round: usize, count: usize) -> Vec<usize> {
    match round % 2 {
        0 => (0..count).collect(),
        _ => (0..count).rev().collect(),
    }
}

/// A compiled model.
pub struct Side {
    session: Session,
    profile: Profile,
    /// The task of each step; empty for what is no kernel.
    tasks: Vec<String>,
}

impl Side {
    /// Compiles a variant.
    ///
    /// Errors: as compilation.
    pub fn new(variant: &Variant<'_>) -> Result<Side> {
        let options = Options {
            profile: true,
            ..variant.compile_options()
        };
        let (plan, schedules) = plan_with_schedules(&variant.graph, &options)?;
        let executable = variant.imported.compile_plan(&plan, &options)?;
        let task = |step: &&Step| match step {
            Step::Call(call) => schedules[call.kernel.0 as usize].task.to_string(),
            _ => String::new(),
        };
        let tasks: Vec<String> = numbered_steps(&plan).iter().map(task).collect();
        Ok(Side {
            session: executable.session()?,
            profile: new_profile(executable.threads()),
            tasks,
        })
    }

    /// The results of the last run.
    pub fn outputs(&self) -> &[Tensor] {
        self.session.outputs()
    }

    /// Units: nanoseconds of a run.
    ///
    /// Errors: as runs.
    pub fn run(&mut self, inputs: &[TensorView<'_>]) -> Result<f64> {
        let watch = Stopwatch::start();
        self.session.run(inputs)?;
        Ok(watch.elapsed_ns() as f64)
    }

    /// Units: nanoseconds of each task in a run, all its kernels together.
    fn task_times(&mut self, inputs: &[TensorView<'_>]) -> Result<BTreeMap<String, f64>> {
        self.session.run_profiled(inputs, &mut self.profile)?;
        let costs = Timeline::of(&self.profile).costs(self.tasks.len());
        let mut times = BTreeMap::new();
        for (task, cost) in self.tasks.iter().zip(costs) {
            if !task.is_empty() {
                *times.entry(task.clone()).or_insert(0.0) += cost.slowest_ns as f64;
            }
        }
        Ok(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_models_are_warm_and_timed_more_than_once() {
        let all = |ns| Turn::of(ns).all_runs();
        assert_eq!([all(1e3), all(1e5), all(1e6), all(1e8)], [17, 6, 2, 1]);
        let least = [Sides::least_ns(2, 1e6), Sides::least_ns(2, 1e8)];
        assert_eq!(least, [2 * 32_000_000, 2 * 1_700_000_000]);
        let second = |ns| Sides::expected_ns(2, ns, 1_000_000_000);
        let most = 2 * (2 + 400 * 17) * 1_000;
        assert_eq!([1e3, 1e6, 1e8].map(second), [most, 1_000_000_000, least[1]]);
    }

    /// Caches favour what ran a short while ago.
    #[test]
    fn each_model_comes_again_after_as_many_others() {
        for count in [2, 3, 4] {
            let model = |round| order(round, count).into_iter().map(move |v| (round % 2, v));
            let runs: Vec<(usize, usize)> = (0..8).flat_map(model).collect();
            for at in 0..runs.len() - 2 * count {
                assert_eq!(runs[at], runs[at + 2 * count]);
                assert!(!runs[at + 1..at + 2 * count].contains(&runs[at]));
            }
        }
    }
}
