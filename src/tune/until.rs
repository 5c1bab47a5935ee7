//! How long tuning goes on: until its time is over, or until somebody asks it to stop.
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use tensmith_runtime::Stopwatch;

/// The end of something, which looks at a clock and at a flag. Whoever runs models asks it between
/// two runs.
#[derive(Clone, Debug)]
pub struct Until<'s> {
    watch: Stopwatch,
    /// Units: nanoseconds since the watch began.
    deadline_ns: u64,
    stop: Option<&'s AtomicBool>,
    /// Units: nanoseconds that remain when somebody asks to stop.
    grace_ns: u64,
    /// When it was first seen that somebody asked.
    asked_ns: Cell<Option<u64>>,
}

impl Until<'static> {
    /// Never.
    pub fn never() -> Self {
        Until {
            watch: Stopwatch::start(),
            deadline_ns: u64::MAX,
            stop: None,
            grace_ns: 0,
            asked_ns: Cell::new(None),
        }
    }
}

impl<'s> Until<'s> {
    /// Until the watch has run for so long, or somebody sets `stop`.
    pub fn new(watch: Stopwatch, deadline_ns: u64, stop: &'s AtomicBool) -> Self {
        Until {
            watch,
            deadline_ns,
            stop: Some(stop),
            ..Until::never()
        }
    }

    /// The same, and over at another deadline.
    pub fn by(&self, deadline_ns: u64) -> Self {
        Until {
            deadline_ns,
            ..self.clone()
        }
    }

    /// The same, with so many nanoseconds left when it is seen that somebody asks to stop.
    pub fn with_grace(&self, grace_ns: u64) -> Self {
        Until {
            grace_ns,
            ..self.clone()
        }
    }

    /// Units: nanoseconds since the begin.
    pub fn elapsed_ns(&self) -> u64 {
        self.watch.elapsed_ns()
    }

    /// Whether something that takes so many nanoseconds ends in time.
    pub fn holds(&self, ns: u64) -> bool {
        !self.is_over() && self.elapsed_ns().saturating_add(ns) <= self.deadline_ns
    }

    /// Whether somebody asks to stop.
    pub fn is_asked(&self) -> bool {
        self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
    }

    /// Whether it is time to end.
    pub fn is_over(&self) -> bool {
        let now = self.elapsed_ns();
        if self.is_asked() {
            let asked = self.asked_ns.get().unwrap_or(now);
            self.asked_ns.set(Some(asked));
            if now >= asked.saturating_add(self.grace_ns) {
                return true;
            }
        }
        now >= self.deadline_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_a_deadline_or_neither_end_it() {
        let stop = AtomicBool::new(false);
        let watch = Stopwatch::start();
        let until = Until::new(watch, u64::MAX, &stop);
        assert!(!until.is_over() && until.holds(1) && !Until::never().is_over());
        assert!(until.by(0).is_over() && !until.by(0).holds(0));
        stop.store(true, Ordering::Relaxed);
        assert!(until.is_over());
        assert!(!until.with_grace(u64::MAX).is_over());
    }
}
