//! Regions of the e-graph: equal ones are saturated once, with weights of their own, and no pattern
//! is lost at a cut.
mod common;

use common::draw::draw;
use common::seeds::seeds;
use common::{assert_close, f32s, ty};
use std::collections::HashMap;
use tensmith_ir::eval::eval_graph;
use tensmith_ir::graph::{Attrs, Def, Graph, ValueId};
use tensmith_ir::ops::{Sampler, op};
use tensmith_ir::tensor::Tensor;
use tensmith_passes::graph::egraph::{
    Report, Spelling, extremes, predicted_cost, rewrite_by_rules, rules,
};
use tensmith_passes::pipeline::Precision;

fn rewrite(graph: &Graph) -> (Graph, Report) {
    rewrite_by_rules(graph, Precision::Standard).expect("a valid graph")
}

fn add(g: &mut Graph, name: &str, inputs: &[ValueId]) -> ValueId {
    g.add_one(op(name), name, inputs, Attrs::new()).unwrap()
}

fn number(g: &mut Graph, n: f64) -> ValueId {
    g.add_constant(
        "c",
        Tensor::splat(tensmith_ir::dtype::DType::F32, vec![], n),
    )
}

/// Layers of a product, a bias, a spelled gelu whose last factor is `half`, and a residual.
fn layers(halves: &[f64]) -> Graph {
    let mut sampler = Sampler::new(3);
    let mut g = Graph::default();
    let mut x = g.add_input("x", ty(&[3, 16]));
    for half in halves {
        let mut weights = |shape: &[usize]| sampler.tensor(f32s(&[1], 0.0).dtype, shape, -1.0, 1.0);
        let (w, b) = (weights(&[16, 16]), weights(&[16]));
        let (w, b) = (g.add_constant("w", w), g.add_constant("b", b));
        let spec = Attrs::new().with("spec", "mk,kn->mn");
        let y = g.add_one(op("contract"), "dot", &[x, w], spec).unwrap();
        let y = add(&mut g, "add", &[y, b]);
        let (root, one, half) = (
            number(&mut g, std::f64::consts::SQRT_2),
            number(&mut g, 1.0),
            number(&mut g, *half),
        );
        let e = add(&mut g, "div", &[y, root]);
        let e = add(&mut g, "erf", &[e]);
        let e = add(&mut g, "add", &[e, one]);
        let y = add(&mut g, "mul", &[y, e]);
        let y = add(&mut g, "mul", &[y, half]);
        let t = add(&mut g, "tanh", &[y]);
        let t = add(&mut g, "cos", &[t]);
        let t = add(&mut g, "sin", &[t]);
        x = add(&mut g, "add", &[t, x]);
    }
    g.add_output("y", x);
    g
}

fn assert_equal(a: &Graph, b: &Graph, inputs: &[Tensor]) {
    let (want, got) = (
        eval_graph(a, inputs).unwrap(),
        eval_graph(b, inputs).unwrap(),
    );
    for (want, got) in want.iter().zip(&got) {
        assert_close(0, want, got, 10.0);
    }
}

fn found(report: &Report, rule: &str) -> usize {
    report
        .fired
        .iter()
        .find(|(n, _)| *n == rule)
        .map_or(0, |f| f.1)
}

#[test]
fn equal_layers_are_saturated_once() {
    let graph = layers(&[0.5; 12]);
    let (rewritten, report) = rewrite(&graph);
    assert_eq!((report.regions, report.distinct), (6, 1), "{report:?}");
    assert_eq!(found(&report, "gelu"), 12);
    let mut sampler = Sampler::new(5);
    let x = sampler.tensor(f32s(&[1], 0.0).dtype, &[3, 16], -1.0, 1.0);
    assert_equal(&graph, &rewritten, &[x]);
}

#[test]
fn constants_that_rules_see_tell_regions_apart() {
    let mut halves = [0.5; 12];
    halves[6] = 0.75;
    let graph = layers(&halves);
    let (rewritten, report) = rewrite(&graph);
    let (_, all) = rewrite(&layers(&[0.5; 12]));
    assert!(report.distinct > all.distinct, "{report:?}");
    assert_eq!(found(&report, "gelu"), 11);
    let mut sampler = Sampler::new(5);
    let x = sampler.tensor(f32s(&[1], 0.0).dtype, &[3, 16], -1.0, 1.0);
    assert_equal(&graph, &rewritten, &[x]);
}

/// A graph whose first input of floats is what comes out of so many functions of it, of which all
/// are separators.
fn behind_functions(graph: &Graph, count: usize) -> Graph {
    let mut g = Graph::default();
    let mut map: HashMap<ValueId, ValueId> = HashMap::new();
    let mut first = true;
    for id in &graph.inputs {
        let value = graph.value(*id);
        let mut v = g.add_input(&value.name, value.ty.clone());
        if first && value.ty.dtype.is_float() {
            first = false;
            for k in 0..count {
                v = add(&mut g, ["sin", "cos"][k % 2], &[v]);
            }
        }
        map.insert(*id, v);
    }
    for (k, value) in graph.values.iter().enumerate() {
        if let Def::Constant(t) = &value.def {
            map.insert(ValueId(k as u32), g.add_constant(&value.name, t.clone()));
        }
    }
    for node in &graph.nodes {
        let inputs: Vec<ValueId> = node.inputs.iter().map(|v| map[v]).collect();
        let (attrs, regions) = (node.attrs.clone(), node.regions.clone());
        let made = g.add_with_regions(node.op, &node.name, &inputs, attrs, regions);
        map.extend(node.outputs.iter().copied().zip(made.unwrap()));
    }
    for (name, v) in graph.output_names.iter().zip(&graph.outputs) {
        g.add_output(name, map[v]);
    }
    g
}

/// Cuts may come to lie everywhere in a pattern; what is found costs what it does without cuts.
fn check_no_loss(graph: &Graph, place: &str) -> usize {
    let (rewritten, report) = rewrite(graph);
    let [whole, _] = extremes(graph, Precision::Standard).unwrap();
    let (found, best) = (predicted_cost(&rewritten), predicted_cost(&whole));
    let (before, limit) = (report.cost.0, best.max(report.cost.0));
    assert!(
        found - best < 1.0 || found <= limit && found <= before,
        "{place}: {found}, {best}\n{graph}\n{rewritten}"
    );
    report.regions
}

#[test]
fn no_pattern_is_lost_at_a_cut() {
    let mut cut = 0;
    for rule in rules::all() {
        for seed in 0..4 {
            let left = rule.sample(seed, Spelling::Left).unwrap();
            for count in 4..14 {
                let place = format!("{}, seed {seed}, {count} before", rule.name);
                let graph = behind_functions(&left, count);
                cut += usize::from(check_no_loss(&graph, &place) > 1);
                let (_, report) = rewrite(&graph);
                let (_, alone) = rewrite(&left);
                // It leaves joined scalar work alone, and that is what comes before here.
                let looks_before = rule.name == "contraction-of-joined";
                assert!(
                    looks_before || found(&report, rule.name) >= found(&alone, rule.name),
                    "{place}:\n{graph}"
                );
            }
        }
    }
    assert!(cut >= 20, "{cut} graphs were cut");
}

#[test]
fn random_graphs_lose_nothing_at_cuts() {
    for seed in seeds(0..300) {
        let graph = behind_functions(&draw(seed).0, 8);
        check_no_loss(&graph, &format!("seed {seed}"));
    }
}
