//! A run allocates nothing. Alone in its process, without the test harness, whose main thread
//! allocates beside a test: the allocations of the whole process are counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use tensmith_runtime::abi::ERROR_SIZE;
use tensmith_runtime::executor::run_sections;
use tensmith_runtime::{Context, Executor, Pool, Tensor};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: hands every request to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is the one that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above; `ptr` came from `System`.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static GLOBAL: Counting = Counting;

struct Backwards;

impl Executor for Backwards {
    fn parallel_for(&self, parts: usize, body: &(dyn Fn(usize) + Sync)) {
        (0..parts).rev().for_each(body);
    }
}

unsafe extern "C" fn section(_ctx: *mut Context, _part: u32, _parts: u32) {}

/// Uses every helper.
unsafe extern "C" fn entry(ctx: *mut Context, thread: u32, threads: u32) {
    // SAFETY: the context is that of a run.
    unsafe {
        let helpers = *(*ctx).helpers;
        (helpers.barrier)(ctx, thread, threads);
        (helpers.fail)(ctx, ERROR_SIZE, 1, 2, 3);
        (helpers.parallel)(ctx, section, 3);
        (helpers.cancelled)(ctx);
        (helpers.barrier)(ctx, thread, threads);
    }
}

fn main() {
    for threads in [1, 2, 4] {
        let pool = Pool::new(threads).expect("threads start");
        let mut ctx = Context::new();
        let mut output = Tensor::from_slice(&[4, 4], &[1_f32; 16]).expect("small");
        let mut go = |run: u64| {
            if run.is_multiple_of(10) {
                // Lets the workers park, so that waking them is counted too.
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            output.resize(&[2, 3]).expect("smaller");
            // SAFETY: the context is exclusive; the entry uses no buffers.
            unsafe {
                assert!(pool.run(entry, &raw mut ctx).is_err());
                assert!(pool.run_sections(entry, &raw mut ctx).is_err());
                assert!(run_sections(&Backwards, threads, entry, &raw mut ctx).is_err());
            }
            output.resize(&[4, 4]).expect("as large as before");
        };
        // The first run finds the workers still starting.
        go(1);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        assert!(before > 0, "the counter counts");
        (0..50).for_each(&mut go);
        let after = ALLOCATIONS.load(Ordering::Relaxed);
        assert_eq!(after - before, 0, "{threads} threads");
    }
}
