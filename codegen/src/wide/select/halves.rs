//! Conversions between F32 and the bits of IEEE binary16 in lanes.
//!
//! The instructions have binary16 side by side in half a vector, or in memory: a load of them that
//! is converted at once, and a conversion that is stored at once, are one instruction.

use super::{Selector, codes};
use crate::wide::minst::Arg;
use crate::wide::vir::{Addr, Class, Inst, IntTy, Value, Width};
use iced_x86::Code;

/// Rounds to nearest even, whatever MXCSR says.
const NEAREST: Arg = Arg::Imm(0);

impl Selector<'_> {
    pub(super) fn convert_from_f16(&mut self, dst: regalloc2::VReg, a: Value) {
        let (w, f) = (self.width(), self.f);
        if let Some(Inst::LoadShort { mask, addr, .. }) = f.def_inst(a)
            && self.uses.postponed(a)
        {
            let args = vec![Arg::Def(dst), Arg::Mem(self.mem(addr))];
            match mask {
                Some(m) => {
                    let mask = self.reg(*m);
                    self.with_mask(codes::from_f16(w), args, mask).zeroing = true;
                }
                None => self.code(codes::from_f16(w), args),
            }
            return;
        }
        let src = self.reg(a);
        let packed = self.fresh(Class::Vec);
        match w {
            Width::Z512 => {
                let args = vec![Arg::Def(packed), Arg::Use(src)];
                self.code(codes::NARROW_WORDS, args);
            }
            Width::Y256 => {
                // Within each part of 128 bits, then those of both parts side by side.
                let parts = self.fresh(Class::Vec);
                let args = vec![Arg::Def(parts), Arg::Use(src), Arg::Use(src)];
                self.code(Code::VEX_Vpackusdw_ymm_ymm_ymmm256, args);
                let args = vec![Arg::Def(packed), Arg::Use(parts), Arg::Imm(0b1000)];
                self.code(Code::VEX_Vpermq_ymm_ymmm256_imm8, args);
            }
        }
        self.code(codes::from_f16(w), vec![Arg::Def(dst), Arg::Use(packed)]);
    }

    pub(super) fn convert_to_f16(&mut self, dst: regalloc2::VReg, a: Value) {
        let w = self.width();
        let src = self.reg(a);
        let packed = self.fresh(Class::Vec);
        let args = vec![Arg::Def(packed), Arg::Use(src), NEAREST];
        self.code(codes::to_f16(w), args);
        let code = codes::load_short(w, IntTy::U16);
        self.code(code, vec![Arg::Def(dst), Arg::Use(packed)]);
    }

    /// Stores a conversion to binary16 that only this store reads.
    pub(super) fn store_f16(&mut self, mask: Option<Value>, addr: &Addr, value: Value) {
        let Some(Inst::Unary { a, .. }) = self.f.def_inst(value) else {
            unreachable!("invariant: only conversions are left to stores");
        };
        let src = self.reg(*a);
        let args = vec![Arg::Mem(self.mem(addr)), Arg::Use(src), NEAREST];
        let code = codes::to_f16(self.width());
        match mask {
            Some(m) => {
                let mask = self.reg(m);
                self.with_mask(code, args, mask);
            }
            None => self.code(code, args),
        }
    }
}
