//! What a strategy sees: the space, what was measured, and a source of chance.
use super::Outcome;
use crate::cost::Ranker;
use crate::random::Random;
use crate::space::{Member, Space};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tensmith_passes::schedule::parameters::Values;

/// Members that are remembered; making one costs about a millisecond.
const MOST_MEMBERS: usize = 4096;

/// A member that was measured.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The member.
    pub member: Arc<Member>,
    /// What became of it.
    pub outcome: Outcome,
    /// The strategy that proposed it.
    pub by: &'static str,
}

impl Trial {
    /// Units: nanoseconds of a call; `None` if it failed.
    pub fn ns(&self) -> Option<f64> {
        match self.outcome {
            Outcome::Ns(ns) => Some(ns),
            Outcome::Failed => None,
        }
    }
}

/// All that a search knows.
pub(super) struct State {
    ranker: Ranker,
    random: Random,
    members: HashMap<Values, Option<Arc<Member>>>,
    proposed: HashSet<u64>,
    pending: HashMap<Values, (Arc<Member>, &'static str)>,
    trials: Vec<Trial>,
}

impl State {
    pub(super) fn new(seed: u64, ranker: Ranker) -> State {
        State {
            ranker,
            random: Random::new(seed),
            members: HashMap::new(),
            proposed: HashSet::new(),
            pending: HashMap::new(),
            trials: vec![],
        }
    }

    fn member(&mut self, space: &dyn Space, values: &Values) -> Option<Arc<Member>> {
        if let Some(known) = self.members.get(values) {
            return known.clone();
        }
        if self.members.len() >= MOST_MEMBERS {
            self.members.clear();
        }
        let member = space.member(values).map(Arc::new);
        self.members.insert(values.clone(), member.clone());
        if let Some(member) = &member {
            self.members.insert(member.values(), Some(member.clone()));
        }
        member
    }

    /// The complete values of a member that was not proposed before; it counts as proposed now.
    pub(super) fn propose(
        &mut self,
        space: &dyn Space,
        values: &Values,
        by: &'static str,
    ) -> Option<Values> {
        let member = self.member(space, values)?;
        if !self.proposed.insert(member.identity) {
            return None;
        }
        let values = member.values();
        self.pending.insert(values.clone(), (member, by));
        Some(values)
    }

    pub(super) fn tell(&mut self, values: &Values, outcome: Outcome) {
        let Some((member, by)) = self.pending.remove(values) else {
            return;
        };
        if let Outcome::Ns(ns) = outcome {
            self.learn(0, &member.features, member.predicted_ns, ns);
        }
        let trial = Trial {
            member,
            outcome,
            by,
        };
        self.trials.push(trial);
    }

    pub(super) fn learn(&mut self, task: u32, features: &[f32], predicted_ns: f64, ns: f64) {
        self.ranker.tell(task, features, predicted_ns, ns);
    }

    pub(super) fn train(&mut self) {
        self.ranker.train();
    }

    /// The number of members that were proposed.
    pub(super) fn proposed(&self) -> usize {
        self.proposed.len()
    }

    pub(super) fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// The trials that did not fail, the fastest first.
    pub(super) fn fastest(&self) -> Vec<&Trial> {
        let mut timed: Vec<(f64, &Trial)> = (self.trials.iter())
            .filter_map(|t| Some((t.ns()?, t)))
            .collect();
        timed.sort_by(|a, b| a.0.total_cmp(&b.0));
        timed.into_iter().map(|(_, t)| t).collect()
    }
}

/// What a strategy sees while it proposes.
pub struct Round<'a> {
    space: &'a dyn Space,
    state: &'a mut State,
    /// Members that may yet be made.
    left: usize,
}

impl<'a> Round<'a> {
    pub(super) fn new(space: &'a dyn Space, state: &'a mut State, left: usize) -> Round<'a> {
        Round { space, state, left }
    }

    /// The member with these values, as the space has it. `None` if there is none, or if it is not
    /// known and no more may be made.
    pub fn member(&mut self, values: &Values) -> Option<Arc<Member>> {
        if !self.state.members.contains_key(values) {
            self.left = self.left.checked_sub(1)?;
        }
        self.state.member(self.space, values)
    }

    /// How many members may yet be made.
    pub fn left(&self) -> usize {
        self.left
    }

    /// Whether no member of the same code was proposed.
    pub fn is_new(&self, member: &Member) -> bool {
        !self.state.proposed.contains(&member.identity)
    }

    /// The members that were measured, in order.
    pub fn trials(&self) -> &[Trial] {
        self.state.trials()
    }

    /// Members that were measured and work, the fastest first.
    pub fn fastest(&self) -> Vec<Arc<Member>> {
        let trials = self.state.fastest();
        trials.into_iter().map(|t| t.member.clone()).collect()
    }

    /// What the ranker says of a member: the lower, the faster.
    pub fn score(&self, member: &Member) -> f64 {
        self.state
            .ranker
            .score(&member.features, member.predicted_ns)
    }

    /// New members among these, each code once, the lowest score first.
    pub fn ranked(&self, members: impl IntoIterator<Item = Arc<Member>>) -> Vec<Arc<Member>> {
        let mut seen = HashSet::new();
        let mut scored: Vec<(f64, Arc<Member>)> = (members.into_iter())
            .filter(|m| self.is_new(m) && seen.insert(m.identity))
            .map(|m| (self.score(&m), m))
            .collect();
        scored.sort_by(|a, b| a.0.total_cmp(&b.0));
        scored.into_iter().map(|(_, m)| m).collect()
    }

    /// The source of chance.
    pub fn random(&mut self) -> &mut Random {
        &mut self.state.random
    }

    /// Draws a member: each parameter evenly over its options, given those before it. With it, the
    /// logarithm of the number of members among which that is even: the product of the numbers of
    /// options. `None` if the space has no member with the values that were drawn.
    pub fn draw(&mut self) -> Option<(Arc<Member>, f64)> {
        let seed = self.random().bits();
        let member = self.member(&Values::drawn(seed))?;
        let options = member.parameters.iter().map(|p| p.options.len() as f64);
        let weight = options.map(f64::ln).sum();
        Some((member, weight))
    }
}

/// The part of the parameters of two members that have the same value.
pub(super) fn similarity(a: &Member, b: &Member) -> f64 {
    let mut same = 0;
    for p in &a.parameters {
        let found = b.parameters.iter().find(|q| q.name == p.name);
        same += usize::from(found.is_some_and(|q| q.value() == p.value()));
    }
    same as f64 / a.parameters.len().max(b.parameters.len()).max(1) as f64
}
