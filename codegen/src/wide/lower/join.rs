//! Reductions over the lanes of vectors.
//!
//! `acc = acc op term`, where lanes share the accumulator and not the term: vectors are joined by
//! halves of the next power of two, then the lanes of the last one in the same way, so that the
//! order of operations is that of a tree over all lanes, whatever the width. Lanes that do not
//! exist hold the identity.
use super::ops::SIGN;
use super::shorts::is_short;
use super::{Lowering, WhyNot};
use crate::wide::vir::{self, Cmp, Elem, MaskOp, ReduceOp, Value};
use tensmith_ir::dtype::DType;
use tensmith_ir::loops::{BinaryOp, BufferId, Scalar};

/// The parts of `acc = acc op term`.
enum Term<'s> {
    Value(&'s Scalar),
    /// The product that a multiply-add adds.
    Product(&'s Scalar, &'s Scalar),
}

/// A vector of terms.
#[derive(Clone, Copy)]
struct Part {
    value: Value,
    /// The lanes that exist, if not all do.
    live: Option<Value>,
}

fn update(buffer: BufferId, value: &Scalar) -> Option<(BinaryOp, Term<'_>)> {
    let is_acc = |s: &Scalar| matches!(s, Scalar::Load(b, _) if *b == buffer);
    match value {
        Scalar::Binary(op, a, b) if is_acc(a) => Some((*op, Term::Value(b))),
        Scalar::Binary(op, a, b) if is_acc(b) => Some((*op, Term::Value(a))),
        Scalar::Fma(a, b, c) if is_acc(c) => Some((BinaryOp::Add, Term::Product(a, b))),
        _ => None,
    }
}

impl Lowering<'_> {
    /// Updates a register over the lanes of `mask` by all lanes of `joined`.
    pub(super) fn join(
        &mut self,
        buffer: BufferId,
        value: &Scalar,
        mask: u32,
        joined: u32,
    ) -> Result<(), WhyNot> {
        let (op, term) = update(buffer, value).ok_or(WhyNot::Horizontal)?;
        let mut lanes = self.lanes.iter().enumerate();
        if lanes.any(|(k, l)| joined & (1 << k) != 0 && !l.vector) {
            return Err(WhyNot::Horizontal);
        }
        let d = self.kernel.buffer(buffer).dtype;
        self.each(mask, &mut |cx| {
            let mut parts = Vec::new();
            cx.each(joined, &mut |cx| {
                let (value, live) = (cx.term(d, &term)?, cx.tail(joined));
                parts.push(Part { value, live });
                Ok(())
            })?;
            let slot = (buffer, cx.register_position(buffer));
            let acc = cx.slot_value(&slot);
            let v = match (op, d) {
                (BinaryOp::Max | BinaryOp::Min, DType::F32) => cx.extreme(op, acc, parts)?,
                _ => {
                    let last = cx.join_halves(op, d, parts)?;
                    let all = cx.join_vector(op, d, last)?;
                    cx.binary(op, d, acc, all, value)?
                }
            };
            cx.registers.insert(slot, v);
            Ok(())
        })
    }

    fn term(&mut self, d: DType, term: &Term<'_>) -> Result<Value, WhyNot> {
        match term {
            Term::Value(s) => self.scalar(s),
            Term::Product(a, b) => {
                let (x, y) = (self.scalar(a)?, self.scalar(b)?);
                self.binary(BinaryOp::Mul, d, x, y, b)
            }
        }
    }

    /// A vector with the identity in lanes that do not exist.
    fn filled(&mut self, op: BinaryOp, d: DType, part: Part) -> Result<Value, WhyNot> {
        let Some(live) = part.live else {
            return Ok(part.value);
        };
        let identity = op.identity(d).ok_or(WhyNot::Horizontal)?;
        let identity = self.constant(identity)?;
        Ok(self.choose(d, live, part.value, identity))
    }

    fn join_halves(&mut self, op: BinaryOp, d: DType, parts: Vec<Part>) -> Result<Value, WhyNot> {
        // No operand is known to be a constant.
        let any = Scalar::load(BufferId(0), vec![]);
        let one = self.halved(d, parts, &mut |cx, a, b| cx.binary(op, d, a, b, &any))?;
        self.filled(op, d, one)
    }

    /// Joins vectors by halves; lanes that do not exist in one keep what the other has.
    fn halved(
        &mut self,
        d: DType,
        mut parts: Vec<Part>,
        join: &mut dyn FnMut(&mut Self, Value, Value) -> Result<Value, WhyNot>,
    ) -> Result<Part, WhyNot> {
        while parts.len() > 1 {
            let half = parts.len().next_power_of_two() / 2;
            for k in half..parts.len() {
                let (a, Part { value: b, live }) = (parts[k - half].value, parts[k]);
                let both = join(self, a, b)?;
                parts[k - half].value = match live {
                    Some(live) => self.choose(d, live, both, a),
                    None => both,
                };
            }
            parts.truncate(half);
        }
        Ok(parts[0])
    }

    /// All lanes of a vector, in every lane.
    fn join_vector(&mut self, op: BinaryOp, d: DType, v: Value) -> Result<Value, WhyNot> {
        if d == DType::Bool {
            return self.join_truth(op, v);
        }
        if is_short(d) && matches!(op, BinaryOp::Min | BinaryOp::Max) {
            return self.join_vector(op, DType::I32, v);
        }
        let elem = self.word_type(d)?;
        let (op, elem) = match (op, d) {
            (BinaryOp::Max | BinaryOp::Min, DType::U32) => {
                let signed = self.xor(v, SIGN);
                let extreme = self.join_vector(op, DType::I32, signed)?;
                return Ok(self.xor(extreme, SIGN));
            }
            (BinaryOp::Add, _) => (ReduceOp::Add, elem),
            (BinaryOp::Mul, _) => (ReduceOp::Mul, elem),
            (BinaryOp::Max, _) => (ReduceOp::Max, elem),
            (BinaryOp::Min, _) => (ReduceOp::Min, elem),
            (BinaryOp::And, _) => (ReduceOp::And, Elem::I32),
            (BinaryOp::Or, _) => (ReduceOp::Or, Elem::I32),
            (BinaryOp::Xor, _) => (ReduceOp::Xor, Elem::I32),
            _ => return Err(WhyNot::Horizontal),
        };
        Ok(self.b.reduce(op, elem, v))
    }

    /// Truth values by way of integers.
    fn join_truth(&mut self, op: BinaryOp, v: Value) -> Result<Value, WhyNot> {
        let op = match op {
            BinaryOp::And => ReduceOp::And,
            BinaryOp::Or => ReduceOp::Or,
            BinaryOp::Xor => ReduceOp::Xor,
            _ => return Err(WhyNot::Horizontal),
        };
        let word = self.cast(DType::Bool, DType::I32, v)?;
        let all = self.b.reduce(op, Elem::I32, word);
        self.cast(DType::I32, DType::Bool, all)
    }

    /// The extreme of a number and of all lanes of vectors of floats. Lanes are joined as integers in
    /// the same order, so that a NaN wins wherever it stands; of zeros, the positive one is the
    /// greater.
    fn extreme(&mut self, op: BinaryOp, acc: Value, mut parts: Vec<Part>) -> Result<Value, WhyNot> {
        let (d, identity) = (DType::F32, op.identity(DType::F32));
        let (op, reduce, nan) = match op {
            BinaryOp::Max => (vir::BinaryOp::Max, ReduceOp::Max, i32::MAX),
            _ => (vir::BinaryOp::Min, ReduceOp::Min, -1),
        };
        // In front of the others, whose last one may have lanes that do not exist.
        let (value, live) = (acc, None);
        if self.b.splatted(acc) != identity.map(|c| c.bits) || parts[0].live.is_some() {
            parts.insert(0, Part { value, live });
        }
        let unordered = self.unordered(&parts)?;
        let one = self.halved(d, parts, &mut |cx, a, b| {
            Ok(cx.b.binary(op, Elem::F32, a, b))
        })?;
        let nan = self.b.splat_i32(nan);
        let v = self.b.select(Elem::I32, unordered, nan, one.value);
        let ordered = self.in_integer_order(v);
        let extreme = self.b.reduce(reduce, Elem::I32, ordered);
        Ok(self.in_integer_order(extreme))
    }

    /// Where any of some vectors is NaN.
    fn unordered(&mut self, parts: &[Part]) -> Result<Value, WhyNot> {
        let mut found = None;
        let mut add = |cx: &mut Self, mask| {
            found = Some(match found {
                Some(others) => cx.b.mask(MaskOp::Or, others, mask),
                None => mask,
            });
        };
        let full: Vec<Value> = parts
            .iter()
            .filter(|p| p.live.is_none())
            .map(|p| p.value)
            .collect();
        for pair in full.chunks(2) {
            let either = self
                .b
                .cmp(Cmp::Unordered, Elem::F32, pair[0], pair[pair.len() - 1]);
            add(self, either);
        }
        for Part { value, live } in parts {
            if let Some(live) = live {
                let own = self.b.cmp(Cmp::Unordered, Elem::F32, *value, *value);
                let own = self.b.mask(MaskOp::And, *live, own);
                add(self, own);
            }
        }
        found.ok_or(WhyNot::Horizontal)
    }

    /// Flips all but the sign of negative numbers; the same again undoes it.
    fn in_integer_order(&mut self, v: Value) -> Value {
        let sign = self.b.shift(vir::ShiftOp::Sar, v, 31);
        let rest = self.b.splat_i32(i32::MAX);
        let flip = self.b.binary(vir::BinaryOp::And, Elem::I32, sign, rest);
        self.b.binary(vir::BinaryOp::Xor, Elem::I32, v, flip)
    }
}
