//! The thread pool under load: every thread works, barriers hold, runs from
//! several threads follow one another, and errors come back as values.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tensmith_runtime::abi::{ERROR_INDEX, ERROR_SIZE};
use tensmith_runtime::{Context, Entry, Pool, PoolError, RuntimeError};

/// What the entries below work on; the arena points to it. One cell and one
/// sum per thread, not atomic: only barriers keep them free of races.
struct Work {
    rounds: u64,
    cells: *mut u64,
    sums: *mut u64,
}

unsafe fn barrier(ctx: *mut Context, thread: u32, threads: u32) {
    // SAFETY: the context is that of a run.
    unsafe { ((*(*ctx).helpers).barrier)(ctx, thread, threads) }
}

/// In each round every thread writes its cell, then adds up those of all.
unsafe extern "C" fn exchange(ctx: *mut Context, thread: u32, threads: u32) {
    // SAFETY: the arena points to `Work`; between barriers each thread writes
    // only its own cell and sum, or all threads only read cells.
    unsafe {
        let work = (*ctx).arena.cast::<Work>();
        let rounds = (*work).rounds;
        let cells = (*work).cells;
        let sums = (*work).sums;
        for round in 0..rounds {
            cells
                .add(thread as usize)
                .write(round * u64::from(thread + 1));
            barrier(ctx, thread, threads);
            let total: u64 = (0..threads).map(|t| cells.add(t as usize).read()).sum();
            *sums.add(thread as usize) += total;
            barrier(ctx, thread, threads);
        }
    }
}

fn expected_sum(threads: u64, rounds: u64) -> u64 {
    (0..rounds)
        .map(|round| round * threads * (threads + 1) / 2)
        .sum()
}

/// Runs `entry` on zeroed cells and sums; returns its result and both.
fn run_work(
    pool: &Pool,
    entry: Entry,
    rounds: u64,
) -> (Result<(), RuntimeError>, Vec<u64>, Vec<u64>) {
    let mut cells = vec![0; pool.threads()];
    let mut sums = vec![0; pool.threads()];
    let mut work = Work {
        rounds,
        cells: cells.as_mut_ptr(),
        sums: sums.as_mut_ptr(),
    };
    let mut ctx = Context::new();
    ctx.arena = (&raw mut work).cast();
    let result = run(pool, entry, &mut ctx);
    (result, cells, sums)
}

fn run(pool: &Pool, entry: Entry, ctx: &mut Context) -> Result<(), RuntimeError> {
    // SAFETY: the context is exclusively borrowed, and the entries of this file
    // use only the arena, which the tests point to `Work`.
    unsafe { pool.run(entry, ctx) }
}

fn check_exchange(pool: &Pool, rounds: u64) {
    let threads = pool.threads();
    let (result, _, sums) = run_work(pool, exchange, rounds);
    assert_eq!(result, Ok(()));
    let expected = expected_sum(threads as u64, rounds);
    assert_eq!(sums, vec![expected; threads], "{threads} threads");
}

#[test]
fn barriers_hold_for_any_number_of_threads() {
    // About 10,000 rounds in total, most where threads do not outnumber cores.
    for (threads, rounds) in [(1, 2000), (2, 4000), (3, 1500), (4, 1500), (8, 1000)] {
        let pool = Pool::new(threads).expect("threads start");
        check_exchange(&pool, rounds);
    }
}

#[test]
fn many_short_runs_follow_one_another() {
    for threads in [1, 2, 5] {
        let pool = Pool::new(threads).expect("threads start");
        for _ in 0..300 {
            check_exchange(&pool, 2);
        }
    }
}

#[test]
fn workers_wake_after_parking() {
    let pool = Pool::new(3).expect("threads start");
    for _ in 0..5 {
        check_exchange(&pool, 3);
        // Longer than idle workers spin.
        thread::sleep(std::time::Duration::from_millis(2));
    }
}

#[test]
fn concurrent_runs_take_turns() {
    let pool = Pool::new(3).expect("threads start");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    check_exchange(&pool, 4);
                }
            });
        }
    });
}

#[test]
fn pools_end_unused_spinning_and_parked() {
    drop(Pool::new(4).expect("threads start"));
    let pool = Pool::new(4).expect("threads start");
    check_exchange(&pool, 1);
    drop(pool);
    let pool = Pool::new(4).expect("threads start");
    thread::sleep(std::time::Duration::from_millis(5));
    drop(pool);
}

#[test]
fn impossible_thread_counts_are_errors() {
    for threads in [0, 1025, usize::MAX] {
        let error = Pool::new(threads).expect_err("impossible");
        assert!(matches!(error, PoolError::InvalidThreads { threads: found } if found == threads));
    }
    assert!(Pool::with_usable_cores().expect("threads start").threads() >= 1);
}

/// Every thread fails, then meets a barrier and writes its cell.
unsafe extern "C" fn fail_everywhere(ctx: *mut Context, thread: u32, threads: u32) {
    // SAFETY: as in `exchange`.
    unsafe {
        let fail = (*(*ctx).helpers).fail;
        fail(
            ctx,
            ERROR_INDEX,
            7,
            40 + i64::from(thread),
            30 + i64::from(thread),
        );
        barrier(ctx, thread, threads);
        fail(ctx, ERROR_SIZE, 8, 1, 2);
        let work = (*ctx).arena.cast::<Work>();
        let cells = (*work).cells;
        cells.add(thread as usize).write(1);
    }
}

#[test]
fn the_first_error_comes_back_and_the_run_completes() {
    for threads in [1, 2, 4] {
        let pool = Pool::new(threads).expect("threads start");
        let (result, cells, _) = run_work(&pool, fail_everywhere, 0);
        let Err(RuntimeError::IndexOutOfRange { site, value, bound }) = result else {
            panic!("unexpected {result:?}");
        };
        // The fields are those of one thread, not a mix.
        assert_eq!((site, value - bound), (7, 10));
        assert_eq!(cells, vec![1; threads]);
    }
}

#[test]
fn each_run_starts_without_an_error() {
    for threads in [1, 2] {
        let pool = Pool::new(threads).expect("threads start");
        let mut ctx = Context::new();
        ctx.error.record(ERROR_SIZE, 1, 2, 3);
        assert_eq!(run(&pool, ask_cancelled, &mut ctx), Ok(()));
    }
}

unsafe extern "C" fn ask_cancelled(ctx: *mut Context, thread: u32, threads: u32) {
    // SAFETY: the context is that of a run.
    unsafe {
        ((*(*ctx).helpers).cancelled)(ctx);
        barrier(ctx, thread, threads);
    }
}

#[test]
fn cancelled_runs_say_so() {
    for threads in [1, 2] {
        let pool = Pool::new(threads).expect("threads start");
        let mut ctx = Context::new();
        assert_eq!(run(&pool, ask_cancelled, &mut ctx), Ok(()));
        ctx.cancel.store(1, Ordering::Relaxed);
        assert_eq!(
            run(&pool, ask_cancelled, &mut ctx),
            Err(RuntimeError::Cancelled)
        );
    }
}

const PARTS: u32 = 13;

unsafe extern "C" fn count_part(ctx: *mut Context, part: u32, parts: u32) {
    assert_eq!(parts, PARTS);
    // SAFETY: the arena points to `PARTS` counters.
    let counter = unsafe { &*(*ctx).arena.cast::<AtomicU64>().add(part as usize) };
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Hands out three sections, one after another.
unsafe extern "C" fn hand_out(ctx: *mut Context, thread: u32, threads: u32) {
    assert_eq!(thread, 0);
    // SAFETY: the test points `sizes` at the number of threads.
    assert_eq!(i64::from(threads), unsafe { *(*ctx).sizes });
    for _ in 0..3 {
        // SAFETY: the context is that of a run.
        unsafe { ((*(*ctx).helpers).parallel)(ctx, count_part, PARTS) };
    }
}

#[test]
fn sections_run_every_part_once() {
    for threads in [1_u32, 2, 4] {
        let pool = Pool::new(threads as usize).expect("threads start");
        let counters: Vec<AtomicU64> = (0..PARTS).map(|_| AtomicU64::new(0)).collect();
        let mut ctx = Context::new();
        ctx.arena = counters.as_ptr().cast_mut().cast();
        let mut expected = i64::from(threads);
        ctx.sizes = &raw mut expected;
        for run in 1..=20 {
            // SAFETY: the context is exclusive, and the arena holds counters.
            let result = unsafe { pool.run_sections(hand_out, &raw mut ctx) };
            assert_eq!(result, Ok(()));
            let all = counters
                .iter()
                .all(|n| n.load(Ordering::Relaxed) == 3 * run);
            assert!(all, "{threads} threads, run {run}");
        }
    }
}
