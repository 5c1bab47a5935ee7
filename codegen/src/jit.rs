//! Code in this process.
use crate::entry::Form;
use crate::error::CodegenError;
use crate::kernel::KernelStats;
use crate::module::define_plan;
use crate::target::{CodeModel, Target};
use cranelift_jit::{JITBuilder, JITModule};
use tensmith_ir::plan::Plan;
use tensmith_runtime::abi;

/// A plan as machine code in this process. Pages are never writable and executable at once.
pub struct JitCode {
    module: Option<JITModule>,
    entry: abi::Entry,
    /// What emission found, kernel by kernel.
    pub stats: Vec<KernelStats>,
}

// SAFETY: after `finalize_definitions` the module is only kept to own its memory, which no one
// writes; the code is position independent and has no state of its own.
unsafe impl Send for JitCode {}
// SAFETY: as above.
unsafe impl Sync for JitCode {}

impl JitCode {
    /// Compiles a plan to code that every thread runs.
    ///
    /// Errors: what the back end refuses.
    pub fn compile(plan: &Plan, target: &Target) -> Result<Self, CodegenError> {
        Self::compile_with(plan, target, Form::default())
    }

    /// Compiles a plan to code of some form.
    ///
    /// Errors: as [`JitCode::compile`].
    pub fn compile_with(plan: &Plan, target: &Target, form: Form) -> Result<Self, CodegenError> {
        let builder = JITBuilder::with_isa(
            target.isa(CodeModel::Process)?,
            cranelift_module::default_libcall_names(),
        );
        let mut module = JITModule::new(builder);
        let functions = define_plan(&mut module, plan, (target, form), "tensmith")?;
        module
            .finalize_definitions()
            .map_err(|e| CodegenError::Backend {
                function: "tensmith_entry".into(),
                reason: e.to_string(),
            })?;
        let address = module.get_finalized_function(functions.entry);
        // SAFETY: the entry was defined with the signature of `abi::Entry` in the default calling
        // convention of the host, which is that of `extern "C"`.
        let entry = unsafe { std::mem::transmute::<*const u8, abi::Entry>(address) };
        Ok(JitCode {
            module: Some(module),
            entry,
            stats: functions.stats,
        })
    }

    /// The entry; valid as long as `self` lives.
    pub fn entry(&self) -> abi::Entry {
        self.entry
    }
}

impl Drop for JitCode {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: the entry is documented to be valid only as long as `self` lives.
            unsafe { module.free_memory() };
        }
    }
}
