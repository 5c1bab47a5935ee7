//! Compiled models.
use crate::error::{Error, Result};
use crate::session::{Geometry, Session};
use crate::signature::Signature;
use std::sync::{Arc, Mutex, PoisonError};
use tensmith_codegen::jit::JitCode;
use tensmith_codegen::kernel::KernelStats;
use tensmith_runtime::{AlignedBytes, Pool, Tensor, TensorView};

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
    pub(crate) pool: Pool,
    /// Units: bytes; `None` for the default bound.
    pub(crate) memory_bytes: Option<u64>,
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
        need = need.saturating_add((scratch as u64).saturating_mul(self.pool.threads() as u64));
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

    /// The number of threads of a run.
    pub fn threads(&self) -> usize {
        self.shared.pool.threads()
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
