//! The only place that reads a clock.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the monotonic clock since an arbitrary start. Never runs
/// backwards; only differences mean anything.
pub fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(nanoseconds)
}

/// Seconds since 1970 by the clock that people set: for saying when something was, not for
/// measuring.
pub fn unix_seconds() -> u64 {
    u64::try_from(clock_gettime(ClockId::Realtime).tv_sec).unwrap_or(0)
}

/// Measures the time since its start.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    start_ns: u64,
}

impl Stopwatch {
    /// A stopwatch that starts now.
    pub fn start() -> Self {
        Stopwatch { start_ns: now_ns() }
    }

    /// Nanoseconds since the start.
    pub fn elapsed_ns(&self) -> u64 {
        now_ns().saturating_sub(self.start_ns)
    }

    /// Milliseconds since the start.
    pub fn elapsed_ms(&self) -> f64 {
        self.elapsed_ns() as f64 / 1e6
    }

    /// Nanoseconds since the start, which moves to now.
    pub fn lap_ns(&mut self) -> u64 {
        let now = now_ns();
        let lap = now.saturating_sub(self.start_ns);
        self.start_ns = now;
        lap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_never_runs_backwards() {
        let mut last = now_ns();
        assert!(last > 0);
        for _ in 0..1000 {
            let now = now_ns();
            assert!(now >= last);
            last = now;
        }
    }

    #[test]
    fn it_is_later_than_2025() {
        assert!(unix_seconds() > 1_735_689_600);
    }

    #[test]
    fn lap_restarts_the_watch() {
        let begin = now_ns();
        let mut watch = Stopwatch::start();
        let first = watch.lap_ns();
        let second = watch.elapsed_ns();
        assert!(first + second <= now_ns() - begin);
    }
}
