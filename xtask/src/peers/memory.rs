//! `cargo xtask peers --memory`: the peak memory of one run, ours from a native file.
//!
//! Each engine runs each model once, on one thread, in a process of its own of the same interpreter.
//! Ours is a shared library that `tensmith compile` wrote before.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::report::print_table;
use super::{Bench, Subject, side};

/// Processes that are measured: pages of files and threads make them differ a little.
const REPEATS: usize = 3;

/// What a process says of itself.
#[derive(Deserialize)]
struct Answer {
    failed: Option<String>,
    #[serde(default)]
    imported_kib: u64,
    #[serde(default)]
    peak_kib: u64,
    error: Option<f64>,
}

/// One engine on one model.
#[derive(Serialize)]
struct Cell {
    engine: String,
    failed: Option<String>,
    /// The largest error of its outputs over the largest reference magnitude.
    error: Option<f64>,
    /// Units: KiB, of the whole process; the median of several.
    peak_kib: u64,
    /// Units: KiB, beyond the interpreter with the engine imported; the median of several.
    growth_kib: u64,
}

/// One model.
#[derive(Serialize)]
struct Row {
    model: String,
    /// Ours first.
    cells: Vec<Cell>,
}

/// Measures all subjects, and prints the table. Fails if our outputs are wrong somewhere.
pub fn run(bench: &Bench<'_>, subjects: &[Subject]) -> Result<()> {
    let mut rows = Vec::new();
    for subject in subjects {
        eprintln!("{}, memory", subject.name);
        rows.push(row(bench, subject)?);
    }
    match bench.options.json {
        true => println!("{}", serde_json::to_string(&rows)?),
        false => print(&rows, bench.options.tolerance),
    }
    let wrong = |r: &&Row| !r.cells[0].is_right(bench.options.tolerance);
    let wrong: Vec<&str> = rows
        .iter()
        .filter(wrong)
        .map(|r| r.model.as_str())
        .collect();
    anyhow::ensure!(
        wrong.is_empty(),
        "tensmith is wrong or fails: {}",
        wrong.join(", ")
    );
    Ok(())
}

fn row(bench: &Bench<'_>, subject: &Subject) -> Result<Row> {
    let folder = tempfile::tempdir()?;
    let library = folder.path().join("libmodel.so");
    let mut compile = Command::new(&bench.tensmith);
    compile
        .arg("compile")
        .arg(&subject.model)
        .args(["--threads", "1"]);
    compile.arg("--inputs").arg(subject.case.join("inputs.npz"));
    compile.arg("--output").arg(&library);
    side::output(&mut compile)?;
    let mut cells = vec![measure(
        bench,
        subject,
        ("tensmith", &library),
        folder.path(),
    )?];
    for engine in &bench.options.engines {
        let converted = bench.environment.converted(engine, &subject.name);
        std::fs::create_dir_all(&converted)?;
        // What is converted, or read of the model for that, is not part of a run.
        ask(bench, subject, (engine, &subject.model), &converted)?;
        cells.push(measure(
            bench,
            subject,
            (engine, &subject.model),
            &converted,
        )?);
    }
    Ok(Row {
        model: subject.name.clone(),
        cells,
    })
}

/// Runs a model once in a process of its own.
fn ask(
    bench: &Bench<'_>,
    subject: &Subject,
    (engine, model): (&str, &Path),
    folder: &Path,
) -> Result<Answer> {
    let mut worker = bench.environment.worker();
    worker.arg("--memory").arg(engine).arg(model);
    worker.arg(&subject.case).arg(folder);
    Ok(serde_json::from_str(&side::output(&mut worker)?)?)
}

fn measure(
    bench: &Bench<'_>,
    subject: &Subject,
    what: (&str, &Path),
    folder: &Path,
) -> Result<Cell> {
    let mut answers = Vec::new();
    while answers.len() < REPEATS {
        answers.push(ask(bench, subject, what, folder)?);
        if answers.iter().any(|a| a.failed.is_some()) {
            break;
        }
    }
    let median = |of: &dyn Fn(&Answer) -> u64| {
        let mut all: Vec<u64> = answers.iter().map(of).collect();
        all.sort_unstable();
        all[all.len() / 2]
    };
    let (peak_kib, growth_kib) = (
        median(&|a| a.peak_kib),
        median(&|a| a.peak_kib.saturating_sub(a.imported_kib)),
    );
    Ok(Cell {
        engine: what.0.to_owned(),
        failed: answers.iter().find_map(|a| a.failed.clone()),
        error: answers
            .iter()
            .map(|a| a.error)
            .reduce(|a, b| Some(a?.max(b?)))
            .flatten(),
        peak_kib,
        growth_kib,
    })
}

impl Cell {
    fn is_right(&self, tolerance: f64) -> bool {
        self.failed.is_none() && self.error.is_some_and(|e| e <= tolerance)
    }

    /// The peak and the growth in MiB.
    fn text(&self, tolerance: f64) -> String {
        if self.failed.is_some() {
            return "fails".into();
        }
        let mark = if self.is_right(tolerance) {
            ""
        } else {
            " wrong"
        };
        let [peak, growth] = [self.peak_kib, self.growth_kib].map(|k| k as f64 / 1024.0);
        format!("{peak:.1} ({growth:.1}){mark}")
    }
}

impl Row {
    /// Ours over the least of all others that ran, right or wrong; `None` if none did.
    fn ratio(&self, of: &dyn Fn(&Cell) -> u64) -> Option<f64> {
        let others = self.cells[1..].iter().filter(|c| c.failed.is_none());
        let least = others.map(of).min().filter(|n| *n > 0)?;
        Some(of(&self.cells[0]) as f64 / least as f64)
    }
}

fn print(rows: &[Row], tolerance: f64) {
    let engines = rows.first().map_or(&[][..], |r| &r.cells);
    let mut head = vec!["model".to_owned()];
    head.extend(engines.iter().map(|c| c.engine.clone()));
    head.extend(["ratio of peaks", "ratio beyond the interpreter"].map(String::from));
    let peak = |r: &Row| r.ratio(&|c| c.peak_kib);
    let growth = |r: &Row| r.ratio(&|c| c.growth_kib);
    let shown = |ratio: Option<f64>| ratio.map_or_else(|| "-".into(), |r| format!("{r:.3}"));
    let line = |r: &Row| {
        let mut line = vec![r.model.clone()];
        line.extend(r.cells.iter().map(|c| c.text(tolerance)));
        line.extend([shown(peak(r)), shown(growth(r))]);
        line
    };
    println!(
        "Peak memory in MiB of a process that runs the model once (beyond the interpreter).\n"
    );
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(rows.iter().map(line)).collect();
    print_table(&lines);
    let below = |of: &dyn Fn(&Row) -> Option<f64>| {
        rows.iter()
            .filter(|r| of(r).is_some_and(|x| x < 1.0))
            .count()
    };
    println!(
        "\nBelow every other engine's on {} of {} models; beyond the interpreter on {}.",
        below(&peak),
        rows.len(),
        below(&growth)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(engine: &str, peak_kib: u64, growth_kib: u64) -> Cell {
        Cell {
            engine: engine.into(),
            failed: None,
            error: Some(1e-6),
            peak_kib,
            growth_kib,
        }
    }

    #[test]
    fn ratios_are_to_the_least_that_ran() {
        let mut failed = cell("b", 1, 1);
        failed.failed = Some("no such op".into());
        let mut wrong = cell("c", 4096, 1024);
        wrong.error = None;
        let row = Row {
            model: "m".into(),
            cells: vec![
                cell("tensmith", 2048, 1024),
                cell("a", 8192, 512),
                failed,
                wrong,
            ],
        };
        assert_eq!(row.ratio(&|c| c.peak_kib), Some(0.5));
        assert_eq!(row.ratio(&|c| c.growth_kib), Some(2.0));
        let texts: Vec<String> = row.cells.iter().map(|c| c.text(1e-3)).collect();
        assert_eq!(
            texts,
            ["2.0 (1.0)", "8.0 (0.5)", "fails", "4.0 (1.0) wrong"]
        );
    }
}
