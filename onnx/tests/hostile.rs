//! Bad files, one test per way of being bad: each a coded error that names the place.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use prost::Message as _;
use tempfile::TempDir;
use tensmith_onnx::proto::{
    AttrKind, AttributeProto, Dimension, FunctionProto, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, StringStringEntryProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, dimension, type_proto,
};
use tensmith_onnx::{Budget, ElemType, LoadedModel, OnnxError, load, load_bytes};

const INVALID: u8 = 3;
const LIMIT: u8 = 5;

fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = |&extent: &i64| Dimension {
        value: Some(dimension::Value::Extent(extent)),
    };
    let tensor = type_proto::Tensor {
        elem_type: ElemType::F32.number(),
        shape: Some(TensorShapeProto {
            dim: dims.iter().map(dim).collect(),
        }),
    };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::Tensor(tensor)),
            ..Default::default()
        }),
    }
}

fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        name: format!("{op}_{}", outputs.first().unwrap_or(&"")),
        op_type: op.into(),
        input: inputs.iter().map(|name| name.to_string()).collect(),
        output: outputs.iter().map(|name| name.to_string()).collect(),
        ..Default::default()
    }
}

fn weight() -> TensorProto {
    TensorProto {
        name: "w".into(),
        data_type: ElemType::F32.number(),
        dims: vec![2],
        raw_data: Some(vec![0; 8].into()),
        ..Default::default()
    }
}

/// `y = Relu(x + w)`.
fn good() -> GraphProto {
    GraphProto {
        name: "g".into(),
        node: vec![
            node("Add", &["x", "w"], &["s"]),
            node("Relu", &["s"], &["y"]),
        ],
        initializer: vec![weight()],
        input: vec![value("x", &[2])],
        output: vec![value("y", &[2])],
        ..Default::default()
    }
}

fn model(graph: GraphProto) -> ModelProto {
    ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: 17,
        }],
        graph: Some(graph),
        ..Default::default()
    }
}

fn write(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn load_graph(graph: GraphProto) -> Result<LoadedModel, OnnxError> {
    let (_folder, path) = write(&model(graph).encode_to_vec());
    load(path, &Budget::default())
}

/// The error must have this code and its message hold each of these texts.
fn refused(result: Result<LoadedModel, OnnxError>, code: u8, texts: &[&str]) {
    let error = result.expect_err("the model must be refused");
    let message = error.to_string();
    for text in texts {
        assert!(message.contains(text), "no {text:?} in: {message}");
    }
    assert_eq!(error.exit_code(), code, "{message}");
}

#[test]
fn the_good_model_loads_and_shares_its_weights() {
    let bytes = bytes::Bytes::from(model(good()).encode_to_vec());
    let range = bytes.as_ptr_range();
    let model = load_bytes(bytes.clone(), &Budget::default()).unwrap();
    let w = model.tensor(&model.graph().initializer[0], "test").unwrap();
    assert!(range.contains(&w.bytes.as_ptr()));
    assert_eq!(model.opset("ai.onnx"), Some(17));
    assert_eq!(model.required_inputs().count(), 1);
    load_graph(good()).unwrap();
}

#[test]
fn truncated_at_every_byte() {
    let bytes = model(good()).encode_to_vec();
    let mut coded = 0;
    for len in 0..bytes.len() {
        match load_bytes(bytes[..len].to_vec(), &Budget::default()) {
            Ok(_) => panic!("{len} of {} bytes were accepted", bytes.len()),
            Err(error) => {
                assert_eq!(error.exit_code(), INVALID, "{error}");
                coded += 1;
            }
        }
    }
    assert_eq!(coded, bytes.len());
    let (_folder, path) = write(&bytes[..bytes.len() / 2]);
    refused(load(path, &Budget::default()), INVALID, &["truncated"]);
}

#[test]
fn corrupted_bytes_never_panic() {
    let bytes = model(good()).encode_to_vec();
    for at in 0..bytes.len() {
        for flip in [0x01, 0x08, 0x40, 0x80, 0xff] {
            let mut bad = bytes.clone();
            bad[at] ^= flip;
            if let Err(error) = load_bytes(bad, &Budget::default()) {
                assert!((3..=5).contains(&error.exit_code()), "{error}");
            }
        }
    }
}

#[test]
fn text_file() {
    let (_folder, path) = write(b"# a model\nimport onnx\n");
    refused(load(path, &Budget::default()), INVALID, &["text file"]);
    let pointer = b"version https://git-lfs.example/spec/v1\noid sha256:00\nsize 1\n";
    let (_folder, path) = write(pointer);
    refused(load(path, &Budget::default()), INVALID, &["pointer"]);
    let (_folder, path) = write(b"");
    refused(load(path, &Budget::default()), INVALID, &["empty"]);
}

#[test]
fn missing_file_and_folder() {
    let (folder, _path) = write(b"");
    refused(
        load(folder.path(), &Budget::default()),
        6,
        &["regular file"],
    );
    let absent = folder.path().join("absent.onnx");
    refused(load(absent, &Budget::default()), 6, &["absent.onnx"]);
}

#[test]
fn no_operator_sets_or_no_graph() {
    let mut bad = model(good());
    bad.opset_import.clear();
    let bytes = bad.encode_to_vec();
    refused(
        load_bytes(bytes, &Budget::default()),
        INVALID,
        &["operator sets"],
    );
    let mut bad = model(good());
    bad.graph = None;
    let bytes = bad.encode_to_vec();
    refused(
        load_bytes(bytes, &Budget::default()),
        INVALID,
        &["no graph"],
    );
}

#[test]
fn cyclic_graph() {
    let mut graph = good();
    graph.node = vec![
        node("Add", &["x", "b"], &["a"]),
        node("Relu", &["a"], &["m"]),
        node("Relu", &["m"], &["b"]),
        node("Relu", &["b"], &["y"]),
    ];
    refused(
        load_graph(graph),
        INVALID,
        &["cycle", "Add_a", "Relu_m", "Relu_b"],
    );
    let mut graph = good();
    graph.node = vec![node("Add", &["x", "y"], &["y"])];
    refused(load_graph(graph), INVALID, &["cycle", "Add_y"]);
}

#[test]
fn nodes_out_of_order_are_sorted_and_noted() {
    let labels = |graph: GraphProto| {
        let model = load_graph(graph).unwrap();
        let labels: Vec<String> = model.graph().node.iter().map(|n| n.label()).collect();
        (labels, model.notes().join("; "))
    };
    let (listed, notes) = labels(good());
    assert_eq!(notes, "");
    let mut graph = good();
    graph.node.reverse();
    let (sorted, notes) = labels(graph);
    assert_eq!(sorted, listed);
    assert!(notes.contains("topological order"), "{notes}");
    // What is used twice comes before both, and a long chain is no deep recursion.
    let chain = |n: usize| node("Relu", &[&format!("c{}", n + 1)], &[&format!("c{n}")]);
    let mut graph = good();
    graph.node.push(node("Add", &["c0", "c7"], &["z"]));
    graph.node.extend((0..20_000).map(chain));
    graph.node.push(node("Relu", &["s"], &["c20000"]));
    let (sorted, _) = labels(graph);
    let at = |label: &str| sorted.iter().position(|l| l.contains(label)).unwrap();
    assert!(at("c20000") < at("c7"));
    assert_eq!(at("Add_z"), sorted.len() - 1);
}

#[test]
fn missing_input() {
    let mut graph = good();
    graph.node[0].input[1] = "nothing".into();
    refused(load_graph(graph), INVALID, &["Add_s", "\"nothing\""]);
    let mut graph = good();
    graph.output = vec![value("nothing", &[2])];
    refused(load_graph(graph), INVALID, &["output", "\"nothing\""]);
}

#[test]
fn an_empty_operand_is_an_absent_one() {
    let mut graph = good();
    graph.node[1].input.push(String::new());
    let model = load_graph(graph).unwrap();
    let relu = &model.graph().node[1];
    assert_eq!((relu.operand(0), relu.operand(1)), (Some("s"), None));
    assert!(relu.required_operand(1).is_err());
}

#[test]
fn duplicate_value_names() {
    let mut graph = good();
    graph.node[1].output[0] = "s".into();
    refused(load_graph(graph), INVALID, &["\"s\"", "second time"]);
    let mut graph = good();
    graph.node[0].output[0] = "w".into();
    refused(load_graph(graph), INVALID, &["\"w\"", "second time"]);
    let mut graph = good();
    graph.input.push(value("x", &[2]));
    refused(load_graph(graph), INVALID, &["\"x\"", "second time"]);
    let mut graph = good();
    graph.initializer.push(weight());
    refused(load_graph(graph), INVALID, &["initializer \"w\"", "twice"]);
}

#[test]
fn unknown_dtype() {
    for number in [-1, 0, 29, i32::MAX] {
        let mut graph = good();
        graph.initializer[0].data_type = number;
        refused(
            load_graph(graph),
            INVALID,
            &["\"w\"", "unknown element type"],
        );
    }
    let mut graph = good();
    let mut bad = value("x", &[2]);
    if let Some(type_proto::Value::Tensor(tensor)) = &mut bad.r#type.as_mut().unwrap().value {
        tensor.elem_type = 99;
    }
    graph.input = vec![bad];
    refused(
        load_graph(graph),
        INVALID,
        &["\"x\"", "unknown element type 99"],
    );
}

#[test]
fn negative_dimension() {
    let mut graph = good();
    graph.initializer[0].dims = vec![-2];
    refused(
        load_graph(graph),
        INVALID,
        &["\"w\"", "dimension 0 is negative (-2)"],
    );
    let mut graph = good();
    graph.initializer[0].dims = vec![-1];
    refused(
        load_graph(graph),
        INVALID,
        &["\"w\"", "dimension 0 is negative (-1)"],
    );
    let mut graph = good();
    graph.input = vec![value("x", &[2, -2])];
    refused(
        load_graph(graph),
        INVALID,
        &["\"x\"", "dimension 1 is negative (-2)"],
    );
}

#[test]
fn a_declared_dimension_of_minus_one_is_unknown_and_noted() {
    let mut graph = good();
    graph.input = vec![value("x", &[2, -1])];
    let model = load_graph(graph).unwrap();
    let (elem, shape) = model.graph().input[0].tensor_type().unwrap();
    let shape = shape.unwrap();
    assert_eq!(elem, ElemType::F32);
    assert_eq!(shape[0].value, Some(dimension::Value::Extent(2)));
    assert_eq!(shape[1].value, None);
    assert!(model.notes()[0].contains("1 declared dimensions of -1"));
}

#[test]
fn enormous_dimension() {
    for dims in [&[i64::MAX][..], &[1 << 31, 1 << 31, 1 << 31], &[1 << 50]] {
        let mut graph = good();
        graph.initializer[0].dims = dims.to_vec();
        refused(load_graph(graph), LIMIT, &["\"w\"", "tensor_bytes"]);
        let mut graph = good();
        graph.input = vec![value("x", dims)];
        refused(load_graph(graph), LIMIT, &["\"x\"", "tensor_bytes"]);
    }
}

#[test]
fn bytes_that_disagree_with_the_shape() {
    let mut graph = good();
    graph.initializer[0].dims = vec![3];
    let text = "FLOAT[3] needs 12 bytes, but 8 are stored";
    refused(load_graph(graph), INVALID, &["\"w\"", text]);
    let mut constant = node("Constant", &[], &["c"]);
    let mut tensor = weight();
    tensor.dims = vec![1];
    constant.attribute = vec![AttributeProto {
        name: "value".into(),
        r#type: AttrKind::Tensor as i32,
        t: Some(Box::new(tensor)),
        ..Default::default()
    }];
    let mut graph = good();
    graph.node.insert(0, constant);
    let text = "FLOAT[1] needs 4 bytes, but 8 are stored";
    refused(
        load_graph(graph),
        INVALID,
        &["Constant_c", "\"value\"", text],
    );
}

fn external(entries: &[(&str, &str)]) -> GraphProto {
    let mut graph = good();
    let tensor = &mut graph.initializer[0];
    tensor.raw_data = None;
    tensor.data_location = 1;
    let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
        key: key.to_string(),
        value: value.to_string(),
    };
    tensor.external_data = entries.iter().map(entry).collect();
    graph
}

/// Loads the model with `w.bin` (16 bytes), `sub/w.bin`, and links beside it.
fn load_external(entries: &[(&str, &str)]) -> Result<LoadedModel, OnnxError> {
    let (folder, path) = write(&model(external(entries)).encode_to_vec());
    let at = |name: &str| folder.path().join(name);
    let numbers: Vec<u8> = (0..16).collect();
    std::fs::create_dir(at("sub")).unwrap();
    std::fs::write(at("w.bin"), &numbers).unwrap();
    std::fs::write(at("sub/w.bin"), &numbers).unwrap();
    symlink(at("w.bin"), at("absolute_link")).unwrap();
    symlink("w.bin", at("link")).unwrap();
    symlink("sub", at("folder_link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), rustix::fs::Mode::RUSR).unwrap();
    load(path, &Budget::default())
}

#[test]
fn external_data_loads() {
    for (location, offset) in [("w.bin", "8"), ("sub/w.bin", "0"), ("./w.bin", "3")] {
        let entries = [("location", location), ("offset", offset), ("length", "8")];
        let model = load_external(&entries).unwrap();
        let w = model.tensor(&model.graph().initializer[0], "test").unwrap();
        let first: u8 = offset.parse().unwrap();
        assert_eq!(w.bytes, (first..first + 8).collect::<Vec<u8>>());
    }
    load_external(&[("location", "w.bin")]).unwrap();
}

#[test]
fn external_path_with_dots() {
    for location in ["../w.bin", "sub/../../w.bin", "sub/../w.bin", ".."] {
        let result = load_external(&[("location", location)]);
        refused(result, INVALID, &["\"w\"", location, "`..`"]);
    }
}

#[test]
fn external_path_absolute_or_empty() {
    let result = load_external(&[("location", "/etc/passwd")]);
    refused(result, INVALID, &["\"w\"", "is absolute"]);
    refused(
        load_external(&[("location", "")]),
        INVALID,
        &["not a file name"],
    );
    refused(
        load_external(&[("location", "w\0.bin")]),
        INVALID,
        &["not a file name"],
    );
    refused(load_external(&[]), INVALID, &["without a location"]);
}

#[test]
fn external_path_through_a_link() {
    for location in ["link", "absolute_link", "folder_link/w.bin"] {
        let result = load_external(&[("location", location)]);
        refused(result, INVALID, &["\"w\"", location, "symbolic link"]);
    }
}

#[test]
fn external_file_missing_or_special() {
    refused(
        load_external(&[("location", "absent")]),
        6,
        &["\"w\"", "absent"],
    );
    refused(load_external(&[("location", "sub")]), 6, &["regular file"]);
    refused(load_external(&[("location", "pipe")]), 6, &["regular file"]);
}

#[test]
fn external_range_out_of_the_file() {
    let huge = u64::MAX.to_string();
    for (offset, length) in [("9", "8"), (&huge[..], "8"), ("17", "8")] {
        let entries = [
            ("location", "w.bin"),
            ("offset", offset),
            ("length", length),
        ];
        refused(load_external(&entries), INVALID, &["\"w\"", "do not fit"]);
    }
    let entries = [("location", "w.bin"), ("length", "12")];
    refused(load_external(&entries), INVALID, &["external length is 12"]);
    let entries = [("location", "w.bin"), ("offset", "-1")];
    refused(load_external(&entries), INVALID, &["not a byte count"]);
    let entries = [("location", "w.bin"), ("location", "w.bin")];
    refused(load_external(&entries), INVALID, &["location twice"]);
}

#[test]
fn external_data_of_a_model_in_memory() {
    let bytes = model(external(&[("location", "w.bin")])).encode_to_vec();
    let result = load_bytes(bytes, &Budget::default());
    refused(result, INVALID, &["load the model by its path"]);
}

/// An `If` whose branch is `graph`.
fn branch(graph: GraphProto, output: &str) -> NodeProto {
    let mut node = node("If", &["x"], &[output]);
    node.attribute = vec![AttributeProto {
        name: "then_branch".into(),
        r#type: AttrKind::Graph as i32,
        g: Some(Box::new(graph)),
        ..Default::default()
    }];
    node
}

fn nested(levels: usize) -> GraphProto {
    let mut graph = GraphProto::default();
    for level in 0..levels {
        let node = branch(graph, &format!("n{level}"));
        graph = GraphProto {
            node: vec![node],
            ..Default::default()
        };
    }
    graph.input = vec![value("x", &[2])];
    graph
}

#[test]
fn deep_nesting() {
    let mut shallow = nested(20);
    shallow.output = vec![value("n19", &[2])];
    load_graph(shallow).unwrap();
    refused(load_graph(nested(25)), LIMIT, &["subgraphs", "depth"]);
    // Encoding is quadratic in depth, so the wire bytes of the deep one are made by hand.
    let mut ty = Vec::new();
    for _ in 0..20_000 {
        ty = wrap(4, &wrap(1, &ty));
        if ty.len() > 200_000 {
            break;
        }
    }
    let mut bytes = model(good()).encode_to_vec();
    bytes.extend(wrap(7, &wrap(11, &wrap(2, &ty))));
    refused(
        load_bytes(bytes, &Budget::default()),
        LIMIT,
        &["nested messages"],
    );
}

fn wrap(field: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![field << 3 | 2];
    prost::encode_length_delimiter(payload.len(), &mut bytes).unwrap();
    bytes.extend(payload);
    bytes
}

#[test]
fn subgraphs_see_outer_names_and_may_not_redefine_them() {
    let inner = |output: &str| GraphProto {
        node: vec![node("Relu", &["s"], &[output])],
        output: vec![value(output, &[2])],
        ..Default::default()
    };
    let mut graph = good();
    graph.node[1] = branch(inner("i"), "y");
    load_graph(graph).unwrap();
    let mut graph = good();
    graph.node[1] = branch(inner("x"), "y");
    refused(load_graph(graph), INVALID, &["\"x\"", "second time"]);
    let mut graph = good();
    graph.node.insert(0, branch(inner("i"), "early"));
    let model = load_graph(graph).unwrap();
    assert_eq!(model.graph().node[1].output, ["early"]);
    let mut graph = good();
    let own = GraphProto {
        node: vec![node("Relu", &["k"], &["i"]), node("Relu", &["s"], &["k"])],
        output: vec![value("i", &[2])],
        ..Default::default()
    };
    graph.node[1] = branch(own, "y");
    assert!(load_graph(graph).unwrap().notes()[0].starts_with("1 graphs"));
    let mut graph = good();
    graph.node.push(node("Relu", &["i"], &["z"]));
    graph.node.insert(1, branch(inner("i"), "b"));
    refused(load_graph(graph), INVALID, &["Relu_z", "\"i\""]);
}

#[test]
fn a_bad_tensor_in_a_subgraph_is_found() {
    let mut tensor = weight();
    tensor.dims = vec![5];
    let inner = GraphProto {
        initializer: vec![tensor],
        ..Default::default()
    };
    let mut graph = good();
    graph.node[1] = branch(inner, "y");
    refused(
        load_graph(graph),
        INVALID,
        &["then_branch", "\"w\"", "FLOAT[5]"],
    );
}

#[test]
fn too_many_nodes() {
    let budget = Budget {
        nodes: 1,
        ..Budget::default()
    };
    let result = load_bytes(model(good()).encode_to_vec(), &budget);
    refused(result, LIMIT, &["2 nodes", "limit of 1", "`nodes`"]);
}

#[test]
fn a_file_over_the_budget() {
    let budget = Budget {
        file_bytes: 10,
        ..Budget::default()
    };
    let (_folder, path) = write(&model(good()).encode_to_vec());
    refused(load(path, &budget), LIMIT, &["`file_bytes`"]);
}

#[test]
fn a_small_file_cannot_ask_for_much_memory() {
    let graph = [0x0a, 0x00].repeat(900_000);
    let bytes = wrap(7, &graph);
    let result = load_bytes(bytes, &Budget::default());
    refused(result, LIMIT, &["decoded messages", "message_bytes"]);
}

#[test]
fn recursive_function() {
    let mut bad = model(good());
    bad.graph.as_mut().unwrap().node[1].op_type = "F".into();
    let function = |name: &str, calls: &str| FunctionProto {
        name: name.into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: vec![node(calls, &["a"], &["b"])],
        ..Default::default()
    };
    bad.functions = vec![function("F", "G"), function("G", "F")];
    let result = load_bytes(bad.encode_to_vec(), &Budget::default());
    refused(result, INVALID, &["calls itself", ".F"]);
}

/// Forty functions, each calling the next twice.
#[test]
fn exploding_functions() {
    let mut bad = model(good());
    bad.graph.as_mut().unwrap().node[1].op_type = "F0".into();
    bad.functions = (0..40)
        .map(|level| FunctionProto {
            name: format!("F{level}"),
            input: vec!["a".into()],
            output: vec!["c".into()],
            node: vec![
                node(&format!("F{}", level + 1), &["a"], &["b"]),
                node(&format!("F{}", level + 1), &["b"], &["c"]),
            ],
            ..Default::default()
        })
        .collect();
    let started = std::time::Instant::now();
    let result = load_bytes(bad.encode_to_vec(), &Budget::default());
    refused(result, LIMIT, &["function"]);
    assert!(started.elapsed().as_secs() < 5);
}

#[test]
fn a_function_body_sees_only_its_inputs() {
    let mut bad = model(good());
    bad.functions = vec![FunctionProto {
        name: "F".into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: vec![node("Add", &["a", "x"], &["b"])],
        ..Default::default()
    }];
    let result = load_bytes(bad.encode_to_vec(), &Budget::default());
    refused(result, INVALID, &["Add_b", "\"x\""]);
}
