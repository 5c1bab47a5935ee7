//! The choice among offers of fusion: never dearer than rules alone, as good as trying all, and the
//! same for any number of threads but for concatenations in place.
mod common;

use common::draw::draw;
use common::seeds::seeds;
use std::collections::{BTreeMap, BTreeSet};
use tensmith_ir::graph::{Graph, NodeId};
use tensmith_passes::partition::{Group, Partition, partition, partition_apart, predicted_cycles};
use tensmith_passes::{PassOptions, optimise};

/// Nodes that begin kernels of their own in all combinations, at most.
const NODES: usize = 10;
/// The part of a cost that is no difference to the search.
const MARGIN: f64 = 0.01;

fn cycles(graph: &Graph, partition: &Partition) -> f64 {
    predicted_cycles(graph, partition, &PassOptions::default().target)
}

/// A random graph as it is partitioned.
fn optimised(seed: u64) -> Graph {
    optimise(draw(seed).0, &PassOptions::default()).expect("a valid graph")
}

#[test]
fn choices_are_never_dearer_than_rules() {
    for seed in seeds(0..1000) {
        let graph = optimised(seed);
        let chosen = partition(&graph, &PassOptions::default());
        let rules = partition_apart(&graph, &BTreeSet::new());
        let (now, before) = (cycles(&graph, &chosen), cycles(&graph, &rules));
        assert!(
            now <= before * (1.0 + 1e-9),
            "seed {seed}: {now}, {before}\n{graph}"
        );
    }
}

/// What one node more computes apart is then one kernel less.
#[test]
fn a_node_stands_apart_where_that_saves_a_kernel() {
    let graph = optimised(2443);
    let chosen = partition(&graph, &PassOptions::default());
    let rules = partition_apart(&graph, &BTreeSet::new());
    assert_eq!(chosen.search.apart, 1, "{graph}");
    assert!(cycles(&graph, &chosen) < cycles(&graph, &rules));
}

/// The least that any set of nodes that begin kernels of their own costs.
fn least(graph: &Graph, joined: &[NodeId]) -> f64 {
    let sets = 0..1usize << joined.len();
    let of = |bits: usize| {
        let inside = joined.iter().enumerate();
        let apart = inside
            .filter(|(k, _)| bits >> k & 1 == 1)
            .map(|(_, id)| *id);
        cycles(graph, &partition_apart(graph, &apart.collect()))
    };
    sets.map(of).fold(f64::INFINITY, f64::min)
}

#[test]
fn branch_and_bound_finds_what_trying_all_finds() {
    let (mut all, mut tried) = (0, 0);
    for seed in seeds(0..600) {
        let graph = optimised(seed);
        let chosen = partition(&graph, &PassOptions::default());
        let nodes: Vec<NodeId> = graph.node_ids().collect();
        let strips = chosen.groups.values().any(|g| g.strips.is_some());
        all += 1;
        if nodes.len() > NODES || strips || chosen.search.limited > 0 {
            continue;
        }
        tried += 1;
        let (found, best) = (cycles(&graph, &chosen), least(&graph, &nodes));
        assert!(
            found <= best / (1.0 - MARGIN) * (1.0 + 1e-9),
            "seed {seed}: {found}, {best}\n{graph}"
        );
    }
    assert!(all < 600 || tried >= 100, "{tried} graphs");
}

/// Concatenations are taken in place on several threads only where they save as much as a copy, and
/// with them what computes their parts stands apart.
#[test]
fn choices_do_not_depend_on_threads() {
    let (mut all, mut others) = (0, 0);
    for seed in seeds(0..200) {
        let graph = optimised(seed);
        let of = |threads: usize| {
            let mut options = PassOptions::default();
            options.target.threads = threads;
            partition(&graph, &options).groups
        };
        let (one, several) = (of(1), of(7));
        let in_place =
            |groups: &BTreeMap<NodeId, Group>| groups.values().filter(|g| g.in_place).count();
        all += 1;
        if in_place(&one) > in_place(&several) {
            others += 1;
            continue;
        }
        assert_eq!(one, several, "seed {seed}\n{graph}");
    }
    assert!(50 * others <= all.max(50), "{others} of {all} graphs");
}
