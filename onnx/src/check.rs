//! Structure of a decoded model: names, order, types, tensors, on every level of nesting.
//!
//! Within a graph every name is defined once and before its first use. Subgraphs see the names of
//! the graphs around them; a node in a subgraph may not redefine such a name, though inputs and
//! initializers of the subgraph may hide it.
//!
//! Source: ONNX IR specification, "Graphs" and "Names Within a Graph".

use std::collections::{HashMap, HashSet};

use crate::budget::{Budget, within};
use crate::elem::ElemType;
use crate::error::{OnnxError, Result, quoted};
use crate::order;
use crate::proto::{
    AttributeProto, FunctionProto, GraphProto, NodeProto, TypeProto, ValueInfoProto, dimension,
    type_proto,
};
use crate::tensor::TensorStore;

/// A graph being checked: its nodes, the one under the cursor, and the names defined so far.
pub(crate) struct Frame<'a> {
    pub(crate) nodes: &'a [NodeProto],
    pub(crate) at: usize,
    pub(crate) defined: HashSet<&'a str>,
}

/// What is being checked, and with what.
pub(crate) struct Checker<'a> {
    store: &'a TensorStore,
    budget: &'a Budget,
    frames: Vec<Frame<'a>>,
    /// Whether attributes may refer to those of a call.
    in_function: bool,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(store: &'a TensorStore, budget: &'a Budget) -> Self {
        Self {
            store,
            budget,
            frames: Vec::new(),
            in_function: false,
        }
    }

    /// Checks the main graph and everything in it.
    pub(crate) fn main_graph(&mut self, graph: &'a GraphProto) -> Result<()> {
        for input in &graph.input {
            if input.r#type.as_ref().is_none_or(|ty| ty.value.is_none()) {
                let place = format!("graph input {}", quoted(&input.name));
                return Err(OnnxError::invalid(place, "it has no type"));
            }
        }
        self.graph(graph, "graph")
    }

    /// Checks the body of a function, which sees nothing but its inputs.
    pub(crate) fn function(&mut self, function: &'a FunctionProto) -> Result<()> {
        let label = function.label();
        self.in_function = true;
        self.frames.push(Frame::new(&function.node));
        for name in &function.input {
            self.define(name, &label)?;
        }
        let mut formals = HashSet::new();
        for name in &function.output {
            if name.is_empty() || !formals.insert(name) {
                let problem = format!("output {} is empty or named twice", quoted(name));
                return Err(OnnxError::invalid(label, problem));
            }
        }
        let defaults = (function.attribute_proto.iter()).map(|attr| attr.name.as_str());
        unique(
            defaults.chain(function.attribute.iter().map(String::as_str)),
            "attribute",
            &label,
        )?;
        for attr in &function.attribute_proto {
            self.attribute(attr, &label)?;
        }
        self.value_infos(&function.value_info, &label)?;
        self.nodes(&function.node)?;
        for name in &function.output {
            self.used(name, &label)?;
        }
        self.frames.pop();
        self.in_function = false;
        Ok(())
    }

    fn graph(&mut self, graph: &'a GraphProto, label: &str) -> Result<()> {
        self.frames.push(Frame::new(&graph.node));
        for input in &graph.input {
            self.define(&input.name, label)?;
        }
        self.initializers(graph, label)?;
        let infos = [&graph.input, &graph.output, &graph.value_info];
        for info in infos {
            self.value_infos(info, label)?;
        }
        self.nodes(&graph.node)?;
        for output in &graph.output {
            if output.name.is_empty() {
                return Err(OnnxError::invalid(label, "an output has no name"));
            }
            self.used(&output.name, &format!("{label} output"))?;
        }
        self.frames.pop();
        Ok(())
    }

    /// Defines and checks initializers, which may give an input of the same name its default.
    fn initializers(&mut self, graph: &'a GraphProto, label: &str) -> Result<()> {
        let store = self.store;
        let dense = graph.initializer.iter().map(|tensor| &tensor.name[..]);
        let sparse = graph.sparse_initializer.iter();
        let sparse = sparse.map(|s| s.values.as_ref().map_or("", |values| &values.name[..]));
        unique(dense.clone().chain(sparse.clone()), "initializer", label)?;
        let frame = self.frames.last_mut().expect("invariant: inside a graph");
        for name in dense.chain(sparse) {
            if name.is_empty() {
                return Err(OnnxError::invalid(label, "an initializer has no name"));
            }
            frame.defined.insert(name);
        }
        for tensor in &graph.initializer {
            store.check(tensor, &format!("{label} initializer"))?;
        }
        for tensor in &graph.sparse_initializer {
            store.check_sparse(tensor, &format!("{label} sparse initializer"))?;
        }
        Ok(())
    }

    fn nodes(&mut self, nodes: &'a [NodeProto]) -> Result<()> {
        for (index, node) in nodes.iter().enumerate() {
            let frame = self.frames.last_mut().expect("invariant: inside a graph");
            frame.at = index;
            self.node(node)?;
        }
        Ok(())
    }

    fn node(&mut self, node: &'a NodeProto) -> Result<()> {
        if node.op_type.is_empty() {
            return Err(OnnxError::invalid(node.label(), "it names no operator"));
        }
        for name in node.input.iter().filter(|name| !name.is_empty()) {
            if !self.visible(name) {
                return Err(order::explain_undefined(&self.frames, name, &node.label()));
            }
        }
        let names = node.attribute.iter().map(|attr| attr.name.as_str());
        if node.attribute.len() > 1 {
            unique(names, "attribute", &node.label())?;
        }
        for attr in &node.attribute {
            self.attribute(attr, &node.label())?;
        }
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            let (_, around) = self.frames.split_last().expect("invariant: inside a graph");
            if around.iter().any(|frame| frame.defined.contains(&name[..])) {
                return Err(twice(name, &node.label()));
            }
            self.define(name, &node.label())?;
        }
        Ok(())
    }

    fn attribute(&mut self, attr: &'a AttributeProto, label: &str) -> Result<()> {
        if attr.name.is_empty() {
            return Err(OnnxError::invalid(label, "an attribute has no name"));
        }
        if !attr.ref_attr_name.is_empty() {
            if self.in_function {
                return Ok(());
            }
            let name = quoted(&attr.name);
            let problem = format!("attribute {name} refers to a call, outside any function");
            return Err(OnnxError::invalid(label, problem));
        }
        attr.kind(label)?;
        let place = || format!("{label}, attribute {}", quoted(&attr.name));
        for tensor in attr.t.as_deref().into_iter().chain(&attr.tensors) {
            self.store.check(tensor, &place())?;
        }
        let sparse = attr.sparse_tensor.as_deref().into_iter();
        for tensor in sparse.chain(&attr.sparse_tensors) {
            self.store.check_sparse(tensor, &place())?;
        }
        for ty in attr.tp.as_deref().into_iter().chain(&attr.type_protos) {
            self.r#type(ty, &place())?;
        }
        for graph in attr.subgraphs() {
            within(
                self.frames.len() as u64,
                self.budget.depth,
                "levels of nested subgraphs",
                "depth",
                place,
            )?;
            self.graph(graph, &format!("{}, subgraph", place()))?;
        }
        Ok(())
    }

    fn value_infos(&self, infos: &[ValueInfoProto], label: &str) -> Result<()> {
        for info in infos {
            if let Some(ty) = &info.r#type {
                self.r#type(ty, &format!("{label}, value {}", quoted(&info.name)))?;
            }
        }
        Ok(())
    }

    fn r#type(&self, ty: &TypeProto, place: &str) -> Result<()> {
        use type_proto::Value;
        match &ty.value {
            Some(Value::Tensor(tensor) | Value::SparseTensor(tensor)) => {
                self.tensor_type(tensor, place)
            }
            Some(Value::Sequence(element) | Value::Optional(element)) => match &element.elem_type {
                Some(ty) => self.r#type(ty, place),
                None => Ok(()),
            },
            Some(Value::Map(map)) => match &map.value_type {
                Some(ty) => self.r#type(ty, place),
                None => Ok(()),
            },
            Some(Value::Opaque(_)) | None => Ok(()),
        }
    }

    fn tensor_type(&self, tensor: &type_proto::Tensor, place: &str) -> Result<()> {
        let number = tensor.elem_type;
        let elem = ElemType::from_number(number);
        if elem.is_none() && number != 0 {
            let problem = format!("unknown element type {number}");
            return Err(OnnxError::invalid(place, problem));
        }
        let Some(shape) = &tensor.shape else {
            return Ok(());
        };
        let rank = shape.dim.len() as u64;
        within(rank, self.budget.rank, "dimensions", "rank", || {
            place.to_owned()
        })?;
        let mut known = 1u64;
        for (axis, dim) in shape.dim.iter().enumerate() {
            let Some(dimension::Value::Extent(extent)) = dim.value else {
                continue;
            };
            let extent = u64::try_from(extent).map_err(|_| {
                let problem = format!("dimension {axis} is negative ({extent})");
                OnnxError::invalid(place, problem)
            })?;
            known = known.saturating_mul(extent.max(1));
        }
        let bits = elem.map_or(8, |elem| elem.bits().max(8));
        let bytes = known.saturating_mul(bits / 8);
        let limit = self.budget.tensor_bytes;
        within(bytes, limit, "bytes of a tensor", "tensor_bytes", || {
            place.to_owned()
        })
    }

    fn visible(&self, name: &str) -> bool {
        self.frames
            .iter()
            .rev()
            .any(|frame| frame.defined.contains(name))
    }

    fn used(&self, name: &str, place: &str) -> Result<()> {
        if self.visible(name) {
            return Ok(());
        }
        let problem = format!("value {} is computed by no node", quoted(name));
        Err(OnnxError::invalid(place, problem))
    }

    fn define(&mut self, name: &'a str, place: &str) -> Result<()> {
        if name.is_empty() {
            return Err(OnnxError::invalid(place, "an input has no name"));
        }
        let frame = self.frames.last_mut().expect("invariant: inside a graph");
        if frame.defined.insert(name) {
            return Ok(());
        }
        Err(twice(name, place))
    }
}

impl<'a> Frame<'a> {
    fn new(nodes: &'a [NodeProto]) -> Self {
        Self {
            nodes,
            at: 0,
            defined: HashSet::new(),
        }
    }
}

impl FunctionProto {
    /// The function as messages name it.
    pub fn label(&self) -> String {
        let name = format!("{}.{}", self.domain, self.name);
        format!("function {}", quoted(&name))
    }
}

fn twice(name: &str, place: &str) -> OnnxError {
    let problem = format!("value {} is defined a second time", quoted(name));
    OnnxError::invalid(place, problem)
}

fn unique<'a>(names: impl Iterator<Item = &'a str>, what: &str, label: &str) -> Result<()> {
    let mut seen = HashMap::new();
    for (index, name) in names.enumerate() {
        if let Some(first) = seen.insert(name, index) {
            let name = quoted(name);
            let problem = format!("{what} {name} appears twice (entries {first} and {index})");
            return Err(OnnxError::invalid(label, problem));
        }
    }
    Ok(())
}
