//! Scalar arithmetic on element bits, exactly as the doc comments of the scalar ops say.
//!
//! An element is its little-endian bytes extended by zeros to `u64`, as in [`Const`](super::super::Const).
use super::super::{BinaryOp, UnaryOp};
use crate::dtype::DType;
use crate::tensor::wrap_to;
use crate::tensor::{to_bf16, to_f16};
use half::{bf16, f16};

/// The result of a unary op; the operand's type was checked before.
pub(super) fn unary(op: UnaryOp, dtype: DType, a: u64) -> u64 {
    match dtype {
        DType::F32 => u64::from(unary_f32(op, f32::from_bits(a as u32)).to_bits()),
        DType::F64 => unary_f64(op, f64::from_bits(a)).to_bits(),
        DType::Bool => u64::from(a == 0),
        _ => {
            let x = wrap_to(dtype, i128::from(a));
            let y = match op {
                UnaryOp::Neg => -x,
                UnaryOp::Abs => x.abs(),
                UnaryOp::Not => !x,
                _ => x,
            };
            from_int(dtype, y)
        }
    }
}

macro_rules! float_ops {
    ($unary:ident, $binary:ident, $ty:ty) => {
        fn $unary(op: UnaryOp, x: $ty) -> $ty {
            match op {
                UnaryOp::Neg => -x,
                UnaryOp::Abs => x.abs(),
                UnaryOp::Sqrt => x.sqrt(),
                UnaryOp::Floor => x.floor(),
                UnaryOp::Ceil => x.ceil(),
                UnaryOp::Trunc => x.trunc(),
                UnaryOp::Round => x.round_ties_even(),
                UnaryOp::Not => unreachable!("invariant: types are checked before"),
            }
        }

        fn $binary(op: BinaryOp, a: $ty, b: $ty) -> u64 {
            let value = match op {
                BinaryOp::Add => a + b,
                BinaryOp::Sub => a - b,
                BinaryOp::Mul => a * b,
                BinaryOp::Div => a / b,
                BinaryOp::Min if b < a || b.is_nan() => b,
                BinaryOp::Max if b > a || b.is_nan() => b,
                BinaryOp::Min | BinaryOp::Max => a,
                BinaryOp::Eq => return u64::from(a == b),
                BinaryOp::Ne => return u64::from(a != b),
                BinaryOp::Lt => return u64::from(a < b),
                BinaryOp::Le => return u64::from(a <= b),
                _ => unreachable!("invariant: types are checked before"),
            };
            value.to_bits().into()
        }
    };
}
float_ops!(unary_f32, binary_f32, f32);
float_ops!(unary_f64, binary_f64, f64);

macro_rules! int_ops {
    ($name:ident, $ty:ty, $unsigned:ty) => {
        fn $name(op: BinaryOp, a: u64, b: u64) -> u64 {
            let (x, y) = (a as $ty, b as $ty);
            let shift = |f: fn($ty, u32) -> $ty| match u32::try_from(b) {
                Ok(n) if n < <$ty>::BITS => f(x, n),
                _ => 0,
            };
            let value = match op {
                BinaryOp::Add => x.wrapping_add(y),
                BinaryOp::Sub => x.wrapping_sub(y),
                BinaryOp::Mul => x.wrapping_mul(y),
                BinaryOp::Div if y == 0 => 0,
                BinaryOp::Rem if y == 0 => 0,
                BinaryOp::Div => x.wrapping_div(y),
                BinaryOp::Rem => x.wrapping_rem(y),
                BinaryOp::Min => x.min(y),
                BinaryOp::Max => x.max(y),
                BinaryOp::And => x & y,
                BinaryOp::Or => x | y,
                BinaryOp::Xor => x ^ y,
                BinaryOp::Shl => shift(|x, n| x << n),
                BinaryOp::Shr => shift(|x, n| x >> n),
                BinaryOp::Eq => return u64::from(x == y),
                BinaryOp::Ne => return u64::from(x != y),
                BinaryOp::Lt => return u64::from(x < y),
                BinaryOp::Le => return u64::from(x <= y),
                BinaryOp::Scale => unreachable!("invariant: types are checked before"),
            };
            u64::from(value as $unsigned)
        }
    };
}
int_ops!(binary_i8, i8, u8);
int_ops!(binary_i16, i16, u16);
int_ops!(binary_i32, i32, u32);
int_ops!(binary_i64, i64, u64);
int_ops!(binary_u8, u8, u8);
int_ops!(binary_u16, u16, u16);
int_ops!(binary_u32, u32, u32);
int_ops!(binary_u64, u64, u64);

/// The result of a binary op on operands of type `dtype`, which was checked before.
pub(super) fn binary(op: BinaryOp, dtype: DType, a: u64, b: u64) -> u64 {
    match dtype {
        DType::F32 => binary_f32(op, f32::from_bits(a as u32), f32::from_bits(b as u32)),
        DType::F64 => binary_f64(op, f64::from_bits(a), f64::from_bits(b)),
        DType::I8 => binary_i8(op, a, b),
        DType::I16 => binary_i16(op, a, b),
        DType::I32 => binary_i32(op, a, b),
        DType::I64 => binary_i64(op, a, b),
        DType::U8 | DType::Bool => binary_u8(op, a, b),
        DType::U16 => binary_u16(op, a, b),
        DType::U32 => binary_u32(op, a, b),
        DType::U64 => binary_u64(op, a, b),
        DType::F16 | DType::BF16 => unreachable!("invariant: types are checked before"),
    }
}

/// `a*b + c` with one rounding.
pub(super) fn fma(dtype: DType, a: u64, b: u64, c: u64) -> u64 {
    if dtype == DType::F64 {
        return f64::from_bits(a)
            .mul_add(f64::from_bits(b), f64::from_bits(c))
            .to_bits();
    }
    let [a, b, c] = [a, b, c].map(|x| f32::from_bits(x as u32));
    a.mul_add(b, c).to_bits().into()
}

/// The conversion of an element.
pub(super) fn cast(from: DType, to: DType, bits: u64) -> u64 {
    if from == to {
        return bits;
    }
    match (from.is_float(), to.is_float()) {
        (true, true) => float_to_float(from, to, bits),
        (true, false) => float_to_int(to, to_f64(from, bits)),
        (false, true) => int_to_float(to, wrap_to(from, i128::from(bits))),
        (false, false) => from_int(to, wrap_to(from, i128::from(bits))),
    }
}

/// The bits of an integer wrapped to the type.
fn from_int(dtype: DType, x: i128) -> u64 {
    let wrapped = wrap_to(dtype, x) as u64;
    match dtype.bytes() {
        8 => wrapped,
        bytes => wrapped & ((1 << (8 * bytes)) - 1),
    }
}

/// The value of a float element; exact.
fn to_f64(dtype: DType, bits: u64) -> f64 {
    match dtype {
        DType::F32 => f32::from_bits(bits as u32).into(),
        DType::F16 => f16::from_bits(bits as u16).to_f64(),
        DType::BF16 => bf16::from_bits(bits as u16).to_f64(),
        _ => f64::from_bits(bits),
    }
}

fn float_to_float(from: DType, to: DType, bits: u64) -> u64 {
    let x = to_f64(from, bits);
    match to {
        DType::F64 => x.to_bits(),
        DType::F32 => u64::from((x as f32).to_bits()),
        DType::F16 => u64::from(to_f16(x).to_bits()),
        _ => u64::from(to_bf16(x).to_bits()),
    }
}

fn float_to_int(to: DType, x: f64) -> u64 {
    match to.int_range() {
        Some((lo, hi)) if to != DType::Bool => from_int(to, (x as i128).clamp(lo, hi)),
        _ => u64::from(x != 0.0),
    }
}

fn int_to_float(to: DType, x: i128) -> u64 {
    match to {
        DType::F64 => (x as f64).to_bits(),
        DType::F32 => u64::from((x as f32).to_bits()),
        // Integers beyond 2^53 round twice on the way to a narrow float; both times to nearest.
        _ => float_to_float(DType::F64, to, (x as f64).to_bits()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_wrap_and_division_by_zero_is_zero() {
        let bits = |x: i8| u64::from(x as u8);
        assert_eq!(binary(BinaryOp::Add, DType::I8, bits(127), 1), bits(-128));
        assert_eq!(
            binary(BinaryOp::Div, DType::I8, bits(-128), bits(-1)),
            bits(-128)
        );
        assert_eq!(binary(BinaryOp::Div, DType::I8, 5, 0), 0);
        assert_eq!(binary(BinaryOp::Rem, DType::I8, bits(-7), 3), bits(-1));
        assert_eq!(binary(BinaryOp::Shl, DType::U8, 1, 8), 0);
        assert_eq!(binary(BinaryOp::Shr, DType::I8, bits(-8), 1), bits(-4));
        assert_eq!(unary(UnaryOp::Abs, DType::I8, bits(-128)), bits(-128));
    }

    #[test]
    fn minima_know_nan_and_keep_the_first_of_equals() {
        let f = |x: f32| u64::from(x.to_bits());
        for op in [BinaryOp::Min, BinaryOp::Max] {
            assert_eq!(binary(op, DType::F32, f(0.0), f(-0.0)), f(0.0));
            assert_eq!(binary(op, DType::F32, f(-0.0), f(0.0)), f(-0.0));
            for (a, b) in [(1.0, f32::NAN), (f32::NAN, 1.0), (f32::NAN, f32::NAN)] {
                let nan = binary(op, DType::F32, f(a), f(b));
                assert!(f32::from_bits(nan as u32).is_nan());
            }
        }
        assert_eq!(binary(BinaryOp::Min, DType::F32, f(1.0), f(-2.0)), f(-2.0));
        assert_eq!(binary(BinaryOp::Max, DType::F32, f(1.0), f(-2.0)), f(1.0));
    }

    #[test]
    fn casts_round_once_and_saturate() {
        // Just above the middle of two halves: rounding to f32 first would hit the tie.
        let x = 1.0 + 2f64.powi(-11) + 2f64.powi(-40);
        let up = f16::from_f32(1.0 + 2f32.powi(-10)).to_bits();
        assert_eq!(cast(DType::F64, DType::F16, x.to_bits()), u64::from(up));
        let big = f64::to_bits(1e10);
        assert_eq!(cast(DType::F64, DType::U8, big), 255);
        assert_eq!(cast(DType::F64, DType::I16, f64::NAN.to_bits()), 0);
        assert_eq!(cast(DType::I32, DType::Bool, 256), 1);
        assert_eq!(cast(DType::I64, DType::U8, (-1i64) as u64), 255);
    }
}
