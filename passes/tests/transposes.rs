//! Transposes and reshapes around products and convolutions: other axes, the same values.
mod common;

use common::{check, f32s, pointwise, ty};
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, ValueId};
use tensmith_ir::ops::op;

fn transpose(g: &mut Graph, x: ValueId, perm: &[i64]) -> ValueId {
    let attrs = Attrs::new().with("perm", perm.to_vec());
    g.add_one(op("transpose"), "transpose", &[x], attrs)
        .unwrap()
}

fn reshape(g: &mut Graph, x: ValueId, shape: &[i64]) -> ValueId {
    let shape: Vec<Expr> = shape.iter().map(|n| Expr::from(*n)).collect();
    let attrs = Attrs::new().with("shape", shape);
    g.add_one(op("reshape"), "reshape", &[x], attrs).unwrap()
}

/// Under a convolution of one tap the axes of an image may be any, but no more than convolutions
/// have.
#[test]
fn shuffled_pixels_before_a_convolution_of_one_tap() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[1, 16, 5, 8]));
    let parts = reshape(&mut g, x, &[1, 4, 2, 2, 5, 8]);
    let parts = transpose(&mut g, parts, &[0, 1, 4, 2, 5, 3]);
    let image = reshape(&mut g, parts, &[1, 4, 10, 16]);
    let y = pointwise(&mut g, "conv", image, &[6, 4, 1, 1]);
    g.add_output("y", y);
    check(&g, &[f32s(&[1, 16, 5, 8], 1.0)]);
}

/// A product of a row and a column, between transposes that cancel.
#[test]
fn outer_products_between_transposes() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[2, 12, 4]));
    let attrs = Attrs::new().with("axes", vec![1]).with("keepdims", true);
    let rows = g.add_one(op("reduce_max"), "max", &[x], attrs).unwrap();
    let a = transpose(&mut g, rows, &[1, 0, 2]);
    let b = transpose(&mut g, a, &[0, 2, 1]);
    let spec = Attrs::new().with("spec", "bij,bjk->bik");
    let product = g.add_one(op("contract"), "dot", &[b, a], spec).unwrap();
    let c = transpose(&mut g, product, &[0, 2, 1]);
    let half = g.add_constant("half", f32s(&[1], 1.0));
    let sum = g
        .add_one(op("add"), "sum", &[c, half], Attrs::new())
        .unwrap();
    let d = transpose(&mut g, sum, &[0, 2, 1]);
    let e = g.add_one(op("sub"), "zero", &[d, d], Attrs::new()).unwrap();
    let y = transpose(&mut g, e, &[0, 2, 1]);
    g.add_output("c", c);
    g.add_output("y", y);
    check(&g, &[f32s(&[2, 12, 4], 1.0)]);
}
