//! Streamed attention as machine code against the reference evaluator, with vectors of 128, 256 and
//! 512 bits, on several threads, in buffers that end and begin at unmapped pages.
mod support;

use support::guarded::{Edge, Runner, run_guarded_for};
use support::{X86_LEVELS, target_here};
use tensmith::{Options, compile};
use tensmith_ir::dtype::DType;
use tensmith_ir::eval::eval_graph;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, TensorType, ValueId};
use tensmith_ir::ops::{Sampler, op};
use tensmith_ir::tensor::Tensor;

/// Sizes of an attention whose scores take more than the bound above which they are streamed.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    heads: usize,
    queries: usize,
    /// Keys of earlier runs, which are joined with those of this one.
    past: usize,
    keys: usize,
    /// The size of a head.
    depth: usize,
}

/// The scores of each take more than 1 MiB in any type; rows and strips have tails.
const SIZES: [Sizes; 3] = [
    Sizes {
        heads: 6,
        queries: 300,
        past: 0,
        keys: 300,
        depth: 20,
    },
    Sizes {
        heads: 5,
        queries: 256,
        past: 0,
        keys: 515,
        depth: 32,
    },
    Sizes {
        heads: 10,
        queries: 37,
        past: 1500,
        keys: 37,
        depth: 24,
    },
];

fn add(g: &mut Graph, name: &str, inputs: &[ValueId], attrs: Attrs) -> ValueId {
    g.add_one(op(name), name, inputs, attrs).unwrap()
}

fn input(g: &mut Graph, name: &str, dtype: DType, shape: [usize; 4]) -> ValueId {
    let shape = shape.iter().map(|d| Expr::from(*d)).collect();
    g.add_input(name, TensorType::new(dtype, shape))
}

/// Keys or values, after those of earlier runs.
fn with_past(g: &mut Graph, name: &str, dtype: DType, s: Sizes) -> ValueId {
    let new = input(g, name, dtype, [1, s.heads, s.keys, s.depth]);
    if s.past == 0 {
        return new;
    }
    let past = format!("past_{name}");
    let past = input(g, &past, dtype, [1, s.heads, s.past, s.depth]);
    add(g, "concat", &[past, new], Attrs::new().with("axis", 2))
}

fn attention(s: Sizes, dtype: DType) -> Graph {
    let mut g = Graph::default();
    let q = input(&mut g, "q", dtype, [1, s.heads, s.queries, s.depth]);
    let k = with_past(&mut g, "k", dtype, s);
    let v = with_past(&mut g, "v", dtype, s);
    let contract = |g: &mut Graph, a, b, spec: &str| {
        add(g, "contract", &[a, b], Attrs::new().with("spec", spec))
    };
    let scores = contract(&mut g, q, k, "bhld,bhsd->bhls");
    let scale = g.add_constant("scale", Tensor::splat(dtype, vec![], 0.25));
    let scores = add(&mut g, "mul", &[scores, scale], Attrs::new());
    let weights = add(&mut g, "softmax", &[scores], Attrs::new().with("axis", 3));
    let y = contract(&mut g, weights, v, "bhls,bhsd->bhld");
    g.add_output("y", y);
    g
}

fn inputs(graph: &Graph) -> Vec<Tensor> {
    let s = &mut Sampler::new(3);
    let of = |v: &ValueId| {
        let ty = graph.ty(*v);
        let shape = ty.static_shape().expect("static");
        s.tensor(ty.dtype, &shape, -1.5, 1.5)
    };
    graph.inputs.iter().map(of).collect()
}

/// The largest error, in units of rounding of values up to 1: results are averages of values up to
/// 1.5, of which few are near it.
fn limit(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 2f64.powi(-11),
        DType::BF16 => 2f64.powi(-8),
        _ => 1e-5,
    }
}

fn check(sizes: Sizes, dtype: DType) {
    let graph = attention(sizes, dtype);
    let inputs = inputs(&graph);
    let want = eval_graph(&graph, &inputs).unwrap()[0].to_f64();
    for name in X86_LEVELS {
        let Some(target) = target_here(name) else {
            continue;
        };
        let options = Options {
            target: name.to_owned(),
            ..Options::default()
        };
        let plan = compile::plan(&graph, &options).unwrap();
        let streamed = plan.kernels.iter().any(|k| k.name.starts_with("streamed_"));
        assert!(streamed, "{dtype} {sizes:?}\n{plan}");
        for (threads, edge) in [(1, Edge::End), (2, Edge::Begin)] {
            let found =
                run_guarded_for(&target, &plan, &inputs, (Runner::Spmd, threads), edge).unwrap();
            let pairs = want.iter().zip(found[0].to_f64());
            let error = pairs.fold(0f64, |m, (w, f)| m.max((w - f).abs()));
            assert!(error <= limit(dtype), "{name} {dtype} {sizes:?}: {error:e}");
        }
    }
}

#[test]
fn of_f32() {
    SIZES.into_iter().for_each(|s| check(s, DType::F32));
}

#[test]
fn of_f16() {
    SIZES.into_iter().for_each(|s| check(s, DType::F16));
}

#[test]
fn of_bf16() {
    SIZES.into_iter().for_each(|s| check(s, DType::BF16));
}
