//! Which nodes become one kernel, on small graphs.
mod common;

use common::{check, conv_attrs, f32s, iota, pointwise, ty};
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, TensorType, ValueId};
use tensmith_ir::ops::op;
use tensmith_passes::PassOptions;
use tensmith_passes::partition::partition;

fn add(g: &mut Graph, name: &str, inputs: &[ValueId]) -> ValueId {
    g.add_one(op(name), name, inputs, Attrs::new()).unwrap()
}

fn conv(g: &mut Graph, x: ValueId, w: ValueId) -> ValueId {
    let attrs = conv_attrs(([1, 1], [1, 1]), 1, ([0, 0], [0, 0]));
    g.add_one(op("conv"), "conv", &[x, w], attrs).unwrap()
}

fn mean(g: &mut Graph, x: ValueId, axis: i64) -> ValueId {
    let attrs = Attrs::new().with("axes", vec![axis]).with("keepdims", true);
    g.add_one(op("reduce_mean"), "mean", &[x], attrs).unwrap()
}

/// A graph with an input `[1, 4, 6, 6]`, weights and a bias; gives the result of a convolution.
fn convolved(g: &mut Graph) -> (ValueId, ValueId) {
    let x = g.add_input("x", ty(&[1, 4, 6, 6]));
    let w = g.add_constant("w", f32s(&[4, 4, 3, 3], 0.5));
    let b = g.add_constant("b", f32s(&[4, 1, 1], 1.0));
    let y = conv(g, x, w);
    (x, add(g, "add", &[y, b]))
}

/// The names of the nodes of each kernel.
fn kernels(g: &Graph) -> Vec<String> {
    let partition = partition(g, &PassOptions::default());
    assert!(partition.is_convex(g));
    let names = |group: &tensmith_passes::partition::Group| {
        let mut ids: Vec<_> = group.members.iter().collect();
        ids.sort();
        let names: Vec<&str> = ids.iter().map(|n| g.node(**n).op.name).collect();
        names.join("+")
    };
    partition.groups.values().map(names).collect()
}

#[test]
fn bias_and_activation_join_a_convolution() {
    let mut g = Graph::default();
    let (_, y) = convolved(&mut g);
    let zero = g.add_constant("zero", f32s(&[], 0.0));
    let y = add(&mut g, "max", &[y, zero]);
    g.add_output("y", y);
    assert_eq!(kernels(&g), ["conv+add+max"]);
    check(&g, &[iota(&[1, 4, 6, 6])]);
}

#[test]
fn a_value_used_twice_at_one_index_joins_a_convolution() {
    let mut g = Graph::default();
    let (_, y) = convolved(&mut g);
    let s = add(&mut g, "sigmoid", &[y]);
    let y = add(&mut g, "mul", &[y, s]);
    g.add_output("y", y);
    assert_eq!(kernels(&g), ["conv+add+sigmoid+mul"]);
    check(&g, &[iota(&[1, 4, 6, 6])]);
}

#[test]
fn a_residual_is_added_in_the_second_convolution() {
    let mut g = Graph::default();
    let (x, a) = convolved(&mut g);
    let w = g.add_constant("w1", f32s(&[4, 4, 3, 3], 0.5));
    let b = conv(&mut g, x, w);
    let y = add(&mut g, "add", &[a, b]);
    g.add_output("y", y);
    assert_eq!(kernels(&g), ["conv+add", "conv+add"]);
    check(&g, &[iota(&[1, 4, 6, 6])]);
}

/// The mean of squares of distances to the mean, and so on.
fn layer_norm(g: &mut Graph, x: ValueId) -> ValueId {
    let m = mean(g, x, 1);
    let d = add(g, "sub", &[x, m]);
    let s = add(g, "mul", &[d, d]);
    let v = mean(g, s, 1);
    let eps = g.add_constant("eps", f32s(&[], -1e-5));
    let v = add(g, "add", &[v, eps]);
    let v = add(g, "sqrt", &[v]);
    let y = add(g, "div", &[d, v]);
    let w = g.add_constant("w", f32s(&[33], 1.0));
    add(g, "mul", &[y, w])
}

#[test]
fn a_layer_norm_from_primitives_is_one_kernel() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[5, 33]));
    let y = layer_norm(&mut g, x);
    g.add_output("y", y);
    assert_eq!(
        kernels(&g).len(),
        1,
        "{:?}",
        partition(&g, &PassOptions::default()).refusals
    );
    check(&g, &[iota(&[5, 33])]);
}

/// Rows along an axis that is not the last one, with others beside them or none.
#[test]
fn norms_over_channels_are_one_kernel_where_rows_lie_beside_each_other() {
    let norm = |shape: &[usize]| {
        let mut g = Graph::default();
        let x = g.add_input("x", ty(shape));
        let d = mean(&mut g, x, 1);
        let d = add(&mut g, "sub", &[x, d]);
        let v = add(&mut g, "mul", &[d, d]);
        let v = mean(&mut g, v, 1);
        let v = add(&mut g, "sqrt", &[v]);
        let y = add(&mut g, "div", &[d, v]);
        g.add_output("y", y);
        check(&g, &[iota(shape)]);
        kernels(&g).len()
    };
    assert_eq!(norm(&[2, 12, 5, 4]), 1);
    assert_eq!(norm(&[1, 100, 8]), 1);
    assert_eq!(norm(&[2, 12, 3]), 4);
}

/// What is computed for each row is computed once only where its kernel makes the rows.
#[test]
fn a_factor_of_each_row_is_made_before_sums_over_rows() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[128, 384]));
    let mask = g.add_input(
        "mask",
        TensorType {
            dtype: DType::I64,
            ..ty(&[128, 1])
        },
    );
    let to = Attrs::new().with("to", DType::F32);
    let mask = g.add_one(op("cast"), "cast", &[mask], to).unwrap();
    let masked = add(&mut g, "mul", &[x, mask]);
    let attrs = Attrs::new().with("axes", vec![0]).with("keepdims", false);
    let sum = g.add_one(op("reduce_sum"), "sum", &[masked], attrs);
    g.add_output("y", sum.unwrap());
    // The sums run along rows inside of the loop over columns, whose lanes hold no 64 bits.
    assert_eq!(kernels(&g), ["cast", "mul+reduce_sum"]);
}

#[test]
fn roots_of_rows_stay_out_of_loops_over_them() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[2, 12, 20]));
    let m = mean(&mut g, x, 1);
    let r = add(&mut g, "sqrt", &[m]);
    let y = add(&mut g, "mul", &[x, r]);
    g.add_output("y", y);
    assert_eq!(kernels(&g), ["reduce_mean+sqrt+mul"]);
    g.add_output("m", m);
    assert_eq!(kernels(&g), ["reduce_mean", "sqrt", "mul"]);
    check(&g, &[iota(&[2, 12, 20])]);
}

#[test]
fn rows_that_a_transpose_tears_are_turned_before() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[8, 96, 64]));
    let perm = Attrs::new().with("perm", vec![0, 2, 1]);
    let x = g.add_one(op("transpose"), "turn", &[x], perm).unwrap();
    let axis = Attrs::new().with("axis", 2);
    let y = g.add_one(op("softmax"), "softmax", &[x], axis).unwrap();
    g.add_output("y", y);
    assert_eq!(kernels(&g), ["transpose", "softmax"]);
}

#[test]
fn channels_of_a_convolution_need_no_turning_before_rows() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[1, 64, 16, 16]));
    let w = g.add_constant("w", f32s(&[64, 64, 3, 3], 0.5));
    let y = conv(&mut g, x, w);
    let perm = Attrs::new().with("perm", vec![0, 2, 3, 1]);
    let y = g.add_one(op("transpose"), "turn", &[y], perm).unwrap();
    let axis = Attrs::new().with("axis", 3);
    let y = g.add_one(op("softmax"), "softmax", &[y], axis).unwrap();
    g.add_output("y", y);
    assert_eq!(kernels(&g), ["conv", "transpose+softmax"]);
}

#[test]
fn a_residual_before_a_layer_norm_stays_with_the_product() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[5, 33]));
    let w = g.add_constant("w", f32s(&[33, 33], 1.0));
    let spec = Attrs::new().with("spec", "mk,kn->mn");
    let y = g.add_one(op("contract"), "dot", &[x, w], spec).unwrap();
    let y = add(&mut g, "add", &[y, x]);
    let y = layer_norm(&mut g, y);
    g.add_output("y", y);
    let kernels = kernels(&g);
    assert_eq!(kernels.len(), 2, "{kernels:?}");
    assert_eq!(kernels[0], "contract+add");
    check(&g, &[iota(&[5, 33])]);
}

#[test]
fn scalar_work_does_not_join_the_inner_loop_of_a_contraction() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[8, 9]));
    let y = g.add_input("y", ty(&[9, 7]));
    let e = add(&mut g, "exp", &[x]);
    let spec = Attrs::new().with("spec", "mk,kn->mn");
    let y = g.add_one(op("contract"), "dot", &[e, y], spec).unwrap();
    g.add_output("y", y);
    assert_eq!(kernels(&g), ["exp", "contract"]);
    check(&g, &[iota(&[8, 9]), iota(&[9, 7])]);
}

#[test]
fn a_softmax_takes_its_scale_and_mask() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[4, 9]));
    let k = g.add_constant("k", f32s(&[], -0.5));
    let m = g.add_constant("m", f32s(&[9], 1.0));
    let y = add(&mut g, "mul", &[x, k]);
    let y = add(&mut g, "add", &[y, m]);
    let attrs = Attrs::new().with("axis", 1);
    let y = g.add_one(op("softmax"), "softmax", &[y], attrs).unwrap();
    g.add_output("y", y);
    assert_eq!(kernels(&g), ["mul+add+softmax"]);
    check(&g, &[iota(&[4, 9])]);
}

#[test]
fn an_expensive_value_is_computed_once_for_all_that_read_it() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[16]));
    let y = g.add_input("y", ty(&[8, 16]));
    let e = add(&mut g, "exp", &[x]);
    let y = add(&mut g, "mul", &[y, e]);
    g.add_output("y", y);
    assert_eq!(kernels(&g), ["exp", "mul"]);
    check(&g, &[iota(&[16]), iota(&[8, 16])]);
}

#[test]
fn a_pointwise_convolution_with_batch_norm_and_residual_is_one_kernel() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[2, 4, 6, 5]));
    let w = g.add_constant("w", f32s(&[4, 4, 1, 1], 0.5));
    let mut y = conv(&mut g, x, w);
    for name in ["sub", "mul", "add"] {
        let c = g.add_constant(name, f32s(&[4, 1, 1], 1.0));
        y = add(&mut g, name, &[y, c]);
    }
    let y = add(&mut g, "add", &[y, x]);
    let zero = g.add_constant("zero", f32s(&[], 0.0));
    let y = add(&mut g, "max", &[y, zero]);
    g.add_output("y", y);
    let plan = check(&g, &[iota(&[2, 4, 6, 5])]);
    assert_eq!(plan.calls().len(), 1, "{plan}");
    let name = &plan.kernels[0].name;
    assert_eq!(name, "add_conv_add_max");
}

#[test]
fn code_that_operands_at_other_indices_double_is_shared() {
    let mut g = Graph::default();
    let mut x = g.add_input("x", ty(&[2]));
    for k in 0..12 {
        let name = format!("c{k}");
        let attrs = Attrs::new().with("axis", 0);
        x = g.add_one(op("concat"), &name, &[x, x], attrs).unwrap();
    }
    g.add_output("y", x);
    let kernels = kernels(&g);
    assert!(kernels.len() > 1, "{kernels:?}");
    check(&g, &[iota(&[2])]);
}

/// A product of matrices for each head, and its transpose.
fn heads(perm: Vec<i64>) -> Graph {
    let mut g = Graph::default();
    let a = g.add_input("a", ty(&[3, 17, 9]));
    let b = g.add_input("b", ty(&[3, 9, 20]));
    let spec = Attrs::new().with("spec", "hmk,hkn->hmn");
    let y = g.add_one(op("contract"), "dot", &[a, b], spec).unwrap();
    let half = g.add_constant("half", f32s(&[], 0.5));
    let y = g
        .add_one(op("mul"), "half", &[y, half], Attrs::new())
        .unwrap();
    let perm = Attrs::new().with("perm", perm);
    let y = g.add_one(op("transpose"), "t", &[y], perm).unwrap();
    g.add_output("y", y);
    g
}

#[test]
fn contractions_write_in_the_order_of_a_transpose_that_keeps_columns() {
    for (perm, count) in [(vec![1, 0, 2], 1), (vec![2, 0, 1], 2)] {
        let g = heads(perm);
        assert_eq!(kernels(&g).len(), count, "{g}");
        check(&g, &[iota(&[3, 17, 9]), iota(&[3, 9, 20])]);
    }
    // Channels become the last axis, as they lie anyway.
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[1, 5, 6, 7]));
    let y = pointwise(&mut g, "conv", x, &[12, 5, 1, 1]);
    let perm = Attrs::new().with("perm", vec![0, 2, 3, 1]);
    let y = g.add_one(op("transpose"), "t", &[y], perm).unwrap();
    g.add_output("y", y);
    assert_eq!(kernels(&g).len(), 1);
    check(&g, &[iota(&[1, 5, 6, 7])]);
}

#[test]
fn many_parts_are_joined_before_rows_pass_over_them() {
    for (parts, count) in [(4, 1), (64, 2)] {
        let mut g = Graph::default();
        let xs: Vec<ValueId> = (0..parts)
            .map(|k| g.add_input(&format!("x{k}"), ty(&[3, 2])))
            .collect();
        let axis = Attrs::new().with("axis", 1);
        let y = g.add_one(op("concat"), "c", &xs, axis.clone()).unwrap();
        let y = g.add_one(op("softmax"), "s", &[y], axis).unwrap();
        g.add_output("y", y);
        assert_eq!(kernels(&g).len(), count, "{parts} parts");
        check(&g, &vec![iota(&[3, 2]); parts]);
    }
}

#[test]
fn a_mean_is_not_computed_again_where_halves_of_an_image_are_swapped() {
    let mut g = Graph::default();
    let shape = [1, 4, 16, 8];
    let x = g.add_input("x", ty(&shape));
    let m = Attrs::new().with("axes", vec![2, 3]).with("keepdims", true);
    let m = g.add_one(op("reduce_mean"), "mean", &[x], m).unwrap();
    let d = add(&mut g, "sub", &[x, m]);
    let half = |g: &mut Graph, start: i64, rows: i64| {
        let attrs = Attrs::new()
            .with("starts", [0, 0, start, 0].map(Expr::from).to_vec())
            .with("sizes", [1, 4, rows, 8].map(Expr::from).to_vec())
            .with("steps", vec![1, 1, 1, 1]);
        g.add_one(op("slice"), "part", &[d], attrs).unwrap()
    };
    let parts = [half(&mut g, 5, 11), half(&mut g, 0, 5)];
    let axis = Attrs::new().with("axis", 2);
    let y = g.add_one(op("concat"), "y", &parts, axis).unwrap();
    g.add_output("y", y);
    let found = kernels(&g);
    assert!(
        found
            .iter()
            .all(|k| !k.contains("reduce_mean") || !k.contains("concat")),
        "{found:?}"
    );
    check(&g, &[iota(&shape)]);
}

/// Rows of a table are copied before sums along the axis of their indices, and looked up inside of
/// passes over the rows themselves.
#[test]
fn terms_of_sums_are_not_looked_up() {
    let drawn = |axis: i64, joined: bool| {
        let mut g = Graph::default();
        let ids = g.add_input("ids", TensorType::new(DType::I64, vec![2.into(), 6.into()]));
        let table = g.add_constant("table", f32s(&[9, 32], 0.1));
        let first = Attrs::new().with("axis", 0);
        let mut x = g
            .add_one(op("gather"), "rows", &[table, ids], first)
            .unwrap();
        if joined {
            let other = g.add_input("other", ty(&[2, 6, 5]));
            let last = Attrs::new().with("axis", 2);
            x = g
                .add_one(op("concat"), "joined", &[x, other], last)
                .unwrap();
        }
        let m = mean(&mut g, x, axis);
        g.add_output("y", m);
        kernels(&g)
    };
    assert_eq!(drawn(1, false), ["gather", "reduce_mean"]);
    assert_eq!(drawn(2, false), ["gather+reduce_mean"]);
    assert_eq!(drawn(2, true), ["gather", "concat+reduce_mean"]);
}
