//! Errors of code generation.

/// Why no code could be made.
#[derive(Debug, thiserror::Error)]
pub enum CodegenError {
    /// The target is unknown or misses what every target must have.
    #[error("target `{target}`: {reason}")]
    Target {
        /// The target's name.
        target: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A kernel that the emitter cannot express: our bug.
    #[error("kernel `{kernel}`: {reason}")]
    Internal {
        /// The kernel.
        kernel: String,
        /// What happened.
        reason: String,
    },
    /// The code generator refused a function: our bug.
    #[error("function `{function}`: {reason}")]
    Backend {
        /// The function.
        function: String,
        /// What Cranelift says.
        reason: String,
    },
}
