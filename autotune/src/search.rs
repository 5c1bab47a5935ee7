//! The search of one task: strategies propose members of its space, measurements come back.
//!
//! A [`Search`] asks its strategies in turn and never proposes the same code twice. It reads
//! neither a clock nor anything else: with the same seed, the same space and the same outcomes it
//! proposes the same members, which is how a [`log`] is replayed.
mod descent;
mod evolution;
pub mod log;
mod nearest;
mod round;
mod sampled;
mod seeds;
#[cfg(test)]
pub(crate) mod tests;
mod uniform;

pub use descent::Descent;
pub use evolution::Evolution;
pub use nearest::{Nearest, Neighbour};
pub use round::{Round, Trial};
pub use sampled::Sampled;
pub use seeds::Seeds;
pub use uniform::Uniform;

use crate::Effort;
use crate::cost::Ranker;
use crate::space::Space;
use log::{Event, Log};
use round::State;
use tensmith_passes::schedule::parameters::Values;

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// It computes what it should. Units: nanoseconds of a call.
    Ns(f64),
    /// It crashed, took too long, or computed something else.
    Failed,
}

impl Outcome {
    /// A time that is no positive number is none.
    fn checked(self) -> Outcome {
        match self {
            Outcome::Ns(ns) if ns.is_finite() && ns > 0.0 => self,
            _ => Outcome::Failed,
        }
    }
}

/// A way to find candidates.
pub trait Strategy: Send {
    /// The name in logs.
    fn name(&self) -> &'static str;

    /// Proposes at most `n` members that were not proposed before, the most promising first;
    /// fewer, or none, if it has no more at the moment.
    fn propose(&mut self, round: &mut Round<'_>, n: usize) -> Vec<Values>;

    /// How many members it may have made to propose `n`, besides those that are known already:
    /// making one takes milliseconds, measuring one some tens of them.
    fn members(&self, n: usize) -> usize {
        MEMBERS_FOR_EACH * n
    }
}

/// A strategy and what it gets of each batch.
struct Part {
    strategy: Box<dyn Strategy>,
    /// `None`: before all others, until it has no more. Else, from so many trials on, for so much
    /// of a batch.
    share: Option<(usize, f64)>,
}

/// Members that are made for each that is proposed.
const MEMBERS_FOR_EACH: usize = 6;
/// Trials before neighbours of the best ones are worth looking at.
const BEFORE_DESCENT: usize = 16;
/// Trials before members of the best ones can be crossed.
const BEFORE_EVOLUTION: usize = 32;

/// The search of one task.
pub struct Search {
    parts: Vec<Part>,
    state: State,
    log: Log,
}

impl Search {
    /// A search. `neighbours` are records of similar tasks; `ranker` orders candidates, and learns
    /// from what is told.
    pub fn new(effort: Effort, seed: u64, ranker: Ranker, neighbours: Vec<Neighbour>) -> Search {
        let first = |strategy: Box<dyn Strategy>| Part {
            strategy,
            share: None,
        };
        if effort == Effort::Uniform {
            let parts = vec![first(Box::<Uniform>::default())];
            return Search::with(parts, effort, seed, ranker);
        }
        let part = |strategy, after, share| Part {
            strategy,
            share: Some((after, share)),
        };
        let mut parts = vec![
            first(Box::<Seeds>::default()),
            first(Box::new(Nearest::new(neighbours))),
        ];
        if effort != Effort::Quick {
            parts.push(part(Box::new(Descent), BEFORE_DESCENT, 0.5));
            if effort == Effort::Deep {
                parts.push(part(Box::new(Evolution), BEFORE_EVOLUTION, 0.25));
            }
            parts.push(part(Box::<Sampled>::default(), 0, 1.0));
        }
        Search::with(parts, effort, seed, ranker)
    }

    /// The baseline of experiments: the default, then members drawn evenly.
    pub fn random(seed: u64) -> Search {
        let nothing = crate::cost::Pretrained::none();
        Search::new(Effort::Uniform, seed, Ranker::new(nothing.trees), vec![])
    }

    fn with(parts: Vec<Part>, effort: Effort, seed: u64, ranker: Ranker) -> Search {
        Search {
            parts,
            state: State::new(seed, ranker),
            log: Log::new(effort, seed),
        }
    }

    /// Proposes at most `n` members to measure; fewer, or none, when there are no more. Values are
    /// complete, and no two of them make the same code.
    pub fn next(&mut self, space: &dyn Space, n: usize) -> Vec<Values> {
        self.state.train();
        let mut batch = Vec::new();
        let trials = self.state.proposed();
        for k in 0..self.parts.len() {
            let left = n - batch.len();
            let wanted = match self.parts[k].share {
                None => left,
                Some((after, _)) if trials < after => 0,
                Some((_, share)) => ((share * n as f64).ceil() as usize).min(left),
            };
            self.ask(k, space, wanted, &mut batch);
        }
        // What a strategy left over, the others may have.
        for k in 0..self.parts.len() {
            let left = n - batch.len();
            self.ask(k, space, left, &mut batch);
        }
        self.log.push(Event::Next {
            n,
            values: batch.clone(),
        });
        batch
    }

    fn ask(&mut self, part: usize, space: &dyn Space, n: usize, batch: &mut Vec<Values>) {
        if n == 0 {
            return;
        }
        let strategy = &mut self.parts[part].strategy;
        let mut round = Round::new(space, &mut self.state, strategy.members(n));
        let found = strategy.propose(&mut round, n);
        let name = strategy.name();
        for values in found.into_iter().take(n) {
            batch.extend(self.state.propose(space, &values, name));
        }
    }

    /// Tells what became of a member that was proposed. Of others, nothing is learned.
    pub fn tell(&mut self, values: &Values, outcome: Outcome) {
        let outcome = outcome.checked();
        self.state.tell(values, outcome);
        self.log.push(Event::Tell {
            values: values.clone(),
            outcome,
        });
    }

    /// Tells what became of a member in an earlier search of this task: it is not proposed again.
    pub fn recall(&mut self, space: &dyn Space, values: &Values, outcome: Outcome) {
        let outcome = outcome.checked();
        if let Some(values) = self.state.propose(space, values, "recalled") {
            self.state.tell(&values, outcome);
        }
        self.log.push(Event::Recall {
            values: values.clone(),
            outcome,
        });
    }

    /// Tells what a member of another task takes, of which the ranker may learn: tasks are told
    /// apart by a number other than 0.
    pub fn learn(&mut self, task: u32, features: &[f32], predicted_ns: f64, ns: f64) {
        self.state.learn(task, features, predicted_ns, ns);
        self.log.push(Event::Learn {
            task,
            features: features.to_vec(),
            predicted_ns,
            ns,
        });
    }

    /// The members that were measured, in order.
    pub fn trials(&self) -> &[Trial] {
        self.state.trials()
    }

    /// The fastest member that was measured.
    pub fn best(&self) -> Option<&Trial> {
        self.state.fastest().into_iter().next()
    }

    /// What happened so far.
    pub fn log(&self) -> &Log {
        &self.log
    }
}
