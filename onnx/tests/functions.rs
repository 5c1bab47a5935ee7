//! Model-local functions after loading: no call is left, names and attributes are the call's.

use prost::Message as _;
use tensmith_onnx::proto::{
    AttrKind, AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TypeProto, ValueInfoProto, type_proto,
};
use tensmith_onnx::{Budget, LoadedModel, OnnxError, load_bytes};

fn value(name: &str) -> ValueInfoProto {
    let tensor = type_proto::Tensor {
        elem_type: 1,
        shape: None,
    };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::Tensor(tensor)),
            ..Default::default()
        }),
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        input: names(inputs),
        output: names(outputs),
        ..Default::default()
    }
}

fn call(inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        domain: "local".into(),
        ..node("F", inputs, outputs)
    }
}

fn function(inputs: &[&str], outputs: &[&str], body: Vec<NodeProto>) -> FunctionProto {
    FunctionProto {
        name: "F".into(),
        domain: "local".into(),
        input: names(inputs),
        output: names(outputs),
        node: body,
        ..Default::default()
    }
}

fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttrKind::Float as i32,
        f: Some(f),
        ..Default::default()
    }
}

fn reference(name: &str, to: &str) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttrKind::Float as i32,
        ref_attr_name: to.into(),
        ..Default::default()
    }
}

fn load(nodes: Vec<NodeProto>, functions: Vec<FunctionProto>) -> Result<LoadedModel, OnnxError> {
    let import = |domain: &str, version| OperatorSetIdProto {
        domain: domain.into(),
        version,
    };
    let model = ModelProto {
        ir_version: 8,
        opset_import: vec![import("ai.onnx", 17), import("local", 1)],
        functions,
        graph: Some(GraphProto {
            input: vec![value("x")],
            output: vec![value("y")],
            node: nodes,
            ..Default::default()
        }),
        ..Default::default()
    };
    load_bytes(model.encode_to_vec(), &Budget::default())
}

/// Nodes as `outputs = Op(inputs)`.
fn listing(model: &LoadedModel) -> Vec<String> {
    let line = |node: &NodeProto| {
        let (outputs, inputs) = (node.output.join(","), node.input.join(","));
        format!("{outputs} = {}({inputs})", node.op_type)
    };
    model.graph().node.iter().map(line).collect()
}

#[test]
fn two_calls_get_names_of_their_own() {
    let body = vec![node("Relu", &["a"], &["t"]), node("Neg", &["t"], &["b"])];
    let calls = vec![call(&["x"], &["t"]), call(&["t"], &["y"])];
    let model = load(calls, vec![function(&["a"], &["b"], body)]).unwrap();
    let expected = [
        "t#1 = Relu(x)",
        "t = Neg(t#1)",
        "t#2 = Relu(t)",
        "y = Neg(t#2)",
    ];
    assert_eq!(listing(&model), expected);
}

#[test]
fn a_taken_name_is_avoided() {
    let body = vec![node("Relu", &["a"], &["t"]), node("Neg", &["t"], &["b"])];
    let nodes = vec![node("Abs", &["x"], &["t#1"]), call(&["t#1"], &["y"])];
    let model = load(nodes, vec![function(&["a"], &["b"], body)]).unwrap();
    let expected = ["t#1 = Abs(x)", "t#1' = Relu(t#1)", "y = Neg(t#1')"];
    assert_eq!(listing(&model), expected);
}

#[test]
fn attribute_references_take_the_call_then_the_default() {
    let mut inner = node("LeakyRelu", &["a"], &["b"]);
    inner.attribute = vec![reference("alpha", "slope"), reference("beta", "absent")];
    let mut f = function(&["a"], &["b"], vec![inner]);
    f.attribute_proto = vec![float("slope", 0.5)];
    f.attribute = names(&["absent"]);
    let mut given = call(&["x"], &["t"]);
    given.attribute = vec![float("slope", 0.25)];
    let model = load(vec![given, call(&["t"], &["y"])], vec![f]).unwrap();
    let nodes = &model.graph().node;
    assert_eq!(nodes[0].attr_f("alpha").unwrap(), Some(0.25));
    assert_eq!(nodes[1].attr_f("alpha").unwrap(), Some(0.5));
    assert!(nodes.iter().all(|node| node.attr("beta").is_none()));
}

#[test]
fn a_reference_outside_a_function_is_invalid() {
    let mut bad = node("LeakyRelu", &["x"], &["y"]);
    bad.attribute = vec![reference("alpha", "slope")];
    let error = load(vec![bad], vec![]).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains("outside any function"));
}

#[test]
fn absent_operands_and_unused_results() {
    let body = vec![
        node("Clip", &["a", "lo"], &["b"]),
        node("Neg", &["b"], &["c"]),
    ];
    let f = function(&["a", "lo"], &["b", "c"], body);
    let model = load(vec![call(&["x"], &["", "y"])], vec![f]).unwrap();
    assert_eq!(listing(&model), ["b#1 = Clip(x,)", "y = Neg(b#1)"]);
}

#[test]
fn an_operand_handed_through_becomes_an_identity() {
    let f = function(&["a"], &["a"], vec![]);
    let model = load(vec![call(&["x"], &["y"])], vec![f]).unwrap();
    assert_eq!(listing(&model), ["y = Identity(x)"]);
}

#[test]
fn too_many_operands_are_invalid() {
    let f = function(&["a"], &["b"], vec![node("Neg", &["a"], &["b"])]);
    let error = load(vec![call(&["x", "x"], &["y"])], vec![f]).unwrap_err();
    assert!(error.to_string().contains("2 operands where"), "{error}");
}

#[test]
fn subgraphs_of_a_body_are_renamed_in_their_scope() {
    let branch = GraphProto {
        node: vec![node("Add", &["a", "t"], &["i"])],
        output: vec![value("i")],
        ..Default::default()
    };
    let mut choice = node("If", &["t"], &["b"]);
    choice.attribute = vec![AttributeProto {
        name: "then_branch".into(),
        r#type: AttrKind::Graph as i32,
        g: Some(Box::new(branch)),
        ..Default::default()
    }];
    let body = vec![node("Abs", &["a"], &["t"]), choice];
    let f = function(&["a"], &["b"], body);
    let model = load(vec![call(&["x"], &["y"])], vec![f]).unwrap();
    let inner = model.graph().node[1]
        .attr_g("then_branch")
        .unwrap()
        .unwrap();
    assert_eq!(inner.node[0].input, ["x", "t#1"]);
    assert_eq!(inner.node[0].output, ["i#1"]);
    assert_eq!(inner.output[0].name, "i#1");
}

#[test]
fn a_model_without_calls_keeps_its_domains() {
    let mut f = function(&["a"], &["b"], vec![node("Neg", &["a"], &["b"])]);
    f.opset_import = vec![OperatorSetIdProto {
        domain: "other".into(),
        version: 3,
    }];
    let model = load(vec![node("Neg", &["x"], &["y"])], vec![f]).unwrap();
    assert_eq!(model.opset("other"), Some(3));
    assert_eq!(model.opset(""), Some(17));
    assert!(model.notes().is_empty());
}
