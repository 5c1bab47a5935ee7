//! Coordinate descent: the best members with one parameter changed.
use super::round::similarity;
use super::{Round, Strategy};
use crate::space::{Member, Values};
use std::sync::Arc;

/// Members whose neighbours are tried.
const STARTS: usize = 2;
/// Members of one structure that are more alike than this have neighbours in common.
const ALIKE: f64 = 0.5;

/// Changes one parameter of the two best structures at a time, to the options that the ranker
/// likes. A structure is what a member was asked for: which parameters, with which options. As
/// soon as a neighbour is faster, its own neighbours are next.
#[derive(Debug, Default)]
pub struct Descent;

impl Strategy for Descent {
    fn name(&self) -> &'static str {
        "descent"
    }

    fn propose(&mut self, round: &mut Round<'_>, n: usize) -> Vec<Values> {
        let mut queues: Vec<Vec<Arc<Member>>> = Vec::new();
        for start in starts(&round.fastest()) {
            let neighbours = neighbours(round, &start);
            queues.push(round.ranked(neighbours));
        }
        // In turns, the better structure first.
        let longest = queues.iter().map(Vec::len).max().unwrap_or(0);
        let turns = (0..longest).flat_map(|k| queues.iter().filter_map(move |q| q.get(k)));
        let mut found: Vec<&Arc<Member>> = Vec::new();
        for member in turns {
            if found.len() < n && found.iter().all(|m| m.identity != member.identity) {
                found.push(member);
            }
        }
        found.into_iter().map(|m| m.values()).collect()
    }
}

/// The best member, and the best one of another structure, or, if there is none, the best that has
/// little in common with it.
fn starts(fastest: &[Arc<Member>]) -> Vec<Arc<Member>> {
    let Some((best, others)) = fastest.split_first() else {
        return vec![];
    };
    let differs = |m: &&Arc<Member>| !same_structure(best, m);
    let far = |m: &&Arc<Member>| similarity(best, m) <= ALIKE;
    let second = others.iter().find(differs).or(others.iter().find(far));
    let all = [Some(best), second];
    all.into_iter().flatten().take(STARTS).cloned().collect()
}

fn same_structure(a: &Member, b: &Member) -> bool {
    let pairs = a.parameters.iter().zip(&b.parameters);
    a.parameters.len() == b.parameters.len()
        && pairs
            .into_iter()
            .all(|(p, q)| p.name == q.name && p.options == q.options)
}

/// All members that differ from one by the value of one parameter, and what follows from it.
fn neighbours(round: &mut Round<'_>, member: &Member) -> Vec<Arc<Member>> {
    let mut found = Vec::new();
    for p in &member.parameters {
        for option in p.options.iter().filter(|o| *o != p.value()) {
            let mut values = member.values();
            values.set(&p.name, option);
            found.extend(round.member(&values));
        }
    }
    found
}
