//! Kernels of row-major images: what they compute is what the graph says, and they are vectors.
mod common;

use common::images::{draw_parts, draw_pool, draw_resize};
use common::seeds::seeds;
use common::{check, check_with, iota, pointwise, ty, vectors_of};
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph};
use tensmith_ir::loops::{Mark, Scalar, Scope, Stmt};
use tensmith_ir::ops::op;
use tensmith_ir::tensor::Tensor;
use tensmith_passes::PassOptions;
use tensmith_passes::schedule::Target;

/// The seeds, one graph each.
const SEEDS: std::ops::Range<u64> = 0..300;

#[test]
fn random_pooling() {
    check_drawn(&draw_pool);
}

#[test]
fn random_resampling() {
    check_drawn(&draw_resize);
}

#[test]
fn random_rows_of_short_parts() {
    check_drawn(&draw_parts);
}

fn check_drawn(draw: &dyn Fn(u64) -> (Graph, Vec<Tensor>)) {
    for seed in seeds(SEEDS) {
        let (graph, inputs) = draw(seed);
        let text = graph.to_string();
        let run = std::panic::AssertUnwindSafe(|| check(&graph, &inputs));
        if std::panic::catch_unwind(run).is_err() {
            panic!("seed {seed}:\n{text}");
        }
    }
}

/// Stores inside of vector loops, and those of them whose value has a guard.
fn stores_of_lanes(stmts: &[Stmt], lanes: bool) -> (usize, usize) {
    let mut found = (0, 0);
    for stmt in stmts {
        let vector = matches!(stmt, Stmt::For(l) if l.mark == Mark::Vector);
        if let Stmt::Store { value, .. } = stmt
            && lanes
        {
            let mut guarded = false;
            value.visit(&mut |s| guarded |= matches!(s, Scalar::Guard(..)));
            found.0 += 1;
            found.1 += usize::from(guarded);
        }
        for body in stmt.bodies() {
            let (all, guarded) = stores_of_lanes(body, lanes || vector);
            found = (found.0 + all, found.1 + guarded);
        }
    }
    found
}

#[test]
fn windows_that_reach_out_leave_vectors_without_guards() {
    for (name, stride, pads) in [
        ("pool_max", 2, [1, 1]),
        ("pool_max", 1, [1, 1]),
        ("pool_sum", 2, [0, 1]),
        ("pool_sum", 1, [1, 0]),
        ("pool_max", 2, [0, 0]),
    ] {
        let mut g = Graph::default();
        let shape = [1, 3, 20, 28];
        let x = g.add_input("x", ty(&shape));
        let attrs = Attrs::new()
            .with("kernel", vec![3, 3])
            .with("strides", vec![stride, stride])
            .with("dilations", vec![1, 1])
            .with("pads_before", vec![pads[0]; 2])
            .with("pads_after", vec![pads[1]; 2]);
        let y = g.add_one(op(name), "p", &[x], attrs).unwrap();
        g.add_output("y", y);
        let plan = check(&g, &[iota(&shape)]);
        let (all, guarded) = stores_of_lanes(&plan.kernels[0].body, false);
        assert!(all > 0, "{name} of {pads:?} is scalar");
        assert_eq!(guarded, 0, "{name} of {pads:?}");
    }
}

/// Elements that windows skip lie between those of neighbouring lanes, more of them where vectors
/// are wider.
#[test]
fn windows_that_skip_elements_of_rows_are_vectors() {
    for (name, window, stride, dilation) in [
        ("pool_max", 3, 3, 1),
        ("pool_sum", 4, 4, 1),
        ("pool_max", 5, 5, 1),
        ("pool_sum", 5, 2, 1),
        ("pool_max", 3, 7, 2),
        ("pool_sum", 2, 6, 1),
    ] {
        let mut g = Graph::default();
        let shape = [2, 3, 40, 157];
        let x = g.add_input("x", ty(&shape));
        let attrs = Attrs::new()
            .with("kernel", vec![window, window])
            .with("strides", vec![stride, stride])
            .with("dilations", vec![dilation, dilation])
            .with("pads_before", vec![0, 0])
            .with("pads_after", vec![0, 0]);
        let y = g.add_one(op(name), "p", &[x], attrs).unwrap();
        g.add_output("y", y);
        check(&g, &[iota(&shape)]);
        for bytes in [32, 64] {
            let plan = check_with(&g, &[iota(&shape)], &vectors_of(bytes));
            for kernel in plan.kernels.iter().filter(|_| stride <= 5 || bytes == 64) {
                assert!(stores_of_lanes(&kernel.body, false).0 > 0, "{kernel}");
            }
        }
    }
}

fn pooled(name: &str, shape: &[usize]) -> Graph {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(shape));
    let attrs = Attrs::new()
        .with("kernel", vec![3, 3])
        .with("strides", vec![1, 1])
        .with("dilations", vec![1, 1])
        .with("pads_before", vec![1, 1])
        .with("pads_after", vec![1, 1]);
    let y = g.add_one(op(name), "p", &[x], attrs).unwrap();
    g.add_output("y", y);
    g
}

#[test]
fn small_images_are_padded_by_a_kernel_and_large_ones_are_not() {
    for name in ["pool_max", "pool_sum"] {
        for (extent, kernels) in [(7, 2), (15, 2), (16, 1), (40, 1)] {
            let shape = [1, 3, extent, extent];
            let plan = check(&pooled(name, &shape), &[iota(&shape)]);
            assert_eq!(plan.kernels.len(), kernels, "{name} of {extent}");
            let (all, _) = stores_of_lanes(&plan.kernels[kernels - 1].body, false);
            assert!(all > 0, "{name} of {extent} is scalar");
        }
    }
}

#[test]
fn rows_of_channels_with_row_major_results_have_positions_in_their_lanes() {
    for shared in [false, true] {
        let mut g = Graph::default();
        let shape = [2, 8, 6, 7];
        let x = g.add_input("x", ty(&shape));
        let c = pointwise(&mut g, "c", x, &[5, 8, 1, 1]);
        let axis = Attrs::new().with("axis", 1);
        let y = g.add_one(op("softmax"), "s", &[c], axis).unwrap();
        g.add_output("y", y);
        if shared {
            let z = pointwise(&mut g, "d", c, &[6, 5, 1, 1]);
            g.add_output("z", z);
        }
        let plan = check(&g, &[iota(&shape)]);
        let softmax = plan.kernels.iter().find(|k| k.name == "softmax").unwrap();
        let read = softmax.buffers.iter().find(|b| b.scope == Scope::Input);
        let row_major = read.unwrap().layout.is_row_major();
        assert_eq!(row_major, !shared, "{softmax}");
        let (stores, _) = stores_of_lanes(&softmax.body, false);
        assert!(stores > 0, "{softmax}");
    }
}

#[test]
fn linear_resampling_is_vectors_but_for_its_borders() {
    for (coordinate, width) in [
        ("half_pixel", 20),
        ("align_corners", 20),
        ("asymmetric", 31),
    ] {
        let mut g = Graph::default();
        let shape = [1, 3, 5, width];
        let x = g.add_input("x", ty(&shape));
        let sizes = [1, 3, 10, 2 * width].map(Expr::from).to_vec();
        let attrs = Attrs::new()
            .with("sizes", sizes)
            .with("mode", "linear")
            .with("scales", Vec::<f64>::new())
            .with("coordinate", coordinate)
            .with("nearest", "floor")
            .with("cubic_coeff", -0.75)
            .with("exclude_outside", false)
            .with("antialias", false)
            .with("roi", Vec::<f64>::new())
            .with("extrapolation", 0.0);
        let y = g.add_one(op("resize"), "r", &[x], attrs).unwrap();
        g.add_output("y", y);
        let options = PassOptions {
            target: Target {
                vector_bytes: 64,
                fma: true,
                ..Target::default()
            },
            ..PassOptions::default()
        };
        let plan = check_with(&g, &[iota(&shape)], &options);
        let (stores, _) = stores_of_lanes(&plan.kernels[0].body, false);
        assert!(stores > 0, "{coordinate}: {}", plan.kernels[0]);
    }
}
