//! Transposed convolutions with zeros between what they compute: vectors put the phases together.
mod common;

use common::{check, check_with, conv_attrs, f32s, iota, ty, vectors_of};
use tensmith_ir::graph::{Attrs, Graph};
use tensmith_ir::loops::{Mark, Stmt};
use tensmith_ir::ops::op;

fn has_vectors(stmts: &[Stmt]) -> bool {
    stmts.iter().any(|s| {
        let own = matches!(s, Stmt::For(l) if l.mark == Mark::Vector);
        own || s.bodies().into_iter().any(|b| has_vectors(b))
    })
}

/// Holds `y = sigmoid(conv_transpose(x, w))` to the reference for vectors of all widths, of which the
/// kernel that makes the result has some.
fn phases_are_vectors(x: [usize; 4], w: [usize; 4], attrs: Attrs) {
    let mut g = Graph::default();
    let from = g.add_input("x", ty(&x));
    let w = g.add_constant("w", f32s(&w, 0.1));
    let y = g.add_one(op("conv_transpose"), "layer", &[from, w], attrs.clone());
    let y = y.unwrap();
    let y = g.add_one(op("sigmoid"), "s", &[y], Attrs::new()).unwrap();
    g.add_output("y", y);
    check(&g, &[iota(&x)]);
    for bytes in [32, 64] {
        let plan = check_with(&g, &[iota(&x)], &vectors_of(bytes));
        let last = plan.kernels.last().unwrap();
        assert!(last.name.contains("depth_to_space"), "{}", last.name);
        assert!(has_vectors(&last.body), "{attrs:?} {last}");
    }
}

#[test]
fn phases_without_taps_are_vectors() {
    for (kernel, stride, dilation) in [(1, 2, 1), (1, 3, 1), (2, 4, 2), (3, 2, 2)] {
        for groups in [1, 2] {
            for width in [3, 9, 21] {
                let attrs = conv_attrs(
                    ([stride, stride], [dilation, dilation]),
                    groups,
                    ([0, 0], [0, 0]),
                );
                let attrs = attrs.with("output_padding", vec![0, 0]);
                let w = [32, 32 / groups as usize, kernel, kernel];
                phases_are_vectors([1, 32, 4, width], w, attrs);
            }
        }
    }
}

/// Channels of groups that are no vectors in whole.
#[test]
fn phases_of_groups_are_vectors() {
    let attrs = conv_attrs(([2, 2], [1, 1]), 4, ([0, 0], [0, 0]));
    let attrs = attrs.with("output_padding", vec![0, 0]);
    phases_are_vectors([2, 24, 5, 11], [24, 19, 2, 2], attrs);
}
