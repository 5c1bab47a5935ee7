//! The table of vector opcodes: one row an operation, one column a width.

use super::target::DotForm;
use super::vir::{BinaryOp, Cmp, Elem, FmaOp, IntTy, MaskOp, ShiftOp, UnaryOp, Width, ZipOp};
use iced_x86::Code;

fn pick(w: Width, y: Code, z: Code) -> Code {
    match w {
        Width::Y256 => y,
        Width::Z512 => z,
    }
}

/// Which operand of a fused multiply-add is overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FmaForm {
    /// `1 = 1 * 3 + 2`.
    F132,
    /// `1 = 2 * 1 + 3`.
    F213,
    /// `1 = 2 * 3 + 1`.
    F231,
}

/// `dst, a, b/mem`.
pub(super) fn binary(w: Width, op: BinaryOp, elem: Elem) -> Code {
    let (y, z) = match elem {
        Elem::F32 => binary_f32(op),
        Elem::I32 => binary_i32(op),
    };
    pick(w, y, z)
}

fn binary_f32(op: BinaryOp) -> (Code, Code) {
    use Code::*;
    match op {
        BinaryOp::Add => (
            VEX_Vaddps_ymm_ymm_ymmm256,
            EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er,
        ),
        BinaryOp::Sub => (
            VEX_Vsubps_ymm_ymm_ymmm256,
            EVEX_Vsubps_zmm_k1z_zmm_zmmm512b32_er,
        ),
        BinaryOp::Mul => (
            VEX_Vmulps_ymm_ymm_ymmm256,
            EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er,
        ),
        BinaryOp::Div => (
            VEX_Vdivps_ymm_ymm_ymmm256,
            EVEX_Vdivps_zmm_k1z_zmm_zmmm512b32_er,
        ),
        // The verifier keeps it to 512 bits.
        BinaryOp::Scale => (INVALID, EVEX_Vscalefps_zmm_k1z_zmm_zmmm512b32_er),
        BinaryOp::Min => (
            VEX_Vminps_ymm_ymm_ymmm256,
            EVEX_Vminps_zmm_k1z_zmm_zmmm512b32_sae,
        ),
        BinaryOp::Max => (
            VEX_Vmaxps_ymm_ymm_ymmm256,
            EVEX_Vmaxps_zmm_k1z_zmm_zmmm512b32_sae,
        ),
        // The 512-bit forms on floats need DQ; those on integers are in F.
        BinaryOp::And => (
            VEX_Vandps_ymm_ymm_ymmm256,
            EVEX_Vpandd_zmm_k1z_zmm_zmmm512b32,
        ),
        BinaryOp::Or => (VEX_Vorps_ymm_ymm_ymmm256, EVEX_Vpord_zmm_k1z_zmm_zmmm512b32),
        BinaryOp::Xor => (
            VEX_Vxorps_ymm_ymm_ymmm256,
            EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32,
        ),
        BinaryOp::AndNot => (
            VEX_Vandnps_ymm_ymm_ymmm256,
            EVEX_Vpandnd_zmm_k1z_zmm_zmmm512b32,
        ),
        BinaryOp::Shl | BinaryOp::Shr | BinaryOp::Sar => binary_i32(op),
    }
}

fn binary_i32(op: BinaryOp) -> (Code, Code) {
    use Code::*;
    match op {
        BinaryOp::Add => (
            VEX_Vpaddd_ymm_ymm_ymmm256,
            EVEX_Vpaddd_zmm_k1z_zmm_zmmm512b32,
        ),
        BinaryOp::Sub => (
            VEX_Vpsubd_ymm_ymm_ymmm256,
            EVEX_Vpsubd_zmm_k1z_zmm_zmmm512b32,
        ),
        BinaryOp::Mul => (
            VEX_Vpmulld_ymm_ymm_ymmm256,
            EVEX_Vpmulld_zmm_k1z_zmm_zmmm512b32,
        ),
        BinaryOp::Min => (
            VEX_Vpminsd_ymm_ymm_ymmm256,
            EVEX_Vpminsd_zmm_k1z_zmm_zmmm512b32,
        ),
        BinaryOp::Max => (
            VEX_Vpmaxsd_ymm_ymm_ymmm256,
            EVEX_Vpmaxsd_zmm_k1z_zmm_zmmm512b32,
        ),
        BinaryOp::And => (
            VEX_Vpand_ymm_ymm_ymmm256,
            EVEX_Vpandd_zmm_k1z_zmm_zmmm512b32,
        ),
        BinaryOp::Or => (VEX_Vpor_ymm_ymm_ymmm256, EVEX_Vpord_zmm_k1z_zmm_zmmm512b32),
        BinaryOp::Xor => (
            VEX_Vpxor_ymm_ymm_ymmm256,
            EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32,
        ),
        BinaryOp::AndNot => (
            VEX_Vpandn_ymm_ymm_ymmm256,
            EVEX_Vpandnd_zmm_k1z_zmm_zmmm512b32,
        ),
        BinaryOp::Shl => (
            VEX_Vpsllvd_ymm_ymm_ymmm256,
            EVEX_Vpsllvd_zmm_k1z_zmm_zmmm512b32,
        ),
        BinaryOp::Shr => (
            VEX_Vpsrlvd_ymm_ymm_ymmm256,
            EVEX_Vpsrlvd_zmm_k1z_zmm_zmmm512b32,
        ),
        BinaryOp::Sar => (
            VEX_Vpsravd_ymm_ymm_ymmm256,
            EVEX_Vpsravd_zmm_k1z_zmm_zmmm512b32,
        ),
        BinaryOp::Div | BinaryOp::Scale => binary_f32(op),
    }
}

/// `dst, a/mem`, and an immediate for the roundings.
pub(super) fn unary(w: Width, op: UnaryOp) -> (Code, Option<i64>) {
    use Code::*;
    let (y, z) = match op {
        UnaryOp::Sqrt => (VEX_Vsqrtps_ymm_ymmm256, EVEX_Vsqrtps_zmm_k1z_zmmm512b32_er),
        UnaryOp::Nearest | UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Trunc => (
            VEX_Vroundps_ymm_ymmm256_imm8,
            EVEX_Vrndscaleps_zmm_k1z_zmmm512b32_imm8_sae,
        ),
        UnaryOp::Abs => (VEX_Vpabsd_ymm_ymmm256, EVEX_Vpabsd_zmm_k1z_zmmm512b32),
        UnaryOp::ToI32Nearest => (
            VEX_Vcvtps2dq_ymm_ymmm256,
            EVEX_Vcvtps2dq_zmm_k1z_zmmm512b32_er,
        ),
        UnaryOp::ToI32Trunc => (
            VEX_Vcvttps2dq_ymm_ymmm256,
            EVEX_Vcvttps2dq_zmm_k1z_zmmm512b32_sae,
        ),
        UnaryOp::FromI32 => (
            VEX_Vcvtdq2ps_ymm_ymmm256,
            EVEX_Vcvtdq2ps_zmm_k1z_zmmm512b32_er,
        ),
        // Selection makes several instructions of them.
        UnaryOp::FromF16 | UnaryOp::ToF16 => (INVALID, INVALID),
    };
    // Bit 3 suppresses the inexact flag.
    let imm = match op {
        UnaryOp::Nearest => Some(8),
        UnaryOp::Floor => Some(9),
        UnaryOp::Ceil => Some(10),
        UnaryOp::Trunc => Some(11),
        _ => None,
    };
    (pick(w, y, z), imm)
}

/// `dst, a, imm8`.
pub(super) fn shift(w: Width, op: ShiftOp) -> Code {
    use Code::*;
    match op {
        ShiftOp::Shl => pick(
            w,
            VEX_Vpslld_ymm_ymm_imm8,
            EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8,
        ),
        ShiftOp::Shr => pick(
            w,
            VEX_Vpsrld_ymm_ymm_imm8,
            EVEX_Vpsrld_zmm_k1z_zmmm512b32_imm8,
        ),
        ShiftOp::Sar => pick(
            w,
            VEX_Vpsrad_ymm_ymm_imm8,
            EVEX_Vpsrad_zmm_k1z_zmmm512b32_imm8,
        ),
    }
}

/// `1, 2, 3/mem` of a fused multiply-add on F32.
pub(super) fn fma(w: Width, op: FmaOp, form: FmaForm) -> Code {
    use Code::*;
    use FmaForm::*;
    let (y, z) = match (op, form) {
        (FmaOp::MulAdd, F132) => (
            VEX_Vfmadd132ps_ymm_ymm_ymmm256,
            EVEX_Vfmadd132ps_zmm_k1z_zmm_zmmm512b32_er,
        ),
        (FmaOp::MulAdd, F213) => (
            VEX_Vfmadd213ps_ymm_ymm_ymmm256,
            EVEX_Vfmadd213ps_zmm_k1z_zmm_zmmm512b32_er,
        ),
        (FmaOp::MulAdd, F231) => (
            VEX_Vfmadd231ps_ymm_ymm_ymmm256,
            EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er,
        ),
        (FmaOp::MulSub, F132) => (
            VEX_Vfmsub132ps_ymm_ymm_ymmm256,
            EVEX_Vfmsub132ps_zmm_k1z_zmm_zmmm512b32_er,
        ),
        (FmaOp::MulSub, F213) => (
            VEX_Vfmsub213ps_ymm_ymm_ymmm256,
            EVEX_Vfmsub213ps_zmm_k1z_zmm_zmmm512b32_er,
        ),
        (FmaOp::MulSub, F231) => (
            VEX_Vfmsub231ps_ymm_ymm_ymmm256,
            EVEX_Vfmsub231ps_zmm_k1z_zmm_zmmm512b32_er,
        ),
        (FmaOp::NegMulAdd, F132) => (
            VEX_Vfnmadd132ps_ymm_ymm_ymmm256,
            EVEX_Vfnmadd132ps_zmm_k1z_zmm_zmmm512b32_er,
        ),
        (FmaOp::NegMulAdd, F213) => (
            VEX_Vfnmadd213ps_ymm_ymm_ymmm256,
            EVEX_Vfnmadd213ps_zmm_k1z_zmm_zmmm512b32_er,
        ),
        (FmaOp::NegMulAdd, F231) => (
            VEX_Vfnmadd231ps_ymm_ymm_ymmm256,
            EVEX_Vfnmadd231ps_zmm_k1z_zmm_zmmm512b32_er,
        ),
        (FmaOp::NegMulSub, F132) => (
            VEX_Vfnmsub132ps_ymm_ymm_ymmm256,
            EVEX_Vfnmsub132ps_zmm_k1z_zmm_zmmm512b32_er,
        ),
        (FmaOp::NegMulSub, F213) => (
            VEX_Vfnmsub213ps_ymm_ymm_ymmm256,
            EVEX_Vfnmsub213ps_zmm_k1z_zmm_zmmm512b32_er,
        ),
        (FmaOp::NegMulSub, F231) => (
            VEX_Vfnmsub231ps_ymm_ymm_ymmm256,
            EVEX_Vfnmsub231ps_zmm_k1z_zmm_zmmm512b32_er,
        ),
    };
    pick(w, y, z)
}

/// `sum, a, b/mem` of dot products of bytes.
pub(super) fn dot(w: Width, form: DotForm) -> Code {
    match (w, form) {
        (Width::Y256, DotForm::Vex) => Code::VEX_Vpdpbusd_ymm_ymm_ymmm256,
        (Width::Y256, DotForm::Evex) => Code::EVEX_Vpdpbusd_ymm_k1z_ymm_ymmm256b32,
        (Width::Z512, _) => Code::EVEX_Vpdpbusd_zmm_k1z_zmm_zmmm512b32,
    }
}

/// `dst, mem` of every lane; also loads I32.
pub(super) fn load(w: Width) -> Code {
    pick(
        w,
        Code::VEX_Vmovups_ymm_ymmm256,
        Code::EVEX_Vmovups_zmm_k1z_zmmm512,
    )
}

/// `mem, src` of every lane.
pub(super) fn store(w: Width) -> Code {
    pick(
        w,
        Code::VEX_Vmovups_ymmm256_ymm,
        Code::EVEX_Vmovups_zmmm512_k1z_zmm,
    )
}

/// `dst, m32` into every lane.
pub(super) fn broadcast(w: Width) -> Code {
    pick(
        w,
        Code::VEX_Vbroadcastss_ymm_m32,
        Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32,
    )
}

/// `dst, m32` into lane 0, zero elsewhere.
pub(super) fn load_lane(w: Width) -> Code {
    pick(w, Code::VEX_Vmovss_xmm_m32, Code::EVEX_Vmovss_xmm_k1z_m32)
}

/// `m32, src` of lane 0.
pub(super) fn store_lane(w: Width) -> Code {
    pick(w, Code::VEX_Vmovss_m32_xmm, Code::EVEX_Vmovss_m32_k1_xmm)
}

/// `m128, src, imm8` of a part of 128 bits.
pub(super) fn store_part(w: Width) -> Code {
    pick(
        w,
        Code::VEX_Vextractf128_xmmm128_ymm_imm8,
        Code::EVEX_Vextractf32x4_xmmm128_k1z_zmm_imm8,
    )
}

/// `dst, others, m128, imm8` of a part of 128 bits.
pub(super) fn load_part(w: Width) -> Code {
    pick(
        w,
        Code::VEX_Vinsertf128_ymm_ymm_xmmm128_imm8,
        Code::EVEX_Vinsertf32x4_zmm_k1z_zmm_xmmm128_imm8,
    )
}

/// `dst, dst, dst`: all bits zero.
pub(super) fn zero(w: Width) -> Code {
    pick(
        w,
        Code::VEX_Vxorps_ymm_ymm_ymmm256,
        Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32,
    )
}

/// `dst, a, b/mem, imm8` within 128-bit parts.
pub(super) fn shuffle(w: Width) -> Code {
    pick(
        w,
        Code::VEX_Vshufps_ymm_ymm_ymmm256_imm8,
        Code::EVEX_Vshufps_zmm_k1z_zmm_zmmm512b32_imm8,
    )
}

/// `dst, index, a/mem` over all lanes.
pub(super) fn permute(w: Width) -> Code {
    pick(
        w,
        Code::VEX_Vpermps_ymm_ymm_ymmm256,
        Code::EVEX_Vpermps_zmm_k1z_zmm_zmmm512b32,
    )
}

/// `dst = a, index, b/mem` (512 bits only).
pub(super) const PICK: Code = Code::EVEX_Vpermt2ps_zmm_k1z_zmm_zmmm512b32;

/// `dst, a, b`, for whole parts with an `imm8`.
pub(super) fn zip(w: Width, op: ZipOp) -> (Code, Option<i64>) {
    use Code::*;
    let (y256, z512) = match op {
        ZipOp::Low32 => (
            VEX_Vunpcklps_ymm_ymm_ymmm256,
            EVEX_Vunpcklps_zmm_k1z_zmm_zmmm512b32,
        ),
        ZipOp::High32 => (
            VEX_Vunpckhps_ymm_ymm_ymmm256,
            EVEX_Vunpckhps_zmm_k1z_zmm_zmmm512b32,
        ),
        ZipOp::Low64 => (
            VEX_Vunpcklpd_ymm_ymm_ymmm256,
            EVEX_Vunpcklpd_zmm_k1z_zmm_zmmm512b64,
        ),
        ZipOp::High64 => (
            VEX_Vunpckhpd_ymm_ymm_ymmm256,
            EVEX_Vunpckhpd_zmm_k1z_zmm_zmmm512b64,
        ),
        ZipOp::EvenParts | ZipOp::OddParts => (
            VEX_Vperm2f128_ymm_ymm_ymmm256_imm8,
            EVEX_Vshuff32x4_zmm_k1z_zmm_zmmm512b32_imm8,
        ),
    };
    let imm = match (op, w) {
        (ZipOp::EvenParts, Width::Y256) => Some(0x20),
        (ZipOp::OddParts, Width::Y256) => Some(0x31),
        (ZipOp::EvenParts, Width::Z512) => Some(0x88),
        (ZipOp::OddParts, Width::Z512) => Some(0xdd),
        _ => None,
    };
    (pick(w, y256, z512), imm)
}

/// `dst, a, b/mem, imm8` of F32; `imm8` follows [`cmp_imm_f32`].
pub(super) fn cmp_f32(w: Width) -> Code {
    pick(
        w,
        Code::VEX_Vcmpps_ymm_ymm_ymmm256_imm8,
        Code::EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae,
    )
}

/// The quiet predicates.
pub(super) fn cmp_imm_f32(cmp: Cmp) -> i64 {
    match cmp {
        Cmp::Eq => 0x00,
        Cmp::Ne => 0x04,
        Cmp::Lt => 0x11,
        Cmp::Le => 0x12,
        Cmp::Gt => 0x1e,
        Cmp::Ge => 0x1d,
        Cmp::Unordered => 0x03,
    }
}

/// Predicates of `vpcmpd`.
pub(super) fn cmp_imm_i32(cmp: Cmp) -> i64 {
    match cmp {
        Cmp::Eq => 0,
        Cmp::Lt => 1,
        Cmp::Le => 2,
        Cmp::Ne | Cmp::Unordered => 4,
        Cmp::Ge => 5,
        Cmp::Gt => 6,
    }
}

/// `dst, a, b` on masks.
pub(super) fn mask(w: Width, op: MaskOp) -> Code {
    use Code::*;
    match op {
        MaskOp::And => pick(w, VEX_Vandps_ymm_ymm_ymmm256, VEX_Kandw_kr_kr_kr),
        MaskOp::Or => pick(w, VEX_Vorps_ymm_ymm_ymmm256, VEX_Korw_kr_kr_kr),
        MaskOp::Xor => pick(w, VEX_Vxorps_ymm_ymm_ymmm256, VEX_Kxorw_kr_kr_kr),
        MaskOp::AndNot => pick(w, VEX_Vandnps_ymm_ymm_ymmm256, VEX_Kandnw_kr_kr_kr),
    }
}

/// `r32, src` of a mask.
pub(super) fn mask_bits(w: Width) -> Code {
    pick(w, Code::VEX_Vmovmskps_r32_ymm, Code::VEX_Kmovw_r32_kr)
}

/// `dst, mem` of integers of 8 or 16 bits, extended to 32.
pub(super) fn load_short(w: Width, ty: IntTy) -> Code {
    use Code::*;
    match ty {
        IntTy::I8 => pick(w, VEX_Vpmovsxbd_ymm_xmmm64, EVEX_Vpmovsxbd_zmm_k1z_xmmm128),
        IntTy::U8 => pick(w, VEX_Vpmovzxbd_ymm_xmmm64, EVEX_Vpmovzxbd_zmm_k1z_xmmm128),
        IntTy::I16 => pick(w, VEX_Vpmovsxwd_ymm_xmmm128, EVEX_Vpmovsxwd_zmm_k1z_ymmm256),
        IntTy::U16 => pick(w, VEX_Vpmovzxwd_ymm_xmmm128, EVEX_Vpmovzxwd_zmm_k1z_ymmm256),
        IntTy::I32 | IntTy::I64 => INVALID,
    }
}

/// `mem, src` of the low bits of 512-bit vectors.
pub(super) fn store_short(ty: IntTy) -> Code {
    match ty.bytes() {
        1 => Code::EVEX_Vpmovdb_xmmm128_k1z_zmm,
        _ => Code::EVEX_Vpmovdw_ymmm256_k1z_zmm,
    }
}

/// `dst, a/mem` of binary16 in the lower half of a vector.
pub(super) fn from_f16(w: Width) -> Code {
    pick(
        w,
        Code::VEX_Vcvtph2ps_ymm_xmmm128,
        Code::EVEX_Vcvtph2ps_zmm_k1z_ymmm256_sae,
    )
}

/// `dst/mem, a, imm8` of binary16 in the lower half of a vector; 0 rounds to nearest even.
pub(super) fn to_f16(w: Width) -> Code {
    pick(
        w,
        Code::VEX_Vcvtps2ph_xmmm128_ymm_imm8,
        Code::EVEX_Vcvtps2ph_ymmm256_k1z_zmm_imm8_sae,
    )
}

/// `dst, a` of the low halves of 512-bit lanes, side by side in the lower half of a vector.
pub(super) const NARROW_WORDS: Code = Code::EVEX_Vpmovdw_ymmm256_k1z_zmm;

/// `dst, m` of an integer, extended.
pub(super) fn int_load(ty: IntTy) -> Code {
    match ty {
        IntTy::I8 => Code::Movsx_r64_rm8,
        IntTy::U8 => Code::Movzx_r32_rm8,
        IntTy::I16 => Code::Movsx_r64_rm16,
        IntTy::U16 => Code::Movzx_r32_rm16,
        IntTy::I32 => Code::Movsxd_r64_rm32,
        IntTy::I64 => Code::Mov_r64_rm64,
    }
}

/// `m, src` of an integer's low bits.
pub(super) fn int_store(ty: IntTy) -> Code {
    match ty {
        IntTy::I8 | IntTy::U8 => Code::Mov_rm8_r8,
        IntTy::I16 | IntTy::U16 => Code::Mov_rm16_r16,
        IntTy::I32 => Code::Mov_rm32_r32,
        IntTy::I64 => Code::Mov_rm64_r64,
    }
}

/// `reg, imm8` of an integer shift.
pub(super) fn int_shift(op: ShiftOp) -> Code {
    match op {
        ShiftOp::Shl => Code::Shl_rm64_imm8,
        ShiftOp::Shr => Code::Shr_rm64_imm8,
        ShiftOp::Sar => Code::Sar_rm64_imm8,
    }
}

/// The near jump taken when the signed comparison holds.
pub(super) fn jump_if(cmp: Cmp) -> Code {
    match cmp {
        Cmp::Eq => Code::Je_rel32_64,
        Cmp::Ne | Cmp::Unordered => Code::Jne_rel32_64,
        Cmp::Lt => Code::Jl_rel32_64,
        Cmp::Le => Code::Jle_rel32_64,
        Cmp::Gt => Code::Jg_rel32_64,
        Cmp::Ge => Code::Jge_rel32_64,
    }
}

/// The comparison that holds when `cmp` of integers does not.
pub(super) fn negate(cmp: Cmp) -> Cmp {
    match cmp {
        Cmp::Eq => Cmp::Ne,
        Cmp::Ne | Cmp::Unordered => Cmp::Eq,
        Cmp::Lt => Cmp::Ge,
        Cmp::Le => Cmp::Gt,
        Cmp::Gt => Cmp::Le,
        Cmp::Ge => Cmp::Lt,
    }
}
