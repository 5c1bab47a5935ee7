//! Recipes beside contractions: what they schedule is vectors, and right.
mod common;

use common::{check, check_with, conv_attrs, f32s, iota, pointwise, ty, vectors_of, wide_core};
use std::sync::Arc;
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::{Expr, Symbol, Var};
use tensmith_ir::graph::{Attrs, Graph, SymbolInfo, TensorType, ValueId};
use tensmith_ir::loops::{Cond, Kernel, Mark, Role, Scalar, Stmt};
use tensmith_ir::machine::Machine;
use tensmith_ir::ops::op;
use tensmith_ir::plan::Plan;
use tensmith_ir::tensor::Tensor;
use tensmith_passes::cost::Analytic;
use tensmith_passes::pipeline::{Precision, plan_with_schedules};
use tensmith_passes::schedule::Target;
use tensmith_passes::{PassOptions, optimise};

fn has_vectors(stmts: &[Stmt]) -> bool {
    stmts.iter().any(|s| {
        let own = matches!(s, Stmt::For(l) if l.mark == Mark::Vector);
        own || s.bodies().into_iter().any(|b| has_vectors(b))
    })
}

fn joins_lanes(stmts: &[Stmt]) -> bool {
    stmts.iter().any(|s| {
        let own = matches!(s, Stmt::For(l) if l.mark == Mark::Vector && l.role == Role::Reduce);
        own || s.bodies().into_iter().any(|b| joins_lanes(b))
    })
}

fn kernel<'p>(plan: &'p Plan, part: &str) -> &'p Kernel {
    let mut kernels = plan.kernels.iter();
    let names: Vec<&str> = plan.kernels.iter().map(|k| k.name.as_str()).collect();
    let found = kernels.find(|k| k.name.contains(part));
    found.unwrap_or_else(|| panic!("no `{part}` among {names:?}"))
}

fn convolved(g: &mut Graph, name: &str, x: ValueId, w: &[usize], groups: i64) -> ValueId {
    let w = g.add_constant(name, f32s(w, 0.1));
    let attrs = conv_attrs(([1, 1], [1, 1]), groups, ([1, 1], [1, 1]));
    let y = g.add_one(op("conv"), name, &[x, w], attrs).unwrap();
    let zero = g.add_constant("zero", f32s(&[1], 0.0));
    g.add_one(op("max"), &format!("{name}_relu"), &[y, zero], Attrs::new())
        .unwrap()
}

/// Two convolutions with a sum around them; extents are no multiples of a tile.
fn residual(channels: usize, shape: &[usize]) -> Graph {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(shape));
    let w = [channels, channels, 3, 3];
    let y = convolved(&mut g, "a", x, &w, 1);
    let z = convolved(&mut g, "b", y, &w, 1);
    let s = g.add_one(op("add"), "s", &[z, y], Attrs::new()).unwrap();
    g.add_output("y", s);
    g
}

#[test]
fn winograd_convolutions_keep_their_epilogues() {
    let shape = [2, 32, 9, 11];
    let plan = check(&residual(32, &shape), &[iota(&shape)]);
    for part in ["winograd_input", "winograd_output_max_add"] {
        assert!(has_vectors(&kernel(&plan, part).body), "{part} is scalar");
    }
}

#[test]
fn winograd_convolutions_are_streamed_in_strips() {
    // One strip; whole strips and a tail of one row; strips of several rows; whole strips only.
    for (height, width, vector_bytes) in [(9, 11, 16), (9, 48, 64), (17, 21, 32), (8, 48, 16)] {
        let shape = [2, 32, height, width];
        let options = PassOptions {
            target: Target {
                vector_bytes,
                fma: vector_bytes > 16,
                ..Target::default()
            },
            // Between the bytes of the weights and those of the tiles and their products.
            stream_bytes: 150_000,
            ..PassOptions::default()
        };
        let plan = check_with(&residual(32, &shape), &[iota(&shape)], &options);
        let strips = kernel(&plan, "streamed_winograd_input_contract_winograd_output");
        assert!(has_vectors(&strips.body), "{height}x{width} is scalar");
        // The contraction of the tail finds its weights packed by that of whole strips.
        assert!(!joins_lanes(&strips.body), "{height}x{width}:\n{strips}");
    }
}

#[test]
fn scans_along_outer_axes_have_vectors() {
    for (rows, columns) in [(7, 64), (5, 37), (1, 16)] {
        for reverse in [false, true] {
            let mut g = Graph::default();
            let x = g.add_input("x", ty(&[rows, columns]));
            let attrs = Attrs::new()
                .with("axis", 0)
                .with("exclusive", false)
                .with("reverse", reverse);
            let y = g.add_one(op("cumsum"), "s", &[x], attrs).unwrap();
            g.add_output("y", y);
            let plan = check(&g, &[iota(&[rows, columns])]);
            let scan = kernel(&plan, "cumsum");
            assert!(has_vectors(&scan.body), "{scan}");
        }
    }
}

#[test]
fn groups_of_convolutions_are_contractions() {
    // Groups of whole vectors, of part of one, and of several panels with and without tails.
    for (groups, channels, results) in [(4, 32, 32), (3, 18, 15), (2, 10, 40), (2, 8, 100)] {
        let shape = [1, channels, 5, 9];
        let mut g = Graph::default();
        let x = g.add_input("x", ty(&shape));
        let w = [results, channels / groups, 3, 3];
        let y = convolved(&mut g, "a", x, &w, groups as i64);
        g.add_output("y", y);
        let plan = check(&g, &[iota(&shape)]);
        let conv = kernel(&plan, "conv");
        assert!(has_vectors(&conv.body), "{conv}");
    }
}

#[test]
fn rows_that_overflow_a_cache_run_in_blocks() {
    let machine = Machine {
        l2_bytes: 32 << 10,
        ..Machine::GENERIC
    };
    // Blocks of whole tiles, a last block that is shorter, rows that end in the middle of a tile;
    // few blocks, of which the last one is shorter.
    for (rows, columns, vector_bytes) in [
        (400, 320, 32),
        (248, 160, 64),
        (523, 150, 16),
        (701, 300, 64),
        (200, 300, 32),
    ] {
        let options = PassOptions {
            target: Target {
                vector_bytes,
                fma: vector_bytes > 16,
                cost: Arc::new(Analytic { machine }),
                ..Target::default()
            },
            ..PassOptions::default()
        };
        let shape = [rows, 20];
        let mut g = Graph::default();
        let x = g.add_input("x", ty(&shape));
        let w = g.add_constant("w", f32s(&[20, columns], 0.1));
        let spec = Attrs::new().with("spec", "mk,kn->mn");
        let y = g.add_one(op("contract"), "y", &[x, w], spec).unwrap();
        g.add_output("y", y);
        check_with(&g, &[iota(&shape)], &options);
        let graph = optimise(g, &options).unwrap();
        let (_, schedules) = plan_with_schedules(&graph, &options).unwrap();
        let traces: Vec<String> = schedules.iter().map(|s| s.trace.to_string()).collect();
        let splits = traces.concat().matches("split i0 ").count();
        let blocks = traces.concat().matches("split i3 ").count();
        assert_eq!((splits, blocks), (1, usize::from(rows > 204)), "{traces:?}");
        let threads = traces.concat().matches("parallelize").count();
        assert_eq!(threads, traces.len(), "{traces:?}");
    }
}

#[test]
fn exact_convolutions_stay_direct() {
    let options = PassOptions {
        precision: Precision::Exact,
        ..PassOptions::default()
    };
    let graph = optimise(residual(32, &[1, 32, 12, 12]), &options).unwrap();
    assert!(graph.nodes.iter().any(|n| n.op.name == "conv"));
    assert!(!graph.nodes.iter().any(|n| n.op.name == "contract"));
}

#[test]
fn row_major_results_of_windows_are_written_in_place() {
    let shape = [1, 24, 10, 13];
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&shape));
    let y = convolved(&mut g, "a", x, &[24, 1, 3, 3], 24);
    let z = convolved(&mut g, "b", y, &[24, 1, 3, 3], 24);
    g.add_output("y", z);
    let plan = check(&g, &[iota(&shape)]);
    let last = plan.kernels.last().expect("it has kernels");
    assert!(last.name.starts_with("conv") && has_vectors(&last.body));
    assert!(plan.kernels.iter().all(|k| k.name != "unpack"));
}

/// A row-major image is added to a convolution of it, whose image has channels innermost, and the
/// sum is row-major.
#[test]
fn row_major_operands_are_turned_beside_convolutions() {
    for (shape, w, groups) in [
        ([1, 24, 10, 13], [24, 1, 3, 3], 24),
        ([1, 32, 9, 11], [32, 32, 3, 3], 1),
    ] {
        let mut g = Graph::default();
        let x = g.add_input("x", ty(&shape));
        let y = convolved(&mut g, "a", x, &w, groups);
        let s = g.add_one(op("sub"), "s", &[x, y], Attrs::new()).unwrap();
        g.add_output("y", s);
        for_all_widths(&g, &[iota(&shape)], |plan| {
            let last = plan.kernels.last().expect("it has kernels");
            assert!(last.name.contains("sub"), "{}", last.name);
            assert!(
                has_vectors(&last.body) && !joins_lanes(&last.body),
                "{last}"
            );
        });
    }
}

#[test]
fn collapsed_loops_become_vectors() {
    let shape = [1, 5, 7, 9];
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&shape));
    let y = g.add_one(op("sigmoid"), "s", &[x], Attrs::new()).unwrap();
    g.add_output("y", y);
    let plan = check(&g, &[iota(&shape)]);
    assert!(has_vectors(&kernel(&plan, "sigmoid").body));
}

#[test]
fn transposes_are_blocked_and_right_at_their_ends() {
    for shape in [[33, 40], [16, 16], [8, 100], [9, 8]] {
        let mut g = Graph::default();
        let x = g.add_input("x", ty(&shape));
        let perm = Attrs::new().with("perm", vec![1, 0]);
        let y = g.add_one(op("transpose"), "t", &[x], perm).unwrap();
        g.add_output("y", y);
        let plan = check(&g, &[iota(&shape)]);
        assert!(has_vectors(&kernel(&plan, "transpose").body), "{shape:?}");
    }
}

/// A plan for each width of vectors, which is right.
fn for_all_widths(g: &Graph, inputs: &[Tensor], look: impl Fn(&Plan)) {
    check(g, inputs);
    for bytes in [32, 64] {
        look(&check_with(g, inputs, &vectors_of(bytes)));
    }
}

/// The loops with a mark.
fn marked(stmts: &[Stmt], mark: Mark) -> usize {
    let own = |s: &Stmt| usize::from(matches!(s, Stmt::For(l) if l.mark == mark));
    let below = |s: &Stmt| {
        s.bodies()
            .into_iter()
            .map(|b| marked(b, mark))
            .sum::<usize>()
    };
    stmts.iter().map(|s| own(s) + below(s)).sum()
}

#[test]
fn short_axes_are_dealt_in_lock_step() {
    for channels in 2..=8 {
        for (shape, perm) in [
            ([2, 11, 7, channels], [0, 3, 1, 2]),
            ([2, channels, 7, 11], [0, 2, 3, 1]),
            ([1, channels, 1, 9], [0, 2, 3, 1]),
        ] {
            let mut g = Graph::default();
            let x = g.add_input("x", ty(&shape));
            let perm = Attrs::new().with("perm", perm.to_vec());
            let y = g.add_one(op("transpose"), "t", &[x], perm).unwrap();
            g.add_output("y", y);
            for_all_widths(&g, &[iota(&shape)], |plan| {
                let k = kernel(plan, "transpose");
                assert!(marked(&k.body, Mark::Jam) > 0, "{k}");
                assert!(marked(&k.body, Mark::Vector) > 0, "{k}");
            });
        }
    }
}

#[test]
fn phases_of_transposed_convolutions_are_turned() {
    let cases = [
        (6, 20, 2, 2, 19),
        (6, 9, 2, 3, 10),
        (6, 16, 3, 3, 11),
        // Its phases are convolutions of their own.
        (16, 20, 2, 3, 10),
    ];
    for (channels, filters, stride, kernel_side, side) in cases {
        let shape = [1, channels, side, side + 1];
        let mut g = Graph::default();
        let x = g.add_input("x", ty(&shape));
        let w = g.add_constant(
            "w",
            f32s(&[channels, filters, kernel_side, kernel_side], 0.2),
        );
        let attrs = conv_attrs(([stride, stride], [1, 1]), 1, ([0, 0], [0, 0]))
            .with("output_padding", vec![0, 0]);
        let y = g
            .add_one(op("conv_transpose"), "c", &[x, w], attrs)
            .unwrap();
        g.add_output("y", y);
        for_all_widths(&g, &[iota(&shape)], |plan| {
            let k = kernel(plan, "depth_to_space");
            assert!(marked(&k.body, Mark::Jam) > 0, "{k}");
        });
    }
}

#[test]
fn sums_of_few_columns_run_along_their_terms() {
    for filters in [1, 2, 3] {
        for channels in [32, 37, 70] {
            let shape = [1, channels, 9, 13];
            let mut g = Graph::default();
            let x = g.add_input("x", ty(&shape));
            let y = convolved(&mut g, "c", x, &[filters, channels, 3, 3], 1);
            g.add_output("y", y);
            for_all_widths(&g, &[iota(&shape)], |plan| {
                let k = kernel(plan, "conv");
                assert!(joins_lanes(&k.body), "{k}");
                assert!(marked(&k.body, Mark::Jam) > 0, "{k}");
            });
        }
    }
}

/// Fewer channels than lanes, or some more: lanes are joined once for a result, not for each tap. Of
/// fewer channels, lanes run along positions.
#[test]
fn lanes_along_short_terms_are_joined_once() {
    fn once(stmts: &[Stmt]) -> bool {
        stmts.iter().all(|s| match s {
            Stmt::For(l) if l.mark == Mark::Vector && l.role == Role::Reduce => {
                matches!(
                    l.body[..],
                    [Stmt::Store { .. }, Stmt::For(_), Stmt::Store { .. }]
                )
            }
            s => s.bodies().into_iter().all(|b| once(b)),
        })
    }
    for channels in [4, 8, 12, 16, 20, 40] {
        let shape = [1, channels, 9, 13];
        let mut g = Graph::default();
        let x = g.add_input("x", ty(&shape));
        let y = convolved(&mut g, "c", x, &[1, channels, 3, 3], 1);
        g.add_output("y", y);
        let plan = check_with(&g, &[iota(&shape)], &vectors_of(64));
        let k = kernel(&plan, "conv");
        assert_eq!(joins_lanes(&k.body), channels > 4, "{k}");
        assert!(once(&k.body), "{k}");
    }
}

#[test]
fn products_may_have_no_columns() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[2, 64]));
    let w = g.add_constant("w", f32s(&[64, 0], 0.2));
    let spec = Attrs::new().with("spec", "ik,kj->ij");
    let y = g.add_one(op("contract"), "c", &[x, w], spec).unwrap();
    g.add_output("y", y);
    for_all_widths(&g, &[iota(&[2, 64])], |_| {});
}

#[test]
fn sums_over_axes_side_by_side_are_one() {
    let shape = [3, 5, 6, 7];
    for (name, axes) in [("reduce_max", vec![2, 3]), ("reduce_sum", vec![1, 2, 3])] {
        let mut g = Graph::default();
        let x = g.add_input("x", ty(&shape));
        let attrs = Attrs::new().with("axes", axes).with("keepdims", true);
        let y = g.add_one(op(name), "r", &[x], attrs).unwrap();
        g.add_output("y", y);
        for_all_widths(&g, &[iota(&shape)], |plan| {
            let k = kernel(plan, name);
            let nested = |s: &Stmt| {
                let is_sum = |s: &Stmt| matches!(s, Stmt::For(l) if l.role == Role::Reduce);
                is_sum(s)
                    && s.bodies()
                        .into_iter()
                        .any(|b| b.len() == 1 && is_sum(&b[0]))
            };
            let Stmt::For(l) = &k.body[0] else {
                panic!("{k}");
            };
            assert!(joins_lanes(&k.body) && !l.body.iter().any(nested), "{k}");
        });
    }
}

#[test]
fn tails_of_blocks_of_tiles_have_known_extents() {
    let shape = [1, 96, 56, 56];
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&shape));
    let perm = Attrs::new().with("perm", vec![0, 2, 3, 1]);
    let y = g.add_one(op("transpose"), "t", &[x], perm).unwrap();
    g.add_output("y", y);
    let plan = check_with(&g, &[iota(&shape)], &vectors_of(64));
    fn known(stmts: &[Stmt]) -> bool {
        stmts.iter().all(|s| {
            let own = matches!(s, Stmt::For(l) if l.extent.as_const().is_none());
            !own && s.bodies().into_iter().all(|b| known(b))
        })
    }
    let k = kernel(&plan, "transpose");
    assert!(known(&k.body), "{k}");
}

fn calls(stmts: &[Stmt]) -> usize {
    let own = |s: &Stmt| {
        let mut calls = 0;
        if let Stmt::Store { value, .. } = s {
            value.visit(&mut |s| calls += usize::from(matches!(s, Scalar::Call(..))));
        }
        calls
    };
    let all = stmts.iter();
    all.map(|s| own(s) + s.bodies().into_iter().map(|b| calls(b)).sum::<usize>())
        .sum()
}

#[test]
fn rows_compute_each_exponential_once() {
    for (shape, axis) in [([6, 64], 1), ([7, 48], 1), ([1, 64], 1), ([32, 6], 0)] {
        let mut g = Graph::default();
        let x = g.add_input("x", ty(&shape));
        let mask = g.add_constant("mask", f32s(&[1, shape[1]], 0.5));
        let y = g.add_one(op("add"), "a", &[x, mask], Attrs::new()).unwrap();
        let attrs = Attrs::new().with("axis", axis);
        let y = g.add_one(op("softmax"), "s", &[y], attrs).unwrap();
        let y = g.add_one(op("mul"), "m", &[y, mask], Attrs::new()).unwrap();
        g.add_output("y", y);
        let plan = check(&g, &[iota(&shape)]);
        let body = &kernel(&plan, "softmax").body;
        assert!(has_vectors(body), "{shape:?}");
        if axis == 1 {
            assert_eq!(calls(body), 1, "{shape:?}");
        }
    }
}

#[test]
fn short_rows_run_in_lock_step() {
    for (shape, rows) in [([7, 49], 4), ([9, 20], 4), ([5, 130], 1)] {
        let mut g = Graph::default();
        let x = g.add_input("x", ty(&shape));
        let attrs = Attrs::new().with("axis", 1);
        let y = g.add_one(op("softmax"), "s", &[x], attrs).unwrap();
        g.add_output("y", y);
        let plan = check_with(&g, &[iota(&shape)], &vectors_of(64));
        let k = kernel(&plan, "softmax");
        // Rows, and those that are left over, are three loops over all lanes each.
        let bodies = if rows > 1 { 2 } else { 1 };
        assert_eq!(marked(&k.body, Mark::Vector), 3 * bodies, "{k}");
        assert_eq!(marked(&k.body, Mark::Jam) > 0, rows > 1, "{k}");
    }
}

#[test]
fn few_rows_are_turned_as_parts_of_vectors() {
    for rows in 4..8 {
        let shape = [3, 20, 5, rows];
        let mut g = Graph::default();
        let x = g.add_input("x", ty(&shape));
        let perm = Attrs::new().with("perm", vec![0, 2, 3, 1]);
        let y = g.add_one(op("transpose"), "t", &[x], perm).unwrap();
        g.add_output("y", y);
        let plan = check_with(&g, &[iota(&shape)], &vectors_of(64));
        let k = kernel(&plan, "transpose");
        assert!(marked(&k.body, Mark::Jam) > 0, "{k}");
    }
}

#[test]
fn branches_between_joined_tensors_are_split_off() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[3, 20]));
    let z = g.add_input("z", ty(&[3, 12]));
    let y = g.add_one(op("sigmoid"), "s", &[x], Attrs::new()).unwrap();
    let y = g.add_one(op("mul"), "m", &[y, x], Attrs::new()).unwrap();
    let axis = Attrs::new().with("axis", 1);
    let y = g.add_one(op("concat"), "c", &[y, z], axis).unwrap();
    g.add_output("y", y);
    let plan = check(&g, &[iota(&[3, 20]), iota(&[3, 12])]);
    assert!(has_vectors(&kernel(&plan, "concat").body));
}

#[test]
fn padded_values_are_written_in_place() {
    let shape = [2, 24, 7, 9];
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&shape));
    let a = pointwise(&mut g, "a", x, &[24, 24, 1, 1]);
    let b = convolved(&mut g, "b", a, &[24, 1, 3, 3], 24);
    let s = g.add_one(op("add"), "s", &[b, a], Attrs::new()).unwrap();
    g.add_output("y", s);
    let plan = check(&g, &[iota(&shape)]);
    let copied = plan.kernels.iter().any(|k| k.name.contains("pad"));
    assert!(!copied, "a value is padded by a copy:\n{plan}");
    writes_its_frame(kernel(&plan, "conv"));
}

/// The kernel is one nest, which begins with the frame around its result.
fn writes_its_frame(kernel: &Kernel) {
    let [Stmt::For(l)] = &kernel.body[..] else {
        panic!("several nests:\n{kernel}")
    };
    let first = Cond::Affine(vec![-Expr::from(l.var)]);
    let begin = l
        .body
        .iter()
        .take_while(|s| matches!(s, Stmt::If { cond, .. } if *cond == first));
    assert!(begin.count() >= 4, "{kernel}");
}

/// As [`check`], with a plan for two threads.
fn check_for_threads(g: &Graph, inputs: &[Tensor]) -> Plan {
    check(g, inputs);
    check_with(g, inputs, &vectors_of(64))
}

/// A model's first convolution pads rows of its image as it needs them; heights are no multiples
/// of strips, rows are skipped by strides and dilations, and one window is higher than the image.
#[test]
fn images_of_few_channels_are_padded_in_strips() {
    for (shape, kernel_rows, stride, dilation) in [
        ([2, 3, 61, 9], 3, 1, 1),
        ([1, 1, 8, 20], 5, 2, 1),
        ([1, 3, 70, 6], 2, 2, 3),
        ([3, 2, 1, 5], 3, 1, 1),
        ([1, 3, 300, 4], 7, 3, 1),
    ] {
        let mut g = Graph::default();
        let x = g.add_input("x", ty(&shape));
        let w = g.add_constant("w", f32s(&[20, shape[1], kernel_rows, 3], 0.3));
        let reach = (kernel_rows as i64 - 1) * dilation;
        let attrs = conv_attrs(
            ([stride, 1], [dilation, 1]),
            1,
            ([reach / 2, 1], [reach - reach / 2, 0]),
        );
        let y = g.add_one(op("conv"), "c", &[x, w], attrs).unwrap();
        let y = pointwise(&mut g, "p", y, &[6, 20, 1, 1]);
        g.add_output("y", y);
        let plan = check_for_threads(&g, &[iota(&shape)]);
        let names: Vec<&str> = plan.kernels.iter().map(|k| k.name.as_str()).collect();
        assert!(names.contains(&"pad_conv"), "{names:?}");
        assert!(!names.contains(&"pad"), "{names:?}");
    }
}

/// A depthwise convolution, scalar work or a concatenation before a convolution of single elements:
/// with large images and few weights they are one kernel, whose strips leave a shorter last one.
#[test]
fn images_are_made_by_the_convolutions_that_read_them() {
    let shape = [2, 24, 57, 60];
    for (joined, make) in [
        ("conv_max_conv", 0),
        ("exp_conv", 1),
        ("concat_conv", 2),
        ("transpose_conv", 3),
    ] {
        let mut g = Graph::default();
        let x = g.add_input("x", ty(&shape));
        let y = match make {
            0 => convolved(&mut g, "d", x, &[24, 1, 3, 3], 24),
            1 => g.add_one(op("exp"), "e", &[x], Attrs::new()).unwrap(),
            2 => {
                let z = g.add_input("z", ty(&shape));
                let axis = Attrs::new().with("axis", 1);
                g.add_one(op("concat"), "c", &[x, z], axis).unwrap()
            }
            _ => {
                let perm = Attrs::new().with("perm", vec![0, 1, 3, 2]);
                g.add_one(op("transpose"), "t", &[x], perm).unwrap()
            }
        };
        let channels = if make == 2 { 48 } else { 24 };
        let y = pointwise(&mut g, "last", y, &[10, channels, 1, 1]);
        g.add_output("y", y);
        let inputs = vec![iota(&shape); g.inputs.len()];
        let plan = check_for_threads(&g, &inputs);
        let names: Vec<&str> = plan.kernels.iter().map(|k| k.name.as_str()).collect();
        assert!(names.contains(&joined), "{joined}: {names:?}");
    }
}

/// Where a convolution with a row-major result has as many rows as a tile, tiles still run along rows,
/// whose elements lie side by side.
#[test]
fn tiles_of_row_major_results_run_along_rows() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[1, 3, 33, 229]));
    let w = g.add_constant("w", f32s(&[64, 3, 7, 7], 0.1));
    let attrs = conv_attrs(([2, 2], [1, 1]), 1, ([0, 0], [0, 0]));
    let y = g.add_one(op("conv"), "c", &[x, w], attrs).unwrap();
    g.add_output("y", y);
    let mut options = vectors_of(64);
    options.target.cost = wide_core();
    let graph = optimise(g, &options).unwrap();
    let plan = tensmith_passes::plan(&graph, &options).unwrap();
    let mut found = vec![];
    stores_in_lock_step(&kernel(&plan, "conv").body, None, &mut found);
    let along_rows = |(jam, index): &(Var, Vec<Expr>)| index[3].mentions(*jam);
    assert!(!found.is_empty() && found.iter().all(along_rows), "{plan}");
}

/// The stores of values of rank 4 in jam loops, with these loops' variables.
fn stores_in_lock_step(stmts: &[Stmt], jam: Option<Var>, found: &mut Vec<(Var, Vec<Expr>)>) {
    for stmt in stmts {
        if let (Stmt::Store { index, .. }, Some(jam)) = (stmt, jam)
            && index.len() == 4
        {
            found.push((jam, index.clone()));
        }
        let jam = match stmt {
            Stmt::For(l) if l.mark == Mark::Jam => Some(l.var),
            _ => jam,
        };
        for body in stmt.bodies() {
            stores_in_lock_step(body, jam, found);
        }
    }
}

/// Sums keep their order for any number of threads, so kernels are the same.
#[test]
fn images_are_made_alike_for_any_number_of_threads() {
    for channels in [1, 3, 4, 20] {
        let mut g = Graph::default();
        let x = g.add_input("x", ty(&[1, channels, 40, 24]));
        let y = convolved(&mut g, "a", x, &[16, channels, 3, 3], 1);
        let y = convolved(&mut g, "d", y, &[16, 1, 3, 3], 16);
        let y = pointwise(&mut g, "last", y, &[10, 16, 1, 1]);
        g.add_output("y", y);
        let kernels = [1, 2, 3, 64].map(|threads| {
            let mut options = vectors_of(64);
            options.target.threads = threads;
            let graph = optimise(g.clone(), &options).unwrap();
            let plan = tensmith_passes::plan(&graph, &options).unwrap();
            let text = plan.kernels.iter().map(|k| k.to_string());
            text.collect::<Vec<_>>()
        });
        assert!(kernels.iter().all(|k| *k == kernels[0]), "{channels}");
    }
}

#[test]
fn frames_hold_any_number_on_any_axis() {
    let shape = [1, 6, 5, 4];
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&shape));
    let a = pointwise(&mut g, "a", x, &[8, 6, 1, 1]);
    let fill = g.add_constant("fill", Tensor::from_f32(vec![], &[2.5]));
    let dims = |d: [i64; 4]| d.map(Expr::from).to_vec();
    let attrs = Attrs::new()
        .with("before", dims([0, 1, 2, 0]))
        .with("after", dims([1, 0, 1, 3]))
        .with("mode", "constant");
    let p = g.add_one(op("pad"), "p", &[a, fill], attrs).unwrap();
    let b = pointwise(&mut g, "b", p, &[3, 9, 2, 2]);
    g.add_output("y", b);
    let plan = check(&g, &[iota(&shape)]);
    writes_its_frame(kernel(&plan, "conv"));
}

/// Of a value that is padded twice, only one of both lies inside of another one.
#[test]
fn values_may_be_padded_twice() {
    let shape = [3, 17, 9, 15];
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&shape));
    let a = g.add_one(op("sigmoid"), "a", &[x], Attrs::new()).unwrap();
    let fill = g.add_constant("fill", Tensor::from_f32(vec![], &[2.5]));
    let dims = |d: [i64; 4]| d.map(Expr::from).to_vec();
    let attrs = Attrs::new()
        .with("before", dims([0, 0, 0, 1]))
        .with("after", dims([0, 0, 2, 2]))
        .with("mode", "constant");
    let p = g.add_one(op("pad"), "p", &[a, fill], attrs).unwrap();
    let b = convolved(&mut g, "b", p, &[17, 17, 3, 3], 1);
    let s = g.add_one(op("add"), "s", &[b, p], Attrs::new()).unwrap();
    g.add_output("y", s);
    check(&g, &[iota(&shape)]);
}

#[test]
fn constants_of_faster_algorithms_are_bounded() {
    let tiles = |constant_bytes: Option<u64>| {
        let options = PassOptions {
            constant_bytes,
            ..PassOptions::default()
        };
        let graph = optimise(residual(32, &[1, 32, 24, 24]), &options).unwrap();
        let filtered = graph
            .nodes
            .iter()
            .filter(|n| n.op.name == "winograd_output");
        let mut tiles: Vec<i64> = filtered.map(|n| n.attrs.int("tile")).collect();
        tiles.sort();
        tiles
    };
    // Two layers of 32x32 filters of 9 weights, which become 16 or 36, and a few small constants.
    let (few, weights, small) = (1024, 2 * 32 * 32 * 9 * 4, 32 * 32 * 7 * 4);
    let bound = |more: u64| tiles(Some(weights + few + more));
    assert_eq!(tiles(None), [4, 4]);
    assert_eq!(tiles(Some(0)), []);
    assert_eq!(bound(small), [2]);
    assert_eq!(bound(2 * small), [2, 2]);
    assert_eq!(bound(20 * small), [4, 4]);
}

#[test]
fn channels_move_to_places_as_vectors() {
    let shape = [1, 16, 6, 5];
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&shape));
    let a = pointwise(&mut g, "a", x, &[32, 16, 1, 1]);
    let w = g.add_constant("w", f32s(&[32, 16, 2, 2], 0.1));
    let attrs =
        conv_attrs(([2, 2], [1, 1]), 1, ([0, 0], [0, 0])).with("output_padding", vec![0, 0]);
    let t = g
        .add_one(op("conv_transpose"), "t", &[a, w], attrs)
        .unwrap();
    let r = g.add_one(op("neg"), "r", &[t], Attrs::new()).unwrap();
    let y = pointwise(&mut g, "b", r, &[4, 16, 1, 1]);
    g.add_output("y", y);
    let plan = check(&g, &[iota(&shape)]);
    assert!(has_vectors(&kernel(&plan, "depth_to_space").body));
}

/// The branches and the guarded updates inside of reductions.
fn branches_in_sums(stmts: &[Stmt], inside: bool) -> usize {
    let branches = |s: &Stmt| match s {
        Stmt::If { .. } => true,
        Stmt::Store { value, .. } => matches!(value, Scalar::Guard(..)),
        _ => false,
    };
    let own = |s: &Stmt| usize::from(inside && branches(s));
    let below = |s: &Stmt| {
        let inside = inside || matches!(s, Stmt::For(l) if l.role == Role::Reduce);
        let bodies = s.bodies().into_iter();
        bodies.map(|b| branches_in_sums(b, inside)).sum::<usize>()
    };
    stmts.iter().map(|s| own(s) + below(s)).sum()
}

#[test]
fn terms_that_only_read_padding_are_left_out() {
    // Distances of taps beyond the image, far, and near.
    for (distance, width, leaves_out) in [(10, 13, true), (6, 13, true), (2, 40, false)] {
        let shape = [1, 40, width - 4, width];
        let mut g = Graph::default();
        let x = g.add_input("x", ty(&shape));
        // Of so few results that minimal filtering is no choice.
        let w = g.add_constant("w", f32s(&[12, 40, 3, 3], 0.1));
        let pads = [distance; 2];
        let attrs = conv_attrs(([1, 1], [distance; 2]), 1, (pads, pads));
        let y = g.add_one(op("conv"), "c", &[x, w], attrs).unwrap();
        g.add_output("y", y);
        for_all_widths(&g, &[iota(&shape)], |plan| {
            let found = branches_in_sums(&kernel(plan, "conv").body, false);
            assert_eq!(found > 0, leaves_out, "{distance}");
        });
    }
}

/// Whether guards depend on loops in lock step.
fn guards_lanes(stmts: &[Stmt], lanes: &[Var]) -> bool {
    stmts.iter().any(|s| match s {
        Stmt::For(l) if matches!(l.mark, Mark::Jam | Mark::Vector) => {
            guards_lanes(&l.body, &[lanes, &[l.var]].concat())
        }
        Stmt::Store { value, .. } => {
            let mut found = false;
            value.visit(&mut |s| {
                if let Scalar::Guard(conds, ..) = s {
                    found |= lanes.iter().any(|v| conds.iter().any(|c| c.mentions(*v)));
                }
            });
            found
        }
        other => (other.bodies().into_iter()).any(|b| guards_lanes(b, lanes)),
    })
}

/// Of an image that is padded and laid out with its channels innermost, the columns at the borders
/// are code of their own, so that blocks of all others are turned in registers.
#[test]
fn padded_images_are_turned_in_blocks_without_guards() {
    for shape in [[1, 32, 28, 28], [2, 20, 9, 13]] {
        let mut g = Graph::default();
        let x = g.add_input("x", ty(&shape));
        let fill = g.add_constant("fill", Tensor::from_f32(vec![], &[2.5]));
        let dims = |d: [i64; 4]| d.map(Expr::from).to_vec();
        let attrs = Attrs::new()
            .with("before", dims([0, 0, 1, 1]))
            .with("after", dims([0, 0, 1, 2]))
            .with("mode", "constant");
        let p = g.add_one(op("pad"), "p", &[x, fill], attrs).unwrap();
        let perm = Attrs::new().with("perm", vec![0, 2, 3, 1]);
        let y = g.add_one(op("transpose"), "t", &[p], perm).unwrap();
        g.add_output("y", y);
        for bytes in [32, 64] {
            let plan = check_with(&g, &[iota(&shape)], &vectors_of(bytes));
            let [kernel] = &plan.kernels[..] else {
                panic!("{plan}")
            };
            assert!(has_vectors(&kernel.body), "{kernel}");
            assert!(!guards_lanes(&kernel.body, &[]), "{kernel}");
        }
    }
}

/// Rows that are joined of two: all loops over them are vectors, each over its part.
#[test]
fn loops_over_joined_rows_are_vectors() {
    for name in ["softmax", "log_softmax"] {
        let mut g = Graph::default();
        let x = g.add_input("x", ty(&[3, 40]));
        let z = g.add_input("z", ty(&[3, 1]));
        let along = Attrs::new().with("axis", 1);
        let joined = g.add_one(op("concat"), "joined", &[x, z], along.clone());
        let y = g.add_one(op(name), "y", &[joined.unwrap()], along);
        g.add_output("y", y.unwrap());
        for_all_widths(&g, &[iota(&[3, 40]), iota(&[3, 1])], |plan| {
            let [kernel] = &plan.kernels[..] else {
                panic!("{} kernels", plan.kernels.len());
            };
            let text = kernel.to_string();
            assert!(text.matches(" vector ").count() >= 3, "{text}");
            assert!(!text.contains("guard"), "{text}");
        });
    }
}

/// Sizes that are known at run time only: rows of products are tiles, with small ones and single rows
/// for what is left, and statistics of rows are computed once.
#[test]
fn symbolic_sizes_are_tiled() {
    let mut g = Graph::default();
    let [n, m] = ["n", "m"].map(|name| {
        let symbol = Symbol::new(name);
        let info = SymbolInfo { min: 0, max: 512 };
        g.symbols.insert(symbol.clone(), info);
        Expr::size(symbol)
    });
    let floats = |shape: Vec<Expr>| TensorType::new(DType::F32, shape);
    let x = g.add_input("x", floats(vec![n.clone(), 6.into()]));
    let w = g.add_constant("w", f32s(&[6, 40], 0.5));
    let spec = Attrs::new().with("spec", "ab,bc->ac");
    let product = g.add_one(op("contract"), "product", &[x, w], spec).unwrap();
    g.add_output("product", product);
    let x = g.add_input("rows", floats(vec![n, m]));
    let along = Attrs::new().with("axis", 1);
    let y = g.add_one(op("softmax"), "y", &[x], along).unwrap();
    g.add_output("y", y);
    for [n, m] in [[0, 5], [5, 0], [1, 1], [3, 17], [31, 45], [70, 130]] {
        for_all_widths(&g, &[f32s(&[n, 6], 1.0), f32s(&[n, m], 1.5)], |plan| {
            let product = kernel(plan, "contract");
            assert!(marked(&product.body, Mark::Jam) > 0, "{product}");
            let softmax = kernel(plan, "softmax");
            assert!(depth_of_sums(&softmax.body) <= 3, "{softmax}");
        });
    }
}

/// The loops around sums and in them at most, one inside of the other.
fn depth_of_sums(stmts: &[Stmt]) -> usize {
    let of = |s: &Stmt| {
        let own = usize::from(matches!(s, Stmt::For(_)));
        let inside = s.bodies().into_iter().map(|b| depth_of_sums(b));
        let inside = inside.max().unwrap_or(0);
        let is_sum = matches!(s, Stmt::For(l) if l.role == Role::Reduce);
        if inside > 0 || is_sum {
            own + inside
        } else {
            0
        }
    };
    stmts.iter().map(of).max().unwrap_or(0)
}
