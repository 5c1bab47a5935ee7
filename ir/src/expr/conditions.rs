//! Conditions that an expression is at least 0, in fewer terms.
use super::{Expr, Product, Ranges};

impl Expr {
    /// Expressions of which all are at least 0 if, and only if, this one is, each of fewer terms
    /// where that is possible; what always holds is left out.
    ///
    /// What is added to multiples of a number and is less than it decides nothing, and a sum that is
    /// 0 at most is so if each of its terms is what it is at most. Which phases of a block have
    /// elements is a condition of channels and phases, and turns into one for each phase.
    pub fn conditions(&self, ranges: &Ranges) -> Vec<Expr> {
        let mut least = self.simplify(ranges);
        while let Some(fewer) = least.whole_multiples(ranges) {
            least = fewer.simplify(ranges);
        }
        if ranges.proves_non_negative(&least) {
            return vec![];
        }
        let most = ranges.bounds(&least).1;
        if most != 0 || least.terms.len() < 2 {
            return vec![least];
        }
        let part = |term: &(Product, i64)| {
            let term = Expr {
                terms: vec![term.clone()],
                constant: 0,
            };
            let most = ranges.bounds(&term).1;
            (term - most).conditions(ranges)
        };
        least.terms.iter().flat_map(part).collect()
    }

    /// `a` of `g*a + b`, where `b` is proved to lie in `0..g`.
    fn whole_multiples(&self, ranges: &Ranges) -> Option<Expr> {
        let mut factors: Vec<i64> = self.terms.iter().map(|(_, k)| k.saturating_abs()).collect();
        factors.retain(|g| *g > 1);
        factors.sort_unstable();
        factors.dedup();
        factors.into_iter().rev().find_map(|g| {
            let (a, b) = self.split_multiples(g);
            // A multiple of `g` more of the constant brings `b` into the range, if any does.
            let steps = ranges.bounds(&b).0.div_euclid(g);
            let (a, b) = (a + steps, b - steps.checked_mul(g)?);
            ranges.proves_within(&b, &g.into()).then_some(a)
        })
    }
}
