//! How much a model file may ask for.

use crate::error::{OnnxError, Result};

/// Limits on what an untrusted model file may make its reader do.
///
/// The defaults admit every published model and keep a small hostile file below half a gigabyte
/// and a few seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Size of the model file. Default 4 GiB, twice what protobuf writers can produce.
    pub file_bytes: u64,
    /// Size of all external data files together, which are mapped, not read. Default 256 GiB.
    pub external_bytes: u64,
    /// Distinct external data files. Default 4096: some exporters write one per tensor.
    pub external_files: u64,
    /// Nodes, subgraphs and expanded functions included. Default 1,000,000.
    pub nodes: u64,
    /// Levels of subgraphs below the main graph. Default 24; the protobuf decoder's own limit of
    /// 100 messages admits about 32.
    pub depth: u64,
    /// Heap bytes of decoded messages beyond four times the file's size, since two bytes of file
    /// can stand for a message of hundreds. Default 96 MiB.
    pub message_bytes: u64,
    /// Heap bytes of nodes copied by function expansion. Default 128 MiB.
    pub expansion_bytes: u64,
    /// Size of one tensor, stored or declared. Default 64 GiB.
    pub tensor_bytes: u64,
    /// Size of one tensor that is computed from a shorter description, such as a sparse tensor
    /// made dense. Default 256 MiB.
    pub dense_bytes: u64,
    /// Dimensions of one tensor. Default 64.
    pub rank: u64,
}

impl Default for Budget {
    fn default() -> Self {
        const MIB: u64 = 1 << 20;
        Self {
            file_bytes: 4096 * MIB,
            external_bytes: 256 * 1024 * MIB,
            external_files: 4096,
            nodes: 1_000_000,
            depth: 24,
            message_bytes: 96 * MIB,
            expansion_bytes: 128 * MIB,
            tensor_bytes: 64 * 1024 * MIB,
            dense_bytes: 256 * MIB,
            rank: 64,
        }
    }
}

/// Errors: `Limit` when `found` exceeds `limit`, which `field` of the budget grants.
pub(crate) fn within(
    found: u64,
    limit: u64,
    what: &'static str,
    field: &'static str,
    place: impl FnOnce() -> String,
) -> Result<()> {
    if found <= limit {
        return Ok(());
    }
    Err(OnnxError::Limit {
        place: place(),
        what,
        found,
        limit,
        field,
    })
}
