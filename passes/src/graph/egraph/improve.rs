//! Better choices: one member at a time, as long as all that is needed becomes cheaper.
//!
//! Extraction looks at one class after the other and cannot see that a class which another needs
//! anyway would make its own member superfluous. So where its choice costs more than the graph as
//! it was written, members are exchanged one by one; and the graph as it was written, its patterns in
//! their normal forms, is the other start from which that is done.
use super::extract::{Choice, OTHER_FORM, cost};
use super::facts::Terms;
use super::term::Term;
use egg::{Id, Language};
use std::collections::{HashMap, HashSet};
use tensmith_ir::ops::Lower;

/// Classes that are visited at most, so that a large model takes some milliseconds.
const WORK: usize = 1 << 20;

/// What is less than one vector operation is no difference.
const EVEN: f64 = 1.0;

/// Whether a cost is above another one.
pub fn exceeds(cost: f64, other: f64) -> bool {
    cost - other >= EVEN
}

/// What members cost: one that is not the normal form where there is one costs more than all others.
struct Prices<'a> {
    terms: &'a Terms,
    normal: &'a HashSet<Term>,
}

/// What a choice costs; `None` if it goes in circles, or a class has no member.
#[derive(Clone, Copy)]
struct Total {
    cost: f64,
    priced: f64,
}

impl Prices<'_> {
    fn has_normal(&self, class: Id) -> bool {
        let nodes = &self.terms[class].nodes;
        nodes.iter().any(|t| self.normal.contains(t))
    }

    /// The cheapest normal form.
    fn normal_of(&self, class: Id) -> Option<Term> {
        let nodes = self.terms[class].nodes.iter();
        let by_cost = |a: &&Term, b: &&Term| {
            let [x, y] = [a, b].map(|t| cost(self.terms, class, t));
            x.total_cmp(&y).then_with(|| a.cmp(b))
        };
        let normal = nodes.filter(|t| self.normal.contains(*t));
        normal.min_by(by_cost).cloned()
    }

    /// Whether a member is not the normal form where there is one.
    fn is_other(&self, class: Id, term: &Term) -> bool {
        self.has_normal(class) && !self.normal.contains(term)
    }

    /// Sums over what the roots need, and lists it.
    fn total(&self, choice: &Choice, roots: &[Id]) -> Option<(Total, Vec<Id>)> {
        let roots: Vec<Id> = roots.iter().map(|c| self.terms.find(*c)).collect();
        let mut sum = Total {
            cost: 0.0,
            priced: 0.0,
        };
        // Whether a class is finished.
        let mut seen: HashMap<Id, bool> = HashMap::new();
        let mut needed = Vec::new();
        let mut readers: HashMap<Id, usize> = HashMap::new();
        let mut views = Vec::new();
        let mut todo: Vec<(Id, bool)> = roots.iter().map(|c| (*c, false)).collect();
        while let Some((class, leave)) = todo.pop() {
            if leave {
                seen.insert(class, true);
                continue;
            }
            match seen.get(&class) {
                Some(true) => continue,
                Some(false) => return None,
                None => {}
            }
            let term = choice.best.get(&class)?;
            sum.cost += cost(self.terms, class, term);
            if self.is_other(class, term) {
                match term {
                    Term::Call(c) if matches!(c.op.lower, Lower::View) => {
                        views.push(self.terms.find(c.args[0]));
                    }
                    _ => sum.priced += OTHER_FORM,
                }
            }
            seen.insert(class, false);
            needed.push(class);
            todo.push((class, true));
            for child in term.children().iter().map(|c| self.terms.find(*c)) {
                *readers.entry(child).or_default() += 1;
                todo.push((child, false));
            }
        }
        // A view of a value that is there anyway is no other form.
        let alone = views
            .iter()
            .filter(|of| readers[*of] == 1 && !roots.contains(of));
        sum.priced += sum.cost + OTHER_FORM * alone.count() as f64;
        Some((sum, needed))
    }

    /// Exchanges members while that makes all that is needed cheaper.
    fn improve(&self, mut choice: Choice, roots: &[Id]) -> Option<(Total, Choice)> {
        let (mut best, mut needed) = self.total(&choice, roots)?;
        let mut work = WORK;
        let mut changed = true;
        while changed {
            changed = false;
            for class in needed.clone() {
                for term in &self.terms[class].nodes {
                    if work == 0 {
                        return Some((best, choice));
                    }
                    if choice.best.get(&class) == Some(term) {
                        continue;
                    }
                    let old = choice.best.insert(class, term.clone());
                    work = work.saturating_sub(needed.len());
                    match self.total(&choice, roots) {
                        Some((total, now)) if total.priced < best.priced - EVEN / 2.0 => {
                            (best, needed) = (total, now);
                            changed = true;
                        }
                        _ => choice.best.extend(old.map(|t| (class, t))),
                    }
                }
            }
        }
        Some((best, choice))
    }
}

/// The graph as it was written: of each class, the member that was there first. `written` are the
/// members in the order of the graph, `other` has members of classes that rules made.
fn as_written(
    prices: &Prices<'_>,
    (written, other): (&[(Id, Term)], &Choice),
    roots: &[Id],
) -> Choice {
    let terms = prices.terms;
    let mut choice = other.clone();
    let mut first = HashSet::new();
    for (class, term) in written {
        let class = terms.find(*class);
        if first.insert(class) {
            let term = term.clone().map_children(|c| terms.find(c));
            choice.best.insert(class, term);
        }
    }
    let normal: Vec<(Id, Term)> = first
        .into_iter()
        .filter_map(|class| Some((class, prices.normal_of(class)?)))
        .collect();
    let mut recognised = choice.clone();
    recognised.best.extend(normal);
    match prices.total(&recognised, roots) {
        Some(_) => recognised,
        None => choice,
    }
}

/// A choice that costs no more than `limit`, what the graph costs as it was written, if normal
/// forms allow it; else the cheapest one that is known. `choice` costs more than that.
pub fn improve(
    terms: &Terms,
    choice: &Choice,
    (written, normal): (&[(Id, Term)], &HashSet<Term>),
    (roots, limit): (&[Id], f64),
) -> Choice {
    let prices = Prices { terms, normal };
    let found = prices.improve(choice.clone(), roots);
    if let Some((total, better)) = &found
        && !exceeds(total.cost, limit)
    {
        return better.clone();
    }
    let start = as_written(&prices, (written, choice), roots);
    let other = prices.improve(start, roots);
    let all = found.into_iter().chain(other);
    let cheapest = all.min_by(|a, b| a.0.priced.total_cmp(&b.0.priced));
    cheapest.map_or_else(|| choice.clone(), |(_, c)| c)
}
