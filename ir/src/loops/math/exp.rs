//! The exponential and what is made of it: one range reduction and one polynomial.
use super::code::V;
use super::coefficients as k;
use super::format::Format;
use crate::dtype::DType;

/// `x = n*ln 2 + r` with `|r| <= ln 2 / 2`.
struct Reduced<'c> {
    /// `n`.
    n: V<'c>,
    /// `n + 2*bias`, unsigned.
    exponent: V<'c>,
    /// `r`.
    r: V<'c>,
}

/// Reduces `x + low`, which must lie in the format's range of `exp`; NaN goes to `r`.
fn reduce<'c>(f: &Format, x: V<'c>, low: Option<V<'c>>) -> Reduced<'c> {
    let shifted = x.fma(x.num(std::f64::consts::LOG2_E), x.num(f.magic()));
    let n = shifted - f.magic();
    let r = n.fma(x.num(-f.ln2[0]), x);
    let r = n.fma(x.num(-f.ln2[1]), r);
    let r = low.map_or(r, |low| r + low);
    Reduced {
        n,
        exponent: exponent(f, shifted),
        r,
    }
}

/// `n + 2*bias` of `n + magic`.
fn exponent<'c>(f: &Format, shifted: V<'c>) -> V<'c> {
    let bits = f.bits(shifted);
    let offset = f.bits_of(f.magic()).wrapping_sub(2 * f.bias as u64);
    bits - bits.bits(offset)
}

/// `e^r - 1`.
fn tail<'c>(f: &Format, r: V<'c>) -> V<'c> {
    (r * r).fma(r.poly(f.exp), r)
}

/// `e^r`.
fn whole<'c>(f: &Format, r: V<'c>) -> V<'c> {
    r.poly(&[&[1.0, 1.0], f.exp].concat())
}

/// `a * 2^n` by `2^h` and `2^(n - h)` with half of `n` as `h`: each is normal even if `2^n` is not.
pub(super) fn scale_in_steps<'c>(f: &Format, a: V<'c>, n: V<'c>) -> V<'c> {
    let exponent = exponent(f, n + f.magic());
    let half = exponent >> exponent.bits(1);
    a * f.scale(half) * f.scale(exponent - half)
}

fn scaled_exp<'c>(f: &Format, x: V<'c>, low: Option<V<'c>>) -> V<'c> {
    let e = reduce(f, x, low);
    whole(f, e.r).scale(e.n)
}

/// `e^x`.
pub(super) fn exp<'c>(f: &Format, x: V<'c>) -> V<'c> {
    scaled_exp(f, x.at_least(f.exp_range[0]).at_most(f.exp_range[1]), None)
}

/// `e^x` for an `x` of at most 0, which cannot overflow. In single precision `ln 2` is one number,
/// whose relative error is less than a tenth of what rounding `x` may make.
pub(super) fn exp_negative<'c>(f: &Format, x: V<'c>) -> V<'c> {
    let x = x.at_least(f.exp_range[0]);
    let Some(slope) = f.exp_negative else {
        return scaled_exp(f, x, None);
    };
    let n = x.fma(x.num(std::f64::consts::LOG2_E), x.num(f.magic())) - f.magic();
    let r = n.fma(x.num(-std::f64::consts::LN_2), x);
    r.fma(r.poly(slope), r.num(1.0)).scale(n)
}

/// `e^(high + low)`, where `low` is at most one unit in the last place of `high`.
pub(super) fn exp_sum<'c>(f: &Format, high: V<'c>, low: V<'c>) -> V<'c> {
    let high = high.at_least(f.exp_range[0]).at_most(f.exp_range[1]);
    scaled_exp(f, high, Some(low))
}

/// `1 / (1 + e^-x)`: in terms of `e^-|x|`, which does not overflow.
pub(super) fn sigmoid<'c>(f: &Format, x: V<'c>) -> V<'c> {
    let z = scaled_exp(f, (-x.abs()).at_least(f.exp_range[0]), None);
    let top = x.lt(x.num(0.0)).select(z, x.num(1.0));
    top / (z + 1.0)
}

/// `(e^2|x| - 1) / (e^2|x| + 1)`.
pub(super) fn tanh<'c>(f: &Format, x: V<'c>) -> V<'c> {
    let a = x.abs().at_most(f.tanh_max);
    let e = reduce(f, a + a, None);
    let scale = f.scale(e.exponent - e.exponent.bits(f.bias as u64));
    let minus_one = scale.fma(tail(f, e.r), scale - 1.0);
    f.copy_sign(minus_one / (minus_one + 2.0), x)
}

/// `m/2 + (m/2) / (m + 1)` with `m = e^|x| - 1`.
pub(super) fn sinh<'c>(f: &Format, x: V<'c>) -> V<'c> {
    let a = x.abs();
    let e = reduce(f, a.at_most(f.sinh_max), None);
    let half = (e.exponent - e.exponent.bits(1)) >> e.exponent.bits(1);
    let rest = e.exponent - e.exponent.bits(1) - half;
    let (s, t) = (f.scale(half), f.scale(rest));
    let half_over_t = f.scale(rest.bits(2 * f.bias as u64 - 1) - rest);
    let half = s.fma(tail(f, e.r), s - half_over_t) * t;
    let top = half.at_most(f.power(f.bias));
    let big = half + top / (half + half + 1.0);
    let y = a.lt(a.num(f.sinh_tiny)).select(a, big);
    f.copy_sign(y, x)
}

/// `h + 1/(4h)` with `h = e^|x| / 2`.
pub(super) fn cosh<'c>(f: &Format, x: V<'c>) -> V<'c> {
    let e = reduce(f, x.abs().at_most(f.sinh_max), None);
    let half = whole(f, e.r).scale(e.n - 1.0);
    half + half.num(0.25) / half
}

/// Below 1 an odd polynomial, above `1 - erfc`, where `erfc` needs few digits: in single precision
/// the eighth power of a polynomial, whose error is 8 times that of its base and counts for
/// `erfc(1) = 0.16` of the result at most.
pub(super) fn erf<'c>(f: &Format, x: V<'c>) -> V<'c> {
    let a = x.abs();
    let small = a.fma((a * a).poly(f.erf), a);
    let complement = match f.float {
        DType::F32 => {
            let u = a.at_least(1.0).at_most(4.0) - 2.5;
            let eighth = u.poly(k::ERFC_F32);
            let quarter = eighth * eighth;
            let half = quarter * quarter;
            half * half
        }
        _ => {
            let b = a.at_least(1.0).at_most(6.0);
            let w = b.num(4.0) / (b + 3.0);
            unscaled_exp(f, -(b * b)) * w * w.poly(k::ERFC_F64)
        }
    };
    let y = a.lt(a.num(1.0)).select(small, a.num(1.0) - complement);
    f.copy_sign(y, x)
}

/// `e^x` where that is normal.
fn unscaled_exp<'c>(f: &Format, x: V<'c>) -> V<'c> {
    let e = reduce(f, x, None);
    let scale = f.scale(e.exponent - e.exponent.bits(f.bias as u64));
    scale.fma(tail(f, e.r), scale)
}
