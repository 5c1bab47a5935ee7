//! Sections of compiled code on threads of the caller's.
//!
//! Code that is split into sections runs on the calling thread and hands out the parts of each
//! section. Each part is claimed before it runs, so that an executor that calls a part twice or
//! not at all can neither make two threads write the same memory nor leave memory unwritten that
//! later code reads: the second call does nothing, and the calling thread runs what is missing.

use core::any::Any;
use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::abi::{
    Context, ERROR_PART_MISSING, ERROR_PART_REFUSED, Entry, Helpers, MAX_PARTS, SERIAL_HELPERS,
    keep_mark, read_cancelled, record_failure, serial_parallel,
};
use crate::error::RuntimeError;

/// Runs the parts of a loop: a thread pool, or a plain loop.
///
/// [`Executor::parallel_for`] calls `body(part)` exactly once for every `part` in `0..parts`, on
/// any threads, at the same time or one after another, in any order. It returns after all calls
/// have returned, and what they wrote is then visible to the calling thread. `body` neither
/// blocks nor panics. Whatever a safe implementation does, memory stays sound; one that breaks
/// this contract makes the run an error.
///
/// All threads have the floating-point environment of the calling thread (rounding to nearest,
/// subnormal numbers kept), else results may have other bits.
///
/// ```
/// struct Scoped;
///
/// impl tensmith_runtime::Executor for Scoped {
///     fn parallel_for(&self, parts: usize, body: &(dyn Fn(usize) + Sync)) {
///         std::thread::scope(|scope| {
///             for part in 1..parts {
///                 scope.spawn(move || body(part));
///             }
///             body(0);
///         });
///     }
/// }
/// ```
pub trait Executor {
    /// Calls `body` for every part.
    ///
    /// Panics: a panic ends up in the caller of the run, after the calling thread has run the
    /// rest of the model.
    fn parallel_for(&self, parts: usize, body: &(dyn Fn(usize) + Sync));
}

/// Calls `entry(ctx, 0, parts)` on the calling thread; `parallel` hands out the parts of a section
/// to `executor`. Sets the helper table and its `user` pointer, and clears the error record first.
/// Allocates nothing. `parts` is taken as at least 1 and at most [`MAX_PARTS`].
///
/// Errors: the first error that the code recorded, or that the executor made.
///
/// Panics: as the executor does, once the run has ended.
///
/// # Safety
/// `ctx` points to a context that nothing else uses until this returns, except that its `cancel`
/// may be set; its buffers are those `entry` was compiled for, with scratch memory for `parts`
/// threads; `entry` was made for one thread that hands out sections; neither unwinds.
pub unsafe fn run_sections(
    executor: &dyn Executor,
    parts: usize,
    entry: Entry,
    ctx: *mut Context,
) -> Result<(), RuntimeError> {
    let run = Run {
        executor,
        panic: Cell::new(None),
    };
    let parts = u32::try_from(parts).unwrap_or(MAX_PARTS);
    let user: *const Run<'_> = &raw const run;
    // SAFETY: the caller vouches for `entry` and `ctx`; `run` lives until the entry has returned.
    unsafe {
        (*ctx).helpers = &raw const EXECUTOR_HELPERS;
        (*ctx).user = user.cast_mut().cast::<c_void>();
        (*ctx).error.clear();
        entry(ctx, 0, parts.clamp(1, MAX_PARTS));
        (*ctx).user = ptr::null_mut();
    }
    if let Some(payload) = run.panic.take() {
        resume_unwind(payload);
    }
    // SAFETY: as above.
    RuntimeError::check(unsafe { &(*ctx).error })
}

/// What the helper needs during a run.
struct Run<'e> {
    executor: &'e dyn Executor,
    /// The first panic of the executor, which is not called again after it.
    panic: Cell<Option<Box<dyn Any + Send>>>,
}

static EXECUTOR_HELPERS: Helpers = Helpers {
    barrier: SERIAL_HELPERS.barrier,
    fail: record_failure,
    parallel: executor_parallel,
    cancelled: read_cancelled,
    mark: keep_mark,
};

/// # Safety
/// `ctx` was prepared by [`run_sections`], whose entry runs on this thread; `section` may be
/// called with it.
unsafe extern "C" fn executor_parallel(ctx: *mut Context, section: Entry, parts: u32) {
    // SAFETY: `run_sections` stored the address, and the run is still going on.
    let run = unsafe { &*(*ctx).user.cast::<Run<'_>>() };
    let panicked = run.panic.take();
    if panicked.is_some() || parts > MAX_PARTS {
        run.panic.set(panicked);
        // SAFETY: the caller vouches for the section.
        return unsafe { serial_parallel(ctx, section, parts) };
    }
    let call = SectionCall::new(ctx, section, parts);
    let body = |part| call.run(part);
    let hand_out = AssertUnwindSafe(|| run.executor.parallel_for(parts as usize, &body));
    if let Err(payload) = catch_unwind(hand_out) {
        run.panic.set(Some(payload));
    }
    call.complete();
}

/// One section that is being handed out.
struct SectionCall {
    ctx: *mut Context,
    section: Entry,
    parts: u32,
    /// A bit for each part: whether it has been claimed.
    claimed: [AtomicU64; MAX_PARTS as usize / 64],
}

// SAFETY: a section may be called from any thread, for each part once, which the claims ensure;
// the context outlives the hand-out.
unsafe impl Sync for SectionCall {}

impl SectionCall {
    fn new(ctx: *mut Context, section: Entry, parts: u32) -> Self {
        SectionCall {
            ctx,
            section,
            parts,
            claimed: [const { AtomicU64::new(0) }; MAX_PARTS as usize / 64],
        }
    }

    /// Whether nobody claimed the part before.
    fn claim(&self, part: u32) -> bool {
        let bit = 1 << (part % 64);
        let word = &self.claimed[part as usize / 64];
        word.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    /// The body that an executor calls.
    fn run(&self, part: usize) {
        match u32::try_from(part) {
            Ok(part) if part < self.parts && self.claim(part) => self.execute(part),
            _ => self.fail(ERROR_PART_REFUSED, part as i64),
        }
    }

    /// Runs what the executor left out.
    fn complete(&self) {
        for part in 0..self.parts {
            if self.claim(part) {
                self.fail(ERROR_PART_MISSING, i64::from(part));
                self.execute(part);
            }
        }
    }

    fn execute(&self, part: u32) {
        // SAFETY: whoever called the helper vouches for the section; the part is claimed.
        unsafe { (self.section)(self.ctx, part, self.parts) };
    }

    fn fail(&self, code: u32, part: i64) {
        // SAFETY: the context is live.
        unsafe { record_failure(self.ctx, code, 0, part, i64::from(self.parts)) };
    }
}
