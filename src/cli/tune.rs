//! `tensmith tune`
mod live;
mod table;
mod working;

use super::inputs::InputArgs;
use super::shared::{ModelArgs, check_output, files_of_database, print_notes};
use crate::cli::out::{errln, out, outln};
use clap::Args;
use live::Live;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tensmith::files::{check_writable, write_atomic};
use tensmith::tune::html::html;
use tensmith::tune::stitch::Kept;
use tensmith::tune::{Settings, Tuning, tune};
use tensmith::units::parse_duration;
use tensmith::{Error, Result, TensorView};
use tensmith_autotune::Effort;
use tensmith_autotune::measure::Program;
use tensmith_autotune::profile::Profile;
use tensmith_autotune::records::default_path;

/// Find the fastest schedule of each kernel of a model on this machine.
#[derive(Args)]
#[command(after_help = "Examples:
  tensmith tune model.onnx
  tensmith tune model.onnx --budget 10m --deep --threads 2
  tensmith tune model.onnx --budget 5m --resume
  tensmith tune model.onnx --tasks 1/4 --records part1.sqlite3
  tensmith tune model.onnx --html report.html
  tensmith tune model.onnx --json > tuned.json

What is found is kept in the database of records, and used by `compile`, `run` and all other verbs
with the same target, number of threads and machine. A kernel is computed in another way only if the
model was seen to become faster with it. Ctrl-C, or a signal to end (SIGTERM, SIGHUP), ends the search
and keeps what was found.")]
pub struct Tune {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    inputs: InputArgs,
    /// Time for all of it, such as 60s or 10m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    budget: u64,
    /// Candidates to measure, at most
    #[arg(long, value_name = "N")]
    trials: Option<u64>,
    /// Searches what is known to be good elsewhere only
    #[arg(long, conflicts_with_all = ["deep", "uniform"])]
    quick: bool,
    /// Crosses and changes the best schedules as well: for budgets of many minutes
    #[arg(long)]
    deep: bool,
    /// Draws schedules evenly: to collect what `cargo xtask train-cost` learns from
    #[arg(long, conflicts_with = "deep")]
    uniform: bool,
    /// Goes on where an earlier search of these tasks ended
    #[arg(long)]
    resume: bool,
    /// Tunes only the K-th of N shares of the tasks: one for each of N machines of a kind, whose
    /// records are merged by `tensmith db merge`
    #[arg(long, value_name = "K/N", value_parser = parse_share)]
    tasks: Option<(usize, usize)>,
    /// Writes what became of each task as one page, with pictures of the search and rooflines
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,
    /// Prints what became of each task as JSON
    #[arg(long)]
    json: bool,
}

/// The share `K/N`, counted from 0.
fn parse_share(text: &str) -> std::result::Result<(usize, usize), String> {
    let parts = text.split_once('/');
    let parsed = parts.and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
    match parsed {
        Some((k, n)) if (1..=n).contains(&k) => Ok((k - 1, n)),
        _ => Err("want K/N with K from 1 to N, such as 2/4".into()),
    }
}

impl Tune {
    /// Runs the verb.
    pub fn run(self) -> Result<()> {
        // Before any time is spent.
        if let Some(page) = &self.html {
            check_writable(page)?;
            self.model.check_outputs(&[("--html", &self.html)])?;
            check_output(page, "--html", files_of_database(&self.records()?))?;
        }
        let model = self.model.load()?;
        let given = self.inputs.read(&model)?;
        let prepared = given.prepare(&model, self.model.untuned_options()?, true)?;
        print_notes(&prepared.imported);
        errln!("inputs: {}", prepared.describe());
        let settings = self.settings()?;
        let views: Vec<TensorView<'_>> = prepared.inputs.iter().map(|(_, t)| t.view()).collect();
        let mut live = Live::new(self.budget);
        let (imported, options) = (&prepared.imported, &prepared.options);
        let tuning = tune(imported, options, &views, &settings, &mut live);
        live.end();
        let tuning = tuning?;
        if let Some(path) = &self.html {
            write_atomic(path, |w| w.write_all(html(&tuning).as_bytes()))?;
            errln!("wrote {}", path.display());
        }
        match self.json {
            true => outln!("{}", table::json(&tuning)),
            false => out!("{}", table::text(&tuning)),
        }
        errln!("{}", tuning.machine.origin());
        errln!("records: {}", settings.records.display());
        self.note(&tuning);
        tuning.lost.map_or(Ok(()), Err)
    }

    /// The database of records.
    fn records(&self) -> Result<PathBuf> {
        match &self.model.records.records {
            Some(path) => Ok(path.clone()),
            None => Ok(default_path()?),
        }
    }

    fn settings(&self) -> Result<Settings> {
        let records = &self.model.records;
        if records.no_records || records.tuning_record.is_some() {
            return Err(Error::Usage(
                "tune writes records: leave out --no-records and --tuning-record; --records FILE \
                 says where"
                    .into(),
            ));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let again = move || {
            // The second time, somebody does not want to wait.
            if asked.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
        };
        ctrlc::set_handler(again)
            .map_err(|e| Error::Internal(format!("interrupts cannot be seen: {e}")))?;
        let file = std::env::current_exe().map_err(|e| Error::io("find", "this program", e))?;
        Ok(Settings {
            budget_ns: self.budget,
            trials: self.trials,
            effort: match (self.quick, self.deep, self.uniform) {
                (true, _, _) => Effort::Quick,
                (_, true, _) => Effort::Deep,
                (_, _, true) => Effort::Uniform,
                _ => Effort::Standard,
            },
            seed: self.inputs.seed,
            profile: Profile::kept(),
            records: self.records()?,
            resume: self.resume,
            share: self.tasks,
            program: Program {
                file,
                arguments: vec!["tune-worker".into()],
            },
            stop,
        })
    }

    /// What to do next.
    fn note(&self, tuning: &Tuning) {
        if tuning.stitched.is_cut {
            errln!(
                "there was no time to prove in the model what was found: nothing is accepted or \
                 taken back; what was measured is kept, and --resume goes on from it"
            );
        }
        match tuning.stitched.kept {
            Kept::New => {}
            Kept::Earlier => errln!("the model is compiled as before"),
            Kept::Untuned => errln!("the model is compiled untuned"),
        }
        if tuning.left_share >= 0.01 {
            let budget = self.budget / 1_000_000_000;
            errln!(
                "about {:.1} % may be left: --resume --budget {}s goes on",
                100.0 * tuning.left_share,
                2 * budget.max(1)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_counted_from_one() {
        assert_eq!(parse_share("1/4"), Ok((0, 4)));
        assert_eq!(parse_share("4/4"), Ok((3, 4)));
        for wrong in ["0/4", "5/4", "1", "a/b", "1/0"] {
            assert!(parse_share(wrong).is_err(), "{wrong}");
        }
    }
}
