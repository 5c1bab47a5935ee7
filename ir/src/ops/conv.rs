//! Convolutions over one to three spatial axes, in channels-first order.
use super::contract::{SUM_OF_PRODUCTS, operand_types, product, product_type, zero};
use super::elementwise::result;
use super::spatial::{
    Number, Pair, Window, add_row, sample_window, three_axes, visit_rows, wide_ints,
};
use super::types::NUMBERS;
use super::{AttrDef, Class, InferCx, Lower, OpDef, Sample, Sampler, attr};
use crate::define::Define;
use crate::eval::{EvalCx, EvalError};
use crate::expr::Expr;
use crate::graph::{AttrKind, NodeId, TensorType};
use crate::loops::{BinaryOp, Scalar};
use crate::tensor::{Tensor, Wide};

const STRIDES: AttrDef = attr(
    "strides",
    AttrKind::Ints,
    "distance of neighbouring windows",
);
const DILATIONS: AttrDef = attr("dilations", AttrKind::Ints, "distance of neighbouring taps");
const BEFORE: AttrDef = attr(
    "pads_before",
    AttrKind::Ints,
    "zeros before each spatial axis",
);
const AFTER: AttrDef = attr(
    "pads_after",
    AttrKind::Ints,
    "zeros behind each spatial axis",
);
const GROUPS: AttrDef = attr(
    "groups",
    AttrKind::Int,
    "into how many groups channels fall",
);

/// The rows of this family.
pub const OPS: &[OpDef] = &[
    OpDef {
        name: "conv",
        doc: "y[n, o, p] = sum over c and k of x[n, g*C + c, p*stride + k*dilation - before] * w[o, c, k], where C is the number of channels of a group and g the group of o; x is 0 outside; operands of 8 bits, with a sign or without, have an i32 result",
        arity: (2, 2),
        attrs: &[STRIDES, DILATIONS, BEFORE, AFTER, GROUPS],
        class: Class::Contraction,
        types: NUMBERS,
        infer: infer_conv,
        eval: eval_conv,
        lower: Lower::Pointwise(lower_conv),
        row_axes: None,
        tolerance: SUM_OF_PRODUCTS,
        samples: sample_conv,
        source: "ONNX operators, Conv",
    },
    OpDef {
        name: "conv_transpose",
        doc: "y[n, o, p*stride + k*dilation - before] += x[n, c, p] * w[c, o mod O, k] for all p, k and the channels c of the group of o, where O is the number of results of a group",
        arity: (2, 2),
        attrs: &[
            STRIDES,
            DILATIONS,
            BEFORE,
            AFTER,
            attr(
                "output_padding",
                AttrKind::Ints,
                "elements added behind each spatial axis",
            ),
            GROUPS,
        ],
        class: Class::Contraction,
        types: NUMBERS,
        infer: infer_transpose,
        eval: eval_transpose,
        lower: Lower::Pointwise(lower_transpose),
        row_axes: None,
        tolerance: SUM_OF_PRODUCTS,
        samples: sample_transpose,
        source: "ONNX operators, ConvTranspose",
    },
];

// Types and shapes

/// Checks what both rows have in common; returns the number of groups.
fn check_common(cx: &InferCx<'_>) -> Result<i64, String> {
    let (x, w) = (cx.inputs[0].rank(), cx.inputs[1].rank());
    if !(3..=5).contains(&x) || w != x {
        return Err(format!(
            "operands have ranks {x} and {w}, want two of 3, 4 or 5"
        ));
    }
    Window::new(cx.attrs, cx.inputs[1].shape[2..].to_vec()).check(x - 2)?;
    let groups = cx.attrs.int("groups");
    if !(1..1 << 31).contains(&groups) {
        return Err(format!("`groups` is {groups}, want at least 1"));
    }
    Ok(groups)
}

/// Checks that channels fall into equal groups.
fn check_divides(what: &str, channels: &Expr, groups: i64) -> Result<(), String> {
    if groups != 1 && channels.as_const().is_none_or(|c| c % groups != 0) {
        return Err(format!(
            "{channels} {what} channels do not fall into {groups} groups"
        ));
    }
    Ok(())
}

fn infer_conv(cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
    let dtype = product_type(cx)?;
    let groups = check_common(cx)?;
    let (x, w) = (&cx.inputs[0].shape, &cx.inputs[1].shape);
    if x[1] != w[1].clone() * groups {
        return Err(format!(
            "x has {} channels, w has {} in each of {groups} groups",
            x[1], w[1]
        ));
    }
    check_divides("output", &w[0], groups)?;
    let counts = Window::new(cx.attrs, w[2..].to_vec()).counts(&x[2..])?;
    let shape = [vec![x[0].clone(), w[0].clone()], counts].concat();
    Ok(vec![TensorType::new(dtype, shape)])
}

fn infer_transpose(cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
    cx.same_dtype()?;
    let groups = check_common(cx)?;
    let (x, w) = (&cx.inputs[0].shape, &cx.inputs[1].shape);
    if x[1] != w[0] {
        return Err(format!("x has {} channels, w is for {}", x[1], w[0]));
    }
    check_divides("input", &x[1], groups)?;
    let window = Window::new(cx.attrs, w[2..].to_vec());
    let more = cx.attrs.ints("output_padding");
    if more.len() != x.len() - 2 || more.iter().any(|v| !(0..1 << 31).contains(v)) {
        return Err(format!(
            "`output_padding` is {more:?}, want {} numbers that are at least 0",
            x.len() - 2
        ));
    }
    let mut shape = vec![x[0].clone(), w[1].clone() * groups];
    for d in 0..x.len() - 2 {
        let whole = (x[d + 2].clone() - 1) * window.strides[d] + window.span(d);
        let extent = whole + more[d] - window.before[d] - window.after[d];
        if extent.as_const().is_some_and(|e| e < 0) {
            return Err(format!(
                "spatial axis {d} of the result would have {extent} elements"
            ));
        }
        shape.push(extent);
    }
    Ok(vec![TensorType::new(cx.inputs[0].dtype, shape)])
}

// Definition in loops

/// The channel `c` of the group that channel `o` of `all` belongs to, of `each` in a group.
fn channel_of_group(o: &Expr, all: &Expr, groups: i64, each: &Expr, c: &Expr) -> Expr {
    if groups == 1 {
        return c.clone();
    }
    let group = o.div(all.div(groups));
    if each.is(1) {
        group
    } else {
        group * each.clone() + c.clone()
    }
}

fn lower_conv(cx: &mut Define<'_>, node: NodeId, _: usize, index: &[Expr]) -> Scalar {
    let attrs = &cx.node(node).attrs;
    let groups = attrs.int("groups");
    let (x, w) = (cx.operand_type(node, 0), cx.operand_type(node, 1));
    let window = Window::new(attrs, w.shape[2..].to_vec());
    let y = cx.reduce(
        &w.shape[1..],
        BinaryOp::Add,
        zero(x.dtype),
        &mut |cx, vars| {
            let c = channel_of_group(&index[1], &w.shape[0], groups, &w.shape[1], &vars[0]);
            let at = window.position(&index[2..], &vars[1..]);
            let conds = window.inside(&at, &x.shape[2..]);
            let place = [vec![index[0].clone(), c], at].concat();
            let none = Scalar::num(x.dtype, 0.0);
            let a = cx.guarded(&conds, none, &mut |cx| cx.operand(node, 0, &place));
            let b = cx.operand(node, 1, &[&index[1..2], vars].concat());
            product(cx, a, b)
        },
    );
    result(cx, node, y)
}

fn lower_transpose(cx: &mut Define<'_>, node: NodeId, _: usize, index: &[Expr]) -> Scalar {
    let attrs = &cx.node(node).attrs;
    let groups = attrs.int("groups");
    let (x, w) = (cx.operand_type(node, 0), cx.operand_type(node, 1));
    let window = Window::new(attrs, w.shape[2..].to_vec());
    let each = x.shape[1].div(groups);
    let results = w.shape[1].clone() * groups;
    let in_group = if groups == 1 {
        index[1].clone()
    } else {
        index[1].rem(w.shape[1].clone())
    };
    let extents = [std::slice::from_ref(&each), &w.shape[2..]].concat();
    let y = cx.reduce(&extents, BinaryOp::Add, zero(x.dtype), &mut |cx, vars| {
        let c = channel_of_group(&index[1], &results, groups, &each, &vars[0]);
        let (at, conds) = scattered(&window, &index[2..], &vars[1..], &x.shape[2..]);
        let place = [vec![index[0].clone(), c.clone()], at].concat();
        let none = Scalar::num(x.dtype, 0.0);
        let a = cx.guarded(&conds, none, &mut |cx| cx.operand(node, 0, &place));
        let tap = [&[c, in_group.clone()], &vars[1..]].concat();
        let b = cx.operand(node, 1, &tap);
        product(cx, a, b)
    });
    result(cx, node, y)
}

/// The element of x that tap `taps` adds to element `to` of the result, and what must be at least
/// 0 for there to be one.
fn scattered(
    window: &Window,
    to: &[Expr],
    taps: &[Expr],
    extents: &[Expr],
) -> (Vec<Expr>, Vec<Expr>) {
    let (mut at, mut conds) = (Vec::new(), Vec::new());
    for d in 0..to.len() {
        let from = to[d].clone() + window.before[d] - taps[d].clone() * window.dilations[d];
        let element = from.div(window.strides[d]);
        conds.push(-from.rem(window.strides[d]));
        conds.push(element.clone());
        conds.push(extents[d].clone() - 1 - element.clone());
        at.push(element);
    }
    (at, conds)
}

// Reference evaluation

fn count(extents: &[usize]) -> usize {
    extents.iter().product()
}

fn eval_conv(cx: &EvalCx<'_>) -> Result<Vec<Tensor>, EvalError> {
    let shape = cx.output_shape(0)?;
    let wide = match Pair::new(cx.inputs[0], cx.inputs[1]) {
        Pair::Float(x, w) => Wide::Float(convolve(cx, &shape, &x, &w)),
        Pair::Int(x, w) => wide_ints(convolve(cx, &shape, &x, &w)),
    };
    Ok(vec![Tensor::from_wide(cx.outputs[0].dtype, shape, &wide)])
}

/// Adds, plane by plane, rows of x times one tap to rows of the result.
fn convolve<T: Number>(cx: &EvalCx<'_>, out: &[usize], x: &[T], w: &[T]) -> Vec<T> {
    let (from, taps) = (&cx.inputs[0].shape, &cx.inputs[1].shape);
    let axes = three_axes(cx.attrs, &from[2..], &out[2..], &taps[2..]);
    let (inner, outer, kernel) = (count(&from[2..]), count(&out[2..]), count(&taps[2..]));
    let per_group = out[1] / cx.attrs.int("groups") as usize;
    let mut y = vec![T::ZERO; count(out)];
    for plane in 0..out[0] * out[1] {
        let (n, o) = (plane / out[1], plane % out[1]);
        let results = &mut y[plane * outer..][..outer];
        for c in 0..taps[1] {
            let channel = n * from[1] + o / per_group * taps[1] + c;
            let source = &x[channel * inner..][..inner];
            let weights = &w[(o * taps[1] + c) * kernel..][..kernel];
            visit_rows(&axes, |tap, range, first| {
                add_row(
                    &mut results[range],
                    &source[first..],
                    axes[2].stride,
                    weights[tap],
                );
            });
        }
    }
    y
}

fn eval_transpose(cx: &EvalCx<'_>) -> Result<Vec<Tensor>, EvalError> {
    let shape = cx.output_shape(0)?;
    let wide = match Pair::new(cx.inputs[0], cx.inputs[1]) {
        Pair::Float(x, w) => Wide::Float(scatter(cx, &shape, &x, &w)),
        Pair::Int(x, w) => wide_ints(scatter(cx, &shape, &x, &w)),
    };
    Ok(vec![Tensor::from_wide(cx.inputs[0].dtype, shape, &wide)])
}

/// The other way round: the result has the role that x has in a convolution.
fn scatter<T: Number>(cx: &EvalCx<'_>, out: &[usize], x: &[T], w: &[T]) -> Vec<T> {
    let (from, taps) = (&cx.inputs[0].shape, &cx.inputs[1].shape);
    let axes = three_axes(cx.attrs, &out[2..], &from[2..], &taps[2..]);
    let (inner, outer, kernel) = (count(&from[2..]), count(&out[2..]), count(&taps[2..]));
    let per_group = from[1] / cx.attrs.int("groups") as usize;
    let mut y = vec![T::ZERO; count(out)];
    for plane in 0..from[0] * from[1] {
        let (n, c) = (plane / from[1], plane % from[1]);
        let source = &x[plane * inner..][..inner];
        for o in 0..taps[1] {
            let channel = n * out[1] + c / per_group * taps[1] + o;
            let results = &mut y[channel * outer..][..outer];
            let weights = &w[(c * taps[1] + o) * kernel..][..kernel];
            visit_rows(&axes, |tap, range, first| {
                let places = results[first..].iter_mut().step_by(axes[2].stride);
                for (r, v) in places.zip(&source[range]) {
                    *r = r.plus_product(*v, weights[tap]);
                }
            });
        }
    }
    y
}

// Samples

/// Group count, channels of x in a group, results in a group.
fn sample_channels(s: &mut Sampler) -> (usize, usize, usize) {
    match s.int(0, 5) {
        0 => (1, *s.pick(&[0, 1, 3]), *s.pick(&[1, 8, 9])),
        1 => (*s.pick(&[2, 3, 8, 17]), 1, 1),
        2 => (*s.pick(&[2, 3]), 1, 2),
        3 => (2, 3, *s.pick(&[1, 4])),
        _ => (1, *s.pick(&[1, 2, 5, 8]), *s.pick(&[0, 1, 3, 16, 17])),
    }
}

fn sample_conv(s: &mut Sampler) -> Vec<Sample> {
    let rank = *s.pick(&[1, 2, 2, 2, 3]);
    let (groups, c, o) = sample_channels(s);
    let (extents, window) = sample_window(s, rank);
    let kernel = window.kernel_ints().into_iter().map(|k| k as usize);
    let batch = *s.pick(&[0, 1, 1, 1, 2]);
    let x = [vec![batch, groups * c], extents].concat();
    let w = [vec![groups * o, c], kernel.collect()].concat();
    let [a, b] = operand_types(s);
    let inputs = vec![s.tensor(a, &x, -4.0, 4.0), s.tensor(b, &w, -4.0, 4.0)];
    vec![Sample::new(
        inputs,
        window.attrs().with("groups", groups as i64),
    )]
}

fn sample_transpose(s: &mut Sampler) -> Vec<Sample> {
    let rank = *s.pick(&[1, 2, 2, 2, 3]);
    let (groups, c, o) = sample_channels(s);
    let (mut extents, window) = sample_window(s, rank);
    let mut more = Vec::new();
    for (d, extent) in extents.iter_mut().enumerate() {
        *extent = (*extent).clamp(1, 7);
        let span = window.span(d).as_const().unwrap_or(1);
        let short = window.before[d] + window.after[d] - span;
        more.push(s.int(0, window.strides[d] - 1).max(short));
    }
    let kernel = window.kernel_ints().into_iter().map(|k| k as usize);
    let x = [vec![*s.pick(&[0, 1, 1, 2]), groups * c], extents].concat();
    let w = [vec![groups * c, o], kernel.collect()].concat();
    let dtype = s.dtype(NUMBERS);
    let inputs = vec![
        s.tensor(dtype, &x, -4.0, 4.0),
        s.tensor(dtype, &w, -4.0, 4.0),
    ];
    let attrs = window.attrs().with("groups", groups as i64);
    vec![Sample::new(inputs, attrs.with("output_padding", more))]
}

#[cfg(test)]
#[path = "conv_tests.rs"]
mod tests;
