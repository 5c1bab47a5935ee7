//! Products of one value as one: where scalar work reads all of them together, and that plans keep
//! what graphs compute.
mod common;

use common::races::assert_no_races;
use common::seeds::seeds;
use common::{check_with, f32s, iota, ty, vectors_of};
use tensmith_ir::graph::{Attrs, Graph, ValueId};
use tensmith_ir::ops::{Sampler, op};
use tensmith_ir::plan::Plan;
use tensmith_passes::optimise;

fn product(g: &mut Graph, x: ValueId, columns: usize, scale: f32) -> ValueId {
    let depth = g.ty(x).shape[1].as_const().expect("static") as usize;
    let w = g.add_constant("w", f32s(&[depth, columns], scale));
    let spec = Attrs::new().with("spec", "mk,kn->mn");
    g.add_one(op("contract"), "dot", &[x, w], spec).unwrap()
}

fn add(g: &mut Graph, name: &str, inputs: &[ValueId]) -> ValueId {
    g.add_one(op(name), name, inputs, Attrs::new()).unwrap()
}

fn biased(g: &mut Graph, x: ValueId, scale: f32) -> ValueId {
    let columns = g.ty(x).shape[1].as_const().expect("static") as usize;
    let b = g.add_constant("b", f32s(&[columns], scale));
    add(g, "add", &[x, b])
}

/// How many products are left of a graph, and its plan.
fn check(g: &Graph, shapes: &[[usize; 2]]) -> (usize, Plan) {
    let options = vectors_of(32);
    let graph = optimise(g.clone(), &options).expect("a valid graph");
    let products = graph.nodes.iter().filter(|n| n.op.name == "contract");
    let inputs: Vec<_> = shapes.iter().map(|s| iota(s)).collect();
    let plan = check_with(g, &inputs, &options);
    assert_no_races(&plan);
    (products.count(), plan)
}

/// Gates of a cell, each of a product with the input and one with the state.
fn gates(g: &mut Graph, rows: usize, columns: usize, count: usize) -> Vec<ValueId> {
    let x = g.add_input("x", ty(&[rows, 8]));
    let h = g.add_input("h", ty(&[rows, 6]));
    let gate = |k: usize| {
        let a = product(g, x, columns, 0.1 + 0.02 * k as f32);
        let a = biased(g, a, 0.1);
        let b = product(g, h, columns, 0.2 - 0.03 * k as f32);
        let y = add(g, "add", &[a, b]);
        add(g, "sigmoid", &[y])
    };
    (0..count).map(gate).collect()
}

#[test]
fn gates_of_a_cell_are_two_products_and_scalar_work() {
    let mut g = Graph::default();
    let all = gates(&mut g, 3, 6, 4);
    let sum = |g: &mut Graph, a: ValueId, b: ValueId| add(g, "mul", &[a, b]);
    let y = all[1..].iter().fold(all[0], |a, b| sum(&mut g, a, *b));
    g.add_output("y", y);
    let (products, plan) = check(&g, &[[3, 8], [3, 6]]);
    assert_eq!((products, plan.calls().len()), (2, 3), "{plan}");
}

/// Nothing is saved where each result is read by scalar work of its own.
#[test]
fn heads_that_end_apart_stay_apart() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[5, 8]));
    for k in 0..4 {
        let y = product(&mut g, x, 6, 0.1 + 0.1 * k as f32);
        let y = add(&mut g, "sigmoid", &[y]);
        g.add_output(&format!("y{k}"), y);
    }
    let (products, plan) = check(&g, &[[5, 8]]);
    assert_eq!((products, plan.calls().len()), (4, 4), "{plan}");
}

/// What many rows of results take in memory is more than hand-offs.
#[test]
fn long_products_stay_apart() {
    let mut g = Graph::default();
    let all = gates(&mut g, 500, 64, 3);
    let y = add(&mut g, "mul", &[all[0], all[1]]);
    let y = add(&mut g, "mul", &[y, all[2]]);
    g.add_output("y", y);
    assert_eq!(check(&g, &[[500, 8], [500, 6]]).0, 6);
}

/// Products of several widths, some with a bias, some read twice, read together or apart.
#[test]
fn random_products_keep_values() {
    let mut joined = 0;
    for seed in seeds(0..60) {
        let mut s = Sampler::new(seed);
        let mut g = Graph::default();
        let (rows, depth) = (s.int(1, 5) as usize, s.int(1, 9) as usize);
        let x = g.add_input("x", ty(&[rows, depth]));
        let columns = s.int(1, 9) as usize;
        let mut all = Vec::new();
        for k in 0..s.int(2, 6) {
            let y = product(&mut g, x, columns, 0.1 + 0.07 * k as f32);
            let y = match s.int(0, 2) {
                0 => y,
                1 => biased(&mut g, y, 0.3),
                _ => add(&mut g, "tanh", &[y]),
            };
            all.push(y);
        }
        let mut y = all[0];
        for other in &all[1..] {
            y = match s.int(0, 3) {
                0 => add(&mut g, "add", &[y, *other]),
                1 => add(&mut g, "mul", &[*other, y]),
                2 => product(&mut g, y, columns, 0.2),
                _ => {
                    g.add_output(&format!("z{}", other.0), *other);
                    add(&mut g, "sub", &[y, *other])
                }
            };
        }
        g.add_output("y", y);
        let before = g.nodes.iter().filter(|n| n.op.name == "contract").count();
        joined += usize::from(check(&g, &[[rows, depth]]).0 < before);
    }
    assert!(joined > 5, "{joined}");
}
