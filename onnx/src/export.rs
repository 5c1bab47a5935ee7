//! Graph IR to ONNX files, to be looked at: nodes are those of the op table, in a domain of ours,
//! so viewers show them with types and constants; no other runtime knows how to run them.
use crate::ElemType;
use crate::proto::{
    AttrKind, AttributeProto, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, dimension, type_proto,
};
use bytes::Bytes;
use prost::Message;
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::{AttrValue, Def, Graph, Node, TensorType, ValueId};
use tensmith_ir::tensor::Tensor;

/// The domain of exported operators.
pub const DOMAIN: &str = "tensmith";
/// The version of the IR format that is written.
const IR_VERSION: i64 = 10;

/// The bytes of an ONNX file that shows a graph.
pub fn export(graph: &Graph) -> Vec<u8> {
    let model = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "tensmith".into(),
        graph: Some(graph_proto(graph)),
        opset_import: vec![OperatorSetIdProto {
            domain: DOMAIN.into(),
            version: 1,
        }],
        ..ModelProto::default()
    };
    model.encode_to_vec()
}

/// A name that no other value of the graph has.
fn name(graph: &Graph, id: ValueId) -> String {
    format!("{}:{}", graph.value(id).name, id.0)
}

fn graph_proto(graph: &Graph) -> GraphProto {
    let mut proto = GraphProto {
        name: graph.name.clone(),
        node: graph.nodes.iter().map(|n| node_proto(graph, n)).collect(),
        ..GraphProto::default()
    };
    for (k, value) in graph.values.iter().enumerate() {
        let name = name(graph, ValueId(k as u32));
        match &value.def {
            Def::Constant(t) => proto.initializer.push(tensor_proto(name, t)),
            Def::Input(_) => proto.input.push(value_info(name, &value.ty)),
            Def::Node(..) => proto.value_info.push(value_info(name, &value.ty)),
        }
    }
    let outputs = graph.outputs.iter();
    proto.output = outputs
        .map(|v| value_info(name(graph, *v), graph.ty(*v)))
        .collect();
    proto
}

fn node_proto(graph: &Graph, node: &Node) -> NodeProto {
    let names = |ids: &[ValueId]| ids.iter().map(|v| name(graph, *v)).collect();
    let mut attribute: Vec<AttributeProto> =
        node.attrs.iter().map(|(n, v)| attribute(n, v)).collect();
    let regions = node.regions.iter().enumerate();
    attribute.extend(regions.map(|(k, g)| AttributeProto {
        name: format!("region_{k}"),
        g: Some(Box::new(graph_proto(g))),
        r#type: AttrKind::Graph.into(),
        ..AttributeProto::default()
    }));
    NodeProto {
        input: names(&node.inputs),
        output: names(&node.outputs),
        name: node.name.clone(),
        op_type: node.op.name.into(),
        attribute,
        domain: DOMAIN.into(),
        overload: String::new(),
    }
}

fn attribute(name: &str, value: &AttrValue) -> AttributeProto {
    let mut proto = AttributeProto {
        name: name.into(),
        ..AttributeProto::default()
    };
    let text = |s: String| Some(Bytes::from(s));
    let kind = match value {
        AttrValue::Int(n) => {
            proto.i = Some(*n);
            AttrKind::Int
        }
        AttrValue::Bool(b) => {
            proto.i = Some(i64::from(*b));
            AttrKind::Int
        }
        AttrValue::Ints(n) => {
            proto.ints.clone_from(n);
            AttrKind::Ints
        }
        AttrValue::Float(x) => {
            proto.f = Some(*x as f32);
            AttrKind::Float
        }
        AttrValue::Floats(x) => {
            proto.floats = x.iter().map(|x| *x as f32).collect();
            AttrKind::Floats
        }
        AttrValue::Str(s) => {
            proto.s = text(s.clone());
            AttrKind::String
        }
        AttrValue::DType(t) => {
            proto.s = text(t.name().into());
            AttrKind::String
        }
        AttrValue::Dims(dims) => match dims.iter().map(|d| d.as_const()).collect() {
            Some(ints) => {
                proto.ints = ints;
                AttrKind::Ints
            }
            None => {
                let dims = dims.iter().map(|d| Bytes::from(d.to_string()));
                proto.strings = dims.collect();
                AttrKind::Strings
            }
        },
    };
    proto.r#type = kind.into();
    proto
}

fn number(dtype: DType) -> i32 {
    let elem = match dtype {
        DType::F32 => ElemType::F32,
        DType::F64 => ElemType::F64,
        DType::F16 => ElemType::F16,
        DType::BF16 => ElemType::Bf16,
        DType::I8 => ElemType::I8,
        DType::I16 => ElemType::I16,
        DType::I32 => ElemType::I32,
        DType::I64 => ElemType::I64,
        DType::U8 => ElemType::U8,
        DType::U16 => ElemType::U16,
        DType::U32 => ElemType::U32,
        DType::U64 => ElemType::U64,
        DType::Bool => ElemType::Bool,
    };
    elem.number()
}

fn tensor_proto(name: String, t: &Tensor) -> TensorProto {
    TensorProto {
        dims: t.shape.iter().map(|d| *d as i64).collect(),
        data_type: number(t.dtype),
        name,
        raw_data: Some(t.data.clone()),
        ..TensorProto::default()
    }
}

fn value_info(name: String, ty: &TensorType) -> ValueInfoProto {
    let dim = |d: &tensmith_ir::expr::Expr| Dimension {
        value: Some(match d.as_const() {
            Some(n) => dimension::Value::Extent(n),
            None => dimension::Value::Symbol(d.to_string()),
        }),
    };
    let tensor = type_proto::Tensor {
        elem_type: number(ty.dtype),
        shape: Some(TensorShapeProto {
            dim: ty.shape.iter().map(dim).collect(),
        }),
    };
    ValueInfoProto {
        name,
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::Tensor(tensor)),
            denotation: String::new(),
        }),
    }
}
