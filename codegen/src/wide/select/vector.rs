//! Choice of vector instructions.

use super::{Selector, codes, swapped};
use crate::wide::codes::FmaForm;
use crate::wide::minst::{Arg, Kind, MInst};
use crate::wide::vir::{
    BinaryOp, Class, Cmp, Elem, FmaOp, Inst, IntTy, LoadForm, MaskOp, ReduceOp, StoreForm, UnaryOp,
    Value, Width,
};
use iced_x86::Code;
use regalloc2::VReg;

/// An argument in a register or in memory, with its `{1to16}` flag.
struct RegMem {
    arg: Arg,
    broadcast: bool,
}

/// The operands of a fused multiply-add in the order of its encoding.
struct FmaChoice {
    form: FmaForm,
    tied: Value,
    second: Value,
    third: Value,
}

impl Selector<'_> {
    pub(super) fn vector(&mut self, result: Option<Value>, inst: &Inst) {
        match inst {
            Inst::Load { .. } => self.load(result, inst),
            Inst::Store {
                form, addr, value, ..
            } => {
                let src = self.reg(*value);
                let mem = Arg::Mem(self.mem(addr));
                self.store(*form, mem, src);
            }
            Inst::LoadShort { .. } if result.is_some_and(|v| self.uses.postponed(v)) => {}
            Inst::LoadShort { ty, mask, addr } => {
                let args = vec![Arg::Def(self.result(result)), Arg::Mem(self.mem(addr))];
                let code = codes::load_short(self.width(), *ty);
                match mask {
                    Some(m) => {
                        let mask = self.reg(*m);
                        self.with_mask(code, args, mask).zeroing = true;
                    }
                    None => self.code(code, args),
                }
            }
            Inst::StoreShort {
                ty,
                mask,
                addr,
                value,
            } => {
                if self.uses.merged(*value) {
                    return self.store_f16(*mask, addr, *value);
                }
                let src = self.reg(*value);
                let mem = Arg::Mem(self.mem(addr));
                self.store_short(*ty, *mask, mem, src);
            }
            Inst::SplatInt(a) => {
                let dst = self.result(result);
                self.splat_int(dst, *a);
            }
            Inst::Unary {
                op: UnaryOp::FromF16,
                a,
                ..
            } => {
                let dst = self.result(result);
                self.convert_from_f16(dst, *a);
            }
            Inst::Unary {
                op: UnaryOp::ToF16,
                a,
                ..
            } => {
                if result.is_some_and(|v| !self.uses.merged(v)) {
                    let dst = self.result(result);
                    self.convert_to_f16(dst, *a);
                }
            }
            Inst::Unary { op, a, .. } => {
                let dst = self.result(result);
                let (code, imm) = codes::unary(self.width(), *op);
                let src = self.reg_mem(*a);
                let imm = imm.map(Arg::Imm);
                let args = [Arg::Def(dst), src.arg].into_iter().chain(imm).collect();
                self.with_memory(code, args, src.broadcast);
            }
            Inst::Binary { .. } if result.is_some_and(|v| self.uses.merged(v)) => {}
            Inst::Binary { op, elem, a, b } => {
                let dst = self.result(result);
                self.binary(*op, *elem, dst, *a, *b);
            }
            Inst::Shift { op, a, amount } => {
                let args = vec![
                    Arg::Def(self.result(result)),
                    Arg::Use(self.reg(*a)),
                    Arg::Imm(i64::from(*amount)),
                ];
                self.code(codes::shift(self.width(), *op), args);
            }
            Inst::Fma { op, a, b, c, .. } => {
                let dst = self.result(result);
                self.fma(*op, dst, *a, *b, *c);
            }
            Inst::Dot { a, b, c } => {
                let tied = Arg::Tied(self.result(result), self.reg(*c));
                let second = Arg::Use(self.reg(*a));
                let third = self.reg_mem(*b);
                let code = codes::dot(self.width(), self.dots);
                self.with_memory(code, vec![tied, second, third.arg], third.broadcast);
            }
            Inst::Cmp { cmp, elem, a, b } => {
                let dst = self.result(result);
                self.cmp(*cmp, *elem, dst, *a, *b);
            }
            Inst::Mask { op, a, b } => {
                let (a, b) = (Arg::Use(self.reg(*a)), Arg::Use(self.reg(*b)));
                let dst = Arg::Def(self.result(result));
                self.code(codes::mask(self.width(), *op), vec![dst, a, b]);
            }
            Inst::MaskNot(a) => {
                let src = self.reg(*a);
                let dst = self.result(result);
                self.mask_not(dst, src);
            }
            Inst::MaskBits(a) => {
                let args = vec![Arg::Def(self.result(result)), Arg::Use(self.reg(*a))];
                self.code(codes::mask_bits(self.width()), args);
            }
            Inst::Select { mask, a, b, .. } => {
                let dst = self.result(result);
                self.choose(dst, *mask, *a, *b);
            }
            Inst::Permute { a, lanes, .. } => {
                let dst = self.result(result);
                self.permute(dst, *a, lanes);
            }
            Inst::Pick { a, b, lanes, .. } => {
                let dst = self.result(result);
                let index = self.index(lanes);
                let first = Arg::Tied(dst, self.reg(*a));
                let second = self.reg_mem(*b);
                let args = vec![first, Arg::Use(index), second.arg];
                self.with_memory(codes::PICK, args, second.broadcast);
            }
            Inst::Zip { op, a, b } => {
                let dst = self.result(result);
                let (code, imm) = codes::zip(self.width(), *op);
                let (a, b) = (Arg::Use(self.reg(*a)), Arg::Use(self.reg(*b)));
                let args = [Arg::Def(dst), a, b].into_iter();
                self.code(code, args.chain(imm.map(Arg::Imm)).collect());
            }
            Inst::TailMask { count, .. } => {
                let dst = self.result(result);
                self.tail_mask(dst, *count);
            }
            Inst::Reduce { op, elem, a } => {
                let dst = self.result(result);
                self.reduce(*op, *elem, dst, *a);
            }
            _ => unreachable!("invariant: integer instructions are selected elsewhere"),
        }
    }

    fn with_memory(&mut self, code: Code, args: Vec<Arg>, broadcast: bool) {
        let mut inst = MInst::new(Kind::Code(code), args);
        inst.broadcast = broadcast;
        self.out.push(inst);
    }

    pub(super) fn with_mask(&mut self, code: Code, args: Vec<Arg>, mask: VReg) -> &mut MInst {
        let mut inst = MInst::new(Kind::Code(code), args);
        inst.mask = Some(mask);
        self.out.push(inst);
        self.out.last_mut().expect("invariant: just pushed")
    }

    /// Whether `v` is a constant or a postponed load.
    fn in_memory(&self, v: Value) -> bool {
        let constant = matches!(
            self.f.def_inst(v),
            Some(Inst::Splat { .. } | Inst::Lanes { .. })
        );
        constant && !self.kept(v) || self.uses.postponed(v)
    }

    /// Whether a constant is kept in a register.
    fn kept(&self, v: Value) -> bool {
        self.width() == Width::Z512 && self.uses.often(v)
    }

    /// A constant in memory.
    fn pooled(&mut self, v: Value) -> RegMem {
        let (lanes, broadcast): (Vec<u32>, bool) = match self.f.def_inst(v) {
            Some(Inst::Splat { bits, .. }) if self.width() == Width::Z512 => {
                (vec![*bits as u32], true)
            }
            Some(Inst::Splat { bits, .. }) => (vec![*bits as u32; 8], false),
            Some(Inst::Lanes { bits, .. }) => (bits.iter().map(|b| *b as u32).collect(), false),
            _ => unreachable!("invariant: only constants are in the pool"),
        };
        let arg = Arg::Pool(self.pool_lanes(lanes.into_iter()));
        RegMem { arg, broadcast }
    }

    fn reg_mem(&mut self, v: Value) -> RegMem {
        let f = self.f;
        let plain = |arg| RegMem {
            arg,
            broadcast: false,
        };
        match f.def_inst(v) {
            Some(Inst::Splat { .. }) if self.kept(v) => plain(Arg::Use(self.reg(v))),
            Some(Inst::Splat { .. } | Inst::Lanes { .. }) => self.pooled(v),
            Some(Inst::Load { form, addr, .. }) if self.uses.postponed(v) => RegMem {
                arg: Arg::Mem(self.mem(addr)),
                broadcast: *form == LoadForm::Broadcast,
            },
            _ => plain(Arg::Use(self.reg(v))),
        }
    }

    /// A constant in a register. AVX2 has too few to keep one for the rest of the block.
    pub(super) fn vector_const(&mut self, v: Value) -> VReg {
        let dst = self.fresh(Class::Vec);
        let w = self.width();
        if matches!(self.f.def_inst(v), Some(Inst::Splat { bits: 0, .. })) {
            self.code(codes::zero(w), vec![Arg::Def(dst), Arg::Same, Arg::Same]);
        } else {
            let src = self.pooled(v);
            let code = match src.broadcast {
                true => codes::broadcast(w),
                false => codes::load(w),
            };
            self.code(code, vec![Arg::Def(dst), src.arg]);
        }
        if w == Width::Z512 {
            self.local.insert(v, dst);
        }
        dst
    }

    fn load(&mut self, result: Option<Value>, inst: &Inst) {
        if result.is_some_and(|v| !self.uses.postponed(v)) {
            let dst = self.result(result);
            self.load_now(dst, inst);
        }
    }

    pub(super) fn load_now(&mut self, dst: VReg, inst: &Inst) {
        let Inst::Load { form, addr, .. } = inst else {
            unreachable!("invariant: only loads are postponed");
        };
        let w = self.width();
        let (dst, mem) = (Arg::Def(dst), Arg::Mem(self.mem(addr)));
        match form {
            LoadForm::Full => self.code(codes::load(w), vec![dst, mem]),
            LoadForm::Broadcast => self.code(codes::broadcast(w), vec![dst, mem]),
            LoadForm::Lane => self.code(codes::load_lane(w), vec![dst, mem]),
            LoadForm::Part(k, others) => {
                let others = Arg::Use(self.reg(*others));
                let args = vec![dst, others, mem, Arg::Imm(i64::from(*k))];
                self.code(codes::load_part(w), args);
            }
            LoadForm::Masked(m) => {
                let mask = self.reg(*m);
                match w {
                    Width::Y256 => {
                        let args = vec![dst, Arg::Use(mask), mem];
                        self.code(Code::VEX_Vmaskmovps_ymm_ymm_m256, args);
                    }
                    Width::Z512 => {
                        let args = vec![dst, mem];
                        self.with_mask(codes::load(w), args, mask).zeroing = true;
                    }
                }
            }
        }
    }

    fn store(&mut self, form: StoreForm, mem: Arg, src: VReg) {
        let w = self.width();
        let src = Arg::Use(src);
        match form {
            StoreForm::Full => self.code(codes::store(w), vec![mem, src]),
            StoreForm::Lane => self.code(codes::store_lane(w), vec![mem, src]),
            StoreForm::Part(k) => {
                let args = vec![mem, src, Arg::Imm(i64::from(k))];
                self.code(codes::store_part(w), args);
            }
            StoreForm::Masked(m) => {
                if w == Width::Y256
                    && let Some(count) = self.first_lanes(m)
                {
                    return self.store_first(count, mem, src);
                }
                let mask = self.reg(m);
                match w {
                    Width::Y256 => {
                        let args = vec![mem, Arg::Use(mask), src];
                        self.code(Code::VEX_Vmaskmovps_m256_ymm_ymm, args);
                    }
                    Width::Z512 => {
                        self.with_mask(codes::store(w), vec![mem, src], mask);
                    }
                }
            }
        }
    }

    fn store_short(&mut self, ty: IntTy, mask: Option<Value>, mem: Arg, src: VReg) {
        if self.width() == Width::Z512 {
            let (code, args) = (codes::store_short(ty), vec![mem, Arg::Use(src)]);
            return match mask {
                Some(m) => {
                    let mask = self.reg(m);
                    self.with_mask(code, args, mask);
                }
                None => self.code(code, args),
            };
        }
        // The low bits of each part side by side, then those of both parts.
        let bytes = ty.bytes();
        let byte = |k: usize| match k < 4 * bytes {
            true => (k / bytes * 4 + k % bytes) as u32,
            false => 0x80,
        };
        let word = |w: usize| (0..4).fold(0, |word, k| word | byte(4 * (w % 4) + k) << (8 * k));
        let pick = Arg::Pool(self.pool_lanes((0..8).map(word)));
        let (low, joined) = (self.fresh(Class::Vec), self.fresh(Class::Vec));
        let args = vec![Arg::Def(low), Arg::Use(src), pick];
        self.code(Code::VEX_Vpshufb_ymm_ymm_ymmm256, args);
        if bytes == 2 {
            let args = vec![Arg::Def(joined), Arg::Use(low), Arg::Imm(0b1000)];
            self.code(Code::VEX_Vpermq_ymm_ymmm256_imm8, args);
            let args = vec![mem, Arg::Use(joined)];
            return self.code(Code::VEX_Vmovups_xmmm128_xmm, args);
        }
        let index = self.fresh(Class::Vec);
        let parts = Arg::Pool(self.pool_lanes([0, 4, 0, 0, 0, 0, 0, 0].into_iter()));
        self.code(codes::load(Width::Y256), vec![Arg::Def(index), parts]);
        let args = vec![Arg::Def(joined), Arg::Use(index), Arg::Use(low)];
        self.code(codes::permute(Width::Y256), args);
        self.code(Code::VEX_Vmovlps_m64_xmm, vec![mem, Arg::Use(joined)]);
    }

    fn splat_int(&mut self, dst: VReg, a: Value) {
        let src = Arg::Use(self.reg(a));
        match self.width() {
            Width::Y256 => {
                let lane = self.fresh(Class::Vec);
                self.code(Code::VEX_Vmovd_xmm_rm32, vec![Arg::Def(lane), src]);
                let args = vec![Arg::Def(dst), Arg::Use(lane)];
                self.code(Code::VEX_Vpbroadcastd_ymm_xmmm32, args);
            }
            Width::Z512 => {
                self.code(
                    Code::EVEX_Vpbroadcastd_zmm_k1z_r32,
                    vec![Arg::Def(dst), src],
                );
            }
        }
    }

    fn binary(&mut self, op: BinaryOp, elem: Elem, dst: VReg, a: Value, b: Value) {
        let swap = op.commutes() && self.in_memory(a) && !self.in_memory(b);
        let (a, b) = if swap { (b, a) } else { (a, b) };
        let left = Arg::Use(self.reg(a));
        let right = self.reg_mem(b);
        let code = codes::binary(self.width(), op, elem);
        self.with_memory(code, vec![Arg::Def(dst), left, right.arg], right.broadcast);
    }

    fn fma(&mut self, op: FmaOp, dst: VReg, a: Value, b: Value, c: Value) {
        let choice = self.choose_fma(a, b, c);
        let tied = Arg::Tied(dst, self.reg(choice.tied));
        let second = Arg::Use(self.reg(choice.second));
        let third = self.reg_mem(choice.third);
        let code = codes::fma(self.width(), op, choice.form);
        self.with_memory(code, vec![tied, second, third.arg], third.broadcast);
    }

    /// Overwrites an operand that dies, and leaves the place of the third operand to one in memory.
    fn choose_fma(&self, a: Value, b: Value, c: Value) -> FmaChoice {
        let (a, b) = match self.in_memory(a) && !self.in_memory(b) {
            true => (b, a),
            false => (a, b),
        };
        let choice = |form, tied, second, third| FmaChoice {
            form,
            tied,
            second,
            third,
        };
        let (mem_b, mem_c) = (self.in_memory(b), self.in_memory(c));
        let a_dies = self.dies(a) && a != b && a != c;
        let b_dies = self.dies(b) && b != c;
        match (mem_b, mem_c) {
            (false, true) if !a_dies && b_dies => choice(FmaForm::F213, b, a, c),
            (false, true) => choice(FmaForm::F213, a, b, c),
            (true, false) if a_dies && !self.dies(c) => choice(FmaForm::F132, a, c, b),
            (false, false) if !self.dies(c) && a_dies => choice(FmaForm::F213, a, b, c),
            (false, false) if !self.dies(c) && b_dies => choice(FmaForm::F213, b, a, c),
            _ => choice(FmaForm::F231, c, a, b),
        }
    }

    fn cmp(&mut self, cmp: Cmp, elem: Elem, dst: VReg, a: Value, b: Value) {
        let swap = self.in_memory(a) && !self.in_memory(b);
        let (cmp, a, b) = match swap {
            true => (swapped(cmp), b, a),
            false => (cmp, a, b),
        };
        if (self.width(), elem) == (Width::Y256, Elem::I32) {
            return self.cmp_i32_avx2(cmp, dst, a, b);
        }
        let left = Arg::Use(self.reg(a));
        let right = self.reg_mem(b);
        let (code, imm) = match elem {
            Elem::F32 => (codes::cmp_f32(self.width()), codes::cmp_imm_f32(cmp)),
            Elem::I32 => (
                Code::EVEX_Vpcmpd_kr_k1_zmm_zmmm512b32_imm8,
                codes::cmp_imm_i32(cmp),
            ),
        };
        let args = vec![Arg::Def(dst), left, right.arg, Arg::Imm(imm)];
        self.with_memory(code, args, right.broadcast);
    }

    /// AVX2 compares integers for equal and greater only.
    fn cmp_i32_avx2(&mut self, cmp: Cmp, dst: VReg, a: Value, b: Value) {
        let (code, a, b) = match cmp {
            Cmp::Eq | Cmp::Ne | Cmp::Unordered => (Code::VEX_Vpcmpeqd_ymm_ymm_ymmm256, a, b),
            Cmp::Gt | Cmp::Le => (Code::VEX_Vpcmpgtd_ymm_ymm_ymmm256, a, b),
            Cmp::Lt | Cmp::Ge => (Code::VEX_Vpcmpgtd_ymm_ymm_ymmm256, b, a),
        };
        let left = Arg::Use(self.reg(a));
        let right = self.reg_mem(b).arg;
        if matches!(cmp, Cmp::Eq | Cmp::Gt | Cmp::Lt) {
            return self.code(code, vec![Arg::Def(dst), left, right]);
        }
        let opposite = self.fresh(Class::Mask);
        self.code(code, vec![Arg::Def(opposite), left, right]);
        self.mask_not(dst, opposite);
    }

    fn mask_not(&mut self, dst: VReg, src: VReg) {
        let (dst, src) = (Arg::Def(dst), Arg::Use(src));
        match self.width() {
            Width::Y256 => {
                let ones = Arg::Pool(self.pool_lanes(std::iter::repeat_n(u32::MAX, 8)));
                let code = codes::mask(Width::Y256, MaskOp::Xor);
                self.code(code, vec![dst, src, ones]);
            }
            Width::Z512 => self.code(Code::VEX_Knotw_kr_kr, vec![dst, src]),
        }
    }

    /// An operation in the lanes of a mask; the others keep its first operand, `old`.
    fn merge(&mut self, dst: VReg, (mask, old): (Value, Value), inst: &Inst) {
        let Inst::Binary { op, elem, a, b } = inst else {
            unreachable!("invariant: only operations are merged");
        };
        let other = if *a == old { *b } else { *a };
        let (mask, old) = (self.reg(mask), self.reg(old));
        let right = self.reg_mem(other);
        let code = codes::binary(self.width(), *op, *elem);
        let args = vec![Arg::Tied(dst, old), Arg::Use(old), right.arg];
        self.with_mask(code, args, mask).broadcast = right.broadcast;
    }

    fn choose(&mut self, dst: VReg, mask: Value, a: Value, b: Value) {
        let f = self.f;
        if let Some(inst) = f.def_inst(a).filter(|_| self.uses.merged(a)) {
            return self.merge(dst, (mask, b), inst);
        }
        let constant = match self.width() {
            Width::Y256 => self.constant_lanes(mask),
            Width::Z512 => None,
        };
        if let Some(lanes) = constant {
            let (other, then) = (Arg::Use(self.reg(b)), self.reg_mem(a).arg);
            let args = vec![Arg::Def(dst), other, then, Arg::Imm(lanes)];
            return self.code(Code::VEX_Vblendps_ymm_ymm_ymmm256_imm8, args);
        }
        let mask = self.reg(mask);
        let other = Arg::Use(self.reg(b));
        let then = self.reg_mem(a);
        let mut args = vec![Arg::Def(dst), other, then.arg];
        match self.width() {
            Width::Y256 => {
                args.push(Arg::Use(mask));
                self.code(Code::VEX_Vblendvps_ymm_ymm_ymmm256_ymm, args);
            }
            Width::Z512 => {
                let code = Code::EVEX_Vblendmps_zmm_k1z_zmm_zmmm512b32;
                self.with_mask(code, args, mask).broadcast = then.broadcast;
            }
        }
    }

    fn permute(&mut self, dst: VReg, a: Value, lanes: &[u8]) {
        let index = self.index(lanes);
        let src = self.reg_mem(a);
        let args = vec![Arg::Def(dst), Arg::Use(index), src.arg];
        self.with_memory(codes::permute(self.width()), args, src.broadcast);
    }

    /// The numbers of lanes in a register. Where there are many, the last ones stay in theirs.
    fn index(&mut self, lanes: &[u8]) -> VReg {
        let pool = self.pool_lanes(lanes.iter().map(|k| u32::from(*k)));
        if let Some((known, index)) = self.lane_numbers
            && known == pool
        {
            return index;
        }
        let index = self.fresh(Class::Vec);
        let args = vec![Arg::Def(index), Arg::Pool(pool)];
        self.code(codes::load(self.width()), args);
        if self.width() == Width::Z512 {
            self.lane_numbers = Some((pool, index));
        }
        index
    }

    fn tail_mask(&mut self, dst: VReg, count: Value) {
        let w = self.width();
        let all = self.fresh(Class::Vec);
        self.splat_int(all, count);
        let lanes = w.lanes(Elem::I32) as u32;
        let iota = Arg::Pool(self.pool_lanes(0..lanes));
        let mut args = vec![Arg::Def(dst), Arg::Use(all), iota];
        match w {
            Width::Y256 => self.code(Code::VEX_Vpcmpgtd_ymm_ymm_ymmm256, args),
            Width::Z512 => {
                args.push(Arg::Imm(codes::cmp_imm_i32(Cmp::Gt)));
                self.code(Code::EVEX_Vpcmpd_kr_k1_zmm_zmmm512b32_imm8, args);
            }
        }
    }

    fn reduce(&mut self, op: ReduceOp, elem: Elem, dst: VReg, a: Value) {
        let w = self.width();
        let shuffle = codes::shuffle(w);
        let wide = Code::EVEX_Vshuff64x2_zmm_k1z_zmm_zmmm512b64_imm8;
        let steps: &[(Code, i64)] = match w {
            Width::Y256 => &[
                (Code::VEX_Vperm2f128_ymm_ymm_ymmm256_imm8, 0x01),
                (shuffle, 0x4e),
                (shuffle, 0xb1),
            ],
            Width::Z512 => &[(wide, 0x4e), (wide, 0xb1), (shuffle, 0x4e), (shuffle, 0xb1)],
        };
        let combine = codes::binary(w, op.step(), elem);
        let mut acc = self.reg(a);
        for (i, (code, imm)) in steps.iter().enumerate() {
            let moved = self.fresh(Class::Vec);
            let next = match i + 1 == steps.len() {
                true => dst,
                false => self.fresh(Class::Vec),
            };
            let (from, imm) = (Arg::Use(acc), Arg::Imm(*imm));
            self.code(*code, vec![Arg::Def(moved), from, from, imm]);
            self.code(combine, vec![Arg::Def(next), from, Arg::Use(moved)]);
            acc = next;
        }
    }
}
