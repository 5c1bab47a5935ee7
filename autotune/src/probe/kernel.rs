//! Kernels of the loop IR that are run for their time.
use super::{Result, internal};
use tensmith_codegen::jit::JitCode;
use tensmith_codegen::target::Target;
use tensmith_ir::loops::parse_kernel;
use tensmith_ir::plan::{Place, Plan};
use tensmith_runtime::{AlignedBytes, Context, Pool, Stopwatch};

/// What every input element is: a number whose sums and products stay numbers.
const FILL: f32 = 0.5;

/// How long repetitions of one thing took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    /// Units: nanoseconds.
    least_ns: Option<u64>,
    /// Units: nanoseconds, of all together.
    sum_ns: u64,
    count: u64,
}

impl Times {
    /// Adds one of so many nanoseconds.
    pub(super) fn push(&mut self, ns: u64) {
        let ns = ns.max(1);
        self.least_ns = Some(self.least_ns.map_or(ns, |least| least.min(ns)));
        self.sum_ns += ns;
        self.count += 1;
    }

    /// Units: seconds of the fastest one; without any, infinity.
    pub(super) fn best_s(&self) -> f64 {
        self.least_ns.map_or(f64::INFINITY, |ns| ns as f64 / 1e9)
    }

    /// How much longer they took on average than the fastest one: 0.1 for a tenth. This sees
    /// programs that take the core for some milliseconds now and then, as a median would not.
    pub(super) fn spread(&self) -> f64 {
        let mean_s = self.sum_ns as f64 / 1e9 / self.count.max(1) as f64;
        (mean_s / self.best_s() - 1.0).max(0.0)
    }
}

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
        Ok(self.times(pool, repeats)?.best_s())
    }

    /// The times of `repeats` runs on all threads of the pool.
    ///
    /// Errors: a defect of the compiler.
    pub(super) fn times(&mut self, pool: &Pool, repeats: usize) -> Result<Times> {
        let inputs: Vec<*const u8> = self.inputs.iter().map(|b| b.as_ptr()).collect();
        let outputs: Vec<*mut u8> = self.outputs.iter_mut().map(|b| b.as_mut_ptr()).collect();
        let mut times = Times::default();
        for _ in 0..repeats {
            let mut context = Context::new();
            context.inputs = inputs.as_ptr();
            context.outputs = outputs.as_ptr();
            let watch = Stopwatch::start();
            // SAFETY: the buffers are those of the plan that the code was made of; it has no
            // sizes, arena, constants or scratch memory.
            unsafe { pool.run(self.code.entry(), &raw mut context) }.map_err(internal)?;
            times.push(watch.elapsed_ns());
        }
        Ok(times)
    }

    /// What code generation found.
    #[cfg(test)]
    pub(super) fn stats(&self) -> tensmith_codegen::kernel::KernelStats {
        self.code.stats[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_others_take_are_seen() {
        let of = |all: &[u64]| {
            let mut times = Times::default();
            all.iter().for_each(|ns| times.push(*ns));
            times
        };
        let quiet = of(&[1000, 1010, 1000]);
        assert_eq!(quiet.best_s(), 1e-6);
        assert!(quiet.spread() < 0.01);
        // One of ten waited for a time slice.
        let mut all = [1000; 10];
        all[4] = 5000;
        assert!((of(&all).spread() - 0.4).abs() < 1e-9);
        assert_eq!(Times::default().spread(), 0.0);
    }
}
