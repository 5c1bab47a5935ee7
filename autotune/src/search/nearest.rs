//! Values that were best for similar tasks.
use super::{Round, Strategy};
use tensmith_passes::schedule::parameters::Values;

/// Records that are tried.
const TRIED: usize = 6;

/// The best known values of another task, or of the same one on another machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbour {
    /// The features of its default member.
    pub features: Vec<f32>,
    /// The values.
    pub values: Values,
}

/// Tries what was best for the tasks whose default members are most like this one's.
#[derive(Debug, Default)]
pub struct Nearest {
    neighbours: Vec<Neighbour>,
    is_sorted: bool,
}

impl Nearest {
    /// With records of other tasks, in any order.
    pub fn new(neighbours: Vec<Neighbour>) -> Nearest {
        Nearest {
            neighbours,
            is_sorted: false,
        }
    }

    /// Keeps the nearest ones, the nearest last.
    fn sort(&mut self, features: &[f32]) {
        let distance = |n: &Neighbour| -> f32 {
            let pairs = n.features.iter().zip(features);
            pairs.map(|(a, b)| (a - b).powi(2)).sum()
        };
        self.neighbours
            .retain(|n| n.features.len() == features.len());
        self.neighbours
            .sort_by(|a, b| distance(a).total_cmp(&distance(b)));
        // Neighbours that agree are one.
        let mut seen: Vec<Values> = Vec::new();
        self.neighbours.retain(|n| {
            let is_new = !seen.contains(&n.values);
            seen.push(n.values.clone());
            is_new
        });
        self.neighbours.truncate(TRIED);
        self.neighbours.reverse();
        self.is_sorted = true;
    }
}

impl Strategy for Nearest {
    fn name(&self) -> &'static str {
        "nearest"
    }

    fn propose(&mut self, round: &mut Round<'_>, n: usize) -> Vec<Values> {
        if !self.is_sorted {
            let Some(default) = round.member(&Values::default()) else {
                return vec![];
            };
            self.sort(&default.features);
        }
        let mut found = Vec::new();
        while found.len() < n {
            let Some(neighbour) = self.neighbours.pop() else {
                break;
            };
            // What this task has no option for, it leaves at the default.
            let member = round.member(&neighbour.values);
            found.extend(member.filter(|m| round.is_new(m)).map(|m| m.values()));
        }
        found
    }
}
