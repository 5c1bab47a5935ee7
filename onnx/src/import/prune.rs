//! Graphs without what no output needs.
use tensmith_ir::graph::{Def, Graph, NodeId, ValueId};

/// The graph without the nodes and constants that no output needs. Inputs stay.
pub(crate) fn prune(graph: Graph) -> Graph {
    prune_with(graph).0
}

/// The same, and what each value that was needed has become.
pub(crate) fn prune_with(mut graph: Graph) -> (Graph, Vec<Option<ValueId>>) {
    let mut live = live_values(&graph);
    graph.inputs.iter().for_each(|v| live[v.0 as usize] = true);
    let mut place = Vec::with_capacity(live.len());
    let mut next = 0;
    for keep in &live {
        place.push(ValueId(next));
        next += u32::from(*keep);
    }
    let moved = |ids: &mut Vec<ValueId>| ids.iter_mut().for_each(|v| *v = place[v.0 as usize]);
    graph
        .nodes
        .retain(|n| n.outputs.iter().any(|v| live[v.0 as usize]));
    let mut at = live.iter();
    graph.values.retain(|_| *at.next().unwrap_or(&true));
    moved(&mut graph.inputs);
    moved(&mut graph.outputs);
    for node in &mut graph.nodes {
        moved(&mut node.inputs);
        moved(&mut node.outputs);
    }
    for (n, node) in graph.nodes.iter().enumerate() {
        for (k, id) in node.outputs.iter().enumerate() {
            graph.values[id.0 as usize].def = Def::Node(NodeId(n as u32), k);
        }
    }
    let became = live.iter().zip(place).map(|(live, v)| live.then_some(v));
    (graph, became.collect())
}

/// For each value, whether an output needs it.
pub(crate) fn live_values(graph: &Graph) -> Vec<bool> {
    let mut live = vec![false; graph.values.len()];
    graph.outputs.iter().for_each(|v| live[v.0 as usize] = true);
    for node in graph.nodes.iter().rev() {
        if node.outputs.iter().any(|v| live[v.0 as usize]) {
            let own = node.inputs.iter().chain(&node.outputs);
            own.for_each(|v| live[v.0 as usize] = true);
        }
    }
    live
}

/// Makes `inputs` the inputs of a graph, in this order; each is an input already.
pub(crate) fn order_inputs(graph: &mut Graph, inputs: Vec<ValueId>) {
    for (k, id) in inputs.iter().enumerate() {
        graph.values[id.0 as usize].def = Def::Input(k);
    }
    graph.inputs = inputs;
}
