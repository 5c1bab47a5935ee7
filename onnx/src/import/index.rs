//! Operators whose indices are data.
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::{Attrs, ValueId};
use tensmith_ir::tensor::Tensor;

use super::cx::Cx;
use super::registry::{OpImport, onnx};
use super::value::{Val, one};
use crate::error::Result;
use crate::proto::NodeProto;

type Vals = Result<Vec<Val>>;

/// Positions that are computed at import.
const MAX_POSITIONS: usize = 1 << 22;

pub(crate) const OPS: &[OpImport] = &[
    onnx("Gather", |cx, node| {
        let (x, axis) = (cx.input(node, 0)?, node.attr_i_or("axis", 0)?);
        let axis = cx.axis(axis, cx.rank(x))?;
        let indices = indices(cx, node, 1)?;
        cx.gather(x, indices, axis).map(one)
    }),
    onnx("GatherElements", |cx, node| {
        let (x, axis) = (cx.input(node, 0)?, node.attr_i_or("axis", 0)?);
        let attrs = Attrs::new().with("axis", cx.axis(axis, cx.rank(x))? as i64);
        let indices = indices(cx, node, 1)?;
        cx.row("gather_elements", &[x, indices], attrs).map(one)
    }),
    onnx("GatherND", |cx, node| {
        let (x, indices) = (cx.input(node, 0)?, indices(cx, node, 1)?);
        let attrs = Attrs::new().with("batch_dims", node.attr_i_or("batch_dims", 0)?);
        cx.row("gather_nd", &[x, indices], attrs).map(one)
    }),
    onnx("Scatter", scatter_elements),
    onnx("ScatterElements", scatter_elements),
    onnx("ScatterND", |cx, node| {
        let (x, indices, updates) = (
            cx.input(node, 0)?,
            indices(cx, node, 1)?,
            cx.input(node, 2)?,
        );
        let attrs = Attrs::new().with("reduction", node.attr_s_or("reduction", "none")?);
        cx.row("scatter_nd", &[x, indices, updates], attrs).map(one)
    }),
    onnx("ReverseSequence", |cx, node| {
        let (x, lengths) = (cx.input(node, 0)?, indices(cx, node, 1)?);
        let attrs = Attrs::new()
            .with("batch_axis", node.attr_i_or("batch_axis", 1)?)
            .with("time_axis", node.attr_i_or("time_axis", 0)?);
        cx.row("reverse_sequence", &[x, lengths], attrs).map(one)
    }),
    onnx("Compress", compress),
    onnx("NonZero", non_zero),
];

/// Operand `k` as indices.
fn indices(cx: &mut Cx<'_>, node: &NodeProto, k: usize) -> Result<ValueId> {
    let x = cx.input(node, k)?;
    match cx.dtype(x) {
        DType::I32 | DType::I64 => Ok(x),
        _ => cx.cast(x, DType::I64),
    }
}

fn scatter_elements(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let (x, indices, updates) = (
        cx.input(node, 0)?,
        indices(cx, node, 1)?,
        cx.input(node, 2)?,
    );
    let axis = cx.axis(node.attr_i_or("axis", 0)?, cx.rank(x))?;
    let attrs = Attrs::new()
        .with("axis", axis as i64)
        .with("reduction", node.attr_s_or("reduction", "none")?);
    cx.row("scatter_elements", &[x, indices, updates], attrs)
        .map(one)
}

fn compress(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let mut x = cx.input(node, 0)?;
    let keep = cx.tensor(node, 1)?.to_i64();
    let axis = match node.attr_i("axis")? {
        Some(axis) => cx.axis(axis, cx.rank(x))?,
        None => {
            let count = cx.ty(x).count();
            x = cx.reshape(x, vec![count])?;
            0
        }
    };
    let kept: Vec<i64> = (0..keep.len() as i64)
        .filter(|k| keep[*k as usize] != 0)
        .collect();
    let indices = cx.list(&kept);
    cx.gather(x, indices, axis).map(one)
}

fn non_zero(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = cx.tensor(node, 0)?;
    let rank = x.shape.len().max(1);
    if rank.saturating_mul(x.count()) > MAX_POSITIONS {
        return Err(cx.unsupported(format!("{} elements", x.count())));
    }
    let shape = if x.shape.is_empty() {
        vec![1]
    } else {
        x.shape.clone()
    };
    let hits: Vec<usize> = (x.to_f64().iter().enumerate())
        .filter(|(_, v)| **v != 0.0)
        .map(|(k, _)| k)
        .collect();
    let mut numbers = Vec::new();
    for d in 0..rank {
        let stride: usize = shape[d + 1..].iter().product();
        numbers.extend(hits.iter().map(|k| (k / stride % shape[d]) as i64));
    }
    let found = Tensor::from_i64(vec![rank, hits.len()], &numbers);
    Ok(one(cx.constant(found)))
}
