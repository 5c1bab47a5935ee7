//! Every rule of the e-graph alone, on random places: it finds them however they are spelled, gives
//! one normal form, and keeps what the reference evaluator computes.
mod common;

use common::canonical::canonical;
use common::draw::{draw, largest_magnitude};
use common::seeds::seeds;
use common::shrink::check_drawn;
use common::{assert_close, f32s, ty};
use tensmith_ir::eval::eval_graph;
use tensmith_ir::graph::{Attrs, Graph, verify_graph};
use tensmith_ir::ops::{Sampler, op};
use tensmith_ir::tensor::Tensor;
use tensmith_passes::graph::egraph::{Rule, Spelling, extremes, rewrite_by_rules, rules};
use tensmith_passes::partition::structure_cycles_of;
use tensmith_passes::pipeline::{Decisions, PassOptions, Precision, optimise, optimise_and_tell};

/// Random values for the inputs of a graph.
fn inputs(graph: &Graph, seed: u64) -> Vec<Tensor> {
    let mut sampler = Sampler::new(seed ^ 0x5eed);
    let ty = |v: &_| graph.ty(*v).clone();
    let types = graph.inputs.iter().map(ty);
    let tensor = |ty: tensmith_ir::graph::TensorType| {
        let shape = ty.static_shape().expect("samples are static");
        sampler.tensor(ty.dtype, &shape, -3.0, 3.0)
    };
    types.map(tensor).collect()
}

fn check(rule: &Rule, seed: u64) {
    let name = rule.name;
    let left = rule
        .sample(seed, Spelling::Left)
        .expect("rules have left sides");
    let (found, report) = rewrite_by_rules(&left, Precision::Standard).expect("a valid graph");
    verify_graph(&found).unwrap_or_else(|e| panic!("{name}, seed {seed}: {e}\n{found}"));
    let x = inputs(&left, seed);
    let want = eval_graph(&left, &x).expect("samples evaluate");
    let got = eval_graph(&found, &x).expect("results evaluate");
    for (k, (want, got)) in want.iter().zip(&got).enumerate() {
        assert_close(k, want, got, 10.0);
    }
    match rule.sample(seed, Spelling::Right) {
        Some(right) => {
            let (right, _) = rewrite_by_rules(&right, Precision::Standard).expect("a valid graph");
            let (a, b) = (canonical(&found), canonical(&right));
            assert_eq!(a, b, "{name}, seed {seed}:\n{left}\n{report:?}");
        }
        None => {
            let fired = report.fired.iter().find(|(n, _)| *n == name);
            assert!(
                fired.is_some_and(|f| f.1 > 0),
                "{name}, seed {seed}:\n{left}"
            );
        }
    }
}

#[test]
fn rules_find_all_spellings_and_keep_values() {
    for rule in rules::all() {
        for seed in seeds(0..100) {
            check(rule, seed);
        }
    }
}

/// The results of a graph, or that it has none.
fn results(graph: &Graph, x: &[Tensor]) -> Vec<Tensor> {
    verify_graph(graph).unwrap_or_else(|e| panic!("{e}\n{graph}"));
    eval_graph(graph, x).expect("equal graphs evaluate")
}

fn check_extremes(graph: &Graph, x: &[Tensor], magnitude: f64) {
    let [cheapest, dearest] = extremes(graph, Precision::Standard).expect("a valid graph");
    let pairs = results(&cheapest, x).into_iter().zip(results(&dearest, x));
    for (k, (a, b)) in pairs.enumerate() {
        assert_close(k, &a, &b, magnitude);
    }
}

#[test]
fn extremes_of_an_egraph_are_equal() {
    check_drawn("extremes", 0..300, &draw, &|graph, x| {
        let magnitude = largest_magnitude(graph, x);
        check_extremes(graph, x, magnitude);
        Ok(())
    });
    for rule in rules::all() {
        for seed in seeds(0..20) {
            let graph = rule
                .sample(seed, Spelling::Left)
                .expect("rules have left sides");
            check_extremes(&graph, &inputs(&graph, seed), 10.0);
        }
    }
}

#[test]
fn names_of_rules_are_unique() {
    for rule in rules::all() {
        let same = rules::all().filter(|r| r.name == rule.name).count();
        assert_eq!(same, 1, "{}", rule.name);
        assert!(!rule.equation().is_empty());
    }
}

/// Rules whose normal form takes more operations than a spelling that they find: forms that never
/// overflow, orders of axes that kernels read best (those of sums of outer products, of scores
/// with keys first and of transposed products among them, as products have them), factors of results that may be larger than the
/// operands, so that scaled queries and scaled scores are one, and those that are cheapest where
/// their parts are of other shapes.
const DEARER: [&str; 24] = [
    "contraction-of-joined",
    "contraction-of-rows",
    "divide-by-root",
    "erf-of-negative",
    "factor-of-contraction",
    "greater-slope",
    "interpolation",
    "log-of-opposite-sigmoid",
    "log-of-sigmoid",
    "log-softmax-unshifted",
    "mish-as-quotient",
    "mish-of-powers",
    "mish-of-squares",
    "order-of-axes",
    "power-of-negative",
    "softmax-behind-contraction",
    "softmax-behind-contraction-by-product",
    "softmax-of-keys-first",
    "softmax-unshifted",
    "softplus",
    "sum-of-outer-products",
    "tanh-of-negative",
    "tanh-of-quotient",
    "transpose-of-contraction",
];

/// What is less than one vector operation is no difference.
fn is_dearer(before: f64, after: f64) -> bool {
    after - before >= 1.0
}

#[test]
fn only_normal_forms_are_predicted_dearer() {
    for seed in seeds(0..1000) {
        let (graph, _) = draw(seed);
        let (found, report) = rewrite_by_rules(&graph, Precision::Standard).expect("a valid graph");
        let (before, after) = report.cost;
        assert!(
            !is_dearer(before, after),
            "seed {seed}: {before}, {after}\n{graph}\n{found}"
        );
    }
    let mut dearer: Vec<&str> = Vec::new();
    for rule in rules::all() {
        let is = |seed| {
            let graph = rule
                .sample(seed, Spelling::Left)
                .expect("rules have left sides");
            let (_, report) = rewrite_by_rules(&graph, Precision::Standard).expect("valid");
            is_dearer(report.cost.0, report.cost.1)
        };
        if (0..100).any(is) {
            dearer.push(rule.name);
        }
    }
    dearer.sort_unstable();
    assert_eq!(dearer, DEARER);
}

/// The directed path alone, as a compiler without rules takes it, is never predicted to be faster for a
/// graph in which no form was found that stands whatever it costs.
#[test]
fn rules_give_way_where_the_directed_path_is_cheaper() {
    let drawn = seeds(0..300).map(|seed| (format!("seed {seed}"), draw(seed).0));
    let of_rule = |rule: &'static Rule| {
        let graph = |seed| rule.sample(seed, Spelling::Left).expect("left sides");
        seeds(0..10).map(move |seed| (format!("{}, seed {seed}", rule.name), graph(seed)))
    };
    let with_rules = PassOptions::default();
    let without = PassOptions {
        egraph: false,
        ..with_rules.clone()
    };
    let (mut compared, mut gave_way) = (0, 0);
    for (place, graph) in drawn.chain(rules::all().flat_map(of_rule)) {
        let mut decisions = Decisions::default();
        let made = optimise_and_tell(graph.clone(), &with_rules, &mut decisions).expect("valid");
        if decisions.egraph.iter().any(|r| r.has_lasting()) {
            continue;
        }
        let directed = optimise(graph.clone(), &without).expect("a valid graph");
        let [made, directed] = [made, directed].map(|g| structure_cycles_of(&g, &without));
        assert!(made <= directed, "{place}: {made}, {directed}\n{graph}");
        compared += 1;
        gave_way += decisions.egraph.iter().filter(|r| r.gave_way).count();
    }
    println!("{compared} compared, of {gave_way} the directed path stands");
    assert!(compared > 1000, "{compared}");
    assert!(gave_way > 0, "the directed path was never cheaper");
}

/// A sum that others read is made once, and what is summed further comes out of it.
#[test]
fn results_that_others_read_are_reduced_further() {
    for name in ["reduce_mean", "reduce_sum"] {
        let mut g = Graph::default();
        let x = g.add_input("x", ty(&[2, 8, 16, 16]));
        let along = |axes: Vec<i64>| Attrs::new().with("axes", axes).with("keepdims", true);
        let inner = g.add_one(op(name), "inner", &[x], along(vec![2, 3]));
        let inner = inner.expect("it fits");
        let outer = g.add_one(op(name), "outer", &[inner], along(vec![1]));
        let outer = outer.expect("it fits");
        let y = g.add_one(op("sub"), "y", &[inner, outer], Attrs::new());
        g.add_output("y", y.expect("it fits"));
        let (found, report) = rewrite_by_rules(&g, Precision::Standard).expect("a valid graph");
        assert!(!is_dearer(report.cost.0, report.cost.1), "{found}");
        let inputs = [f32s(&[2, 8, 16, 16], 1.0)];
        assert_close(
            0,
            &results(&g, &inputs)[0],
            &results(&found, &inputs)[0],
            1.0,
        );
    }
}
