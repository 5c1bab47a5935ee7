//! Elements of fewer than 32 bits in 128-bit vectors: four lanes of 32 bits hold integers of the same
//! values, `bool` as masks, and floats of 16 bits as integers of the same bits.
use super::{Emitter, vector_type};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Endianness, InstBuilder, MemFlagsData, Value, types};
use tensmith_ir::dtype::DType;
use tensmith_ir::loops::{BinaryOp, Const};

/// What lanes hold as 32-bit integers.
pub(super) fn is_short(dtype: DType) -> bool {
    dtype.is_half() || is_short_integer(dtype)
}

/// Integers that lanes hold as 32-bit ones.
fn is_short_integer(dtype: DType) -> bool {
    matches!(dtype, DType::I8 | DType::U8 | DType::I16 | DType::U16)
}

impl Emitter<'_, '_> {
    /// Four elements that lie side by side.
    pub(super) fn load_lanes(
        &mut self,
        dtype: DType,
        flags: MemFlagsData,
        address: Value,
        disp: i32,
    ) -> Value {
        if dtype.bytes() == 4 {
            return (self.b.ins()).load(vector_type(dtype), flags, address, disp);
        }
        let (flags, order) = (flags.with_endianness(Endianness::Little), little());
        let words = if dtype.bytes() == 1 {
            let packed = self.b.ins().load(types::I32, flags, address, disp);
            let packed = self.b.ins().scalar_to_vector(types::I32X4, packed);
            let bytes = self.b.ins().bitcast(types::I8X16, order, packed);
            match dtype.is_signed() {
                true => self.b.ins().swiden_low(bytes),
                false => self.b.ins().uwiden_low(bytes),
            }
        } else {
            let packed = self.b.ins().load(types::I64, flags, address, disp);
            let packed = self.b.ins().scalar_to_vector(types::I64X2, packed);
            self.b.ins().bitcast(types::I16X8, order, packed)
        };
        let lanes = match dtype.is_signed() {
            true => self.b.ins().swiden_low(words),
            false => self.b.ins().uwiden_low(words),
        };
        self.mask_of(dtype, lanes)
    }

    /// Puts one element that was loaded into a lane.
    pub(super) fn insert(&mut self, dtype: DType, vector: Value, element: Value, j: u8) -> Value {
        let element = match dtype {
            DType::Bool => {
                let wide = self.b.ins().uextend(types::I32, element);
                self.b.ins().ineg(wide)
            }
            _ if is_short(dtype) => self.extend(dtype, types::I32, element),
            _ => element,
        };
        self.b.ins().insertlane(vector, element, j)
    }

    /// The mask of `bool` lanes out of the numbers 0 and 1; lanes of other types stay.
    fn mask_of(&mut self, dtype: DType, lanes: Value) -> Value {
        match dtype {
            DType::Bool => self.b.ins().ineg(lanes),
            _ => lanes,
        }
    }

    /// Stores four elements side by side.
    pub(super) fn store_lanes(
        &mut self,
        dtype: DType,
        flags: MemFlagsData,
        lanes: Value,
        address: Value,
        disp: i32,
    ) {
        if dtype.bytes() == 4 {
            self.b.ins().store(flags, lanes, address, disp);
            return;
        }
        let lanes = self.mask_of(dtype, lanes);
        // Nothing saturates: lanes hold values of the type.
        let words = match dtype {
            DType::U16 | DType::F16 | DType::BF16 => self.b.ins().unarrow(lanes, lanes),
            _ => self.b.ins().snarrow(lanes, lanes),
        };
        let (flags, order) = (flags.with_endianness(Endianness::Little), little());
        let packed = if dtype.bytes() == 1 {
            let bytes = match dtype.is_signed() {
                true => self.b.ins().snarrow(words, words),
                false => self.b.ins().unarrow(words, words),
            };
            let all = self.b.ins().bitcast(types::I32X4, order, bytes);
            self.b.ins().extractlane(all, 0)
        } else {
            let all = self.b.ins().bitcast(types::I64X2, order, words);
            self.b.ins().extractlane(all, 0)
        };
        self.b.ins().store(flags, packed, address, disp);
    }

    /// Conversion of four lanes.
    pub(super) fn cast_lanes(&mut self, from: DType, to: DType, v: Value) -> Value {
        match (from, to) {
            (DType::Bool, _) => {
                let one = self.constant(Const::new(to, 1.0));
                let (one, zero) = (self.splat(to, one), self.zero(vector_type(to)));
                self.choose(to, v, one, zero)
            }
            (_, DType::Bool) => {
                let zero = self.zero(vector_type(from));
                self.compare(BinaryOp::Ne, from, v, zero)
            }
            (DType::F32, _) => {
                let whole = self.b.ins().fcvt_to_sint_sat(types::I32X4, v);
                self.clamp(to, whole)
            }
            (_, DType::F32) => self.b.ins().fcvt_from_sint(types::F32X4, v),
            _ => self.wrap(to, v),
        }
    }

    /// The nearest value of a short type.
    fn clamp(&mut self, to: DType, v: Value) -> Value {
        let Some((least, most)) = to.int_range().filter(|_| is_short_integer(to)) else {
            return v;
        };
        let [least, most] = [least, most].map(|limit| self.every(limit as i64));
        let above = self.b.ins().icmp(IntCC::SignedGreaterThan, v, least);
        let v = self.b.ins().bitselect(above, v, least);
        let below = self.b.ins().icmp(IntCC::SignedLessThan, v, most);
        self.b.ins().bitselect(below, v, most)
    }

    /// The value of a short type that has the same low bits.
    fn wrap(&mut self, to: DType, v: Value) -> Value {
        if !is_short_integer(to) {
            return v;
        }
        let bits = 8 * to.bytes() as i64;
        if !to.is_signed() {
            let low = self.every((1 << bits) - 1);
            return self.b.ins().band(v, low);
        }
        let top = self.b.ins().ishl_imm_u(v, 32 - bits);
        self.b.ins().sshr_imm_u(top, 32 - bits)
    }

    fn every(&mut self, value: i64) -> Value {
        let value = self.b.ins().iconst(types::I32, value);
        self.b.ins().splat(types::I32X4, value)
    }
}

fn little() -> MemFlagsData {
    MemFlagsData::new().with_endianness(Endianness::Little)
}
