//! Threads that run one compiled entry side by side.
//!
//! The calling thread is thread 0; workers are threads `1..threads`. Workers
//! spin for a short while after a run, since the next one often follows at
//! once, then park. Within a run threads spin at barriers; after a long spin
//! they yield, because the quota may be smaller than the number of threads.
//!
//! Source: J. M. Mellor-Crummey, M. L. Scott, "Algorithms for scalable
//! synchronization on shared-memory multiprocessors", ACM TOCS 9(1), 1991.

use core::ffi::c_void;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::cell::UnsafeCell;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, Thread};

use crate::abi::{
    Context, Entry, Helpers, MAX_PARTS, SERIAL_HELPERS, keep_mark, read_cancelled, record_failure,
    serial_parallel,
};
use crate::barrier::{Padded, Patience, SpinBarrier, spin_until};
use crate::clock::now_ns;
use crate::error::RuntimeError;
use crate::quota::usable_cores;

/// The largest number of threads of one pool.
pub const MAX_THREADS: usize = MAX_PARTS as usize;

/// How long an idle worker spins before it parks, in nanoseconds: more than a
/// caller takes between two runs, and about the cost of one wake-up.
const IDLE_SPIN_NS: u64 = 80_000;

/// The same where threads outnumber cores, so that a spinning worker keeps
/// another from running.
const IDLE_SPIN_CROWDED_NS: u64 = 5_000;

/// Why a pool could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The number of threads is 0 or above [`MAX_THREADS`].
    #[error("a pool of {threads} threads is not possible; choose 1 to {MAX_THREADS}")]
    InvalidThreads {
        /// The number asked for.
        threads: usize,
    },
    /// The system refused to start a thread.
    #[error("cannot start thread {thread} of the pool; choose fewer threads")]
    Spawn {
        /// Number of the thread.
        thread: u32,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A fixed set of threads for compiled code.
///
/// Runs from several threads at the same time are safe: they follow one
/// another. Workers inherit the floating-point environment of the thread that
/// makes the pool, and the pool never changes it.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held during a run. Unused by a pool of one thread.
    turn: Mutex<()>,
}

impl Pool {
    /// A pool of `threads` threads, the caller's included.
    ///
    /// Errors: the number is 0 or too large, or a thread cannot be started.
    pub fn new(threads: usize) -> Result<Self, PoolError> {
        let count = u32::try_from(threads)
            .ok()
            .filter(|_| (1..=MAX_THREADS).contains(&threads))
            .ok_or(PoolError::InvalidThreads { threads })?;
        let crowded = threads > usable_cores();
        let mut pool = Pool {
            shared: Arc::new(Shared::new(count, crowded)),
            workers: Vec::with_capacity(threads - 1),
            turn: Mutex::new(()),
        };
        for thread in 1..count {
            // On failure dropping the pool stops the workers started so far.
            pool.start_worker(thread)?;
        }
        Ok(pool)
    }

    /// A pool of as many threads as there are usable cores.
    ///
    /// Errors: a thread cannot be started.
    pub fn with_usable_cores() -> Result<Self, PoolError> {
        Self::new(usable_cores().min(MAX_THREADS))
    }

    /// The number of threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.shared.threads as usize
    }

    /// Calls `entry(ctx, thread, threads)` on every thread of the pool and
    /// returns once all calls have returned. Sets the helper table and its
    /// `user` pointer, and clears the error record first. Allocates nothing.
    /// Within the run, `parallel` runs all parts on the thread that calls it.
    ///
    /// Errors: the first error that the code recorded.
    ///
    /// # Safety
    /// `ctx` points to a context that nothing else uses until this returns,
    /// except that its `cancel` may be set; its buffers are those `entry` was
    /// compiled for; `entry` does not unwind, has every thread meet the same
    /// barriers, and does not run anything on this pool.
    pub unsafe fn run(&self, entry: Entry, ctx: *mut Context) -> Result<(), RuntimeError> {
        if self.shared.threads == 1 {
            // SAFETY: the caller vouches for `entry` and `ctx`.
            return unsafe { run_serial(entry, ctx) };
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the caller vouches for `ctx`; this thread holds the turn.
        unsafe {
            self.shared.prepare(ctx, &SPMD_HELPERS);
            self.shared.dispatch(Job::Everywhere { entry, ctx });
            RuntimeError::check(&(*ctx).error)
        }
    }

    /// Calls `entry(ctx, 0, threads)` on the calling thread alone; `parallel`
    /// then spreads the parts of a section over the pool. For code that is split
    /// into barrier-free sections. Otherwise as [`Pool::run`].
    ///
    /// Errors: the first error that the code recorded.
    ///
    /// # Safety
    /// As for [`Pool::run`]; further, only the thread that runs `entry` calls
    /// `parallel`, and sections call no barrier.
    pub unsafe fn run_sections(&self, entry: Entry, ctx: *mut Context) -> Result<(), RuntimeError> {
        if self.shared.threads == 1 {
            // SAFETY: the caller vouches for `entry` and `ctx`.
            return unsafe { run_serial(entry, ctx) };
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the caller vouches for `entry` and `ctx`; this thread holds
        // the turn.
        unsafe {
            self.shared.prepare(ctx, &SECTION_HELPERS);
            entry(ctx, 0, self.shared.threads);
            RuntimeError::check(&(*ctx).error)
        }
    }

    /// Calls `entry(ctx, 0, 1)` on the calling thread alone, as a pool of one thread would: for
    /// code that gives no other thread anything to do.
    ///
    /// Errors: the first error that the code recorded.
    ///
    /// # Safety
    /// As for [`Pool::run`].
    pub unsafe fn run_alone(entry: Entry, ctx: *mut Context) -> Result<(), RuntimeError> {
        // SAFETY: the caller vouches for `entry` and `ctx`.
        unsafe { run_serial(entry, ctx) }
    }

    fn start_worker(&mut self, thread: u32) -> Result<(), PoolError> {
        let shared = Arc::clone(&self.shared);
        let worker = thread::Builder::new()
            .name(format!("tensmith-{thread}"))
            .spawn(move || shared.work(thread))
            .map_err(|source| PoolError::Spawn { thread, source })?;
        self.workers.push(worker);
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.announce();
        for worker in self.workers.drain(..) {
            // A worker cannot panic; there would be nothing to do about it.
            let _ = worker.join();
        }
    }
}

/// Runs `entry` on the calling thread, without any shared state.
///
/// # Safety
/// As for [`Pool::run`].
unsafe fn run_serial(entry: Entry, ctx: *mut Context) -> Result<(), RuntimeError> {
    // SAFETY: the caller vouches for `entry` and `ctx`.
    unsafe {
        (*ctx).helpers = &raw const SERIAL_HELPERS;
        (*ctx).user = core::ptr::null_mut();
        (*ctx).error.clear();
        entry(ctx, 0, 1);
        RuntimeError::check(&(*ctx).error)
    }
}

/// What the threads of a pool are to do next.
#[derive(Clone, Copy, Debug)]
enum Job {
    /// Nothing: the value before the first run.
    None,
    /// Every thread calls `entry` once.
    Everywhere { entry: Entry, ctx: *mut Context },
    /// Thread `t` of `n` calls `section` for parts `t`, `t + n`, `t + 2n`, ...
    Parts {
        section: Entry,
        ctx: *mut Context,
        parts: u32,
    },
}

impl Job {
    /// # Safety
    /// The pointers of the job are valid as [`Pool::run`] demands.
    unsafe fn execute(self, thread: u32, threads: u32) {
        match self {
            Job::None => {}
            // SAFETY: the caller of the pool vouches for the entry.
            Job::Everywhere { entry, ctx } => unsafe { entry(ctx, thread, threads) },
            Job::Parts {
                section,
                ctx,
                parts,
            } => {
                for part in (thread..parts).step_by(threads as usize) {
                    // SAFETY: the caller of the pool vouches for the section.
                    unsafe { section(ctx, part, parts) };
                }
            }
        }
    }
}

/// The state that the caller and the workers share.
#[derive(Debug)]
struct Shared {
    threads: u32,
    patience: Patience,
    idle_spin_ns: u64,
    /// Counts announcements; workers wait for it to change.
    epoch: Padded<AtomicU32>,
    /// Written only while all workers wait for the next epoch.
    job: Padded<UnsafeCell<Job>>,
    /// Workers that are done with the current epoch.
    finished: Padded<AtomicU32>,
    barrier: SpinBarrier,
    stop: AtomicBool,
    /// One for each worker, in the order of thread numbers from 1.
    beds: Box<[Padded<Bed>]>,
}

/// Where a worker parks.
#[derive(Debug, Default)]
struct Bed {
    /// The worker is parked or about to park.
    asleep: AtomicBool,
    /// Set by the worker before it can be asleep.
    thread: OnceLock<Thread>,
}

// SAFETY: `job` is written by the thread that holds the turn, before it changes
// `epoch` with release order and while no worker reads it; workers read it after
// seeing that change with acquire order. The pointers in it are used only as the
// caller of `run` vouched for. All else is atomic or never changes.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    fn new(threads: u32, crowded: bool) -> Self {
        Shared {
            threads,
            patience: Patience::new(crowded),
            idle_spin_ns: if crowded {
                IDLE_SPIN_CROWDED_NS
            } else {
                IDLE_SPIN_NS
            },
            epoch: Padded::default(),
            job: Padded(UnsafeCell::new(Job::None)),
            finished: Padded::default(),
            barrier: SpinBarrier::default(),
            stop: AtomicBool::new(false),
            beds: (1..threads).map(|_| Padded::default()).collect(),
        }
    }

    /// Makes `ctx` ready for a run on this pool.
    ///
    /// # Safety
    /// `ctx` points to a context that nothing else uses.
    unsafe fn prepare(&self, ctx: *mut Context, helpers: &'static Helpers) {
        let user: *const Shared = self;
        // SAFETY: the caller vouches for `ctx`.
        unsafe {
            (*ctx).helpers = helpers;
            (*ctx).user = user.cast_mut().cast::<c_void>();
            (*ctx).error.clear();
        }
    }

    /// Has all threads execute `job`, this one as thread 0, and waits for them.
    ///
    /// # Safety
    /// The caller holds the turn, and the job is valid as for [`Pool::run`].
    unsafe fn dispatch(&self, job: Job) {
        self.finished.0.store(0, Ordering::Relaxed);
        // SAFETY: all workers wait for the next epoch, so none reads the job.
        unsafe { *self.job.0.get() = job };
        self.announce();
        // SAFETY: the caller vouches for the job.
        unsafe { job.execute(0, self.threads) };
        let workers = self.threads - 1;
        spin_until(self.patience, || {
            self.finished.0.load(Ordering::Acquire) == workers
        });
    }

    /// Starts a new epoch and wakes the workers that sleep.
    fn announce(&self) {
        // With the worker's store to `asleep` and load of `epoch` this is
        // Dekker's pattern: one of the two sees the other's store. Both sides
        // therefore use the sequentially consistent order.
        self.epoch.0.fetch_add(1, Ordering::SeqCst);
        for bed in &self.beds {
            if bed.0.asleep.load(Ordering::SeqCst)
                && let Some(thread) = bed.0.thread.get()
            {
                thread.unpark();
            }
        }
    }

    /// The life of worker `thread`.
    fn work(&self, thread: u32) {
        let bed = &self.beds[thread as usize - 1].0;
        bed.thread.get_or_init(thread::current);
        let mut epoch = 0;
        loop {
            epoch = self.await_epoch_after(epoch, bed);
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            // SAFETY: the change of epoch was seen with acquire order, and the
            // job stays as it is until this worker says that it is done.
            let job = unsafe { *self.job.0.get() };
            // SAFETY: the caller of the pool vouches for the job.
            unsafe { job.execute(thread, self.threads) };
            self.finished.0.fetch_add(1, Ordering::Release);
        }
    }

    /// Spins, then parks, until the epoch is another than `seen`.
    fn await_epoch_after(&self, seen: u32, bed: &Bed) -> u32 {
        self.spin_for_epoch_after(seen)
            .unwrap_or_else(|| self.sleep_for_epoch_after(seen, bed))
    }

    fn spin_for_epoch_after(&self, seen: u32) -> Option<u32> {
        let deadline = now_ns().saturating_add(self.idle_spin_ns);
        loop {
            // Pause instructions take 10 to 140 cycles each, depending on the
            // processor, so the clock bounds the spin, not the count.
            for _ in 0..32 {
                let epoch = self.epoch.0.load(Ordering::Acquire);
                if epoch != seen {
                    return Some(epoch);
                }
                spin_loop();
            }
            if now_ns() >= deadline {
                return None;
            }
        }
    }

    fn sleep_for_epoch_after(&self, seen: u32, bed: &Bed) -> u32 {
        bed.asleep.store(true, Ordering::SeqCst);
        loop {
            let epoch = self.epoch.0.load(Ordering::SeqCst);
            if epoch != seen {
                bed.asleep.store(false, Ordering::Relaxed);
                return epoch;
            }
            thread::park();
        }
    }
}

/// For runs in which every thread executes the entry.
static SPMD_HELPERS: Helpers = Helpers {
    barrier: pool_barrier,
    fail: record_failure,
    parallel: serial_parallel,
    cancelled: read_cancelled,
    mark: keep_mark,
};

/// For runs in which one thread executes the entry and hands out sections.
static SECTION_HELPERS: Helpers = Helpers {
    barrier: SERIAL_HELPERS.barrier,
    fail: record_failure,
    parallel: pool_parallel,
    cancelled: read_cancelled,
    mark: keep_mark,
};

/// # Safety
/// `ctx` was prepared by a pool whose run is still going on.
unsafe extern "C" fn pool_barrier(ctx: *mut Context, _thread: u32, _threads: u32) {
    // SAFETY: `prepare` stored the address of the pool's state, which lives
    // until the run has ended.
    let shared = unsafe { &*(*ctx).user.cast::<Shared>() };
    shared.barrier.wait(shared.threads, shared.patience);
}

/// # Safety
/// As for [`pool_barrier`]; further, the calling thread is the one that holds
/// the turn.
unsafe extern "C" fn pool_parallel(ctx: *mut Context, section: Entry, parts: u32) {
    // SAFETY: as in `pool_barrier`.
    let shared = unsafe { &*(*ctx).user.cast::<Shared>() };
    if parts <= 1 {
        // SAFETY: the caller of the pool vouches for the section.
        return unsafe { serial_parallel(ctx, section, parts) };
    }
    // SAFETY: this thread holds the turn, and the caller of the pool vouches
    // for the section.
    unsafe {
        shared.dispatch(Job::Parts {
            section,
            ctx,
            parts,
        });
    }
}
