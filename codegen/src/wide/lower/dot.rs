//! Sums of products of bytes, four terms a lane.
//!
//! A loop of up to four terms of a sum in 32-bit integers, `s += i32(a[..]) * i32(b[..])`, over
//! elements of 8 bits of which one has a sign and the other has none, is one instruction where the
//! target has it: each factor is a vector of words of four bytes, or one such word for all lanes.
//! Integers wrap, so the order of terms does not matter. A loop of fewer than four terms is the end
//! of a sum: the factor that all lanes share gets zeros behind its terms, and the other one must
//! lie in groups of four, whose rest then does not count.
use super::address::{Access, LaneStep};
use super::{Lowering, Stride, TileArg, WhyNot};
use crate::wide::vir::{Elem, IntOp, IntTy, LoadForm, ShiftOp, Value};
use std::rc::Rc;
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::{Expr, Ranges};
use tensmith_ir::loops::{BinaryOp, BufferId, For, Kernel, Mark, Role, Scalar, Scope, Stmt};

/// Terms of a lane.
const TERMS: i64 = 4;

/// A factor of the terms.
struct Factor<'s> {
    /// The widened element, which identifies the words.
    widened: &'s Scalar,
    buffer: BufferId,
    /// The offset of the first term.
    offset: Expr,
}

/// A loop over terms.
struct Terms<'s> {
    register: BufferId,
    unsigned: Factor<'s>,
    signed: Factor<'s>,
    count: i64,
}

/// The loop as terms of a lane, if it is such.
fn terms<'s>(kernel: &Kernel, l: &'s For, ranges: &Ranges) -> Option<Terms<'s>> {
    let count = l.extent.as_const().filter(|n| (1..=TERMS).contains(n))?;
    let plain = l.mark == Mark::Plain && l.role == Role::Reduce && l.reduction.is_none();
    let [Stmt::Store { buffer, value, .. }] = &l.body[..] else {
        return None;
    };
    let register = kernel.buffer(*buffer);
    if !plain || register.scope != Scope::Register || register.dtype != DType::I32 {
        return None;
    }
    let Scalar::Binary(BinaryOp::Add, sum, product) = value else {
        return None;
    };
    let Scalar::Binary(BinaryOp::Mul, x, y) = &**product else {
        return None;
    };
    if !matches!(**sum, Scalar::Load(b, _) if b == *buffer) {
        return None;
    }
    let factors = [factor(kernel, l, ranges, x)?, factor(kernel, l, ranges, y)?];
    let [unsigned, signed] = match factors.each_ref().map(|f| kernel.buffer(f.buffer).dtype) {
        [DType::U8, DType::I8] => factors,
        [DType::I8, DType::U8] => {
            let [signed, unsigned] = factors;
            [unsigned, signed]
        }
        _ => return None,
    };
    Some(Terms {
        register: *buffer,
        unsigned,
        signed,
        count,
    })
}

/// A widened byte, one behind the other for each term.
fn factor<'s>(kernel: &Kernel, l: &For, ranges: &Ranges, s: &'s Scalar) -> Option<Factor<'s>> {
    let Scalar::Cast(DType::I32, load) = s else {
        return None;
    };
    let Scalar::Load(b, index) = &**load else {
        return None;
    };
    let buffer = kernel.buffer(*b);
    if buffer.scope == Scope::Register {
        return None;
    }
    let offset = buffer.offset(index).simplify(ranges);
    let next = offset.linear_coefficient(l.var)?.is(1);
    next.then(|| Factor {
        widened: s,
        buffer: *b,
        offset: offset.substitute(&|v| (v == l.var).then(|| Expr::from(0))),
    })
}

impl Lowering<'_> {
    /// Emits a loop whose iterations are the terms of lanes; whether it is such a loop.
    pub(super) fn dot_loop(&mut self, l: &For) -> Result<bool, WhyNot> {
        if !self.dots {
            return Ok(false);
        }
        let Some(terms) = terms(self.kernel, l, &self.ranges) else {
            return Ok(false);
        };
        let unsigned = self.words(&terms.unsigned)?;
        let signed = self.words(&terms.signed)?;
        let (Some(unsigned), Some(signed)) = (unsigned, signed) else {
            return Ok(false);
        };
        let steps = [unsigned.lane_step, signed.lane_step];
        let whole = terms.count == TERMS;
        if !whole && !self.ends(&terms, steps) {
            return Ok(false);
        }
        let mask = self.register_mask(terms.register);
        let of_terms = self.access_mask(&unsigned) | self.access_mask(&signed);
        if of_terms & !mask != 0 {
            return Ok(false);
        }
        self.memo = Default::default();
        self.stored = None;
        self.each(mask, &mut |cx| {
            let a = cx.word_of(&terms.unsigned, &unsigned, terms.count)?;
            let b = cx.word_of(&terms.signed, &signed, terms.count)?;
            let slot = (terms.register, cx.register_position(terms.register));
            let sum = cx.slot_value(&slot);
            let sum = cx.b.dot(a, b, sum);
            cx.registers.insert(slot, sum);
            Ok(())
        })?;
        Ok(true)
    }

    /// Whether fewer than four terms can be words: one factor is the same in all lanes, so that it
    /// can be filled up, and the other one lies in groups of four.
    fn ends(&self, terms: &Terms<'_>, steps: [LaneStep; 2]) -> bool {
        let lanes = match steps {
            [LaneStep::Same, LaneStep::Next] => &terms.signed,
            [LaneStep::Next, LaneStep::Same] => &terms.unsigned,
            _ => return false,
        };
        let layout = &self.kernel.buffer(lanes.buffer).layout;
        let last = layout.0.last();
        last.is_some_and(|d| d.step == 1 && d.extent == Some(TERMS))
    }

    /// The words of a factor, if lanes have one word behind the other, or all the same.
    fn words(&mut self, factor: &Factor<'_>) -> Result<Option<Rc<Access>>, WhyNot> {
        let key = std::ptr::from_ref(factor.widened) as usize;
        let access = match self.accesses.get(&key) {
            Some(known) => Rc::clone(known),
            None => {
                let arg = |rest| TileArg::Address(factor.buffer, rest);
                let mut access = self.linear(&factor.offset, 1, arg, true)?;
                if access.lane_step != LaneStep::Same && self.lane_stride(&access) == Some(TERMS) {
                    access.lane_step = LaneStep::Next;
                } else if access.lane_step != LaneStep::Same {
                    access.lane_step = LaneStep::Far;
                }
                let access = Rc::new(access);
                self.accesses.insert(key, Rc::clone(&access));
                access
            }
        };
        Ok((access.lane_step != LaneStep::Far).then_some(access))
    }

    /// Units: bytes from one lane of vectors to the next.
    fn lane_stride(&self, access: &Access) -> Option<i64> {
        let vector = self.lanes.iter().find(|l| l.vector)?;
        if access.bent.mentions(vector.var) {
            return None;
        }
        match access.strides.iter().find(|(v, _)| *v == vector.var)? {
            (_, Stride::Const(bytes)) => Some(*bytes),
            _ => None,
        }
    }

    /// The words of a factor for the lanes at hand, with zeros behind `count` terms where all lanes
    /// share one.
    fn word_of(
        &mut self,
        factor: &Factor<'_>,
        access: &Access,
        count: i64,
    ) -> Result<Value, WhyNot> {
        let mask = self.access_mask(access);
        let key = (
            std::ptr::from_ref(factor.widened) as usize,
            self.lanes_of(mask),
        );
        if let Some(v) = self.memo.scalars.get(&key) {
            return Ok(*v);
        }
        let addr = self.addr(access, 0)?;
        let v = match access.lane_step {
            LaneStep::Same if count == TERMS => self.b.broadcast(Elem::I32, addr),
            LaneStep::Same => {
                let mut word = match count {
                    1 => self.b.int_load(IntTy::U8, addr),
                    _ => self.b.int_load(IntTy::U16, addr),
                };
                if count == 3 {
                    let third = self.b.int_load(IntTy::U8, addr.disp(addr.disp + 2));
                    let third = self.b.int_shift(ShiftOp::Shl, third, 16);
                    word = self.b.int(IntOp::Add, word, third);
                }
                self.b.splat_int(word)
            }
            _ => {
                self.fetch_ahead(factor.buffer, addr);
                match self.tail(mask) {
                    Some(m) => self.b.load_form(Elem::I32, LoadForm::Masked(m), addr),
                    None => self.b.load(Elem::I32, addr),
                }
            }
        };
        self.memo.scalars.insert(key, v);
        Ok(v)
    }
}
