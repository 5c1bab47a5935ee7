//! Scalars of the loop IR to values, in lock step over the open lanes.
use super::expr::times;
use super::lanes::Lane;
use super::{Emitter, GROUP, fused, scalar_type, vector_type};
use crate::error::CodegenError;
use cranelift_codegen::ir::{BlockArg, InstBuilder, MemFlagsData, Value, types};
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::{Expr, Var};
use tensmith_ir::loops::math;
use tensmith_ir::loops::{BinaryOp, Buffer, BufferId, Scalar, Scope};

/// A scalar for every lane that it depends on.
#[derive(Clone, Debug)]
pub(super) struct Val {
    pub dtype: DType,
    /// One bit for each open lane, outermost lowest.
    pub mask: u32,
    /// A value per combination of the lanes in `mask`, the innermost lane fastest; a vector lane
    /// counts in groups and is always fastest.
    pub elems: Vec<Value>,
}

impl Emitter<'_, '_> {
    /// The open lanes of a mask in storage order: vector lanes last.
    pub(super) fn mask_lanes(&self, mask: u32) -> Vec<(usize, Lane)> {
        let picked = self
            .lanes
            .iter()
            .enumerate()
            .filter(|(k, _)| mask & (1 << k) != 0)
            .map(|(k, l)| (k, *l));
        let (vector, plain): (Vec<_>, Vec<_>) = picked.partition(|(_, l)| l.vector);
        [plain, vector].concat()
    }

    pub(super) fn count(&self, mask: u32) -> usize {
        self.mask_lanes(mask)
            .iter()
            .map(|(_, l)| l.groups())
            .product()
    }

    pub(super) fn has_vector(&self, mask: u32) -> bool {
        self.mask_lanes(mask).iter().any(|(_, l)| l.vector)
    }

    /// Which combination of the lanes in `from` belongs to combination `k` of those in `to`.
    fn project(&self, k: usize, to: u32, from: u32) -> usize {
        let mut left = k;
        let mut position = 0;
        let mut stride = 1;
        for (bit, lane) in self.mask_lanes(to).into_iter().rev() {
            let at = left % lane.groups();
            left /= lane.groups();
            if from & (1 << bit) != 0 {
                position += at * stride;
                stride *= lane.groups();
            }
        }
        position
    }

    /// The lanes that an expression depends on; pinned lanes are constants.
    pub(super) fn expr_mask(&self, e: &Expr) -> u32 {
        let mut mask = 0;
        for (k, lane) in self.lanes.iter().enumerate() {
            if lane.pinned.is_none() && e.mentions(lane.var) {
                mask |= 1 << k;
            }
        }
        mask
    }

    fn exprs_mask<'e>(&self, es: impl IntoIterator<Item = &'e Expr>) -> u32 {
        es.into_iter().fold(0, |m, e| m | self.expr_mask(e))
    }

    /// The element offset of an access, as simple as loop extents make it.
    pub(super) fn offset(&self, b: BufferId, index: &[Expr]) -> Expr {
        self.kernel.buffer(b).offset(index).simplify(&self.ranges)
    }

    /// The lanes that a scalar depends on.
    pub(super) fn scalar_mask(&self, s: &Scalar) -> u32 {
        let own = match s {
            Scalar::Index(e) => self.expr_mask(e),
            Scalar::Load(b, index) if self.kernel.buffer(*b).scope != Scope::Register => {
                self.expr_mask(&self.offset(*b, index))
            }
            Scalar::Load(b, _) => self.register_mask(*b),
            Scalar::Guard(conds, ..) => self.exprs_mask(conds),
            _ => 0,
        };
        s.children()
            .into_iter()
            .fold(own, |m, c| m | self.scalar_mask(c))
    }

    pub(super) fn register_mask(&self, b: BufferId) -> u32 {
        let shape = self.register_lanes.shape(b);
        let open = self
            .lanes
            .iter()
            .enumerate()
            .filter(|(_, l)| l.pinned.is_none());
        open.filter(|(_, l)| shape.lanes.iter().any(|(v, _)| *v == l.var))
            .fold(0, |m, (k, _)| m | (1 << k))
    }

    /// The variable index of combination `k` of `mask`, for a register that varies over `mask`
    /// and over pinned lanes.
    pub(super) fn register_position(&self, b: BufferId, k: usize, mask: u32) -> usize {
        let mut left = k;
        let mut at: Vec<(Var, usize)> = Vec::new();
        for (_, lane) in self.mask_lanes(mask).into_iter().rev() {
            at.push((lane.var, left % lane.groups()));
            left /= lane.groups();
        }
        for lane in &self.lanes {
            if let Some(p) = lane.pinned {
                at.push((lane.var, p as usize));
            }
        }
        let position = |v: Var| at.iter().find(|(w, _)| *w == v).map_or(0, |(_, p)| *p);
        let lanes = &self.register_lanes.shape(b).lanes;
        lanes
            .iter()
            .fold(0, |sum, (v, groups)| sum * groups + position(*v))
    }

    /// An expression with one lane of each combination put in; vector lanes by their first.
    fn expr_at(&self, e: &Expr, k: usize, mask: u32) -> Expr {
        let mut left = k;
        let mut values: Vec<(Var, i64)> = Vec::new();
        for (_, lane) in self.mask_lanes(mask).into_iter().rev() {
            let step = if lane.vector { GROUP } else { 1 };
            values.push((lane.var, (left % lane.groups()) as i64 * step));
            left /= lane.groups();
        }
        let pinned = self.lanes.iter().filter_map(|l| Some((l.var, l.pinned?)));
        values.extend(pinned);
        if values.is_empty() {
            return e.clone();
        }
        e.substitute(&|v| {
            values
                .iter()
                .find(|(w, _)| *w == v)
                .map(|(_, n)| Expr::from(*n))
        })
    }

    /// An expression with pinned lanes put in.
    pub(super) fn pinned_expr(&self, e: &Expr) -> Expr {
        self.expr_at(e, 0, 0)
    }

    /// All elements of `val` for the combinations of `mask`, which holds its lanes.
    pub(super) fn broadcast(&mut self, val: &Val, mask: u32) -> Vec<Value> {
        let splat = self.has_vector(mask) && !self.has_vector(val.mask);
        let source: Vec<Value> = match splat {
            true => val
                .elems
                .iter()
                .map(|v| self.splat(val.dtype, *v))
                .collect(),
            false => val.elems.clone(),
        };
        (0..self.count(mask))
            .map(|k| source[self.project(k, mask, val.mask)])
            .collect()
    }

    pub(super) fn map(
        &mut self,
        dtype: DType,
        args: &[&Val],
        f: &mut dyn FnMut(&mut Self, &[Value]) -> Value,
    ) -> Val {
        let mask = args.iter().fold(0, |m, v| m | v.mask);
        let columns: Vec<Vec<Value>> = args.iter().map(|v| self.broadcast(v, mask)).collect();
        let count = self.count(mask);
        let elems = (0..count)
            .map(|k| {
                let row: Vec<Value> = columns.iter().map(|c| c[k]).collect();
                f(self, &row)
            })
            .collect();
        Val { dtype, mask, elems }
    }

    /// The value of a scalar in every lane that it depends on.
    pub(super) fn scalar(&mut self, s: &Scalar) -> Result<Val, CodegenError> {
        Ok(match s {
            Scalar::Const(c) => Val {
                dtype: c.dtype,
                mask: 0,
                elems: vec![self.constant(*c)],
            },
            Scalar::Index(e) => self.index(e),
            Scalar::Load(b, index) => self.load(*b, index),
            Scalar::Unary(op, a) => {
                let a = self.scalar(a)?;
                let d = a.dtype;
                self.map(d, &[&a], &mut |cx, v| cx.unary(*op, d, v[0]))
            }
            Scalar::Binary(op, a, b) => self.binary_scalar(*op, a, b)?,
            Scalar::Fma(a, b, c) => {
                let (a, b, c) = (self.scalar(a)?, self.scalar(b)?, self.scalar(c)?);
                self.map(a.dtype, &[&a, &b, &c], &mut |cx, v| {
                    fused::fma(&mut cx.b, cx.native_fma, [v[0], v[1], v[2]])
                })
            }
            Scalar::Call(f, args) => self.call(*f, args)?,
            Scalar::Select(c, a, b) => {
                let (c, a, b) = (self.scalar(c)?, self.scalar(a)?, self.scalar(b)?);
                let d = a.dtype;
                self.map_select(d, &c, &a, &b)
            }
            Scalar::Cast(to, a) => match &**a {
                Scalar::Index(e) if self.has_vector(self.expr_mask(e)) => self.index_lanes(*to, e),
                a => {
                    let a = self.scalar(a)?;
                    self.cast_val(*to, a)?
                }
            },
            Scalar::Bitcast(to, a) => {
                let a = self.scalar(a)?;
                self.map(*to, &[&a], &mut |cx, v| cx.bitcast(*to, v[0]))
            }
            Scalar::Guard(conds, a, b) => self.guard(conds, a, b)?,
        })
    }

    /// A flag that all vector lanes share stays scalar; then whole registers are chosen.
    pub(super) fn map_select(&mut self, d: DType, c: &Val, a: &Val, b: &Val) -> Val {
        self.map(d, &[c, a, b], &mut |cx, v| cx.choose(d, v[0], v[1], v[2]))
    }

    fn binary_scalar(&mut self, op: BinaryOp, a: &Scalar, b: &Scalar) -> Result<Val, CodegenError> {
        let right = b;
        let (a, b) = (self.scalar(a)?, self.scalar(b)?);
        let d = a.dtype;
        if op == BinaryOp::Scale {
            return self.inline(math::scaling(d), vec![a, b]);
        }
        let result = if op.is_compare() { DType::Bool } else { d };
        let number = matches!(right, Scalar::Const(c) if !c.as_f64().is_nan());
        if matches!(op, BinaryOp::Min | BinaryOp::Max) && d.is_float() && number {
            return Ok(self.map(result, &[&a, &b], &mut |cx, v| {
                cx.min_max_number(op, d, v[0], v[1])
            }));
        }
        if matches!(op, BinaryOp::Shl | BinaryOp::Shr) && self.has_vector(a.mask) {
            let count = b.elems[0];
            return Ok(self.map(result, &[&a], &mut |cx, v| cx.binary(op, d, v[0], count)));
        }
        Ok(self.map(result, &[&a, &b], &mut |cx, v| cx.binary(op, d, v[0], v[1])))
    }

    fn index(&mut self, e: &Expr) -> Val {
        let mask = self.expr_mask(e);
        let elems = (0..self.count(mask))
            .map(|k| {
                let e = self.expr_at(e, k, mask);
                self.expr(&e)
            })
            .collect();
        Val {
            dtype: DType::I64,
            mask,
            elems,
        }
    }

    /// Vectors of floating-point numbers that are indices.
    fn index_lanes(&mut self, to: DType, e: &Expr) -> Val {
        let mask = self.expr_mask(e);
        let lane = self.vector_lane(mask).expect("invariant: vector lanes");
        let mut elems = Vec::new();
        for k in 0..self.count(mask) {
            let mut vector = self.zero(vector_type(to));
            for j in 0..GROUP {
                let at = self.lane_offset(e, k, mask, lane, j);
                let v = self.expr(&at);
                let v = self.b.ins().fcvt_from_sint(scalar_type(to), v);
                vector = self.b.ins().insertlane(vector, v, j as u8);
            }
            elems.push(vector);
        }
        Val {
            dtype: to,
            mask,
            elems,
        }
    }

    fn load(&mut self, b: BufferId, index: &[Expr]) -> Val {
        let buffer = self.kernel.buffer(b);
        if buffer.scope == Scope::Register {
            return self.load_register(b);
        }
        let dtype = buffer.dtype;
        let offset = self.offset(b, index);
        let mask = self.expr_mask(&offset);
        let mut flags = MemFlagsData::new().with_notrap();
        // What lies like a result may be what that is written over.
        let results = self
            .kernel
            .buffers
            .iter()
            .filter(|r| r.scope == Scope::Output);
        let like = |r: &Buffer| {
            (r.dtype, &r.shape, &r.layout) == (buffer.dtype, &buffer.shape, &buffer.layout)
        };
        if buffer.scope == Scope::Input && !results.into_iter().any(like) {
            flags = flags.with_readonly();
            if self.always {
                flags = flags.with_can_move();
            }
        }
        let lane = self.vector_lane(mask);
        let stride = lane.map(|l| offset.linear_coefficient(l.var));
        let elems = (0..self.count(mask))
            .map(|k| {
                let at = self.expr_at(&offset, k, mask);
                match (&lane, &stride) {
                    (Some(_), Some(Some(s))) if s.is(1) => {
                        let (address, disp) = self.address(b, &at);
                        self.load_lanes(dtype, flags, address, disp)
                    }
                    (Some(l), _) => self.gather(b, &offset, k, mask, *l, flags),
                    (None, _) => {
                        let (address, disp) = self.address(b, &at);
                        self.b.ins().load(scalar_type(dtype), flags, address, disp)
                    }
                }
            })
            .collect();
        Val { dtype, mask, elems }
    }

    pub(super) fn vector_lane(&self, mask: u32) -> Option<Lane> {
        self.mask_lanes(mask)
            .into_iter()
            .map(|(_, l)| l)
            .find(|l| l.vector)
    }

    /// The offset of lane `j` of group combination `k`.
    pub(super) fn lane_offset(
        &self,
        offset: &Expr,
        k: usize,
        mask: u32,
        lane: Lane,
        j: i64,
    ) -> Expr {
        let shifted = offset.substitute(&|v| (v == lane.var).then(|| Expr::var(lane.var) + j));
        self.expr_at(&shifted, k, mask)
    }

    fn gather(
        &mut self,
        b: BufferId,
        offset: &Expr,
        k: usize,
        mask: u32,
        lane: Lane,
        flags: MemFlagsData,
    ) -> Value {
        let dtype = self.kernel.buffer(b).dtype;
        let mut vector = self.zero(vector_type(dtype));
        for j in 0..GROUP {
            let at = self.lane_offset(offset, k, mask, lane, j);
            let (address, disp) = self.address(b, &at);
            let element = self.b.ins().load(scalar_type(dtype), flags, address, disp);
            vector = self.insert(dtype, vector, element, j as u8);
        }
        vector
    }

    /// Address and displacement of an element offset.
    pub(super) fn address(&mut self, b: BufferId, offset: &Expr) -> (Value, i32) {
        let bytes = self.kernel.buffer(b).dtype.bytes() as i64;
        let disp = offset.constant().saturating_mul(bytes);
        let (rest, disp) = match i32::try_from(disp) {
            Ok(d) => (offset.clone() - offset.constant(), d),
            Err(_) => (offset.clone(), 0),
        };
        let key = (b, rest);
        if let Some(v) = self
            .addresses
            .iter()
            .rev()
            .find_map(|scope| scope.get(&key))
        {
            return (*v, disp);
        }
        let base = self.bases[b.0 as usize].expect("invariant: memory buffers have addresses");
        let address = if key.1.is(0) {
            base
        } else {
            let at = self.expr(&key.1);
            let at = times(&mut self.b, at, bytes);
            self.b.ins().iadd(base, at)
        };
        if let Some(scope) = self.addresses.last_mut() {
            scope.insert(key, address);
        }
        (address, disp)
    }

    fn load_register(&mut self, b: BufferId) -> Val {
        let dtype = self.kernel.buffer(b).dtype;
        let mask = self.register_mask(b);
        let elems = (0..self.count(mask))
            .map(|k| {
                let variable = self.registers[&b][self.register_position(b, k, mask)];
                self.b.use_var(variable)
            })
            .collect();
        Val { dtype, mask, elems }
    }

    /// Conversion; halves go through the bodies of the math table.
    pub(super) fn cast_val(&mut self, to: DType, a: Val) -> Result<Val, CodegenError> {
        let from = a.dtype;
        if from == to {
            return Ok(a);
        }
        if let Some(body) = math::conversion(from, to) {
            let narrow = |d: DType| if d.is_half() { DType::U16 } else { d };
            let result = self.inline(
                body,
                vec![Val {
                    dtype: narrow(from),
                    ..a
                }],
            )?;
            return Ok(Val {
                dtype: to,
                ..result
            });
        }
        if from.is_half() || to.is_half() {
            let exact = from.is_half() || from == DType::Bool || from.bytes() < 4;
            let through = if exact { DType::F32 } else { DType::F64 };
            let wide = self.cast_val(through, a)?;
            return self.cast_val(to, wide);
        }
        Ok(self.map(to, &[&a], &mut |cx, v| cx.cast(from, to, v[0])))
    }

    /// Evaluates one side only, by branches: one for each combination of the lanes that the
    /// conditions depend on.
    fn guard(&mut self, conds: &[Expr], a: &Scalar, b: &Scalar) -> Result<Val, CodegenError> {
        let cond_mask = self.exprs_mask(conds);
        let rest = (self.scalar_mask(a) | self.scalar_mask(b)) & !cond_mask;
        let mask = cond_mask | rest;
        let mut columns = Vec::new();
        let mut dtype = DType::F32;
        for k in 0..self.count(cond_mask) {
            let saved = self.pin(k, cond_mask);
            let (d, values) = self.guard_one(conds, a, b, rest)?;
            dtype = d;
            columns.push(values);
            self.lanes = saved;
        }
        let elems = (0..self.count(mask))
            .map(|k| columns[self.project(k, mask, cond_mask)][self.project(k, mask, rest)])
            .collect();
        Ok(Val { dtype, mask, elems })
    }

    /// Pins the lanes of `mask` to combination `k`; returns the lanes as they were.
    pub(super) fn pin(&mut self, k: usize, mask: u32) -> Vec<Lane> {
        let saved = self.lanes.clone();
        let mut left = k;
        for (bit, lane) in self.mask_lanes(mask).into_iter().rev() {
            self.lanes[bit].pinned = Some((left % lane.groups()) as i64);
            left /= lane.groups();
        }
        saved
    }

    fn guard_one(
        &mut self,
        conds: &[Expr],
        a: &Scalar,
        b: &Scalar,
        rest: u32,
    ) -> Result<(DType, Vec<Value>), CodegenError> {
        let conds: Vec<Expr> = conds.iter().map(|c| self.pinned_expr(c)).collect();
        let flag = self.all_non_negative(&conds);
        let (yes, no, join) = (
            self.b.create_block(),
            self.b.create_block(),
            self.b.create_block(),
        );
        self.b.ins().brif(flag, yes, &[], no, &[]);
        self.b.seal_block(yes);
        self.b.seal_block(no);
        let dtype = a.dtype(&|x| self.kernel.buffer(x).dtype);
        let vector = self.has_vector(rest);
        let ty = if vector {
            vector_type(dtype)
        } else {
            scalar_type(dtype)
        };
        let params: Vec<Value> = (0..self.count(rest))
            .map(|_| self.b.append_block_param(join, ty))
            .collect();
        for (block, side) in [(yes, a), (no, b)] {
            self.b.switch_to_block(block);
            let values = self.conditional(|cx| {
                let v = cx.scalar(side)?;
                Ok::<_, CodegenError>(cx.broadcast(&v, rest))
            })?;
            let args: Vec<BlockArg> = values.into_iter().map(BlockArg::Value).collect();
            self.b.ins().jump(join, &args);
        }
        self.b.seal_block(join);
        self.b.switch_to_block(join);
        Ok((dtype, params))
    }

    /// Joins all vector lanes of each combination by `op`: groups pairwise, then lanes pairwise.
    pub(super) fn join_lanes(&mut self, op: BinaryOp, val: Val, lane_bit: usize) -> Val {
        let lane = self.lanes[lane_bit];
        let outer = val.mask & !(1 << lane_bit);
        let d = val.dtype;
        let elems = (0..self.count(outer))
            .map(|k| {
                let groups = lane.groups();
                let mut parts: Vec<Value> = if lane.vector {
                    val.elems[k * groups..][..groups].to_vec()
                } else {
                    (0..self.count(val.mask))
                        .filter(|j| self.project(*j, val.mask, outer) == k)
                        .map(|j| val.elems[j])
                        .collect()
                };
                self.join_pairwise(op, d, &mut parts);
                if lane.vector {
                    parts = (0..GROUP as u8)
                        .map(|j| self.extract(d, parts[0], j))
                        .collect();
                    self.join_pairwise(op, d, &mut parts);
                }
                parts[0]
            })
            .collect();
        Val {
            dtype: d,
            mask: outer,
            elems,
        }
    }

    /// Joins values by halves of the next power of two: the order is that of a tree over all lanes,
    /// whatever the width of vectors.
    fn join_pairwise(&mut self, op: BinaryOp, d: DType, parts: &mut Vec<Value>) {
        while parts.len() > 1 {
            let half = parts.len().next_power_of_two() / 2;
            for k in 0..parts.len() - half {
                parts[k] = self.binary(op, d, parts[k], parts[k + half]);
            }
            parts.truncate(half);
        }
    }

    /// 8-bit flag of a `bool` value that no lane changes.
    pub(super) fn flag(&mut self, s: &Scalar) -> Result<Value, CodegenError> {
        let v = self.scalar(s)?;
        debug_assert_eq!(self.b.func.dfg.value_type(v.elems[0]), types::I8);
        Ok(v.elems[0])
    }
}
