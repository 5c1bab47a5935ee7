//! A plan into a Cranelift module: the same functions for the process and for object files.
use crate::entry::{self, Marks};
use crate::error::CodegenError;
use crate::kernel::{self, KernelStats, TileCall, TileCalls};
use crate::target::{CodeModel, Target};
use crate::wide::lower::{Found, FoundTile, find_tiles};
use cranelift_codegen::Context;
use cranelift_codegen::ir::{AbiParam, Function, Signature, types};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::FunctionBuilderContext;
use cranelift_module::{FuncId, Linkage, Module};
use tensmith_ir::loops::Kernel;
use tensmith_ir::plan::Plan;

/// The functions of a plan in a module.
#[derive(Clone, Debug)]
pub struct PlanFunctions {
    /// The entry.
    pub entry: FuncId,
    /// The kernels, in the plan's order.
    pub kernels: Vec<FuncId>,
    /// What emission found, kernel by kernel.
    pub stats: Vec<KernelStats>,
}

/// A name that is unique in the module and fit for every assembler.
fn symbol(prefix: &str, k: usize, name: &str) -> String {
    let fine = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    format!(
        "{prefix}_k{k}_{}",
        name.chars().take(48).map(fine).collect::<String>()
    )
}

fn backend(function: &str, error: impl std::fmt::Debug) -> CodegenError {
    CodegenError::Backend {
        function: function.into(),
        reason: format!("{error:?}"),
    }
}

/// Defines all functions of a plan for a target, of which the module has the back end; names begin with `prefix`, the entry is `{prefix}_entry`.
///
/// Errors: a kernel or function that the back end refuses.
pub fn define_plan<M: Module>(
    module: &mut M,
    plan: &Plan,
    (target, marks): (&Target, Marks),
    prefix: &str,
) -> Result<PlanFunctions, CodegenError> {
    let mut frontend = FunctionBuilderContext::new();
    let mut kernels = Vec::new();
    let mut stats = Vec::new();
    for (k, kernel) in plan.kernels.iter().enumerate() {
        let name = symbol(prefix, k, &kernel.name);
        let (id, found) = define_kernel(module, kernel, target, &name, &mut frontend)?;
        kernels.push(id);
        stats.push(found);
    }
    let name = format!("{prefix}_entry");
    let signature = entry::signature(module.isa().default_call_conv());
    let id = module
        .declare_function(&name, Linkage::Export, &signature)
        .map_err(|e| backend(&name, e))?;
    let mut context = module.make_context();
    context.func.signature = signature;
    let refs: Vec<_> = kernels
        .iter()
        .map(|k| module.declare_func_in_func(*k, &mut context.func))
        .collect();
    let back_end = (module.isa(), marks);
    entry::emit(plan, back_end, &refs, &mut context.func, &mut frontend);
    module
        .define_function(id, &mut context)
        .map_err(|e| backend(&name, e))?;
    Ok(PlanFunctions {
        entry: id,
        kernels,
        stats,
    })
}

fn define_kernel<M: Module>(
    module: &mut M,
    kernel: &Kernel,
    target: &Target,
    name: &str,
    frontend: &mut FunctionBuilderContext,
) -> Result<(FuncId, KernelStats), CodegenError> {
    let signature = kernel::signature(module.isa().default_call_conv());
    let id = module
        .declare_function(name, Linkage::Local, &signature)
        .map_err(|e| backend(name, e))?;
    let mut context = module.make_context();
    let found = wide_tiles(kernel, target)?;
    let widths = found.tiles.iter().map(|t| t.tile.function.width());
    let widest = widths.max_by_key(|w| w.bytes());
    let spills = found.tiles.iter().map(|t| t.code.stats.spills).sum();
    let mut calls = TileCalls::new();
    for (k, tile) in found.tiles.into_iter().enumerate() {
        let var = tile.var;
        let call = define_tile(module, tile, &format!("{name}_t{k}"), &mut context.func)?;
        calls.insert(var, call);
    }
    let back_end = (module.isa(), target.has_fma());
    let stats = kernel::emit(kernel, back_end, &mut context.func, frontend, &calls)?;
    module
        .define_function(id, &mut context)
        .map_err(|e| backend(name, e))?;
    let stats = KernelStats {
        widest,
        spills,
        narrow_tiles: found.narrow,
        narrow_reason: found.reason,
        ..stats
    };
    Ok((id, stats))
}

fn wide_tiles(kernel: &Kernel, target: &Target) -> Result<Found, CodegenError> {
    match target.wide {
        None => Ok(Found::default()),
        Some(width) => {
            find_tiles(kernel, &target.wide_target(), width).map_err(|e| backend(&kernel.name, e))
        }
    }
}

/// Defines a tile and makes it known to the kernel's function.
fn define_tile<M: Module>(
    module: &mut M,
    found: FoundTile,
    name: &str,
    caller: &mut Function,
) -> Result<TileCall, CodegenError> {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.push(AbiParam::new(types::I64));
    let id = module
        .declare_function(name, Linkage::Local, &signature)
        .map_err(|e| backend(name, e))?;
    let code = &found.code;
    module
        .define_function_bytes(id, u64::from(code.align), &code.bytes, &[])
        .map_err(|e| backend(name, e))?;
    Ok(TileCall {
        function: module.declare_func_in_func(id, caller),
        args: found.tile.args,
        results: found.tile.results,
    })
}

/// The assembly of a kernel's wide tiles, each after the variable of its loop.
///
/// Errors: as [`define_plan`].
pub fn tiles_asm(kernel: &Kernel, target: &Target) -> Result<Vec<String>, CodegenError> {
    let found = wide_tiles(kernel, target)?;
    let text = |t: &FoundTile| {
        let code = crate::wide::disassemble(&t.code.bytes[..t.code.code_bytes]);
        format!("{}: {:?}\n{code}", t.var, t.code.stats)
    };
    Ok(found.tiles.iter().map(text).collect())
}

/// The Cranelift IR of a kernel without wide tiles, before its optimisation.
///
/// Errors: as [`define_plan`].
pub fn kernel_clif(kernel: &Kernel, target: &Target) -> Result<String, CodegenError> {
    let isa = target.isa(CodeModel::Process)?;
    let mut context = Context::new();
    kernel::emit(
        kernel,
        (&*isa, target.has_fma()),
        &mut context.func,
        &mut FunctionBuilderContext::new(),
        &TileCalls::new(),
    )?;
    Ok(context.func.display().to_string())
}

/// The assembly of a kernel without wide tiles; see [`tiles_asm`].
///
/// Errors: as [`define_plan`].
pub fn kernel_asm(kernel: &Kernel, target: &Target) -> Result<String, CodegenError> {
    let isa = target.isa(CodeModel::Process)?;
    let mut context = Context::new();
    kernel::emit(
        kernel,
        (&*isa, target.has_fma()),
        &mut context.func,
        &mut FunctionBuilderContext::new(),
        &TileCalls::new(),
    )?;
    context.set_disasm(true);
    let code = context
        .compile(&*isa, &mut Default::default())
        .map_err(|e| backend(&kernel.name, e.inner))?;
    Ok(code.vcode.clone().unwrap_or_default())
}
