//! Angles as quarter turns and a rest of at most `pi/4`.
//!
//! `F64` is reduced by a `pi/2` of 160 bits, as `F32` below [`NEAR`] by one of 72 bits. A greater
//! `F32` is an integer times a power of two: that integer times the bits of `2/pi` which count, the
//! whole turns left out, is a fraction of 62 bits (Payne and Hanek, 1983), of which cancellation
//! takes about 30.
use super::code::V;
use super::coefficients as k;
use super::format::Format;
use crate::dtype::DType;

/// Up to it, an `F32` has its nearest multiple of `pi/2` found by one product.
const NEAR: f64 = 32768.0;

/// A magnitude as `n*pi/2 + rest + low` with `|rest| <= pi/4`, about.
pub(super) struct Angle<'c> {
    rest: V<'c>,
    low: Option<V<'c>>,
    /// `n` in its lowest two bits, unsigned.
    quarters: V<'c>,
}

/// What `take` makes of the angle of a magnitude.
pub(super) fn reduced<'c>(f: &Format, a: V<'c>, take: impl Fn(&Angle<'c>) -> V<'c>) -> V<'c> {
    if f.float == DType::F64 {
        return take(&double(f, a));
    }
    let common = take(&near(f, a));
    let is_far = a.num(NEAR).lt(a);
    is_far.rarely(|| take(&far(f, a)), common)
}

/// `n + magic`, and `n`, for the multiple `n` of `pi/2` that is nearest.
fn nearest<'c>(f: &Format, a: V<'c>) -> (V<'c>, V<'c>) {
    let shifted = a.fma(a.num(std::f64::consts::FRAC_2_PI), a.num(f.magic()));
    (f.bits(shifted), shifted - f.magic())
}

fn double<'c>(f: &Format, a: V<'c>) -> Angle<'c> {
    let (quarters, n) = nearest(f, a);
    let first = n.fma(n.num(-k::PIO2_1), a);
    let limit = std::f64::consts::FRAC_PI_4 + 1e-7;
    let second = n * k::PIO2_2;
    let r = first - second;
    let back = r - first;
    let lost = (first - (r - back)) - (second + back);
    let lost = lost - n.fma(n.num(k::PIO2_2), -second);
    let low = n.fma(n.num(-k::PIO2_3), lost);
    Angle {
        rest: r.at_most(limit).at_least(-limit),
        low: Some(low.at_most(1e-9).at_least(-1e-9)),
        quarters,
    }
}

/// The first difference is exact, the second loses what the third puts right.
fn near<'c>(f: &Format, a: V<'c>) -> Angle<'c> {
    let (quarters, n) = nearest(f, a);
    let rest = [f.pio2[0], f.pio2[1], k::PIO2_LEAST_F32]
        .into_iter()
        .fold(a, |rest, part| n.fma(n.num(-part), rest));
    Angle {
        rest,
        low: None,
        quarters,
    }
}

/// For `2^8 <= a`; NaN if it is infinite.
fn far<'c>(f: &Format, a: V<'c>) -> Angle<'c> {
    let bits = f.bits(a);
    let exponent = bits - bits.bits(127 << 23);
    // a = m * 2^(8k - 23), where m has at most 31 bits.
    let m = bits + bits.bits(23 << 23) - (exponent & exponent.bits(15 << 26));
    let m = m.bitcast(f.float).cast(DType::I32).bitcast(f.uint);
    let [high, middle, low] = [0, 1, 2].map(|word| {
        let window = k::QUARTERS.map(|words| u64::from(words[word]));
        one_of(exponent, 26, &window)
    });
    let (product, carried) = (m * middle, high_product(m, low));
    let fraction = product + carried;
    let carry = fraction.lt(carried).select(bits.bits(1), bits.bits(0));
    let turns = m * high + high_product(m, middle) + carry;
    let quarters = (turns + turns.bits(1 << 29)) >> turns.bits(30);
    let rest = turns - (quarters << turns.bits(30));
    let finite = a.lt(a.num(f64::INFINITY));
    Angle {
        rest: finite.select(quarter_turns(f, rest, fraction), a.num(f64::NAN)),
        low: None,
        quarters,
    }
}

/// `values[n]` for the number `n` in the four bits from `shift` on.
fn one_of<'c>(n: V<'c>, shift: u32, values: &[u64; 16]) -> V<'c> {
    let mut left: Vec<V<'c>> = values.iter().map(|v| n.bits(*v)).collect();
    for bit in 0..4 {
        let odd = (n & n.bits(1 << (shift + bit))).ne(n.bits(0));
        left = left
            .chunks(2)
            .map(|two| odd.select(two[1], two[0]))
            .collect();
    }
    left[0]
}

/// The upper half of `a * b`, by products of halves; `a` is below `2^31`.
fn high_product<'c>(a: V<'c>, b: V<'c>) -> V<'c> {
    let (half, low) = (a.bits(16), a.bits(0xffff));
    let (a1, a0) = (a >> half, a & low);
    let (b1, b0) = (b >> half, b & low);
    let first = a1 * b0 + ((a0 * b0) >> half);
    let second = a0 * b1 + (first & low);
    a1 * b1 + (first >> half) + (second >> half)
}

/// The angle of `rest * 2^-30 + fraction * 2^-62` quarter turns, the former signed.
fn quarter_turns<'c>(f: &Format, rest: V<'c>, fraction: V<'c>) -> V<'c> {
    let number = |v: V<'c>| v.bitcast(DType::I32).cast(f.float);
    let whole = number(rest);
    let lost = number(rest - whole.cast(DType::I32).bitcast(f.uint));
    let (half, mask) = (fraction.bits(16), fraction.bits(0xffff));
    let (upper, lower) = (number(fraction >> half), number(fraction & mask));
    let small = upper.fma(upper.num(f.power(16)), lower);
    let low = small.fma(small.num(f.power(-62)), lost * f.power(-30));
    let high = whole * f.power(-30);
    let tail = low.fma(low.num(f.pio2[0]), high * f.pio2[1]);
    high.fma(high.num(f.pio2[0]), tail)
}

impl<'c> Angle<'c> {
    fn odd(&self) -> V<'c> {
        let q = self.quarters;
        (q & q.bits(1)).ne(q.bits(0))
    }

    /// `y`, with its sign changed in the second half of a turn that begins `early` quarters sooner.
    fn signed(&self, f: &Format, y: V<'c>, early: u64) -> V<'c> {
        let q = self.quarters + self.quarters.bits(early);
        let top = q.bits(8 * f.float.bytes() as u64 - 2);
        (f.bits(y) ^ ((q & q.bits(2)) << top)).bitcast(f.float)
    }

    /// The sine and the cosine of the rest.
    fn both(&self, f: &Format) -> (V<'c>, V<'c>) {
        (self.sin_rest(f), self.cos_rest(f))
    }

    fn sin_rest(&self, f: &Format) -> V<'c> {
        let r = self.rest;
        let z = r * r;
        let cubic = r * z;
        match self.low {
            None => cubic.fma(z.poly(f.sin), r),
            Some(low) => cubic.fma(z.poly(f.sin), (z * -0.5).fma(low, low)) + r,
        }
    }

    fn cos_rest(&self, f: &Format) -> V<'c> {
        let z = self.rest * self.rest;
        let half = z * 0.5;
        let main = half.num(1.0) - half;
        let lost = (half.num(1.0) - main) - half;
        let lost = match self.low {
            None => lost,
            Some(low) => self.rest.fma(-low, lost),
        };
        main + (z * z).fma(z.poly(f.cos), lost)
    }

    /// The sine.
    pub(super) fn sin(&self, f: &Format) -> V<'c> {
        let (sin, cos) = self.both(f);
        self.signed(f, self.odd().select(cos, sin), 0)
    }

    /// The cosine.
    pub(super) fn cos(&self, f: &Format) -> V<'c> {
        let (sin, cos) = self.both(f);
        self.signed(f, self.odd().select(sin, cos), 1)
    }

    /// The tangent.
    pub(super) fn tan(&self, f: &Format) -> V<'c> {
        let (sin, cos) = self.both(f);
        let odd = self.odd();
        odd.select(-cos, sin) / odd.select(sin, cos)
    }
}
