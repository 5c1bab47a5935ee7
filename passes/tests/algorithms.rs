//! Which algorithm computes a convolution can be said, as far as its errors are admissible.
mod common;

use common::{check_with, conv_attrs, f32s, iota, ty, vectors_of};
use std::sync::Arc;
use tensmith_ir::graph::{Attrs, Graph};
use tensmith_ir::ops::op;
use tensmith_passes::PassOptions;
use tensmith_passes::choice::Choice;
use tensmith_passes::pipeline::{Decisions, Precision, optimise_and_tell};
use tensmith_passes::schedule::parameters::Values;
use tensmith_passes::schedule::task::Tuned;

const SHAPE: [usize; 4] = [1, 32, 17, 21];

/// Says one algorithm for whatever is asked.
#[derive(Debug)]
struct Algorithm(String);

impl Tuned for Algorithm {
    fn values(&self, _: &str) -> Option<Values> {
        let mut values = Values::default();
        values.set("algorithm", &self.0);
        Some(values)
    }
}

/// Two convolutions of one kind, and one of another.
fn graph() -> Graph {
    let mut g = Graph::default();
    let mut x = g.add_input("x", ty(&SHAPE));
    for (name, results, scale) in [("a", 32, 0.1), ("b", 32, 0.07), ("c", 48, 0.1)] {
        let w = g.add_constant("w", f32s(&[results, 32, 3, 3], scale));
        let attrs = conv_attrs(([1, 1], [1, 1]), 1, ([1, 1], [1, 1]));
        x = g.add_one(op("conv"), name, &[x, w], attrs).unwrap();
        x = g.add_one(op("tanh"), "t", &[x], Attrs::new()).unwrap();
    }
    g.add_output("y", x);
    g
}

fn told(options: &PassOptions) -> (Graph, Vec<Choice>) {
    let mut decisions = Decisions::default();
    let graph = optimise_and_tell(graph(), options, &mut decisions).unwrap();
    (graph, decisions.choices)
}

/// The extents of tiles of the convolutions that are filtered.
fn tiles(graph: &Graph) -> Vec<i64> {
    let nodes = graph.nodes.iter().filter(|n| n.op.name == "winograd_input");
    nodes.map(|n| n.attrs.int("tile")).collect()
}

fn saying(text: &str, options: &PassOptions) -> PassOptions {
    PassOptions {
        tuned: Some(Arc::new(Algorithm(text.into()))),
        ..options.clone()
    }
}

#[test]
fn convolutions_of_one_kind_are_one_choice() {
    let options = PassOptions {
        spaces: true,
        ..vectors_of(32)
    };
    let (_, choices) = told(&options);
    let nodes: Vec<&[String]> = choices.iter().map(|c| &c.nodes[..]).collect();
    assert_eq!(nodes, [&["a".to_string(), "b".into()][..], &["c".into()]]);
    let options = &choices[0].parameter.options;
    assert_eq!(options[..], ["direct", "winograd-4", "winograd-2"]);
    assert!(told(&vectors_of(32)).1.is_empty());
}

#[test]
fn what_is_said_is_taken() {
    for (text, wanted) in [
        ("direct", vec![]),
        ("winograd-2", vec![2; 3]),
        ("winograd-4", vec![4; 3]),
    ] {
        let options = saying(text, &vectors_of(32));
        assert_eq!(tiles(&told(&options).0), wanted, "{text}");
        check_with(&graph(), &[iota(&SHAPE)], &options);
    }
    let nonsense = saying("winograd-3", &vectors_of(32));
    assert_eq!(tiles(&told(&nonsense).0), tiles(&told(&vectors_of(32)).0));
}

#[test]
fn errors_bind_whatever_is_said() {
    let strict = PassOptions {
        precision: Precision::Fast(1e-8),
        spaces: true,
        ..vectors_of(32)
    };
    let (graph, choices) = told(&saying("winograd-4", &strict));
    assert!(tiles(&graph).is_empty());
    assert!(choices.is_empty(), "{choices:?}");
}
