//! Chains of a contraction, a softmax and a contraction whose scores are streamed.
mod common;

use common::{check_with, f32s, iota, ty, vectors_of};
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::{Expr, Symbol};
use tensmith_ir::graph::{Attrs, Graph, SymbolInfo, TensorType, ValueId};
use tensmith_ir::ops::op;
use tensmith_ir::plan::Plan;
use tensmith_ir::tensor::{Tensor, Wide};
use tensmith_passes::PassOptions;
use tensmith_passes::partition::{Strips, partition};
use tensmith_passes::pipeline::Precision;

fn add(g: &mut Graph, name: &str, inputs: &[ValueId], attrs: Attrs) -> ValueId {
    g.add_one(op(name), name, inputs, attrs).unwrap()
}

fn plain(g: &mut Graph, name: &str, inputs: &[ValueId]) -> ValueId {
    add(g, name, inputs, Attrs::new())
}

fn contract(g: &mut Graph, a: ValueId, b: ValueId, spec: &str) -> ValueId {
    add(g, "contract", &[a, b], Attrs::new().with("spec", spec))
}

fn scalar(g: &mut Graph, value: f32) -> ValueId {
    g.add_constant("scalar", Tensor::from_f32(vec![], &[value]))
}

/// Scalar work on scores.
type Chain<'c> = &'c dyn Fn(&mut Graph, ValueId) -> ValueId;

/// Batch, heads, queries, keys, and the size of a head.
type Sizes = [usize; 5];

/// Queries, keys and values, and the chain between; gives the graph and its inputs so far.
fn attention([b, h, l, s, d]: Sizes, chain: Chain<'_>) -> Graph {
    let mut g = Graph::default();
    let q = g.add_input("q", ty(&[b, h, l, d]));
    let k = g.add_input("k", ty(&[b, h, s, d]));
    let v = g.add_input("v", ty(&[b, h, s, d]));
    let scores = contract(&mut g, q, k, "bhld,bhsd->bhls");
    let half = scalar(&mut g, 0.5);
    let scores = plain(&mut g, "mul", &[scores, half]);
    let scores = chain(&mut g, scores);
    let weights = add(&mut g, "softmax", &[scores], Attrs::new().with("axis", 3));
    let y = contract(&mut g, weights, v, "bhls,bhsd->bhld");
    g.add_output("y", y);
    g
}

fn operands([b, h, l, s, d]: Sizes) -> Vec<Tensor> {
    vec![
        iota(&[b, h, l, d]),
        f32s(&[b, h, s, d], 1.5),
        f32s(&[b, h, s, d], 2.0),
    ]
}

fn is_streamed(plan: &Plan) -> bool {
    let names = plan.kernels.iter().map(|k| &k.name);
    names.into_iter().any(|n| n.starts_with("streamed_"))
}

/// Streamed on every target, with the results of the reference.
fn check_streamed(g: &Graph, inputs: &[Tensor]) -> Plan {
    for bytes in [16, 32] {
        assert!(is_streamed(&check_with(g, inputs, &vectors_of(bytes))));
    }
    let plan = check_with(g, inputs, &vectors_of(64));
    assert!(is_streamed(&plan));
    plan
}

const SIZES: [Sizes; 6] = [
    [1, 2, 48, 64, 8],
    [2, 1, 50, 33, 5],
    [1, 1, 1, 7, 3],
    [1, 3, 97, 1, 1],
    [2, 2, 7, 130, 4],
    [1, 1, 3, 2, 16],
];

#[test]
fn sizes_of_all_kinds_are_streamed() {
    for sizes in SIZES {
        let g = attention(sizes, &|_, x| x);
        check_streamed(&g, &operands(sizes));
    }
}

#[test]
fn nothing_is_streamed_to_nothing() {
    for sizes in [
        [1, 2, 0, 3, 4],
        [1, 2, 3, 0, 4],
        [0, 2, 3, 3, 4],
        [1, 1, 4, 4, 0],
    ] {
        let g = attention(sizes, &|_, x| x);
        check_with(&g, &operands(sizes), &vectors_of(32));
    }
}

#[test]
fn exact_results_are_streamed_in_order() {
    let sizes = [1, 2, 50, 33, 5];
    let g = attention(sizes, &|_, x| x);
    let mut options = vectors_of(32);
    options.precision = Precision::Exact;
    (options.target.fma, options.target.reassociate) = (false, false);
    assert!(is_streamed(&check_with(&g, &operands(sizes), &options)));
}

#[test]
fn additive_masks_and_soft_caps_are_streamed() {
    for sizes in SIZES {
        let [b, h, l, s, _] = sizes;
        for shape in [
            vec![b, 1, 1, s],
            vec![1, h, l, s],
            vec![l, s],
            vec![b, 1, l, 1],
        ] {
            let g = attention(sizes, &|g, x| {
                let mask = g.add_input("mask", ty(&shape));
                let x = plain(g, "tanh", &[x]);
                plain(g, "add", &[x, mask])
            });
            let mut inputs = operands(sizes);
            inputs.push(f32s(&shape, 3.0));
            check_streamed(&g, &inputs);
        }
    }
}

#[test]
fn boolean_masks_are_streamed() {
    for sizes in SIZES {
        let [b, _, l, s, _] = sizes;
        let shape = vec![b, 1, l, s];
        let g = attention(sizes, &|g, x| {
            let shape = shape.iter().map(|d| Expr::from(*d)).collect();
            let mask = g.add_input("mask", TensorType::new(DType::Bool, shape));
            let hidden = scalar(g, -1e9);
            plain(g, "select", &[mask, x, hidden])
        });
        let count = shape.iter().product::<usize>();
        let seen = (0..count).map(|k| i128::from(k % 3 != 0)).collect();
        let mut inputs = operands(sizes);
        inputs.push(Tensor::from_wide(DType::Bool, shape, &Wide::Int(seen)));
        let plan = check_streamed(&g, &inputs);
        let streamed = plan
            .kernels
            .iter()
            .find(|k| k.name.starts_with("streamed_"));
        let mut params = streamed.unwrap().params();
        assert!(params.all(|(_, b)| b.dtype != DType::Bool));
    }
}

/// Minus infinity for keys after the query; all of it for queries before `first`.
fn causal(g: &mut Graph, x: ValueId, first: f32) -> ValueId {
    let shape = g.ty(x).shape.clone();
    let line = |g: &mut Graph, shape: Vec<Expr>, axis: i64| {
        let attrs = Attrs::new()
            .with("shape", shape)
            .with("axis", axis)
            .with("dtype", DType::I32);
        add(g, "iota", &[], attrs)
    };
    let row = line(g, vec![shape[2].clone(), 1.into()], 0);
    let column = line(g, vec![1.into(), shape[3].clone()], 1);
    let first = g.add_constant("first", Tensor::splat(DType::I32, vec![], first.into()));
    let distance = plain(g, "sub", &[row, column]);
    let seen = plain(g, "ge", &[distance, first]);
    let (shown, hidden) = (scalar(g, 0.0), scalar(g, f32::NEG_INFINITY));
    let bias = plain(g, "select", &[seen, shown, hidden]);
    plain(g, "add", &[x, bias])
}

#[test]
fn masks_of_positions_are_computed_in_strips() {
    for sizes in SIZES {
        let g = attention(sizes, &|g, x| causal(g, x, 0.0));
        check_streamed(&g, &operands(sizes));
    }
}

#[test]
fn rows_without_keys_are_what_softmax_makes_of_them() {
    let sizes = [1, 2, 50, 33, 5];
    let g = attention(sizes, &|g, x| causal(g, x, 3.0));
    check_streamed(&g, &operands(sizes));
}

#[test]
fn rows_without_keys_may_be_zero() {
    let [b, h, l, s, d] = [1, 2, 50, 33, 5];
    let mut g = Graph::default();
    let q = g.add_input("q", ty(&[b, h, l, d]));
    let k = g.add_input("k", ty(&[b, h, d, s]));
    let v = g.add_input("v", ty(&[b, h, s, d]));
    let scores = contract(&mut g, q, k, "bhld,bhds->bhls");
    let scores = causal(&mut g, scores, 3.0);
    let weights = add(&mut g, "softmax", &[scores], Attrs::new().with("axis", 3));
    let attrs = Attrs::new().with("axes", vec![3]).with("keepdims", true);
    let greatest = add(&mut g, "reduce_max", &[scores], attrs);
    let (hidden, zero) = (scalar(&mut g, f32::NEG_INFINITY), scalar(&mut g, 0.0));
    let blind = plain(&mut g, "eq", &[greatest, hidden]);
    let weights = plain(&mut g, "select", &[blind, zero, weights]);
    let y = contract(&mut g, weights, v, "bhls,bhsd->bhld");
    g.add_output("y", y);
    let inputs = [
        iota(&[b, h, l, d]),
        iota(&[b, h, d, s]),
        iota(&[b, h, s, d]),
    ];
    let plan = check_streamed(&g, &inputs);
    assert!(plan.kernels.iter().all(|k| !k.name.starts_with("select")));
}

#[test]
fn heads_that_share_keys_are_streamed() {
    let [b, h, shared, l, s, d] = [2, 6, 2, 20, 35, 5];
    let mut g = Graph::default();
    let group = h / shared;
    let q = g.add_input("q", ty(&[b, shared, group, l, d]));
    let k = g.add_input("k", ty(&[b, shared, s, d]));
    let v = g.add_input("v", ty(&[b, shared, s, d]));
    let mask = g.add_input("mask", ty(&[b, h, 1, s]));
    let reshape = |g: &mut Graph, x, shape: Vec<usize>| {
        let shape: Vec<Expr> = shape.into_iter().map(Expr::from).collect();
        add(g, "reshape", &[x], Attrs::new().with("shape", shape))
    };
    let scores = contract(&mut g, q, k, "bhgld,bhsd->bhgls");
    let scores = reshape(&mut g, scores, vec![b, h, l, s]);
    let scores = plain(&mut g, "add", &[scores, mask]);
    let weights = add(&mut g, "softmax", &[scores], Attrs::new().with("axis", 3));
    let weights = reshape(&mut g, weights, vec![b, shared, group, l, s]);
    let y = contract(&mut g, weights, v, "bhgls,bhsd->bhgld");
    g.add_output("y", y);
    let inputs = [
        iota(&[b, shared, group, l, d]),
        iota(&[b, shared, s, d]),
        iota(&[b, shared, s, d]),
        f32s(&[b, h, 1, s], 2.0),
    ];
    check_streamed(&g, &inputs);
}

#[test]
fn symbolic_lengths_are_streamed() {
    let (batch, length) = (Symbol::new("batch"), Symbol::new("length"));
    let mut g = Graph::default();
    for symbol in [&batch, &length] {
        g.symbols
            .insert(symbol.clone(), SymbolInfo { min: 0, max: 4096 });
    }
    let (b, n) = (Expr::size(batch), Expr::size(length));
    let of = |shape: Vec<Expr>| TensorType::new(DType::F32, shape);
    let q = g.add_input("q", of(vec![b.clone(), 2.into(), n.clone(), 5.into()]));
    let k = g.add_input("k", of(vec![b.clone(), 2.into(), 5.into(), n.clone()]));
    let v = g.add_input("v", of(vec![b, 2.into(), n, 5.into()]));
    let scores = contract(&mut g, q, k, "bhld,bhds->bhls");
    let scores = causal(&mut g, scores, 0.0);
    let weights = add(&mut g, "softmax", &[scores], Attrs::new().with("axis", 3));
    let y = contract(&mut g, weights, v, "bhls,bhsd->bhld");
    g.add_output("y", y);
    for (b, n) in [(1, 1), (2, 50), (1, 64), (1, 131), (0, 3), (2, 0)] {
        let inputs = [
            iota(&[b, 2, n, 5]),
            iota(&[b, 2, 5, n]),
            iota(&[b, 2, n, 5]),
        ];
        check_streamed(&g, &inputs);
    }
}

#[test]
fn large_scores_are_not_in_memory() {
    let sizes = [1, 8, 512, 512, 16];
    let g = attention(sizes, &|g, x| causal(g, x, 0.0));
    let options = vectors_of(32);
    let graph = tensmith_passes::optimise(g, &options).unwrap();
    let plan = tensmith_passes::plan(&graph, &options).unwrap();
    assert!(is_streamed(&plan));
    let bytes = plan.arena_bytes.as_const().unwrap();
    // The keys once more, transposed, and two lines of positions.
    assert!(
        bytes <= 4 * 8 * 512 * 16 + 8 * 1024,
        "{bytes} bytes of arena"
    );
}

#[test]
fn scores_that_others_read_are_plain() {
    let sizes = [1, 2, 48, 64, 8];
    let mut g = attention(sizes, &|_, x| x);
    let softmax = g.nodes.iter().find(|n| n.op.name == "softmax").unwrap();
    let weights = softmax.outputs[0];
    g.add_output("weights", weights);
    let plan = check_with(&g, &operands(sizes), &vectors_of(32));
    assert!(!is_streamed(&plan));
}

/// What strips scale is a part of the queries; values that are scaled alike need all of it.
#[test]
fn queries_that_are_values_too_stay_whole() {
    let mut g = Graph::default();
    let u = g.add_input("u", ty(&[1, 72, 4]));
    let two = g.add_constant("two", f32s(&[], 2.0));
    let y = g.add_one(op("mul"), "y", &[u, two], Attrs::new()).unwrap();
    let product = |g: &mut Graph, a, b, spec: &str| {
        let attrs = Attrs::new().with("spec", spec);
        g.add_one(op("contract"), "product", &[a, b], attrs)
            .unwrap()
    };
    let scores = product(&mut g, y, u, "bqd,bkd->bqk");
    let attrs = Attrs::new().with("axis", 2);
    let weights = g
        .add_one(op("softmax"), "weights", &[scores], attrs)
        .unwrap();
    let z = product(&mut g, weights, y, "bqk,bkd->bqd");
    g.add_output("z", z);
    check_with(&g, &[iota(&[1, 72, 4])], &vectors_of(32));
}

/// The greatest score of a row, bounded, as softmax is spelled where rows may see nothing: strips hold
/// the scores that it is of, and no product is computed again for it.
#[test]
fn bounds_of_rows_are_found_in_strips() {
    let sizes = [1, 2, 96, 64, 8];
    let g = attention(sizes, &|g, x| {
        let rows = Attrs::new().with("axes", vec![3]).with("keepdims", true);
        let most = add(g, "reduce_max", &[x], rows);
        let zero = scalar(g, 0.0);
        let most = plain(g, "max", &[most, zero]);
        let less = plain(g, "sub", &[x, most]);
        let half = scalar(g, 0.5);
        plain(g, "mul", &[less, half])
    });
    check_streamed(&g, &operands(sizes));
    let found = partition(&g, &PassOptions::default());
    let strips = found.groups.values().find_map(|g| g.strips.as_ref());
    let Some(Strips::Scores(streamed)) = strips else {
        panic!("{:?}", found.groups);
    };
    let most = g.nodes.iter().find(|n| n.op.name == "reduce_max");
    assert_eq!(most.map(|n| n.inputs[0]), Some(streamed.scores));
}
