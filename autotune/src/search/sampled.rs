//! Draws of which the ranker thinks well, and which differ from each other.
use super::round::similarity;
use super::{Round, Strategy};
use crate::space::Member;
use std::sync::Arc;
use tensmith_passes::schedule::parameters::Values;

/// The best ones.
const BEST: usize = 6;
/// The part of the parameters that is drawn anew around one of them.
const REDRAWN: f64 = 0.25;
/// Members that wait for a better opinion of the ranker.
const MOST_WAITING: usize = 384;
/// The part of proposals that the ranker has no say in: it may be wrong.
const EXPLORED: f64 = 0.1;
/// How much slower, as the logarithm of a time, a member may be predicted than one that equals
/// another one of the batch.
const DIVERSITY: f64 = 0.15;

/// Many members are drawn, few are proposed; the others stay, and are ranked again.
#[derive(Debug, Default)]
pub struct Sampled {
    waiting: Vec<Arc<Member>>,
}

impl Strategy for Sampled {
    fn name(&self) -> &'static str {
        "sampled"
    }

    fn propose(&mut self, round: &mut Round<'_>, n: usize) -> Vec<Values> {
        // Half of them from the whole space, half around the best ones.
        let draws = round.left();
        let fastest = round.fastest();
        for k in 0..draws {
            if round.left() == 0 {
                break;
            }
            let from = round.random().pick(&fastest[..BEST.min(fastest.len())]);
            let member = match from.filter(|_| k % 2 == 0) {
                Some(member) => near(round, member),
                None => round.draw().map(|(member, _)| member),
            };
            self.waiting.extend(member);
        }
        self.waiting = round.ranked(self.waiting.drain(..));
        self.waiting.truncate(MOST_WAITING);
        let mut chosen: Vec<Arc<Member>> = Vec::new();
        while chosen.len() < n && !self.waiting.is_empty() {
            let at = match round.random().chance(EXPLORED) {
                true => round.random().below(self.waiting.len()),
                false => best(round, &self.waiting, &chosen),
            };
            chosen.push(self.waiting.remove(at));
        }
        chosen.iter().map(|m| m.values()).collect()
    }
}

/// A member that has most parameters as another one.
fn near(round: &mut Round<'_>, member: &Member) -> Option<Arc<Member>> {
    let mut values = member.values();
    for p in &member.parameters {
        if round.random().chance(REDRAWN)
            && let Some(option) = round.random().pick(&p.options)
        {
            values.set(&p.name, option);
        }
    }
    round.member(&values)
}

/// The member with the lowest score, where likeness to those that were chosen counts.
fn best(round: &Round<'_>, waiting: &[Arc<Member>], chosen: &[Arc<Member>]) -> usize {
    let cost = |m: &Arc<Member>| {
        let likeness = chosen.iter().map(|c| similarity(c, m));
        round.score(m) + DIVERSITY * likeness.fold(0.0, f64::max).powi(2)
    };
    let costs: Vec<f64> = waiting.iter().map(cost).collect();
    let least = (0..costs.len()).min_by(|a, b| costs[*a].total_cmp(&costs[*b]));
    least.unwrap_or(0)
}
