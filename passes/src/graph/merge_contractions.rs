//! Joins products of one value with several constant weights to one product, where streamed chains
//! read the parts of its result in place: queries, keys and values; and where scalar work reads
//! them, or movements, if fewer kernels are predicted to save more than the result costs that is
//! between: the gates of a recurrent cell, and queries and keys that rotary embeddings turn.
//!
//! Requires: no dead nodes.
//! Ensures: no value has two products with constant matrices by the same form whose results only
//! streamed chains read. The predicted cost is not above that of before.
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
use super::{Rewriter, eliminate_dead_code, part_before_slices};
use crate::partition::{cycles_of, streams_of};
use crate::pipeline::PassOptions;
use crate::split::constant_values;
use petgraph::unionfind::UnionFind;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, NodeId, TensorType, ValueId};
use tensmith_ir::ops::{Class, Spec};
use tensmith_ir::tensor::Tensor;

/// Parts of the scalar work that are priced one by one, if not all together are cheaper.
const PARTS: usize = 8;

/// The graph with products joined.
///
/// Errors: never for a valid graph.
pub fn merge_contractions(graph: &Graph, options: &PassOptions) -> Result<Graph, GraphError> {
    let graph = merged(graph, &Finder::new(graph).streamed_merges())?;
    let beside = Finder::new(&graph).merges_beside();
    if beside.is_empty() {
        return Ok(graph);
    }
    let cycles = |graph: &Graph| -> Result<f64, GraphError> {
        let parted = eliminate_dead_code(&part_before_slices(graph)?)?;
        Ok(cycles_of(&parted, options))
    };
    let before = cycles(&graph)?;
    let together = merged(&graph, beside.iter().flatten())?;
    match cycles(&together)? < before {
        true => return Ok(together),
        false if beside.len() == 1 => return Ok(graph),
        false => {}
    }
    let mut taken: Vec<&Merge> = Vec::new();
    for part in beside.iter().take(PARTS) {
        if cycles(&merged(&graph, part)?)? < before {
            taken.extend(part);
        }
    }
    merged(&graph, taken)
}

/// The graph with these products joined.
fn merged<'m>(
    graph: &Graph,
    merges: impl IntoIterator<Item = &'m Merge>,
) -> Result<Graph, GraphError> {
    let merges: Vec<&Merge> = merges.into_iter().collect();
    if merges.is_empty() {
        return Ok(graph.clone());
    }
    let fixed = constant_values(graph);
    let heads: HashMap<NodeId, &Merge> = merges.iter().map(|m| (m.head(), *m)).collect();
    let inside: BTreeSet<NodeId> = (merges.iter().flat_map(|m| &m.chains))
        .flat_map(|chain| chain.iter().copied())
        .collect();
    let mut cx = Rewriter::new(graph);
    // Weights first: the products of later weights stand where that of the first one stood.
    let fixed = |id: &NodeId| fixed[graph.node(*id).outputs[0].0 as usize];
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

/// A step of all products of a merge.
struct Step {
    /// Which operand has the weights.
    operand: usize,
    /// The axis of the weights that becomes longer.
    axis: usize,
}

/// Products that become one, and what follows all of them likewise.
struct Merge {
    /// A product each, and the nodes that follow it. The summand of a last step that is missing is
    /// nothing.
    chains: Vec<Vec<NodeId>>,
    steps: Vec<Step>,
}

impl Merge {
    /// The last node of each.
    fn ends(&self) -> Vec<NodeId> {
        self.chains.iter().map(|c| c[c.len() - 1]).collect()
    }

    /// The product that stands first.
    fn head(&self) -> NodeId {
        self.chains[0][0]
    }

    fn build(&self, cx: &mut Rewriter<'_>) -> Result<(), GraphError> {
        let graph = cx.old;
        let mut made = cx.get(graph.node(self.head()).inputs[0]);
        for (level, step) in self.steps.iter().enumerate() {
            let nodes: Vec<&Node> = (self.chains.iter())
                .filter_map(|c| c.get(level).map(|n| graph.node(*n)))
                .collect();
            let names: Vec<&str> = nodes.iter().map(|n| n.name.as_str()).collect();
            let label = names.join(" + ");
            let mut weights = Vec::new();
            for chain in &self.chains {
                weights.push(match chain.get(level) {
                    Some(id) => cx.get(graph.node(*id).inputs[step.operand]),
                    None => nothing(cx, graph.ty(graph.node(chain[level - 1]).outputs[0]))?,
                });
            }
            let attrs = Attrs::new().with("axis", step.axis as i64);
            let weights = cx.add("concat", &label, &weights, attrs)?;
            let operands = match step.operand {
                0 => [weights, made],
                _ => [made, weights],
            };
            made = cx.add(nodes[0].op.name, &label, &operands, nodes[0].attrs.clone())?;
        }
        self.part(cx, made)
    }

    /// The results again, as slices of the joined one.
    fn part(&self, cx: &mut Rewriter<'_>, made: ValueId) -> Result<(), GraphError> {
        let mut done = Expr::from(0);
        for node in self.ends().into_iter().map(|n| cx.old.node(n)) {
            let shape = cx.old.ty(node.outputs[0]).shape.clone();
            let columns = shape.len() - 1;
            let taken = (done.clone(), shape[columns].clone(), 1);
            done = done + shape[columns].clone();
            let part = cx.slice(made, columns, taken, &node.name)?;
            cx.set(node.outputs[0], part);
        }
        Ok(())
    }
}

/// A summand for each column of a value that changes no bit of it.
fn nothing(cx: &mut Rewriter<'_>, ty: &TensorType) -> Result<ValueId, GraphError> {
    let zero = Tensor::splat(ty.dtype, vec![], -0.0);
    let zero = cx.new.add_constant("nothing", zero);
    let columns = ty.shape[ty.rank() - 1].clone();
    let attrs = Attrs::new().with("shape", vec![columns]);
    cx.add("expand", "nothing", &[zero], attrs)
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

    /// Products that streamed chains read, of one value and of one form, with what follows all of
    /// them likewise.
    fn streamed_merges(&self) -> Vec<Merge> {
        let alike = self.chains(&|last| self.is_streamed(last));
        let alike = alike.into_iter().flat_map(|all| self.alike(all));
        alike.filter_map(|chains| self.merge(chains)).collect()
    }

    /// Products that scalar work, movements and streamed chains read, as
    /// [`streamed_merges`](Self::streamed_merges), in parts that have no scalar work in common.
    fn merges_beside(&self) -> Vec<Vec<Merge>> {
        let alike = self.chains(&|last| self.is_read_by_index(last));
        let common = alike.into_iter().map(|all| self.common(all));
        self.parts(common.filter_map(|chains| self.merge(chains)).collect())
    }

    /// Products of one value that have one form, with the nodes that follow each, of which the last
    /// one is as wanted.
    fn chains(&self, wanted: &dyn Fn(NodeId) -> bool) -> Vec<Vec<Vec<NodeId>>> {
        let mut alike: BTreeMap<(ValueId, String), Vec<Vec<NodeId>>> = BTreeMap::new();
        for id in self.graph.node_ids() {
            let node = self.graph.node(id);
            let Some(form) = self.form(node) else {
                continue;
            };
            let chain = self.chain(id);
            if wanted(chain[chain.len() - 1]) {
                alike.entry((node.inputs[0], form)).or_default().push(chain);
            }
        }
        alike.into_values().collect()
    }

    /// Chains by their steps; those that lack a last summand only are with those that have it.
    fn alike(&self, all: Vec<Vec<NodeId>>) -> Vec<Vec<Vec<NodeId>>> {
        let mut by_steps: BTreeMap<Vec<String>, Vec<Vec<NodeId>>> = BTreeMap::new();
        for chain in all {
            let steps = chain[1..].iter().map(|n| self.step(*n)).collect();
            by_steps.entry(steps).or_default().push(chain);
        }
        let longer = |steps: &Vec<String>| {
            let fits = |other: &&Vec<String>| match other.split_last() {
                Some((last, rest)) => rest == steps && last.starts_with("add"),
                None => false,
            };
            by_steps.keys().find(fits).cloned()
        };
        let moves: Vec<(Vec<String>, Vec<String>)> = (by_steps.keys())
            .filter_map(|steps| Some((steps.clone(), longer(steps)?)))
            .collect();
        // The longest first: none is moved twice.
        for (from, to) in moves.into_iter().rev() {
            if let Some(target) = by_steps.get(&to).cloned() {
                let moved = by_steps.remove(&from).unwrap_or_default();
                by_steps.insert(to, [target, moved].concat());
            }
        }
        by_steps.into_values().collect()
    }

    /// Chains as far as all have the same steps.
    fn common(&self, mut chains: Vec<Vec<NodeId>>) -> Vec<Vec<NodeId>> {
        let alike = |level: usize| {
            let mut steps = chains.iter().map(|c| c.get(level).map(|n| self.step(*n)));
            let first = steps.next().flatten();
            first.is_some() && steps.all(|s| s == first)
        };
        let length = (1..).take_while(|level| alike(*level)).count() + 1;
        chains.iter_mut().for_each(|c| c.truncate(length));
        chains
    }

    /// The form of a node that follows a product.
    fn step(&self, id: NodeId) -> String {
        let operand = self.fixed_operand(id);
        format!("{}{operand:?}", self.graph.node(id).op.name)
    }

    /// Products by the scalar work that reads them, where fewer kernels are possible: all scalar work
    /// that reads the results of joined ones is one kernel at least.
    fn parts(&self, merges: Vec<Merge>) -> Vec<Vec<Merge>> {
        let mut sets: UnionFind<u32> = UnionFind::new(self.graph.nodes.len());
        for merge in &merges {
            let ends = merge.ends();
            let mut todo: Vec<NodeId> = ends
                .iter()
                .flat_map(|n| self.readers(*n))
                .copied()
                .collect();
            let mut seen: BTreeSet<NodeId> = BTreeSet::new();
            while let Some(id) = todo.pop() {
                if self.graph.node(id).op.class == Class::Elementwise && seen.insert(id) {
                    sets.union(id.0, ends[0].0);
                    todo.extend(self.readers(id));
                }
            }
        }
        let mut parts: BTreeMap<u32, Vec<Merge>> = BTreeMap::new();
        for merge in merges {
            let set = sets.find(merge.ends()[0].0);
            parts.entry(set).or_default().push(merge);
        }
        let fewer = |part: &Vec<Merge>| {
            let saved: usize = part.iter().map(|m| m.ends().len() - 1).sum();
            let mut ends = part.iter().flat_map(Merge::ends);
            let joins = |end: NodeId| {
                self.readers(end)
                    .iter()
                    .all(|n| self.is(*n, Class::Elementwise))
            };
            saved > usize::from(ends.all(joins))
        };
        parts.into_values().filter(fewer).collect()
    }

    fn is(&self, id: NodeId, class: Class) -> bool {
        self.graph.node(id).op.class == class
    }

    /// Whether nothing but scalar work, movements and streamed chains reads a result.
    fn is_read_by_index(&self, id: NodeId) -> bool {
        let result = self.graph.node(id).outputs[0];
        let readers = self.readers(id);
        let fits = |n: &NodeId| {
            let classes = [Class::Elementwise, Class::Movement];
            classes.iter().any(|c| self.is(*n, *c)) || self.streamed.contains(n)
        };
        !readers.is_empty() && readers.iter().all(fits) && !self.graph.outputs.contains(&result)
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

    /// Chains as one, in the order of their products.
    fn merge(&self, mut chains: Vec<Vec<NodeId>>) -> Option<Merge> {
        if chains.len() < 2 {
            return None;
        }
        chains.sort();
        let spec = Spec::of(&self.graph.node(chains[0][0]).attrs);
        let column = spec.out.last()?;
        let of_product = (1, spec.b.iter().position(|c| c == column)?);
        let longest = chains.iter().max_by_key(|c| c.len())?;
        let step = |(level, node): (usize, &NodeId)| {
            let (operand, axis) = match level {
                0 => of_product,
                _ => (self.fixed_operand(*node)?, 0),
            };
            Some(Step { operand, axis })
        };
        let steps = longest
            .iter()
            .enumerate()
            .map(step)
            .collect::<Option<_>>()?;
        Some(Merge { chains, steps })
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
