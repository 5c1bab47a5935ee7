//! Recurrent layers in one direction. What does not depend on the state, the input times its
//! weights and the biases, is an operand.
use super::activation::{Activation, NAMES, activations};
use super::elementwise::{compute_type, widen};
use super::types::FLOATS;
use super::{AttrDef, Class, InferCx, Lower, OpDef, Sample, Sampler, Tolerance, attr};
use crate::define::Define;
use crate::dtype::DType;
use crate::eval::{EvalCx, EvalError};
use crate::expr::Expr;
use crate::graph::{AttrKind, Attrs, NodeId, TensorType};
use crate::loops::{BinaryOp, BufferId, Const, Role, Scalar, UnaryOp};
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
    "arguments of activations are clipped to -clip..=clip; inf for not at all",
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
        lower: Lower::Kernel(lower_lstm),
        row_axes: None,
        tolerance: STEPS,
        samples: sample_lstm,
        source: "ONNX operators, LSTM",
    },
    OpDef {
        name: "gru",
        doc: "z = f(gz + H*Rz'), r = f(gr + H*Rr'), n = g(gh + (r.H)*Rh' + Rb) or g(gh + r.(H*Rh' + Rb)) with linear_before_reset, H = (1 - z).n + z.H per step; operands: gates [seq, b, 3h] (z, r, h), R [3h, h], Rb [h], h0 [b, h], lengths [b]; results: all H (0 beyond the length), the last H",
        arity: (5, 5),
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
        lower: Lower::Kernel(lower_gru),
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
        lower: Lower::Kernel(lower_rnn),
        row_axes: None,
        tolerance: STEPS,
        samples: sample_rnn,
        source: "ONNX operators, RNN",
    },
];

// Types and shapes

/// Checks operands of `gates` gates: `vectors` are per hidden element (operand and multiple),
/// `states` per batch and hidden element; the last operand is the lengths.
fn infer_steps(
    cx: &InferCx<'_>,
    gates: i64,
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
    let mut want: Vec<(usize, DType, Vec<Expr>)> = vec![
        (
            0,
            g.dtype,
            vec![g.shape[0].clone(), batch.clone(), hidden.clone() * gates],
        ),
        (1, g.dtype, vec![hidden.clone() * gates, hidden.clone()]),
        (last, DType::I64, vec![batch.clone()]),
    ];
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
    infer_steps(cx, 4, &[(4, 3)], &[2, 3], 3)
}

fn infer_gru(cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
    infer_steps(cx, 3, &[(2, 1)], &[3], 2)
}

fn infer_rnn(cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
    infer_steps(cx, 1, &[], &[2], 1)
}

// Definition in loops: per batch element, the steps in order; the state lies in scratch.

/// What the definitions of all layers share.
struct Layer {
    node: NodeId,
    functions: Vec<Activation>,
    hidden: Expr,
    acc: DType,
    /// The state that steps read.
    h: BufferId,
    /// The state that a step computes, copied to `h` at its end.
    next: BufferId,
}

fn add(a: Scalar, b: Scalar) -> Scalar {
    Scalar::binary(BinaryOp::Add, a, b)
}

fn mul(a: Scalar, b: Scalar) -> Scalar {
    Scalar::binary(BinaryOp::Mul, a, b)
}

fn one_minus(cx: &Define<'_>, x: Scalar) -> Scalar {
    let one = Scalar::num(cx.dtype_of(&x), 1.0);
    Scalar::binary(BinaryOp::Sub, one, x)
}

impl Layer {
    fn new(cx: &mut Define<'_>, node: NodeId, functions: usize) -> Self {
        let hidden = cx.operand_type(node, 1).shape[1].clone();
        let acc = compute_type(cx.operand_type(node, 0).dtype);
        let functions = activations(&cx.node(node).attrs, functions);
        Layer {
            node,
            functions: functions.expect("invariant: inference checked the activations"),
            h: cx.scratch(acc, vec![hidden.clone()]),
            next: cx.scratch(acc, vec![hidden.clone()]),
            hidden,
            acc,
        }
    }

    fn operand(&self, cx: &mut Define<'_>, k: usize, index: &[Expr]) -> Scalar {
        let x = cx.operand(self.node, k, index);
        widen(cx, x)
    }

    /// The row of gate `gate` for hidden element `j`.
    fn row(&self, gate: i64, j: &Expr) -> Expr {
        self.hidden.clone() * gate + j.clone()
    }

    /// The row `gate` of the recurrence times a vector.
    fn product(&self, cx: &mut Define<'_>, gate: i64, j: &Expr, vector: BufferId) -> Scalar {
        let row = self.row(gate, j);
        let zero = Const::new(self.acc, 0.0);
        let extents = std::slice::from_ref(&self.hidden);
        cx.reduce(extents, BinaryOp::Add, zero, &mut |cx, k| {
            let weight = self.operand(cx, 1, &[row.clone(), k[0].clone()]);
            mul(Scalar::load(vector, k.to_vec()), weight)
        })
    }

    /// The operand of gate `gate` at a step.
    fn gate(&self, cx: &mut Define<'_>, gate: i64, at: &At) -> Scalar {
        let index = [at.t.clone(), at.b.clone(), self.row(gate, &at.j)];
        self.operand(cx, 0, &index)
    }

    /// That plus the recurrence.
    fn sum(&self, cx: &mut Define<'_>, gate: i64, at: &At) -> Scalar {
        let product = self.product(cx, gate, &at.j, self.h);
        add(self.gate(cx, gate, at), product)
    }

    /// Applies activation `k`.
    fn apply(&self, cx: &mut Define<'_>, k: usize, x: Scalar) -> Scalar {
        let y = self.functions[k].lower(cx, x);
        cx.bind(y)
    }

    fn each(&self, cx: &mut Define<'_>, body: &mut dyn FnMut(&mut Define<'_>, &Expr)) {
        let extents = std::slice::from_ref(&self.hidden);
        cx.nest(extents, Role::Space, &mut |cx, j| body(cx, &j[0]));
    }

    /// Stores to result `k`, in its type.
    fn store(&self, cx: &mut Define<'_>, k: usize, index: Vec<Expr>, value: Scalar) {
        let out = cx.output_buffer(cx.node(self.node).outputs[k]);
        let to = cx.result_type(self.node, k).dtype;
        let value = if to == self.acc {
            value
        } else {
            Scalar::cast(to, value)
        };
        cx.store(out, index, value);
    }

    /// All statements: `states` are the scratch buffers with their initial operands; `step`
    /// computes `next` (and other states) out of them.
    fn define(
        &self,
        cx: &mut Define<'_>,
        states: &[(BufferId, usize)],
        step: &mut dyn FnMut(&mut Define<'_>, &Expr, &Expr),
    ) {
        let g = cx.operand_type(self.node, 0);
        let reverse = cx.node(self.node).attrs.flag("reverse");
        let lengths = cx.node(self.node).inputs.len() - 1;
        cx.nest(&g.shape[1..2], Role::Space, &mut |cx, batch| {
            let b = &batch[0];
            self.each(cx, &mut |cx, j| {
                for (buffer, k) in states {
                    let start = self.operand(cx, *k, &[b.clone(), j.clone()]);
                    cx.store(*buffer, vec![j.clone()], start);
                }
            });
            cx.nest(&g.shape[..1], Role::Serial, &mut |cx, steps| {
                let t = if reverse {
                    g.shape[0].clone() - 1 - steps[0].clone()
                } else {
                    steps[0].clone()
                };
                let length = cx.operand(self.node, lengths, batch);
                let inside = Scalar::binary(BinaryOp::Lt, Scalar::Index(t.clone()), length);
                let inside = cx.bind(inside);
                cx.when(inside.clone(), &mut |cx| {
                    step(cx, &t, b);
                    self.finish_step(cx, &t, b);
                });
                let outside = Scalar::unary(UnaryOp::Not, inside);
                cx.when(outside, &mut |cx| {
                    self.each(cx, &mut |cx, j| {
                        let at = vec![t.clone(), b.clone(), j.clone()];
                        self.store(cx, 0, at, Scalar::num(self.acc, 0.0));
                    });
                });
            });
            self.each(cx, &mut |cx, j| {
                for (k, (buffer, _)) in states.iter().enumerate() {
                    let value = Scalar::load(*buffer, vec![j.clone()]);
                    self.store(cx, k + 1, vec![b.clone(), j.clone()], value);
                }
            });
        });
    }

    fn finish_step(&self, cx: &mut Define<'_>, t: &Expr, b: &Expr) {
        self.each(cx, &mut |cx, j| {
            let value = Scalar::load(self.next, vec![j.clone()]);
            cx.store(self.h, vec![j.clone()], value.clone());
            self.store(cx, 0, vec![t.clone(), b.clone(), j.clone()], value);
        });
    }
}

/// Where a step is: time, batch element, hidden element.
struct At {
    t: Expr,
    b: Expr,
    j: Expr,
}

impl At {
    fn new(t: &Expr, b: &Expr, j: &Expr) -> Self {
        At {
            t: t.clone(),
            b: b.clone(),
            j: j.clone(),
        }
    }
}

fn lower_rnn(cx: &mut Define<'_>, node: NodeId) {
    let layer = Layer::new(cx, node, 1);
    layer.define(cx, &[(layer.h, 2)], &mut |cx, t, b| {
        layer.each(cx, &mut |cx, j| {
            let x = layer.sum(cx, 0, &At::new(t, b, j));
            let y = layer.apply(cx, 0, x);
            cx.store(layer.next, vec![j.clone()], y);
        });
    });
}

fn lower_gru(cx: &mut Define<'_>, node: NodeId) {
    let layer = Layer::new(cx, node, 2);
    let linear = cx.node(node).attrs.flag("linear_before_reset");
    let reset = cx.scratch(layer.acc, vec![layer.hidden.clone()]);
    layer.define(cx, &[(layer.h, 3)], &mut |cx, t, b| {
        layer.each(cx, &mut |cx, j| {
            let x = layer.sum(cx, 1, &At::new(t, b, j));
            let r = layer.apply(cx, 0, x);
            let scaled = mul(r.clone(), Scalar::load(layer.h, vec![j.clone()]));
            cx.store(reset, vec![j.clone()], if linear { r } else { scaled });
        });
        layer.each(cx, &mut |cx, j| {
            let at = At::new(t, b, j);
            let x = layer.sum(cx, 0, &at);
            let z = layer.apply(cx, 0, x);
            let vector = if linear { layer.h } else { reset };
            let product = layer.product(cx, 2, j, vector);
            let bias = layer.operand(cx, 2, std::slice::from_ref(j));
            let mut inner = add(product, bias);
            if linear {
                inner = mul(Scalar::load(reset, vec![j.clone()]), inner);
            }
            let x = add(layer.gate(cx, 2, &at), inner);
            let n = layer.apply(cx, 1, x);
            let old = mul(z.clone(), Scalar::load(layer.h, vec![j.clone()]));
            let y = add(mul(one_minus(cx, z), n), old);
            cx.store(layer.next, vec![j.clone()], y);
        });
    });
}

fn lower_lstm(cx: &mut Define<'_>, node: NodeId) {
    let layer = Layer::new(cx, node, 3);
    let coupled = cx.node(node).attrs.flag("input_forget");
    let cell = cx.scratch(layer.acc, vec![layer.hidden.clone()]);
    let states = [(layer.h, 2), (cell, 3)];
    layer.define(cx, &states, &mut |cx, t, b| {
        layer.each(cx, &mut |cx, j| {
            let at = At::new(t, b, j);
            let old = Scalar::load(cell, vec![j.clone()]);
            let i = peephole_gate(cx, &layer, 0, 0, &at, &old);
            let forget = if coupled {
                one_minus(cx, i.clone())
            } else {
                peephole_gate(cx, &layer, 2, 2, &at, &old)
            };
            let x = layer.sum(cx, 3, &at);
            let n = layer.apply(cx, 1, x);
            let c = cx.bind(add(mul(forget, old), mul(i, n)));
            let o = peephole_gate(cx, &layer, 1, 1, &at, &c);
            let squashed = layer.apply(cx, 2, c.clone());
            cx.store(cell, vec![j.clone()], c);
            cx.store(layer.next, vec![j.clone()], mul(o, squashed));
        });
    });
}

/// A gate that sees the cell, by peephole `peephole`.
fn peephole_gate(
    cx: &mut Define<'_>,
    layer: &Layer,
    gate: i64,
    peephole: i64,
    at: &At,
    cell: &Scalar,
) -> Scalar {
    let sum = layer.sum(cx, gate, at);
    let p = layer.operand(cx, 4, &[layer.row(peephole, &at.j)]);
    layer.apply(cx, 0, add(sum, mul(p, cell.clone())))
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

    /// Row `row` of the recurrence times a vector.
    fn dot(&self, row: usize, vector: &[f64]) -> f64 {
        let weights = &self.operands[1][row * self.hidden..][..self.hidden];
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
        let h = |j: usize| s.functions[0].eval(g[j] + s.dot(j, &state[0]));
        state[0] = (0..s.hidden).map(h).collect();
    })
}

fn eval_gru(cx: &EvalCx<'_>) -> Result<Vec<Tensor>, EvalError> {
    let s = Steps::new(cx, 2)?;
    let linear = cx.attrs.flag("linear_before_reset");
    let (n, bias) = (s.hidden, &s.operands[2]);
    s.run(cx, &[3], |g, state| {
        let h = &state[0];
        let gate = |k: usize| s.functions[0].eval(g[k] + s.dot(k, h));
        let z: Vec<f64> = (0..n).map(gate).collect();
        let r: Vec<f64> = (n..2 * n).map(gate).collect();
        let reset: Vec<f64> = r.iter().zip(h).map(|(r, h)| r * h).collect();
        let new = |j: usize| {
            let inner = if linear {
                r[j] * (s.dot(2 * n + j, h) + bias[j])
            } else {
                s.dot(2 * n + j, &reset) + bias[j]
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
            let sum = |gate: usize| g[gate * n + j] + s.dot(gate * n + j, &old[0]);
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
        *s.pick(&[0, 1, 1, 2, 3]),
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
    let shapes = |t, b, h| vec![vec![t, b, 3 * h], vec![3 * h, h], vec![h], vec![b, h]];
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
