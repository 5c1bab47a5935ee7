//! From a model to what its kernels are best scheduled with.
use super::choices::{ChoiceRecords, Limits, TriedChoice};
use super::found::Found;
use super::records::key;
use super::report::{TaskReport, Tuning};
use super::sides::Sides;
use super::sides::Variant;
use super::stitch::{self, Earlier, Kept, Stitched, stitch};
use super::tasks::{ModelTask, searched, tasks_of};
use super::until::Until;
use crate::error::{Error, Result};
use crate::explain::machine::Machine;
use crate::explain::{Pace, Report, explain_at};
use crate::model::Imported;
use crate::options::Options;
use crate::units::human_ns;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tensmith_autotune::allocate::StopReason;
use tensmith_autotune::measure::Program;
use tensmith_autotune::measure::protocol::{Failed, Failure};
use tensmith_autotune::profile::Profile;
use tensmith_autotune::records::{Database, Key, Outcome, Trial};
use tensmith_autotune::tuner::{Config, End, Observer, Subject, Times, Tuner};
use tensmith_autotune::{Budget, Effort};
use tensmith_passes::pipeline::Precision;
use tensmith_passes::schedule::parameters::Values;
use tensmith_runtime::{Stopwatch, TensorView, clock};

/// Units: nanoseconds that the model is measured before the search, besides compiling.
const FIRST_NS: u64 = 500_000_000;
/// The part of a budget in which choices are tried.
const CHOICES_SHARE: f64 = 0.2;
/// The part of a budget that is kept for trying what was found in the model.
const STITCH_SHARE: f64 = 0.12;
/// The part of a budget, as its inverse, that others may keep the records locked for at a time.
const PATIENCE_PART: u64 = 8;
/// Units: nanoseconds of measuring for that, at least and at most.
const STITCH_NS: [u64; 2] = [1_000_000_000, 10_000_000_000];
/// What is kept for it over what it is expected to take: machines are not always as fast.
const SPARE: f64 = 1.15;
/// The part of a budget in which the model is measured before the search, at most.
const FIRST_SHARE: f64 = 0.25;
/// Units: nanoseconds for trying what was found after somebody asked to stop: small models are
/// through with it then.
const GRACE_NS: u64 = 3_000_000_000;

/// Tasks of other models whose values are tried for similar tasks, at most: describing one takes
/// milliseconds.
const NEIGHBOURS: usize = 64;

/// How a model is tuned.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Units: nanoseconds for all of it.
    pub budget_ns: u64,
    /// Candidates to measure, at most; `None` for no limit.
    pub trials: Option<u64>,
    /// How thoroughly to search.
    pub effort: Effort,
    /// What chance is drawn from.
    pub seed: u64,
    /// What the machine can do, if that was measured before: bounds and the cost model go by it. Else
    /// it is measured for the bounds, and the cost model goes by what the kind of machine is known to do.
    pub profile: Option<Profile>,
    /// The database of records.
    pub records: PathBuf,
    /// Whether what is recorded of the tasks is taken up.
    pub resume: bool,
    /// Of so many shares of the tasks, this one, from 0.
    pub share: Option<(usize, usize)>,
    /// What measures.
    pub program: Program,
    /// Set by others to end the search soon; what was found is kept.
    pub stop: Arc<AtomicBool>,
}

/// What tuning is at, beside the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The model is compiled and measured; nobody knows how long that takes.
    Measuring,
    /// Options of choices are tried.
    Choices {
        /// Units: nanoseconds, about: the option at hand is tried to its end.
        expected_ns: u64,
    },
    /// What was found is tried in the model.
    InModel {
        /// Units: nanoseconds that it takes if nothing has to be tried again.
        expected_ns: u64,
    },
}

/// Whoever looks on.
pub trait Watcher {
    /// An option of a choice was tried.
    fn choice(&mut self, tried: &TriedChoice);
    /// The tasks, before the search; of each whether it is searched.
    fn begin(&mut self, tasks: &[ModelTask], searched: &[bool]);
    /// A round is over; the tuner's tasks are those that are searched, in order.
    fn round(&mut self, tuner: &Tuner);
    /// Something begins of which nothing is told before it is over.
    fn stage(&mut self, stage: Stage);
    /// Something to be told once.
    fn note(&mut self, text: &str);
}

/// Tunes a model on inputs in the model's order. What was measured is in the database when this
/// returns, also if it was stopped.
///
/// Errors: as compilation; the database cannot be written.
pub fn tune(
    imported: &Imported,
    options: &Options,
    inputs: &[TensorView<'_>],
    settings: &Settings,
    watcher: &mut dyn Watcher,
) -> Result<Tuning> {
    let watch = Stopwatch::start();
    let options = Options {
        tuned: None,
        profile: false,
        ..options.clone()
    };
    // A lock of others is not to take the time of the search.
    let patience = Duration::from_nanos(settings.budget_ns / PATIENCE_PART);
    let database = Database::open_within(&settings.records, patience)?;
    let until = Until::new(watch, settings.budget_ns, &settings.stop);
    watcher.stage(Stage::Measuring);
    let first = (settings.budget_ns, settings.profile.as_ref());
    let mut report = measure(imported, &options, inputs, &until, first)?;
    let compile_ns = report.compile_ns;
    let untuned = Variant::new(imported, &options, None)?;
    let records = ChoiceRecords::new(&database, &options, settings.resume);
    let mut choices = records.choices(&imported.graph, &report)?;
    let before = choices.found.clone();
    let latency_ns = report.latency_ns;
    let reserve = |is_tuned| Reserve::new(settings.budget_ns, latency_ns, compile_ns, is_tuned);
    // Where nothing can be accepted, candidates are measured for a later search.
    let first = reserve(!before.is_empty());
    let trial = first.trial(&until);
    if trial.is_none() && !until.is_asked() {
        let needed = watch.elapsed_ns() + first.whole_ns;
        watcher.note(&format!(
            "the budget does not hold a trial of what is found in the model, so nothing will be \
             accepted, only measured and kept: that takes {} or more for a model of {} a run",
            seconds(2 * needed),
            human_ns(latency_ns),
        ));
    }
    if settings.share.is_some() && !before.is_empty() {
        watcher.note(
            "the tasks that are shared are those of the choices that are accepted in these records: \
             all shares need the same ones",
        );
    }
    if settings.share.is_none()
        && let Some(trial) = trial
    {
        let end = settings.budget_ns.saturating_sub(first.ns(trial));
        let limits = Limits {
            budget_ns: (settings.budget_ns as f64 * CHOICES_SHARE) as u64,
            compile_ns,
            latency_ns,
            until: &until.by(end),
        };
        watcher.stage(Stage::Choices {
            expected_ns: limits.budget_ns,
        });
        let mut told = |tried: &TriedChoice| watcher.choice(tried);
        choices.try_all((imported, &options), inputs, &limits, &mut told)?;
    }
    let options = Options {
        tuned: choices.found.clone().option(),
        ..options.clone()
    };
    if !choices.found.is_empty() {
        let budget_ns = settings.budget_ns.saturating_sub(watch.elapsed_ns());
        watcher.stage(Stage::Measuring);
        let again = (budget_ns, settings.profile.as_ref());
        report = measure(imported, &options, inputs, &until, again)?;
    }
    let earlier = earlier(&database, &untuned, &before, &choices.found)?;
    let tasks = tasks_of(&report);
    let searched = searched(&tasks, settings.share);
    watcher.begin(&tasks, &searched);
    let reserve = reserve(!earlier.all.is_empty());
    let left_ns = settings.budget_ns.saturating_sub(watch.elapsed_ns());
    let deadline = |kept: Option<InModel>| {
        let kept_ns = kept.map_or(0, |trial| reserve.ns(trial));
        left_ns.saturating_sub(kept_ns)
    };
    let end = deadline(trial);
    let mut search = Search::begin(
        &tasks,
        &searched,
        &options,
        settings,
        &database,
        (&report.machine, end),
    )?;
    let is_known = !choices.found.is_empty() || !earlier.all.is_empty();
    let mut stop = StopReason::Deadline;
    let kept = keeping(trial, |kept| {
        search.tuner.set_deadline(deadline(kept));
        stop = search.run(watcher);
        let has_kernels = !earlier.kernels.is_empty() || !search.candidates().is_empty();
        let has_trial = has_kernels || kept == Some(InModel::Whole) && is_known;
        stop == StopReason::Deadline && !has_trial
    });
    let lost = search.sink.error.take();
    let search_ns = search.tuner.elapsed_ns();
    let candidates = search.candidates();
    // To try nothing takes no time. An interrupt leaves what was kept from the begin.
    let is_any = is_known || !candidates.is_empty();
    let trial = match is_any && !until.is_asked() {
        true => kept,
        false => trial,
    };
    let limits = stitch::Limits {
        measure_ns: match until.is_asked() {
            true => STITCH_NS[0],
            false => reserve.measure_ns,
        },
        by_task: trial == Some(InModel::ByTask),
        until: &until.with_grace(GRACE_NS),
        latency_ns,
        compile_ns,
    };
    let found = &choices.found;
    let mut stitched = match trial.filter(|_| lost.is_none()) {
        Some(trial) => {
            if is_any {
                let expected_ns = reserve.expected_ns(trial, &limits);
                watcher.stage(Stage::InModel { expected_ns });
            }
            stitch(&untuned, found, &earlier, inputs, &candidates, &limits)?
        }
        None => Stitched::cut(&earlier),
    };
    if stitched.ratio.is_none() {
        // Nothing was tried as a whole: the model is as it was.
        stitched.latency_ns = [latency_ns; 2];
    }
    let tried = earlier.all.and(found).and(&candidates);
    if !stitched.is_cut {
        keep(&database, &tried, &stitched.found, &options)?;
    }
    if lost.is_none() {
        choices.keep(&records, stitched.kept == Kept::New, latency_ns)?;
    }
    Ok(Tuning {
        model: report.model.clone(),
        target: report.target.clone(),
        threads: report.threads,
        machine: report.machine.clone(),
        tasks: search.reports(&tasks, &stitched),
        stop,
        left_share: search.tuner.expected_share(),
        choices: choices.tried,
        stitched,
        search_ns,
        total_ns: watch.elapsed_ns(),
        workers: search.tuner.starts(),
        lost,
    })
}

/// Measures a model before it is searched.
///
/// Errors: as compilation and runs; a budget that does not hold one run that keeps time.
fn measure(
    imported: &Imported,
    options: &Options,
    inputs: &[TensorView<'_>],
    until: &Until<'_>,
    (budget_ns, profile): (u64, Option<&Profile>),
) -> Result<Report> {
    let first = until.by(until.elapsed_ns() + (budget_ns as f64 * FIRST_SHARE) as u64);
    let pace = Pace {
        duration_ns: FIRST_NS,
        profile,
        is_over: &|| first.is_over(),
        begun: &|run_ns| match until.is_asked() || until.holds(2 * run_ns) {
            true => Ok(()),
            false => Err(Error::Usage(format!(
                "the budget does not hold two runs of the model: compiling it and one run of {} \
                 took {}; tuning begins to make sense with --budget {}",
                human_ns(run_ns as f64),
                human_ns(until.elapsed_ns() as f64),
                seconds(2 * (until.elapsed_ns() + 2 * Sides::least_ns(2, run_ns as f64))),
            ))),
        },
    };
    explain_at(imported, options, inputs, &pace)
}

/// A budget of about so many nanoseconds, in whole seconds.
fn seconds(ns: u64) -> String {
    format!("{}s", ns.div_ceil(1_000_000_000))
}

/// What is kept of a budget for trying what was found in the model.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Reserve {
    /// How many models run in turns.
    variants: u64,
    /// Units: nanoseconds of measuring.
    measure_ns: u64,
    /// Units: nanoseconds of compiling and measuring, task by task and then the whole.
    all_ns: u64,
    /// Units: as `all_ns`, of the whole alone.
    whole_ns: u64,
}

/// How what was found is tried in the model.
#[derive(Clone, Copy, Debug, PartialEq)]
enum InModel {
    /// Task by task, and then the whole.
    ByTask,
    /// All together.
    Whole,
}

impl Reserve {
    /// For a model of so many nanoseconds a run and a compilation; `is_tuned` if something was
    /// found earlier, which runs beside the others.
    fn new(budget_ns: u64, latency_ns: f64, compile_ns: u64, is_tuned: bool) -> Reserve {
        let variants = if is_tuned { 3 } else { 2 };
        let measure_ns = (budget_ns as f64 * STITCH_SHARE) as u64;
        let measure_ns = measure_ns.clamp(STITCH_NS[0], STITCH_NS[1]);
        // Each variant is made twice.
        let runs_ns = Sides::least_ns(variants, latency_ns) as f64;
        let compile_ns = (2 * variants * compile_ns) as f64;
        let whole_ns = SPARE * (runs_ns.max(measure_ns as f64 / 2.0) + compile_ns);
        Reserve {
            variants,
            measure_ns,
            all_ns: (2.0 * whole_ns) as u64,
            whole_ns: whole_ns as u64,
        }
    }

    /// The trial that there is time for, `None` for none: the search is to have half of the time, if
    /// that leaves enough for any.
    fn trial(&self, until: &Until<'_>) -> Option<InModel> {
        if until.holds(self.all_ns.saturating_mul(2)) {
            return Some(InModel::ByTask);
        }
        until.holds(self.whole_ns).then_some(InModel::Whole)
    }

    /// Units: nanoseconds that a trial takes if nothing has to be tried again.
    fn expected_ns(&self, trial: InModel, limits: &stitch::Limits<'_>) -> u64 {
        let runs = Sides::expected_ns(self.variants, limits.latency_ns, limits.measure_ns / 2);
        let whole = runs + 2 * self.variants * limits.compile_ns;
        let all = match trial {
            InModel::ByTask => 2 * whole,
            InModel::Whole => whole,
        };
        match limits.until.is_asked() {
            true => all.min(GRACE_NS),
            false => all,
        }
    }

    /// Units: nanoseconds that are kept for a trial.
    fn ns(&self, trial: InModel) -> u64 {
        match trial {
            InModel::ByTask => self.all_ns,
            InModel::Whole => self.whole_ns,
        }
    }
}

/// Searches, and gives the trial for which time was kept to the end. `search` keeps time for one, and
/// says whether it could go on: the time of a trial in which there is nothing to try yet is for the
/// search, that of a short one last.
fn keeping(
    trial: Option<InModel>,
    mut search: impl FnMut(Option<InModel>) -> bool,
) -> Option<InModel> {
    let mut kept = trial;
    while search(kept) {
        kept = match kept {
            Some(InModel::ByTask) => Some(InModel::Whole),
            Some(InModel::Whole) => None,
            None => break,
        };
    }
    kept
}

/// What earlier tunings found for a model: with the choices of before, and kernels with those of
/// now.
///
/// Errors: as compilation; the database cannot be read.
fn earlier(
    database: &Database,
    untuned: &Variant<'_>,
    before: &Found,
    now: &Found,
) -> Result<Earlier> {
    let options = untuned.options();
    if database
        .all_accepted(&key(String::new(), options), 1)?
        .is_empty()
    {
        return Ok(Earlier::default());
    }
    let kernels = |choices: &Found| -> Result<Found> {
        let mut found = Found::default();
        for task in untuned.with(choices.clone().option())?.tasks()? {
            if let Some(values) = database.accepted(&key(task.clone(), options))? {
                found.insert(task, values);
            }
        }
        Ok(found)
    };
    let of_before = kernels(before)?;
    Ok(Earlier {
        all: before.and(&of_before),
        kernels: if before == now {
            of_before
        } else {
            kernels(now)?
        },
    })
}

/// Records what the model is compiled with, of all that was tried or accepted earlier.
///
/// Errors: the database cannot be written.
fn keep(database: &Database, tried: &Found, found: &Found, options: &Options) -> Result<()> {
    for (text, values) in tried.iter() {
        let key = key(text.into(), options);
        let earlier = database.accepted(&key)?;
        let (values, outcome) = match (found.get(text), earlier) {
            (Some(now), Some(earlier)) if *now == earlier => continue,
            (Some(now), _) => (now.clone(), Outcome::Accepted),
            (None, Some(earlier)) => (earlier, Outcome::Reverted),
            (None, None) => (values.clone(), Outcome::Reverted),
        };
        let trial = Trial {
            values,
            outcome,
            when_s: clock::unix_seconds(),
        };
        database.overrule(&key, &trial)?;
    }
    Ok(())
}

/// The search over a model's tasks.
struct Search<'d> {
    tuner: Tuner,
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
    fn begin(
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

    fn run(&mut self, watcher: &mut dyn Watcher) -> StopReason {
        let mut both = Both {
            sink: &mut self.sink,
            watcher,
        };
        self.tuner.run(&mut both)
    }

    /// What is worth trying in the model.
    fn candidates(&self) -> Found {
        let of = |(t, key): (&tensmith_autotune::tuner::Progress, &Key)| {
            Some((key.task.clone(), t.best.clone()?))
        };
        let tasks = self.tuner.tasks().iter();
        tasks.zip(&self.sink.keys).filter_map(of).collect()
    }

    fn reports(&self, tasks: &[ModelTask], stitched: &Stitched) -> Vec<TaskReport> {
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
            self.sink
                .stop
                .store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }

    fn round(&mut self, tuner: &Tuner) {
        self.watcher.round(tuner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Units: nanoseconds of a second.
    const S: u64 = 1_000_000_000;

    #[test]
    fn what_is_reserved_follows_from_runs_and_compilations() {
        let seconds = |reserve: Reserve| reserve.all_ns as f64 / S as f64 / SPARE;
        // Fast models are measured for a part of the budget, slow ones for as many runs as it takes.
        let fast = Reserve::new(60 * S, 1e6, S / 10, false);
        assert!((seconds(fast) - (7.2 + 0.8)).abs() < 1e-6, "{fast:?}");
        let slow = Reserve::new(60 * S, 3e9, S / 10, false);
        assert!(
            (seconds(slow) - (68.0 * 3.0 + 0.8)).abs() < 1e-6,
            "{slow:?}"
        );
        let tuned = Reserve::new(60 * S, 1e6, S, true);
        assert!((seconds(tuned) - (7.2 + 12.0)).abs() < 1e-6, "{tuned:?}");
        // In a minute, half of a second a run is tried as a whole; three seconds are not.
        let trial = |ns| {
            let until = Until::never().by(60 * S);
            Reserve::new(60 * S, ns, S / 10, false).trial(&until)
        };
        let trials = [1e6, 6e8, 3e9].map(trial);
        assert_eq!(trials, [Some(InModel::ByTask), Some(InModel::Whole), None]);
    }

    #[test]
    fn time_for_a_trial_of_nothing_is_searched() {
        use InModel::{ByTask, Whole};
        // The search finds something when so many searches are over.
        let searches = |trial, found: usize| {
            let mut all = Vec::new();
            let kept = keeping(trial, |kept| {
                all.push(kept);
                all.len() < found
            });
            (all, kept)
        };
        let whole = Some(Whole);
        assert_eq!(
            searches(Some(ByTask), 1),
            (vec![Some(ByTask)], Some(ByTask))
        );
        assert_eq!(
            searches(Some(ByTask), 2),
            (vec![Some(ByTask), whole], whole)
        );
        let never = vec![Some(ByTask), whole, None];
        assert_eq!(searches(Some(ByTask), usize::MAX), (never, None));
        assert_eq!(searches(whole, usize::MAX), (vec![whole, None], None));
        assert_eq!(searches(None, usize::MAX), (vec![None], None));
    }
}
