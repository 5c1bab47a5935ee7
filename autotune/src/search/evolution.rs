//! Evolution: the best members are crossed and changed over generations of which the ranker says
//! who survives; only the last one is measured.
use super::{Round, Strategy};
use crate::space::Member;
use std::sync::Arc;
use tensmith_passes::schedule::parameters::Values;

/// Members that are measured and may have children.
const PARENTS: usize = 12;
/// Members of a generation that live on.
const SURVIVORS: usize = 12;
/// Generations for each batch.
const GENERATIONS: usize = 3;
/// Members that are made for each that is proposed.
const MEMBERS_FOR_EACH: usize = 18;
/// The probability that a child has a parameter of its own.
const MUTATION: f64 = 0.15;

/// Crosses the best members.
#[derive(Debug, Default)]
pub struct Evolution;

impl Strategy for Evolution {
    fn name(&self) -> &'static str {
        "evolution"
    }

    fn members(&self, n: usize) -> usize {
        MEMBERS_FOR_EACH * n
    }

    fn propose(&mut self, round: &mut Round<'_>, n: usize) -> Vec<Values> {
        let parents: Vec<Arc<Member>> = round.fastest().into_iter().take(PARENTS).collect();
        let mut alive: Vec<Arc<Member>> = Vec::new();
        for _ in 0..GENERATIONS {
            let mut children = Vec::new();
            for _ in 0..n * MEMBERS_FOR_EACH / GENERATIONS {
                let child = child(round, &parents, &alive);
                children.extend(child.and_then(|values| round.member(&values)));
            }
            alive = round.ranked(alive.into_iter().chain(children));
            alive.truncate(SURVIVORS);
        }
        alive.iter().take(n).map(|m| m.values()).collect()
    }
}

/// Each parameter from one of two parents, or from neither. A parent is a measured one as often as
/// one of the last generation.
fn child(round: &mut Round<'_>, parents: &[Arc<Member>], alive: &[Arc<Member>]) -> Option<Values> {
    let mut parent = || {
        let measured = alive.is_empty() || round.random().chance(0.5);
        let among = if measured { parents } else { alive };
        round.random().pick(among).cloned()
    };
    let (a, b) = (parent()?, parent()?);
    let mut values = a.values();
    for p in &b.parameters {
        if round.random().chance(0.5) {
            values.set(&p.name, p.value());
        }
    }
    for p in a.parameters.iter().chain(&b.parameters) {
        if round.random().chance(MUTATION)
            && let Some(option) = round.random().pick(&p.options)
        {
            values.set(&p.name, option);
        }
    }
    Some(values)
}
