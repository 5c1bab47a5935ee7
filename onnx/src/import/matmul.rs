//! Operators of this family.
use super::registry::OpImport;

pub(crate) const OPS: &[OpImport] = &[];
