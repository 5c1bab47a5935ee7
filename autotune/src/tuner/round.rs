//! A round: a batch of candidates of one task, and whether one of them takes the incumbent's place.
use super::{End, Observer, Times, Tuner};
use crate::measure::protocol::{CompareRequest, Failed, Failure, Samples};
use crate::search::Outcome;
use crate::space::{Member, Space};
use crate::verdict::{Halving, Rule, Verdict};
use std::time::Duration;
use tensmith_passes::schedule::parameters::Values;
use tensmith_runtime::stats::median;

/// Candidates that take so many times as long as the incumbent get no more samples.
const GIVE_UP: f64 = 1.3;
/// Units: nanoseconds that a candidate is waited for at least: the largest kernels take seconds to
/// compile.
const LEAST_PATIENCE: f64 = 3e9;
/// Calls of the untuned kernel that a candidate is waited for at most.
const PATIENCE_CALLS: f64 = 500.0;
/// Members that were fast elsewhere or earlier, of which at most so many are measured to find the
/// first incumbent.
const CONFIRMED: usize = 3;
/// Units: nanoseconds that a candidate may take beyond the deadline.
pub(super) const OVERTIME: u64 = 500_000_000;

/// A space that has no more members once the time is over: making one takes milliseconds, and a
/// strategy may ask for tens of them.
pub(super) struct Until<'a> {
    pub(super) space: &'a dyn Space,
    pub(super) is_over: &'a dyn Fn() -> bool,
}

impl Space for Until<'_> {
    fn member(&self, values: &Values) -> Option<Member> {
        match (self.is_over)() {
            true => None,
            false => self.space.member(values),
        }
    }
}

/// A candidate while it is measured.
struct Entry {
    values: Values,
    samples: Samples,
    failed: Option<Failed>,
}

impl Tuner {
    /// Measures at most `n` candidates of a task.
    ///
    /// Errors: why the task is not searched any further.
    pub(super) fn round(
        &mut self,
        task: usize,
        n: usize,
        observer: &mut dyn Observer,
    ) -> Result<(), End> {
        if !self.begin(task)? {
            return Ok(());
        }
        let search = self.tasks[task].search.take();
        let mut search = search.expect("invariant: it has begun");
        let space = Until {
            space: &self.tasks[task].space,
            is_over: &|| self.is_over(),
        };
        let batch = search.next(&space, n);
        self.tasks[task].search = Some(search);
        if self.is_over() {
            return Ok(());
        }
        if batch.is_empty() {
            return Err(End::AllTried);
        }
        let entry = |values| Entry {
            values,
            samples: Samples::default(),
            failed: None,
        };
        let mut entries: Vec<Entry> = batch.into_iter().map(entry).collect();
        let ranked = self.halve(task, &mut entries);
        let winner = self.decide(task, &mut entries, &ranked);
        self.tell(task, &entries, observer);
        if let Some(winner) = winner {
            let ratio = ratio(&entries[winner].samples);
            let elapsed = self.watch.elapsed_ns() as f64 / 1e9;
            let t = &mut self.tasks[task];
            t.ratio *= ratio.unwrap_or(1.0);
            t.best = Some(entries[winner].values.clone());
            t.curve.push((elapsed, t.trials, t.ratio));
        }
        Ok(())
    }

    /// Successive halving over a batch; gives those that are left, the best first.
    fn halve(&mut self, task: usize, entries: &mut [Entry]) -> Vec<usize> {
        let mut halving = Halving::new(entries.len());
        while let Some(rung) = halving.rung().cloned() {
            for candidate in rung.candidates {
                let entry = &mut entries[candidate];
                match self.compare(task, &entry.values, rung.pairs) {
                    Some(Ok(samples)) => {
                        halving.tell(candidate, &samples.candidate, &samples.against);
                        entry.samples.candidate.extend(samples.candidate);
                        entry.samples.against.extend(samples.against);
                    }
                    Some(Err(failed)) => {
                        halving.fail(candidate);
                        entry.failed = Some(failed);
                    }
                    // The time is over: what was measured counts.
                    None => return vec![],
                }
            }
            halving.advance();
        }
        halving.ranked().into_iter().map(|(c, _)| c).collect()
    }

    /// The first of the best candidates that is faster than the incumbent beyond doubt.
    fn decide(&mut self, task: usize, entries: &mut [Entry], ranked: &[usize]) -> Option<usize> {
        let ranked: Vec<usize> = (ranked.iter().copied())
            .filter(|c| ratio(&entries[*c].samples).is_some_and(|ratio| ratio < 1.0))
            .collect();
        for candidate in &ranked {
            // The best of a batch has had luck: new samples decide.
            let entry = &mut entries[*candidate];
            entry.samples = Samples::default();
            if self.is_proven(task, &entry.values, &mut entry.samples)? {
                return Some(*candidate);
            }
        }
        None
    }

    /// Whether new samples say that a member is faster than the incumbent beyond doubt; `None` if
    /// the time is over.
    fn is_proven(&mut self, task: usize, values: &Values, samples: &mut Samples) -> Option<bool> {
        let rule = Rule::default();
        loop {
            match rule.verdict(&samples.candidate, &samples.against) {
                Verdict::Faster => return Some(true),
                Verdict::Slower | Verdict::Inconclusive => return Some(false),
                Verdict::More(pairs) => {
                    let Ok(more) = self.compare(task, values, pairs)? else {
                        return Some(false);
                    };
                    if more.candidate.is_empty() {
                        return Some(false);
                    }
                    samples.candidate.extend(more.candidate);
                    samples.against.extend(more.against);
                }
            }
        }
    }

    /// Measures the members that were fastest elsewhere or earlier, by what was told of them: the
    /// first one that is faster than the untuned kernel here becomes the incumbent.
    pub(super) fn confirm(&mut self, task: usize, recalled: &[(Values, Outcome)]) {
        let default_ns = self.tasks[task].subject.ns;
        let time = |(values, outcome): &(Values, Outcome)| match outcome {
            Outcome::Ns(ns) if *ns < default_ns => Some((*ns, values.clone())),
            _ => None,
        };
        let mut faster: Vec<(f64, Values)> = recalled.iter().filter_map(time).collect();
        faster.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (_, values) in faster.into_iter().take(CONFIRMED) {
            let Some(member) = self.tasks[task].space.member(&values) else {
                continue;
            };
            let values = member.values();
            let mut samples = Samples::default();
            match self.is_proven(task, &values, &mut samples) {
                None => return,
                Some(false) => {}
                Some(true) => {
                    let t = &mut self.tasks[task];
                    t.ratio = ratio(&samples).unwrap_or(1.0);
                    t.best = Some(values);
                    return;
                }
            }
        }
    }

    /// Samples of a candidate beside the incumbent; `None` if the time is over.
    fn compare(
        &mut self,
        task: usize,
        values: &Values,
        pairs: usize,
    ) -> Option<Result<Samples, Failed>> {
        if self.is_over() {
            return None;
        }
        let t = &self.tasks[task];
        let against = t.best.as_ref().map(Values::to_string);
        let request = CompareRequest {
            values: values.to_string(),
            against: against.unwrap_or_default(),
            pairs,
            give_up: GIVE_UP,
            fault: None,
        };
        let patience = (PATIENCE_CALLS * t.subject.ns).max(LEAST_PATIENCE) as u64;
        let limit = self.left_ns().saturating_add(OVERTIME);
        let patience_left = Duration::from_nanos(patience.min(limit));
        let samples = self.worker.compare(request, patience_left);
        match samples {
            // It may be that it was only cut off by the deadline.
            Err(failed) if failed.kind == Failure::Hang && patience > limit => None,
            samples => Some(samples),
        }
    }

    /// Tells the search and the observer what became of a batch.
    fn tell(&mut self, task: usize, entries: &[Entry], observer: &mut dyn Observer) {
        let t = &mut self.tasks[task];
        for entry in entries {
            let times = match (&entry.failed, ratio(&entry.samples)) {
                (Some(failed), _) => Err(failed.clone()),
                (None, Some(ratio)) => {
                    // As if the untuned kernel had been beside it.
                    let ns = median(&entry.samples.candidate);
                    Ok(Times {
                        ns,
                        default_ns: ns / (ratio * t.ratio),
                        samples: entry.samples.candidate.len() as u32,
                    })
                }
                (None, None) => continue,
            };
            t.trials += 1;
            let outcome = match &times {
                Ok(times) => Outcome::Ns(times.ns / times.default_ns * t.subject.ns),
                Err(failed) => {
                    *t.failures.entry(failed.kind).or_insert(0) += 1;
                    Outcome::Failed
                }
            };
            if let Some(search) = &mut t.search {
                search.tell(&entry.values, outcome);
            }
            observer.trial(task, &entry.values, &times);
        }
    }
}

/// The median ratio of a candidate to what it was measured beside.
fn ratio(samples: &Samples) -> Option<f64> {
    let pairs = samples.candidate.iter().zip(&samples.against);
    let ratios: Vec<f64> = pairs.map(|(c, a)| c / a).collect();
    (!ratios.is_empty()).then(|| median(&ratios))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::Ranker;
    use crate::search::Search;
    use crate::search::tests::synthetic;
    use crate::{Effort, search};
    use std::cell::Cell;

    /// A space that counts the members that are made.
    struct Counted {
        task: synthetic::Task,
        made: Cell<usize>,
    }

    impl Space for Counted {
        fn member(&self, values: &Values) -> Option<Member> {
            self.made.set(self.made.get() + 1);
            self.task.member(values)
        }
    }

    /// The search of a task after so many trials, each with the time of its place.
    fn searched(space: &Counted, trials: usize) -> Search {
        let ranker = Ranker::new(crate::cost::trees::Trees::none(synthetic::FEATURES));
        let mut search = Search::new(Effort::Deep, 1, ranker, vec![]);
        while search.trials().len() < trials {
            for values in search.next(space, 8) {
                search.tell(&values, search::Outcome::Ns(1000.0));
            }
        }
        search
    }

    /// Whatever strategy is at work, it is through with the member that it makes.
    #[test]
    fn no_member_is_made_once_the_time_is_over() {
        for trials in [0, 8, 24, 40] {
            for left in [0, 1, 5, 11] {
                let space = Counted {
                    task: synthetic::tasks()[3],
                    made: Cell::new(0),
                };
                let mut search = searched(&space, trials);
                space.made.set(0);
                let until = Until {
                    space: &space,
                    is_over: &|| space.made.get() >= left,
                };
                search.next(&until, 8);
                assert!(space.made.get() <= left, "after {trials} trials");
                let all = searched(&space, trials).next(&space, 8);
                assert!(!all.is_empty() && space.made.get() > left);
            }
        }
    }
}
