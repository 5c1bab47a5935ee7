//! The text form of graphs.
use super::TensorType;
use std::fmt;

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dtype, crate::ops::show_shape(&self.shape))
    }
}
