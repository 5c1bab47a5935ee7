//! Executors of a caller's.
use std::thread;
use tensmith::Executor;

/// The calling thread, from the last part to the first.
pub struct Backwards;

impl Executor for Backwards {
    fn parallel_for(&self, parts: usize, body: &(dyn Fn(usize) + Sync)) {
        (0..parts).rev().for_each(body);
    }
}

/// A thread for each part.
pub struct Scoped;

impl Executor for Scoped {
    fn parallel_for(&self, parts: usize, body: &(dyn Fn(usize) + Sync)) {
        thread::scope(|scope| {
            for part in 0..parts {
                scope.spawn(move || body(part));
            }
        });
    }
}

/// Leaves out the first part.
pub struct Lazy;

impl Executor for Lazy {
    fn parallel_for(&self, parts: usize, body: &(dyn Fn(usize) + Sync)) {
        (1..parts).for_each(body);
    }
}

/// Panics before the last part.
pub struct Failing;

impl Executor for Failing {
    fn parallel_for(&self, parts: usize, body: &(dyn Fn(usize) + Sync)) {
        (1..parts).for_each(body);
        panic!("out of threads");
    }
}
