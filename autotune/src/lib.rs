//! The tuner: what is tuned, within what bounds, and what was found.
pub mod allocate;
pub mod cost;
mod random;
pub mod search;
pub mod space;
pub mod verdict;

/// What a measurement belongs to. Records are found again by all of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecordKey {
    /// The text form of the task.
    pub workload: String,
    /// The machine, by what was probed of it.
    pub machine: String,
    /// The version of the compiler.
    pub compiler: String,
}

/// A schedule and how long its kernel takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// What it belongs to.
    pub key: RecordKey,
    /// The text form of the schedule.
    pub schedule: String,
    /// Units: nanoseconds of one call, the median of the samples.
    pub median_ns: f64,
    /// How often it was measured.
    pub samples: u32,
}

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
