//! The op table: one row per graph op.
//!
//! A row holds everything the compiler knows of an op: names and types of attributes, dtype and
//! shape rule, reference evaluation, definition in loops, samples for the generated tests, and
//! the source of its semantics. Reference evaluation and definition are written independently.
mod activation;
mod contract;
mod control;
mod conv;
mod elementwise;
mod index;
mod infer;
mod movement;
mod order;
mod rearrange;
mod recurrent;
mod reduce;
mod resize;
mod row;
mod sample;
mod spatial;
#[cfg(test)]
mod testing;
mod types;
mod window;
pub mod winograd;

pub use contract::Spec;
pub use infer::{InferCx, broadcast_shapes, show_shape};
pub use sample::{Sample, Sampler};

use crate::define::Define;
use crate::dtype::DType;
use crate::eval::{EvalCx, EvalError};
use crate::expr::Expr;
use crate::graph::{AttrKind, AttrValue, Attrs, Graph, NodeId, TensorType};
use crate::loops::Scalar;
use crate::tensor::Tensor;
use std::collections::HashMap;
use std::sync::LazyLock;

/// A row of the op table, by reference. Equal if the names are.
#[derive(Clone, Copy)]
pub struct Op(&'static OpDef);

/// What an op is, as far as passes need to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Each output element is a function of the input elements at the same (broadcast) index.
    Elementwise,
    /// Output elements are input elements at other places, or a constant.
    Movement,
    /// Output elements accumulate products over contracted axes (convolutions, too).
    Contraction,
    /// Output elements accumulate along axes or windows.
    Reduction,
    /// Each output element needs its row: a few reductions along `row_axes`, then elementwise.
    Row,
    /// A kernel of its own, neither fused into nor with others.
    Opaque,
    /// Has subgraphs; becomes plan steps.
    Control,
}

/// How an op becomes loops.
#[derive(Clone, Copy)]
pub enum Lower {
    /// The value of output `k` at an index, given operands at indices of their own.
    Pointwise(fn(&mut Define<'_>, NodeId, usize, &[Expr]) -> Scalar),
    /// All statements of a kernel that writes all outputs.
    Kernel(fn(&mut Define<'_>, NodeId)),
    /// No kernel: the same elements in the same order, under another shape.
    View,
    /// Steps of the plan.
    Plan,
}

/// How far a compiled result may be from the reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// The same value (NaN equals NaN).
    Exact,
    /// At most so many units in the last place of the reference value.
    Ulp(f64),
    /// At most so many units in the last place of the largest reference magnitude, times the
    /// square root of the number of accumulated terms: reductions reassociate.
    Sum(f64),
}

/// An attribute that a row declares.
#[derive(Clone, Copy, Debug)]
pub struct AttrDef {
    /// The name.
    pub name: &'static str,
    /// The type.
    pub kind: AttrKind,
    /// One line for the manual.
    pub doc: &'static str,
}

/// A row of the op table.
pub struct OpDef {
    /// The mnemonic.
    pub name: &'static str,
    /// One sentence with the formula.
    pub doc: &'static str,
    /// The least and greatest number of operands.
    pub arity: (usize, usize),
    /// Attributes; all must be given.
    pub attrs: &'static [AttrDef],
    /// What passes need to know.
    pub class: Class,
    /// Element types of the first operand; the type rule says how the others follow.
    pub types: &'static [DType],
    /// Dtype and shape rule.
    pub infer: fn(&InferCx<'_>) -> Result<Vec<TensorType>, String>,
    /// Reference evaluation: plain and independent of the definition in loops.
    pub eval: fn(&EvalCx<'_>) -> Result<Vec<Tensor>, EvalError>,
    /// Definition in loops.
    pub lower: Lower,
    /// For `Row` and `Reduction` ops: the axes of the first operand that are accumulated over.
    pub row_axes: Option<fn(&Attrs, usize) -> Vec<usize>>,
    /// How far compiled results may be off.
    pub tolerance: Tolerance,
    /// Draws operands and attributes for the generated tests, covering extents 0 and 1 and odd
    /// ones; empty for control ops.
    pub samples: fn(&mut Sampler) -> Vec<Sample>,
    /// Where the semantics come from.
    pub source: &'static str,
}

impl std::ops::Deref for Op {
    type Target = OpDef;

    fn deref(&self) -> &OpDef {
        self.0
    }
}

impl PartialEq for Op {
    fn eq(&self, other: &Op) -> bool {
        self.name == other.name
    }
}

impl Eq for Op {}

impl std::fmt::Debug for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// The families of the table.
const FAMILIES: &[&[OpDef]] = &[
    contract::OPS,
    control::OPS,
    conv::OPS,
    elementwise::OPS,
    index::OPS,
    movement::OPS,
    rearrange::OPS,
    order::OPS,
    resize::OPS,
    recurrent::OPS,
    reduce::OPS,
    row::OPS,
    window::OPS,
    winograd::OPS,
];

static BY_NAME: LazyLock<HashMap<&'static str, Op>> =
    LazyLock::new(|| all().map(|op| (op.name, op)).collect());

/// All rows, family by family.
pub fn all() -> impl Iterator<Item = Op> {
    FAMILIES.iter().flat_map(|family| family.iter()).map(Op)
}

/// The row of a name that is known to exist.
///
/// Panics: if there is none; use [`find`] for names from outside.
pub fn op(name: &str) -> Op {
    find(name).unwrap_or_else(|| panic!("invariant: the op table has `{name}`"))
}

/// The row of a name.
pub fn find(name: &str) -> Option<Op> {
    BY_NAME.get(name).copied()
}

impl OpDef {
    /// Checks names and types of attributes against the row; all must be there.
    ///
    /// Errors: a missing, unknown or wrongly typed attribute.
    pub fn complete_attrs(&self, attrs: Attrs) -> Result<Attrs, String> {
        for def in self.attrs {
            match attrs.get(def.name) {
                Some(v) if v.kind() == def.kind => {}
                Some(v) => {
                    return Err(format!(
                        "attribute `{}` is {:?}, want {:?}",
                        def.name,
                        v.kind(),
                        def.kind
                    ));
                }
                None => return Err(format!("attribute `{}` is missing", def.name)),
            }
        }
        let unknown = attrs
            .iter()
            .map(|(name, _)| name)
            .find(|name| self.attr_def(name).is_none());
        match unknown {
            Some(name) => Err(format!("attribute `{name}` is not one of `{}`", self.name)),
            None => Ok(attrs),
        }
    }

    /// The attribute that a row declares under a name.
    pub fn attr_def(&self, name: &str) -> Option<&'static AttrDef> {
        self.attrs.iter().find(|d| d.name == name)
    }

    /// The types of the results.
    ///
    /// Errors: a wrong number of operands, or operands that do not fit each other.
    pub fn infer_types(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let (least, most) = self.arity;
        if cx.inputs.len() < least || cx.inputs.len() > most {
            return Err(format!(
                "{} operands, want {least} to {most}",
                cx.inputs.len()
            ));
        }
        if let Some(first) = cx.inputs.first()
            && !self.types.contains(&first.dtype)
        {
            let types: Vec<_> = self.types.iter().map(|t| t.name()).collect();
            return Err(format!(
                "operand 0 is {}, want one of {}",
                first.dtype,
                types.join(", ")
            ));
        }
        (self.infer)(cx)
    }
}

/// A graph with one node, its operands as inputs, and all results as outputs.
///
/// Errors: operands or attributes that do not fit.
pub fn single_node_graph(
    op: Op,
    operands: &[TensorType],
    attrs: Attrs,
) -> Result<Graph, crate::graph::GraphError> {
    let mut graph = Graph {
        name: op.name.into(),
        ..Graph::default()
    };
    let inputs: Vec<_> = operands
        .iter()
        .enumerate()
        .map(|(k, ty)| graph.add_input(&format!("x{k}"), ty.clone()))
        .collect();
    let outputs = graph.add(op, op.name, &inputs, attrs)?;
    for (k, v) in outputs.into_iter().enumerate() {
        graph.add_output(&format!("y{k}"), v);
    }
    Ok(graph)
}

/// Shorthand for a list attribute.
pub(crate) const fn attr(name: &'static str, kind: AttrKind, doc: &'static str) -> AttrDef {
    AttrDef { name, kind, doc }
}

/// An attribute as the value it would have in a sample.
pub fn attrs<const N: usize>(pairs: [(&'static str, AttrValue); N]) -> Attrs {
    pairs
        .into_iter()
        .fold(Attrs::new(), |a, (k, v)| a.with(k, v))
}
