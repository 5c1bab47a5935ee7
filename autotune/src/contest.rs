//! The search against random search, at equal trials and on the same times.
//!
//! Each member that either of them proposes is timed once beside the default, and the time is kept
//! in a [`Log`]. So all seeds of both see the same times, a contest that was cut off goes on where
//! it ended, and what comes of it can be computed again from the log without measuring.
mod bench;
mod log;
mod report;
#[cfg(test)]
mod tests;

pub use bench::Bench;
pub use log::{Head, Host, Log, Timing};
pub use report::{Geometric, Report, Row};

use crate::Effort;
use crate::cost::{Pretrained, Ranker};
use crate::kernel_space::KernelSpace;
use crate::search::{Outcome, Search};
use crate::space::{Member, Space};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use tensmith_passes::schedule::parameters::Values;
use tensmith_passes::schedule::task::Task;

/// Candidates of a round, as a tuner asks for them.
const BATCH: usize = 8;
/// Members of a space that are remembered; making one costs about a millisecond.
const MOST_MEMBERS: usize = 20_000;

/// Who proposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The search of a tuner, without records of other tasks.
    Search,
    /// Members drawn evenly, the default first.
    Random,
}

impl Side {
    /// Both.
    pub const ALL: [Side; 2] = [Side::Search, Side::Random];

    fn begin(self, seed: u64) -> Search {
        match self {
            Side::Search => Search::new(
                Effort::Standard,
                seed,
                Ranker::new(Pretrained::shipped().trees),
                vec![],
            ),
            Side::Random => Search::random(seed),
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Search => "search",
            Side::Random => "random",
        })
    }
}

/// A task of a contest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entrant {
    /// The model that it is of.
    pub model: String,
    /// What it computes.
    pub name: String,
    /// Calls of a run of the model.
    pub calls: u64,
    /// Units: nanoseconds of a call in the model, untuned.
    pub ns: f64,
    /// The text of the task.
    pub task: String,
}

/// The space of a task whose members are made once for all seeds.
pub struct Known {
    space: KernelSpace,
    members: RefCell<HashMap<Values, Option<Member>>>,
}

impl Known {
    /// The space of a task on a host.
    ///
    /// Errors: the text is none of a task.
    pub fn new(task: &str, host: &Host) -> Result<Known, String> {
        let task: Task = task.parse()?;
        let coefficients = Pretrained::shipped().coefficients;
        Ok(Known {
            space: KernelSpace::new(task, host.schedule_target(), host.setting(), coefficients),
            members: RefCell::default(),
        })
    }
}

impl Space for Known {
    fn member(&self, values: &Values) -> Option<Member> {
        if let Some(known) = self.members.borrow().get(values) {
            return known.clone();
        }
        let member = self.space.member(values);
        let mut members = self.members.borrow_mut();
        if members.len() >= MOST_MEMBERS {
            members.clear();
        }
        if let Some(member) = &member {
            members.insert(member.values(), Some(member.clone()));
        }
        members.insert(values.clone(), member.clone());
        member
    }
}

/// Lets one side propose `trials` members of a space in rounds, and tells it the time of each over
/// that of the default, which takes `ns`; gives the identities of the members in order.
///
/// Errors: of `time`, and of whoever looks at the members that were proposed.
pub fn run<E>(
    space: &dyn Space,
    (side, seed): (Side, u64),
    (trials, ns): (usize, f64),
    mut time: impl FnMut(u64, &Values) -> Result<Timing, E>,
) -> Result<Vec<u64>, E> {
    let mut search = side.begin(seed);
    let mut proposed = Vec::new();
    while proposed.len() < trials {
        let batch = search.next(space, BATCH.min(trials - proposed.len()));
        if batch.is_empty() {
            break;
        }
        for values in &batch {
            let member = space.member(values);
            let identity = member.map_or(0, |m| m.identity);
            proposed.push(identity);
            let outcome = match time(identity, values)?.ratio {
                Some(ratio) => Outcome::Ns(ratio * ns),
                None => Outcome::Failed,
            };
            search.tell(values, outcome);
        }
    }
    Ok(proposed)
}

/// The log says that something else was proposed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "the log is of another version: {what} of seed {seed} proposed member {logged} of {name} as \
     trial {trial}, and now {found}; the parameters of its schedule, the cost model or the search \
     have changed since. The table is that of the log all the same; measure again for one of this \
     version"
)]
pub struct Stale {
    what: Side,
    seed: u64,
    name: String,
    /// From 1.
    trial: usize,
    logged: String,
    found: String,
}

/// Repeats the first `trials` trials of a run that a log holds.
///
/// Errors: another member is proposed than the log says, or its task cannot be read.
pub fn replay(
    log: &Log,
    task: usize,
    (side, seed): (Side, u64),
    space: &dyn Space,
    trials: usize,
) -> Result<(), Stale> {
    let logged = log.run(task, side, seed).unwrap_or_default();
    let trials = trials.min(logged.len());
    let stale = |at: usize, found: Option<u64>| {
        let show = |id: Option<u64>| id.map_or("none".into(), |id| format!("{id:016x}"));
        Stale {
            what: side,
            seed,
            name: log.tasks[task].name.clone(),
            trial: at + 1,
            logged: show(logged.get(at).copied()),
            found: show(found),
        }
    };
    let mut at = 0;
    let found = run(
        space,
        (side, seed),
        (trials, log.tasks[task].ns),
        |id, _| {
            at += 1;
            match log.time(task, id) {
                Some(timing) if logged[at - 1] == id => Ok(timing),
                _ => Err(stale(at - 1, Some(id))),
            }
        },
    )?;
    match found.len() == trials {
        true => Ok(()),
        false => Err(stale(found.len(), None)),
    }
}
