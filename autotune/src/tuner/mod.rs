//! The search over all tasks of a model, round by round, until its time is over.
//!
//! The [`Allocator`] says which task is next. A round asks the task's [`Search`] for a batch of
//! members, and measures them beside the incumbent by successive halving; the winner takes its
//! place if the samples say that it is faster. Times are told as ratios to the untuned kernel, so
//! that a machine that slows down meanwhile changes nothing.
mod round;

use crate::Budget;
use crate::allocate::{self, Allocator, Step, StopReason};
use crate::cost::analytic::Coefficients;
use crate::cost::{Pretrained, Ranker, Sample, Setting};
use crate::kernel_space::KernelSpace;
use crate::measure::protocol::{Failed, Failure, TaskRequest};
use crate::measure::{Program, Worker};
use crate::search::{Neighbour, Outcome, Search};
use crate::space::Space;
use round::{OVERTIME, Until};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tensmith_codegen::target::Target;
use tensmith_ir::eval::Sizes;
use tensmith_ir::machine::Machine;
use tensmith_passes::schedule::parameters::Values;
use tensmith_passes::schedule::task::Task;
use tensmith_runtime::Stopwatch;

/// Units: nanoseconds that compiling, checking and timing a candidate takes, before it is known.
const TRIAL_NS: f64 = 60e6;
/// Candidates of a round.
const BATCH: usize = 8;
/// Tasks that the analytic model is fitted to, at most: describing one takes milliseconds.
const FITTED: usize = 32;
/// How long setting a task may take: compiling it and running it once.
const TASK_PATIENCE: Duration = Duration::from_secs(30);

/// A task to be tuned.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The task.
    pub task: Task,
    /// How often a run of the model computes it.
    pub weight: f64,
    /// Units: nanoseconds that a call cannot be faster than.
    pub bound_ns: f64,
    /// Units: nanoseconds of a call of the untuned kernel in the model.
    pub ns: f64,
}

/// How to search.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name of the target.
    pub target: String,
    /// Threads of a run.
    pub threads: usize,
    /// Whether sums may change the order of their terms.
    pub reassociate: bool,
    /// How thoroughly, and when to stop.
    pub budget: Budget,
    /// What chance is drawn from.
    pub seed: u64,
    /// The machine as it was measured, which the cost model then goes by; `None`: as its kind is known.
    pub machine: Option<Machine>,
    /// What measures.
    pub program: Program,
    /// Set by others to end the search soon.
    pub stop: Arc<AtomicBool>,
}

/// What a search tells whoever started it.
pub trait Observer {
    /// A candidate of a task was measured, or failed. When this returns it is kept.
    fn trial(&mut self, task: usize, values: &Values, trial: &Result<Times, Failed>);

    /// A round is over.
    fn round(&mut self, tuner: &Tuner);
}

/// The times of a candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times {
    /// Units: nanoseconds of a call.
    pub ns: f64,
    /// Units: nanoseconds of a call of the untuned kernel at the same time.
    pub default_ns: f64,
    /// Samples of each.
    pub samples: u32,
}

/// A task while it is tuned.
pub struct Progress {
    /// The task.
    pub subject: Subject,
    /// The values of the fastest member; `None`: the untuned one.
    pub best: Option<Values>,
    /// The time of the fastest member over that of the untuned one.
    pub ratio: f64,
    /// Candidates that were measured, or failed.
    pub trials: u64,
    /// How often each thing went wrong.
    pub failures: BTreeMap<Failure, u64>,
    /// When the fastest member changed: seconds since the begin, trials, and the ratio from then on.
    pub curve: Vec<(f64, u64, f64)>,
    /// Why it is not tuned any further, if that is so.
    pub end: Option<End>,
    space: KernelSpace,
    search: Option<Search>,
    recalled: Vec<(Values, Outcome)>,
}

/// Why a task is not tuned any further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// All members of its space were tried.
    AllTried,
    /// It cannot be measured, with the reason.
    Failed(String),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            End::AllTried => "all members were tried",
            End::Failed(why) => why,
        })
    }
}

/// Coefficients of the analytic model for the machine at hand: those that are shipped, fitted to what
/// the untuned kernels of the first tasks take in the model. What these kernels say nothing of stays.
fn fitted(tasks: &[Progress], shipped: &Coefficients) -> Coefficients {
    let sample = |t: &Progress| {
        Some(Sample {
            family: String::new(),
            task: String::new(),
            features: vec![],
            terms: t.space.default()?.terms.clone(),
            ns: t.subject.ns,
        })
    };
    let samples: Vec<Sample> = tasks.iter().take(FITTED).filter_map(sample).collect();
    shipped.fit(&samples)
}

/// The search over all tasks.
pub struct Tuner {
    config: Config,
    tasks: Vec<Progress>,
    allocator: Allocator,
    worker: Worker,
    watch: Stopwatch,
    /// The task that the worker is set to.
    current: Option<usize>,
    /// The task of the last round.
    last: Option<usize>,
    ranker: Ranker,
    neighbours: Vec<Neighbour>,
}

impl Tuner {
    /// A search that begins now. `records` are values that were best for other tasks.
    ///
    /// Errors: an unknown target.
    pub fn new(
        subjects: Vec<Subject>,
        records: Vec<(Task, Values)>,
        config: Config,
    ) -> Result<Tuner, String> {
        let watch = Stopwatch::start();
        let target = Target::named(&config.target).map_err(|e| e.to_string())?;
        let schedule = crate::target::schedule_target(&target, config.threads, config.reassociate);
        let setting = Setting {
            machine: config.machine.unwrap_or(target.machine),
            vector_bytes: target.vector_bytes(),
            threads: config.threads,
            sizes: Sizes::new(),
        };
        let Pretrained {
            coefficients,
            trees,
        } = Pretrained::shipped();
        let space = |task: Task| {
            let (target, setting) = (schedule.clone(), setting.clone());
            KernelSpace::new(task, target, setting, coefficients.clone())
        };
        let neighbour = |(task, values): (Task, Values)| {
            let features = space(task).member(&Values::default())?.features;
            Some(Neighbour { features, values })
        };
        let neighbours = records.into_iter().filter_map(neighbour).collect();
        let mut tasks: Vec<Progress> = (subjects.into_iter())
            .map(|subject| Progress {
                space: space(subject.task.clone()),
                subject,
                best: None,
                ratio: 1.0,
                trials: 0,
                failures: BTreeMap::new(),
                curve: vec![],
                end: None,
                search: None,
                recalled: vec![],
            })
            .collect();
        let coefficients = fitted(&tasks, &coefficients);
        for t in &mut tasks {
            t.space.set_coefficients(coefficients.clone());
        }
        let begun = |t: &Progress| allocate::Task {
            weight: t.subject.weight,
            bound_ns: t.subject.bound_ns,
            now_ns: t.subject.ns,
            round_ns: BATCH as f64 * (TRIAL_NS + 30.0 * t.subject.ns),
        };
        let begun: Vec<allocate::Task> = tasks.iter().map(begun).collect();
        Ok(Tuner {
            allocator: Allocator::new(&begun, config.budget),
            worker: Worker::new(config.program.clone()),
            config,
            tasks,
            watch,
            current: None,
            last: None,
            ranker: Ranker::new(trees),
            neighbours,
        })
    }

    /// Takes up what an earlier search measured of a task; only before [`Tuner::run`]. Such times
    /// may be of anywhere: they say which members are measured first, and that these are known,
    /// never how fast something is.
    pub fn recall(&mut self, task: usize, values: &Values, times: Option<Times>) {
        let task = &mut self.tasks[task];
        let outcome = match times {
            Some(times) => Outcome::Ns(times.ns / times.default_ns * task.subject.ns),
            None => Outcome::Failed,
        };
        task.recalled.push((values.clone(), outcome));
    }

    /// Sets another end, with which a search that is over goes on at the next [`Tuner::run`].
    /// Units: nanoseconds since the begin.
    pub fn set_deadline(&mut self, deadline_ns: u64) {
        self.config.budget.deadline_ns = Some(deadline_ns);
        self.allocator.set_deadline(deadline_ns);
    }

    /// Searches until the time is over.
    pub fn run(&mut self, observer: &mut dyn Observer) -> StopReason {
        loop {
            if self.is_stopped() {
                return StopReason::Asked;
            }
            match self.allocator.next(self.watch.elapsed_ns()) {
                Step::Stop(reason) => return reason,
                Step::Search {
                    task, trials, part, ..
                } => {
                    let begin = self.watch.elapsed_ns();
                    let n = ((BATCH as f64 * part) as usize).max(1);
                    let n = trials.map_or(n, |trials| n.min(trials as usize));
                    let before = self.tasks[task].trials;
                    let done = self.round(task, n, observer);
                    let t = &mut self.tasks[task];
                    t.end = done.clone().err();
                    let round = allocate::Round {
                        spent_ns: (self.watch.elapsed_ns() - begin) as f64 / part,
                        trials: t.trials - before,
                        now_ns: t.subject.ns * t.ratio,
                        is_exhausted: done.is_err(),
                    };
                    self.allocator.tell(task, &round);
                    self.last = Some(task);
                    observer.round(self);
                }
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.config.stop.load(Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        self.left_ns() == 0 || self.is_stopped()
    }

    /// Units: nanoseconds until the search must be over.
    fn left_ns(&self) -> u64 {
        let elapsed = self.watch.elapsed_ns();
        let deadline = self.config.budget.deadline_ns;
        deadline.map_or(u64::MAX, |d| d.saturating_sub(elapsed))
    }

    /// The tasks.
    pub fn tasks(&self) -> &[Progress] {
        &self.tasks
    }

    /// The task of the last round.
    pub fn last(&self) -> Option<usize> {
        self.last
    }

    /// Units: nanoseconds since the begin.
    pub fn elapsed_ns(&self) -> u64 {
        self.watch.elapsed_ns()
    }

    /// Units: nanoseconds from the begin to the end, as far as it can be foreseen.
    pub fn predicted_end_ns(&self) -> u64 {
        self.allocator.predicted_end_ns(self.watch.elapsed_ns())
    }

    /// What is expected to be gained yet, as a part of the time of all tasks.
    pub fn expected_share(&self) -> f64 {
        self.allocator.expected_share()
    }

    /// Processes that were started to measure.
    pub fn starts(&self) -> usize {
        self.worker.starts
    }

    /// The request that sets the worker to a task.
    fn request(&self, task: usize) -> TaskRequest {
        let Config {
            target,
            threads,
            reassociate,
            ..
        } = &self.config;
        TaskRequest::new(
            &self.tasks[task].subject.task,
            target,
            *threads,
            *reassociate,
        )
    }

    /// Sets the worker to a task, and begins its search if that is new; `false` if the time is over
    /// before.
    ///
    /// Errors: why the task cannot be measured.
    fn begin(&mut self, task: usize) -> Result<bool, End> {
        if self.current != Some(task) {
            self.current = None;
            let request = self.request(task);
            let limit = Duration::from_nanos(self.left_ns().saturating_add(OVERTIME));
            let set = self.worker.task(request, TASK_PATIENCE.min(limit));
            match set {
                Ok(()) => {}
                Err(e) if e.kind == Failure::Hang && TASK_PATIENCE > limit => return Ok(false),
                Err(e) => return Err(End::Failed(format!("{}: {}", e.kind, e.why))),
            }
            self.current = Some(task);
        }
        if self.tasks[task].search.is_none() {
            let neighbours = self.neighbours(task);
            let seed = self.config.seed.wrapping_add(task as u64);
            let mut search = Search::new(
                self.config.budget.effort,
                seed,
                self.ranker.clone(),
                neighbours,
            );
            let recalled = std::mem::take(&mut self.tasks[task].recalled);
            self.confirm(task, &recalled);
            let t = &self.tasks[task];
            let best_ns = t.ratio * t.subject.ns;
            let is_over = || self.is_over();
            let space = Until {
                space: &t.space,
                is_over: &is_over,
            };
            for (values, outcome) in recalled {
                let outcome = match outcome {
                    Outcome::Ns(ns) => Outcome::Ns(ns.max(best_ns)),
                    failed => failed,
                };
                search.recall(&space, &values, outcome);
            }
            self.tasks[task].search = Some(search);
        }
        Ok(true)
    }

    /// What was best for other tasks.
    fn neighbours(&self, task: usize) -> Vec<Neighbour> {
        let others = self.tasks.iter().enumerate().filter(|(k, _)| *k != task);
        let of = |t: &Progress| {
            let values = t.best.clone()?;
            let features = t.space.member(&Values::default())?.features;
            Some(Neighbour { features, values })
        };
        let found = others.filter_map(|(_, t)| of(t));
        found.chain(self.neighbours.iter().cloned()).collect()
    }
}
