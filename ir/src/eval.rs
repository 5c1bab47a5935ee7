//! The reference evaluator: plain loops in wide types, rounded once per result.
//!
//! It is the oracle of the tests and of `verify`: obviously right, never optimised for speed
//! beyond what makes real models bearable.
use crate::expr::{Atom, Symbol};
use crate::graph::{Attrs, Def, Graph, Node, TensorType, ValueId};
use crate::tensor::Tensor;
use std::collections::BTreeMap;

/// Values of size symbols.
pub type Sizes = BTreeMap<Symbol, i64>;

/// Why a graph could not be evaluated: a property of the inputs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// An index out of range, or another value that the op does not allow.
    #[error("node `{node}`: {reason}")]
    Data {
        /// The node.
        node: String,
        /// What is wrong.
        reason: String,
    },
    /// An input that does not fit the graph.
    #[error("input `{input}`: {reason}")]
    Input {
        /// The input.
        input: String,
        /// Expected and found.
        reason: String,
    },
}

/// What the reference evaluation of one op sees.
pub struct EvalCx<'a> {
    /// The operands.
    pub inputs: &'a [&'a Tensor],
    /// The attributes.
    pub attrs: &'a Attrs,
    /// The results' types, as inferred (symbolic).
    pub outputs: &'a [TensorType],
    /// Subgraphs.
    pub regions: &'a [Graph],
    /// Values of the size symbols.
    pub sizes: &'a Sizes,
    /// The node's name, for errors.
    pub node: &'a str,
}

impl EvalCx<'_> {
    /// An error that names the node.
    pub fn error(&self, reason: impl Into<String>) -> EvalError {
        EvalError::Data {
            node: self.node.into(),
            reason: reason.into(),
        }
    }

    /// The extents of result `k`.
    ///
    /// Errors: an extent that depends on an unknown symbol.
    pub fn output_shape(&self, k: usize) -> Result<Vec<usize>, EvalError> {
        concrete_shape(&self.outputs[k], self.sizes)
            .ok_or_else(|| self.error("the shape of the result depends on an unknown size"))
    }

    /// The value of a symbolic integer.
    ///
    /// Errors: an unknown symbol.
    pub fn size(&self, e: &crate::expr::Expr) -> Result<i64, EvalError> {
        eval_size(e, self.sizes).ok_or_else(|| self.error(format!("the size {e} is unknown")))
    }
}

fn eval_size(e: &crate::expr::Expr, sizes: &Sizes) -> Option<i64> {
    e.eval(&|a| match a {
        Atom::Size(s) => sizes.get(s).copied(),
        _ => None,
    })
}

/// The extents of a type for given sizes.
pub fn concrete_shape(ty: &TensorType, sizes: &Sizes) -> Option<Vec<usize>> {
    ty.shape
        .iter()
        .map(|d| usize::try_from(eval_size(d, sizes)?).ok())
        .collect()
}

/// Solves the size symbols of a graph from the shapes of its inputs, and checks types and shapes.
///
/// Errors: inputs that do not fit the graph or each other.
pub fn bind_sizes(graph: &Graph, inputs: &[Tensor]) -> Result<Sizes, EvalError> {
    let mut sizes = Sizes::new();
    let name = |k: usize| graph.value(graph.inputs[k]).name.clone();
    if inputs.len() != graph.inputs.len() {
        let reason = format!(
            "{} tensors given, want {}",
            inputs.len(),
            graph.inputs.len()
        );
        return Err(EvalError::Input {
            input: "*".into(),
            reason,
        });
    }
    for (k, tensor) in inputs.iter().enumerate() {
        let ty = graph.ty(graph.inputs[k]);
        if ty.dtype != tensor.dtype || ty.rank() != tensor.shape.len() {
            let reason = format!("found {}{:?}, want {ty}", tensor.dtype, tensor.shape);
            return Err(EvalError::Input {
                input: name(k),
                reason,
            });
        }
        for (dim, extent) in ty.shape.iter().zip(&tensor.shape) {
            if let Some(symbol) = dim.as_symbol() {
                sizes.entry(symbol.clone()).or_insert(*extent as i64);
            }
        }
    }
    for (k, tensor) in inputs.iter().enumerate() {
        let ty = graph.ty(graph.inputs[k]);
        if concrete_shape(ty, &sizes).as_ref() != Some(&tensor.shape) {
            let reason = format!("found {}{:?}, want {ty}", tensor.dtype, tensor.shape);
            return Err(EvalError::Input {
                input: name(k),
                reason,
            });
        }
    }
    Ok(sizes)
}

/// Evaluates one node.
///
/// Errors: data that the op does not allow.
pub fn eval_node(
    graph: &Graph,
    node: &Node,
    inputs: &[&Tensor],
    sizes: &Sizes,
) -> Result<Vec<Tensor>, EvalError> {
    let outputs: Vec<TensorType> = node.outputs.iter().map(|v| graph.ty(*v).clone()).collect();
    let cx = EvalCx {
        inputs,
        attrs: &node.attrs,
        outputs: &outputs,
        regions: &node.regions,
        sizes,
        node: &node.name,
    };
    (node.op.eval)(&cx)
}

/// Evaluates a graph; calls `see` with every computed value, in order.
///
/// Errors: inputs that do not fit, or data that an op does not allow.
pub fn eval_graph_with(
    graph: &Graph,
    inputs: &[Tensor],
    see: &mut dyn FnMut(ValueId, &Tensor),
) -> Result<Vec<Tensor>, EvalError> {
    let sizes = bind_sizes(graph, inputs)?;
    eval_with_sizes(graph, inputs, &sizes, see)
}

/// Evaluates a graph whose size symbols are known (a subgraph, say).
///
/// Errors: data that an op does not allow.
pub fn eval_with_sizes(
    graph: &Graph,
    inputs: &[Tensor],
    sizes: &Sizes,
    see: &mut dyn FnMut(ValueId, &Tensor),
) -> Result<Vec<Tensor>, EvalError> {
    let mut values: Vec<Option<Tensor>> = vec![None; graph.values.len()];
    let mut left: Vec<usize> = graph.uses().iter().map(Vec::len).collect();
    graph.outputs.iter().for_each(|v| left[v.0 as usize] += 1);
    for (k, value) in graph.values.iter().enumerate() {
        values[k] = match &value.def {
            Def::Input(i) => Some(inputs[*i].clone()),
            Def::Constant(t) => Some(t.clone()),
            Def::Node(..) => None,
        };
    }
    for node in &graph.nodes {
        let operands: Vec<&Tensor> = node
            .inputs
            .iter()
            .map(|v| {
                values[v.0 as usize]
                    .as_ref()
                    .expect("invariant: nodes are in topological order")
            })
            .collect();
        let results = eval_node(graph, node, &operands, sizes)?;
        for (id, tensor) in node.outputs.iter().zip(results) {
            see(*id, &tensor);
            values[id.0 as usize] = Some(tensor);
        }
        for id in &node.inputs {
            left[id.0 as usize] -= 1;
            if left[id.0 as usize] == 0 && graph.producer(*id).is_some() {
                values[id.0 as usize] = None;
            }
        }
    }
    let out = |v: &ValueId| {
        values[v.0 as usize]
            .clone()
            .expect("invariant: outputs are computed")
    };
    Ok(graph.outputs.iter().map(out).collect())
}

/// Evaluates a graph.
///
/// Errors: as [`eval_graph_with`].
pub fn eval_graph(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, EvalError> {
    eval_graph_with(graph, inputs, &mut |_, _| {})
}
