//! Pools: reductions over windows, and over all spatial axes.
use tensmith_ir::expr::{Expr, product};
use tensmith_ir::graph::{Attrs, ValueId};

use super::conv::Geometry;
use super::cx::Cx;
use super::registry::{OpImport, onnx};
use super::value::{Val, one};
use crate::error::Result;
use crate::proto::NodeProto;

type Vals = Result<Vec<Val>>;

pub(crate) const OPS: &[OpImport] = &[
    onnx("MaxPool", max_pool),
    onnx("AveragePool", |cx, node| {
        let Windows {
            x,
            geometry,
            extra,
            counts,
        } = windows(cx, node)?;
        let kernel = geometry.kernel.clone();
        let attrs = geometry
            .attrs()
            .with("kernel", kernel)
            .with("ceil_pads", extra)
            .with(
                "count_include_pad",
                node.attr_bool_or("count_include_pad", false)?,
            );
        let y = cx.row("pool_avg", &[x], attrs)?;
        admitted(cx, y, &counts).map(one)
    }),
    onnx("LpPool", |cx, node| {
        let w = windows(cx, node)?;
        let p = node.attr_i_or("p", 2)?;
        let kernel = w.geometry.kernel.clone();
        let attrs = w.geometry.attrs().with("kernel", kernel);
        norm(cx, w.x, p, &|cx, powers| {
            let y = cx.row("pool_sum", &[powers], attrs.clone())?;
            admitted(cx, y, &w.counts)
        })
        .map(one)
    }),
    onnx("GlobalMaxPool", |cx, node| global(cx, node, "reduce_max")),
    onnx("GlobalAveragePool", |cx, node| {
        global(cx, node, "reduce_mean")
    }),
    onnx("GlobalLpPool", |cx, node| {
        let x = cx.input(node, 0)?;
        let axes: Vec<usize> = (2..cx.rank(x)).collect();
        let p = node.attr_i_or("p", 2)?;
        norm(cx, x, p, &|cx, powers| {
            cx.reduce("reduce_sum", powers, &axes, true)
        })
        .map(one)
    }),
    onnx("MaxUnpool", max_unpool),
];

/// What a pool reduces.
struct Windows {
    /// The operand.
    x: ValueId,
    geometry: Geometry,
    /// How much of the padding behind is due to `ceil_mode`.
    extra: Vec<i64>,
    /// How many windows count on each spatial axis, where there may be one more.
    counts: Vec<Option<Expr>>,
}

fn windows(cx: &mut Cx<'_>, node: &NodeProto) -> Result<Windows> {
    let x = cx.input(node, 0)?;
    let kernel = node.require_attr("kernel_shape", node.attr_ints("kernel_shape")?)?;
    let shape = cx.shape(x);
    let extents = shape.get(2..).unwrap_or(&[]);
    let mut geometry = Geometry::of(cx, node, kernel.to_vec(), extents)?;
    let (extra, counts) = match node.attr_bool_or("ceil_mode", false)? {
        true => geometry.ceil(extents),
        false => (vec![0; kernel.len()], vec![None; kernel.len()]),
    };
    Ok(Windows {
        x,
        geometry,
        extra,
        counts,
    })
}

/// The results of the windows that count.
fn admitted(cx: &mut Cx<'_>, mut y: ValueId, counts: &[Option<Expr>]) -> Result<ValueId> {
    for (d, most) in counts.iter().enumerate() {
        if let Some(most) = most {
            let all = cx.shape(y)[2 + d].clone();
            let count = all.at_most(most.clone()).simplify(&cx.ranges());
            y = cx.slice_axis(y, 2 + d, 0, count)?;
        }
    }
    Ok(y)
}

fn max_pool(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let w = windows(cx, node)?;
    let kernel = w.geometry.kernel.clone();
    let attrs = w.geometry.attrs().with("kernel", kernel);
    let y = cx.row("pool_max", &[w.x], attrs.clone())?;
    let mut results = one(admitted(cx, y, &w.counts)?);
    if node.result(1).is_some() {
        let attrs = attrs.with("storage_order", node.attr_i_or("storage_order", 0)?);
        let places = cx.row("pool_argmax", &[w.x], attrs)?;
        results.push(admitted(cx, places, &w.counts)?.into());
    }
    Ok(results)
}

fn global(cx: &mut Cx<'_>, node: &NodeProto, row: &str) -> Vals {
    let x = cx.input(node, 0)?;
    let axes: Vec<usize> = (2..cx.rank(x)).collect();
    cx.reduce(row, x, &axes, true).map(one)
}

/// The p-norm, with the sum of powers as given.
fn norm(
    cx: &mut Cx<'_>,
    x: ValueId,
    p: i64,
    sum: &dyn Fn(&mut Cx<'_>, ValueId) -> Result<ValueId>,
) -> Result<ValueId> {
    match p {
        1 => {
            let magnitudes = cx.unary("abs", x)?;
            sum(cx, magnitudes)
        }
        2 => {
            let squares = cx.binary("mul", x, x)?;
            let total = sum(cx, squares)?;
            cx.unary("sqrt", total)
        }
        p if p > 0 => {
            let magnitudes = cx.unary("abs", x)?;
            let powers = cx.with_scalar("pow", magnitudes, p as f64)?;
            let total = sum(cx, powers)?;
            cx.with_scalar("pow", total, 1.0 / p as f64)
        }
        _ => Err(cx.invalid(format!("p is {p}"))),
    }
}

fn max_unpool(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let (x, places) = (cx.input(node, 0)?, cx.input(node, 1)?);
    let kernel = node.require_attr("kernel_shape", node.attr_ints("kernel_shape")?)?;
    let shape = cx.shape(x);
    let extents = shape.get(2..).unwrap_or(&[]);
    let geometry = Geometry::of(cx, node, kernel.to_vec(), extents)?;
    let mut natural = shape.get(..2).unwrap_or(&[]).to_vec();
    for (d, extent) in extents.iter().enumerate() {
        let covered = (extent.clone() - 1) * geometry.strides[d] + geometry.span(d);
        natural.push(covered - geometry.before[d] - geometry.after[d]);
    }
    let full = match node.operand(2) {
        Some(_) => cx.dims(node, 2)?,
        None => natural.clone(),
    };
    let count: Expr = product(&natural);
    let (flat_x, flat_at) = (cx.ty(x).count(), cx.ty(places).count());
    let values = cx.reshape(x, vec![flat_x])?;
    let places = cx.reshape(places, vec![flat_at])?;
    let zero = cx.scalar(cx.dtype(x), 0.0);
    let empty = cx.expand(zero, vec![count])?;
    let attrs = Attrs::new().with("axis", 0i64).with("reduction", "none");
    let filled = cx.row("scatter_elements", &[empty, places, values], attrs)?;
    let filled = cx.reshape(filled, natural.clone())?;
    let after = full
        .iter()
        .zip(&natural)
        .map(|(f, n)| f.clone() - n.clone());
    let (before, after) = (vec![Expr::from(0); full.len()], after.collect());
    cx.pad(filled, zero, before, after, "constant").map(one)
}
