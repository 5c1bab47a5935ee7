//! Records as what compilations look up.
use super::found::Found;
use crate::error::{Error, Result};
use crate::options::Options;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tensmith_autotune::COMPILER;
use tensmith_autotune::profile::machine_key;
use tensmith_autotune::records::{self, Database, Key, Outcome, Record};
use tensmith_passes::pipeline::Precision;
use tensmith_passes::schedule::parameters::Values;
use tensmith_passes::schedule::task::Tuned;

/// Where a compilation looks for what tuning has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a database; one that is not there holds nothing.
    Database(PathBuf),
    /// In a file of JSON lines, whatever machine they are of.
    Lines(PathBuf),
}

/// The key of a task for compilations with these options, on this machine.
pub fn key(task: String, options: &Options) -> Key {
    Key {
        task,
        target: target(options),
        threads: options.thread_count(),
        machine: machine_key(),
        compiler: COMPILER.into(),
    }
}

/// The target in keys: sums that keep their order have records of their own.
fn target(options: &Options) -> String {
    match options.precision {
        Precision::Exact => format!("{}/exact", options.target_name()),
        Precision::Standard | Precision::Fast(_) => options.target_name().into(),
    }
}

impl Source {
    /// What it holds for compilations with these options; `None` if there is nothing. `told` hears
    /// of each line of a file of lines that holds no record: it costs no other one.
    ///
    /// Errors: the file cannot be read, or is no such file; a file of lines that holds no record for
    /// the target, the threads and this version of the compiler.
    pub fn open(
        &self,
        options: &Options,
        told: &mut dyn FnMut(&str),
    ) -> Result<Option<Arc<dyn Tuned>>> {
        match self {
            Source::Database(path) => Ok(Database::open_to_read(path)?.map(|database| {
                let recorded: Arc<dyn Tuned> = Arc::new(Recorded {
                    database: Mutex::new(database),
                    path: path.clone(),
                    key: key(String::new(), options),
                });
                recorded
            })),
            Source::Lines(path) => lines(path, options, told),
        }
    }
}

fn lines(
    path: &Path,
    options: &Options,
    told: &mut dyn FnMut(&str),
) -> Result<Option<Arc<dyn Tuned>>> {
    let (records, read) = records::read(path)?;
    read.complaints(path).iter().for_each(|c| told(c));
    if let Some(why) = read.is_no_export() {
        return Err(Error::file(path, why));
    }
    let wanted = key(String::new(), options);
    let fits = |r: &&Record| {
        let key = &r.key;
        (&key.target, key.threads, &key.compiler)
            == (&wanted.target, wanted.threads, &wanted.compiler)
    };
    let found = accepted(records.iter().filter(fits));
    if found.is_empty() {
        return Err(Error::file(
            path,
            format!(
                "no record says what to use for target {}, {} threads and version {} of the \
                 compiler; `tensmith db export` writes what `tensmith tune` found",
                wanted.target, wanted.threads, wanted.compiler
            ),
        ));
    }
    Ok(found.option())
}

/// The last word on each task, if it is a good one: as [`Database::accepted`].
fn accepted<'r>(records: impl Iterator<Item = &'r Record>) -> Found {
    let mut last: HashMap<&str, &Record> = HashMap::new();
    let words = [Outcome::Accepted, Outcome::Reverted];
    for record in records.filter(|r| words.contains(&r.trial.outcome)) {
        let order = |r: &Record| {
            let reverted = r.trial.outcome == Outcome::Reverted;
            (
                r.trial.when_s,
                reverted,
                std::cmp::Reverse(r.trial.values.to_string()),
            )
        };
        let known = last.entry(&record.key.task).or_insert(record);
        if order(record) > order(known) {
            *known = record;
        }
    }
    let good = last.into_iter();
    let good = good.filter(|(_, r)| r.trial.outcome == Outcome::Accepted);
    good.map(|(task, r)| (task.to_string(), r.trial.values.clone()))
        .collect()
}

/// A database that is looked up.
struct Recorded {
    database: Mutex<Database>,
    path: PathBuf,
    /// The key of what is looked up, without the task.
    key: Key,
}

impl std::fmt::Debug for Recorded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Recorded").field(&self.path).finish()
    }
}

impl Tuned for Recorded {
    /// What cannot be read is as good as not there: the default is right too.
    fn values(&self, task: &str) -> Option<Values> {
        let key = Key {
            task: task.into(),
            ..self.key.clone()
        };
        let database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        database.accepted(&key).ok().flatten()
    }
}
