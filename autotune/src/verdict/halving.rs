//! Successive halving: all candidates of a batch get few samples, the better half more, and so on.
//!
//! Source: K. Jamieson and A. Talwalkar, Non-stochastic best arm identification and
//! hyperparameter optimization, 2016.
use tensmith_runtime::stats::median;

/// A round of measuring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rung {
    /// The candidates that are still in, by their numbers.
    pub candidates: Vec<usize>,
    /// Pairs (candidate, incumbent) to measure of each, beside those it has.
    pub pairs: usize,
}

/// The rungs of one batch.
#[derive(Clone, Debug)]
pub struct Halving {
    /// Ratios of candidate over incumbent, by candidate; `None`: it failed.
    ratios: Vec<Option<Vec<f64>>>,
    rung: Rung,
}

/// Pairs of the first rung. With fewer, the better half is often not the better one.
const FIRST_PAIRS: usize = 2;
/// Candidates of the last rung: what remains is compared by its verdicts.
const LAST: usize = 2;
/// Candidates of a rung whose ratio is so far from the best one are dropped before the half is
/// reached: noise does not explain as much.
const FAR: f64 = 1.4;

impl Halving {
    /// For so many candidates.
    pub fn new(candidates: usize) -> Halving {
        Halving {
            ratios: vec![Some(vec![]); candidates],
            rung: Rung {
                candidates: (0..candidates).collect(),
                pairs: FIRST_PAIRS,
            },
        }
    }

    /// What to measure now; `None` once few enough candidates are left, which have been measured.
    pub fn rung(&self) -> Option<&Rung> {
        (self.rung.pairs > 0 && !self.rung.candidates.is_empty()).then_some(&self.rung)
    }

    /// Adds the pairs of a candidate of this rung.
    pub fn tell(&mut self, candidate: usize, candidate_ns: &[f64], incumbent_ns: &[f64]) {
        let pairs = candidate_ns.iter().zip(incumbent_ns);
        if let Some(ratios) = &mut self.ratios[candidate] {
            ratios.extend(pairs.map(|(c, i)| c / i));
        }
    }

    /// Notes that a candidate of this rung crashed, hung or computed something else.
    pub fn fail(&mut self, candidate: usize) {
        self.ratios[candidate] = None;
    }

    /// Goes on to the next rung: the better half with twice as many pairs. Candidates without a
    /// sample count as failed.
    pub fn advance(&mut self) {
        let entered = self.rung.candidates.len();
        let ranked = self.ranked();
        let last = entered <= LAST;
        let keep = match last {
            true => entered,
            false => entered.div_ceil(2).max(LAST),
        };
        let best = ranked.first().map_or(f64::INFINITY, |(_, ratio)| *ratio);
        let near = ranked.iter().take_while(|(_, ratio)| *ratio <= FAR * best);
        self.rung.candidates = near.take(keep).map(|(c, _)| *c).collect();
        self.rung.pairs = match last || self.rung.candidates.len() <= 1 {
            true => 0,
            false => self.rung.pairs * 2,
        };
    }

    /// The candidates that are still in, with their median ratios to the incumbent, the best
    /// first.
    pub fn ranked(&self) -> Vec<(usize, f64)> {
        let ratio = |c: &usize| {
            let ratios = self.ratios[*c].as_ref().filter(|r| !r.is_empty());
            ratios.map(|r| (*c, median(r)))
        };
        let mut ranked: Vec<_> = self.rung.candidates.iter().filter_map(ratio).collect();
        ranked.sort_by(|a, b| a.1.total_cmp(&b.1));
        ranked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Measures a batch of true ratios with 5 % noise; gives the winner and the pairs it took.
    fn run(truths: &[f64], seed: u64) -> (Option<usize>, usize) {
        let mut random = Random::new(seed);
        let mut halving = Halving::new(truths.len());
        let mut total = 0;
        while let Some(rung) = halving.rung().cloned() {
            for c in rung.candidates {
                for _ in 0..rung.pairs {
                    let mut noise = || 1.0 + 0.1 * (random.unit() - 0.5);
                    let pair = (truths[c] * noise(), noise());
                    halving.tell(c, &[pair.0], &[pair.1]);
                    total += 1;
                }
            }
            halving.advance();
        }
        (halving.ranked().first().map(|(c, _)| *c), total)
    }

    #[test]
    fn the_best_wins_for_less_than_half_of_the_pairs() {
        let truths: Vec<f64> = (0..16).map(|k| 0.8 + 0.07 * f64::from(k)).collect();
        let wins = (0..100).filter(|seed| run(&truths, *seed).0 == Some(0));
        assert!(wins.count() >= 90);
        let (_, pairs) = run(&truths, 1);
        // All with the pairs that the last two had would be 16 * 30.
        assert!(pairs < 240, "{pairs}");
    }

    #[test]
    fn failures_drop_out_and_nothing_is_an_end() {
        let mut halving = Halving::new(3);
        halving.fail(0);
        halving.tell(1, &[2.0], &[1.0]);
        halving.tell(2, &[1.0], &[1.0]);
        halving.advance();
        assert_eq!(halving.ranked(), [(2, 1.0)]);
        assert_eq!(halving.rung(), None);
        assert_eq!(Halving::new(0).rung(), None);
        let mut halving = Halving::new(4);
        (0..4).for_each(|c| halving.fail(c));
        halving.advance();
        assert_eq!((halving.rung(), halving.ranked().len()), (None, 0));
    }

    #[test]
    fn few_candidates_are_measured_once() {
        assert_eq!(run(&[0.9], 1).1, FIRST_PAIRS);
        assert_eq!(run(&[0.9, 1.0], 1).1, 2 * FIRST_PAIRS);
    }
}
