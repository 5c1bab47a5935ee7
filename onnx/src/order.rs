//! Why a name is undefined where it is used: never defined, defined too late, or in a cycle.

use std::collections::HashMap;

use crate::check::Frame;
use crate::error::{OnnxError, quoted};
use crate::proto::NodeProto;

/// Nodes of a cycle that a message lists.
const SHOWN: usize = 8;

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
    let mut producers: HashMap<&str, usize> = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        let outputs = node.output.iter().filter(|name| !name.is_empty());
        producers.extend(outputs.map(|name| (name.as_str(), index)));
    }
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
