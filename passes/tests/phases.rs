//! Transposed convolutions with zeros between what they compute: vectors put the phases together.
mod common;

use common::{check, check_with, conv_attrs, f32s, iota, ty, vectors_of};
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph};
use tensmith_ir::loops::{Mark, Stmt};
use tensmith_ir::ops::op;

fn has(stmts: &[Stmt], mark: Mark) -> bool {
    stmts.iter().any(|s| {
        let own = matches!(s, Stmt::For(l) if l.mark == mark);
        own || s.bodies().into_iter().any(|b| has(b, mark))
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
        assert!(has(&last.body, Mark::Vector), "{attrs:?} {last}");
    }
}

#[test]
fn phases_without_taps_are_vectors() {
    let cases = [
        (1, 2, 1),
        (1, 3, 1),
        (2, 3, 1),
        (2, 5, 1),
        (2, 4, 2),
        (3, 2, 2),
    ];
    for (kernel, stride, dilation) in cases {
        for (groups, widths) in [
            (1, &[3, 9, 21][..]),
            (2, &[3, 9, 21]),
            (8, &[21]),
            (32, &[9]),
        ] {
            for width in widths.iter().copied() {
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

/// Elements of row-major rows in turn, from any of the first period on, with phases that are zeros.
#[test]
fn rows_in_turn_are_vectors() {
    for (block, phases) in [(2, 2), (3, 3), (3, 2), (4, 4), (5, 1)] {
        for start in 0..block {
            let shape = [1, 4 * phases as usize, 3, 21];
            let mut g = Graph::default();
            let x = g.add_input("x", ty(&shape));
            let attrs = Attrs::new()
                .with("blocks", vec![2, block])
                .with("phases", vec![2, phases])
                .with("groups", 1);
            let y = g.add_one(op("depth_to_space"), "d", &[x], attrs).unwrap();
            let sizes = [1, 2, 6, 21 * block - start].map(Expr::from).to_vec();
            let attrs = Attrs::new()
                .with("starts", [0, 0, 0, start].map(Expr::from).to_vec())
                .with("sizes", sizes)
                .with("steps", vec![1; 4]);
            let y = g.add_one(op("slice"), "s", &[y], attrs).unwrap();
            let y = g.add_one(op("neg"), "n", &[y], Attrs::new()).unwrap();
            g.add_output("y", y);
            check(&g, &[iota(&shape)]);
            for bytes in [32, 64] {
                let plan = check_with(&g, &[iota(&shape)], &vectors_of(bytes));
                let body = &plan.kernels.last().unwrap().body;
                assert!(has(body, Mark::Vector), "{block} {phases} {start}");
                assert!(has(body, Mark::Jam), "{block} {phases} {start}");
            }
        }
    }
}
