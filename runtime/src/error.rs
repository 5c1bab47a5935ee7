//! Run-time errors of compiled code as values.

use core::sync::atomic::Ordering;

use crate::abi::{self, ErrorRecord};

/// Why a run failed. A `site` is the compiler's number of the failed check;
/// the compiled model's table of sites names the node and operand behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// An index read from data lies outside the axis it selects from.
    #[error(
        "index {value} is out of range for an axis of extent {bound} (check {site}); correct the index input"
    )]
    IndexOutOfRange {
        /// Number of the failed check.
        site: u32,
        /// The index.
        value: i64,
        /// The extent of the axis.
        bound: i64,
    },
    /// Two sizes that have to agree differ.
    #[error(
        "size {value} does not match the expected size {bound} (check {site}); correct the shapes of the inputs"
    )]
    SizeMismatch {
        /// Number of the failed check.
        site: u32,
        /// The size found.
        value: i64,
        /// The size expected.
        bound: i64,
    },
    /// A size that depends on data exceeds its declared maximum.
    #[error(
        "data-dependent size {value} exceeds its maximum {bound} (check {site}); compile with a larger maximum"
    )]
    CapacityExceeded {
        /// Number of the failed check.
        site: u32,
        /// The size needed.
        value: i64,
        /// The declared maximum.
        bound: i64,
    },
    /// An integer was divided by zero.
    #[error("integer {value} is divided by zero (check {site}); correct the divisor input")]
    DivisionByZero {
        /// Number of the failed check.
        site: u32,
        /// The dividend.
        value: i64,
    },
    /// The caller asked the run to end early.
    #[error("the run was cancelled; its outputs are incomplete")]
    Cancelled,
    /// The executor of the caller's left out a part of a section.
    #[error(
        "the executor did not run part {part} of {parts}; it has to run every part before it returns"
    )]
    PartMissing {
        /// The part.
        part: i64,
        /// The number of parts.
        parts: i64,
    },
    /// The executor of the caller's ran a part of a section again, or one that
    /// does not exist.
    #[error(
        "the executor ran part {part} of {parts} again or out of range; it has to run each part once"
    )]
    PartRefused {
        /// The part.
        part: i64,
        /// The number of parts.
        parts: i64,
    },
    /// The code is none of those above: compiled code and run time disagree.
    #[error(
        "unknown run-time error code {code} (check {site}, value {value}, bound {bound}); recompile the model with this version"
    )]
    UnknownCode {
        /// The code found.
        code: u32,
        /// Number of the failed check.
        site: u32,
        /// The offending value.
        value: i64,
        /// The bound it broke.
        bound: i64,
    },
}

impl RuntimeError {
    /// Reads the record of a run that has ended.
    ///
    /// Errors: the first error of the run, if there was one.
    pub fn check(record: &ErrorRecord) -> Result<(), RuntimeError> {
        let code = record.code.load(Ordering::Relaxed);
        let site = record.site.load(Ordering::Relaxed);
        let value = record.value.load(Ordering::Relaxed);
        let bound = record.bound.load(Ordering::Relaxed);
        Err(match code {
            abi::ERROR_NONE => return Ok(()),
            abi::ERROR_INDEX => Self::IndexOutOfRange { site, value, bound },
            abi::ERROR_SIZE => Self::SizeMismatch { site, value, bound },
            abi::ERROR_CAPACITY => Self::CapacityExceeded { site, value, bound },
            abi::ERROR_DIVISION => Self::DivisionByZero { site, value },
            abi::ERROR_CANCELLED => Self::Cancelled,
            abi::ERROR_PART_MISSING => Self::PartMissing {
                part: value,
                parts: bound,
            },
            abi::ERROR_PART_REFUSED => Self::PartRefused {
                part: value,
                parts: bound,
            },
            _ => Self::UnknownCode {
                code,
                site,
                value,
                bound,
            },
        })
    }

    /// The number of the failed check, if a check failed.
    pub fn site(&self) -> Option<u32> {
        match *self {
            Self::IndexOutOfRange { site, .. }
            | Self::SizeMismatch { site, .. }
            | Self::CapacityExceeded { site, .. }
            | Self::DivisionByZero { site, .. }
            | Self::UnknownCode { site, .. } => Some(site),
            Self::Cancelled | Self::PartMissing { .. } | Self::PartRefused { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_error() {
        let (site, value, bound) = (2, -1, 5);
        let cases = [
            (
                abi::ERROR_INDEX,
                RuntimeError::IndexOutOfRange { site, value, bound },
            ),
            (
                abi::ERROR_SIZE,
                RuntimeError::SizeMismatch { site, value, bound },
            ),
            (
                abi::ERROR_CAPACITY,
                RuntimeError::CapacityExceeded { site, value, bound },
            ),
            (
                abi::ERROR_DIVISION,
                RuntimeError::DivisionByZero { site, value },
            ),
            (abi::ERROR_CANCELLED, RuntimeError::Cancelled),
            (
                abi::ERROR_PART_MISSING,
                RuntimeError::PartMissing {
                    part: value,
                    parts: bound,
                },
            ),
            (
                abi::ERROR_PART_REFUSED,
                RuntimeError::PartRefused {
                    part: value,
                    parts: bound,
                },
            ),
            (
                77,
                RuntimeError::UnknownCode {
                    code: 77,
                    site,
                    value,
                    bound,
                },
            ),
        ];
        for (code, expected) in cases {
            let record = ErrorRecord::default();
            record.record(code, site, value, bound);
            assert_eq!(RuntimeError::check(&record), Err(expected));
            let has_site = code < abi::ERROR_CANCELLED || code == 77;
            assert_eq!(expected.site(), has_site.then_some(site));
        }
    }

    #[test]
    fn message_names_value_and_bound() {
        let error = RuntimeError::IndexOutOfRange {
            site: 4,
            value: 12,
            bound: 10,
        };
        let text = error.to_string();
        assert!(text.contains("12") && text.contains("10") && text.contains("check 4"));
    }
}
