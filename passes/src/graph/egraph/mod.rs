//! The e-graph: equal terms side by side, of which the cheapest are taken.
//!
//! A graph is cut into regions at values through which all flows ([`cut`]); equal ones are rewritten
//! once ([`part`]). A region becomes terms over the op table ([`term`]), in classes of equal values
//! that know their type and small constants ([`facts`]). [`rules`] add terms that are equal to
//! others, found however they are spelled ([`pattern`]), until nothing is new or a count is reached
//! ([`saturate`]); then the cheapest member of each class makes the new graph ([`extract`],
//! [`region`]), with exchanges where that is not cheaper than the graph was ([`improve`]). All
//! limits are counts, so the same graph gives the same result.
mod cut;
mod extract;
mod facts;
mod improve;
mod part;
mod pattern;
mod region;
mod rule;
pub mod rules;
mod sample;
mod saturate;
mod syntax;
mod term;

pub use rule::{Rounding, Rule, Stands};
pub use sample::Spelling;
pub use saturate::Stop;

use super::Rewriter;
use crate::pipeline::Precision;
use facts::Leaf;
use part::Part;
use region::Made;
use rule::Ready;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use tensmith_ir::graph::{Graph, GraphError, ValueId};

/// What the e-graph did to a graph.
#[derive(Clone, Debug)]
pub struct Report {
    /// Regions of the graph.
    pub regions: usize,
    /// Regions that are not equal to another one, but for weights.
    pub distinct: usize,
    /// Why the rules ended: of all regions, the reason that leaves most undone.
    pub stop: Stop,
    /// Rounds of rules, of the region that took most.
    pub rounds: usize,
    /// Nodes at the end, of all distinct regions.
    pub nodes: usize,
    /// Classes at the end, of all distinct regions.
    pub classes: usize,
    /// What the terms of the graph cost before and after, by which members are chosen: more after
    /// only where the normal form of a pattern takes more operations than the spelling that it had.
    ///
    /// Units: about vector operations on elements.
    pub cost: (f64, f64),
    /// Whether the graph is another one now.
    pub changed: bool,
    /// What the kernels are predicted to take that the directed path alone would make, and those that
    /// are made: less or as much, unless a form was found that [`Stands::Always`]. The pipeline fills
    /// it in.
    ///
    /// Units: cycles of one core, but for scalar work, of which normal forms decide.
    pub cycles: [f64; 2],
    /// Whether the directed path, with what [`Stands::Always`], is cheaper than what all rules make, and
    /// stands.
    pub gave_way: bool,
    /// How often each rule found something new, in all regions.
    pub fired: Vec<(&'static str, usize)>,
    /// The nodes of the result that a rule made, by their names, with the rule's.
    pub made: Vec<(String, &'static str)>,
}

/// The rules that a precision admits.
pub fn admitted(precision: Precision) -> impl Iterator<Item = &'static Rule> {
    rules::all().filter(move |r| precision.admits(r.rounding))
}

fn ready(rules: impl Iterator<Item = &'static Rule>) -> Vec<Ready> {
    rules.map(Ready::new).collect()
}

/// The cheapest graph that the rules find equal which a precision admits, and how it came about.
///
/// Errors: never for a valid graph.
pub fn rewrite_by_rules(
    graph: &Graph,
    precision: Precision,
) -> Result<(Graph, Report), GraphError> {
    rewrite_by(graph, admitted(precision))
}

/// The cheapest graph that some rules find equal, and how it came about.
///
/// Errors: never for a valid graph.
pub fn rewrite_by(
    graph: &Graph,
    rules: impl Iterator<Item = &'static Rule>,
) -> Result<(Graph, Report), GraphError> {
    let rules = ready(rules);
    let (uses, regions) = (graph.uses(), cut::regions(graph, &rules));
    let mut report = Report {
        regions: regions.len(),
        distinct: 0,
        stop: Stop::Saturated,
        rounds: 0,
        nodes: 0,
        classes: 0,
        cost: (0.0, 0.0),
        changed: false,
        cycles: [0.0; 2],
        gave_way: false,
        fired: rules.iter().map(|r| (r.rule.name, 0)).collect(),
        made: vec![],
    };
    let mut known: HashMap<String, Rc<Outcome>> = HashMap::new();
    let mut facts: HashMap<ValueId, Leaf> = HashMap::new();
    let mut cx = Rewriter::new(graph);
    for nodes in regions {
        let part = Part::new(graph, &nodes, &uses, &|v| facts.get(&v).cloned());
        let text = part.is_plain().then(|| part.text());
        let outcome = match text.as_ref().and_then(|t| known.get(t)) {
            Some(outcome) => outcome.clone(),
            None => {
                let outcome = Rc::new(Outcome::of(&part, &rules)?);
                report.add_distinct(&outcome);
                known.extend(text.map(|t| (t, outcome.clone())));
                outcome
            }
        };
        report.add(&outcome);
        let made = part.build(&mut cx, &outcome.graph, &outcome.made)?;
        report.made.extend(made);
        facts.extend(part.results.iter().copied().zip(outcome.results.clone()));
    }
    Ok((cx.finish(), report))
}

/// What the rules made of a region.
struct Outcome {
    graph: Graph,
    made: Made,
    /// Whether the graph is another one than that of the part.
    changed: bool,
    /// What is known of the outputs.
    results: Vec<Leaf>,
    run: saturate::Run,
    nodes: usize,
    classes: usize,
    cost: (f64, f64),
}

impl Outcome {
    fn of(part: &Part, rules: &[Ready]) -> Result<Self, GraphError> {
        let graph = &part.graph;
        let mut imported = part.import();
        let as_it_is = extract::extract(&imported.terms, &HashSet::new());
        let before = extract::total(&imported.terms, &as_it_is, &imported.roots(graph));
        let run = saturate::saturate(&mut imported.terms, rules);
        let mut choice = extract::extract(&imported.terms, &run.normal);
        let roots = imported.roots(graph);
        let mut after = extract::total(&imported.terms, &choice, &roots);
        if improve::exceeds(after, before) {
            let known = (&imported.written[..], &run.normal);
            choice = improve::improve(&imported.terms, &choice, known, (&roots, before));
            after = extract::total(&imported.terms, &choice, &roots);
        }
        let (new, made) = region::export(graph, &imported, &choice, &run.origin)?;
        let results = graph.outputs.iter().map(|v| imported.leaf(*v));
        Ok(Outcome {
            changed: !made.is_empty() || new.full_text() != graph.full_text(),
            graph: new,
            made,
            results: results.collect(),
            run,
            nodes: imported.terms.total_number_of_nodes(),
            classes: imported.terms.number_of_classes(),
            cost: (before, after),
        })
    }
}

impl Report {
    /// Whether a rule found something new that stands always.
    pub fn has_lasting(&self) -> bool {
        let lasting =
            |name: &str| rules::all().any(|r| r.name == name && r.stands == Stands::Always);
        (self.fired.iter()).any(|(name, count)| *count > 0 && lasting(name))
    }

    /// Counts what was done for a region and those equal to it.
    fn add_distinct(&mut self, outcome: &Outcome) {
        self.distinct += 1;
        self.stop = self.stop.max(outcome.run.stop);
        self.rounds = self.rounds.max(outcome.run.rounds);
        self.nodes += outcome.nodes;
        self.classes += outcome.classes;
    }

    /// Counts what holds of a region.
    fn add(&mut self, outcome: &Outcome) {
        self.cost.0 += outcome.cost.0;
        self.cost.1 += outcome.cost.1;
        self.changed |= outcome.changed;
        for (sum, (_, count)) in self.fired.iter_mut().zip(&outcome.run.fired) {
            sum.1 += count;
        }
    }
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
    let run = saturate::saturate(&mut imported.terms, &ready(admitted(precision)));
    let cheapest = extract::extract(&imported.terms, &run.normal);
    let dearest = extract::extract_dearest(&imported.terms);
    Ok([
        region::export(graph, &imported, &cheapest, &run.origin)?.0,
        region::export(graph, &imported, &dearest, &run.origin)?.0,
    ])
}
