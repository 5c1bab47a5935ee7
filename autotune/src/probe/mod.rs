//! What this machine can do, measured in this process: multiply-adds, the levels of its memory,
//! and what threads pay each other.
//!
//! Rates and latencies are the best of several measurements, since other programs only slow them
//! down; hand-offs are the usual ones.
mod bandwidth;
mod clock;
mod fma;
mod hand_off;
mod kernel;
mod latency;
mod narrow;

pub use bandwidth::{LevelName, MemoryLevel, memory_levels};
pub use fma::{dot_ops_for, fma_flops_for};
pub use hand_off::HandOff;

pub(crate) use bandwidth::{level_bandwidths, loads_per_s};
pub(crate) use clock::{Clock, fma_latency_ns};
pub(crate) use fma::{dot_ops_at, fma_flops_at, widths};
pub(crate) use hand_off::Exchange;
pub(crate) use latency::level_latencies;

use std::fmt::Display;
use tensmith_codegen::error::CodegenError;
use tensmith_runtime::{AllocationError, PoolError};

/// The result of a measurement.
pub type Result<T> = std::result::Result<T, ProbeError>;

/// Why the machine cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Threads cannot be had.
    #[error(transparent)]
    Threads(#[from] PoolError),
    /// Memory cannot be had.
    #[error(transparent)]
    Memory(#[from] AllocationError),
    /// The system gives no memory for code or for data.
    #[error("the system gives no memory to measure with: {0}")]
    Mapping(std::io::Error),
    /// A defect of ours.
    #[error("probe of the machine: {0}")]
    Internal(String),
}

impl From<CodegenError> for ProbeError {
    fn from(e: CodegenError) -> Self {
        internal(e)
    }
}

impl From<rustix::io::Errno> for ProbeError {
    fn from(e: rustix::io::Errno) -> Self {
        ProbeError::Mapping(e.into())
    }
}

fn internal(e: impl Display) -> ProbeError {
    ProbeError::Internal(e.to_string())
}
