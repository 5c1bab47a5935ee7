//! Statements of the loop IR to blocks.
use super::lanes::Lane;
use super::scalar::Val;
use super::{Emitter, GROUP, scalar_type};
use crate::error::CodegenError;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    AbiParam, BlockArg, InstBuilder, MemFlagsData, Signature, Value, types,
};
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::{Expr, Var};
use tensmith_ir::loops::{BufferId, Cond, For, Mark, Role, Scalar, Scope, Stmt};
use tensmith_runtime::abi;

impl Emitter<'_, '_> {
    pub(super) fn statements(&mut self, stmts: &[Stmt]) -> Result<(), CodegenError> {
        stmts.iter().try_for_each(|s| self.statement(s))
    }

    pub(super) fn statement(&mut self, stmt: &Stmt) -> Result<(), CodegenError> {
        match stmt {
            Stmt::Store {
                buffer,
                index,
                value,
            } => self.store(*buffer, index, value),
            Stmt::For(l) => self.for_loop(l),
            Stmt::If {
                cond,
                then,
                otherwise,
            } => self.branch(cond, then, otherwise),
            Stmt::Check {
                var,
                value,
                extent,
                site,
                body,
            } => {
                let mask = self.scalar_mask(value) | self.expr_mask(extent);
                self.for_each_pinned(mask, &mut |cx| cx.check(*var, value, extent, *site, body))
            }
            Stmt::While { cond, body } => {
                let mask = self.scalar_mask(cond);
                self.for_each_pinned(mask, &mut |cx| cx.while_loop(cond, body))
            }
        }
    }

    /// Emits code once for each combination of some lanes, pinned to it.
    fn for_each_pinned(
        &mut self,
        mask: u32,
        f: &mut dyn FnMut(&mut Self) -> Result<(), CodegenError>,
    ) -> Result<(), CodegenError> {
        for k in 0..self.count(mask) {
            let saved = self.pin(k, mask);
            f(self)?;
            self.lanes = saved;
        }
        Ok(())
    }

    fn for_loop(&mut self, l: &For) -> Result<(), CodegenError> {
        self.ranges.bind(l.var, &l.extent);
        if let Some(call) = self.tiles.get(&l.var) {
            return self.call_tile(call);
        }
        match (l.mark, l.extent.as_const()) {
            (Mark::Vector | Mark::Jam, Some(extent)) => self.lock_step(l, extent),
            (Mark::Unroll, Some(extent)) => self.unrolled(l, extent),
            (Mark::Parallel, _) if self.lanes.is_empty() => {
                let (begin, end) = (self.entry.begin, self.entry.end);
                self.counted(l, (begin, end), false, &mut |cx| cx.statements(&l.body))
            }
            _ => {
                let mask = self.expr_mask(&l.extent);
                self.for_each_pinned(mask, &mut |cx| cx.plain_loop(l))
            }
        }
    }

    fn plain_loop(&mut self, l: &For) -> Result<(), CodegenError> {
        let extent = self.pinned_expr(&l.extent);
        if extent.as_const().is_some_and(|e| e <= 0) {
            return Ok(());
        }
        let begin = self.b.ins().iconst(types::I64, 0);
        let end = self.expr(&extent);
        let runs = extent.as_const().is_some();
        self.counted(l, (begin, end), runs, &mut |cx| cx.statements(&l.body))
    }

    /// A loop that tests at the end; `runs` says that there is at least one iteration.
    pub(super) fn counted(
        &mut self,
        l: &For,
        (begin, end): (Value, Value),
        runs: bool,
        body: &mut dyn FnMut(&mut Self) -> Result<(), CodegenError>,
    ) -> Result<(), CodegenError> {
        let (head, exit) = (self.b.create_block(), self.b.create_block());
        let i = self.b.append_block_param(head, types::I64);
        let start = [BlockArg::Value(begin)];
        if runs {
            self.b.ins().jump(head, &start);
        } else {
            let any = self.b.ins().icmp(IntCC::SignedLessThan, begin, end);
            self.b.ins().brif(any, head, &start, exit, &[]);
        }
        self.b.switch_to_block(head);
        self.exprs.bind(l.var, i);
        match l.extent.as_const().is_some_and(|n| n > 0) {
            true => self.scoped(body)?,
            false => self.conditional(body)?,
        }
        let one = self.b.ins().iconst(types::I64, 1);
        let next = self.b.ins().iadd(i, one);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, next, end);
        self.b
            .ins()
            .brif(more, head, &[BlockArg::Value(next)], exit, &[]);
        self.b.seal_block(head);
        self.b.seal_block(exit);
        self.b.switch_to_block(exit);
        Ok(())
    }

    fn unrolled(&mut self, l: &For, extent: i64) -> Result<(), CodegenError> {
        for k in 0..extent {
            self.lanes.push(Lane {
                var: l.var,
                extent,
                vector: false,
                pinned: Some(k),
            });
            let result = self.statements(&l.body);
            self.lanes.pop();
            result?;
        }
        Ok(())
    }

    fn lock_step(&mut self, l: &For, extent: i64) -> Result<(), CodegenError> {
        if extent <= 0 {
            return Ok(());
        }
        let scalarised = self.register_lanes.scalar_loops.contains(&l.var);
        self.scalarised += usize::from(scalarised);
        let vector = l.mark == Mark::Vector && !scalarised;
        self.lanes.push(Lane {
            var: l.var,
            extent,
            vector,
            pinned: None,
        });
        let result = if l.role == Role::Reduce && !vector {
            self.reduce_lane_by_lane(l, extent)
        } else {
            self.sums.open(l);
            self.statements(&l.body)
        };
        self.sums.close(l.var);
        self.lanes.pop();
        result
    }

    /// Iterations of a reduction that are copies of code run one after the other.
    fn reduce_lane_by_lane(&mut self, l: &For, extent: i64) -> Result<(), CodegenError> {
        let top = self.lanes.len() - 1;
        for k in 0..extent {
            self.lanes[top].pinned = Some(k);
            self.statements(&l.body)?;
        }
        Ok(())
    }

    fn branch(
        &mut self,
        cond: &Cond,
        then: &[Stmt],
        otherwise: &[Stmt],
    ) -> Result<(), CodegenError> {
        let mask = match cond {
            Cond::Affine(es) => es.iter().fold(0, |m, e| m | self.expr_mask(e)),
            Cond::Scalar(s) => self.scalar_mask(s),
        };
        self.for_each_pinned(mask, &mut |cx| {
            let flag = match cond {
                Cond::Affine(es) => {
                    let es: Vec<Expr> = es.iter().map(|e| cx.pinned_expr(e)).collect();
                    cx.all_non_negative(&es)
                }
                Cond::Scalar(s) => cx.flag(s)?,
            };
            cx.if_else(flag, then, otherwise)
        })
    }

    pub(super) fn if_else(
        &mut self,
        flag: Value,
        then: &[Stmt],
        otherwise: &[Stmt],
    ) -> Result<(), CodegenError> {
        self.either(flag, &mut |cx, yes| {
            cx.statements(if yes { then } else { otherwise })
        })
    }

    /// Emits one thing that runs if a flag is set, and one that runs if it is not.
    pub(super) fn either(
        &mut self,
        flag: Value,
        side: &mut dyn FnMut(&mut Self, bool) -> Result<(), CodegenError>,
    ) -> Result<(), CodegenError> {
        let (yes, no, join) = (
            self.b.create_block(),
            self.b.create_block(),
            self.b.create_block(),
        );
        self.b.ins().brif(flag, yes, &[], no, &[]);
        for (block, is_yes) in [(yes, true), (no, false)] {
            self.b.seal_block(block);
            self.b.switch_to_block(block);
            self.conditional(|cx| side(cx, is_yes))?;
            self.b.ins().jump(join, &[]);
        }
        self.b.seal_block(join);
        self.b.switch_to_block(join);
        Ok(())
    }

    fn check(
        &mut self,
        var: Var,
        value: &Scalar,
        extent: &Expr,
        site: u32,
        body: &[Stmt],
    ) -> Result<(), CodegenError> {
        let index = self.scalar(value)?;
        let index = self.cast_val(DType::I64, index)?.elems[0];
        let extent = self.pinned_expr(extent);
        let bound = self.expr(&extent);
        let fine = self.b.ins().icmp(IntCC::UnsignedLessThan, index, bound);
        let (yes, no, join) = (
            self.b.create_block(),
            self.b.create_block(),
            self.b.create_block(),
        );
        self.b.set_cold_block(no);
        self.b.ins().brif(fine, yes, &[], no, &[]);
        self.b.seal_block(yes);
        self.b.seal_block(no);
        self.b.switch_to_block(no);
        self.report(site, index, bound);
        self.b.ins().jump(join, &[]);
        self.b.switch_to_block(yes);
        self.exprs.bind(var, index);
        self.ranges.bind(var, &extent);
        self.conditional(|cx| cx.statements(body))?;
        self.b.ins().jump(join, &[]);
        self.b.seal_block(join);
        self.b.switch_to_block(join);
        Ok(())
    }

    /// Calls the `fail` helper with an index error.
    fn report(&mut self, site: u32, value: Value, bound: Value) {
        let mut signature = Signature::new(self.b.func.signature.call_conv);
        let params = [types::I64, types::I32, types::I32, types::I64, types::I64];
        signature.params.extend(params.map(AbiParam::new));
        let signature = self.b.import_signature(signature);
        let flags = MemFlagsData::trusted();
        let helpers = self
            .b
            .ins()
            .load(types::I64, flags, self.entry.ctx, abi::OFFSET_HELPERS);
        let fail = self
            .b
            .ins()
            .load(types::I64, flags, helpers, abi::OFFSET_HELPER_FAIL);
        let code = self.b.ins().iconst(types::I32, i64::from(abi::ERROR_INDEX));
        let site = self.b.ins().iconst(types::I32, i64::from(site));
        let site = self.b.ins().iadd(site, self.entry.site_base);
        self.b
            .ins()
            .call_indirect(signature, fail, &[self.entry.ctx, code, site, value, bound]);
    }

    fn while_loop(&mut self, cond: &Scalar, body: &[Stmt]) -> Result<(), CodegenError> {
        let (head, inside, exit) = (
            self.b.create_block(),
            self.b.create_block(),
            self.b.create_block(),
        );
        self.b.ins().jump(head, &[]);
        self.b.switch_to_block(head);
        let flag = self.scoped(|cx| cx.flag(cond))?;
        self.b.ins().brif(flag, inside, &[], exit, &[]);
        self.b.seal_block(inside);
        self.b.switch_to_block(inside);
        self.conditional(|cx| cx.statements(body))?;
        self.b.ins().jump(head, &[]);
        self.b.seal_block(head);
        self.b.seal_block(exit);
        self.b.switch_to_block(exit);
        Ok(())
    }

    fn store(
        &mut self,
        buffer: BufferId,
        index: &[Expr],
        value: &Scalar,
    ) -> Result<(), CodegenError> {
        if self.kernel.buffer(buffer).scope == Scope::Register {
            return self.store_register(buffer, value);
        }
        let val = self.scalar(value)?;
        let offset = self.offset(buffer, index);
        let mask = self.expr_mask(&offset) | val.mask;
        let values = self.broadcast(&val, mask);
        let flags = MemFlagsData::new().with_notrap();
        let lane = self.vector_lane(mask);
        for (k, v) in values.into_iter().enumerate() {
            let Some(lane) = lane else {
                let (address, disp) = self.element(buffer, &offset, k, mask);
                self.b.ins().store(flags, v, address, disp);
                continue;
            };
            let dtype = val.dtype;
            if offset.linear_coefficient(lane.var).is_some_and(|c| c.is(1)) {
                let (address, disp) = self.element(buffer, &offset, k, mask);
                self.store_lanes(dtype, flags, v, address, disp);
                continue;
            }
            for j in 0..GROUP {
                let at = self.lane_offset(&offset, k, mask, lane, j);
                let (address, disp) = self.address(buffer, &at);
                let element = self.extract(dtype, v, j as u8);
                self.b.ins().store(flags, element, address, disp);
            }
        }
        Ok(())
    }

    fn element(&mut self, buffer: BufferId, offset: &Expr, k: usize, mask: u32) -> (Value, i32) {
        let unused = Lane {
            var: Var(u32::MAX),
            extent: 0,
            vector: false,
            pinned: None,
        };
        let at = self.lane_offset(offset, k, mask, unused, 0);
        self.address(buffer, &at)
    }

    fn store_register(&mut self, buffer: BufferId, value: &Scalar) -> Result<(), CodegenError> {
        let mask = self.register_mask(buffer);
        let sums = self.sums.lanes(self.lanes.iter().map(|l| l.var), buffer);
        let extra = (self.scalar_mask(value) | sums) & !mask;
        let val = if extra == 0 {
            self.scalar(value)?
        } else {
            self.accumulate(buffer, value, extra)?
        };
        let values = self.broadcast(&val, mask);
        for (k, v) in values.into_iter().enumerate() {
            let variable = self.registers[&buffer][self.register_position(buffer, k, mask)];
            let v = self.fit(buffer, v);
            self.b.def_var(variable, v);
        }
        Ok(())
    }

    /// A register of vectors takes splats of uniform values.
    fn fit(&mut self, buffer: BufferId, v: Value) -> Value {
        let dtype = self.kernel.buffer(buffer).dtype;
        let wants_vector = self.register_lanes.shape(buffer).vector;
        let have = self.b.func.dfg.value_type(v);
        if wants_vector && !have.is_vector() && have == scalar_type(dtype) {
            self.splat(dtype, v)
        } else {
            v
        }
    }

    /// `acc = acc op term` over the lanes of a reduction.
    fn accumulate(
        &mut self,
        buffer: BufferId,
        value: &Scalar,
        lanes: u32,
    ) -> Result<Val, CodegenError> {
        let broken = |reason: &str| CodegenError::Internal {
            kernel: self.kernel.name.clone(),
            reason: reason.into(),
        };
        let is_acc = |s: &Scalar| matches!(s, Scalar::Load(b, _) if *b == buffer);
        let (op, term) = match value {
            Scalar::Binary(op, a, b) if is_acc(a) => (*op, (**b).clone()),
            Scalar::Binary(op, a, b) if is_acc(b) => (*op, (**a).clone()),
            Scalar::Fma(a, b, c) if is_acc(c) => (
                tensmith_ir::loops::BinaryOp::Add,
                Scalar::binary(
                    tensmith_ir::loops::BinaryOp::Mul,
                    (**a).clone(),
                    (**b).clone(),
                ),
            ),
            _ => return Err(broken("a vector reduction that is not a plain update")),
        };
        let mut term = self.scalar(&term)?;
        if lanes & !term.mask != 0 {
            // All lanes add the same.
            let mask = term.mask | lanes;
            let elems = self.broadcast(&term, mask);
            term = Val {
                dtype: term.dtype,
                mask,
                elems,
            };
        }
        for bit in 0..self.lanes.len() {
            if lanes & (1 << bit) != 0 {
                term = self.join_lanes(op, term, bit);
            }
        }
        let acc = self.scalar(&Scalar::load(buffer, vec![]))?;
        let mask = acc.mask | term.mask;
        let (a, t) = (self.broadcast(&acc, mask), self.broadcast(&term, mask));
        let d = acc.dtype;
        let elems = a
            .into_iter()
            .zip(t)
            .map(|(a, t)| self.binary(op, d, a, t))
            .collect();
        Ok(Val {
            dtype: d,
            mask,
            elems,
        })
    }
}
