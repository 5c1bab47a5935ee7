//! Random graphs: what passes, partition and plan make of them computes what the graph says.
mod common;

use common::check;
use common::draw::draw;
use common::seeds::seeds;

/// The seeds, one graph each.
const SEEDS: std::ops::Range<u64> = 0..2000;

#[test]
fn random_graphs() {
    for seed in seeds(SEEDS) {
        let (graph, inputs) = draw(seed);
        let text = graph.to_string();
        let run = std::panic::AssertUnwindSafe(|| check(&graph, &inputs));
        if std::panic::catch_unwind(run).is_err() {
            panic!("seed {seed}:\n{text}");
        }
    }
}
