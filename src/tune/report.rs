//! What became of a model that was tuned.
use super::choices::TriedChoice;
use super::stitch::Stitched;
use super::tasks::ModelTask;
use crate::error::Error;
use crate::explain::machine::Machine;
use std::collections::BTreeMap;
use tensmith_autotune::allocate::StopReason;
use tensmith_autotune::measure::protocol::Failure;
use tensmith_passes::schedule::parameters::Values;

/// What became of a task.
#[derive(Clone, Debug)]
pub struct TaskReport {
    /// The task.
    pub task: ModelTask,
    /// Whether it was searched.
    pub is_searched: bool,
    /// Candidates that were measured, or failed.
    pub trials: u64,
    /// How often each thing went wrong.
    pub failures: BTreeMap<Failure, u64>,
    /// The fastest member alone, and its time over that of the untuned one.
    pub best: Option<(Values, f64)>,
    /// Whether the model is compiled with it from now on.
    pub is_accepted: bool,
    /// The time of its kernels in the model over the untuned ones, where it was tried.
    pub in_model: Option<f64>,
    /// When the fastest member changed: seconds, trials, ratio.
    pub curve: Vec<(f64, u64, f64)>,
    /// Why it was not searched to the end of the time.
    pub end: Option<String>,
    /// Whether that is because it could not be measured.
    pub is_failed: bool,
}

impl TaskReport {
    /// Units: nanoseconds of a call in the model from now on.
    pub fn now_ns(&self) -> f64 {
        let alone = self.best.as_ref().map_or(1.0, |(_, ratio)| *ratio);
        match self.is_accepted {
            true => self.task.ns * self.in_model.unwrap_or(alone),
            false => self.task.ns,
        }
    }

    /// The bound as a part of the time from now on.
    pub fn bound_share(&self) -> f64 {
        self.task.bound_ns / self.now_ns().max(1.0)
    }

    /// What became of it, in a few words.
    pub fn state(&self) -> String {
        match (self.in_model, self.is_accepted) {
            (Some(r), true) => format!("accepted: {r:.3} in the model"),
            (Some(r), false) => format!("reverted: {r:.3} in the model"),
            (None, true) => "accepted".into(),
            (None, false) => match &self.end {
                Some(why) => format!("untuned: {why}"),
                None if !self.is_searched => "untuned: of another share".into(),
                None if self.trials == 0 => "untuned: nothing was tried".into(),
                None if self.best.is_some() => "untuned: not tried in the model".into(),
                None => "untuned: nothing faster".into(),
            },
        }
    }
}

/// What became of a model.
#[derive(Debug)]
pub struct Tuning {
    /// The model's name.
    pub model: String,
    /// The target that it was compiled for.
    pub target: String,
    /// Threads of a run.
    pub threads: usize,
    /// What the machine can do.
    pub machine: Machine,
    /// Its tasks, the largest part of the run first.
    pub tasks: Vec<TaskReport>,
    /// Why the search ended.
    pub stop: StopReason,
    /// Options of choices that were tried.
    pub choices: Vec<TriedChoice>,
    /// What the model said of what was found.
    pub stitched: Stitched,
    /// What is expected to be left, as a part of the time of all tasks.
    pub left_share: f64,
    /// Units: nanoseconds of the search, and of all of it.
    pub search_ns: u64,
    /// Units: as `search_ns`, of everything.
    pub total_ns: u64,
    /// Processes that were started to measure.
    pub workers: usize,
    /// Why the search could keep no more, if that ended it: then nothing is tried in the model.
    pub lost: Option<Error>,
}

impl Tuning {
    /// Candidates that were measured, or failed.
    pub fn trials(&self) -> u64 {
        self.tasks.iter().map(|t| t.trials).sum()
    }

    /// Tasks that the model is compiled with from now on.
    pub fn accepted(&self) -> usize {
        self.tasks.iter().filter(|t| t.is_accepted).count()
    }

    /// When the sum of the times of all tasks, as the search knew it, changed: seconds, and the sum
    /// over that of the untuned tasks.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        let untuned = |t: &TaskReport| t.task.calls as f64 * t.task.ns;
        let all: f64 = self.tasks.iter().map(untuned).sum();
        let of_task = |(k, t): (usize, &TaskReport)| {
            let points = t.curve.iter();
            points
                .map(|(seconds, _, ratio)| (*seconds, k, *ratio))
                .collect::<Vec<_>>()
        };
        let mut changes: Vec<(f64, usize, f64)> =
            (self.tasks.iter().enumerate()).flat_map(of_task).collect();
        changes.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut ratios = vec![1.0; self.tasks.len()];
        let mut curve = vec![(0.0, 1.0)];
        for (seconds, task, ratio) in changes {
            ratios[task] = ratio;
            let times = self.tasks.iter().zip(&ratios).map(|(t, r)| r * untuned(t));
            curve.push((seconds, times.sum::<f64>() / all.max(1.0)));
        }
        curve
    }
}
