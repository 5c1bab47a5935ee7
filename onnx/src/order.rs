//! The order of nodes: sorts those of graphs whose writers did not, and says why a name is undefined
//! where it is used: never defined, defined too late, or in a cycle.

use std::collections::HashMap;

use crate::check::Frame;
use crate::error::{OnnxError, quoted};
use crate::proto::{GraphProto, ModelProto, NodeProto};

/// Nodes of a cycle that a message lists.
const SHOWN: usize = 8;

/// Puts the nodes of all graphs and functions of a model into a topological order, as the ONNX IR
/// specification demands and some converters do not leave them; those that are in one stay as they
/// are, as do cycles. Gives the number of lists that were sorted.
pub(crate) fn sort_nodes(model: &mut ModelProto) -> usize {
    let functions = model.functions.iter_mut().map(|f| sort(&mut f.node));
    let sorted: usize = functions.sum();
    sorted + model.graph.as_mut().map_or(0, sort_graph)
}

fn sort_graph(graph: &mut GraphProto) -> usize {
    sort(&mut graph.node)
}

/// Sorts a list of nodes, and those of their subgraphs.
fn sort(nodes: &mut Vec<NodeProto>) -> usize {
    let attributes = nodes.iter_mut().flat_map(|node| &mut node.attribute);
    let graphs = attributes.flat_map(|attr| attr.subgraphs_mut());
    let inside: usize = graphs.map(sort_graph).sum();
    let Some(order) = order_of(nodes) else {
        return inside;
    };
    let mut unsorted: Vec<Option<NodeProto>> = nodes.drain(..).map(Some).collect();
    nodes.extend(order.into_iter().filter_map(|n| unsorted[n].take()));
    inside + 1
}

/// Nodes by their places, each behind those that compute its operands and as early as it is listed;
/// `None` if they are listed so, or if there is no such order.
fn order_of(nodes: &[NodeProto]) -> Option<Vec<usize>> {
    let producers = producers(nodes);
    let mut operands = Vec::new();
    let mut needed = |n: usize| -> Vec<usize> {
        operands.clear();
        collect_operands(&nodes[n], &mut operands);
        let found = operands.iter().filter_map(|name| producers.get(name));
        found.copied().filter(|p| *p != n).collect()
    };
    if (0..nodes.len()).all(|n| needed(n).iter().all(|p| *p < n)) {
        return None;
    }
    #[derive(Clone, Copy, PartialEq)]
    enum Node {
        New,
        Open,
        Done,
    }
    let (mut order, mut seen) = (Vec::new(), vec![Node::New; nodes.len()]);
    for root in 0..nodes.len() {
        let mut stack = vec![root];
        while let Some(n) = stack.pop() {
            match seen[n] {
                Node::New => {
                    seen[n] = Node::Open;
                    stack.push(n);
                    for p in needed(n).into_iter().rev() {
                        match seen[p] {
                            Node::New => stack.push(p),
                            Node::Open => return None,
                            Node::Done => {}
                        }
                    }
                }
                Node::Open => {
                    seen[n] = Node::Done;
                    order.push(n);
                }
                Node::Done => {}
            }
        }
    }
    Some(order)
}

/// The node that computes each name.
fn producers(nodes: &[NodeProto]) -> HashMap<&str, usize> {
    let outputs = nodes.iter().enumerate().flat_map(|(index, node)| {
        let named = node.output.iter().filter(|name| !name.is_empty());
        named.map(move |name| (name.as_str(), index))
    });
    outputs.collect()
}

/// The error for `name`, used at `place` within `frames` (outermost first) and not defined there.
pub(crate) fn explain_undefined(frames: &[Frame<'_>], name: &str, place: &str) -> OnnxError {
    for frame in frames.iter().rev() {
        let later = &frame.nodes[frame.at..];
        let Some(offset) = later.iter().position(|node| produces(node, name)) else {
            continue;
        };
        let producer = frame.at + offset;
        if let Some(cycle) = find_cycle(frame.nodes, frame.at, producer) {
            let mut names: Vec<String> =
                cycle.iter().take(SHOWN).map(|node| node.label()).collect();
            if cycle.len() > SHOWN {
                names.push(format!("{} more nodes", cycle.len() - SHOWN));
            }
            names.push(names[0].clone());
            let problem = format!("the graph has a cycle: {}", names.join(" -> "));
            return OnnxError::invalid(place, problem);
        }
        let problem = format!(
            "operand {} is computed by the later {}; nodes must be in topological order",
            quoted(name),
            later[offset].label()
        );
        return OnnxError::invalid(place, problem);
    }
    let problem = format!(
        "operand {} is no input, initializer or result of any node",
        quoted(name)
    );
    OnnxError::invalid(place, problem)
}

fn produces(node: &NodeProto, name: &str) -> bool {
    node.output.iter().any(|output| output == name)
}

/// The nodes on a way by results from `from` to `to`, both among `nodes`, when there is one.
/// Since `from` uses a result of `to`, the way closes a cycle.
fn find_cycle(nodes: &[NodeProto], from: usize, to: usize) -> Option<Vec<&NodeProto>> {
    let producers = producers(nodes);
    // Walk from `to` towards its operands; `next[n]` is the node that led to `n`.
    let mut next: HashMap<usize, usize> = HashMap::new();
    let mut stack = vec![to];
    while let Some(index) = stack.pop() {
        if index == from {
            let mut cycle = vec![&nodes[from]];
            let mut at = from;
            while at != to {
                at = next[&at];
                cycle.push(&nodes[at]);
            }
            return Some(cycle);
        }
        let mut operands = Vec::new();
        collect_operands(&nodes[index], &mut operands);
        for producer in operands.iter().filter_map(|name| producers.get(name)) {
            if *producer != to && !next.contains_key(producer) {
                next.insert(*producer, index);
                stack.push(*producer);
            }
        }
    }
    None
}

/// Names that a node or its subgraphs use; a superset of what it takes from around it.
fn collect_operands<'a>(node: &'a NodeProto, names: &mut Vec<&'a str>) {
    names.extend(node.input.iter().map(String::as_str));
    for graph in node.attribute.iter().flat_map(|attr| attr.subgraphs()) {
        names.extend(graph.output.iter().map(|output| output.name.as_str()));
        for node in &graph.node {
            collect_operands(node, names);
        }
    }
}
