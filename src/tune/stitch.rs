//! Whether what was found for kernels alone holds in the model.
//!
//! Alone, a kernel finds other caches than among its neighbours. So the model is run in turns with
//! and without all that was found, keeping time; a task whose kernels did not become faster there
//! goes back. Then the model is run in turns with what is left, and if that is not faster as a whole
//! nothing is left.
use super::found::Found;
use super::sides::{Sides, Source};
use crate::error::Result;
use crate::options::Options;
use std::collections::BTreeMap;
use tensmith_passes::schedule::parameters::Values;
use tensmith_runtime::TensorView;
use tensmith_runtime::stats::{Interval, Verdict, median, paired_ratio};

/// A task for which something was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The text of the task.
    pub task: String,
    /// What was found.
    pub values: Values,
}

/// What became of a candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// The candidate.
    pub candidate: Candidate,
    /// The times of its kernels in the model, over the untuned ones; `None`: too few pairs.
    pub ratio: Option<Interval>,
    /// Whether the model is compiled with it.
    pub is_accepted: bool,
}

/// What became of all of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stitched {
    /// One for each candidate.
    pub tasks: Vec<Fitted>,
    /// The latency of the model with those that were accepted, over the untuned one; `None`: none
    /// was accepted.
    pub ratio: Option<Interval>,
    /// Units: nanoseconds: the medians of the untuned model and of the tuned one.
    pub latency_ns: [f64; 2],
}

impl Stitched {
    /// What is accepted.
    pub fn found(&self) -> Found {
        let accepted = self.tasks.iter().filter(|t| t.is_accepted);
        let pairs = accepted.map(|t| (t.candidate.task.clone(), t.candidate.values.clone()));
        pairs.collect()
    }
}

/// Accepts or reverts each candidate for a graph that was optimised already; measures for about
/// `duration_ns`, two compilations besides.
///
/// Errors: as compilation and runs.
pub fn stitch(
    model: Source<'_>,
    options: &Options,
    inputs: &[TensorView<'_>],
    candidates: &[Candidate],
    duration_ns: u64,
) -> Result<Stitched> {
    let pairs = candidates
        .iter()
        .map(|c| (c.task.clone(), c.values.clone()));
    let all: Found = pairs.collect();
    if all.is_empty() {
        return Ok(Stitched::default());
    }
    let mut sides = Sides::new(model, options, &[None, all.option()])?;
    let ratios = in_model(&mut sides, inputs, duration_ns / 2)?;
    let fit = |c: &Candidate| {
        let ratio = ratios.get(&c.task).copied().flatten();
        Fitted {
            candidate: c.clone(),
            is_accepted: ratio.is_some_and(|r| r.verdict(1.0) == Verdict::Faster),
            ratio,
        }
    };
    let mut stitched = Stitched {
        tasks: candidates.iter().map(fit).collect(),
        ..Stitched::default()
    };
    let found = stitched.found();
    if found.is_empty() {
        return Ok(stitched);
    }
    if found.len() < candidates.len() {
        sides.replace(model, options, (1, &found.option()))?;
    }
    let times = sides.whole(inputs, duration_ns / 2)?;
    let ratio = paired_ratio(&times[0], &times[1]);
    stitched.latency_ns = [0, 1].map(|side: usize| median(&times[side]));
    stitched.ratio = ratio;
    if !ratio.is_some_and(|r| r.verdict(1.0) == Verdict::Faster) {
        let tasks = stitched.tasks.iter_mut();
        tasks.for_each(|t| t.is_accepted = false);
        stitched.latency_ns[1] = stitched.latency_ns[0];
    }
    Ok(stitched)
}

/// The ratios of the times of tasks in the model with all that was found to those without.
fn in_model(
    sides: &mut Sides,
    inputs: &[TensorView<'_>],
    duration_ns: u64,
) -> Result<BTreeMap<String, Option<Interval>>> {
    // A task whose kernels are not the same ones on both sides has no ratio.
    let ratio = |times: Vec<Vec<f64>>| match times[0].len() == times[1].len() {
        true => paired_ratio(&times[0], &times[1]),
        false => None,
    };
    let times = sides.by_task(inputs, duration_ns)?.into_iter();
    Ok(times.map(|(task, times)| (task, ratio(times))).collect())
}
