//! What threads of a pool pay to hand work to each other.
use super::{Result, internal};
use serde::{Deserialize, Serialize};
use tensmith_runtime::abi::Entry;
use tensmith_runtime::{AlignedBytes, Context, Pool, Stopwatch};

/// Rounds of one run.
const ROUNDS: usize = 400;

/// Cache lines of each thread: half of a level-1 cache.
const LINES: usize = 256;

/// Units: bytes of a cache line.
const LINE: usize = 64;

/// How often each figure is measured; the fastest counts.
const REPEATS: usize = 30;

/// What threads pay each other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HandOff {
    /// Units: nanoseconds of a run that does nothing, while the threads are awake.
    pub run_ns: f64,
    /// Units: nanoseconds of a barrier at which all threads arrive at the same time.
    pub barrier_ns: f64,
    /// Units: nanoseconds that reading a cache line takes longer if another core has just written
    /// it, when many are read one after the other.
    pub line_ns: f64,
}

/// Measures a pool; `None` if it has one thread.
///
/// Errors: memory cannot be had; a defect of ours.
pub fn hand_off(pool: &Pool) -> Result<Option<HandOff>> {
    if pool.threads() == 1 {
        return Ok(None);
    }
    let mut memory = AlignedBytes::zeroed(pool.threads() * LINES * LINE)?;
    let mut best = |entry, rounds| best_ns(pool, entry, &mut memory, rounds);
    let run_ns = best(nothing, 1)?;
    let barrier_ns = best(barriers, ROUNDS)?;
    let own = best(write_and_read::<0>, ROUNDS)?;
    let others = best(write_and_read::<1>, ROUNDS)?;
    Ok(Some(HandOff {
        run_ns,
        barrier_ns,
        line_ns: ((others - own) / LINES as f64).max(0.0),
    }))
}

fn best_ns(pool: &Pool, entry: Entry, memory: &mut AlignedBytes, rounds: usize) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..REPEATS {
        let mut context = Context::new();
        context.arena = memory.as_mut_ptr();
        let watch = Stopwatch::start();
        // SAFETY: the entries meet the same barriers on all threads, and the memory holds the lines
        // of all of them.
        unsafe { pool.run(entry, &raw mut context) }.map_err(internal)?;
        best = best.min(watch.elapsed_ns() as f64 / rounds as f64);
    }
    Ok(best)
}

unsafe extern "C" fn nothing(_context: *mut Context, _thread: u32, _threads: u32) {}

unsafe extern "C" fn barriers(context: *mut Context, thread: u32, threads: u32) {
    for _ in 0..ROUNDS {
        // SAFETY: a pool has set the helpers.
        unsafe { ((*(*context).helpers).barrier)(context, thread, threads) };
    }
}

/// Each thread writes its lines, and after a barrier reads those of the thread `AFTER` it.
unsafe extern "C" fn write_and_read<const AFTER: u32>(
    context: *mut Context,
    thread: u32,
    threads: u32,
) {
    let read = (thread + AFTER) % threads;
    let line = |thread: u32, k: usize| {
        // SAFETY: `hand_off` passes memory for the lines of all threads.
        unsafe { (*context).arena.add((thread as usize * LINES + k) * LINE) }
    };
    let mut sum = 0_u8;
    for round in 0..ROUNDS {
        for k in 0..LINES {
            // SAFETY: nobody else uses this thread's lines before the barrier.
            unsafe { line(thread, k).write_volatile(round as u8) };
        }
        // SAFETY: a pool has set the helpers.
        unsafe { ((*(*context).helpers).barrier)(context, thread, threads) };
        for k in 0..LINES {
            // SAFETY: nobody writes lines between the two barriers.
            sum = sum.wrapping_add(unsafe { line(read, k).read_volatile() });
        }
        // SAFETY: as above.
        unsafe { ((*(*context).helpers).barrier)(context, thread, threads) };
    }
    std::hint::black_box(sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_hands_nothing_over() {
        assert_eq!(hand_off(&Pool::new(1).unwrap()).unwrap(), None);
    }

    #[test]
    fn two_threads_pay_each_other() {
        let found = hand_off(&Pool::new(2).unwrap()).unwrap().unwrap();
        assert!(found.run_ns > 0.0 && found.barrier_ns > 0.0, "{found:?}");
        assert!(found.line_ns >= 0.0 && found.line_ns < 1e6, "{found:?}");
    }
}
