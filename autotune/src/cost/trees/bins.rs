//! Features as small numbers, so that a split is found by counting.

/// Bins of a feature, at most.
pub const MOST: usize = 32;

/// The rows of all features, each value replaced by the number of its bin.
pub struct Bins {
    /// Feature by feature, the bin of each row.
    columns: Vec<Vec<u8>>,
    /// Feature by feature, the least value of each bin but the first.
    bounds: Vec<Vec<f32>>,
    rows: usize,
}

impl Bins {
    /// Bins with about as many rows in each. What is no number counts as 0.
    pub fn new(rows: &[f32], features: usize) -> Bins {
        let count = rows.len().checked_div(features).unwrap_or(0);
        let value = |row: usize, feature: usize| {
            let x = rows[row * features + feature];
            if x.is_finite() { x } else { 0.0 }
        };
        let mut bins = Bins {
            columns: Vec::with_capacity(features),
            bounds: Vec::with_capacity(features),
            rows: count,
        };
        for feature in 0..features {
            let column: Vec<f32> = (0..count).map(|row| value(row, feature)).collect();
            let bounds = bounds_of(&column);
            let bin = |x: &f32| bounds.partition_point(|b| b <= x) as u8;
            bins.columns.push(column.iter().map(bin).collect());
            bins.bounds.push(bounds);
        }
        bins
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of features.
    pub fn features(&self) -> usize {
        self.columns.len()
    }

    /// The bin of each row.
    pub fn column(&self, feature: usize) -> &[u8] {
        &self.columns[feature]
    }

    /// The number of bins of a feature.
    pub fn count(&self, feature: usize) -> usize {
        self.bounds[feature].len() + 1
    }

    /// The value that parts the bins up to `bin` from those above.
    pub fn threshold(&self, feature: usize, bin: usize) -> f32 {
        self.bounds[feature][bin]
    }
}

/// Values between neighbouring values of a column: all of them if they are few, else quantiles.
fn bounds_of(column: &[f32]) -> Vec<f32> {
    let mut sorted = column.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let mut distinct = sorted.clone();
    distinct.dedup();
    let between = |pair: &[f32]| {
        let middle = pair[0] + (pair[1] - pair[0]) / 2.0;
        // Neighbouring numbers have nothing between them.
        if middle > pair[0] { middle } else { pair[1] }
    };
    if distinct.len() <= MOST {
        return distinct.windows(2).map(between).collect();
    }
    let quantile = |k: usize| {
        let at = k * sorted.len() / MOST;
        let below = sorted[..at].partition_point(|x| *x < sorted[at]);
        (below > 0).then(|| between(&[sorted[below - 1], sorted[at]]))
    };
    let mut bounds: Vec<f32> = (1..MOST).filter_map(quantile).collect();
    bounds.dedup();
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_values_have_a_bin_each() {
        let bins = Bins::new(&[3.0, 1.0, 2.0, 1.0], 1);
        assert_eq!(bins.column(0), [2, 0, 1, 0]);
        assert_eq!((bins.threshold(0, 0), bins.threshold(0, 1)), (1.5, 2.5));
        assert_eq!(Bins::new(&[f32::NAN, 0.0], 1).count(0), 1);
        assert_eq!(Bins::new(&[], 3).rows(), 0);
    }

    #[test]
    fn many_values_share_bins_evenly() {
        let values: Vec<f32> = (0..1000).map(|k| ((k * 7919) % 1000) as f32).collect();
        let bins = Bins::new(&values, 1);
        assert_eq!(bins.count(0), MOST);
        let mut counts = [0; MOST];
        bins.column(0)
            .iter()
            .for_each(|b| counts[usize::from(*b)] += 1);
        assert!(counts.iter().all(|c| (25..40).contains(c)), "{counts:?}");
        // Most values alike: bounds stay apart.
        let skewed: Vec<f32> = (0..1000)
            .map(|k| if k < 900 { 0.0 } else { k as f32 })
            .collect();
        let bins = Bins::new(&skewed, 1);
        let bounds = (0..bins.count(0) - 1).map(|b| bins.threshold(0, b));
        assert!(bounds.clone().zip(bounds.skip(1)).all(|(a, b)| a < b));
    }
}
