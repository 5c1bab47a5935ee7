//! The math table: transcendental functions as scalar code of the loop IR.
use super::Scalar;
use crate::dtype::DType;

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

/// A function as straight-line code: `lets[k]` is the value of register `params + k`, computed
/// from `Scalar::Load(BufferId(j), [])` of parameters and earlier registers; the last is the result.
#[derive(Clone, Debug)]
pub struct MathBody {
    /// The number of parameters, all of the function's element type.
    pub params: usize,
    /// Type and value of each register.
    pub lets: Vec<(DType, Scalar)>,
}
