//! Scalar operations to Cranelift instructions, for one element or for four.
use super::shorts::is_short;
use super::{Emitter, scalar_type, vector_type};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, Value, types};
use tensmith_ir::dtype::DType;
use tensmith_ir::loops::{BinaryOp, Const, UnaryOp};

impl Emitter<'_, '_> {
    pub(super) fn constant(&mut self, c: Const) -> Value {
        match c.dtype {
            DType::F32 => self.b.ins().f32const(f32::from_bits(c.bits as u32)),
            DType::F64 => self.b.ins().f64const(f64::from_bits(c.bits)),
            d => {
                let shift = 64 - 8 * d.bytes() as u32;
                let signed = ((c.bits << shift) as i64) >> shift;
                self.b.ins().iconst(scalar_type(d), signed)
            }
        }
    }

    /// Four copies of one element; `bool` becomes a mask, and a short integer one of 32 bits.
    pub(super) fn splat(&mut self, dtype: DType, v: Value) -> Value {
        if is_short(dtype) {
            let wide = self.extend(dtype, types::I32, v);
            return self.b.ins().splat(types::I32X4, wide);
        }
        if dtype == DType::Bool {
            let wide = self.b.ins().sextend(types::I32, v);
            let mask = self.b.ins().ineg(wide);
            return self.b.ins().splat(types::I32X4, mask);
        }
        self.b.ins().splat(vector_type(dtype), v)
    }

    /// One element of a vector; a mask becomes `bool`, and a short integer has its own bits.
    pub(super) fn extract(&mut self, dtype: DType, v: Value, lane: u8) -> Value {
        let element = self.b.ins().extractlane(v, lane);
        if dtype == DType::Bool {
            let word = self.b.ins().ineg(element);
            return self.b.ins().ireduce(types::I8, word);
        }
        match is_short(dtype) {
            true => self.b.ins().ireduce(scalar_type(dtype), element),
            false => element,
        }
    }

    fn is_vector(&self, v: Value) -> bool {
        self.b.func.dfg.value_type(v).is_vector()
    }

    fn recast(&mut self, ty: Type, v: Value) -> Value {
        if self.b.func.dfg.value_type(v) == ty {
            return v;
        }
        let flags = MemFlagsData::new().with_endianness(cranelift_codegen::ir::Endianness::Little);
        self.b.ins().bitcast(ty, flags, v)
    }

    pub(super) fn unary(&mut self, op: UnaryOp, d: DType, a: Value) -> Value {
        let vector = self.is_vector(a);
        match op {
            UnaryOp::Neg if d.is_float() => self.b.ins().fneg(a),
            UnaryOp::Neg => self.b.ins().ineg(a),
            UnaryOp::Abs if d.is_float() => self.b.ins().fabs(a),
            UnaryOp::Abs if d.is_signed() => self.b.ins().iabs(a),
            UnaryOp::Abs => a,
            UnaryOp::Sqrt => self.b.ins().sqrt(a),
            UnaryOp::Floor => self.b.ins().floor(a),
            UnaryOp::Ceil => self.b.ins().ceil(a),
            UnaryOp::Trunc => self.b.ins().trunc(a),
            UnaryOp::Round => self.b.ins().nearest(a),
            UnaryOp::Not if d == DType::Bool && !vector => {
                let one = self.b.ins().iconst(types::I8, 1);
                self.b.ins().bxor(a, one)
            }
            UnaryOp::Not => self.b.ins().bnot(a),
        }
    }

    pub(super) fn binary(&mut self, op: BinaryOp, d: DType, a: Value, b: Value) -> Value {
        match op {
            BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le => self.compare(op, d, a, b),
            BinaryOp::Min | BinaryOp::Max => self.min_max(op, d, a, b),
            BinaryOp::And => self.b.ins().band(a, b),
            BinaryOp::Or => self.b.ins().bor(a, b),
            BinaryOp::Xor => self.b.ins().bxor(a, b),
            BinaryOp::Shl | BinaryOp::Shr => self.shift(op, d, a, b),
            _ if d.is_float() => match op {
                BinaryOp::Add => self.b.ins().fadd(a, b),
                BinaryOp::Sub => self.b.ins().fsub(a, b),
                BinaryOp::Mul => self.b.ins().fmul(a, b),
                BinaryOp::Div => self.b.ins().fdiv(a, b),
                _ => panic!("invariant: float remainders are calls of the math table"),
            },
            BinaryOp::Add => self.b.ins().iadd(a, b),
            BinaryOp::Sub => self.b.ins().isub(a, b),
            BinaryOp::Mul => self.narrow_mul(d, a, b),
            _ => self.divide(op, d, a, b),
        }
    }

    /// Products of bytes are computed in 32 bits: x86-64 has no plain form.
    fn narrow_mul(&mut self, d: DType, a: Value, b: Value) -> Value {
        if d.bytes() != 1 {
            return self.b.ins().imul(a, b);
        }
        let (a, b) = (
            self.b.ins().sextend(types::I32, a),
            self.b.ins().sextend(types::I32, b),
        );
        let product = self.b.ins().imul(a, b);
        self.b.ins().ireduce(types::I8, product)
    }

    /// A vector that is no operand in memory: without AVX, Cranelift reads those of comparisons from
    /// addresses that are no multiples of 16, where the instruction faults.
    fn in_register(&mut self, v: Value) -> Value {
        if !self.is_vector(v) {
            return v;
        }
        let ty = self.b.func.dfg.value_type(v);
        let bits = self.recast(types::I32X4, v);
        self.recast(ty, bits)
    }

    pub(super) fn compare(&mut self, op: BinaryOp, d: DType, a: Value, b: Value) -> Value {
        if d.is_float() {
            let (a, b) = (self.in_register(a), self.in_register(b));
            let code = match op {
                BinaryOp::Eq => FloatCC::Equal,
                BinaryOp::Ne => FloatCC::NotEqual,
                BinaryOp::Lt => FloatCC::LessThan,
                _ => FloatCC::LessThanOrEqual,
            };
            return self.b.ins().fcmp(code, a, b);
        }
        let code = match (op, d.is_signed()) {
            (BinaryOp::Eq, _) => IntCC::Equal,
            (BinaryOp::Ne, _) => IntCC::NotEqual,
            (BinaryOp::Lt, true) => IntCC::SignedLessThan,
            (BinaryOp::Lt, false) => IntCC::UnsignedLessThan,
            (_, true) => IntCC::SignedLessThanOrEqual,
            (_, false) => IntCC::UnsignedLessThanOrEqual,
        };
        self.b.ins().icmp(code, a, b)
    }

    /// `min(a, b) = b < a ? b : a`, and NaN if either is: where `b` is NaN it is chosen.
    fn min_max(&mut self, op: BinaryOp, d: DType, a: Value, b: Value) -> Value {
        let (x, y) = if op == BinaryOp::Min { (b, a) } else { (a, b) };
        let chosen = self.compare(BinaryOp::Lt, d, x, y);
        let first = self.choose(d, chosen, b, a);
        if !d.is_float() {
            return first;
        }
        let is_nan = self.b.ins().fcmp(FloatCC::Unordered, b, b);
        self.choose(d, is_nan, b, first)
    }

    /// As [`Self::binary`] with `Min` or `Max`, where `b` is known not to be NaN.
    pub(super) fn min_max_number(&mut self, op: BinaryOp, d: DType, a: Value, b: Value) -> Value {
        let (x, y) = if op == BinaryOp::Min { (b, a) } else { (a, b) };
        let chosen = self.compare(BinaryOp::Lt, d, x, y);
        self.choose(d, chosen, b, a)
    }

    /// `c ? a : b` for a scalar flag or a mask.
    pub(super) fn choose(&mut self, d: DType, c: Value, a: Value, b: Value) -> Value {
        if !self.is_vector(a) {
            return self.b.ins().select(c, a, b);
        }
        let mask = self.recast(vector_type(d), c);
        self.b.ins().bitselect(mask, a, b)
    }

    /// The count is one scalar, also for vectors.
    fn shift(&mut self, op: BinaryOp, d: DType, a: Value, count: Value) -> Value {
        let shifted = match (op, d.is_signed()) {
            (BinaryOp::Shl, _) => self.b.ins().ishl(a, count),
            (_, true) => self.b.ins().sshr(a, count),
            (_, false) => self.b.ins().ushr(a, count),
        };
        let bits = 8 * d.bytes() as i64;
        let width = self.b.ins().iconst(scalar_type(d), bits);
        let fine = self.b.ins().icmp(IntCC::UnsignedLessThan, count, width);
        let ty = self.b.func.dfg.value_type(a);
        let outside = self.zero(ty);
        self.b.ins().select(fine, shifted, outside)
    }

    /// Integer division that never traps: by 0 gives 0, and the least value by -1 wraps.
    fn divide(&mut self, op: BinaryOp, d: DType, a: Value, b: Value) -> Value {
        let ty = if d.bytes() == 8 {
            types::I64
        } else {
            types::I32
        };
        let (a, b) = (self.extend(d, ty, a), self.extend(d, ty, b));
        let zero = self.b.ins().iconst(ty, 0);
        let one = self.b.ins().iconst(ty, 1);
        let by_zero = self.b.ins().icmp(IntCC::Equal, b, zero);
        let mut avoid = by_zero;
        if d.is_signed() {
            let minus = self.b.ins().iconst(ty, -1);
            let by_minus = self.b.ins().icmp(IntCC::Equal, b, minus);
            avoid = self.b.ins().bor(by_zero, by_minus);
        }
        let divisor = self.b.ins().select(avoid, one, b);
        let q = match (op, d.is_signed()) {
            (BinaryOp::Div, true) => self.b.ins().sdiv(a, divisor),
            (BinaryOp::Div, false) => self.b.ins().udiv(a, divisor),
            (_, true) => self.b.ins().srem(a, divisor),
            (_, false) => self.b.ins().urem(a, divisor),
        };
        let mut result = self.b.ins().select(by_zero, zero, q);
        if d.is_signed() && op == BinaryOp::Div {
            let minus = self.b.ins().iconst(ty, -1);
            let by_minus = self.b.ins().icmp(IntCC::Equal, b, minus);
            let negated = self.b.ins().ineg(a);
            result = self.b.ins().select(by_minus, negated, result);
        }
        if scalar_type(d) == ty {
            result
        } else {
            self.b.ins().ireduce(scalar_type(d), result)
        }
    }

    pub(super) fn extend(&mut self, d: DType, to: Type, v: Value) -> Value {
        if self.b.func.dfg.value_type(v) == to {
            v
        } else if d.is_signed() {
            self.b.ins().sextend(to, v)
        } else {
            self.b.ins().uextend(to, v)
        }
    }

    pub(super) fn bitcast(&mut self, to: DType, v: Value) -> Value {
        let ty = if self.is_vector(v) {
            vector_type(to)
        } else {
            scalar_type(to)
        };
        self.recast(ty, v)
    }

    /// Conversion between types other than halves.
    pub(super) fn cast(&mut self, from: DType, to: DType, v: Value) -> Value {
        if self.is_vector(v) {
            return self.cast_lanes(from, to, v);
        }
        match (from.is_float(), to.is_float()) {
            _ if to == DType::Bool => self.is_not_zero(from, v),
            (true, true) => self.float_to_float(from, to, v),
            (true, false) => self.float_to_int(to, v),
            (false, true) => self.int_to_float(from, to, v),
            (false, false) => self.int_to_int(from, to, v),
        }
    }

    fn is_not_zero(&mut self, from: DType, v: Value) -> Value {
        if from.is_float() {
            let zero = self.zero(scalar_type(from));
            return self.b.ins().fcmp(FloatCC::NotEqual, v, zero);
        }
        let zero = self.b.ins().iconst(scalar_type(from), 0);
        self.b.ins().icmp(IntCC::NotEqual, v, zero)
    }

    fn float_to_float(&mut self, from: DType, to: DType, v: Value) -> Value {
        match (from, to) {
            (DType::F32, DType::F64) => self.b.ins().fpromote(types::F64, v),
            (DType::F64, DType::F32) => self.b.ins().fdemote(types::F32, v),
            _ => v,
        }
    }

    fn float_to_int(&mut self, to: DType, v: Value) -> Value {
        match to {
            DType::I64 => self.b.ins().fcvt_to_sint_sat(types::I64, v),
            DType::U64 => self.b.ins().fcvt_to_uint_sat(types::I64, v),
            DType::I32 => self.b.ins().fcvt_to_sint_sat(types::I32, v),
            _ => {
                let wide = self.b.ins().fcvt_to_sint_sat(types::I64, v);
                let (lo, hi) = to.int_range().expect("invariant: an integer type");
                let (lo, hi) = (
                    self.b.ins().iconst(types::I64, lo as i64),
                    self.b.ins().iconst(types::I64, hi as i64),
                );
                let clamped = self.b.ins().smax(wide, lo);
                let clamped = self.b.ins().smin(clamped, hi);
                self.b.ins().ireduce(scalar_type(to), clamped)
            }
        }
    }

    fn int_to_float(&mut self, from: DType, to: DType, v: Value) -> Value {
        let ty = scalar_type(to);
        if from == DType::U64 {
            return self.b.ins().fcvt_from_uint(ty, v);
        }
        let wide = self.extend(from, types::I64, v);
        self.b.ins().fcvt_from_sint(ty, wide)
    }

    fn int_to_int(&mut self, from: DType, to: DType, v: Value) -> Value {
        let (have, want) = (scalar_type(from), scalar_type(to));
        if want.bits() < have.bits() {
            self.b.ins().ireduce(want, v)
        } else {
            self.extend(from, want, v)
        }
    }
}
