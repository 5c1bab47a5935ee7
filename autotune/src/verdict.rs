//! Is this candidate faster than the incumbent, as far as noise lets us say? And how are many
//! candidates compared with few samples?
//!
//! A candidate is timed in turns with the incumbent, so that whatever the machine does meanwhile
//! touches both; the interval of the median ratio of the pairs decides, by the same rule as
//! `tensmith bench --compare`. Pure logic: nothing here reads a clock.
mod halving;

pub use halving::{Halving, Rung};

use tensmith_runtime::stats::{self, Interval, median, paired_ratio};

/// What pairs of samples say about a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The interval of the ratio is below 1.
    Faster,
    /// The interval of the ratio is above 1.
    Slower,
    /// As many pairs as allowed, or so alike that it does not matter: the incumbent stays.
    Inconclusive,
    /// So many more pairs could tell.
    More(usize),
}

/// When to stop comparing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Pairs before anything but [`Rule::hopeless`] is decided; 6 are the fewest of which a 95 %
    /// interval can be said.
    pub least_pairs: usize,
    /// Pairs at most.
    pub most_pairs: usize,
    /// A candidate whose fastest sample takes at least so many times the median of the incumbent
    /// is slower at once.
    pub hopeless: f64,
    /// A ratio whose whole interval is within so much of 1 is not worth more pairs.
    pub alike: f64,
}

impl Default for Rule {
    fn default() -> Self {
        Rule {
            least_pairs: 6,
            most_pairs: 25,
            hopeless: 1.5,
            alike: 0.01,
        }
    }
}

/// The interval of candidate over incumbent, of samples that were taken in turns; `None` for too
/// few pairs. What one side has more than the other is left out.
pub fn ratio(candidate_ns: &[f64], incumbent_ns: &[f64]) -> Option<Interval> {
    let pairs = candidate_ns.len().min(incumbent_ns.len());
    paired_ratio(&incumbent_ns[..pairs], &candidate_ns[..pairs])
}

impl Rule {
    /// What samples that were taken in turns say.
    pub fn verdict(&self, candidate_ns: &[f64], incumbent_ns: &[f64]) -> Verdict {
        let pairs = candidate_ns.len().min(incumbent_ns.len());
        if pairs > 0 && self.is_hopeless(&candidate_ns[..pairs], &incumbent_ns[..pairs]) {
            return Verdict::Slower;
        }
        if pairs < self.least_pairs {
            return Verdict::More(self.least_pairs - pairs);
        }
        let Some(interval) = ratio(candidate_ns, incumbent_ns) else {
            return Verdict::More(1);
        };
        match interval.verdict(1.0) {
            stats::Verdict::Faster => Verdict::Faster,
            stats::Verdict::Slower => Verdict::Slower,
            stats::Verdict::NotSlower => Verdict::Inconclusive,
            stats::Verdict::Inconclusive => self.undecided(interval, pairs),
        }
    }

    fn is_hopeless(&self, candidate_ns: &[f64], incumbent_ns: &[f64]) -> bool {
        let fastest = candidate_ns.iter().copied().fold(f64::INFINITY, f64::min);
        fastest >= self.hopeless * median(incumbent_ns)
    }

    /// More pairs as long as they could matter: half as many again each time, since looking often
    /// makes errors likely.
    fn undecided(&self, interval: Interval, pairs: usize) -> Verdict {
        let alike = interval.low > 1.0 - self.alike && interval.high < 1.0 + self.alike;
        let left = self.most_pairs.saturating_sub(pairs);
        if alike || left == 0 {
            return Verdict::Inconclusive;
        }
        Verdict::More((pairs / 2).clamp(1, left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Pairs of times with 5 % of noise of their own, and more that both share.
    fn pairs(random: &mut Random, truth: f64, n: usize) -> (Vec<f64>, Vec<f64>) {
        let pair = |_| {
            let shared = 1000.0 * (1.0 + random.unit());
            let mut noise = || 1.0 + 0.1 * (random.unit() - 0.5);
            (shared * truth * noise(), shared * noise())
        };
        (0..n).map(pair).unzip()
    }

    /// Compares until there is a verdict; gives it with the number of pairs.
    fn decide(random: &mut Random, truth: f64) -> (Verdict, usize) {
        let rule = Rule::default();
        let (mut candidate, mut incumbent) = (vec![], vec![]);
        loop {
            match rule.verdict(&candidate, &incumbent) {
                Verdict::More(n) => {
                    let (c, i) = pairs(random, truth, n);
                    candidate.extend(c);
                    incumbent.extend(i);
                    assert!(candidate.len() <= rule.most_pairs);
                }
                verdict => return (verdict, candidate.len()),
            }
        }
    }

    fn share(truth: f64, verdict: Verdict) -> f64 {
        let mut random = Random::new(11);
        let hits = (0..2000).filter(|_| decide(&mut random, truth).0 == verdict);
        hits.count() as f64 / 2000.0
    }

    #[test]
    fn clear_differences_are_seen_and_no_others() {
        assert!(share(0.93, Verdict::Faster) > 0.95);
        assert!(share(1.08, Verdict::Slower) > 0.95);
        // Looking up to five times at intervals of 95 % errs on one side in less than 8 %.
        assert!(share(1.0, Verdict::Faster) < 0.08);
        assert!(share(1.03, Verdict::Faster) < 0.02);
    }

    #[test]
    fn what_is_hopeless_costs_one_pair() {
        let rule = Rule::default();
        assert_eq!(rule.verdict(&[], &[]), Verdict::More(6));
        assert_eq!(rule.verdict(&[1600.0], &[1000.0]), Verdict::Slower);
        assert_eq!(rule.verdict(&[1400.0], &[1000.0]), Verdict::More(5));
    }

    #[test]
    fn what_is_alike_costs_few_pairs() {
        let incumbent = [1000.0, 1001.0, 999.0, 1000.0, 1002.0, 998.0, 1000.0];
        let candidate = [1001.0, 1000.0, 1000.0, 1001.0, 1000.0, 1000.0, 1000.0];
        let verdict = Rule::default().verdict(&candidate, &incumbent);
        assert_eq!(verdict, Verdict::Inconclusive);
    }
}
