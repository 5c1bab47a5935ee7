//! Small models for tests of the importer.
#![allow(dead_code, reason = "no test program uses all of it")]

use prost::Message as _;
use tensmith_ir::graph::{Graph, verify_graph};
use tensmith_ir::tensor::Tensor;
use tensmith_onnx::import::{ImportOptions, Imported, KeepSymbolic, import};
use tensmith_onnx::proto::dimension::Value as Extent;
use tensmith_onnx::proto::{
    AttrKind, AttributeProto, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};
use tensmith_onnx::{Budget, LoadedModel, load_bytes};

pub const FLOAT: i32 = 1;
pub const INT64: i32 = 7;
pub const BOOL: i32 = 9;

/// A value with extents such as `batch, 4`.
pub fn value(name: &str, elem_type: i32, dims: &str) -> ValueInfoProto {
    let dims = dims.split(", ").filter(|d| !d.is_empty());
    let dim = dims.map(|d| Dimension {
        value: Some(match d.parse() {
            Ok(n) => Extent::Extent(n),
            Err(_) => Extent::Symbol(d.into()),
        }),
    });
    let tensor = type_proto::Tensor {
        elem_type,
        shape: Some(TensorShapeProto { dim: dim.collect() }),
    };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::Tensor(tensor)),
            ..Default::default()
        }),
    }
}

/// A node out of `y, z = Op(a, _, b)`, where `_` leaves an operand out.
pub fn node(text: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    let (results, call) = text.split_once(" = ").expect("results = Op(operands)");
    let (op, operands) = call
        .trim_end_matches(')')
        .split_once('(')
        .expect("Op(operands)");
    let names = |list: &str| -> Vec<String> {
        let names = list.split(", ").filter(|n| !n.is_empty());
        names.map(|n| n.replace('_', "")).collect()
    };
    NodeProto {
        op_type: op.into(),
        input: names(operands),
        output: names(results),
        attribute,
        ..Default::default()
    }
}

pub fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttrKind::Int as i32,
        i: Some(i),
        ..Default::default()
    }
}

pub fn body(name: &str, graph: GraphProto) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttrKind::Graph as i32,
        g: Some(Box::new(graph)),
        ..Default::default()
    }
}

pub fn ints(name: &str, dims: &[i64], values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: INT64,
        int64_data: values.to_vec(),
        ..Default::default()
    }
}

pub fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        dims: dims.to_vec(),
        data_type: FLOAT,
        float_data: values.to_vec(),
        name: name.into(),
        ..Default::default()
    }
}

pub fn truth(name: &str, value: bool) -> TensorProto {
    TensorProto {
        name: name.into(),
        data_type: BOOL,
        int32_data: vec![value.into()],
        ..Default::default()
    }
}

pub fn graph(
    input: Vec<ValueInfoProto>,
    node: Vec<NodeProto>,
    initializer: Vec<TensorProto>,
    output: Vec<ValueInfoProto>,
) -> GraphProto {
    GraphProto {
        name: "g".into(),
        node,
        initializer,
        input,
        output,
        ..Default::default()
    }
}

pub fn model(graph: GraphProto) -> LoadedModel {
    let model = ModelProto {
        ir_version: 9,
        opset_import: vec![OperatorSetIdProto {
            version: 17,
            ..Default::default()
        }],
        graph: Some(graph),
        ..Default::default()
    };
    load_bytes(model.encode_to_vec(), &Budget::default()).expect("the model is valid")
}

pub fn imported(model: &LoadedModel, options: &ImportOptions) -> Imported {
    let imported = import(model, options).expect("the model is supported");
    verify_graph(&imported.graph).expect("the graph is valid");
    imported
}

pub fn symbolic() -> ImportOptions {
    ImportOptions {
        keep_symbolic: KeepSymbolic::All,
        ..ImportOptions::default()
    }
}

pub fn ops(graph: &Graph) -> Vec<&'static str> {
    graph.nodes.iter().map(|n| n.op.name).collect()
}

pub fn f32s(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_f32(shape.to_vec(), values)
}
