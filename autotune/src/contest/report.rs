//! What came of a contest: the fastest members that each side found.
use super::{Log, Side};
use crate::random::Random;
use serde::Serialize;
use std::fmt::Write;
use tensmith_runtime::stats::geometric_mean;

/// Resamples of the bootstrap.
const RESAMPLES: usize = 4000;
/// What they are drawn from.
const SEED: u64 = 1;
/// The part of resamples that an interval of 95 % leaves on each side.
const TAIL: f64 = 0.025;

/// A geometric mean with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Geometric {
    /// The lower end.
    pub low: f64,
    /// The mean.
    pub mean: f64,
    /// The upper end.
    pub high: f64,
}

/// A task. Ratios are of times to that of the default, geometric means over seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The model that it is of.
    pub model: String,
    /// What it computes.
    pub name: String,
    /// Units: nanoseconds of all calls in a run of the model, untuned.
    pub ns: f64,
    /// The fastest member that the search found.
    pub search: f64,
    /// The fastest one of the default and what was drawn.
    pub random: f64,
    /// The fastest one of what was drawn.
    pub drawn: f64,
    /// The fastest of all members that either side measured with any seed.
    pub fastest: f64,
}

/// A contest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Seeds of each side.
    pub seeds: u64,
    /// Trials of each run.
    pub trials: usize,
    /// Members that were measured.
    pub measured: usize,
    /// The tasks, in the order of the log.
    pub rows: Vec<Row>,
    /// Geometric means over tasks: of the search, of random search with the default, without it, and
    /// of the fastest of all.
    pub means: [f64; 4],
    /// The times of the search over those of random search, with the default and without it. The
    /// intervals are of tasks and seeds that were drawn anew.
    pub over_random: [Geometric; 2],
    /// After each trial the ratio of the fastest member so far, geometric means over tasks and
    /// seeds: of the search, and of random search with the default.
    pub curves: [Vec<f64>; 2],
}

/// What a run found: the ratio of its fastest member, with the default and without it.
#[derive(Clone, Copy)]
struct Best {
    all: f64,
    drawn: f64,
}

impl Report {
    /// Of a log; `None` if not even one seed is complete.
    pub fn new(log: &Log) -> Option<Report> {
        let seeds = log.seeds();
        if seeds == 0 {
            return None;
        }
        let tasks = 0..log.tasks.len();
        // For each task, for each seed: the search, and random search.
        let bests: Vec<Vec<[Best; 2]>> = tasks
            .clone()
            .map(|t| {
                (0..seeds)
                    .map(|s| Side::ALL.map(|side| best(log, t, side, s)))
                    .collect()
            })
            .collect();
        let rows: Vec<Row> = tasks.map(|t| row(log, t, &bests[t])).collect();
        let mean = |of: &dyn Fn(&Row) -> f64| {
            let all: Vec<f64> = rows.iter().map(of).collect();
            geometric_mean(&all)
        };
        Some(Report {
            seeds,
            trials: log.head.trials,
            measured: log.measured(),
            means: [
                mean(&|r| r.search),
                mean(&|r| r.random),
                mean(&|r| r.drawn),
                mean(&|r| r.fastest),
            ],
            over_random: [
                over_random(&bests, |random| random.all),
                over_random(&bests, |random| random.drawn),
            ],
            curves: Side::ALL.map(|side| curve(log, side, seeds)),
            rows,
        })
    }

    /// The tables in Markdown.
    pub fn markdown(&self) -> String {
        let mut out = String::from(
            "| model | task | default, ms | search | random | random without the default | \
             search over random | fastest of all |\n|---|---|---|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            let _ = writeln!(
                out,
                "| {} | `{}` | {:.3} | {:.3} | {:.3} | {:.3} | {:.3} | {:.3} |",
                row.model,
                row.name,
                row.ns / 1e6,
                row.search,
                row.random,
                row.drawn,
                row.search / row.random,
                row.fastest,
            );
        }
        let [search, random, drawn, fastest] = self.means;
        let [with, without] = self.over_random;
        let _ = write!(
            out,
            "| | geometric mean | | {search:.3} | {random:.3} | {drawn:.3} | {:.3} | {fastest:.3} \
             |\n\n\
             {} trials of each of {} tasks with {} seeds; {} members were measured. The search \
             takes {:.3} of the time of random search (95 %: {:.3} to {:.3}), and {:.3} (95 %: \
             {:.3} to {:.3}) if random search is not given the default. A search that knew the \
             fastest of all members from the start would take {:.3} of the time of random search.\n",
            with.mean,
            self.trials,
            self.rows.len(),
            self.seeds,
            self.measured,
            with.mean,
            with.low,
            with.high,
            without.mean,
            without.low,
            without.high,
            fastest / random,
        );
        out
    }
}

/// The ratios of what a run proposed, in order; those that failed are infinite.
fn ratios(log: &Log, task: usize, side: Side, seed: u64) -> Vec<f64> {
    let run = log.run(task, side, seed).unwrap_or_default();
    let ratio = |id: &u64| log.time(task, *id).and_then(|t| t.ratio);
    run.iter()
        .map(|id| ratio(id).unwrap_or(f64::INFINITY))
        .collect()
}

/// The first trial of both sides is the default.
fn best(log: &Log, task: usize, side: Side, seed: u64) -> Best {
    let ratios = ratios(log, task, side, seed);
    let least = |of: &[f64]| of.iter().copied().fold(f64::INFINITY, f64::min);
    Best {
        all: least(&ratios),
        drawn: least(ratios.get(1..).unwrap_or_default()),
    }
}

fn row(log: &Log, task: usize, bests: &[[Best; 2]]) -> Row {
    let entrant = &log.tasks[task];
    let mean = |of: &dyn Fn(&[Best; 2]) -> f64| {
        let all: Vec<f64> = bests.iter().map(of).collect();
        geometric_mean(&all)
    };
    Row {
        model: entrant.model.clone(),
        name: entrant.name.clone(),
        ns: entrant.calls as f64 * entrant.ns,
        search: mean(&|[search, _]| search.all),
        random: mean(&|[_, random]| random.all),
        drawn: mean(&|[_, random]| random.drawn),
        fastest: log.fastest(task).unwrap_or(f64::INFINITY),
    }
}

/// The geometric mean of the search over random search, with the percentiles of a bootstrap in two
/// levels: tasks are drawn with replacement, and of each its seeds.
///
/// Source: A. C. Davison and D. V. Hinkley, Bootstrap Methods and their Application, section 3.8.
fn over_random(bests: &[Vec<[Best; 2]>], random: impl Fn(&Best) -> f64) -> Geometric {
    let logs: Vec<Vec<f64>> = (bests.iter())
        .map(|seeds| {
            seeds
                .iter()
                .map(|[s, r]| (s.all / random(r)).ln())
                .collect()
        })
        .collect();
    let mean_of = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let means: Vec<f64> = logs.iter().map(|seeds| mean_of(seeds)).collect();
    let mut chance = Random::new(SEED);
    let mut resample = || {
        let task = |chance: &mut Random| {
            let seeds = &logs[chance.below(logs.len())];
            let drawn: Vec<f64> = seeds
                .iter()
                .map(|_| seeds[chance.below(seeds.len())])
                .collect();
            mean_of(&drawn)
        };
        let drawn: Vec<f64> = logs.iter().map(|_| task(&mut chance)).collect();
        mean_of(&drawn)
    };
    let mut all: Vec<f64> = (0..RESAMPLES).map(|_| resample()).collect();
    all.sort_by(f64::total_cmp);
    let tail = (TAIL * RESAMPLES as f64) as usize;
    Geometric {
        low: all[tail].exp(),
        mean: mean_of(&means).exp(),
        high: all[RESAMPLES - 1 - tail].exp(),
    }
}

fn curve(log: &Log, side: Side, seeds: u64) -> Vec<f64> {
    let runs = (0..log.tasks.len()).flat_map(|t| (0..seeds).map(move |s| (t, s)));
    let runs: Vec<Vec<f64>> = runs.map(|(t, s)| ratios(log, t, side, s)).collect();
    let best_after = |run: &Vec<f64>, trials: usize| {
        let done = run.iter().take(trials).copied();
        done.fold(f64::INFINITY, f64::min)
    };
    let after = |trials: usize| {
        let all: Vec<f64> = runs.iter().map(|run| best_after(run, trials)).collect();
        geometric_mean(&all)
    };
    (1..=log.head.trials).map(after).collect()
}
