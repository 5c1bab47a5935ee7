//! Reductions over windows that slide over spatial axes, in channels-first order.
use super::elementwise::{compute_type, result, widen};
use super::reduce::{count_as, extreme};
use super::spatial::{Axis, Window, sample_window, three_axes, visit_rows};
use super::types::NUMBERS;
use super::{AttrDef, Class, InferCx, Lower, OpDef, Sample, Sampler, Tolerance, attr};
use crate::define::{Define, unflatten};
use crate::dtype::DType;
use crate::eval::{EvalCx, EvalError};
use crate::expr::{Expr, product};
use crate::graph::{AttrKind, Attrs, NodeId, TensorType};
use crate::loops::{BinaryOp, Const, Scalar};
use crate::tensor::{Tensor, Wide, wrap_to};

const KERNEL: AttrDef = attr("kernel", AttrKind::Ints, "number of taps per spatial axis");
const STRIDES: AttrDef = attr(
    "strides",
    AttrKind::Ints,
    "distance of neighbouring windows",
);
const DILATIONS: AttrDef = attr("dilations", AttrKind::Ints, "distance of neighbouring taps");
const BEFORE: AttrDef = attr(
    "pads_before",
    AttrKind::Ints,
    "how far windows reach out before each spatial axis",
);
const AFTER: AttrDef = attr(
    "pads_after",
    AttrKind::Ints,
    "how far windows reach out behind each spatial axis",
);

const PLAIN: &[AttrDef] = &[KERNEL, STRIDES, DILATIONS, BEFORE, AFTER];

/// The rows of this family.
pub const OPS: &[OpDef] = &[
    OpDef {
        name: "pool_max",
        doc: "y[n, c, p] = greatest x[n, c, p*stride + k*dilation - before] over the taps k that lie inside, NaN if one is; -inf or the least integer if none does",
        arity: (1, 1),
        attrs: PLAIN,
        class: Class::Reduction,
        types: NUMBERS,
        infer: infer_same,
        eval: eval_max,
        lower: Lower::Pointwise(lower_max),
        row_axes: None,
        tolerance: Tolerance::Exact,
        samples: |s| sample(s, |_, _, attrs| attrs),
        source: "ONNX operators, MaxPool",
    },
    OpDef {
        name: "pool_argmax",
        doc: "y = row-major position in x of the first greatest element of the window; -1 if it has none",
        arity: (1, 1),
        attrs: &[
            KERNEL,
            STRIDES,
            DILATIONS,
            BEFORE,
            AFTER,
            attr(
                "storage_order",
                AttrKind::Int,
                "0, or 1 to count positions within a plane with the first axis fastest",
            ),
        ],
        class: Class::Reduction,
        types: NUMBERS,
        infer: infer_arg,
        eval: eval_arg,
        lower: Lower::Pointwise(lower_arg),
        row_axes: None,
        tolerance: Tolerance::Exact,
        samples: |s| sample(s, |s, _, attrs| attrs.with("storage_order", s.int(0, 1))),
        source: "ONNX operators, MaxPool, second result",
    },
    OpDef {
        name: "pool_sum",
        doc: "y[n, c, p] = sum over the taps k that lie inside of x[n, c, p*stride + k*dilation - before]",
        arity: (1, 1),
        attrs: PLAIN,
        class: Class::Reduction,
        types: NUMBERS,
        infer: infer_same,
        eval: eval_sum,
        lower: Lower::Pointwise(lower_sum),
        row_axes: None,
        tolerance: SUM,
        samples: |s| sample(s, |_, _, attrs| attrs),
        source: "ONNX operators, LpPool with p = 1 and without absolute values",
    },
    OpDef {
        name: "pool_avg",
        doc: "y = pool_sum of x / number of taps that count: those inside or, with count_include_pad, those inside or in the padding but for ceil_pads; integers truncate",
        arity: (1, 1),
        attrs: &[
            KERNEL,
            STRIDES,
            DILATIONS,
            BEFORE,
            AFTER,
            attr(
                "ceil_pads",
                AttrKind::Ints,
                "how much of pads_after never counts",
            ),
            attr(
                "count_include_pad",
                AttrKind::Bool,
                "whether taps in the padding count",
            ),
        ],
        class: Class::Reduction,
        types: NUMBERS,
        infer: infer_average,
        eval: eval_average,
        lower: Lower::Pointwise(lower_average),
        row_axes: None,
        tolerance: SUM,
        samples: |s| sample(s, average_attrs),
        source: "ONNX operators, AveragePool",
    },
];

/// Sums are reassociated; partial sums may exceed the result (terms cancel).
const SUM: Tolerance = Tolerance::Sum(4.0);

fn window_of(attrs: &Attrs) -> Window {
    let kernel = attrs.ints("kernel").iter().map(|k| (*k).into()).collect();
    Window::new(attrs, kernel)
}

// Types and shapes

fn infer_same(cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
    let x = cx.inputs[0];
    if !(3..=5).contains(&x.rank()) {
        return Err(format!(
            "the operand is {} of rank {}, want numbers of rank 3, 4 or 5",
            x.dtype,
            x.rank()
        ));
    }
    let window = window_of(cx.attrs);
    window.check(x.rank() - 2)?;
    let counts = window.counts(&x.shape[2..])?;
    let shape = [&x.shape[..2], &counts].concat();
    Ok(vec![TensorType::new(x.dtype, shape)])
}

fn infer_arg(cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
    let order = cx.attrs.int("storage_order");
    if !(0..=1).contains(&order) {
        return Err(format!("`storage_order` is {order}, want 0 or 1"));
    }
    let mut types = infer_same(cx)?;
    types[0].dtype = DType::I64;
    Ok(types)
}

fn infer_average(cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
    let types = infer_same(cx)?;
    let (extra, after) = (cx.attrs.ints("ceil_pads"), cx.attrs.ints("pads_after"));
    let fits = |(e, a): (&i64, &i64)| (0..=*a).contains(e);
    if extra.len() != after.len() || !extra.iter().zip(after).all(fits) {
        return Err(format!(
            "`ceil_pads` is {extra:?}, want parts of `pads_after`, {after:?}"
        ));
    }
    Ok(types)
}

// Definition in loops

/// Accumulates what lies inside a window.
fn lower_window(
    cx: &mut Define<'_>,
    node: NodeId,
    index: &[Expr],
    op: BinaryOp,
    outside: Const,
) -> Scalar {
    let window = window_of(&cx.node(node).attrs);
    let x = cx.operand_type(node, 0);
    let init = Const::new(compute_type(x.dtype), outside.as_f64());
    let init = if x.dtype.is_float() { init } else { outside };
    cx.reduce(&window.kernel, op, init, &mut |cx, taps| {
        let at = window.position(&index[2..], taps);
        let conds = window.inside(&at, &x.shape[2..]);
        let place = [&index[..2], &at].concat();
        let element = cx.guarded(&conds, Scalar::Const(outside), &mut |cx| {
            cx.operand(node, 0, &place)
        });
        widen(cx, element)
    })
}

fn lower_max(cx: &mut Define<'_>, node: NodeId, _: usize, index: &[Expr]) -> Scalar {
    let least = extreme(cx.operand_type(node, 0).dtype, false);
    let y = lower_window(cx, node, index, BinaryOp::Max, least);
    result(cx, node, y)
}

fn window_sum(cx: &mut Define<'_>, node: NodeId, index: &[Expr]) -> Scalar {
    let zero = Const::new(cx.operand_type(node, 0).dtype, 0.0);
    lower_window(cx, node, index, BinaryOp::Add, zero)
}

fn lower_sum(cx: &mut Define<'_>, node: NodeId, _: usize, index: &[Expr]) -> Scalar {
    let y = window_sum(cx, node, index);
    result(cx, node, y)
}

fn lower_average(cx: &mut Define<'_>, node: NodeId, _: usize, index: &[Expr]) -> Scalar {
    let sum = window_sum(cx, node, index);
    let attrs = &cx.node(node).attrs;
    let window = window_of(attrs);
    let extents = &cx.operand_type(node, 0).shape[2..];
    let counts: Vec<Expr> = (0..extents.len())
        .map(|d| counted_taps(attrs, &window, d, &index[2 + d], &extents[d]))
        .collect();
    let count = count_as(cx, cx.dtype_of(&sum), &product(&counts));
    let y = Scalar::binary(BinaryOp::Div, sum, count);
    result(cx, node, y)
}

/// How many taps of window `at` count on axis `d`.
fn counted_taps(attrs: &Attrs, window: &Window, d: usize, at: &Expr, extent: &Expr) -> Expr {
    let padded = attrs.flag("count_include_pad");
    let extra = attrs.ints("ceil_pads")[d];
    let (all, dilation) = (&window.kernel[d], window.dilations[d]);
    let base = at.clone() * window.strides[d] - window.before[d];
    let first = if padded || window.before[d] == 0 {
        Expr::from(0)
    } else {
        (-base.clone()).ceil_div(dilation).at_least(0)
    };
    let end = match (padded, window.after[d]) {
        (true, _) if extra == 0 => all.clone(),
        (false, 0) => all.clone(),
        (true, after) => all.at_most((extent.clone() + (after - extra) - base).ceil_div(dilation)),
        (false, _) => all.at_most((extent.clone() - base).ceil_div(dilation)),
    };
    (end - first).at_least(0)
}

/// State: the greatest element, its tap (-1 if none), its position.
fn lower_arg(cx: &mut Define<'_>, node: NodeId, _: usize, index: &[Expr]) -> Scalar {
    let attrs = &cx.node(node).attrs;
    let window = window_of(attrs);
    let x = cx.operand_type(node, 0);
    let (first_fastest, dtype) = (attrs.int("storage_order") == 1, x.dtype);
    let none = Const::int(DType::I64, -1);
    let identity = [extreme(compute_type(dtype), false), none, none];
    let step = &mut |cx: &mut Define<'_>, var: &Expr, state: &[Scalar]| {
        let taps = unflatten(var, &window.kernel, cx.ranges());
        let at = window.position(&index[2..], &taps);
        let conds = window.inside(&at, &x.shape[2..]);
        let place = [&index[..2], &at].concat();
        let outside = Scalar::Const(extreme(dtype, false));
        let element = cx.guarded(&conds, outside, &mut |cx| cx.operand(node, 0, &place));
        let element = widen(cx, element);
        let element = cx.bind(element);
        let tap = cx.guarded(&conds, Scalar::Const(none), &mut |_| {
            Scalar::Index(var.clone())
        });
        let tap = cx.bind(tap);
        let position = Scalar::Index(flat_position(&x.shape, &place, first_fastest));
        let better = Scalar::binary(BinaryOp::Lt, state[0].clone(), element.clone());
        let better = Scalar::binary(BinaryOp::Or, is_none(&state[1]), better);
        let take = Scalar::binary(BinaryOp::And, is_some(&tap), better);
        let take = cx.bind(take);
        let next = [element, tap, position];
        (0..3)
            .map(|k| Scalar::select(take.clone(), next[k].clone(), state[k].clone()))
            .collect()
    };
    let state = cx.reduce_tuple(&product(&window.kernel), &identity, step, &join_args);
    state[2].clone()
}

fn is_none(tap: &Scalar) -> Scalar {
    Scalar::binary(BinaryOp::Lt, tap.clone(), Scalar::num(DType::I64, 0.0))
}

fn is_some(tap: &Scalar) -> Scalar {
    Scalar::binary(BinaryOp::Le, Scalar::num(DType::I64, 0.0), tap.clone())
}

fn join_args(a: &[Scalar], b: &[Scalar]) -> Vec<Scalar> {
    let both = |op, x: &Scalar, y: &Scalar| Scalar::binary(op, x.clone(), y.clone());
    let tie = Scalar::binary(
        BinaryOp::And,
        both(BinaryOp::Eq, &a[0], &b[0]),
        both(BinaryOp::Lt, &b[1], &a[1]),
    );
    let better = Scalar::binary(BinaryOp::Or, both(BinaryOp::Lt, &a[0], &b[0]), tie);
    let better = Scalar::binary(BinaryOp::Or, is_none(&a[1]), better);
    let take = Scalar::binary(BinaryOp::And, is_some(&b[1]), better);
    (0..3)
        .map(|k| Scalar::select(take.clone(), b[k].clone(), a[k].clone()))
        .collect()
}

/// The position of an element; within its plane, `first_fastest` reverses the order of the axes.
fn flat_position(shape: &[Expr], index: &[Expr], first_fastest: bool) -> Expr {
    let mut order: Vec<usize> = (0..shape.len()).collect();
    if first_fastest {
        order[2..].reverse();
    }
    order.into_iter().fold(Expr::from(0), |at, d| {
        at * shape[d].clone() + index[d].clone()
    })
}

// Reference evaluation

/// The axes, the number of planes, and the extents of planes of x and the result.
fn planes(cx: &EvalCx<'_>) -> Result<([Axis; 3], usize, usize, usize), EvalError> {
    let (from, to) = (&cx.inputs[0].shape, cx.output_shape(0)?);
    let kernel: Vec<usize> = cx
        .attrs
        .ints("kernel")
        .iter()
        .map(|k| *k as usize)
        .collect();
    let axes = three_axes(cx.attrs, &from[2..], &to[2..], &kernel);
    let count = |extents: &[usize]| extents.iter().product::<usize>();
    Ok((axes, count(&to[..2]), count(&from[2..]), count(&to[2..])))
}

fn fold<T: Copy>(
    cx: &EvalCx<'_>,
    x: &[T],
    start: T,
    f: impl Fn(T, T) -> T,
) -> Result<Vec<T>, EvalError> {
    let (axes, count, inner, outer) = planes(cx)?;
    let mut y = vec![start; count * outer];
    for plane in 0..count {
        let (source, results) = (&x[plane * inner..], &mut y[plane * outer..]);
        visit_rows(&axes, |_, range, first| {
            let elements = source[first..].iter().step_by(axes[2].stride);
            for (r, v) in results[range].iter_mut().zip(elements) {
                *r = f(*r, *v);
            }
        });
    }
    Ok(y)
}

fn eval_max(cx: &EvalCx<'_>) -> Result<Vec<Tensor>, EvalError> {
    let x = cx.inputs[0];
    let greater = |a: f64, b: f64| if b > a || b.is_nan() { b } else { a };
    let least = x.dtype.int_range().map_or(0, |(lo, _)| lo);
    let wide = match x.to_wide() {
        Wide::Float(v) => Wide::Float(fold(cx, &v, f64::NEG_INFINITY, greater)?),
        Wide::Int(v) => Wide::Int(fold(cx, &v, least, |a, b| a.max(b))?),
    };
    Ok(vec![Tensor::from_wide(x.dtype, cx.output_shape(0)?, &wide)])
}

fn sums(cx: &EvalCx<'_>) -> Result<Wide, EvalError> {
    let x = cx.inputs[0];
    Ok(match x.to_wide() {
        Wide::Float(v) => Wide::Float(fold(cx, &v, 0.0, |a, b| a + b)?),
        Wide::Int(v) => Wide::Int(fold(cx, &v, 0, |a, b| wrap_to(x.dtype, a + b))?),
    })
}

fn eval_sum(cx: &EvalCx<'_>) -> Result<Vec<Tensor>, EvalError> {
    let shape = cx.output_shape(0)?;
    Ok(vec![Tensor::from_wide(
        cx.inputs[0].dtype,
        shape,
        &sums(cx)?,
    )])
}

/// Counts, window by window, the taps that count; padding is made part of the axes for that.
fn eval_average(cx: &EvalCx<'_>) -> Result<Vec<Tensor>, EvalError> {
    let (mut axes, _, _, outer) = planes(cx)?;
    if cx.attrs.flag("count_include_pad") {
        let (after, extra) = (cx.attrs.ints("pads_after"), cx.attrs.ints("ceil_pads"));
        let skip = 3 - after.len();
        for (d, axis) in axes[skip..].iter_mut().enumerate() {
            axis.input += axis.before + (after[d] - extra[d]) as usize;
            axis.before = 0;
        }
    }
    let mut counts = vec![0i128; outer];
    visit_rows(&axes, |_, range, _| {
        counts[range].iter_mut().for_each(|c| *c += 1);
    });
    let dtype = cx.inputs[0].dtype;
    let wide = match sums(cx)? {
        Wide::Float(v) => {
            let mean = |(k, s): (usize, f64)| s / counts[k % outer] as f64;
            Wide::Float(v.into_iter().enumerate().map(mean).collect())
        }
        Wide::Int(v) => {
            let mean = |(k, s): (usize, i128)| {
                let count = wrap_to(dtype, counts[k % outer]);
                s.checked_div(count).unwrap_or(0)
            };
            Wide::Int(v.into_iter().enumerate().map(mean).collect())
        }
    };
    Ok(vec![Tensor::from_wide(dtype, cx.output_shape(0)?, &wide)])
}

fn eval_arg(cx: &EvalCx<'_>) -> Result<Vec<Tensor>, EvalError> {
    let found = match cx.inputs[0].to_wide() {
        Wide::Float(v) => search(cx, &v)?,
        Wide::Int(v) => search(cx, &v)?,
    };
    Ok(vec![Tensor::from_i64(cx.output_shape(0)?, &found)])
}

fn search<T: Copy + PartialOrd>(cx: &EvalCx<'_>, x: &[T]) -> Result<Vec<i64>, EvalError> {
    let (axes, count, inner, outer) = planes(cx)?;
    let mut found = Vec::with_capacity(count * outer);
    for plane in 0..count {
        let source = &x[plane * inner..][..inner];
        let mut best: Vec<Option<usize>> = vec![None; outer];
        visit_rows(&axes, |_, range, first| {
            for (k, slot) in best[range].iter_mut().enumerate() {
                let at = first + k * axes[2].stride;
                if slot.is_none_or(|old| source[at] > source[old]) {
                    *slot = Some(at);
                }
            }
        });
        for slot in best {
            found.push(slot.map_or(-1, |at| (plane * inner + reordered(cx, &axes, at)) as i64));
        }
    }
    Ok(found)
}

/// The position within a plane in the order that the attribute says.
fn reordered(cx: &EvalCx<'_>, [a, b, c]: &[Axis; 3], at: usize) -> usize {
    if cx.attrs.int("storage_order") == 0 {
        return at;
    }
    let (i, j, k) = (
        at / (b.input * c.input),
        at / c.input % b.input,
        at % c.input,
    );
    (k * b.input + j) * a.input + i
}

// Samples

fn sample(s: &mut Sampler, more: impl Fn(&mut Sampler, &Window, Attrs) -> Attrs) -> Vec<Sample> {
    let rank = *s.pick(&[1, 2, 2, 2, 3]);
    let (extents, window) = sample_window(s, rank);
    let planes = vec![*s.pick(&[0, 1, 1, 2]), *s.pick(&[1, 3, 8, 17])];
    let dtype = s.dtype(NUMBERS);
    let x = s.tensor(dtype, &[planes, extents].concat(), -4.0, 4.0);
    let attrs = window.attrs().with("kernel", window.kernel_ints());
    let attrs = more(s, &window, attrs);
    vec![Sample::new(vec![x], attrs)]
}

fn average_attrs(s: &mut Sampler, window: &Window, attrs: Attrs) -> Attrs {
    let extra: Vec<i64> = window.after.iter().map(|a| s.int(0, *a)).collect();
    attrs
        .with("ceil_pads", extra)
        .with("count_include_pad", s.int(0, 1) == 0)
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
