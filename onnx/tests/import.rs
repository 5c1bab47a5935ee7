//! Small models through the importer: shapes, names, errors, subgraphs, and results.
mod common;

use common::{
    BOOL, FLOAT, INT64, body, f32s, floats, graph, imported, int, ints, model, node, ops, symbolic,
    value,
};
use tensmith_ir::eval::eval_graph;
use tensmith_ir::graph::Graph;
use tensmith_ir::tensor::Tensor;
use tensmith_onnx::import::{ImportOptions, Imported, import};
use tensmith_onnx::proto::{AttrKind, AttributeProto};
use tensmith_onnx::{LoadedModel, OnnxError};

/// `y = Reshape(x, [Shape(x)[0], -1])`, as exporters write it.
fn flattening() -> LoadedModel {
    let nodes = vec![
        node("s = Shape(x)", vec![]),
        node("b = Gather(s, zero)", vec![int("axis", 0)]),
        node("b1 = Unsqueeze(b, axes)", vec![]),
        node("to = Concat(b1, rest)", vec![int("axis", 0)]),
        node("y = Reshape(x, to)", vec![]),
    ];
    let constants = vec![
        ints("zero", &[], &[0]),
        ints("axes", &[1], &[0]),
        ints("rest", &[1], &[-1]),
    ];
    model(graph(
        vec![value("x", FLOAT, "batch, 2, 3")],
        nodes,
        constants,
        vec![value("y", FLOAT, "batch, 6")],
    ))
}

#[test]
fn a_symbolic_batch_passes_through_computed_shapes() {
    let imported = imported(&flattening(), &symbolic());
    let graph = &imported.graph;
    assert_eq!(ops(graph), ["reshape"]);
    let shape: Vec<String> = (graph.ty(graph.outputs[0]).shape.iter())
        .map(|d| d.to_string())
        .collect();
    assert_eq!(shape, ["$batch", "6"]);
    assert_eq!(graph.value(graph.outputs[0]).name, "y");
    for batch in [1, 3] {
        let x = f32s(&[batch, 2, 3], &vec![1.0; batch * 6]);
        let y = eval_graph(graph, &[x]).expect("any batch fits");
        assert_eq!(y[0].shape, [batch, 6]);
    }
}

#[test]
fn unbound_dimensions_are_1_with_a_note() {
    let imported = imported(&flattening(), &ImportOptions::default());
    let graph = &imported.graph;
    assert!(graph.ty(graph.inputs[0]).shape[0].is(1));
    let notes = imported.notes.join("\n");
    assert!(notes.contains("batch"), "{notes}");
}

#[test]
fn bound_dimensions_take_their_value() {
    let options = ImportOptions {
        dims: [("batch".to_string(), 5)].into(),
        ..symbolic()
    };
    let imported = imported(&flattening(), &options);
    let graph = &imported.graph;
    assert!(graph.ty(graph.outputs[0]).shape[0].is(5));
    assert!(imported.notes.is_empty(), "{:?}", imported.notes);
}

/// A table of positions of which as many rows are taken as there are tokens.
#[test]
fn a_table_bounds_the_dimension_that_takes_its_rows() {
    let m = |rows: i64| {
        let table: Vec<f32> = (0..2 * rows).map(|n| n as f32).collect();
        model(graph(
            vec![value("x", FLOAT, "seq, 2")],
            vec![
                node("s = Shape(x)", vec![int("end", 1)]),
                node("t = Slice(table, zero, s, zero)", vec![]),
                node("y = Add(x, t)", vec![]),
                node("u = Slice(table, zero, s, zero)", vec![]),
                node("z = Mul(u, y)", vec![]),
            ],
            vec![
                floats("table", &[rows, 2], &table),
                ints("zero", &[1], &[0]),
            ],
            vec![value("z", FLOAT, "seq, 2")],
        ))
    };
    let imported = imported(&m(5), &symbolic());
    let graph = &imported.graph;
    let seq = graph.symbols.values().next().expect("one dimension");
    assert_eq!(seq.max, 5);
    let notes = imported.notes.join("\n");
    assert!(notes.contains("seq is at most 5"), "{notes}");
    assert!(notes.contains("Add"), "{notes}");
    let y = eval_graph(graph, &[f32s(&[2, 2], &[1.0; 4])]).expect("two rows fit");
    assert_eq!(y[0].to_f64(), [0.0, 2.0, 6.0, 12.0]);
    eval_graph(graph, &[f32s(&[6, 2], &[1.0; 12])]).expect_err("there are five rows");
    // One row is one for all tokens.
    let imported = self::imported(&m(1), &symbolic());
    assert!(imported.graph.symbols.values().all(|s| s.max > 5));
}

#[test]
fn a_shape_is_computed_when_a_result_needs_it() {
    let m = model(graph(
        vec![value("x", FLOAT, "batch, 2")],
        vec![
            node("s = Shape(x)", vec![]),
            node("y = Add(s, one)", vec![]),
        ],
        vec![ints("one", &[1], &[1])],
        vec![value("y", INT64, "2")],
    ));
    let imported = imported(&m, &symbolic());
    let y = eval_graph(&imported.graph, &[f32s(&[3, 2], &[0.0; 6])]).expect("evaluates");
    assert_eq!(y[0].to_i64(), [4, 3]);
}

#[test]
fn all_unsupported_operators_are_listed() {
    let inner = graph(
        vec![],
        vec![node("t = Frobnicate(x)", vec![])],
        vec![],
        vec![value("t", FLOAT, "2")],
    );
    let other = graph(
        vec![],
        vec![node("e = Abs(x)", vec![])],
        vec![],
        vec![value("e", FLOAT, "2")],
    );
    let branches = vec![body("then_branch", inner), body("else_branch", other)];
    let m = model(graph(
        vec![value("x", FLOAT, "2"), value("c", BOOL, "")],
        vec![node("a = Twiddle(x)", vec![]), node("y = If(c)", branches)],
        vec![],
        vec![value("y", FLOAT, "2")],
    ));
    let error = import(&m, &ImportOptions::default()).expect_err("two operators are unknown");
    let text = error.to_string();
    assert_eq!(error.exit_code(), 4);
    assert!(
        text.contains("Twiddle") && text.contains("Frobnicate"),
        "{text}"
    );
}

fn reshape_by_input() -> LoadedModel {
    model(graph(
        vec![value("x", FLOAT, "2, 3"), value("to", INT64, "2")],
        vec![
            node("y = Reshape(x, to)", vec![]),
            node("z = Expand(x, to)", vec![]),
            node("w = Neg(z)", vec![]),
        ],
        vec![],
        vec![value("y", FLOAT, ""), value("w", FLOAT, "")],
    ))
}

#[test]
fn every_missing_value_is_reported_with_its_operand() {
    let error = import(&reshape_by_input(), &ImportOptions::default()).expect_err("unknown shape");
    let OnnxError::Unsupported { items } = &error else {
        panic!("{error}");
    };
    assert_eq!(items.len(), 2, "{error}");
    assert!(items.iter().all(|i| i.what.contains("\"to\"")), "{error}");
    assert!(items.iter().all(|i| i.what.contains("--inputs")), "{error}");
}

#[test]
fn inputs_with_values_stand_in_for_constants_and_are_reported() {
    let to = Tensor::from_i64(vec![2], &[3, 2]);
    let options = ImportOptions {
        specialise: [
            ("to".to_string(), to.clone()),
            ("x".to_string(), f32s(&[2, 3], &[0.0; 6])),
        ]
        .into(),
        ..ImportOptions::default()
    };
    let m = model(graph(
        vec![value("x", FLOAT, "2, 3"), value("to", INT64, "2")],
        vec![node("y = Reshape(x, to)", vec![])],
        vec![],
        vec![value("y", FLOAT, "3, 2")],
    ));
    let imported = imported(&m, &options);
    assert_eq!(imported.specialised, [("to".to_string(), to)]);
    assert_eq!(imported.graph.inputs.len(), 2);
}

#[test]
fn a_huge_tensor_is_a_limit_not_an_allocation() {
    let m = model(graph(
        vec![],
        vec![node("y = ConstantOfShape(s)", vec![])],
        vec![ints("s", &[3], &[1 << 20, 1 << 20, 1 << 20])],
        vec![value("y", FLOAT, "")],
    ));
    let error = import(&m, &ImportOptions::default()).expect_err("too large");
    assert_eq!(error.exit_code(), 5, "{error}");
}

/// One node of `x`, `y = op(x)`, with `x` of a type.
fn unary_of(op: &str, elem_type: i32) -> LoadedModel {
    model(graph(
        vec![value("x", elem_type, "2, 3")],
        vec![node(&format!("y = {op}(x)"), vec![])],
        vec![],
        vec![value("y", elem_type, "")],
    ))
}

#[test]
fn functions_of_floats_refuse_other_types() {
    for op in [
        "Exp",
        "Sqrt",
        "Sigmoid",
        "Tanh",
        "Erf",
        "Sin",
        "Log",
        "Floor",
        "Ceil",
        "Round",
        "Elu",
        "IsNaN",
        "DynamicQuantizeLinear",
    ] {
        for elem_type in [INT64, BOOL] {
            let result = import(&unary_of(op, elem_type), &ImportOptions::default());
            let error = result.expect_err(op);
            assert!([3, 4].contains(&error.exit_code()), "{op}: {error}");
            assert!(error.to_string().contains("\"y\""), "{op}: {error}");
        }
    }
    let error = import(&unary_of("Not", FLOAT), &ImportOptions::default()).expect_err("Not");
    assert!(error.to_string().contains("operand 0 is f32"), "{error}");
}

#[test]
fn a_logarithm_of_integers_is_truncated() {
    let m = unary_of("ReduceLogSumExp", INT64);
    let imported = imported(&m, &ImportOptions::default());
    let x = Tensor::from_i64(vec![2, 3], &[1, 2, 3, 4, 5, 6]);
    let y = eval_graph(&imported.graph, &[x]).expect("evaluates");
    assert_eq!(y[0].to_i64(), [6]);
}

#[test]
fn operands_of_recurrent_layers_have_the_shapes_of_the_standard() {
    let shapes = [
        "3, 2, 4", "1, 8, 4", "1, 8, 2", "1, 16", "2", "1, 2, 2", "1, 2, 2", "1, 6",
    ];
    let lstm = |shapes: &[&str]| {
        let names = ["x", "w", "r", "b", "n", "h", "c", "p"];
        let inputs = names.iter().zip(shapes).map(|(name, dims)| {
            let elem_type = if *name == "n" { 6 } else { FLOAT };
            value(name, elem_type, dims)
        });
        let attrs = vec![int("hidden_size", 2)];
        let nodes = vec![node("y = LSTM(x, w, r, b, n, h, c, p)", attrs)];
        let m = model(graph(
            inputs.collect(),
            nodes,
            vec![],
            vec![value("y", FLOAT, "")],
        ));
        import(&m, &ImportOptions::default())
    };
    lstm(&shapes).expect("the standard's shapes");
    for k in 0..shapes.len() {
        for bad in ["1", "2, 2, 2, 2", "5, 7, 9"] {
            let mut wrong = shapes;
            wrong[k] = bad;
            let error = lstm(&wrong).expect_err("operand of a wrong shape");
            assert_eq!(error.exit_code(), 3, "operand {k} of shape {bad}: {error}");
        }
    }
}

#[test]
fn stacked_tensors_have_one_rank() {
    let mut stack = node("y = ConcatFromSequence(s)", vec![int("axis", 2)]);
    stack.attribute.push(int("new_axis", 1));
    let m = model(graph(
        vec![value("a", FLOAT, "2, 2"), value("b", FLOAT, "2")],
        vec![node("s = SequenceConstruct(a, b)", vec![]), stack],
        vec![],
        vec![value("y", FLOAT, "")],
    ));
    let error = import(&m, &ImportOptions::default()).expect_err("ranks differ");
    assert_eq!(error.exit_code(), 3, "{error}");
}

#[test]
fn names_of_nodes_that_compute_nothing_stand_for_their_operands() {
    let nodes = vec![
        node("a = Exp(x)", vec![]),
        node("same = Identity(a)", vec![]),
        node("whole = Dropout(same)", vec![]),
        node("y = Neg(whole)", vec![]),
    ];
    let m = model(graph(
        vec![value("x", FLOAT, "2")],
        nodes,
        vec![],
        vec![value("y", FLOAT, "2")],
    ));
    let imported = imported(&m, &ImportOptions::default());
    assert_eq!(ops(&imported.graph), ["exp", "neg"]);
    let exp = imported.names["a"];
    assert_eq!(imported.graph.value(exp).name, "a");
    assert_eq!([imported.names["same"], imported.names["whole"]], [exp; 2]);
    assert_eq!(imported.names["y"], imported.graph.outputs[0]);
}

fn list(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttrKind::Ints as i32,
        ints: values.to_vec(),
        ..Default::default()
    }
}

fn word(name: &str, text: &str) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttrKind::String as i32,
        s: Some(text.as_bytes().to_vec().into()),
        ..Default::default()
    }
}

/// Imports one node over inputs `x` and `w` of these extents; `c` is a constant list.
fn one_node(
    text: &str,
    attributes: Vec<AttributeProto>,
    (x, w): (&str, &str),
    c: &[i64],
) -> Result<Imported, OnnxError> {
    let results = text.split_once(" = ").expect("results = Op(operands)").0;
    let outputs = results.split(", ").map(|name| value(name, FLOAT, ""));
    let m = model(graph(
        vec![value("x", FLOAT, x), value("w", FLOAT, w)],
        vec![node(text, attributes)],
        vec![ints("c", &[c.len() as i64], c)],
        outputs.collect(),
    ));
    import(&m, &symbolic())
}

/// A node, its attributes, the extents of `x` and `w`, `c`, and the exit code.
type Broken<'a> = (
    &'a str,
    Vec<AttributeProto>,
    (&'a str, &'a str),
    &'a [i64],
    u8,
);

/// A model that breaks an operator's rules for all sizes is invalid; one whose sizes are not known
/// well enough is not supported.
#[test]
fn operands_that_never_fit_are_invalid() {
    let group = |n| vec![int("group", n)];
    let reflect = || vec![word("mode", "reflect")];
    let conv = ("n, 4, h, h", "8, 4, 3, 3");
    let image = "2, 4, 5, 5";
    let cases: [Broken<'_>; 22] = [
        ("y = Conv(x, w)", group(2), conv, &[], 3),
        ("y = Conv(x, w)", group(0), conv, &[], 3),
        ("y = Conv(x, w)", group(-1), conv, &[], 3),
        (
            "y = Conv(x, w)",
            group(3),
            ("1, 4, 5, 5", "8, 2, 3, 3"),
            &[],
            3,
        ),
        (
            "y = Conv(x, w)",
            group(1),
            ("1, 4, 1, 1", "8, 4, 3, 3"),
            &[],
            3,
        ),
        ("y = MatMul(x, w)", vec![], ("n, 4", "5, m"), &[], 3),
        ("y = MatMul(x, w)", vec![], ("n, 1", "5, m"), &[], 3),
        ("y = MatMul(x, w)", vec![], ("n, 5", "1"), &[], 3),
        ("y = Gemm(x, x, w)", vec![], ("4, 4", "1, 4, 4"), &[], 3),
        ("y = Gemm(x, x, w)", vec![], ("4, 4", "3, 4"), &[], 3),
        (
            "y = Conv(x, w)",
            vec![list("kernel_shape", &[5, 5])],
            (image, "8, 4, 3, 3"),
            &[],
            3,
        ),
        (
            "y = InstanceNormalization(x, w, w)",
            vec![],
            (image, "1"),
            &[],
            3,
        ),
        (
            "y = BatchNormalization(x, w, w, w, w)",
            vec![],
            (image, "1"),
            &[],
            3,
        ),
        (
            "y = Pad(x, c)",
            vec![word("mode", "edge")],
            ("0", "1"),
            &[1, 0],
            3,
        ),
        ("y = Add(x, w)", vec![], ("n, 4", "3"), &[], 3),
        ("y = Add(x, w)", vec![], ("n, 4", "m, 4"), &[], 4),
        ("y, z = Split(x, c)", vec![], ("5, n", "1"), &[2, 2], 3),
        ("y, z = Split(x, c)", vec![], ("5, n", "1"), &[2, 4], 3),
        ("y, z = Split(x, c)", vec![], ("5, n", "1"), &[6, -1], 3),
        ("y = Reshape(x, c)", vec![], ("2, 3", "1"), &[5, 1], 3),
        ("y = Pad(x, c)", reflect(), ("3", "1"), &[0, 3], 3),
        ("y = Pad(x, c)", reflect(), ("3", "1"), &[3, 0], 3),
    ];
    for (text, attributes, shapes, c, code) in cases {
        let shown = format!("{text} of {shapes:?} with {c:?} and {attributes:?}");
        match one_node(text, attributes, shapes, c) {
            Ok(_) => panic!("{shown}: accepted"),
            Err(error) => assert_eq!(error.exit_code(), code, "{shown}: {error}"),
        }
    }
    let fits = one_node("y = Pad(x, c)", reflect(), ("3", "1"), &[2, 2]);
    assert!(fits.is_ok(), "{fits:?}");
}

#[test]
fn reflections_bound_the_dimensions_that_they_need() {
    let reflect = || vec![word("mode", "reflect")];
    let imported = one_node("y = Pad(x, c)", reflect(), ("n", "1"), &[3, 1]).unwrap();
    let least = |i: &Imported| i.graph.symbols.values().map(|s| s.min).collect::<Vec<_>>();
    assert_eq!(least(&imported), [4]);
    let plain = one_node("y = Pad(x, c)", vec![], ("n", "1"), &[3, 1]).unwrap();
    assert_eq!(least(&plain), [0]);
    assert!(
        imported.notes.iter().any(|n| n.contains("n is at least 4")),
        "{:?}",
        imported.notes
    );
}

/// What is computed for a symbolic extent is what is computed for its value.
#[test]
fn ceil_mode_takes_symbolic_extents() {
    let window = |kernel: i64, stride: i64, [before, after]: [i64; 2]| {
        vec![
            list("kernel_shape", &[kernel]),
            list("strides", &[stride]),
            list("pads", &[before, after]),
            int("ceil_mode", 1),
        ]
    };
    let windows = [
        (3, 2, [0, 0]),
        (3, 2, [1, 1]),
        (2, 3, [0, 0]),
        (2, 3, [1, 0]),
        (4, 4, [2, 1]),
    ];
    for op in ["MaxPool", "AveragePool", "LpPool"] {
        for (kernel, stride, pads) in windows {
            let text = format!("y = {op}(x)");
            let of = |dims: &str| one_node(&text, window(kernel, stride, pads), (dims, "1"), &[]);
            let symbolic = of("1, 2, n").unwrap_or_else(|e| panic!("{op} {kernel} {stride}: {e}"));
            for n in kernel as usize..14 {
                let fixed = of(&format!("1, 2, {n}")).unwrap();
                let values: Vec<f32> = (0..2 * n).map(|k| (k * 7 % 5) as f32 - 1.0).collect();
                let inputs = [f32s(&[1, 2, n], &values), f32s(&[1], &[0.0])];
                let results = |g: &Graph| eval_graph(g, &inputs).unwrap().remove(0);
                let place = format!("{op} {kernel} {stride} {pads:?} of {n}");
                assert_eq!(results(&symbolic.graph), results(&fixed.graph), "{place}");
            }
        }
    }
}
