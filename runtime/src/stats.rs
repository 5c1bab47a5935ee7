//! What repeated measurements say: medians, and 95 % intervals that assume nothing about how
//! times are distributed.
//!
//! Ratios are `new / base` of latencies: above 1 is slower.

/// Half the probability that an interval misses on both sides together.
const TAIL: f64 = 0.025;

/// The quantile of the normal distribution that leaves [`TAIL`] above it.
const NORMAL_QUANTILE: f64 = 1.959_963_984_540_054;

/// An estimate and the 95 % interval around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The estimate itself.
    pub estimate: f64,
    /// The upper end.
    pub high: f64,
}

/// What an interval of a ratio says about a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All of the interval is below 1.
    Faster,
    /// All of the interval is within the limit.
    NotSlower,
    /// All of the interval is above the limit.
    Slower,
    /// The limit lies inside of the interval: more or quieter measurements could say.
    Inconclusive,
}

impl Verdict {
    /// The verdict in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Faster => "faster",
            Verdict::NotSlower => "not slower",
            Verdict::Slower => "slower",
            Verdict::Inconclusive => "inconclusive",
        }
    }
}

impl Interval {
    /// What this interval of a ratio says about `limit`, which is at least 1.
    pub fn verdict(&self, limit: f64) -> Verdict {
        if self.high < 1.0 {
            Verdict::Faster
        } else if self.high <= limit {
            Verdict::NotSlower
        } else if self.low > limit {
            Verdict::Slower
        } else {
            Verdict::Inconclusive
        }
    }

    /// The smallest interval that holds both, with this one's estimate.
    pub fn hull(&self, other: &Interval) -> Interval {
        Interval {
            low: self.low.min(other.low),
            estimate: self.estimate,
            high: self.high.max(other.high),
        }
    }
}

/// The middle value, or the mean of the two in the middle; NaN if there is none.
pub fn median(values: &[f64]) -> f64 {
    median_of_sorted(&sorted(values.to_vec()))
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values
}

fn median_of_sorted(sorted: &[f64]) -> f64 {
    match sorted.len() {
        0 => f64::NAN,
        n => (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0,
    }
}

/// The interval of the median of the distribution that `values` were drawn from: from the `r`-th
/// smallest to the `r`-th largest value, for the largest `r` that covers 95 %. `None` for fewer
/// than 6 values, which cannot cover as much.
///
/// Source: H. A. David and H. N. Nagaraja, Order Statistics, 3rd edition, section 7.1.
pub fn median_interval(values: &[f64]) -> Option<Interval> {
    let rank = median_rank(values.len())?;
    let values = sorted(values.to_vec());
    Some(Interval {
        low: values[rank - 1],
        estimate: median_of_sorted(&values),
        high: values[values.len() - rank],
    })
}

/// The largest `r` of at least 1 with `P(B <= r - 1) <= TAIL`, where `B` counts heads in `n`
/// throws of a coin.
fn median_rank(n: usize) -> Option<usize> {
    let mut ln_term = -(n as f64) * std::f64::consts::LN_2;
    let mut below = 0.0;
    for heads in 0..n {
        below += ln_term.exp();
        if below > TAIL {
            return (heads > 0).then_some(heads);
        }
        ln_term += ((n - heads) as f64 / (heads + 1) as f64).ln();
    }
    None
}

/// The interval of the median ratio of pairs that were measured side by side. `None` for fewer
/// than 6 pairs.
///
/// Panics: the two have different lengths.
pub fn paired_ratio(base: &[f64], new: &[f64]) -> Option<Interval> {
    assert_eq!(base.len(), new.len(), "one of each side makes a pair");
    let ratios: Vec<f64> = base.iter().zip(new).map(|(b, n)| n / b).collect();
    median_interval(&ratios)
}

/// The interval of the ratio by which `new` differs from `base` when the two were measured
/// apart: the median of all ratios of one of each, and its ends by the rank-sum test. It knows
/// only the spread within both measurements, not how the machine changed between them. `None`
/// if either side has fewer than 6 values.
///
/// Source: M. Hollander, D. A. Wolfe and E. Chicken, Nonparametric Statistical Methods, 3rd
/// edition, sections 4.2 and 4.3 (Hodges-Lehmann and Moses), on logarithms.
pub fn unpaired_ratio(base: &[f64], new: &[f64]) -> Option<Interval> {
    if base.len().min(new.len()) < 6 {
        return None;
    }
    let ratios = base.iter().flat_map(|b| new.iter().map(move |n| n / b));
    let ratios = sorted(ratios.collect());
    let (m, n) = (base.len() as f64, new.len() as f64);
    let spread = NORMAL_QUANTILE * (m * n * (m + n + 1.0) / 12.0).sqrt();
    let rank = ((m * n / 2.0 - spread).floor() as usize).max(1);
    Some(Interval {
        low: ratios[rank - 1],
        estimate: median_of_sorted(&ratios),
        high: ratios[ratios.len() - rank],
    })
}

/// The geometric mean; NaN if there is no value.
pub fn geometric_mean(values: &[f64]) -> f64 {
    let logs: f64 = values.iter().map(|v| v.ln()).sum();
    (logs / values.len() as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Latencies as they are: a floor, and now and then much more.
    struct Noise(u64);

    impl Noise {
        fn uniform(&mut self) -> f64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 11) as f64 / (1u64 << 53) as f64
        }

        fn latency(&mut self) -> f64 {
            let tail = (1.0 - self.uniform()).powf(-0.4);
            1.0 + 0.1 * tail
        }

        fn latencies(&mut self, n: usize) -> Vec<f64> {
            (0..n).map(|_| self.latency()).collect()
        }
    }

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    /// Against the table of the sign test at 5 %, two-sided.
    #[test]
    fn ranks_are_those_of_the_sign_test() {
        for n in 0..6 {
            assert_eq!(median_rank(n), None);
        }
        let table = [(6, 1), (9, 2), (12, 3), (15, 4), (20, 6), (25, 8), (50, 18)];
        for (n, rank) in table {
            assert_eq!(median_rank(n), Some(rank), "{n}");
        }
        // 0.5 to the power of this underflows; the normal approximation is close.
        let rank = median_rank(10_000).unwrap() as f64;
        assert!((rank - (5000.0 - NORMAL_QUANTILE * 50.0)).abs() < 2.0);
    }

    #[test]
    fn paired_intervals_cancel_what_both_sides_share() {
        let base: Vec<f64> = (1..=15).map(f64::from).collect();
        let new: Vec<f64> = base.iter().map(|b| 1.1 * b).collect();
        let i = paired_ratio(&base, &new).unwrap();
        assert!((i.low - 1.1).abs() < 1e-12 && (i.high - 1.1).abs() < 1e-12);
        let apart = unpaired_ratio(&base, &new).unwrap();
        assert!(apart.low < 1.0 && apart.high > 1.2, "{apart:?}");
    }

    #[test]
    fn intervals_cover_the_truth_as_often_as_they_say() {
        let mut noise = Noise(0x1234_5678_9abc_def1);
        let truth = 1.0 + 0.1 * 0.5_f64.powf(-0.4);
        let (mut of_median, mut paired, mut apart) = (0, 0, 0);
        let trials = 4000;
        for _ in 0..trials {
            let (base, new) = (noise.latencies(15), noise.latencies(15));
            let holds = |i: Interval, x: f64| usize::from(i.low <= x && x <= i.high);
            of_median += holds(median_interval(&base).unwrap(), truth);
            paired += holds(paired_ratio(&base, &new).unwrap(), 1.0);
            apart += holds(unpaired_ratio(&base, &new).unwrap(), 1.0);
        }
        let share = |hits: usize| hits as f64 / trials as f64;
        // The two of order statistics cover 96.5 % for 15 values; four standard errors are 1.2 %.
        for (hits, expected) in [(of_median, 0.965), (paired, 0.965), (apart, 0.952)] {
            assert!((share(hits) - expected).abs() < 0.013, "{}", share(hits));
        }
    }

    #[test]
    fn verdicts_compare_the_whole_interval_with_the_limit() {
        let verdict = |low, high| {
            let estimate = f64::midpoint(low, high);
            let interval = Interval {
                low,
                estimate,
                high,
            };
            interval.verdict(1.03)
        };
        assert_eq!(verdict(0.9, 0.99), Verdict::Faster);
        assert_eq!(verdict(0.9, 1.03), Verdict::NotSlower);
        assert_eq!(verdict(1.01, 1.05), Verdict::Inconclusive);
        assert_eq!(verdict(0.9, 1.2), Verdict::Inconclusive);
        assert_eq!(verdict(1.04, 1.2), Verdict::Slower);
    }

    #[test]
    fn hulls_and_means() {
        let a = Interval {
            low: 1.0,
            estimate: 1.1,
            high: 1.2,
        };
        let b = Interval {
            low: 0.9,
            estimate: 1.0,
            high: 1.1,
        };
        let hull = a.hull(&b);
        assert_eq!((hull.low, hull.estimate, hull.high), (0.9, 1.1, 1.2));
        assert!((geometric_mean(&[1.0, 4.0]) - 2.0).abs() < 1e-12);
    }
}
