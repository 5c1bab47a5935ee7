//! Random graphs: what passes, partition and plan make of them computes what the graph says.
mod common;

use common::draw::{draw, draw_residual, draw_units, largest_magnitude};
use common::seeds::seeds;
use common::shrink::{check_drawn, check_found, shrunk};
use common::{calls_in_place, check_within};
use tensmith_ir::eval::eval_graph;
use tensmith_ir::graph::Graph;
use tensmith_ir::tensor::Tensor;

/// The seeds, one graph each.
const SEEDS: std::ops::Range<u64> = 0..2000;

#[test]
fn random_graphs() {
    check_drawn("random_graphs", SEEDS, &draw, &check);
}

#[test]
fn axes_of_extent_one_count() {
    check_drawn("axes_of_extent_one_count", SEEDS, &draw_units, &check);
}

fn check(graph: &Graph, inputs: &[Tensor]) -> Result<(), String> {
    // A sine of a large sum is off by as much as that sum.
    let magnitude = largest_magnitude(graph, inputs);
    check_within(graph, inputs, magnitude);
    Ok(())
}

#[test]
fn graphs_that_failed_once() {
    check_found(&check);
}

/// A compiler that is wrong about sines of what `abs` made leaves these two of any graph.
#[test]
fn failures_shrink() {
    let ops = |graph: &Graph, name: &str| graph.nodes.iter().any(|n| n.op.name == name);
    let wrong = |graph: &Graph, inputs: &[Tensor]| -> Result<(), String> {
        eval_graph(graph, inputs).map_err(|e| e.to_string())?;
        let sines = graph.nodes.iter().filter(|n| n.op.name == "sin");
        let of_abs = |v| {
            graph
                .producer(v)
                .is_some_and(|p| graph.node(p).op.name == "abs")
        };
        match sines.flat_map(|n| &n.inputs).any(|v| of_abs(*v)) {
            true => panic!("wrong"),
            false => Ok(()),
        }
    };
    let mut found = 0;
    for seed in SEEDS {
        let case = draw(seed);
        let fails =
            ops(&case.0, "abs") && std::panic::catch_unwind(|| wrong(&case.0, &case.1)).is_err();
        if !fails {
            continue;
        }
        let (small, inputs) = shrunk(case, &wrong);
        let names: Vec<_> = small.nodes.iter().map(|n| n.op.name).collect();
        assert_eq!(names, ["abs", "sin"], "seed {seed}:\n{small}");
        assert_eq!((small.outputs.len(), inputs.len()), (1, small.inputs.len()));
        found += 1;
    }
    assert!(found > 5, "{found}");
}

#[test]
fn residuals_are_written_over() {
    let (mut in_place, mut all) = (0, 0);
    for seed in seeds(0..100) {
        let (graph, inputs) = draw_residual(seed);
        let plan = check_within(&graph, &inputs, largest_magnitude(&graph, &inputs));
        in_place += usize::from(!calls_in_place(&plan).is_empty());
        all += 1;
    }
    assert!(all < 100 || 2 * in_place >= all, "{in_place} of {all}");
}

/// Graphs have convolutions of all kinds of groups, so that the test above is not idle.
#[test]
fn convolutions_have_groups() {
    let mut found = [0; 4];
    for seed in SEEDS {
        let (graph, _) = draw(seed);
        for node in graph.nodes.iter().filter(|n| n.op.name.starts_with("conv")) {
            let groups = node.attrs.int("groups");
            let channels = graph.ty(node.inputs[0]).shape[1].as_const().unwrap();
            let results = graph.ty(node.outputs[0]).shape[1].as_const().unwrap();
            let steps = node.attrs.ints("dilations").iter().any(|d| *d > 1);
            let is = [
                groups > 1 && groups < channels,
                groups > 1 && groups == channels && results == channels,
                groups > 1 && groups == channels && results > channels,
                groups > 1 && steps && node.op.name == "conv_transpose",
            ];
            (found.iter_mut().zip(is)).for_each(|(count, is)| *count += usize::from(is));
        }
    }
    assert!(found.iter().all(|count| *count >= 10), "{found:?}");
}
