//! `f64` bodies against values computed with 60 digits (`points.txt`, written by
//! `points.py`) and, more densely, against the standard library.
use super::*;

const POINTS: &str = include_str!("points.txt");

fn number(word: &str) -> f64 {
    f64::from_bits(u64::from_str_radix(word, 16).expect("hexadecimal bits"))
}

#[test]
fn points_are_within_their_bounds() {
    let mut count = 0;
    for line in POINTS.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let f = MathFn::from_name(words[0]).expect("a function");
        let operands: Vec<f64> = words[1..words.len() - 1]
            .iter()
            .map(|w| number(w))
            .collect();
        let want = number(words[words.len() - 1]);
        let columns: Vec<Vec<u64>> = operands.iter().map(|x| from_f64(&[*x])).collect();
        let got = apply(f, DType::F64, &columns)[0];
        let error = ulps_f64(got, want);
        // The stored value is rounded, too.
        let bound = f.ulp_bound(DType::F64) + 0.5;
        assert!(
            error <= bound,
            "{} {operands:?}: {got:e}, want {want:e}: {error} ULP",
            f.name()
        );
        count += 1;
    }
    assert!(count > 500, "{count} points");
}

fn operands() -> Vec<f64> {
    let step = 0x0003_9f17_5a3b_1c05;
    let mut all: Vec<f64> = (0..=u64::MAX / step)
        .map(|k| f64::from_bits(k * step))
        .collect();
    all.extend((-20000..20000).map(|k| f64::from(k) * 0.037_119));
    all.extend((-20000..20000).map(|k| f64::from(k) * 5.1e-5));
    all.extend([0.0, -0.0, 1.0, -1.0, 5e-324, f64::MAX, f64::MIN, f64::NAN]);
    all.extend([
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MIN_POSITIVE,
        710.4,
        -745.13,
        -708.4,
    ]);
    all
}

/// How far the reference itself may be off: one place for the standard library, more for what is
/// put together from it above.
fn reference_error(f: MathFn) -> f64 {
    match f {
        // The rounding error of x^2, up to 36, is one of the exponent.
        MathFn::Erf => 18.0,
        MathFn::Asinh | MathFn::Acosh | MathFn::Atanh | MathFn::Sigmoid => 3.0,
        _ => 1.0,
    }
}

#[test]
fn unary_functions_are_near_the_standard_ones() {
    let operands = operands();
    for f in UNARY {
        let got = apply(*f, DType::F64, &[from_f64(&operands)]);
        let bound = f.ulp_bound(DType::F64) + reference_error(*f);
        let mut worst = (0.0, 0.0);
        for (x, got) in operands.iter().zip(got) {
            if outside(*f, *x) {
                let bounded = matches!(f, MathFn::Sin | MathFn::Cos);
                assert!(!bounded || got.abs() <= 1.0);
                continue;
            }
            let want = standard(*f, *x);
            let error = ulps_f64(got, want);
            if error > worst.0 {
                worst = (error, *x);
            }
            assert!(
                error <= bound,
                "{} {x:e}: {got:e}, want {want:e}: {error} ULP",
                f.name()
            );
        }
        println!("{:8} f64 {:.2} at {:e}", f.name(), worst.0, worst.1);
    }
}

fn pairs() -> (Vec<f64>, Vec<f64>) {
    let mut values: Vec<f64> = (0..200)
        .map(|k| f64::from_bits(k * (u64::MAX / 199)))
        .collect();
    values.extend((-60..60).map(|k| f64::from(k) * 0.5));
    values.extend((-60..60).map(|k| 1.0 + f64::from(k) * 1.37e-7));
    values.extend((0..60).map(|k| f64::from(k) * 11.37));
    values.extend([
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        -0.0,
        5e-324,
        f64::MAX,
    ]);
    values
        .iter()
        .flat_map(|x| values.iter().map(|y| (*x, *y)))
        .unzip()
}

#[test]
fn powers_are_near_the_standard_ones() {
    let (x, y) = pairs();
    let got = apply(MathFn::Pow, DType::F64, &[from_f64(&x), from_f64(&y)]);
    for (k, got) in got.iter().enumerate() {
        let want = x[k].powf(y[k]);
        let error = ulps_f64(*got, want);
        let same_sign = want.is_nan() || got.is_sign_negative() == want.is_sign_negative();
        let bound = MathFn::Pow.ulp_bound(DType::F64) + 1.0;
        assert!(
            error <= bound && same_sign,
            "{:e}^{:e}: {got:e}, want {want:e}: {error}",
            x[k],
            y[k]
        );
    }
}

#[test]
fn remainders_are_exact() {
    let (x, y) = pairs();
    let got = apply(MathFn::Fmod, DType::F64, &[from_f64(&x), from_f64(&y)]);
    for (k, got) in got.iter().enumerate() {
        let want = x[k] % y[k];
        let same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
        assert!(same, "{:e} % {:e}: {got:e}, want {want:e}", x[k], y[k]);
    }
}
