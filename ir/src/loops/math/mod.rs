//! The math table: transcendental functions as scalar code of the loop IR.
//!
//! A body is straight-line code over the scalar operations that every code generator has: what
//! other compilers call from a library is here code that can be vectorised, fused and
//! interpreted. `f16` and `bf16` have no bodies: they compute in `f32`, and the conversions of
//! their bits are bodies, too.
mod angle;
mod code;
mod coefficients;
mod convert;
mod exp;
mod format;
mod log;
#[cfg(test)]
mod tests;
mod trig;

use super::Scalar;
use crate::dtype::DType;
use code::{Code, V};
use format::Format;
use std::ops::Range;
use std::sync::LazyLock;

/// A function of the math table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MathFn {
    /// `e^x`.
    Exp,
    /// `e^x` of an `x` that is at most 0 and was rounded: the error grows with `x`, by less than a
    /// tenth of what rounding `x` may make. Exactly 1 for 0.
    ExpNegative,
    /// Natural logarithm.
    Log,
    /// Hyperbolic tangent.
    Tanh,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// The error function.
    Erf,
    /// Sine.
    Sin,
    /// Cosine.
    Cos,
    /// Tangent.
    Tan,
    /// Inverse sine.
    Asin,
    /// Inverse cosine.
    Acos,
    /// Inverse tangent.
    Atan,
    /// Hyperbolic sine.
    Sinh,
    /// Hyperbolic cosine.
    Cosh,
    /// Inverse hyperbolic sine.
    Asinh,
    /// Inverse hyperbolic cosine.
    Acosh,
    /// Inverse hyperbolic tangent.
    Atanh,
    /// `x^y`.
    Pow,
    /// `x - y*trunc(x/y)`, exact, with the sign of `x`.
    Fmod,
}

impl MathFn {
    /// Every function.
    pub const ALL: [MathFn; 19] = [
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
        MathFn::Pow,
        MathFn::Fmod,
    ];

    /// The name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            MathFn::Exp => "exp",
            MathFn::ExpNegative => "exp_negative",
            MathFn::Log => "log",
            MathFn::Tanh => "tanh",
            MathFn::Sigmoid => "sigmoid",
            MathFn::Erf => "erf",
            MathFn::Sin => "sin",
            MathFn::Cos => "cos",
            MathFn::Tan => "tan",
            MathFn::Asin => "asin",
            MathFn::Acos => "acos",
            MathFn::Atan => "atan",
            MathFn::Sinh => "sinh",
            MathFn::Cosh => "cosh",
            MathFn::Asinh => "asinh",
            MathFn::Acosh => "acosh",
            MathFn::Atanh => "atanh",
            MathFn::Pow => "pow",
            MathFn::Fmod => "fmod",
        }
    }

    /// The function of a name.
    pub fn from_name(name: &str) -> Option<MathFn> {
        MathFn::ALL.into_iter().find(|f| f.name() == name)
    }

    /// The number of operands.
    pub fn arity(self) -> usize {
        match self {
            MathFn::Pow | MathFn::Fmod => 2,
            _ => 1,
        }
    }

    /// How far a result may be from the true value, for operands in the domain that the body
    /// documents. Narrow floats compute in `f32` and round once more.
    ///
    /// Units: in the last place of the true value.
    pub fn ulp_bound(self, dtype: DType) -> f64 {
        if self == MathFn::Fmod {
            return 0.0;
        }
        match dtype {
            DType::F16 | DType::BF16 => 0.51,
            _ => self.wide_ulp_bound(),
        }
    }

    /// The bound that the tests hold `F32` and `F64` to.
    fn wide_ulp_bound(self) -> f64 {
        match self {
            MathFn::Fmod => 0.0,
            MathFn::Log => 1.0,
            MathFn::Exp | MathFn::Acos | MathFn::Atan | MathFn::Cosh => 1.5,
            MathFn::Sin | MathFn::Cos | MathFn::Pow => 2.0,
            // Three squarings of a rounded polynomial count for a sixth of the result.
            MathFn::Erf => 2.5,
            MathFn::Asinh | MathFn::Acosh | MathFn::Atanh => 2.5,
            MathFn::Tanh | MathFn::Sigmoid | MathFn::Sinh | MathFn::Asin => 2.5,
            MathFn::Tan => 3.0,
            MathFn::ExpNegative => 5.0,
        }
    }
}

/// A function as straight-line code: `lets[k]` is the value of register `params.len() + k`,
/// computed from `Scalar::Load(BufferId(j), [])` of parameters and earlier registers; the last is
/// the result.
#[derive(Clone, Debug)]
pub struct MathBody {
    /// The types of the parameters: registers `0..params.len()`.
    pub params: Vec<DType>,
    /// Type and value of each register; never empty.
    pub lets: Vec<(DType, Scalar)>,
    /// Positions in `lets` of what only the second operand of the result needs, which then is a
    /// [`Scalar::Select`] whose condition seldom holds: where no lane needs that operand, both may
    /// be left out. The result is next after these.
    pub rare: Option<Range<usize>>,
}

static BODIES: LazyLock<Vec<(MathFn, DType, MathBody)>> = LazyLock::new(|| {
    let mut all = Vec::new();
    for format in [&format::F32, &format::F64] {
        for f in MathFn::ALL {
            let params = vec![format.float; f.arity()];
            all.push((
                f,
                format.float,
                code::build(params, |c| write(f, format, c)),
            ));
        }
    }
    all
});

fn write<'c>(function: MathFn, f: &Format, code: &'c Code) -> V<'c> {
    let x = code.param(0);
    match function {
        MathFn::Exp => exp::exp(f, x),
        MathFn::ExpNegative => exp::exp_negative(f, x),
        MathFn::Log => log::log(f, x),
        MathFn::Tanh => exp::tanh(f, x),
        MathFn::Sigmoid => exp::sigmoid(f, x),
        MathFn::Erf => exp::erf(f, x),
        MathFn::Sin => trig::sin(f, x),
        MathFn::Cos => trig::cos(f, x),
        MathFn::Tan => trig::tan(f, x),
        MathFn::Asin => trig::asin(f, x),
        MathFn::Acos => trig::acos(f, x),
        MathFn::Atan => trig::atan(f, x),
        MathFn::Sinh => exp::sinh(f, x),
        MathFn::Cosh => exp::cosh(f, x),
        MathFn::Asinh => log::asinh(f, x),
        MathFn::Acosh => log::acosh(f, x),
        MathFn::Atanh => log::atanh(f, x),
        MathFn::Pow => log::pow(f, x, code.param(1)),
        MathFn::Fmod => trig::fmod(f, x, code.param(1)),
    }
}

static SCALINGS: LazyLock<[MathBody; 2]> = LazyLock::new(|| {
    [&format::F32, &format::F64].map(|f| {
        code::build(vec![f.float; 2], |c| {
            exp::scale_in_steps(f, c.param(0), c.param(1))
        })
    })
});

/// The code of [`BinaryOp::Scale`](super::BinaryOp::Scale) for a float that is not narrow.
pub fn scaling(dtype: DType) -> &'static MathBody {
    let [single, double] = &*SCALINGS;
    match dtype {
        DType::F64 => double,
        _ => single,
    }
}

/// The code of a function for `F32` or `F64`; `None` for other types.
pub fn body(f: MathFn, dtype: DType) -> Option<&'static MathBody> {
    let found = BODIES.iter().find(|(g, d, _)| *g == f && *d == dtype);
    found.map(|(_, _, body)| body)
}

type Conversion = for<'c> fn(V<'c>) -> V<'c>;

static CONVERSIONS: LazyLock<Vec<(DType, DType, MathBody)>> = LazyLock::new(|| {
    use DType::{BF16, F16, F32, F64, U16};
    let rows: [(DType, DType, DType, Conversion); 6] = [
        (F16, F32, U16, convert::f16_to_f32),
        (BF16, F32, U16, convert::bf16_to_f32),
        (F32, F16, F32, convert::f32_to_f16),
        (F32, BF16, F32, convert::f32_to_bf16),
        (F64, F16, F64, |x| {
            convert::f32_to_f16(convert::f64_to_odd_f32(x))
        }),
        (F64, BF16, F64, |x| {
            convert::f32_to_bf16(convert::f64_to_odd_f32(x))
        }),
    ];
    let build = |(from, to, param, write): (DType, DType, DType, Conversion)| {
        let body = code::build(vec![param], |c| write(c.param(0)));
        (from, to, body)
    };
    rows.into_iter().map(build).collect()
});

/// The code of a conversion between floats that changes `f16` or `bf16` bits: `F16` or `BF16` to
/// `F32`, and `F32` or `F64` to `F16` or `BF16`, rounded once, to nearest even. A narrow operand
/// or result is a `U16` of its bits. `None` for other pairs: what remains are casts that
/// hardware has, and compositions of the two.
pub fn conversion(from: DType, to: DType) -> Option<&'static MathBody> {
    let found = CONVERSIONS.iter().find(|(f, t, _)| (*f, *t) == (from, to));
    found.map(|(_, _, body)| body)
}
