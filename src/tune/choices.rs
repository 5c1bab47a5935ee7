//! Choices of structure, tried in the model itself.
//!
//! Which algorithm computes a convolution decides what kernels there are, how their operands lie
//! and what their neighbours find in the caches. So an option is compared where it counts: the
//! model is run in turns as it is and with that option. What is clearly slower goes after a few
//! runs; what may be faster is made anew, two of each, and has to be faster beyond doubt.
use super::found::Found;
use super::records::key;
use super::sides::{Side, Sides, Variant, is_faster};
use super::until::Until;
use crate::compile;
use crate::convert::to_ir;
use crate::error::Result;
use crate::explain::Report;
use crate::model::Imported;
use crate::options::Options;
use crate::verify;
use tensmith_autotune::records::{Database, Key, Outcome, Trial};
use tensmith_ir::graph::Graph;
use tensmith_passes::choice::Choice;
use tensmith_passes::schedule::parameters::Values;
use tensmith_runtime::stats::{Interval, paired_ratio};
use tensmith_runtime::{Stopwatch, Tensor, TensorView, clock};

/// Pairs of runs after which an option may be given up.
const PAIRS: usize = 6;
/// An option that takes so many times as long in the first pairs is given up.
const GIVE_UP: f64 = 1.01;

/// What is promising is run for the time of all choices over this, or longer.
const TRIALS: u64 = 16;

/// What less of the run can be expected to be saved by is not tried.
const LEAST_GAIN: f64 = 5e-4;
/// By how much predicted ratios are wrong, about.
const UNSURE: f64 = 0.1;

/// An option that was tried.
#[derive(Clone, Debug)]
pub struct TriedChoice {
    /// What was chosen by the cost model, and among what.
    pub choice: Choice,
    /// The option.
    pub option: String,
    /// The latency of the model with it over that without.
    pub ratio: Option<Interval>,
    /// Whether the model is compiled with it from now on.
    pub is_accepted: bool,
}

impl TriedChoice {
    /// What a compilation looks up.
    pub fn values(&self) -> Values {
        values_of(&self.choice, &self.option)
    }
}

fn values_of(choice: &Choice, option: &str) -> Values {
    let mut values = Values::default();
    values.set(&choice.parameter.name, option);
    values
}

/// How long choices are tried, and from what on.
pub struct Limits<'l> {
    /// Units: nanoseconds for all of it.
    pub budget_ns: u64,
    /// Units: nanoseconds of a compilation.
    pub compile_ns: u64,
    /// Units: nanoseconds of a run.
    pub latency_ns: f64,
    /// When a trial that is not over has been in vain.
    pub until: &'l Until<'l>,
}

/// A model whose choices are tried.
struct Trials<'m> {
    model: (&'m Imported, &'m Options),
    inputs: &'m [TensorView<'m>],
    limits: &'m Limits<'m>,
    watch: Stopwatch,
    /// What is known to be best so far.
    found: Found,
    /// The model as it is with that, if it was compiled already.
    base: Option<Side>,
}

/// The options of a model's choices, those first of which most is expected.
#[derive(Debug, Default)]
pub struct Choices {
    options: Vec<(Choice, String)>,
    /// Options that were tried before.
    known: Vec<(String, Values)>,
    /// What is known to be best so far.
    pub found: Found,
    /// What was tried.
    pub tried: Vec<TriedChoice>,
}

/// The part of a run that an option can be expected to save, where `share` of the run hangs on it
/// and it is predicted to take `ratio` times as long: what is left of the normal distribution's tail
/// by a smooth maximum.
fn expected_gain(share: f64, ratio: f64) -> f64 {
    share * UNSURE * ((1.0 - ratio) / UNSURE).exp().ln_1p()
}

impl Choices {
    /// Whether there is an option that is worth trying and was not tried before.
    pub fn has_untried(&self) -> bool {
        let is_known = |choice: &Choice, option: &str| {
            let values = values_of(choice, option);
            self.known.contains(&(choice.about.clone(), values))
        };
        let mut options = self.options.iter();
        options.any(|(choice, option)| !is_known(choice, option))
    }

    /// Tries the options of each choice until the time is over; `told` hears of each. Of one whose
    /// trial did not end in time nothing is known.
    ///
    /// Errors: as compilation and runs.
    pub fn try_all(
        &mut self,
        model: (&Imported, &Options),
        inputs: &[TensorView<'_>],
        limits: &Limits<'_>,
        told: &mut dyn FnMut(&TriedChoice),
    ) -> Result<()> {
        let mut trials = Trials {
            model,
            inputs,
            limits,
            watch: Stopwatch::start(),
            found: self.found.clone(),
            base: None,
        };
        for (choice, option) in &self.options {
            let mut one = TriedChoice {
                choice: choice.clone(),
                option: option.clone(),
                ratio: None,
                is_accepted: false,
            };
            if self.known.contains(&(choice.about.clone(), one.values())) {
                continue;
            }
            if trials.is_over() {
                return Ok(());
            }
            if !trials.one(&mut one)? {
                return Ok(());
            }
            told(&one);
            if one.is_accepted {
                let of = |t: &&mut TriedChoice| t.choice.about == choice.about;
                let before = self.tried.iter_mut().filter(of);
                before.for_each(|t| t.is_accepted = false);
            }
            self.tried.push(one);
            self.found = trials.found.clone();
        }
        Ok(())
    }

    /// Records what the model said of the options that were tried and are not to be tried again.
    /// Those that were taken go as well if what was found now is not kept as a whole.
    ///
    /// Errors: the database cannot be written.
    pub fn keep(
        &mut self,
        records: &ChoiceRecords<'_>,
        is_kept: bool,
        latency_ns: f64,
    ) -> Result<()> {
        for tried in self.tried.iter().filter(|t| !t.is_accepted) {
            let outcome = match tried.ratio {
                Some(ratio) => Outcome::Measured {
                    median_ns: latency_ns * ratio.estimate,
                    default_ns: latency_ns,
                    samples: PAIRS as u32,
                },
                None => Outcome::WrongResult,
            };
            records.insert(&tried.choice.about, tried.values(), outcome)?;
        }
        for tried in &mut self.tried {
            tried.is_accepted &= is_kept;
        }
        Ok(())
    }
}

/// Choices in a database of records.
pub struct ChoiceRecords<'d> {
    database: &'d Database,
    options: &'d Options,
    /// Whether what was tried before is not tried again.
    resume: bool,
}

impl<'d> ChoiceRecords<'d> {
    /// Of compilations with these options.
    pub fn new(database: &'d Database, options: &'d Options, resume: bool) -> Self {
        ChoiceRecords {
            database,
            options,
            resume,
        }
    }

    /// The choices of a model that was measured, by what can be expected of them. What was
    /// accepted for them earlier holds, so that kernels and choices of one database fit together.
    ///
    /// Errors: as compilation; the database cannot be read.
    pub fn choices(&self, graph: &Graph, report: &Report) -> Result<Choices> {
        let mut choices = compile::choices(graph, self.options)?;
        let (mut found, mut known) = (Found::default(), Vec::new());
        for choice in &choices {
            if let Some(values) = self.database.accepted(&self.key(&choice.about))? {
                found.insert(choice.about.clone(), values);
            }
            known.extend(self.known(choice)?);
        }
        if !found.is_empty() {
            let options = Options {
                tuned: found.clone().option(),
                ..self.options.clone()
            };
            choices = compile::choices(graph, &options)?;
        }
        let share = |choice: &Choice| -> f64 {
            let kernels = report.kernels.iter();
            let of = kernels.filter(|k| k.nodes.iter().any(|n| choice.nodes.contains(n)));
            of.map(|k| k.share).sum()
        };
        let mut options = Vec::new();
        for choice in &choices {
            let others = choice.parameter.options.iter().zip(&choice.ratios);
            for (option, ratio) in others.filter(|(o, _)| *o != choice.parameter.value()) {
                let gain = expected_gain(share(choice), *ratio);
                options.push((gain, choice.clone(), option.clone()));
            }
        }
        options.retain(|(gain, ..)| *gain >= LEAST_GAIN);
        options.sort_by(|a, b| b.0.total_cmp(&a.0));
        let options = options.into_iter();
        Ok(Choices {
            options: options
                .map(|(_, choice, option)| (choice, option))
                .collect(),
            known,
            found,
            tried: vec![],
        })
    }

    /// The options of a choice that are not tried again: those that failed, and, to go on with an
    /// earlier search, those that were tried before; then so was the one of the cost model, which
    /// they were tried beside.
    fn known(&self, choice: &Choice) -> Result<Vec<(String, Values)>> {
        let mut trials = self.database.trials(&self.key(&choice.about))?;
        trials.retain(|t| self.resume || t.outcome.is_failure());
        let mut values: Vec<Values> = trials.into_iter().map(|t| t.values).collect();
        if self.resume && !values.is_empty() {
            values.push(values_of(choice, choice.parameter.value()));
        }
        let of = |values| (choice.about.clone(), values);
        Ok(values.into_iter().map(of).collect())
    }

    fn key(&self, about: &str) -> Key {
        key(about.into(), self.options)
    }

    fn insert(&self, about: &str, values: Values, outcome: Outcome) -> Result<()> {
        let trial = Trial {
            values,
            outcome,
            when_s: clock::unix_seconds(),
        };
        Ok(self.database.insert(&self.key(about), &trial)?)
    }
}

/// What a few pairs of runs say of an option.
enum Screened {
    /// The time was over before.
    Cut,
    /// The results differ, which no limit of errors explains.
    Differs,
    /// The latency with it over that without.
    Ratio(Interval),
}

impl Trials<'_> {
    /// Whether there is no time for another trial.
    fn is_over(&self) -> bool {
        // What is promising may take longer; the search has less time then.
        let runs = 2 * PAIRS as u64 * self.limits.latency_ns as u64;
        let needed = 2 * self.limits.compile_ns + runs;
        let over = self.watch.elapsed_ns() + needed > self.limits.budget_ns;
        over || !self.limits.until.holds(needed)
    }

    fn variant(&self, found: &Found) -> Result<Variant<'_>> {
        Variant::new(self.model.0, self.model.1, found.clone().option())
    }

    /// Tries an option; whether the time was enough.
    fn one(&mut self, one: &mut TriedChoice) -> Result<bool> {
        let more = [(one.choice.about.clone(), one.values())];
        let with = self.found.and(&Found::from_iter(more));
        let kept = self.base.take();
        let variants = [self.variant(&self.found)?, self.variant(&with)?];
        let mut base = match kept {
            Some(side) => side,
            None => Side::new(&variants[0])?,
        };
        one.ratio = match self.screen(&mut base, Side::new(&variants[1])?)? {
            Screened::Cut => return Ok(false),
            Screened::Differs => None,
            Screened::Ratio(r) if r.estimate <= GIVE_UP => match self.decide(&variants)? {
                None => return Ok(false),
                ratio => ratio,
            },
            Screened::Ratio(r) => Some(r),
        };
        one.is_accepted = is_faster(one.ratio);
        match one.is_accepted {
            true => self.found = with,
            false => self.base = Some(base),
        }
        Ok(true)
    }

    /// The ratio of models made anew; `None` if there is no time for it.
    fn decide(&self, variants: &[Variant<'_>; 2]) -> Result<Option<Interval>> {
        let until = self.limits.until;
        let latency_ns = self.limits.latency_ns;
        let needed = 4 * self.limits.compile_ns + Sides::least_ns(2, latency_ns);
        if !until.holds(needed) {
            return Ok(None);
        }
        let least = 4 * PAIRS as u64 * latency_ns as u64;
        let duration = least.max(self.limits.budget_ns / TRIALS);
        let Some(mut sides) = Sides::new(variants, latency_ns, until)? else {
            return Ok(None);
        };
        let times = sides.whole(self.inputs, duration, until)?;
        Ok(times.and_then(|times| paired_ratio(&times[0], &times[1])))
    }

    /// A few pairs of runs.
    fn screen(&self, base: &mut Side, mut candidate: Side) -> Result<Screened> {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        base.run(self.inputs)?;
        candidate.run(self.inputs)?;
        // Either may be as far from what is exact.
        let limits = verify::Limits {
            relative: 2.0 * self.model.1.precision.tolerance(),
            ..verify::Limits::default()
        };
        let mut results = base.outputs().iter().zip(candidate.outputs());
        let same =
            |(x, y): (&Tensor, &Tensor)| verify::compare(y, &to_ir(x.view()), &limits).passed;
        if !results.all(same) {
            return Ok(Screened::Differs);
        }
        for pair in 0..PAIRS {
            if self.limits.until.is_over() {
                return Ok(Screened::Cut);
            }
            if pair % 2 == 0 {
                a.push(base.run(self.inputs)?);
            }
            b.push(candidate.run(self.inputs)?);
            if pair % 2 == 1 {
                a.push(base.run(self.inputs)?);
            }
        }
        Ok(paired_ratio(&a, &b).map_or(Screened::Cut, Screened::Ratio))
    }
}
