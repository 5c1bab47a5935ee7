//! The first candidates: the default, then what the analytic model finds best.
use super::round::similarity;
use super::{Round, Strategy};
use crate::space::Member;
use std::sync::Arc;
use tensmith_passes::schedule::parameters::Values;

/// Members that are proposed besides the default.
const SEEDS: usize = 5;
/// Members that the model is asked about.
const MEMBERS: usize = 64;
/// Of these, members that are drawn, as what is best parameter by parameter may miss what is best.
const DRAWS: usize = 16;
/// Seeds that are more alike than this are one.
const ALIKE: f64 = 0.75;

/// The default, then the best members by the analytic model. The space is not enumerated as a
/// whole: the model improves the default parameter by parameter, and looks at some draws.
#[derive(Debug, Default)]
pub struct Seeds {
    queue: Option<Vec<Values>>,
}

impl Seeds {
    fn find(round: &mut Round<'_>) -> Vec<Values> {
        let Some(default) = round.member(&Values::default()) else {
            return vec![];
        };
        let draws = (0..DRAWS).filter_map(|_| round.draw());
        let mut known: Vec<Arc<Member>> = draws.map(|(member, _)| member).collect();
        known.extend(improve(round, &default));
        known.sort_by(|a, b| a.predicted_ns.total_cmp(&b.predicted_ns));
        let mut chosen: Vec<Arc<Member>> = vec![default];
        // First those that differ; if these are few, the others.
        for alike in [ALIKE, 1.0] {
            for member in &known {
                let is_near = |c: &Arc<Member>| {
                    c.identity == member.identity || similarity(c, member) > alike
                };
                if chosen.len() <= SEEDS && !chosen.iter().any(is_near) {
                    chosen.push(member.clone());
                }
            }
        }
        chosen.iter().map(|m| m.values()).collect()
    }
}

/// Takes the option of each parameter that the model likes best, one after the other; gives all
/// members that were looked at.
fn improve(round: &mut Round<'_>, default: &Arc<Member>) -> Vec<Arc<Member>> {
    let mut seen = vec![default.clone()];
    let mut best = default.clone();
    let mut at = 0;
    while at < best.parameters.len() {
        let parameter = best.parameters[at].clone();
        for option in &parameter.options {
            let mut values = best.values();
            values.set(&parameter.name, option);
            let Some(member) = round.member(&values) else {
                continue;
            };
            seen.push(member.clone());
            // A better member may ask for other parameters, but not before this one.
            if member.predicted_ns < best.predicted_ns {
                best = member;
            }
        }
        at += 1;
    }
    seen
}

impl Strategy for Seeds {
    fn name(&self) -> &'static str {
        "seeds"
    }

    fn members(&self, _n: usize) -> usize {
        MEMBERS
    }

    fn propose(&mut self, round: &mut Round<'_>, n: usize) -> Vec<Values> {
        let queue = self.queue.get_or_insert_with(|| Seeds::find(round));
        let take = n.min(queue.len());
        queue.drain(..take).collect()
    }
}
