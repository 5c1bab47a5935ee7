//! The e-graph: equal terms side by side, of which the cheapest are taken.
//!
//! A graph becomes terms over the op table ([`term`]), in classes of equal values that know their
//! type and small constants ([`facts`]). [`rules`] add terms that are equal to others, found however
//! they are spelled ([`pattern`]), until nothing is new or a count is reached ([`saturate`]); then
//! the cheapest member of each class makes the new graph ([`extract`], [`region`]). All limits are
//! counts, so the same graph gives the same result.
mod extract;
mod facts;
mod pattern;
mod region;
mod rule;
pub mod rules;
mod sample;
mod saturate;
mod syntax;
mod term;

pub use rule::{Rounding, Rule};
pub use sample::Spelling;
pub use saturate::Stop;

use crate::pipeline::Precision;
use region::Imported;
use std::collections::{BTreeMap, HashSet};
use tensmith_ir::graph::{Graph, GraphError};

/// What the e-graph did to a graph.
#[derive(Clone, Debug)]
pub struct Report {
    /// Why the rules ended.
    pub stop: Stop,
    /// Rounds of rules.
    pub rounds: usize,
    /// Nodes and classes at the end.
    pub size: (usize, usize),
    /// How often each rule found something new.
    pub fired: Vec<(&'static str, usize)>,
    /// How many nodes of the result each rule made.
    pub used: BTreeMap<&'static str, usize>,
}

/// The rules that a precision admits.
pub fn admitted(precision: Precision) -> impl Iterator<Item = &'static Rule> {
    rules::all().filter(move |r| match precision {
        Precision::Exact => r.rounding == Rounding::Exact,
        Precision::Standard => true,
    })
}

/// The cheapest graph that the rules find equal, and how it came about.
///
/// Errors: never for a valid graph.
pub fn rewrite_by_rules(
    graph: &Graph,
    precision: Precision,
) -> Result<(Graph, Report), GraphError> {
    let mut imported = region::import(graph);
    let run = saturate::saturate(&mut imported.terms, admitted(precision));
    let choice = extract::extract(&imported.terms, &run.normal);
    let report = Report {
        stop: run.stop,
        rounds: run.rounds,
        size: (
            imported.terms.total_number_of_nodes(),
            imported.terms.number_of_classes(),
        ),
        used: used(graph, &imported, &choice, &run),
        fired: run.fired,
    };
    Ok((region::export(graph, &imported, &choice)?, report))
}

/// Two graphs that the rules find equal to a graph: the cheapest, and the dearest member of each
/// class. For tests of rules and classes.
///
/// Errors: never for a valid graph.
pub fn extremes(graph: &Graph, precision: Precision) -> Result<[Graph; 2], GraphError> {
    let mut imported = region::import(graph);
    let run = saturate::saturate(&mut imported.terms, admitted(precision));
    let cheapest = extract::extract(&imported.terms, &run.normal);
    let dearest = extract::extract_dearest(&imported.terms);
    Ok([
        region::export(graph, &imported, &cheapest)?,
        region::export(graph, &imported, &dearest)?,
    ])
}

/// How many nodes of the result each rule made.
fn used(
    graph: &Graph,
    imported: &Imported,
    choice: &extract::Choice,
    run: &saturate::Run,
) -> BTreeMap<&'static str, usize> {
    let terms = &imported.terms;
    let canonical = |t: &term::Term| egg::Language::map_children(t.clone(), |c| terms.find(c));
    let mut todo: Vec<egg::Id> = graph
        .outputs
        .iter()
        .map(|v| imported.classes[v.0 as usize])
        .collect();
    let (mut seen, mut used) = (HashSet::new(), BTreeMap::new());
    while let Some(class) = todo.pop() {
        if seen.insert(terms.find(class)) {
            let term = canonical(choice.term(terms, class));
            todo.extend(egg::Language::children(&term));
            if let Some(rule) = run.origin.get(&term) {
                *used.entry(*rule).or_default() += 1;
            }
        }
    }
    used
}
