//! Circular functions and their inverses, and the remainder.
//!
//! Arguments are reduced in `f64`, by a `pi/2` of 107 (`F32`) or 160 bits (`F64`). The stated
//! bounds hold for magnitudes up to `2^30`, where the nearest multiple of `pi/2` is found without
//! doubt. The results of greater ones lie in the range of the function, but mean nothing.
use super::code::V;
use super::coefficients as k;
use super::format::Format;
use crate::dtype::DType;

/// `|x| = n*pi/2 + r + low` with `|r| <= pi/4`.
struct Reduced<'c> {
    r: V<'c>,
    low: Option<V<'c>>,
    /// `n` modulo 4, as a float.
    quadrant: V<'c>,
}

fn reduce<'c>(f: &Format, x: V<'c>) -> Reduced<'c> {
    let a = x.abs().cast(DType::F64);
    let n = (a * std::f64::consts::FRAC_2_PI).round();
    let first = n.fma(n.num(-k::PIO2_1), a);
    let quadrant = ((n * 0.25).floor()).fma(n.num(-4.0), n).cast(f.float);
    let limit = std::f64::consts::FRAC_PI_4 + 1e-7;
    if f.float == DType::F32 {
        let r = n.fma(n.num(-k::PIO2_2), first);
        let r = r.at_most(limit).at_least(-limit).cast(f.float);
        return Reduced {
            r,
            low: None,
            quadrant,
        };
    }
    let second = n * k::PIO2_2;
    let r = first - second;
    let back = r - first;
    let lost = (first - (r - back)) - (second + back);
    let lost = lost - n.fma(n.num(k::PIO2_2), -second);
    let low = n.fma(n.num(-k::PIO2_3), lost);
    Reduced {
        r: r.at_most(limit).at_least(-limit),
        low: Some(low.at_most(1e-9).at_least(-1e-9)),
        quadrant,
    }
}

impl<'c> Reduced<'c> {
    fn is(&self, n: f64) -> V<'c> {
        self.quadrant.eq(self.quadrant.num(n))
    }

    fn odd(&self) -> V<'c> {
        self.is(1.0) | self.is(3.0)
    }

    fn sin(&self, f: &Format) -> V<'c> {
        let r = self.r;
        let z = r * r;
        let cubic = r * z;
        match self.low {
            None => cubic.fma(z.poly(f.sin), r),
            Some(low) => cubic.fma(z.poly(f.sin), (z * -0.5).fma(low, low)) + r,
        }
    }

    fn cos(&self, f: &Format) -> V<'c> {
        let z = self.r * self.r;
        let half = z * 0.5;
        let main = half.num(1.0) - half;
        let lost = (half.num(1.0) - main) - half;
        let lost = match self.low {
            None => lost,
            Some(low) => self.r.fma(-low, lost),
        };
        main + (z * z).fma(z.poly(f.cos), lost)
    }
}

fn negate_if<'c>(cond: V<'c>, y: V<'c>) -> V<'c> {
    cond.select(-y, y)
}

/// `sin x`.
pub(super) fn sin<'c>(f: &Format, x: V<'c>) -> V<'c> {
    let r = reduce(f, x);
    let y = r.odd().select(r.cos(f), r.sin(f));
    f.flip_sign(negate_if(y.num(1.5).lt(r.quadrant), y), x)
}

/// `cos x`.
pub(super) fn cos<'c>(f: &Format, x: V<'c>) -> V<'c> {
    let r = reduce(f, x);
    let y = r.odd().select(r.sin(f), r.cos(f));
    negate_if(r.is(1.0) | r.is(2.0), y)
}

/// `sin x / cos x`.
pub(super) fn tan<'c>(f: &Format, x: V<'c>) -> V<'c> {
    let r = reduce(f, x);
    let (sin, cos) = (r.sin(f), r.cos(f));
    let odd = r.odd();
    let y = odd.select(-cos, sin) / odd.select(sin, cos);
    f.flip_sign(y, x)
}

/// `asin` of a magnitude `a <= 1/2`, else of `sqrt((1 - a)/2)`; the first is `1/2 < a`.
fn asin_half<'c>(f: &Format, a: V<'c>) -> (V<'c>, V<'c>) {
    let big = a.num(0.5).lt(a);
    let z = big.select((a.num(1.0) - a) * 0.5, a * a);
    let t = big.select(z.sqrt(), a);
    (big, (t * z).fma(z.poly(f.asin), t))
}

/// `asin x`.
pub(super) fn asin<'c>(f: &Format, x: V<'c>) -> V<'c> {
    let (big, p) = asin_half(f, x.abs());
    let from_top = p.num(f.pio2[0]) - (p + p - f.pio2[1]);
    f.copy_sign(big.select(from_top, p), x)
}

/// `acos x`.
pub(super) fn acos<'c>(f: &Format, x: V<'c>) -> V<'c> {
    let (big, p) = asin_half(f, x.abs());
    let signed = f.copy_sign(p, x);
    let middle = p.num(f.pio2[0]) - (signed - f.pio2[1]);
    let left = p.num(f.pio2[0]) - (p - f.pio2[1]);
    let outer = x.lt(x.num(0.0)).select(left, p);
    big.select(outer + outer, middle)
}

/// `atan x`: above 1 by the inverse.
pub(super) fn atan<'c>(f: &Format, x: V<'c>) -> V<'c> {
    let a = x.abs();
    let big = a.num(1.0).lt(a);
    let t = big.select(a.num(1.0) / a, a);
    let z = t * t;
    let p = (t * z).fma(z.poly(f.atan), t);
    let from_top = p.num(f.pio2[0]) - (p - f.pio2[1]);
    f.copy_sign(big.select(from_top, p), x)
}

/// One step takes 53 bits off the quotient, without rounding: the remainder of a rounded quotient
/// is a multiple of the quotient's last place times `y`, and not above `y` times half of that.
fn remainder_steps<'c>(r: V<'c>, y: V<'c>, steps: usize) -> V<'c> {
    (0..steps).fold(r, |r, _| (-(r / y).trunc()).fma(y, r))
}

/// The remainder of `a` by `b`, both magnitudes, from one that lies in `-b..=b`.
fn finish_fmod<'c>(f: &Format, x: V<'c>, y: V<'c>, r: V<'c>, b: V<'c>) -> V<'c> {
    let a = x.abs();
    let r = r.lt(r.num(0.0)).select(r + b, r);
    let r = r.lt(b).select(r, r - b);
    let r = a.lt(y.abs()).select(a, r.cast(f.float));
    f.copy_sign(r, x)
}

/// Exact for all operands: in `f64` a quotient of two `f32` has at most 277 bits.
pub(super) fn fmod_f32<'c>(f: &Format, x: V<'c>, y: V<'c>) -> V<'c> {
    let (a, b) = (x.abs().cast(DType::F64), y.abs().cast(DType::F64));
    finish_fmod(f, x, y, remainder_steps(a, b, 6), b)
}

/// Exact for all operands: the quotient, of up to 2098 bits, is taken off in three stages, by
/// `y * 2^1074`, `y * 2^537` and `y`, so that none overflows.
pub(super) fn fmod_f64<'c>(f: &Format, x: V<'c>, y: V<'c>) -> V<'c> {
    let (a, b) = (x.abs(), y.abs());
    let step = f.power(537);
    let middle = b.lt(b.num(1.0)).select(b * step, b);
    let top = middle.lt(b.num(1.0)).select(middle * step, middle);
    let r = remainder_steps(a, top, 20);
    let r = remainder_steps(r, middle, 11);
    finish_fmod(f, x, y, remainder_steps(r, b, 11), b)
}
