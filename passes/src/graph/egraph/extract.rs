//! Extraction: of each class, the member with which all that it needs costs least.
//!
//! A class that several need is paid for once: the cost of a member is that of the set of classes
//! below it. Which members are best is found greedily, bottom-up, until nothing changes.
//! Source: Goharshady, Lam and Parreaux, Fast and optimal extraction for sparse equality graphs,
//! OOPSLA 2024, for the problem; the greedy form is that of the extraction gym of the egg project.
use super::facts::Terms;
use super::term::{Call, Term};
use crate::partition::operations_of;
use egg::{Id, Language};
use std::collections::{HashMap, HashSet};
use tensmith_ir::expr::Atom;
use tensmith_ir::graph::TensorType;
use tensmith_ir::ops::Class;

/// Elements along a dimension that is not known.
const TYPICAL_EXTENT: i64 = 64;
/// What a node costs beside its elements, so that fewer nodes are better.
const NODE: f64 = 16.0;
/// What a member costs that is not the normal form where there is one.
pub const OTHER_FORM: f64 = 1e15;
/// What a node of constants costs: nothing in a run, but fewer are better.
const FIXED: f64 = 1e-3;

/// The members that were chosen.
#[derive(Clone)]
pub struct Choice {
    pub(super) best: HashMap<Id, Term>,
}

/// Classes below a member, as bits, with what they cost.
#[derive(Clone, Debug)]
struct Set {
    bits: Vec<u64>,
    cost: f64,
}

impl Choice {
    /// The member of a class that was chosen.
    pub fn term(&self, terms: &Terms, class: Id) -> &Term {
        &self.best[&terms.find(class)]
    }
}

/// What the members of a choice cost that some classes need, each once.
///
/// Units: as those of members.
pub fn total(terms: &Terms, choice: &Choice, roots: &[Id]) -> f64 {
    let mut todo: Vec<Id> = roots.iter().map(|c| terms.find(*c)).collect();
    let mut seen = HashSet::new();
    let mut sum = 0.0;
    while let Some(class) = todo.pop() {
        if seen.insert(class) {
            let term = choice.term(terms, class);
            sum += cost(terms, class, term);
            todo.extend(term.children().iter().map(|c| terms.find(*c)));
        }
    }
    sum
}

/// Chooses a member of each class.
pub fn extract(terms: &Terms, normal: &HashSet<Term>) -> Choice {
    if terms.total_number_of_nodes() == terms.number_of_classes() {
        let only = terms.classes().map(|c| (c.id, c.nodes[0].clone()));
        return Choice {
            best: only.collect(),
        };
    }
    let mut classes: Vec<Id> = terms.classes().map(|c| c.id).collect();
    classes.sort();
    let number: HashMap<Id, usize> = classes.iter().enumerate().map(|(k, id)| (*id, k)).collect();
    let mut own = vec![0.0; classes.len()];
    let mut best: HashMap<Id, (Term, Set)> = HashMap::new();
    let has_normal: HashSet<Id> = classes
        .iter()
        .copied()
        .filter(|c| terms[*c].nodes.iter().any(|t| normal.contains(t)))
        .collect();
    let mut changed = true;
    while changed {
        changed = false;
        for (k, class) in classes.iter().enumerate() {
            for term in &terms[*class].nodes {
                let Some(mut set) = below(terms, &best, term, (&number, &own)) else {
                    continue;
                };
                if set.bits[k / 64] >> (k % 64) & 1 == 1 {
                    continue;
                }
                let other = has_normal.contains(class) && !normal.contains(term);
                let cost = cost(terms, *class, term) + if other { OTHER_FORM } else { 0.0 };
                set.bits[k / 64] |= 1 << (k % 64);
                set.cost += cost;
                let better =
                    |old: &(Term, Set)| (set.cost, term) < (old.1.cost * (1.0 - 1e-12), &old.0);
                if best.get(class).is_none_or(better) {
                    own[k] = cost;
                    best.insert(*class, (term.clone(), set));
                    changed = true;
                }
            }
        }
    }
    let members = best.into_iter().map(|(class, (term, _))| (class, term));
    Choice {
        best: members.collect(),
    }
}

/// Chooses the member of each class that costs most by itself, among those that need classes
/// nearer to the leaves only. If rules are right, what it makes is equal to what [`extract`] does.
pub fn extract_dearest(terms: &Terms) -> Choice {
    let mut heights: HashMap<Id, usize> = HashMap::new();
    let mut changed = true;
    let height = |term: &Term, heights: &HashMap<Id, usize>| {
        let of = |c: &Id| heights.get(&terms.find(*c)).map(|h| h + 1);
        term.children()
            .iter()
            .map(of)
            .try_fold(0, |most, h| Some(h?.max(most)))
    };
    while changed {
        changed = false;
        for class in terms.classes() {
            let least = class.nodes.iter().filter_map(|t| height(t, &heights)).min();
            let Some(least) = least else { continue };
            let known = heights.entry(class.id).or_insert(usize::MAX);
            changed |= least < *known;
            *known = least.min(*known);
        }
    }
    let mut best = HashMap::new();
    for class in terms.classes() {
        let falls = |t: &&Term| height(t, &heights).is_some_and(|h| h <= heights[&class.id]);
        let nodes = class.nodes.iter().filter(falls);
        let by_cost = |a: &&Term, b: &&Term| {
            let [x, y] = [a, b].map(|t| cost(terms, class.id, t));
            x.total_cmp(&y).then_with(|| a.cmp(b))
        };
        if let Some(term) = nodes.max_by(by_cost) {
            best.insert(class.id, term.clone());
        }
    }
    Choice { best }
}

/// The classes that the operands of a term need; `None` while one has no choice.
fn below(
    terms: &Terms,
    best: &HashMap<Id, (Term, Set)>,
    term: &Term,
    (number, own): (&HashMap<Id, usize>, &[f64]),
) -> Option<Set> {
    let mut set = Set {
        bits: vec![0; number.len().div_ceil(64)],
        cost: 0.0,
    };
    for child in term.children() {
        let (_, below) = best.get(&terms.find(*child))?;
        for (word, (into, from)) in set.bits.iter_mut().zip(&below.bits).enumerate() {
            let mut fresh = from & !*into;
            *into |= from;
            while fresh != 0 {
                set.cost += own[word * 64 + fresh.trailing_zeros() as usize];
                fresh &= fresh - 1;
            }
        }
    }
    Some(set)
}

/// What computing one member takes once its operands are there.
///
/// Units: about vector operations on elements.
pub fn cost(terms: &Terms, class: Id, term: &Term) -> f64 {
    let facts = &terms[class].data;
    match term {
        Term::Leaf(_) | Term::Constant(_) | Term::Part(..) => 0.0,
        Term::Call(_) if facts.fixed => FIXED,
        Term::Call(call) => {
            let results: f64 = facts.types.iter().map(elements).sum();
            let operands = call.args.iter().map(|id| elements(terms[*id].data.ty()));
            let operands: f64 = operands.fold(0.0, f64::max);
            NODE + match call.op.class {
                Class::Elementwise => results * operations_of(call.op.name),
                Class::Movement if call.op.name == "reshape" => 0.0,
                Class::Movement => 2.0 * results,
                Class::Reduction => 2.0 * operands,
                Class::Row => 14.0 * operands,
                Class::Contraction => contraction(terms, call, results),
                Class::Opaque | Class::Control => 8.0 * (operands + results),
            }
        }
    }
}

/// Multiply-adds, of which a vector's worth is two operations.
fn contraction(terms: &Terms, call: &Call, results: f64) -> f64 {
    let sizes = call.args.iter().map(|id| elements(terms[*id].data.ty()));
    let operands: f64 = sizes.clone().product();
    // For products of matrices: the root of what is read and written, multiplied.
    let depth = (operands / results.max(1.0)).max(1.0).sqrt();
    results * depth + sizes.sum::<f64>()
}

fn elements(ty: &TensorType) -> f64 {
    let extent = |atom: &Atom| match atom {
        Atom::Size(_) => Some(TYPICAL_EXTENT),
        _ => None,
    };
    let count = ty.count().eval(&extent).unwrap_or(TYPICAL_EXTENT);
    count as f64
}
