//! From marks to times: what each thread did when, and how long each step took.
use serde::Serialize;
use tensmith_codegen::entry::numbered_steps;
use tensmith_ir::plan::{Call, Plan, Step};
use tensmith_runtime::profile::{END, Profile};

/// What a step of a plan is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A kernel, dealt to all threads or run by the first.
    Kernel,
    /// A wait for the other threads.
    Barrier,
    /// A choice between steps.
    Branch,
    /// The bookkeeping of a loop.
    Loop,
}

/// A step of a plan, for people.
#[derive(Clone, Debug, Serialize)]
pub struct StepLabel {
    /// What it is.
    pub kind: Kind,
    /// Its name: for kernels the name of the kernel's function.
    pub name: String,
    /// The model's nodes that it computes, each once.
    pub nodes: Vec<String>,
    /// Whether only the first thread does anything.
    pub serial: bool,
}

/// The labels of the numbered steps of a plan.
pub fn step_labels(plan: &Plan) -> Vec<StepLabel> {
    let plain = |kind, name: &str| StepLabel {
        kind,
        name: name.into(),
        nodes: Vec::new(),
        serial: false,
    };
    let label = |step: &Step| match step {
        Step::Call(call) => StepLabel {
            kind: Kind::Kernel,
            name: kernel_name(plan, call),
            nodes: distinct(&call.nodes),
            serial: !plan.kernel(call.kernel).is_parallel(),
        },
        Step::Barrier => plain(Kind::Barrier, "barrier"),
        Step::If { .. } => plain(Kind::Branch, "if"),
        Step::Loop { .. } => plain(Kind::Loop, "loop"),
    };
    numbered_steps(plan).into_iter().map(label).collect()
}

/// The number of the kernel in the plan and what it computes.
fn kernel_name(plan: &Plan, call: &Call) -> String {
    format!("k{}_{}", call.kernel.0, plan.kernel(call.kernel).name)
}

fn distinct(names: &[String]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for name in names {
        if !found.contains(name) {
            found.push(name.clone());
        }
    }
    found
}

/// What a thread did for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The number of the step.
    pub step: u32,
    /// When, in nanoseconds from the begin of the run.
    pub begin_ns: u64,
    /// How long.
    pub ns: u64,
}

/// One run: what each thread did.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// The slices of each thread, in order.
    pub tracks: Vec<Vec<Slice>>,
    /// From the first begin to the last end on any thread.
    pub ns: u64,
    /// Marks that found no room: their slices are missing.
    pub lost: usize,
}

impl Timeline {
    /// The run whose marks a profile holds.
    pub fn of(profile: &Profile) -> Self {
        let threads = 0..profile.threads();
        let first = threads.clone().filter_map(|t| profile.marks(t).next());
        let start = first.map(|m| m.time_ns).min().unwrap_or(0);
        let tracks: Vec<Vec<Slice>> = threads.map(|t| slices(profile, t, start)).collect();
        let ends = tracks.iter().filter_map(|t| t.last());
        Timeline {
            ns: ends.map(|s| s.begin_ns + s.ns).max().unwrap_or(0),
            lost: profile.lost(),
            tracks,
        }
    }

    /// What each of `steps` steps took.
    pub fn costs(&self, steps: usize) -> Vec<StepCost> {
        let mut costs = vec![StepCost::default(); steps];
        for track in &self.tracks {
            let mut own = vec![StepCost::default(); steps];
            for slice in track {
                if let Some(cost) = own.get_mut(slice.step as usize) {
                    cost.slowest_ns += slice.ns;
                    cost.count += 1;
                }
            }
            for (all, own) in costs.iter_mut().zip(own) {
                all.slowest_ns = all.slowest_ns.max(own.slowest_ns);
                all.mean_ns += own.slowest_ns as f64 / self.tracks.len() as f64;
                all.count = all.count.max(own.count);
            }
        }
        costs
    }
}

/// What a step took in one run, all its executions together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepCost {
    /// On the thread that spent most on it.
    pub slowest_ns: u64,
    /// On average over the threads.
    pub mean_ns: f64,
    /// How often it was executed.
    pub count: u64,
}

/// A slice lasts until the next mark; what follows the last mark with room is not known.
fn slices(profile: &Profile, thread: usize, start: u64) -> Vec<Slice> {
    let marks: Vec<_> = profile.marks(thread).collect();
    let pairs = marks.windows(2).filter(|pair| pair[0].step != END);
    pairs
        .map(|pair| Slice {
            step: pair[0].step,
            begin_ns: pair[0].time_ns.saturating_sub(start),
            ns: pair[1].time_ns.saturating_sub(pair[0].time_ns),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_last_until_the_next_mark() {
        let profile = Profile::new(2, 4);
        for (thread, step) in [(0, 0), (1, 0), (0, 1), (0, END), (1, 1), (1, END)] {
            profile.mark(thread, step);
        }
        let timeline = Timeline::of(&profile);
        for track in &timeline.tracks {
            assert_eq!(track.iter().map(|s| s.step).collect::<Vec<_>>(), [0, 1]);
            assert_eq!(track[0].begin_ns + track[0].ns, track[1].begin_ns);
        }
        let end = timeline.tracks[1][1];
        assert_eq!(timeline.ns, end.begin_ns + end.ns);
        assert_eq!(timeline.lost, 0);
    }

    #[test]
    fn the_slowest_thread_counts_with_all_its_executions() {
        let slice = |step, ns| Slice {
            step,
            begin_ns: 0,
            ns,
        };
        let timeline = Timeline {
            tracks: vec![
                vec![slice(0, 5), slice(1, 9), slice(0, 7)],
                vec![slice(0, 4)],
            ],
            ns: 21,
            lost: 0,
        };
        let costs = timeline.costs(3);
        let cost = |slowest_ns, mean_ns, count| StepCost {
            slowest_ns,
            mean_ns,
            count,
        };
        assert_eq!(costs, [cost(12, 8.0, 2), cost(9, 4.5, 1), cost(0, 0.0, 0)]);
    }
}
