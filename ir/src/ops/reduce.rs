//! Reductions along whole axes.
use super::elementwise::{cast_tensor, compute_type, result, widen};
use super::types::{ANY, NUMBERS};
use super::{AttrDef, Class, InferCx, Lower, OpDef, Sample, Sampler, Tolerance, attr};
use crate::define::Define;
use crate::dtype::DType;
use crate::eval::{EvalCx, EvalError};
use crate::expr::{Expr, product};
use crate::graph::{AttrKind, Attrs, NodeId, TensorType};
use crate::loops::{BinaryOp, Const, Scalar};
use crate::tensor::{Tensor, Wide, wrap_to};

const KEEPDIMS: AttrDef = attr(
    "keepdims",
    AttrKind::Bool,
    "whether axes that are reduced stay, with extent 1",
);
const LAST: AttrDef = attr(
    "last",
    AttrKind::Bool,
    "whether the last of equal elements counts, not the first",
);

const REDUCTION: &[AttrDef] = &[
    attr("axes", AttrKind::Ints, "what is reduced, increasing"),
    KEEPDIMS,
];
const ARG: &[AttrDef] = &[
    attr("axis", AttrKind::Int, "what is searched along"),
    KEEPDIMS,
    LAST,
];

/// Sums are reassociated; partial sums may exceed the result (terms cancel).
const SUM: Tolerance = Tolerance::Sum(4.0);

/// The rows of this family.
pub const OPS: &[OpDef] = &[
    reduction(
        "reduce_sum",
        "y = sum of x along axes; 0 if empty",
        (NUMBERS, eval_sum),
        SUM,
        sample_reduction,
    ),
    reduction(
        "reduce_mean",
        "y = sum of x along axes / number of elements; integers truncate",
        (NUMBERS, eval_mean),
        SUM,
        sample_reduction,
    ),
    reduction(
        "reduce_max",
        "y = greatest x along axes, NaN if one is; -inf or the least integer if empty",
        (ANY, eval_max),
        Tolerance::Exact,
        sample_reduction,
    ),
    reduction(
        "reduce_min",
        "y = least x along axes, NaN if one is; inf or the greatest integer if empty",
        (ANY, eval_min),
        Tolerance::Exact,
        sample_reduction,
    ),
    // Every factor rounds the product once.
    reduction(
        "reduce_prod",
        "y = product of x along axes; 1 if empty",
        (NUMBERS, eval_prod),
        SUM,
        sample_product,
    ),
    arg(
        "argmax",
        "y = index of the greatest x along axis, NaN left out; 0 if there is none",
        eval_argmax,
    ),
    arg(
        "argmin",
        "y = index of the least x along axis, NaN left out; 0 if there is none",
        eval_argmin,
    ),
];

type Eval = fn(&EvalCx<'_>) -> Result<Vec<Tensor>, EvalError>;

const fn reduction(
    name: &'static str,
    doc: &'static str,
    (types, eval): (&'static [DType], Eval),
    tolerance: Tolerance,
    samples: fn(&mut Sampler) -> Vec<Sample>,
) -> OpDef {
    OpDef {
        name,
        doc,
        arity: (1, 1),
        attrs: REDUCTION,
        class: Class::Reduction,
        types,
        infer,
        eval,
        lower: Lower::Pointwise(lower_reduction),
        row_axes: Some(|attrs, _| axes_of(attrs)),
        tolerance,
        samples,
        source: "ONNX operators, ReduceSum, ReduceMean, ReduceMax, ReduceMin, ReduceProd",
    }
}

const fn arg(name: &'static str, doc: &'static str, eval: Eval) -> OpDef {
    OpDef {
        name,
        doc,
        arity: (1, 1),
        attrs: ARG,
        class: Class::Reduction,
        types: NUMBERS,
        infer: infer_arg,
        eval,
        lower: Lower::Pointwise(lower_arg),
        row_axes: Some(|attrs, _| vec![attrs.int("axis") as usize]),
        tolerance: Tolerance::Exact,
        samples: sample_arg,
        source: "ONNX operators, ArgMax and ArgMin (NaN is undefined there)",
    }
}

fn axes_of(attrs: &Attrs) -> Vec<usize> {
    attrs.ints("axes").iter().map(|a| *a as usize).collect()
}

// Types and shapes

fn reduced_shape(shape: &[Expr], axes: &[usize], keepdims: bool) -> Vec<Expr> {
    let mut out = Vec::new();
    for (d, extent) in shape.iter().enumerate() {
        if !axes.contains(&d) {
            out.push(extent.clone());
        } else if keepdims {
            out.push(1.into());
        }
    }
    out
}

fn infer(cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
    let axes = cx.axes(0, "axes")?;
    let x = cx.inputs[0];
    let shape = reduced_shape(&x.shape, &axes, cx.attrs.flag("keepdims"));
    Ok(vec![TensorType::new(x.dtype, shape)])
}

fn infer_arg(cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
    let axis = cx.axis(0, "axis")?;
    let shape = reduced_shape(&cx.inputs[0].shape, &[axis], cx.attrs.flag("keepdims"));
    Ok(vec![TensorType::new(DType::I64, shape)])
}

// Definition in loops

/// The index of x for an index of the result and the indices along the reduced axes.
fn whole_index(
    rank: usize,
    axes: &[usize],
    keepdims: bool,
    index: &[Expr],
    vars: &[Expr],
) -> Vec<Expr> {
    let mut kept = index.iter();
    let mut at = Vec::new();
    for d in 0..rank {
        match axes.iter().position(|a| *a == d) {
            Some(k) => {
                if keepdims {
                    kept.next();
                }
                at.push(vars[k].clone());
            }
            None => at.extend(kept.next().cloned()),
        }
    }
    at
}

/// The least (`top` false) or greatest value of a type.
pub(super) fn extreme(dtype: DType, top: bool) -> Const {
    let op = if top { BinaryOp::Min } else { BinaryOp::Max };
    op.identity(dtype)
        .expect("invariant: extremes have an identity")
}

/// How a reduction of elements of a type accumulates: operation and start.
fn accumulation(name: &str, dtype: DType) -> (BinaryOp, Const) {
    let acc = compute_type(dtype);
    match name {
        "reduce_max" if dtype == DType::Bool => (BinaryOp::Or, extreme(acc, false)),
        "reduce_min" if dtype == DType::Bool => (BinaryOp::And, extreme(acc, true)),
        "reduce_max" => (BinaryOp::Max, extreme(acc, false)),
        "reduce_min" => (BinaryOp::Min, extreme(acc, true)),
        "reduce_prod" => (BinaryOp::Mul, Const::new(acc, 1.0)),
        _ => (BinaryOp::Add, Const::new(acc, 0.0)),
    }
}

/// A count as a number of a type.
pub(super) fn count_as(cx: &Define<'_>, dtype: DType, count: &Expr) -> Scalar {
    let count = count.simplify(cx.ranges());
    match count.as_const() {
        Some(n) => Scalar::Const(Const::int(dtype, n.into())),
        None if dtype == DType::I64 => Scalar::Index(count),
        None => Scalar::cast(dtype, Scalar::Index(count)),
    }
}

fn lower_reduction(cx: &mut Define<'_>, node: NodeId, _: usize, index: &[Expr]) -> Scalar {
    let row = cx.node(node);
    let (axes, keepdims) = (axes_of(&row.attrs), row.attrs.flag("keepdims"));
    let x = cx.operand_type(node, 0);
    let extents: Vec<Expr> = axes.iter().map(|d| x.shape[*d].clone()).collect();
    let (op, init) = accumulation(row.op.name, x.dtype);
    let term = &mut |cx: &mut Define<'_>, vars: &[Expr]| {
        let at = whole_index(x.rank(), &axes, keepdims, index, vars);
        let element = cx.operand(node, 0, &at);
        widen(cx, element)
    };
    let mut y = if extents.is_empty() {
        term(cx, &[])
    } else {
        cx.reduce(&extents, op, init, term)
    };
    if row.op.name == "reduce_mean" && !extents.is_empty() {
        let count = count_as(cx, init.dtype, &product(&extents));
        y = Scalar::binary(BinaryOp::Div, y, count);
    }
    result(cx, node, y)
}

fn lower_arg(cx: &mut Define<'_>, node: NodeId, _: usize, index: &[Expr]) -> Scalar {
    let row = cx.node(node);
    let (axis, keepdims) = (row.attrs.int("axis") as usize, row.attrs.flag("keepdims"));
    let (greatest, last) = (row.op.name == "argmax", row.attrs.flag("last"));
    let x = cx.operand_type(node, 0);
    // Index 0 is right for the identity: a first element as bad as it is at least as good as all.
    let identity = [
        extreme(compute_type(x.dtype), !greatest),
        Const::int(DType::I64, 0),
    ];
    // What is better than what, by the order of operands of `Lt`.
    let ordered = move |op, old: &Scalar, new: &Scalar| {
        let (low, high) = if greatest { (old, new) } else { (new, old) };
        Scalar::binary(op, low.clone(), high.clone())
    };
    let step = &mut |cx: &mut Define<'_>, var: &Expr, state: &[Scalar]| {
        let at = whole_index(
            x.rank(),
            &[axis],
            keepdims,
            index,
            std::slice::from_ref(var),
        );
        let element = cx.operand(node, 0, &at);
        let element = widen(cx, element);
        let element = cx.bind(element);
        let op = if last { BinaryOp::Le } else { BinaryOp::Lt };
        let take = cx.bind(ordered(op, &state[0], &element));
        vec![
            Scalar::select(take.clone(), element, state[0].clone()),
            Scalar::select(take, Scalar::Index(var.clone()), state[1].clone()),
        ]
    };
    let combine = |a: &[Scalar], b: &[Scalar]| {
        let (low, high) = if last { (&a[1], &b[1]) } else { (&b[1], &a[1]) };
        let later = Scalar::binary(BinaryOp::Lt, low.clone(), high.clone());
        let tie = Scalar::binary(
            BinaryOp::And,
            Scalar::binary(BinaryOp::Eq, a[0].clone(), b[0].clone()),
            later,
        );
        let better = ordered(BinaryOp::Lt, &a[0], &b[0]);
        let take = Scalar::binary(BinaryOp::Or, better, tie);
        (0..2)
            .map(|k| Scalar::select(take.clone(), b[k].clone(), a[k].clone()))
            .collect()
    };
    let state = cx.reduce_tuple(&x.shape[axis], &identity, step, &combine);
    state[1].clone()
}

// Reference evaluation

/// For each element, in order, the position of the result element that it belongs to.
fn result_positions(shape: &[usize], axes: &[usize]) -> Vec<usize> {
    let mut strides = vec![0; shape.len()];
    let mut stride = 1;
    for d in (0..shape.len()).rev().filter(|d| !axes.contains(d)) {
        strides[d] = stride;
        stride *= shape[d];
    }
    let mut positions = vec![0];
    for (extent, stride) in shape.iter().zip(strides) {
        positions = positions
            .iter()
            .flat_map(|p| (0..*extent).map(move |i| p + i * stride))
            .collect();
    }
    positions
}

fn fold<T: Copy>(x: &[T], at: &[usize], count: usize, start: T, f: impl Fn(T, T) -> T) -> Vec<T> {
    let mut y = vec![start; count];
    for (v, k) in x.iter().zip(at) {
        y[*k] = f(y[*k], *v);
    }
    y
}

fn eval_with(
    cx: &EvalCx<'_>,
    float: (f64, impl Fn(f64, f64) -> f64),
    int: (impl Fn(DType) -> i128, impl Fn(i128, i128) -> i128),
) -> Result<Vec<Tensor>, EvalError> {
    let (x, shape) = (cx.inputs[0], cx.output_shape(0)?);
    let at = result_positions(&x.shape, &axes_of(cx.attrs));
    let count = shape.iter().product();
    let wide = match x.to_wide() {
        Wide::Float(v) => Wide::Float(fold(&v, &at, count, float.0, float.1)),
        Wide::Int(v) => {
            let f = |a, b| wrap_to(x.dtype, int.1(a, b));
            Wide::Int(fold(&v, &at, count, int.0(x.dtype), f))
        }
    };
    Ok(vec![Tensor::from_wide(x.dtype, shape, &wide)])
}

fn bound(dtype: DType, top: bool) -> i128 {
    let (lo, hi) = dtype.int_range().unwrap_or((0, 0));
    if top { hi } else { lo }
}

fn eval_sum(cx: &EvalCx<'_>) -> Result<Vec<Tensor>, EvalError> {
    eval_with(cx, (0.0, |a, b| a + b), (|_| 0, |a, b| a + b))
}

fn eval_prod(cx: &EvalCx<'_>) -> Result<Vec<Tensor>, EvalError> {
    eval_with(cx, (1.0, |a, b| a * b), (|_| 1, |a, b| a * b))
}

fn eval_max(cx: &EvalCx<'_>) -> Result<Vec<Tensor>, EvalError> {
    let greater = |a: f64, b: f64| if b > a || b.is_nan() { b } else { a };
    let least = |d| bound(d, false);
    eval_with(cx, (f64::NEG_INFINITY, greater), (least, |a, b| a.max(b)))
}

fn eval_min(cx: &EvalCx<'_>) -> Result<Vec<Tensor>, EvalError> {
    let lesser = |a: f64, b: f64| if b < a || b.is_nan() { b } else { a };
    let greatest = |d| bound(d, true);
    eval_with(cx, (f64::INFINITY, lesser), (greatest, |a, b| a.min(b)))
}

fn eval_mean(cx: &EvalCx<'_>) -> Result<Vec<Tensor>, EvalError> {
    let (x, shape) = (cx.inputs[0], cx.output_shape(0)?);
    let axes = axes_of(cx.attrs);
    let at = result_positions(&x.shape, &axes);
    let count = shape.iter().product();
    let many: usize = axes.iter().map(|d| x.shape[*d]).product();
    let wide = match x.to_wide() {
        Wide::Float(v) => {
            let sums = fold(&v, &at, count, 0.0, |a, b| a + b);
            Wide::Float(sums.into_iter().map(|s| s / many as f64).collect())
        }
        Wide::Int(v) => {
            let sums = fold(&v, &at, count, 0, |a, b| wrap_to(x.dtype, a + b));
            let divisor = wrap_to(x.dtype, many as i128);
            let mean = |s: i128| s.checked_div(divisor).unwrap_or(0);
            Wide::Int(sums.into_iter().map(mean).collect())
        }
    };
    Ok(vec![Tensor::from_wide(x.dtype, shape, &wide)])
}

fn eval_argmax(cx: &EvalCx<'_>) -> Result<Vec<Tensor>, EvalError> {
    eval_arg(cx, |old, new| old < new, |old, new| old < new)
}

fn eval_argmin(cx: &EvalCx<'_>) -> Result<Vec<Tensor>, EvalError> {
    eval_arg(cx, |old, new| old > new, |old, new| old > new)
}

fn eval_arg(
    cx: &EvalCx<'_>,
    float: impl Fn(f64, f64) -> bool,
    int: impl Fn(i128, i128) -> bool,
) -> Result<Vec<Tensor>, EvalError> {
    let x = cx.inputs[0];
    let found = match x.to_wide() {
        Wide::Float(v) => search(cx, &v, |a| a.is_nan(), float),
        Wide::Int(v) => search(cx, &v, |_| false, int),
    };
    let wide = Wide::Int(found);
    Ok(vec![Tensor::from_wide(
        DType::I64,
        cx.output_shape(0)?,
        &wide,
    )])
}

fn search<T: Copy + PartialEq>(
    cx: &EvalCx<'_>,
    x: &[T],
    skip: impl Fn(T) -> bool,
    better: impl Fn(T, T) -> bool,
) -> Vec<i128> {
    let (axis, last) = (cx.attrs.int("axis") as usize, cx.attrs.flag("last"));
    let shape = &cx.inputs[0].shape;
    let outer: usize = shape[..axis].iter().product();
    let inner: usize = shape[axis + 1..].iter().product();
    let mut found = Vec::with_capacity(outer * inner);
    for row in 0..outer * inner {
        let base = row / inner * shape[axis] * inner + row % inner;
        let mut best: Option<(usize, T)> = None;
        for k in 0..shape[axis] {
            let v = x[base + k * inner];
            let take = best.is_none_or(|(_, old)| better(old, v) || (last && old == v));
            if take && !skip(v) {
                best = Some((k, v));
            }
        }
        found.push(best.map_or(0, |(k, _)| k as i128));
    }
    found
}

// Samples

/// A shape whose last extents may be large, and what to reduce of it.
fn sample_reduction(s: &mut Sampler) -> Vec<Sample> {
    let rank = s.int(0, 4) as usize;
    let shape = s.shape(rank);
    let axes: Vec<i64> = (0..rank as i64).filter(|_| s.int(0, 1) == 0).collect();
    let dtype = s.dtype(NUMBERS);
    let x = s.tensor(dtype, &shape, -4.0, 4.0);
    let keepdims = s.int(0, 1) == 0;
    let attrs = Attrs::new().with("axes", axes).with("keepdims", keepdims);
    vec![Sample::new(vec![x], attrs)]
}

/// Factors around 1, few enough to stay in range.
fn sample_product(s: &mut Sampler) -> Vec<Sample> {
    let mut samples = sample_reduction(s);
    for sample in &mut samples {
        let x = &mut sample.inputs[0];
        let (lo, hi) = if x.dtype.is_float() {
            (0.9, 1.1)
        } else {
            (-3.0, 3.0)
        };
        *x = s.tensor(x.dtype, &x.shape, lo, hi);
    }
    samples
}

/// Few different values, so that there are ties.
fn sample_arg(s: &mut Sampler) -> Vec<Sample> {
    let rank = s.int(1, 4) as usize;
    let shape = s.shape(rank);
    let dtype = *s.pick(&[DType::I32, DType::U8, DType::I64, DType::I8]);
    let mut x = s.tensor(dtype, &shape, 0.0, 9.0);
    if s.int(0, 1) == 0 {
        x = cast_tensor(&x, *s.pick(&[DType::F32, DType::F16, DType::F64]));
    }
    let attrs = Attrs::new()
        .with("axis", s.int(0, rank as i64 - 1))
        .with("keepdims", s.int(0, 1) == 0)
        .with("last", s.int(0, 1) == 0);
    vec![Sample::new(vec![x], attrs)]
}
