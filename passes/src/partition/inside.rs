//! Which concatenations may be no kernel, or copy less: the kernels that make the parts write them
//! where the result lies.
//!
//! That needs parts that kernels make and nothing else sees, each in one place of one result, and
//! all of them in the order of elements that the result has. What is found is offered; whether a
//! concatenation is one of these, or is computed inside of the kernel that reads it, is chosen by
//! what is predicted to be faster ([`choose`](super::choose)).
use super::Given;
use super::image_rows::FEW_CHANNELS;
use std::collections::{BTreeSet, HashMap, HashSet};
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::{Graph, Node, NodeId, TensorType, ValueId};
use tensmith_ir::ops::{Class, Lower};

/// Values whose bytes something else than a kernel with free loops sees.
pub fn fixed_values(graph: &Graph) -> HashSet<ValueId> {
    let mut fixed: HashSet<ValueId> = graph.outputs.iter().copied().collect();
    for id in graph.node_ids() {
        let node = graph.node(id);
        let seen = matches!(node.op.lower, Lower::View | Lower::Plan);
        // Resampling is a kernel of its own, but goes element by element wherever these lie.
        let opaque = node.op.class == Class::Opaque && node.op.name != "resize";
        if seen || opaque {
            fixed.extend(node.inputs.iter().chain(&node.outputs));
        }
    }
    fixed
}

/// Whether runs of channels are too short to be moved as vectors.
pub fn few_channels(ty: &TensorType) -> bool {
    let channels = ty.shape.get(1).and_then(|e| e.as_const());
    channels.is_some_and(|n| n < FEW_CHANNELS)
}

/// Batch, channels and positions, with more than one of the latter two.
pub fn is_spatial(ty: &TensorType) -> bool {
    (3..=5).contains(&ty.rank()) && !ty.shape[1].is(1) && !ty.shape[2..].iter().all(|e| e.is(1))
}

/// Where the parts of a concatenation begin along its axis, if that is known.
pub fn starts(graph: &Graph, node: &Node) -> Option<Vec<i64>> {
    let axis = node.attrs.int("axis") as usize;
    let mut at = 0;
    let mut starts = Vec::new();
    for v in &node.inputs {
        starts.push(at);
        at += graph.ty(*v).shape[axis].as_const()?;
    }
    Some(starts)
}

/// The concatenations whose parts may be written where the result lies.
pub fn joins(given: &Given<'_>) -> BTreeSet<NodeId> {
    let graph = given.graph;
    if !graph.nodes.iter().any(|n| n.op.name == "concat") {
        return BTreeSet::new();
    }
    let fixed = fixed_values(graph);
    let (mut found, mut placed) = (BTreeSet::new(), HashSet::new());
    for id in graph.node_ids() {
        let node = graph.node(id);
        let streamed = || given.streams.values().any(|s| s.members.contains(&id));
        if node.op.name != "concat" || fixed.contains(&node.outputs[0]) || streamed() {
            continue;
        }
        let parts: HashSet<ValueId> = node.inputs.iter().copied().collect();
        let once = parts.len() == node.inputs.len() && placed.is_disjoint(&parts);
        let made = |v: &ValueId| !fixed.contains(v) && is_written(graph, *v);
        let fits = once && parts.iter().all(made) && lie_alike(graph, node);
        if fits && starts(graph, node).is_some() {
            found.insert(id);
            placed.extend(parts);
        }
    }
    found
}

/// Different places that results of kernels which are alike are written to, at most: each is a
/// kernel to compile.
const PLACES: usize = 4;

/// How far up nodes are compared to tell whether kernels are alike.
const DEPTH: usize = 8;

/// The parts of concatenations in place that are copied there: the kernels that make them are
/// alike, and would not be if each wrote to another place.
pub fn copied(graph: &Graph, joins: &BTreeSet<NodeId>) -> BTreeSet<ValueId> {
    let mut places: HashMap<String, BTreeSet<String>> = HashMap::new();
    let mut parts = Vec::new();
    for node in joins.iter().map(|id| graph.node(*id)) {
        let shape = &graph.ty(node.outputs[0]).shape;
        for (v, start) in node
            .inputs
            .iter()
            .zip(starts(graph, node).unwrap_or_default())
        {
            if graph.producer(*v).is_none_or(|id| joins.contains(&id)) {
                continue;
            }
            let maker = maker(graph, *v, DEPTH);
            let place = format!("{start} in {shape:?}");
            places.entry(maker.clone()).or_default().insert(place);
            parts.push((*v, maker));
        }
    }
    let many = parts.into_iter().filter(|(_, m)| places[m].len() > PLACES);
    many.map(|(v, _)| v).collect()
}

/// What kernels that make such a value have in common.
fn maker(graph: &Graph, value: ValueId, depth: usize) -> String {
    let mut text = format!("{:?}", graph.ty(value).shape);
    let Some(node) = graph.producer(value).map(|id| graph.node(id)) else {
        return text;
    };
    text += &format!("{}{:?}", node.op.name, node.attrs);
    for v in &node.inputs {
        text += &match node.op.class {
            Class::Elementwise if depth > 0 => maker(graph, *v, depth - 1),
            _ => format!("{:?}", graph.ty(*v).shape),
        };
    }
    text
}

/// Whether a kernel with free loops writes a value.
fn is_written(graph: &Graph, value: ValueId) -> bool {
    graph.producer(value).is_some_and(|id| {
        let op = graph.node(id).op;
        let free = op.class != Class::Opaque && matches!(op.lower, Lower::Pointwise(_));
        // What pads may copy, with a place of its own.
        free && op.name != "pad"
    })
}

/// Whether the parts have their elements in the order that the result has, whichever it gets.
fn lie_alike(graph: &Graph, node: &Node) -> bool {
    let all = node.inputs.iter().chain(&node.outputs);
    let kinds = all.map(|v| {
        let ty = graph.ty(*v);
        let words = ty.dtype == DType::F32;
        words.then(|| is_spatial(ty) && !few_channels(ty))
    });
    let kinds: BTreeSet<Option<bool>> = kinds.collect();
    kinds.len() == 1 && !kinds.contains(&None)
}
