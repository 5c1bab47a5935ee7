//! Saturation: rules are applied until nothing is new, or a count is reached.
use super::facts::Terms;
use super::pattern::View;
use super::rule::{Normal, Ready, add};
use super::term::Term;
use egg::Language;
use std::collections::{HashMap, HashSet};

/// Rounds of rules at most.
const ROUNDS: usize = 8;
/// Nodes beyond those of the graph, for each of them.
const GROWTH: usize = 8;
/// Nodes beyond that, for small graphs.
const SPARE: usize = 2000;

/// Why saturation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// No rule had anything new.
    Saturated,
    /// The limit of rounds.
    Rounds,
    /// The limit of nodes.
    Nodes,
}

impl Stop {
    /// The words for it.
    pub fn text(self) -> &'static str {
        match self {
            Stop::Saturated => "saturated",
            Stop::Rounds => "limit of rounds",
            Stop::Nodes => "limit of nodes",
        }
    }
}

/// What a run of the rules did.
#[derive(Clone, Debug)]
pub struct Run {
    /// Why it ended.
    pub stop: Stop,
    /// Rounds of rules.
    pub rounds: usize,
    /// How often each rule found something new.
    pub fired: Vec<(&'static str, usize)>,
    /// The rule that made a node which the graph did not have.
    pub origin: HashMap<Term, &'static str>,
    /// Normal forms of what was recognised.
    pub normal: HashSet<Term>,
}

impl Run {
    /// Names nodes by the classes as they are now.
    fn refresh(&mut self, terms: &Terms) {
        let now = |t: Term| t.map_children(|c| terms.find(c));
        self.origin = self
            .origin
            .drain()
            .map(|(t, rule)| (now(t), rule))
            .collect();
        self.normal = self.normal.drain().map(now).collect();
    }
}

/// Applies rules.
pub fn saturate(terms: &mut Terms, rules: &[Ready]) -> Run {
    let limit = terms.total_number_of_nodes() * (1 + GROWTH) + SPARE;
    let mut run = Run {
        stop: Stop::Rounds,
        rounds: 0,
        fired: rules.iter().map(|r| (r.rule.name, 0)).collect(),
        origin: HashMap::new(),
        normal: HashSet::new(),
    };
    while run.rounds < ROUNDS {
        run.rounds += 1;
        let mut found = Vec::new();
        let view = View::new(terms);
        for (k, rule) in rules.iter().enumerate() {
            for class in rule.places(&view) {
                let trees = rule.search(&view, class);
                found.extend(trees.into_iter().map(|t| (k, class, t)));
            }
        }
        let mut new = false;
        for (k, class, tree) in found {
            if terms.total_number_of_nodes() > limit {
                run.stop = Stop::Nodes;
                break;
            }
            let mut made = Vec::new();
            let Some(id) = add(terms, tree, &mut made) else {
                continue;
            };
            // A result of another shape would have to be expanded.
            let class = terms.find(class);
            if terms[id].data.types != terms[class].data.types {
                continue;
            }
            let before = run.normal.len();
            let normal = match rules[k].rule.normal() {
                Normal::No => 0,
                Normal::Root => 1,
                Normal::All => made.len(),
            };
            let forms = made.iter().rev().take(normal);
            run.normal.extend(forms.map(|(t, _)| t.clone()));
            if terms.find(id) != class {
                terms.union(class, id);
                run.fired[k].1 += 1;
                new = true;
            }
            new |= run.normal.len() > before;
            for (term, _) in made.into_iter().filter(|(_, new)| *new) {
                run.origin.entry(term).or_insert(rules[k].rule.name);
            }
        }
        terms.rebuild();
        run.refresh(terms);
        if !new {
            run.stop = Stop::Saturated;
        }
        if run.stop != Stop::Rounds {
            break;
        }
    }
    run
}
