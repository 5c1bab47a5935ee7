//! Recurrent layers in one direction. What does not depend on the state, the input times its
//! weights and the biases, is an operand.
mod lower;

use super::activation::{Activation, NAMES, activations};
use super::types::FLOATS;
use super::{AttrDef, Class, InferCx, Lower, OpDef, Sample, Sampler, Tolerance, attr};
use crate::dtype::DType;
use crate::eval::{EvalCx, EvalError};
use crate::expr::Expr;
use crate::graph::{AttrKind, Attrs, TensorType};
use crate::tensor::{Tensor, Wide};

const REVERSE: AttrDef = attr(
    "reverse",
    AttrKind::Bool,
    "whether each sequence is read from its end",
);
const ACTIVATIONS: AttrDef = attr(
    "activations",
    AttrKind::Str,
    "names in lower case, separated by commas",
);
const ALPHA: AttrDef = attr("alpha", AttrKind::Floats, "a parameter per activation");
const BETA: AttrDef = attr("beta", AttrKind::Floats, "a parameter per activation");
const CLIP: AttrDef = attr(
    "clip",
    AttrKind::Float,
    "arguments of activations of gates are clipped to -clip..=clip; inf for not at all",
);

/// Sums over the state are reassociated, and errors of the state add up over the steps; the
/// activations squash them.
const STEPS: Tolerance = Tolerance::Sum(8.0);

/// The rows of this family.
pub const OPS: &[OpDef] = &[
    OpDef {
        name: "lstm",
        doc: "i = f(gi + H*Ri' + Pi.C), n = f(gf + H*Rf' + Pf.C) or 1 - i with input_forget, C = n.C + i.g(gc + H*Rc'), o = f(go + H*Ro' + Po.C), H = o.h(C) per step; operands: gates [seq, b, 4h] (i, o, f, c), R [4h, h], h0 and c0 [b, h], P [3h] (i, o, f), lengths [b]; results: all H (0 beyond the length), the last H and C",
        arity: (6, 6),
        attrs: &[
            REVERSE,
            ACTIVATIONS,
            ALPHA,
            BETA,
            CLIP,
            attr(
                "input_forget",
                AttrKind::Bool,
                "whether the forget gate is 1 - the input gate",
            ),
        ],
        class: Class::Opaque,
        types: FLOATS,
        infer: infer_lstm,
        eval: eval_lstm,
        lower: Lower::Kernel(lower::lower_lstm),
        row_axes: None,
        tolerance: STEPS,
        samples: sample_lstm,
        source: "ONNX operators, LSTM",
    },
    OpDef {
        name: "gru",
        doc: "z = f(gz + H*Rz'), r = f(gr + H*Rr'), n = g(gh + (r.H)*Rh' + Rb) or g(gh + r.(H*Rh' + Rb)) with linear_before_reset, H = (1 - z).n + z.H per step; operands: gates [seq, b, 3h] (z, r, h), R [2h, h] (z, r), Rh [h, h], Rb [h], h0 [b, h], lengths [b]; results: all H (0 beyond the length), the last H",
        arity: (6, 6),
        attrs: &[
            REVERSE,
            ACTIVATIONS,
            ALPHA,
            BETA,
            CLIP,
            attr(
                "linear_before_reset",
                AttrKind::Bool,
                "whether the reset gate scales the product, not the state",
            ),
        ],
        class: Class::Opaque,
        types: FLOATS,
        infer: infer_gru,
        eval: eval_gru,
        lower: Lower::Kernel(lower::lower_gru),
        row_axes: None,
        tolerance: STEPS,
        samples: sample_gru,
        source: "ONNX operators, GRU",
    },
    OpDef {
        name: "rnn",
        doc: "H = f(g + H*R') per step; operands: g [seq, b, h], R [h, h], h0 [b, h], lengths [b]; results: all H (0 beyond the length), the last H",
        arity: (4, 4),
        attrs: &[REVERSE, ACTIVATIONS, ALPHA, BETA, CLIP],
        class: Class::Opaque,
        types: FLOATS,
        infer: infer_rnn,
        eval: eval_rnn,
        lower: Lower::Kernel(lower::lower_rnn),
        row_axes: None,
        tolerance: STEPS,
        samples: sample_rnn,
        source: "ONNX operators, RNN",
    },
];

// Types and shapes

/// Checks operands: `weights` are the recurrences of gates (operand and number of gates), `vectors`
/// are per hidden element (operand and multiple), `states` per batch and hidden element; the last
/// operand is the lengths.
fn infer_steps(
    cx: &InferCx<'_>,
    weights: &[(usize, i64)],
    vectors: &[(usize, i64)],
    states: &[usize],
    functions: usize,
) -> Result<Vec<TensorType>, String> {
    let (g, r) = (cx.inputs[0], cx.inputs[1]);
    if g.rank() != 3 || r.rank() != 2 {
        return Err(format!(
            "operands 0 and 1 are {g} and {r}, want floats of rank 3 and 2"
        ));
    }
    let (batch, hidden) = (g.shape[1].clone(), r.shape[1].clone());
    let last = cx.inputs.len() - 1;
    let gates: i64 = weights.iter().map(|(_, n)| n).sum();
    let mut want: Vec<(usize, DType, Vec<Expr>)> = vec![
        (
            0,
            g.dtype,
            vec![g.shape[0].clone(), batch.clone(), hidden.clone() * gates],
        ),
        (last, DType::I64, vec![batch.clone()]),
    ];
    let matrix = |(k, n): &(usize, i64)| {
        let shape = vec![hidden.clone() * *n, hidden.clone()];
        (*k, g.dtype, shape)
    };
    want.extend(weights.iter().map(matrix));
    want.extend(
        vectors
            .iter()
            .map(|(k, n)| (*k, g.dtype, vec![hidden.clone() * *n])),
    );
    let state = vec![batch, hidden.clone()];
    want.extend(states.iter().map(|k| (*k, g.dtype, state.clone())));
    for (k, dtype, shape) in want {
        let (want, found) = (TensorType::new(dtype, shape), cx.inputs[k]);
        if *found != want {
            return Err(format!("operand {k} is {found}, want {want}"));
        }
    }
    activations(cx.attrs, functions)?;
    let all = [&g.shape[..2], &[hidden]].concat();
    let mut results = vec![TensorType::new(g.dtype, all)];
    results.extend(
        states
            .iter()
            .map(|_| TensorType::new(g.dtype, state.clone())),
    );
    Ok(results)
}

fn infer_lstm(cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
    infer_steps(cx, &[(1, 4)], &[(4, 3)], &[2, 3], 3)
}

fn infer_gru(cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
    infer_steps(cx, &[(1, 2), (2, 1)], &[(3, 1)], &[4], 2)
}

fn infer_rnn(cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
    infer_steps(cx, &[(1, 1)], &[], &[2], 1)
}

// Reference evaluation

/// The operands as numbers, and the extents.
struct Steps {
    operands: Vec<Vec<f64>>,
    lengths: Vec<i64>,
    functions: Vec<Activation>,
    seq: usize,
    batch: usize,
    hidden: usize,
    gates: usize,
}

impl Steps {
    fn new(cx: &EvalCx<'_>, functions: usize) -> Result<Self, EvalError> {
        let (g, r) = (&cx.inputs[0].shape, &cx.inputs[1].shape);
        let (lengths, operands) = cx
            .inputs
            .split_last()
            .ok_or_else(|| cx.error("no operands"))?;
        Ok(Steps {
            operands: operands.iter().map(|t| t.to_f64()).collect(),
            lengths: lengths.to_i64(),
            functions: activations(cx.attrs, functions).map_err(|e| cx.error(e))?,
            seq: g[0],
            batch: g[1],
            hidden: r[1],
            gates: g[2],
        })
    }

    /// Row `row` of the weights that are operand `k` times a vector.
    fn dot(&self, k: usize, row: usize, vector: &[f64]) -> f64 {
        let weights = &self.operands[k][row * self.hidden..][..self.hidden];
        weights.iter().zip(vector).map(|(w, h)| w * h).sum()
    }

    /// Runs all sequences: `step` gets the gates of a step and the state (as many vectors as
    /// `states` has operands; the first is H) and updates the state.
    fn run(
        &self,
        cx: &EvalCx<'_>,
        states: &[usize],
        step: impl Fn(&[f64], &mut Vec<Vec<f64>>),
    ) -> Result<Vec<Tensor>, EvalError> {
        let n = self.hidden;
        let mut y = vec![0.0; self.seq * self.batch * n];
        let mut last = vec![vec![]; states.len()];
        for b in 0..self.batch {
            let start = |k: &usize| self.operands[*k][b * n..][..n].to_vec();
            let mut state: Vec<Vec<f64>> = states.iter().map(start).collect();
            let length = self.lengths[b].clamp(0, self.seq as i64) as usize;
            for k in 0..length {
                let t = if cx.attrs.flag("reverse") {
                    length - 1 - k
                } else {
                    k
                };
                let at = t * self.batch + b;
                step(
                    &self.operands[0][at * self.gates..][..self.gates],
                    &mut state,
                );
                y[at * n..][..n].copy_from_slice(&state[0]);
            }
            for (all, own) in last.iter_mut().zip(state) {
                all.extend(own);
            }
        }
        let values = [vec![y], last].concat();
        let tensor = |(k, v): (usize, Vec<f64>)| {
            let dtype = cx.inputs[0].dtype;
            Ok(Tensor::from_wide(
                dtype,
                cx.output_shape(k)?,
                &Wide::Float(v),
            ))
        };
        values.into_iter().enumerate().map(tensor).collect()
    }
}

fn eval_rnn(cx: &EvalCx<'_>) -> Result<Vec<Tensor>, EvalError> {
    let s = Steps::new(cx, 1)?;
    s.run(cx, &[2], |g, state| {
        let h = |j: usize| s.functions[0].eval(g[j] + s.dot(1, j, &state[0]));
        state[0] = (0..s.hidden).map(h).collect();
    })
}

fn eval_gru(cx: &EvalCx<'_>) -> Result<Vec<Tensor>, EvalError> {
    let s = Steps::new(cx, 2)?;
    let linear = cx.attrs.flag("linear_before_reset");
    let (n, bias) = (s.hidden, &s.operands[3]);
    s.run(cx, &[4], |g, state| {
        let h = &state[0];
        let gate = |k: usize| s.functions[0].eval(g[k] + s.dot(1, k, h));
        let z: Vec<f64> = (0..n).map(gate).collect();
        let r: Vec<f64> = (n..2 * n).map(gate).collect();
        let reset: Vec<f64> = r.iter().zip(h).map(|(r, h)| r * h).collect();
        let new = |j: usize| {
            let inner = if linear {
                r[j] * (s.dot(2, j, h) + bias[j])
            } else {
                s.dot(2, j, &reset) + bias[j]
            };
            let candidate = s.functions[1].eval(g[2 * n + j] + inner);
            (1.0 - z[j]) * candidate + z[j] * h[j]
        };
        state[0] = (0..n).map(new).collect();
    })
}

fn eval_lstm(cx: &EvalCx<'_>) -> Result<Vec<Tensor>, EvalError> {
    let s = Steps::new(cx, 3)?;
    let coupled = cx.attrs.flag("input_forget");
    let (n, p, f) = (s.hidden, &s.operands[4], &s.functions);
    s.run(cx, &[2, 3], |g, state| {
        let old = state.clone();
        for j in 0..n {
            let sum = |gate: usize| g[gate * n + j] + s.dot(1, gate * n + j, &old[0]);
            let i = f[0].eval(sum(0) + p[j] * old[1][j]);
            let forget = if coupled {
                1.0 - i
            } else {
                f[0].eval(sum(2) + p[2 * n + j] * old[1][j])
            };
            let c = forget * old[1][j] + i * f[1].eval(sum(3));
            let o = f[0].eval(sum(1) + p[n + j] * c);
            state[0][j] = o * f[2].eval(c);
            state[1][j] = c;
        }
    })
}

// Samples

/// Operands of the shapes that `shapes` says for sequence, batch and hidden extents, and lengths.
fn sample_steps(
    s: &mut Sampler,
    usual: &str,
    shapes: impl Fn(usize, usize, usize) -> Vec<Vec<usize>>,
) -> Sample {
    let (seq, batch, hidden) = (
        *s.pick(&[0, 1, 2, 3, 5]),
        *s.pick(&[0, 1, 1, 2, 3, 9]),
        *s.pick(&[0, 1, 3, 8, 9, 17]),
    );
    let dtype = *s.pick(&[DType::F32, DType::F32, DType::F64, DType::F16]);
    let mut inputs: Vec<Tensor> = shapes(seq, batch, hidden)
        .iter()
        .map(|shape| s.tensor(dtype, shape, -1.0, 1.0))
        .collect();
    let full = s.int(0, 1) == 0;
    let least = if full { seq as f64 } else { 0.0 };
    inputs.push(s.tensor(DType::I64, &[batch], least, seq as f64));
    let count = usual.split(',').count();
    let names: Vec<&str> = (0..count).map(|_| *s.pick(NAMES)).collect();
    let names = if s.int(0, 1) == 0 {
        usual.to_string()
    } else {
        names.join(",")
    };
    let attrs = Attrs::new()
        .with("reverse", s.int(0, 1) == 0)
        .with("activations", names)
        .with("alpha", vec![*s.pick(&[0.2, 0.5]); count])
        .with("beta", vec![*s.pick(&[0.5, 0.1]); count])
        .with("clip", *s.pick(&[f64::INFINITY, 0.5]));
    Sample::new(inputs, attrs)
}

fn sample_lstm(s: &mut Sampler) -> Vec<Sample> {
    let shapes = |t, b, h| {
        let (state, vector) = (vec![b, h], vec![3 * h]);
        vec![
            vec![t, b, 4 * h],
            vec![4 * h, h],
            state.clone(),
            state,
            vector,
        ]
    };
    let mut sample = sample_steps(s, "sigmoid,tanh,tanh", shapes);
    sample.attrs.set("input_forget", s.int(0, 3) == 0);
    vec![sample]
}

fn sample_gru(s: &mut Sampler) -> Vec<Sample> {
    let shapes = |t, b, h| {
        vec![
            vec![t, b, 3 * h],
            vec![2 * h, h],
            vec![h, h],
            vec![h],
            vec![b, h],
        ]
    };
    let mut sample = sample_steps(s, "sigmoid,tanh", shapes);
    sample.attrs.set("linear_before_reset", s.int(0, 1) == 0);
    vec![sample]
}

fn sample_rnn(s: &mut Sampler) -> Vec<Sample> {
    let shapes = |t, b, h| vec![vec![t, b, h], vec![h, h], vec![b, h]];
    vec![sample_steps(s, "tanh", shapes)]
}

#[cfg(test)]
#[path = "recurrent_tests.rs"]
mod tests;
