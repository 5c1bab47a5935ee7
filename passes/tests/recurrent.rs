//! Recurrent layers: sums over the state are register tiles over packed weights, activations are
//! vectors, and results are those of the reference for any number of sequences.
mod common;

use common::{check, check_with, f32s, iota, ty, vectors_of};
use tensmith_ir::graph::{Attrs, Graph};
use tensmith_ir::loops::{Cond, Kernel, Layout, Mark, Role, Scope, Stmt};
use tensmith_ir::ops::op;
use tensmith_ir::plan::Plan;
use tensmith_ir::tensor::Tensor;

const HIDDEN: usize = 40;
const STEPS: usize = 3;

/// A layer with constant weights; the longest sequence has all steps.
fn layer(name: &str, batch: usize, linear: bool) -> (Graph, Vec<Tensor>) {
    layer_of(name, batch, linear, STEPS)
}

/// A layer of sequences that have so many steps at most.
fn layer_of(name: &str, batch: usize, linear: bool, longest: usize) -> (Graph, Vec<Tensor>) {
    let (gates, weights, vectors, states, functions): (_, &[usize], &[usize], _, _) = match name {
        "lstm" => (4, &[4], &[3], 2, "sigmoid,tanh,tanh"),
        "gru" => (3, &[2, 1], &[1], 1, "sigmoid,tanh"),
        _ => (1, &[1], &[], 1, "tanh"),
    };
    let mut g = Graph::default();
    let x = [STEPS, batch, gates * HIDDEN];
    let mut operands = vec![g.add_input("x", ty(&x))];
    for (k, n) in weights.iter().enumerate() {
        let w = f32s(&[n * HIDDEN, HIDDEN], 0.2);
        operands.push(g.add_constant(&format!("r{k}"), w));
    }
    let vectors = vectors.iter().map(|n| f32s(&[n * HIDDEN], 0.3));
    let vectors: Vec<_> = vectors.map(|v| g.add_constant("v", v)).collect();
    let start = f32s(&[batch, HIDDEN], 0.5);
    let states: Vec<_> = (0..states)
        .map(|_| g.add_constant("h", start.clone()))
        .collect();
    let both = match name {
        "lstm" => [states, vectors],
        _ => [vectors, states],
    };
    operands.extend(both.concat());
    let lengths = (0..batch)
        .map(|b| longest.saturating_sub(b % 3) as i64)
        .collect::<Vec<_>>();
    operands.push(g.add_constant("lengths", Tensor::from_i64(vec![batch], &lengths)));
    let count = functions.split(',').count();
    let mut attrs = Attrs::new()
        .with("reverse", batch % 2 == 1)
        .with("activations", functions)
        .with("alpha", vec![0.0; count])
        .with("beta", vec![0.0; count])
        .with("clip", f64::INFINITY);
    match name {
        "lstm" => attrs.set("input_forget", false),
        "gru" => attrs.set("linear_before_reset", linear),
        _ => {}
    }
    let results = g.add(op(name), name, &operands, attrs).unwrap();
    for (k, y) in results.into_iter().enumerate() {
        g.add_output(&format!("y{k}"), y);
    }
    (g, vec![iota(&x)])
}

fn marks(stmts: &[Stmt], inside: bool, found: &mut Vec<(Mark, bool)>) {
    for stmt in stmts {
        let mut steps = inside;
        if let Stmt::For(l) = stmt {
            found.push((l.mark, inside));
            steps |= l.role == Role::Serial;
        }
        stmt.bodies()
            .into_iter()
            .for_each(|b| marks(b, steps, found));
    }
}

fn kernel<'p>(plan: &'p Plan, name: &str) -> &'p Kernel {
    let mut kernels = plan.kernels.iter();
    kernels
        .find(|k| k.name == name)
        .expect("the layer is a kernel")
}

#[test]
fn sums_over_states_are_tiles_over_packed_weights() {
    for (name, linear) in [
        ("lstm", false),
        ("gru", false),
        ("gru", true),
        ("rnn", false),
    ] {
        for batch in [1, 3, 8, 11, 16] {
            let (graph, inputs) = layer(name, batch, linear);
            let plan = check(&graph, &inputs);
            let kernel = kernel(&plan, name);
            let matrices = kernel.buffers.iter().filter(|b| {
                b.scope == Scope::Input
                    && b.shape.len() == 2
                    && b.shape[1].is(HIDDEN as i64)
                    && b.shape[0].as_const() >= Some(HIDDEN as i64)
            });
            for b in matrices {
                let packed = b.layout != Layout::row_major(2);
                assert!(
                    packed,
                    "{name}, {batch} sequences: `{}` in {kernel}",
                    b.name
                );
            }
            let mut found = Vec::new();
            marks(&kernel.body, false, &mut found);
            assert!(found.contains(&(Mark::Vector, true)), "{kernel}");
            assert_eq!(found.contains(&(Mark::Jam, true)), batch > 1, "{kernel}");
        }
    }
}

#[test]
fn strips_of_sequences_are_parallel() {
    let (graph, inputs) = layer("lstm", 16, false);
    let plan = check_with(&graph, &inputs, &vectors_of(32));
    let outermost = &kernel(&plan, "lstm").body[..];
    assert!(matches!(outermost, [Stmt::For(l)] if l.mark == Mark::Parallel && l.extent.is(2)));
}

/// Whether all sums over the state are under conditions on data.
fn are_conditional(stmts: &[Stmt], steps: bool) -> bool {
    stmts.iter().all(|s| match s {
        Stmt::If {
            cond: Cond::Scalar(_),
            ..
        } => true,
        Stmt::For(l) if l.role == Role::Reduce => !steps,
        Stmt::For(l) => are_conditional(&l.body, steps || l.role == Role::Serial),
        other => (other.bodies().into_iter()).all(|b| are_conditional(b, steps)),
    })
}

#[test]
fn steps_end_with_the_longest_sequence_of_a_strip() {
    for (name, linear) in [
        ("lstm", false),
        ("gru", false),
        ("gru", true),
        ("rnn", false),
    ] {
        for (batch, longest) in [(1, 1), (3, 2), (8, 0), (11, 1), (16, 2)] {
            let (graph, inputs) = layer_of(name, batch, linear, longest);
            let plan = check(&graph, &inputs);
            let kernel = kernel(&plan, name);
            assert!(are_conditional(&kernel.body, false), "{kernel}");
        }
    }
    let (graph, inputs) = layer_of("rnn", 1, false, 2 * STEPS);
    let plan = check(&graph, &inputs);
    let kernel = kernel(&plan, "rnn");
    assert!(!are_conditional(&kernel.body, false), "{kernel}");
}

/// Counts the parallel loops in steps.
fn shared(stmts: &[Stmt], steps: bool, found: &mut usize) {
    for stmt in stmts {
        let mut inside = steps;
        if let Stmt::For(l) = stmt {
            inside |= l.role == Role::Serial;
            *found += usize::from(steps && l.mark == Mark::Parallel);
        }
        let bodies = stmt.bodies().into_iter();
        bodies.for_each(|b| shared(b, inside, found));
    }
}

/// Long steps of few sequences are shared by threads: the sums, and what makes states of them. Short
/// ones are not, nor those of so many sequences that each thread has strips of its own.
#[test]
fn long_steps_of_few_sequences_are_shared_by_threads() {
    for (batch, vector_bytes, want) in [(8, 16, true), (8, 64, false), (16, 16, false)] {
        let (graph, inputs) = layer("lstm", batch, false);
        let mut options = vectors_of(vector_bytes);
        for threads in [1, 2] {
            options.target.threads = threads;
            let plan = check_with(&graph, &inputs, &options);
            let kernel = kernel(&plan, "lstm");
            let mut found = 0;
            shared(&kernel.body, false, &mut found);
            match want && threads > 1 {
                true => assert!(found >= 2, "{batch} sequences: {kernel}"),
                false => assert_eq!(found, 0, "{batch} sequences: {kernel}"),
            }
        }
    }
}
