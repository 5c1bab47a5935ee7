//! The functions of an object file that run a model.
use super::helpers::{Callbacks, define_callbacks};
use super::{checked_sizes, define_function, size_emitter};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    InstBuilder, MemFlagsData, StackSlotData, StackSlotKind, Type, Value, types,
};
use cranelift_frontend::FunctionBuilder;
use cranelift_module::{DataId, FuncId, Linkage, Module};
use cranelift_object::ObjectModule;
use tensmith_ir::expr::Expr;
use tensmith_ir::plan::Plan;
use tensmith_runtime::abi;

/// What the functions are made from.
pub struct Model<'a> {
    pub plan: &'a Plan,
    pub name: &'a str,
    pub entry: FuncId,
    pub constants: DataId,
    /// Units: bytes of scratch memory of one thread.
    pub scratch: &'a Expr,
}

/// The parameters of both: inputs, outputs, sizes, arena, scratch.
const COMMON: [Type; 5] = [types::I64; 5];

/// The function that hands out parts, what it gets, the number of threads.
const PARALLEL: [Type; 3] = [types::I64, types::I64, types::I32];

impl Model<'_> {
    /// `NAME_run` and `NAME_run_parallel`; both return the code of the first run-time error.
    pub fn define_runs(&self, module: &mut ObjectModule) -> Result<(), String> {
        let callbacks = define_callbacks(module, self.name)?;
        let symbol = format!("{}_run", self.name);
        let returns = &[types::I32][..];
        let exported = (&symbol[..], Linkage::Export);
        define_function(module, exported, (&COMMON, returns), |module, b, p| {
            let one = b.ins().iconst(types::I32, 1);
            let user = b.ins().iconst(types::I64, 0);
            self.run(module, b, (&callbacks, p), (user, one));
        })?;
        let symbol = format!("{}_run_parallel", self.name);
        let exported = (&symbol[..], Linkage::Export);
        let params = [&COMMON[..], &PARALLEL[..]].concat();
        define_function(module, exported, (&params, returns), |module, b, p| {
            let pair = slot(b, 16);
            let user = b.ins().stack_addr(types::I64, pair, 0);
            put(b, user, 0, p[5]);
            put(b, user, 8, p[6]);
            let threads = part_count(b, p[5], p[7]);
            self.run(module, b, (&callbacks, p), (user, threads));
        })?;
        Ok(())
    }

    /// Fills a context and calls the entry.
    fn run(
        &self,
        module: &mut ObjectModule,
        b: &mut FunctionBuilder<'_>,
        (callbacks, p): (&Callbacks, &[Value]),
        (user, threads): (Value, Value),
    ) {
        let refused = b.ins().iconst(types::I32, i64::from(abi::ERROR_SIZE));
        let sizes = checked_sizes(b, self.plan, p[2], refused);
        let scratch_bytes = size_emitter(self.plan, sizes).emit(b, self.scratch);
        let constants = module.declare_data_in_func(self.constants, b.func);
        let constants = b.ins().symbol_value(types::I64, constants);
        let helpers = helper_table(module, b, callbacks);
        let context = slot(b, size_of::<abi::Context>());
        let ctx = b.ins().stack_addr(types::I64, context, 0);
        let zero = b.ins().iconst(types::I64, 0);
        for offset in (0..size_of::<abi::Context>() as i32).step_by(8) {
            put(b, ctx, offset, zero);
        }
        let fields = [
            (abi::OFFSET_HELPERS, helpers),
            (abi::OFFSET_USER, user),
            (abi::OFFSET_INPUTS, p[0]),
            (abi::OFFSET_OUTPUTS, p[1]),
            (abi::OFFSET_SIZES, p[2]),
            (abi::OFFSET_ARENA, p[3]),
            (abi::OFFSET_SCRATCH, p[4]),
            (abi::OFFSET_SCRATCH_BYTES, scratch_bytes),
            (abi::OFFSET_CONSTANTS, constants),
        ];
        for (offset, v) in fields {
            put(b, ctx, offset, v);
        }
        let entry = module.declare_func_in_func(self.entry, b.func);
        let first = b.ins().iconst(types::I32, 0);
        b.ins().call(entry, &[ctx, first, threads]);
        let flags = MemFlagsData::trusted();
        let code = b.ins().load(types::I32, flags, ctx, abi::OFFSET_ERROR);
        b.ins().return_(&[code]);
    }
}

/// The helpers that an entry for one thread calls.
fn helper_table(
    module: &mut ObjectModule,
    b: &mut FunctionBuilder<'_>,
    callbacks: &Callbacks,
) -> Value {
    let table = slot(b, size_of::<abi::Helpers>());
    let table = b.ins().stack_addr(types::I64, table, 0);
    let helpers = [
        (abi::OFFSET_HELPER_FAIL, callbacks.fail),
        (abi::OFFSET_HELPER_PARALLEL, callbacks.parallel),
    ];
    for (offset, id) in helpers {
        let function = module.declare_func_in_func(id, b.func);
        let address = b.ins().func_addr(types::I64, function);
        put(b, table, offset, address);
    }
    table
}

/// `threads`, at least 1 and at most [`abi::MAX_PARTS`]; 1 without a function that hands out.
fn part_count(b: &mut FunctionBuilder<'_>, parallel_for: Value, threads: Value) -> Value {
    let one = b.ins().iconst(types::I32, 1);
    let most = b.ins().iconst(types::I32, i64::from(abi::MAX_PARTS));
    let threads = b.ins().umax(threads, one);
    let threads = b.ins().umin(threads, most);
    let none = b.ins().icmp_imm_u(IntCC::Equal, parallel_for, 0);
    b.ins().select(none, one, threads)
}

pub(super) fn put(b: &mut FunctionBuilder<'_>, base: Value, offset: i32, v: Value) {
    b.ins().store(MemFlagsData::trusted(), v, base, offset);
}

pub(super) fn slot(b: &mut FunctionBuilder<'_>, bytes: usize) -> cranelift_codegen::ir::StackSlot {
    let data = StackSlotData::new(StackSlotKind::ExplicitSlot, bytes as u32, 4);
    b.create_sized_stack_slot(data)
}
