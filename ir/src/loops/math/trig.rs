//! Circular functions and their inverses, and the remainder.
//!
//! The bounds of the circular functions hold for all `F32`, and for `F64` of magnitudes up to `2^30`,
//! where the nearest multiple of `pi/2` is found without doubt. The results of greater ones lie in
//! the range of the function, but mean nothing.
use super::angle::reduced;
use super::code::V;
use super::format::Format;

/// `sin x`.
pub(super) fn sin<'c>(f: &Format, x: V<'c>) -> V<'c> {
    reduced(f, x.abs(), |angle| f.flip_sign(angle.sin(f), x))
}

/// `cos x`.
pub(super) fn cos<'c>(f: &Format, x: V<'c>) -> V<'c> {
    reduced(f, x.abs(), |angle| angle.cos(f))
}

/// `sin x / cos x`.
pub(super) fn tan<'c>(f: &Format, x: V<'c>) -> V<'c> {
    reduced(f, x.abs(), |angle| f.flip_sign(angle.tan(f), x))
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

/// One step takes as many bits off the quotient as a mantissa has, without rounding: the remainder
/// of a rounded quotient is a multiple of the quotient's last place times `y`, and not above `y`
/// times half of that.
fn remainder_steps<'c>(r: V<'c>, y: V<'c>, steps: i64) -> V<'c> {
    (0..steps).fold(r, |r, _| (-(r / y).trunc()).fma(y, r))
}

/// The remainder of `x` by `y` from `r`, that of their magnitudes or less by `|y|`.
fn finish_fmod<'c>(f: &Format, x: V<'c>, y: V<'c>, r: V<'c>) -> V<'c> {
    let (a, b) = (x.abs(), y.abs());
    let r = r.lt(r.num(0.0)).select(r + b, r);
    let r = r.lt(b).select(r, r - b);
    f.copy_sign(a.lt(b).select(a, r), x)
}

/// The remainder, exact for all operands. One step does where the quotient is an integer of the
/// format; else it is taken off in three stages, by `y * 2^2s`, `y * 2^s` and `y` where the second of
/// two powers `2^s` brings the least `y` to 1, so that no quotient overflows.
pub(super) fn fmod<'c>(f: &Format, x: V<'c>, y: V<'c>) -> V<'c> {
    let (a, b) = (x.abs(), y.abs());
    let quotient = a / b;
    let common = finish_fmod(f, x, y, (-quotient.trunc()).fma(b, a));
    let is_large = quotient.num(f.power(i64::from(f.mantissa))).lt(quotient);
    let staged = || {
        let digits = i64::from(f.mantissa) + 1;
        let stage = (f.bias + digits) / 2;
        let step = f.power(stage);
        let middle = b.lt(b.num(1.0)).select(b * step, b);
        let top = middle.lt(b.num(1.0)).select(middle * step, middle);
        let r = remainder_steps(a, top, (f.bias + 1) / digits + 1);
        let r = remainder_steps(r, middle, stage / digits + 1);
        finish_fmod(f, x, y, remainder_steps(r, b, stage / digits + 1))
    };
    is_large.rarely(staged, common)
}
