//! A kernel alone, compiled and with memory of its own, to be run again and again.
//!
//! Activations are as warm as a run leaves them, as they are in a model whose last kernel wrote
//! them. Constants are not: a model reads each once in a run, from wherever all of them lie. So
//! there are copies, and each run reads another one.
use super::memory::{bytes, filled};
use std::collections::HashMap;
use std::sync::Arc;
use tensmith_codegen::entry::constant_offsets;
use tensmith_codegen::jit::JitCode;
use tensmith_codegen::kernel::scratch_bytes;
use tensmith_codegen::target::Target;
use tensmith_ir::dtype::DType;
use tensmith_ir::loops::{Buffer, BufferId, Kernel, Layout, Scope};
use tensmith_ir::plan::Plan;
use tensmith_ir::tensor::Tensor;
use tensmith_runtime::{AlignedBytes, Context, Pool, Stopwatch};

/// Units: bytes that the copies of constants take together at least, if there are constants: more
/// than a second cache, and than a core's share of a third one.
const COLD_BYTES: usize = 8 << 20;

/// Memory that the members of one task share: what lies in the same layout is there once.
#[derive(Default)]
pub struct Tensors {
    inputs: HashMap<(usize, Layout), Arc<AlignedBytes>>,
    constants: HashMap<Vec<Layout>, Arc<Vec<AlignedBytes>>>,
}

/// A kernel alone.
pub struct Rig {
    code: JitCode,
    inputs: Vec<Arc<AlignedBytes>>,
    outputs: Vec<AlignedBytes>,
    /// The element types of the outputs.
    dtypes: Vec<DType>,
    /// Copies of the block of constants.
    constants: Arc<Vec<AlignedBytes>>,
    scratch: AlignedBytes,
    stride: usize,
    turn: usize,
}

impl Rig {
    /// Compiles a kernel whose inputs `packable` are constants, for `threads` threads.
    ///
    /// Errors: sizes that are not known, memory that ends, or what the back end refuses.
    pub fn new(
        kernel: &Kernel,
        packable: &[BufferId],
        (target, threads): (&Target, usize),
        tensors: &mut Tensors,
    ) -> Result<Rig, String> {
        let plan = Plan::of_kernel(kernel.clone(), packable);
        let code = JitCode::compile(&plan, target).map_err(|e| e.to_string())?;
        let (mut inputs, mut outputs, mut dtypes) = (vec![], vec![], vec![]);
        for (k, (id, buffer)) in kernel.params().enumerate() {
            match buffer.scope {
                Scope::Input if packable.contains(&id) => {}
                Scope::Input => inputs.push(tensors.input(k, buffer)?),
                _ => {
                    outputs.push(zeroed(bytes(buffer).ok_or("a size is not known")?)?);
                    dtypes.push(buffer.dtype);
                }
            }
        }
        let scratch = scratch_bytes(kernel).as_const();
        let scratch = scratch.and_then(|n| usize::try_from(n).ok());
        let stride = scratch
            .ok_or("a size of the kernel is not known")?
            .next_multiple_of(64);
        Ok(Rig {
            code,
            inputs,
            outputs,
            dtypes,
            constants: tensors.constants(kernel, packable, &plan)?,
            scratch: zeroed(stride.checked_mul(threads).ok_or("scratch is too large")?)?,
            stride,
            turn: 0,
        })
    }

    /// Runs the kernel so many times; gives the nanoseconds of all runs.
    ///
    /// Errors: a check of the kernel that fails.
    pub fn run(&mut self, pool: &Pool, times: usize) -> Result<u64, String> {
        let inputs: Vec<*const u8> = self.inputs.iter().map(|m| m.as_ptr()).collect();
        let outputs = self.outputs.iter_mut().map(AlignedBytes::as_mut_ptr);
        let outputs: Vec<*mut u8> = outputs.collect();
        let mut sizes: [i64; 0] = [];
        let mut context = Context::new();
        context.inputs = inputs.as_ptr();
        context.outputs = outputs.as_ptr();
        context.sizes = sizes.as_mut_ptr();
        context.scratch = self.scratch.as_mut_ptr();
        context.scratch_bytes = self.stride as u64;
        let watch = Stopwatch::start();
        for _ in 0..times {
            self.turn = (self.turn + 1) % self.constants.len();
            context.constants = self.constants[self.turn].as_ptr();
            // SAFETY: every buffer is as large as the kernel's parameter in its layout, the
            // verifier has proved accesses to be inside, and all outlive the call.
            let done = unsafe { pool.run(self.code.entry(), &raw mut context) };
            done.map_err(|e| e.to_string())?;
        }
        Ok(watch.elapsed_ns())
    }

    /// The outputs of the last run.
    pub fn outputs(&self) -> impl Iterator<Item = Tensor> {
        self.outputs.iter().zip(&self.dtypes).map(|(bytes, dtype)| {
            let count = bytes.len() / dtype.bytes();
            let data = bytes::Bytes::copy_from_slice(bytes);
            Tensor::new(*dtype, vec![count], data).expect("invariant: whole elements")
        })
    }
}

impl Tensors {
    /// The memory of an input, the `k`-th parameter.
    fn input(&mut self, k: usize, buffer: &Buffer) -> Result<Arc<AlignedBytes>, String> {
        let key = (k, buffer.layout.clone());
        if let Some(known) = self.inputs.get(&key) {
            return Ok(Arc::clone(known));
        }
        let made = Arc::new(filled(buffer, k as u64)?);
        self.inputs.insert(key, Arc::clone(&made));
        Ok(made)
    }

    /// The copies of the block of constants of a plan, in the layouts of a kernel.
    fn constants(
        &mut self,
        kernel: &Kernel,
        packable: &[BufferId],
        plan: &Plan,
    ) -> Result<Arc<Vec<AlignedBytes>>, String> {
        let parameters = kernel.params().enumerate();
        let constants: Vec<(usize, &Buffer)> = parameters
            .filter(|(_, (id, _))| packable.contains(id))
            .map(|(k, (_, buffer))| (k, buffer))
            .collect();
        let key: Vec<Layout> = constants.iter().map(|(_, b)| b.layout.clone()).collect();
        if let Some(known) = self.constants.get(&key) {
            return Ok(Arc::clone(known));
        }
        // What no kernel that is kept uses goes, since weights may be large.
        self.constants
            .retain(|_, copies| Arc::strong_count(copies) > 1);
        let (offsets, size) = constant_offsets(plan);
        let mut block = zeroed(size)?;
        for ((k, buffer), at) in constants.into_iter().zip(offsets) {
            let data = filled(buffer, k as u64)?;
            block[at..at + data.len()].copy_from_slice(&data);
        }
        let more = match size {
            0 => 0,
            n => COLD_BYTES.div_ceil(n).saturating_sub(1),
        };
        let mut copies = Vec::with_capacity(more + 1);
        for _ in 0..more {
            copies.push(AlignedBytes::copy_of(&block).map_err(|e| e.to_string())?);
        }
        copies.push(block);
        let copies = Arc::new(copies);
        self.constants.insert(key, Arc::clone(&copies));
        Ok(copies)
    }
}

fn zeroed(bytes: usize) -> Result<AlignedBytes, String> {
    AlignedBytes::zeroed(bytes).map_err(|e| e.to_string())
}
