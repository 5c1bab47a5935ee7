//! Trains what is shipped, and says how good it is: on tasks that training did not see.
//!
//! A dataset is split by families of models: each family is ordered by a ranker that was trained
//! on all others, since families that training never saw will be tuned, too.
use super::analytic::Coefficients;
use super::dataset::Sample;
use super::metrics::{kendall, reached, recall, spearman};
use super::trees::{Options, Rows, Trees};
use super::{Pretrained, features};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Samples of a task that make its order worth a number.
const LEAST_SAMPLES: usize = 8;
/// Samples of a task that are learned from, at most: small tasks are measured in thousands of
/// ways, large ones in tens.
const MOST_SAMPLES: usize = 64;
/// The candidates that count as top.
const TOP: usize = 10;

/// How the weights that are shipped are trained: they are to hold for tasks of other models, so
/// trees are few and shallow, and leaves are large.
pub fn options() -> Options {
    Options {
        trees: 150,
        depth: 4,
        rate: 0.08,
        least_rows: 40,
        ridge: 10.0,
        features: 0.3,
        partners: 8,
        noise: 0.1,
        seed: 1,
    }
}

/// Trains on all samples.
pub fn train(samples: &[Sample], options: &Options) -> Pretrained {
    let all: Vec<&Sample> = samples.iter().collect();
    train_with(&all, options)
}

fn train_with(samples: &[&Sample], options: &Options) -> Pretrained {
    let mut tasks: BTreeMap<(&str, &str), Vec<&Sample>> = BTreeMap::new();
    for s in samples {
        tasks.entry((&s.family, &s.task)).or_default().push(s);
    }
    let few = |all: &Vec<&'_ Sample>| -> Vec<usize> {
        let n = all.len().min(MOST_SAMPLES);
        (0..n).map(|k| k * all.len() / n).collect()
    };
    let mut rows = Rows::default();
    let mut taken = Vec::new();
    for (group, all) in tasks.values().enumerate() {
        for sample in few(all).into_iter().map(|k| all[k]) {
            rows.push(&sample.features, group as u32, sample.ns.ln() as f32, 0.0);
            taken.push(sample);
        }
    }
    let coefficients = Coefficients::default().fit(taken.iter().copied());
    let trees = Trees::train(&rows, features::ROW, options);
    Pretrained {
        coefficients,
        trees,
    }
}

/// How well something orders the candidates of tasks; means over tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quality {
    /// Spearman's rank correlation.
    pub spearman: f64,
    /// Kendall's rank correlation.
    pub kendall: f64,
    /// The part of the fastest ten that is among the ten with the lowest scores.
    pub recall: f64,
    /// The time of the fastest candidate over that of the best of these ten.
    pub reached: f64,
}

impl Quality {
    fn of(scores: &[f64], ns: &[f64]) -> Quality {
        Quality {
            spearman: spearman(scores, ns),
            kendall: kendall(scores, ns),
            recall: recall(scores, ns, TOP),
            reached: reached(scores, ns, TOP),
        }
    }

    /// What an order by chance is expected to have. What it reaches is the mean over all choices.
    fn of_chance(ns: &[f64]) -> Quality {
        let n = ns.len();
        let mut sorted = ns.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (mut expected, mut none_before) = (0.0, 1.0);
        for (k, time) in sorted.iter().enumerate() {
            // That this one is chosen, if none of the faster ones is.
            let chosen = (TOP as f64 / (n - k) as f64).min(1.0);
            expected += none_before * chosen * sorted[0] / time;
            none_before *= 1.0 - chosen;
        }
        Quality {
            spearman: 0.0,
            kendall: 0.0,
            recall: (TOP as f64 / n as f64).min(1.0),
            reached: expected,
        }
    }

    fn mean(all: &[Quality]) -> Quality {
        let mean = |f: fn(&Quality) -> f64| all.iter().map(f).sum::<f64>() / all.len() as f64;
        Quality {
            spearman: mean(|q| q.spearman),
            kendall: mean(|q| q.kendall),
            recall: mean(|q| q.recall),
            reached: mean(|q| q.reached),
        }
    }
}

/// A family, ordered by what was trained on the others.
#[derive(Clone, Debug, Serialize)]
pub struct Family {
    /// Its name.
    pub name: String,
    /// Tasks with enough samples.
    pub tasks: usize,
    /// Their samples.
    pub samples: usize,
    /// By chance.
    pub chance: Quality,
    /// By the analytic model, fitted to the others.
    pub analytic: Quality,
    /// By the trees.
    pub ranker: Quality,
}

/// All families.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// Each family.
    pub families: Vec<Family>,
}

/// Orders each family by what was trained on the others. Families without a task of enough samples
/// are left out.
pub fn evaluate(samples: &[Sample], options: &Options) -> Evaluation {
    let names: BTreeSet<&str> = samples.iter().map(|s| &s.family[..]).collect();
    let family = |name: &&str| {
        let (own, others): (Vec<&Sample>, Vec<&Sample>) =
            samples.iter().partition(|s| s.family == *name);
        evaluate_family(name, &own, &train_with(&others, options))
    };
    Evaluation {
        families: names.iter().filter_map(family).collect(),
    }
}

fn evaluate_family(name: &str, own: &[&Sample], trained: &Pretrained) -> Option<Family> {
    let mut tasks: BTreeMap<&str, Vec<&Sample>> = BTreeMap::new();
    own.iter()
        .for_each(|s| tasks.entry(&s.task).or_default().push(s));
    tasks.retain(|_, s| s.len() >= LEAST_SAMPLES);
    let (mut chance, mut analytic, mut ranker) = (vec![], vec![], vec![]);
    for samples in tasks.values() {
        let ns: Vec<f64> = samples.iter().map(|s| s.ns).collect();
        let base = |s: &&Sample| trained.coefficients.predict_ns(&s.terms).ln();
        let scores: Vec<f64> = samples.iter().map(base).collect();
        let trees = samples.iter().map(|s| trained.trees.predict(&s.features));
        let trees: Vec<f64> = trees.collect();
        chance.push(Quality::of_chance(&ns));
        analytic.push(Quality::of(&scores, &ns));
        ranker.push(Quality::of(&trees, &ns));
    }
    (!tasks.is_empty()).then(|| Family {
        name: name.into(),
        tasks: tasks.len(),
        samples: tasks.values().map(Vec::len).sum(),
        chance: Quality::mean(&chance),
        analytic: Quality::mean(&analytic),
        ranker: Quality::mean(&ranker),
    })
}

impl Evaluation {
    /// Means over families: by chance, by the analytic model, by the trees.
    pub fn means(&self) -> [Quality; 3] {
        let of = |f: fn(&Family) -> Quality| {
            let all: Vec<Quality> = self.families.iter().map(f).collect();
            Quality::mean(&all)
        };
        [of(|f| f.chance), of(|f| f.analytic), of(|f| f.ranker)]
    }
}

impl fmt::Display for Evaluation {
    /// A table for documents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| family | tasks | samples | order by | Spearman | Kendall | recall of top {TOP} | best of top {TOP} |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|")?;
        for family in &self.families {
            let name = &family.name;
            let counts = format!("{} | {}", family.tasks, family.samples);
            let orders = [family.chance, family.analytic, family.ranker];
            rows(f, (name, &counts), orders)?;
        }
        rows(f, ("mean", "|"), self.means())
    }
}

fn rows(f: &mut fmt::Formatter<'_>, head: (&str, &str), orders: [Quality; 3]) -> fmt::Result {
    for (order, q) in ["chance", "analytic", "ranker"].iter().zip(orders) {
        writeln!(
            f,
            "| {} | {} | {order} | {:.3} | {:.3} | {:.3} | {:.3} |",
            head.0, head.1, q.spearman, q.kendall, q.recall, q.reached
        )?;
    }
    Ok(())
}
