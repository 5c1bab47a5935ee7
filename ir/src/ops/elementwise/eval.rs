//! Reference evaluation.
use crate::dtype::DType;
use crate::eval::{EvalCx, EvalError};
use crate::tensor::{Tensor, Wide};

pub(super) fn map1(
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

pub(super) fn map1_bool(
    cx: &EvalCx<'_>,
    f: impl Fn(f64) -> bool,
) -> Result<Vec<Tensor>, EvalError> {
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

pub(super) fn map2(
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

pub(super) fn map2_bool(
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

pub(super) fn pair_positions(
    a: &Tensor,
    b: &Tensor,
    shape: &[usize],
) -> impl Iterator<Item = (usize, usize)> + use<> {
    broadcast_positions(&a.shape, shape)
        .into_iter()
        .zip(broadcast_positions(&b.shape, shape))
}

pub(super) fn eval_select(cx: &EvalCx<'_>) -> Result<Vec<Tensor>, EvalError> {
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

pub(super) fn eval_fma(cx: &EvalCx<'_>) -> Result<Vec<Tensor>, EvalError> {
    let shape = cx.output_shape(0)?;
    let dtype = cx.inputs[0].dtype;
    let operands: Vec<Vec<f64>> = (cx.inputs.iter())
        .map(|t| {
            let values = t.to_f64();
            let at = broadcast_positions(&t.shape, &shape);
            at.into_iter().map(|p| values[p]).collect()
        })
        .collect();
    // In the type itself: a sum that is rounded to a wider one first is rounded twice.
    let fused = |k: usize| match dtype {
        DType::F32 => {
            let [a, b, c] = [0, 1, 2].map(|i| operands[i][k] as f32);
            f64::from(a.mul_add(b, c))
        }
        _ => operands[0][k].mul_add(operands[1][k], operands[2][k]),
    };
    let wide = Wide::Float((0..operands[0].len()).map(fused).collect());
    Ok(vec![Tensor::from_wide(dtype, shape, &wide)])
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
pub(super) fn int_to_float(a: i128, to: DType) -> f64 {
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
