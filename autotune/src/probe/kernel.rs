//! Kernels of the loop IR that are run for their time.
use super::{Result, internal};
use tensmith_codegen::jit::JitCode;
use tensmith_codegen::target::Target;
use tensmith_ir::loops::parse_kernel;
use tensmith_ir::plan::{Place, Plan};
use tensmith_runtime::{AlignedBytes, Context, Pool, Stopwatch};

/// What every input element is: a number whose sums and products stay numbers.
const FILL: f32 = 0.5;

/// A kernel over buffers of 32-bit elements of static size, compiled, with memory for it.
pub(super) struct KernelProbe {
    code: JitCode,
    inputs: Vec<AlignedBytes>,
    outputs: Vec<AlignedBytes>,
}

impl KernelProbe {
    /// Compiles a kernel in its text form for a target that this machine runs.
    ///
    /// Errors: memory ends; a defect of the compiler.
    pub(super) fn new(text: &str, target: &Target) -> Result<Self> {
        let plan = Plan::of_kernel(parse_kernel(text).map_err(internal)?, &[]);
        let code = JitCode::compile(&plan, target)?;
        let memory = |place: fn(usize) -> Place, k: usize| {
            let slot = plan.slots.iter().find(|s| s.place == place(k));
            let bytes = slot.and_then(|s| usize::try_from(s.bytes().as_const()?).ok());
            let bytes = bytes.ok_or_else(|| internal("a buffer without a size"))?;
            Ok(AlignedBytes::zeroed(bytes)?)
        };
        let inputs = (0..plan.inputs.len()).map(|k| memory(Place::Input, k));
        let mut inputs: Vec<AlignedBytes> = inputs.collect::<Result<_>>()?;
        let outputs = (0..plan.outputs.len()).map(|k| memory(Place::Output, k));
        // Writing also gives every page memory of its own.
        for input in &mut inputs {
            let (words, _) = input.as_chunks_mut::<4>();
            words.fill(FILL.to_ne_bytes());
        }
        Ok(KernelProbe {
            outputs: outputs.collect::<Result<_>>()?,
            inputs,
            code,
        })
    }

    /// Units: seconds of the fastest of `repeats` runs on all threads of the pool: other programs
    /// only slow it down.
    ///
    /// Errors: a defect of the compiler.
    pub(super) fn best_seconds(&mut self, pool: &Pool, repeats: usize) -> Result<f64> {
        let inputs: Vec<*const u8> = self.inputs.iter().map(|b| b.as_ptr()).collect();
        let outputs: Vec<*mut u8> = self.outputs.iter_mut().map(|b| b.as_mut_ptr()).collect();
        let mut best = f64::INFINITY;
        for _ in 0..repeats {
            let mut context = Context::new();
            context.inputs = inputs.as_ptr();
            context.outputs = outputs.as_ptr();
            let watch = Stopwatch::start();
            // SAFETY: the buffers are those of the plan that the code was made of; it has no
            // sizes, arena, constants or scratch memory.
            unsafe { pool.run(self.code.entry(), &raw mut context) }.map_err(internal)?;
            best = best.min(watch.elapsed_ns().max(1) as f64 / 1e9);
        }
        Ok(best)
    }

    /// What code generation found.
    #[cfg(test)]
    pub(super) fn stats(&self) -> tensmith_codegen::kernel::KernelStats {
        self.code.stats[0]
    }
}
