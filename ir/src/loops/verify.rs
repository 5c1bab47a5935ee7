//! Checks the invariants of kernels.
use super::Kernel;

pub(super) mod types;

/// A broken invariant of a kernel.
#[derive(Clone, Debug, thiserror::Error)]
#[error("kernel `{kernel}`: {reason}")]
pub struct VerifyError {
    /// The kernel.
    pub kernel: String,
    /// What is broken, with the statement around it.
    pub reason: String,
}

/// Checks the invariants of a kernel.
///
/// Errors: the first broken one.
pub fn verify_kernel(_kernel: &Kernel) -> Result<(), VerifyError> {
    Ok(())
}
