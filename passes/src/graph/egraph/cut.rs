//! Where a graph is cut into regions that are saturated one by one.
//!
//! A separator is a value through which all that an input becomes flows on its way to the results:
//! its node postdominates that input's. What a separator needs and no earlier one does is a region,
//! which reads the separator before it and the few values that other regions share, such as masks.
//!
//! A pattern must not be lost, so a cut is made only where no rule sees through it: nothing looks
//! into what the separator's op makes, or the rules find as much in what lies within their reach on
//! each side alone as on both sides together.
use super::facts::Leaf;
use super::part::Part;
use super::region::stays;
use super::rule::Ready;
use super::saturate::saturate;
use crate::split::constant_values;
use petgraph::algo::dominators::simple_fast;
use petgraph::graphmap::DiGraphMap;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tensmith_ir::graph::{Graph, Node, NodeId, TensorType, ValueId};
use tensmith_ir::ops::Class;

/// Nodes of a region, at least: smaller ones cost more to tell apart than they save.
const LEAST: usize = 12;
/// Operations deep that rules look, at most.
pub const REACH: usize = 9;
/// Operations deep that rules look below a contraction, at most.
const BELOW_CONTRACTION: usize = 2;

/// The nodes of each region, in an order in which no region needs a later one.
pub fn regions(graph: &Graph, rules: &[Ready]) -> Vec<Vec<NodeId>> {
    let mut cutter = Cutter {
        graph,
        rules,
        uses: graph.uses(),
        region: vec![None; graph.nodes.len()],
        clear: HashMap::new(),
    };
    let separators = separators(graph);
    let ty = |id: &NodeId| graph.ty(graph.node(*id).outputs[0]);
    let mut alike: HashMap<&TensorType, usize> = HashMap::new();
    for id in &separators {
        *alike.entry(ty(id)).or_default() += 1;
    }
    let (mut number, mut pending) = (0, 0);
    for separator in separators {
        pending += cutter.assign(separator, number);
        // Equal regions end with values of one type.
        let several = alike[ty(&separator)] > 1;
        if pending >= LEAST && several && cutter.is_clear(separator, number) {
            number += 1;
            pending = 0;
        }
    }
    let mut regions = vec![Vec::new(); number + 1];
    for id in graph.node_ids() {
        regions[cutter.region[id.0 as usize].unwrap_or(number)].push(id);
    }
    regions.retain(|nodes| !nodes.is_empty());
    regions
}

/// The nodes that postdominate an input, which is the one that has most of them, from the input to
/// the results.
fn separators(graph: &Graph) -> Vec<NodeId> {
    let fixed = constant_values(graph);
    let runs = |id: NodeId| graph.node(id).outputs.iter().any(|v| !fixed[v.0 as usize]);
    let end = graph.nodes.len() as u32;
    let mut back: DiGraphMap<u32, ()> = DiGraphMap::new();
    back.add_node(end);
    for v in &graph.outputs {
        if let Some(id) = graph.producer(*v).filter(|id| runs(*id)) {
            back.add_edge(end, id.0, ());
        }
    }
    let mut first = Vec::new();
    for id in graph.node_ids().filter(|id| runs(*id)) {
        let inputs = graph.node(id).inputs.iter();
        let makers = inputs.filter_map(|v| graph.producer(*v).filter(|n| runs(*n)));
        let makers: BTreeSet<NodeId> = makers.collect();
        makers.iter().for_each(|maker| {
            back.add_edge(id.0, maker.0, ());
        });
        if makers.is_empty() {
            first.push(id);
        }
    }
    let tree = simple_fast(&back, end);
    let chain = |id: NodeId| -> Vec<NodeId> {
        let all = tree.dominators(id.0).into_iter().flatten();
        all.filter(|n| *n != end).map(NodeId).collect()
    };
    let chains = first.into_iter().map(chain);
    // Of equals the first.
    let longest = chains.rev().max_by_key(Vec::len).unwrap_or_default();
    let single = |id: &NodeId| graph.node(*id).outputs.len() == 1 && !stays(graph.node(*id));
    longest.into_iter().filter(single).collect()
}

/// Whether no rule looks into what an op makes, and none has it at its root.
fn is_opaque(node: &Node) -> bool {
    let unseen = [
        "conv",
        "conv_transpose",
        "pool_max",
        "resize",
        "gather",
        "pad",
    ];
    node.op.class == Class::Opaque || stays(node) || unseen.contains(&node.op.name)
}

struct Cutter<'g> {
    graph: &'g Graph,
    rules: &'g [Ready],
    uses: Vec<Vec<NodeId>>,
    /// The region of each node that has one.
    region: Vec<Option<usize>>,
    /// Whether a separator with such surroundings is a place to cut at.
    clear: HashMap<String, bool>,
}

impl Cutter<'_> {
    /// Puts into a region what a separator needs and no earlier region has, and counts it.
    fn assign(&mut self, separator: NodeId, number: usize) -> usize {
        let (mut todo, mut count) = (vec![separator], 0);
        while let Some(id) = todo.pop() {
            let region = &mut self.region[id.0 as usize];
            if region.is_none() {
                *region = Some(number);
                count += 1;
                let inputs = self.graph.node(id).inputs.iter();
                todo.extend(inputs.filter_map(|v| self.graph.producer(*v)));
            }
        }
        count
    }

    /// Whether a node is needed by no separator so far.
    fn is_below(&self, id: NodeId) -> bool {
        self.region[id.0 as usize].is_none()
    }

    /// Whether no rule sees through a separator.
    fn is_clear(&mut self, separator: NodeId, number: usize) -> bool {
        debug_assert_eq!(self.region[separator.0 as usize], Some(number));
        if is_opaque(self.graph.node(separator)) {
            return true;
        }
        let seam = Seam::new(self, separator);
        if !seam.may_match(self) {
            return true;
        }
        let whole = seam.whole(self);
        let key = format!("{:?}{}", whole.places(&seam.sides[1]), whole.text());
        if let Some(known) = self.clear.get(&key) {
            return *known;
        }
        let clear = seam.is_clear(self, &whole);
        self.clear.insert(key, clear);
        clear
    }
}

/// What rules can see on both sides of a separator.
struct Seam {
    /// The nodes above it, the separator included, and those below.
    sides: [Vec<NodeId>; 2],
}

impl Seam {
    fn new(cutter: &Cutter<'_>, separator: NodeId) -> Self {
        let seen = |id: &NodeId| !is_opaque(cutter.graph.node(*id));
        let is_contraction = |id: NodeId| cutter.graph.node(id).op.name == "contract";
        let readers = |id: NodeId, left: usize| {
            let results = cutter.graph.node(id).outputs.iter();
            let readers = results.flat_map(|v| cutter.uses[v.0 as usize].iter().copied());
            // Nothing above a contraction looks through it.
            let further = |n: NodeId| if is_contraction(n) { 0 } else { left };
            readers.filter(seen).map(|n| (n, further(n))).collect()
        };
        let makers = |id: NodeId, left: usize| {
            let operands = cutter.graph.node(id).inputs.iter();
            let makers = operands.filter_map(|v| cutter.graph.producer(*v));
            let most = if is_contraction(id) {
                BELOW_CONTRACTION
            } else {
                left
            };
            makers.filter(seen).map(|n| (n, left.min(most))).collect()
        };
        let below = within_reach(&[separator], &readers);
        let all = within_reach(&below, &makers);
        let (below, above) = all.into_iter().partition(|id| cutter.is_below(*id));
        Seam {
            sides: [above, below],
        }
    }

    /// Whether some rule may find something.
    fn may_match(&self, cutter: &Cutter<'_>) -> bool {
        let nodes = self.sides.iter().flatten();
        let ops = nodes.map(|id| cutter.graph.node(*id).op.name).collect();
        cutter.rules.iter().any(|rule| rule.may_match(&ops))
    }

    /// Both sides as one part, in the order of the graph.
    fn whole(&self, cutter: &Cutter<'_>) -> Part {
        let mut nodes = self.sides.concat();
        nodes.sort_unstable();
        Part::new(cutter.graph, &nodes, &cutter.uses, &|_| None)
    }

    /// Whether rules find the same on both sides together as on each side alone.
    fn is_clear(&self, cutter: &Cutter<'_>, whole: &Part) -> bool {
        let (together, _) = counts(whole, cutter.rules);
        if together.iter().all(|count| *count == 0) {
            return true;
        }
        let mut facts: HashMap<ValueId, Leaf> = HashMap::new();
        let mut alone: Option<Vec<usize>> = None;
        for nodes in &self.sides {
            let known = |v: ValueId| facts.get(&v).cloned();
            let part = Part::new(cutter.graph, nodes, &cutter.uses, &known);
            let (counts, leaves) = counts(&part, cutter.rules);
            facts.extend(part.results.iter().copied().zip(leaves));
            alone = Some(match alone {
                Some(sums) => sums.iter().zip(&counts).map(|(a, b)| a + b).collect(),
                None => counts,
            });
        }
        alone == Some(together)
    }
}

/// How often each rule finds something new in a part, and what is known of its results then.
fn counts(part: &Part, rules: &[Ready]) -> (Vec<usize>, Vec<Leaf>) {
    let mut imported = part.import();
    let run = saturate(&mut imported.terms, rules);
    let counts = run.fired.iter().map(|(_, count)| *count).collect();
    let results = part.graph.outputs.iter();
    (counts, results.map(|v| imported.leaf(*v)).collect())
}

/// What rules reach from some nodes; `next` says for a node and the steps that are left from there
/// what comes next, and the steps left from that.
fn within_reach(
    from: &[NodeId],
    next: &dyn Fn(NodeId, usize) -> Vec<(NodeId, usize)>,
) -> Vec<NodeId> {
    let mut left: BTreeMap<NodeId, usize> = from.iter().map(|id| (*id, REACH)).collect();
    let mut todo: Vec<NodeId> = from.to_vec();
    while let Some(id) = todo.pop() {
        let Some(steps) = left[&id].checked_sub(1) else {
            continue;
        };
        for (near, steps) in next(id, steps) {
            let known = left.get(&near).copied();
            if known.is_none_or(|k| k < steps) {
                left.insert(near, steps);
                todo.push(near);
            }
        }
    }
    left.into_keys().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::egraph::region::import;
    use crate::graph::egraph::rule::Kind;
    use crate::graph::egraph::syntax::{Names, Syntax, parse};
    use crate::graph::egraph::{Spelling, rules};

    /// A pattern of an equation is spelled with one more operation here and there.
    #[test]
    fn rules_look_no_deeper_than_they_reach() {
        for rule in rules::all() {
            if let Kind::Equation(e) = &rule.kind {
                let left = parse(e.left, &mut Names::default());
                assert!(depth(&left) <= REACH, "{}", rule.name);
            }
        }
    }

    /// Applications below each other, at most.
    fn depth(side: &Syntax) -> usize {
        match side {
            Syntax::Var(_) | Syntax::Number(_) => 0,
            Syntax::Call { args, .. } => 1 + args.iter().map(depth).max().unwrap_or(0),
        }
    }

    #[test]
    fn rules_find_nothing_where_they_may_not_match() {
        for rule in rules::all().map(Ready::new) {
            for seed in 0..20 {
                let left = rule.rule.sample(seed, Spelling::Left);
                let left = left.expect("rules have left sides");
                let ops = left.nodes.iter().map(|n| n.op.name).collect();
                let mut imported = import(&left);
                let name = rule.rule.name;
                let run = saturate(&mut imported.terms, std::slice::from_ref(&rule));
                let found = run.fired.iter().any(|(_, count)| *count > 0);
                assert!(!found || rule.may_match(&ops), "{name}, {seed}:\n{left}");
            }
        }
    }
}
