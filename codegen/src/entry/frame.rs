//! What entries and sections share: addresses of slots, kernel calls and calls of helpers.
use super::{Execution, Form, Marks, constant_offsets, parallel_extent};
use crate::kernel::expr::ExprEmitter;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    AbiParam, FuncRef, Function, InstBuilder, MemFlagsData, Signature, StackSlot, StackSlotData,
    StackSlotKind, Type, Value, types,
};
use cranelift_codegen::isa::TargetIsa;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use std::collections::BTreeMap;
use tensmith_ir::expr::Expr;
use tensmith_ir::loops::team::is_team;
use tensmith_ir::plan::{Call, KernelId, Place, Plan, SlotId, Step};
use tensmith_runtime::abi;

/// The kernels that a function calls, as it knows them.
pub(crate) type KernelRefs = BTreeMap<KernelId, FuncRef>;

/// A function `(ctx, thread, threads)` in the making.
pub(crate) struct Frame<'a, 'f> {
    pub plan: &'a Plan,
    pub b: FunctionBuilder<'f>,
    exprs: ExprEmitter,
    kernels: &'a KernelRefs,
    offsets: Vec<usize>,
    args: StackSlot,
    pub ctx: Value,
    pub thread: Value,
    pub threads: Value,
    scratch: Value,
    form: Form,
}

impl<'a, 'f> Frame<'a, 'f> {
    /// Begins a function: loads the sizes and finds the thread's scratch memory.
    pub fn new(
        (plan, form): (&'a Plan, Form),
        kernels: &'a KernelRefs,
        function: &'f mut Function,
        context: &'f mut FunctionBuilderContext,
    ) -> Self {
        let mut b = FunctionBuilder::new(function, context);
        let block = b.create_block();
        b.append_block_params_for_function_params(block);
        b.switch_to_block(block);
        b.seal_block(block);
        let p = b.block_params(block).to_vec();
        let args = argument_block(plan, &mut b);
        let flags = MemFlagsData::trusted();
        let sizes_table = b.ins().load(types::I64, flags, p[0], abi::OFFSET_SIZES);
        let sizes = (0..plan.sizes.len() as i32)
            .map(|k| b.ins().load(types::I64, flags, sizes_table, 8 * k))
            .collect();
        let symbols = plan.sizes.iter().map(|s| s.symbol.clone()).collect();
        let thread = b.ins().uextend(types::I64, p[1]);
        let threads = b.ins().uextend(types::I64, p[2]);
        let base = b.ins().load(types::I64, flags, p[0], abi::OFFSET_SCRATCH);
        let stride = b
            .ins()
            .load(types::I64, flags, p[0], abi::OFFSET_SCRATCH_BYTES);
        let own = b.ins().imul(stride, thread);
        let scratch = b.ins().iadd(base, own);
        Frame {
            plan,
            b,
            exprs: ExprEmitter::new(symbols, sizes),
            kernels,
            offsets: constant_offsets(plan).0,
            args,
            ctx: p[0],
            thread,
            threads,
            scratch,
            form,
        }
    }

    /// Ends the function.
    pub fn finish(mut self, isa: &dyn TargetIsa) {
        self.b.ins().return_(&[]);
        self.b.seal_all_blocks();
        self.b.finalize(isa.frontend_config());
    }

    pub fn expr(&mut self, e: &Expr) -> Value {
        self.exprs.emit(&mut self.b, e)
    }

    pub fn open_scope(&mut self) {
        self.exprs.open_scope();
    }

    pub fn close_scope(&mut self) {
        self.exprs.close_scope();
    }

    /// Emits a block that runs if `cond` is not zero; values computed in it stay in it.
    pub fn when(&mut self, cond: Value, f: impl FnOnce(&mut Self)) {
        let (run, after) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(cond, run, &[], after, &[]);
        self.b.seal_block(run);
        self.b.switch_to_block(run);
        self.open_scope();
        f(self);
        self.close_scope();
        self.b.ins().jump(after, &[]);
        self.b.seal_block(after);
        self.b.switch_to_block(after);
    }

    fn table(&mut self, table: i32, k: usize) -> Value {
        let base = self.field(table);
        let flags = MemFlagsData::trusted();
        self.b.ins().load(types::I64, flags, base, 8 * k as i32)
    }

    /// An address in the context.
    fn field(&mut self, offset: i32) -> Value {
        let flags = MemFlagsData::trusted();
        self.b.ins().load(types::I64, flags, self.ctx, offset)
    }

    pub fn address(&mut self, slot: SlotId) -> Value {
        match &self.plan.slot(slot).place {
            Place::Input(k) => self.table(abi::OFFSET_INPUTS, *k),
            Place::Output(k) => self.table(abi::OFFSET_OUTPUTS, *k),
            Place::Constant(k) => {
                let block = self.field(abi::OFFSET_CONSTANTS);
                let at = self.b.ins().iconst(types::I64, self.offsets[*k] as i64);
                self.b.ins().iadd(block, at)
            }
            Place::Arena(offset) => {
                let arena = self.field(abi::OFFSET_ARENA);
                let at = self.expr(offset);
                self.b.ins().iadd(arena, at)
            }
        }
    }

    pub fn load_slot(&mut self, slot: SlotId, ty: Type) -> Value {
        let address = self.address(slot);
        self.b.ins().load(ty, MemFlagsData::trusted(), address, 0)
    }

    /// Iterations `thread * extent / threads .. (thread + 1) * extent / threads`; of a team, which
    /// waits inside of the kernel, every thread, or the only one of them that runs.
    pub fn call(&mut self, call: &Call) {
        let kernel = self.plan.kernel(call.kernel);
        if is_team(kernel) && self.form.execution == Execution::Spmd {
            return self.invoke(call, self.thread, self.threads);
        }
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
        let any = self.b.ins().icmp(IntCC::SignedLessThan, begin, end);
        self.when(any, |cx| cx.invoke(call, begin, end));
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
        let kernel = self.kernels[&call.kernel];
        self.b
            .ins()
            .call(kernel, &[self.ctx, args, begin, end, self.scratch, site]);
    }

    /// Calls a helper that takes the context and two more.
    pub fn call_helper(&mut self, helper: i32, [x, y]: [Value; 2]) {
        let flags = MemFlagsData::trusted();
        let helpers = self.field(abi::OFFSET_HELPERS);
        let helper = self.b.ins().load(types::I64, flags, helpers, helper);
        let mut signature = Signature::new(self.b.func.signature.call_conv);
        signature.params.push(AbiParam::new(types::I64));
        let more = [x, y].map(|v| AbiParam::new(self.b.func.dfg.value_type(v)));
        signature.params.extend(more);
        let signature = self.b.import_signature(signature);
        self.b
            .ins()
            .call_indirect(signature, helper, &[self.ctx, x, y]);
    }

    /// Calls a helper that takes the context, this thread and one number more.
    pub fn call_thread_helper(&mut self, helper: i32, number: Value) {
        let thread = self.b.ins().ireduce(types::I32, self.thread);
        self.call_helper(helper, [thread, number]);
    }

    /// Notes that a step begins, if the code keeps time.
    pub fn mark(&mut self, step: u32) {
        if self.form.marks == Marks::Steps {
            let step = self.b.ins().iconst(types::I32, i64::from(step));
            self.call_thread_helper(abi::OFFSET_HELPER_MARK, step);
        }
    }
}

/// Room for the arguments of any call.
fn argument_block(plan: &Plan, b: &mut FunctionBuilder<'_>) -> StackSlot {
    let counts = plan.calls().into_iter().map(|c| c.args.len());
    let most = counts.max().unwrap_or(0).max(1);
    b.create_sized_stack_slot(StackSlotData::new(
        StackSlotKind::ExplicitSlot,
        8 * most as u32,
        3,
    ))
}

/// The calls among steps; none of those inside branches and loops.
pub(crate) fn calls_of(steps: &[Step]) -> impl Iterator<Item = &Call> {
    steps.iter().filter_map(|step| match step {
        Step::Call(call) => Some(call),
        Step::Barrier | Step::If { .. } | Step::Loop { .. } => None,
    })
}
