//! Kernels of row-major images, and of rows of short parts, as machine code against the reference evaluator, with vectors of
//! 128, 256 and 512 bits, on several threads, in buffers that end and begin at unmapped pages.
#[path = "../passes/tests/common/images.rs"]
mod images;
#[path = "../passes/tests/common/seeds.rs"]
mod seeds;
mod support;

use images::{draw_conv, draw_parts, draw_pool, draw_resize};
use seeds::seeds;
use support::guarded::{Edge, Runner, run_guarded_for};
use support::{X86_LEVELS, target_here};
use tensmith::{Options, compile};
use tensmith_ir::eval::eval_graph;
use tensmith_ir::graph::Graph;
use tensmith_ir::tensor::Tensor;

/// The seeds, one graph each.
const SEEDS: std::ops::Range<u64> = 0..60;

/// Largest error: sums of up to 64 terms of up to 1.5, or of more smaller ones, reassociate, and weights are rounded to `f32`.
const LIMIT: f64 = 1e-5;

#[test]
fn random_pooling() {
    for seed in seeds(SEEDS) {
        let (graph, inputs) = draw_pool(seed);
        check(seed, &graph, &inputs);
    }
}

/// Directly, so that taps and lanes that meet frames only are left out.
#[test]
fn random_convolutions_of_small_images() {
    let direct = Options {
        max_constant_bytes: Some(0),
        ..Options::default()
    };
    for seed in seeds(SEEDS) {
        let (graph, inputs) = draw_conv(seed);
        check_with(seed, &graph, &inputs, &direct);
    }
}

#[test]
fn random_resampling() {
    for seed in seeds(SEEDS) {
        let (graph, inputs) = draw_resize(seed);
        check(seed, &graph, &inputs);
    }
}

#[test]
fn random_rows_of_short_parts() {
    for seed in seeds(SEEDS) {
        let (graph, inputs) = draw_parts(seed);
        check(seed, &graph, &inputs);
    }
}

fn check(seed: u64, graph: &Graph, inputs: &[Tensor]) {
    check_with(seed, graph, inputs, &Options::default());
}

fn check_with(seed: u64, graph: &Graph, inputs: &[Tensor], options: &Options) {
    let want = eval_graph(graph, inputs).unwrap()[0].to_f64();
    for name in X86_LEVELS {
        let Some(target) = target_here(name) else {
            continue;
        };
        let options = Options {
            target: name.to_owned(),
            ..options.clone()
        };
        let plan = compile::plan(graph, &options).unwrap();
        for (threads, edge) in [(1, Edge::End), (2, Edge::Begin)] {
            let found = run_guarded_for(&target, &plan, inputs, (Runner::Spmd, threads), edge);
            let found = found.unwrap()[0].to_f64();
            let mut pairs = want.iter().zip(&found);
            let wrong = pairs.find(|(w, f)| w != f && (*w - *f).abs() > LIMIT);
            assert_eq!(wrong, None, "seed {seed} for {name}:\n{graph}");
        }
    }
}
