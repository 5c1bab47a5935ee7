//! What tuning may say of how a graph is computed: every option of every choice keeps what the
//! graph computes, and is what is taken when it was said.
mod common;

use common::draw::{draw, largest_magnitude};
use common::images::draw_pool;
use common::seeds::seeds;
use common::{check_options, conv_attrs, f32s, iota, pointwise, ty, vectors_of};
use std::collections::BTreeMap;
use std::sync::Arc;
use tensmith_ir::graph::{Attrs, Graph, ValueId};
use tensmith_ir::ops::op;
use tensmith_ir::tensor::Tensor;
use tensmith_passes::PassOptions;
use tensmith_passes::choice::Choice;
use tensmith_passes::pipeline::choices;
use tensmith_passes::schedule::parameters::Values;
use tensmith_passes::schedule::task::Tuned;

/// Says one thing.
#[derive(Debug)]
struct Says {
    about: String,
    values: Values,
}

impl Tuned for Says {
    fn values(&self, about: &str) -> Option<Values> {
        (about == self.about).then(|| self.values.clone())
    }
}

fn says(choice: &Choice, option: &str, options: &PassOptions) -> PassOptions {
    let mut values = Values::default();
    values.set(&choice.parameter.name, option);
    let about = choice.about.clone();
    PassOptions {
        tuned: Some(Arc::new(Says { about, values })),
        ..options.clone()
    }
}

/// Checks a graph with each option of each choice; gives how many options of each kind there were.
fn check_choices(
    graph: &Graph,
    inputs: &[Tensor],
    options: &PassOptions,
) -> BTreeMap<String, usize> {
    let mut tried = BTreeMap::new();
    let magnitude = largest_magnitude(graph, inputs);
    for choice in choices(graph, options).expect("a valid graph") {
        let parameter = &choice.parameter;
        assert_eq!(choice.ratios.len(), parameter.options.len(), "{choice:?}");
        assert_eq!(choice.ratios[parameter.chosen], 1.0, "{choice:?}");
        for option in parameter.options.iter() {
            let said = says(&choice, option, options);
            check_options(graph, inputs, &said, magnitude);
            let then = choices(graph, &said).expect("a valid graph");
            let same = then.iter().find(|c| c.about == choice.about);
            let taken = same.map(|c| c.parameter.value());
            assert_eq!(taken, Some(&option[..]), "{choice:?}\n{graph}");
            if option != parameter.value() {
                *tried.entry(parameter.name.clone()).or_default() += 1;
            }
        }
    }
    tried
}

#[test]
fn of_random_graphs() {
    let mut all: BTreeMap<String, usize> = BTreeMap::new();
    let options = vectors_of(32);
    for seed in seeds(0..250) {
        println!("seed {seed}");
        for (graph, inputs) in [draw(seed), draw_pool(seed)] {
            for (name, n) in check_choices(&graph, &inputs, &options) {
                *all.entry(name).or_default() += n;
            }
        }
    }
    println!("{all:?}");
    if seeds(0..250) == (0..250) {
        assert!(all["kernel"] > 50, "{all:?}");
        assert!(all["layout"] > 10, "{all:?}");
    }
}

/// Options of a graph of one input, by their kinds, on one thread and on two.
fn kinds(graph: &Graph, shape: &[usize], options: &PassOptions) -> BTreeMap<String, usize> {
    let mut options = options.clone();
    let inputs = [iota(shape)];
    options.target.threads = 2;
    check_choices(graph, &inputs, &options);
    options.target.threads = 1;
    check_choices(graph, &inputs, &options)
}

fn conv(g: &mut Graph, x: ValueId, name: &str, [results, groups]: [usize; 2]) -> ValueId {
    let channels = g.ty(x).shape[1].as_const().expect("static") as usize / groups;
    let w = g.add_constant("w", f32s(&[results, channels, 3, 3], 0.3));
    let attrs = conv_attrs(([1, 1], [1, 1]), groups as i64, ([1, 1], [1, 1]));
    g.add_one(op("conv"), name, &[x, w], attrs).unwrap()
}

#[test]
fn of_attention() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[1, 2, 70, 8]));
    let product = |g: &mut Graph, a, b, spec: &str| {
        let attrs = Attrs::new().with("spec", spec);
        g.add_one(op("contract"), "product", &[a, b], attrs)
            .unwrap()
    };
    let scores = product(&mut g, x, x, "bhqd,bhkd->bhqk");
    let attrs = Attrs::new().with("axis", 3);
    let weights = g
        .add_one(op("softmax"), "weights", &[scores], attrs)
        .unwrap();
    let y = product(&mut g, weights, x, "bhqk,bhkd->bhqd");
    g.add_output("y", y);
    let kinds = kinds(&g, &[1, 2, 70, 8], &vectors_of(32));
    assert!(kinds["strips"] > 0, "{kinds:?}");
}

#[test]
fn of_rows_of_images() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[1, 16, 20, 12]));
    let h = pointwise(&mut g, "first", x, &[16, 16, 1, 1]);
    let h = conv(&mut g, h, "depthwise", [16, 16]);
    let y = pointwise(&mut g, "last", h, &[24, 16, 1, 1]);
    g.add_output("y", y);
    let kinds = kinds(&g, &[1, 16, 20, 12], &vectors_of(32));
    assert!(kinds["strips"] > 0, "{kinds:?}");
    assert!(kinds["layout"] > 0, "{kinds:?}");
}

#[test]
fn of_tiles_and_algorithms() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[1, 16, 24, 20]));
    let y = conv(&mut g, x, "conv", [16, 1]);
    g.add_output("y", y);
    let options = PassOptions {
        stream_bytes: 64 << 10,
        ..vectors_of(32)
    };
    let kinds = kinds(&g, &[1, 16, 24, 20], &options);
    assert_eq!(kinds["algorithm"], 2, "{kinds:?}");
    assert!(kinds["strips"] > 0, "{kinds:?}");
}

#[test]
fn of_concatenations() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[1, 16, 9, 9]));
    let a = pointwise(&mut g, "a", x, &[16, 16, 1, 1]);
    let b = pointwise(&mut g, "b", a, &[16, 16, 1, 1]);
    let attrs = Attrs::new().with("axis", 1);
    let y = g.add_one(op("concat"), "join", &[a, b], attrs).unwrap();
    let z = conv(&mut g, y, "conv", [16, 1]);
    g.add_output("z", z);
    let kinds = kinds(&g, &[1, 16, 9, 9], &vectors_of(32));
    assert!(kinds["parts"] > 0, "{kinds:?}");
}
