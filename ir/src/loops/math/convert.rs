//! Conversions from and to the bits of `f16` and `bf16`.
use super::code::V;
use crate::dtype::DType;

/// `f16` bits to `f32`: the fields move, and one product puts the exponent right, for
/// subnormals, too.
pub(super) fn f16_to_f32(bits: V<'_>) -> V<'_> {
    let wide = bits.cast(DType::U32);
    let magnitude = wide & wide.bits(0x7fff);
    let moved = magnitude << wide.bits(13);
    let finite = (moved.bitcast(DType::F32) * 2f64.powi(112)).bitcast(DType::U32);
    let quiet = moved.bits(0x7c00).lt(magnitude);
    let quiet = quiet.select(moved.bits(0x7fc0_0000), moved.bits(0x7f80_0000));
    let special = magnitude.lt(magnitude.bits(0x7c00));
    let value = special.select(finite, moved | quiet);
    let sign = (wide & wide.bits(0x8000)) << wide.bits(16);
    (value | sign).bitcast(DType::F32)
}

/// `bf16` bits to `f32`.
pub(super) fn bf16_to_f32(bits: V<'_>) -> V<'_> {
    let wide = bits.cast(DType::U32);
    (wide << wide.bits(16)).bitcast(DType::F32)
}

/// Adds one less than half of `2^shift`, and one more if the last kept bit is odd: what is above
/// `shift` is then rounded to nearest even.
fn rounded<'c>(bits: V<'c>, shift: u32) -> V<'c> {
    let odd = (bits >> bits.bits(u64::from(shift))) & bits.bits(1);
    let sum = bits + bits.bits((1 << (shift - 1)) - 1) + odd;
    sum >> bits.bits(u64::from(shift))
}

/// `f32` to `f16` bits.
pub(super) fn f32_to_f16(x: V<'_>) -> V<'_> {
    let bits = x.bitcast(DType::U32);
    let magnitude = bits & bits.bits(0x7fff_ffff);
    let normal = rounded(magnitude - magnitude.bits(112 << 23), 13);
    // The last place of 1/2 is that of subnormal `f16`: the addition rounds.
    let sum = (magnitude.bitcast(DType::F32) + 0.5).bitcast(DType::U32);
    let subnormal = sum - sum.bits(0x3f00_0000);
    let finite = magnitude
        .lt(magnitude.bits(0x3880_0000))
        .select(subnormal, normal);
    let is_nan = magnitude.bits(0x7f80_0000).lt(magnitude);
    let special = is_nan.select(magnitude.bits(0x7e00), magnitude.bits(0x7c00));
    let value = magnitude
        .lt(magnitude.bits(0x4780_0000))
        .select(finite, special);
    let sign = (bits >> bits.bits(16)) & bits.bits(0x8000);
    (value | sign).cast(DType::U16)
}

/// `f32` to `bf16` bits.
pub(super) fn f32_to_bf16(x: V<'_>) -> V<'_> {
    let bits = x.bitcast(DType::U32);
    let nan = (bits >> bits.bits(16)) | bits.bits(0x40);
    x.eq(x).select(rounded(bits, 16), nan).cast(DType::U16)
}

/// `f64` to `f32`, rounded to odd: a second rounding, to fewer bits, then is the only one.
pub(super) fn f64_to_odd_f32(x: V<'_>) -> V<'_> {
    let near = x.cast(DType::F32);
    let back = near.cast(DType::F64);
    let bits = near.bitcast(DType::U32);
    let below = x.abs().lt(back.abs()).select(bits - bits.bits(1), bits);
    let odd = below | bits.bits(1);
    back.eq(x).select(bits, odd).bitcast(DType::F32)
}
