//! Index expressions inside a tile: a part that the caller computes, and strides of the tile's
//! loops.
use super::shorts::{in_memory, is_word};
use super::{Lowering, SCRATCH_WORDS, Stride, TileArg, WhyNot};
use crate::wide::vir::{Addr, Block, IntOp, IntTy, ShiftOp, Value};
use std::rc::Rc;
use tensmith_ir::expr::{Expr, Var};
use tensmith_ir::loops::BufferId;

/// A linear form over the tile's open loops: a word of the argument block, strides, a constant.
pub(super) struct Access {
    word: Option<usize>,
    pub strides: Vec<(Var, Stride)>,
    /// What is not linear in the open loops, in units of `scale` bytes.
    pub bent: Expr,
    /// Units: bytes of an element.
    pub scale: i64,
    /// Units: bytes.
    pub constant: i64,
    /// Elements from one vector lane to the next.
    pub lane_step: LaneStep,
}

impl Access {
    /// Whether another access is a constant number of bytes away, whatever the iteration.
    pub fn differs_by_constant(&self, other: &Access) -> bool {
        self.word == other.word
            && self.strides == other.strides
            && self.bent == other.bent
            && self.scale == other.scale
    }
}

/// How elements of vector lanes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneStep {
    /// All lanes have the same.
    Same,
    /// One after the other.
    Next,
    /// Anything else.
    Far,
}

impl Lowering<'_> {
    /// The word of the argument block for `arg`.
    pub(super) fn word(&mut self, arg: TileArg) -> usize {
        let known = self.args.iter().position(|a| *a == arg);
        known.unwrap_or_else(|| {
            self.args.push(arg);
            self.args.len() - 1
        })
    }

    pub(super) fn word_addr(&self, word: usize) -> Addr {
        Addr::at(self.b.args(), 8 * (SCRATCH_WORDS + word) as i32)
    }

    /// The value of an argument, loaded in the entry.
    pub(super) fn word_value(&mut self, word: usize) -> Value {
        if let Some(v) = self.words.get(&word) {
            return *v;
        }
        let addr = self.word_addr(word);
        let entry = self.scopes[0].block;
        let v = self.within(entry, |cx| cx.b.int_load(IntTy::I64, addr));
        self.words.insert(word, v);
        v
    }

    /// Appends to a block that dominates the current one.
    pub(super) fn within<T>(&mut self, block: Block, f: impl FnOnce(&mut Self) -> T) -> T {
        if block == self.current {
            return f(self);
        }
        self.b.switch_to(block);
        let result = f(self);
        self.b.switch_to(self.current);
        result
    }

    fn is_open(&self, var: Var) -> bool {
        let scope = |s: &super::LoopScope| s.var.is_some_and(|(v, _)| v == var);
        self.lanes.iter().any(|l| l.var == var) || self.scopes.iter().any(scope)
    }

    pub(super) fn open_vars(&self) -> Vec<Var> {
        let loops = self.scopes.iter().filter_map(|s| Some(s.var?.0));
        loops.chain(self.lanes.iter().map(|l| l.var)).collect()
    }

    /// Takes an expression apart; `arg` makes the argument of what is left without loops of the
    /// tile.
    pub(super) fn linear(
        &mut self,
        e: &Expr,
        scale: i64,
        arg: impl FnOnce(Expr) -> TileArg,
        always: bool,
    ) -> Result<Access, WhyNot> {
        let bent = self.bent_part(e);
        let e = &(e.clone() - bent.clone());
        let mut strides = Vec::new();
        let mut lane_step = LaneStep::Same;
        if self.lanes.iter().any(|l| l.vector && bent.mentions(l.var)) {
            lane_step = LaneStep::Far;
        }
        for var in self.open_vars().into_iter().filter(|v| e.mentions(*v)) {
            let coefficient = e.linear_coefficient(var).ok_or(WhyNot::Index)?;
            if self.lanes.iter().any(|l| l.vector && l.var == var) {
                let next = coefficient.is(1) && lane_step == LaneStep::Same;
                lane_step = if next { LaneStep::Next } else { LaneStep::Far };
            }
            let stride = match coefficient.as_const() {
                Some(c) => Stride::Const(c.checked_mul(scale).ok_or(WhyNot::Distance)?),
                None => Stride::Word {
                    word: self.word(TileArg::Value(coefficient)),
                    scale,
                },
            };
            strides.push((var, stride));
        }
        let rest = e.substitute(&|v| self.is_open(v).then(|| Expr::from(0)));
        let constant = rest.constant();
        let base = rest - constant;
        let word = (always || !base.is(0)).then(|| self.word(arg(base)));
        Ok(Access {
            word,
            strides,
            bent,
            scale,
            constant: constant.checked_mul(scale).ok_or(WhyNot::Distance)?,
            lane_step,
        })
    }

    /// The access of a load or store, which `key` identifies.
    pub(super) fn access(
        &mut self,
        key: usize,
        buffer: BufferId,
        index: &[Expr],
    ) -> Result<Rc<Access>, WhyNot> {
        if let Some(a) = self.accesses.get(&key) {
            return Ok(Rc::clone(a));
        }
        let b = self.kernel.buffer(buffer);
        if !is_word(b.dtype) && in_memory(b.dtype).is_none() {
            return Err(WhyNot::Type(b.dtype));
        }
        let offset = b.offset(index).simplify(&self.ranges);
        let arg = |rest| TileArg::Address(buffer, rest);
        let access = Rc::new(self.linear(&offset, b.dtype.bytes() as i64, arg, true)?);
        self.accesses.insert(key, Rc::clone(&access));
        Ok(access)
    }

    /// The lanes on which an access depends.
    pub(super) fn access_mask(&self, access: &Access) -> u32 {
        let varies = |v: Var| {
            let linear = access.strides.iter().any(|(w, _)| *w == v);
            linear || access.bent.mentions(v)
        };
        let open = self.lanes.iter().enumerate();
        open.filter(|(_, l)| !l.pinned && varies(l.var))
            .fold(0, |m, (k, _)| m | 1 << k)
    }

    /// The address of the element of vector lane `j` for the lanes at hand.
    pub(super) fn addr(&mut self, access: &Access, j: i64) -> Result<Addr, WhyNot> {
        let word = access.word.expect("invariant: accesses have an address");
        let mut base = self.word_value(word);
        let (bent, bent_bytes) = self.bent_at(access, j);
        let mut disp = access.constant + bent_bytes;
        for (var, stride) in &access.strides {
            let Some(lane) = self.lanes.iter().find(|l| l.var == *var).copied() else {
                continue;
            };
            let at = lane.value + if lane.vector { j } else { 0 };
            match stride {
                Stride::Const(s) => disp += at * s,
                _ if at == 0 => {}
                Stride::Word { word, scale } => {
                    let scaled = Stride::Word {
                        word: *word,
                        scale: scale * at,
                    };
                    base = self.sum(0, Some(base), scaled);
                }
            }
        }
        let disp = i32::try_from(disp).map_err(|_| WhyNot::Distance)?;
        let loops = self.loop_strides(access);
        let outer = &loops[..loops.len().saturating_sub(1)];
        let mut inner = 0;
        for (scope, stride) in outer {
            base = self.sum(*scope, Some(base), *stride);
            inner = *scope;
        }
        if !bent.is(0) {
            let offset = self.index_value(&bent)?;
            base = self.offset(inner.max(self.scope_of(&bent)), base, offset);
        }
        let Some((last, stride)) = loops.last() else {
            return Ok(Addr::at(base, disp));
        };
        let index = match stride {
            Stride::Const(s @ (1 | 2 | 4 | 8)) => {
                let (_, value) = self.scopes[*last].var.expect("invariant: a loop's scope");
                (value, *s as u8)
            }
            _ => (self.sum(*last, None, *stride), 1),
        };
        Ok(Addr {
            base,
            index: Some(index),
            disp,
        })
    }

    /// Bytes that the bent part adds for the lanes at hand: those that vary, and a constant.
    pub(super) fn bent_at(&self, access: &Access, j: i64) -> (Expr, i64) {
        let bytes = self.at_lanes(&access.bent, j) * access.scale;
        let constant = bytes.constant();
        (bytes - constant, constant)
    }

    /// Bytes from vector lane 0 at hand to the first `count` lanes, where they are constants.
    pub(super) fn lane_offsets(&self, access: &Access, count: i64) -> Option<Vec<i64>> {
        let vector = self.lanes.iter().find(|l| l.vector)?;
        let step = match access.strides.iter().find(|(v, _)| *v == vector.var) {
            None => 0,
            Some((_, Stride::Const(s))) => *s,
            Some((_, Stride::Word { .. })) => return None,
        };
        let (first, start) = self.bent_at(access, 0);
        let offset = |j| {
            let (rest, constant) = self.bent_at(access, j);
            (rest == first).then_some(constant - start + j * step)
        };
        (0..count).map(offset).collect()
    }

    /// The open loops of an access, outermost first.
    fn loop_strides(&self, access: &Access) -> Vec<(usize, Stride)> {
        let mut found = Vec::new();
        for (k, scope) in self.scopes.iter().enumerate() {
            let Some((var, _)) = scope.var else { continue };
            let stride = access.strides.iter().find(|(v, _)| *v == var);
            found.extend(stride.map(|(_, s)| (k, *s)));
        }
        found
    }

    /// `base + i * stride` with the variable of a scope (1 for the outermost, which has none),
    /// computed once an iteration.
    fn sum(&mut self, scope: usize, base: Option<Value>, stride: Stride) -> Value {
        if let Some(v) = self.scopes[scope].sums.get(&(base, stride)) {
            return *v;
        }
        let product = match (base, self.scopes[scope].var) {
            (Some(_), Some(_)) => self.sum(scope, None, stride),
            (_, var) => {
                let step = match stride {
                    Stride::Const(_) => None,
                    Stride::Word { word, scale } => Some((self.word_value(word), scale)),
                };
                let block = self.scopes[scope].block;
                self.within(block, |cx| cx.product(var.map(|(_, v)| v), stride, step))
            }
        };
        let v = match base {
            None => product,
            Some(base) => {
                let block = self.scopes[scope].block;
                self.within(block, |cx| cx.b.int(IntOp::Add, base, product))
            }
        };
        self.scopes[scope].sums.insert((base, stride), v);
        v
    }

    /// `base + offset`, computed once an iteration of a scope.
    fn offset(&mut self, scope: usize, base: Value, offset: Value) -> Value {
        if let Some(v) = self.scopes[scope].offsets.get(&(base, offset)) {
            return *v;
        }
        let block = self.scopes[scope].block;
        let v = self.within(block, |cx| cx.b.int(IntOp::Add, base, offset));
        self.scopes[scope].offsets.insert((base, offset), v);
        v
    }

    fn product(&mut self, i: Option<Value>, stride: Stride, step: Option<(Value, i64)>) -> Value {
        if let (Some(i), Stride::Const(s @ 1..)) = (i, stride)
            && s.count_ones() == 1
        {
            return self.b.int_shift(ShiftOp::Shl, i, s.trailing_zeros() as u8);
        }
        let step = match (stride, step) {
            (Stride::Const(s), _) => self.b.iconst(s),
            (_, Some((v, 1))) => v,
            (_, Some((v, scale))) => {
                let scale = self.b.iconst(scale);
                self.b.int(IntOp::Mul, v, scale)
            }
            (Stride::Word { .. }, None) => {
                panic!("invariant: the caller loads the words of strides")
            }
        };
        match i {
            Some(i) => self.b.int(IntOp::Mul, i, step),
            None => step,
        }
    }

    /// The value of an index expression for the lanes at hand, in the current block.
    pub(super) fn int_expr(&mut self, e: &Expr) -> Result<Value, WhyNot> {
        let e = e.simplify(&self.ranges);
        let access = self.linear(&e, 1, TileArg::Value, false)?;
        let mut constant = access.constant;
        let mut parts: Vec<Value> = Vec::new();
        parts.extend(access.word.map(|w| self.word_value(w)));
        for (var, stride) in &access.strides {
            if let Some(lane) = self.lanes.iter().find(|l| l.var == *var).copied() {
                match stride {
                    Stride::Const(s) => constant += s * lane.value,
                    Stride::Word { word, .. } => {
                        let (word, at) = (self.word_value(*word), self.b.iconst(lane.value));
                        parts.push(self.b.int(IntOp::Mul, word, at));
                    }
                }
            }
        }
        let (bent, bent_constant) = self.bent_at(&access, 0);
        constant += bent_constant;
        if !bent.is(0) {
            parts.push(self.index_value(&bent)?);
        }
        for (scope, stride) in self.loop_strides(&access) {
            let (_, value) = self.scopes[scope].var.expect("invariant: a loop's scope");
            parts.push(match stride {
                Stride::Const(1) => value,
                _ => self.sum(scope, None, stride),
            });
        }
        let sum = parts
            .into_iter()
            .reduce(|a, b| self.b.int(IntOp::Add, a, b));
        Ok(match sum {
            None => self.b.iconst(constant),
            Some(v) if constant == 0 => v,
            Some(v) => self.b.int_add_const(v, constant),
        })
    }
}
