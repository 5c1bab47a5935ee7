//! Convolutions of one image as one: where it pays, and that plans keep what graphs compute.
mod common;

use common::races::assert_no_races;
use common::seeds::seeds;
use common::{check_with, conv_attrs, f32s, iota, ty, vectors_of};
use tensmith_ir::graph::{Attrs, Graph, ValueId};
use tensmith_ir::ops::{Sampler, op};
use tensmith_ir::plan::Plan;
use tensmith_passes::optimise;

fn conv(g: &mut Graph, x: ValueId, filters: usize, taps: usize) -> ValueId {
    let channels = g.ty(x).shape[1].as_const().expect("static") as usize;
    let w = g.add_constant("w", f32s(&[filters, channels, taps, taps], 0.2));
    let attrs = conv_attrs(([1, 1], [1, 1]), 1, ([0, 0], [0, 0]));
    g.add_one(op("conv"), "conv", &[x, w], attrs).unwrap()
}

/// A bias for each channel, and what is below 0 cut off.
fn bias_relu(g: &mut Graph, x: ValueId, scale: f32) -> ValueId {
    let channels = g.ty(x).shape[1].as_const().expect("static") as usize;
    let b = g.add_constant("b", f32s(&[channels, 1, 1], scale));
    let y = g.add_one(op("add"), "bias", &[x, b], Attrs::new()).unwrap();
    relu(g, y)
}

fn relu(g: &mut Graph, y: ValueId) -> ValueId {
    let zero = g.add_constant("zero", f32s(&[], 0.0));
    g.add_one(op("max"), "relu", &[y, zero], Attrs::new())
        .unwrap()
}

fn joined(g: &mut Graph, parts: &[ValueId]) -> ValueId {
    let attrs = Attrs::new().with("axis", 1);
    g.add_one(op("concat"), "join", parts, attrs).unwrap()
}

/// How many convolutions are left of a graph, and its plan.
fn check(g: &Graph, shape: &[usize]) -> (usize, Plan) {
    let options = vectors_of(32);
    let graph = optimise(g.clone(), &options).expect("a valid graph");
    let convs = graph.nodes.iter().filter(|n| n.op.name == "conv").count();
    let plan = check_with(g, &[iota(shape)], &options);
    assert_no_races(&plan);
    (convs, plan)
}

/// Four heads of few filters, each with its bias; what follows reads the parts, or all of them.
#[test]
fn narrow_heads_of_one_image_are_one_convolution() {
    let shape = [1, 12, 6, 6];
    let heads = |g: &mut Graph| -> Vec<ValueId> {
        let x = g.add_input("x", ty(&shape));
        let head = |k: usize| {
            let y = conv(g, x, 3 + k, 1);
            bias_relu(g, y, 0.1 * k as f32)
        };
        (0..4).map(head).collect()
    };
    let mut g = Graph::default();
    let parts = heads(&mut g);
    let y = joined(&mut g, &parts);
    g.add_output("y", y);
    let (convs, plan) = check(&g, &shape);
    assert_eq!((convs, plan.calls().len()), (1, 1), "{plan}");
    let mut g = Graph::default();
    for (k, part) in heads(&mut g).into_iter().enumerate() {
        let y = conv(&mut g, part, 8, 1 + 2 * (k % 2));
        g.add_output(&format!("y{k}"), y);
    }
    let (convs, plan) = check(&g, &shape);
    assert_eq!((convs, plan.calls().len()), (5, 5), "{plan}");
}

/// Wide convolutions gain nothing that the copies of their results do not cost.
#[test]
fn what_pays_nothing_stays_apart() {
    let shape = [1, 16, 24, 24];
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&shape));
    for k in 0..2 {
        let y = conv(&mut g, x, 64, 1);
        let y = bias_relu(&mut g, y, 0.1 + k as f32);
        g.add_output(&format!("y{k}"), y);
    }
    assert_eq!(check(&g, &shape).0, 2);
}

/// One is followed by a node of two operands, the other by one of a single operand.
#[test]
fn siblings_that_are_followed_unlike_keep_what_follows() {
    let shape = [1, 3, 4, 4];
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&shape));
    let [a, b] = [3, 5].map(|filters| conv(&mut g, x, filters, 1));
    let a = relu(&mut g, a);
    let b = g.add_one(op("tanh"), "t", &[b], Attrs::new()).unwrap();
    g.add_output("a", a);
    g.add_output("b", b);
    check(&g, &shape);
}

/// Siblings of several forms, some followed alike, read by several and joined in any order.
#[test]
fn random_siblings_keep_values() {
    let mut merged = 0;
    for seed in seeds(0..60) {
        let mut s = Sampler::new(seed);
        let mut g = Graph::default();
        let size = s.int(3, 6) as usize;
        let shape = [1, s.int(2, 6) as usize, size, size];
        let x = g.add_input("x", ty(&shape));
        let count = s.int(2, 5);
        let mut parts: Vec<ValueId> = Vec::new();
        for _ in 0..count {
            let filters = s.int(1, 9) as usize;
            let mut y = conv(&mut g, x, filters, 1 + 2 * usize::from(s.int(0, 3) == 0));
            y = match s.int(0, 7) {
                0 => y,
                1 => relu(&mut g, y),
                2 => g.add_one(op("tanh"), "t", &[y], Attrs::new()).unwrap(),
                _ => bias_relu(&mut g, y, s.int(0, 3) as f32),
            };
            parts.push(y);
        }
        let like = g.ty(parts[0]).shape[2].clone();
        parts.retain(|v| g.ty(*v).shape[2] == like);
        if s.int(0, 3) == 0 {
            parts.reverse();
        }
        for part in parts.clone() {
            if s.int(0, 3) == 0 {
                g.add_output("part", part);
            }
        }
        let y = joined(&mut g, &parts);
        let y = conv(&mut g, y, 4, 1);
        g.add_output("y", y);
        let before = g.nodes.iter().filter(|n| n.op.name == "conv").count();
        merged += usize::from(check(&g, &shape).0 < before);
    }
    assert!(merged > 10, "{merged}");
}
