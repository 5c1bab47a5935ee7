//! Masks of 256-bit vectors that are constants, and so need no register.
//!
//! The first lanes are stored by stores of 128, 64 and 32 bits: a store under a mask takes some
//! processors as long as dozens of others.
use super::Selector;
use crate::wide::codes;
use crate::wide::minst::{Arg, Mem};
use crate::wide::vir::{Class, Cmp, Elem, Inst, Value, Width};
use iced_x86::Code;

/// Lanes of 128 bits, and of 64.
const HALF: i64 = 4;
const QUARTER: i64 = 2;
/// Units: bytes of a lane.
const LANE: i64 = 4;

impl Selector<'_> {
    /// How many first lanes a mask has, if that is known and neither none nor all of them.
    pub(super) fn first_lanes(&self, mask: Value) -> Option<i64> {
        let Inst::TailMask { count, .. } = self.f.def_inst(mask)? else {
            return None;
        };
        let Inst::IConst(count) = self.f.def_inst(*count)? else {
            return None;
        };
        Some(*count).filter(|n| (1..2 * HALF).contains(n))
    }

    /// The lanes of a mask that compares constants with zero.
    pub(super) fn constant_lanes(&self, mask: Value) -> Option<i64> {
        let Inst::Cmp {
            cmp: Cmp::Ne,
            elem: Elem::I32,
            a,
            b,
        } = self.f.def_inst(mask)?
        else {
            return None;
        };
        let (Inst::Lanes { bits, .. }, Inst::Splat { bits: 0, .. }) =
            (self.f.def_inst(*a)?, self.f.def_inst(*b)?)
        else {
            return None;
        };
        let set = bits.iter().enumerate().filter(|(_, lane)| **lane != 0);
        Some(set.fold(0, |lanes, (k, _)| lanes | 1 << k))
    }

    /// Stores the first lanes of a 256-bit vector.
    pub(super) fn store_first(&mut self, count: i64, mem: Arg, src: Arg) {
        let Arg::Mem(mem) = mem else {
            unreachable!("invariant: vectors are stored to memory");
        };
        let behind = |lanes: i64| {
            let disp = mem.disp.wrapping_add((lanes * LANE) as i32);
            Arg::Mem(Mem { disp, ..mem })
        };
        let (mut at, mut src) = (0, src);
        if count >= HALF {
            self.code(Code::VEX_Vmovups_xmmm128_xmm, vec![behind(0), src]);
            at = HALF;
            if count > HALF {
                let high = self.fresh(Class::Vec);
                let args = vec![Arg::Def(high), src, Arg::Imm(1)];
                self.code(codes::store_part(Width::Y256), args);
                src = Arg::Use(high);
            }
        }
        let part = count - at;
        if part >= QUARTER {
            self.code(Code::VEX_Vmovlps_m64_xmm, vec![behind(at), src]);
        }
        match part {
            1 => self.code(codes::store_lane(Width::Y256), vec![behind(at), src]),
            3 => {
                let args = vec![behind(at + QUARTER), src, Arg::Imm(QUARTER)];
                self.code(Code::VEX_Vextractps_rm32_xmm_imm8, args);
            }
            _ => {}
        }
    }
}
