//! Coordinate descent: the best members with one parameter changed.
use super::round::similarity;
use super::{Round, Strategy};
use crate::space::Member;
use std::sync::Arc;
use tensmith_passes::schedule::parameters::Values;

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
        let starts = starts(&round.fastest());
        let changes: Vec<Vec<Values>> = starts.iter().map(|s| changes(round, s)).collect();
        // The two structures in turns, the better one first.
        let mut found: Vec<Vec<Arc<Member>>> = vec![vec![]; starts.len()];
        for (start, values) in in_turns(&changes) {
            found[start].extend(round.member(values));
        }
        let queues: Vec<Vec<Arc<Member>>> = found.into_iter().map(|f| round.ranked(f)).collect();
        let mut chosen: Vec<&Arc<Member>> = Vec::new();
        for (_, member) in in_turns(&queues) {
            if chosen.len() < n && chosen.iter().all(|m| m.identity != member.identity) {
                chosen.push(member);
            }
        }
        chosen.into_iter().map(|m| m.values()).collect()
    }
}

/// The first of each list, then the second of each, with the numbers of their lists.
fn in_turns<T>(lists: &[Vec<T>]) -> Vec<(usize, &T)> {
    let longest = lists.iter().map(Vec::len).max().unwrap_or(0);
    let turn = |k: usize| {
        let lists = lists.iter().enumerate();
        lists.filter_map(move |(list, items)| Some((list, items.get(k)?)))
    };
    (0..longest).flat_map(turn).collect()
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

/// All values that differ from those of a member in one parameter: the options next to its own
/// first, in a random order of the parameters.
fn changes(round: &mut Round<'_>, member: &Member) -> Vec<Values> {
    let mut found: Vec<((usize, u64), Values)> = Vec::new();
    for p in &member.parameters {
        let order = round.random().bits();
        for (k, option) in p.options.iter().enumerate() {
            if k != p.chosen {
                let mut values = member.values();
                values.set(&p.name, option);
                found.push(((k.abs_diff(p.chosen), order), values));
            }
        }
    }
    found.sort_by_key(|(order, _)| *order);
    found.into_iter().map(|(_, values)| values).collect()
}
