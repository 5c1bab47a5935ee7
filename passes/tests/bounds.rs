//! Rewrites keep what bounds in any order give.
mod common;

use common::{check_with, f32s, ty, vectors_of};
use tensmith_ir::graph::{Attrs, Graph, ValueId};
use tensmith_ir::ops::op;
use tensmith_ir::tensor::Tensor;

fn scalar(g: &mut Graph, value: f32) -> ValueId {
    g.add_constant("scalar", Tensor::from_f32(vec![], &[value]))
}

fn node(g: &mut Graph, name: &str, inputs: &[ValueId]) -> ValueId {
    g.add_one(op(name), name, inputs, Attrs::new()).unwrap()
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
