//! Scalar values of the loop IR.
use super::BufferId;
use super::math::MathFn;
use crate::dtype::DType;
use crate::expr::Expr;
use smallvec::{SmallVec, smallvec};

/// A constant: the type and the element's little-endian bytes, extended by zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Const {
    /// The element type.
    pub dtype: DType,
    /// The element's bits.
    pub bits: u64,
}

impl Const {
    /// A number, rounded or wrapped to the type.
    pub fn new(dtype: DType, value: f64) -> Self {
        let bits = match dtype {
            DType::F64 => value.to_bits(),
            DType::F32 => u64::from((value as f32).to_bits()),
            DType::F16 => u64::from(crate::tensor::to_f16(value).to_bits()),
            DType::BF16 => u64::from(crate::tensor::to_bf16(value).to_bits()),
            _ => return Const::int(dtype, value as i128),
        };
        Const { dtype, bits }
    }

    /// An integer, wrapped to the type.
    pub fn int(dtype: DType, value: i128) -> Self {
        if dtype.is_float() {
            return Const::new(dtype, value as f64);
        }
        let bytes = dtype.bytes() as u32;
        let wrapped = crate::tensor::wrap_to(dtype, value) as u64;
        let mask = if bytes == 8 {
            u64::MAX
        } else {
            (1 << (8 * bytes)) - 1
        };
        Const {
            dtype,
            bits: wrapped & mask,
        }
    }

    /// The value as `f64`: exact but for 64-bit integers.
    pub fn as_f64(self) -> f64 {
        match self.dtype {
            DType::F64 => f64::from_bits(self.bits),
            DType::F32 => f64::from(f32::from_bits(self.bits as u32)),
            DType::F16 => half::f16::from_bits(self.bits as u16).to_f64(),
            DType::BF16 => half::bf16::from_bits(self.bits as u16).to_f64(),
            _ => self.as_int() as f64,
        }
    }

    /// The value of an integer or `bool` constant.
    pub fn as_int(self) -> i128 {
        crate::tensor::wrap_to(self.dtype, i128::from(self.bits))
    }
}

/// Operations on one scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    /// Negation; wraps.
    Neg,
    /// Absolute value; wraps.
    Abs,
    /// Square root, correctly rounded.
    Sqrt,
    /// Towards minus infinity.
    Floor,
    /// Towards plus infinity.
    Ceil,
    /// Towards zero.
    Trunc,
    /// To nearest, ties to even.
    Round,
    /// Logical not of `bool`; bitwise not of integers.
    Not,
}

/// Operations on two scalars of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// Sum; integers wrap.
    Add,
    /// Difference; integers wrap.
    Sub,
    /// Product; integers wrap.
    Mul,
    /// Quotient; integers truncate, by 0 gives 0, and MIN / -1 wraps.
    Div,
    /// Remainder of truncated division, with the sign of the dividend; by 0 gives 0 (integers).
    Rem,
    /// The lesser, the first of equal ones (such as zeros of either sign); NaN if either is (floats).
    /// A reduction over lanes may take its terms in any order.
    Min,
    /// The greater; else as `Min`.
    Max,
    /// Bitwise and, or logical and of `bool`.
    And,
    /// Bitwise or logical or.
    Or,
    /// Bitwise or logical exclusive or.
    Xor,
    /// Shift left; a count of at least the width gives 0. Counts are unsigned.
    Shl,
    /// Shift right: logical for unsigned, arithmetic for signed types; counts as for `Shl`.
    Shr,
    /// `a * 2^b`, rounded once (floats), for an integer `b` from `2 - 2*bias` to `2*bias`
    /// with `a * 2^(b/2)` exact; any number elsewhere. What code generators have no instruction for is
    /// [`math::scaling`](super::math::scaling).
    Scale,
    /// Equal; the result is `bool`.
    Eq,
    /// Not equal; `bool`.
    Ne,
    /// Less; `bool`.
    Lt,
    /// Less or equal; `bool`.
    Le,
}

impl BinaryOp {
    /// Whether the result is `bool`.
    pub fn is_compare(self) -> bool {
        matches!(
            self,
            BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le
        )
    }

    /// The operand that leaves every number of a type as it is, if the operation has one on both
    /// sides. That of sums of floats is the negative zero.
    pub fn identity(self, dtype: DType) -> Option<Const> {
        let extreme = |top: bool| match dtype.int_range() {
            Some((lo, hi)) => Const::int(dtype, if top { hi } else { lo }),
            None if top => Const::new(dtype, f64::INFINITY),
            None => Const::new(dtype, f64::NEG_INFINITY),
        };
        Some(match self {
            BinaryOp::Add => Const::new(dtype, -0.0),
            BinaryOp::Mul => Const::new(dtype, 1.0),
            BinaryOp::Min => extreme(true),
            BinaryOp::Max => extreme(false),
            BinaryOp::Or | BinaryOp::Xor if !dtype.is_float() => Const::int(dtype, 0),
            BinaryOp::And if !dtype.is_float() => Const::int(dtype, -1),
            _ => return None,
        })
    }
}

/// A scalar value: a tree. What is used twice is stored in a register first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// A constant.
    Const(Const),
    /// The `i64` value of an index expression.
    Index(Expr),
    /// An element of a buffer.
    Load(BufferId, Vec<Expr>),
    /// One operand.
    Unary(UnaryOp, Box<Scalar>),
    /// Two operands of one type.
    Binary(BinaryOp, Box<Scalar>, Box<Scalar>),
    /// `a*b + c` with one rounding.
    Fma(Box<Scalar>, Box<Scalar>, Box<Scalar>),
    /// A function of the math table ([`super::math`]).
    Call(MathFn, Vec<Scalar>),
    /// `cond ? a : b`; both are evaluated.
    Select(Box<Scalar>, Box<Scalar>, Box<Scalar>),
    /// Conversion: floats round to nearest even; float to integer truncates and saturates, NaN
    /// to 0; integers wrap; to `bool` is "not 0".
    Cast(DType, Box<Scalar>),
    /// The same bits as another type of the same size.
    Bitcast(DType, Box<Scalar>),
    /// If all expressions are at least 0 the second, else the third; only that one is evaluated.
    Guard(Vec<Expr>, Box<Scalar>, Box<Scalar>),
}

impl Scalar {
    /// A number of a type.
    pub fn num(dtype: DType, value: f64) -> Scalar {
        Scalar::Const(Const::new(dtype, value))
    }

    /// An element.
    pub fn load(buffer: BufferId, index: Vec<Expr>) -> Scalar {
        Scalar::Load(buffer, index)
    }

    /// One operand.
    pub fn unary(op: UnaryOp, a: Scalar) -> Scalar {
        Scalar::Unary(op, Box::new(a))
    }

    /// Two operands.
    pub fn binary(op: BinaryOp, a: Scalar, b: Scalar) -> Scalar {
        Scalar::Binary(op, Box::new(a), Box::new(b))
    }

    /// A choice.
    pub fn select(cond: Scalar, a: Scalar, b: Scalar) -> Scalar {
        Scalar::Select(Box::new(cond), Box::new(a), Box::new(b))
    }

    /// A conversion.
    pub fn cast(dtype: DType, a: Scalar) -> Scalar {
        Scalar::Cast(dtype, Box::new(a))
    }

    /// The operands.
    pub fn children(&self) -> SmallVec<[&Scalar; 3]> {
        match self {
            Scalar::Const(_) | Scalar::Index(_) | Scalar::Load(..) => smallvec![],
            Scalar::Unary(_, a) | Scalar::Cast(_, a) | Scalar::Bitcast(_, a) => smallvec![&**a],
            Scalar::Binary(_, a, b) | Scalar::Guard(_, a, b) => smallvec![&**a, &**b],
            Scalar::Fma(a, b, c) | Scalar::Select(a, b, c) => smallvec![&**a, &**b, &**c],
            Scalar::Call(_, args) => args.iter().collect(),
        }
    }

    /// The operands.
    pub fn children_mut(&mut self) -> SmallVec<[&mut Scalar; 3]> {
        match self {
            Scalar::Const(_) | Scalar::Index(_) | Scalar::Load(..) => smallvec![],
            Scalar::Unary(_, a) | Scalar::Cast(_, a) | Scalar::Bitcast(_, a) => smallvec![&mut **a],
            Scalar::Binary(_, a, b) | Scalar::Guard(_, a, b) => smallvec![&mut **a, &mut **b],
            Scalar::Fma(a, b, c) | Scalar::Select(a, b, c) => {
                smallvec![&mut **a, &mut **b, &mut **c]
            }
            Scalar::Call(_, args) => args.iter_mut().collect(),
        }
    }

    /// The element type, given those of the buffers.
    pub fn dtype(&self, buffer: &dyn Fn(BufferId) -> DType) -> DType {
        match self {
            Scalar::Const(c) => c.dtype,
            Scalar::Index(_) => DType::I64,
            Scalar::Load(b, _) => buffer(*b),
            Scalar::Cast(d, _) | Scalar::Bitcast(d, _) => *d,
            Scalar::Binary(op, ..) if op.is_compare() => DType::Bool,
            Scalar::Unary(_, a) | Scalar::Binary(_, a, _) | Scalar::Fma(a, ..) => a.dtype(buffer),
            Scalar::Select(_, a, _) | Scalar::Guard(_, a, _) => a.dtype(buffer),
            Scalar::Call(_, args) => args[0].dtype(buffer),
        }
    }

    /// Maps every expression within.
    pub fn map_exprs(&mut self, f: &dyn Fn(&Expr) -> Expr) {
        match self {
            Scalar::Index(e) => *e = f(e),
            Scalar::Load(_, index) => index.iter_mut().for_each(|e| *e = f(e)),
            Scalar::Guard(conds, ..) => conds.iter_mut().for_each(|e| *e = f(e)),
            _ => {}
        }
        self.children_mut().into_iter().for_each(|c| c.map_exprs(f));
    }

    /// Calls `f` with every scalar within, this one first.
    pub fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Scalar)) {
        f(self);
        self.children().into_iter().for_each(|c| c.visit(f));
    }

    /// Calls `f` with every index expression within.
    pub fn visit_exprs<'a>(&'a self, f: &mut dyn FnMut(&'a Expr)) {
        self.visit(&mut |s| match s {
            Scalar::Index(e) => f(e),
            Scalar::Load(_, index) => index.iter().for_each(&mut *f),
            Scalar::Guard(conds, ..) => conds.iter().for_each(&mut *f),
            _ => {}
        });
    }
}
