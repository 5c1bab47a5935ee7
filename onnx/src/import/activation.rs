//! Activations composed of elementwise rows. Halves are computed in `f32` and rounded once.
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::ValueId;

use super::cx::Cx;
use super::registry::{OpImport, onnx};
use super::value::{Val, one};
use crate::error::Result;
use crate::proto::NodeProto;

type Vals = Result<Vec<Val>>;

pub(crate) const OPS: &[OpImport] = &[
    onnx("LeakyRelu", |cx, node| {
        let alpha = node.attr_f_or("alpha", 0.01)?;
        map(cx, node, &|cx, x| {
            let scaled = cx.with_scalar("mul", x, alpha.into())?;
            let negative = cx.with_scalar("lt", x, 0.0)?;
            cx.select(negative, scaled, x)
        })
    }),
    onnx("PRelu", |cx, node| {
        let mut slope = cx.input(node, 1)?;
        if cx.opset() < 7 && cx.rank(slope) == 1 {
            let x = cx.input(node, 0)?;
            let channels = 1.min(cx.rank(x).saturating_sub(1));
            slope = cx.along_axis(slope, channels, cx.rank(x))?;
        }
        map(cx, node, &|cx, x| {
            let slope = cx.cast(slope, cx.dtype(x))?;
            let scaled = cx.binary("mul", x, slope)?;
            let negative = cx.with_scalar("lt", x, 0.0)?;
            cx.select(negative, scaled, x)
        })
    }),
    onnx("Elu", |cx, node| {
        let alpha = node.attr_f_or("alpha", 1.0)?;
        map(cx, node, &|cx, x| exponential(cx, x, alpha.into(), 1.0))
    }),
    onnx("Selu", |cx, node| {
        let alpha = node.attr_f_or("alpha", 1.673_263_2)?;
        let gamma = node.attr_f_or("gamma", 1.050_701)?;
        map(cx, node, &|cx, x| {
            let y = exponential(cx, x, alpha.into(), 1.0)?;
            cx.with_scalar("mul", y, gamma.into())
        })
    }),
    onnx("Celu", |cx, node| {
        let alpha = f64::from(node.attr_f_or("alpha", 1.0)?);
        map(cx, node, &|cx, x| exponential(cx, x, alpha, alpha))
    }),
    onnx("Gelu", |cx, node| {
        match node.attr_s_or("approximate", "none")? {
            "none" => map(cx, node, &gelu_erf),
            "tanh" => map(cx, node, &gelu_tanh),
            other => Err(cx.invalid(format!("approximate {other:?} is neither none nor tanh"))),
        }
    }),
    onnx("HardSigmoid", |cx, node| {
        let (alpha, beta) = (node.attr_f_or("alpha", 0.2)?, node.attr_f_or("beta", 0.5)?);
        map(cx, node, &|cx, x| {
            hard_sigmoid(cx, x, alpha.into(), beta.into())
        })
    }),
    onnx("HardSwish", |cx, node| {
        map(cx, node, &|cx, x| {
            let gate = hard_sigmoid(cx, x, 1.0 / 6.0, 0.5)?;
            cx.binary("mul", x, gate)
        })
    }),
    onnx("Swish", |cx, node| {
        let alpha = node.attr_f_or("alpha", 1.0)?;
        map(cx, node, &|cx, x| swish(cx, x, alpha.into()))
    }),
    onnx("Mish", |cx, node| {
        map(cx, node, &|cx, x| {
            let soft = softplus(cx, x)?;
            let gate = cx.unary("tanh", soft)?;
            cx.binary("mul", x, gate)
        })
    }),
    onnx("Softplus", |cx, node| map(cx, node, &softplus)),
    onnx("Softsign", |cx, node| {
        map(cx, node, &|cx, x| {
            let size = cx.unary("abs", x)?;
            let below = cx.with_scalar("add", size, 1.0)?;
            cx.binary("div", x, below)
        })
    }),
    onnx("ThresholdedRelu", |cx, node| {
        let alpha = node.attr_f_or("alpha", 1.0)?;
        map(cx, node, &|cx, x| {
            let above = cx.with_scalar("gt", x, alpha.into())?;
            let zero = cx.scalar(cx.dtype(x), 0.0);
            cx.select(above, x, zero)
        })
    }),
    onnx("Shrink", |cx, node| {
        let (lambda, bias) = (node.attr_f_or("lambd", 0.5)?, node.attr_f_or("bias", 0.0)?);
        shrink(cx, node, lambda.into(), bias.into())
    }),
    onnx("SwiGLU", swiglu),
];

/// A function of operand 0, computed in `f32` for halves.
fn map(
    cx: &mut Cx<'_>,
    node: &NodeProto,
    f: &dyn Fn(&mut Cx<'_>, ValueId) -> Result<ValueId>,
) -> Vals {
    let x = cx.input(node, 0)?;
    let dtype = cx.dtype(x);
    let wide = cx.widened(x)?;
    let y = f(cx, wide)?;
    cx.cast(y, dtype).map(one)
}

/// The type that a float type is computed in where intermediate results must not be rounded.
pub(crate) fn wide_type(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        other => other,
    }
}

impl Cx<'_> {
    /// `x`, a half as `f32`.
    pub(crate) fn widened(&mut self, x: ValueId) -> Result<ValueId> {
        let dtype = wide_type(self.dtype(x));
        self.cast(x, dtype)
    }
}

/// `x` where it is positive, else `alpha * (exp(x / scale) - 1)`.
fn exponential(cx: &mut Cx<'_>, x: ValueId, alpha: f64, scale: f64) -> Result<ValueId> {
    let inner = match scale == 1.0 {
        true => x,
        false => cx.with_scalar("div", x, scale)?,
    };
    let power = cx.unary("exp", inner)?;
    let less = cx.with_scalar("sub", power, 1.0)?;
    let below = cx.with_scalar("mul", less, alpha)?;
    let positive = cx.with_scalar("gt", x, 0.0)?;
    cx.select(positive, x, below)
}

fn gelu_erf(cx: &mut Cx<'_>, x: ValueId) -> Result<ValueId> {
    let scaled = cx.with_scalar("mul", x, std::f64::consts::FRAC_1_SQRT_2)?;
    let erf = cx.unary("erf", scaled)?;
    half_gate(cx, x, erf)
}

fn gelu_tanh(cx: &mut Cx<'_>, x: ValueId) -> Result<ValueId> {
    let square = cx.binary("mul", x, x)?;
    let cube = cx.binary("mul", square, x)?;
    let cube = cx.with_scalar("mul", cube, 0.044715)?;
    let sum = cx.binary("add", x, cube)?;
    let root = (2.0 / std::f64::consts::PI).sqrt();
    let scaled = cx.with_scalar("mul", sum, root)?;
    let tanh = cx.unary("tanh", scaled)?;
    half_gate(cx, x, tanh)
}

/// `x / 2 * (1 + gate)`.
fn half_gate(cx: &mut Cx<'_>, x: ValueId, gate: ValueId) -> Result<ValueId> {
    let more = cx.with_scalar("add", gate, 1.0)?;
    let half = cx.with_scalar("mul", x, 0.5)?;
    cx.binary("mul", half, more)
}

fn hard_sigmoid(cx: &mut Cx<'_>, x: ValueId, alpha: f64, beta: f64) -> Result<ValueId> {
    let scaled = cx.with_scalar("mul", x, alpha)?;
    let line = cx.with_scalar("add", scaled, beta)?;
    let bounded = cx.with_scalar("max", line, 0.0)?;
    cx.with_scalar("min", bounded, 1.0)
}

fn swish(cx: &mut Cx<'_>, x: ValueId, alpha: f64) -> Result<ValueId> {
    let scaled = match alpha == 1.0 {
        true => x,
        false => cx.with_scalar("mul", x, alpha)?,
    };
    let gate = cx.unary("sigmoid", scaled)?;
    cx.binary("mul", x, gate)
}

/// `log(1 + exp(x))`, in a form whose power never overflows.
pub(crate) fn softplus(cx: &mut Cx<'_>, x: ValueId) -> Result<ValueId> {
    let size = cx.unary("abs", x)?;
    let negative = cx.unary("neg", size)?;
    let power = cx.unary("exp", negative)?;
    let more = cx.with_scalar("add", power, 1.0)?;
    let log = cx.unary("log", more)?;
    let positive = cx.with_scalar("max", x, 0.0)?;
    cx.binary("add", positive, log)
}

fn shrink(cx: &mut Cx<'_>, node: &NodeProto, lambda: f64, bias: f64) -> Vals {
    let x = cx.input(node, 0)?;
    let dtype = cx.dtype(x);
    let compute = if dtype.is_float() {
        wide_type(dtype)
    } else {
        DType::F64
    };
    let wide = cx.cast(x, compute)?;
    let more = cx.with_scalar("add", wide, bias)?;
    let less = cx.with_scalar("sub", wide, bias)?;
    let below = cx.with_scalar("lt", wide, -lambda)?;
    let above = cx.with_scalar("gt", wide, lambda)?;
    let zero = cx.scalar(compute, 0.0);
    let upper = cx.select(above, less, zero)?;
    let y = cx.select(below, more, upper)?;
    cx.cast(y, dtype).map(one)
}

/// `swish(gate) * x`.
fn swiglu(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let alpha = node.attr_f_or("alpha", 1.0)?;
    let x = cx.input(node, 1)?;
    map(cx, node, &|cx, gate| {
        let gate = swish(cx, gate, alpha.into())?;
        let x = cx.cast(x, cx.dtype(gate))?;
        cx.binary("mul", gate, x)
    })
}
