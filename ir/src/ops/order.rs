//! Ops that work along one axis in order: the greatest elements and running sums and products.
mod topk;

use super::movement::{convert, proved_non_negative};
use super::types::NUMBERS;
use super::{AttrDef, Class, InferCx, Lower, OpDef, Sample, Sampler, Tolerance, attr};
use crate::define::Define;
use crate::dtype::DType;
use crate::eval::{EvalCx, EvalError};
use crate::expr::Expr;
use crate::graph::{AttrKind, Attrs, NodeId, TensorType};
use crate::loops::{BinaryOp, Role, Scalar};
use crate::tensor::{Tensor, Wide};
use std::cmp::Ordering;

type Types = Result<Vec<TensorType>, String>;
type Results = Result<Vec<Tensor>, EvalError>;

const AXIS: AttrDef = attr("axis", AttrKind::Int, "the axis to go along");

const RUNNING: &[AttrDef] = &[
    AXIS,
    attr(
        "exclusive",
        AttrKind::Bool,
        "whether an element leaves itself out",
    ),
    attr("reverse", AttrKind::Bool, "whether to start at the end"),
];

/// Rows of ops along an axis in order.
pub const OPS: &[OpDef] = &[
    OpDef {
        name: "topk",
        doc: "values and indices of the k greatest (or least) elements along `axis`, best first; equal ones by index; NaN counts as greatest",
        arity: (1, 1),
        attrs: &[
            AXIS,
            attr("k", AttrKind::Dims, "how many: one entry"),
            attr("largest", AttrKind::Bool, "greatest or least elements"),
            attr(
                "sorted",
                AttrKind::Bool,
                "whether the order matters; results are sorted either way",
            ),
        ],
        class: Class::Opaque,
        types: NUMBERS,
        infer: infer_topk,
        eval: eval_topk,
        lower: Lower::Kernel(topk::define),
        row_axes: None,
        tolerance: Tolerance::Exact,
        samples: topk_samples,
        source: "ONNX operators, TopK; NaN as in NumPy's sort order",
    },
    OpDef {
        name: "cumsum",
        doc: "y[i] = sum of x[j] for j <= i along `axis` (j < i if exclusive; from the end if reverse); halves accumulate in f32",
        arity: (1, 1),
        attrs: RUNNING,
        class: Class::Opaque,
        types: NUMBERS,
        infer: infer_running,
        eval: |cx| eval_running(cx, 0, |a, b| a + b, |a, b| a.wrapping_add(b)),
        lower: Lower::Kernel(|cx, node| define_running(cx, node, BinaryOp::Add, 0.0)),
        row_axes: None,
        // One rounding per term in the type of the result; the reference rounds once.
        tolerance: Tolerance::Sum(2.0),
        samples: running_samples,
        source: "ONNX operators, CumSum",
    },
    OpDef {
        name: "cumprod",
        doc: "y[i] = product of x[j] for j <= i along `axis` (j < i if exclusive; from the end if reverse); halves accumulate in f32",
        arity: (1, 1),
        attrs: RUNNING,
        class: Class::Opaque,
        types: NUMBERS,
        infer: infer_running,
        eval: |cx| eval_running(cx, 1, |a, b| a * b, |a, b| a.wrapping_mul(b)),
        lower: Lower::Kernel(|cx, node| define_running(cx, node, BinaryOp::Mul, 1.0)),
        row_axes: None,
        // As for `cumsum`: one rounding per factor.
        tolerance: Tolerance::Sum(2.0),
        samples: running_samples,
        source: "ONNX operators, CumProd",
    },
];

// Types and shapes

fn infer_topk(cx: &InferCx<'_>) -> Types {
    let axis = cx.axis(0, "axis")?;
    let (x, k) = (cx.inputs[0], cx.attrs.dims("k"));
    let [k] = k else {
        return Err(format!("`k` has {} entries, want 1", k.len()));
    };
    let proved = |e: &Expr| proved_non_negative(cx, e);
    let fits = proved(k) && proved(&(x.shape[axis].clone() - k.clone()));
    if !fits {
        return Err(format!(
            "`k` is {k}, not proved to lie in 0 to {}",
            x.shape[axis]
        ));
    }
    let mut shape = x.shape.clone();
    shape[axis] = k.clone();
    Ok(vec![
        TensorType::new(x.dtype, shape.clone()),
        TensorType::new(DType::I64, shape),
    ])
}

fn infer_running(cx: &InferCx<'_>) -> Types {
    cx.axis(0, "axis")?;
    Ok(vec![cx.inputs[0].clone()])
}

// Definition in loops

fn compute_type(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        other => other,
    }
}

/// From an index along a row to a whole index.
type InRow<'a> = dyn Fn(&Expr) -> Vec<Expr> + 'a;

/// A loop nest over all axes but one; `body` gets the rows along that one.
fn rows(
    cx: &mut Define<'_>,
    shape: &[Expr],
    axis: usize,
    body: &mut dyn FnMut(&mut Define<'_>, &InRow<'_>),
) {
    let extents = [&shape[..axis], &shape[axis + 1..]].concat();
    cx.nest(&extents, Role::Space, &mut |cx, vars| {
        let (before, after) = vars.split_at(axis);
        body(cx, &|i| [before, std::slice::from_ref(i), after].concat());
    });
}

fn define_running(cx: &mut Define<'_>, node: NodeId, op: BinaryOp, identity: f64) {
    let attrs = &cx.node(node).attrs;
    let (exclusive, reverse) = (attrs.flag("exclusive"), attrs.flag("reverse"));
    let axis = attrs.int("axis") as usize;
    let out = cx.output_buffer(cx.node(node).outputs[0]);
    let x = cx.operand_type(node, 0);
    let compute = compute_type(x.dtype);
    let extent = x.shape[axis].clone();
    rows(cx, &x.shape, axis, &mut |cx, at| {
        let acc = cx.register(compute);
        let total = || Scalar::load(acc, vec![]);
        cx.store(acc, vec![], Scalar::num(compute, identity));
        cx.nest(
            std::slice::from_ref(&extent),
            Role::Serial,
            &mut |cx, vars| {
                let i = if reverse {
                    extent.clone() - 1 - vars[0].clone()
                } else {
                    vars[0].clone()
                };
                let term = cx.operand(node, 0, &at(&i));
                let next = Scalar::binary(op, total(), convert(compute, x.dtype, term));
                if exclusive {
                    cx.store(out, at(&i), convert(x.dtype, compute, total()));
                    cx.store(acc, vec![], next);
                } else {
                    cx.store(acc, vec![], next);
                    cx.store(out, at(&i), convert(x.dtype, compute, total()));
                }
            },
        );
    });
}

// Reference evaluation

/// For each row along `axis`, the positions of its elements in order.
fn row_positions(shape: &[usize], axis: usize) -> Vec<Vec<usize>> {
    let inner: usize = shape[axis + 1..].iter().product();
    let outer: usize = shape[..axis].iter().product();
    let extent = shape[axis];
    let row = |o: usize, i: usize| (0..extent).map(|k| (o * extent + k) * inner + i).collect();
    (0..outer)
        .flat_map(|o| (0..inner).map(move |i| (o, i)))
        .map(|(o, i)| row(o, i))
        .collect()
}

fn compare(wide: &Wide, a: usize, b: usize) -> Ordering {
    match wide {
        Wide::Int(v) => v[a].cmp(&v[b]),
        Wide::Float(v) => v[a]
            .partial_cmp(&v[b])
            .unwrap_or_else(|| v[a].is_nan().cmp(&v[b].is_nan())),
    }
}

fn eval_topk(cx: &EvalCx<'_>) -> Results {
    let (axis, largest) = (cx.attrs.int("axis") as usize, cx.attrs.flag("largest"));
    let (x, shape) = (cx.inputs[0], cx.output_shape(0)?);
    let (wide, size) = (x.to_wide(), x.dtype.bytes());
    let count: usize = shape.iter().product();
    let (mut values, mut indices) = (vec![0u8; count * size], vec![0i64; count]);
    let sources = row_positions(&x.shape, axis);
    for (from, to) in sources.iter().zip(row_positions(&shape, axis)) {
        let mut order: Vec<usize> = (0..from.len()).collect();
        order.sort_by(|a, b| {
            let order = compare(&wide, from[*a], from[*b]);
            if largest { order.reverse() } else { order }
        });
        for (best, to) in order.into_iter().zip(to) {
            values[to * size..][..size].copy_from_slice(&x.data[from[best] * size..][..size]);
            indices[to] = best as i64;
        }
    }
    let values = Tensor {
        dtype: x.dtype,
        shape: shape.clone(),
        data: values.into(),
    };
    Ok(vec![values, Tensor::from_i64(shape, &indices)])
}

/// Replaces each row by its running totals.
fn running<T: Copy>(
    cx: &EvalCx<'_>,
    values: &[T],
    identity: T,
    combine: impl Fn(T, T) -> T,
) -> Vec<T> {
    let (exclusive, reverse) = (cx.attrs.flag("exclusive"), cx.attrs.flag("reverse"));
    let axis = cx.attrs.int("axis") as usize;
    let mut out = values.to_vec();
    for mut row in row_positions(&cx.inputs[0].shape, axis) {
        if reverse {
            row.reverse();
        }
        let mut total = identity;
        for at in row {
            let next = combine(total, values[at]);
            out[at] = if exclusive { total } else { next };
            total = next;
        }
    }
    out
}

fn eval_running(
    cx: &EvalCx<'_>,
    identity: i128,
    float: impl Fn(f64, f64) -> f64,
    int: impl Fn(i128, i128) -> i128,
) -> Results {
    let x = cx.inputs[0];
    let wide = match x.to_wide() {
        Wide::Float(v) => Wide::Float(running(cx, &v, identity as f64, float)),
        Wide::Int(v) => Wide::Int(running(cx, &v, identity, int)),
    };
    Ok(vec![Tensor::from_wide(x.dtype, x.shape.clone(), &wide)])
}

// Samples

/// A tensor of numbers and one of its axes.
fn numbers(s: &mut Sampler, lo: f64, hi: f64) -> (Tensor, i64) {
    let dtype = s.dtype(NUMBERS);
    let rank = s.int(1, 3);
    let shape = s.shape(rank as usize);
    (s.tensor(dtype, &shape, lo, hi), s.int(0, rank - 1))
}

fn topk_samples(s: &mut Sampler) -> Vec<Sample> {
    let (mut x, mut axis) = numbers(s, -4.0, 4.0);
    if s.int(0, 3) == 0 {
        // Long rows, alone or side by side.
        let dtype = *s.pick(&[DType::F32, DType::I32]);
        let shape = [s.int(128, 150) as usize, *s.pick(&[1, 9, 18])];
        (x, axis) = (s.tensor(dtype, &shape, -40.0, 40.0), 0);
    }
    let k = s.int(0, x.shape[axis as usize] as i64);
    let attrs = Attrs::new()
        .with("axis", axis)
        .with("k", vec![Expr::from(k)])
        .with("largest", s.int(0, 1) == 1)
        .with("sorted", s.int(0, 1) == 1);
    vec![Sample::new(vec![x], attrs)]
}

fn running_samples(s: &mut Sampler) -> Vec<Sample> {
    let (x, axis) = numbers(s, -1.5, 1.5);
    let attrs = Attrs::new()
        .with("axis", axis)
        .with("exclusive", s.int(0, 1) == 1)
        .with("reverse", s.int(0, 1) == 1);
    vec![Sample::new(vec![x], attrs)]
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
