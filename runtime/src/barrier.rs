//! A barrier for threads that all run at the same time.
//!
//! Source: J. M. Mellor-Crummey, M. L. Scott, "Algorithms for scalable
//! synchronization on shared-memory multiprocessors", ACM TOCS 9(1), 1991,
//! section 3.1: the centralised barrier, whose sense is here a count of
//! episodes.

use core::hint::spin_loop;
use core::sync::atomic::{AtomicU32, Ordering};
use std::thread::yield_now;

/// A value alone on its cache line, and on the one that processors fetch
/// along with it.
#[repr(align(128))]
#[derive(Debug, Default)]
pub(crate) struct Padded<T>(pub(crate) T);

/// How often to look before giving the processor to another thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    looks: u32,
}

impl Patience {
    /// About 50 microseconds, or about one where threads outnumber cores.
    pub(crate) fn new(crowded: bool) -> Self {
        Patience {
            looks: if crowded { 32 } else { 2000 },
        }
    }
}

/// Spins until `done` returns true; yields between looks once the patience is
/// used up.
pub(crate) fn spin_until(patience: Patience, done: impl Fn() -> bool) {
    for _ in 0..patience.looks {
        if done() {
            return;
        }
        spin_loop();
    }
    while !done() {
        yield_now();
    }
}

/// A reusable barrier. Each word has its own cache line: arrivals write the
/// one, waiting threads read the other.
#[derive(Debug, Default)]
pub(crate) struct SpinBarrier {
    arrived: Padded<AtomicU32>,
    episode: Padded<AtomicU32>,
}

impl SpinBarrier {
    /// Returns once `threads` threads have called it. The number is the same
    /// in all calls of one episode.
    pub(crate) fn wait(&self, threads: u32, patience: Patience) {
        // The episode cannot end before this thread arrives, so the value read
        // here is the current one, and the arrival below comes after the read.
        let episode = self.episode.0.load(Ordering::Relaxed);
        let last = self.arrived.0.fetch_add(1, Ordering::AcqRel) + 1 == threads;
        if last {
            self.arrived.0.store(0, Ordering::Relaxed);
            let next = episode.wrapping_add(1);
            self.episode.0.store(next, Ordering::Release);
        } else {
            spin_until(patience, || {
                self.episode.0.load(Ordering::Acquire) != episode
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::AtomicU64;

    use super::*;

    /// Between two barriers every thread sees the sums of all rounds before.
    fn check_rounds(threads: u32, rounds: u64, crowded: bool) {
        let barrier = SpinBarrier::default();
        let patience = Patience::new(crowded);
        let sum = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (barrier, sum) = (&barrier, &sum);
                scope.spawn(move || {
                    let per_round = u64::from(threads * (threads - 1) / 2);
                    for round in 1..=rounds {
                        sum.fetch_add(u64::from(thread), Ordering::Relaxed);
                        barrier.wait(threads, patience);
                        assert_eq!(sum.load(Ordering::Relaxed), per_round * round);
                        barrier.wait(threads, patience);
                    }
                });
            }
        });
    }

    #[test]
    fn no_thread_leaves_early() {
        check_rounds(1, 10, false);
        check_rounds(2, 1000, false);
        check_rounds(3, 300, true);
        check_rounds(8, 100, true);
    }
}
