//! How well a score orders candidates: what is fast should score low.

/// The ranks of values, from 0 up; equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for same in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = first as f64 + (same.len() - 1) as f64 / 2.0;
        same.iter().for_each(|k| ranks[*k] = rank);
        first += same.len();
    }
    ranks
}

/// Spearman's rank correlation: 1 for the same order, -1 for the reverse; 0 if either is constant.
pub fn spearman(scores: &[f64], ns: &[f64]) -> f64 {
    let (x, y) = (ranks(scores), ranks(ns));
    let mean = (x.len().max(1) - 1) as f64 / 2.0;
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        x.iter().zip(&y).map(|(a, b)| f(a - mean, b - mean)).sum()
    };
    let spread = (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt();
    if spread > 0.0 {
        sum(&|a, b| a * b) / spread
    } else {
        0.0
    }
}

/// Kendall's rank correlation (tau-b), with the bounds of [`spearman`].
pub fn kendall(scores: &[f64], ns: &[f64]) -> f64 {
    let (mut same, mut reverse, mut tied) = (0.0, 0.0, (0.0, 0.0));
    for i in 0..scores.len() {
        for j in 0..i {
            let (a, b) = (scores[i] - scores[j], ns[i] - ns[j]);
            match (a == 0.0, b == 0.0) {
                (true, true) => {}
                (true, false) => tied.0 += 1.0,
                (false, true) => tied.1 += 1.0,
                (false, false) if (a > 0.0) == (b > 0.0) => same += 1.0,
                (false, false) => reverse += 1.0,
            }
        }
    }
    let decided: f64 = same + reverse;
    let all: f64 = (decided + tied.0) * (decided + tied.1);
    if all > 0.0 {
        (same - reverse) / all.sqrt()
    } else {
        0.0
    }
}

/// The numbers of the `k` least values, first ones first among equal ones.
fn least(values: &[f64], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    order.truncate(k);
    order
}

/// Of the `k` fastest candidates, the part that is among the `k` with the lowest scores.
pub fn recall(scores: &[f64], ns: &[f64], k: usize) -> f64 {
    let (chosen, fastest) = (least(scores, k), least(ns, k));
    let hits = fastest.iter().filter(|f| chosen.contains(f)).count();
    hits as f64 / fastest.len().max(1) as f64
}

/// The fastest time over that of the fastest of the `k` candidates with the lowest scores: 1 is as
/// good as measuring all of them.
pub fn reached(scores: &[f64], ns: &[f64], k: usize) -> f64 {
    let fastest = |of: &mut dyn Iterator<Item = f64>| of.fold(f64::INFINITY, f64::min);
    let all = fastest(&mut ns.iter().copied());
    let chosen = fastest(&mut least(scores, k).into_iter().map(|c| ns[c]));
    if chosen.is_finite() {
        all / chosen
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlations_of_known_orders() {
        let ns = [1.0, 2.0, 3.0, 4.0, 5.0];
        for correlation in [spearman, kendall] {
            assert!((correlation(&ns, &ns) - 1.0).abs() < 1e-12);
            let reverse = [5.0, 4.0, 3.0, 2.0, 1.0];
            assert!((correlation(&reverse, &ns) + 1.0).abs() < 1e-12);
            assert_eq!(correlation(&[7.0; 5], &ns), 0.0);
            assert_eq!(correlation(&[], &[]), 0.0);
        }
        // One neighbouring pair exchanged: 1 - 6 * 2 / (5 * 24), and (9 - 1) / 10.
        let exchanged = [1.0, 3.0, 2.0, 4.0, 5.0];
        assert!((spearman(&exchanged, &ns) - 0.9).abs() < 1e-12);
        assert!((kendall(&exchanged, &ns) - 0.8).abs() < 1e-12);
        // A tie: 9 pairs of 10 decided, all the same way.
        let tied = [1.0, 2.0, 2.0, 4.0, 5.0];
        assert!((kendall(&tied, &ns) - 9.0 / 90.0_f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn the_top_is_found_or_not() {
        let ns = [3.0, 1.0, 2.0, 9.0];
        let scores = [2.0, 3.0, 1.0, 0.0];
        assert_eq!(recall(&scores, &ns, 2), 0.5);
        assert_eq!(recall(&scores, &ns, 4), 1.0);
        assert_eq!(reached(&scores, &ns, 1), 1.0 / 9.0);
        assert_eq!(reached(&scores, &ns, 2), 0.5);
        assert_eq!(reached(&[], &[], 2), 0.0);
    }
}
