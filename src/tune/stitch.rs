//! Whether what was found for kernels alone holds in the model.
//!
//! Alone, a kernel finds other caches than among its neighbours. So the model is run in turns with
//! and without all that was found, keeping time; a task whose kernels did not become faster there
//! goes back. Then the model is run in turns with what is left. If that is not faster as a whole the
//! half goes that saved least, and so on, while there is time; in the end nothing is left.
use super::found::Found;
use super::sides::{Sides, Variant, is_faster};
use crate::error::Result;
use std::collections::BTreeMap;
use tensmith_passes::schedule::parameters::Values;
use tensmith_runtime::stats::{Interval, Verdict, median, paired_ratio};
use tensmith_runtime::{Stopwatch, TensorView};

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
    /// Whether what was accepted, choices included, makes the model faster.
    pub is_faster: bool,
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

/// How long what was found is tried.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Units: nanoseconds of measuring, if nothing has to be tried again.
    pub measure_ns: u64,
    /// Units: nanoseconds after which nothing is tried again.
    pub budget_ns: u64,
    /// Units: nanoseconds of a compilation.
    pub compile_ns: u64,
}

/// Accepts or reverts each candidate, which was found under these choices, and in the end the
/// choices as well. Where all together do not make the model faster, the half that saved most is
/// tried again, while there is time. Takes four to eight compilations besides measuring, and two
/// for each time that it tries again.
///
/// Errors: as compilation and runs.
pub fn stitch(
    untuned: &Variant<'_>,
    choices: &Found,
    inputs: &[TensorView<'_>],
    candidates: &[Candidate],
    limits: &Limits,
) -> Result<Stitched> {
    let watch = Stopwatch::start();
    let chosen = match choices.is_empty() {
        true => untuned.clone(),
        false => untuned.with(choices.clone().option())?,
    };
    let with = |kernels: &Found| chosen.with_kernels(choices.and(kernels).option());
    let mut stitched = Stitched::default();
    // The tasks that were faster in the model, those that saved most last.
    let mut faster: Vec<(f64, usize)> = Vec::new();
    if !candidates.is_empty() {
        let all = candidates.iter();
        let all = all.map(|c| (c.task.clone(), c.values.clone())).collect();
        let mut sides = Sides::new(&[chosen.clone(), with(&all)])?;
        let fits = in_model(&mut sides, inputs, limits.measure_ns / 2)?;
        for (k, candidate) in candidates.iter().enumerate() {
            let fit = fits.get(&candidate.task);
            let ratio = fit.and_then(|f| f.ratio);
            let is_accepted = ratio.is_some_and(|r| r.verdict(1.0) == Verdict::Faster);
            if is_accepted {
                faster.push((fit.map_or(0.0, |f| f.saved_ns), k));
            }
            stitched.tasks.push(Fitted {
                candidate: candidate.clone(),
                ratio,
                is_accepted,
            });
        }
    }
    faster.sort_by(|a, b| a.0.total_cmp(&b.0));
    if faster.is_empty() && choices.is_empty() {
        return Ok(stitched);
    }
    let mut sides = Sides::new(&[untuned.clone(), with(&stitched.found())])?;
    loop {
        let times = sides.whole(inputs, limits.measure_ns / 2)?;
        stitched.latency_ns = [0, 1].map(|side: usize| median(&times[side]));
        stitched.ratio = paired_ratio(&times[0], &times[1]);
        stitched.is_faster = is_faster(stitched.ratio);
        let again = watch.elapsed_ns() + limits.measure_ns / 2 + 2 * limits.compile_ns;
        if stitched.is_faster || faster.len() < 2 || again > limits.budget_ns {
            break;
        }
        for (_, k) in faster.drain(..faster.len().div_ceil(2)) {
            stitched.tasks[k].is_accepted = false;
        }
        sides.replace(1, &with(&stitched.found()))?;
    }
    if !stitched.is_faster {
        let tasks = stitched.tasks.iter_mut();
        tasks.for_each(|t| t.is_accepted = false);
        stitched.latency_ns[1] = stitched.latency_ns[0];
    }
    Ok(stitched)
}

/// What a task's kernels take in the model with all that was found.
struct Fit {
    /// Their times over those without.
    ratio: Option<Interval>,
    /// Units: nanoseconds of a run less.
    saved_ns: f64,
}

/// How the tasks fit in the model with all that was found, the second one.
fn in_model(
    sides: &mut Sides,
    inputs: &[TensorView<'_>],
    duration_ns: u64,
) -> Result<BTreeMap<String, Fit>> {
    let fit = |times: Vec<Vec<f64>>| match times[0].len() == times[1].len() {
        true => Fit {
            ratio: paired_ratio(&times[0], &times[1]),
            saved_ns: median(&times[0]) - median(&times[1]),
        },
        // Its kernels are not the same ones on both sides.
        false => Fit {
            ratio: None,
            saved_ns: 0.0,
        },
    };
    let times = sides.by_task(inputs, duration_ns)?.into_iter();
    Ok(times.map(|(task, times)| (task, fit(times))).collect())
}
