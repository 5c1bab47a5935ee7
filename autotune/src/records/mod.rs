//! Records: what was measured, kept where later searches and compilations find it.
//!
//! A record is a [`Key`] (the full text of a task, and what it was measured on) with a [`Trial`]
//! (values of the task's parameters, and what became of them). A database is a *set* of records:
//! what is inserted twice is there once, so files of several machines merge in any order.
//!
//! Several processes may use one file. What [`Database::insert`] has acknowledged is on disk.
mod check;
mod database;
mod error;
mod lines;
mod open;
mod prune;
mod rules;
mod summary;

pub use check::Health;
pub use database::{Added, Database};
pub use error::{RecordError, Result};
pub use lines::{Exported, Imported, Refused, read};
pub use prune::{Pruned, Selection};
pub use summary::{Overview, TaskRecords, title};

use std::path::{Path, PathBuf};
use tensmith_passes::schedule::parameters::Values;

/// What a trial belongs to. Records are found again by all of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The full text of the task.
    pub task: String,
    /// The name of the target, as `--target` takes it.
    pub target: String,
    /// Threads of a run.
    pub threads: usize,
    /// The machine: [`crate::profile::machine_key`].
    pub machine: String,
    /// The version of the compiler: [`crate::COMPILER`].
    pub compiler: String,
}

/// A way to compute a task, and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// The values of the task's parameters.
    pub values: Values,
    /// What became of it.
    pub outcome: Outcome,
    /// Units: seconds since 1970.
    pub when_s: u64,
}

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// It computes what the default does, in this time.
    Measured {
        /// Units: nanoseconds of a run, the median of the samples.
        median_ns: f64,
        /// Units: nanoseconds of a run of the default, measured beside it.
        default_ns: f64,
        /// Runs that were measured.
        samples: u32,
    },
    /// The process that ran it died.
    Crashed,
    /// It did not end in time.
    Hung,
    /// It took more memory than granted.
    OutOfMemory,
    /// Its results differ from those of the default.
    WrongResult,
    /// A model that it was tried in became faster: compilations use it from then on.
    Accepted,
    /// A model that it was tried in did not: compilations use none from then on.
    Reverted,
}

/// A trial and what it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// What it belongs to.
    pub key: Key,
    /// What was found.
    pub trial: Trial,
}

impl Trial {
    /// Its time over that of the default, below 1 where it is faster; `None` if it has none.
    pub fn ratio(&self) -> Option<f64> {
        match self.outcome {
            Outcome::Measured {
                median_ns,
                default_ns,
                ..
            } => Some(median_ns / default_ns),
            _ => None,
        }
    }
}

impl Outcome {
    /// Outcomes without a time.
    pub const UNTIMED: [Outcome; 6] = [
        Outcome::Crashed,
        Outcome::Hung,
        Outcome::OutOfMemory,
        Outcome::WrongResult,
        Outcome::Accepted,
        Outcome::Reverted,
    ];

    /// Whether values with it are never to be tried again.
    pub fn is_failure(self) -> bool {
        match self {
            Outcome::Measured { .. } | Outcome::Accepted | Outcome::Reverted => false,
            Outcome::Crashed | Outcome::Hung | Outcome::OutOfMemory | Outcome::WrongResult => true,
        }
    }

    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Measured { .. } => "measured",
            Outcome::Crashed => "crashed",
            Outcome::Hung => "hung",
            Outcome::OutOfMemory => "out-of-memory",
            Outcome::WrongResult => "wrong-result",
            Outcome::Accepted => "accepted",
            Outcome::Reverted => "reverted",
        }
    }

    /// The outcome of that name, of those without a time.
    pub fn untimed(name: &str) -> Option<Outcome> {
        Self::UNTIMED.into_iter().find(|o| o.name() == name)
    }
}

/// Where records are kept: the file that `TENSMITH_RECORDS` names, else
/// `tensmith/records.sqlite3` in the user's data folder.
///
/// Errors: the user has no such folder.
///
/// Source: XDG Base Directory Specification 0.8.
pub fn default_path() -> Result<PathBuf> {
    if let Some(file) = std::env::var_os("TENSMITH_RECORDS").filter(|f| !f.is_empty()) {
        return Ok(file.into());
    }
    let folder = crate::folders::data().ok_or(RecordError::NoFolder)?;
    Ok(folder.join("records.sqlite3"))
}

/// The folder that a file lies in.
fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests;
