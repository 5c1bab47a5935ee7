//! The e-graph: equal terms side by side, of which the cheapest are taken.
//!
//! A graph becomes terms over the op table ([`term`]), in classes of equal values that know their
//! type and small constants ([`facts`]). [`rules`] add terms that are equal to others, found however
//! they are spelled ([`pattern`]), until nothing is new or a count is reached ([`saturate`]); then
//! the cheapest member of each class makes the new graph ([`extract`], [`region`]), with exchanges
//! where that is not cheaper than the graph was ([`improve`]). All limits are counts, so the same
//! graph gives the same result.
mod extract;
mod facts;
mod improve;
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
use std::collections::HashSet;
use tensmith_ir::graph::{Graph, GraphError};

/// What the e-graph did to a graph.
#[derive(Clone, Debug)]
pub struct Report {
    /// Why the rules ended.
    pub stop: Stop,
    /// Rounds of rules.
    pub rounds: usize,
    /// Nodes at the end.
    pub nodes: usize,
    /// Classes at the end.
    pub classes: usize,
    /// What the graph was predicted to cost before and after, about in vector operations on
    /// elements: more after only where the normal form of a pattern takes more of them than the
    /// spelling that it had.
    pub cost: (f64, f64),
    /// How often each rule found something new.
    pub fired: Vec<(&'static str, usize)>,
    /// The nodes of the result that a rule made, by their names, with the rule's.
    pub made: Vec<(String, &'static str)>,
}

/// The rules that a precision admits.
pub fn admitted(precision: Precision) -> impl Iterator<Item = &'static Rule> {
    rules::all().filter(move |r| precision.admits(r.rounding))
}

/// The cheapest graph that the rules find equal, and how it came about.
///
/// Errors: never for a valid graph.
pub fn rewrite_by_rules(
    graph: &Graph,
    precision: Precision,
) -> Result<(Graph, Report), GraphError> {
    let mut imported = region::import(graph);
    let as_it_is = extract::extract(&imported.terms, &HashSet::new());
    let before = extract::total(&imported.terms, &as_it_is, &imported.roots(graph));
    let run = saturate::saturate(&mut imported.terms, admitted(precision));
    let mut choice = extract::extract(&imported.terms, &run.normal);
    let roots = imported.roots(graph);
    let mut after = extract::total(&imported.terms, &choice, &roots);
    if improve::exceeds(after, before) {
        let known = (&imported.written[..], &run.normal);
        choice = improve::improve(&imported.terms, &choice, known, (&roots, before));
        after = extract::total(&imported.terms, &choice, &roots);
    }
    let (graph, made) = region::export(graph, &imported, &choice, &run.origin)?;
    let report = Report {
        stop: run.stop,
        rounds: run.rounds,
        nodes: imported.terms.total_number_of_nodes(),
        classes: imported.terms.number_of_classes(),
        cost: (before, after),
        fired: run.fired,
        made,
    };
    Ok((graph, report))
}

/// What a graph is predicted to cost, each of its subgraphs once.
///
/// Units: about vector operations on elements.
pub fn predicted_cost(graph: &Graph) -> f64 {
    let imported = region::import(graph);
    let as_it_is = extract::extract(&imported.terms, &HashSet::new());
    let own = extract::total(&imported.terms, &as_it_is, &imported.roots(graph));
    let regions = graph.nodes.iter().flat_map(|n| &n.regions);
    own + regions.map(predicted_cost).sum::<f64>()
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
        region::export(graph, &imported, &cheapest, &run.origin)?.0,
        region::export(graph, &imported, &dearest, &run.origin)?.0,
    ])
}
