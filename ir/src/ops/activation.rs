//! Activations that recurrent ops name.
use crate::define::Define;
use crate::graph::Attrs;
use crate::loops::math::MathFn;
use crate::loops::{BinaryOp, Scalar, UnaryOp};

/// The names, in lower case.
pub(super) const NAMES: &[&str] = &[
    "sigmoid",
    "tanh",
    "relu",
    "affine",
    "leakyrelu",
    "thresholdedrelu",
    "scaledtanh",
    "hardsigmoid",
    "elu",
    "softsign",
    "softplus",
];

/// Which activation is that of the cell state, where there is one. Its argument is not clipped: the
/// operator's text, "the input of activations", can be read either way, and onnxruntime clips gates
/// only.
const CELL: usize = 2;

/// An activation with its parameters; its argument is clipped to `-clip..=clip` first.
#[derive(Clone, Debug)]
pub(super) struct Activation {
    name: String,
    alpha: f64,
    beta: f64,
    clip: f64,
}

/// The activations of the attributes `activations`, `alpha`, `beta` and `clip`.
///
/// Errors: another number than `count`, unknown names, a negative clip.
pub(super) fn activations(attrs: &Attrs, count: usize) -> Result<Vec<Activation>, String> {
    let text = attrs.str("activations");
    let (alpha, beta, clip) = (
        attrs.floats("alpha"),
        attrs.floats("beta"),
        attrs.float("clip"),
    );
    let names: Vec<&str> = text.split(',').collect();
    if names.len() != count || alpha.len() != count || beta.len() != count {
        return Err(format!(
            "`activations` \"{text}\", `alpha` {alpha:?} and `beta` {beta:?} want {count} entries each"
        ));
    }
    if let Some(name) = names.iter().find(|n| !NAMES.contains(n)) {
        return Err(format!(
            "`{name}` is no activation, want one of {}",
            NAMES.join(", ")
        ));
    }
    if clip.is_nan() || clip < 0.0 {
        return Err(format!("`clip` is {clip}, want at least 0"));
    }
    let one = |k: usize| Activation {
        name: names[k].into(),
        alpha: alpha[k],
        beta: beta[k],
        clip: if k < CELL { clip } else { f64::INFINITY },
    };
    Ok((0..count).map(one).collect())
}

impl Activation {
    /// The value in reference evaluation.
    pub fn eval(&self, x: f64) -> f64 {
        let (a, b) = (self.alpha, self.beta);
        let x = x.max(-self.clip).min(self.clip);
        match self.name.as_str() {
            "sigmoid" => 1.0 / (1.0 + (-x).exp()),
            "tanh" => x.tanh(),
            "relu" => x.max(0.0),
            "affine" => a * x + b,
            "leakyrelu" if x >= 0.0 => x,
            "leakyrelu" => a * x,
            "thresholdedrelu" if x >= a => x,
            "thresholdedrelu" => 0.0,
            "scaledtanh" => a * (b * x).tanh(),
            "hardsigmoid" => (a * x + b).clamp(0.0, 1.0),
            "elu" if x >= 0.0 => x,
            "elu" => a * x.exp_m1(),
            "softsign" => x / (1.0 + x.abs()),
            _ => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        }
    }

    /// The value in loops, of the type of `x`.
    pub fn lower(&self, cx: &mut Define<'_>, x: Scalar) -> Scalar {
        let d = cx.dtype_of(&x);
        let num = |v: f64| Scalar::num(d, v);
        let call = |f, x: Scalar| Scalar::Call(f, vec![x]);
        let binary = Scalar::binary;
        let mut x = x;
        if self.clip.is_finite() {
            x = binary(BinaryOp::Max, x, num(-self.clip));
            x = binary(BinaryOp::Min, x, num(self.clip));
        }
        let x = cx.bind(x);
        let scaled = |x: Scalar| binary(BinaryOp::Mul, num(self.alpha), x);
        let affine = |x: Scalar| binary(BinaryOp::Add, scaled(x), num(self.beta));
        let at_least = |bound: f64, y: Scalar| {
            Scalar::select(binary(BinaryOp::Le, num(bound), x.clone()), x.clone(), y)
        };
        let size = Scalar::unary(UnaryOp::Abs, x.clone());
        let one_plus = |y: Scalar| binary(BinaryOp::Add, num(1.0), y);
        match self.name.as_str() {
            "sigmoid" => call(MathFn::Sigmoid, x),
            "tanh" => call(MathFn::Tanh, x),
            "relu" => binary(BinaryOp::Max, x, num(0.0)),
            "affine" => affine(x),
            "leakyrelu" => at_least(0.0, scaled(x.clone())),
            "thresholdedrelu" => at_least(self.alpha, num(0.0)),
            "scaledtanh" => scaled(call(MathFn::Tanh, binary(BinaryOp::Mul, num(self.beta), x))),
            "hardsigmoid" => {
                let low = binary(BinaryOp::Max, affine(x), num(0.0));
                binary(BinaryOp::Min, low, num(1.0))
            }
            "elu" => {
                let less = binary(BinaryOp::Sub, call(MathFn::Exp, x.clone()), num(1.0));
                at_least(0.0, scaled(less))
            }
            "softsign" => binary(BinaryOp::Div, x, one_plus(size)),
            _ => {
                let small = call(MathFn::Exp, Scalar::unary(UnaryOp::Neg, size));
                let log = call(MathFn::Log, one_plus(small));
                binary(BinaryOp::Add, binary(BinaryOp::Max, x, num(0.0)), log)
            }
        }
    }
}
