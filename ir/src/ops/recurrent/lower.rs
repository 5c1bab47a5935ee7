//! Definition in loops: per strip of sequences, the steps in order; the state lies in scratch. In a
//! step, the sums over the state of all gates come first: a contraction.
use super::super::activation::{Activation, activations};
use super::super::elementwise::{compute_type, widen};
use crate::define::Define;
use crate::dtype::DType;
use crate::expr::Expr;
use crate::graph::NodeId;
use crate::loops::{BinaryOp, BufferId, Const, Role, Scalar, UnaryOp};

/// Sequences of a strip at most: as many as rows of a register tile.
const STRIP: i64 = 8;

/// What the definitions of all layers share.
struct Layer {
    node: NodeId,
    functions: Vec<Activation>,
    hidden: Expr,
    acc: DType,
    /// Sequences of a strip.
    rows: i64,
    /// The state, per row of the strip.
    h: BufferId,
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

/// Sequences of a strip: as even as can be.
fn strip_rows(batch: &Expr) -> i64 {
    let Some(batch) = batch.as_const() else {
        return STRIP;
    };
    let batch = batch.max(1);
    let strips = (batch + STRIP - 1) / STRIP;
    (batch + strips - 1) / strips
}

impl Layer {
    fn new(cx: &mut Define<'_>, node: NodeId, functions: usize) -> Self {
        let hidden = cx.operand_type(node, 1).shape[1].clone();
        let gates = cx.operand_type(node, 0);
        let acc = compute_type(gates.dtype);
        let rows = strip_rows(&gates.shape[1]);
        let functions = activations(&cx.node(node).attrs, functions);
        Layer {
            node,
            functions: functions.expect("invariant: inference checked the activations"),
            h: cx.scratch(acc, vec![rows.into(), hidden.clone()]),
            hidden,
            acc,
            rows,
        }
    }

    /// Scratch memory for `multiple` numbers per hidden element of a strip.
    fn scratch(&self, cx: &mut Define<'_>, multiple: i64) -> BufferId {
        cx.scratch(
            self.acc,
            vec![self.rows.into(), self.hidden.clone() * multiple],
        )
    }

    fn operand(&self, cx: &mut Define<'_>, k: usize, index: &[Expr]) -> Scalar {
        let x = cx.operand(self.node, k, index);
        widen(cx, x)
    }

    /// The row of gate `gate` for hidden element `j`.
    fn row(&self, gate: i64, j: &Expr) -> Expr {
        self.hidden.clone() * gate + j.clone()
    }

    /// Fills `sums` with the rows of the strip times the weights that are operand `k`.
    fn products(&self, cx: &mut Define<'_>, step: &Step, k: usize, rows: BufferId, sums: BufferId) {
        let extents = [
            step.computed.clone(),
            cx.operand_type(self.node, k).shape[0].clone(),
        ];
        let zero = Const::new(self.acc, 0.0);
        cx.nest(&extents, Role::Space, &mut |cx, at| {
            let depth = std::slice::from_ref(&self.hidden);
            let sum = cx.reduce(depth, BinaryOp::Add, zero, &mut |cx, term| {
                let weight = self.operand(cx, k, &[at[1].clone(), term[0].clone()]);
                mul(
                    Scalar::load(rows, vec![at[0].clone(), term[0].clone()]),
                    weight,
                )
            });
            cx.store(sums, at.to_vec(), sum);
        });
    }

    /// The operand of gate `gate` at a step.
    fn gate(&self, cx: &mut Define<'_>, gate: i64, at: &At<'_>) -> Scalar {
        let index = [at.step.t.clone(), at.sequence(), self.row(gate, at.j)];
        self.operand(cx, 0, &index)
    }

    /// That plus the recurrence.
    fn sum(&self, cx: &mut Define<'_>, gate: i64, at: &At<'_>, sums: BufferId) -> Scalar {
        let product = Scalar::load(sums, vec![at.r.clone(), self.row(gate, at.j)]);
        add(self.gate(cx, gate, at), product)
    }

    /// Applies activation `k`.
    fn apply(&self, cx: &mut Define<'_>, k: usize, x: Scalar) -> Scalar {
        let y = self.functions[k].lower(cx, x);
        cx.bind(y)
    }

    /// Does something for each hidden element of the sequences of a strip.
    fn each(
        &self,
        cx: &mut Define<'_>,
        step: &Step,
        body: &mut dyn FnMut(&mut Define<'_>, &At<'_>),
    ) {
        let extents = [step.rows.clone(), self.hidden.clone()];
        cx.nest(&extents, Role::Space, &mut |cx, at| {
            let (r, j) = (&at[0], &at[1]);
            body(cx, &At { step, r, j });
        });
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

    /// All statements: `states` are the scratch buffers with their initial operands; `work` updates
    /// them in each step.
    fn define(
        &self,
        cx: &mut Define<'_>,
        states: &[(BufferId, usize)],
        work: &mut dyn FnMut(&mut Define<'_>, &Step),
    ) {
        let g = cx.operand_type(self.node, 0);
        let reverse = cx.node(self.node).attrs.flag("reverse");
        let whole = self.whole(cx);
        let strips = g.shape[1].ceil_div(self.rows);
        cx.nest(&[strips], Role::Space, &mut |cx, strip| {
            let mut step = self.strip(&g.shape[1], &strip[0], whole);
            self.start(cx, states, &step);
            let longest = (!whole).then(|| self.longest(cx, &step));
            cx.nest(&g.shape[..1], Role::Serial, &mut |cx, steps| {
                step.t = if reverse {
                    g.shape[0].clone() - 1 - steps[0].clone()
                } else {
                    steps[0].clone()
                };
                match &longest {
                    Some(longest) => self.while_inside(cx, &step, longest, work),
                    None => work(cx, &step),
                }
            });
            self.each(cx, &step, &mut |cx, at| {
                for (k, (buffer, _)) in states.iter().enumerate() {
                    let value = Scalar::load(*buffer, at.place());
                    self.store(cx, k + 1, vec![at.sequence(), at.j.clone()], value);
                }
            });
        });
    }

    /// The length of the longest sequence of a strip.
    fn longest(&self, cx: &mut Define<'_>, step: &Step) -> Scalar {
        let lengths = cx.node(self.node).inputs.len() - 1;
        let rows = std::slice::from_ref(&step.rows);
        cx.reduce(
            rows,
            BinaryOp::Max,
            Const::new(DType::I64, 0.0),
            &mut |cx, r| cx.operand(self.node, lengths, &[step.first.clone() + r[0].clone()]),
        )
    }

    /// A step, if some sequence of the strip has it; else, its result is 0 for all of them.
    fn while_inside(
        &self,
        cx: &mut Define<'_>,
        step: &Step,
        longest: &Scalar,
        work: &mut dyn FnMut(&mut Define<'_>, &Step),
    ) {
        let time = Scalar::Index(step.t.clone());
        let inside = Scalar::binary(BinaryOp::Lt, time, longest.clone());
        let inside = cx.bind(inside);
        cx.when(inside.clone(), &mut |cx| work(cx, step));
        cx.when(Scalar::unary(UnaryOp::Not, inside), &mut |cx| {
            self.each(cx, step, &mut |cx, at| {
                self.store(cx, 0, at.of_step(), Scalar::num(self.acc, 0.0));
            });
        });
    }

    /// Whether all sequences are known to be as long as the operand.
    fn whole(&self, cx: &Define<'_>) -> bool {
        let steps = cx.operand_type(self.node, 0).shape[0].as_const();
        let lengths = cx.node(self.node).inputs.last();
        let lengths = lengths.and_then(|v| cx.graph.constant(*v));
        lengths
            .zip(steps)
            .is_some_and(|(l, n)| l.to_i64().iter().all(|l| *l >= n))
    }

    fn strip(&self, batch: &Expr, strip: &Expr, whole: bool) -> Step {
        let first = strip.clone() * self.rows;
        let left = (batch.clone() - first.clone()).at_most(self.rows);
        let all = Expr::from(self.rows);
        let even = batch.as_const().is_some_and(|n| n % self.rows == 0);
        Step {
            t: 0.into(),
            whole,
            first,
            rows: if even { all.clone() } else { left.clone() },
            computed: if batch.as_const().is_some() {
                all
            } else {
                left
            },
        }
    }

    /// Fills the states; rows beyond the batch that are computed are those of zeros.
    fn start(&self, cx: &mut Define<'_>, states: &[(BufferId, usize)], step: &Step) {
        let batch = cx.operand_type(self.node, 0).shape[1].clone();
        let zero = Scalar::num(self.acc, 0.0);
        let extents = [step.computed.clone(), self.hidden.clone()];
        cx.nest(&extents, Role::Space, &mut |cx, at| {
            let sequence = step.first.clone() + at[0].clone();
            let inside = [batch.clone() - 1 - sequence.clone()];
            for (buffer, k) in states {
                let start = cx.guarded(&inside, zero.clone(), &mut |cx| {
                    self.operand(cx, *k, &[sequence.clone(), at[1].clone()])
                });
                cx.store(*buffer, at.to_vec(), start);
            }
        });
    }

    /// As [`Layer::each`], for what a step ends with: sequences that are over keep their state, and
    /// their first result is 0.
    fn update(
        &self,
        cx: &mut Define<'_>,
        step: &Step,
        body: &mut dyn FnMut(&mut Define<'_>, &At<'_>),
    ) {
        if step.whole {
            return self.each(cx, step, body);
        }
        let hidden = std::slice::from_ref(&self.hidden);
        cx.nest(
            std::slice::from_ref(&step.rows),
            Role::Space,
            &mut |cx, r| {
                let inside = self.is_inside(cx, step, &r[0]);
                cx.when(inside.clone(), &mut |cx| {
                    cx.nest(hidden, Role::Space, &mut |cx, j| {
                        let (r, j) = (&r[0], &j[0]);
                        body(cx, &At { step, r, j });
                    });
                });
                cx.when(Scalar::unary(UnaryOp::Not, inside), &mut |cx| {
                    cx.nest(hidden, Role::Space, &mut |cx, j| {
                        let (r, j) = (&r[0], &j[0]);
                        let zero = Scalar::num(self.acc, 0.0);
                        self.store(cx, 0, At { step, r, j }.of_step(), zero);
                    });
                });
            },
        );
    }

    /// Whether the sequence of a row has a step.
    fn is_inside(&self, cx: &mut Define<'_>, step: &Step, r: &Expr) -> Scalar {
        let lengths = cx.node(self.node).inputs.len() - 1;
        let length = cx.operand(self.node, lengths, &[step.first.clone() + r.clone()]);
        let inside = Scalar::binary(BinaryOp::Lt, Scalar::Index(step.t.clone()), length);
        cx.bind(inside)
    }

    /// Stores what a step ends with: states, and the first as the first result.
    fn finish(&self, cx: &mut Define<'_>, at: &At<'_>, values: &[(BufferId, Scalar)]) {
        let values = values.iter().cloned();
        let values: Vec<_> = values.map(|(b, value)| (b, cx.bind(value))).collect();
        self.store(cx, 0, at.of_step(), values[0].1.clone());
        for (state, value) in values {
            cx.store(state, at.place(), value);
        }
    }
}

/// A step of a strip.
struct Step {
    /// Time.
    t: Expr,
    /// Whether no sequence ends before.
    whole: bool,
    /// The first sequence.
    first: Expr,
    /// Sequences of the strip.
    rows: Expr,
    /// Rows of which sums are taken.
    computed: Expr,
}

/// Where in a step: row of the strip, hidden element.
struct At<'s> {
    step: &'s Step,
    r: &'s Expr,
    j: &'s Expr,
}

impl At<'_> {
    fn sequence(&self) -> Expr {
        self.step.first.clone() + self.r.clone()
    }

    /// The index in the first result.
    fn of_step(&self) -> Vec<Expr> {
        vec![self.step.t.clone(), self.sequence(), self.j.clone()]
    }

    /// The index in scratch buffers of a number per hidden element.
    fn place(&self) -> Vec<Expr> {
        vec![self.r.clone(), self.j.clone()]
    }
}

pub(super) fn lower_rnn(cx: &mut Define<'_>, node: NodeId) {
    let layer = Layer::new(cx, node, 1);
    let sums = layer.scratch(cx, 1);
    layer.define(cx, &[(layer.h, 2)], &mut |cx, step| {
        layer.products(cx, step, 1, layer.h, sums);
        layer.update(cx, step, &mut |cx, at| {
            let x = layer.sum(cx, 0, at, sums);
            let y = layer.apply(cx, 0, x);
            layer.finish(cx, at, &[(layer.h, y)]);
        });
    });
}

pub(super) fn lower_gru(cx: &mut Define<'_>, node: NodeId) {
    let layer = Layer::new(cx, node, 2);
    let linear = cx.node(node).attrs.flag("linear_before_reset");
    let (sums, inner) = (layer.scratch(cx, 2), layer.scratch(cx, 1));
    let reset = (!linear).then(|| layer.scratch(cx, 1));
    layer.define(cx, &[(layer.h, 4)], &mut |cx, step| {
        layer.products(cx, step, 1, layer.h, sums);
        if let Some(reset) = reset {
            layer.each(cx, step, &mut |cx, at| {
                let r = reset_gate(cx, &layer, at, sums);
                let scaled = mul(r, Scalar::load(layer.h, at.place()));
                cx.store(reset, at.place(), scaled);
            });
        }
        layer.products(cx, step, 2, reset.unwrap_or(layer.h), inner);
        layer.update(cx, step, &mut |cx, at| {
            let bias = layer.operand(cx, 3, std::slice::from_ref(at.j));
            let mut inner = add(Scalar::load(inner, at.place()), bias);
            if linear {
                inner = mul(reset_gate(cx, &layer, at, sums), inner);
            }
            let x = layer.sum(cx, 0, at, sums);
            let z = layer.apply(cx, 0, x);
            let x = add(layer.gate(cx, 2, at), inner);
            let n = layer.apply(cx, 1, x);
            let old = mul(z.clone(), Scalar::load(layer.h, at.place()));
            let y = add(mul(one_minus(cx, z), n), old);
            layer.finish(cx, at, &[(layer.h, y)]);
        });
    });
}

fn reset_gate(cx: &mut Define<'_>, layer: &Layer, at: &At<'_>, sums: BufferId) -> Scalar {
    let x = layer.sum(cx, 1, at, sums);
    layer.apply(cx, 0, x)
}

pub(super) fn lower_lstm(cx: &mut Define<'_>, node: NodeId) {
    let layer = Layer::new(cx, node, 3);
    let coupled = cx.node(node).attrs.flag("input_forget");
    let (cell, sums) = (layer.scratch(cx, 1), layer.scratch(cx, 4));
    let states = [(layer.h, 2), (cell, 3)];
    layer.define(cx, &states, &mut |cx, step| {
        layer.products(cx, step, 1, layer.h, sums);
        layer.update(cx, step, &mut |cx, at| {
            let gate = |cx: &mut Define<'_>, gate: i64, cell: &Scalar| {
                let sum = layer.sum(cx, gate, at, sums);
                let p = layer.operand(cx, 4, &[layer.row(gate, at.j)]);
                layer.apply(cx, 0, add(sum, mul(p, cell.clone())))
            };
            let old = Scalar::load(cell, at.place());
            let i = gate(cx, 0, &old);
            let forget = if coupled {
                one_minus(cx, i.clone())
            } else {
                gate(cx, 2, &old)
            };
            let x = layer.sum(cx, 3, at, sums);
            let n = layer.apply(cx, 1, x);
            let c = cx.bind(add(mul(forget, old), mul(i, n)));
            let o = gate(cx, 1, &c);
            let squashed = layer.apply(cx, 2, c.clone());
            layer.finish(cx, at, &[(layer.h, mul(o, squashed)), (cell, c)]);
        });
    });
}
