//! Joins products of one value with several constant weights to one product, where streamed chains
//! read the parts of its result in place: queries, keys and values.
//!
//! Requires: nothing.
//! Ensures: no value has two products with constant matrices by the same form whose results only
//! streamed chains read.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[8, 2]
//!   %1 = input "k" : f32[2, 8]
//!   %2 = const "w" : f32[2, 2] = [1.0, 2.0, 3.0, 4.0]
//!   %3 = const "v" : f32[2, 1] = [5.0, 6.0]
//!   %4 = contract(%0, %2) {spec="ab,bc->ac"} "q" : f32[8, 2]
//!   %5 = contract(%0, %3) {spec="ab,bc->ac"} "u" : f32[8, 1]
//!   %6 = contract(%4, %1) {spec="ab,bc->ac"} "s" : f32[8, 8]
//!   %7 = softmax(%6) {axis=1} "p" : f32[8, 8]
//!   %8 = contract(%7, %5) {spec="ab,bc->ac"} "y" : f32[8, 1]
//!   output "y" = %8
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[8, 2]
//!   %1 = input "k" : f32[2, 8]
//!   %2 = const "w" : f32[2, 2] = [1.0, 2.0, 3.0, 4.0]
//!   %3 = const "v" : f32[2, 1] = [5.0, 6.0]
//!   %4 = concat(%2, %3) {axis=1} "q + u" : f32[2, 3]
//!   %5 = contract(%0, %4) {spec="ab,bc->ac"} "q + u" : f32[8, 3]
//!   %6 = slice(%5) {sizes=[8, 2], starts=[0, 0], steps=[1, 1]} "q" : f32[8, 2]
//!   %7 = slice(%5) {sizes=[8, 1], starts=[0, 2], steps=[1, 1]} "u" : f32[8, 1]
//!   %8 = contract(%6, %1) {spec="ab,bc->ac"} "s" : f32[8, 8]
//!   %9 = softmax(%8) {axis=1} "p" : f32[8, 8]
//!   %10 = contract(%9, %7) {spec="ab,bc->ac"} "y" : f32[8, 1]
//!   output "y" = %10
//! }
//! ```
//! Source: block matrices; Shoeybi et al., Megatron-LM, section 3, has one product for all three.
use super::Rewriter;
use crate::partition::streams_of;
use crate::split::constant_values;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, NodeId, ValueId};
use tensmith_ir::ops::{Class, Spec};

/// The graph with products joined.
///
/// Errors: never for a valid graph.
pub fn merge_contractions(graph: &Graph) -> Result<Graph, GraphError> {
    let finder = Finder::new(graph);
    let merges = finder.merges();
    let heads: HashMap<NodeId, &Merge> = merges.iter().map(|m| (m.steps[0].nodes[0], m)).collect();
    let inside: BTreeSet<NodeId> = (merges.iter().flat_map(|m| &m.steps))
        .flat_map(|step| step.nodes.iter().copied())
        .collect();
    let mut cx = Rewriter::new(graph);
    // Weights first: the products of later weights stand where that of the first one stood.
    let fixed = |id: &NodeId| finder.fixed[graph.node(*id).outputs[0].0 as usize];
    for id in graph.node_ids().filter(fixed) {
        cx.copy(graph.node(id))?;
    }
    for id in graph.node_ids().filter(|id| !fixed(id)) {
        match heads.get(&id) {
            Some(merge) => merge.build(&mut cx)?,
            None if inside.contains(&id) => {}
            None => cx.copy(graph.node(id))?,
        }
    }
    Ok(cx.finish())
}

/// The same step of each of several products: the product, or what follows each.
struct Step {
    /// The nodes, one for each product.
    nodes: Vec<NodeId>,
    /// Which operand has the weights.
    operand: usize,
    /// The axis of the weights that becomes longer.
    axis: usize,
}

/// Products that become one, and what follows all of them likewise.
struct Merge {
    steps: Vec<Step>,
}

impl Merge {
    fn build(&self, cx: &mut Rewriter<'_>) -> Result<(), GraphError> {
        let graph = cx.old;
        let mut made = cx.get(graph.node(self.steps[0].nodes[0]).inputs[0]);
        for step in &self.steps {
            let names = step.nodes.iter().map(|n| graph.node(*n).name.as_str());
            let label = names.collect::<Vec<_>>().join(" + ");
            let weights = step.nodes.iter();
            let weights = weights.map(|n| cx.get(graph.node(*n).inputs[step.operand]));
            let weights: Vec<ValueId> = weights.collect();
            let attrs = Attrs::new().with("axis", step.axis as i64);
            let weights = cx.add("concat", &label, &weights, attrs)?;
            let operands = match step.operand {
                0 => [weights, made],
                _ => [made, weights],
            };
            let first = graph.node(step.nodes[0]);
            made = cx.add(first.op.name, &label, &operands, first.attrs.clone())?;
        }
        self.part(cx, made)
    }

    /// The results again, as slices of the joined one.
    fn part(&self, cx: &mut Rewriter<'_>, made: ValueId) -> Result<(), GraphError> {
        let mut done = Expr::from(0);
        let last = &self.steps[self.steps.len() - 1];
        for node in last.nodes.iter().map(|n| cx.old.node(*n)) {
            let sizes = cx.old.ty(node.outputs[0]).shape.clone();
            let columns = sizes.len() - 1;
            let mut starts = vec![Expr::from(0); sizes.len()];
            starts[columns] = done.clone();
            done = done + sizes[columns].clone();
            let attrs = Attrs::new()
                .with("starts", starts)
                .with("steps", vec![1; sizes.len()])
                .with("sizes", sizes);
            let part = cx.add("slice", &node.name, &[made], attrs)?;
            cx.set(node.outputs[0], part);
        }
        Ok(())
    }
}

struct Finder<'g> {
    graph: &'g Graph,
    uses: Vec<Vec<NodeId>>,
    /// Whether each value depends on constants only.
    fixed: Vec<bool>,
    streamed: BTreeSet<NodeId>,
}

impl<'g> Finder<'g> {
    fn new(graph: &'g Graph) -> Self {
        Finder {
            graph,
            uses: graph.uses(),
            fixed: constant_values(graph),
            streamed: streams_of(graph),
        }
    }

    /// Products of one value that have one form, likewise followed.
    fn merges(&self) -> Vec<Merge> {
        let mut alike: BTreeMap<(ValueId, String), Vec<Vec<NodeId>>> = BTreeMap::new();
        for id in self.graph.node_ids() {
            let node = self.graph.node(id);
            let Some(form) = self.form(node) else {
                continue;
            };
            let chain = self.chain(id);
            if self.is_streamed(chain[chain.len() - 1]) {
                let steps = chain[1..].iter().map(|n| {
                    let operand = self.fixed_operand(*n);
                    format!("{}{operand:?}", self.graph.node(*n).op.name)
                });
                let form = [form].into_iter().chain(steps).collect();
                alike.entry((node.inputs[0], form)).or_default().push(chain);
            }
        }
        let several = alike.into_values().filter(|chains| chains.len() > 1);
        several.filter_map(|chains| self.merge(&chains)).collect()
    }

    /// The form of a product of rows with a constant matrix.
    fn form(&self, node: &Node) -> Option<String> {
        if node.op.name != "contract" || self.fixed[node.inputs[0].0 as usize] {
            return None;
        }
        let spec = Spec::of(&node.attrs);
        let column = spec.out.last().filter(|c| !spec.a.contains(c))?;
        let matrix = spec.b.len() == 2 && spec.b.contains(column);
        (matrix && self.fixed[node.inputs[1].0 as usize]).then(|| {
            let dtype = self.graph.ty(node.inputs[1]).dtype;
            let letters =
                [spec.a, spec.b, spec.out].map(|l| String::from_utf8_lossy(&l).into_owned());
            format!("{} {dtype}", letters.join(" "))
        })
    }

    fn merge(&self, chains: &[Vec<NodeId>]) -> Option<Merge> {
        let spec = Spec::of(&self.graph.node(chains[0][0]).attrs);
        let column = spec.out.last()?;
        let of_product = (1, spec.b.iter().position(|c| c == column)?);
        let step = |level: usize| {
            let nodes: Vec<NodeId> = chains.iter().map(|chain| chain[level]).collect();
            let (operand, axis) = match level {
                0 => of_product,
                _ => (self.fixed_operand(nodes[0])?, 0),
            };
            Some(Step {
                nodes,
                operand,
                axis,
            })
        };
        let steps = (0..chains[0].len()).map(step).collect::<Option<_>>()?;
        Some(Merge { steps })
    }

    /// A product and the nodes that follow it one by one, each with a constant for each column.
    fn chain(&self, product: NodeId) -> Vec<NodeId> {
        let mut chain = vec![product];
        let mut at = product;
        while let [next] = self.readers(at)
            && self.fixed_operand(*next).is_some()
            && !self.graph.outputs.contains(&self.graph.node(at).outputs[0])
        {
            chain.push(*next);
            at = *next;
        }
        chain
    }

    fn readers(&self, id: NodeId) -> &[NodeId] {
        &self.uses[self.graph.node(id).outputs[0].0 as usize]
    }

    /// Which operand of an elementwise node is a constant for each column of the other.
    fn fixed_operand(&self, id: NodeId) -> Option<usize> {
        let node = self.graph.node(id);
        let [a, b] = node.inputs[..] else { return None };
        let columns = self.graph.ty(node.outputs[0]).shape.last()?;
        let fits = |v: ValueId| {
            let shape = &self.graph.ty(v).shape;
            self.fixed[v.0 as usize] && shape.len() == 1 && shape[0] == *columns
        };
        let operand = [a, b].iter().position(|v| fits(*v))?;
        (node.op.class == Class::Elementwise).then_some(operand)
    }

    fn is_streamed(&self, id: NodeId) -> bool {
        let result = self.graph.node(id).outputs[0];
        let readers = self.readers(id);
        !readers.is_empty()
            && readers.iter().all(|n| self.streamed.contains(n))
            && !self.graph.outputs.contains(&result)
    }
}
