//! The graph IR: what is computed.
//!
//! A graph is in static single assignment form: every value is an input, a constant or a result
//! of one node, and has a type with symbolic dimensions. Nodes are kept in a topological order.
//! Subgraphs of `if` and `loop` are closed: what they capture is passed to them as operands.
mod attrs;
mod build;
mod parse;
mod print;
mod verify;

pub use attrs::{AttrKind, AttrValue, Attrs};
pub use build::GraphError;
pub use parse::parse_graph;
pub use verify::verify_graph;

use crate::dtype::DType;
use crate::expr::{Expr, Symbol, product};
use crate::ops::Op;
use crate::tensor::Tensor;
use std::collections::BTreeMap;

/// A value of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(pub u32);

/// A node of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// Element type and shape of a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// The element type.
    pub dtype: DType,
    /// The extents; never negative.
    pub shape: Vec<Expr>,
}

impl TensorType {
    /// A type.
    pub fn new(dtype: DType, shape: Vec<Expr>) -> Self {
        TensorType { dtype, shape }
    }

    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The number of elements.
    pub fn count(&self) -> Expr {
        product(&self.shape)
    }

    /// The extents, if all are known.
    pub fn static_shape(&self) -> Option<Vec<usize>> {
        self.shape
            .iter()
            .map(|d| usize::try_from(d.as_const()?).ok())
            .collect()
    }
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub enum Def {
    /// The k-th input of the graph.
    Input(usize),
    /// Known bytes, shared and never copied by a rewrite.
    Constant(Tensor),
    /// A result of a node.
    Node(NodeId, usize),
}

/// A value: name, type and origin.
#[derive(Clone, Debug)]
pub struct Value {
    /// The name in the model, for messages; unique names are not required.
    pub name: String,
    /// Element type and shape.
    pub ty: TensorType,
    /// Where it comes from.
    pub def: Def,
}

/// An application of an op.
#[derive(Clone, Debug)]
pub struct Node {
    /// The row of the op table.
    pub op: Op,
    /// The name in the model, for messages.
    pub name: String,
    /// Operands.
    pub inputs: Vec<ValueId>,
    /// Results.
    pub outputs: Vec<ValueId>,
    /// Attributes, as the row declares them.
    pub attrs: Attrs,
    /// Subgraphs, closed.
    pub regions: Vec<Graph>,
}

/// A size symbol of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SymbolInfo {
    /// Least value.
    pub min: i64,
    /// Greatest value.
    pub max: i64,
}

/// A graph: inputs, constants, nodes in topological order, outputs.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// The name in the model.
    pub name: String,
    /// All values.
    pub values: Vec<Value>,
    /// All nodes, in a topological order; passes rebuild rather than delete.
    pub nodes: Vec<Node>,
    /// The inputs, in order.
    pub inputs: Vec<ValueId>,
    /// The outputs, in order; a value may occur twice, and may be an input or a constant.
    pub outputs: Vec<ValueId>,
    /// The names of the outputs: the interface, whatever the values are called.
    pub output_names: Vec<String>,
    /// Known bounds of size symbols; others lie in `0..=UNBOUNDED`.
    pub symbols: BTreeMap<Symbol, SymbolInfo>,
}

impl Graph {
    /// The value with an id.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0 as usize]
    }

    /// The node with an id.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// The type of a value.
    pub fn ty(&self, id: ValueId) -> &TensorType {
        &self.value(id).ty
    }

    /// The constant behind a value, if it is one.
    pub fn constant(&self, id: ValueId) -> Option<&Tensor> {
        match &self.value(id).def {
            Def::Constant(t) => Some(t),
            _ => None,
        }
    }

    /// The node that computes a value, if one does.
    pub fn producer(&self, id: ValueId) -> Option<NodeId> {
        match self.value(id).def {
            Def::Node(n, _) => Some(n),
            _ => None,
        }
    }

    /// All node ids, in topological order.
    pub fn node_ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (0..self.nodes.len() as u32).map(NodeId)
    }

    /// For each value, the nodes that read it (one entry per operand).
    pub fn uses(&self) -> Vec<Vec<NodeId>> {
        let mut uses = vec![Vec::new(); self.values.len()];
        for id in self.node_ids() {
            for operand in &self.node(id).inputs {
                uses[operand.0 as usize].push(id);
            }
        }
        uses
    }

    /// What is known of the size symbols.
    pub fn ranges(&self) -> crate::expr::Ranges {
        let mut ranges = crate::expr::Ranges::new();
        for (symbol, info) in &self.symbols {
            ranges.bind_size(symbol.clone(), info.min, info.max);
        }
        ranges
    }
}
