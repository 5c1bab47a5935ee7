//! Least squares with coefficients that are not negative.
//!
//! Source: C. Lawson and R. Hanson, Solving least squares problems, 1974, chapter 23.

/// A system of linear equations, as its normal equations: rows are added one by one.
#[derive(Clone, Debug)]
pub struct Normal {
    /// `A^T A`, row by row.
    square: Vec<f64>,
    /// `A^T b`.
    right: Vec<f64>,
}

/// Gradients below this part of the greatest one count as 0.
const TINY: f64 = 1e-10;

impl Normal {
    /// Of no equation, for so many unknowns.
    pub fn new(unknowns: usize) -> Normal {
        Normal {
            square: vec![0.0; unknowns * unknowns],
            right: vec![0.0; unknowns],
        }
    }

    /// Adds the equation `row * x = value`, which counts `weight` times.
    pub fn add(&mut self, row: &[f64], value: f64, weight: f64) {
        let n = self.right.len();
        for (i, a) in row.iter().enumerate() {
            self.right[i] += weight * a * value;
            for (j, b) in row.iter().enumerate() {
                self.square[i * n + j] += weight * a * b;
            }
        }
    }

    /// The solution of least squared error among those without negative numbers. Unknowns that no
    /// equation has are 0.
    pub fn solve(&self) -> Vec<f64> {
        let n = self.right.len();
        let mut x = vec![0.0; n];
        let mut free: Vec<usize> = Vec::new();
        let scale = self.right.iter().fold(0.0, |m: f64, r| m.max(r.abs()));
        // Each step frees an unknown; the bound only guards against rounding.
        for _ in 0..3 * n {
            let gradient = self.gradient(&x);
            let most = (0..n)
                .filter(|k| !free.contains(k) && self.square[k * n + k] > 0.0)
                .max_by(|a, b| gradient[*a].total_cmp(&gradient[*b]));
            let Some(most) = most.filter(|k| gradient[*k] > TINY * scale) else {
                break;
            };
            free.push(most);
            if !self.settle(&mut x, &mut free) {
                free.retain(|k| *k != most);
                break;
            }
        }
        x
    }

    /// Moves to the best solution over the free unknowns; those that would become negative stop
    /// being free on the way. `false` if there is none, as equations depend on each other.
    fn settle(&self, x: &mut [f64], free: &mut Vec<usize>) -> bool {
        loop {
            let Some(target) = self.solve_free(free) else {
                return false;
            };
            let steps = free.iter().zip(&target).filter(|(_, t)| **t <= 0.0);
            let step = steps
                .map(|(k, t)| x[*k] / (x[*k] - t))
                .fold(f64::INFINITY, f64::min);
            if step == f64::INFINITY {
                free.iter().zip(&target).for_each(|(k, t)| x[*k] = *t);
                return true;
            }
            let step = if step.is_finite() { step } else { 0.0 };
            let largest = free.iter().map(|k| x[*k]).fold(0.0, f64::max);
            for (k, t) in free.iter().zip(&target) {
                x[*k] += step * (t - x[*k]);
            }
            let stays = |k: &usize, t: f64| t > 0.0 || x[*k] > TINY * largest;
            let kept: Vec<usize> = (free.iter().zip(&target))
                .filter(|(k, t)| stays(k, **t))
                .map(|(k, _)| *k)
                .collect();
            for k in free.iter().filter(|k| !kept.contains(k)) {
                x[*k] = 0.0;
            }
            if kept.len() == free.len() || kept.is_empty() {
                return !kept.is_empty();
            }
            *free = kept;
        }
    }

    fn gradient(&self, x: &[f64]) -> Vec<f64> {
        let n = self.right.len();
        let row = |i: usize| -> f64 { (0..n).map(|j| self.square[i * n + j] * x[j]).sum() };
        (0..n).map(|i| self.right[i] - row(i)).collect()
    }

    /// The solution over some unknowns, by Cholesky's factors; `None` if they are not determined.
    fn solve_free(&self, free: &[usize]) -> Option<Vec<f64>> {
        let (n, m) = (self.right.len(), free.len());
        let mut l = vec![0.0; m * m];
        for i in 0..m {
            for j in 0..=i {
                let known: f64 = (0..j).map(|k| l[i * m + k] * l[j * m + k]).sum();
                let a = self.square[free[i] * n + free[j]];
                let left = a - known;
                if i != j {
                    l[i * m + j] = left / l[j * m + j];
                } else if left > TINY * a {
                    l[i * m + i] = left.sqrt();
                } else {
                    return None;
                }
            }
        }
        let mut x: Vec<f64> = free.iter().map(|k| self.right[*k]).collect();
        for i in 0..m {
            let known: f64 = (0..i).map(|k| l[i * m + k] * x[k]).sum();
            x[i] = (x[i] - known) / l[i * m + i];
        }
        for i in (0..m).rev() {
            let known: f64 = (i + 1..m).map(|k| l[k * m + i] * x[k]).sum();
            x[i] = (x[i] - known) / l[i * m + i];
        }
        Some(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn solve(rows: &[(&[f64], f64)]) -> Vec<f64> {
        let mut normal = Normal::new(rows[0].0.len());
        rows.iter()
            .for_each(|(row, value)| normal.add(row, *value, 1.0));
        normal.solve()
    }

    fn near(x: &[f64], y: &[f64]) {
        let far = x.iter().zip(y).any(|(a, b)| (a - b).abs() > 1e-6);
        assert!(x.len() == y.len() && !far, "{x:?} {y:?}");
    }

    #[test]
    fn known_solutions() {
        near(
            &solve(&[(&[2.0, 0.0], 4.0), (&[0.0, 3.0], 9.0)]),
            &[2.0, 3.0],
        );
        // Without the bound the second would be -1; the first alone fits best with 0.5.
        near(
            &solve(&[(&[1.0, 1.0], 0.0), (&[1.0, 0.0], 1.0)]),
            &[0.5, 0.0],
        );
        near(
            &solve(&[(&[1.0, 0.0], -1.0), (&[0.0, 1.0], -2.0)]),
            &[0.0, 0.0],
        );
        // An unknown that no equation has; equations that say the same.
        near(&solve(&[(&[1.0, 0.0], 3.0)]), &[3.0, 0.0]);
        let twice = solve(&[(&[1.0, 1.0], 2.0), (&[2.0, 2.0], 4.0)]);
        assert!((twice[0] + twice[1] - 2.0).abs() < 1e-6);
        assert_eq!(Normal::new(3).solve(), [0.0; 3]);
    }

    #[test]
    fn weights_count_equations() {
        let mut normal = Normal::new(1);
        normal.add(&[1.0], 1.0, 3.0);
        normal.add(&[1.0], 5.0, 1.0);
        near(&normal.solve(), &[2.0]);
    }

    /// The conditions of Karush, Kuhn and Tucker, which only the solution meets.
    #[test]
    fn random_systems_meet_the_conditions() {
        let mut random = Random::new(2);
        for _ in 0..200 {
            let n = 1 + random.below(12);
            let mut normal = Normal::new(n);
            for _ in 0..n + random.below(30) {
                let row: Vec<f64> = (0..n).map(|_| random.unit() - 0.3).collect();
                normal.add(&row, random.unit() - 0.4, 1.0);
            }
            let x = normal.solve();
            let gradient = normal.gradient(&x);
            for (x, g) in x.iter().zip(&gradient) {
                assert!(*x >= 0.0 && *g < 1e-6, "{x} {g}");
                assert!(*x == 0.0 || g.abs() < 1e-6, "{x} {g}");
            }
        }
    }
}
