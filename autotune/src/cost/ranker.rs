//! Orders candidates: the analytic model, trees that were trained before, and trees that learn
//! from what is measured on the way.
//!
//! A score is the logarithm of a time up to a constant of the task, so that differences mean
//! something: 0.1 is about 10 %. Trees that were trained before see the analytic prediction among
//! their features and take its place; those of this search correct what they say, and are trained
//! anew on all measurements when there are more.
use super::analytic::Coefficients;
use super::features;
use super::trees::{Options, ParseError, Rows, Trees};
use std::fmt;
use std::str::FromStr;

/// What was trained before, on measurements of many models.
#[derive(Clone, Debug, PartialEq)]
pub struct Pretrained {
    /// Of the analytic model, on the machine of these measurements.
    pub coefficients: Coefficients,
    /// What orders candidates in its place, if it is not empty.
    pub trees: Trees,
}

/// The weights that are shipped.
const SHIPPED: &[u8] = include_bytes!("../../assets/ranker.txt");
/// Measurements that are kept; of more, the last ones.
const MOST_ROWS: usize = 2000;
/// Measurements of one task before trees learn from them.
const LEAST_ROWS: usize = 6;

impl Pretrained {
    /// Nothing but the default coefficients.
    pub fn none() -> Pretrained {
        Pretrained {
            coefficients: Coefficients::default(),
            trees: Trees::none(features::ROW),
        }
    }

    /// The weights that are shipped with this version.
    pub fn shipped() -> Pretrained {
        let text = std::str::from_utf8(SHIPPED).ok();
        let read = text.and_then(|t| t.parse().ok());
        read.expect("invariant: the shipped weights are those of a test")
    }
}

impl fmt::Display for Pretrained {
    /// The names of the features, the coefficients, and the trees.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "ranker of {}", features::row_names().join(" "))?;
        let values: Vec<String> = self
            .coefficients
            .values()
            .iter()
            .map(f64::to_string)
            .collect();
        writeln!(f, "coefficients {}", values.join(" "))?;
        write!(f, "{}", self.trees)
    }
}

impl FromStr for Pretrained {
    type Err = ParseError;

    /// Errors: another text than [`Pretrained`] prints, or one of other features.
    fn from_str(text: &str) -> Result<Pretrained, ParseError> {
        let error = |line, reason| Err(ParseError { line, reason });
        let mut parts = text.splitn(3, '\n');
        let mut next = || parts.next().unwrap_or_default();
        let names = next().strip_prefix("ranker of ");
        if names != Some(&features::row_names().join(" ")[..]) {
            return error(1, "expected `ranker of` and the features of this version");
        }
        let values = next().strip_prefix("coefficients ").unwrap_or_default();
        let values: Result<Vec<f64>, _> = values.split(' ').map(str::parse).collect();
        let Some(coefficients) = values.ok().and_then(Coefficients::new) else {
            return error(2, "expected `coefficients` and a number for each term");
        };
        let trees: Trees = (next().parse()).map_err(|e: ParseError| ParseError {
            line: e.line + 2,
            ..e
        })?;
        if trees.features() != features::ROW {
            return error(3, "expected trees of the features of this version");
        }
        Ok(Pretrained {
            coefficients,
            trees,
        })
    }
}

/// Orders the candidates of a search.
#[derive(Clone, Debug)]
pub struct Ranker {
    before: Trees,
    learned: Trees,
    rows: Rows,
    options: Options,
    is_stale: bool,
}

impl Ranker {
    /// With what was trained before.
    pub fn new(before: Trees) -> Ranker {
        Ranker {
            learned: Trees::none(before.features()),
            before,
            rows: Rows::default(),
            options: Options::default(),
            is_stale: false,
        }
    }

    /// With the weights that are shipped.
    pub fn shipped() -> Ranker {
        Ranker::new(Pretrained::shipped().trees)
    }

    /// The logarithm of a candidate's time, up to a constant of its task, as predicted before
    /// anything was measured.
    fn base(&self, features: &[f32], predicted_ns: f64) -> f64 {
        match self.before.is_empty() {
            true => predicted_ns.max(1e-3).ln(),
            false => self.before.predict(features),
        }
    }

    /// The score of a candidate: the lower, the faster. Comparable within a task only.
    pub fn score(&self, features: &[f32], predicted_ns: f64) -> f64 {
        self.base(features, predicted_ns) + self.learned.predict(features)
    }

    /// Adds a measurement. Only those of one task are compared with each other.
    pub fn tell(&mut self, task: u32, features: &[f32], predicted_ns: f64, ns: f64) {
        let width = self.before.features();
        if features.len() != width || !(ns.is_finite() && ns > 0.0) {
            return;
        }
        let base = self.base(features, predicted_ns);
        self.rows.push(features, task, ns.ln() as f32, base as f32);
        if self.rows.len() > MOST_ROWS {
            self.rows.forget(self.rows.len() - MOST_ROWS, width);
        }
        self.is_stale = true;
    }

    /// Learns from all measurements, if there are new ones. Takes less than a tenth of a second.
    pub fn train(&mut self) {
        if !std::mem::take(&mut self.is_stale) || self.rows.len() < LEAST_ROWS {
            return;
        }
        let width = self.before.features();
        self.learned = Trees::train(&self.rows, width, &self.options);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_weights_are_of_this_version() {
        let shipped = Pretrained::shipped();
        assert_eq!(shipped.trees.features(), features::ROW);
        assert_eq!(shipped.to_string().as_bytes(), SHIPPED);
    }

    #[test]
    fn weights_of_other_features_are_refused() {
        let text = Pretrained::none().to_string();
        assert_eq!(text.parse(), Ok(Pretrained::none()));
        let renamed = text.replacen("flops", "flips", 1);
        assert_eq!(renamed.parse::<Pretrained>().unwrap_err().line, 1);
        let negative = text.replacen("coefficients ", "coefficients -", 1);
        assert_eq!(negative.parse::<Pretrained>().unwrap_err().line, 2);
        let narrow = text.replacen("trees 0 features ", "trees 0 features 1", 1);
        assert_eq!(narrow.parse::<Pretrained>().unwrap_err().line, 3);
        for end in (0..text.len()).step_by(7) {
            // Cut anywhere, it is an error or the same.
            let read = text[..end].parse::<Pretrained>();
            assert!(read.is_err() || read == Ok(Pretrained::none()));
        }
    }

    /// A candidate whose time is `1 + x`, twice that where `y` is above a half, which the analytic
    /// model does not know.
    fn candidate(x: f32, y: f32) -> (Vec<f32>, f64, f64) {
        let predicted = 1.0 + f64::from(x);
        let cliff = if y > 0.5 { 2.0 } else { 1.0 };
        (vec![x, y], predicted, cliff * predicted)
    }

    #[test]
    fn measurements_teach_what_the_analytic_model_misses() {
        let mut ranker = Ranker::new(Trees::none(2));
        let score = |ranker: &Ranker, x, y| {
            let (features, predicted, _) = candidate(x, y);
            ranker.score(&features, predicted)
        };
        assert!(score(&ranker, 0.1, 0.9) < score(&ranker, 0.5, 0.1));
        for k in 0..24 {
            let (features, predicted, ns) = candidate(0.04 * (k % 6) as f32, 0.04 * k as f32);
            // Another unit in another task teaches the same.
            let unit = if k % 2 == 0 { 1.0 } else { 1000.0 };
            ranker.tell(k % 2, &features, predicted, unit * ns);
        }
        ranker.tell(0, &[0.0, 0.0], 1.0, f64::NAN);
        ranker.train();
        assert!(score(&ranker, 0.1, 0.9) > score(&ranker, 0.5, 0.1));
        let apart = score(&ranker, 0.2, 0.9) - score(&ranker, 0.2, 0.1);
        assert!((0.3..=0.9).contains(&apart), "{apart}");
    }
}
