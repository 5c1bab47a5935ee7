//! Attention whose queries, keys and values are parts of larger values: movements of operands and
//! results inside of streamed chains, and products that become one.
mod common;

use common::{check_with, f32s, ty, vectors_of};
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::{Expr, Symbol};
use tensmith_ir::graph::{Attrs, Graph, SymbolInfo, TensorType, ValueId};
use tensmith_ir::ops::op;
use tensmith_ir::plan::Plan;
use tensmith_ir::tensor::Tensor;

fn add(g: &mut Graph, name: &str, inputs: &[ValueId], attrs: Attrs) -> ValueId {
    g.add_one(op(name), name, inputs, attrs).unwrap()
}

fn contract(g: &mut Graph, a: ValueId, b: ValueId, spec: &str) -> ValueId {
    add(g, "contract", &[a, b], Attrs::new().with("spec", spec))
}

fn transpose(g: &mut Graph, x: ValueId, perm: &[i64]) -> ValueId {
    add(
        g,
        "transpose",
        &[x],
        Attrs::new().with("perm", perm.to_vec()),
    )
}

fn reshape<E: Clone + Into<Expr>>(g: &mut Graph, x: ValueId, shape: &[E]) -> ValueId {
    let shape: Vec<Expr> = shape.iter().cloned().map(Into::into).collect();
    add(g, "reshape", &[x], Attrs::new().with("shape", shape))
}

/// Elements from `start` on along an axis.
fn slice(g: &mut Graph, x: ValueId, axis: usize, start: i64, size: i64) -> ValueId {
    let mut sizes = g.ty(x).shape.clone();
    let mut starts = vec![Expr::from(0); sizes.len()];
    (starts[axis], sizes[axis]) = (start.into(), size.into());
    let attrs = Attrs::new()
        .with("steps", vec![1; sizes.len()])
        .with("starts", starts)
        .with("sizes", sizes);
    add(g, "slice", &[x], attrs)
}

fn weights(g: &mut Graph, shape: &[usize], scale: f32) -> ValueId {
    g.add_constant("w", f32s(shape, scale))
}

/// The softmax of scaled scores times the values: `[b, h, queries, d]`.
fn attend(g: &mut Graph, q: ValueId, k: ValueId, v: ValueId) -> ValueId {
    let scores = contract(g, q, k, "bhld,bhsd->bhls");
    let scale = g.add_constant("scale", Tensor::from_f32(vec![], &[0.5]));
    let scores = add(g, "mul", &[scores, scale], Attrs::new());
    let softmax = add(g, "softmax", &[scores], Attrs::new().with("axis", 3));
    contract(g, softmax, v, "bhls,bhsd->bhld")
}

/// Results of all heads side by side: `[b, queries, h * d]`.
fn join(g: &mut Graph, y: ValueId, [b, h, l, d]: [usize; 4]) {
    let y = transpose(g, y, &[0, 2, 1, 3]);
    let y = reshape(g, y, &[b, l, h * d]);
    g.add_output("y", y);
}

/// Right for every target; the kernels of the last plan, by their first operation.
fn check(g: &Graph, inputs: &[Tensor]) -> Vec<String> {
    let plans = [16, 32, 64].map(|bytes| check_with(g, inputs, &vectors_of(bytes)));
    let first = |name: &str| name.split('_').next().unwrap_or(name).to_owned();
    let names = |p: &Plan| p.kernels.iter().map(|k| first(&k.name)).collect();
    names(&plans[2])
}

#[test]
fn parts_of_one_product_are_read_in_place() {
    for [b, l, h, d] in [[1, 40, 8, 15], [2, 7, 3, 4], [1, 50, 1, 16], [3, 1, 2, 1]] {
        let mut g = Graph::default();
        let x = g.add_input("x", ty(&[b, l, 3 * h * d]));
        let x = add(&mut g, "exp", &[x], Attrs::new());
        let x = reshape(&mut g, x, &[b, l, 3, h, d]);
        let x = transpose(&mut g, x, &[2, 0, 3, 1, 4]);
        let [q, k, v] = [0, 1, 2].map(|part| {
            let part = slice(&mut g, x, 0, part, 1);
            reshape(&mut g, part, &[b, h, l, d])
        });
        let half = g.add_constant("half", Tensor::from_f32(vec![], &[0.5]));
        let q = add(&mut g, "mul", &[q, half], Attrs::new());
        let y = attend(&mut g, q, k, v);
        join(&mut g, y, [b, h, l, d]);
        let names = check(&g, &[f32s(&[b, l, 3 * h * d], 1.0)]);
        assert_eq!(names, ["exp", "streamed"], "{b} {l} {h} {d}");
    }
}

#[test]
fn products_with_weights_become_one() {
    let [b, l, h, d] = [2, 21, 3, 8];
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[b, l, 10]));
    let [q, k, v] = [1.0, 2.0, 3.0].map(|scale| {
        let w = weights(&mut g, &[10, h * d], scale);
        let bias = weights(&mut g, &[h * d], scale);
        let y = contract(&mut g, x, w, "abc,cd->abd");
        let y = add(&mut g, "add", &[bias, y], Attrs::new());
        let y = reshape(&mut g, y, &[b, l, h, d]);
        transpose(&mut g, y, &[0, 2, 1, 3])
    });
    let y = attend(&mut g, q, k, v);
    join(&mut g, y, [b, h, l, d]);
    let names = check(&g, &[f32s(&[b, l, 10], 1.0)]);
    assert_eq!(names, ["contract", "streamed"]);
}

/// Keys without a bias, as a softmax does not change with theirs, beside queries and values with one.
#[test]
fn products_that_lack_a_bias_become_one_with_those_that_have_one() {
    let [b, l, h, d] = [2, 21, 3, 8];
    for lacks in [
        [false, true, false],
        [true, true, false],
        [false, false, true],
    ] {
        let mut g = Graph::default();
        let x = g.add_input("x", ty(&[b, l, 10]));
        let [q, k, v] = [0, 1, 2].map(|k| {
            let w = weights(&mut g, &[10, h * d], 1.0 + k as f32);
            let mut y = contract(&mut g, x, w, "abc,cd->abd");
            if !lacks[k] {
                let bias = weights(&mut g, &[h * d], 0.5 + k as f32);
                y = add(&mut g, "add", &[y, bias], Attrs::new());
            }
            let y = reshape(&mut g, y, &[b, l, h, d]);
            transpose(&mut g, y, &[0, 2, 1, 3])
        });
        let y = attend(&mut g, q, k, v);
        join(&mut g, y, [b, h, l, d]);
        let names = check(&g, &[f32s(&[b, l, 10], 1.0)]);
        assert_eq!(names, ["contract", "streamed"], "{lacks:?}");
    }
}

/// Queries have more heads than keys and values, and a bound: only the latter are joined.
#[test]
fn products_that_differ_stay_apart() {
    let [b, l, h, shared, d] = [1, 13, 6, 2, 4];
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[b, l, 10]));
    let head = |g: &mut Graph, heads: usize, bounded: bool| {
        let w = weights(g, &[10, heads * d], heads as f32);
        let mut y = contract(g, x, w, "abc,cd->abd");
        if bounded {
            let bound = weights(g, &[heads * d], 0.5);
            y = add(g, "max", &[y, bound], Attrs::new());
        }
        let y = reshape(g, y, &[b, l, heads, d]);
        transpose(g, y, &[0, 2, 1, 3])
    };
    let q = head(&mut g, h, true);
    let [k, v] = [0, 1].map(|_| {
        let y = head(&mut g, shared, false);
        let y = reshape(&mut g, y, &[b, shared, 1, l, d]);
        let shape: Vec<Expr> = [b, shared, h / shared, l, d].map(Expr::from).to_vec();
        let y = add(&mut g, "expand", &[y], Attrs::new().with("shape", shape));
        reshape(&mut g, y, &[b, h, l, d])
    });
    let y = attend(&mut g, q, k, v);
    join(&mut g, y, [b, h, l, d]);
    let names = check(&g, &[f32s(&[b, l, 10], 1.0)]);
    assert_eq!(names, ["contract", "contract", "streamed"]);
}

/// A product that something else reads as well keeps a result of its own.
#[test]
fn what_others_read_is_not_joined() {
    let [b, l, h, d] = [1, 9, 2, 4];
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[b, l, 5]));
    let [q, k, v] = [1.0, 2.0, 3.0].map(|scale| {
        let w = weights(&mut g, &[5, h * d], scale);
        let y = contract(&mut g, x, w, "abc,cd->abd");
        let y = reshape(&mut g, y, &[b, l, h, d]);
        transpose(&mut g, y, &[0, 2, 1, 3])
    });
    let y = attend(&mut g, q, k, v);
    join(&mut g, y, [b, h, l, d]);
    g.add_output("present_keys", k);
    check(&g, &[f32s(&[b, l, 5], 1.0)]);
}

/// With many strips of a head, keys are turned once, in memory.
#[test]
fn keys_of_many_strips_are_turned_once() {
    let [b, l, h, d] = [1, 300, 1, 4];
    let mut g = Graph::default();
    let [q, k, v] = ["q", "k", "v"].map(|name| {
        let x = g.add_input(name, ty(&[b, l, h * d]));
        let x = reshape(&mut g, x, &[b, l, h, d]);
        transpose(&mut g, x, &[0, 2, 1, 3])
    });
    let y = attend(&mut g, q, k, v);
    join(&mut g, y, [b, h, l, d]);
    let inputs = [1.0, 1.5, 2.0].map(|scale| f32s(&[b, l, h * d], scale));
    assert_eq!(check(&g, &inputs), ["transpose", "streamed"]);
}

#[test]
fn lengths_may_be_known_at_run_time_only() {
    let (h, d) = (2, 6);
    let (batch, length) = (Symbol::new("batch"), Symbol::new("length"));
    let mut g = Graph::default();
    for symbol in [&batch, &length] {
        g.symbols
            .insert(symbol.clone(), SymbolInfo { min: 0, max: 512 });
    }
    let [b, l] = [batch, length].map(Expr::size);
    let shape = vec![b.clone(), l.clone(), 5.into()];
    let x = g.add_input("x", TensorType::new(DType::F32, shape));
    let [q, k, v] = [1.0, 2.0, 3.0].map(|scale| {
        let w = weights(&mut g, &[5, h * d], scale);
        let y = contract(&mut g, x, w, "abc,cd->abd");
        let y = reshape(&mut g, y, &[b.clone(), l.clone(), h.into(), d.into()]);
        transpose(&mut g, y, &[0, 2, 1, 3])
    });
    let y = attend(&mut g, q, k, v);
    let y = transpose(&mut g, y, &[0, 2, 1, 3]);
    let y = reshape(&mut g, y, &[b, l, (h * d).into()]);
    g.add_output("y", y);
    for (b, l) in [(1, 1), (2, 50), (1, 131), (0, 3), (2, 0)] {
        check(&g, &[f32s(&[b, l, 5], 1.0)]);
    }
}
