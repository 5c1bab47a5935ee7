//! Random graphs: what passes, partition and plan make of them computes what the graph says.
mod common;

use common::check;
use common::draw::draw;

/// As many graphs are drawn.
const GRAPHS: u64 = 2000;

#[test]
fn random_graphs() {
    for seed in 0..GRAPHS {
        let (graph, inputs) = draw(seed);
        let text = graph.to_string();
        let run = std::panic::AssertUnwindSafe(|| check(&graph, &inputs));
        if std::panic::catch_unwind(run).is_err() {
            panic!("seed {seed}:\n{text}");
        }
    }
}
