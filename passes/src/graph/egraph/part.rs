//! Regions as graphs of their own, by which equal ones are known, and their results put together.
//!
//! A part names its nodes by their numbers, and has as inputs what it reads from other parts and
//! the constants whose elements no rule looks at: weights. So the text of two layers of a model is
//! the same, and what rules and extraction make of one of them is made of the other with its own
//! weights. Constants that rules look at are in the text.
use super::facts::{Leaf, SMALL, Sign};
use super::region::{Imported, Made, import_knowing, stays};
use crate::graph::Rewriter;
use std::collections::HashMap;
use tensmith_ir::graph::{Def, Graph, GraphError, NodeId, ValueId};
use tensmith_ir::tensor::Tensor;

/// Some nodes of a graph, as a graph.
pub struct Part {
    /// The nodes; each is named by its number among them.
    pub graph: Graph,
    /// What is known of the inputs.
    pub leaves: Vec<Leaf>,
    /// What the inputs are in the whole graph.
    pub operands: Vec<ValueId>,
    /// What the outputs are in the whole graph.
    pub results: Vec<ValueId>,
    /// The nodes in the whole graph.
    nodes: Vec<NodeId>,
}

/// Whether rules may look at the elements of a constant: it has few, or but one number.
fn is_known(t: &Tensor) -> bool {
    let many = t.dtype.is_float() && t.count() > 1;
    let first = t.dtype.bytes();
    let uniform = || t.data.chunks(first).all(|x| x == &t.data[..first]);
    t.count() <= SMALL && (!many || uniform())
}

impl Part {
    /// Some nodes of a graph, in its order; `known` says what is known of what others make.
    pub fn new(
        graph: &Graph,
        nodes: &[NodeId],
        uses: &[Vec<NodeId>],
        known: &dyn Fn(ValueId) -> Option<Leaf>,
    ) -> Self {
        let mut part = Part {
            graph: Graph {
                symbols: graph.symbols.clone(),
                ..Graph::default()
            },
            leaves: vec![],
            operands: vec![],
            results: vec![],
            nodes: nodes.to_vec(),
        };
        let mut map: HashMap<ValueId, ValueId> = HashMap::new();
        for (k, id) in nodes.iter().enumerate() {
            let node = graph.node(*id);
            for v in &node.inputs {
                if !map.contains_key(v) {
                    let new = part.operand(graph, *v, known);
                    map.insert(*v, new);
                }
            }
            let inputs: Vec<ValueId> = node.inputs.iter().map(|v| map[v]).collect();
            let (attrs, regions) = (node.attrs.clone(), node.regions.clone());
            let made = part
                .graph
                .add_with_regions(node.op, &k.to_string(), &inputs, attrs, regions)
                .expect("invariant: the nodes of a valid graph");
            map.extend(node.outputs.iter().copied().zip(made));
        }
        let within = |id: &NodeId| nodes.binary_search(id).is_ok();
        for v in nodes.iter().flat_map(|id| &graph.node(*id).outputs) {
            let read = uses[v.0 as usize].iter().any(|n| !within(n));
            if read || graph.outputs.contains(v) {
                part.results.push(*v);
                part.graph.add_output("", map[v]);
            }
        }
        part
    }

    fn operand(
        &mut self,
        graph: &Graph,
        value: ValueId,
        known: &dyn Fn(ValueId) -> Option<Leaf>,
    ) -> ValueId {
        let leaf = match &graph.value(value).def {
            Def::Constant(t) if is_known(t) => return self.graph.add_constant("", t.clone()),
            Def::Constant(t) => Leaf::constant(t),
            Def::Input(_) | Def::Node(..) => {
                known(value).unwrap_or_else(|| Leaf::input(graph.ty(value).clone()))
            }
        };
        let input = self.graph.add_input("", leaf.ty.clone());
        self.leaves.push(leaf);
        self.operands.push(value);
        input
    }

    /// The graph as terms.
    pub fn import(&self) -> Imported {
        import_knowing(&self.graph, &self.leaves)
    }

    /// What parts have in common for which the same may stand.
    pub fn text(&self) -> String {
        let facts = self.leaves.iter().map(|l| (l.fixed, l.sign));
        let facts: Vec<(bool, Sign)> = facts.collect();
        format!("{facts:?}{}", self.graph.full_text())
    }

    /// The numbers of some of its nodes.
    pub fn places(&self, nodes: &[NodeId]) -> Vec<usize> {
        let place = |id: &NodeId| self.nodes.binary_search(id).ok();
        nodes.iter().filter_map(place).collect()
    }

    /// Whether another part with the same text is the same: subgraphs have names in theirs.
    pub fn is_plain(&self) -> bool {
        !self.graph.nodes.iter().any(stays)
    }

    /// Puts what stands for this part, or for an equal one, in its place.
    ///
    /// Errors: never for a valid graph.
    pub fn build(
        &self,
        cx: &mut Rewriter<'_>,
        instead: &Graph,
        made: &Made,
    ) -> Result<Made, GraphError> {
        let old = cx.old;
        let name = |label: &str| -> String {
            let place = label.parse().ok().and_then(|k: usize| self.nodes.get(k));
            place.map_or(label, |id| &old.node(*id).name).to_string()
        };
        let mut map: Vec<Option<ValueId>> = vec![None; instead.values.len()];
        for (inside, outside) in instead.inputs.iter().zip(&self.operands) {
            map[inside.0 as usize] = Some(cx.get(*outside));
        }
        for (k, value) in instead.values.iter().enumerate() {
            if let Def::Constant(t) = &value.def {
                map[k] = Some(cx.new.add_constant(&name(&value.name), t.clone()));
            }
        }
        let at = "invariant: nodes are in order";
        for node in &instead.nodes {
            let inputs = node.inputs.iter().map(|v| map[v.0 as usize].expect(at));
            let inputs: Vec<ValueId> = inputs.collect();
            let (attrs, regions) = (node.attrs.clone(), node.regions.clone());
            let results =
                cx.new
                    .add_with_regions(node.op, &name(&node.name), &inputs, attrs, regions)?;
            for (v, new) in node.outputs.iter().zip(results) {
                map[v.0 as usize] = Some(new);
            }
        }
        for (v, old) in instead.outputs.iter().zip(&self.results) {
            cx.set(*old, map[v.0 as usize].expect(at));
        }
        let named = made.iter().map(|(label, rule)| (name(label), *rule));
        Ok(named.collect())
    }
}
