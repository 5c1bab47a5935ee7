//! Ops that address elements by indices out of data. Indices are `i32` or `i64`, count from the
//! end if negative, and are checked at run time.
use super::movement::{convert, each_index, pick, position, proved_non_negative};
use super::types::ANY;
use super::{AttrDef, Class, InferCx, Lower, OpDef, Sample, Sampler, Tolerance, attr, show_shape};
use crate::define::Define;
use crate::dtype::DType;
use crate::eval::{EvalCx, EvalError};
use crate::expr::Expr;
use crate::graph::{AttrKind, Attrs, NodeId, TensorType};
use crate::loops::{BinaryOp, BufferId, Role, Scalar};
use crate::tensor::{Tensor, Wide, round_to, wrap_to};

type Types = Result<Vec<TensorType>, String>;
type Results = Result<Vec<Tensor>, EvalError>;

const AXIS: AttrDef = attr(
    "axis",
    AttrKind::Int,
    "the axis that the indices count along",
);
const REDUCTION: AttrDef = attr(
    "reduction",
    AttrKind::Str,
    "none (the last update stays), add, mul, min or max",
);

/// Rows of ops with indices out of data.
pub const OPS: &[OpDef] = &[
    OpDef {
        name: "gather",
        doc: "y[a.., i.., b..] = x[a.., indices[i..], b..], where a are the axes before `axis`",
        arity: (2, 2),
        attrs: &[AXIS],
        class: Class::Movement,
        types: ANY,
        infer: infer_gather,
        eval: eval_gather,
        lower: Lower::Pointwise(define_gather),
        row_axes: None,
        tolerance: Tolerance::Exact,
        samples: gather_samples,
        source: "ONNX operators, Gather",
    },
    OpDef {
        name: "gather_elements",
        doc: "y[i] = x[j], where j is i with indices[i] at `axis`",
        arity: (2, 2),
        attrs: &[AXIS],
        class: Class::Movement,
        types: ANY,
        infer: infer_gather_elements,
        eval: eval_gather_elements,
        lower: Lower::Pointwise(define_gather_elements),
        row_axes: None,
        tolerance: Tolerance::Exact,
        samples: gather_elements_samples,
        source: "ONNX operators, GatherElements",
    },
    OpDef {
        name: "gather_nd",
        doc: "y[b.., i.., c..] = x[b.., indices[b.., i.., :].., c..], with `batch_dims` axes b",
        arity: (2, 2),
        attrs: &[attr(
            "batch_dims",
            AttrKind::Int,
            "leading axes that x and the indices share",
        )],
        class: Class::Movement,
        types: ANY,
        infer: infer_gather_nd,
        eval: eval_gather_nd,
        lower: Lower::Pointwise(define_gather_nd),
        row_axes: None,
        tolerance: Tolerance::Exact,
        samples: gather_nd_samples,
        source: "ONNX operators, GatherND",
    },
    OpDef {
        name: "scatter_elements",
        doc: "y is x, then for each i in row-major order y[j] = y[j] (reduction) updates[i], where j is i with indices[i] at `axis`",
        arity: (3, 3),
        attrs: &[AXIS, REDUCTION],
        class: Class::Opaque,
        types: ANY,
        infer: infer_scatter_elements,
        eval: eval_scatter_elements,
        lower: Lower::Kernel(define_scatter_elements),
        row_axes: None,
        tolerance: Tolerance::Exact,
        samples: scatter_elements_samples,
        source: "ONNX operators, ScatterElements",
    },
    OpDef {
        name: "scatter_nd",
        doc: "y is x, then for each i in row-major order y[indices[i, :].., c..] = y[..] (reduction) updates[i, c..]",
        arity: (3, 3),
        attrs: &[REDUCTION],
        class: Class::Opaque,
        types: ANY,
        infer: infer_scatter_nd,
        eval: eval_scatter_nd,
        lower: Lower::Kernel(define_scatter_nd),
        row_axes: None,
        tolerance: Tolerance::Exact,
        samples: scatter_nd_samples,
        source: "ONNX operators, ScatterND",
    },
    OpDef {
        name: "reverse_sequence",
        doc: "y[t, b] = x[lengths[b] - 1 - t, b] where t < lengths[b], else x[t, b], for the time axis t and the batch axis b",
        arity: (2, 2),
        attrs: &[
            attr("batch_axis", AttrKind::Int, "the axis of `lengths`"),
            attr("time_axis", AttrKind::Int, "the axis that is reversed"),
        ],
        class: Class::Movement,
        types: ANY,
        infer: infer_reverse_sequence,
        eval: eval_reverse_sequence,
        lower: Lower::Pointwise(define_reverse_sequence),
        row_axes: None,
        tolerance: Tolerance::Exact,
        samples: reverse_sequence_samples,
        source: "ONNX operators, ReverseSequence",
    },
];

// Types and shapes

fn check_indices(cx: &InferCx<'_>) -> Result<(), String> {
    match cx.inputs[1].dtype {
        DType::I32 | DType::I64 => Ok(()),
        other => Err(format!("the indices are {other}, want i32 or i64")),
    }
}

fn infer_gather(cx: &InferCx<'_>) -> Types {
    check_indices(cx)?;
    let axis = cx.axis(0, "axis")?;
    let (x, indices) = (cx.inputs[0], cx.inputs[1]);
    let shape = [&x.shape[..axis], &indices.shape, &x.shape[axis + 1..]].concat();
    Ok(vec![TensorType::new(x.dtype, shape)])
}

/// Checks that `indices` have the rank of x, and extents of at most those of x but for `axis`.
fn check_elements(cx: &InferCx<'_>, axis: usize) -> Result<(), String> {
    check_indices(cx)?;
    let (x, indices) = (&cx.inputs[0].shape, &cx.inputs[1].shape);
    let within =
        |d: usize| d == axis || proved_non_negative(cx, &(x[d].clone() - indices[d].clone()));
    if x.len() == indices.len() && (0..x.len()).all(within) {
        return Ok(());
    }
    Err(format!(
        "indices {} are not proved to lie within {} but for axis {axis}",
        show_shape(indices),
        show_shape(x)
    ))
}

fn infer_gather_elements(cx: &InferCx<'_>) -> Types {
    check_elements(cx, cx.axis(0, "axis")?)?;
    let shape = cx.inputs[1].shape.clone();
    Ok(vec![TensorType::new(cx.inputs[0].dtype, shape)])
}

/// The length of the index tuples after `batch` shared axes.
fn tuple_length(cx: &InferCx<'_>, batch: usize) -> Result<usize, String> {
    check_indices(cx)?;
    let (x, indices) = (&cx.inputs[0].shape, &cx.inputs[1].shape);
    let length = indices.last().and_then(Expr::as_const);
    let length = length.and_then(|k| usize::try_from(k).ok());
    let Some(length) = length.filter(|k| batch + k <= x.len()) else {
        return Err(format!(
            "indices {} do not end in tuples of at most {} for x {}",
            show_shape(indices),
            x.len() as i64 - batch as i64,
            show_shape(x)
        ));
    };
    if batch >= indices.len() || x[..batch] != indices[..batch] {
        return Err(format!(
            "x {} and indices {} differ in the first {batch} axes",
            show_shape(x),
            show_shape(indices)
        ));
    }
    Ok(length)
}

fn infer_gather_nd(cx: &InferCx<'_>) -> Types {
    let batch = cx.attrs.int("batch_dims");
    let batch = usize::try_from(batch).map_err(|_| format!("`batch_dims` is {batch}"))?;
    let length = tuple_length(cx, batch)?;
    let (x, indices) = (cx.inputs[0], &cx.inputs[1].shape);
    let shape = [&indices[..indices.len() - 1], &x.shape[batch + length..]].concat();
    Ok(vec![TensorType::new(x.dtype, shape)])
}

fn check_updates(cx: &InferCx<'_>, shape: &[Expr]) -> Types {
    let (x, updates, reduction) = (cx.inputs[0], cx.inputs[2], cx.attrs.str("reduction"));
    if !["none", "add", "mul", "min", "max"].contains(&reduction) {
        return Err(format!(
            "`reduction` is `{reduction}`, want none, add, mul, min or max"
        ));
    }
    if x.dtype == DType::Bool && reduction != "none" {
        return Err(format!("`reduction` is `{reduction}` on bool, want none"));
    }
    if updates.dtype != x.dtype || updates.shape != shape {
        return Err(format!(
            "updates are {} {}, want {} {}",
            updates.dtype,
            show_shape(&updates.shape),
            x.dtype,
            show_shape(shape)
        ));
    }
    Ok(vec![x.clone()])
}

fn infer_scatter_elements(cx: &InferCx<'_>) -> Types {
    check_elements(cx, cx.axis(0, "axis")?)?;
    check_updates(cx, &cx.inputs[1].shape)
}

fn infer_scatter_nd(cx: &InferCx<'_>) -> Types {
    let length = tuple_length(cx, 0)?;
    let (x, indices) = (cx.inputs[0], &cx.inputs[1].shape);
    let shape = [&indices[..indices.len() - 1], &x.shape[length..]].concat();
    check_updates(cx, &shape)
}

fn infer_reverse_sequence(cx: &InferCx<'_>) -> Types {
    check_indices(cx)?;
    let (batch, time) = (cx.axis(0, "batch_axis")?, cx.axis(0, "time_axis")?);
    let (x, lengths) = (cx.inputs[0], &cx.inputs[1].shape);
    if batch == time || lengths[..] != x.shape[batch..=batch] {
        return Err(format!(
            "lengths {} do not fit axis {batch} of {}",
            show_shape(lengths),
            show_shape(&x.shape)
        ));
    }
    Ok(vec![x.clone()])
}

// Definition in loops

/// The place on axis `axis` of operand 0 that an index out of data means.
fn place(cx: &mut Define<'_>, node: NodeId, axis: usize, index: Scalar) -> Expr {
    let extent = cx.operand_type(node, 0).shape[axis].clone();
    let index = convert(DType::I64, cx.dtype_of(&index), index);
    if let Some(known) = known_place(cx, &index, &extent) {
        return known;
    }
    let negative = Scalar::binary(BinaryOp::Lt, index.clone(), Scalar::num(DType::I64, 0.0));
    let wrapped = Scalar::binary(BinaryOp::Add, index.clone(), Scalar::Index(extent.clone()));
    let value = Scalar::select(negative, wrapped, index);
    cx.checked(node, &format!("index of axis {axis}"), value, &extent)
}

/// The place that a constant or an index expression means, if it is proved to lie in `0..extent`.
fn known_place(cx: &Define<'_>, index: &Scalar, extent: &Expr) -> Option<Expr> {
    let index = match index {
        Scalar::Const(c) => Expr::from(i64::try_from(c.as_int()).ok()?),
        Scalar::Cast(_, c) => match &**c {
            Scalar::Const(c) => Expr::from(i64::try_from(c.as_int()).ok()?),
            _ => return None,
        },
        Scalar::Index(e) => e.clone(),
        _ => return None,
    };
    let place = match index.as_const() {
        Some(n) if n < 0 => extent.clone() + n,
        _ => index,
    };
    let ranges = cx.ranges();
    let inside = ranges.proves_non_negative(&place)
        && ranges.proves_non_negative(&(extent.clone() - 1 - place.clone()));
    inside.then_some(place)
}

fn define_gather(cx: &mut Define<'_>, node: NodeId, _: usize, index: &[Expr]) -> Scalar {
    let axis = cx.node(node).attrs.int("axis") as usize;
    let after = axis + cx.operand_type(node, 1).rank();
    let raw = cx.operand(node, 1, &index[axis..after]);
    let at = place(cx, node, axis, raw);
    let own = [&index[..axis], &[at], &index[after..]].concat();
    cx.operand(node, 0, &own)
}

fn define_gather_elements(cx: &mut Define<'_>, node: NodeId, _: usize, index: &[Expr]) -> Scalar {
    let axis = cx.node(node).attrs.int("axis") as usize;
    let raw = cx.operand(node, 1, index);
    let mut own = index.to_vec();
    own[axis] = place(cx, node, axis, raw);
    cx.operand(node, 0, &own)
}

/// The places on the axes from `first` on that the index tuple at `prefix` means.
fn places(cx: &mut Define<'_>, node: NodeId, first: usize, prefix: &[Expr]) -> Vec<Expr> {
    let tuple = cx.operand_type(node, 1).shape.last().cloned();
    let length = tuple.and_then(|k| k.as_const()).unwrap_or(0);
    (0..length)
        .map(|k| {
            let at = [prefix, &[k.into()]].concat();
            let raw = cx.operand(node, 1, &at);
            place(cx, node, first + k as usize, raw)
        })
        .collect()
}

fn define_gather_nd(cx: &mut Define<'_>, node: NodeId, _: usize, index: &[Expr]) -> Scalar {
    let batch = cx.node(node).attrs.int("batch_dims") as usize;
    let prefix = cx.operand_type(node, 1).rank() - 1;
    let middle = places(cx, node, batch, &index[..prefix]);
    let own = [&index[..batch], &middle, &index[prefix..]].concat();
    cx.operand(node, 0, &own)
}

fn define_reverse_sequence(cx: &mut Define<'_>, node: NodeId, _: usize, index: &[Expr]) -> Scalar {
    let attrs = &cx.node(node).attrs;
    let (batch, time) = (
        attrs.int("batch_axis") as usize,
        attrs.int("time_axis") as usize,
    );
    let length = cx.operand(node, 1, &[index[batch].clone()]);
    let length = convert(DType::I64, cx.dtype_of(&length), length);
    let t = || Scalar::Index(index[time].clone());
    let last = Scalar::binary(BinaryOp::Sub, length.clone(), Scalar::num(DType::I64, 1.0));
    let value = Scalar::select(
        Scalar::binary(BinaryOp::Lt, t(), length),
        Scalar::binary(BinaryOp::Sub, last, t()),
        t(),
    );
    let extent = &cx.operand_type(node, 0).shape[time];
    let mut own = index.to_vec();
    own[time] = cx.checked(node, "sequence length", value, extent);
    cx.operand(node, 0, &own)
}

/// Copies operand 0 to the result.
fn define_copy(cx: &mut Define<'_>, node: NodeId) -> BufferId {
    let out = cx.output_buffer(cx.node(node).outputs[0]);
    let shape = cx.operand_type(node, 0).shape.clone();
    cx.nest(&shape, Role::Space, &mut |cx, vars| {
        let x = cx.operand(node, 0, vars);
        cx.store(out, vars.to_vec(), x);
    });
    out
}

/// Stores the update at `vars` to `own`, reduced with what is there.
fn define_update(cx: &mut Define<'_>, node: NodeId, out: BufferId, own: Vec<Expr>, vars: &[Expr]) {
    let update = cx.operand(node, 2, vars);
    let op = match cx.node(node).attrs.str("reduction") {
        "add" => BinaryOp::Add,
        "mul" => BinaryOp::Mul,
        "min" => BinaryOp::Min,
        "max" => BinaryOp::Max,
        _ => return cx.store(out, own, update),
    };
    let dtype = cx.result_type(node, 0).dtype;
    let compute = match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        other => other,
    };
    let old = convert(compute, dtype, Scalar::load(out, own.clone()));
    let new = Scalar::binary(op, old, convert(compute, dtype, update));
    cx.store(out, own, convert(dtype, compute, new));
}

fn define_scatter_elements(cx: &mut Define<'_>, node: NodeId) {
    let out = define_copy(cx, node);
    let axis = cx.node(node).attrs.int("axis") as usize;
    let shape = cx.operand_type(node, 1).shape.clone();
    cx.nest(&shape, Role::Serial, &mut |cx, vars| {
        let raw = cx.operand(node, 1, vars);
        let mut own = vars.to_vec();
        own[axis] = place(cx, node, axis, raw);
        define_update(cx, node, out, own, vars);
    });
}

fn define_scatter_nd(cx: &mut Define<'_>, node: NodeId) {
    let out = define_copy(cx, node);
    let prefix = cx.operand_type(node, 1).rank() - 1;
    let shape = cx.operand_type(node, 2).shape.clone();
    cx.nest(&shape[..prefix], Role::Serial, &mut |cx, tuple| {
        let leading = places(cx, node, 0, tuple);
        cx.nest(&shape[prefix..], Role::Space, &mut |cx, vars| {
            let own = [&leading, vars].concat();
            define_update(cx, node, out, own, &[tuple, vars].concat());
        });
    });
}

// Reference evaluation

/// All indices of operand 1, resolved against the extents of operand 0 that `axis` gives for each
/// position.
fn resolve(cx: &EvalCx<'_>, axis: impl Fn(usize) -> usize) -> Result<Vec<usize>, EvalError> {
    let raw = cx.inputs[1].to_i64();
    let resolved = raw.into_iter().enumerate().map(|(k, raw)| {
        let axis = axis(k);
        let extent = cx.inputs[0].shape[axis] as i64;
        let at = if raw < 0 {
            raw.wrapping_add(extent)
        } else {
            raw
        };
        if (0..extent).contains(&at) {
            return Ok(at as usize);
        }
        Err(cx.error(format!(
            "index {raw} is outside of axis {axis} with extent {extent}"
        )))
    });
    resolved.collect()
}

fn eval_gather(cx: &EvalCx<'_>) -> Results {
    let axis = cx.attrs.int("axis") as usize;
    let indices = resolve(cx, |_| axis)?;
    let shape = &cx.inputs[1].shape;
    let y = pick(cx.inputs[0], cx.output_shape(0)?, &[], &mut |index| {
        let (before, rest) = index.split_at(axis);
        let (middle, after) = rest.split_at(shape.len());
        Some([before, &[indices[position(shape, middle)]], after].concat())
    });
    Ok(vec![y])
}

fn eval_gather_elements(cx: &EvalCx<'_>) -> Results {
    let axis = cx.attrs.int("axis") as usize;
    let indices = resolve(cx, |_| axis)?;
    let shape = &cx.inputs[1].shape;
    let y = pick(cx.inputs[0], cx.output_shape(0)?, &[], &mut |index| {
        let mut from = index.to_vec();
        from[axis] = indices[position(shape, index)];
        Some(from)
    });
    Ok(vec![y])
}

fn eval_gather_nd(cx: &EvalCx<'_>) -> Results {
    let batch = cx.attrs.int("batch_dims") as usize;
    let shape = &cx.inputs[1].shape;
    let (prefix, length) = (shape.len() - 1, shape[shape.len() - 1]);
    let indices = resolve(cx, |k| batch + k % length)?;
    let y = pick(cx.inputs[0], cx.output_shape(0)?, &[], &mut |index| {
        let tuple = position(&shape[..prefix], &index[..prefix]) * length;
        let middle = &indices[tuple..tuple + length];
        Some([&index[..batch], middle, &index[prefix..]].concat())
    });
    Ok(vec![y])
}

fn eval_reverse_sequence(cx: &EvalCx<'_>) -> Results {
    let (batch, time) = (
        cx.attrs.int("batch_axis") as usize,
        cx.attrs.int("time_axis") as usize,
    );
    let (x, lengths) = (cx.inputs[0], cx.inputs[1].to_i64());
    if let Some(l) = lengths.iter().find(|l| **l > x.shape[time] as i64) {
        return Err(cx.error(format!("sequence length {l} exceeds {}", x.shape[time])));
    }
    let y = pick(x, x.shape.clone(), &[], &mut |index| {
        let (t, length) = (index[time] as i64, lengths[index[batch]]);
        let mut from = index.to_vec();
        if t < length {
            from[time] = (length - 1 - t) as usize;
        }
        Some(from)
    });
    Ok(vec![y])
}

/// Applies the updates to a copy of operand 0, at the positions that `target` gives.
fn scatter(cx: &EvalCx<'_>, target: &dyn Fn(&[usize]) -> Vec<usize>) -> Results {
    let (x, updates) = (cx.inputs[0], cx.inputs[2]);
    let mut positions = Vec::new();
    each_index(&updates.shape, &mut |index| {
        positions.push(position(&x.shape, &target(index)));
    });
    let reduction = cx.attrs.str("reduction");
    let wide = match (x.to_wide(), updates.to_wide()) {
        (Wide::Float(mut y), Wide::Float(u)) => {
            for (p, u) in positions.into_iter().zip(u) {
                y[p] = round_to(x.dtype, reduce_float(reduction, y[p], u));
            }
            Wide::Float(y)
        }
        (Wide::Int(mut y), Wide::Int(u)) => {
            for (p, u) in positions.into_iter().zip(u) {
                y[p] = wrap_to(x.dtype, reduce_int(reduction, y[p], u));
            }
            Wide::Int(y)
        }
        _ => return Err(cx.error("operands of different kinds")),
    };
    Ok(vec![Tensor::from_wide(x.dtype, x.shape.clone(), &wide)])
}

fn reduce_float(reduction: &str, a: f64, b: f64) -> f64 {
    match reduction {
        "add" => a + b,
        "mul" => a * b,
        "min" | "max" if a.is_nan() || b.is_nan() => f64::NAN,
        "min" => a.min(b),
        "max" => a.max(b),
        _ => b,
    }
}

fn reduce_int(reduction: &str, a: i128, b: i128) -> i128 {
    match reduction {
        "add" => a + b,
        "mul" => a.wrapping_mul(b),
        "min" => a.min(b),
        "max" => a.max(b),
        _ => b,
    }
}

fn eval_scatter_elements(cx: &EvalCx<'_>) -> Results {
    let axis = cx.attrs.int("axis") as usize;
    let indices = resolve(cx, |_| axis)?;
    scatter(cx, &|index| {
        let mut to = index.to_vec();
        to[axis] = indices[position(&cx.inputs[1].shape, index)];
        to
    })
}

fn eval_scatter_nd(cx: &EvalCx<'_>) -> Results {
    let shape = &cx.inputs[1].shape;
    let (prefix, length) = (shape.len() - 1, shape[shape.len() - 1]);
    let indices = resolve(cx, |k| k % length)?;
    scatter(cx, &|index| {
        let tuple = position(&shape[..prefix], &index[..prefix]) * length;
        [&indices[tuple..tuple + length], &index[prefix..]].concat()
    })
}

// Samples

/// A tensor of some element type.
fn data(s: &mut Sampler, shape: &[usize]) -> Tensor {
    let dtype = s.dtype(ANY);
    s.tensor(dtype, shape, -9.0, 9.0)
}

/// Indices that fit an extent, negative ones included.
fn indices(s: &mut Sampler, shape: &[usize], extent: usize) -> Tensor {
    let dtype = *s.pick(&[DType::I32, DType::I64]);
    let n = extent as f64;
    s.tensor(dtype, shape, -n, n - 1.0)
}

/// A shape of a rank in a range, without empty axes.
fn filled_shape(s: &mut Sampler, least: i64, most: i64) -> Vec<usize> {
    let rank = s.int(least, most) as usize;
    s.shape(rank).into_iter().map(|n| n.clamp(1, 9)).collect()
}

fn gather_samples(s: &mut Sampler) -> Vec<Sample> {
    let rank = s.int(1, 3) as usize;
    let mut shape = s.shape(rank);
    let axis = s.int(0, rank as i64 - 1);
    let extent = shape[axis as usize].max(1);
    shape[axis as usize] = extent;
    let rank = s.int(0, 2) as usize;
    let at: Vec<usize> = s.shape(rank).into_iter().map(|n| n.min(5)).collect();
    let inputs = vec![data(s, &shape), indices(s, &at, extent)];
    vec![Sample::new(inputs, Attrs::new().with("axis", axis))]
}

fn gather_elements_samples(s: &mut Sampler) -> Vec<Sample> {
    let shape = filled_shape(s, 1, 3);
    let axis = s.int(0, shape.len() as i64 - 1);
    let at = element_shape(s, &shape, axis as usize);
    let inputs = vec![data(s, &shape), indices(s, &at, shape[axis as usize])];
    vec![Sample::new(inputs, Attrs::new().with("axis", axis))]
}

/// A shape within another one but for one axis.
fn element_shape(s: &mut Sampler, shape: &[usize], axis: usize) -> Vec<usize> {
    let mut at: Vec<usize> = shape.iter().map(|n| s.int(1, *n as i64) as usize).collect();
    at[axis] = s.int(0, 7) as usize;
    at
}

/// Index tuples for the axes of `shape` from `first` on.
fn tuples(s: &mut Sampler, prefix: &[usize], shape: &[usize]) -> Tensor {
    let count: usize = prefix.iter().product();
    let mut values = Vec::new();
    for _ in 0..count {
        let tuple = shape.iter().map(|n| s.int(-(*n as i64), *n as i64 - 1));
        values.extend(tuple);
    }
    Tensor::from_i64([prefix, &[shape.len()]].concat(), &values)
}

fn gather_nd_samples(s: &mut Sampler) -> Vec<Sample> {
    let shape = filled_shape(s, 1, 4);
    let batch = s.int(0, shape.len() as i64 - 1) as usize;
    let length = s.int(1, (shape.len() - batch) as i64) as usize;
    let mut prefix = shape[..batch].to_vec();
    prefix.extend(
        (0..s.int(0, 2))
            .map(|_| s.int(0, 5) as usize)
            .collect::<Vec<_>>(),
    );
    let at = tuples(s, &prefix, &shape[batch..batch + length]);
    let attrs = Attrs::new().with("batch_dims", batch as i64);
    vec![Sample::new(vec![data(s, &shape), at], attrs)]
}

/// An element type and a reduction that fits it.
fn reduction(s: &mut Sampler) -> (DType, &'static str) {
    let dtype = s.dtype(ANY);
    let reduction = *s.pick(&["none", "add", "mul", "min", "max"]);
    let fits = dtype != DType::Bool;
    (dtype, if fits { reduction } else { "none" })
}

fn scatter_elements_samples(s: &mut Sampler) -> Vec<Sample> {
    let shape = filled_shape(s, 1, 3);
    let axis = s.int(0, shape.len() as i64 - 1);
    let at = element_shape(s, &shape, axis as usize);
    let (dtype, reduction) = reduction(s);
    let inputs = vec![
        s.tensor(dtype, &shape, -3.0, 3.0),
        indices(s, &at, shape[axis as usize]),
        s.tensor(dtype, &at, -3.0, 3.0),
    ];
    let attrs = Attrs::new().with("axis", axis);
    vec![Sample::new(inputs, attrs.with("reduction", reduction))]
}

fn scatter_nd_samples(s: &mut Sampler) -> Vec<Sample> {
    let shape = filled_shape(s, 1, 4);
    let length = s.int(1, shape.len() as i64) as usize;
    let prefix: Vec<usize> = (0..s.int(0, 2)).map(|_| 0).collect();
    let prefix: Vec<usize> = prefix.into_iter().map(|_| s.int(0, 5) as usize).collect();
    let at = tuples(s, &prefix, &shape[..length]);
    let updates = [&prefix[..], &shape[length..]].concat();
    let (dtype, reduction) = reduction(s);
    let inputs = vec![
        s.tensor(dtype, &shape, -3.0, 3.0),
        at,
        s.tensor(dtype, &updates, -3.0, 3.0),
    ];
    let attrs = Attrs::new().with("reduction", reduction);
    vec![Sample::new(inputs, attrs)]
}

fn reverse_sequence_samples(s: &mut Sampler) -> Vec<Sample> {
    let rank = s.int(2, 4) as usize;
    let shape = s.shape(rank);
    let batch = s.int(0, rank as i64 - 1);
    let time = (batch + s.int(1, rank as i64 - 1)) % rank as i64;
    let most = shape[time as usize] as f64;
    let dtype = *s.pick(&[DType::I32, DType::I64]);
    let lengths = s.tensor(dtype, &shape[batch as usize..][..1], 0.0, most);
    let attrs = Attrs::new()
        .with("batch_axis", batch)
        .with("time_axis", time);
    vec![Sample::new(vec![data(s, &shape), lengths], attrs)]
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
