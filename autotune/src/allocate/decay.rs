//! How the improvements of a search decay from round to round.
//!
//! Improvements are differences of the logarithms of times. What a search has found after `k`
//! rounds is taken to be `a * (1 - q^(k^0.7))`: it approaches an end, by a part of the way that
//! becomes smaller from round to round. Both are fitted to what was seen, by least squares, together
//! with what is known of searches before any round.

/// What all rounds together are expected to give before any was done, as a part of the gap between
/// time and bound: nothing would never be tried.
const PART_OF_GAP: f64 = 0.4;
/// The most that is expected before any round was done; few tasks become twice as fast.
const MOST: f64 = 0.5;
/// How much this expectation weighs against what was seen, in rounds.
const WEIGHT: f64 = 0.2;
/// What the first round leaves of the way to the end, as long as nothing is known.
const TYPICAL: f64 = 0.6;
/// How much that weighs.
const TYPICAL_WEIGHT: f64 = 0.2;
/// The power of the number of rounds that the way decays with. With 1, which is the same part of the
/// way each round, 55 tasks of 12 models gave twice of what was expected after 6 to 12 rounds; with
/// this, as much as was expected (`docs/tuning/budgets.json` is of before).
const SLOWING: f64 = 0.7;
/// What the first round may leave. The search for it takes these steps.
const RATIOS: [f64; 9] = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9];

/// The improvements of a task so far.
#[derive(Clone, Debug, Default)]
pub struct Decay {
    /// What was found up to each round.
    found: Vec<f64>,
}

/// The end that a search approaches, and what the first round leaves of the way.
struct Fit {
    end: f64,
    ratio: f64,
    error: f64,
}

impl Decay {
    /// Adds the improvement of a round.
    pub fn tell(&mut self, improvement: f64) {
        self.found.push(self.total() + improvement.max(0.0));
    }

    /// The improvement that is expected of the next round, of a task that is so far above its
    /// bound.
    pub fn next(&self, gap: f64) -> f64 {
        let fit = self.fit(gap);
        let after = left(fit.ratio, self.found.len() + 1);
        fit.end * (left(fit.ratio, self.found.len()) - after)
    }

    /// The improvement that is expected of all rounds to come.
    pub fn all(&self, gap: f64) -> f64 {
        let fit = self.fit(gap);
        fit.end * left(fit.ratio, self.found.len())
    }

    fn total(&self) -> f64 {
        self.found.last().copied().unwrap_or(0.0)
    }

    fn fit(&self, gap: f64) -> Fit {
        let before = (PART_OF_GAP * (gap + self.total())).min(MOST);
        let fits = RATIOS.map(|ratio| self.fit_end(ratio, before));
        let best = fits.into_iter().min_by(|a, b| a.error.total_cmp(&b.error));
        best.expect("invariant: there are ratios to choose from")
    }

    fn fit_end(&self, ratio: f64, before: f64) -> Fit {
        let rounds = 1..=self.found.len();
        let parts: Vec<f64> = rounds.map(|k| 1.0 - left(ratio, k)).collect();
        let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
            self.found.iter().zip(&parts).map(|(s, b)| f(*s, *b)).sum()
        };
        let end = (sum(&|s, b| s * b) + WEIGHT * before) / (sum(&|_, b| b * b) + WEIGHT);
        let unlike = TYPICAL_WEIGHT * before * before * (ratio - TYPICAL).powi(2);
        let error = sum(&|s, b| (s - end * b).powi(2)) + WEIGHT * (end - before).powi(2) + unlike;
        Fit { end, ratio, error }
    }
}

/// What is left of the way after so many rounds, of which the first leaves `ratio`.
fn left(ratio: f64, rounds: usize) -> f64 {
    ratio.powf((rounds as f64).powf(SLOWING))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(improvements: &[f64]) -> Decay {
        let mut decay = Decay::default();
        improvements.iter().for_each(|i| decay.tell(*i));
        decay
    }

    #[test]
    fn a_long_series_is_continued() {
        const ROUNDS: usize = 30;
        for ratio in [0.55, 0.6, 0.7, 0.75, 0.8, 0.85] {
            let end = 0.1 / (1.0 - ratio);
            let part = |k| end * (left(ratio, k) - left(ratio, k + 1));
            let series: Vec<f64> = (0..ROUNDS).map(part).collect();
            let decay = after(&series);
            let error = decay.all(1.0) - end * left(ratio, ROUNDS);
            assert!(error.abs() < 0.01 * end, "{ratio}: {error} of {end}");
            assert!(decay.next(1.0) < 0.5 * decay.all(1.0));
        }
    }

    #[test]
    fn rounds_without_success_lower_what_is_expected_and_success_raises_it() {
        let mut expected = Decay::default().next(1.0);
        for rounds in 1..10 {
            let next = after(&vec![0.0; rounds]).next(1.0);
            assert!(next < expected && next > 0.0);
            expected = next;
        }
        let late = after(&[0.0, 0.0, 0.0, 0.2]);
        assert!(late.next(1.0) > after(&[0.0; 4]).next(1.0));
        assert!(late.all(1.0) > late.next(1.0));
    }

    #[test]
    fn nothing_is_expected_at_the_bound() {
        assert_eq!(Decay::default().next(0.0), 0.0);
    }
}
