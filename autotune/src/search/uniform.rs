//! The baseline: members drawn evenly, the default first.
use super::{Round, Strategy};
use tensmith_passes::schedule::parameters::Values;

/// Draws by which the weight of the rarest member is found.
const CALIBRATION: usize = 32;
/// Draws for each proposal, at most.
const MOST_DRAWS: usize = 400;

/// Draws from all members with equal probability.
///
/// A draw takes each parameter evenly over its options, so that members in narrow branches of the
/// tree come too often: those with a product of `w` options have a probability of `1 / w`. A draw
/// is therefore accepted with a probability of `w / most`, where `most` is the largest product
/// seen. That is even over all members once `most` was met, which the first draws see to; values
/// that make the same code as others count one by one.
#[derive(Debug, Default)]
pub struct Uniform {
    /// Logarithm of the largest product of numbers of options.
    most: Option<f64>,
}

impl Uniform {
    fn calibrate(&mut self, round: &mut Round<'_>) -> f64 {
        let draws = (0..CALIBRATION).filter_map(|_| round.draw());
        draws.map(|(_, weight)| weight).fold(0.0, f64::max)
    }
}

impl Strategy for Uniform {
    fn name(&self) -> &'static str {
        "uniform"
    }

    fn members(&self, _n: usize) -> usize {
        usize::MAX
    }

    fn propose(&mut self, round: &mut Round<'_>, n: usize) -> Vec<Values> {
        let mut found = Vec::new();
        let mut most = match self.most {
            Some(most) => most,
            None => {
                found.push(Values::default());
                self.calibrate(round)
            }
        };
        let mut seen = Vec::new();
        for _ in 0..MOST_DRAWS * n {
            if found.len() >= n {
                break;
            }
            let Some((member, weight)) = round.draw() else {
                continue;
            };
            most = most.max(weight);
            let accepted = round.random().chance((weight - most).exp());
            if accepted && round.is_new(&member) && !seen.contains(&member.identity) {
                seen.push(member.identity);
                found.push(member.values());
            }
        }
        self.most = Some(most);
        found
    }
}
