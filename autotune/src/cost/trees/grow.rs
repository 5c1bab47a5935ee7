//! One tree: split by split, level by level, by histograms.
use super::bins::{Bins, MOST};
use super::pairs::Slopes;
use super::{Node, Options, Tree};
use crate::random::Random;

/// Rows that are not split further, or not yet.
struct Leaf {
    rows: Vec<u32>,
    /// Its node.
    node: usize,
}

/// Sums of a bin.
#[derive(Clone, Copy, Default)]
struct Sums {
    pull: f32,
    bend: f32,
    rows: u32,
}

impl Sums {
    fn add(&mut self, other: Sums) {
        self.pull += other.pull;
        self.bend += other.bend;
        self.rows += other.rows;
    }

    fn without(self, other: Sums) -> Sums {
        Sums {
            pull: self.pull - other.pull,
            bend: self.bend - other.bend,
            rows: self.rows - other.rows,
        }
    }

    /// How much the loss falls by the best step of such a leaf, doubled.
    fn gain(self, ridge: f32) -> f32 {
        self.pull * self.pull / (self.bend.max(0.0) + ridge)
    }

    fn step(self, ridge: f32) -> f32 {
        self.pull / (self.bend.max(0.0) + ridge)
    }
}

struct Split {
    feature: usize,
    /// Bins up to this one go left.
    bin: usize,
    gain: f32,
}

/// Splits that gain less than this leave the loss as it is.
const LEAST_GAIN: f32 = 1e-6;

/// A tree that lowers the loss, with what it adds to each row; `None` if no split does.
pub fn grow(
    bins: &Bins,
    slopes: &Slopes,
    options: &Options,
    random: &mut Random,
) -> Option<(Tree, Vec<f32>)> {
    let features: Vec<usize> = (0..bins.features())
        .filter(|f| bins.count(*f) > 1)
        .filter(|_| random.chance(options.features))
        .collect();
    let mut grower = Grower {
        bins,
        slopes,
        options,
        features,
        nodes: vec![Node::Leaf(0.0)],
        added: vec![0.0; bins.rows()],
    };
    let mut leaves = vec![Leaf {
        rows: (0..bins.rows() as u32).collect(),
        node: 0,
    }];
    for _ in 0..options.depth {
        leaves = leaves.into_iter().flat_map(|l| grower.split(l)).collect();
    }
    leaves.into_iter().for_each(|l| grower.close(&l));
    (grower.nodes.len() > 1).then_some((Tree(grower.nodes), grower.added))
}

struct Grower<'a> {
    bins: &'a Bins,
    slopes: &'a Slopes,
    options: &'a Options,
    features: Vec<usize>,
    nodes: Vec<Node>,
    added: Vec<f32>,
}

impl Grower<'_> {
    /// The two leaves of the best split; none if the leaf stays one.
    fn split(&mut self, leaf: Leaf) -> Vec<Leaf> {
        let Some(split) = self.best(&leaf.rows) else {
            self.close(&leaf);
            return vec![];
        };
        let column = self.bins.column(split.feature);
        let goes_left = |row: &u32| usize::from(column[*row as usize]) <= split.bin;
        let (left, right) = leaf.rows.into_iter().partition(goes_left);
        let at = self.nodes.len();
        self.nodes.extend([Node::Leaf(0.0); 2]);
        self.nodes[leaf.node] = Node::Split {
            feature: split.feature as u16,
            threshold: self.bins.threshold(split.feature, split.bin),
            left: at as u16,
            right: at as u16 + 1,
        };
        let leaf = |rows, node| Leaf { rows, node };
        vec![leaf(left, at), leaf(right, at + 1)]
    }

    /// Sets the value of a leaf.
    fn close(&mut self, leaf: &Leaf) {
        let mut sums = Sums::default();
        leaf.rows.iter().for_each(|r| sums.add(self.sums(*r)));
        let value = self.options.rate * sums.step(self.options.ridge);
        self.nodes[leaf.node] = Node::Leaf(value);
        leaf.rows
            .iter()
            .for_each(|r| self.added[*r as usize] = value);
    }

    fn sums(&self, row: u32) -> Sums {
        Sums {
            pull: self.slopes.pull[row as usize],
            bend: self.slopes.bend[row as usize],
            rows: 1,
        }
    }

    fn best(&self, rows: &[u32]) -> Option<Split> {
        if rows.len() < 2 * self.options.least_rows {
            return None;
        }
        let mut best: Option<Split> = None;
        for feature in &self.features {
            let found = self.best_of(*feature, rows);
            if let Some(found) = found.filter(|f| best.as_ref().is_none_or(|b| f.gain > b.gain)) {
                best = Some(found);
            }
        }
        best
    }

    fn best_of(&self, feature: usize, rows: &[u32]) -> Option<Split> {
        let column = self.bins.column(feature);
        let mut histogram = [Sums::default(); MOST];
        for row in rows {
            histogram[usize::from(column[*row as usize])].add(self.sums(*row));
        }
        let ridge = self.options.ridge;
        let mut all = Sums::default();
        histogram.iter().for_each(|s| all.add(*s));
        let mut left = Sums::default();
        let mut best: Option<Split> = None;
        for (bin, sums) in histogram
            .iter()
            .enumerate()
            .take(self.bins.count(feature) - 1)
        {
            left.add(*sums);
            let right = all.without(left);
            if (left.rows.min(right.rows) as usize) < self.options.least_rows {
                continue;
            }
            let gain = left.gain(ridge) + right.gain(ridge) - all.gain(ridge);
            if gain > best.as_ref().map_or(LEAST_GAIN, |b| b.gain) {
                best = Some(Split { feature, bin, gain });
            }
        }
        best
    }
}
