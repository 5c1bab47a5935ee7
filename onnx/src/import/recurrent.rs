//! Recurrent layers: the product with the inputs is one contraction outside, the steps are a row.
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, ValueId};
use tensmith_ir::ops::show_shape;
use tensmith_ir::tensor::Tensor;

use super::cx::Cx;
use super::registry::{OpImport, onnx};
use super::value::{Val, all};
use crate::error::Result;
use crate::proto::NodeProto;

pub(crate) const OPS: &[OpImport] = &[
    onnx("LSTM", |cx, node| layer(cx, node, &LSTM)),
    onnx("GRU", |cx, node| layer(cx, node, &GRU)),
    onnx("RNN", |cx, node| layer(cx, node, &RNN)),
];

/// What tells the layers apart.
struct Kind {
    row: &'static str,
    gates: i64,
    activations: &'static [&'static str],
}

const LSTM: Kind = Kind {
    row: "lstm",
    gates: 4,
    activations: &["Sigmoid", "Tanh", "Tanh"],
};
const GRU: Kind = Kind {
    row: "gru",
    gates: 3,
    activations: &["Sigmoid", "Tanh"],
};
const RNN: Kind = Kind {
    row: "rnn",
    gates: 1,
    activations: &["Tanh"],
};

/// Operands that all directions share, time first.
struct Operands {
    x: ValueId,
    w: ValueId,
    r: ValueId,
    b: Option<ValueId>,
    lengths: ValueId,
    initial: [Option<ValueId>; 2],
    peepholes: Option<ValueId>,
    hidden: i64,
    dtype: DType,
}

fn layer(cx: &mut Cx<'_>, node: &NodeProto, kind: &Kind) -> Result<Vec<Val>> {
    let batch_first = node.attr_i_or("layout", 0)? != 0;
    let operands = operands(cx, node, kind, batch_first)?;
    let reversed: &[bool] = match node.attr_s_or("direction", "forward")? {
        "forward" => &[false],
        "reverse" => &[true],
        "bidirectional" => &[false, true],
        other => return Err(cx.invalid(format!("direction {other:?}"))),
    };
    let mut directions = Vec::new();
    for (d, reverse) in reversed.iter().enumerate() {
        directions.push(direction(
            cx,
            node,
            kind,
            &operands,
            (d, reversed.len()),
            *reverse,
        )?);
    }
    let count = if kind.row == "lstm" { 3 } else { 2 };
    let mut results = Vec::new();
    for k in 0..count {
        let mut parts = Vec::new();
        for outputs in &directions {
            // Y is [time, direction, batch, hidden]; states are [direction, batch, hidden].
            parts.push(cx.insert_axis(outputs[k], usize::from(k == 0))?);
        }
        let joined = cx.concat(&parts, usize::from(k == 0))?;
        results.push(match (batch_first, k) {
            (false, _) => joined,
            (true, 0) => cx.transpose(joined, &[2, 0, 1, 3])?,
            (true, _) => cx.transpose(joined, &[1, 0, 2])?,
        });
    }
    Ok(all(results))
}

/// Holds every operand to the shape that ONNX gives it, as far as extents are known.
fn check_shapes(cx: &mut Cx<'_>, node: &NodeProto, kind: &Kind, batch_first: bool) -> Result<()> {
    let (x, r) = (cx.input(node, 0)?, cx.input(node, 2)?);
    let (x, r) = (cx.shape(x), cx.shape(r));
    let directions = match node.attr_s_or("direction", "forward")? {
        "bidirectional" => Expr::from(2),
        _ => Expr::from(1),
    };
    let hidden = &r[2];
    let rows = hidden.clone() * kind.gates;
    let batch = &x[usize::from(!batch_first)];
    let state = match batch_first {
        false => vec![directions.clone(), batch.clone(), hidden.clone()],
        true => vec![batch.clone(), directions.clone(), hidden.clone()],
    };
    let wanted = [
        (1, "W", vec![directions.clone(), rows.clone(), x[2].clone()]),
        (
            2,
            "R",
            vec![directions.clone(), rows.clone(), hidden.clone()],
        ),
        (3, "B", vec![directions.clone(), rows * 2]),
        (4, "sequence_lens", vec![batch.clone()]),
        (5, "initial_h", state.clone()),
        (6, "initial_c", state),
        (7, "P", vec![directions, hidden.clone() * 3]),
    ];
    let present = if kind.row == "lstm" { 7 } else { 5 };
    for (k, name, want) in wanted.into_iter().take(present) {
        let Some(value) = cx.optional(node, k)? else {
            continue;
        };
        let found = cx.shape(value);
        let differ = |(a, b): (&Expr, &Expr)| match (a.as_const(), b.as_const()) {
            (Some(a), Some(b)) => a != b,
            _ => false,
        };
        if found.len() != want.len() || found.iter().zip(&want).any(differ) {
            let (found, want) = (show_shape(&found), show_shape(&want));
            return Err(cx.invalid(format!("{name} has shape {found}, want {want}")));
        }
    }
    Ok(())
}

fn operands(cx: &mut Cx<'_>, node: &NodeProto, kind: &Kind, batch_first: bool) -> Result<Operands> {
    let (mut x, w, r) = (cx.input(node, 0)?, cx.input(node, 1)?, cx.input(node, 2)?);
    if cx.rank(x) != 3 || cx.rank(w) != 3 || cx.rank(r) != 3 {
        return Err(cx.invalid("X, W and R must have 3 axes"));
    }
    let Some(hidden) = cx.shape(r)[2].as_const() else {
        return Err(cx.unsupported("a hidden size that is not known"));
    };
    let lstm = kind.row == "lstm";
    check_shapes(cx, node, kind, batch_first)?;
    let mut initial = [
        cx.optional(node, 5)?,
        if lstm { cx.optional(node, 6)? } else { None },
    ];
    if batch_first {
        x = cx.transpose(x, &[1, 0, 2])?;
        for state in initial.iter_mut().flatten() {
            *state = cx.transpose(*state, &[1, 0, 2])?;
        }
    }
    let lengths = match cx.optional(node, 4)? {
        Some(lengths) => cx.cast(lengths, DType::I64)?,
        None => {
            let steps = cx.size_value(&cx.shape(x)[0])?;
            let steps = cx.reshape(steps, vec![1.into()])?;
            cx.expand(steps, vec![cx.shape(x)[1].clone()])?
        }
    };
    let b = cx.optional(node, 3)?;
    let peepholes = if lstm { cx.optional(node, 7)? } else { None };
    let dtype = cx.dtype(x);
    Ok(Operands {
        x,
        w,
        r,
        b,
        lengths,
        initial,
        peepholes,
        hidden,
        dtype,
    })
}

/// The part of a tensor that belongs to one direction, without that axis.
fn of_direction(cx: &mut Cx<'_>, value: ValueId, d: usize) -> Result<ValueId> {
    let part = cx.slice_axis(value, 0, d, 1)?;
    cx.drop_axis(part, 0)
}

fn zeros(cx: &mut Cx<'_>, dtype: DType, shape: Vec<Expr>) -> Result<ValueId> {
    let zero = cx.constant(Tensor::splat(dtype, vec![1; shape.len()], 0.0));
    cx.expand(zero, shape)
}

fn direction(
    cx: &mut Cx<'_>,
    node: &NodeProto,
    kind: &Kind,
    o: &Operands,
    (d, directions): (usize, usize),
    reverse: bool,
) -> Result<Vec<ValueId>> {
    let w = of_direction(cx, o.w, d)?;
    let r = of_direction(cx, o.r, d)?;
    let rows = o.hidden * kind.gates;
    let mut g = cx.contract(o.x, w, "tbi,gi->tbg")?;
    let mut recurrence_bias = None;
    if let Some(b) = o.b {
        let b = of_direction(cx, b, d)?;
        let of_w = cx.slice_axis(b, 0, 0, rows)?;
        let of_r = cx.slice_axis(b, 0, rows, rows)?;
        let (outside, inside) = split_bias(cx, kind, o, of_r)?;
        let bias = cx.binary("add", of_w, outside)?;
        g = cx.binary("add", g, bias)?;
        recurrence_bias = inside;
    }
    let state_shape = vec![cx.shape(o.x)[1].clone(), o.hidden.into()];
    let mut states = Vec::new();
    for state in o.initial {
        states.push(match state {
            Some(s) => of_direction(cx, s, d)?,
            None => zeros(cx, o.dtype, state_shape.clone())?,
        });
    }
    let attrs = attributes(cx, node, kind, (d, directions), reverse)?;
    let inputs = match kind.row {
        "lstm" => {
            let p = match o.peepholes {
                Some(p) => of_direction(cx, p, d)?,
                None => zeros(cx, o.dtype, vec![(3 * o.hidden).into()])?,
            };
            vec![g, r, states[0], states[1], p, o.lengths]
        }
        "gru" => {
            let rb = match recurrence_bias {
                Some(rb) => rb,
                None => zeros(cx, o.dtype, vec![o.hidden.into()])?,
            };
            let gates = cx.slice_axis(r, 0, 0, 2 * o.hidden)?;
            let candidate = cx.slice_axis(r, 0, 2 * o.hidden, o.hidden)?;
            vec![g, gates, candidate, rb, states[0], o.lengths]
        }
        _ => vec![g, r, states[0], o.lengths],
    };
    cx.rows(kind.row, &inputs, attrs)
}

/// The bias of the recurrence: what can be added outside, and for `gru` that of the hidden gate,
/// which stands inside the reset gate's product.
fn split_bias(
    cx: &mut Cx<'_>,
    kind: &Kind,
    o: &Operands,
    of_r: ValueId,
) -> Result<(ValueId, Option<ValueId>)> {
    if kind.row != "gru" {
        return Ok((of_r, None));
    }
    let gates = cx.slice_axis(of_r, 0, 0, 2 * o.hidden)?;
    let none = zeros(cx, o.dtype, vec![o.hidden.into()])?;
    let inside = cx.slice_axis(of_r, 0, 2 * o.hidden, o.hidden)?;
    Ok((cx.concat(&[gates, none], 0)?, Some(inside)))
}

fn attributes(
    cx: &Cx<'_>,
    node: &NodeProto,
    kind: &Kind,
    (d, directions): (usize, usize),
    reverse: bool,
) -> Result<Attrs> {
    let each = kind.activations.len();
    let stated = node.attr_strings("activations")?.unwrap_or_default();
    let lower = |n: &bytes::Bytes| String::from_utf8_lossy(n).to_lowercase();
    let names: Vec<String> = match stated.len() {
        0 => kind.activations.iter().map(|n| n.to_lowercase()).collect(),
        n if n == each * directions => stated[d * each..][..each].iter().map(lower).collect(),
        n => return Err(cx.invalid(format!("{n} activations, want {}", each * directions))),
    };
    let alphas = node
        .attr_floats("activation_alpha")?
        .unwrap_or_default()
        .to_vec();
    let betas = node
        .attr_floats("activation_beta")?
        .unwrap_or_default()
        .to_vec();
    // Parameters are listed only for activations that take them, over all directions in order.
    let skip = |takes: fn(&str) -> bool| {
        let before = stated.iter().take(d * each);
        before.filter(|n| takes(&lower(n))).count()
    };
    let alpha = parameters(
        &names,
        &alphas[skip(takes_alpha).min(alphas.len())..],
        takes_alpha,
        default_alpha,
    );
    let beta = parameters(
        &names,
        &betas[skip(takes_beta).min(betas.len())..],
        takes_beta,
        default_beta,
    );
    let clip = node.attr_f("clip")?.map_or(f64::INFINITY, f64::from);
    let attrs = Attrs::new()
        .with("reverse", reverse)
        .with("activations", names.join(","))
        .with("alpha", alpha)
        .with("beta", beta)
        .with("clip", clip);
    Ok(match kind.row {
        "lstm" => attrs.with("input_forget", node.attr_i_or("input_forget", 0)? != 0),
        "gru" => attrs.with(
            "linear_before_reset",
            node.attr_i_or("linear_before_reset", 0)? != 0,
        ),
        _ => attrs,
    })
}

/// One parameter per activation: as listed for those that take one, else the default.
fn parameters(
    names: &[String],
    listed: &[f32],
    takes: fn(&str) -> bool,
    default: fn(&str) -> f64,
) -> Vec<f64> {
    let mut listed = listed.iter();
    let value = |n: &String| match takes(n) {
        true => listed.next().map_or(default(n), |v| f64::from(*v)),
        false => 0.0,
    };
    names.iter().map(value).collect()
}

fn takes_alpha(name: &str) -> bool {
    [
        "affine",
        "leakyrelu",
        "thresholdedrelu",
        "scaledtanh",
        "hardsigmoid",
        "elu",
    ]
    .contains(&name)
}

fn takes_beta(name: &str) -> bool {
    ["affine", "scaledtanh", "hardsigmoid"].contains(&name)
}

fn default_alpha(name: &str) -> f64 {
    match name {
        "leakyrelu" => 0.01,
        "hardsigmoid" => 0.2,
        _ => 1.0,
    }
}

fn default_beta(name: &str) -> f64 {
    match name {
        "hardsigmoid" => 0.5,
        "scaledtanh" => 1.0,
        _ => 0.0,
    }
}
