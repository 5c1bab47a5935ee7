//! Kernels that hand on values in strips compute the same with strips of any size.
mod common;

use common::{check_with, conv_attrs, f32s, iota, pointwise, ty, vectors_of};
use std::collections::BTreeSet;
use std::sync::Arc;
use tensmith_ir::graph::{Attrs, Graph};
use tensmith_ir::ops::op;
use tensmith_passes::PassOptions;
use tensmith_passes::optimise;
use tensmith_passes::pipeline::plan_with_schedules;
use tensmith_passes::schedule::parameters::Values;
use tensmith_passes::schedule::task::{STRIP_ROWS, Tuned};

/// Says so many rows for whatever is asked.
#[derive(Debug)]
struct Rows(String);

impl Tuned for Rows {
    fn values(&self, _: &str) -> Option<Values> {
        let mut values = Values::default();
        values.set(STRIP_ROWS, &self.0);
        Some(values)
    }
}

/// The sizes that the strips of a graph's kernels may have.
fn sizes(graph: &Graph, options: &PassOptions) -> BTreeSet<String> {
    let options = PassOptions {
        spaces: true,
        ..options.clone()
    };
    let graph = optimise(graph.clone(), &options).unwrap();
    let (_, schedules) = plan_with_schedules(&graph, &options).unwrap();
    let parameters = schedules.into_iter().flat_map(|s| s.parameters);
    let rows = parameters.filter(|p| p.name == STRIP_ROWS);
    rows.flat_map(|p| p.options).collect()
}

/// Checks a graph of one input with each size; gives how many kernels that makes.
fn check_sizes(graph: &Graph, shape: &[usize], options: &PassOptions) -> usize {
    let sizes = sizes(graph, options);
    assert!(sizes.len() > 2, "{sizes:?}");
    let mut texts = BTreeSet::new();
    for rows in &sizes {
        let options = PassOptions {
            tuned: Some(Arc::new(Rows(rows.clone()))),
            ..options.clone()
        };
        let plan = check_with(graph, &[iota(shape)], &options);
        texts.insert(format!("{:?}", plan.kernels));
    }
    texts.len()
}

#[test]
fn of_scores() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[1, 2, 130, 8]));
    let spec = |g: &mut Graph, a, b, spec: &str| {
        let attrs = Attrs::new().with("spec", spec);
        g.add_one(op("contract"), spec, &[a, b], attrs).unwrap()
    };
    let scores = spec(&mut g, x, x, "bhld,bhsd->bhls");
    let axis = Attrs::new().with("axis", 3);
    let weights = g.add_one(op("softmax"), "w", &[scores], axis).unwrap();
    let y = spec(&mut g, weights, x, "bhls,bhsd->bhld");
    g.add_output("y", y);
    for bytes in [16, 32, 64] {
        assert!(check_sizes(&g, &[1, 2, 130, 8], &vectors_of(bytes)) > 4);
    }
}

#[test]
fn of_winograd_tiles() {
    let shape = [2, 32, 17, 21];
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&shape));
    let w = g.add_constant("w", f32s(&[32, 32, 3, 3], 0.1));
    let attrs = conv_attrs(([1, 1], [1, 1]), 1, ([1, 1], [1, 1]));
    let y = g.add_one(op("conv"), "c", &[x, w], attrs).unwrap();
    g.add_output("y", y);
    for bytes in [16, 32, 64] {
        let options = PassOptions {
            stream_bytes: 150_000,
            ..vectors_of(bytes)
        };
        assert!(check_sizes(&g, &shape, &options) > 2);
    }
}

#[test]
fn of_images() {
    let shape = [2, 24, 57, 60];
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&shape));
    let w = g.add_constant("w", f32s(&[24, 1, 3, 3], 0.1));
    let attrs = conv_attrs(([1, 1], [1, 1]), 24, ([1, 1], [1, 1]));
    let y = g.add_one(op("conv"), "d", &[x, w], attrs).unwrap();
    let y = pointwise(&mut g, "last", y, &[10, 24, 1, 1]);
    g.add_output("y", y);
    assert!(check_sizes(&g, &shape, &vectors_of(32)) > 4);
}
