//! What threads of a pool pay to hand work to each other.
use super::{Result, internal};
use serde::{Deserialize, Serialize};
use tensmith_runtime::abi::Entry;
use tensmith_runtime::stats::median;
use tensmith_runtime::{AlignedBytes, Context, Pool, Stopwatch};

/// Rounds of one run.
const ROUNDS: usize = 400;

/// Cache lines of each thread: half of a level-1 cache.
const LINES: usize = 256;

/// Units: bytes of a cache line.
const LINE: usize = 64;

/// How often each figure is measured; the fastest counts.
const REPEATS: usize = 12;

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

/// What runs of each kind took at one time, the fastest of several.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange {
    run_ns: f64,
    barrier_ns: f64,
    /// Units: nanoseconds of a round in which each thread reads what it wrote.
    own_ns: f64,
    /// Units: nanoseconds of a round in which each thread reads what another one wrote.
    others_ns: f64,
}

impl Exchange {
    /// Measures a pool; `None` if it has one thread.
    ///
    /// Errors: memory cannot be had; a defect of ours.
    pub(crate) fn measure(pool: &Pool) -> Result<Option<Self>> {
        if pool.threads() == 1 {
            return Ok(None);
        }
        let mut memory = AlignedBytes::zeroed(pool.threads() * LINES * LINE)?;
        let mut best = |entry, rounds| best_ns(pool, entry, &mut memory, rounds);
        Ok(Some(Exchange {
            run_ns: best(nothing, 1)?,
            barrier_ns: best(barriers, ROUNDS)?,
            own_ns: best(write_and_read::<0>, ROUNDS)?,
            others_ns: best(write_and_read::<1>, ROUNDS)?,
        }))
    }

    /// What several measurements say together. It is the median of each figure: less than usual is
    /// found, too, where a virtual machine runs both threads on one core for a while.
    pub(crate) fn hand_off(all: &[Exchange]) -> Option<HandOff> {
        let of = |figure: fn(&Exchange) -> f64| {
            let values: Vec<f64> = all.iter().map(figure).collect();
            median(&values)
        };
        let line_ns = |e: &Exchange| (e.others_ns - e.own_ns) / LINES as f64;
        (!all.is_empty()).then(|| HandOff {
            run_ns: of(|e| e.run_ns),
            barrier_ns: of(|e| e.barrier_ns),
            line_ns: of(line_ns).max(0.0),
        })
    }
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
        // SAFETY: `measure` passes memory for the lines of all threads.
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
        assert!(Exchange::measure(&Pool::new(1).unwrap()).unwrap().is_none());
    }

    #[test]
    fn the_usual_measurement_counts() {
        let exchange = |barrier_ns: f64| Exchange {
            run_ns: 2.0 * barrier_ns,
            barrier_ns,
            own_ns: 100.0,
            others_ns: 100.0 + barrier_ns * LINES as f64,
        };
        let found = Exchange::hand_off(&[200.0, 28.0, 190.0].map(exchange)).unwrap();
        assert_eq!(
            (found.run_ns, found.barrier_ns, found.line_ns),
            (380.0, 190.0, 190.0)
        );
        assert_eq!(Exchange::hand_off(&[]), None);
    }

    #[test]
    fn two_threads_pay_each_other() {
        let found = Exchange::measure(&Pool::new(2).unwrap()).unwrap();
        let found = Exchange::hand_off(found.as_slice()).unwrap();
        assert!(found.run_ns > 0.0 && found.barrier_ns > 0.0, "{found:?}");
        assert!(found.line_ns >= 0.0 && found.line_ns < 1e6, "{found:?}");
    }
}
