//! Random graphs: what passes, partition and plan make of them computes what the graph says.
mod common;

use common::draw::{draw, draw_residual, draw_units, largest_magnitude};
use common::seeds::seeds;
use common::{calls_in_place, check_within};
use tensmith_ir::graph::Graph;
use tensmith_ir::tensor::Tensor;

/// The seeds, one graph each.
const SEEDS: std::ops::Range<u64> = 0..2000;

#[test]
fn random_graphs() {
    check_drawn(SEEDS, &draw);
}

#[test]
fn axes_of_extent_one_count() {
    check_drawn(SEEDS, &draw_units);
}

fn check_drawn(range: std::ops::Range<u64>, drawn: &dyn Fn(u64) -> (Graph, Vec<Tensor>)) {
    for seed in seeds(range) {
        let (graph, inputs) = drawn(seed);
        let text = graph.to_string();
        // A sine of a large sum is off by as much as that sum.
        let magnitude = largest_magnitude(&graph, &inputs);
        let run = std::panic::AssertUnwindSafe(|| check_within(&graph, &inputs, magnitude));
        if std::panic::catch_unwind(run).is_err() {
            panic!("seed {seed}:\n{text}");
        }
    }
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
