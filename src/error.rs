//! What can go wrong, and whose move it is.
use std::path::PathBuf;
use tensmith_autotune::probe::ProbeError;
use tensmith_autotune::records::RecordError;
use tensmith_codegen::error::CodegenError;
use tensmith_onnx::OnnxError;
use tensmith_passes::PassError;
use tensmith_runtime::{AllocationError, PoolError, TensorError};

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something could not be done. Each message names the place and the next step.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model was refused.
    #[error(transparent)]
    Model(#[from] OnnxError),
    /// An input of the model, or a file of inputs, does not fit.
    #[error("input `{input}`: found {found}, expected {expected}")]
    Input {
        /// The input.
        input: String,
        /// What was given.
        found: String,
        /// What the model takes, and the next step.
        expected: String,
    },
    /// A run-time check failed on the given data.
    #[error("node `{node}`: {reason}; correct the inputs")]
    Data {
        /// The node of the model.
        node: String,
        /// What failed, with the value and its bound.
        reason: String,
    },
    /// The executor of the caller's broke its contract.
    #[error("{0}")]
    Executor(String),
    /// A file cannot be understood.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and what is expected.
        reason: String,
    },
    /// The command or an option cannot be understood.
    #[error("{0}")]
    Usage(String),
    /// A check ran and found a difference.
    #[error("{0}")]
    CheckFailed(String),
    /// Valid, but not supported.
    #[error("{0}")]
    Unsupported(String),
    /// More memory than granted, or than there is.
    #[error("resource limit: {0}")]
    Limit(String),
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// Such as `read`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Records cannot be read or kept.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// A defect of the compiler.
    #[error("internal error: {0}; please report this with the model")]
    Internal(String),
}

impl Error {
    /// The exit code of the command: 1 check failed, 2 usage, 3 bad input, 4 unsupported,
    /// 5 resource limit, 6 I/O, 70 a defect of ours.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Model(e) => e.exit_code(),
            Error::CheckFailed(_) => 1,
            Error::Usage(_) | Error::Executor(_) => 2,
            Error::Input { .. } | Error::Data { .. } | Error::File { .. } => 3,
            Error::Unsupported(_) => 4,
            Error::Limit(_) => 5,
            Error::Io { .. } => 6,
            Error::Records(e) => exit_code_of(e),
            Error::Internal(_) => 70,
        }
    }

    /// An I/O error at a path.
    pub fn io(action: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        let path = path.into();
        Error::Io {
            action,
            path,
            source,
        }
    }

    /// A file that cannot be understood.
    pub fn file(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Error::File {
            path: path.into(),
            reason: reason.into(),
        }
    }
}

fn exit_code_of(error: &RecordError) -> u8 {
    match error {
        RecordError::NoFolder => 2,
        RecordError::Damaged { .. } | RecordError::Foreign { .. } | RecordError::Invalid(_) => 3,
        RecordError::Newer { .. } => 4,
        RecordError::Busy { .. } => 5,
        RecordError::Io { .. } | RecordError::Refused { .. } => 6,
        RecordError::Internal { .. } => 70,
    }
}

impl From<ProbeError> for Error {
    fn from(e: ProbeError) -> Self {
        match e {
            ProbeError::Threads(e) => e.into(),
            ProbeError::Memory(_) | ProbeError::Mapping(_) => Error::Limit(e.to_string()),
            ProbeError::Internal(_) => Error::Internal(e.to_string()),
        }
    }
}

impl From<PassError> for Error {
    fn from(e: PassError) -> Self {
        match e {
            PassError::UnknownSize { .. } => Error::Unsupported(e.to_string()),
            other => Error::Internal(other.to_string()),
        }
    }
}

impl From<CodegenError> for Error {
    fn from(e: CodegenError) -> Self {
        match e {
            CodegenError::Target { .. } => Error::Usage(e.to_string()),
            other => Error::Internal(other.to_string()),
        }
    }
}

impl From<AllocationError> for Error {
    fn from(e: AllocationError) -> Self {
        Error::Limit(e.to_string())
    }
}

impl From<TensorError> for Error {
    fn from(e: TensorError) -> Self {
        match e {
            TensorError::TooLarge { .. } | TensorError::Allocation(_) => {
                Error::Limit(e.to_string())
            }
            other => Error::Internal(other.to_string()),
        }
    }
}

impl From<PoolError> for Error {
    fn from(e: PoolError) -> Self {
        match e {
            PoolError::InvalidThreads { .. } => Error::Usage(e.to_string()),
            PoolError::Spawn { .. } => Error::Limit(e.to_string()),
        }
    }
}
