//! Branches and loops through the importer.
mod common;

use common::{
    BOOL, FLOAT, INT64, body, f32s, graph, imported, int, ints, model, node, ops, truth, value,
};
use tensmith_ir::dtype::DType;
use tensmith_ir::eval::eval_graph;
use tensmith_ir::tensor::Tensor;
use tensmith_onnx::LoadedModel;
use tensmith_onnx::import::{ImportOptions, import};
use tensmith_onnx::proto::AttributeProto;

/// `y = x + x` or `-x`.
fn branches() -> Vec<AttributeProto> {
    let then = graph(
        vec![],
        vec![node("t = Add(x, x)", vec![])],
        vec![],
        vec![value("t", FLOAT, "2")],
    );
    let other = graph(
        vec![],
        vec![node("e = Neg(x)", vec![])],
        vec![],
        vec![value("e", FLOAT, "2")],
    );
    vec![body("then_branch", then), body("else_branch", other)]
}

#[test]
fn a_constant_condition_picks_its_branch() {
    let m = model(graph(
        vec![value("x", FLOAT, "2")],
        vec![node("y = If(c)", branches())],
        vec![truth("c", false)],
        vec![value("y", FLOAT, "2")],
    ));
    assert_eq!(ops(&imported(&m, &ImportOptions::default()).graph), ["neg"]);
}

#[test]
fn a_condition_out_of_data_becomes_a_branch() {
    let m = model(graph(
        vec![value("x", FLOAT, "2"), value("c", BOOL, "")],
        vec![node("y = If(c)", branches())],
        vec![],
        vec![value("y", FLOAT, "2")],
    ));
    let imported = imported(&m, &ImportOptions::default());
    assert_eq!(ops(&imported.graph), ["if"]);
    for (c, want) in [(1.0, [4.0, 6.0]), (0.0, [-2.0, -3.0])] {
        let c = Tensor::splat(DType::Bool, vec![], c);
        let y = eval_graph(&imported.graph, &[f32s(&[2], &[2.0, 3.0]), c]).expect("evaluates");
        assert_eq!(y[0].to_f64(), want);
    }
}

#[test]
fn what_is_invalid_in_a_branch_that_is_not_taken_is_no_matter() {
    let then = graph(
        vec![],
        vec![node("t = Neg(x)", vec![])],
        vec![],
        vec![value("t", FLOAT, "2")],
    );
    let other = graph(
        vec![],
        vec![node("m = MatMul(w, x)", vec![]), node("e = Abs(m)", vec![])],
        vec![],
        vec![value("e", FLOAT, "2")],
    );
    let branches = vec![body("then_branch", then), body("else_branch", other)];
    let m = model(graph(
        vec![
            value("x", FLOAT, "2"),
            value("w", FLOAT, "3, 3"),
            value("c", BOOL, ""),
        ],
        vec![node("y = If(c)", branches), node("z = Exp(y)", vec![])],
        vec![],
        vec![value("z", FLOAT, "2")],
    ));
    let taken = |c| ImportOptions {
        specialise: [("c".to_string(), Tensor::splat(DType::Bool, vec![], c))].into(),
        ..ImportOptions::default()
    };
    assert_eq!(ops(&imported(&m, &taken(1.0)).graph), ["neg", "exp"]);
    let refused = |options| {
        let error = import(&m, &options).expect_err("the shapes do not fit");
        assert_eq!(error.exit_code(), 3, "{error}");
        error.to_string()
    };
    let unknown = refused(ImportOptions::default());
    assert!(unknown.contains("\"m\"") && unknown.contains("bind its condition"));
    assert!(!refused(taken(0.0)).contains("bind"));
}

/// A loop that adds `x` to `a` and collects the sums.
fn summing(trip: i64) -> LoadedModel {
    let inner = graph(
        vec![
            value("i", INT64, ""),
            value("go", BOOL, ""),
            value("a", FLOAT, "2"),
        ],
        vec![
            node("b = Add(a, x)", vec![]),
            node("c = Identity(b)", vec![]),
            node("on = Identity(go)", vec![]),
        ],
        vec![],
        vec![
            value("on", BOOL, ""),
            value("b", FLOAT, "2"),
            value("c", FLOAT, "2"),
        ],
    );
    model(graph(
        vec![value("x", FLOAT, "2")],
        vec![node(
            "last, sums = Loop(n, _, x)",
            vec![body("body", inner)],
        )],
        vec![ints("n", &[], &[trip])],
        vec![value("last", FLOAT, "2"), value("sums", FLOAT, "")],
    ))
}

#[test]
fn loops_carry_and_collect() {
    let imported = imported(&summing(3), &ImportOptions::default());
    assert_eq!(ops(&imported.graph), ["loop"]);
    let y = eval_graph(&imported.graph, &[f32s(&[2], &[1.0, 2.0])]).expect("evaluates");
    assert_eq!(y[0].to_f64(), [4.0, 8.0]);
    assert_eq!(y[1].shape, [3, 2]);
    assert_eq!(y[1].to_f64(), [2.0, 4.0, 3.0, 6.0, 4.0, 8.0]);
}

#[test]
fn a_loop_whose_state_grows_is_unrolled() {
    let inner = graph(
        vec![
            value("i", INT64, ""),
            value("go", BOOL, ""),
            value("a", FLOAT, ""),
        ],
        vec![
            node("b = Concat(a, x)", vec![int("axis", 0)]),
            node("on = Identity(go)", vec![]),
        ],
        vec![],
        vec![value("on", BOOL, ""), value("b", FLOAT, "")],
    );
    let mut grow = node("y = Loop(n, c, x)", vec![]);
    grow.attribute = vec![body("body", inner)];
    let m = model(graph(
        vec![value("x", FLOAT, "2")],
        vec![grow],
        vec![ints("n", &[], &[2]), truth("c", true)],
        vec![value("y", FLOAT, "6")],
    ));
    let imported = imported(&m, &ImportOptions::default());
    assert_eq!(ops(&imported.graph), ["concat", "concat"]);
    let y = eval_graph(&imported.graph, &[f32s(&[2], &[1.0, 2.0])]).expect("evaluates");
    assert_eq!(y[0].to_f64(), [1.0, 2.0, 1.0, 2.0, 1.0, 2.0]);
}
