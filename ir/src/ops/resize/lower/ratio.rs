//! Coordinates that move by ratios of whole numbers, which index expressions state exactly.
use crate::dtype::DType;
use crate::expr::Expr;
use crate::integer::gcd;
use crate::loops::{BinaryOp, Scalar};

/// Dividends below this are whole numbers to `f64` as well.
const MOST: i128 = 1 << 53;

/// A coordinate that moves by a known ratio: `(step * o + start) / divisor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ratio {
    step: i64,
    start: i64,
    /// At least 1; 32 bits hold what is left of a division.
    divisor: i64,
    /// The extent of x.
    n: i64,
}

/// A positive number as a quotient of whole ones, if these are small enough.
pub(super) fn fraction(value: f64) -> Option<(i64, i64)> {
    let (mut top, mut bottom) = (value, 1i64);
    while top.fract() != 0.0 && bottom < 1 << 48 {
        top *= 2.0;
        bottom *= 2;
    }
    let fits = top.fract() == 0.0 && (1.0..MOST as f64).contains(&top);
    fits.then_some((top as i64, bottom))
}

/// The quotient of the least whole numbers that single precision rounds to a positive number of it.
pub(super) fn simplest_fraction(value: f64) -> Option<(i64, i64)> {
    let value = value as f32;
    let (below, above) = (
        f32::from_bits(value.to_bits() - 1),
        f32::from_bits(value.to_bits() + 1),
    );
    let half_way = |other: f32| fraction((f64::from(value) + f64::from(other)) / 2.0);
    let (low, high) = (half_way(below)?, half_way(above)?);
    let (top, bottom) = between(low, high);
    ((top as f64 / bottom as f64) as f32 == value).then_some((top, bottom))
}

/// The quotient of the least whole numbers between two others.
///
/// Source: Knuth, The Art of Computer Programming, volume 2, exercise 4.5.3-39.
fn between(low: (i64, i64), high: (i64, i64)) -> (i64, i64) {
    let whole = low.0 / low.1;
    if low.0 == whole * low.1 {
        return (whole, 1);
    }
    if i128::from(whole + 1) * i128::from(high.1) < i128::from(high.0) {
        return (whole + 1, 1);
    }
    let rest = |(top, bottom): (i64, i64)| (bottom, top - whole * bottom);
    let (top, bottom) = between(rest(high), rest(low));
    (whole * top + bottom, top)
}

impl Ratio {
    /// How the coordinates that a transformation gives on an axis move, with extents `n` of x and
    /// `size` of y, and the quotient that the scale is.
    pub fn of(coordinate: &str, scale: (i64, i64), (n, size): (i64, i64)) -> Option<Ratio> {
        let [top, bottom, extent, size] = [scale.0, scale.1, n, size].map(i128::from);
        // y is as long as x times the scale, which may be no whole number.
        let single = top.checked_mul(extent)? == bottom;
        let (step, start, divisor) = match coordinate {
            "align_corners" | "pytorch_half_pixel" if single => (0, 0, 1),
            "align_corners" => ((extent - 1) * bottom, 0, top * extent - bottom),
            "asymmetric" => (bottom, 0, top),
            "half_pixel" | "pytorch_half_pixel" => (2 * bottom, bottom - top, 2 * top),
            "half_pixel_symmetric" => {
                let start = (1 - size).checked_mul(bottom)? + (extent - 1).checked_mul(top)?;
                (2 * bottom, start, 2 * top)
            }
            _ => return None,
        };
        Ratio::reduced([step, start, divisor], n, size)
    }

    fn reduced(parts: [i128; 3], n: i64, size: i128) -> Option<Ratio> {
        let [step, start, divisor] = parts.map(i64::try_from);
        let (step, start, divisor) = (step.ok()?, start.ok()?, divisor.ok()?);
        let common = gcd(gcd(step, start), divisor).max(1);
        let [step, start, divisor] = [step, start, divisor].map(|part| part / common);
        let last = i128::from(step) * size + i128::from(start);
        let fits = (1..1 << 31).contains(&divisor)
            && [i128::from(start), last].iter().all(|e| e.abs() < MOST / 4);
        fits.then_some(Ratio {
            step,
            start,
            divisor,
            n,
        })
    }

    /// The position at, or `tap` elements behind, the coordinate of position `o` rounded down.
    pub fn position(self, o: &Expr, tap: i64) -> Expr {
        // The dividend of `past`, so that one division gives both.
        self.inside((o.clone() * self.step + self.start).div(self.divisor) + tap)
    }

    /// The position next to the coordinate of position `o`, as the operator rounds.
    pub fn nearest(self, o: &Expr, rounding: &str) -> Expr {
        let [step, start, divisor] = [self.step, self.start, self.divisor];
        let parts = match rounding {
            "round_prefer_floor" => [2 * step, 2 * start + divisor - 1, 2 * divisor],
            "round_prefer_ceil" => [2 * step, 2 * start + divisor, 2 * divisor],
            "floor" => [step, start, divisor],
            _ => [step, start + divisor - 1, divisor],
        };
        self.inside(quotient(o, parts))
    }

    fn inside(self, at: Expr) -> Expr {
        at.at_most(self.n - 1).at_least(0)
    }

    /// How far the coordinate of position `o` is past the whole number that it is rounded down to.
    pub fn past(self, o: &Expr, compute: DType) -> Scalar {
        self.share(
            (o.clone() * self.step + self.start).rem(self.divisor),
            compute,
        )
    }

    /// How far it is before the next whole number: 1 less the former, without cancellation.
    pub fn before(self, o: &Expr, compute: DType) -> Scalar {
        let past = (o.clone() * self.step + self.start).rem(self.divisor);
        self.share(Expr::from(self.divisor) - past, compute)
    }

    fn share(self, part: Expr, compute: DType) -> Scalar {
        let part = Scalar::cast(compute, Scalar::Index(part));
        let one = Scalar::num(compute, 1.0 / self.divisor as f64);
        Scalar::binary(BinaryOp::Mul, part, one)
    }
}

/// `(step * o + start) / divisor`, rounded down, in least terms.
fn quotient(o: &Expr, [step, start, divisor]: [i64; 3]) -> Expr {
    let common = gcd(step, divisor).max(1);
    let start = start.div_euclid(common);
    (o.clone() * (step / common) + start).div(divisor / common)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_fractions() {
        assert_eq!(fraction(2.0), Some((2, 1)));
        assert_eq!(fraction(0.375), Some((3, 8)));
        assert_eq!(fraction(f64::from(1.7f32)), Some((14_260_634 / 2, 1 << 22)));
        assert_eq!(fraction(1.0 / 3.0), None);
    }

    #[test]
    fn simplest_fractions_round_to_scales() {
        for (top, bottom) in [(17, 10), (3, 10), (2, 3), (1, 3), (5, 1), (32, 19)] {
            let scale = f64::from(top as f32 / bottom as f32);
            assert_eq!(simplest_fraction(scale), Some((top, bottom)));
        }
    }

    #[test]
    fn ratios_are_in_least_terms() {
        let ratio = Ratio::of("half_pixel", (2, 1), (4, 8)).unwrap();
        assert_eq!((ratio.step, ratio.start, ratio.divisor), (2, -1, 4));
        let last = |o: i64| ratio.nearest(&o.into(), "round_prefer_floor").as_const();
        assert_eq!([0, 1, 2, 7].map(last), [0, 0, 1, 3].map(Some));
        // A length of no whole number: 2 * 1.25 - 1 steps.
        let ratio = Ratio::of("align_corners", (5, 4), (2, 2)).unwrap();
        assert_eq!((ratio.step, ratio.divisor), (2, 3));
        let single = Ratio::of("align_corners", (1, 3), (3, 1)).unwrap();
        assert_eq!((single.step, single.divisor), (0, 1));
        assert_eq!(Ratio::of("align_corners", (1, 3), (2, 1)), None);
    }
}
