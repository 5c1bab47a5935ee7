//! Whether tuning pays: what `cargo xtask tune-experiment` runs.
//!
//! `budgets` tunes models for a minute, for five and for long, and compares what they become.
//! `search` compares the search with random search at equal trials. `pictures` draws both. All that
//! was measured is kept in a folder, and taken up there by the next call.
mod budgets;
mod page;
mod pictures;
mod search;
mod subject;

use anyhow::{Context, Result, bail};
use clap::Parser;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tensmith::units::parse_duration;
use tensmith_runtime::Stopwatch;

/// The parts.
const PARTS: [&str; 3] = ["budgets", "search", "pictures"];

/// Measure what tuning gives, and write the tables and pictures of docs/tuning.md.
#[derive(Parser)]
#[command(
    name = "cargo xtask tune-experiment",
    after_help = "Examples:
  cargo xtask tune-experiment --write
  cargo xtask tune-experiment budgets --models mobilenet_v2,minilm_l6
  cargo xtask tune-experiment budgets --references resnet50 --reference 30s --budgets 5s,10s
  cargo xtask tune-experiment search --for 50s
  cargo xtask tune-experiment search --replay

What was measured is kept in --folder, and the next call goes on there: a tuning that was cut off is
begun again, all else is not repeated. Nothing else should run on the machine meanwhile."
)]
struct Options {
    /// Parts of the experiment; all if none is named
    #[arg(value_parser = PARTS)]
    parts: Vec<String>,
    /// Where measurements are kept between calls
    #[arg(long, value_name = "DIR", default_value = "target/tune-experiment")]
    folder: PathBuf,
    /// Stops after this time; the next call goes on. A tuning is not begun if it would not end
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    limit: Option<u64>,
    /// Threads of a run
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// budgets: models that are tuned for long as well
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "resnet50,ppocr_rec"
    )]
    references: Vec<String>,
    /// budgets: other models
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    models: Vec<String>,
    /// budgets: how long a reference is searched, by --deep
    #[arg(long, value_name = "TIME", default_value = "20m")]
    reference: String,
    /// budgets: the others
    #[arg(
        long,
        value_name = "TIMES",
        value_delimiter = ',',
        default_value = "60s,5m"
    )]
    budgets: Vec<String>,
    /// budgets: how long a model's tunings are compared, 15 rounds at least
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    compare: u64,
    /// search: the largest tasks of all models
    #[arg(long, value_name = "N", default_value_t = 10)]
    tasks: usize,
    /// search: seeds of each side
    #[arg(long, value_name = "N", default_value_t = 10)]
    seeds: u64,
    /// search: trials of each run
    #[arg(long, value_name = "N", default_value_t = 64)]
    trials: usize,
    /// Measures nothing: makes the tables of what docs/tuning/ holds, proposes all members again,
    /// and fails if docs/tuning.md says something else
    #[arg(long, conflicts_with = "write")]
    replay: bool,
    /// Writes measurements and pictures to docs/tuning/ and tables to docs/tuning.md
    #[arg(long)]
    write: bool,
    /// Prints what was found as JSON instead of tables
    #[arg(long)]
    json: bool,
    /// The tensmith command, which tunes and measures
    #[arg(long, value_name = "PROGRAM")]
    tensmith: PathBuf,
}

/// The end of a call: a time, or an interrupt.
struct End {
    watch: Stopwatch,
    limit_ns: Option<u64>,
    asked: Arc<AtomicBool>,
}

impl End {
    fn is_due(&self) -> bool {
        self.left_ns() == 0
    }

    /// Units: nanoseconds that are left.
    fn left_ns(&self) -> u64 {
        if self.asked.load(Ordering::Relaxed) {
            return 0;
        }
        let limit = self.limit_ns.unwrap_or(u64::MAX);
        limit.saturating_sub(self.watch.elapsed_ns())
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    let asked = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&asked);
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))?;
    let end = End {
        watch: Stopwatch::start(),
        limit_ns: options.limit,
        asked,
    };
    std::fs::create_dir_all(&options.folder)
        .with_context(|| options.folder.display().to_string())?;
    let wanted = |part: &str| options.parts.is_empty() || options.parts.iter().any(|p| p == part);
    let mut is_complete = true;
    if wanted("search") {
        is_complete &= search::run(&options, &end)?;
    }
    if wanted("budgets") {
        is_complete &= budgets::run(&options, &end)?;
    }
    if wanted("pictures") && !options.replay {
        pictures::run()?;
    }
    if end.asked.load(Ordering::Relaxed) {
        bail!("interrupted; the same command goes on");
    }
    if !is_complete {
        eprintln!("not complete yet: the same command goes on");
    }
    Ok(())
}
