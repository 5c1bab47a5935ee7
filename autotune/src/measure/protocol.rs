//! What a tuner and its worker say to each other: one JSON object a line.
use serde::{Deserialize, Serialize};
use std::fmt;
use tensmith_ir::loops::{Kernel, parse_kernel};
use tensmith_passes::schedule::task::{StripSizes, Task};

/// What a worker is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// To work on a task from now on.
    Task(TaskRequest),
    /// To measure two members of the task's space side by side.
    Compare(CompareRequest),
}

/// A task and what it is compiled for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskRequest {
    /// The text of the task.
    pub task: String,
    /// The name of the target.
    pub target: String,
    /// Threads of a run.
    pub threads: usize,
    /// Whether sums may change the order of their terms.
    pub reassociate: bool,
    /// The kernel with strips of other sizes, if it has strips.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strips: Option<StripsRequest>,
}

/// A task's kernel with strips of other sizes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StripsRequest {
    /// Rows of the strips of the task's own kernel.
    pub rows: i64,
    /// Other rows, and the text of the naive kernel with them.
    pub others: Vec<(i64, String)>,
}

impl TaskRequest {
    /// To work on a task for a target.
    pub fn new(task: &Task, target: &str, threads: usize, reassociate: bool) -> TaskRequest {
        let text = |(rows, kernel): &(i64, Kernel)| (*rows, kernel.to_string());
        let strips = task.strips.as_ref().map(|strips| StripsRequest {
            rows: strips.rows,
            others: strips.others.iter().map(text).collect(),
        });
        TaskRequest {
            task: task.to_string(),
            target: target.into(),
            threads,
            reassociate,
            strips,
        }
    }

    /// The task.
    ///
    /// Errors: a text that is none.
    pub fn read(&self) -> Result<Task, String> {
        let mut task: Task = self.task.parse()?;
        if let Some(strips) = &self.strips {
            let kernel = |(rows, text): &(i64, String)| {
                let kernel = parse_kernel(text).map_err(|e| e.to_string())?;
                Ok((*rows, kernel))
            };
            let others: Result<_, String> = strips.others.iter().map(kernel).collect();
            task.strips = StripSizes::new(&task.naive, strips.rows, others?);
        }
        Ok(task)
    }
}

/// Two members to be measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompareRequest {
    /// The values of the candidate.
    pub values: String,
    /// The values of the member that it is measured beside.
    pub against: String,
    /// Pairs of samples.
    pub pairs: usize,
    /// Gives up after three pairs if the candidate takes more than this many times as long.
    pub give_up: f64,
    /// What goes wrong with the candidate: for tests of the tuner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

/// Something that can go wrong with a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// It does not end.
    Hang,
    /// It writes where it may not.
    Segfault,
    /// It ends its process.
    Abort,
    /// It asks for all memory.
    Allocate,
    /// One element is wrong.
    WrongResult,
    /// One element is NaN.
    Nan,
}

/// What a worker answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It has compiled the default of a task, and run it.
    Ready,
    /// Two members were measured.
    Samples(Samples),
    /// It could not be done.
    Failed(Failed),
}

/// Interleaved samples of a candidate and of the member beside it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Samples {
    /// Units: nanoseconds of one run, sample by sample.
    pub candidate: Vec<f64>,
    /// Units: as `candidate`; the k-th was taken beside the k-th of it.
    pub against: Vec<f64>,
}

/// Why a candidate has no time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    /// What went wrong.
    pub kind: Failure,
    /// In words.
    pub why: String,
}

/// What went wrong with a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// There is no such member, or the back end refuses it.
    Rejected,
    /// Its results differ from those of the untuned kernel.
    WrongResult,
    /// It took more memory than it may.
    Memory,
    /// It did not end in time.
    Hang,
    /// It ended its process.
    Crash,
}

impl Failure {
    /// All of them.
    pub const ALL: [Failure; 5] = [
        Failure::Rejected,
        Failure::WrongResult,
        Failure::Memory,
        Failure::Hang,
        Failure::Crash,
    ];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Failure::Rejected => "rejected",
            Failure::WrongResult => "wrong-result",
            Failure::Memory => "memory",
            Failure::Hang => "hang",
            Failure::Crash => "crash",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Failed {
    /// A failure, and why.
    pub fn new(kind: Failure, why: impl Into<String>) -> Failed {
        let why = why.into();
        Failed { kind, why }
    }
}
