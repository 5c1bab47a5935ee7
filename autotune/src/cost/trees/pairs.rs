//! The loss: of two rows of a group, how sure is the model which is faster, and how sure may it be?
//!
//! For two rows whose targets differ by `t` and whose scores differ by `s`, the loss is the
//! cross-entropy of `sigmoid(s / noise)` against `sigmoid(t / noise)`. It is least where scores
//! differ as targets do, so that scores keep their unit, and hardly changes for pairs that are far
//! apart already.
//!
//! Source: C. Burges et al., Learning to rank using gradient descent, 2005, section 3.
use super::Rows;
use crate::random::Random;

/// Groups larger than this are compared pair by pair in part only.
const FULL: usize = 24;

/// First and second derivatives of the loss by the score of each row, the first negated.
pub struct Slopes {
    /// How much the score of each row wants to grow.
    pub pull: Vec<f32>,
    /// How fast that changes.
    pub bend: Vec<f32>,
}

/// The pairs of rows that are compared.
pub struct Pairs<'a> {
    groups: Vec<Vec<u32>>,
    targets: &'a [f32],
    /// How much each row matters: fast ones do.
    weights: Vec<f32>,
    noise: f32,
}

impl<'a> Pairs<'a> {
    /// Of all groups with more than one row.
    pub fn new(rows: &'a Rows, noise: f32) -> Pairs<'a> {
        let mut order: Vec<u32> = (0..rows.len() as u32).collect();
        order.sort_by_key(|r| rows.groups[*r as usize]);
        let same = |a: &u32, b: &u32| rows.groups[*a as usize] == rows.groups[*b as usize];
        let groups = order.chunk_by(same).filter(|g| g.len() > 1);
        let groups: Vec<Vec<u32>> = groups.map(<[u32]>::to_vec).collect();
        let mut weights = vec![0.0; rows.len()];
        for group in &groups {
            let targets = group.iter().map(|r| rows.targets[*r as usize]);
            let least = targets.fold(f32::INFINITY, f32::min);
            for row in group {
                let above = rows.targets[*row as usize] - least;
                // A row that takes twice as long as the best one matters half as much.
                weights[*row as usize] = (-above).exp();
            }
        }
        Pairs {
            groups,
            targets: &rows.targets,
            weights,
            noise,
        }
    }

    /// Whether there is nothing to compare.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The derivatives at these scores. Of large groups, each row is compared with so many
    /// partners that are drawn.
    pub fn slopes(&self, scores: &[f32], partners: usize, random: &mut Random) -> Slopes {
        let mut slopes = Slopes {
            pull: vec![0.0; scores.len()],
            bend: vec![0.0; scores.len()],
        };
        for group in &self.groups {
            let share = match group.len() <= FULL {
                true => 2.0 / (group.len() - 1) as f32,
                false => 1.0 / partners.max(1) as f32,
            };
            for (k, row) in group.iter().enumerate() {
                if group.len() <= FULL {
                    let others = group[..k].iter();
                    others.for_each(|o| self.compare((*row, *o), share, scores, &mut slopes));
                    continue;
                }
                for _ in 0..partners {
                    let other = group[random.below(group.len())];
                    self.compare((*row, other), share, scores, &mut slopes);
                }
            }
        }
        slopes
    }

    fn compare(&self, (a, b): (u32, u32), share: f32, scores: &[f32], slopes: &mut Slopes) {
        let (a, b) = (a as usize, b as usize);
        let sure = |of: &[f32]| 1.0 / (1.0 + ((of[a] - of[b]) / self.noise).exp());
        let (says, truth) = (sure(scores), sure(self.targets));
        let weight = share * self.weights[a].max(self.weights[b]);
        let pull = weight * (says - truth) / self.noise;
        let bend = weight * says * (1.0 - says) / (self.noise * self.noise);
        slopes.pull[a] += pull;
        slopes.pull[b] -= pull;
        slopes.bend[a] += bend;
        slopes.bend[b] += bend;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(groups: &[u32], targets: &[f32]) -> Rows {
        let mut rows = Rows::default();
        for (group, target) in groups.iter().zip(targets) {
            rows.push(&[], *group, *target, 0.0);
        }
        rows
    }

    #[test]
    fn scores_are_pulled_towards_the_order_of_targets() {
        let rows = rows(&[4, 2, 4, 2, 9], &[1.0, 0.0, 2.0, 5.0, 0.0]);
        let pairs = Pairs::new(&rows, 0.1);
        let slopes = pairs.slopes(&[0.0; 5], 4, &mut Random::new(1));
        assert!(slopes.pull[0] < 0.0 && slopes.pull[2] > 0.0);
        assert!(slopes.pull[1] < 0.0 && slopes.pull[3] > 0.0);
        assert_eq!((slopes.pull[4], slopes.bend[4]), (0.0, 0.0));
        // At the targets, nothing pulls, whatever is added to a group.
        let scores = [3.0, 7.0, 4.0, 12.0, 0.0];
        let slopes = pairs.slopes(&scores, 4, &mut Random::new(1));
        assert!(slopes.pull.iter().all(|p| p.abs() < 1e-3));
    }

    #[test]
    fn partners_stand_for_all_pairs() {
        let n = 400;
        let targets: Vec<f32> = (0..n).map(|k| k as f32 / 400.0).collect();
        let rows = rows(&vec![0; n], &targets);
        let pairs = Pairs::new(&rows, 0.1);
        let few = pairs.slopes(&vec![0.0; n], 6, &mut Random::new(1));
        let many = pairs.slopes(&vec![0.0; n], 500, &mut Random::new(2));
        let sum = |s: &Slopes| s.pull[..100].iter().sum::<f32>();
        assert!((sum(&few) / sum(&many) - 1.0).abs() < 0.1);
        assert!(Pairs::new(&Rows::default(), 0.1).is_empty());
    }
}
