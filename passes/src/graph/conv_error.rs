//! What algorithms of 3x3 convolutions do to rounding errors, and whether that is admissible.
//!
//! Errors are estimated, not bounded by the worst case, which grows with the number of terms and
//! would refuse what never happens. The model is the usual one of statistical error analysis:
//! each rounding adds an independent error of mean zero to a partial result, and of at most a
//! third of the unit roundoff's square in the mean of squares. The energies of what is rounded
//! follow from the actual weights (as sums of products of their taps), from the matrices of
//! minimal filtering, and from one of three classes of inputs:
//!
//! - *noise*: independent elements of mean zero, such as activations behind a normalisation;
//! - *level*: elements near a common value [`MEAN`] times as large as what is added to it. Where
//!   filters cancel, results are small while everything that is rounded is large.
//! - *spike*: one element that is much larger than all others. It is rounded in all results of its
//!   tiles, also in those that do not depend on it; at a corner of the image few taps see it, which
//!   may be zero.
//!
//! What several convolutions of a model add to its results is taken as independent as well: they
//! share one tolerance, in squares.
//!
//! Source: Higham and Mary, A new approach to probabilistic rounding error analysis, 2019;
//! Barabasz et al., Error analysis and improving the accuracy of Winograd convolution, 2020.
use super::conv_moments::{Channel, Filters, Moments, TAPS, dot};
use std::fmt;
use tensmith_ir::ops::winograd::{Matrices, Matrix};

/// The mean square of the relative error of a rounding to `f32`, at most.
const ROUNDING: f64 = 1.0 / (3.0 * (1_u64 << 48) as f64);
/// Errors of more standard deviations do not occur: one element of a thousand million.
const DEVIATIONS: f64 = 6.0;
/// Standard deviations of the largest of many results, at least.
const PEAK: f64 = 3.0;
/// The mean of inputs of class *level*, whose noise has a deviation of 1.
const MEAN: f64 = 1000.0;
/// Magnitudes of the largest weight for which transformed weights and products with ordinary
/// inputs are normal numbers.
const RANGE: std::ops::RangeInclusive<f64> = 1e-30..=1e30;

/// The largest error to be expected, as a part of the largest result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Errors {
    pub noise: f64,
    pub level: f64,
}

/// The taps that see an element of the image.
pub(super) type Seen = [bool; TAPS];

/// Why an algorithm is not admitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Refusal {
    /// The weights are not known while compiling.
    Unknown,
    /// The largest weight is out of range.
    Range(f64),
    /// Expected errors of noise.
    Noise(f64),
    /// Expected errors of inputs of a large mean, and those of the direct algorithm.
    Level(f64, f64),
    /// Expected errors of a large element at a corner.
    Spike(f64),
    /// Other layers of the model have used up the tolerance.
    Shared,
    /// Constants are bounded.
    Constants,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Unknown => write!(f, "the weights are not known while compiling"),
            Refusal::Range(w) => write!(f, "the largest weight is {w:e}"),
            Refusal::Noise(e) => write!(f, "errors of {e:.1e} of the largest result"),
            Refusal::Level(e, direct) => write!(
                f,
                "errors of {e:.1e} of the largest result for inputs of a large mean ({direct:.1e} direct)"
            ),
            Refusal::Spike(e) => write!(
                f,
                "errors of {e:.1e} of the largest result for a large element at a corner"
            ),
            Refusal::Shared => write!(f, "other layers have used up the tolerance of errors"),
            Refusal::Constants => write!(f, "constants are bounded"),
        }
    }
}

/// The errors of minimal filtering with tiles of `m` times `m` results, if they are admissible: at
/// most `tolerance` of the largest result. `corners` are the taps that see the elements which are
/// seen by fewest.
pub(super) fn admit(
    weights: &Moments,
    m: usize,
    corners: &[Seen],
    tolerance: f64,
) -> Result<Errors, Refusal> {
    let largest = weights.largest;
    if largest != 0.0 && !RANGE.contains(&largest) {
        return Err(Refusal::Range(largest));
    }
    let filter = Filter::new(m, weights.channels.len());
    let squares = weights.results.iter().map(|w| filter.squares(w));
    let errors = Errors::relative(weights, squares);
    if errors.noise > tolerance {
        return Err(Refusal::Noise(errors.noise));
    }
    // Filters that cancel lose the same digits in any algorithm.
    let direct = direct(weights).level;
    if errors.level > tolerance.max(direct) {
        return Err(Refusal::Level(errors.level, direct));
    }
    match filter.spike(weights, corners) {
        spike if spike > tolerance => Err(Refusal::Spike(spike)),
        _ => Ok(errors),
    }
}

impl Errors {
    /// The part of the model's tolerance that it takes, in squares.
    pub fn share(self, tolerance: f64) -> f64 {
        (self.noise / tolerance).powi(2)
    }

    /// Of mean squares of errors in units of roundings, the largest of all results.
    fn relative(weights: &Moments, squares: impl Iterator<Item = Self>) -> Self {
        let worst = squares.fold(Errors::NONE, |a, b| Errors {
            noise: a.noise.max(b.noise),
            level: a.level.max(b.level),
        });
        let most = |f: &dyn Fn(&Filters) -> f64| weights.results.iter().map(f).fold(0.0, f64::max);
        let deviation = most(&|w| w.squares().iter().sum()).sqrt();
        let mean = MEAN * most(&|w| w.sum(&[1.0; TAPS]).abs());
        let part = |square: f64, largest: f64| match square > 0.0 {
            true => DEVIATIONS * (ROUNDING * square).sqrt() / largest,
            false => 0.0,
        };
        Errors {
            noise: part(worst.noise, PEAK * deviation),
            level: part(worst.level, mean.max(PEAK * deviation) / MEAN),
        }
    }

    const NONE: Errors = Errors {
        noise: 0.0,
        level: 0.0,
    };
}

/// The mean square of the errors of a sum of `count` terms, in no particular order, that add up to
/// `sum` and whose squares add up to `energy`: each term and each partial sum is rounded.
fn sum_errors(count: f64, sum: f64, energy: f64) -> f64 {
    let apart = (energy - sum * sum / count).max(0.0);
    energy + count / 3.0 * sum * sum + count / 6.0 * apart
}

/// The same where terms are independent, of mean zero.
fn noise_errors(count: f64, energy: f64) -> f64 {
    energy * (1.0 + (count + 1.0) / 2.0)
}

/// The errors of the direct algorithm.
fn direct(weights: &Moments) -> Errors {
    let count = (weights.channels.len() * TAPS) as f64;
    let squares = weights.results.iter().map(|w| {
        let energy = w.squares().iter().sum();
        Errors {
            noise: noise_errors(count, energy),
            level: sum_errors(count, w.sum(&[1.0; TAPS]), energy),
        }
    });
    Errors::relative(weights, squares)
}

/// What a row of `B` makes of an axis.
struct InputRow {
    /// The element that independent elements of size 1 give, and its errors, in squares.
    noise: (f64, f64),
    /// The same of elements that are all 1.
    level: (f64, f64),
    /// The square of what one element gives, at most.
    most: f64,
}

impl InputRow {
    fn new(row: &[f64]) -> Self {
        let (mut sum, mut energy) = (0.0, 0.0);
        let (mut noise, mut level) = (0.0, 0.0);
        for c in row.iter().filter(|c| **c != 0.0) {
            sum += c;
            energy += c * c;
            noise += c * c + energy;
            level += c * c + sum * sum;
        }
        InputRow {
            noise: (energy, noise),
            level: (sum * sum, level),
            most: row.iter().fold(0.0, |m, c| m.max(c * c)),
        }
    }
}

/// A place of a transformed tile.
struct Place {
    /// The coefficients of the taps in the transformed weight.
    taps: [f64; TAPS],
    /// The errors of the transformed weight for each tap, in squares.
    tap_errors: [f64; TAPS],
    /// The transformed element, and its errors, in squares, for both classes of inputs.
    noise: (f64, f64),
    level: (f64, f64),
    /// The square of the transformed element that one element of 1 gives, at most.
    spike: f64,
    /// Roundings of the product on its way into a result.
    steps: f64,
    /// The squares of what the product counts in each result of the tile.
    counts: Vec<f64>,
}

/// Minimal filtering of tiles of one size.
struct Filter {
    places: Vec<Place>,
    channels: f64,
}

impl Filter {
    fn new(m: usize, channels: usize) -> Self {
        let matrices = Matrices::new(m);
        let rows: Vec<InputRow> = matrices.input.iter().map(|r| InputRow::new(r)).collect();
        let a = m + 2;
        let places = (0..a * a).map(|k| Place::new(&matrices, &rows, (k / a, k % a)));
        Filter {
            places: places.collect(),
            channels: channels as f64,
        }
    }

    /// The mean squares of errors of the worst result of a tile, in units of roundings.
    fn squares(&self, weights: &Filters) -> Errors {
        let taps = weights.squares();
        let places = self
            .places
            .iter()
            .map(|p| p.squares(self.channels, weights, &taps));
        let places: Vec<Errors> = places.collect();
        let results = 0..self.places[0].counts.len();
        results.fold(Errors::NONE, |worst, k| {
            let (mut noise, mut level) = (0.0, 0.0);
            for (place, errors) in self.places.iter().zip(&places) {
                noise += place.counts[k] * errors.noise;
                level += place.counts[k] * errors.level;
            }
            Errors {
                noise: worst.noise.max(noise),
                level: worst.level.max(level),
            }
        })
    }

    /// The largest error that one element makes, as a part of the largest result that depends on
    /// it.
    fn spike(&self, weights: &Moments, corners: &[Seen]) -> f64 {
        let results = 0..self.places[0].counts.len();
        let taps: Vec<[f64; TAPS]> = results.map(|k| self.spike_errors(k)).collect();
        let results = weights.results.len() as f64;
        let of = |channel: &Channel| {
            let sums = taps.iter().map(|c| dot(c, &channel.squares) / results);
            let square = sums.fold(0.0, f64::max);
            let seen = |taps: &Seen| {
                let pairs = taps.iter().zip(&channel.largest);
                let largest = pairs.map(|(seen, w)| if *seen { *w } else { 0.0 });
                largest.fold(0.0, f64::max)
            };
            let least = corners.iter().map(seen).fold(f64::INFINITY, f64::min);
            match square > 0.0 {
                true => DEVIATIONS * (ROUNDING * square / least).sqrt(),
                false => 0.0,
            }
        };
        weights.channels.iter().map(of).fold(0.0, f64::max)
    }

    /// The mean squares of errors of result `k` of a tile, for the square of each tap: the product
    /// of the element's channel stays in the sum that all channels behind it are added to.
    fn spike_errors(&self, k: usize) -> [f64; TAPS] {
        let mut errors = [0.0; TAPS];
        for place in &self.places {
            let scale = place.counts[k] * place.spike * (self.channels + place.steps);
            let pairs = errors.iter_mut().zip(&place.taps);
            pairs.for_each(|(sum, c)| *sum += scale * c * c);
        }
        errors
    }
}

impl Place {
    fn new(matrices: &Matrices, rows: &[InputRow], (i, j): (usize, usize)) -> Self {
        let (g, h) = (&matrices.weights[i], &matrices.weights[j]);
        let taps = std::array::from_fn(|k| g[k / 3] * h[k % 3]);
        // The coefficient, the product, and the sums that a tap is part of.
        let tap_steps = |k: usize| (2 + 3 - k / 3) + (2 + 3 - k % 3);
        let both = |f: &dyn Fn(&InputRow) -> (f64, f64)| {
            let ((x, dx), (y, dy)) = (f(&rows[i]), f(&rows[j]));
            // The second transform adds up errors of independent elements.
            (x * y, dx * rows[j].noise.0 + x * dy)
        };
        let counts = |row: &[f64], other: &[f64]| (row[i] * other[j]).powi(2);
        let output: &Matrix = &matrices.output;
        let pairs = output
            .iter()
            .flat_map(|u| output.iter().map(|v| counts(u, v)));
        Place {
            taps,
            tap_errors: std::array::from_fn(|k| taps[k] * taps[k] * tap_steps(k) as f64),
            noise: both(&|row| row.noise),
            level: both(&|row| row.level),
            spike: rows[i].most * rows[j].most,
            steps: (2 * rows.len() - i - j + 2) as f64,
            counts: pairs.collect(),
        }
    }

    /// The mean squares of the errors of the sum over channels, `taps` being the squares of taps.
    fn squares(&self, channels: f64, weights: &Filters, taps: &[f64; TAPS]) -> Errors {
        let energy = weights.energy(&self.taps).max(0.0);
        let sum = weights.sum(&self.taps);
        let pairs = self.tap_errors.iter().zip(taps);
        let weight_errors: f64 = pairs.map(|(c, t)| c * t).sum();
        let (noise, level) = (self.noise, self.level);
        let products = noise_errors(channels, energy) + weight_errors + energy * self.steps;
        let sums = sum_errors(channels, sum, energy) + weight_errors + sum * sum * self.steps;
        Errors {
            noise: noise.1 * energy + noise.0 * products,
            level: level.1 * energy + level.0 * sums,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensmith_ir::dtype::DType;
    use tensmith_ir::ops::Sampler;
    use tensmith_ir::tensor::{Tensor, Wide};

    const TOLERANCE: f64 = 1e-4;

    const ALL: Seen = [true; TAPS];

    /// Weights of as many results as channels; `f` changes the filters of noise.
    fn weights(channels: usize, f: &dyn Fn(&mut [f64])) -> Moments {
        let shape = vec![channels, channels, 3, 3];
        let mut values = Sampler::new(1)
            .tensor(DType::F32, &shape, -1.0, 1.0)
            .to_f64();
        values.chunks_exact_mut(TAPS).for_each(f);
        let tensor = Tensor::from_wide(DType::F32, shape, &Wide::Float(values));
        Moments::of(&tensor, None)
    }

    fn scaled(by: f64) -> Moments {
        weights(16, &|w| w.iter_mut().for_each(|w| *w *= by))
    }

    #[test]
    fn ordinary_weights_of_any_scale_are_admitted() {
        for by in [1e-20, 1.0, 1e20] {
            for m in [2, 4] {
                let errors = admit(&scaled(by), m, &[ALL], TOLERANCE).unwrap();
                assert!(errors.noise > 1e-7 && errors.noise < 1e-5, "{errors:?}");
            }
        }
        assert!(admit(&scaled(0.0), 4, &[ALL], TOLERANCE).is_ok());
    }

    #[test]
    fn weights_out_of_range_are_refused() {
        for by in [1e-35, 1e35, f64::NAN] {
            let found = admit(&scaled(by), 2, &[ALL], TOLERANCE);
            assert!(matches!(found, Err(Refusal::Range(_))), "{by}: {found:?}");
        }
    }

    #[test]
    fn filters_that_cancel_are_refused_where_direct_sums_are_better() {
        let cancel = |w: &mut [f64]| {
            let mean = w.iter().sum::<f64>() / TAPS as f64;
            w.iter_mut().for_each(|w| *w -= mean);
        };
        let found = admit(&weights(16, &cancel), 4, &[ALL], TOLERANCE);
        assert!(matches!(found, Err(Refusal::Level(..))), "{found:?}");
        // Direct sums are longer by far.
        assert!(admit(&weights(256, &cancel), 4, &[ALL], TOLERANCE).is_ok());
        assert!(admit(&weights(16, &cancel), 2, &[ALL], TOLERANCE).is_ok());
    }

    #[test]
    fn corners_that_no_tap_sees_are_refused() {
        let first_only = |w: &mut [f64]| w[1..].fill(0.0);
        let lower_right = [false, false, false, false, true, true, false, true, true];
        let few = weights(16, &first_only);
        assert!(admit(&few, 4, &[ALL], TOLERANCE).is_ok());
        let found = admit(&few, 4, &[ALL, lower_right], TOLERANCE);
        assert_eq!(found, Err(Refusal::Spike(f64::INFINITY)));
        assert!(admit(&scaled(1.0), 4, &[ALL, lower_right], TOLERANCE).is_ok());
    }

    #[test]
    fn errors_grow_with_tiles_and_channels() {
        let noise = |channels, m| {
            let weights = weights(channels, &|_| {});
            admit(&weights, m, &[ALL], TOLERANCE).unwrap().noise
        };
        assert!(noise(64, 4) > 2.0 * noise(64, 2));
        assert!(noise(256, 4) > 1.5 * noise(64, 4));
    }
}
