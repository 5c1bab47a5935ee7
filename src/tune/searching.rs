//! The search over a model's tasks, whose trials are kept as they are told.
use super::found::Found;
use super::records::key;
use super::report::TaskReport;
use super::run::{Settings, Watcher};
use super::stitch::Stitched;
use super::tasks::ModelTask;
use crate::error::{Error, Result};
use crate::explain::machine::Machine;
use crate::options::Options;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tensmith_autotune::Budget;
use tensmith_autotune::allocate::StopReason;
use tensmith_autotune::measure::protocol::{Failed, Failure};
use tensmith_autotune::profile::Profile;
use tensmith_autotune::records::{Database, Key, Outcome, Trial};
use tensmith_autotune::tuner::{Config, End, Observer, Progress, Subject, Times, Tuner};
use tensmith_passes::pipeline::Precision;
use tensmith_passes::schedule::parameters::Values;
use tensmith_runtime::clock;

/// Tasks of other models whose values are tried for similar tasks, at most: describing one takes
/// milliseconds.
const NEIGHBOURS: usize = 64;

/// The search over a model's tasks.
pub(super) struct Search<'d> {
    pub(super) tuner: Tuner,
    /// For each of the model's tasks its number in the tuner.
    numbers: Vec<Option<usize>>,
    sink: Sink<'d>,
}

/// Keeps what is measured.
struct Sink<'d> {
    database: &'d Database,
    keys: Vec<Key>,
    error: Option<Error>,
    stop: Arc<AtomicBool>,
}

impl<'d> Search<'d> {
    pub(super) fn begin(
        tasks: &[ModelTask],
        searched: &[bool],
        options: &Options,
        settings: &Settings,
        database: &'d Database,
        (machine, deadline): (&Machine, u64),
    ) -> Result<Self> {
        let chosen: Vec<&ModelTask> = (tasks.iter().zip(searched))
            .filter_map(|(task, searched)| searched.then_some(task))
            .collect();
        let mut count = 0;
        let numbers = searched.iter().map(|searched| {
            count += usize::from(*searched);
            searched.then(|| count - 1)
        });
        let numbers = numbers.collect();
        let subject = |t: &&ModelTask| Subject {
            task: t.task.clone(),
            weight: t.calls as f64,
            bound_ns: t.bound_ns,
            ns: t.ns.max(1.0),
        };
        let config = Config {
            target: options.target_name().into(),
            threads: options.thread_count(),
            reassociate: options.precision != Precision::Exact,
            budget: Budget {
                deadline_ns: Some(deadline),
                trials: settings.trials,
                effort: settings.effort,
            },
            seed: settings.seed,
            machine: machine
                .profile_s
                .and(settings.profile.as_ref())
                .map(Profile::machine),
            program: settings.program.clone(),
            stop: Arc::clone(&settings.stop),
        };
        let subjects = chosen.iter().map(subject).collect();
        let records = database.all_accepted(&key(String::new(), options), NEIGHBOURS)?;
        let records = (records.into_iter())
            .filter_map(|(task, values)| Some((task.parse().ok()?, values)))
            .collect();
        let mut tuner = Tuner::new(subjects, records, config).map_err(Error::Usage)?;
        let keys: Vec<Key> = (chosen.iter())
            .map(|t| key(t.task.to_string(), options))
            .collect();
        for (number, key) in keys.iter().enumerate() {
            let mut trials = database.trials(key)?;
            // What failed is never tried again.
            trials.retain(|t| settings.resume || t.outcome.is_failure());
            recall(&mut tuner, number, &trials);
        }
        let sink = Sink {
            database,
            keys,
            error: None,
            stop: Arc::clone(&settings.stop),
        };
        Ok(Search {
            tuner,
            numbers,
            sink,
        })
    }

    pub(super) fn run(&mut self, watcher: &mut dyn Watcher) -> StopReason {
        let mut both = Both {
            sink: &mut self.sink,
            watcher,
        };
        self.tuner.run(&mut both)
    }

    /// Why it could keep no more, if that ended it.
    pub(super) fn take_error(&mut self) -> Option<Error> {
        self.sink.error.take()
    }

    /// What is worth trying in the model.
    pub(super) fn candidates(&self) -> Found {
        let of = |(t, key): (&Progress, &Key)| Some((key.task.clone(), t.best.clone()?));
        let tasks = self.tuner.tasks().iter();
        tasks.zip(&self.sink.keys).filter_map(of).collect()
    }

    pub(super) fn reports(&self, tasks: &[ModelTask], stitched: &Stitched) -> Vec<TaskReport> {
        let report = |(task, number): (&ModelTask, &Option<usize>)| {
            let t = number.map(|n| &self.tuner.tasks()[n]);
            let text = task.task.to_string();
            let fitted = stitched.tasks.iter().find(|f| f.task == text);
            TaskReport {
                task: task.clone(),
                is_searched: t.is_some(),
                trials: t.map_or(0, |t| t.trials),
                failures: t.map(|t| t.failures.clone()).unwrap_or_default(),
                best: t.and_then(|t| Some((t.best.clone()?, t.ratio))),
                is_accepted: fitted.is_some_and(|f| f.is_accepted),
                in_model: fitted.and_then(|f| f.ratio).map(|r| r.estimate),
                curve: t.map(|t| t.curve.clone()).unwrap_or_default(),
                is_failed: t.is_some_and(|t| matches!(t.end, Some(End::Failed(_)))),
                end: match t {
                    Some(t) => t.end.as_ref().map(End::to_string),
                    None => task.obstacle().map(String::from),
                },
            }
        };
        tasks.iter().zip(&self.numbers).map(report).collect()
    }
}

/// Takes up what was recorded of a task.
fn recall(tuner: &mut Tuner, task: usize, trials: &[Trial]) {
    for trial in trials {
        let times = match trial.outcome {
            Outcome::Measured {
                median_ns,
                default_ns,
                samples,
            } => Some(Times {
                ns: median_ns,
                default_ns,
                samples,
            }),
            Outcome::Accepted | Outcome::Reverted => continue,
            _ => None,
        };
        tuner.recall(task, &trial.values, times);
    }
}

impl Sink<'_> {
    fn keep(
        &self,
        task: usize,
        values: &Values,
        trial: &std::result::Result<Times, Failed>,
    ) -> Result<()> {
        let outcome = match trial {
            Ok(times) => Outcome::Measured {
                median_ns: times.ns,
                default_ns: times.default_ns,
                samples: times.samples,
            },
            Err(failed) => match failed.kind {
                Failure::Crash => Outcome::Crashed,
                Failure::Hang => Outcome::Hung,
                Failure::Memory => Outcome::OutOfMemory,
                Failure::WrongResult => Outcome::WrongResult,
                // That there is no such member is seen again at no cost.
                Failure::Rejected => return Ok(()),
            },
        };
        let trial = Trial {
            values: values.clone(),
            outcome,
            when_s: clock::unix_seconds(),
        };
        Ok(self.database.insert(&self.keys[task], &trial)?)
    }
}

struct Both<'a, 'd> {
    sink: &'a mut Sink<'d>,
    watcher: &'a mut dyn Watcher,
}

impl Observer for Both<'_, '_> {
    fn trial(&mut self, task: usize, values: &Values, trial: &std::result::Result<Times, Failed>) {
        // Each one would wait for a lock in vain.
        if self.sink.error.is_some() {
            return;
        }
        if let Err(e) = self.sink.keep(task, values, trial) {
            self.sink.error.get_or_insert(e);
            self.sink.stop.store(true, Ordering::Relaxed);
        }
    }

    fn round(&mut self, tuner: &Tuner) {
        self.watcher.round(tuner);
    }
}
