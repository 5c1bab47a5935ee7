//! Models and inputs for tests.
#![allow(dead_code, reason = "each test binary uses a part")]
pub mod bench;
pub mod cases;
pub mod executors;
pub mod guarded;
pub mod halves;
pub mod names;
pub mod spelling;
pub mod watchdog;

use std::path::{Path, PathBuf};
use tensmith::files::read_npz;
use tensmith::{KeepSymbolic, LoadOptions, Model, Options};
use tensmith_codegen::target::Target;
use tensmith_onnx::proto::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, dimension, type_proto,
};

/// Targets with vectors of 128, 256 and 512 bits.
pub const X86_LEVELS: [&str; 3] = ["x86-64-v2", "x86-64-v3", "x86-64-v4"];

/// A target, if this machine runs its code; else says that it does not.
pub fn target_here(name: &str) -> Option<Target> {
    let (host, target) = (Target::host(), Target::named(name).unwrap());
    let runs = target.features.iter().all(|f| host.features.contains(f));
    if !runs {
        eprintln!("skipped: this machine is no {name}");
    }
    runs.then_some(target)
}

/// A file of the workspace.
pub fn asset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("assets")
        .join(name)
}

/// The digit model.
pub fn digits() -> Model {
    Model::load(asset("digits.onnx"), &LoadOptions::default()).unwrap()
}

/// The first `count` held-out images, from 0 to 1.
pub fn images(count: usize) -> Vec<f32> {
    let file = read_npz(&asset("digits-heldout.npz")).unwrap();
    let pixels = file["images"].as_slice::<u8>().unwrap();
    pixels[..count * 64]
        .iter()
        .map(|p| f32::from(*p) / 16.0)
        .collect()
}

/// One compiled model for every batch.
pub fn symbolic(threads: usize) -> Options {
    Options {
        symbolic: KeepSymbolic::All,
        threads: Some(threads),
        ..Options::default()
    }
}

/// Element types by their numbers in the schema.
pub const F32: i32 = 1;
/// As above.
pub const I64: i32 = 7;

/// An input or output.
pub fn port(name: &str, elem_type: i32, shape: &[i64]) -> ValueInfoProto {
    let dim = shape.iter().map(|d| tensmith_onnx::proto::Dimension {
        value: Some(dimension::Value::Extent(*d)),
    });
    let tensor = type_proto::Tensor {
        elem_type,
        shape: Some(TensorShapeProto { dim: dim.collect() }),
    };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::Tensor(tensor)),
            ..TypeProto::default()
        }),
    }
}

/// A constant of `i64`.
pub fn constant(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        data_type: I64,
        dims: vec![values.len() as i64],
        int64_data: values.to_vec(),
        ..TensorProto::default()
    }
}

/// A model of one node whose operands are the inputs, then the constants, and whose result is
/// `y`.
pub fn one_node(
    op: &str,
    inputs: Vec<ValueInfoProto>,
    constants: Vec<TensorProto>,
    output: ValueInfoProto,
) -> Vec<u8> {
    let names = inputs.iter().map(|i| i.name.clone());
    let node = NodeProto {
        op_type: op.into(),
        name: format!("the_{}", op.to_lowercase()),
        input: names
            .chain(constants.iter().map(|c| c.name.clone()))
            .collect(),
        output: vec![output.name.clone()],
        ..NodeProto::default()
    };
    let graph = GraphProto {
        node: vec![node],
        name: "test".into(),
        initializer: constants,
        input: inputs,
        output: vec![output],
        ..GraphProto::default()
    };
    let opset = OperatorSetIdProto {
        domain: String::new(),
        version: 17,
    };
    let model = ModelProto {
        ir_version: 8,
        graph: Some(graph),
        opset_import: vec![opset],
        ..ModelProto::default()
    };
    prost::Message::encode_to_vec(&model)
}
