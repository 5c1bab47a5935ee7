//! The C interface between compiled code and its surroundings.
//!
//! Compiled code receives one pointer to a [`Context`] and reaches the outside
//! only through the [`Helpers`] table in it, so an object file needs no symbol
//! of this crate. The `OFFSET_*` constants are the byte offsets that code
//! generation uses; they hold for every target with 64-bit pointers.
//!
//! **Execution.** Code has one of two forms. In the first a compiled [`Entry`]
//! is called once on each of `threads` threads with the same context and thread
//! numbers `0..threads`; barriers inside it are met by every thread, on every
//! path. In the second it is called on one thread as `(context, 0, parts)`, meets
//! no barriers, and hands out sections through [`Helpers::parallel`] in at most
//! `parts` parts each; if `parts` is 1 it needs no such helper.
//!
//! **Errors.** A failed run-time check calls [`Helpers::fail`], which keeps the
//! first error and returns. The code then skips the statement concerned and
//! carries on, so no barrier is ever missed; the error becomes a value after
//! the run. Outputs of a failed run have unspecified contents.
//!
//! **Cancelling.** Setting [`Context::cancel`] asks for an early end. Threads
//! may see the request at different moments, so code that sees it skips work,
//! never barriers.

use core::ffi::c_void;
use core::mem::offset_of;
use core::ptr;
use core::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use crate::profile::Profile;

/// No error has been recorded.
pub const ERROR_NONE: u32 = 0;
/// An index lies outside its axis: `value` is the index, `bound` the extent.
pub const ERROR_INDEX: u32 = 1;
/// Two sizes differ: `value` is the size found, `bound` the size expected.
pub const ERROR_SIZE: u32 = 2;
/// A data-dependent size exceeds its declared maximum: `value` is the size,
/// `bound` the maximum.
pub const ERROR_CAPACITY: u32 = 3;
/// An integer division by zero: `value` is the dividend.
pub const ERROR_DIVISION: u32 = 4;
/// The run was cancelled through [`Context::cancel`].
pub const ERROR_CANCELLED: u32 = 5;

/// An executor did not run a part of a section: `value` is the part, `bound` the
/// number of parts.
pub const ERROR_PART_MISSING: u32 = 6;
/// An executor ran a part of a section twice, or one that does not exist:
/// `value` is the part, `bound` the number of parts.
pub const ERROR_PART_REFUSED: u32 = 7;

/// The largest number of threads of a run, and of parts of a section.
pub const MAX_PARTS: u32 = 1024;

/// The compiled entry point of a model, or one barrier-free section of it:
/// `(context, thread, threads)` with `thread < threads`.
pub type Entry = unsafe extern "C" fn(*mut Context, u32, u32);

/// Waits until all `threads` threads of the run have arrived:
/// `(context, thread, threads)`.
pub type BarrierHelper = unsafe extern "C" fn(*mut Context, u32, u32);

/// Records an error: `(context, code, site, value, bound)`.
pub type FailHelper = unsafe extern "C" fn(*mut Context, u32, u32, i64, i64);

/// Calls `section(context, part, parts)` for every part of `0..parts`:
/// `(context, section, parts)`.
pub type ParallelHelper = unsafe extern "C" fn(*mut Context, Entry, u32);

/// Whether the run is to end early; not zero means yes: `(context)`.
pub type CancelledHelper = unsafe extern "C" fn(*mut Context) -> u32;

/// Notes that a step of the plan begins now: `(context, thread, step)`.
pub type MarkHelper = unsafe extern "C" fn(*mut Context, u32, u32);

/// The functions that compiled code may call, at most eight.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Helpers {
    /// Returns once every thread of the run has called it the same number of
    /// times. Writes before it are visible to every thread after it.
    pub barrier: BarrierHelper,
    /// Keeps the error if it is the first of the run, and returns.
    pub fail: FailHelper,
    /// Returns once all parts are done. Parts run in any order, at the same
    /// time or one after another, so a section holds no barrier and calls no
    /// `parallel`.
    pub parallel: ParallelHelper,
    /// Reads the request to end early, and records [`ERROR_CANCELLED`] when it
    /// is there, since the caller is about to skip work.
    pub cancelled: CancelledHelper,
    /// Called only by code that was compiled to keep time: keeps the mark in
    /// [`Context::profile`], if there is one.
    pub mark: MarkHelper,
}

/// The first error of a run. All zero means none.
///
/// The layout is that of the plain C integers. Fields other than `code` are
/// meaningful only after the run has ended.
#[repr(C)]
#[derive(Debug, Default)]
pub struct ErrorRecord {
    /// One of the `ERROR_*` codes.
    pub code: AtomicU32,
    /// Number of the check that failed, as numbered by the compiler.
    pub site: AtomicU32,
    /// The offending value.
    pub value: AtomicI64,
    /// The bound or the expected value.
    pub bound: AtomicI64,
}

impl ErrorRecord {
    /// Keeps the error if none was kept before. A zero `code` is kept as
    /// `u32::MAX`, so that a failure is never taken for success.
    pub fn record(&self, code: u32, site: u32, value: i64, bound: i64) {
        let code = if code == ERROR_NONE { u32::MAX } else { code };
        let first = self
            .code
            .compare_exchange(ERROR_NONE, code, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
        if first {
            self.site.store(site, Ordering::Relaxed);
            self.value.store(value, Ordering::Relaxed);
            self.bound.store(bound, Ordering::Relaxed);
        }
    }

    /// Forgets the error. Must not overlap with a run.
    pub fn clear(&self) {
        self.code.store(ERROR_NONE, Ordering::Relaxed);
        self.site.store(0, Ordering::Relaxed);
        self.value.store(0, Ordering::Relaxed);
        self.bound.store(0, Ordering::Relaxed);
    }
}

/// Everything that one run of compiled code uses. One context serves one run
/// at a time.
#[repr(C)]
#[derive(Debug)]
pub struct Context {
    /// The helper table; never null during a run.
    pub helpers: *const Helpers,
    /// Belongs to whoever supplies the helper table; compiled code never
    /// touches it.
    pub user: *mut c_void,
    /// One address per model input, in the order of the model's signature.
    pub inputs: *const *const u8,
    /// One address per model output, in the order of the model's signature.
    pub outputs: *const *mut u8,
    /// The block of all constants.
    pub constants: *const u8,
    /// Memory for intermediate tensors, shared by all threads.
    pub arena: *mut u8,
    /// Values of the size symbols. Those that depend on data are written by
    /// the compiled code; the others by the caller before the run.
    pub sizes: *mut i64,
    /// Scratch memory: thread or part `t` owns `scratch_bytes` bytes from
    /// `scratch + t * scratch_bytes`.
    pub scratch: *mut u8,
    /// Bytes of scratch memory per thread or part, a multiple of 64.
    pub scratch_bytes: u64,
    /// The first error of the run.
    pub error: ErrorRecord,
    /// Not zero asks the run to end early. May be set from any thread.
    pub cancel: AtomicU32,
    /// Where [`Helpers::mark`] keeps marks; null for nowhere. Compiled code
    /// never touches it.
    pub profile: *const Profile,
}

/// Offset of [`Context::helpers`].
pub const OFFSET_HELPERS: i32 = offset_of!(Context, helpers) as i32;
/// Offset of [`Context::user`].
pub const OFFSET_USER: i32 = offset_of!(Context, user) as i32;
/// Offset of [`Context::inputs`].
pub const OFFSET_INPUTS: i32 = offset_of!(Context, inputs) as i32;
/// Offset of [`Context::outputs`].
pub const OFFSET_OUTPUTS: i32 = offset_of!(Context, outputs) as i32;
/// Offset of [`Context::constants`].
pub const OFFSET_CONSTANTS: i32 = offset_of!(Context, constants) as i32;
/// Offset of [`Context::arena`].
pub const OFFSET_ARENA: i32 = offset_of!(Context, arena) as i32;
/// Offset of [`Context::sizes`].
pub const OFFSET_SIZES: i32 = offset_of!(Context, sizes) as i32;
/// Offset of [`Context::scratch`].
pub const OFFSET_SCRATCH: i32 = offset_of!(Context, scratch) as i32;
/// Offset of [`Context::scratch_bytes`].
pub const OFFSET_SCRATCH_BYTES: i32 = offset_of!(Context, scratch_bytes) as i32;
/// Offset of [`Context::error`], whose first word is the error code.
pub const OFFSET_ERROR: i32 = offset_of!(Context, error) as i32;
/// Offset of [`Context::cancel`].
pub const OFFSET_CANCEL: i32 = offset_of!(Context, cancel) as i32;

/// Offset of [`Helpers::barrier`] in the helper table.
pub const OFFSET_HELPER_BARRIER: i32 = offset_of!(Helpers, barrier) as i32;
/// Offset of [`Helpers::fail`] in the helper table.
pub const OFFSET_HELPER_FAIL: i32 = offset_of!(Helpers, fail) as i32;
/// Offset of [`Helpers::parallel`] in the helper table.
pub const OFFSET_HELPER_PARALLEL: i32 = offset_of!(Helpers, parallel) as i32;
/// Offset of [`Helpers::cancelled`] in the helper table.
pub const OFFSET_HELPER_CANCELLED: i32 = offset_of!(Helpers, cancelled) as i32;
/// Offset of [`Helpers::mark`] in the helper table.
pub const OFFSET_HELPER_MARK: i32 = offset_of!(Helpers, mark) as i32;

/// The helper table of a run on one thread: barriers return at once and the
/// parts of a parallel section run one after another.
pub static SERIAL_HELPERS: Helpers = Helpers {
    barrier: serial_barrier,
    fail: record_failure,
    parallel: serial_parallel,
    cancelled: read_cancelled,
    mark: keep_mark,
};

impl Context {
    /// A context without buffers, with [`SERIAL_HELPERS`].
    pub fn new() -> Self {
        Context {
            helpers: &raw const SERIAL_HELPERS,
            user: ptr::null_mut(),
            inputs: ptr::null(),
            outputs: ptr::null(),
            constants: ptr::null(),
            arena: ptr::null_mut(),
            sizes: ptr::null_mut(),
            scratch: ptr::null_mut(),
            scratch_bytes: 0,
            error: ErrorRecord::default(),
            cancel: AtomicU32::new(0),
            profile: ptr::null(),
        }
    }
}

impl Default for Context {
    fn default() -> Self {
        Context::new()
    }
}

unsafe extern "C" fn serial_barrier(_ctx: *mut Context, _thread: u32, _threads: u32) {}

/// The [`Helpers::fail`] of every helper table in this crate.
///
/// # Safety
/// `ctx` points to a live context.
pub unsafe extern "C" fn record_failure(
    ctx: *mut Context,
    code: u32,
    site: u32,
    value: i64,
    bound: i64,
) {
    // SAFETY: the caller passes a live context; the record holds only atomics,
    // so sharing it between threads is sound.
    let record = unsafe { &(*ctx).error };
    record.record(code, site, value, bound);
}

/// The [`Helpers::parallel`] that runs all parts on the calling thread.
///
/// # Safety
/// `ctx` points to a live context, and `section` may be called with it.
pub unsafe extern "C" fn serial_parallel(ctx: *mut Context, section: Entry, parts: u32) {
    for part in 0..parts {
        // SAFETY: the caller vouches for `section` with this context.
        unsafe { section(ctx, part, parts) };
    }
}

/// The [`Helpers::cancelled`] of every helper table in this crate.
///
/// # Safety
/// `ctx` points to a live context.
pub unsafe extern "C" fn read_cancelled(ctx: *mut Context) -> u32 {
    // SAFETY: the caller passes a live context, and the field is atomic.
    let cancel = unsafe { &(*ctx).cancel };
    let request = cancel.load(Ordering::Relaxed);
    if request != 0 {
        // SAFETY: as above.
        unsafe { record_failure(ctx, ERROR_CANCELLED, 0, 0, 0) };
    }
    request
}

/// The [`Helpers::mark`] of every helper table in this crate.
///
/// # Safety
/// `ctx` points to a live context, whose profile is live or null.
pub unsafe extern "C" fn keep_mark(ctx: *mut Context, thread: u32, step: u32) {
    // SAFETY: the caller vouches for both; a profile may be shared.
    if let Some(profile) = unsafe { (*ctx).profile.as_ref() } {
        profile.mark(thread, step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RuntimeError;

    /// The C header states these numbers, so a change of layout breaks every
    /// object file made before it.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn layout_is_the_published_one() {
        let offsets = [
            (OFFSET_HELPERS, 0),
            (OFFSET_USER, 8),
            (OFFSET_INPUTS, 16),
            (OFFSET_OUTPUTS, 24),
            (OFFSET_CONSTANTS, 32),
            (OFFSET_ARENA, 40),
            (OFFSET_SIZES, 48),
            (OFFSET_SCRATCH, 56),
            (OFFSET_SCRATCH_BYTES, 64),
            (OFFSET_ERROR, 72),
            (OFFSET_CANCEL, 96),
            (OFFSET_HELPER_BARRIER, 0),
            (OFFSET_HELPER_FAIL, 8),
            (OFFSET_HELPER_PARALLEL, 16),
            (OFFSET_HELPER_CANCELLED, 24),
            (OFFSET_HELPER_MARK, 32),
        ];
        for (row, (found, published)) in offsets.into_iter().enumerate() {
            assert_eq!(found, published, "row {row}");
        }
        assert_eq!(offset_of!(ErrorRecord, site), 4);
        assert_eq!(offset_of!(ErrorRecord, value), 8);
        assert_eq!(offset_of!(ErrorRecord, bound), 16);
        assert_eq!(size_of::<ErrorRecord>(), 24);
        assert_eq!(size_of::<Context>(), 112);
        assert!(size_of::<Helpers>() <= 8 * 8);
    }

    #[test]
    fn first_error_is_kept() {
        let record = ErrorRecord::default();
        record.record(ERROR_INDEX, 3, 9, 7);
        record.record(ERROR_SIZE, 4, 1, 2);
        let expected = RuntimeError::IndexOutOfRange {
            site: 3,
            value: 9,
            bound: 7,
        };
        assert_eq!(RuntimeError::check(&record), Err(expected));
        record.clear();
        assert_eq!(RuntimeError::check(&record), Ok(()));
    }

    #[test]
    fn zero_code_is_still_a_failure() {
        let record = ErrorRecord::default();
        record.record(ERROR_NONE, 1, 0, 0);
        assert!(RuntimeError::check(&record).is_err());
    }

    #[test]
    fn serial_helpers_run_every_part_and_report_cancelling() {
        unsafe extern "C" fn add_part(ctx: *mut Context, part: u32, parts: u32) {
            // SAFETY: the test points `sizes` at one integer.
            unsafe { *(*ctx).sizes += i64::from(part * 100 + parts) };
        }
        let mut sum = 0_i64;
        let mut ctx = Context::new();
        ctx.sizes = &raw mut sum;
        // SAFETY: the context is live and `sizes` points to `sum`.
        unsafe { (SERIAL_HELPERS.parallel)(&raw mut ctx, add_part, 3) };
        assert_eq!(sum, 300 + 9);
        // SAFETY: the context is live.
        assert_eq!(unsafe { (SERIAL_HELPERS.cancelled)(&raw mut ctx) }, 0);
        assert_eq!(RuntimeError::check(&ctx.error), Ok(()));
        ctx.cancel.store(1, Ordering::Relaxed);
        // SAFETY: the context is live.
        assert_ne!(unsafe { (SERIAL_HELPERS.cancelled)(&raw mut ctx) }, 0);
        assert_eq!(
            RuntimeError::check(&ctx.error),
            Err(RuntimeError::Cancelled)
        );
    }
}
