//! The contest that the manual holds: its table is that of its log, and its log is that of the
//! search, as long as both are of one version.
use anyhow::{Context, Result, anyhow};
use std::fs;
use std::path::Path;
use tensmith_autotune::contest::{Known, Log, Report, Side, replay};

/// Trials of every third task that are proposed again: the whole contest takes minutes, and
/// `cargo xtask tune-experiment search --replay` repeats it.
const TRIALS: usize = 8;

fn docs() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

fn log() -> Result<Log> {
    let text = fs::read(docs().join("tuning/search.jsonl"))?;
    Ok(Log::read(&text[..])?)
}

#[test]
fn the_table_is_that_of_the_log() -> Result<()> {
    let report = Report::new(&log()?).context("no complete seed")?;
    let page = fs::read_to_string(docs().join("tuning.md"))?;
    let marks = "<!-- search: made by `cargo xtask tune-experiment` -->\n";
    let (_, table) = page.split_once(marks).context("no table")?;
    let (table, _) = table
        .split_once("<!-- end of search -->")
        .context("no end of the table")?;
    assert_eq!(table, report.markdown());
    Ok(())
}

#[test]
fn the_log_is_that_of_the_search_or_says_that_it_is_older() -> Result<()> {
    let log = log()?;
    for (task, entrant) in log.tasks.iter().enumerate().step_by(3) {
        let space = Known::new(&entrant.task, &log.head.host).map_err(|e| anyhow!(e))?;
        for side in Side::ALL {
            if let Err(stale) = replay(&log, task, (side, 0), &space, TRIALS) {
                // A schedule has other parameters since: no defect, but the log proves nothing of
                // this version.
                eprintln!("{stale}");
                return Ok(());
            }
        }
    }
    Ok(())
}
