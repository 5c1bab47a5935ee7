//! Concatenations in place: which are chosen, and that plans with them keep what graphs compute.
mod common;

use common::races::assert_no_races;
use common::seeds::seeds;
use common::{check_with, conv_attrs, f32s, iota, ty, vectors_of};
use tensmith_ir::graph::{Attrs, Graph, ValueId};
use tensmith_ir::ops::{Sampler, op};
use tensmith_ir::plan::{Plan, Step};
use tensmith_passes::partition::{WhyNot, partition};
use tensmith_passes::{PassOptions, optimise};

fn conv(g: &mut Graph, x: ValueId, results: usize, taps: usize) -> ValueId {
    named_conv(g, "conv", x, (results, taps))
}

fn named_conv(g: &mut Graph, name: &str, x: ValueId, (results, taps): (usize, usize)) -> ValueId {
    let channels = g.ty(x).shape[1].as_const().expect("static") as usize;
    let w = f32s(&[results, channels, taps, taps], 0.3);
    let w = g.add_constant("w", w);
    let pad = (taps / 2) as i64;
    let attrs = conv_attrs(([1, 1], [1, 1]), 1, ([pad, pad], [pad, pad]));
    g.add_one(op("conv"), name, &[x, w], attrs).unwrap()
}

fn relu(g: &mut Graph, x: ValueId) -> ValueId {
    let zero = g.add_constant("zero", f32s(&[], 0.0));
    g.add_one(op("max"), "relu", &[x, zero], Attrs::new())
        .unwrap()
}

fn joined(g: &mut Graph, parts: &[ValueId]) -> ValueId {
    let attrs = Attrs::new().with("axis", 1);
    g.add_one(op("concat"), "join", parts, attrs).unwrap()
}

/// Runs plans for one thread and for several, and compares them with the reference; gives the one
/// for several.
fn check(g: &Graph, shape: &[usize]) -> Plan {
    check_with(g, &[iota(shape)], &of_threads(1));
    let plan = check_with(g, &[iota(shape)], &of_threads(2));
    assert_no_races(&plan);
    plan
}

/// The nodes of calls that lie between two barriers.
fn side_by_side(plan: &Plan) -> Vec<Vec<&str>> {
    let groups = plan.steps.split(|s| *s == Step::Barrier);
    let names = groups.map(|group| {
        let calls = group.iter().filter_map(|s| match s {
            Step::Call(call) => Some(&call.nodes),
            _ => None,
        });
        calls.flatten().map(String::as_str).collect()
    });
    names.collect()
}

fn of_threads(threads: usize) -> PassOptions {
    let mut options = vectors_of(32);
    options.target.threads = threads;
    options
}

/// The concatenations in place of a graph.
fn in_place(g: &Graph) -> usize {
    in_place_on(g, 1)
}

/// As [`in_place`], on so many threads.
fn in_place_on(g: &Graph, threads: usize) -> usize {
    let options = of_threads(threads);
    let graph = optimise(g.clone(), &options).expect("a valid graph");
    partition(&graph, &options).search.in_place
}

/// Branches of one value, which several kernels read together.
#[test]
fn branches_are_written_where_they_are_joined() {
    let mut g = Graph::default();
    let shape = [1, 8, 9, 9];
    let x = g.add_input("x", ty(&shape));
    let parts: Vec<ValueId> = [(16, 1), (24, 3), (8, 5)]
        .into_iter()
        .map(|(n, taps)| {
            let y = conv(&mut g, x, n, taps);
            relu(&mut g, y)
        })
        .collect();
    let y = joined(&mut g, &parts);
    let (a, b) = (conv(&mut g, y, 8, 1), conv(&mut g, y, 4, 1));
    g.add_output("a", a);
    g.add_output("b", b);
    assert_eq!(in_place(&g), 1);
    assert_eq!(in_place_on(&g, 2), 1);
    let plan = check(&g, &shape);
    assert!(plan.calls().iter().all(|c| c.nodes != ["join"]), "{plan}");
}

/// Kernels that write parts of one tensor do not wait for each other.
#[test]
fn branches_run_side_by_side() {
    let mut g = Graph::default();
    let shape = [1, 32, 12, 12];
    let x = g.add_input("x", ty(&shape));
    let narrow = conv(&mut g, x, 16, 1);
    let narrow = relu(&mut g, narrow);
    let parts = [("a", (48, 1)), ("b", (32, 3))];
    let parts = parts.map(|(name, form)| named_conv(&mut g, name, narrow, form));
    let y = joined(&mut g, &parts);
    let (y, z) = (conv(&mut g, y, 8, 3), conv(&mut g, y, 4, 1));
    g.add_output("y", y);
    // For one reader it saves less than a copy, which is too little on several threads.
    assert_eq!([1, 2].map(|n| in_place_on(&g, n)), [1, 0]);
    g.add_output("z", z);
    assert_eq!(in_place_on(&g, 2), 1);
    let plan = check(&g, &shape);
    let both = |nodes: &Vec<&str>| ["a", "b"].iter().all(|n| nodes.contains(n));
    assert!(side_by_side(&plan).iter().any(both), "{plan}");
}

/// Branches of several kernels: those that come first run side by side, then those that follow, in
/// no more memory than one branch after the other takes.
#[test]
fn branches_of_several_kernels_stand_in_waves() {
    let mut g = Graph::default();
    let shape = [1, 32, 12, 12];
    let x = g.add_input("x", ty(&shape));
    let wide = conv(&mut g, x, 128, 3);
    let narrow = conv(&mut g, wide, 32, 3);
    let first = named_conv(&mut g, "a1", narrow, (16, 1));
    let a = named_conv(&mut g, "a2", first, (16, 3));
    let first = named_conv(&mut g, "b1", narrow, (16, 3));
    let b = named_conv(&mut g, "b2", first, (16, 1));
    let y = joined(&mut g, &[a, b]);
    let y = conv(&mut g, y, 8, 3);
    g.add_output("y", y);
    let plan = check(&g, &shape);
    for pair in [["a1", "b1"], ["a2", "b2"]] {
        let both = |nodes: &Vec<&str>| pair.iter().all(|n| nodes.contains(n));
        assert!(side_by_side(&plan).iter().any(both), "{pair:?}: {plan}");
    }
    let alone = check_with(&g, &[iota(&shape)], &of_threads(1));
    let bytes = |plan: &Plan| plan.arena_bytes.as_const().expect("static");
    assert!(bytes(&plan) <= bytes(&alone), "{plan}");
}

/// Each layer reads all layers before it: all lie in one tensor. Layers that would be kernels of
/// their own for each place are one kernel, and are copied.
#[test]
fn layers_of_a_dense_block_lie_in_one_tensor() {
    let mut g = Graph::default();
    let shape = [1, 16, 7, 7];
    let x = g.add_input("x", ty(&shape));
    let mut all = conv(&mut g, x, 16, 1);
    for _ in 0..6 {
        let narrow = conv(&mut g, all, 16, 1);
        let narrow = relu(&mut g, narrow);
        let new = conv(&mut g, narrow, 8, 3);
        all = joined(&mut g, &[all, new]);
        // A second reader, as the next layer's.
        let y = relu(&mut g, all);
        let y = conv(&mut g, y, 4, 1);
        g.add_output("y", y);
    }
    assert!(in_place(&g) >= 4, "{}", in_place(&g));
    assert_eq!(in_place_on(&g, 2), in_place(&g));
    check(&g, &shape);
}

/// A layer that writes into the tensor that it reads is a kernel with a result of its own.
#[test]
fn no_kernel_writes_into_what_it_reads() {
    let mut g = Graph::default();
    let shape = [1, 8, 6, 6];
    let x = g.add_input("x", ty(&shape));
    let mut all = conv(&mut g, x, 8, 1);
    for _ in 0..3 {
        let new = conv(&mut g, all, 8, 1);
        all = joined(&mut g, &[all, new]);
    }
    let (a, b) = (conv(&mut g, all, 8, 1), conv(&mut g, all, 4, 3));
    g.add_output("a", a);
    g.add_output("b", b);
    let plan = check(&g, &shape);
    assert!(plan.calls().iter().any(|c| c.nodes == ["join"]), "{plan}");
}

/// What else sees a value keeps it apart: results of the graph, and parts of two concatenations.
#[test]
fn values_that_others_see_stay_apart() {
    let mut g = Graph::default();
    let shape = [1, 8, 6, 6];
    let x = g.add_input("x", ty(&shape));
    let (a, b) = (conv(&mut g, x, 8, 1), conv(&mut g, x, 8, 3));
    let y = joined(&mut g, &[a, b]);
    let z = joined(&mut g, &[b, a]);
    let (y, z) = (conv(&mut g, y, 8, 3), conv(&mut g, z, 8, 5));
    g.add_output("y", y);
    g.add_output("z", z);
    g.add_output("b", b);
    assert_eq!(in_place(&g), 0);
    check(&g, &shape);
}

/// Parts are said to be in the result that they are written into.
#[test]
fn refusals_name_the_concatenation() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[1, 8, 9, 9]));
    let parts = [conv(&mut g, x, 16, 1), conv(&mut g, x, 24, 5)];
    let y = joined(&mut g, &parts);
    let (a, b) = (conv(&mut g, y, 8, 1), conv(&mut g, y, 4, 1));
    g.add_output("a", a);
    g.add_output("b", b);
    let found = partition(&g, &PassOptions::default());
    let join = g.producer(y).unwrap();
    assert_eq!(found.refusals[&join], WhyNot::InPlace);
    for part in parts {
        let maker = g.producer(part).unwrap();
        assert_eq!(found.refusals[&maker], WhyNot::PartOf(join));
    }
}

/// Random branches, joins of joins, pooling and padding.
#[test]
fn random_joins_keep_values() {
    let mut chosen = 0;
    for seed in seeds(0..40) {
        let mut s = Sampler::new(seed);
        let mut g = Graph::default();
        let size = s.int(3, 5) as usize;
        let shape = [1, s.int(4, 9) as usize, size, size];
        let x = g.add_input("x", ty(&shape));
        let mut values = vec![conv(&mut g, x, s.int(4, 12) as usize, 1)];
        for _ in 0..s.int(3, 9) {
            let pick = |s: &mut Sampler| values[s.int(0, values.len() as i64 - 1) as usize];
            let (a, b) = (pick(&mut s), pick(&mut s));
            let results = s.int(4, 20) as usize;
            let new = match s.int(0, 4) {
                0 => conv(&mut g, a, results, 1),
                1 => conv(&mut g, a, results, 3),
                2 => relu(&mut g, a),
                _ => joined(&mut g, &[a, b]),
            };
            values.push(new);
        }
        let last = values[values.len() - 1];
        for taps in [1, 3] {
            let y = conv(&mut g, last, 4, taps);
            g.add_output("y", y);
        }
        chosen += in_place(&g);
        check(&g, &shape);
    }
    assert!(chosen > 10, "{chosen}");
}
