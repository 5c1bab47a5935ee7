//! What can go wrong with a model file, and whose move it is.

use std::fmt;
use std::path::PathBuf;

/// The result of reading a model.
pub type Result<T> = std::result::Result<T, OnnxError>;

/// Why a model was refused.
///
/// Each message names the place and the next step; [`OnnxError::exit_code`] maps the kind to the
/// command's exit code.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// A file could not be read.
    #[error("cannot read {}: {source}; check that the path exists and is readable", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file breaks the ONNX specification.
    #[error("invalid model: {place}: {problem}; {help}")]
    Invalid {
        /// Node, tensor or operand.
        place: String,
        /// What is wrong there.
        problem: String,
        /// The next step.
        help: String,
    },
    /// The file is valid, but uses what is not supported: all such places, in graph order.
    #[error("{}", list_unsupported(items))]
    Unsupported {
        /// The places; never empty.
        items: Vec<UnsupportedItem>,
    },
    /// The file asks for more than the [`Budget`](crate::Budget) grants.
    #[error(
        "resource limit: {place}: {found} {what}, more than the limit of {limit}; \
         if the file is trusted, raise `{field}` of the budget"
    )]
    Limit {
        /// Node, tensor or file.
        place: String,
        /// What is counted.
        what: &'static str,
        /// How much the file asks for (or the amount at which counting stopped).
        found: u64,
        /// How much is granted.
        limit: u64,
        /// The field of the budget that grants it.
        field: &'static str,
    },
}

/// One thing a valid model uses that is not supported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsupportedItem {
    /// Node or tensor.
    pub place: String,
    /// What is not supported there.
    pub what: String,
}

impl fmt::Display for UnsupportedItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

impl OnnxError {
    /// An [`OnnxError::Invalid`] whose next step is to export or download the model again.
    pub fn invalid(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::invalid_help(
            place,
            problem,
            "export the model again, or report it to the tool that wrote it",
        )
    }

    /// An [`OnnxError::Invalid`] with its own next step.
    pub fn invalid_help(
        place: impl Into<String>,
        problem: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self::Invalid {
            place: place.into(),
            problem: problem.into(),
            help: help.into(),
        }
    }

    /// An [`OnnxError::Unsupported`] with one item.
    pub fn unsupported(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Unsupported {
            items: vec![UnsupportedItem {
                place: place.into(),
                what: what.into(),
            }],
        }
    }

    /// The exit code of the command: 3 bad input, 4 unsupported, 5 resource limit, 6 I/O.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Invalid { .. } => 3,
            Self::Unsupported { .. } => 4,
            Self::Limit { .. } => 5,
            Self::Io { .. } => 6,
        }
    }
}

fn list_unsupported(items: &[UnsupportedItem]) -> String {
    use fmt::Write as _;
    let mut text = format!("unsupported in this model ({}):", items.len());
    for item in items {
        let _ = write!(text, "\n  {item}");
    }
    text.push_str("\nexport the model without these, or with another opset version");
    text
}

/// Longest part of a name from a file that a message repeats, in characters.
const NAME_CHARS: usize = 96;

/// A name from a file, safe to print: quoted, control characters escaped, cut to a bounded length.
pub(crate) fn quoted(name: &str) -> String {
    let mut text: String = name.chars().take(NAME_CHARS).collect();
    if text.len() < name.len() {
        text.push_str("...");
    }
    format!("{text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsupported_lists_every_item() {
        let item = |n: &str| UnsupportedItem {
            place: format!("node {n}"),
            what: "operator Foo".into(),
        };
        let error = OnnxError::Unsupported {
            items: vec![item("a"), item("b")],
        };
        let text = error.to_string();
        assert!(text.contains("node a") && text.contains("node b"), "{text}");
        assert_eq!(error.exit_code(), 4);
    }

    #[test]
    fn names_are_escaped_and_cut() {
        assert_eq!(quoted("a\nb"), "\"a\\nb\"");
        assert!(quoted(&"é".repeat(1000)).len() < 300);
    }
}
