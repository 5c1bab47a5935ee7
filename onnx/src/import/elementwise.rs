//! Elementwise arithmetic, comparison, logic and casts.
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::ValueId;

use super::cx::Cx;
use super::registry::{OpImport, onnx};
use super::value::{Val, dtype_of, no_dtype, one};
use crate::elem::ElemType;
use crate::error::Result;
use crate::proto::NodeProto;

type Vals = Result<Vec<Val>>;

macro_rules! unary {
    ($name:literal, $row:literal) => {
        onnx($name, |cx, node| {
            let x = cx.input(node, 0)?;
            cx.unary($row, x).map(one)
        })
    };
}

macro_rules! binary {
    ($name:literal, $row:literal) => {
        onnx($name, |cx, node| {
            let (a, b) = operands(cx, node)?;
            cx.binary($row, a, b).map(one)
        })
    };
}

macro_rules! variadic {
    ($name:literal, $row:literal) => {
        onnx($name, |cx, node| variadic(cx, node, $row).map(one))
    };
}

pub(crate) const OPS: &[OpImport] = &[
    unary!("Neg", "neg"),
    unary!("Abs", "abs"),
    unary!("Sign", "sign"),
    unary!("Sqrt", "sqrt"),
    unary!("Reciprocal", "reciprocal"),
    unary!("Exp", "exp"),
    unary!("Log", "log"),
    unary!("Tanh", "tanh"),
    unary!("Sigmoid", "sigmoid"),
    unary!("Erf", "erf"),
    unary!("Sin", "sin"),
    unary!("Cos", "cos"),
    unary!("Tan", "tan"),
    unary!("Asin", "asin"),
    unary!("Acos", "acos"),
    unary!("Atan", "atan"),
    unary!("Sinh", "sinh"),
    unary!("Cosh", "cosh"),
    unary!("Asinh", "asinh"),
    unary!("Acosh", "acosh"),
    unary!("Atanh", "atanh"),
    unary!("Not", "not"),
    unary!("BitwiseNot", "not"),
    unary!("IsNaN", "isnan"),
    unary!("Floor", "floor"),
    unary!("Ceil", "ceil"),
    unary!("Round", "round"),
    onnx("IsInf", is_inf),
    binary!("Add", "add"),
    binary!("Sub", "sub"),
    binary!("Mul", "mul"),
    binary!("Div", "div"),
    binary!("And", "and"),
    binary!("Or", "or"),
    binary!("Xor", "xor"),
    binary!("BitwiseAnd", "and"),
    binary!("BitwiseOr", "or"),
    binary!("BitwiseXor", "xor"),
    binary!("Equal", "eq"),
    binary!("Less", "lt"),
    binary!("LessOrEqual", "le"),
    binary!("Greater", "gt"),
    binary!("GreaterOrEqual", "ge"),
    variadic!("Sum", "add"),
    variadic!("Min", "min"),
    variadic!("Max", "max"),
    onnx("Mean", |cx, node| {
        let sum = variadic(cx, node, "add")?;
        let count = node.input.len() as f64;
        cx.with_scalar("div", sum, count).map(one)
    }),
    onnx("Pow", pow),
    onnx("Mod", modulo),
    onnx("BitShift", bit_shift),
    onnx("Where", |cx, node| {
        let [c, a, b] = [cx.input(node, 0)?, cx.input(node, 1)?, cx.input(node, 2)?];
        cx.select(c, a, b).map(one)
    }),
    onnx("Clip", clip),
    onnx("Relu", |cx, node| {
        let x = cx.input(node, 0)?;
        cx.with_scalar("max", x, 0.0).map(one)
    }),
    onnx("Cast", |cx, node| {
        let to = node.require_attr("to", node.attr_i("to")?)?;
        let (x, to) = (cx.input(node, 0)?, element_type(cx, to)?);
        cx.cast(x, to).map(one)
    }),
    onnx("CastLike", |cx, node| {
        let (x, like) = (cx.input(node, 0)?, cx.input(node, 1)?);
        let to = cx.dtype(like);
        cx.cast(x, to).map(one)
    }),
    onnx("Identity", |cx, node| {
        match cx.lookup(node.required_operand(0)?) {
            Some(val) => Ok(vec![val]),
            None => Err(cx.invalid("its operand is not defined")),
        }
    }),
    onnx("Dropout", dropout),
];

/// The IR's element type for a number of the schema.
pub(crate) fn element_type(cx: &Cx<'_>, number: i64) -> Result<DType> {
    let elem = i32::try_from(number).ok().and_then(ElemType::from_number);
    let elem = elem.ok_or_else(|| cx.invalid(format!("unknown element type {number}")))?;
    dtype_of(elem).ok_or_else(|| cx.unsupported(no_dtype(elem)))
}

/// Two operands; the second one moved to `axis` by operator sets before 7.
fn operands(cx: &mut Cx<'_>, node: &NodeProto) -> Result<(ValueId, ValueId)> {
    let (a, mut b) = (cx.input(node, 0)?, cx.input(node, 1)?);
    if let Some(axis) = node.attr_i("axis")?
        && cx.opset() < 7
    {
        let axis = cx.axis(axis, cx.rank(a))?;
        let mut shape = cx.shape(b);
        while axis + shape.len() < cx.rank(a) {
            shape.push(1.into());
        }
        b = cx.reshape(b, shape)?;
    }
    Ok((a, b))
}

fn variadic(cx: &mut Cx<'_>, node: &NodeProto, row: &str) -> Result<ValueId> {
    let mut total = cx.input(node, 0)?;
    for k in 1..node.input.len() {
        let x = cx.input(node, k)?;
        total = cx.binary(row, total, x)?;
    }
    Ok(total)
}

fn is_inf(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = cx.input(node, 0)?;
    let negative = node.attr_bool_or("detect_negative", true)?;
    let positive = node.attr_bool_or("detect_positive", true)?;
    let found = cx.unary("isinf", x)?;
    if negative && positive {
        return Ok(one(found));
    }
    let zero = cx.scalar(cx.dtype(x), 0.0);
    let sign = match (negative, positive) {
        (true, _) => cx.binary("lt", x, zero)?,
        (_, true) => cx.binary("gt", x, zero)?,
        _ => cx.binary("ne", x, x)?,
    };
    cx.binary("and", found, sign).map(one)
}

fn pow(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let (a, b) = operands(cx, node)?;
    let dtype = cx.dtype(a);
    let exponent = cx.frame().graph.constant(b).filter(|t| t.count() == 1);
    let exponent = exponent.map(|t| t.to_f64()[0]);
    if exponent == Some(2.0) && cx.rank(b) == 0 {
        return cx.binary("mul", a, a).map(one);
    }
    // A whole exponent of a few digits is the same in every type.
    let whole = exponent.is_some_and(|e| e.fract() == 0.0 && e.abs() <= 256.0);
    let compute = match dtype {
        d if d.is_float() && (cx.dtype(b) == d || cx.dtype(b).bytes() < 4 || whole) => d,
        _ => DType::F64,
    };
    let (wide_a, wide_b) = (cx.cast(a, compute)?, cx.cast(b, compute)?);
    let power = cx.binary("pow", wide_a, wide_b)?;
    cx.cast(power, dtype).map(one)
}

fn modulo(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let (a, b) = operands(cx, node)?;
    let truncated = node.attr_bool_or("fmod", false)?;
    cx.binary(if truncated { "rem" } else { "mod" }, a, b)
        .map(one)
}

fn bit_shift(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let (a, b) = operands(cx, node)?;
    let direction = node.require_attr("direction", node.attr_s("direction")?)?;
    match direction {
        "LEFT" => cx.binary("shl", a, b).map(one),
        // Beyond the width of the type, what remains is the sign.
        "RIGHT" if cx.dtype(a).is_signed() => {
            let last = 8 * cx.dtype(a).bytes() as i64 - 1;
            let low = cx.with_scalar("ge", b, 0.0)?;
            let high = cx.with_scalar("le", b, last as f64)?;
            let inside = cx.binary("and", low, high)?;
            let last = cx.scalar(cx.dtype(b), last as f64);
            let amount = cx.select(inside, b, last)?;
            cx.binary("shr", a, amount).map(one)
        }
        "RIGHT" => cx.binary("shr", a, b).map(one),
        other => Err(cx.invalid(format!("direction {other:?} is neither LEFT nor RIGHT"))),
    }
}

fn clip(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = cx.input(node, 0)?;
    let dtype = cx.dtype(x);
    let (least, most) = if cx.opset() < 11 {
        let bound = |v: Option<f32>| v.filter(|v| v.is_finite() && v.abs() < f32::MAX);
        let least = bound(node.attr_f("min")?).map(|v| cx.scalar(dtype, v.into()));
        let most = bound(node.attr_f("max")?).map(|v| cx.scalar(dtype, v.into()));
        (least, most)
    } else {
        (cx.optional(node, 1)?, cx.optional(node, 2)?)
    };
    let mut y = x;
    for (row, bound) in [("max", least), ("min", most)] {
        if let Some(bound) = bound {
            let bound = cx.reshape(bound, vec![])?;
            y = cx.binary(row, y, bound)?;
        }
    }
    Ok(one(y))
}

fn dropout(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = cx.input(node, 0)?;
    if node.operand(2).is_some() && cx.opset() >= 12 {
        let training = cx.tensor(node, 2)?.to_i64().first() == Some(&1);
        let dropped = training && node.operand(1).is_none();
        let ratio = match node.operand(1) {
            Some(_) if training => cx.floats(node, 1)?.first().copied().unwrap_or(0.5),
            _ => 0.0,
        };
        if dropped || ratio != 0.0 {
            return Err(cx.unsupported("training mode: export the model for inference"));
        }
    }
    let mut results = one(x);
    if node.result(1).is_some() {
        let mask = cx.scalar(
            if cx.opset() < 10 {
                cx.dtype(x)
            } else {
                DType::Bool
            },
            1.0,
        );
        let shape = cx.shape(x);
        results.push(cx.expand(mask, shape)?.into());
    }
    Ok(results)
}
