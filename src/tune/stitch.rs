//! Whether what was found for kernels alone holds in the model.
//!
//! Alone, a kernel finds other caches than among its neighbours. So the model is run in turns with
//! and without all that was found, keeping time; a task whose kernels did not become faster there
//! goes back. Then the model is run in turns with what is left. If that is not faster as a whole the
//! half goes that saved least, and so on, while there is time; in the end nothing is left.
//!
//! Of two equal models in a process, the one that was made first is faster by up to 2 %, for the
//! pages that its memory lies in. So there are two of each, made in the order base, tuned, tuned,
//! base, and pairs are of the first or of the last two.
use super::found::Found;
use crate::compile::{optimised, plan_with_schedules};
use crate::error::Result;
use crate::explain::new_profile;
use crate::explain::timeline::Timeline;
use crate::model::Imported;
use crate::options::Options;
use crate::session::Session;
use std::collections::BTreeMap;
use std::sync::Arc;
use tensmith_codegen::entry::numbered_steps;
use tensmith_ir::graph::Graph;
use tensmith_ir::plan::Step;
use tensmith_passes::schedule::parameters::Values;
use tensmith_runtime::stats::{Interval, Verdict, median, paired_ratio};
use tensmith_runtime::{Profile, Stopwatch, Tensor, TensorView};

/// Pairs of runs at least, and at most.
const PAIRS: [usize; 2] = [15, 400];

/// A task for which something was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The text of the task.
    pub task: String,
    /// What was found.
    pub values: Values,
}

/// What became of a candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// The candidate.
    pub candidate: Candidate,
    /// The times of its kernels in the model, over the untuned ones; `None`: too few pairs.
    pub ratio: Option<Interval>,
    /// Whether the model is compiled with it.
    pub is_accepted: bool,
}

/// What became of all of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stitched {
    /// One for each candidate.
    pub tasks: Vec<Fitted>,
    /// The latency of the model with those that were accepted, over the untuned one; `None`: none
    /// was accepted.
    pub ratio: Option<Interval>,
    /// Whether what was accepted, choices included, makes the model faster.
    pub is_faster: bool,
    /// Units: nanoseconds: the medians of the untuned model and of the tuned one.
    pub latency_ns: [f64; 2],
}

impl Stitched {
    /// What is accepted.
    pub fn found(&self) -> Found {
        let accepted = self.tasks.iter().filter(|t| t.is_accepted);
        let pairs = accepted.map(|t| (t.candidate.task.clone(), t.candidate.values.clone()));
        pairs.collect()
    }
}

/// A model as something to be compiled: with what was found, and as the graph that this makes of it.
pub struct Version<'m> {
    /// The model.
    pub imported: &'m Imported,
    /// How it is compiled, but for what was found.
    pub options: &'m Options,
    graph: Arc<Graph>,
    found: Found,
}

impl<'m> Version<'m> {
    /// With what was found for its choices.
    ///
    /// Errors: as compilation.
    pub fn new(imported: &'m Imported, options: &'m Options, choices: &Found) -> Result<Self> {
        let with = Options {
            tuned: choices.clone().option(),
            ..options.clone()
        };
        Ok(Version {
            imported,
            options,
            graph: Arc::new(optimised(&imported.graph, &with)?),
            found: choices.clone(),
        })
    }

    /// The same choices, and what was found for kernels.
    fn with(&self, kernels: &Found) -> Version<'m> {
        Version {
            graph: Arc::clone(&self.graph),
            found: self.found.and(kernels),
            ..*self
        }
    }
}

/// How long what was found is tried.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Units: nanoseconds of measuring, if nothing has to be tried again.
    pub measure_ns: u64,
    /// Units: nanoseconds after which nothing is tried again.
    pub budget_ns: u64,
    /// Units: nanoseconds of a compilation.
    pub compile_ns: u64,
}

/// Accepts or reverts each candidate, which was found under these choices, and in the end the
/// choices as well. Where all together do not make the model faster, the half that saved most is
/// tried again, while there is time. Takes four to eight compilations besides measuring, and two
/// for each time that it tries again.
///
/// Errors: as compilation and runs.
pub fn stitch(
    untuned: &Version<'_>,
    choices: &Found,
    inputs: &[TensorView<'_>],
    candidates: &[Candidate],
    limits: &Limits,
) -> Result<Stitched> {
    let watch = Stopwatch::start();
    let chosen = match choices.is_empty() {
        true => untuned.with(choices),
        false => Version::new(untuned.imported, untuned.options, choices)?,
    };
    let mut stitched = Stitched::default();
    // The tasks that were faster in the model, those that saved most last.
    let mut faster: Vec<(f64, usize)> = Vec::new();
    if !candidates.is_empty() {
        let all = candidates.iter();
        let all = all.map(|c| (c.task.clone(), c.values.clone())).collect();
        let mut sides = Sides::new(&chosen, &chosen.with(&all))?;
        let fits = sides.in_model(inputs, limits.measure_ns / 2)?;
        for (k, candidate) in candidates.iter().enumerate() {
            let fit = fits.get(&candidate.task);
            let ratio = fit.and_then(|f| f.ratio);
            let is_accepted = ratio.is_some_and(|r| r.verdict(1.0) == Verdict::Faster);
            if is_accepted {
                faster.push((fit.map_or(0.0, |f| f.saved_ns), k));
            }
            stitched.tasks.push(Fitted {
                candidate: candidate.clone(),
                ratio,
                is_accepted,
            });
        }
    }
    faster.sort_by(|a, b| a.0.total_cmp(&b.0));
    if faster.is_empty() && choices.is_empty() {
        return Ok(stitched);
    }
    let mut sides = Sides::new(untuned, &chosen.with(&stitched.found()))?;
    loop {
        let (a, b) = sides.whole(inputs, PAIRS[0], limits.measure_ns / 2)?;
        stitched.latency_ns = [&a, &b].map(|times| median(times));
        stitched.ratio = paired_ratio(&a, &b);
        stitched.is_faster = (stitched.ratio).is_some_and(|r| r.verdict(1.0) == Verdict::Faster);
        let again = watch.elapsed_ns() + limits.measure_ns / 2 + 2 * limits.compile_ns;
        if stitched.is_faster || faster.len() < 2 || again > limits.budget_ns {
            break;
        }
        for (_, k) in faster.drain(..faster.len().div_ceil(2)) {
            stitched.tasks[k].is_accepted = false;
        }
        sides.tune(&chosen.with(&stitched.found()))?;
    }
    if !stitched.is_faster {
        let tasks = stitched.tasks.iter_mut();
        tasks.for_each(|t| t.is_accepted = false);
        stitched.latency_ns[1] = stitched.latency_ns[0];
    }
    Ok(stitched)
}

/// What a task's kernels take in the model with all that was found.
struct Fit {
    /// Their times over those without.
    ratio: Option<Interval>,
    /// Units: nanoseconds of a run less.
    saved_ns: f64,
}

/// Two models without and two with what was found.
pub struct Sides {
    base: [Side; 2],
    tuned: [Side; 2],
}

impl Sides {
    /// Compiles two of each.
    ///
    /// Errors: as compilation.
    pub fn new(base: &Version<'_>, tuned: &Version<'_>) -> Result<Sides> {
        let first = Side::new(base)?;
        let tuned = [Side::new(tuned)?, Side::new(tuned)?];
        Ok(Sides {
            base: [first, Side::new(base)?],
            tuned,
        })
    }

    /// Replaces the tuned models, in the places of memory that they leave.
    fn tune(&mut self, tuned: &Version<'_>) -> Result<()> {
        for side in &mut self.tuned {
            *side = Side::new(tuned)?;
        }
        Ok(())
    }

    /// Calls `one` with pairs of an untuned model (`false`) and a tuned one, for so long; which
    /// comes first changes from pair to pair, and the models every second pair.
    fn pairs(
        &mut self,
        least: usize,
        duration_ns: u64,
        mut one: impl FnMut(&mut Side, bool) -> Result<()>,
    ) -> Result<()> {
        let total = Stopwatch::start();
        for pair in 0..PAIRS[1] {
            if pair >= least && total.elapsed_ns() > duration_ns {
                break;
            }
            let k = pair / 2 % 2;
            for is_tuned in [pair % 2 == 1, pair % 2 == 0] {
                let side = if is_tuned {
                    &mut self.tuned[k]
                } else {
                    &mut self.base[k]
                };
                one(side, is_tuned)?;
            }
        }
        Ok(())
    }

    /// How the tasks fit in the model with all that was found.
    fn in_model(
        &mut self,
        inputs: &[TensorView<'_>],
        duration_ns: u64,
    ) -> Result<BTreeMap<String, Fit>> {
        self.warm(inputs)?;
        let mut times: BTreeMap<String, [Vec<f64>; 2]> = BTreeMap::new();
        self.pairs(PAIRS[0], duration_ns, |side, is_tuned| {
            for (task, ns) in side.task_times(inputs)? {
                times.entry(task).or_default()[usize::from(is_tuned)].push(ns);
            }
            Ok(())
        })?;
        let fit = |[a, b]: [Vec<f64>; 2]| match a.len() == b.len() {
            true => Fit {
                ratio: paired_ratio(&a, &b),
                saved_ns: median(&a) - median(&b),
            },
            // Its kernels are not the same ones on both sides.
            false => Fit {
                ratio: None,
                saved_ns: 0.0,
            },
        };
        let times = times.into_iter();
        Ok(times.map(|(task, times)| (task, fit(times))).collect())
    }

    /// Units: nanoseconds of runs without and with what was found, in turns: of so many pairs at
    /// least.
    ///
    /// Errors: as runs.
    pub fn whole(
        &mut self,
        inputs: &[TensorView<'_>],
        least: usize,
        duration_ns: u64,
    ) -> Result<(Vec<f64>, Vec<f64>)> {
        self.warm(inputs)?;
        let (mut a, mut b) = (Vec::new(), Vec::new());
        self.pairs(least, duration_ns, |side, is_tuned| {
            let ns = side.run(inputs)?;
            if is_tuned {
                b.push(ns)
            } else {
                a.push(ns)
            }
            Ok(())
        })?;
        Ok((a, b))
    }

    fn warm(&mut self, inputs: &[TensorView<'_>]) -> Result<()> {
        let all = self.base.iter_mut().chain(&mut self.tuned);
        for side in all {
            side.run(inputs)?;
        }
        Ok(())
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
    /// Compiles a version.
    ///
    /// Errors: as compilation.
    pub fn new(version: &Version<'_>) -> Result<Side> {
        let options = Options {
            profile: true,
            tuned: version.found.clone().option(),
            ..version.options.clone()
        };
        let (plan, schedules) = plan_with_schedules(&version.graph, &options)?;
        let executable = version.imported.compile_plan(&plan, &options)?;
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
