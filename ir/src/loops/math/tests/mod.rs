//! Measures every body against independent values.
mod evaluate;
mod narrow;
mod wide;

use super::*;
use evaluate::evaluate;

/// The distance of two results of which one is true, in the last place of the true one.
fn ulps(got: f64, want: f64, mantissa: i32, least_exponent: i32, max: f64) -> f64 {
    if want.is_nan() || got.is_nan() {
        return if want.is_nan() == got.is_nan() {
            0.0
        } else {
            f64::INFINITY
        };
    }
    if got == want {
        return 0.0;
    }
    if got.is_infinite() {
        // What is above the greatest number by less than half a place rounds to it.
        return if want.abs() > max { 0.0 } else { f64::INFINITY };
    }
    if want.is_infinite() {
        return f64::INFINITY;
    }
    let bits = (want.abs().to_bits() >> 52) as i32 - 1023;
    let exponent = bits.max(least_exponent) - mantissa;
    // Two steps: the place itself may be below the least power that `powi` reaches.
    ((got - want) * 2f64.powi(-exponent / 2)) * 2f64.powi(-exponent - (-exponent / 2))
}

fn ulps_f32(got: f64, want: f64) -> f64 {
    ulps(got, want, 23, -126, f64::from(f32::MAX)).abs()
}

fn ulps_f64(got: f64, want: f64) -> f64 {
    ulps(got, want, 52, -1022, f64::MAX).abs()
}

fn from_f32(values: &[f32]) -> Vec<u64> {
    values.iter().map(|x| u64::from(x.to_bits())).collect()
}

fn from_f64(values: &[f64]) -> Vec<u64> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// Applies a body to columns of operands.
fn apply(f: MathFn, dtype: DType, columns: &[Vec<u64>]) -> Vec<f64> {
    let body = body(f, dtype).expect("a body");
    let out = evaluate(body, columns);
    let value = |b: u64| match dtype {
        DType::F32 => f64::from(f32::from_bits(b as u32)),
        _ => f64::from_bits(b),
    };
    out.into_iter().map(value).collect()
}

/// The error function by a series of positive terms: `2/sqrt(pi) e^-x^2 x sum (2x^2)^n/(2n+1)!!`.
fn erf(x: f64) -> f64 {
    if x.is_nan() || x.abs() > 6.0 {
        return if x.is_nan() { x } else { x.signum() };
    }
    let (mut term, mut sum, mut n) = (1.0, 1.0, 1.0);
    while term > sum * 1e-18 {
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
        n += 1.0;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * x * sum
}

fn standard(f: MathFn, x: f64) -> f64 {
    match f {
        MathFn::Exp | MathFn::ExpNegative => x.exp(),
        MathFn::Log => x.ln(),
        MathFn::Tanh => x.tanh(),
        MathFn::Sigmoid if x < -700.0 => x.exp(),
        MathFn::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        MathFn::Erf => erf(x),
        MathFn::Sin => x.sin(),
        MathFn::Cos => x.cos(),
        MathFn::Tan => x.tan(),
        MathFn::Asin => x.asin(),
        MathFn::Acos => x.acos(),
        MathFn::Atan => x.atan(),
        MathFn::Sinh => x.sinh(),
        MathFn::Cosh => x.cosh(),
        // `asinh` of the standard library overflows too early.
        MathFn::Asinh if x.abs() > 1e150 => x.signum() * (x.abs().ln() + std::f64::consts::LN_2),
        MathFn::Asinh => x.asinh(),
        MathFn::Acosh if x > 1e150 => x.ln() + std::f64::consts::LN_2,
        MathFn::Acosh => {
            let t = x - 1.0;
            if x < 1.0 {
                f64::NAN
            } else {
                (t + (t * (x + 1.0)).sqrt()).ln_1p()
            }
        }
        MathFn::Atanh => 0.5 * x.signum() * (2.0 * x.abs() / (1.0 - x.abs())).ln_1p(),
        MathFn::Pow | MathFn::Fmod => panic!("two operands"),
    }
}

const UNARY: &[MathFn] = &[
    MathFn::Exp,
    MathFn::ExpNegative,
    MathFn::Log,
    MathFn::Tanh,
    MathFn::Sigmoid,
    MathFn::Erf,
    MathFn::Sin,
    MathFn::Cos,
    MathFn::Tan,
    MathFn::Asin,
    MathFn::Acos,
    MathFn::Atan,
    MathFn::Sinh,
    MathFn::Cosh,
    MathFn::Asinh,
    MathFn::Acosh,
    MathFn::Atanh,
];

/// Whether the body makes no promise for an `F64` operand.
fn outside(f: MathFn, x: f64) -> bool {
    let far = x.is_finite() && x.abs() > 2f64.powi(30);
    far && matches!(f, MathFn::Sin | MathFn::Cos | MathFn::Tan) || !in_domain(f, x)
}

/// Whether a function is defined for an operand, be it one whose result is NaN.
fn in_domain(f: MathFn, x: f64) -> bool {
    f != MathFn::ExpNegative || x <= 0.0 || x.is_nan()
}

#[test]
fn names_are_read_back() {
    for f in MathFn::ALL {
        assert_eq!(MathFn::from_name(f.name()), Some(f));
        for dtype in [DType::F32, DType::F64] {
            let body = body(f, dtype).expect("a body");
            assert_eq!(body.params, vec![dtype; f.arity()]);
            assert_eq!(body.lets.last().map(|(d, _)| *d), Some(dtype));
        }
        assert!(body(f, DType::F16).is_none());
    }
}

#[test]
fn bodies_are_well_typed() {
    let bodies = BODIES
        .iter()
        .map(|r| &r.2)
        .chain(CONVERSIONS.iter().map(|r| &r.2));
    for body in bodies {
        let mut types = body.params.clone();
        for (dtype, value) in &body.lets {
            let known = types.clone();
            let inferred = value.dtype(&|b| known[b.0 as usize]);
            assert_eq!(inferred, *dtype);
            types.push(*dtype);
        }
    }
}
