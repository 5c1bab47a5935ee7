//! Drawings of the optimised graph, its nodes boxed by the kernels that compute them.
use crate::page::escaped;
use std::collections::HashMap;
use std::fmt::Write;
use tensmith_ir::graph::{Graph, NodeId};
use tensmith_passes::partition::Partition;

/// Units: pixels.
const BOX: (usize, usize) = (220, 40);
/// Units: pixels between boxes.
const GAP: (usize, usize) = (24, 36);

/// The graph in the language of Graphviz.
pub fn dot(graph: &Graph, partition: &Partition) -> String {
    let mut out = String::from("digraph model {\n  node [shape=box, fontname=\"sans-serif\"];\n");
    let groups = &partition.groups;
    for (k, group) in groups.values().enumerate() {
        let mut members: Vec<NodeId> = group.members.iter().copied().collect();
        members.sort();
        let _ = writeln!(
            out,
            "  subgraph cluster_{k} {{\n    label={:?};",
            format!("kernel {k}")
        );
        for id in members {
            let _ = writeln!(out, "    n{} [label={:?}];", id.0, label(graph, id));
        }
        out += "  }\n";
    }
    for id in graph.node_ids() {
        if !groups.values().any(|g| g.members.contains(&id)) {
            let _ = writeln!(
                out,
                "  n{} [label={:?}, style=dashed];",
                id.0,
                label(graph, id)
            );
        }
    }
    for (k, input) in graph.inputs.iter().enumerate() {
        let _ = writeln!(
            out,
            "  i{k} [label={:?}, shape=oval];",
            graph.value(*input).name
        );
    }
    for (from, to) in edges(graph) {
        let _ = writeln!(out, "  {from} -> n{};", to.0);
    }
    for (k, name) in graph.output_names.iter().enumerate() {
        let _ = writeln!(out, "  o{k} [label={name:?}, shape=oval];");
        if let Some(n) = graph.producer(graph.outputs[k]) {
            let _ = writeln!(out, "  n{} -> o{k};", n.0);
        }
    }
    out + "}\n"
}

fn label(graph: &Graph, id: NodeId) -> String {
    let node = graph.node(id);
    let ty = node.outputs.first().map(|v| graph.ty(*v).to_string());
    format!(
        "{}\n{}\n{}",
        node.op.name,
        node.name,
        ty.unwrap_or_default()
    )
}

/// From nodes and inputs to nodes; constants are left out.
fn edges(graph: &Graph) -> Vec<(String, NodeId)> {
    let mut edges = Vec::new();
    for id in graph.node_ids() {
        for input in &graph.node(id).inputs {
            let input_of = graph
                .inputs
                .iter()
                .position(|v| v == input)
                .map(|k| format!("i{k}"));
            let from = graph
                .producer(*input)
                .map(|n| format!("n{}", n.0))
                .or(input_of);
            edges.extend(from.map(|from| (from, id)));
        }
    }
    edges.dedup();
    edges
}

/// The graph as one picture, layer below layer; boxes of one kernel have one colour.
pub fn svg(graph: &Graph, partition: &Partition) -> String {
    let groups = &partition.groups;
    let kernel = |id: NodeId| groups.values().position(|g| g.members.contains(&id));
    let mut layer_of: HashMap<NodeId, usize> = HashMap::new();
    let mut width: Vec<usize> = Vec::new();
    let mut place: HashMap<NodeId, (usize, usize)> = HashMap::new();
    for id in graph.node_ids() {
        let producers = graph
            .node(id)
            .inputs
            .iter()
            .filter_map(|v| graph.producer(*v));
        let layer = producers.map(|n| layer_of[&n] + 1).max().unwrap_or(0);
        layer_of.insert(id, layer);
        width.resize(width.len().max(layer + 1), 0);
        let x = GAP.0 + width[layer] * (BOX.0 + GAP.0);
        place.insert(id, (x, GAP.1 + layer * (BOX.1 + GAP.1)));
        width[layer] += 1;
    }
    let columns = width.iter().copied().max().unwrap_or(0);
    let (w, h) = (
        GAP.0 + columns * (BOX.0 + GAP.0),
        GAP.1 + width.len() * (BOX.1 + GAP.1),
    );
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n"
    );
    for id in graph.node_ids() {
        let to = place[&id];
        for from in graph
            .node(id)
            .inputs
            .iter()
            .filter_map(|v| graph.producer(*v))
        {
            let from = place[&from];
            let _ = writeln!(
                out,
                "<path d=\"M{} {} L{} {}\" stroke=\"#888\" fill=\"none\"/>",
                from.0 + BOX.0 / 2,
                from.1 + BOX.1,
                to.0 + BOX.0 / 2,
                to.1,
            );
        }
    }
    for id in graph.node_ids() {
        let ((x, y), node) = (place[&id], graph.node(id));
        let (title, fill) = match kernel(id) {
            // Neighbours get hues far apart.
            Some(k) => (
                format!("kernel {k}"),
                format!("hsl({},60%,85%)", k * 137 % 360),
            ),
            None => ("a view or control flow".into(), "#fff".into()),
        };
        let ty = node
            .outputs
            .first()
            .map(|v| graph.ty(*v).to_string())
            .unwrap_or_default();
        let _ = writeln!(
            out,
            "<g><title>{}: {}</title><rect x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" rx=\"4\" \
             fill=\"{fill}\" stroke=\"#444\"/><text x=\"{}\" y=\"{}\">{} {}</text>\
             <text x=\"{}\" y=\"{}\">{}</text></g>",
            escaped(&title),
            escaped(&node.name),
            BOX.0,
            BOX.1,
            x + 6,
            y + 16,
            node.op.name,
            escaped(&ty),
            x + 6,
            y + 32,
            escaped(&shortened(&node.name)),
        );
    }
    out + "</svg>\n"
}

/// The end of a name, where it is too long for a box.
fn shortened(name: &str) -> String {
    let long = name.chars().count().saturating_sub(34);
    name.chars().skip(long).collect()
}
