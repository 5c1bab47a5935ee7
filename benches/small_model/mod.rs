//! ONNX models of a few nodes, and their inputs.
use prost::Message;
use tensmith::{LoadOptions, Model, Tensor};
use tensmith_onnx::proto::{
    AttrKind, AttributeProto, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, dimension, type_proto,
};

/// The number of `f32` in ONNX.
const F32: i32 = 1;

/// The number of `i64` in ONNX.
const I64: i32 = 7;

const OPSET: i64 = 20;

const IR_VERSION: i64 = 10;

/// A model in the making. Values are named by their numbers.
#[derive(Default)]
pub struct SmallModel {
    graph: GraphProto,
    values: usize,
    /// Inputs in the model's order.
    pub inputs: Vec<Tensor>,
}

/// Values that repeat after 251 elements, of magnitudes of at most 1.
fn pattern(shape: &[usize]) -> Vec<f32> {
    let count = shape.iter().product();
    (0..count)
        .map(|k: usize| (k * 97 % 251) as f32 / 125.5 - 1.0)
        .collect()
}

impl SmallModel {
    fn name(&mut self) -> String {
        self.values += 1;
        format!("v{}", self.values)
    }

    /// An `f32` input.
    pub fn input(&mut self, shape: &[usize]) -> String {
        let name = self.name();
        let tensor = Tensor::from_slice(shape, &pattern(shape)).expect("the shape fits");
        self.inputs.push(tensor);
        self.graph.input.push(value_info(&name, Some(shape)));
        name
    }

    /// An `f32` constant.
    pub fn weight(&mut self, shape: &[usize]) -> String {
        let values = TensorProto {
            data_type: F32,
            float_data: pattern(shape),
            ..TensorProto::default()
        };
        self.constant(shape, values)
    }

    /// Constant integers.
    pub fn integers(&mut self, values: &[i64]) -> String {
        let tensor = TensorProto {
            data_type: I64,
            int64_data: values.to_vec(),
            ..TensorProto::default()
        };
        self.constant(&[values.len()], tensor)
    }

    /// Constant numbers.
    pub fn floats(&mut self, values: &[f32]) -> String {
        let tensor = TensorProto {
            data_type: F32,
            float_data: values.to_vec(),
            ..TensorProto::default()
        };
        self.constant(&[values.len()], tensor)
    }

    fn constant(&mut self, shape: &[usize], values: TensorProto) -> String {
        let name = self.name();
        self.graph.initializer.push(TensorProto {
            name: name.clone(),
            dims: shape.iter().map(|d| *d as i64).collect(),
            ..values
        });
        name
    }

    /// Gives the last node an attribute that is text.
    pub fn text_attribute(&mut self, name: &str, value: &str) {
        let last = self.graph.node.last_mut();
        last.expect("there is a node")
            .attribute
            .push(AttributeProto {
                name: name.into(),
                s: Some(value.as_bytes().to_vec().into()),
                r#type: AttrKind::String as i32,
                ..AttributeProto::default()
            });
    }

    /// Gives the last node one more result.
    pub fn another_result(&mut self) {
        let name = self.name();
        let last = self.graph.node.last_mut();
        last.expect("there is a node").output.push(name);
    }

    /// A node with one result.
    pub fn node(&mut self, op: &str, inputs: &[&str], attributes: &[(&str, &[i64])]) -> String {
        let name = self.name();
        self.graph.node.push(NodeProto {
            op_type: op.into(),
            name: name.clone(),
            input: inputs.iter().map(|i| (*i).to_owned()).collect(),
            output: vec![name.clone()],
            attribute: attributes.iter().map(|(n, v)| attribute(n, v)).collect(),
            ..NodeProto::default()
        });
        name
    }

    /// The model with this result.
    pub fn finish(mut self, output: &str) -> (Model, Vec<Tensor>) {
        self.graph.name = "small".into();
        self.graph.output.push(value_info(output, None));
        let proto = ModelProto {
            ir_version: IR_VERSION,
            opset_import: vec![OperatorSetIdProto {
                version: OPSET,
                ..OperatorSetIdProto::default()
            }],
            graph: Some(self.graph),
            ..ModelProto::default()
        };
        let model = Model::from_bytes(proto.encode_to_vec(), &LoadOptions::default());
        (model.expect("the model is valid"), self.inputs)
    }
}

/// One integer under the names that take one, a list under others.
fn attribute(name: &str, values: &[i64]) -> AttributeProto {
    let single = matches!(name, "axis" | "group" | "hidden_size" | "upper");
    let kind = if single {
        AttrKind::Int
    } else {
        AttrKind::Ints
    };
    AttributeProto {
        name: name.into(),
        i: single.then(|| values[0]),
        ints: if single { Vec::new() } else { values.to_vec() },
        r#type: kind as i32,
        ..AttributeProto::default()
    }
}

fn value_info(name: &str, shape: Option<&[usize]>) -> ValueInfoProto {
    let dim = |d: &usize| Dimension {
        value: Some(dimension::Value::Extent(*d as i64)),
    };
    let shape = shape.map(|shape| TensorShapeProto {
        dim: shape.iter().map(dim).collect(),
    });
    let tensor = type_proto::Tensor {
        elem_type: F32,
        shape,
    };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::Tensor(tensor)),
            ..TypeProto::default()
        }),
    }
}
