//! Integers in the place of elements, which compare in one instruction and are words of lanes.
use super::super::super::movement::convert;
use crate::define::Define;
use crate::dtype::DType;
use crate::loops::{BinaryOp, Const, Scalar, UnaryOp};

/// Whether elements of a type have keys.
pub(super) fn key_fits(dtype: DType) -> bool {
    dtype.bytes() <= 4 && dtype != DType::Bool
}

fn word(value: i32) -> Scalar {
    Scalar::Const(Const::int(DType::I32, value.into()))
}

fn op(op: BinaryOp, a: Scalar, b: Scalar) -> Scalar {
    Scalar::binary(op, a, b)
}

/// The integer in the place of an element: greater for better ones, the same for equal ones.
pub(super) fn key(cx: &mut Define<'_>, dtype: DType, element: Scalar, largest: bool) -> Scalar {
    let ascending = if dtype.is_float() {
        let value = convert(DType::F32, dtype, element);
        let value = cx.bind(value);
        let bits = cx.bind(Scalar::Bitcast(DType::I32, Box::new(value.clone())));
        let sign = op(BinaryOp::Shr, bits.clone(), word(31));
        let flipped = op(BinaryOp::And, sign, word(i32::MAX));
        let ordered = op(BinaryOp::Xor, bits, flipped);
        let zero = op(BinaryOp::Eq, value.clone(), Scalar::num(DType::F32, 0.0));
        let nan = op(BinaryOp::Ne, value.clone(), value);
        Scalar::select(nan, word(i32::MAX), Scalar::select(zero, word(0), ordered))
    } else if dtype == DType::U32 {
        let signed = op(
            BinaryOp::Xor,
            element,
            Scalar::Const(Const::int(DType::U32, (1u32 << 31).into())),
        );
        Scalar::Bitcast(DType::I32, Box::new(signed))
    } else if dtype == DType::I32 {
        element
    } else {
        Scalar::cast(DType::I32, element)
    };
    match largest {
        true => ascending,
        false => Scalar::unary(UnaryOp::Not, ascending),
    }
}
