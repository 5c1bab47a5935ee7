//! Checks the invariants of graphs.
use super::{Def, Graph, Node, NodeId, TensorType, ValueId};
use crate::ops::InferCx;
use crate::tensor::Tensor;

/// Checks the invariants of a graph and its subgraphs: ids in range, each value defined at one
/// place and listed there, operands before results, types as inference gives them, attributes as
/// the op's row declares them, subgraphs that fit their op, a name for each output.
///
/// Errors: the first broken one.
pub fn verify_graph(graph: &Graph) -> Result<(), String> {
    let inner = || -> Result<(), String> {
        for (symbol, info) in &graph.symbols {
            if info.min < 0 || info.max < info.min {
                return Err(format!("{symbol} lies in {}..={}", info.min, info.max));
            }
        }
        for k in 0..graph.values.len() {
            check_value(graph, ValueId(k as u32)).map_err(|e| format!("value %{k}: {e}"))?;
        }
        check_inputs(graph)?;
        for id in graph.node_ids() {
            let node = graph.node(id);
            check_node(graph, id, node)
                .map_err(|e| format!("node `{}` ({}): {e}", node.name, node.op.name))?;
        }
        check_outputs(graph)
    };
    inner().map_err(|e| format!("graph `{}`: {e}", graph.name))
}

fn in_range(graph: &Graph, id: ValueId) -> Result<(), String> {
    if (id.0 as usize) < graph.values.len() {
        return Ok(());
    }
    let count = graph.values.len();
    Err(format!("%{} is not one of {count} values", id.0))
}

fn check_value(graph: &Graph, id: ValueId) -> Result<(), String> {
    let value = graph.value(id);
    let listed = match &value.def {
        Def::Input(k) => graph.inputs.get(*k),
        Def::Node(n, k) => graph
            .nodes
            .get(n.0 as usize)
            .and_then(|node| node.outputs.get(*k)),
        Def::Constant(tensor) => {
            let shape = tensor.shape.iter().map(|d| (*d).into()).collect();
            let ty = TensorType::new(tensor.dtype, shape);
            let fits = Tensor::new(tensor.dtype, tensor.shape.clone(), tensor.data.clone());
            if ty != value.ty || fits.is_none() {
                return Err(format!("is {}, its constant {tensor:?}", value.ty));
            }
            return Ok(());
        }
    };
    match listed {
        Some(found) if *found == id => Ok(()),
        found => Err(format!("its origin {:?} lists {found:?}", value.def)),
    }
}

fn check_inputs(graph: &Graph) -> Result<(), String> {
    for (k, id) in graph.inputs.iter().enumerate() {
        in_range(graph, *id).map_err(|e| format!("input {k}: {e}"))?;
        if !matches!(graph.value(*id).def, Def::Input(j) if j == k) {
            return Err(format!("input {k}: %{} is something else", id.0));
        }
    }
    let in_order = graph.inputs.windows(2).all(|w| w[0] < w[1]);
    in_order
        .then_some(())
        .ok_or_else(|| "the inputs are not numbered in order".to_string())
}

fn check_outputs(graph: &Graph) -> Result<(), String> {
    for (k, id) in graph.outputs.iter().enumerate() {
        in_range(graph, *id).map_err(|e| format!("output {k}: {e}"))?;
    }
    let (names, outputs) = (graph.output_names.len(), graph.outputs.len());
    if names != outputs {
        return Err(format!("{names} names for {outputs} outputs"));
    }
    Ok(())
}

fn check_node(graph: &Graph, id: NodeId, node: &Node) -> Result<(), String> {
    for (k, result) in node.outputs.iter().enumerate() {
        in_range(graph, *result)?;
        if !matches!(graph.value(*result).def, Def::Node(n, j) if n == id && j == k) {
            return Err(format!("result {k}, %{}, is something else", result.0));
        }
    }
    let results_in_order = node.outputs.windows(2).all(|w| w[0] < w[1]);
    for (k, operand) in node.inputs.iter().enumerate() {
        in_range(graph, *operand).map_err(|e| format!("operand {k}: {e}"))?;
        let before = node.outputs.first().is_none_or(|first| operand < first);
        if !before || graph.producer(*operand).is_some_and(|n| n >= id) {
            return Err(format!("operand {k}, %{}, is defined later", operand.0));
        }
    }
    if !results_in_order {
        return Err("the results are not numbered in order".into());
    }
    node.regions.iter().try_for_each(verify_graph)?;
    check_types(graph, node)
}

fn check_types(graph: &Graph, node: &Node) -> Result<(), String> {
    node.op.complete_attrs(node.attrs.clone())?;
    let inputs: Vec<&TensorType> = node.inputs.iter().map(|v| graph.ty(*v)).collect();
    let constants: Vec<_> = node.inputs.iter().map(|v| graph.constant(*v)).collect();
    let cx = InferCx {
        inputs: &inputs,
        constants: &constants,
        attrs: &node.attrs,
        regions: &node.regions,
        ranges: &graph.ranges(),
    };
    let inferred = node.op.infer_types(&cx)?;
    if inferred.len() != node.outputs.len() {
        let (found, want) = (node.outputs.len(), inferred.len());
        return Err(format!("{found} results, want {want}"));
    }
    for (k, (want, id)) in inferred.iter().zip(&node.outputs).enumerate() {
        let found = graph.ty(*id);
        if found != want {
            return Err(format!("result {k} is {found}, inference says {want}"));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
