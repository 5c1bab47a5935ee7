//! Executors of the caller's: those that keep the contract, and those that break it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use tensmith_runtime::executor::run_sections;
use tensmith_runtime::{Context, Executor, RuntimeError};

const SECTIONS: usize = 3;
const MOST: usize = 80;

/// How often each part of each section has run; the arena points to it.
struct Counts {
    section: AtomicU32,
    runs: [[AtomicU32; SECTIONS]; MOST],
}

unsafe extern "C" fn count(ctx: *mut Context, part: u32, _parts: u32) {
    // SAFETY: the arena points to counts.
    let counts = unsafe { &*(*ctx).arena.cast::<Counts>() };
    let section = counts.section.load(Ordering::Relaxed) as usize;
    counts.runs[part as usize][section].fetch_add(1, Ordering::Relaxed);
}

unsafe extern "C" fn entry(ctx: *mut Context, thread: u32, parts: u32) {
    assert_eq!(thread, 0);
    for section in 0..SECTIONS {
        // SAFETY: the arena points to counts, and the context is that of a run.
        unsafe {
            let counts = &*(*ctx).arena.cast::<Counts>();
            counts.section.store(section as u32, Ordering::Relaxed);
            ((*(*ctx).helpers).parallel)(ctx, count, parts);
        }
    }
}

/// Runs three sections; whatever the executor did, each part must have run once.
fn run(executor: &dyn Executor, parts: usize) -> Result<(), RuntimeError> {
    let counts = Box::new(Counts {
        section: AtomicU32::new(0),
        runs: std::array::from_fn(|_| Default::default()),
    });
    let mut ctx = Context::new();
    ctx.arena = (&raw const *counts).cast_mut().cast();
    // SAFETY: the context is exclusive, and the entry uses nothing but the counts.
    let go = || unsafe { run_sections(executor, parts, entry, &raw mut ctx) };
    let result = catch_unwind(AssertUnwindSafe(go));
    for (part, row) in counts.runs.iter().enumerate() {
        let expected = u32::from(part < parts);
        for runs in row {
            assert_eq!(runs.load(Ordering::Relaxed), expected, "part {part}");
        }
    }
    match result {
        Ok(result) => result,
        Err(payload) => std::panic::resume_unwind(payload),
    }
}

/// An executor from a function.
struct By<F>(F);

impl<F: Fn(usize, &(dyn Fn(usize) + Sync))> Executor for By<F> {
    fn parallel_for(&self, parts: usize, body: &(dyn Fn(usize) + Sync)) {
        (self.0)(parts, body);
    }
}

#[test]
fn any_order_and_any_threads_will_do() {
    let backwards = By(|parts, body: &(dyn Fn(usize) + Sync)| (0..parts).rev().for_each(body));
    let scoped = By(|parts, body: &(dyn Fn(usize) + Sync)| {
        thread::scope(|scope| {
            for part in 0..parts {
                scope.spawn(move || body(part));
            }
        });
    });
    for parts in [1, 2, 3, 7, 64, MOST] {
        assert_eq!(run(&backwards, parts), Ok(()));
        assert_eq!(run(&scoped, parts), Ok(()));
    }
}

#[test]
fn missing_parts_are_run_and_reported() {
    let lazy = By(|_, _: &(dyn Fn(usize) + Sync)| {});
    let missing = |part, parts| Err(RuntimeError::PartMissing { part, parts });
    assert_eq!(run(&lazy, 3), missing(0, 3));
    let forgetful = By(|parts, body: &(dyn Fn(usize) + Sync)| {
        (0..parts).filter(|part| *part != 5).for_each(body);
    });
    assert_eq!(run(&forgetful, 7), missing(5, 7));
    assert_eq!(run(&forgetful, 5), Ok(()));
}

#[test]
fn repeated_and_unknown_parts_do_nothing_and_are_reported() {
    let refused = |part, parts| Err(RuntimeError::PartRefused { part, parts });
    let twice = By(|parts, body: &(dyn Fn(usize) + Sync)| {
        (0..parts).for_each(body);
        body(1);
    });
    assert_eq!(run(&twice, 3), refused(1, 3));
    let beyond = By(|parts, body: &(dyn Fn(usize) + Sync)| (0..=parts).for_each(body));
    assert_eq!(run(&beyond, 70), refused(70, 70));
    let contended = By(|parts, body: &(dyn Fn(usize) + Sync)| {
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| (0..parts).for_each(body));
            }
        });
    });
    let error = run(&contended, 9).expect_err("every part runs three times");
    assert!(matches!(error, RuntimeError::PartRefused { parts: 9, .. }));
}

#[test]
fn panics_arrive_after_the_run_is_complete() {
    let failing = By(|_, body: &(dyn Fn(usize) + Sync)| {
        body(1);
        panic!("out of threads");
    });
    let caught = catch_unwind(AssertUnwindSafe(|| run(&failing, 4)));
    let payload = caught.expect_err("the panic arrives");
    assert_eq!(payload.downcast_ref(), Some(&"out of threads"));
}
