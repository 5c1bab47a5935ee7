//! Which task is searched next, and when the search is over.
//!
//! Each round of search goes to the task from which most is expected for a second of it: its weight
//! times what a round is expected to take off its time. That is what rounds took off before, as it
//! decays, and never more than what is above the bound; of a task that was not searched yet, much
//! is expected. The search is over at the deadline, or when what all tasks can be expected to give
//! is less than 1 % of the model's time. Pure logic: times are told, no clock is read.
mod decay;

use crate::{Budget, Effort};
use decay::Decay;
use std::fmt;

/// The part of the model's time that is not worth searching for, unless all of the time is to be
/// used.
const WORTH: f64 = 0.01;
/// The part of the model's time from which on a task is searched before any is searched again.
const MATTERS: f64 = 0.005;
/// Of the old estimate of what a round costs, how much is kept when a round was timed.
const KEPT_COST: f64 = 0.5;
/// The least part of a round that is begun: two of eight candidates.
const LEAST_PART: f64 = 0.25;
/// Rounds that an estimate of the time to go looks ahead, at most.
const MOST_ROUNDS: usize = 10_000;

/// A task as its search begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Task {
    /// How often a run of the model computes it.
    pub weight: f64,
    /// Units: nanoseconds that it cannot be faster than.
    pub bound_ns: f64,
    /// Units: nanoseconds of the best way that is known.
    pub now_ns: f64,
    /// Units: nanoseconds that a round of search is expected to take.
    pub round_ns: f64,
}

/// What a round of search did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Round {
    /// Units: nanoseconds that it took, or would have taken as a whole.
    pub spent_ns: f64,
    /// Candidates that were measured.
    pub trials: u64,
    /// Units: nanoseconds of the best way that is now known.
    pub now_ns: f64,
    /// Whether the search has nothing more to propose.
    pub is_exhausted: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Search this task for a round.
    Search {
        /// Its number.
        task: usize,
        /// Units: nanoseconds since the begin, at which the round must be over.
        until_ns: Option<u64>,
        /// Candidates to measure, at most.
        trials: Option<u64>,
        /// The part of a round for which there is time, at most 1.
        part: f64,
    },
    /// Nothing more.
    Stop(StopReason),
}

/// Why a search is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StopReason {
    /// The deadline has come, or is nearer than the end of another round.
    Deadline,
    /// As many candidates as allowed were measured.
    Trials,
    /// Little is left to gain.
    LittleLeft {
        /// What is expected, as a part of the model's time.
        share: f64,
    },
    /// Every task was searched to the end.
    Exhausted,
    /// Somebody asked for it.
    Asked,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StopReason::Deadline => write!(f, "the time is over"),
            StopReason::Trials => write!(f, "all trials are used up"),
            StopReason::LittleLeft { share } => {
                write!(f, "no more than {:.1} % is expected", 100.0 * share)
            }
            StopReason::Exhausted => write!(f, "every task was searched to the end"),
            StopReason::Asked => write!(f, "it was interrupted"),
        }
    }
}

/// Deals the time of a search to tasks.
#[derive(Clone, Debug)]
pub struct Allocator {
    tasks: Vec<State>,
    budget: Budget,
    trials: u64,
}

#[derive(Clone, Debug)]
struct State {
    task: Task,
    decay: Decay,
    is_begun: bool,
    is_exhausted: bool,
}

impl State {
    /// What is above the bound, as a logarithm of times.
    fn gap(&self) -> f64 {
        (self.task.now_ns / self.task.bound_ns.max(f64::MIN_POSITIVE))
            .ln()
            .max(0.0)
    }

    /// Units: nanoseconds of the model that so much of the logarithm of a time is.
    fn gain(&self, improvement: f64) -> f64 {
        let improvement = improvement.min(self.gap());
        self.task.weight * self.task.now_ns * (1.0 - (-improvement).exp())
    }

    fn next_gain(&self) -> f64 {
        match self.is_exhausted {
            true => 0.0,
            false => self.gain(self.decay.next(self.gap())),
        }
    }

    fn all_gain(&self) -> f64 {
        match self.is_exhausted {
            true => 0.0,
            false => self.gain(self.decay.all(self.gap())),
        }
    }
}

impl Allocator {
    /// For these tasks, whose numbers are their positions.
    pub fn new(tasks: &[Task], budget: Budget) -> Allocator {
        let state = |task: &Task| State {
            task: *task,
            decay: Decay::default(),
            is_begun: false,
            is_exhausted: false,
        };
        Allocator {
            tasks: tasks.iter().map(state).collect(),
            budget,
            trials: 0,
        }
    }

    /// Sets another end. Units: nanoseconds since the begin.
    pub fn set_deadline(&mut self, deadline_ns: u64) {
        self.budget.deadline_ns = Some(deadline_ns);
    }

    /// The part of the model's time that is not worth searching for.
    fn worth(&self) -> f64 {
        match self.budget.effort {
            Effort::Deep | Effort::Uniform => 0.0,
            Effort::Quick | Effort::Standard => WORTH,
        }
    }

    /// What to do, so many nanoseconds after the begin.
    pub fn next(&self, elapsed_ns: u64) -> Step {
        let trials = self.budget.trials.map(|t| t.saturating_sub(self.trials));
        if trials == Some(0) {
            return Step::Stop(StopReason::Trials);
        }
        let open = || {
            self.tasks
                .iter()
                .enumerate()
                .filter(|(_, s)| !s.is_exhausted)
        };
        if open().next().is_none() {
            return Step::Stop(StopReason::Exhausted);
        }
        let share = self.expected_share();
        if share < self.worth() {
            return Step::Stop(StopReason::LittleLeft { share });
        }
        let left = self
            .budget
            .deadline_ns
            .map(|d| d.saturating_sub(elapsed_ns));
        let part = |s: &State| match left {
            Some(left) => (left as f64 / s.task.round_ns.max(1.0)).min(1.0),
            None => 1.0,
        };
        let fits = |s: &State| part(s) >= LEAST_PART;
        let rate = |s: &State| s.next_gain() / s.task.round_ns.max(1.0);
        // Before a task has its second round, all that matter have had their first: a gap to the
        // bound says little of what a search finds.
        let model = self.model_ns();
        let is_due = |s: &State| !s.is_begun && s.task.weight * s.task.now_ns > MATTERS * model;
        let any_due = open().any(|(_, s)| is_due(s) && fits(s));
        let best = open().filter(|(_, s)| left != Some(0) && fits(s) && (!any_due || is_due(s)));
        match best.max_by(|(_, a), (_, b)| rate(a).total_cmp(&rate(b))) {
            None => Step::Stop(StopReason::Deadline),
            Some((task, state)) => Step::Search {
                task,
                until_ns: self.budget.deadline_ns,
                trials,
                part: part(state),
            },
        }
    }

    /// Adds what a round did to a task.
    pub fn tell(&mut self, task: usize, round: &Round) {
        self.trials += round.trials;
        let state = &mut self.tasks[task];
        state.is_begun = true;
        let old = state.task.now_ns;
        state.task.now_ns = round.now_ns.min(old);
        state.decay.tell((old / state.task.now_ns).ln());
        let cost = &mut state.task.round_ns;
        *cost = KEPT_COST * *cost + (1.0 - KEPT_COST) * round.spent_ns;
        state.is_exhausted |= round.is_exhausted;
    }

    /// Units: nanoseconds of a run of the model, as far as it is made of tasks.
    pub fn model_ns(&self) -> f64 {
        let time = |s: &State| s.task.weight * s.task.now_ns;
        self.tasks.iter().map(time).sum()
    }

    /// What all tasks are expected to give yet, as a part of the model's time.
    pub fn expected_share(&self) -> f64 {
        let gain: f64 = self.tasks.iter().map(State::all_gain).sum();
        gain / self.model_ns().max(f64::MIN_POSITIVE)
    }

    /// Units: nanoseconds from the begin to the end of the search, if rounds give what is expected
    /// of them.
    pub fn predicted_end_ns(&self, elapsed_ns: u64) -> u64 {
        let mut ahead = self.clone();
        let mut now = elapsed_ns;
        for _ in 0..MOST_ROUNDS {
            let Step::Search { task, part, .. } = ahead.next(now) else {
                break;
            };
            let state = &ahead.tasks[task];
            let improvement = state.decay.next(state.gap()).min(state.gap());
            let round = Round {
                spent_ns: state.task.round_ns,
                trials: 0,
                now_ns: state.task.now_ns * (-improvement).exp(),
                is_exhausted: false,
            };
            now += ((part * round.spent_ns) as u64).max(1);
            ahead.tell(task, &round);
        }
        now
    }
}

#[cfg(test)]
mod tests;
