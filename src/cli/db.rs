//! `tensmith db`: records of what was tuned. One file a group of verbs.
mod files;
mod list;
mod prune;
mod show;

use super::shared::DatabaseArgs;
use crate::cli::out::outln;
use clap::{Args, Subcommand};
use tensmith::units::human_bytes;
use tensmith::{Error, Result};
use tensmith_autotune::records::Health;

/// Show, share and tidy up the records of what was tuned.
#[derive(Args)]
#[command(after_help = "Examples:
  tensmith db list
  tensmith db show 3f2a91c0
  tensmith db export -o mine.jsonl
  tensmith db import theirs.jsonl
  tensmith db merge other.sqlite3 --records pooled.sqlite3
  tensmith db check
  tensmith db prune --other-compilers --dry-run

Every verb takes --records FILE; docs/records.md says how several machines share records.")]
pub struct Db {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List tasks with their best times
    List(list::List),
    /// Show everything that is known of a task
    Show(show::Show),
    /// Write all records as JSON lines
    Export(files::Export),
    /// Add records from JSON lines
    Import(files::Import),
    /// Add the records of other databases
    Merge(files::Merge),
    /// Check the file, its schema and every record
    Check(Check),
    /// Drop records that nobody needs
    Prune(prune::Prune),
}

impl Db {
    /// Runs the verb.
    pub fn run(self) -> Result<()> {
        match self.verb {
            Verb::List(verb) => verb.run(),
            Verb::Show(verb) => verb.run(),
            Verb::Export(verb) => verb.run(),
            Verb::Import(verb) => verb.run(),
            Verb::Merge(verb) => verb.run(),
            Verb::Check(verb) => verb.run(),
            Verb::Prune(verb) => verb.run(),
        }
    }
}

/// Check the file, its schema and every record.
#[derive(Args)]
#[command(after_help = "Examples:
  tensmith db check
  tensmith db check --records pooled.sqlite3 --json

The exit code is 1 if something is wrong, 3 if the file cannot be read as a database at all.")]
struct Check {
    #[command(flatten)]
    records: DatabaseArgs,
    /// Prints what was found as JSON
    #[arg(long)]
    json: bool,
}

impl Check {
    fn run(self) -> Result<()> {
        let database = self.records.open_to_read()?;
        let health = database.map_or(Ok(Health::default()), |d| d.check())?;
        if self.json {
            outln!("{}", serde_json::json!(health));
        } else {
            outln!(
                "{} records of {} tasks, {}",
                health.records,
                health.tasks,
                human_bytes(health.bytes)
            );
            for problem in &health.problems {
                outln!("{problem}");
            }
        }
        match health.problems.len() {
            0 => Ok(()),
            n => Err(Error::CheckFailed(format!(
                "the records have {n} problems; `tensmith db export` writes what can still be read, \
                 and `tensmith db import` takes it into a new file"
            ))),
        }
    }
}
