//! Code as an object file with a C interface.
mod helpers;
mod run;

use crate::entry::{Execution, Form, Marks, constant_offsets};
use crate::error::CodegenError;
use crate::kernel::expr::ExprEmitter;
use crate::kernel::scratch_bytes;
use crate::module::define_plan;
use crate::target::{CodeModel, Target};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{AbiParam, InstBuilder, MemFlagsData, Signature, Type, Value, types};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{DataDescription, DataId, FuncId, Linkage, Module};
use cranelift_object::{ObjectBuilder, ObjectModule};
use tensmith_ir::expr::Expr;
use tensmith_ir::plan::Plan;

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
    let form = Form {
        execution: Execution::Sections,
        marks: Marks::None,
    };
    let functions = define_plan(&mut module, plan, (target, form), name)?;
    let (_, bytes) = constant_offsets(plan);
    let mut block = constants.to_vec();
    block.resize(bytes.max(1), 0);
    let data = define_constants(&mut module, name, block).map_err(fail)?;
    let scratch = scratch_per_thread(plan);
    let model = run::Model {
        plan,
        name,
        entry: functions.entry,
        constants: data,
        scratch: &scratch,
    };
    model.define_runs(&mut module).map_err(fail)?;
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

/// Units: bytes of scratch memory of one thread, a multiple of 64.
fn scratch_per_thread(plan: &Plan) -> Expr {
    let needs = plan.kernels.iter().map(scratch_bytes);
    let most = needs.fold(Expr::from(0), |most, need| most.max(need));
    most.ceil_div(64) * 64
}

/// Defines a function; `body` fills it, from its parameters on.
fn define_function(
    module: &mut ObjectModule,
    (symbol, linkage): (&str, Linkage),
    (params, returns): (&[Type], &[Type]),
    body: impl FnOnce(&mut ObjectModule, &mut FunctionBuilder<'_>, &[Value]),
) -> Result<FuncId, String> {
    let mut signature = Signature::new(module.isa().default_call_conv());
    let param = |ty: &Type| AbiParam::new(*ty);
    signature.params.extend(params.iter().map(param));
    signature.returns.extend(returns.iter().map(param));
    let id = module
        .declare_function(symbol, linkage, &signature)
        .map_err(|e| e.to_string())?;
    let mut context = module.make_context();
    context.func.signature = signature;
    let mut frontend = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut context.func, &mut frontend);
    let block = b.create_block();
    b.append_block_params_for_function_params(block);
    b.switch_to_block(block);
    let values = b.block_params(block).to_vec();
    body(module, &mut b, &values);
    b.seal_all_blocks();
    b.finalize(module.isa().frontend_config());
    module
        .define_function(id, &mut context)
        .map_err(|e| format!("{e:?}"))?;
    Ok(id)
}

/// `int64_t SYMBOL(const int64_t *sizes)`: the value of `bytes`, or -1 if a size is out of range.
fn define_bytes(
    module: &mut ObjectModule,
    plan: &Plan,
    symbol: &str,
    bytes: &Expr,
) -> Result<(), String> {
    let types = (&[types::I64][..], &[types::I64][..]);
    define_function(module, (symbol, Linkage::Export), types, |_, b, p| {
        let refused = b.ins().iconst(types::I64, -1);
        let sizes = checked_sizes(b, plan, p[0], refused);
        let value = size_emitter(plan, sizes).emit(b, bytes);
        b.ins().return_(&[value]);
    })?;
    Ok(())
}

fn size_emitter(plan: &Plan, sizes: Vec<Value>) -> ExprEmitter {
    let symbols = plan.sizes.iter().map(|s| s.symbol.clone()).collect();
    ExprEmitter::new(symbols, sizes)
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
