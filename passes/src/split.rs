//! Splits off what depends on constants only.
//!
//! Requires: a graph in which small constant results were folded.
//! Ensures: nodes of the rest have an operand that is known at run time only, or are cheaper to
//! compute in place than to load (`expand`, `iota`, masks of streamed chains, halves that are read
//! once as floats); nodes split off have static types.
use crate::graph::reads_halves_once;
use std::collections::{BTreeSet, HashMap, HashSet};
use tensmith_ir::expr::{Expr, UNBOUNDED};
use tensmith_ir::graph::{
    AttrValue, Def, Graph, GraphError, Node, NodeId, SymbolInfo, TensorType, ValueId,
};
use tensmith_ir::ops::{Class, Lower};

/// Values with more elements are not prepared: a file of a few bytes may ask for them.
const PREPARED_ELEMENTS: usize = 1 << 30;

/// A graph without its constant part.
pub struct Split {
    /// The rest; each prepared value is one more input, after the graph's own.
    pub main: Graph,
    /// What the additional inputs are in the graph of constants.
    pub prepared: Vec<ValueId>,
}

impl Split {
    /// The graph as it is.
    pub fn nothing(graph: &Graph) -> Self {
        Split {
            main: graph.clone(),
            prepared: vec![],
        }
    }
}

/// Gives every size symbol that occurs an entry among the graph's symbols.
pub fn close_symbols(graph: &mut Graph) {
    let dims = graph.values.iter().flat_map(|v| &v.ty.shape);
    let found: Vec<_> = dims.flat_map(Expr::symbols).collect();
    for symbol in found {
        graph.symbols.entry(symbol).or_insert(SymbolInfo {
            min: 0,
            max: UNBOUNDED,
        });
    }
}

/// Moves constant nodes of `graph` to the end of `prepare`, but for those of streamed chains.
///
/// Errors: never for a valid graph: moved nodes are as valid as they were.
pub fn split_constants(
    graph: &Graph,
    prepare: &mut Graph,
    streamed: &BTreeSet<NodeId>,
) -> Result<Split, GraphError> {
    let mut constant = constant_values(graph);
    let outputs = streamed.iter().flat_map(|n| &graph.node(*n).outputs);
    outputs.for_each(|v| constant[v.0 as usize] = false);
    let uses = graph.uses();
    let halves = graph.nodes.iter();
    let halves = halves.filter(|n| reads_halves_once(graph, &uses, n));
    halves.for_each(|n| constant[n.outputs[0].0 as usize] = false);
    if !graph.nodes.iter().any(|n| is_split(n, &constant)) {
        return Ok(Split::nothing(graph));
    }
    Mover {
        graph,
        constant,
        prepare,
        moved: HashMap::new(),
        kept: HashMap::new(),
        main: Graph {
            name: graph.name.clone(),
            symbols: graph.symbols.clone(),
            ..Graph::default()
        },
        prepared: vec![],
    }
    .run()
}

/// Whether a constant node leaves the graph.
fn is_split(node: &Node, constant: &[bool]) -> bool {
    constant[node.outputs[0].0 as usize] && !matches!(node.op.name, "expand" | "iota")
}

/// For each value, whether it depends on constants only and has a static type.
pub fn constant_values(graph: &Graph) -> Vec<bool> {
    let mut constant: Vec<bool> = graph
        .values
        .iter()
        .map(|v| matches!(v.def, Def::Constant(_)))
        .collect();
    for node in &graph.nodes {
        let fixed = node.inputs.iter().all(|v| constant[v.0 as usize])
            && node.outputs.iter().all(|v| is_preparable(graph.ty(*v)))
            && node.attrs.iter().all(|(_, a)| is_static(a))
            && !matches!(node.op.lower, Lower::Plan)
            && node.op.class != Class::Control;
        if fixed {
            node.outputs
                .iter()
                .for_each(|v| constant[v.0 as usize] = true);
        }
    }
    constant
}

/// Whether a type is static, and small enough to be computed while compiling.
fn is_preparable(ty: &TensorType) -> bool {
    let shape = ty.static_shape().unwrap_or_else(|| vec![usize::MAX, 2]);
    let count = shape.into_iter().try_fold(1usize, usize::checked_mul);
    count.is_some_and(|n| n <= PREPARED_ELEMENTS)
}

fn is_static(attr: &AttrValue) -> bool {
    match attr {
        AttrValue::Dims(dims) => dims.iter().all(|d| d.as_const().is_some()),
        _ => true,
    }
}

struct Mover<'a> {
    graph: &'a Graph,
    constant: Vec<bool>,
    prepare: &'a mut Graph,
    /// Values of the graph of constants.
    moved: HashMap<ValueId, ValueId>,
    /// Values of the rest.
    kept: HashMap<ValueId, ValueId>,
    main: Graph,
    prepared: Vec<ValueId>,
}

impl<'a> Mover<'a> {
    fn run(mut self) -> Result<Split, GraphError> {
        for id in &self.graph.inputs {
            let value = self.graph.value(*id);
            let new = self.main.add_input(&value.name, value.ty.clone());
            self.kept.insert(*id, new);
        }
        for node in self.kept_nodes() {
            let inputs = node
                .inputs
                .iter()
                .map(|v| self.keep(*v))
                .collect::<Result<Vec<_>, _>>()?;
            let outputs = copy_node(&mut self.main, node, &inputs)?;
            self.kept.extend(node.outputs.iter().copied().zip(outputs));
        }
        for (name, v) in self.graph.output_names.iter().zip(&self.graph.outputs) {
            let new = self.keep(*v)?;
            self.main.add_output(name, new);
        }
        Ok(Split {
            main: self.main,
            prepared: self.prepared,
        })
    }

    /// The nodes that stay: those that are not split off, and of constants that are cheap to compute
    /// those that they read.
    fn kept_nodes(&self) -> Vec<&'a Node> {
        let mut read: HashSet<ValueId> = self.graph.outputs.iter().copied().collect();
        let mut kept = Vec::new();
        for node in self.graph.nodes.iter().rev() {
            let is_constant = self.constant[node.outputs[0].0 as usize];
            let is_read = node.outputs.iter().any(|v| read.contains(v));
            if !is_split(node, &self.constant) && (is_read || !is_constant) {
                read.extend(&node.inputs);
                kept.push(node);
            }
        }
        kept.reverse();
        kept
    }

    /// The value in the rest.
    fn keep(&mut self, id: ValueId) -> Result<ValueId, GraphError> {
        if let Some(new) = self.kept.get(&id) {
            return Ok(*new);
        }
        let value = self.graph.value(id);
        let new = match &value.def {
            Def::Constant(t) => self.main.add_constant(&value.name, t.clone()),
            _ => {
                let from = self.shift(id)?;
                self.prepared.push(from);
                self.main.add_input(&value.name, value.ty.clone())
            }
        };
        self.kept.insert(id, new);
        Ok(new)
    }

    /// The value in the graph of constants.
    fn shift(&mut self, id: ValueId) -> Result<ValueId, GraphError> {
        if let Some(new) = self.moved.get(&id) {
            return Ok(*new);
        }
        let value = self.graph.value(id);
        match &value.def {
            Def::Constant(t) => {
                let new = self.prepare.add_constant(&value.name, t.clone());
                self.moved.insert(id, new);
            }
            Def::Node(n, _) => {
                let node = self.graph.node(*n);
                let inputs = node
                    .inputs
                    .iter()
                    .map(|v| self.shift(*v))
                    .collect::<Result<Vec<_>, _>>()?;
                let outputs = copy_node(self.prepare, node, &inputs)?;
                self.moved.extend(node.outputs.iter().copied().zip(outputs));
            }
            Def::Input(_) => panic!("invariant: an input is not constant"),
        }
        Ok(self.moved[&id])
    }
}

fn copy_node(to: &mut Graph, node: &Node, inputs: &[ValueId]) -> Result<Vec<ValueId>, GraphError> {
    to.add_with_regions(
        node.op,
        &node.name,
        inputs,
        node.attrs.clone(),
        node.regions.clone(),
    )
}
