//! Compiled models.
use crate::error::{Error, Result};
use crate::session::{Geometry, Session};
use crate::signature::Signature;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tensmith_codegen::entry::Execution;
use tensmith_codegen::jit::JitCode;
use tensmith_codegen::kernel::KernelStats;
use tensmith_ir::loops::Kernel;
use tensmith_ir::plan::Plan;
use tensmith_runtime::pool::MAX_THREADS;
use tensmith_runtime::{AlignedBytes, Context, Pool, PoolError, RuntimeError, Tensor, TensorView};

/// What the default bound on the memory of a run grants every model.
const BASE_MEMORY_BYTES: u64 = 384 << 20;

/// What it grants for each byte of constants and inputs: intermediate tensors of published
/// models take less.
const MEMORY_PER_BYTE: u64 = 64;

/// Everything that the sessions of a model share.
pub(crate) struct Shared {
    pub(crate) signature: Signature,
    pub(crate) geometry: Geometry,
    pub(crate) code: JitCode,
    pub(crate) constants: AlignedBytes,
    pub(crate) threads: Threads,
    /// Units: bytes; `None` for the default bound.
    pub(crate) memory_bytes: Option<u64>,
}

/// The threads of an executable.
pub(crate) struct Threads {
    /// How many, the caller's included.
    pub(crate) count: usize,
    pub(crate) execution: Execution,
    /// The code has work for one thread only.
    alone: bool,
    pool: OnceLock<Pool>,
}

/// Threads of a run, at most, on so many cores. Their stacks lie between the code of models: calls
/// reach two gigabytes.
fn most_threads(cores: usize) -> usize {
    (4 * cores).clamp(64, MAX_THREADS)
}

impl Threads {
    /// Starts the threads, except for code that may never need them.
    ///
    /// Errors: the number is not possible; a thread cannot be started.
    pub(crate) fn new(count: usize, execution: Execution, plan: &Plan) -> Result<Self> {
        if !(1..=MAX_THREADS).contains(&count) {
            return Err(PoolError::InvalidThreads { threads: count }.into());
        }
        let cores = tensmith_runtime::usable_cores();
        if count > most_threads(cores) {
            return Err(Error::Usage(format!(
                "{count} threads are more than a machine with {cores} usable cores can make use \
                 of; choose 1 to {}",
                most_threads(cores)
            )));
        }
        let threads = Threads {
            count,
            execution,
            alone: !plan.kernels.iter().any(Kernel::is_parallel),
            pool: OnceLock::new(),
        };
        if execution == Execution::Spmd {
            threads.pool()?;
        }
        Ok(threads)
    }

    /// The pool, which the first call starts.
    ///
    /// Errors: a thread cannot be started.
    pub(crate) fn pool(&self) -> Result<&Pool> {
        match self.pool.get() {
            Some(pool) => Ok(pool),
            None => {
                let pool = Pool::new(self.count)?;
                Ok(self.pool.get_or_init(|| pool))
            }
        }
    }

    /// Runs code on the pool.
    ///
    /// Errors: a thread cannot be started, or, in the inner result, what the code recorded.
    ///
    /// # Safety
    /// As for [`Pool::run`], with code of this execution.
    pub(crate) unsafe fn run(
        &self,
        code: &JitCode,
        context: *mut Context,
    ) -> Result<std::result::Result<(), RuntimeError>> {
        if self.alone {
            // SAFETY: the caller vouches for the code and the context.
            return Ok(unsafe { Pool::run_alone(code.entry(), context) });
        }
        let pool = self.pool()?;
        // SAFETY: the caller vouches for the code and the context.
        Ok(unsafe {
            match self.execution {
                Execution::Spmd => pool.run(code.entry(), context),
                Execution::Sections => pool.run_sections(code.entry(), context),
            }
        })
    }
}

/// The memory that a run may take if the user does not say, for so many bytes of constants and
/// inputs. Units: bytes.
pub(crate) fn default_memory_bytes(known: u64) -> u64 {
    BASE_MEMORY_BYTES.saturating_add(known.saturating_mul(MEMORY_PER_BYTE))
}

impl Shared {
    /// Errors: a run with these sizes would take more memory than granted.
    pub(crate) fn check_memory(&self, arena: usize, scratch: usize, sizes: &[i64]) -> Result<()> {
        let mut need = arena as u64;
        need = need.saturating_add((scratch as u64).saturating_mul(self.threads.count as u64));
        let (given, made) = self.signature.port_bytes(sizes)?;
        need = need.saturating_add(made);
        let known = given.saturating_add(self.constants.len() as u64);
        let limit = self
            .memory_bytes
            .unwrap_or_else(|| default_memory_bytes(known));
        if need <= limit {
            return Ok(());
        }
        Err(Error::Limit(format!(
            "a run takes {need} bytes besides constants and inputs, more than the limit of {limit}; \
             if the model is trusted, raise the limit (--memory-bytes)"
        )))
    }
}

/// A compiled model, ready to run. Runs from several threads at the same time are safe.
pub struct Executable {
    pub(crate) shared: Arc<Shared>,
    idle: Mutex<Vec<Session>>,
    stats: Vec<(String, KernelStats)>,
}

impl Executable {
    pub(crate) fn new(shared: Shared, stats: Vec<(String, KernelStats)>) -> Self {
        Executable {
            shared: Arc::new(shared),
            idle: Mutex::default(),
            stats,
        }
    }

    /// Inputs, outputs and size symbols.
    pub fn signature(&self) -> &Signature {
        &self.shared.signature
    }

    /// Runs the model on inputs by name; returns the outputs in the model's order.
    ///
    /// Errors: inputs that do not fit; a failed run-time check; memory ends.
    pub fn run(&self, inputs: &[(&str, TensorView<'_>)]) -> Result<Vec<Tensor>> {
        let inputs = self.shared.signature.order(inputs)?;
        self.run_ordered(&inputs)
    }

    /// Runs the model on inputs in the model's order.
    ///
    /// Errors: as [`Executable::run`].
    pub fn run_ordered(&self, inputs: &[TensorView<'_>]) -> Result<Vec<Tensor>> {
        let idle = self.sessions().pop();
        let mut session = match idle {
            Some(session) => session,
            None => self.session()?,
        };
        session.run(inputs)?;
        let outputs = session.take_outputs()?;
        self.sessions().push(session);
        Ok(outputs)
    }

    /// Memory for the runs of one caller, which then allocate nothing.
    ///
    /// Errors: memory ends.
    pub fn session(&self) -> Result<Session> {
        Session::new(Arc::clone(&self.shared))
    }

    /// The number of threads of a run, and the most parts of a section.
    pub fn threads(&self) -> usize {
        self.shared.threads.count
    }

    /// Units: bytes of all constants, padding included.
    pub fn constant_bytes(&self) -> usize {
        self.shared.constants.len()
    }

    /// What code generation found, by kernel.
    pub fn kernel_stats(&self) -> &[(String, KernelStats)] {
        &self.stats
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
