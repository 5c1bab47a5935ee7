//! The constant pool that follows a tile's code.

use super::minst::PoolId;
use std::collections::HashMap;

/// Alignment of the pool, and so of the code: one cache line, one 512-bit vector.
pub(super) const ALIGN: usize = 64;

/// Constants, each stored once.
#[derive(Debug, Default)]
pub(super) struct Pool {
    entries: Vec<Vec<u8>>,
    ids: HashMap<Vec<u8>, PoolId>,
}

impl Pool {
    /// The entry with these bytes; their count is a power of two.
    pub(super) fn intern(&mut self, bytes: Vec<u8>) -> PoolId {
        if let Some(id) = self.ids.get(&bytes) {
            return *id;
        }
        let id = PoolId(self.entries.len() as u32);
        self.ids.insert(bytes.clone(), id);
        self.entries.push(bytes);
        id
    }

    /// The pool's bytes and the offset of each entry, aligned to its own length.
    pub(super) fn layout(&self) -> (Vec<u8>, Vec<usize>) {
        let mut order: Vec<usize> = (0..self.entries.len()).collect();
        order.sort_by_key(|i| std::cmp::Reverse(self.entries[*i].len()));
        let mut bytes = Vec::new();
        let mut offsets = vec![0; self.entries.len()];
        for i in order {
            offsets[i] = bytes.len();
            bytes.extend_from_slice(&self.entries[i]);
        }
        (bytes, offsets)
    }
}
