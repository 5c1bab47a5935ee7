//! Movement ops: every result element is an operand element at another place, or a constant.
use super::types::ANY;
use super::{AttrDef, Class, InferCx, Lower, OpDef, Sample, Sampler, Tolerance, attr, show_shape};
use crate::define::Define;
use crate::dtype::DType;
use crate::eval::{EvalCx, EvalError};
use crate::expr::{Atom, Expr, Ranges, product};
use crate::graph::{AttrKind, Attrs, NodeId, TensorType};
use crate::loops::{BinaryOp, Scalar};
use crate::tensor::{Tensor, Wide};

type Types = Result<Vec<TensorType>, String>;
type Results = Result<Vec<Tensor>, EvalError>;

const SHAPE: AttrDef = attr("shape", AttrKind::Dims, "the extents of the result");

/// The row of a movement op with a pointwise definition.
#[allow(
    clippy::too_many_arguments,
    reason = "a row of the table, column by column"
)]
pub(super) const fn row(
    name: &'static str,
    doc: &'static str,
    arity: (usize, usize),
    attrs: &'static [AttrDef],
    infer: fn(&InferCx<'_>) -> Types,
    eval: fn(&EvalCx<'_>) -> Results,
    lower: Lower,
    samples: fn(&mut Sampler) -> Vec<Sample>,
    source: &'static str,
) -> OpDef {
    OpDef {
        name,
        doc,
        arity,
        attrs,
        class: Class::Movement,
        types: ANY,
        infer,
        eval,
        lower,
        row_axes: None,
        tolerance: Tolerance::Exact,
        samples,
        source,
    }
}

/// Rows of ops that move elements by static rules.
pub const OPS: &[OpDef] = &[
    row(
        "reshape",
        "y has the elements of x in the same row-major order, under another shape",
        (1, 1),
        &[SHAPE],
        infer_reshape,
        eval_reshape,
        Lower::View,
        reshape_samples,
        "ONNX operators, Reshape (with the shape resolved)",
    ),
    row(
        "transpose",
        "y[i] = x[j] with j[perm[d]] = i[d]",
        (1, 1),
        &[attr(
            "perm",
            AttrKind::Ints,
            "for each axis of y, the axis of x that it is",
        )],
        infer_transpose,
        eval_transpose,
        Lower::Pointwise(|cx, node, _, index| {
            let mut own = index.to_vec();
            for (d, p) in cx.node(node).attrs.ints("perm").iter().enumerate() {
                own[*p as usize] = index[d].clone();
            }
            cx.operand(node, 0, &own)
        }),
        transpose_samples,
        "ONNX operators, Transpose",
    ),
    row(
        "expand",
        "y[i] = x[i], where axes of x that are missing or of extent 1 repeat",
        (1, 1),
        &[SHAPE],
        infer_expand,
        eval_expand,
        Lower::Pointwise(|cx, node, _, index| cx.broadcast_operand(node, 0, index)),
        expand_samples,
        "NumPy, broadcast_to",
    ),
    row(
        "slice",
        "y[i] = x[starts + i*steps]",
        (1, 1),
        &[
            attr("starts", AttrKind::Dims, "the first index on each axis"),
            attr("sizes", AttrKind::Dims, "the extents of the result"),
            attr(
                "steps",
                AttrKind::Ints,
                "the distance on each axis, negative to run backwards, never 0",
            ),
        ],
        infer_slice,
        eval_slice,
        Lower::Pointwise(define_slice),
        slice_samples,
        "ONNX operators, Slice (with bounds resolved)",
    ),
    row(
        "pad",
        "y[i] = x[i - before] inside x; outside `value` (constant), or the element of x at the index clamped (edge), mirrored without repeating the border (reflect) or taken modulo the extent (wrap), 0 where x has no element",
        (2, 2),
        &[
            attr("before", AttrKind::Dims, "elements before each axis"),
            attr("after", AttrKind::Dims, "elements after each axis"),
            attr("mode", AttrKind::Str, "constant, edge, reflect or wrap"),
        ],
        infer_pad,
        eval_pad,
        Lower::Pointwise(define_pad),
        pad_samples,
        "ONNX operators, Pad; NumPy, pad",
    ),
    row(
        "concat",
        "y is x0, x1, ... one after the other along `axis`",
        (1, usize::MAX),
        &[attr("axis", AttrKind::Int, "the axis to join along")],
        infer_concat,
        eval_concat,
        Lower::Pointwise(define_concat),
        concat_samples,
        "ONNX operators, Concat",
    ),
    row(
        "tile",
        "y[i] = x[i mod extent]",
        (1, 1),
        &[attr("repeats", AttrKind::Dims, "copies along each axis")],
        infer_tile,
        eval_tile,
        Lower::Pointwise(|cx, node, _, index| {
            let shape = &cx.operand_type(node, 0).shape;
            let own: Vec<Expr> = index.iter().zip(shape).map(|(i, n)| i.rem(n)).collect();
            cx.operand(node, 0, &own)
        }),
        tile_samples,
        "ONNX operators, Tile",
    ),
    row(
        "iota",
        "y[i] = i[axis], rounded or wrapped to the type",
        (0, 0),
        &[
            SHAPE,
            attr("axis", AttrKind::Int, "the axis whose index is the value"),
            attr("dtype", AttrKind::DType, "the element type of the result"),
        ],
        infer_iota,
        eval_iota,
        Lower::Pointwise(|cx, node, _, index| {
            let axis = cx.node(node).attrs.int("axis") as usize;
            convert(
                cx.result_type(node, 0).dtype,
                DType::I64,
                Scalar::Index(index[axis].clone()),
            )
        }),
        iota_samples,
        "StableHLO, iota",
    ),
    row(
        "range",
        "y[i] = start + i*delta; floats are computed in f64 and rounded once",
        (2, 2),
        &[attr("count", AttrKind::Dims, "the number of elements")],
        infer_range,
        eval_range,
        Lower::Pointwise(define_range),
        range_samples,
        "ONNX operators, Range (with the count resolved)",
    ),
];

// Types and shapes

/// Whether `e >= 0` for all values of the symbols that make `facts` non-negative: by ranges, by
/// leaving out one fact, and by cases over minima and maxima.
fn proves(e: &Expr, ranges: &Ranges, facts: &mut Vec<Expr>, depth: usize) -> bool {
    let known = |e: &Expr| ranges.proves_non_negative(e);
    if known(e) || facts.iter().any(|f| known(&(e.clone() - f.clone()))) {
        return true;
    }
    let atoms = e.terms().iter().flat_map(|(atoms, _)| atoms);
    let choice = atoms.cloned().find_map(|atom| match &atom {
        Atom::Min(p) => Some((p.0.clone(), p.1.clone(), atom)),
        Atom::Max(p) => Some((p.1.clone(), p.0.clone(), atom)),
        _ => None,
    });
    let Some((x, y, atom)) = choice.filter(|_| depth > 0) else {
        return false;
    };
    // The value is x only if x <= y (a minimum); a maximum has its operands swapped.
    let is_min = matches!(atom, Atom::Min(_));
    [(&x, &y), (&y, &x)].into_iter().all(|(low, high)| {
        let value = if is_min { low } else { high };
        let case = e.map_atoms(&|a| (*a == atom).then(|| value.clone()));
        facts.push(high.clone() - low.clone());
        let proved = proves(&case, ranges, facts, depth - 1);
        facts.pop();
        proved
    })
}

/// Whether `e >= 0` whatever the sizes are that an op may have.
pub(super) fn proved_non_negative(cx: &InferCx<'_>, e: &Expr) -> bool {
    proves(e, cx.ranges, &mut Vec::new(), 4)
}

/// Checks that a list attribute has one entry for each axis of operand 0.
fn one_per_axis(cx: &InferCx<'_>, name: &str, len: usize) -> Result<(), String> {
    let rank = cx.inputs[0].rank();
    if len == rank {
        return Ok(());
    }
    Err(format!(
        "`{name}` has {len} entries, want {rank} (one per axis)"
    ))
}

/// Checks that extents can be extents.
fn extents(name: &str, dims: &[Expr]) -> Result<Vec<Expr>, String> {
    match dims.iter().find(|d| d.as_const().is_some_and(|n| n < 0)) {
        Some(d) => Err(format!("`{name}` has {d}, want at least 0")),
        None => Ok(dims.to_vec()),
    }
}

fn infer_reshape(cx: &InferCx<'_>) -> Types {
    let (x, shape) = (cx.inputs[0], extents("shape", cx.attrs.dims("shape"))?);
    if product(&shape) != x.count() {
        return Err(format!(
            "{} has {} elements, {} has {}: not proved equal",
            show_shape(&x.shape),
            x.count(),
            show_shape(&shape),
            product(&shape)
        ));
    }
    Ok(vec![TensorType::new(x.dtype, shape)])
}

fn infer_transpose(cx: &InferCx<'_>) -> Types {
    let (x, perm) = (cx.inputs[0], cx.attrs.ints("perm"));
    one_per_axis(cx, "perm", perm.len())?;
    let mut sorted = perm.to_vec();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..x.rank() as i64) {
        return Err(format!("`perm` is {perm:?}, want each axis once"));
    }
    let shape = perm.iter().map(|p| x.shape[*p as usize].clone()).collect();
    Ok(vec![TensorType::new(x.dtype, shape)])
}

fn infer_expand(cx: &InferCx<'_>) -> Types {
    let (x, shape) = (cx.inputs[0], extents("shape", cx.attrs.dims("shape"))?);
    let fits = x.rank() <= shape.len()
        && x.shape
            .iter()
            .rev()
            .zip(shape.iter().rev())
            .all(|(from, to)| from.is(1) || from == to);
    if !fits {
        let (from, to) = (show_shape(&x.shape), show_shape(&shape));
        return Err(format!("{from} does not broadcast to {to}"));
    }
    Ok(vec![TensorType::new(x.dtype, shape)])
}

fn infer_slice(cx: &InferCx<'_>) -> Types {
    let (x, a) = (cx.inputs[0], cx.attrs);
    let (starts, steps) = (a.dims("starts"), a.ints("steps"));
    let sizes = extents("sizes", a.dims("sizes"))?;
    one_per_axis(cx, "starts", starts.len())?;
    one_per_axis(cx, "sizes", sizes.len())?;
    one_per_axis(cx, "steps", steps.len())?;
    for (d, n) in x.shape.iter().enumerate() {
        let (start, size, step) = (&starts[d], &sizes[d], steps[d]);
        if step == 0 || step == i64::MIN {
            return Err(format!("`steps` is {steps:?}, want none to be 0"));
        }
        if !size.is(0) && !slice_fits(cx, start, size, step, n) {
            return Err(format!(
                "axis {d}: {size} elements from {start} by {step} are not proved to lie in 0..{n}"
            ));
        }
    }
    Ok(vec![TensorType::new(x.dtype, sizes)])
}

/// Whether `start + i*step` lies in `0..n` for all `i` in `0..size`.
fn slice_fits(cx: &InferCx<'_>, start: &Expr, size: &Expr, step: i64, n: &Expr) -> bool {
    // Elements from `start` to the end that the step runs towards.
    let (near, room) = if step > 0 {
        (start.clone(), n.clone() - start.clone())
    } else {
        (n.clone() - 1 - start.clone(), start.clone() + 1)
    };
    let stride = step.abs();
    let last = room.clone() - 1 - (size.clone() - 1) * stride;
    let proved = |e: &Expr| proved_non_negative(cx, e);
    proved(&near) && (*size == room.ceil_div(stride) || proved(&last))
}

fn infer_pad(cx: &InferCx<'_>) -> Types {
    cx.same_dtype()?;
    let (x, a) = (cx.inputs[0], cx.attrs);
    let (before, after, mode) = (a.dims("before"), a.dims("after"), a.str("mode"));
    one_per_axis(cx, "before", before.len())?;
    one_per_axis(cx, "after", after.len())?;
    if cx.inputs[1].rank() != 0 {
        return Err(format!(
            "the value is {}, want a scalar",
            show_shape(&cx.inputs[1].shape)
        ));
    }
    if !["constant", "edge", "reflect", "wrap"].contains(&mode) {
        return Err(format!(
            "`mode` is `{mode}`, want constant, edge, reflect or wrap"
        ));
    }
    if let Some(e) = before
        .iter()
        .chain(after)
        .find(|e| !proved_non_negative(cx, e))
    {
        return Err(format!("the amount {e} is not proved to be at least 0"));
    }
    let dims = before.iter().zip(&x.shape).zip(after);
    let shape = dims
        .map(|((b, n), a)| n.clone() + b.clone() + a.clone())
        .collect();
    Ok(vec![TensorType::new(x.dtype, shape)])
}

fn infer_concat(cx: &InferCx<'_>) -> Types {
    cx.same_dtype()?;
    let axis = cx.axis(0, "axis")?;
    let mut shape = cx.inputs[0].shape.clone();
    for (k, x) in cx.inputs.iter().enumerate().skip(1) {
        let fits = x.rank() == shape.len()
            && (0..x.rank()).all(|d| d == axis || x.shape[d] == cx.inputs[0].shape[d]);
        if !fits {
            let (found, want) = (show_shape(&x.shape), show_shape(&cx.inputs[0].shape));
            return Err(format!(
                "operand {k} is {found}, want {want} but for axis {axis}"
            ));
        }
        shape[axis] = shape[axis].clone() + x.shape[axis].clone();
    }
    Ok(vec![TensorType::new(cx.inputs[0].dtype, shape)])
}

fn infer_tile(cx: &InferCx<'_>) -> Types {
    let x = cx.inputs[0];
    let repeats = extents("repeats", cx.attrs.dims("repeats"))?;
    one_per_axis(cx, "repeats", repeats.len())?;
    let dims = x.shape.iter().zip(repeats);
    let shape = dims.map(|(n, r)| n.clone() * r).collect();
    Ok(vec![TensorType::new(x.dtype, shape)])
}

fn infer_iota(cx: &InferCx<'_>) -> Types {
    let shape = extents("shape", cx.attrs.dims("shape"))?;
    let (axis, dtype) = (cx.attrs.int("axis"), cx.attrs.dtype("dtype"));
    if !(0..shape.len() as i64).contains(&axis) {
        let rank = shape.len();
        return Err(format!("`axis` is {axis}, want 0 to below rank {rank}"));
    }
    if dtype == DType::Bool {
        return Err("`dtype` is bool, want numbers".into());
    }
    Ok(vec![TensorType::new(dtype, shape)])
}

fn infer_range(cx: &InferCx<'_>) -> Types {
    cx.same_dtype()?;
    let count = extents("count", cx.attrs.dims("count"))?;
    let dtype = cx.inputs[0].dtype;
    if count.len() != 1 || cx.inputs.iter().any(|t| t.rank() != 0) || dtype == DType::Bool {
        return Err("want scalar numbers as operands and one `count`".into());
    }
    Ok(vec![TensorType::new(dtype, count)])
}

// Definition in loops

/// `x` as another type, if it is not that already.
pub(super) fn convert(to: DType, from: DType, x: Scalar) -> Scalar {
    if from == to { x } else { Scalar::cast(to, x) }
}

fn define_slice(cx: &mut Define<'_>, node: NodeId, _: usize, index: &[Expr]) -> Scalar {
    let attrs = &cx.node(node).attrs;
    let places = attrs.dims("starts").iter().zip(attrs.ints("steps"));
    let own: Vec<Expr> = places
        .zip(index)
        .map(|((start, step), i)| start.clone() + i.clone() * *step)
        .collect();
    cx.operand(node, 0, &own)
}

fn define_pad(cx: &mut Define<'_>, node: NodeId, _: usize, index: &[Expr]) -> Scalar {
    let attrs = &cx.node(node).attrs;
    let (before, after) = (attrs.dims("before"), attrs.dims("after"));
    let (mode, x) = (attrs.str("mode"), cx.operand_type(node, 0));
    let mut conds = Vec::new();
    let mut own = Vec::new();
    for (d, n) in x.shape.iter().enumerate() {
        let at = index[d].clone() - before[d].clone();
        if before[d].is(0) && after[d].is(0) {
            own.push(at);
        } else if mode == "constant" {
            conds.push(at.clone());
            conds.push(n.clone() - 1 - at.clone());
            own.push(at);
        } else {
            conds.push(n.clone() - 1);
            let reach = [before[d].clone(), after[d].clone()];
            own.push(fold_into(mode, &at, n, &reach));
        }
    }
    let default = if mode == "constant" {
        cx.operand(node, 1, &[])
    } else {
        Scalar::num(x.dtype, 0.0)
    };
    cx.guarded(&conds, default, &mut |cx| cx.operand(node, 0, &own))
}

/// The index in `0..n` that stands for one of an axis with so many elements more before and after it;
/// `n` is at least 1.
fn fold_into(mode: &str, at: &Expr, n: &Expr, more: &[Expr; 2]) -> Expr {
    let last = n.clone() - 1;
    let short = |m: &Expr| Ranges::new().proves_le(m, &last);
    match mode {
        "edge" => Expr::at_least(&Expr::at_most(at, last), 0),
        "wrap" => at.rem(Expr::at_least(n, 1)),
        // One reflection at either end; the outer bounds are there for the verifier.
        _ if more.iter().all(short) => {
            let inside = Expr::at_least(at, -at.clone());
            let folded = Expr::at_most(&inside, last.clone() * 2 - inside.clone());
            Expr::at_most(&Expr::at_least(&folded, 0), last)
        }
        _ => {
            let period = Expr::at_least(&(last.clone() * 2), 1);
            let phase = at.rem(period.clone());
            let mirrored = period - phase.clone();
            Expr::at_most(&Expr::at_most(&phase, mirrored), last)
        }
    }
}

fn define_concat(cx: &mut Define<'_>, node: NodeId, _: usize, index: &[Expr]) -> Scalar {
    let axis = cx.node(node).attrs.int("axis") as usize;
    let mut result = Scalar::num(cx.result_type(node, 0).dtype, 0.0);
    let mut own = index.to_vec();
    for k in 0..cx.node(node).inputs.len() {
        let extent = &cx.operand_type(node, k).shape[axis];
        let at = own[axis].clone();
        let conds = [at.clone(), extent.clone() - 1 - at.clone()];
        result = cx.guarded(&conds, result, &mut |cx| cx.operand(node, k, &own));
        own[axis] = at - extent.clone();
    }
    result
}

fn define_range(cx: &mut Define<'_>, node: NodeId, _: usize, index: &[Expr]) -> Scalar {
    let dtype = cx.result_type(node, 0).dtype;
    let compute = if dtype.is_float() { DType::F64 } else { dtype };
    let [start, delta] = [0, 1].map(|k| {
        let x = cx.operand(node, k, &[]);
        convert(compute, dtype, x)
    });
    let i = convert(compute, DType::I64, Scalar::Index(index[0].clone()));
    let offset = Scalar::binary(BinaryOp::Mul, i, delta);
    let sum = Scalar::binary(BinaryOp::Add, start, offset);
    convert(dtype, compute, sum)
}

// Reference evaluation

/// Calls `f` with every index of a shape, in row-major order.
pub(super) fn each_index(shape: &[usize], f: &mut dyn FnMut(&[usize])) {
    if shape.contains(&0) {
        return;
    }
    let mut index = vec![0; shape.len()];
    loop {
        f(&index);
        let Some(d) = (0..shape.len()).rev().find(|d| index[*d] + 1 < shape[*d]) else {
            return;
        };
        index[d] += 1;
        index[d + 1..].fill(0);
    }
}

/// The row-major position of an index.
pub(super) fn position(shape: &[usize], index: &[usize]) -> usize {
    shape.iter().zip(index).fold(0, |at, (n, i)| at * n + i)
}

/// The tensor whose elements are those of `x` at the indices that `source` gives, or `fill`.
pub(super) fn pick(
    x: &Tensor,
    shape: Vec<usize>,
    fill: &[u8],
    source: &mut dyn FnMut(&[usize]) -> Option<Vec<usize>>,
) -> Tensor {
    let size = x.dtype.bytes();
    let mut data = Vec::new();
    each_index(&shape, &mut |index| match source(index) {
        Some(from) => data.extend_from_slice(&x.data[position(&x.shape, &from) * size..][..size]),
        None => data.extend_from_slice(&fill[..size]),
    });
    let data = data.into();
    Tensor {
        dtype: x.dtype,
        shape,
        data,
    }
}

const ZERO: &[u8] = &[0; 8];

fn eval_reshape(cx: &EvalCx<'_>) -> Results {
    let x = cx.inputs[0];
    let reshaped = Tensor::new(x.dtype, cx.output_shape(0)?, x.data.clone());
    let reshaped = reshaped.ok_or_else(|| cx.error("the shapes differ in their element counts"))?;
    Ok(vec![reshaped])
}

fn eval_transpose(cx: &EvalCx<'_>) -> Results {
    let perm = cx.attrs.ints("perm");
    let y = pick(cx.inputs[0], cx.output_shape(0)?, ZERO, &mut |index| {
        let mut from = index.to_vec();
        (0..index.len()).for_each(|d| from[perm[d] as usize] = index[d]);
        Some(from)
    });
    Ok(vec![y])
}

fn eval_expand(cx: &EvalCx<'_>) -> Results {
    let x = cx.inputs[0];
    let y = pick(x, cx.output_shape(0)?, ZERO, &mut |index| {
        let own = &index[index.len() - x.shape.len()..];
        Some(own.iter().zip(&x.shape).map(|(i, n)| i % n).collect())
    });
    Ok(vec![y])
}

/// The values of symbolic integers.
pub(super) fn sizes(cx: &EvalCx<'_>, name: &str) -> Result<Vec<i64>, EvalError> {
    cx.attrs.dims(name).iter().map(|e| cx.size(e)).collect()
}

fn eval_slice(cx: &EvalCx<'_>) -> Results {
    let (starts, steps) = (sizes(cx, "starts")?, cx.attrs.ints("steps"));
    let (x, shape) = (cx.inputs[0], cx.output_shape(0)?);
    let at = |d: usize, i: usize| starts[d].wrapping_add((i as i64).wrapping_mul(steps[d]));
    let inside = |d: usize| {
        shape[d] == 0
            || [0, shape[d] - 1]
                .iter()
                .all(|i| (0..x.shape[d] as i64).contains(&at(d, *i)))
    };
    if let Some(d) = (0..shape.len()).find(|d| !inside(*d)) {
        return Err(cx.error(format!(
            "axis {d} is sliced outside of its extent {}",
            x.shape[d]
        )));
    }
    let y = pick(x, shape.clone(), ZERO, &mut |index| {
        Some((0..index.len()).map(|d| at(d, index[d]) as usize).collect())
    });
    Ok(vec![y])
}

/// The index that a padded index stands for, if there is one.
fn padded_source(mode: &str, at: i64, n: i64) -> Option<usize> {
    if (0..n).contains(&at) {
        return Some(at as usize);
    }
    if mode == "constant" || n == 0 {
        return None;
    }
    let mut at = at;
    match mode {
        "edge" => at = at.clamp(0, n - 1),
        "wrap" => at = at.rem_euclid(n),
        _ if n == 1 => at = 0,
        _ => {
            while !(0..n).contains(&at) {
                at = if at < 0 { -at } else { 2 * (n - 1) - at };
            }
        }
    }
    Some(at as usize)
}

fn eval_pad(cx: &EvalCx<'_>) -> Results {
    let (before, mode) = (sizes(cx, "before")?, cx.attrs.str("mode"));
    let x = cx.inputs[0];
    let fill = if mode == "constant" {
        &cx.inputs[1].data[..]
    } else {
        ZERO
    };
    let y = pick(x, cx.output_shape(0)?, fill, &mut |index| {
        (0..index.len())
            .map(|d| padded_source(mode, index[d] as i64 - before[d], x.shape[d] as i64))
            .collect()
    });
    Ok(vec![y])
}

fn eval_concat(cx: &EvalCx<'_>) -> Results {
    let axis = cx.attrs.int("axis") as usize;
    let shape = cx.output_shape(0)?;
    let outer: usize = shape[..axis].iter().product();
    let mut data = Vec::new();
    for block in 0..outer {
        for x in cx.inputs {
            let bytes = x.data.len() / outer;
            data.extend_from_slice(&x.data[block * bytes..][..bytes]);
        }
    }
    let (dtype, data) = (cx.inputs[0].dtype, data.into());
    Ok(vec![Tensor { dtype, shape, data }])
}

fn eval_tile(cx: &EvalCx<'_>) -> Results {
    let x = cx.inputs[0];
    let y = pick(x, cx.output_shape(0)?, ZERO, &mut |index| {
        Some(index.iter().zip(&x.shape).map(|(i, n)| i % n).collect())
    });
    Ok(vec![y])
}

fn eval_iota(cx: &EvalCx<'_>) -> Results {
    let (axis, dtype) = (cx.attrs.int("axis") as usize, cx.attrs.dtype("dtype"));
    let shape = cx.output_shape(0)?;
    let mut values = Vec::new();
    each_index(&shape, &mut |index| values.push(index[axis]));
    let wide = if dtype.is_float() {
        Wide::Float(values.into_iter().map(|v| v as f64).collect())
    } else {
        Wide::Int(values.into_iter().map(|v| v as i128).collect())
    };
    Ok(vec![Tensor::from_wide(dtype, shape, &wide)])
}

fn eval_range(cx: &EvalCx<'_>) -> Results {
    let shape = cx.output_shape(0)?;
    let count = shape[0];
    let wide = match (cx.inputs[0].to_wide(), cx.inputs[1].to_wide()) {
        (Wide::Float(s), Wide::Float(d)) => {
            Wide::Float((0..count).map(|i| s[0] + i as f64 * d[0]).collect())
        }
        (Wide::Int(s), Wide::Int(d)) => {
            Wide::Int((0..count).map(|i| s[0] + i as i128 * d[0]).collect())
        }
        _ => return Err(cx.error("operands of different kinds")),
    };
    Ok(vec![Tensor::from_wide(cx.inputs[0].dtype, shape, &wide)])
}

// Samples

fn dims(extents: &[usize]) -> Vec<Expr> {
    extents.iter().map(|n| (*n).into()).collect()
}

/// A tensor of any type and of a rank in a range.
pub(super) fn any_tensor(s: &mut Sampler, least: i64, most: i64) -> Tensor {
    let dtype = s.dtype(ANY);
    let rank = s.int(least, most) as usize;
    let shape = s.shape(rank);
    s.tensor(dtype, &shape, -9.0, 9.0)
}

fn one(x: Tensor, attrs: Attrs) -> Vec<Sample> {
    vec![Sample::new(vec![x], attrs)]
}

fn reshape_samples(s: &mut Sampler) -> Vec<Sample> {
    let x = any_tensor(s, 0, 3);
    let mut shape = dims(&x.shape);
    shape.reverse();
    if s.int(0, 1) == 0 {
        shape = vec![1.into(), product(&shape)];
    }
    one(x, Attrs::new().with("shape", shape))
}

fn transpose_samples(s: &mut Sampler) -> Vec<Sample> {
    let x = any_tensor(s, 0, 4);
    let mut perm: Vec<i64> = (0..x.shape.len() as i64).collect();
    for d in (1..perm.len()).rev() {
        perm.swap(d, s.int(0, d as i64) as usize);
    }
    one(x, Attrs::new().with("perm", perm))
}

fn expand_samples(s: &mut Sampler) -> Vec<Sample> {
    let dtype = s.dtype(ANY);
    let rank = s.int(0, 3) as usize;
    let full = s.shape(rank);
    let skip = s.int(0, rank as i64) as usize;
    let own: Vec<usize> = full[skip..]
        .iter()
        .map(|n| if s.int(0, 1) == 0 { 1 } else { *n })
        .collect();
    let x = s.tensor(dtype, &own, -9.0, 9.0);
    one(x, Attrs::new().with("shape", dims(&full)))
}

fn slice_samples(s: &mut Sampler) -> Vec<Sample> {
    let x = any_tensor(s, 0, 3);
    let (mut starts, mut extents, mut steps) = (vec![], vec![], vec![]);
    for n in &x.shape {
        let n = *n as i64;
        let step = *s.pick(&[1i64, 1, 2, 3, -1, -2]);
        let start = s.int(0, (n - 1).max(0));
        let room = if step > 0 { n - start } else { start + 1 }.min(n);
        let most = (room + step.abs() - 1) / step.abs();
        extents.push(s.int(0, most).max(most.min(1)));
        starts.push(Expr::from(start));
        steps.push(step);
    }
    let extents: Vec<Expr> = extents.into_iter().map(Expr::from).collect();
    let attrs = Attrs::new().with("starts", starts).with("sizes", extents);
    one(x, attrs.with("steps", steps))
}

fn pad_samples(s: &mut Sampler) -> Vec<Sample> {
    let x = any_tensor(s, 0, 3);
    let mut amounts = || -> Vec<Expr> { x.shape.iter().map(|_| s.int(0, 4).into()).collect() };
    let (before, after) = (amounts(), amounts());
    let value = s.tensor(x.dtype, &[], -9.0, 9.0);
    let mode = *s.pick(&["constant", "constant", "edge", "reflect", "wrap"]);
    let attrs = Attrs::new().with("before", before).with("after", after);
    vec![Sample::new(vec![x, value], attrs.with("mode", mode))]
}

fn concat_samples(s: &mut Sampler) -> Vec<Sample> {
    let first = any_tensor(s, 1, 3);
    let axis = s.int(0, first.shape.len() as i64 - 1);
    let mut inputs = vec![first.clone()];
    for _ in 0..s.int(0, 3) {
        let mut shape = first.shape.clone();
        shape[axis as usize] = s.int(0, 5) as usize;
        inputs.push(s.tensor(first.dtype, &shape, -9.0, 9.0));
    }
    vec![Sample::new(inputs, Attrs::new().with("axis", axis))]
}

fn tile_samples(s: &mut Sampler) -> Vec<Sample> {
    let x = any_tensor(s, 0, 3);
    let repeats: Vec<Expr> = x.shape.iter().map(|_| s.int(0, 3).into()).collect();
    one(x, Attrs::new().with("repeats", repeats))
}

fn number(s: &mut Sampler) -> DType {
    loop {
        let dtype = s.dtype(ANY);
        if dtype != DType::Bool {
            return dtype;
        }
    }
}

fn iota_samples(s: &mut Sampler) -> Vec<Sample> {
    let rank = s.int(1, 3);
    let shape = dims(&s.shape(rank as usize));
    let attrs = Attrs::new()
        .with("shape", shape)
        .with("axis", s.int(0, rank - 1))
        .with("dtype", number(s));
    vec![Sample::new(vec![], attrs)]
}

fn range_samples(s: &mut Sampler) -> Vec<Sample> {
    let dtype = number(s);
    let inputs = vec![
        s.tensor(dtype, &[], -9.0, 9.0),
        s.tensor(dtype, &[], -3.0, 3.0),
    ];
    let count = vec![Expr::from(s.extent())];
    vec![Sample::new(inputs, Attrs::new().with("count", count))]
}

#[cfg(test)]
#[path = "movement_tests.rs"]
mod tests;
