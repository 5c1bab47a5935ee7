//! Whether what was found for kernels alone holds in the model.
//!
//! Alone, a kernel finds other caches than among its neighbours. So the model is run in turns with
//! and without all that was found, keeping time; a task whose kernels did not become faster there
//! goes back. Then the model is run in turns with what is left. If that is not faster as a whole the
//! half goes that saved least, and so on, while there is time; in the end nothing is left.
//!
//! What an earlier tuning found runs in turns with both. It gives way to what is not slower than
//! it, or if it is slower than the untuned model beyond doubt; a trial that decides nothing, or that
//! did not end in time, leaves it as it is.
use super::found::Found;
use super::sides::{Sides, Variant, is_faster, is_slower};
use super::until::Until;
use crate::error::Result;
use tensmith_passes::schedule::parameters::Values;
use tensmith_runtime::TensorView;
use tensmith_runtime::stats::{Interval, Verdict, median, paired_ratio};

/// What earlier tunings found, as far as compilations of the model use it.
#[derive(Clone, Debug, Default)]
pub struct Earlier {
    /// Choices and kernels.
    pub all: Found,
    /// Kernels of the model with the choices of now.
    pub kernels: Found,
}

/// What became of a task for which something was found, now or earlier.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// The text of the task.
    pub task: String,
    /// What its kernels are compiled with, or would have been.
    pub values: Values,
    /// The times of its kernels in the model with that, over the untuned ones; `None`: too few
    /// pairs.
    pub ratio: Option<Interval>,
    /// Whether the model is compiled with it.
    pub is_accepted: bool,
    /// What was found earlier and still holds, if this is something else.
    earlier: Option<(Values, Option<Interval>)>,
}

/// What a model is compiled with from now on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kept {
    /// What was found now, and what of earlier tunings goes with it.
    New,
    /// What was found earlier.
    Earlier,
    /// Nothing.
    #[default]
    Untuned,
}

impl Kept {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kept::New => "new",
            Kept::Earlier => "earlier",
            Kept::Untuned => "untuned",
        }
    }
}

/// What became of all of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stitched {
    /// One for each task for which something was found.
    pub tasks: Vec<Fitted>,
    /// What is kept.
    pub kept: Kept,
    /// Whether the time was over before the model had said anything: nothing is accepted or
    /// reverted, and what was found earlier holds.
    pub is_cut: bool,
    /// Choices and kernels that the model is compiled with.
    pub found: Found,
    /// The latency of the model with what is kept over the untuned one, or, if nothing is kept,
    /// with what was tried last; `None`: nothing was tried.
    pub ratio: Option<Interval>,
    /// Units: nanoseconds: the medians of the untuned model and of the one that is kept.
    pub latency_ns: [f64; 2],
}

/// How long what was found is tried.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'l> {
    /// Units: nanoseconds of measuring, if nothing has to be tried again.
    pub measure_ns: u64,
    /// Whether each task is tried by itself first; else all are taken, or none.
    pub by_task: bool,
    /// What is not proven by then is not accepted.
    pub until: &'l Until<'l>,
    /// Units: nanoseconds of a run.
    pub latency_ns: f64,
    /// Units: nanoseconds of a compilation.
    pub compile_ns: u64,
}

/// Accepts or reverts what was found for each task under these choices, and in the end the choices
/// as well. Where all together do not make the model faster, the half that saved most is tried
/// again, while there is time. Takes four to eight compilations besides measuring, four more where
/// something was found earlier, and two for each time that it tries again.
///
/// Errors: as compilation and runs.
pub fn stitch(
    untuned: &Variant<'_>,
    choices: &Found,
    earlier: &Earlier,
    inputs: &[TensorView<'_>],
    candidates: &Found,
    limits: &Limits<'_>,
) -> Result<Stitched> {
    let until = limits.until;
    let chosen = match choices.is_empty() {
        true => untuned.clone(),
        false => untuned.with(choices.clone().option())?,
    };
    let with = |kernels: &Found| chosen.with_kernels(choices.and(kernels).option());
    let mut stitched = Stitched::default();
    // The tasks that something new made faster in the model, those that saved most last.
    let mut faster: Vec<(f64, usize)> = Vec::new();
    let all = earlier.kernels.and(candidates);
    if !limits.by_task {
        let together = |(task, _)| together(task, candidates, &earlier.kernels);
        stitched.tasks = all.iter().map(together).collect();
    } else if !all.is_empty() {
        let mut variants = vec![chosen.clone(), with(&all)];
        if !earlier.kernels.is_empty() {
            variants.push(with(&earlier.kernels));
        }
        let times = match Sides::new(&variants, limits.latency_ns, until)? {
            Some(mut sides) => sides.by_task(inputs, limits.measure_ns / 2, until)?,
            None => None,
        };
        let Some(times) = times else {
            return Ok(Stitched::cut(earlier));
        };
        for (task, _) in all.iter() {
            let [new, old] = [candidates, &earlier.kernels].map(|f| f.get(task));
            let times = times.get(task).map_or(&[][..], Vec::as_slice);
            let fitted = fitted(task, new, old, times);
            if fitted.is_accepted && Some(&fitted.values) != old {
                faster.push((median(&times[0]) - median(&times[1]), stitched.tasks.len()));
            }
            stitched.tasks.push(fitted);
        }
    }
    faster.sort_by(|a, b| a.0.total_cmp(&b.0));
    stitched.found = choices.and(&accepted(&stitched.tasks));
    if stitched.found.is_empty() && earlier.all.is_empty() {
        return Ok(stitched);
    }
    let is_new = is_new(&stitched.found, earlier);
    let mut variants = vec![untuned.clone()];
    if is_new {
        variants.push(with(&stitched.found));
    }
    if !earlier.all.is_empty() {
        variants.push(untuned.with(earlier.all.clone().option())?);
    }
    let Some(mut sides) = Sides::new(&variants, limits.latency_ns, until)? else {
        return Ok(Stitched::cut(earlier));
    };
    let mut is_first = true;
    loop {
        let Some(times) = sides.whole(inputs, limits.measure_ns / 2, until)? else {
            match is_first {
                true => return Ok(Stitched::cut(earlier)),
                // What was said of all together holds.
                false => break,
            }
        };
        is_first = false;
        let (kept, side) = settle(&times, is_new);
        stitched.kept = kept;
        stitched.latency_ns = [0, side].map(|side| median(&times[side]));
        stitched.ratio = paired_ratio(&times[0], &times[side.max(1)]);
        let runs = Sides::least_ns(variants.len() as u64, limits.latency_ns);
        let again = runs.max(limits.measure_ns / 2) + 2 * limits.compile_ns;
        if kept == Kept::New || faster.len() < 2 || !until.holds(again) {
            break;
        }
        for (_, k) in faster.drain(..faster.len().div_ceil(2)) {
            stitched.tasks[k].fall_back();
        }
        stitched.found = choices.and(&accepted(&stitched.tasks));
        sides.replace(1, &with(&stitched.found))?;
    }
    match stitched.kept {
        Kept::New => {}
        Kept::Earlier => stitched.found = earlier.all.clone(),
        Kept::Untuned => stitched.found = Found::default(),
    }
    for task in &mut stitched.tasks {
        let values = stitched.found.get(&task.task);
        if let Some(values) = values.filter(|v| **v != task.values) {
            task.fall_back();
            task.values = values.clone();
        }
        task.is_accepted = values.is_some();
    }
    Ok(stitched)
}

/// A task that is tried with all others only.
fn together(task: &str, candidates: &Found, earlier: &Found) -> Fitted {
    let [new, old] = [candidates, earlier].map(|f| f.get(task).cloned());
    let is_new = new.is_some() && new != old;
    Fitted {
        task: task.into(),
        values: new.or(old.clone()).unwrap_or_default(),
        ratio: None,
        is_accepted: true,
        earlier: old.filter(|_| is_new).map(|values| (values, None)),
    }
}

impl Stitched {
    /// Of a trial that had no time: what was found earlier holds.
    pub fn cut(earlier: &Earlier) -> Stitched {
        let holds = |(task, values): (&str, &Values)| Fitted {
            task: task.into(),
            values: values.clone(),
            ratio: None,
            is_accepted: true,
            earlier: None,
        };
        Stitched {
            tasks: earlier.kernels.iter().map(holds).collect(),
            kept: match earlier.all.is_empty() {
                true => Kept::Untuned,
                false => Kept::Earlier,
            },
            is_cut: true,
            found: earlier.all.clone(),
            ..Stitched::default()
        }
    }
}

fn accepted(tasks: &[Fitted]) -> Found {
    let accepted = tasks.iter().filter(|t| t.is_accepted);
    let pairs = accepted.map(|t| (t.task.clone(), t.values.clone()));
    pairs.collect()
}

/// What a task's kernels are compiled with. Times are those of its kernels in the untuned model,
/// with all that was found, and with what was found earlier, if that is anything.
fn fitted(task: &str, new: Option<&Values>, old: Option<&Values>, times: &[Vec<f64>]) -> Fitted {
    // A variant whose kernels are not the same ones has other numbers of them.
    let ratio = |a: usize, b: usize| match (times.get(a), times.get(b)) {
        (Some(a), Some(b)) if a.len() == b.len() => paired_ratio(a, b),
        _ => None,
    };
    let says = |ratio: Option<Interval>, verdict| {
        ratio.is_some_and(|r: Interval| r.verdict(1.0) == verdict)
    };
    let of_old = ratio(0, 2);
    let holds = old.filter(|_| !says(of_old, Verdict::Slower));
    let earlier = holds.map(|values| (values.clone(), of_old));
    let Some(new) = new.filter(|new| Some(*new) != old) else {
        return Fitted {
            task: task.into(),
            values: old.cloned().unwrap_or_default(),
            ratio: of_old,
            is_accepted: earlier.is_some(),
            earlier: None,
        };
    };
    let of_new = ratio(0, 1);
    let is_better = says(of_new, Verdict::Faster) && !says(ratio(2, 1), Verdict::Slower);
    let mut fitted = Fitted {
        task: task.into(),
        values: new.clone(),
        ratio: of_new,
        is_accepted: is_better,
        earlier,
    };
    if !is_better {
        fitted.fall_back();
    }
    fitted
}

impl Fitted {
    /// Goes back to what was found earlier, if that holds.
    fn fall_back(&mut self) {
        self.is_accepted = self.earlier.is_some();
        if let Some((values, ratio)) = self.earlier.take() {
            (self.values, self.ratio) = (values, ratio);
        }
    }
}

/// Whether there is anything to try beside the untuned model and what was found earlier: where all
/// that was found has gone back, what is left would run against itself.
fn is_new(found: &Found, earlier: &Earlier) -> bool {
    !found.is_empty() && *found != earlier.all
}

/// What to keep, and which variant it is, by the times of the untuned model, of the one that was
/// tried, and, if that is new, of the one with what was found earlier.
fn settle(times: &[Vec<f64>], is_new: bool) -> (Kept, usize) {
    let ratio = |a: usize, b: usize| paired_ratio(&times[a], &times[b]);
    let has_earlier = times.len() > 2;
    let beats_earlier = || !has_earlier || !is_slower(ratio(2, 1));
    if is_new && is_faster(ratio(0, 1)) && beats_earlier() {
        return (Kept::New, 1);
    }
    let earlier = if is_new { 2 } else { 1 };
    if earlier < times.len() && !is_slower(ratio(0, earlier)) {
        return (Kept::Earlier, earlier);
    }
    (Kept::Untuned, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times around a level, which differ from round to round.
    fn times(level: f64) -> Vec<f64> {
        let spread = |k: u32| level * (1.0 + 0.001 * f64::from(k * 7 % 5));
        (0..30).map(spread).collect()
    }

    fn values(text: &str) -> Values {
        let mut values = Values::default();
        values.set("tile", text);
        values
    }

    #[test]
    fn a_trial_that_decides_nothing_leaves_what_was_found_earlier() {
        let [a, b] = [values("a"), values("b")];
        let used = |levels: [f64; 3]| {
            let fitted = fitted("task", Some(&b), Some(&a), &levels.map(times));
            fitted.is_accepted.then_some(fitted.values)
        };
        assert_eq!(used([100.0, 80.0, 90.0]), Some(b.clone()));
        assert_eq!(used([100.0, 95.0, 90.0]), Some(a.clone()));
        assert_eq!(used([100.0, 100.0, 100.0]), Some(a.clone()));
        assert_eq!(used([100.0, 110.0, 105.0]), None);
        assert_eq!(used([100.0, 90.0, 105.0]), Some(b.clone()));
        // Nothing new was found, or the same.
        for new in [None, Some(&a)] {
            let levels = [100.0, 99.9, 99.9].map(times);
            assert!(fitted("task", new, Some(&a), &levels).is_accepted);
            let levels = [100.0, 110.0, 110.0].map(times);
            assert!(!fitted("task", new, Some(&a), &levels).is_accepted);
        }
        // Nothing was found earlier.
        let fresh = |levels: [f64; 2]| fitted("task", Some(&b), None, &levels.map(times));
        assert!(fresh([100.0, 90.0]).is_accepted);
        assert!(!fresh([100.0, 100.0]).is_accepted);
    }

    #[test]
    fn what_has_no_time_for_a_trial_leaves_what_was_found_earlier() {
        let found = Found::from_iter([("task".to_string(), values("a"))]);
        let earlier = Earlier {
            all: found.clone(),
            kernels: found.clone(),
        };
        let cut = Stitched::cut(&earlier);
        assert_eq!((cut.kept, &cut.found), (Kept::Earlier, &found));
        assert!(cut.is_cut && cut.ratio.is_none() && cut.tasks[0].is_accepted);
        assert_eq!(Stitched::cut(&Earlier::default()).kept, Kept::Untuned);
    }

    /// A model that differs in nothing from the untuned one could win by noise and be called new.
    #[test]
    fn what_has_gone_back_is_nothing_new() {
        let found = |text| Found::from_iter([("task".to_string(), values(text))]);
        let earlier = Earlier {
            all: found("a"),
            kernels: found("a"),
        };
        assert!(is_new(&found("b"), &earlier));
        assert!(is_new(&found("a"), &Earlier::default()));
        assert!(!is_new(&found("a"), &earlier));
        assert!(!is_new(&Found::default(), &earlier));
        assert!(!is_new(&Found::default(), &Earlier::default()));
    }

    #[test]
    fn what_is_kept_is_never_slower_beyond_doubt() {
        let kept = |levels: &[f64], is_new| {
            let times: Vec<Vec<f64>> = levels.iter().map(|l| times(*l)).collect();
            settle(&times, is_new)
        };
        assert_eq!(kept(&[100.0, 90.0], true), (Kept::New, 1));
        assert_eq!(kept(&[100.0, 99.8], true), (Kept::Untuned, 0));
        assert_eq!(kept(&[100.0, 90.0, 95.0], true), (Kept::New, 1));
        assert_eq!(kept(&[100.0, 90.0, 90.1], true), (Kept::New, 1));
        assert_eq!(kept(&[100.0, 95.0, 90.0], true), (Kept::Earlier, 2));
        assert_eq!(kept(&[100.0, 99.8, 99.9], true), (Kept::Earlier, 2));
        assert_eq!(kept(&[100.0, 100.0, 110.0], true), (Kept::Untuned, 0));
        assert_eq!(kept(&[100.0, 99.9], false), (Kept::Earlier, 1));
        assert_eq!(kept(&[100.0, 110.0], false), (Kept::Untuned, 0));
    }
}
