//! Sets of element types that rows take.
use crate::dtype::DType::{self, *};

/// Every type.
pub(super) const ANY: &[DType] = &DType::ALL;
/// The floating-point types.
pub(super) const FLOATS: &[DType] = &[F32, F64, F16, BF16];
/// The integers.
pub(super) const INTS: &[DType] = &[I8, I16, I32, I64, U8, U16, U32, U64];
/// The signed types.
pub(super) const SIGNED: &[DType] = &[F32, F64, F16, BF16, I8, I16, I32, I64];
/// Everything but `bool`.
pub(super) const NUMBERS: &[DType] = &[F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64];
/// The types with bitwise ops.
pub(super) const BITS: &[DType] = &[Bool, I8, I16, I32, I64, U8, U16, U32, U64];
