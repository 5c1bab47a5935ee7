//! A checked model, ready to be imported.

use std::collections::BTreeMap;

use crate::elem::ElemType;
use crate::error::{OnnxError, Result, quoted};
use crate::inline::domain_of;
use crate::proto::{
    FunctionProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto,
    ValueInfoProto, type_proto,
};
use crate::tensor::{StringData, TensorData, TensorStore};

/// A model that passed every check: names defined once and before use on each level, tensors that
/// agree with their shapes, no calls of model-local functions left.
///
/// An importer walks [`LoadedModel::graph`] in order with an environment from names to values. A
/// subgraph's environment starts from the one around it; its inputs and initializers come first.
#[derive(Debug)]
pub struct LoadedModel {
    model: ModelProto,
    graph: GraphProto,
    opsets: BTreeMap<String, i64>,
    notes: Vec<String>,
    store: TensorStore,
}

impl LoadedModel {
    pub(crate) fn new(
        model: ModelProto,
        graph: GraphProto,
        mut opsets: BTreeMap<String, i64>,
        functions: &[FunctionProto],
        store: TensorStore,
    ) -> Self {
        let notes = adopt_opsets(&mut opsets, functions);
        let mut loaded = Self {
            model,
            graph,
            opsets,
            notes: Vec::new(),
            store,
        };
        notes.into_iter().for_each(|note| loaded.note(note));
        loaded
    }

    /// Adds a note and logs it.
    pub(crate) fn note(&mut self, note: String) {
        tracing::warn!("{note}");
        self.notes.push(note);
    }

    /// The main graph.
    pub fn graph(&self) -> &GraphProto {
        &self.graph
    }

    /// The model's header: versions, producer, metadata. Its graph and functions are empty; see
    /// [`LoadedModel::graph`].
    pub fn header(&self) -> &ModelProto {
        &self.model
    }

    /// What a user should know about how the model was read.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Version of every operator domain in use; `ai.onnx` has the empty name.
    pub fn opsets(&self) -> &BTreeMap<String, i64> {
        &self.opsets
    }

    /// Version of the operator set of `domain`, if the model imports it.
    pub fn opset(&self, domain: &str) -> Option<i64> {
        self.opsets.get(domain_of(domain)).copied()
    }

    /// Version of the operator set that gives `node` its meaning.
    ///
    /// Errors: `Invalid` when the model does not import the node's domain.
    pub fn opset_of(&self, node: &NodeProto) -> Result<i64> {
        self.opset(&node.domain).ok_or_else(|| {
            let problem = format!(
                "its domain {} is not among the model's operator sets",
                quoted(&node.domain)
            );
            OnnxError::invalid(node.label(), problem)
        })
    }

    /// The elements of a tensor anywhere in the model; see [`TensorStore::decode`].
    pub fn tensor(&self, tensor: &TensorProto, place: &str) -> Result<TensorData> {
        self.store.decode(tensor, place)
    }

    /// The elements of a string tensor; see [`TensorStore::strings`].
    pub fn strings(&self, tensor: &TensorProto, place: &str) -> Result<StringData> {
        self.store.strings(tensor, place)
    }

    /// A sparse tensor made dense; see [`TensorStore::dense`].
    pub fn dense(&self, sparse: &SparseTensorProto, place: &str) -> Result<TensorData> {
        self.store.dense(sparse, place)
    }

    /// Inputs of the main graph that a caller must supply: those without an initializer.
    pub fn required_inputs(&self) -> impl Iterator<Item = &ValueInfoProto> {
        let graph = &self.graph;
        let sparse = graph.sparse_initializer.iter();
        let sparse = sparse.filter_map(|s| Some(s.values.as_ref()?.name.as_str()));
        let dense = graph.initializer.iter().map(|tensor| tensor.name.as_str());
        let given: std::collections::HashSet<&str> = dense.chain(sparse).collect();
        (graph.input.iter()).filter(move |input| !given.contains(&input.name[..]))
    }
}

impl ValueInfoProto {
    /// Element type and shape when this is a dense tensor of a known element type; the shape is
    /// `None` when even the rank is unknown.
    pub fn tensor_type(&self) -> Option<(ElemType, Option<&[crate::proto::Dimension]>)> {
        match self.r#type.as_ref()?.value.as_ref()? {
            type_proto::Value::Tensor(tensor) => {
                let elem = ElemType::from_number(tensor.elem_type)?;
                Some((elem, tensor.shape.as_ref().map(|shape| &shape.dim[..])))
            }
            _ => None,
        }
    }
}

/// Versions by domain, as the model imports them.
///
/// Errors: `Invalid` for no import, a version below 1 or a domain with two versions.
pub(crate) fn opsets_of(model: &ModelProto) -> Result<BTreeMap<String, i64>> {
    let place = "model operator sets";
    let mut opsets = BTreeMap::new();
    for import in &model.opset_import {
        let domain = domain_of(&import.domain).to_owned();
        let name = quoted(&domain);
        if import.version < 1 {
            let problem = format!("domain {name} has version {}", import.version);
            return Err(OnnxError::invalid(place, problem));
        }
        if opsets
            .insert(domain, import.version)
            .is_some_and(|v| v != import.version)
        {
            let problem = format!("domain {name} is imported in two versions");
            return Err(OnnxError::invalid(place, problem));
        }
    }
    if opsets.is_empty() {
        let help = "this is no ONNX model, or one from before operator sets (2017): export again";
        return Err(OnnxError::invalid_help(place, "there are none", help));
    }
    Ok(opsets)
}

/// Adds the domains that only functions import. Where versions differ, the model's one holds: the
/// specification demands that the operators used mean the same in both.
fn adopt_opsets(opsets: &mut BTreeMap<String, i64>, functions: &[FunctionProto]) -> Vec<String> {
    let mut notes = Vec::new();
    for function in functions {
        for import in &function.opset_import {
            let domain = domain_of(&import.domain);
            let held = *opsets.entry(domain.to_owned()).or_insert(import.version);
            if held != import.version {
                let note = format!(
                    "{} asks for version {} of domain {}; its operators are read as version {held}",
                    function.label(),
                    import.version,
                    quoted(domain)
                );
                notes.push(note);
            }
        }
    }
    notes
}
