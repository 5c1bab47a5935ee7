//! The math table: transcendental functions as scalar code of the loop IR.
//!
//! A body is straight-line code over the scalar operations that every code generator has: what
//! other compilers call from a library is here code that can be vectorised, fused and
//! interpreted. `f16` and `bf16` have no bodies: they compute in `f32`, and the conversions of
//! their bits are bodies, too.
use super::Scalar;
use crate::dtype::DType;
use std::sync::LazyLock;

/// A function of the math table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MathFn {
    /// `e^x`.
    Exp,
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
    pub const ALL: [MathFn; 18] = [
        MathFn::Exp,
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
        match (self, dtype) {
            (MathFn::Fmod, _) => 0.0,
            (_, DType::F16 | DType::BF16) => 0.51,
            _ => 4.0,
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
}

static BODIES: LazyLock<Vec<(MathFn, DType, MathBody)>> = LazyLock::new(Vec::new);

/// The code of a function for `F32` or `F64`; `None` for other types.
pub fn body(f: MathFn, dtype: DType) -> Option<&'static MathBody> {
    let found = BODIES.iter().find(|(g, d, _)| *g == f && *d == dtype);
    found.map(|(_, _, body)| body)
}

/// The code of a conversion between floats that changes `f16` or `bf16` bits: `F16` or `BF16` to
/// `F32`, and `F32` or `F64` to `F16` or `BF16`, rounded once, to nearest even. A narrow operand
/// or result is a `U16` of its bits. `None` for other pairs: what remains are casts that
/// hardware has, and compositions of the two.
pub fn conversion(_from: DType, _to: DType) -> Option<&'static MathBody> {
    None
}
