//! Rewrites keep small results of large operands, and what bounds in any order give.
mod common;

use common::{check_with, f32s, ty, vectors_of};
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, TensorType, ValueId};
use tensmith_ir::ops::op;
use tensmith_ir::tensor::Tensor;

fn scalar(g: &mut Graph, value: f32) -> ValueId {
    g.add_constant("scalar", Tensor::from_f32(vec![], &[value]))
}

fn node(g: &mut Graph, name: &str, inputs: &[ValueId]) -> ValueId {
    g.add_one(op(name), name, inputs, Attrs::new()).unwrap()
}

fn of(value: f32) -> Tensor {
    Tensor::from_f32(vec![16], &[value; 16])
}

fn check(g: &mut Graph, y: ValueId, inputs: &[Tensor]) {
    g.add_output("y", y);
    check_with(g, inputs, &vectors_of(32));
}

#[test]
fn bounds_in_the_wrong_order_give_the_upper_one() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[16]));
    let (six, zero, factor) = (
        scalar(&mut g, 6.0),
        scalar(&mut g, 0.0),
        scalar(&mut g, -0.5),
    );
    let raised = node(&mut g, "max", &[x, six]);
    let bounded = node(&mut g, "min", &[raised, zero]);
    let y = node(&mut g, "mul", &[bounded, factor]);
    check(&mut g, y, &[f32s(&[16], 4.0)]);
}

/// Between two values, written in both ways; at 1 the first one has no part.
#[test]
fn what_a_mask_leaves_out_is_not_seen() {
    let mut g = Graph::default();
    let [z, a, b] = ["z", "a", "b"].map(|name| g.add_input(name, ty(&[16])));
    let one = scalar(&mut g, 1.0);
    let rest = node(&mut g, "sub", &[one, z]);
    let (a, b) = (
        node(&mut g, "mul", &[rest, a]),
        node(&mut g, "mul", &[z, b]),
    );
    let y = node(&mut g, "add", &[a, b]);
    check(&mut g, y, &[of(1.0), of(-1e9), f32s(&[16], 1.0)]);
}

/// `y + (1 - m) * c` is `y` where the mask is 1.
#[test]
fn additive_masks_keep_scores() {
    for far in [-1e4, -65504.0, -3e5, 1e5] {
        let mut g = Graph::default();
        let [y, m] = ["y", "m"].map(|name| g.add_input(name, ty(&[16])));
        let (one, far) = (scalar(&mut g, 1.0), scalar(&mut g, far));
        let rest = node(&mut g, "sub", &[one, m]);
        let mask = node(&mut g, "mul", &[rest, far]);
        let sum = node(&mut g, "add", &[y, mask]);
        check(&mut g, sum, &[f32s(&[16], 1.0), of(1.0)]);
    }
}

/// Nothing is read for a result without elements, not even the index that all of it depends on.
#[test]
fn indices_of_nothing_are_not_read() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[8, 3]));
    let at = g.add_input("at", TensorType::new(DType::I64, vec![0.into()]));
    let attrs = Attrs::new().with("axis", 1);
    let picked = g.add_one(op("gather"), "picked", &[x, at], attrs).unwrap();
    let attrs = Attrs::new().with("repeats", vec![Expr::from(2), 2.into()]);
    let y = g.add_one(op("tile"), "y", &[picked], attrs).unwrap();
    check(
        &mut g,
        y,
        &[f32s(&[8, 3], 1.0), Tensor::from_i64(vec![0], &[])],
    );
}
