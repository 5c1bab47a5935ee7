//! Elements of fewer than 32 bits: lanes hold integers of the same values, `bool` as masks, and
//! floats of 16 bits as integers of the same bits.
use super::address::{Access, LaneStep};
use super::{Lowering, WhyNot};
use crate::wide::vir::{BinaryOp, Cmp, Elem, IntTy, ShiftOp, StoreForm, UnaryOp, Value, Width};
use tensmith_ir::dtype::DType;
use tensmith_ir::loops::math;

/// Types that lanes compute with.
pub(super) fn is_word(d: DType) -> bool {
    matches!(d, DType::F32 | DType::I32 | DType::U32)
}

/// Integers that lanes hold as 32-bit ones.
pub(super) fn is_short(d: DType) -> bool {
    matches!(d, DType::I8 | DType::U8 | DType::I16 | DType::U16)
}

/// How elements that are not of 32 bits lie in memory.
pub(super) fn in_memory(d: DType) -> Option<IntTy> {
    Some(match d {
        DType::I8 => IntTy::I8,
        DType::U8 | DType::Bool => IntTy::U8,
        DType::I16 => IntTy::I16,
        DType::U16 | DType::F16 | DType::BF16 => IntTy::U16,
        _ => return None,
    })
}

impl Lowering<'_> {
    /// The element, or elements, of a load for the lanes at hand.
    pub(super) fn load_short(
        &mut self,
        ty: IntTy,
        access: &Access,
        mask: u32,
    ) -> Result<Value, WhyNot> {
        let tail = self.tail(mask);
        Ok(match access.lane_step {
            LaneStep::Same => {
                let addr = self.addr(access, 0)?;
                let element = self.b.int_load(ty, addr);
                self.b.splat_int(element)
            }
            LaneStep::Next if tail.is_none() || self.b.width() == Width::Z512 => {
                let addr = self.addr(access, 0)?;
                self.b.load_short(ty, tail, addr)
            }
            _ => self.gather_each(ty, access, mask)?,
        })
    }

    /// What was loaded of a type that is not of 32 bits: truth values are masks.
    pub(super) fn truth(&mut self, d: DType, v: Value) -> Value {
        if d != DType::Bool {
            return v;
        }
        let zero = self.b.zero();
        self.b.cmp(Cmp::Ne, Elem::I32, v, zero)
    }

    /// Stores the element, or elements, of the lanes at hand.
    pub(super) fn store_short(
        &mut self,
        (d, ty): (DType, IntTy),
        access: &Access,
        mask: u32,
        v: Value,
    ) -> Result<(), WhyNot> {
        let v = match d {
            DType::Bool => self.cast(d, DType::I32, v)?,
            _ => v,
        };
        let tail = self.tail(mask);
        match access.lane_step {
            LaneStep::Same => {
                let scratch = self.scratch(0);
                self.b.store_form(Elem::I32, StoreForm::Lane, scratch, v);
                let element = self.b.int_load(IntTy::I32, scratch);
                let addr = self.addr(access, 0)?;
                self.b.int_store(ty, addr, element);
            }
            LaneStep::Next if tail.is_none() || self.b.width() == Width::Z512 => {
                let addr = self.addr(access, 0)?;
                self.b.store_short(ty, tail, addr, v);
            }
            _ => self.scatter_each(ty, access, mask, v)?,
        }
        Ok(())
    }

    /// The nearest value of a short type to a float, towards zero, as a 32-bit integer; NaN to 0.
    pub(super) fn float_to_short(&mut self, to: DType, v: Value) -> Value {
        let (least, most) = to.int_range().expect("invariant: an integer type");
        let [least, most] = [least, most].map(|limit| self.b.splat_f32(limit as f32));
        // The second operand where the first is NaN.
        let above = self.b.binary(BinaryOp::Max, Elem::F32, v, least);
        let clamped = self.b.binary(BinaryOp::Min, Elem::F32, above, most);
        let whole = self.b.unary(UnaryOp::ToI32Trunc, Elem::F32, clamped);
        if !to.is_signed() {
            return whole;
        }
        let nan = self.b.cmp(Cmp::Unordered, Elem::F32, v, v);
        let zero = self.b.zero();
        self.b.select(Elem::I32, nan, zero, whole)
    }

    /// Conversion from or to a float of 16 bits: by way of `f32`.
    pub(super) fn cast_half(&mut self, from: DType, to: DType, v: Value) -> Result<Value, WhyNot> {
        let exact = from.is_half() || is_short(from) || from == DType::Bool;
        Ok(match (from, to) {
            (DType::F16, DType::F32) => self.b.unary(UnaryOp::FromF16, Elem::I32, v),
            (DType::F32, DType::F16) => self.b.unary(UnaryOp::ToF16, Elem::F32, v),
            (DType::BF16, DType::F32) | (DType::F32, DType::BF16) => {
                let body = math::conversion(from, to);
                let body = body.expect("invariant: the table has both");
                let operand = if from.is_half() { DType::U16 } else { from };
                self.inline(body, vec![(operand, v)])?
            }
            _ if exact => {
                let wide = self.cast(from, DType::F32, v)?;
                self.cast(DType::F32, to, wide)?
            }
            _ => return Err(WhyNot::Type(from)),
        })
    }

    /// The value of a short type that has the same low bits.
    pub(super) fn wrap(&mut self, to: DType, v: Value) -> Value {
        let bits = 8 * to.bytes() as u8;
        if !to.is_signed() {
            let low = self.b.splat_i32((1 << bits) - 1);
            return self.b.binary(BinaryOp::And, Elem::I32, v, low);
        }
        let top = self.b.shift(ShiftOp::Shl, v, 32 - bits);
        self.b.shift(ShiftOp::Sar, top, 32 - bits)
    }
}
