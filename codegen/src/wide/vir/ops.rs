//! The fields of instructions: widths, element types and operations.

#[cfg(doc)]
use super::Class;
use super::Value;

/// Width of every vector in a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Width {
    /// 256 bits: 16 `ymm` registers, masks are vectors (AVX2 and FMA).
    Y256,
    /// 512 bits: 32 `zmm` registers and 7 usable mask registers (AVX-512F).
    Z512,
}

impl Width {
    /// Bytes of one vector.
    pub const fn bytes(self) -> usize {
        match self {
            Width::Y256 => 32,
            Width::Z512 => 64,
        }
    }

    /// Lanes of one vector of `elem`.
    pub const fn lanes(self, elem: Elem) -> usize {
        self.bytes() / elem.bytes()
    }
}

/// Element type of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Elem {
    /// IEEE binary32.
    F32,
    /// Two's complement 32-bit integers; arithmetic wraps.
    I32,
}

impl Elem {
    /// Bytes of one element.
    pub const fn bytes(self) -> usize {
        match self {
            Elem::F32 | Elem::I32 => 4,
        }
    }
}

/// Integer operations on [`Class::Int`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntOp {
    /// Wrapping sum.
    Add,
    /// Wrapping difference.
    Sub,
    /// Wrapping product.
    Mul,
    /// Signed minimum.
    Min,
    /// Signed maximum.
    Max,
}

/// Shifts; the amount is in `0..64` for integers and `0..32` for 32-bit lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShiftOp {
    /// Left.
    Shl,
    /// Right, filling with zeros.
    Shr,
    /// Right, filling with the sign.
    Sar,
}

/// An integer in memory. Loads extend it, by its sign where it has one; stores take the low bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntTy {
    /// 8 bits with a sign.
    I8,
    /// 8 bits.
    U8,
    /// 16 bits with a sign.
    I16,
    /// 16 bits.
    U16,
    /// 32 bits with a sign.
    I32,
    /// 64 bits.
    I64,
}

impl IntTy {
    /// Bytes in memory.
    pub const fn bytes(self) -> usize {
        match self {
            IntTy::I8 | IntTy::U8 => 1,
            IntTy::I16 | IntTy::U16 => 2,
            IntTy::I32 => 4,
            IntTy::I64 => 8,
        }
    }

    /// Whether vectors of 32-bit lanes are extended from it and cut to it.
    pub const fn is_short(self) -> bool {
        self.bytes() < 4
    }
}

/// How a vector is read from memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadForm {
    /// Every lane from consecutive elements.
    Full,
    /// One element into every lane.
    Broadcast,
    /// One element into lane 0, zero elsewhere.
    Lane,
    /// Lanes of the mask from consecutive elements, zero elsewhere; others are not accessed.
    Masked(Value),
    /// The lanes of one part of 128 bits from consecutive elements, all others from a vector.
    Part(u8, Value),
}

/// How a vector is written to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreForm {
    /// Every lane to consecutive elements.
    Full,
    /// Lane 0 to one element.
    Lane,
    /// The lanes of one part of 128 bits to consecutive elements.
    Part(u8),
    /// Lanes of the mask; other elements are not accessed.
    Masked(Value),
}

/// Lane-wise operations of one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOp {
    /// F32 square root, correctly rounded.
    Sqrt,
    /// F32 rounding to an integer, downwards.
    Floor,
    /// F32 rounding to an integer, upwards.
    Ceil,
    /// F32 rounding to an integer, ties to even.
    Nearest,
    /// F32 rounding to an integer, towards zero.
    Trunc,
    /// I32 absolute value; that of `i32::MIN` is itself.
    Abs,
    /// F32 to I32, ties to even; out of range and NaN give `i32::MIN`.
    ToI32Nearest,
    /// F32 to I32, towards zero; out of range and NaN give `i32::MIN`.
    ToI32Trunc,
    /// I32 to F32, ties to even.
    FromI32,
    /// The bits of an IEEE binary16, in the low half of an I32 whose rest is zero, to F32.
    FromF16,
    /// F32 to the bits of an IEEE binary16, ties to even, in the low half of an I32.
    ToF16,
}

/// Lane-wise operations of two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product (I32: its low half).
    Mul,
    /// F32 quotient.
    Div,
    /// `a < b ? a : b`: F32 gives `b` when either is NaN or both are zero.
    Min,
    /// `a > b ? a : b`: F32 gives `b` when either is NaN or both are zero.
    Max,
    /// Bitwise and.
    And,
    /// Bitwise or.
    Or,
    /// Bitwise exclusive or.
    Xor,
    /// Bitwise `!a & b`.
    AndNot,
    /// I32 shift by the lanes of `b`; amounts of 32 and more give 0.
    Shl,
    /// I32 logical right shift by the lanes of `b`; amounts of 32 and more give 0.
    Shr,
    /// I32 arithmetic right shift by the lanes of `b`; amounts of 32 and more give the sign.
    Sar,
    /// F32 `a * 2^floor(b)`, rounded once (512 bits only).
    Scale,
}

impl BinaryOp {
    /// Whether the operands may be exchanged (up to the payload of a NaN).
    pub const fn commutes(self) -> bool {
        matches!(
            self,
            BinaryOp::Add | BinaryOp::Mul | BinaryOp::And | BinaryOp::Or | BinaryOp::Xor
        )
    }
}

/// Signs of a fused multiply-add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FmaOp {
    /// `a * b + c`.
    MulAdd,
    /// `a * b - c`.
    MulSub,
    /// `c - a * b`.
    NegMulAdd,
    /// `-(a * b) - c`.
    NegMulSub,
}

/// Comparisons. On F32 all but `Ne` and `Unordered` are false when an operand is NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cmp {
    /// Equal.
    Eq,
    /// Not equal, or unordered.
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
    /// F32 only: either operand is NaN.
    Unordered,
}

/// Operations on masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaskOp {
    /// Both.
    And,
    /// Either.
    Or,
    /// Exactly one.
    Xor,
    /// `!a & b`.
    AndNot,
}

/// Horizontal reductions: for `s` from half the lanes down to 1, `v[i] = v[i] op v[i ^ s]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReduceOp {
    /// Sum.
    Add,
    /// Maximum, of [`BinaryOp::Max`].
    Max,
    /// Minimum, of [`BinaryOp::Min`].
    Min,
    /// Product.
    Mul,
    /// Bitwise and.
    And,
    /// Bitwise or.
    Or,
    /// Bitwise exclusive or.
    Xor,
}

/// Elements of two vectors side by side: within each part of 128 bits, or whole parts. From
/// vectors that are the rows of a matrix these operations make its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZipOp {
    /// The 32-bit elements of the low half of each part, by turns of `a` and of `b`.
    Low32,
    /// Those of the high half.
    High32,
    /// The 64-bit element of the low half of each part, of `a` and of `b`.
    Low64,
    /// That of the high half.
    High64,
    /// Parts 0, 2, ... of `a`, then those of `b`.
    EvenParts,
    /// Parts 1, 3, ... of `a`, then those of `b`.
    OddParts,
}

impl ZipOp {
    /// Lane `i` of the result, out of `n`: whether it is one of `b`, and which.
    pub const fn source(self, n: usize, i: usize) -> (bool, usize) {
        let (part, k) = (i / 4 * 4, i % 4);
        match self {
            ZipOp::Low32 => (k % 2 == 1, part + k / 2),
            ZipOp::High32 => (k % 2 == 1, part + 2 + k / 2),
            ZipOp::Low64 => (k >= 2, part + k % 2),
            ZipOp::High64 => (k >= 2, part + 2 + k % 2),
            ZipOp::EvenParts | ZipOp::OddParts => {
                let odd = matches!(self, ZipOp::OddParts) as usize;
                let part = i % (n / 2) / 4;
                (i >= n / 2, (2 * part + odd) * 4 + k)
            }
        }
    }
}

impl ReduceOp {
    /// The lane-wise operation of one step.
    pub const fn step(self) -> BinaryOp {
        match self {
            ReduceOp::Add => BinaryOp::Add,
            ReduceOp::Max => BinaryOp::Max,
            ReduceOp::Min => BinaryOp::Min,
            ReduceOp::Mul => BinaryOp::Mul,
            ReduceOp::And => BinaryOp::And,
            ReduceOp::Or => BinaryOp::Or,
            ReduceOp::Xor => BinaryOp::Xor,
        }
    }
}

impl ShiftOp {
    /// The shift of 32-bit lanes by lanes that does the same.
    pub const fn by_lanes(self) -> BinaryOp {
        match self {
            ShiftOp::Shl => BinaryOp::Shl,
            ShiftOp::Shr => BinaryOp::Shr,
            ShiftOp::Sar => BinaryOp::Sar,
        }
    }
}
