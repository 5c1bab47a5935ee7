//! What the tests of the families share.
use super::{Lower, OpDef, Sampler, op, single_node_graph};
use crate::define::define_task;
use crate::eval::eval_graph;
use crate::graph::{Attrs, Graph, TensorType};
use crate::tensor::Tensor;
use std::collections::HashSet;

/// The graph of one application.
pub fn graph_of(name: &str, inputs: &[Tensor], attrs: Attrs) -> Graph {
    let types: Vec<TensorType> = inputs
        .iter()
        .map(|t| TensorType::new(t.dtype, t.shape.iter().map(|n| (*n).into()).collect()))
        .collect();
    single_node_graph(op(name), &types, attrs).expect("the op accepts its operands")
}

/// All reference results of one application.
pub fn run_all(name: &str, inputs: &[Tensor], attrs: Attrs) -> Vec<Tensor> {
    eval_graph(&graph_of(name, inputs, attrs), inputs).expect("it evaluates")
}

/// The first reference result of one application.
pub fn run(name: &str, inputs: &[Tensor], attrs: Attrs) -> Tensor {
    run_all(name, inputs, attrs).remove(0)
}

/// Whether the reference refuses the data.
pub fn fails(name: &str, inputs: &[Tensor], attrs: Attrs) -> bool {
    eval_graph(&graph_of(name, inputs, attrs), inputs).is_err()
}

/// A vector of `i64`.
pub fn ints(values: &[i64]) -> Tensor {
    Tensor::from_i64(vec![values.len()], values)
}

/// Draws samples of each row: inference and reference agree in their shapes, and the definition
/// composes.
pub fn check_samples(rows: &[OpDef]) {
    let mut s = Sampler::new(7);
    for row in rows {
        for sample in (0..60).flat_map(|_| (row.samples)(&mut s)) {
            let graph = graph_of(row.name, &sample.inputs, sample.attrs);
            let results = eval_graph(&graph, &sample.inputs).expect("samples evaluate");
            for (value, tensor) in graph.outputs.iter().zip(&results) {
                let ty = graph.ty(*value);
                assert_eq!(
                    ty.static_shape(),
                    Some(tensor.shape.clone()),
                    "{}",
                    row.name
                );
                let count: usize = tensor.shape.iter().product();
                assert_eq!(tensor.data.len(), count * ty.dtype.bytes(), "{}", row.name);
            }
            if !matches!(row.lower, Lower::View) {
                let root = graph.node_ids().next().expect("there is a node");
                let task = define_task(&graph, root, &HashSet::from([root]));
                assert_eq!(task.outputs.len(), results.len());
            }
        }
    }
}
