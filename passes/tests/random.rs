//! Random graphs: what passes, partition and plan make of them computes what the graph says.
mod common;

use common::check_within;
use common::draw::{draw, largest_magnitude};
use common::seeds::seeds;

/// The seeds, one graph each.
const SEEDS: std::ops::Range<u64> = 0..2000;

#[test]
fn random_graphs() {
    for seed in seeds(SEEDS) {
        let (graph, inputs) = draw(seed);
        let text = graph.to_string();
        // A sine of a large sum is off by as much as that sum.
        let magnitude = largest_magnitude(&graph, &inputs);
        let run = std::panic::AssertUnwindSafe(|| check_within(&graph, &inputs, magnitude));
        if std::panic::catch_unwind(run).is_err() {
            panic!("seed {seed}:\n{text}");
        }
    }
}
