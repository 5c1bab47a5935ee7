//! Recurrent layers whose steps a team of threads shares, as machine code: the same bits for any
//! number of threads, side by side and in sections, near the reference evaluator.
mod support;

use support::guarded::{Edge, Runner, run_guarded_for};
use support::{X86_LEVELS, target_here};
use tensmith::{Options, compile};
use tensmith_ir::dtype::DType;
use tensmith_ir::eval::eval_graph;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, TensorType, ValueId};
use tensmith_ir::loops::team::is_team;
use tensmith_ir::ops::{Sampler, op};
use tensmith_ir::tensor::Tensor;

const HIDDEN: usize = 210;
const STEPS: usize = 3;

/// A layer of sequences of so many steps each.
fn layer(name: &str, lengths: &[usize], linear: bool) -> Graph {
    let (gates, weights, vectors, states, functions): (_, &[usize], usize, _, _) = match name {
        "lstm" => (4, &[4], 3, 2, "sigmoid,tanh,tanh"),
        "gru" => (3, &[2, 1], 1, 1, "sigmoid,tanh"),
        _ => (1, &[1], 0, 1, "tanh"),
    };
    let s = &mut Sampler::new(5);
    let mut g = Graph::default();
    let batch = lengths.len();
    let shape = [STEPS, batch, gates * HIDDEN].map(Expr::from).to_vec();
    let mut operands = vec![g.add_input("x", TensorType::new(DType::F32, shape))];
    for n in weights {
        let w = s.tensor(DType::F32, &[n * HIDDEN, HIDDEN], -0.1, 0.1);
        operands.push(g.add_constant("r", w));
    }
    let states: Vec<ValueId> = (0..states)
        .map(|_| g.add_constant("h", s.tensor(DType::F32, &[batch, HIDDEN], -1.0, 1.0)))
        .collect();
    let vectors: Vec<ValueId> = match vectors {
        0 => vec![],
        n => vec![g.add_constant("v", s.tensor(DType::F32, &[n * HIDDEN], -0.5, 0.5))],
    };
    operands.extend(match name {
        "lstm" => [states, vectors].concat(),
        _ => [vectors, states].concat(),
    });
    let lengths: Vec<i64> = lengths.iter().map(|n| *n as i64).collect();
    operands.push(g.add_constant("lengths", Tensor::from_i64(vec![batch], &lengths)));
    let count = functions.split(',').count();
    let mut attrs = Attrs::new()
        .with("reverse", batch == 3)
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
    g
}

fn check(name: &str, lengths: &[usize], linear: bool) {
    let graph = layer(name, lengths, linear);
    let shape = graph.ty(graph.inputs[0]).static_shape().expect("static");
    let inputs = [Sampler::new(7).tensor(DType::F32, &shape, -1.5, 1.5)];
    let reference = eval_graph(&graph, &inputs).unwrap();
    for level in X86_LEVELS {
        let Some(target) = target_here(level) else {
            continue;
        };
        let planned = |threads| {
            let options = Options {
                target: level.to_owned(),
                threads: Some(threads),
                ..Options::default()
            };
            compile::plan(&graph, &options).unwrap()
        };
        let one = planned(1);
        assert!(!one.kernels.iter().any(is_team));
        let want = run_guarded_for(&target, &one, &inputs, (Runner::Spmd, 1), Edge::End).unwrap();
        for (w, r) in want.iter().zip(&reference) {
            let pairs = w.to_f64().into_iter().zip(r.to_f64());
            let error = pairs.fold(0f64, |m, (w, r)| m.max((w - r).abs()));
            assert!(error < 1e-5, "{level} {name} {lengths:?}: {error:e}");
        }
        let plan = planned(2);
        assert!(plan.kernels.iter().any(is_team), "{level} {plan}");
        for (by, edge) in [
            ((Runner::Spmd, 1), Edge::Begin),
            ((Runner::Spmd, 2), Edge::End),
            ((Runner::Spmd, 3), Edge::Begin),
            ((Runner::Sections, 2), Edge::End),
            ((Runner::Backwards, 3), Edge::Begin),
        ] {
            let found = run_guarded_for(&target, &plan, &inputs, by, edge).unwrap();
            assert_eq!(found, want, "{level} {name} {lengths:?}");
        }
    }
}

#[test]
fn of_lstm() {
    check("lstm", &[STEPS], false);
    check("lstm", &[STEPS, 1, 2], false);
}

#[test]
fn of_gru() {
    check("gru", &[STEPS], true);
    check("gru", &[1, 2, STEPS], false);
}

#[test]
fn of_many_sequences() {
    check("lstm", &[STEPS; 18], false);
}
