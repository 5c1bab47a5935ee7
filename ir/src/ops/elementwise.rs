//! Elementwise ops: scalar maps with NumPy broadcasting.
mod eval;
mod lower;
mod samples;

pub(super) use eval::cast_tensor;
pub(super) use lower::{compute_type, result, widen};

use super::infer::broadcast_shapes;
use super::types::{ANY, BITS, FLOATS, INTS, NUMBERS, SIGNED};
use super::{AttrDef, Class, InferCx, Lower, OpDef, Tolerance, attr};
use crate::define::Define;
use crate::dtype::DType;
use crate::eval::{EvalCx, EvalError};
use crate::expr::Expr;
use crate::graph::{AttrKind, NodeId, TensorType};
use crate::loops::math::MathFn;
use crate::loops::{BinaryOp, Scalar, UnaryOp};
use crate::tensor::Tensor;
use eval::*;
use lower::*;
use samples::*;

const NONE: &[AttrDef] = &[];

/// The row of an op with one operand.
macro_rules! unary {
    ($name:literal, $doc:literal, $lower:expr, $f:expr, $i:expr, $range:expr, $tol:expr) => {
        OpDef {
            name: $name,
            doc: $doc,
            arity: (1, 1),
            attrs: NONE,
            class: Class::Elementwise,
            types: $range.0,
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
        unary!(
            $name,
            $doc,
            |_, x| Scalar::Call(MathFn::$func, vec![x]),
            $f,
            |_, _| 0,
            $range,
            Tolerance::Ulp($ulp)
        )
    };
}

/// The row of an op with two operands of one type.
macro_rules! binary {
    ($name:literal, $doc:literal, $lower:expr,  $f:expr,  $i:expr, $types:expr, $tol:expr) => {
        OpDef {
            name: $name,
            doc: $doc,
            arity: (2, 2),
            attrs: NONE,
            class: Class::Elementwise,
            types: $types,
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
            types: ANY,
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
            samples: |s| binary_samples(s, ANY, -2.0, 2.0),
            source: concat!("ONNX operators, ", $name),
        }
    };
}

/// Rows of scalar maps.
pub const OPS: &[OpDef] = &[
    unary!(
        "neg",
        "y = -x",
        |_, x| Scalar::unary(UnaryOp::Neg, x),
        |x| -x,
        |x, _| -x,
        (SIGNED, -9.0, 9.0),
        Tolerance::Exact
    ),
    unary!(
        "abs",
        "y = |x|",
        |_, x| Scalar::unary(UnaryOp::Abs, x),
        f64::abs,
        |x, _| x.abs(),
        (NUMBERS, -9.0, 9.0),
        Tolerance::Exact
    ),
    unary!(
        "sign",
        "y = -1, 0 or 1 as x is below, equal to or above 0; NaN stays",
        lower_sign,
        |x| if x == 0.0 || x.is_nan() {
            x
        } else {
            x.signum()
        },
        |x, _| x.signum(),
        (NUMBERS, -3.0, 3.0),
        Tolerance::Exact
    ),
    unary!(
        "sqrt",
        "y = square root of x",
        |_, x| Scalar::unary(UnaryOp::Sqrt, x),
        f64::sqrt,
        |_, _| 0,
        (FLOATS, 0.0, 9.0),
        Tolerance::Ulp(0.5)
    ),
    unary!(
        "reciprocal",
        "y = 1 / x",
        |cx, x| {
            let d = cx.dtype_of(&x);
            Scalar::binary(BinaryOp::Div, Scalar::num(d, 1.0), x)
        },
        |x| 1.0 / x,
        |_, _| 0,
        (FLOATS, 0.1, 9.0),
        Tolerance::Ulp(0.5)
    ),
    unary!(
        "floor",
        "y = x rounded towards minus infinity",
        |_, x| Scalar::unary(UnaryOp::Floor, x),
        f64::floor,
        |x, _| x,
        (FLOATS, -9.0, 9.0),
        Tolerance::Exact
    ),
    unary!(
        "ceil",
        "y = x rounded towards plus infinity",
        |_, x| Scalar::unary(UnaryOp::Ceil, x),
        f64::ceil,
        |x, _| x,
        (FLOATS, -9.0, 9.0),
        Tolerance::Exact
    ),
    unary!(
        "trunc",
        "y = x rounded towards 0",
        |_, x| Scalar::unary(UnaryOp::Trunc, x),
        f64::trunc,
        |x, _| x,
        (FLOATS, -9.0, 9.0),
        Tolerance::Exact
    ),
    unary!(
        "round",
        "y = x rounded to nearest, ties to even",
        |_, x| Scalar::unary(UnaryOp::Round, x),
        f64::round_ties_even,
        |x, _| x,
        (FLOATS, -9.0, 9.0),
        Tolerance::Exact
    ),
    unary!(
        "not",
        "y = logical or bitwise complement of x",
        |_, x| Scalar::unary(UnaryOp::Not, x),
        |x| x,
        |x, d| if d == DType::Bool {
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
        |a, b| a + b,
        |a, b, _| a + b,
        NUMBERS,
        Tolerance::Exact
    ),
    binary!(
        "sub",
        "y = a - b",
        |_, a, b| Scalar::binary(BinaryOp::Sub, a, b),
        |a, b| a - b,
        |a, b, _| a - b,
        NUMBERS,
        Tolerance::Exact
    ),
    binary!(
        "mul",
        "y = a * b",
        |_, a, b| Scalar::binary(BinaryOp::Mul, a, b),
        |a, b| a * b,
        |a, b, _| a.wrapping_mul(b),
        NUMBERS,
        Tolerance::Exact
    ),
    binary!(
        "div",
        "y = a / b; integers truncate towards 0, and a / 0 is 0",
        |_, a, b| Scalar::binary(BinaryOp::Div, a, b),
        |a, b| a / b,
        |a, b, _| a.checked_div(b).unwrap_or(0),
        NUMBERS,
        Tolerance::Exact
    ),
    binary!(
        "rem",
        "y = remainder of a / b with the sign of a; integers by 0 give 0",
        lower_rem,
        |a, b| a % b,
        |a, b, _| a.checked_rem(b).unwrap_or(0),
        NUMBERS,
        Tolerance::Exact
    ),
    binary!(
        "mod",
        "y = remainder of a / b with the sign of b; integers by 0 give 0",
        lower_mod,
        |a, b| {
            let r = a % b;
            if r != 0.0 && (r < 0.0) != (b < 0.0) {
                r + b
            } else {
                r
            }
        },
        |a, b, _| {
            let r = a.checked_rem(b).unwrap_or(0);
            if r != 0 && (r < 0) != (b < 0) {
                r + b
            } else {
                r
            }
        },
        NUMBERS,
        Tolerance::Exact
    ),
    binary!(
        "pow",
        "y = a^b (floats)",
        |_, a, b| Scalar::Call(MathFn::Pow, vec![a, b]),
        f64::powf,
        |_, _, _| 0,
        FLOATS,
        Tolerance::Ulp(16.0)
    ),
    binary!(
        "min",
        "y = the lesser of a and b; NaN if either is",
        |_, a, b| Scalar::binary(BinaryOp::Min, a, b),
        |a, b| if a.is_nan() || b.is_nan() {
            f64::NAN
        } else {
            a.min(b)
        },
        |a, b, _| a.min(b),
        NUMBERS,
        Tolerance::Exact
    ),
    binary!(
        "max",
        "y = the greater of a and b; NaN if either is",
        |_, a, b| Scalar::binary(BinaryOp::Max, a, b),
        |a, b| if a.is_nan() || b.is_nan() {
            f64::NAN
        } else {
            a.max(b)
        },
        |a, b, _| a.max(b),
        NUMBERS,
        Tolerance::Exact
    ),
    binary!(
        "and",
        "y = a and b, logical or bitwise",
        |_, a, b| Scalar::binary(BinaryOp::And, a, b),
        |a, _| a,
        |a, b, _| a & b,
        BITS,
        Tolerance::Exact
    ),
    binary!(
        "or",
        "y = a or b, logical or bitwise",
        |_, a, b| Scalar::binary(BinaryOp::Or, a, b),
        |a, _| a,
        |a, b, _| a | b,
        BITS,
        Tolerance::Exact
    ),
    binary!(
        "xor",
        "y = exclusive or of a and b, logical or bitwise",
        |_, a, b| Scalar::binary(BinaryOp::Xor, a, b),
        |a, _| a,
        |a, b, _| a ^ b,
        BITS,
        Tolerance::Exact
    ),
    binary!(
        "shl",
        "y = a shifted left by b bits; 0 from the width on",
        |_, a, b| Scalar::binary(BinaryOp::Shl, a, b),
        |a, _| a,
        |a, b, d| if (0..8 * d.bytes() as i128).contains(&b) {
            a << b
        } else {
            0
        },
        INTS,
        Tolerance::Exact
    ),
    binary!(
        "shr",
        "y = a shifted right by b bits; 0 from the width on",
        |_, a, b| Scalar::binary(BinaryOp::Shr, a, b),
        |a, _| a,
        |a, b, d| if (0..8 * d.bytes() as i128).contains(&b) {
            a >> b
        } else {
            0
        },
        INTS,
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
        name: "fma",
        doc: "y = a * b + c, rounded once",
        arity: (3, 3),
        attrs: NONE,
        class: Class::Elementwise,
        types: &[DType::F32, DType::F64],
        infer: |cx| {
            cx.same_dtype()?;
            let shapes: Vec<&[Expr]> = cx.inputs.iter().map(|t| &t.shape[..]).collect();
            let shape = broadcast_shapes(&shapes)?;
            Ok(vec![TensorType::new(cx.inputs[0].dtype, shape)])
        },
        eval: eval_fma,
        lower: Lower::Pointwise(|cx, node, _, index| {
            let [a, b, c] = [0, 1, 2].map(|k| Box::new(cx.broadcast_operand(node, k, index)));
            Scalar::Fma(a, b, c)
        }),
        row_axes: None,
        tolerance: Tolerance::Exact,
        samples: fma_samples,
        source: "IEEE 754-2019, 5.4.1, fusedMultiplyAdd",
    },
    OpDef {
        name: "select",
        doc: "y = a where c, else b",
        arity: (3, 3),
        attrs: NONE,
        class: Class::Elementwise,
        types: &[DType::Bool],
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
        types: ANY,
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
            match cx.dtype_of(&x) {
                from if from == to => x,
                // A choice of constants, which vectors have.
                DType::Bool if matches!(to, DType::F32 | DType::I32) => {
                    Scalar::select(x, Scalar::num(to, 1.0), Scalar::num(to, 0.0))
                }
                _ => Scalar::cast(to, x),
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
        types: FLOATS,
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
