//! Declared extents of -1 made unknown.
//!
//! Some exporters (Paddle's among them) write -1 where the schema wants a dimension without a
//! value. Only the declared types of values are read so: -1 in the shape of a stored tensor, and
//! any other negative extent anywhere, stays an error.

use crate::proto::{
    GraphProto, ModelProto, NodeProto, TypeProto, ValueInfoProto, dimension, type_proto,
};

/// Makes every declared extent of -1 unknown; how many there were.
pub(crate) fn read_minus_one_as_unknown(model: &mut ModelProto) -> u64 {
    let mut found: u64 = model.graph.as_mut().map_or(0, in_graph);
    for function in &mut model.functions {
        found += in_values(&mut function.value_info) + in_nodes(&mut function.node);
    }
    found
}

fn in_graph(graph: &mut GraphProto) -> u64 {
    in_values(&mut graph.input)
        + in_values(&mut graph.output)
        + in_values(&mut graph.value_info)
        + in_nodes(&mut graph.node)
}

fn in_nodes(nodes: &mut [NodeProto]) -> u64 {
    let attributes = nodes.iter_mut().flat_map(|node| &mut node.attribute);
    attributes
        .flat_map(|attr| attr.subgraphs_mut())
        .map(in_graph)
        .sum()
}

fn in_values(values: &mut [ValueInfoProto]) -> u64 {
    let types = values.iter_mut().filter_map(|value| value.r#type.as_mut());
    types.map(in_type).sum()
}

fn in_type(ty: &mut TypeProto) -> u64 {
    use type_proto::Value;
    match &mut ty.value {
        Some(Value::Tensor(tensor) | Value::SparseTensor(tensor)) => in_tensor(tensor),
        Some(Value::Sequence(element) | Value::Optional(element)) => {
            element.elem_type.as_deref_mut().map_or(0, in_type)
        }
        Some(Value::Map(map)) => map.value_type.as_deref_mut().map_or(0, in_type),
        Some(Value::Opaque(_)) | None => 0,
    }
}

fn in_tensor(tensor: &mut type_proto::Tensor) -> u64 {
    let mut found = 0;
    for dim in tensor.shape.iter_mut().flat_map(|shape| &mut shape.dim) {
        if dim.value == Some(dimension::Value::Extent(-1)) {
            dim.value = None;
            found += 1;
        }
    }
    found
}
