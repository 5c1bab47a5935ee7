//! `f32` bodies against the `f64` functions of the standard library, and conversions of `f16` and
//! `bf16` against the `half` crate.
use super::*;

/// Every so-manieth bit pattern, and special numbers.
fn patterns(step: usize) -> Vec<f32> {
    let mut all: Vec<f32> = (0..=u32::MAX).step_by(step).map(f32::from_bits).collect();
    all.extend(specials());
    all
}

fn specials() -> Vec<f32> {
    let some = [
        0.0,
        1.0,
        0.5,
        2.0,
        3.0,
        1e-45,
        1e-40,
        f32::MIN_POSITIVE,
        1e-30,
        1e-8,
        0.1,
        0.625,
        0.92,
        10.0,
        88.7,
        88.73,
        89.4,
        89.5,
        87.3,
        103.9,
        104.1,
        1e5,
        16777216.0,
        1e10,
        1e30,
        f32::MAX,
        f32::INFINITY,
        f32::EPSILON,
        1.0 - f32::EPSILON / 2.0,
        1.0 + f32::EPSILON,
        std::f32::consts::PI,
        std::f32::consts::FRAC_PI_2,
        std::f32::consts::FRAC_PI_4,
    ];
    let mut all: Vec<f32> = some.iter().flat_map(|x| [*x, -*x]).collect();
    all.push(f32::NAN);
    all
}

fn worst(f: MathFn, operands: &[f32]) -> (f64, f32, f64, f64) {
    let got = apply(f, DType::F32, &[from_f32(operands)]);
    let mut worst = (0.0, 0.0, 0.0, 0.0);
    for (x, got) in operands.iter().zip(got) {
        let want = standard(f, f64::from(*x));
        let error = ulps_f32(got, want);
        if error > worst.0 {
            worst = (error, *x, got, want);
        }
    }
    worst
}

fn is_within_its_bound(f: MathFn, operands: &[f32]) {
    let (error, x, got, want) = worst(f, operands);
    println!("{:8} f32 {error:.3} at {x:e}", f.name());
    let name = f.name();
    assert!(
        error <= f.ulp_bound(DType::F32),
        "{name} {x:e}: {got:e}, want {want:e}: {error} ULP"
    );
}

#[test]
fn unary_functions_are_within_their_bounds() {
    for f in UNARY {
        let mut operands = patterns(997);
        operands.retain(|x| in_domain(*f, f64::from(*x)));
        is_within_its_bound(*f, &operands);
    }
}

#[test]
fn the_exponential_of_differences_has_exact_ends() {
    let operands = [0.0, -0.0, f32::NEG_INFINITY, f32::MIN];
    let got = apply(MathFn::ExpNegative, DType::F32, &[from_f32(&operands)]);
    assert_eq!(got, [1.0, 1.0, 0.0, 0.0]);
}

/// Numbers closer to a multiple of `pi/2` than others of their magnitude, from continued fractions
/// of `2^e * 2/pi`, and their multiples by powers of two.
const NEAR_QUARTERS: [(u32, i32); 12] = [
    (16_367_173, 72),
    (10_741_887, 11),
    (10_057_457, 62),
    (11_617_958, 17),
    (9_012_376, 53),
    (14_173_733, 88),
    (10_695_401, 2),
    (14_015_064, 66),
    (8_895_696, 34),
    (13_444_207, -8),
    (12_558_490, 78),
    (10_838_702, -2),
];

#[test]
fn circular_functions_hold_near_quarter_turns_and_for_all_magnitudes() {
    let mut operands: Vec<f32> = (0..254 * 4096)
        .map(|k: u32| f32::from_bits(((k / 4096 + 1) << 23) + (k % 4096) * 2047 + k / 4096))
        .collect();
    for (mantissa, exponent) in NEAR_QUARTERS {
        let powers = (0..6).map(|more| 2f32.powi(exponent + more) * mantissa as f32);
        operands.extend(powers.flat_map(|x| [x, -x, x.next_up(), x.next_down()]));
    }
    // Where one way of reduction takes over from the other.
    operands.extend([
        32768.0,
        32768f32.next_up(),
        -32768.0,
        (-32768f32).next_down(),
    ]);
    for f in [MathFn::Sin, MathFn::Cos, MathFn::Tan] {
        is_within_its_bound(f, &operands);
        let infinite = from_f32(&[f32::INFINITY, f32::NEG_INFINITY, f32::NAN]);
        let got = apply(f, DType::F32, &[infinite]);
        assert!(got.iter().all(|y| y.is_nan()), "{} {got:?}", f.name());
    }
}

#[test]
fn odd_functions_keep_the_sign_of_zero() {
    use MathFn::{Asin, Asinh, Atan, Atanh, Erf, Sin, Sinh, Tan, Tanh};
    for f in [Asin, Asinh, Atan, Atanh, Erf, Sin, Sinh, Tan, Tanh] {
        let got = apply(f, DType::F32, &[from_f32(&[0.0, -0.0])]);
        assert_eq!(got[0].to_bits(), 0, "{}", f.name());
        assert_eq!(got[1].to_bits(), (-0.0f64).to_bits(), "{}", f.name());
        let got = apply(f, DType::F64, &[from_f64(&[0.0, -0.0])]);
        assert_eq!(got[0].to_bits(), 0, "{}", f.name());
        assert_eq!(got[1].to_bits(), (-0.0f64).to_bits(), "{}", f.name());
    }
}

/// Pairs of all of some numbers.
fn pairs(values: &[f32]) -> (Vec<f32>, Vec<f32>) {
    values
        .iter()
        .flat_map(|x| values.iter().map(|y| (*x, *y)))
        .unzip()
}

fn many() -> (Vec<f32>, Vec<f32>) {
    let mut values = specials();
    values.extend(patterns(6_700_417));
    values.extend((0..600).map(|k| (k as f32 - 300.0) * 0.173));
    pairs(&values)
}

#[test]
fn powers_are_within_their_bound() {
    let (x, y) = many();
    let got = apply(MathFn::Pow, DType::F32, &[from_f32(&x), from_f32(&y)]);
    for (k, got) in got.iter().enumerate() {
        let want = f64::from(x[k]).powf(f64::from(y[k]));
        let error = ulps_f32(*got, want);
        let same_sign = want.is_nan() || got.is_sign_negative() == want.is_sign_negative();
        let bound = MathFn::Pow.ulp_bound(DType::F32);
        assert!(
            error <= bound && same_sign,
            "{}^{}: {got:e}, want {want:e}",
            x[k],
            y[k]
        );
    }
}

#[test]
fn remainders_are_exact() {
    let (x, y) = many();
    let got = apply(MathFn::Fmod, DType::F32, &[from_f32(&x), from_f32(&y)]);
    for (k, got) in got.iter().enumerate() {
        let want = f64::from(x[k] % y[k]);
        let same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
        assert!(same, "{} % {}: {got:e}, want {want:e}", x[k], y[k]);
    }
}

fn check_conversion(from: DType, to: DType, bits: &[u64], want: impl Fn(u64) -> u64) {
    let body = conversion(from, to).expect("a body");
    let got = evaluate(body, &[bits.to_vec()]);
    let nan = |b: u64| match to {
        DType::F32 => f32::from_bits(b as u32).is_nan(),
        DType::F16 => half::f16::from_bits(b as u16).is_nan(),
        _ => half::bf16::from_bits(b as u16).is_nan(),
    };
    for (b, got) in bits.iter().zip(got) {
        let want = want(*b);
        let same = got == want || (nan(got) && nan(want));
        assert!(same, "{from} to {to} of {b:#x}: {got:#x}, want {want:#x}");
    }
}

#[test]
fn narrow_floats_widen() {
    let all: Vec<u64> = (0..=0xffff).collect();
    check_conversion(DType::F16, DType::F32, &all, |b| {
        u64::from(half::f16::from_bits(b as u16).to_f32().to_bits())
    });
    check_conversion(DType::BF16, DType::F32, &all, |b| {
        u64::from(half::bf16::from_bits(b as u16).to_f32().to_bits())
    });
}

#[test]
fn floats_are_rounded_to_narrow_ones() {
    let all: Vec<u64> = (0..=u64::from(u32::MAX)).step_by(997).collect();
    let f32_of = |b: u64| f32::from_bits(b as u32);
    check_conversion(DType::F32, DType::F16, &all, |b| {
        u64::from(half::f16::from_f32_const(f32_of(b)).to_bits())
    });
    check_conversion(DType::F32, DType::BF16, &all, |b| {
        u64::from(half::bf16::from_f32_const(f32_of(b)).to_bits())
    });
}

/// Each narrow number, the middle between it and the next, and numbers so close to the middle that
/// rounding to `f32` first would hit it.
fn around_ties(value: impl Fn(u16) -> f64) -> Vec<u64> {
    let mut all = Vec::new();
    for b in 0..0x7fffu16 {
        let (low, high) = (value(b), value(b + 1));
        if low.is_finite() {
            let high = if high.is_finite() {
                high
            } else {
                low + (low - value(b - 1))
            };
            let middle = low + (high - low) / 2.0;
            for x in [low, middle] {
                for bits in [x.to_bits(), x.to_bits() + 1, x.to_bits().saturating_sub(1)] {
                    all.push(bits);
                    all.push(bits | 1 << 63);
                }
            }
        }
    }
    all.extend([
        0,
        f64::INFINITY.to_bits(),
        f64::NAN.to_bits(),
        f64::MAX.to_bits(),
        1,
    ]);
    all
}

/// The nearest narrow number by search; ties to even.
fn nearest(x: f64, value: impl Fn(u16) -> f64, infinity: u16) -> u64 {
    if x.is_nan() {
        return 0x7fff;
    }
    let a = x.abs();
    let (mut low, mut high) = (0u16, infinity);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if value(middle) <= a {
            low = middle
        } else {
            high = middle
        }
    }
    let top = if high == infinity {
        value(low) + (value(low) - value(low - 1))
    } else {
        value(high)
    };
    let middle = value(low) + (top - value(low)) / 2.0;
    let up = a > middle || (a == middle && low % 2 == 1);
    let sign = if x.is_sign_negative() { 0x8000 } else { 0 };
    u64::from(sign | if up { high } else { low })
}

#[test]
fn doubles_are_rounded_once() {
    let f16 = |b: u16| half::f16::from_bits(b).to_f64();
    check_conversion(DType::F64, DType::F16, &around_ties(f16), |b| {
        nearest(f64::from_bits(b), f16, 0x7c00)
    });
    let bf16 = |b: u16| half::bf16::from_bits(b).to_f64();
    check_conversion(DType::F64, DType::BF16, &around_ties(bf16), |b| {
        nearest(f64::from_bits(b), bf16, 0x7f80)
    });
}
