//! The logarithm and what is made of it.
use super::code::V;
use super::exp::exp_sum;
use super::format::Format;

/// `x = 2^n * (1 + m)` with `1 + m` between `sqrt(1/2)` and `sqrt(2)`.
struct Reduced<'c> {
    m: V<'c>,
    n: V<'c>,
}

/// Reduces a positive normal number.
fn reduce<'c>(f: &Format, x: V<'c>) -> Reduced<'c> {
    let low = f.bits_of(std::f64::consts::FRAC_1_SQRT_2);
    let mask = (1u64 << f.mantissa) - 1;
    let bits = f.bits(x);
    let from_low = bits - bits.bits(low);
    let m = ((from_low & bits.bits(mask)) + bits.bits(low)).bitcast(f.float) - 1.0;
    let bias = (f.bias as u64) << f.mantissa;
    let exponent = (from_low + bits.bits(bias)) >> bits.bits(u64::from(f.mantissa));
    let shifted = (exponent + bits.bits(f.bits_of(f.magic()))).bitcast(f.float);
    let n = shifted - (f.magic() + f.bias as f64);
    Reduced { m, n }
}

/// The logarithm of a positive normal number, plus `n` times that of 2.
fn log_normal<'c>(f: &Format, x: V<'c>, n: Option<V<'c>>) -> V<'c> {
    let r = reduce(f, x);
    let n = n.map_or(r.n, |n| r.n + n);
    let s = r.m / (r.m + 2.0);
    let z = s * s;
    let half_square = r.m * r.m * 0.5;
    let series = s * (half_square + z * z.poly(f.log));
    let low = half_square - n.fma(n.num(f.ln2[1]), series);
    n.fma(n.num(f.ln2[0]), r.m - low)
}

/// A subnormal number as a normal one; the second is the exponent that was added.
fn normalised<'c>(f: &Format, x: V<'c>) -> (V<'c>, V<'c>) {
    let shift = i64::from(f.mantissa) + 2;
    let subnormal = x.lt(x.num(f.min_normal()));
    (
        subnormal.select(x * f.power(shift), x),
        subnormal.select(x.num(-(shift as f64)), x.num(0.0)),
    )
}

/// `log x`.
pub(super) fn log<'c>(f: &Format, x: V<'c>) -> V<'c> {
    let (normal, n) = normalised(f, x);
    let y = log_normal(f, normal, Some(n));
    let y = x.lt(x.num(f64::INFINITY)).select(y, x);
    let at_zero = x.num(0.0).eq(x);
    let outside = at_zero.select(x.num(f64::NEG_INFINITY), x.num(f64::NAN));
    x.num(0.0).lt(x).select(y, outside)
}

/// `log(1 + t)` for `t` that is not negative.
fn log_plus_one<'c>(f: &Format, t: V<'c>) -> V<'c> {
    let u = t + 1.0;
    let lost = (t - (u - 1.0)) / u;
    let y = log_normal(f, u, None) + lost;
    let infinity = t.num(f64::INFINITY);
    u.eq(infinity).select(infinity, y)
}

/// `log(1 + t)`, or `log(2x)` for large `x`.
fn log_plus_one_or_twice<'c>(f: &Format, t: V<'c>, x: V<'c>) -> V<'c> {
    let large = x.num(f.large).lt(x);
    let add = large.select(x.num(std::f64::consts::LN_2), x.num(0.0));
    log_plus_one(f, large.select(x, t)) + add
}

/// `log(1 + |x| + x^2 / (1 + sqrt(1 + x^2)))`.
pub(super) fn asinh<'c>(f: &Format, x: V<'c>) -> V<'c> {
    let a = x.abs();
    let square = a * a;
    let t = a + square / ((square + 1.0).sqrt() + 1.0);
    f.copy_sign(log_plus_one_or_twice(f, t, a), x)
}

/// `log(1 + t + sqrt(t^2 + 2t))` with `t = x - 1`.
pub(super) fn acosh<'c>(f: &Format, x: V<'c>) -> V<'c> {
    let t = x - 1.0;
    let y = log_plus_one_or_twice(f, t + (t * (t + 2.0)).sqrt(), x);
    x.lt(x.num(1.0)).select(x.num(f64::NAN), y)
}

/// `log(1 + 2|x| / (1 - |x|)) / 2`.
pub(super) fn atanh<'c>(f: &Format, x: V<'c>) -> V<'c> {
    let a = x.abs();
    let y = log_plus_one(f, (a + a) / (a.num(1.0) - a)) * 0.5;
    let y = a.num(1.0).lt(a).select(a.num(f64::NAN), y);
    f.copy_sign(y, x)
}

/// `x^y`: the logarithm in twice the precision.
pub(super) fn pow<'c>(f: &Format, x: V<'c>, y: V<'c>) -> V<'c> {
    let a = x.abs();
    let (high, low) = log_twice(f, a);
    let product = y * high;
    let low = y.fma(high, -product) + y * low;
    let low = product.abs().lt(low.num(1e4)).select(low, low.num(0.0));
    let exponent = power_exponent(a, y, product);
    powers(f, x, y, exp_sum(f, exponent, low))
}

/// The logarithm `y` of a magnitude `a`, put right at 0, infinity and NaN.
fn extreme_log<'c>(a: V<'c>, y: V<'c>) -> V<'c> {
    let y = a.lt(a.num(f64::INFINITY)).select(y, a);
    a.eq(a.num(0.0)).select(a.num(f64::NEG_INFINITY), y)
}

/// `y * log a`, put right where that is 0 times infinity.
fn power_exponent<'c>(a: V<'c>, y: V<'c>, product: V<'c>) -> V<'c> {
    let one = a.eq(a.num(1.0)) & y.eq(y);
    one.select(a.num(0.0), product)
}

/// `x^y` out of `|x|^y`: signs and special cases as C99 annex F has them.
fn powers<'c>(f: &Format, x: V<'c>, y: V<'c>, magnitude: V<'c>) -> V<'c> {
    let zero = x.num(0.0);
    let half = y * 0.5;
    let whole = y.trunc().eq(y);
    let odd = whole & half.floor().ne(half);
    let signed = odd.select(f.flip_sign(magnitude, x), magnitude);
    let finite_negative = x.lt(zero) & x.num(f64::NEG_INFINITY).lt(x);
    let not_real = finite_negative & y.trunc().ne(y);
    let r = not_real.select(x.num(f64::NAN), signed);
    (x.eq(x.num(1.0)) | y.eq(zero)).select(x.num(1.0), r)
}

/// `a + b`, where `|a| >= |b|`, and the rounding error.
fn fast_sum<'c>(a: V<'c>, b: V<'c>) -> (V<'c>, V<'c>) {
    let s = a + b;
    (s, b - (s - a))
}

/// The product of two sums of two numbers.
fn product<'c>(a: (V<'c>, V<'c>), b: (V<'c>, V<'c>)) -> (V<'c>, V<'c>) {
    let high = a.0 * b.0;
    let low = a.0.fma(b.0, -high);
    fast_sum(high, a.0.fma(b.1, a.1.fma(b.0, low)))
}

/// `log a` of a magnitude as a sum of two numbers, with an error of about `2^-34` (`F32`) or `2^-64` of it.
fn log_twice<'c>(f: &Format, a: V<'c>) -> (V<'c>, V<'c>) {
    let (normal, n) = normalised(f, a);
    let r = reduce(f, normal);
    let n = r.n + n;
    let bottom = fast_sum(r.m.num(2.0), r.m);
    let high = r.m / bottom.0;
    let rest = (-high).fma(bottom.0, r.m);
    let s = (high, (-high).fma(bottom.1, rest) / bottom.0);
    let z = product(s, s);
    let tail = z.0 * z.0.poly(f.log_pow);
    let series = fast_sum(tail.num(2.0 / 3.0), tail + f.two_thirds_low);
    let series = product(z, series);
    let (w, w_low) = fast_sum(s.0.num(2.0), series.0);
    let m = product(s, (w, w_low + series.1));
    let (high, low) = fast_sum(n * f.ln2[0], m.0);
    let low = low + n.fma(n.num(f.ln2[1]), m.1);
    let (high, low) = fast_sum(high, low);
    let fine = a.lt(a.num(f64::INFINITY)) & a.num(0.0).lt(a);
    (extreme_log(a, high), fine.select(low, low.num(0.0)))
}
