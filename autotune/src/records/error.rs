//! Why records cannot be read or kept.
use std::path::{Path, PathBuf};

/// The result of everything here.
pub type Result<T> = std::result::Result<T, RecordError>;

/// Why records cannot be read or kept. Each message names the file and the next step.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// Such as `create`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What is in the file is not what was written to it.
    #[error(
        "the records in {} are damaged: {reason}; move the file away, or say another one \
         (--records FILE)",
        path.display()
    )]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A database, but of something else.
    #[error("{} holds no records: {reason}; say another file (--records FILE)", path.display())]
    Foreign {
        /// The database.
        path: PathBuf,
        /// What it is.
        reason: &'static str,
    },
    /// A later version made it.
    #[error(
        "the records in {} have format {found}, and this version knows {known}; use a newer \
         tensmith, or say another file (--records FILE)",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format that is known.
        known: i64,
    },
    /// Other processes hold it.
    #[error(
        "other processes keep the records in {} locked; try again when they are done",
        path.display()
    )]
    Busy {
        /// The database.
        path: PathBuf,
    },
    /// There is no room left for it, or it may not be written.
    #[error("cannot write the records in {}: {reason}; free some room, or say another file (--records FILE)", path.display())]
    Refused {
        /// The database.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A record breaks a rule.
    #[error("no record: {0}")]
    Invalid(String),
    /// Nothing says where records are.
    #[error("there is no folder for records: HOME is not set; say a file (--records FILE)")]
    NoFolder,
    /// A defect of ours.
    #[error("records in {}: {reason}", path.display())]
    Internal {
        /// The database.
        path: PathBuf,
        /// What the database engine said.
        reason: String,
    },
}

impl RecordError {
    pub(super) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        RecordError::Io {
            action,
            path: path.into(),
            source,
        }
    }

    pub(super) fn damaged(path: &Path, reason: impl ToString) -> Self {
        RecordError::Damaged {
            path: path.into(),
            reason: reason.to_string(),
        }
    }

    /// Sorts what the engine says by whose move it is.
    pub(super) fn of(path: &Path, error: &rusqlite::Error) -> Self {
        use rusqlite::Error as Sql;
        use rusqlite::ErrorCode as Code;
        let (path, reason) = (path.to_path_buf(), error.to_string());
        let unreadable = matches!(
            error,
            Sql::InvalidColumnType(..) | Sql::IntegralValueOutOfRange(..) | Sql::Utf8Error(..)
        );
        match error.sqlite_error_code() {
            Some(
                Code::DatabaseCorrupt
                | Code::NotADatabase
                | Code::TooBig
                | Code::ConstraintViolation,
            ) => RecordError::Damaged { path, reason },
            None if unreadable => RecordError::Damaged { path, reason },
            Some(Code::DatabaseBusy | Code::DatabaseLocked) => RecordError::Busy { path },
            Some(
                Code::DiskFull
                | Code::ReadOnly
                | Code::SystemIoFailure
                | Code::CannotOpen
                | Code::PermissionDenied,
            ) => RecordError::Refused { path, reason },
            _ => RecordError::Internal { path, reason },
        }
    }
}
