//! `tensmith db list`
use crate::cli::out::outln;
use crate::cli::shared::{DatabaseArgs, table};
use clap::Args;
use std::collections::BTreeSet;
use tensmith::Result;
use tensmith::units::{human_age, human_ns};
use tensmith_autotune::records::{Outcome, Overview, Trial, title};
use tensmith_runtime::clock::unix_seconds;

/// Characters of a task's name that are shown: enough to tell thousands apart.
const SHORT: usize = 8;

/// List tasks with their best times.
#[derive(Args)]
#[command(after_help = "Examples:
  tensmith db list
  tensmith db list --json --records pooled.sqlite3

A row is a task on a target, with a number of threads, on a machine, by a version of the compiler.
`best` is the time of the best values, `default` that of the default measured beside them; `used`
says whether a model became faster with some values, so that compilations take them.")]
pub struct List {
    #[command(flatten)]
    records: DatabaseArgs,
    /// Prints the rows as JSON
    #[arg(long)]
    json: bool,
}

impl List {
    /// Runs the verb.
    pub fn run(self) -> Result<()> {
        let database = self.records.open_to_read()?;
        let rows = database.map_or(Ok(vec![]), |d| d.overview())?;
        if self.json {
            let rows: Vec<_> = rows.iter().map(as_json).collect();
            outln!("{}", serde_json::json!(rows));
        } else {
            print(&rows);
        }
        Ok(())
    }
}

/// Median and default time of a trial that was measured.
pub(super) fn times(trial: Option<&Trial>) -> Option<(f64, f64)> {
    match trial?.outcome {
        Outcome::Measured {
            median_ns,
            default_ns,
            ..
        } => Some((median_ns, default_ns)),
        _ => None,
    }
}

fn as_json(row: &Overview) -> serde_json::Value {
    let times = times(row.best.as_ref());
    serde_json::json!({
        "id": row.id,
        "title": title(&row.key.task),
        "target": row.key.target,
        "threads": row.key.threads,
        "machine": row.key.machine,
        "compiler": row.key.compiler,
        "best_ns": times.map(|(best, _)| best),
        "default_ns": times.map(|(_, default)| default),
        "values": row.best.as_ref().map(|t| t.values.to_string()),
        "accepted": row.accepted.as_ref().map(ToString::to_string),
        "trials": row.trials,
        "failed": row.failed,
        "last_s": row.last_s,
    })
}

fn print(rows: &[Overview]) {
    if rows.is_empty() {
        return;
    }
    let now = unix_seconds();
    let count = |what: fn(&Overview) -> &str| rows.iter().map(what).collect::<BTreeSet<_>>().len();
    // Columns that say the same in each row are left out.
    let machines = count(|r| &r.key.machine) > 1;
    let compilers = count(|r| &r.key.compiler) > 1;
    let mut head = vec![
        "id", "task", "best", "default", "ratio", "trials", "failed", "used", "target", "age",
    ];
    head.extend(machines.then_some("machine"));
    head.extend(compilers.then_some("compiler"));
    let mut table = table(&head, 2..7);
    for row in rows {
        let times = times(row.best.as_ref());
        let shown = |ns: Option<f64>| ns.map_or("-".into(), human_ns);
        let ratio = times.map(|(best, default)| best / default);
        let mut line = vec![
            row.id[..SHORT].to_string(),
            title(&row.key.task),
            shown(times.map(|(best, _)| best)),
            shown(times.map(|(_, default)| default)),
            ratio.map_or("-".into(), |r| format!("{r:.3}")),
            row.trials.to_string(),
            row.failed.to_string(),
            if row.accepted.is_some() { "yes" } else { "-" }.into(),
            format!("{} x{}", row.key.target, row.key.threads),
            human_age(now.saturating_sub(row.last_s)),
        ];
        line.extend(machines.then(|| row.key.machine.clone()));
        line.extend(compilers.then(|| row.key.compiler.clone()));
        table.add_row(line);
    }
    outln!("{table}");
}
