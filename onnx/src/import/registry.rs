//! Which operators are imported, and by what.
use std::collections::HashMap;
use std::sync::LazyLock;

use super::cx::Cx;
use super::value::Val;
use crate::error::{OnnxError, Result, UnsupportedItem};
use crate::model::LoadedModel;
use crate::proto::{GraphProto, NodeProto};

/// Imports one node: the results' meanings, at least those that are named.
pub(crate) type Import = for<'m> fn(&mut Cx<'m>, &'m NodeProto) -> Result<Vec<Val>>;

/// An operator that is imported.
pub(crate) struct OpImport {
    /// The domain; empty is `ai.onnx`.
    pub(crate) domain: &'static str,
    /// The operator.
    pub(crate) name: &'static str,
    /// What imports it.
    pub(crate) import: Import,
}

/// A row for an operator of `ai.onnx`.
pub(crate) const fn onnx(name: &'static str, import: Import) -> OpImport {
    OpImport {
        domain: "",
        name,
        import,
    }
}

/// The families of operators.
static FAMILIES: &[&[OpImport]] = &[
    super::activation::OPS,
    super::attention::OPS,
    super::constant::OPS,
    super::control::OPS,
    super::conv::OPS,
    super::elementwise::OPS,
    super::grid::OPS,
    super::index::OPS,
    super::loss::OPS,
    super::matmul::OPS,
    super::movement::OPS,
    super::norm::OPS,
    super::order::OPS,
    super::pool::OPS,
    super::quant::OPS,
    super::recurrent::OPS,
    super::reduce::OPS,
    super::resize::OPS,
    super::sequence::OPS,
    super::shape::OPS,
    super::signal::OPS,
];

static BY_NAME: LazyLock<HashMap<(&'static str, &'static str), &'static OpImport>> =
    LazyLock::new(|| {
        let rows = FAMILIES.iter().flat_map(|family| family.iter());
        rows.map(|row| ((row.domain, row.name), row)).collect()
    });

/// The row of a node's operator.
pub(crate) fn find(node: &NodeProto) -> Option<&'static OpImport> {
    let domain = crate::inline::domain_of(&node.domain);
    BY_NAME.get(&(domain, node.op_type.as_str())).copied()
}

/// All operators that are imported: domain (empty for `ai.onnx`) and name, sorted.
pub fn supported_ops() -> Vec<(&'static str, &'static str)> {
    let mut ops: Vec<_> = BY_NAME.keys().copied().collect();
    ops.sort_unstable();
    ops
}

/// Errors: `Unsupported` with every node whose operator is not imported.
pub(crate) fn check_supported(model: &LoadedModel) -> Result<()> {
    let mut items = Vec::new();
    collect(model, model.graph(), &mut items);
    match items.is_empty() {
        true => Ok(()),
        false => Err(OnnxError::Unsupported { items }),
    }
}

fn collect(model: &LoadedModel, graph: &GraphProto, items: &mut Vec<UnsupportedItem>) {
    for node in &graph.node {
        if find(node).is_none() {
            let domain = match node.domain.as_str() {
                "" => "ai.onnx",
                domain => domain,
            };
            let version = model.opset(&node.domain).unwrap_or(0);
            items.push(UnsupportedItem {
                place: node.label(),
                what: format!("operator {} of {domain} version {version}", node.op_type),
            });
        }
        let graphs = node.attribute.iter().flat_map(|attr| attr.subgraphs());
        graphs.for_each(|graph| collect(model, graph, items));
    }
}
