//! A plan into a Cranelift module: the same functions for the process and for object files.
use crate::entry::frame::{KernelRefs, calls_of};
use crate::entry::{self, Execution, Form, Section, SectionRefs};
use crate::error::CodegenError;
use crate::kernel::{self, KernelStats, TileCall, TileCalls};
use crate::target::{CodeModel, Target};
use crate::wide::lower::{Found, FoundTile, find_tiles};
use cranelift_codegen::Context;
use cranelift_codegen::ir::{
    AbiParam, ExtFuncData, ExternalName, Function, Signature, UserExternalName, types,
};
use cranelift_codegen::isa::{CallConv, TargetIsa};
use cranelift_frontend::FunctionBuilderContext;
use cranelift_module::{FuncId, Linkage, Module};
use tensmith_ir::loops::Kernel;
use tensmith_ir::plan::{Call, Plan};

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
    (target, form): (&Target, Form),
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
    let mut sections = Vec::new();
    if form.execution == Execution::Sections {
        for section in entry::sections(plan) {
            let name = format!("{prefix}_s{}", section.number);
            let id = define_section(module, (plan, section), form, &name, &kernels)?;
            sections.push((section.number, id));
        }
    }
    let name = format!("{prefix}_entry");
    let id = define_entry(module, plan, form, &name, (&kernels, &sections))?;
    Ok(PlanFunctions {
        entry: id,
        kernels,
        stats,
    })
}

/// The kernels that some calls need, made known to a function.
fn import_kernels<'a, M: Module>(
    module: &mut M,
    kernels: &[FuncId],
    calls: impl Iterator<Item = &'a Call>,
    function: &mut Function,
) -> KernelRefs {
    let mut refs = KernelRefs::new();
    for call in calls {
        let id = kernels[call.kernel.0 as usize];
        refs.entry(call.kernel)
            .or_insert_with(|| module.declare_func_in_func(id, function));
    }
    refs
}

fn define_section<M: Module>(
    module: &mut M,
    (plan, section): (&Plan, Section<'_>),
    form: Form,
    name: &str,
    kernels: &[FuncId],
) -> Result<FuncId, CodegenError> {
    let signature = entry::signature(module.isa().default_call_conv());
    let id = module
        .declare_function(name, Linkage::Local, &signature)
        .map_err(|e| backend(name, e))?;
    let mut context = module.make_context();
    context.func.signature = signature;
    let calls = calls_of(section.steps);
    let refs = import_kernels(module, kernels, calls, &mut context.func);
    entry::emit_section(
        (plan, &section),
        (module.isa(), form),
        &refs,
        &mut context.func,
        &mut FunctionBuilderContext::new(),
    );
    module
        .define_function(id, &mut context)
        .map_err(|e| backend(name, e))?;
    Ok(id)
}

fn define_entry<M: Module>(
    module: &mut M,
    plan: &Plan,
    form: Form,
    name: &str,
    (kernels, sections): (&[FuncId], &[(u32, FuncId)]),
) -> Result<FuncId, CodegenError> {
    let signature = entry::signature(module.isa().default_call_conv());
    let id = module
        .declare_function(name, Linkage::Export, &signature)
        .map_err(|e| backend(name, e))?;
    let mut context = module.make_context();
    context.func.signature = signature;
    let calls = plan.calls().into_iter();
    let kernels = import_kernels(module, kernels, calls, &mut context.func);
    let mut section_refs = SectionRefs::new();
    for (number, section) in sections {
        let section = module.declare_func_in_func(*section, &mut context.func);
        section_refs.insert(*number, section);
    }
    entry::emit(
        plan,
        (module.isa(), form),
        (&kernels, &section_refs),
        &mut context.func,
        &mut FunctionBuilderContext::new(),
    );
    module
        .define_function(id, &mut context)
        .map_err(|e| backend(name, e))?;
    Ok(id)
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
    let dots = found.tiles.iter().map(|t| t.code.stats.dots).sum();
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
        dots,
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
    let id = module
        .declare_function(name, Linkage::Local, &tile_signature())
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

fn tile_signature() -> Signature {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.push(AbiParam::new(types::I64));
    signature
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

/// The Cranelift IR of a kernel, before its optimisation; wide tiles are the functions that it
/// calls, see [`tiles_asm`].
///
/// Errors: as [`define_plan`].
pub fn kernel_clif(kernel: &Kernel, target: &Target) -> Result<String, CodegenError> {
    let isa = target.isa(CodeModel::Process)?;
    Ok(lowered(kernel, target, &*isa)?.func.display().to_string())
}

/// The assembly of a kernel, and behind it that of the wide tiles that it calls.
///
/// Errors: as [`define_plan`].
pub fn kernel_asm(kernel: &Kernel, target: &Target) -> Result<String, CodegenError> {
    let isa = target.isa(CodeModel::Process)?;
    let mut context = lowered(kernel, target, &*isa)?;
    context.set_disasm(true);
    let code = context
        .compile(&*isa, &mut Default::default())
        .map_err(|e| backend(&kernel.name, e.inner))?;
    let mut text = code.vcode.clone().unwrap_or_default();
    for (k, tile) in tiles_asm(kernel, target)?.iter().enumerate() {
        text += &format!("\n; tile u0:{k}, loop {tile}");
    }
    Ok(text)
}

/// The function of a kernel, outside of any module: tile `k` is the function `u0:k`.
fn lowered(kernel: &Kernel, target: &Target, isa: &dyn TargetIsa) -> Result<Context, CodegenError> {
    let mut context = Context::new();
    let mut calls = TileCalls::new();
    for (k, found) in wide_tiles(kernel, target)?.tiles.into_iter().enumerate() {
        let caller = &mut context.func;
        let signature = caller.import_signature(tile_signature());
        let name = UserExternalName::new(0, k as u32);
        let name = ExternalName::user(caller.declare_imported_user_function(name));
        let function = caller.import_function(ExtFuncData {
            name,
            signature,
            colocated: true,
            patchable: false,
        });
        let call = TileCall {
            function,
            args: found.tile.args,
            results: found.tile.results,
        };
        calls.insert(found.var, call);
    }
    kernel::emit(
        kernel,
        (isa, target.has_fma()),
        &mut context.func,
        &mut FunctionBuilderContext::new(),
        &calls,
    )?;
    Ok(context)
}
