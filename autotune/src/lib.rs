//! The tuner: what the machine can do, what is tuned, within what bounds, and what was found.
pub mod allocate;
pub mod contest;
pub mod cost;
mod folders;
mod kernel_space;
pub mod measure;
pub mod probe;
pub mod profile;
mod random;
pub mod records;
pub mod search;
pub mod space;
pub mod target;
pub mod tuner;
pub mod verdict;

/// The version of the compiler, as records and profiles state it.
pub const COMPILER: &str = env!("CARGO_PKG_VERSION");

/// How thoroughly to search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effort {
    /// Analytic seeds and the nearest records only.
    Quick,
    /// Seeds, ranked samples and coordinate descent.
    #[default]
    Standard,
    /// Evolutionary search as well.
    Deep,
    /// Members drawn evenly: a baseline, and data to train the ranker with.
    Uniform,
}

/// When to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Units: nanoseconds of the whole search, at most; `None` for no deadline.
    pub deadline_ns: Option<u64>,
    /// Measured candidates, at most; `None` for no limit.
    pub trials: Option<u64>,
    /// How thoroughly to search.
    pub effort: Effort,
}
