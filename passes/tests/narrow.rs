//! Windows over narrow images, what repeats, and what is put together of several operands: vectors,
//! and right.
mod common;

use common::{check, check_with, conv_attrs, f32s, iota, ty, vectors_of};
use tensmith_ir::expr::{Atom, Expr};
use tensmith_ir::graph::{Attrs, Graph};
use tensmith_ir::loops::{Kernel, Mark, Scalar, Stmt};
use tensmith_ir::ops::op;
use tensmith_ir::plan::Plan;

fn has_vectors(stmts: &[Stmt]) -> bool {
    stmts.iter().any(|s| {
        let own = matches!(s, Stmt::For(l) if l.mark == Mark::Vector);
        own || s.bodies().into_iter().any(|b| has_vectors(b))
    })
}

/// Holds a graph of one input to the reference for vectors of all widths; `look` sees each plan.
fn for_all_widths(g: &Graph, x: &[usize], look: impl Fn(&Plan)) {
    check(g, &[iota(x)]);
    for bytes in [32, 64] {
        look(&check_with(g, &[iota(x)], &vectors_of(bytes)));
    }
}

fn all_are_vectors(plan: &Plan) {
    let none = plan
        .kernels
        .iter()
        .find(|k: &&Kernel| !has_vectors(&k.body));
    assert!(none.is_none(), "{}", none.unwrap());
}

#[test]
fn pooling_of_narrow_images_is_vectors() {
    for (width, kernel, stride, pad) in [
        (2, [3, 3], 1, 1),
        (3, [5, 3], 1, 1),
        (4, [5, 5], 1, 2),
        (5, [9, 9], 3, 4),
        (7, [7, 7], 2, 3),
        (8, [3, 3], 1, 1),
    ] {
        for name in ["pool_max", "pool_sum"] {
            let shape = [2, 3, 40, width];
            let mut g = Graph::default();
            let x = g.add_input("x", ty(&shape));
            let rows = pad.min(kernel[0] / 2);
            let attrs = Attrs::new()
                .with("kernel", kernel.to_vec())
                .with("strides", vec![stride, stride])
                .with("dilations", vec![1, 1])
                .with("pads_before", vec![rows, pad])
                .with("pads_after", vec![rows, pad]);
            let y = g.add_one(op(name), "p", &[x], attrs).unwrap();
            g.add_output("y", y);
            for_all_widths(&g, &shape, all_are_vectors);
        }
    }
}

#[test]
fn what_repeats_is_copied_by_vectors() {
    for repeats in [[1, 1, 4], [3, 1, 1], [1, 5, 1], [2, 3, 2], [1, 1, 1]] {
        for width in [3, 9, 41] {
            let shape = [4, 6, width];
            let mut g = Graph::default();
            let x = g.add_input("x", ty(&shape));
            let dims: Vec<Expr> = repeats.iter().map(|n| (*n).into()).collect();
            let attrs = Attrs::new().with("repeats", dims);
            let y = g.add_one(op("tile"), "t", &[x], attrs).unwrap();
            let y = g.add_one(op("neg"), "n", &[y], Attrs::new()).unwrap();
            g.add_output("y", y);
            for_all_widths(&g, &shape, |plan| {
                if width >= 9 {
                    all_are_vectors(plan);
                }
            });
        }
    }
}

/// A row-major operand beside one with channels innermost, at borders that are multiples of a tile or
/// of another number.
#[test]
fn operands_of_two_orders_are_put_together_by_vectors() {
    for channels in [8, 12, 16, 20, 32, 60] {
        let shape = [1, channels, 5, 19];
        let mut g = Graph::default();
        let x = g.add_input("x", ty(&shape));
        let w = g.add_constant("w", f32s(&[channels, 1, 3, 3], 0.1));
        let attrs = conv_attrs(([1, 1], [1, 1]), channels as i64, ([1, 1], [1, 1]));
        let y = g.add_one(op("conv"), "c", &[x, w], attrs).unwrap();
        let along = Attrs::new().with("axis", 1);
        let y = g.add_one(op("concat"), "j", &[x, y, x], along).unwrap();
        g.add_output("y", y);
        for_all_widths(&g, &shape, all_are_vectors);
    }
}

/// Parts of a row that are too short for lanes, with and without functions, between positions of
/// padding.
#[test]
fn rows_of_short_parts_are_put_together_by_vectors() {
    for (widths, function, border) in [
        (vec![1; 16], "neg", 0),
        (vec![3, 3, 3], "sin", 0),
        (vec![1, 3, 2], "tanh", 2),
        (vec![6, 7], "exp", 0),
        (vec![3; 24], "cos", 0),
    ] {
        let shape = [4, 40, 9];
        let mut g = Graph::default();
        let x = g.add_input("x", ty(&shape));
        let mut parts = Vec::new();
        for (k, width) in widths.iter().enumerate() {
            let attrs = Attrs::new()
                .with("starts", [0, 0, k % 3].map(Expr::from).to_vec())
                .with("sizes", [4, 40, *width].map(Expr::from).to_vec())
                .with("steps", vec![1; 3]);
            let part = g.add_one(op("slice"), "s", &[x], attrs).unwrap();
            parts.push(g.add_one(op(function), "f", &[part], Attrs::new()).unwrap());
        }
        let along = Attrs::new().with("axis", 2);
        let mut y = g.add_one(op("concat"), "j", &parts, along).unwrap();
        if border > 0 {
            let fill = g.add_constant("fill", f32s(&[], 0.5));
            let ends = [0, border, 0].map(Expr::from).to_vec();
            let attrs = Attrs::new()
                .with("mode", "constant")
                .with("before", ends.clone())
                .with("after", ends);
            y = g.add_one(op("pad"), "p", &[y, fill], attrs).unwrap();
        }
        g.add_output("y", y);
        for_all_widths(&g, &shape, all_are_vectors);
    }
}

/// Whether indices along the rows of operands are linear.
fn reads_rows(stmts: &[Stmt]) -> bool {
    stmts.iter().all(|stmt| {
        let mut fine = true;
        if let Stmt::Store { value, .. } = stmt {
            value.visit(&mut |s| {
                if let Scalar::Load(_, index) = s
                    && let Some(last) = index.last()
                {
                    let mut atoms = last.terms().iter().flat_map(|(atoms, _)| atoms);
                    fine &= atoms.all(|a| matches!(a, Atom::Var(_)));
                }
            });
        }
        fine && stmt.bodies().into_iter().all(|b| reads_rows(b))
    })
}

/// Borders that repeat what is inside are parts of their own, and all are rows or blocks of the operand.
#[test]
fn reflected_and_wrapped_borders_are_cut_off() {
    for mode in ["reflect", "wrap", "edge"] {
        for filters in [None, Some(8)] {
            let shape = [1, 8, 6, 40];
            let mut g = Graph::default();
            let x = g.add_input("x", ty(&shape));
            let fill = g.add_constant("fill", f32s(&[], 0.0));
            let ends = |n: usize| [0, 0, 0, n].map(Expr::from).to_vec();
            let attrs = Attrs::new()
                .with("mode", mode)
                .with("before", ends(3))
                .with("after", ends(5));
            let mut y = g.add_one(op("pad"), "p", &[x, fill], attrs).unwrap();
            // What a convolution reads lies with channels innermost.
            if let Some(filters) = filters {
                let w = g.add_constant("w", f32s(&[filters, 8, 3, 3], 0.1));
                let attrs = conv_attrs(([1, 1], [1, 1]), 1, ([0, 0], [0, 0]));
                y = g.add_one(op("conv"), "c", &[y, w], attrs).unwrap();
            }
            g.add_output("y", y);
            for_all_widths(&g, &shape, |plan| {
                all_are_vectors(plan);
                let kernel = &plan.kernels[0];
                assert!(reads_rows(&kernel.body), "{kernel}");
            });
        }
    }
}

/// What is computed of an operand before it is padded is part of the windows' lanes.
#[test]
fn windows_of_computed_operands_are_vectors() {
    for (function, pool) in [
        ("neg", "pool_max"),
        ("abs", "pool_sum"),
        ("mul", "pool_max"),
    ] {
        let shape = [2, 3, 40, 36];
        let mut g = Graph::default();
        let x = g.add_input("x", ty(&shape));
        let scale = g.add_constant("s", f32s(&[1, 3, 1, 1], 0.5));
        let operands = if function == "mul" {
            vec![x, scale]
        } else {
            vec![x]
        };
        let y = g
            .add_one(op(function), "f", &operands, Attrs::new())
            .unwrap();
        let attrs = Attrs::new()
            .with("kernel", vec![3, 3])
            .with("strides", vec![2, 2])
            .with("dilations", vec![1, 1])
            .with("pads_before", vec![1, 1])
            .with("pads_after", vec![1, 1]);
        let y = g.add_one(op(pool), "p", &[y], attrs).unwrap();
        g.add_output("y", y);
        for_all_widths(&g, &shape, |plan| {
            assert_eq!(plan.kernels.len(), 1, "{plan}");
            all_are_vectors(plan);
        });
    }
}
