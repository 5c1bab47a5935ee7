//! Scalars to vectors, for the lanes at hand.
use super::{Lowering, TileArg, WhyNot};
use crate::wide::vir::{self, Class, Cmp, Elem, UnaryOp, Value};
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Expr;
use tensmith_ir::loops::math::{self, MathBody, MathFn};
use tensmith_ir::loops::{BinaryOp, BufferId, Scalar, Scope};

/// What loads without an index mean.
#[derive(Clone, Copy)]
enum Env<'e> {
    Kernel,
    /// Registers of a math body, with their types.
    Math(&'e [(DType, Value)]),
}

impl Lowering<'_> {
    /// The lanes on which a scalar depends.
    pub(super) fn scalar_mask(&mut self, s: &Scalar) -> Result<u32, WhyNot> {
        let mut mask = match s {
            Scalar::Load(b, _) if self.kernel.buffer(*b).scope == Scope::Register => {
                self.register_mask(*b)
            }
            Scalar::Load(b, index) => {
                let access = self.access(key_of(s), *b, index)?;
                self.access_mask(&access)
            }
            Scalar::Guard(conds, ..) => self.mentioned(conds),
            Scalar::Index(e) => self.mentioned(std::slice::from_ref(e)),
            _ => 0,
        };
        for child in s.children() {
            mask |= self.scalar_mask(child)?;
        }
        Ok(mask)
    }

    /// The lanes on which expressions depend.
    pub(super) fn mentioned(&self, es: &[Expr]) -> u32 {
        let open = self.lanes.iter().enumerate();
        open.filter(|(_, l)| !l.pinned && es.iter().any(|e| e.mentions(l.var)))
            .fold(0, |m, (k, _)| m | 1 << k)
    }

    /// The value of a scalar of the statement at hand.
    pub(super) fn scalar(&mut self, s: &Scalar) -> Result<Value, WhyNot> {
        let mask = self.scalar_mask(s)?;
        let key = (key_of(s), self.lanes_of(mask));
        if let Some(v) = self.memo.scalars.get(&key) {
            return Ok(*v);
        }
        let v = self.evaluate(s, Env::Kernel)?;
        self.memo.scalars.insert(key, v);
        Ok(v)
    }

    /// The values of the lanes at hand that a mask has.
    pub(super) fn lanes_of(&self, mask: u32) -> Vec<i64> {
        let lanes = self.lanes.iter().enumerate();
        let of = lanes.filter(|(k, _)| mask & (1 << k) != 0);
        of.map(|(_, l)| l.value).collect()
    }

    fn eval(&mut self, s: &Scalar, env: Env<'_>) -> Result<Value, WhyNot> {
        match env {
            Env::Kernel => self.scalar(s),
            Env::Math(_) => self.evaluate(s, env),
        }
    }

    fn dtype(&self, s: &Scalar, env: Env<'_>) -> DType {
        s.dtype(&|b| match env {
            Env::Kernel => self.kernel.buffer(b).dtype,
            Env::Math(values) => values[b.0 as usize].0,
        })
    }

    fn evaluate(&mut self, s: &Scalar, env: Env<'_>) -> Result<Value, WhyNot> {
        match s {
            Scalar::Const(c) => self.constant(*c),
            Scalar::Index(_) => Err(WhyNot::Operation("index values")),
            Scalar::Load(b, index) => match env {
                Env::Math(values) => Ok(values[b.0 as usize].1),
                Env::Kernel => self.load_any(s, *b, index),
            },
            Scalar::Unary(op, a) => {
                let d = self.dtype(a, env);
                let a = self.eval(a, env)?;
                self.unary(*op, d, a)
            }
            Scalar::Binary(op, a, b) => {
                let d = self.dtype(a, env);
                let (x, y) = (self.eval(a, env)?, self.eval(b, env)?);
                self.binary(*op, d, x, y, b)
            }
            Scalar::Fma(a, b, c) => {
                let d = self.dtype(a, env);
                let (a, b, c) = (self.eval(a, env)?, self.eval(b, env)?, self.eval(c, env)?);
                self.fma(d, a, b, c)
            }
            Scalar::Call(f, args) => {
                let d = self.dtype(&args[0], env);
                let args = args.iter().map(|a| Ok((d, self.eval(a, env)?)));
                let args = args.collect::<Result<Vec<_>, WhyNot>>()?;
                self.call(*f, d, args)
            }
            Scalar::Select(c, a, b) => {
                let d = self.dtype(a, env);
                if let Some((op, x, y)) = extreme(c, a, b)
                    && matches!(d, DType::F32 | DType::I32)
                {
                    let (x, y) = (self.eval(x, env)?, self.eval(y, env)?);
                    let elem = self.word_type(d)?;
                    return Ok(self.b.binary(op, elem, x, y));
                }
                let (c, a, b) = (self.eval(c, env)?, self.eval(a, env)?, self.eval(b, env)?);
                Ok(self.choose(d, c, a, b))
            }
            Scalar::Cast(DType::F32, a) if matches!(**a, Scalar::Index(_)) => {
                let Scalar::Index(e) = &**a else {
                    unreachable!("invariant: just matched")
                };
                self.index_as_float(e)
            }
            Scalar::Cast(to, a) => {
                let from = self.dtype(a, env);
                let a = self.eval(a, env)?;
                self.cast(from, *to, a)
            }
            Scalar::Bitcast(to, a) => {
                let from = self.dtype(a, env);
                self.word_type(from)?;
                self.word_type(*to)?;
                self.eval(a, env)
            }
            Scalar::Guard(conds, a, b) => self.guard(conds, a, b),
        }
    }

    /// The values of an index that 32 bits hold.
    fn index_as_float(&mut self, e: &Expr) -> Result<Value, WhyNot> {
        let (least, greatest) = self.ranges.bounds(e);
        if least < i64::from(i32::MIN) || greatest > i64::from(i32::MAX) {
            return Err(WhyNot::Operation("index values"));
        }
        let v = match self.lanes.iter().any(|l| l.vector && e.mentions(l.var)) {
            true => self.index_lanes(e)?,
            false => {
                let v = self.int_expr(e)?;
                self.b.splat_int(v)
            }
        };
        Ok(self.b.unary(UnaryOp::FromI32, Elem::I32, v))
    }

    pub(super) fn word_type(&self, d: DType) -> Result<Elem, WhyNot> {
        match d {
            DType::F32 => Ok(Elem::F32),
            DType::I32 | DType::U32 => Ok(Elem::I32),
            other => Err(WhyNot::Type(other)),
        }
    }

    fn load_any(&mut self, s: &Scalar, b: BufferId, index: &[Expr]) -> Result<Value, WhyNot> {
        if self.kernel.buffer(b).scope != Scope::Register {
            return self.load(key_of(s), b, index);
        }
        let slot = (b, self.register_position(b));
        if self.registers.contains_key(&slot) || self.is_own(b) {
            return Ok(self.slot_value(&slot));
        }
        if !self.register_lanes.shape(b).lanes.is_empty() {
            return Err(WhyNot::Escapes);
        }
        let word = self.word(TileArg::Register(b));
        let addr = self.word_addr(word);
        Ok(self.b.broadcast(Elem::F32, addr))
    }

    /// Whether the tile writes a register.
    fn is_own(&self, b: BufferId) -> bool {
        let (carried, local) = self.written(&[&self.nest.body]);
        carried.contains(&b) || local.contains(&b)
    }

    fn call(&mut self, f: MathFn, d: DType, env: Vec<(DType, Value)>) -> Result<Value, WhyNot> {
        self.word_type(d)?;
        let body = math::body(f, d).ok_or(WhyNot::Operation(f.name()))?;
        self.inline(body, env)
    }

    /// The result of a math body whose parameters have the given types and values.
    pub(super) fn inline(
        &mut self,
        body: &MathBody,
        mut env: Vec<(DType, Value)>,
    ) -> Result<Value, WhyNot> {
        let always = body.rare.as_ref().map_or(body.lets.len(), |r| r.start);
        self.math_lets(&body.lets[..always], &mut env)?;
        match &body.rare {
            Some(rare) => self.seldom(&body.lets[rare.clone()], &body.lets[rare.end].1, env),
            None => Ok(env.last().ok_or(WhyNot::Operation("nothing"))?.1),
        }
    }

    fn math_lets(
        &mut self,
        lets: &[(DType, Scalar)],
        env: &mut Vec<(DType, Value)>,
    ) -> Result<(), WhyNot> {
        for (d, value) in lets {
            let v = self.evaluate(value, Env::Math(env))?;
            env.push((*d, v));
        }
        Ok(())
    }

    /// The result of a math body: a choice, whose first operand, and `lets` for it, are evaluated
    /// only if some lane of the vector at hand takes it.
    fn seldom(
        &mut self,
        lets: &[(DType, Scalar)],
        result: &Scalar,
        mut env: Vec<(DType, Value)>,
    ) -> Result<Value, WhyNot> {
        let Scalar::Select(cond, rare, common) = result else {
            panic!("invariant: what is seldom needed is an operand of a choice");
        };
        let d = self.dtype(common, Env::Math(&env));
        let taken = self.evaluate(cond, Env::Math(&env))?;
        let common = self.evaluate(common, Env::Math(&env))?;
        let lanes = self.b.mask_bits(taken);
        let none = self.b.iconst(0);
        let (some, _) = self.b.block(&[]);
        let (join, params) = self.b.block(&[Class::Vec]);
        (self.b).branch((Cmp::Ne, lanes, none), (some, &[]), (join, &[common]));
        self.switch_to(some);
        self.math_lets(lets, &mut env)?;
        let rare = self.evaluate(rare, Env::Math(&env))?;
        let either = self.choose(d, taken, rare, common);
        self.b.jump(join, &[either]);
        self.switch_to(join);
        Ok(params[0])
    }

    /// Whether conditions hold, if the loops in lock step decide it.
    fn decided(&self, conds: &[Expr]) -> Option<bool> {
        let vector = |c: &Expr| self.lanes.iter().any(|l| l.vector && c.mentions(l.var));
        let mut all = Some(true);
        for cond in conds.iter().filter(|c| !vector(c)) {
            match self.at_lanes(cond, 0).as_const() {
                Some(..0) => return Some(false),
                Some(_) => {}
                None => all = None,
            }
        }
        all.filter(|_| !conds.iter().any(vector))
    }

    /// Evaluates one side only.
    fn guard(&mut self, conds: &[Expr], a: &Scalar, b: &Scalar) -> Result<Value, WhyNot> {
        match self.decided(conds) {
            Some(false) => return self.scalar(b),
            Some(true) => {
                let outer = self.guarded.len();
                self.guarded.extend_from_slice(conds);
                let v = self.scalar(a);
                self.guarded.truncate(outer);
                return v;
            }
            None => {}
        }
        let bool_value = self.dtype(a, Env::Kernel) == DType::Bool;
        let class = if bool_value { Class::Mask } else { Class::Vec };
        let least = self.least(conds)?;
        let zero = self.b.iconst(0);
        let (yes, _) = self.b.block(&[]);
        let (no, _) = self.b.block(&[]);
        let (join, params) = self.b.block(&[class]);
        self.b.branch((Cmp::Ge, least, zero), (yes, &[]), (no, &[]));
        let (known, outer) = (self.memo.clone(), self.guarded.len());
        self.guarded.extend_from_slice(conds);
        for (block, side) in [(yes, a), (no, b)] {
            self.switch_to(block);
            self.memo.clone_from(&known);
            let v = self.scalar(side)?;
            self.b.jump(join, &[v]);
        }
        self.memo = known;
        self.guarded.truncate(outer);
        self.switch_to(join);
        Ok(params[0])
    }
}

/// The operation that the choice `c ? a : b` is, with its operands, if it is a minimum or a maximum
/// as instructions define them: the second operand where the two do not compare.
fn extreme<'s>(
    c: &Scalar,
    a: &'s Scalar,
    b: &'s Scalar,
) -> Option<(vir::BinaryOp, &'s Scalar, &'s Scalar)> {
    match c {
        Scalar::Binary(BinaryOp::Lt, x, y) if **x == *a && **y == *b => {
            Some((vir::BinaryOp::Min, a, b))
        }
        Scalar::Binary(BinaryOp::Lt, x, y) if **y == *a && **x == *b => {
            Some((vir::BinaryOp::Max, a, b))
        }
        _ => None,
    }
}

fn key_of(s: &Scalar) -> usize {
    std::ptr::from_ref(s) as usize
}
