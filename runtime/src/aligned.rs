//! Zeroed, 64-byte aligned memory for tensors and arenas.

use core::alloc::Layout;
use core::fmt;
use core::num::NonZero;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::slice;
use std::alloc::{alloc_zeroed, dealloc};

/// Alignment in bytes of every [`AlignedBytes`]: a cache line, and the widest
/// vector of current targets.
pub const ALIGNMENT: usize = 64;

/// Blocks of at least so many bytes ask for huge pages: streams of weights would spend their time
/// looking up small ones.
const HUGE: usize = 1 << 20;

/// Memory could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot allocate {bytes} bytes; use smaller sizes or free memory")]
pub struct AllocationError {
    /// The number of bytes asked for.
    pub bytes: usize,
}

/// An owned block of bytes at a 64-byte aligned address.
///
/// Large blocks take physical memory only page by page, when first written.
pub struct AlignedBytes {
    /// Start of the allocation; dangling if `len` is 0.
    base: NonNull<u8>,
    /// Distance from `base` to the aligned start.
    offset: usize,
    len: usize,
}

// SAFETY: the block is owned memory without interior mutability.
unsafe impl Send for AlignedBytes {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for AlignedBytes {}

impl AlignedBytes {
    /// A block of `len` zero bytes.
    ///
    /// Errors: the system has no such amount of memory.
    pub fn zeroed(len: usize) -> Result<Self, AllocationError> {
        if len == 0 {
            return Ok(Self::empty());
        }
        let layout = Self::layout(len).ok_or(AllocationError { bytes: len })?;
        // SAFETY: `layout` is not empty, since `len` is not 0.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) });
        let base = base.ok_or(AllocationError { bytes: len })?;
        if len >= HUGE {
            advise_huge_pages(base, len);
        }
        let offset = base.as_ptr().addr().wrapping_neg() % ALIGNMENT;
        Ok(AlignedBytes { base, offset, len })
    }

    /// A block without bytes. Allocates nothing.
    pub const fn empty() -> Self {
        AlignedBytes {
            // The address 64 is not null, aligned, and never dereferenced.
            base: NonNull::without_provenance(
                NonZero::new(ALIGNMENT).expect("invariant: the alignment is not 0"),
            ),
            offset: 0,
            len: 0,
        }
    }

    /// A copy of `bytes`.
    ///
    /// Errors: the system has no such amount of memory.
    pub fn copy_of(bytes: &[u8]) -> Result<Self, AllocationError> {
        let mut block = Self::zeroed(bytes.len())?;
        block.copy_from_slice(bytes);
        Ok(block)
    }

    /// The first byte. Valid for `len()` bytes of reads.
    pub fn as_ptr(&self) -> *const u8 {
        // SAFETY: the allocation holds `offset + len` bytes.
        unsafe { self.base.as_ptr().add(self.offset) }
    }

    /// The first byte. Valid for `len()` bytes of reads and writes.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        // SAFETY: the allocation holds `offset + len` bytes.
        unsafe { self.base.as_ptr().add(self.offset) }
    }

    /// Room for `len` bytes from an aligned address on. Asking the allocator
    /// for less than the full alignment keeps zeroing lazy: allocators write
    /// zeros themselves when the alignment is above their own.
    fn layout(len: usize) -> Option<Layout> {
        Layout::from_size_align(len.checked_add(ALIGNMENT - 1)?, 1).ok()
    }
}

/// Asks for huge pages behind a block that was just allocated. Not having them costs time only.
fn advise_huge_pages(base: NonNull<u8>, len: usize) {
    let page = rustix::param::page_size();
    let ahead = base.as_ptr().addr().wrapping_neg() % page;
    let whole = len.saturating_sub(ahead) / page * page;
    // SAFETY: the range of whole pages lies within the block, which is ours; advice about pages
    // changes no contents.
    let _ = unsafe {
        let start = base.as_ptr().add(ahead.min(len));
        rustix::mm::madvise(start.cast(), whole, rustix::mm::Advice::LinuxHugepage)
    };
}

impl Drop for AlignedBytes {
    fn drop(&mut self) {
        if self.len == 0 {
            return;
        }
        let layout = Self::layout(self.len).expect("invariant: the layout was valid before");
        // SAFETY: `base` came from `alloc_zeroed` with this layout.
        unsafe { dealloc(self.base.as_ptr(), layout) };
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `len` initialised bytes start at `as_ptr`.
        unsafe { slice::from_raw_parts(self.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        let (ptr, len) = (self.as_mut_ptr(), self.len);
        // SAFETY: `len` initialised bytes start there, borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(ptr, len) }
    }
}

impl Default for AlignedBytes {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for AlignedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBytes({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_and_zero() {
        for len in [0, 1, 3, 63, 64, 65, 4096, 1 << 20] {
            let mut block = AlignedBytes::zeroed(len).expect("small");
            assert_eq!(block.as_ptr().addr() % ALIGNMENT, 0, "length {len}");
            assert_eq!(block.len(), len);
            assert!(block.iter().all(|&byte| byte == 0));
            block.fill(0xA5);
            assert!(block.iter().all(|&byte| byte == 0xA5));
        }
    }

    #[test]
    fn too_much_is_an_error() {
        for bytes in [usize::MAX, usize::MAX - 64, isize::MAX as usize] {
            assert_eq!(
                AlignedBytes::zeroed(bytes).map(|_| ()),
                Err(AllocationError { bytes })
            );
        }
    }

    #[test]
    fn copies_hold_the_bytes() {
        let block = AlignedBytes::copy_of(&[1, 2, 3]).expect("small");
        assert_eq!(&*block, &[1, 2, 3]);
        assert!(AlignedBytes::copy_of(&[]).expect("empty").is_empty());
    }
}
