//! Convolutions of few results in a group, and transposed ones of any stride and dilation: their sums
//! are vectors, and right.
mod common;

use common::{check, check_with, conv_attrs, f32s, iota, ty, vectors_of};
use tensmith_ir::graph::{Attrs, Graph};
use tensmith_ir::loops::{Buffer, Mark, Scope, Stmt};
use tensmith_ir::ops::op;

fn has_vectors(stmts: &[Stmt]) -> bool {
    stmts.iter().any(|s| {
        let own = matches!(s, Stmt::For(l) if l.mark == Mark::Vector);
        own || s.bodies().into_iter().any(|b| has_vectors(b))
    })
}

/// Runs `y = op(x, w)`, followed by another layer where `inside`, for vectors of all widths; no sum is
/// element by element.
fn sums_are_vectors(name: &str, [x, w]: [&[usize]; 2], attrs: &Attrs, inside: bool) {
    let mut g = Graph::default();
    let from = g.add_input("x", ty(x));
    let w = g.add_constant("w", f32s(w, 0.1));
    let mut y = g
        .add_one(op(name), "layer", &[from, w], attrs.clone())
        .unwrap();
    if inside {
        let channels = g.ty(y).shape[1].as_const().unwrap() as usize;
        let w = g.add_constant("v", f32s(&[16, channels, 1, 1], 0.1));
        let attrs = conv_attrs(([1, 1], [1, 1]), 1, ([0, 0], [0, 0]));
        y = g.add_one(op("conv"), "after", &[y, w], attrs).unwrap();
    }
    g.add_output("y", y);
    check(&g, &[iota(x)]);
    for bytes in [32, 64] {
        let plan = check_with(&g, &[iota(x)], &vectors_of(bytes));
        let is_sum = |name: &str| ["conv", "contract"].iter().any(|part| name.contains(part));
        let sums = plan.kernels.iter().filter(|k| is_sum(&k.name));
        let mut found = 0;
        for kernel in sums {
            assert!(has_vectors(&kernel.body), "{kernel}");
            found += 1;
        }
        assert!(found > 0, "{x:?} {attrs:?}");
    }
}

#[test]
fn groups_of_few_results_are_vectors() {
    for (groups, inner, results) in [(2, 3, 3), (8, 3, 3), (2, 2, 3), (4, 4, 3), (16, 3, 3)] {
        let (x, w) = ([1, groups * inner, 9, 19], [groups * results, inner, 3, 3]);
        let attrs = conv_attrs(([1, 1], [1, 1]), groups as i64, ([1, 1], [1, 1]));
        for inside in [false, true] {
            sums_are_vectors("conv", [&x, &w], &attrs, inside);
        }
    }
}

#[test]
fn padded_groups_lie_as_vectors_are_filled_best() {
    for (results, width, (bytes, stride), row_major) in [
        (4, 30, (32, 1), true),
        (4, 30, (32, 2), false),
        (8, 30, (64, 1), true),
        (8, 30, (32, 1), false),
        (16, 30, (64, 1), false),
        (6, 3, (32, 1), false),
        (6, 8, (64, 1), false),
    ] {
        let (x, w) = ([1, 16, 20, width], [4 * results, 4, 3, 3]);
        let mut g = Graph::default();
        let from = g.add_input("x", ty(&x));
        let w = g.add_constant("w", f32s(&w, 0.1));
        let attrs = conv_attrs(([1, stride], [1, 1]), 4, ([1, 1], [1, 1]));
        let y = g.add_one(op("conv"), "y", &[from, w], attrs).unwrap();
        g.add_output("y", y);
        let plan = check_with(&g, &[iota(&x)], &vectors_of(bytes));
        let kernel = plan.kernels.iter().find(|k| k.name.contains("conv"));
        let padded = |b: &&Buffer| b.scope == Scope::Input && b.shape[3].is(width as i64 + 2);
        let padded = kernel.unwrap().buffers.iter().find(padded).unwrap();
        let case = format!("{results} results of {width} positions: {padded:?}");
        assert_eq!(padded.layout.is_row_major(), row_major, "{case}");
    }
}

#[test]
fn depthwise_convolutions_of_several_results_are_vectors() {
    for (channels, results) in [(5, 2), (16, 2), (9, 3), (32, 3)] {
        let (x, w) = ([1, channels, 9, 19], [channels * results, 1, 3, 3]);
        for stride in [1, 2] {
            let attrs = conv_attrs(([stride; 2], [1, 1]), channels as i64, ([1, 1], [1, 1]));
            for inside in [false, true] {
                sums_are_vectors("conv", [&x, &w], &attrs, inside);
            }
        }
    }
}

#[test]
fn transposed_convolutions_of_any_stride_and_dilation_are_vectors() {
    for (kernel, stride, dilation) in [(3, 2, 2), (3, 3, 2), (3, 1, 2), (2, 4, 2), (1, 3, 1)] {
        for (groups, extents) in [(1, [5, 9]), (2, [1, 9])] {
            let (x, w) = ([1, 16, extents[0], extents[1]], [16, 16, kernel, kernel]);
            let attrs = conv_attrs(([stride; 2], [dilation; 2]), groups, ([0, 0], [0, 0]))
                .with("output_padding", vec![0, 0]);
            sums_are_vectors("conv_transpose", [&x, &w], &attrs, false);
        }
    }
}
