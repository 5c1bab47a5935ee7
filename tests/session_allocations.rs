//! A session's runs allocate nothing. Alone in its process, without the test harness, whose main
//! thread allocates beside a test: the allocations of the whole process are counted.
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use support::executors::Backwards;
use support::{digits, images, symbolic};
use tensmith::{Execution, Options, TensorView};

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

fn main() {
    let pixels = images(17);
    for (threads, execution) in [
        (1, Execution::Spmd),
        (2, Execution::Spmd),
        (3, Execution::Sections),
    ] {
        let options = Options {
            execution,
            ..symbolic(threads)
        };
        let executable = digits().compile(&options).unwrap();
        let mut session = executable.session().unwrap();
        let mut run = |batch: usize| {
            let shape = [batch, 1, 8, 8];
            let view = TensorView::from_slice(&shape, &pixels[..batch * 64]).unwrap();
            let outputs = session.run(&[view]).unwrap();
            assert_eq!(outputs[0].shape(), [batch, 10]);
            if execution == Execution::Sections {
                session.run_on(&Backwards, &[view]).unwrap();
            }
        };
        run(17);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        assert!(before > 0, "the counter counts");
        // Smaller sizes use the memory of the largest.
        (0..50).for_each(|k| run(1 + k % 17));
        let after = ALLOCATIONS.load(Ordering::Relaxed);
        assert_eq!(after - before, 0, "{threads} threads, {execution:?}");
    }
}
