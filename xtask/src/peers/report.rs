//! What was measured, and the table of it.

use anyhow::Result;
use serde::Serialize;
use tensmith_runtime::stats::{Interval, geometric_mean, median, paired_ratio};

use super::side::Side;

/// One engine on one model.
#[derive(Serialize)]
pub struct Outcome {
    engine: String,
    /// Why there are no figures, or why they do not count.
    failed: Option<String>,
    /// The largest error of its outputs over the largest reference magnitude.
    error: Option<f64>,
    load_ms: Option<f64>,
    /// Units: nanoseconds that were subtracted from each block for what a call costs.
    subtracted_ns: f64,
    /// Units: nanoseconds, the median run of each block.
    blocks_ns: Vec<f64>,
    #[serde(skip)]
    side: Option<Side>,
}

impl Outcome {
    /// Of an engine that is ready or has failed.
    pub fn new(engine: &str, side: Result<Side>) -> Self {
        let (side, failed) = match side {
            Ok(side) => (Some(side), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        let ready = side.as_ref().map(|side| &side.ready);
        Outcome {
            engine: engine.to_owned(),
            failed,
            error: ready.and_then(|ready| ready.error),
            load_ms: ready.and_then(|ready| ready.load_ms),
            subtracted_ns: 0.0,
            blocks_ns: Vec::new(),
            side,
        }
    }

    /// Excludes an engine whose outputs are wrong.
    pub fn judge(&mut self, tolerance: f64) {
        if self.failed.is_some() || self.error.is_some_and(|e| e <= tolerance) {
            return;
        }
        let error = self.error.map_or("infinite".into(), |e| format!("{e:.1e}"));
        self.fail(format!("wrong: error {error}"));
    }

    fn fail(&mut self, why: String) {
        self.failed = Some(why);
        self.side = None;
        self.blocks_ns.clear();
    }

    /// Measures for about `duration_ns`.
    pub fn take_block(&mut self, duration_ns: u64) {
        let Some(side) = &mut self.side else {
            return;
        };
        match side.block(duration_ns) {
            Ok(samples) => self.blocks_ns.push(median(&samples)),
            Err(error) => self.fail(format!("{error:#}")),
        }
    }

    /// Ends the engine's process.
    pub fn end(&mut self) {
        self.side = None;
    }

    /// Units: nanoseconds of a call, if this is of the model that measures it.
    pub fn overhead(&self) -> Option<f64> {
        self.median_ns()
    }

    /// Units: nanoseconds, of the blocks.
    fn median_ns(&self) -> Option<f64> {
        (!self.blocks_ns.is_empty()).then(|| median(&self.blocks_ns))
    }

    /// Subtracts what a call costs if the latency is below `below_ns`.
    pub fn subtract(&mut self, overhead_ns: Option<f64>, below_ns: f64) {
        let (Some(overhead), Some(median)) = (overhead_ns, self.median_ns()) else {
            return;
        };
        if median >= below_ns {
            return;
        }
        if self.blocks_ns.iter().any(|ns| *ns <= overhead) {
            self.fail("no longer than a call of nothing".into());
            return;
        }
        self.blocks_ns.iter_mut().for_each(|ns| *ns -= overhead);
        self.subtracted_ns = overhead;
    }

    fn cell(&self) -> String {
        match self.median_ns() {
            Some(ns) if self.subtracted_ns > 0.0 => format!("{}*", milliseconds(ns)),
            Some(ns) => milliseconds(ns),
            None if self
                .failed
                .as_deref()
                .is_some_and(|f| f.starts_with("wrong")) =>
            {
                "wrong".into()
            }
            None => "fails".into(),
        }
    }
}

/// Three significant digits or more.
fn milliseconds(ns: f64) -> String {
    let ms = ns / 1e6;
    let digits = if ms < 1.0 {
        4
    } else if ms < 100.0 {
        2
    } else {
        1
    };
    format!("{ms:.digits$}")
}

/// Ours over an engine's latency.
#[derive(Clone, Debug, Serialize)]
struct Ratio {
    engine: String,
    median: f64,
    low: f64,
    high: f64,
    verdict: &'static str,
}

impl Ratio {
    fn new(engine: &str, interval: &Interval) -> Self {
        Ratio {
            engine: engine.to_owned(),
            median: interval.estimate,
            low: interval.low,
            high: interval.high,
            verdict: interval.verdict(1.0).as_str(),
        }
    }
}

/// One model with one number of threads on all engines, ours first.
#[derive(Serialize)]
pub struct Row {
    model: String,
    threads: usize,
    outcomes: Vec<Outcome>,
    /// Against each engine whose outputs are right, the fastest first.
    ratios: Vec<Ratio>,
}

impl Row {
    /// The ratios of what was measured.
    pub fn new(model: &str, threads: usize, outcomes: Vec<Outcome>) -> Self {
        let (own, peers) = outcomes
            .split_first()
            .expect("invariant: ours is the first");
        let mut order: Vec<&Outcome> = peers.iter().filter(|p| p.median_ns().is_some()).collect();
        let time = |p: &Outcome| p.median_ns().unwrap_or(f64::INFINITY);
        order.sort_by(|a, b| time(a).total_cmp(&time(b)));
        let ratio = |peer: &Outcome| {
            let same = own.blocks_ns.len() == peer.blocks_ns.len();
            let interval = same.then(|| paired_ratio(&peer.blocks_ns, &own.blocks_ns));
            Some(Ratio::new(&peer.engine, &interval.flatten()?))
        };
        Row {
            model: model.to_owned(),
            threads,
            ratios: order.into_iter().filter_map(ratio).collect(),
            outcomes,
        }
    }

    /// All engines but ours, in their order.
    pub fn peers(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().skip(1)
    }

    fn print_failures(&self) {
        for outcome in &self.outcomes {
            if let Some(why) = &outcome.failed {
                println!("- {}, {}: {why}", self.model, outcome.engine);
            }
        }
    }

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.model.clone()];
        cells.extend(self.outcomes.iter().map(Outcome::cell));
        cells.extend(match self.ratios.first() {
            Some(best) => [
                best.engine.clone(),
                format!("{:.3}", best.median),
                format!("{:.3} to {:.3}", best.low, best.high),
                best.verdict.to_owned(),
            ],
            None => ["-", "-", "-", "-"].map(String::from),
        });
        cells
    }
}

/// All rows, and what they say together for each number of threads.
#[derive(Serialize)]
pub struct Summary {
    rows: Vec<Row>,
    totals: Vec<Total>,
}

/// The ratios over the best engine of all models with one number of threads.
#[derive(Debug, PartialEq, Serialize)]
struct Total {
    threads: usize,
    models: usize,
    geometric_mean: f64,
    largest: f64,
    largest_model: String,
}

impl Total {
    fn of(rows: &[Row], threads: usize) -> Option<Self> {
        let best = |row: &Row| Some((row.ratios.first()?.median, row.model.clone()));
        let ratios = rows.iter().filter(|row| row.threads == threads);
        let ratios: Vec<(f64, String)> = ratios.filter_map(best).collect();
        let (largest, largest_model) = ratios.iter().max_by(|a, b| a.0.total_cmp(&b.0))?.clone();
        let values: Vec<f64> = ratios.iter().map(|(ratio, _)| *ratio).collect();
        Some(Total {
            threads,
            models: values.len(),
            geometric_mean: geometric_mean(&values),
            largest,
            largest_model,
        })
    }
}

impl Summary {
    /// With the totals.
    pub fn new(rows: Vec<Row>) -> Self {
        let mut threads: Vec<usize> = rows.iter().map(|row| row.threads).collect();
        threads.dedup();
        let totals = threads.iter().filter_map(|t| Total::of(&rows, *t));
        Summary {
            totals: totals.collect(),
            rows,
        }
    }

    /// Models that we compute wrongly or not at all.
    pub fn own_failures(&self) -> Vec<String> {
        let failure = |row: &Row| {
            let why = row.outcomes.first()?.failed.as_ref()?;
            Some(format!("{} ({} threads): {why}", row.model, row.threads))
        };
        self.rows.iter().filter_map(failure).collect()
    }

    /// Prints tables in Markdown, a table for each number of threads.
    pub fn print(&self) {
        for threads in self.threads() {
            println!("\n### Threads: {threads}. Median latency in ms, and ours over the best\n");
            let rows: Vec<&Row> = self.rows.iter().filter(|r| r.threads == threads).collect();
            let mut lines = vec![header(rows[0])];
            lines.extend(rows.iter().map(|row| row.cells()));
            print_table(&lines);
            println!();
            if let Some(total) = self.totals.iter().find(|t| t.threads == threads) {
                println!(
                    "Geometric mean of {} ratios {:.3}, largest {:.3} ({}).",
                    total.models, total.geometric_mean, total.largest, total.largest_model
                );
            }
            print_overheads(&rows);
            rows.iter().for_each(|row| row.print_failures());
        }
    }

    fn threads(&self) -> Vec<usize> {
        let mut threads: Vec<usize> = self.rows.iter().map(|row| row.threads).collect();
        threads.dedup();
        threads
    }
}

/// What was subtracted where a figure has a star: the same for all rows.
fn print_overheads(rows: &[&Row]) {
    let mut texts = Vec::new();
    for outcome in rows.iter().flat_map(|row| &row.outcomes) {
        if outcome.subtracted_ns > 0.0 {
            let microseconds = outcome.subtracted_ns / 1e3;
            texts.push(format!("{} {microseconds:.1} us", outcome.engine));
        }
    }
    texts.sort();
    texts.dedup();
    if !texts.is_empty() {
        println!("`*`: without what a call costs, {}.", texts.join(", "));
    }
}

fn header(row: &Row) -> Vec<String> {
    let mut cells = vec!["model".to_owned()];
    cells.extend(row.outcomes.iter().map(|outcome| outcome.engine.clone()));
    cells.extend(["best", "ratio", "95 % interval", "verdict"].map(String::from));
    cells
}

/// A table in Markdown; the first line is its head.
pub fn print_table(lines: &[Vec<String>]) {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |k: usize| lines.iter().map(|line| line[k].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for (index, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(&widths);
        let cells: Vec<String> = cells.map(|(cell, &w)| format!("{cell:<w$}")).collect();
        println!("| {} |", cells.join(" | "));
        if index == 0 {
            let rule: Vec<String> = widths.iter().map(|w| "-".repeat(*w)).collect();
            println!("| {} |", rule.join(" | "));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(engine: &str, ns: &[f64]) -> Outcome {
        Outcome {
            engine: engine.to_owned(),
            failed: None,
            error: Some(0.0),
            load_ms: None,
            subtracted_ns: 0.0,
            blocks_ns: ns.to_vec(),
            side: None,
        }
    }

    #[test]
    fn ratios_are_of_the_fastest_that_is_right() {
        let mut wrong = outcome("wrong", &[]);
        wrong.error = Some(0.1);
        wrong.judge(1e-3);
        let own = outcome("tensmith", &[2e6; 15]);
        let slow = outcome("slow", &[4e6; 15]);
        let quick = outcome("quick", &[1e6; 15]);
        let row = Row::new("m", 1, vec![own, wrong, slow, quick]);
        let names: Vec<&str> = row.ratios.iter().map(|r| &r.engine[..]).collect();
        assert_eq!(names, ["quick", "slow"]);
        assert_eq!(row.ratios[0].verdict, "slower");
        assert_eq!(row.ratios[1].verdict, "faster");
        assert_eq!(row.cells()[1..4], ["2.00", "wrong", "4.00"]);
        let other = Row::new(
            "n",
            1,
            vec![
                outcome("tensmith", &[1e6; 15]),
                outcome("quick", &[2e6; 15]),
            ],
        );
        let summary = Summary::new(vec![row, other]);
        let total = &summary.totals[0];
        assert!((total.geometric_mean - 1.0).abs() < 1e-12);
        assert_eq!((total.largest, &total.largest_model[..]), (2.0, "m"));
        assert!(summary.own_failures().is_empty());
    }

    #[test]
    fn overheads_are_subtracted_from_short_latencies() {
        let mut short = outcome("a", &[9e3; 15]);
        short.subtract(Some(4e3), 1e6);
        assert_eq!((short.blocks_ns[0], short.subtracted_ns), (5e3, 4e3));
        assert_eq!(short.cell(), "0.0050*");
        let mut long = outcome("a", &[9e6; 15]);
        long.subtract(Some(4e3), 1e6);
        assert_eq!((long.blocks_ns[0], long.subtracted_ns), (9e6, 0.0));
        let mut nothing = outcome("a", &[3e3; 15]);
        nothing.subtract(Some(4e3), 1e6);
        assert!(nothing.failed.is_some() && nothing.blocks_ns.is_empty());
    }

    #[test]
    fn our_own_failures_are_named() {
        let mut own = outcome("tensmith", &[]);
        own.error = None;
        own.judge(1e-3);
        let summary = Summary::new(vec![Row::new("m", 2, vec![own])]);
        assert_eq!(
            summary.own_failures(),
            ["m (2 threads): wrong: error infinite"]
        );
        assert!(summary.totals.is_empty());
    }
}
