//! From a model to what its kernels are best scheduled with.
use super::choices::{ChoiceRecords, Limits, TriedChoice};
use super::found::Found;
use super::records::key;
use super::report::Tuning;
use super::reserve::{GRACE_NS, InModel, Reserve, keeping};
use super::searching::Search;
use super::sides::{Sides, Variant};
use super::stitch::{Earlier, Kept, Stitched, stitch};
use super::tasks::{ModelTask, searched, tasks_of};
use super::until::Until;
use crate::error::{Error, Result};
use crate::explain::{Pace, Report, explain_at};
use crate::model::Imported;
use crate::options::Options;
use crate::units::human_ns;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tensmith_autotune::Effort;
use tensmith_autotune::allocate::StopReason;
use tensmith_autotune::measure::Program;
use tensmith_autotune::profile::Profile;
use tensmith_autotune::records::{Database, Outcome, Trial};
use tensmith_autotune::tuner::Tuner;
use tensmith_runtime::{Stopwatch, TensorView, clock};

/// Units: nanoseconds that the model is measured before the search, besides compiling.
const FIRST_NS: u64 = 500_000_000;
/// The part of a budget in which choices are tried.
const CHOICES_SHARE: f64 = 0.2;
/// The part of a budget, as its inverse, that others may keep the records locked for at a time.
const PATIENCE_PART: u64 = 8;
/// The part of a budget in which the model is measured before the search, at most.
const FIRST_SHARE: f64 = 0.25;

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
        watcher.note(&no_trial(watch.elapsed_ns() + first.whole_ns, latency_ns));
    }
    if settings.share.is_some() && !before.is_empty() {
        watcher.note(SHARED_CHOICES);
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
        if choices.has_untried() {
            let expected_ns = limits.budget_ns;
            watcher.stage(Stage::Choices { expected_ns });
        }
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
    let lost = search.take_error();
    let search_ns = search.tuner.elapsed_ns();
    let candidates = search.candidates();
    // To try nothing takes no time. An interrupt leaves what was kept from the begin.
    let is_any = is_known || !candidates.is_empty();
    let trial = match is_any && !until.is_asked() {
        true => kept,
        false => trial,
    };
    let until_trial = until.with_grace(GRACE_NS);
    let limits = reserve.limits(trial, &until_trial, (latency_ns, compile_ns));
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

/// What is said of a budget that holds no trial in a model of so many nanoseconds a run, where one
/// would end so many nanoseconds after the begin.
fn no_trial(end_ns: u64, latency_ns: f64) -> String {
    format!(
        "the budget does not hold a trial of what is found in the model, so nothing will be \
         accepted, only measured and kept: that takes {} or more for a model of {} a run",
        seconds(2 * end_ns),
        human_ns(latency_ns),
    )
}

/// What is said of shares of tasks that hang on what was accepted.
const SHARED_CHOICES: &str = "the tasks that are shared are those of the choices that are accepted in \
                              these records: all shares need the same ones";

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
