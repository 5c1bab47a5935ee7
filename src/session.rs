//! Runs with memory of their own.
use crate::convert::bytes_of;
use crate::error::{Error, Result};
use crate::executable::Shared;
use crate::signature::eval;
use std::ptr;
use std::sync::Arc;
use tensmith_codegen::entry::Execution;
use tensmith_codegen::jit::JitCode;
use tensmith_codegen::kernel::scratch_bytes;
use tensmith_ir::define::Site;
use tensmith_ir::expr::Expr;
use tensmith_ir::plan::{Plan, SizeParam};
use tensmith_runtime::executor::run_sections;
use tensmith_runtime::{
    AlignedBytes, Context, Executor, Pool, Profile, RuntimeError, Tensor, TensorView,
};

/// How much memory the code of a plan needs, and what its checks are called.
#[derive(Debug)]
pub struct Geometry {
    sizes: Vec<SizeParam>,
    arena: Expr,
    scratch: Vec<Expr>,
    sites: Vec<Site>,
}

impl Geometry {
    /// The needs of a plan.
    pub fn new(plan: &Plan) -> Self {
        let mut scratch: Vec<Expr> = Vec::new();
        for need in plan.kernels.iter().map(scratch_bytes) {
            if !scratch.contains(&need) {
                scratch.push(need);
            }
        }
        Geometry {
            sizes: plan.sizes.clone(),
            arena: plan.arena_bytes.clone(),
            scratch,
            sites: plan.sites.clone(),
        }
    }

    /// Units: bytes of the arena.
    ///
    /// Errors: a size that is too large.
    pub fn arena_bytes(&self, sizes: &[i64]) -> Result<usize> {
        bytes_of(eval(&self.arena, &self.sizes, sizes), "the arena")
    }

    /// Units: bytes of scratch memory of one thread, a multiple of 64.
    ///
    /// Errors: a size that is too large.
    pub fn scratch_bytes(&self, sizes: &[i64]) -> Result<usize> {
        let mut most = 0;
        for need in &self.scratch {
            most = most.max(bytes_of(eval(need, &self.sizes, sizes), "scratch memory")?);
        }
        let rounded = most.checked_next_multiple_of(64);
        bytes_of(
            rounded.and_then(|b| i64::try_from(b).ok()),
            "scratch memory",
        )
    }

    /// What a failed run means in terms of the model.
    pub fn explain(&self, error: RuntimeError) -> Error {
        let site = error.site().and_then(|s| self.sites.get(s as usize));
        let node = site.map_or("?", |s| &s.node).to_string();
        let what = site.map_or("value", |s| &s.what);
        let reason = match error {
            RuntimeError::IndexOutOfRange { value, bound, .. } => {
                format!("{what}: {value} is outside 0..{bound}")
            }
            RuntimeError::SizeMismatch { value, bound, .. } => {
                format!("{what}: size {value}, expected {bound}")
            }
            RuntimeError::CapacityExceeded { value, bound, .. } => {
                return Error::Limit(format!("node `{node}`: {what}: {value} is above {bound}"));
            }
            RuntimeError::DivisionByZero { value, .. } => {
                format!("{what}: {value} is divided by zero")
            }
            RuntimeError::Cancelled => {
                return Error::Data {
                    node,
                    reason: error.to_string(),
                };
            }
            RuntimeError::PartMissing { .. } | RuntimeError::PartRefused { .. } => {
                return Error::Executor(error.to_string());
            }
            RuntimeError::UnknownCode { .. } => return Error::Internal(error.to_string()),
        };
        Error::Data { node, reason }
    }
}

/// Runs the code of a plan without inputs and sizes.
///
/// Errors: memory ends; a check fails.
pub(crate) fn run_once(
    code: &JitCode,
    pool: &Pool,
    geometry: &Geometry,
    constants: &[u8],
    outputs: &mut [AlignedBytes],
) -> Result<()> {
    let mut arena = AlignedBytes::zeroed(geometry.arena_bytes(&[])?)?;
    let stride = geometry.scratch_bytes(&[])?;
    let mut scratch = scratch_block(stride, pool.threads())?;
    let outputs: Vec<*mut u8> = outputs.iter_mut().map(AlignedBytes::as_mut_ptr).collect();
    let mut sizes: [i64; 0] = [];
    let mut context = Context::new();
    context.outputs = outputs.as_ptr();
    context.constants = constants.as_ptr();
    context.arena = arena.as_mut_ptr();
    context.sizes = sizes.as_mut_ptr();
    context.scratch = scratch.as_mut_ptr();
    context.scratch_bytes = stride as u64;
    // SAFETY: the buffers have the sizes that the plan states and outlive the call.
    unsafe { pool.run(code.entry(), &raw mut context) }.map_err(|e| geometry.explain(e))
}

fn scratch_block(stride: usize, threads: usize) -> Result<AlignedBytes> {
    let bytes = stride.checked_mul(threads);
    let bytes = bytes.and_then(|b| i64::try_from(b).ok());
    Ok(AlignedBytes::zeroed(bytes_of(bytes, "scratch memory")?)?)
}

/// Memory for the runs of one caller at a time. After the first run with the largest sizes, a
/// run allocates nothing.
pub struct Session {
    shared: Arc<Shared>,
    context: Box<Context>,
    /// The sizes that the memory was made for.
    sizes: Vec<i64>,
    /// The sizes of the run at hand.
    next: Vec<i64>,
    inputs: Vec<*const u8>,
    output_addresses: Vec<*mut u8>,
    outputs: Vec<Tensor>,
    arena: AlignedBytes,
    scratch: AlignedBytes,
    shape: Vec<usize>,
    ready: bool,
}

// SAFETY: the addresses in it are of its own memory, or of inputs, which are only used while
// `run` borrows them.
unsafe impl Send for Session {}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>) -> Result<Self> {
        let signature = &shared.signature;
        let outputs = (0..signature.outputs.len())
            .map(|k| Tensor::zeros(signature.output_type(k), &[0]))
            .collect::<std::result::Result<Vec<_>, _>>()?;
        let count = signature.sizes.len();
        let rank = signature.outputs.iter().map(|o| o.ty.rank()).max();
        let mut session = Session {
            context: Box::new(Context::new()),
            sizes: vec![0; count],
            next: vec![0; count],
            inputs: vec![ptr::null(); signature.passed.len()],
            output_addresses: vec![ptr::null_mut(); outputs.len()],
            outputs,
            arena: AlignedBytes::empty(),
            scratch: AlignedBytes::empty(),
            shape: Vec::with_capacity(rank.unwrap_or(0)),
            ready: false,
            shared,
        };
        if count == 0 {
            session.fit()?;
        }
        Ok(session)
    }

    /// Runs the model on inputs in the model's order. The outputs stay in the session.
    ///
    /// Errors: inputs that do not fit; a failed run-time check; memory ends.
    pub fn run(&mut self, inputs: &[TensorView<'_>]) -> Result<&[Tensor]> {
        self.run_marking(inputs, ptr::null())
    }

    /// Runs the model as [`Session::run`] does, on threads of the caller's: the calling thread
    /// hands the parts of each section to `executor`, at most [`Options::threads`] at a time. The
    /// results have the same bits as on any other threads. A run allocates nothing besides what
    /// the executor does.
    ///
    /// Errors: as [`Session::run`]; the code was not compiled with [`Execution::Sections`]; the
    /// executor breaks its contract.
    ///
    /// Panics: as the executor does. The session can be used again.
    ///
    /// [`Options::threads`]: crate::Options::threads
    pub fn run_on(
        &mut self,
        executor: &dyn Executor,
        inputs: &[TensorView<'_>],
    ) -> Result<&[Tensor]> {
        let shared = Arc::clone(&self.shared);
        if shared.threads.execution != Execution::Sections {
            return Err(Error::Usage(
                "the model was compiled for threads of its own; compile it with \
                 Execution::Sections to run it on an executor"
                    .into(),
            ));
        }
        self.bind(inputs)?;
        let context = &raw mut *self.context;
        let (parts, entry) = (shared.threads.count, shared.code.entry());
        // SAFETY: as in `run_marking`; scratch memory is for this many parts, and the code hands
        // out sections.
        let result = unsafe { run_sections(executor, parts, entry, context) };
        result.map_err(|e| shared.geometry.explain(e))?;
        Ok(&self.outputs)
    }

    /// Makes the context ready for a run on these inputs, without marks.
    fn bind(&mut self, inputs: &[TensorView<'_>]) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        shared.signature.bind(inputs, &mut self.next)?;
        if !self.ready || self.next != self.sizes {
            self.fit()?;
        }
        for (place, k) in self.inputs.iter_mut().zip(&shared.signature.passed) {
            *place = inputs[*k].bytes().as_ptr();
        }
        for (place, tensor) in self.output_addresses.iter_mut().zip(&mut self.outputs) {
            *place = tensor.bytes_mut().as_mut_ptr();
        }
        let context = &mut *self.context;
        context.profile = ptr::null();
        context.inputs = self.inputs.as_ptr();
        context.outputs = self.output_addresses.as_ptr();
        context.constants = shared.constants.as_ptr();
        context.arena = self.arena.as_mut_ptr();
        context.sizes = self.sizes.as_mut_ptr();
        context.scratch = self.scratch.as_mut_ptr();
        Ok(())
    }

    /// Runs the model; marks go to `profile`, which is null or lives until this returns.
    fn run_marking(
        &mut self,
        inputs: &[TensorView<'_>],
        profile: *const Profile,
    ) -> Result<&[Tensor]> {
        self.bind(inputs)?;
        self.context.profile = profile;
        let shared = Arc::clone(&self.shared);
        let context = &raw mut *self.context;
        // SAFETY: inputs were checked against the signature, the other buffers were made for
        // these sizes by `fit`; all outlive the call, and `self` is borrowed exclusively.
        let result = unsafe { shared.threads.run(&shared.code, context)? };
        result.map_err(|e| shared.geometry.explain(e))?;
        Ok(&self.outputs)
    }

    /// Runs the model as [`Session::run`] does, and keeps in `profile` when each step began on
    /// each thread. Code that was not compiled with
    /// [`Options::profile`](crate::Options::profile) leaves it empty.
    ///
    /// Errors: as [`Session::run`].
    pub fn run_profiled(
        &mut self,
        inputs: &[TensorView<'_>],
        profile: &mut Profile,
    ) -> Result<&[Tensor]> {
        profile.clear();
        self.run_marking(inputs, &raw const *profile)
    }

    /// The outputs of the last run.
    pub fn outputs(&self) -> &[Tensor] {
        &self.outputs
    }

    /// Units: bytes of memory for intermediate tensors.
    pub fn arena_bytes(&self) -> usize {
        self.arena.len()
    }

    /// The outputs of the last run, by value; the next run makes new ones.
    pub(crate) fn take_outputs(&mut self) -> Result<Vec<Tensor>> {
        let mut fresh = Vec::with_capacity(self.outputs.len());
        for k in 0..self.outputs.len() {
            fresh.push(Tensor::zeros(self.shared.signature.output_type(k), &[0])?);
        }
        self.ready = false;
        Ok(std::mem::replace(&mut self.outputs, fresh))
    }

    /// Makes memory for the sizes `next`; grows only.
    fn fit(&mut self) -> Result<()> {
        self.ready = false;
        let shared = Arc::clone(&self.shared);
        let arena = shared.geometry.arena_bytes(&self.next)?;
        let stride = shared.geometry.scratch_bytes(&self.next)?;
        shared.check_memory(arena, stride, &self.next)?;
        if self.arena.len() < arena {
            self.arena = AlignedBytes::zeroed(arena)?;
        }
        if self.scratch.len() < stride * shared.threads.count {
            self.scratch = scratch_block(stride, shared.threads.count)?;
        }
        self.context.scratch_bytes = stride as u64;
        for k in 0..self.outputs.len() {
            let shape = &mut self.shape;
            shared.signature.output_shape(k, &self.next, shape)?;
            self.outputs[k].resize(shape)?;
        }
        self.sizes.copy_from_slice(&self.next);
        self.ready = true;
        Ok(())
    }
}
