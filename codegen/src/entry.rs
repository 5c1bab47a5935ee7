//! The plan to one Cranelift function: the entry `(ctx, thread, threads)` that every thread runs.
use crate::kernel::expr::ExprEmitter;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    AbiParam, FuncRef, Function, InstBuilder, MemFlagsData, Signature, StackSlot, StackSlotData,
    StackSlotKind, Value, types,
};
use cranelift_codegen::isa::{CallConv, TargetIsa};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use tensmith_ir::expr::Expr;
use tensmith_ir::loops::{Kernel, Mark, Stmt};
use tensmith_ir::plan::{Call, Place, Plan, SlotId, Step};
use tensmith_runtime::{abi, profile};

/// The signature of entries.
pub fn signature(call_conv: CallConv) -> Signature {
    let mut signature = Signature::new(call_conv);
    signature
        .params
        .extend([types::I64, types::I32, types::I32].map(AbiParam::new));
    signature
}

/// Where each constant lies in the block of constants, and the size of the block, in bytes.
pub fn constant_offsets(plan: &Plan) -> (Vec<usize>, usize) {
    let mut at = 0;
    let mut offsets = Vec::with_capacity(plan.constants.len());
    for constant in &plan.constants {
        offsets.push(at);
        at += constant.bytes.next_multiple_of(64);
    }
    (offsets, at)
}

/// The extent of a kernel's outermost loop, if that is parallel and all there is.
pub fn parallel_extent(kernel: &Kernel) -> Option<&Expr> {
    match &kernel.body[..] {
        [Stmt::For(l)] if l.mark == Mark::Parallel => Some(&l.extent),
        _ => None,
    }
}

/// Whether an entry keeps time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Marks {
    /// It does not.
    #[default]
    None,
    /// It notes the begin of every step with its number, and its own end: see
    /// [`abi::Helpers::mark`] and [`numbered_steps`].
    Steps,
}

/// The steps of a plan, those inside branches and loops included, each after the step that holds
/// it: its place in this list is its number in marks.
pub fn numbered_steps(plan: &Plan) -> Vec<&Step> {
    fn collect<'a>(steps: &'a [Step], found: &mut Vec<&'a Step>) {
        for step in steps {
            found.push(step);
            match step {
                Step::Call(_) | Step::Barrier => {}
                Step::If {
                    then, otherwise, ..
                } => {
                    collect(then, found);
                    collect(otherwise, found);
                }
                Step::Loop { body, .. } => collect(body, found),
            }
        }
    }
    let mut found = Vec::new();
    collect(&plan.steps, &mut found);
    found
}

struct EntryEmitter<'a, 'f> {
    plan: &'a Plan,
    b: FunctionBuilder<'f>,
    exprs: ExprEmitter,
    kernels: &'a [FuncRef],
    offsets: Vec<usize>,
    args: StackSlot,
    ctx: Value,
    thread: Value,
    threads: Value,
    scratch: Value,
    marks: Marks,
    /// The number of the next step, as [`numbered_steps`] counts.
    number: u32,
}

/// Fills `function` with the plan's code; `kernels` are the plan's kernels in that function.
pub fn emit(
    plan: &Plan,
    (isa, marks): (&dyn TargetIsa, Marks),
    kernels: &[FuncRef],
    function: &mut Function,
    context: &mut FunctionBuilderContext,
) {
    let mut b = FunctionBuilder::new(function, context);
    let block = b.create_block();
    b.append_block_params_for_function_params(block);
    b.switch_to_block(block);
    b.seal_block(block);
    let p = b.block_params(block).to_vec();
    let most = plan
        .calls()
        .iter()
        .map(|c| c.args.len())
        .max()
        .unwrap_or(0)
        .max(1);
    let args = b.create_sized_stack_slot(StackSlotData::new(
        StackSlotKind::ExplicitSlot,
        8 * most as u32,
        3,
    ));
    let flags = MemFlagsData::trusted();
    let sizes_table = b.ins().load(types::I64, flags, p[0], abi::OFFSET_SIZES);
    let sizes = (0..plan.sizes.len() as i32)
        .map(|k| b.ins().load(types::I64, flags, sizes_table, 8 * k))
        .collect();
    let symbols = plan.sizes.iter().map(|s| s.symbol.clone()).collect();
    let (thread, threads) = (
        b.ins().uextend(types::I64, p[1]),
        b.ins().uextend(types::I64, p[2]),
    );
    let base = b.ins().load(types::I64, flags, p[0], abi::OFFSET_SCRATCH);
    let stride = b
        .ins()
        .load(types::I64, flags, p[0], abi::OFFSET_SCRATCH_BYTES);
    let own = b.ins().imul(stride, thread);
    let scratch = b.ins().iadd(base, own);
    let (offsets, _) = constant_offsets(plan);
    let exprs = ExprEmitter::new(symbols, sizes);
    let mut emitter = EntryEmitter {
        plan,
        b,
        exprs,
        kernels,
        offsets,
        args,
        ctx: p[0],
        thread,
        threads,
        scratch,
        marks,
        number: 0,
    };
    emitter.steps(&plan.steps);
    emitter.mark(profile::END);
    emitter.b.ins().return_(&[]);
    emitter.b.seal_all_blocks();
    emitter.b.finalize(isa.frontend_config());
}

impl EntryEmitter<'_, '_> {
    fn steps(&mut self, steps: &[Step]) {
        for step in steps {
            let number = self.number;
            self.number += 1;
            self.mark(number);
            match step {
                Step::Call(call) => self.call(call),
                Step::Barrier => self.barrier(),
                Step::If {
                    cond,
                    then,
                    otherwise,
                } => self.branch(*cond, then, otherwise),
                Step::Loop {
                    trip,
                    cond,
                    counter,
                    body,
                } => self.repeat((*trip, *cond, *counter), body, number),
            }
        }
    }

    fn expr(&mut self, e: &Expr) -> Value {
        self.exprs.emit(&mut self.b, e)
    }

    fn scoped(&mut self, f: impl FnOnce(&mut Self)) {
        self.exprs.open_scope();
        f(self);
        self.exprs.close_scope();
    }

    fn table(&mut self, table: i32, k: usize) -> Value {
        let flags = MemFlagsData::trusted();
        let base = self.b.ins().load(types::I64, flags, self.ctx, table);
        self.b.ins().load(types::I64, flags, base, 8 * k as i32)
    }

    fn address(&mut self, slot: SlotId) -> Value {
        let flags = MemFlagsData::trusted();
        match &self.plan.slot(slot).place {
            Place::Input(k) => self.table(abi::OFFSET_INPUTS, *k),
            Place::Output(k) => self.table(abi::OFFSET_OUTPUTS, *k),
            Place::Constant(k) => {
                let block = self
                    .b
                    .ins()
                    .load(types::I64, flags, self.ctx, abi::OFFSET_CONSTANTS);
                let at = self.b.ins().iconst(types::I64, self.offsets[*k] as i64);
                self.b.ins().iadd(block, at)
            }
            Place::Arena(offset) => {
                let arena = self
                    .b
                    .ins()
                    .load(types::I64, flags, self.ctx, abi::OFFSET_ARENA);
                let at = self.expr(offset);
                self.b.ins().iadd(arena, at)
            }
        }
    }

    /// Iterations `thread * extent / threads .. (thread + 1) * extent / threads`.
    fn call(&mut self, call: &Call) {
        let kernel = self.plan.kernel(call.kernel);
        let zero = self.b.ins().iconst(types::I64, 0);
        let (begin, end) = match parallel_extent(kernel) {
            None => {
                let one = self.b.ins().iconst(types::I64, 1);
                let first = self.b.ins().icmp(IntCC::Equal, self.thread, zero);
                (zero, self.b.ins().select(first, one, zero))
            }
            Some(extent) => {
                let extent = self.expr(extent);
                let first = self.b.ins().imul(extent, self.thread);
                let begin = self.b.ins().udiv(first, self.threads);
                let last = self.b.ins().iadd(first, extent);
                (begin, self.b.ins().udiv(last, self.threads))
            }
        };
        let (run, after) = (self.b.create_block(), self.b.create_block());
        let any = self.b.ins().icmp(IntCC::SignedLessThan, begin, end);
        self.b.ins().brif(any, run, &[], after, &[]);
        self.b.seal_block(run);
        self.b.switch_to_block(run);
        self.scoped(|cx| cx.invoke(call, begin, end));
        self.b.ins().jump(after, &[]);
        self.b.seal_block(after);
        self.b.switch_to_block(after);
    }

    fn invoke(&mut self, call: &Call, begin: Value, end: Value) {
        for (k, slot) in call.args.iter().enumerate() {
            let address = self.address(*slot);
            self.b
                .ins()
                .stack_store(types::I64, address, self.args, 8 * k as i32);
        }
        let args = self.b.ins().stack_addr(types::I64, self.args, 0);
        let site = self.b.ins().iconst(types::I32, i64::from(call.site_base));
        let kernel = self.kernels[call.kernel.0 as usize];
        self.b
            .ins()
            .call(kernel, &[self.ctx, args, begin, end, self.scratch, site]);
    }

    fn barrier(&mut self) {
        let one = self.b.ins().iconst(types::I64, 1);
        let several = self
            .b
            .ins()
            .icmp(IntCC::UnsignedGreaterThan, self.threads, one);
        let (wait, after) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(several, wait, &[], after, &[]);
        self.b.seal_block(wait);
        self.b.switch_to_block(wait);
        let threads = self.b.ins().ireduce(types::I32, self.threads);
        self.call_helper(abi::OFFSET_HELPER_BARRIER, threads);
        self.b.ins().jump(after, &[]);
        self.b.seal_block(after);
        self.b.switch_to_block(after);
    }

    /// Calls a helper that takes the context, this thread and one number more.
    fn call_helper(&mut self, helper: i32, number: Value) {
        let flags = MemFlagsData::trusted();
        let helpers = self
            .b
            .ins()
            .load(types::I64, flags, self.ctx, abi::OFFSET_HELPERS);
        let helper = self.b.ins().load(types::I64, flags, helpers, helper);
        let mut signature = Signature::new(self.b.func.signature.call_conv);
        signature
            .params
            .extend([types::I64, types::I32, types::I32].map(AbiParam::new));
        let signature = self.b.import_signature(signature);
        let thread = self.b.ins().ireduce(types::I32, self.thread);
        self.b
            .ins()
            .call_indirect(signature, helper, &[self.ctx, thread, number]);
    }

    /// Notes that a step begins, if the entry keeps time.
    fn mark(&mut self, step: u32) {
        if self.marks == Marks::Steps {
            let step = self.b.ins().iconst(types::I32, i64::from(step));
            self.call_helper(abi::OFFSET_HELPER_MARK, step);
        }
    }

    fn load_slot(&mut self, slot: SlotId, ty: cranelift_codegen::ir::Type) -> Value {
        let address = self.address(slot);
        self.b.ins().load(ty, MemFlagsData::trusted(), address, 0)
    }

    fn branch(&mut self, cond: SlotId, then: &[Step], otherwise: &[Step]) {
        let flag = self.load_slot(cond, types::I8);
        let (yes, no, join) = (
            self.b.create_block(),
            self.b.create_block(),
            self.b.create_block(),
        );
        self.b.ins().brif(flag, yes, &[], no, &[]);
        for (block, steps) in [(yes, then), (no, otherwise)] {
            self.b.seal_block(block);
            self.b.switch_to_block(block);
            self.scoped(|cx| cx.steps(steps));
            self.b.ins().jump(join, &[]);
        }
        self.b.seal_block(join);
        self.b.switch_to_block(join);
    }

    fn repeat(
        &mut self,
        (trip, cond, counter): (SlotId, SlotId, SlotId),
        body: &[Step],
        number: u32,
    ) {
        let zero = self.b.ins().iconst(types::I64, 0);
        self.set_counter(counter, zero);
        self.barrier();
        let (head, inside, exit) = (
            self.b.create_block(),
            self.b.create_block(),
            self.b.create_block(),
        );
        self.b.ins().jump(head, &[]);
        self.b.switch_to_block(head);
        self.exprs.open_scope();
        let at = self.load_slot(counter, types::I64);
        let trip = self.load_slot(trip, types::I64);
        let go = self.load_slot(cond, types::I8);
        let below = self.b.ins().icmp(IntCC::SignedLessThan, at, trip);
        let go = self.b.ins().band(below, go);
        self.b.ins().brif(go, inside, &[], exit, &[]);
        self.b.seal_block(inside);
        self.b.switch_to_block(inside);
        self.steps(body);
        self.mark(number);
        self.barrier();
        let one = self.b.ins().iconst(types::I64, 1);
        let next = self.b.ins().iadd(at, one);
        self.set_counter(counter, next);
        self.barrier();
        self.exprs.close_scope();
        self.b.ins().jump(head, &[]);
        self.b.seal_block(head);
        self.b.seal_block(exit);
        self.b.switch_to_block(exit);
    }

    /// Thread 0 writes the counter.
    fn set_counter(&mut self, counter: SlotId, value: Value) {
        let zero = self.b.ins().iconst(types::I64, 0);
        let first = self.b.ins().icmp(IntCC::Equal, self.thread, zero);
        let (write, after) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(first, write, &[], after, &[]);
        self.b.seal_block(write);
        self.b.switch_to_block(write);
        self.scoped(|cx| {
            let address = cx.address(counter);
            cx.b.ins().store(MemFlagsData::trusted(), value, address, 0);
        });
        self.b.ins().jump(after, &[]);
        self.b.seal_block(after);
        self.b.switch_to_block(after);
    }
}
