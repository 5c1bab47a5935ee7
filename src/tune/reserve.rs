//! What is kept of a budget for trying what was found in the model.
use super::sides::Sides;
use super::stitch;
use super::until::Until;

/// The part of a budget that is kept for trying what was found in the model.
const STITCH_SHARE: f64 = 0.12;
/// Units: nanoseconds of measuring for that, at least and at most.
const STITCH_NS: [u64; 2] = [1_000_000_000, 10_000_000_000];
/// What is kept for it over what it is expected to take: machines are not always as fast.
const SPARE: f64 = 1.15;
/// Units: nanoseconds for trying what was found after somebody asked to stop: small models are
/// through with it then.
pub(super) const GRACE_NS: u64 = 3_000_000_000;

/// What is kept of a budget for trying what was found in the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reserve {
    /// How many models run in turns.
    variants: u64,
    /// Units: nanoseconds of measuring.
    measure_ns: u64,
    /// Units: nanoseconds of compiling and measuring, task by task and then the whole.
    all_ns: u64,
    /// Units: as `all_ns`, of the whole alone.
    pub(super) whole_ns: u64,
}

/// How what was found is tried in the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum InModel {
    /// Task by task, and then the whole.
    ByTask,
    /// All together.
    Whole,
}

impl Reserve {
    /// For a model of so many nanoseconds a run and a compilation; `is_tuned` if something was
    /// found earlier, which runs beside the others.
    pub(super) fn new(budget_ns: u64, latency_ns: f64, compile_ns: u64, is_tuned: bool) -> Reserve {
        let variants = if is_tuned { 3 } else { 2 };
        let measure_ns = (budget_ns as f64 * STITCH_SHARE) as u64;
        let measure_ns = measure_ns.clamp(STITCH_NS[0], STITCH_NS[1]);
        // Each variant is made twice.
        let runs_ns = Sides::least_ns(variants, latency_ns) as f64;
        let compile_ns = (2 * variants * compile_ns) as f64;
        let whole_ns = SPARE * (runs_ns.max(measure_ns as f64 / 2.0) + compile_ns);
        Reserve {
            variants,
            measure_ns,
            all_ns: (2.0 * whole_ns) as u64,
            whole_ns: whole_ns as u64,
        }
    }

    /// The trial that there is time for, `None` for none: the search is to have half of the time, if
    /// that leaves enough for any.
    pub(super) fn trial(&self, until: &Until<'_>) -> Option<InModel> {
        if until.holds(self.all_ns.saturating_mul(2)) {
            return Some(InModel::ByTask);
        }
        until.holds(self.whole_ns).then_some(InModel::Whole)
    }

    /// How a trial is made of a model of so many nanoseconds a run and a compilation. One that is
    /// asked to stop measures as little as it can.
    pub(super) fn limits<'l>(
        &self,
        trial: Option<InModel>,
        until: &'l Until<'l>,
        (latency_ns, compile_ns): (f64, u64),
    ) -> stitch::Limits<'l> {
        stitch::Limits {
            measure_ns: match until.is_asked() {
                true => STITCH_NS[0],
                false => self.measure_ns,
            },
            by_task: trial == Some(InModel::ByTask),
            until,
            latency_ns,
            compile_ns,
        }
    }

    /// Units: nanoseconds that a trial takes if nothing has to be tried again.
    pub(super) fn expected_ns(&self, trial: InModel, limits: &stitch::Limits<'_>) -> u64 {
        let runs = Sides::expected_ns(self.variants, limits.latency_ns, limits.measure_ns / 2);
        let whole = runs + 2 * self.variants * limits.compile_ns;
        let all = match trial {
            InModel::ByTask => 2 * whole,
            InModel::Whole => whole,
        };
        match limits.until.is_asked() {
            true => all.min(GRACE_NS),
            false => all,
        }
    }

    /// Units: nanoseconds that are kept for a trial.
    pub(super) fn ns(&self, trial: InModel) -> u64 {
        match trial {
            InModel::ByTask => self.all_ns,
            InModel::Whole => self.whole_ns,
        }
    }
}

/// Searches, and gives the trial for which time was kept to the end. `search` keeps time for one, and
/// says whether it could go on: the time of a trial in which there is nothing to try yet is for the
/// search, that of a short one last.
pub(super) fn keeping(
    trial: Option<InModel>,
    mut search: impl FnMut(Option<InModel>) -> bool,
) -> Option<InModel> {
    let mut kept = trial;
    while search(kept) {
        kept = match kept {
            Some(InModel::ByTask) => Some(InModel::Whole),
            Some(InModel::Whole) => None,
            None => break,
        };
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Units: nanoseconds of a second.
    const S: u64 = 1_000_000_000;

    #[test]
    fn what_is_reserved_follows_from_runs_and_compilations() {
        let seconds = |reserve: Reserve| reserve.all_ns as f64 / S as f64 / SPARE;
        // Fast models are measured for a part of the budget, slow ones for as many runs as it takes.
        let fast = Reserve::new(60 * S, 1e6, S / 10, false);
        assert!((seconds(fast) - (7.2 + 0.8)).abs() < 1e-6, "{fast:?}");
        let slow = Reserve::new(60 * S, 3e9, S / 10, false);
        assert!(
            (seconds(slow) - (68.0 * 3.0 + 0.8)).abs() < 1e-6,
            "{slow:?}"
        );
        let tuned = Reserve::new(60 * S, 1e6, S, true);
        assert!((seconds(tuned) - (7.2 + 12.0)).abs() < 1e-6, "{tuned:?}");
        // In a minute, half of a second a run is tried as a whole; three seconds are not.
        let trial = |ns| {
            let until = Until::never().by(60 * S);
            Reserve::new(60 * S, ns, S / 10, false).trial(&until)
        };
        let trials = [1e6, 6e8, 3e9].map(trial);
        assert_eq!(trials, [Some(InModel::ByTask), Some(InModel::Whole), None]);
    }

    #[test]
    fn time_for_a_trial_of_nothing_is_searched() {
        use InModel::{ByTask, Whole};
        // The search finds something when so many searches are over.
        let searches = |trial, found: usize| {
            let mut all = Vec::new();
            let kept = keeping(trial, |kept| {
                all.push(kept);
                all.len() < found
            });
            (all, kept)
        };
        let whole = Some(Whole);
        assert_eq!(
            searches(Some(ByTask), 1),
            (vec![Some(ByTask)], Some(ByTask))
        );
        assert_eq!(
            searches(Some(ByTask), 2),
            (vec![Some(ByTask), whole], whole)
        );
        let never = vec![Some(ByTask), whole, None];
        assert_eq!(searches(Some(ByTask), usize::MAX), (never, None));
        assert_eq!(searches(whole, usize::MAX), (vec![whole, None], None));
        assert_eq!(searches(None, usize::MAX), (vec![None], None));
    }
}
