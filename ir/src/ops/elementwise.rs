//! Elementwise ops: scalar maps with NumPy broadcasting.
use super::infer::broadcast_shapes;
use super::{AttrDef, Class, InferCx, Lower, OpDef, Sample, Sampler, Tolerance, attr};
use crate::define::Define;
use crate::dtype::DType;
use crate::eval::{EvalCx, EvalError};
use crate::expr::Expr;
use crate::graph::{AttrKind, Attrs, NodeId, TensorType};
use crate::loops::math::MathFn;
use crate::loops::{BinaryOp, Scalar, UnaryOp};
use crate::tensor::{Tensor, Wide};

const NONE: &[AttrDef] = &[];

/// The row of an op with one operand.
macro_rules! unary {
    ($name:literal, $doc:literal, $lower:expr, float $f:expr, int $i:expr, $range:expr, $tol:expr) => {
        OpDef {
            name: $name,
            doc: $doc,
            arity: (1, 1),
            attrs: NONE,
            class: Class::Elementwise,
            infer: same_type,
            eval: |cx| map1(cx, $f, $i),
            lower: Lower::Pointwise(|cx, node, _, index| {
                let x = compute_operand(cx, node, 0, index);
                let f: fn(&mut Define<'_>, Scalar) -> Scalar = $lower;
                let y = f(cx, x);
                result(cx, node, y)
            }),
            row_axes: None,
            tolerance: $tol,
            samples: |s| unary_samples(s, $range.0, $range.1, $range.2),
            source: concat!("ONNX operators, ", $name),
        }
    };
}

/// The row of a float function of the math table.
macro_rules! math {
    ($name:literal, $doc:literal, $func:ident, $f:expr, $range:expr, $ulp:literal) => {
        unary!($name, $doc, |_, x| Scalar::Call(MathFn::$func, vec![x]), float $f, int |_, _| 0, $range, Tolerance::Ulp($ulp))
    };
}

/// The row of an op with two operands of one type.
macro_rules! binary {
    ($name:literal, $doc:literal, $lower:expr, float $f:expr, int $i:expr, $types:expr, $tol:expr) => {
        OpDef {
            name: $name,
            doc: $doc,
            arity: (2, 2),
            attrs: NONE,
            class: Class::Elementwise,
            infer: broadcast_same,
            eval: |cx| map2(cx, $f, $i),
            lower: Lower::Pointwise(|cx, node, _, index| {
                let (a, b) = compute_operands(cx, node, index);
                let f: fn(&mut Define<'_>, Scalar, Scalar) -> Scalar = $lower;
                let y = f(cx, a, b);
                result(cx, node, y)
            }),
            row_axes: None,
            tolerance: $tol,
            samples: |s| binary_samples(s, $types, -4.0, 4.0),
            source: concat!("ONNX operators, ", $name),
        }
    };
}

/// The row of a comparison.
macro_rules! compare {
    ($name:literal, $doc:literal, $op:expr, $swap:literal, $f:expr, $i:expr) => {
        OpDef {
            name: $name,
            doc: $doc,
            arity: (2, 2),
            attrs: NONE,
            class: Class::Elementwise,
            infer: |cx| {
                broadcast_same(cx).map(|mut t| {
                    t[0].dtype = DType::Bool;
                    t
                })
            },
            eval: |cx| map2_bool(cx, $f, $i),
            lower: Lower::Pointwise(|cx, node, _, index| {
                let (a, b) = compute_operands(cx, node, index);
                if $swap {
                    Scalar::binary($op, b, a)
                } else {
                    Scalar::binary($op, a, b)
                }
            }),
            row_axes: None,
            tolerance: Tolerance::Exact,
            samples: |s| binary_samples(s, ALL_TYPES, -2.0, 2.0),
            source: concat!("ONNX operators, ", $name),
        }
    };
}

const FLOATS: &[DType] = &[DType::F32, DType::F32, DType::F64, DType::F16, DType::BF16];
const INTS: &[DType] = &[
    DType::I32,
    DType::I64,
    DType::I8,
    DType::U8,
    DType::I16,
    DType::U16,
    DType::U32,
    DType::U64,
];
const NUMBERS: &[DType] = &[
    DType::F32,
    DType::F32,
    DType::F64,
    DType::F16,
    DType::BF16,
    DType::I32,
    DType::I64,
    DType::I8,
    DType::U8,
    DType::I16,
    DType::U16,
    DType::U32,
    DType::U64,
];
const SIGNED: &[DType] = &[
    DType::F32,
    DType::F64,
    DType::F16,
    DType::BF16,
    DType::I32,
    DType::I64,
    DType::I8,
    DType::I16,
];
const ALL_TYPES: &[DType] = &DType::ALL;
const BITS: &[DType] = &[
    DType::Bool,
    DType::I32,
    DType::I64,
    DType::I8,
    DType::U8,
    DType::U16,
    DType::U32,
    DType::U64,
];

/// Rows of scalar maps.
pub const OPS: &[OpDef] = &[
    unary!(
        "neg",
        "y = -x",
        |_, x| Scalar::unary(UnaryOp::Neg, x),
        float | x | -x,
        int | x,
        _ | -x,
        (SIGNED, -9.0, 9.0),
        Tolerance::Exact
    ),
    unary!("abs", "y = |x|", |_, x| Scalar::unary(UnaryOp::Abs, x), float f64::abs, int |x, _| x.abs(), (NUMBERS, -9.0, 9.0), Tolerance::Exact),
    unary!(
        "sign",
        "y = -1, 0 or 1 as x is below, equal to or above 0; NaN stays",
        lower_sign,
        float
            | x
            | if x == 0.0 || x.is_nan() {
                x
            } else {
                x.signum()
            },
        int | x,
        _ | x.signum(),
        (NUMBERS, -3.0, 3.0),
        Tolerance::Exact
    ),
    unary!("sqrt", "y = square root of x", |_, x| Scalar::unary(UnaryOp::Sqrt, x), float f64::sqrt, int |_, _| 0, (FLOATS, 0.0, 9.0), Tolerance::Ulp(0.5)),
    unary!(
        "reciprocal",
        "y = 1 / x",
        |cx, x| {
            let d = cx.dtype_of(&x);
            Scalar::binary(BinaryOp::Div, Scalar::num(d, 1.0), x)
        },
        float | x | 1.0 / x,
        int | _,
        _ | 0,
        (FLOATS, 0.1, 9.0),
        Tolerance::Ulp(0.5)
    ),
    unary!("floor", "y = x rounded towards minus infinity", |_, x| Scalar::unary(UnaryOp::Floor, x), float f64::floor, int |x, _| x, (FLOATS, -9.0, 9.0), Tolerance::Exact),
    unary!("ceil", "y = x rounded towards plus infinity", |_, x| Scalar::unary(UnaryOp::Ceil, x), float f64::ceil, int |x, _| x, (FLOATS, -9.0, 9.0), Tolerance::Exact),
    unary!("trunc", "y = x rounded towards 0", |_, x| Scalar::unary(UnaryOp::Trunc, x), float f64::trunc, int |x, _| x, (FLOATS, -9.0, 9.0), Tolerance::Exact),
    unary!("round", "y = x rounded to nearest, ties to even", |_, x| Scalar::unary(UnaryOp::Round, x), float f64::round_ties_even, int |x, _| x, (FLOATS, -9.0, 9.0), Tolerance::Exact),
    unary!(
        "not",
        "y = logical or bitwise complement of x",
        |_, x| Scalar::unary(UnaryOp::Not, x),
        float | x | x,
        int | x,
        d | if d == DType::Bool {
            i128::from(x == 0)
        } else {
            !x
        },
        (BITS, -9.0, 9.0),
        Tolerance::Exact
    ),
    math!("exp", "y = e^x", Exp, f64::exp, (FLOATS, -8.0, 8.0), 2.0),
    math!("log", "y = ln x", Log, f64::ln, (FLOATS, 0.01, 50.0), 2.0),
    math!(
        "tanh",
        "y = tanh x",
        Tanh,
        f64::tanh,
        (FLOATS, -6.0, 6.0),
        4.0
    ),
    math!(
        "sigmoid",
        "y = 1 / (1 + e^-x)",
        Sigmoid,
        |x| 1.0 / (1.0 + (-x).exp()),
        (FLOATS, -9.0, 9.0),
        4.0
    ),
    math!(
        "erf",
        "y = 2/sqrt(pi) times the integral of e^(-t^2) over 0..x",
        Erf,
        erf,
        (FLOATS, -4.0, 4.0),
        4.0
    ),
    math!("sin", "y = sin x", Sin, f64::sin, (FLOATS, -9.0, 9.0), 4.0),
    math!("cos", "y = cos x", Cos, f64::cos, (FLOATS, -9.0, 9.0), 4.0),
    math!("tan", "y = tan x", Tan, f64::tan, (FLOATS, -1.4, 1.4), 8.0),
    math!(
        "asin",
        "y = arcsin x",
        Asin,
        f64::asin,
        (FLOATS, -1.0, 1.0),
        4.0
    ),
    math!(
        "acos",
        "y = arccos x",
        Acos,
        f64::acos,
        (FLOATS, -1.0, 1.0),
        4.0
    ),
    math!(
        "atan",
        "y = arctan x",
        Atan,
        f64::atan,
        (FLOATS, -9.0, 9.0),
        4.0
    ),
    math!(
        "sinh",
        "y = sinh x",
        Sinh,
        f64::sinh,
        (FLOATS, -6.0, 6.0),
        4.0
    ),
    math!(
        "cosh",
        "y = cosh x",
        Cosh,
        f64::cosh,
        (FLOATS, -6.0, 6.0),
        4.0
    ),
    math!(
        "asinh",
        "y = arsinh x",
        Asinh,
        f64::asinh,
        (FLOATS, -9.0, 9.0),
        4.0
    ),
    math!(
        "acosh",
        "y = arcosh x",
        Acosh,
        f64::acosh,
        (FLOATS, 1.0, 9.0),
        4.0
    ),
    math!(
        "atanh",
        "y = artanh x",
        Atanh,
        f64::atanh,
        (FLOATS, -0.9, 0.9),
        4.0
    ),
    binary!(
        "add",
        "y = a + b",
        |_, a, b| Scalar::binary(BinaryOp::Add, a, b),
        float | a,
        b | a + b,
        int | a,
        b,
        _ | a + b,
        NUMBERS,
        Tolerance::Exact
    ),
    binary!(
        "sub",
        "y = a - b",
        |_, a, b| Scalar::binary(BinaryOp::Sub, a, b),
        float | a,
        b | a - b,
        int | a,
        b,
        _ | a - b,
        NUMBERS,
        Tolerance::Exact
    ),
    binary!(
        "mul",
        "y = a * b",
        |_, a, b| Scalar::binary(BinaryOp::Mul, a, b),
        float | a,
        b | a * b,
        int | a,
        b,
        _ | a.wrapping_mul(b),
        NUMBERS,
        Tolerance::Exact
    ),
    binary!(
        "div",
        "y = a / b; integers truncate towards 0, and a / 0 is 0",
        |_, a, b| Scalar::binary(BinaryOp::Div, a, b),
        float | a,
        b | a / b,
        int | a,
        b,
        _ | a.checked_div(b).unwrap_or(0),
        NUMBERS,
        Tolerance::Exact
    ),
    binary!(
        "rem",
        "y = remainder of a / b with the sign of a; integers by 0 give 0",
        lower_rem,
        float | a,
        b | a % b,
        int | a,
        b,
        _ | a.checked_rem(b).unwrap_or(0),
        NUMBERS,
        Tolerance::Exact
    ),
    binary!(
        "mod",
        "y = remainder of a / b with the sign of b; integers by 0 give 0",
        lower_mod,
        float | a,
        b | {
            let r = a % b;
            if r != 0.0 && (r < 0.0) != (b < 0.0) {
                r + b
            } else {
                r
            }
        },
        int | a,
        b,
        _ | {
            let r = a.checked_rem(b).unwrap_or(0);
            if r != 0 && (r < 0) != (b < 0) {
                r + b
            } else {
                r
            }
        },
        INTS,
        Tolerance::Exact
    ),
    binary!("pow", "y = a^b (floats)", |_, a, b| Scalar::Call(MathFn::Pow, vec![a, b]), float f64::powf, int |_, _, _| 0, FLOATS, Tolerance::Ulp(16.0)),
    binary!(
        "min",
        "y = the lesser of a and b; NaN if either is",
        |_, a, b| Scalar::binary(BinaryOp::Min, a, b),
        float | a,
        b | if a.is_nan() || b.is_nan() {
            f64::NAN
        } else {
            a.min(b)
        },
        int | a,
        b,
        _ | a.min(b),
        NUMBERS,
        Tolerance::Exact
    ),
    binary!(
        "max",
        "y = the greater of a and b; NaN if either is",
        |_, a, b| Scalar::binary(BinaryOp::Max, a, b),
        float | a,
        b | if a.is_nan() || b.is_nan() {
            f64::NAN
        } else {
            a.max(b)
        },
        int | a,
        b,
        _ | a.max(b),
        NUMBERS,
        Tolerance::Exact
    ),
    binary!(
        "and",
        "y = a and b, logical or bitwise",
        |_, a, b| Scalar::binary(BinaryOp::And, a, b),
        float | a,
        _ | a,
        int | a,
        b,
        _ | a & b,
        BITS,
        Tolerance::Exact
    ),
    binary!(
        "or",
        "y = a or b, logical or bitwise",
        |_, a, b| Scalar::binary(BinaryOp::Or, a, b),
        float | a,
        _ | a,
        int | a,
        b,
        _ | a | b,
        BITS,
        Tolerance::Exact
    ),
    binary!(
        "xor",
        "y = exclusive or of a and b, logical or bitwise",
        |_, a, b| Scalar::binary(BinaryOp::Xor, a, b),
        float | a,
        _ | a,
        int | a,
        b,
        _ | a ^ b,
        BITS,
        Tolerance::Exact
    ),
    binary!(
        "shl",
        "y = a shifted left by b bits; 0 from the width on",
        |_, a, b| Scalar::binary(BinaryOp::Shl, a, b),
        float | a,
        _ | a,
        int | a,
        b,
        d | if (0..8 * d.bytes() as i128).contains(&b) {
            a << b
        } else {
            0
        },
        &[DType::U8, DType::U16, DType::U32, DType::U64],
        Tolerance::Exact
    ),
    binary!(
        "shr",
        "y = a shifted right by b bits; 0 from the width on",
        |_, a, b| Scalar::binary(BinaryOp::Shr, a, b),
        float | a,
        _ | a,
        int | a,
        b,
        d | if (0..8 * d.bytes() as i128).contains(&b) {
            a >> b
        } else {
            0
        },
        &[DType::U8, DType::U16, DType::U32, DType::U64],
        Tolerance::Exact
    ),
    compare!(
        "eq",
        "y = (a equals b)",
        BinaryOp::Eq,
        false,
        |a, b| a == b,
        |a, b| a == b
    ),
    compare!(
        "ne",
        "y = (a does not equal b)",
        BinaryOp::Ne,
        false,
        |a, b| a != b,
        |a, b| a != b
    ),
    compare!(
        "lt",
        "y = (a is less than b)",
        BinaryOp::Lt,
        false,
        |a, b| a < b,
        |a, b| a < b
    ),
    compare!(
        "le",
        "y = (a is at most b)",
        BinaryOp::Le,
        false,
        |a, b| a <= b,
        |a, b| a <= b
    ),
    compare!(
        "gt",
        "y = (a is greater than b)",
        BinaryOp::Lt,
        true,
        |a, b| a > b,
        |a, b| a > b
    ),
    compare!(
        "ge",
        "y = (a is at least b)",
        BinaryOp::Le,
        true,
        |a, b| a >= b,
        |a, b| a >= b
    ),
    OpDef {
        name: "select",
        doc: "y = a where c, else b",
        arity: (3, 3),
        attrs: NONE,
        class: Class::Elementwise,
        infer: infer_select,
        eval: eval_select,
        lower: Lower::Pointwise(|cx, node, _, index| {
            let [c, a, b] = [0, 1, 2].map(|k| cx.broadcast_operand(node, k, index));
            Scalar::select(c, a, b)
        }),
        row_axes: None,
        tolerance: Tolerance::Exact,
        samples: select_samples,
        source: "ONNX operators, Where",
    },
    OpDef {
        name: "cast",
        doc: "y = x as another element type: to floats rounded to nearest even, from floats truncated and saturated (NaN to 0), between integers wrapped, to bool \"not 0\"",
        arity: (1, 1),
        attrs: &[attr(
            "to",
            AttrKind::DType,
            "the element type of the result",
        )],
        class: Class::Elementwise,
        infer: |cx| {
            Ok(vec![TensorType::new(
                cx.attrs.dtype("to"),
                cx.inputs[0].shape.clone(),
            )])
        },
        eval: |cx| Ok(vec![cast_tensor(cx.inputs[0], cx.attrs.dtype("to"))]),
        lower: Lower::Pointwise(|cx, node, _, index| {
            let x = cx.operand(node, 0, index);
            let to = cx.result_type(node, 0).dtype;
            if cx.dtype_of(&x) == to {
                x
            } else {
                Scalar::cast(to, x)
            }
        }),
        row_axes: None,
        tolerance: Tolerance::Exact,
        samples: cast_samples,
        source: "ONNX operators, Cast (values out of range are undefined there)",
    },
    predicate("isnan", "y = (x is NaN)", |cx| map1_bool(cx, f64::is_nan)),
    predicate("isinf", "y = (x is plus or minus infinity)", |cx| {
        map1_bool(cx, f64::is_infinite)
    }),
];

const fn predicate(
    name: &'static str,
    doc: &'static str,
    eval: fn(&EvalCx<'_>) -> Result<Vec<Tensor>, EvalError>,
) -> OpDef {
    OpDef {
        name,
        doc,
        arity: (1, 1),
        attrs: NONE,
        class: Class::Elementwise,
        infer: |cx| {
            Ok(vec![TensorType::new(
                DType::Bool,
                cx.inputs[0].shape.clone(),
            )])
        },
        eval,
        lower: Lower::Pointwise(|cx, node, _, index| {
            let x = compute_operand(cx, node, 0, index);
            lower_predicate(cx, node, x)
        }),
        row_axes: None,
        tolerance: Tolerance::Exact,
        samples: |s| unary_samples(s, FLOATS, -1.0, 1.0),
        source: "ONNX operators, IsNaN and IsInf",
    }
}

fn lower_predicate(cx: &mut Define<'_>, node: NodeId, x: Scalar) -> Scalar {
    let d = cx.dtype_of(&x);
    let x = cx.bind(x);
    if cx.node(node).op.name == "isnan" {
        return Scalar::binary(BinaryOp::Ne, x.clone(), x);
    }
    Scalar::binary(
        BinaryOp::Eq,
        Scalar::unary(UnaryOp::Abs, x),
        Scalar::num(d, f64::INFINITY),
    )
}

// Types and shapes

fn same_type(cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
    Ok(vec![cx.inputs[0].clone()])
}

fn broadcast_same(cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
    cx.same_dtype()?;
    let shape = broadcast_shapes(&[&cx.inputs[0].shape, &cx.inputs[1].shape])?;
    Ok(vec![TensorType::new(cx.inputs[0].dtype, shape)])
}

fn infer_select(cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
    if cx.inputs[0].dtype != DType::Bool || cx.inputs[1].dtype != cx.inputs[2].dtype {
        let [c, a, b] = [0, 1, 2].map(|k| cx.inputs[k].dtype);
        return Err(format!(
            "operands are {c}, {a}, {b}; want bool and two of one type"
        ));
    }
    let shapes: Vec<&[Expr]> = cx.inputs.iter().map(|t| &t.shape[..]).collect();
    Ok(vec![TensorType::new(
        cx.inputs[1].dtype,
        broadcast_shapes(&shapes)?,
    )])
}

// Definition in loops: half precision computes in f32 and rounds once

pub(super) fn compute_type(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        d => d,
    }
}

pub(super) fn widen(cx: &Define<'_>, x: Scalar) -> Scalar {
    let d = cx.dtype_of(&x);
    if compute_type(d) == d {
        x
    } else {
        Scalar::cast(compute_type(d), x)
    }
}

fn compute_operand(cx: &mut Define<'_>, node: NodeId, k: usize, index: &[Expr]) -> Scalar {
    let x = cx.broadcast_operand(node, k, index);
    widen(cx, x)
}

fn compute_operands(cx: &mut Define<'_>, node: NodeId, index: &[Expr]) -> (Scalar, Scalar) {
    let a = compute_operand(cx, node, 0, index);
    (a, compute_operand(cx, node, 1, index))
}

pub(super) fn result(cx: &Define<'_>, node: NodeId, y: Scalar) -> Scalar {
    let want = cx.result_type(node, 0).dtype;
    if cx.dtype_of(&y) == want {
        y
    } else {
        Scalar::cast(want, y)
    }
}

fn lower_sign(cx: &mut Define<'_>, x: Scalar) -> Scalar {
    let d = cx.dtype_of(&x);
    let x = cx.bind(x);
    let below = Scalar::binary(BinaryOp::Lt, x.clone(), Scalar::num(d, 0.0));
    let above = Scalar::binary(BinaryOp::Lt, Scalar::num(d, 0.0), x.clone());
    let otherwise = Scalar::select(below, Scalar::num(d, -1.0), x);
    Scalar::select(above, Scalar::num(d, 1.0), otherwise)
}

fn lower_rem(cx: &mut Define<'_>, a: Scalar, b: Scalar) -> Scalar {
    if cx.dtype_of(&a).is_float() {
        return Scalar::Call(MathFn::Fmod, vec![a, b]);
    }
    Scalar::binary(BinaryOp::Rem, a, b)
}

fn lower_mod(cx: &mut Define<'_>, a: Scalar, b: Scalar) -> Scalar {
    let d = cx.dtype_of(&a);
    let zero = || Scalar::num(d, 0.0);
    let b = cx.bind(b);
    let rem = lower_rem(cx, a, b.clone());
    let rem = cx.bind(rem);
    let negative = |x: &Scalar| Scalar::binary(BinaryOp::Lt, x.clone(), zero());
    let differ = Scalar::binary(BinaryOp::Xor, negative(&rem), negative(&b));
    let nonzero = Scalar::binary(BinaryOp::Ne, rem.clone(), zero());
    let fix = Scalar::binary(BinaryOp::And, differ, nonzero);
    Scalar::select(fix, Scalar::binary(BinaryOp::Add, rem.clone(), b), rem)
}

// Reference evaluation

fn map1(
    cx: &EvalCx<'_>,
    f: impl Fn(f64) -> f64,
    i: impl Fn(i128, DType) -> i128,
) -> Result<Vec<Tensor>, EvalError> {
    let x = cx.inputs[0];
    let wide = match x.to_wide() {
        Wide::Float(v) => Wide::Float(v.into_iter().map(f).collect()),
        Wide::Int(v) => Wide::Int(v.into_iter().map(|a| i(a, x.dtype)).collect()),
    };
    Ok(vec![Tensor::from_wide(x.dtype, x.shape.clone(), &wide)])
}

fn map1_bool(cx: &EvalCx<'_>, f: impl Fn(f64) -> bool) -> Result<Vec<Tensor>, EvalError> {
    let x = cx.inputs[0];
    let wide = Wide::Int(x.to_f64().into_iter().map(|a| i128::from(f(a))).collect());
    Ok(vec![Tensor::from_wide(DType::Bool, x.shape.clone(), &wide)])
}

/// For each element of a row-major tensor of shape `to`, the position of the element of a tensor
/// of shape `from` that broadcasts to it.
pub fn broadcast_positions(from: &[usize], to: &[usize]) -> Vec<usize> {
    let skip = to.len() - from.len();
    let mut strides = vec![0; to.len()];
    let mut stride = 1;
    for d in (0..from.len()).rev() {
        strides[skip + d] = if from[d] == 1 { 0 } else { stride };
        stride *= from[d];
    }
    let mut positions = vec![0];
    for (extent, stride) in to.iter().zip(strides) {
        positions = positions
            .iter()
            .flat_map(|p| (0..*extent).map(move |i| p + i * stride))
            .collect();
    }
    positions
}

fn map2(
    cx: &EvalCx<'_>,
    f: impl Fn(f64, f64) -> f64,
    i: impl Fn(i128, i128, DType) -> i128,
) -> Result<Vec<Tensor>, EvalError> {
    let (a, b, shape) = (cx.inputs[0], cx.inputs[1], cx.output_shape(0)?);
    let pairs = pair_positions(a, b, &shape);
    let wide = match (a.to_wide(), b.to_wide()) {
        (Wide::Float(x), Wide::Float(y)) => {
            Wide::Float(pairs.map(|(p, q)| f(x[p], y[q])).collect())
        }
        (Wide::Int(x), Wide::Int(y)) => {
            Wide::Int(pairs.map(|(p, q)| i(x[p], y[q], a.dtype)).collect())
        }
        _ => return Err(cx.error("operands of different kinds")),
    };
    Ok(vec![Tensor::from_wide(a.dtype, shape, &wide)])
}

fn map2_bool(
    cx: &EvalCx<'_>,
    f: impl Fn(f64, f64) -> bool,
    i: impl Fn(i128, i128) -> bool,
) -> Result<Vec<Tensor>, EvalError> {
    let (a, b, shape) = (cx.inputs[0], cx.inputs[1], cx.output_shape(0)?);
    let pairs = pair_positions(a, b, &shape);
    let bits = match (a.to_wide(), b.to_wide()) {
        (Wide::Float(x), Wide::Float(y)) => pairs.map(|(p, q)| i128::from(f(x[p], y[q]))).collect(),
        (Wide::Int(x), Wide::Int(y)) => pairs.map(|(p, q)| i128::from(i(x[p], y[q]))).collect(),
        _ => return Err(cx.error("operands of different kinds")),
    };
    Ok(vec![Tensor::from_wide(
        DType::Bool,
        shape,
        &Wide::Int(bits),
    )])
}

fn pair_positions(
    a: &Tensor,
    b: &Tensor,
    shape: &[usize],
) -> impl Iterator<Item = (usize, usize)> + use<> {
    broadcast_positions(&a.shape, shape)
        .into_iter()
        .zip(broadcast_positions(&b.shape, shape))
}

fn eval_select(cx: &EvalCx<'_>) -> Result<Vec<Tensor>, EvalError> {
    let shape = cx.output_shape(0)?;
    let at: Vec<Vec<usize>> = cx
        .inputs
        .iter()
        .map(|t| broadcast_positions(&t.shape, &shape))
        .collect();
    let size = cx.inputs[1].dtype.bytes();
    let mut data = Vec::with_capacity(at[0].len() * size);
    for (k, c) in at[0].iter().enumerate() {
        let from = if cx.inputs[0].data[*c] != 0 { 1 } else { 2 };
        data.extend_from_slice(&cx.inputs[from].data[at[from][k] * size..][..size]);
    }
    Ok(vec![Tensor {
        dtype: cx.inputs[1].dtype,
        shape,
        data: data.into(),
    }])
}

/// Converts every element as the `cast` row says.
pub fn cast_tensor(x: &Tensor, to: DType) -> Tensor {
    let wide = match (x.to_wide(), to.int_range()) {
        (Wide::Float(v), Some(_)) if to == DType::Bool => {
            Wide::Int(v.into_iter().map(|a| i128::from(a != 0.0)).collect())
        }
        (Wide::Float(v), Some((lo, hi))) => {
            Wide::Int(v.into_iter().map(|a| (a as i128).clamp(lo, hi)).collect())
        }
        (Wide::Int(v), None) => Wide::Float(v.into_iter().map(|a| int_to_float(a, to)).collect()),
        (same, _) => same,
    };
    Tensor::from_wide(to, x.shape.clone(), &wide)
}

/// Rounds once, straight to the type.
fn int_to_float(a: i128, to: DType) -> f64 {
    if to == DType::F32 {
        f64::from(a as f32)
    } else {
        a as f64
    }
}

/// The error function to about 1e-16: a Taylor series near 0, a continued fraction beyond.
/// Source: Abramowitz and Stegun, 7.1.6 and 7.1.14.
pub fn erf(x: f64) -> f64 {
    let a = x.abs();
    if x.is_nan() {
        return x;
    }
    if a > 6.0 {
        return x.signum();
    }
    if a < 1.0 {
        let (mut term, mut sum) = (a, a);
        for n in 1..100 {
            term *= 2.0 * a * a / (2 * n + 1) as f64;
            sum += term;
        }
        return x.signum() * sum * (-a * a).exp() * std::f64::consts::FRAC_2_SQRT_PI;
    }
    let mut tail = a;
    for n in (1..200).rev() {
        tail = a + f64::from(n) / 2.0 / tail;
    }
    x.signum() * (1.0 - (-a * a).exp() / (tail * std::f64::consts::PI.sqrt()))
}

// Samples

fn unary_samples(s: &mut Sampler, types: &[DType], lo: f64, hi: f64) -> Vec<Sample> {
    let dtype = *s.pick(types);
    let rank = s.int(0, 3) as usize;
    let shape = s.shape(rank);
    vec![Sample::new(
        vec![s.tensor(dtype, &shape, lo, hi)],
        Attrs::new(),
    )]
}

/// Two shapes that broadcast.
pub fn broadcast_pair(s: &mut Sampler) -> (Vec<usize>, Vec<usize>) {
    let rank = s.int(0, 3) as usize;
    let full = s.shape(rank);
    let mut thin = |keep: i64| -> Vec<usize> {
        let drop = s.int(0, rank as i64).min(keep) as usize;
        full[drop..]
            .iter()
            .map(|d| if s.int(0, 3) == 0 { 1 } else { *d })
            .collect()
    };
    let a = thin(0);
    let b = thin(rank as i64);
    (a, b)
}

fn binary_samples(s: &mut Sampler, types: &[DType], lo: f64, hi: f64) -> Vec<Sample> {
    let dtype = *s.pick(types);
    let (a, b) = broadcast_pair(s);
    let operands = vec![s.tensor(dtype, &a, lo, hi), s.tensor(dtype, &b, lo, hi)];
    vec![Sample::new(operands, Attrs::new())]
}

fn select_samples(s: &mut Sampler) -> Vec<Sample> {
    let dtype = *s.pick(ALL_TYPES);
    let (a, b) = broadcast_pair(s);
    let c = s.tensor(DType::Bool, &a, 0.0, 1.0);
    vec![Sample::new(
        vec![
            c,
            s.tensor(dtype, &b, -4.0, 4.0),
            s.tensor(dtype, &a, -4.0, 4.0),
        ],
        Attrs::new(),
    )]
}

fn cast_samples(s: &mut Sampler) -> Vec<Sample> {
    let (from, to) = (*s.pick(ALL_TYPES), *s.pick(ALL_TYPES));
    let shape = s.shape(2);
    let x = s.tensor(from, &shape, -300.0, 300.0);
    vec![Sample::new(vec![x], Attrs::new().with("to", to))]
}
