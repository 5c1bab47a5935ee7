//! Code as an object file with a C interface.
use crate::entry::{Marks, constant_offsets};
use crate::error::CodegenError;
use crate::kernel::expr::ExprEmitter;
use crate::kernel::scratch_bytes;
use crate::module::define_plan;
use crate::target::{CodeModel, Target};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    AbiParam, InstBuilder, MemFlagsData, Signature, StackSlotData, StackSlotKind, Value, types,
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{DataDescription, DataId, FuncId, Linkage, Module};
use cranelift_object::{ObjectBuilder, ObjectModule};
use tensmith_ir::expr::Expr;
use tensmith_ir::plan::Plan;
use tensmith_runtime::abi;

/// An object file with all code and constants of a plan. It needs nothing but what its caller
/// passes in. Functions and data are named after `name`, as [`crate::header::c_header`] declares.
///
/// Errors: what the back end refuses.
pub fn write_object(
    plan: &Plan,
    constants: &[u8],
    target: &Target,
    name: &str,
) -> Result<Vec<u8>, CodegenError> {
    let fail = |reason: String| CodegenError::Backend {
        function: name.into(),
        reason,
    };
    let isa = target.isa(CodeModel::Object)?;
    let builder = ObjectBuilder::new(isa, name, cranelift_module::default_libcall_names())
        .map_err(|e| fail(e.to_string()))?;
    let mut module = ObjectModule::new(builder);
    let functions = define_plan(&mut module, plan, (target, Marks::None), name)?;
    let (_, bytes) = constant_offsets(plan);
    let mut block = constants.to_vec();
    block.resize(bytes.max(1), 0);
    let data = define_constants(&mut module, name, block).map_err(fail)?;
    define_run(&mut module, plan, name, functions.entry, data).map_err(fail)?;
    let scratch = plan.kernels.iter().map(scratch_bytes);
    let scratch = scratch.fold(Expr::from(0), |most, need| most.max(need));
    for (what, bytes) in [("arena", &plan.arena_bytes), ("scratch", &scratch)] {
        let symbol = format!("{name}_{what}_bytes");
        define_bytes(&mut module, plan, &symbol, bytes).map_err(fail)?;
    }
    let product = module.finish();
    product.emit().map_err(|e| fail(e.to_string()))
}

fn define_constants(
    module: &mut ObjectModule,
    name: &str,
    block: Vec<u8>,
) -> Result<DataId, String> {
    let symbol = format!("{name}_constants");
    let id = module
        .declare_data(&symbol, Linkage::Local, false, false)
        .map_err(|e| e.to_string())?;
    let mut description = DataDescription::new();
    description.set_align(64);
    description.define(block.into_boxed_slice());
    module
        .define_data(id, &description)
        .map_err(|e| e.to_string())?;
    Ok(id)
}

/// `int64_t SYMBOL(const int64_t *sizes)`: the value of `bytes`, or -1 if a size is out of range.
fn define_bytes(
    module: &mut ObjectModule,
    plan: &Plan,
    symbol: &str,
    bytes: &Expr,
) -> Result<(), String> {
    let mut signature = Signature::new(module.isa().default_call_conv());
    signature.params.push(AbiParam::new(types::I64));
    signature.returns.push(AbiParam::new(types::I64));
    let id = module
        .declare_function(symbol, Linkage::Export, &signature)
        .map_err(|e| e.to_string())?;
    let mut context = module.make_context();
    context.func.signature = signature;
    let mut frontend = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut context.func, &mut frontend);
    let block = b.create_block();
    b.append_block_params_for_function_params(block);
    b.switch_to_block(block);
    let table = b.block_params(block)[0];
    let refused = b.ins().iconst(types::I64, -1);
    let sizes = checked_sizes(&mut b, plan, table, refused);
    let symbols = plan.sizes.iter().map(|s| s.symbol.clone()).collect();
    let value = ExprEmitter::new(symbols, sizes).emit(&mut b, bytes);
    b.ins().return_(&[value]);
    b.seal_all_blocks();
    b.finalize(module.isa().frontend_config());
    module
        .define_function(id, &mut context)
        .map_err(|e| format!("{e:?}"))
}

/// The sizes in a table; the function returns `refused` if one is out of its range.
fn checked_sizes(
    b: &mut FunctionBuilder<'_>,
    plan: &Plan,
    table: Value,
    refused: Value,
) -> Vec<Value> {
    let mut values = Vec::with_capacity(plan.sizes.len());
    let wrong = (!plan.sizes.is_empty()).then(|| b.create_block());
    for (k, size) in plan.sizes.iter().enumerate() {
        let flags = MemFlagsData::trusted();
        let value = b.ins().load(types::I64, flags, table, 8 * k as i32);
        let above = b.ins().iadd_imm_s(value, size.min.wrapping_neg());
        let span = b.ins().iconst(types::I64, size.max.wrapping_sub(size.min));
        let fits = b.ins().icmp(IntCC::UnsignedLessThanOrEqual, above, span);
        let next = b.create_block();
        b.ins().brif(
            fits,
            next,
            &[],
            wrong.expect("invariant: there are sizes"),
            &[],
        );
        b.switch_to_block(next);
        values.push(value);
    }
    if let (Some(wrong), Some(good)) = (wrong, b.current_block()) {
        b.switch_to_block(wrong);
        b.ins().return_(&[refused]);
        b.switch_to_block(good);
    }
    values
}

/// `int NAME_run(const void *const *inputs, void *const *outputs, const int64_t *sizes,
/// void *arena, void *scratch)`: one thread; returns the code of the first run-time error.
fn define_run(
    module: &mut ObjectModule,
    plan: &Plan,
    name: &str,
    entry: FuncId,
    constants: DataId,
) -> Result<(), String> {
    let conv = module.isa().default_call_conv();
    let mut signature = Signature::new(conv);
    signature.params.extend([types::I64; 5].map(AbiParam::new));
    signature.returns.push(AbiParam::new(types::I32));
    let fail_helper = define_fail(module, name)?;
    let symbol = format!("{name}_run");
    let id = module
        .declare_function(&symbol, Linkage::Export, &signature)
        .map_err(|e| e.to_string())?;
    let mut context = module.make_context();
    context.func.signature = signature;
    let entry = module.declare_func_in_func(entry, &mut context.func);
    let fail_helper = module.declare_func_in_func(fail_helper, &mut context.func);
    let constants = module.declare_data_in_func(constants, &mut context.func);
    let mut frontend = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut context.func, &mut frontend);
    let block = b.create_block();
    b.append_block_params_for_function_params(block);
    b.switch_to_block(block);
    let p = b.block_params(block).to_vec();
    let refused = b.ins().iconst(types::I32, i64::from(abi::ERROR_SIZE));
    checked_sizes(&mut b, plan, p[2], refused);
    let context_slot = slot(&mut b, size_of::<abi::Context>());
    let helper_slot = slot(&mut b, size_of::<abi::Helpers>());
    let ctx = b.ins().stack_addr(types::I64, context_slot, 0);
    let helpers = b.ins().stack_addr(types::I64, helper_slot, 0);
    let zero = b.ins().iconst(types::I64, 0);
    let put = |b: &mut FunctionBuilder<'_>, base: Value, offset: i32, v: Value| {
        b.ins().store(MemFlagsData::trusted(), v, base, offset);
    };
    for offset in (0..size_of::<abi::Context>() as i32).step_by(8) {
        put(&mut b, ctx, offset, zero);
    }
    let address = b.ins().func_addr(types::I64, fail_helper);
    put(&mut b, helpers, abi::OFFSET_HELPER_FAIL, address);
    let block_of_constants = b.ins().symbol_value(types::I64, constants);
    let fields = [
        (abi::OFFSET_HELPERS, helpers),
        (abi::OFFSET_INPUTS, p[0]),
        (abi::OFFSET_OUTPUTS, p[1]),
        (abi::OFFSET_SIZES, p[2]),
        (abi::OFFSET_ARENA, p[3]),
        (abi::OFFSET_SCRATCH, p[4]),
        (abi::OFFSET_CONSTANTS, block_of_constants),
    ];
    for (offset, v) in fields {
        put(&mut b, ctx, offset, v);
    }
    let first = b.ins().iconst(types::I32, 0);
    let one = b.ins().iconst(types::I32, 1);
    b.ins().call(entry, &[ctx, first, one]);
    let code = b
        .ins()
        .load(types::I32, MemFlagsData::trusted(), ctx, abi::OFFSET_ERROR);
    b.ins().return_(&[code]);
    b.seal_all_blocks();
    b.finalize(module.isa().frontend_config());
    module
        .define_function(id, &mut context)
        .map_err(|e| format!("{e:?}"))
}

fn slot(b: &mut FunctionBuilder<'_>, bytes: usize) -> cranelift_codegen::ir::StackSlot {
    b.create_sized_stack_slot(StackSlotData::new(
        StackSlotKind::ExplicitSlot,
        bytes as u32,
        4,
    ))
}

/// The `fail` helper of the one-threaded wrapper: records the first error.
fn define_fail(module: &mut ObjectModule, name: &str) -> Result<FuncId, String> {
    let mut signature = Signature::new(module.isa().default_call_conv());
    signature
        .params
        .extend([types::I64, types::I32, types::I32, types::I64, types::I64].map(AbiParam::new));
    let symbol = format!("{name}_fail");
    let id = module
        .declare_function(&symbol, Linkage::Local, &signature)
        .map_err(|e| e.to_string())?;
    let mut context = module.make_context();
    context.func.signature = signature;
    let mut frontend = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut context.func, &mut frontend);
    let block = b.create_block();
    b.append_block_params_for_function_params(block);
    b.switch_to_block(block);
    let p = b.block_params(block).to_vec();
    let flags = MemFlagsData::trusted();
    let (write, done) = (b.create_block(), b.create_block());
    let known = b.ins().load(types::I32, flags, p[0], abi::OFFSET_ERROR);
    b.ins().brif(known, done, &[], write, &[]);
    b.switch_to_block(write);
    let error = core::mem::offset_of!(abi::Context, error) as i32;
    let at = |field: usize| error + field as i32;
    b.ins().store(flags, p[1], p[0], abi::OFFSET_ERROR);
    b.ins().store(
        flags,
        p[2],
        p[0],
        at(core::mem::offset_of!(abi::ErrorRecord, site)),
    );
    b.ins().store(
        flags,
        p[3],
        p[0],
        at(core::mem::offset_of!(abi::ErrorRecord, value)),
    );
    b.ins().store(
        flags,
        p[4],
        p[0],
        at(core::mem::offset_of!(abi::ErrorRecord, bound)),
    );
    b.ins().jump(done, &[]);
    b.switch_to_block(done);
    b.ins().return_(&[]);
    b.seal_all_blocks();
    b.finalize(module.isa().frontend_config());
    module
        .define_function(id, &mut context)
        .map_err(|e| format!("{e:?}"))?;
    Ok(id)
}
