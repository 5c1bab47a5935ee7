//! Scalar operations to vector instructions.
use super::shorts::{is_short, is_word};
use super::{Lowering, WhyNot};
use crate::wide::vir::{self, Cmp, Elem, FmaOp, MaskOp, ShiftOp, Value, Width};
use tensmith_ir::dtype::DType;
use tensmith_ir::loops::{BinaryOp, Const, Scalar, UnaryOp, math};

/// The sign bit: flips the order of unsigned numbers to that of signed ones.
pub(super) const SIGN: i32 = i32::MIN;

/// Integers that lanes hold.
fn is_integer(d: DType) -> bool {
    matches!(d, DType::I32 | DType::U32) || is_short(d)
}

impl Lowering<'_> {
    pub(super) fn constant(&mut self, c: Const) -> Result<Value, WhyNot> {
        if c.dtype == DType::Bool {
            let zero = self.b.zero();
            let cmp = if c.bits == 0 { Cmp::Ne } else { Cmp::Eq };
            return Ok(self.b.cmp(cmp, Elem::I32, zero, zero));
        }
        if c.dtype.is_half() {
            return Ok(self.b.splat_i32(c.bits as i32));
        }
        if is_short(c.dtype) {
            return Ok(self.b.splat_i32(c.as_int() as i32));
        }
        Ok(match self.word_type(c.dtype)? {
            Elem::F32 => self.b.splat_f32(f32::from_bits(c.bits as u32)),
            Elem::I32 => self.b.splat_i32(c.bits as u32 as i32),
        })
    }

    pub(super) fn unary(&mut self, op: UnaryOp, d: DType, a: Value) -> Result<Value, WhyNot> {
        if d == DType::Bool {
            return match op {
                UnaryOp::Not => Ok(self.b.mask_not(a)),
                _ => Err(WhyNot::Type(d)),
            };
        }
        let elem = self.word_type(d)?;
        let float = |op| match elem {
            Elem::F32 => Ok(op),
            Elem::I32 => Err(WhyNot::Operation("rounding of integers")),
        };
        let op = match op {
            UnaryOp::Neg if elem == Elem::F32 => return Ok(self.xor(a, SIGN)),
            UnaryOp::Neg => {
                let zero = self.b.zero();
                return Ok(self.b.binary(vir::BinaryOp::Sub, elem, zero, a));
            }
            UnaryOp::Abs if elem == Elem::F32 => {
                let rest = self.b.splat_i32(!SIGN);
                return Ok(self.b.binary(vir::BinaryOp::And, Elem::I32, a, rest));
            }
            UnaryOp::Abs if d == DType::U32 => return Ok(a),
            UnaryOp::Abs => vir::UnaryOp::Abs,
            UnaryOp::Not if elem == Elem::I32 => return Ok(self.xor(a, -1)),
            UnaryOp::Not => return Err(WhyNot::Type(d)),
            UnaryOp::Sqrt => float(vir::UnaryOp::Sqrt)?,
            UnaryOp::Floor => float(vir::UnaryOp::Floor)?,
            UnaryOp::Ceil => float(vir::UnaryOp::Ceil)?,
            UnaryOp::Trunc => float(vir::UnaryOp::Trunc)?,
            UnaryOp::Round => float(vir::UnaryOp::Nearest)?,
        };
        Ok(self.b.unary(op, elem, a))
    }

    pub(super) fn xor(&mut self, a: Value, bits: i32) -> Value {
        let bits = self.b.splat_i32(bits);
        self.b.binary(vir::BinaryOp::Xor, Elem::I32, a, bits)
    }

    /// `right` is the scalar of `b`: constants allow shorter code.
    pub(super) fn binary(
        &mut self,
        op: BinaryOp,
        d: DType,
        a: Value,
        b: Value,
        right: &Scalar,
    ) -> Result<Value, WhyNot> {
        use vir::BinaryOp as V;
        if d == DType::Bool {
            return self.logic(op, a, b);
        }
        if is_short(d) && (op.is_compare() || matches!(op, BinaryOp::Min | BinaryOp::Max)) {
            return self.binary(op, DType::I32, a, b, right);
        }
        let elem = self.word_type(d)?;
        let op = match op {
            BinaryOp::Add => V::Add,
            BinaryOp::Sub => V::Sub,
            BinaryOp::Mul => V::Mul,
            BinaryOp::Div if elem == Elem::F32 => V::Div,
            BinaryOp::Div | BinaryOp::Rem => return Err(WhyNot::Operation("division of integers")),
            BinaryOp::Min | BinaryOp::Max => return Ok(self.min_max(op, d, elem, a, b, right)),
            BinaryOp::Shl | BinaryOp::Shr => return self.shift(op, d, a, right),
            BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le => {
                return Ok(self.compare(op, d, elem, a, b));
            }
            BinaryOp::Scale if self.b.width() == Width::Z512 => V::Scale,
            BinaryOp::Scale => return self.inline(math::scaling(d), vec![(d, a), (d, b)]),
            BinaryOp::And => V::And,
            BinaryOp::Or => V::Or,
            BinaryOp::Xor => V::Xor,
        };
        let bitwise = matches!(op, V::And | V::Or | V::Xor);
        let elem = if bitwise { Elem::I32 } else { elem };
        Ok(self.b.binary(op, elem, a, b))
    }

    fn logic(&mut self, op: BinaryOp, a: Value, b: Value) -> Result<Value, WhyNot> {
        let op = match op {
            BinaryOp::And => MaskOp::And,
            BinaryOp::Or => MaskOp::Or,
            BinaryOp::Xor | BinaryOp::Ne => MaskOp::Xor,
            BinaryOp::Eq => {
                let differ = self.b.mask(MaskOp::Xor, a, b);
                return Ok(self.b.mask_not(differ));
            }
            _ => return Err(WhyNot::Type(DType::Bool)),
        };
        Ok(self.b.mask(op, a, b))
    }

    /// Where the operands compare equal the result is `a`, where either is NaN it is NaN: the
    /// instruction gives its second operand in both cases, and a NaN in `b` is put back.
    fn min_max(
        &mut self,
        op: BinaryOp,
        d: DType,
        elem: Elem,
        a: Value,
        b: Value,
        right: &Scalar,
    ) -> Value {
        let op = match op {
            BinaryOp::Min => vir::BinaryOp::Min,
            _ => vir::BinaryOp::Max,
        };
        if d == DType::U32 {
            let (x, y) = (self.xor(a, SIGN), self.xor(b, SIGN));
            let r = self.b.binary(op, elem, x, y);
            return self.xor(r, SIGN);
        }
        let first = self.b.binary(op, elem, b, a);
        let number = matches!(right, Scalar::Const(c) if !c.as_f64().is_nan());
        if elem == Elem::I32 || number {
            return first;
        }
        let nan = self.b.cmp(Cmp::Unordered, elem, b, b);
        self.b.select(elem, nan, b, first)
    }

    fn shift(&mut self, op: BinaryOp, d: DType, a: Value, right: &Scalar) -> Result<Value, WhyNot> {
        let Scalar::Const(count) = right else {
            return Err(WhyNot::Operation("shifts by lanes"));
        };
        let Ok(count @ 0..32) = u8::try_from(count.bits) else {
            return Ok(self.b.zero());
        };
        let op = match (op, d) {
            (BinaryOp::Shl, _) => ShiftOp::Shl,
            (_, DType::I32) => ShiftOp::Sar,
            _ => ShiftOp::Shr,
        };
        Ok(self.b.shift(op, a, count))
    }

    fn compare(&mut self, op: BinaryOp, d: DType, elem: Elem, a: Value, b: Value) -> Value {
        let cmp = match op {
            BinaryOp::Eq => Cmp::Eq,
            BinaryOp::Ne => Cmp::Ne,
            BinaryOp::Lt => Cmp::Lt,
            _ => Cmp::Le,
        };
        if d == DType::U32 && matches!(cmp, Cmp::Lt | Cmp::Le) {
            let (x, y) = (self.xor(a, SIGN), self.xor(b, SIGN));
            return self.b.cmp(cmp, elem, x, y);
        }
        self.b.cmp(cmp, elem, a, b)
    }

    pub(super) fn fma(&mut self, d: DType, a: Value, b: Value, c: Value) -> Result<Value, WhyNot> {
        match self.word_type(d)? {
            Elem::F32 => Ok(self.b.fma(FmaOp::MulAdd, Elem::F32, a, b, c)),
            Elem::I32 => Err(WhyNot::Type(d)),
        }
    }

    /// `c ? a : b`.
    pub(super) fn choose(&mut self, d: DType, c: Value, a: Value, b: Value) -> Value {
        if d != DType::Bool {
            return self.b.select(Elem::F32, c, a, b);
        }
        let yes = self.b.mask(MaskOp::And, c, a);
        let no = self.b.mask(MaskOp::AndNot, c, b);
        self.b.mask(MaskOp::Or, yes, no)
    }

    pub(super) fn cast(&mut self, from: DType, to: DType, v: Value) -> Result<Value, WhyNot> {
        use DType::{Bool, F32, I32, U32};
        Ok(match (from, to) {
            _ if from == to => v,
            _ if from.is_half() || to.is_half() => self.cast_half(from, to, v)?,
            (F32, I32) => self.saturate(v),
            (F32, _) if is_short(to) => self.float_to_short(to, v),
            (F32 | I32 | U32, Bool) => {
                let elem = self.word_type(from)?;
                let zero = self.b.zero();
                self.b.cmp(Cmp::Ne, elem, v, zero)
            }
            (_, Bool) if is_short(from) => {
                let zero = self.b.zero();
                self.b.cmp(Cmp::Ne, Elem::I32, v, zero)
            }
            (_, F32) if from == I32 || is_short(from) => {
                self.b.unary(vir::UnaryOp::FromI32, Elem::I32, v)
            }
            (_, I32 | U32) if is_integer(from) => v,
            (_, _) if is_integer(from) && is_short(to) => self.wrap(to, v),
            (Bool, _) if is_word(to) || is_short(to) => {
                let one = self.constant(Const::new(to, 1.0))?;
                let zero = self.b.zero();
                self.b.select(Elem::F32, v, one, zero)
            }
            _ => return Err(WhyNot::Type(if from == F32 { to } else { from })),
        })
    }

    /// Truncation that saturates, NaN to 0: the instruction gives the least integer there.
    fn saturate(&mut self, v: Value) -> Value {
        let whole = self.b.unary(vir::UnaryOp::ToI32Trunc, Elem::F32, v);
        let limit = self.b.splat_f32(2_147_483_648.0);
        let above = self.b.cmp(Cmp::Ge, Elem::F32, v, limit);
        let most = self.b.splat_i32(i32::MAX);
        let high = self.b.select(Elem::I32, above, most, whole);
        let nan = self.b.cmp(Cmp::Unordered, Elem::F32, v, v);
        let zero = self.b.zero();
        self.b.select(Elem::I32, nan, zero, high)
    }
}
