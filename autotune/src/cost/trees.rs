//! Gradient-boosted regression trees for a ranking: small, deterministic, trained in milliseconds.
//!
//! The model adds up the leaves that a row of features reaches. It is trained to order the rows of
//! a group as their targets do ([`pairs`]); each tree ([`grow`]) takes a Newton step along the
//! gradient of that loss, over histograms of features ([`bins`]).
//!
//! Source: J. H. Friedman, Greedy function approximation: a gradient boosting machine, 2001;
//! T. Chen and C. Guestrin, XGBoost: a scalable tree boosting system, 2016, section 2.
mod bins;
mod grow;
mod pairs;
#[cfg(test)]
mod tests;
mod text;

pub use text::ParseError;

use crate::random::Random;
use bins::Bins;
use pairs::Pairs;

/// A node of a tree. Children stand behind their parents.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Node {
    /// Goes to `left` if the feature is below the threshold, else to `right`.
    Split {
        feature: u16,
        threshold: f32,
        left: u16,
        right: u16,
    },
    /// What the tree adds.
    Leaf(f32),
}

/// A tree; the first node is its root.
#[derive(Clone, Debug, PartialEq)]
struct Tree(Vec<Node>);

impl Tree {
    fn predict(&self, row: &[f32]) -> f32 {
        let mut at = 0;
        loop {
            match self.0[at] {
                Node::Leaf(value) => return value,
                Node::Split {
                    feature,
                    threshold,
                    left,
                    right,
                } => {
                    let below = row[usize::from(feature)] < threshold;
                    at = usize::from(if below { left } else { right });
                }
            }
        }
    }
}

/// A sum of trees over rows of a fixed number of features.
#[derive(Clone, Debug, PartialEq)]
pub struct Trees {
    features: usize,
    trees: Vec<Tree>,
}

/// What to learn from: rows of features, each of a group, with a target and what is predicted
/// already.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// The features of all rows, one row after the other.
    pub features: Vec<f32>,
    /// The group of each row: only rows of one group are compared.
    pub groups: Vec<u32>,
    /// What each row should score, up to a constant of its group.
    pub targets: Vec<f32>,
    /// What each row scores without these trees.
    pub base: Vec<f32>,
}

impl Rows {
    /// The number of rows.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Adds a row.
    pub fn push(&mut self, features: &[f32], group: u32, target: f32, base: f32) {
        self.features.extend(features);
        self.groups.push(group);
        self.targets.push(target);
        self.base.push(base);
    }

    /// Forgets the first `n` of rows that have `width` features.
    pub fn forget(&mut self, n: usize, width: usize) {
        self.features.drain(..n * width);
        self.groups.drain(..n);
        self.targets.drain(..n);
        self.base.drain(..n);
    }
}

/// How to train.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Trees.
    pub trees: usize,
    /// Splits on the way from the root to a leaf, at most.
    pub depth: usize,
    /// How much of a Newton step each tree takes.
    pub rate: f32,
    /// Rows of a leaf, at least.
    pub least_rows: usize,
    /// What is added to the second derivatives of a leaf: larger keeps leaves near 0.
    pub ridge: f32,
    /// The part of the features that each tree may split by.
    pub features: f64,
    /// Rows that each row is compared with, for each tree.
    pub partners: usize,
    /// Differences of targets that are noise.
    pub noise: f32,
    /// Of features and partners that are drawn.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            trees: 100,
            depth: 3,
            rate: 0.12,
            least_rows: 3,
            ridge: 1.0,
            features: 0.5,
            partners: 6,
            noise: 0.3,
            seed: 1,
        }
    }
}

impl Trees {
    /// A model that adds nothing.
    pub fn none(features: usize) -> Trees {
        Trees {
            features,
            trees: vec![],
        }
    }

    /// Trains a model. Rows of features that are no numbers count as 0.
    ///
    /// Panics: the lengths of the rows do not fit each other.
    pub fn train(rows: &Rows, features: usize, options: &Options) -> Trees {
        let n = rows.len();
        assert_eq!(rows.features.len(), n * features, "a row has all features");
        assert!(
            rows.groups.len() == n && rows.base.len() == n,
            "a row is complete"
        );
        let mut model = Trees::none(features);
        let pairs = Pairs::new(rows, options.noise);
        if pairs.is_empty() {
            return model;
        }
        let bins = Bins::new(&rows.features, features);
        let mut random = Random::new(options.seed);
        let mut scores = rows.base.clone();
        for _ in 0..options.trees {
            let slopes = pairs.slopes(&scores, options.partners, &mut random);
            let tree = grow::grow(&bins, &slopes, options, &mut random);
            let Some((tree, added)) = tree else {
                continue;
            };
            scores.iter_mut().zip(&added).for_each(|(s, a)| *s += a);
            model.trees.push(tree);
        }
        model
    }

    /// What the model adds to the score of a row.
    ///
    /// Panics: a row with another number of features.
    pub fn predict(&self, row: &[f32]) -> f64 {
        assert_eq!(row.len(), self.features, "a row has all features");
        let each = self.trees.iter().map(|t| f64::from(t.predict(row)));
        each.sum()
    }

    /// The number of features of a row.
    pub fn features(&self) -> usize {
        self.features
    }

    /// The number of trees.
    pub fn len(&self) -> usize {
        self.trees.len()
    }

    /// Whether the model adds nothing.
    pub fn is_empty(&self) -> bool {
        self.trees.is_empty()
    }
}
