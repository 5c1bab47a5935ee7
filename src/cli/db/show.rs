//! `tensmith db show`
use super::list::times;
use crate::cli::out::outln;
use crate::cli::shared::{DatabaseArgs, table};
use clap::Args;
use tensmith::units::{human_age, human_ns};
use tensmith::{Error, Result};
use tensmith_autotune::records::{Key, Outcome, TaskRecords, Trial};
use tensmith_runtime::clock::unix_seconds;

/// Tasks that a name that is too short is told to stand for, at most.
const MAX_NAMED: usize = 10;

/// Show everything that is known of a task.
#[derive(Args)]
#[command(after_help = "Examples:
  tensmith db show 3f2a91c0
  tensmith db show 3f2a --json

Trials come in the order of their time over that of the default; `*` marks the best.")]
pub struct Show {
    /// The task: its id in `tensmith db list`, or the head of it
    id: String,
    #[command(flatten)]
    records: DatabaseArgs,
    /// Prints the task as JSON
    #[arg(long)]
    json: bool,
}

impl Show {
    /// Runs the verb.
    pub fn run(self) -> Result<()> {
        let database = self.records.open_to_read()?;
        let found = database.map_or(Ok(vec![]), |d| d.find(&self.id))?;
        let task = match &found[..] {
            [task] => task,
            [] => {
                let reason = format!(
                    "no task has an id that begins with `{}`; `tensmith db list` shows them",
                    self.id
                );
                return Err(Error::Usage(reason));
            }
            several => return Err(Error::Usage(ambiguous(&self.id, several))),
        };
        if self.json {
            outln!("{}", as_json(task));
        } else {
            print(task);
        }
        Ok(())
    }
}

fn ambiguous(id: &str, tasks: &[TaskRecords]) -> String {
    let ids: Vec<&str> = tasks.iter().take(MAX_NAMED).map(|t| &t.id[..]).collect();
    let count = tasks.len();
    format!(
        "{count} tasks have ids that begin with `{id}`: {}; say more of it",
        ids.join(", ")
    )
}

fn as_json(task: &TaskRecords) -> serde_json::Value {
    let trial = |t: &Trial| {
        let times = times(Some(t));
        let samples = match t.outcome {
            Outcome::Measured { samples, .. } => Some(samples),
            _ => None,
        };
        serde_json::json!({
            "values": t.values.to_string(),
            "outcome": t.outcome.name(),
            "median_ns": times.map(|(median, _)| median),
            "default_ns": times.map(|(_, default)| default),
            "samples": samples,
            "when_s": t.when_s,
        })
    };
    let keys = task.keys.iter().map(|(key, trials, best)| {
        serde_json::json!({
            "target": key.target,
            "threads": key.threads,
            "machine": key.machine,
            "compiler": key.compiler,
            "best": best.as_ref().map(trial),
            "trials": trials.iter().map(trial).collect::<Vec<_>>(),
        })
    });
    serde_json::json!({
        "id": task.id,
        "task": task.task,
        "keys": keys.collect::<Vec<_>>(),
    })
}

fn print(task: &TaskRecords) {
    outln!("{}", task.task.trim_end());
    for (key, trials, best) in &task.keys {
        let Key {
            target,
            threads,
            machine,
            compiler,
            ..
        } = key;
        outln!();
        outln!("{target}, {threads} threads, machine {machine}, compiler {compiler}");
        print_trials(trials, best.as_ref());
    }
}

fn print_trials(trials: &[Trial], best: Option<&Trial>) {
    let now = unix_seconds();
    let mut sorted: Vec<&Trial> = trials.iter().collect();
    let order = |t: &&Trial| t.ratio().unwrap_or(f64::INFINITY);
    sorted.sort_by(|a, b| order(a).total_cmp(&order(b)));
    let mut table = table(
        &["", "median", "default", "ratio", "samples", "age", "values"],
        1..6,
    );
    for trial in sorted {
        let mark = if best == Some(trial) { "*" } else { "" };
        let age = human_age(now.saturating_sub(trial.when_s));
        let values = trial.values.to_string();
        match trial.outcome {
            Outcome::Measured {
                median_ns,
                default_ns,
                samples,
            } => table.add_row([
                mark.into(),
                human_ns(median_ns),
                human_ns(default_ns),
                format!("{:.3}", median_ns / default_ns),
                samples.to_string(),
                age,
                values,
            ]),
            untimed => table.add_row([
                mark.into(),
                untimed.name().into(),
                "-".into(),
                "-".into(),
                "-".into(),
                age,
                values,
            ]),
        };
    }
    outln!("{table}");
}
