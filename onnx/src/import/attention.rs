//! Attention and what goes with it: rotary embeddings and caches. Halves are computed in `f32`.
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, ValueId};

use super::activation::wide_type;
use super::cx::Cx;
use super::elementwise::element_type;
use super::registry::{OpImport, onnx};
use super::value::{Val, all, one};
use crate::error::Result;
use crate::proto::NodeProto;

type Vals = Result<Vec<Val>>;

pub(crate) const OPS: &[OpImport] = &[
    onnx("Attention", attention),
    onnx("RotaryEmbedding", rotary),
    onnx("TensorScatter", tensor_scatter),
];

/// `[batch, length, heads * size]` as `[batch, heads, length, size]`.
fn split_heads(
    cx: &mut Cx<'_>,
    node: &NodeProto,
    x: ValueId,
    attr: &'static str,
) -> Result<ValueId> {
    if cx.rank(x) == 4 {
        return Ok(x);
    }
    let shape = cx.shape(x);
    let heads = node.require_attr(attr, node.attr_i(attr)?)?;
    let [batch, length, width] = &shape[..] else {
        return Err(cx.invalid(format!("an operand of rank {}", shape.len())));
    };
    let Some(width) = width.as_const() else {
        return Err(cx.unsupported(format!("a width of {width}")));
    };
    if heads < 1 || width % heads != 0 {
        return Err(cx.invalid(format!("{attr} is {heads} for a width of {width}")));
    }
    let split = vec![
        batch.clone(),
        length.clone(),
        heads.into(),
        (width / heads).into(),
    ];
    let x = cx.reshape(x, split)?;
    cx.transpose(x, &[0, 2, 1, 3])
}

/// Queries, and keys and values with those of earlier steps before them; all of rank 4.
struct Parts {
    q: ValueId,
    k: ValueId,
    v: ValueId,
    /// The number of earlier keys.
    past: Expr,
    /// `[batch, query heads, queries, keys]`.
    extents: [Expr; 4],
    /// Query heads per key head.
    group: Expr,
}

fn parts(cx: &mut Cx<'_>, node: &NodeProto) -> Result<Parts> {
    let [q, k, v] = [cx.input(node, 0)?, cx.input(node, 1)?, cx.input(node, 2)?];
    let q = split_heads(cx, node, q, "q_num_heads")?;
    let mut k = split_heads(cx, node, k, "kv_num_heads")?;
    let mut v = split_heads(cx, node, v, "kv_num_heads")?;
    let mut past = Expr::from(0);
    let before = (cx.optional(node, 4)?, cx.optional(node, 5)?);
    if before.0.is_some() != before.1.is_some() {
        return Err(cx.invalid("past_key and past_value must be given together"));
    }
    if let (Some(keys), Some(values)) = before {
        past = match cx.shape(keys).get(2) {
            Some(length) if cx.rank(keys) == 4 => length.clone(),
            _ => return Err(cx.invalid("past_key must be of rank 4")),
        };
        k = cx.concat(&[keys, k], 2)?;
        v = cx.concat(&[values, v], 2)?;
    }
    let (qs, ks) = (cx.shape(q), cx.shape(k));
    if [q, k, v]
        .iter()
        .any(|x| cx.rank(*x) != 4 || !cx.dtype(*x).is_float())
    {
        return Err(cx.invalid("Q, K and V must be floats of rank 3 or 4"));
    }
    let group = match (qs[1].as_const(), ks[1].as_const()) {
        _ if qs[1] == ks[1] => 1,
        (Some(heads), Some(shared)) if shared > 0 && heads % shared == 0 => heads / shared,
        _ => {
            let what = format!("{} query heads for {} key heads", qs[1], ks[1]);
            return Err(cx.invalid(what));
        }
    };
    Ok(Parts {
        q,
        k,
        v,
        past,
        extents: [qs[0].clone(), qs[1].clone(), qs[2].clone(), ks[2].clone()],
        group: group.into(),
    })
}

impl Parts {
    /// A contraction per key head of what has query heads with keys or values; `spec` without
    /// the letters of batch (`b`), key heads (`h`) and heads that share one (`g`).
    fn contract(
        &self,
        cx: &mut Cx<'_>,
        left: ValueId,
        right: ValueId,
        spec: [&str; 3],
    ) -> Result<ValueId> {
        let [a, b, y] = spec;
        let dtype = cx.dtype(left);
        let right = cx.cast(right, dtype)?;
        if self.group.is(1) {
            return cx.contract(left, right, &format!("bh{a},bh{b}->bh{y}"));
        }
        if cx.shape(right)[1].is(1) {
            let right = cx.drop_axis(right, 1)?;
            return cx.contract(left, right, &format!("bh{a},b{b}->bh{y}"));
        }
        let mut shape = cx.shape(left);
        let heads = cx.shape(right)[1].clone();
        shape.splice(1..2, [heads, self.group.clone()]);
        let left = cx.reshape(left, shape)?;
        let result = cx.contract(left, right, &format!("bhg{a},bh{b}->bhg{y}"))?;
        let mut shape = cx.shape(result);
        shape.splice(1..3, [self.extents[1].clone()]);
        cx.reshape(result, shape)
    }
}

/// Places beyond this one act alike; sums of a few are numbers of 32 bits.
const FAR: i64 = 1 << 28;

/// Which keys a query sees, by place: `None` if all. Places are numbers of 32 bits, so that vectors
/// can carry them.
fn visible(cx: &mut Cx<'_>, node: &NodeProto, parts: &Parts) -> Result<Option<ValueId>> {
    let [_, _, queries, keys] = &parts.extents;
    let filled = match cx.optional(node, 6)? {
        Some(filled) => {
            let filled = cx.cast(filled, DType::I64)?;
            let filled = cx.with_scalar("max", filled, -FAR as f64)?;
            let filled = cx.with_scalar("min", filled, FAR as f64)?;
            let filled = cx.cast(filled, DType::I32)?;
            Some(cx.along_axis(filled, 0, 4)?)
        }
        None => None,
    };
    let column = cx.iota(vec![1.into(), keys.clone()], 1, DType::I32)?;
    let mut conditions = Vec::new();
    let causal = node.attr_bool_or("is_causal", false)?;
    let window = ["left_window_size", "right_window_size"].map(|name| node.attr_i_or(name, -1));
    let [left, right] = window;
    let (left, right) = (left?, right?);
    if causal || left >= 0 || right >= 0 {
        let row = cx.iota(vec![queries.clone(), 1.into()], 0, DType::I32)?;
        let size = cx.size_value(if filled.is_some() {
            queries
        } else {
            &parts.past
        })?;
        let size = cx.cast(size, DType::I32)?;
        let before = match filled {
            Some(filled) => cx.binary("sub", filled, size)?,
            None => size,
        };
        let place = cx.binary("add", row, before)?;
        let distance = cx.binary("sub", place, column)?;
        for (row, bound) in [
            ("ge", causal.then_some(0)),
            ("le", (left >= 0).then_some(left)),
            ("ge", (right >= 0).then_some(-right)),
        ] {
            if let Some(bound) = bound {
                let bound = bound.clamp(-FAR, FAR);
                conditions.push(cx.with_scalar(row, distance, bound as f64)?);
            }
        }
    }
    if let Some(filled) = filled {
        conditions.push(cx.binary("lt", column, filled)?);
    }
    let mut conditions = conditions.into_iter();
    let Some(mut seen) = conditions.next() else {
        return Ok(None);
    };
    for condition in conditions {
        seen = cx.binary("and", seen, condition)?;
    }
    Ok(Some(seen))
}

/// What is added to the scores: the mask, and minus infinity for keys that are not seen.
fn bias(cx: &mut Cx<'_>, node: &NodeProto, parts: &Parts, dtype: DType) -> Result<Option<ValueId>> {
    let mut seen = visible(cx, node, parts)?;
    let mut bias = None;
    if let Some(mut mask) = cx.optional(node, 3)? {
        let boolean = cx.dtype(mask) == DType::Bool;
        let last = cx.shape(mask).last().cloned();
        if cx.opset() >= 24
            && let Some(last) = last.filter(|last| *last != parts.extents[3])
        {
            let hidden = if boolean { 0.0 } else { f64::NEG_INFINITY };
            let hidden = cx.scalar(cx.dtype(mask), hidden);
            let mut after = vec![Expr::from(0); cx.rank(mask)];
            let before = after.clone();
            if let Some(gap) = after.last_mut() {
                *gap = parts.extents[3].clone() - last;
            }
            mask = cx.pad(mask, hidden, before, after, "constant")?;
        }
        match (boolean, seen) {
            (true, Some(other)) => seen = Some(cx.binary("and", mask, other)?),
            (true, None) => seen = Some(mask),
            (false, _) => bias = Some(cx.cast(mask, dtype)?),
        }
    }
    let Some(seen) = seen else {
        return Ok(bias);
    };
    let hidden = cx.scalar(dtype, f64::NEG_INFINITY);
    let shown = match bias {
        Some(bias) => bias,
        None => cx.scalar(dtype, 0.0),
    };
    cx.select(seen, shown, hidden).map(Some)
}

fn attention(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let parts = parts(cx, node)?;
    let (dtype, compute) = (cx.dtype(parts.q), wide_type(cx.dtype(parts.q)));
    let scale = match node.attr_f("scale")? {
        Some(scale) => f64::from(scale),
        None => {
            let size = cx.shape(parts.q)[3].clone();
            let size = size.as_const().filter(|n| *n > 0);
            1.0 / (size.ok_or_else(|| cx.unsupported("a head size that is not constant"))? as f64)
                .sqrt()
        }
    };
    let q = cx.cast(parts.q, compute)?;
    let scores = parts.contract(cx, q, parts.k, ["ld", "sd", "ls"])?;
    let raw = cx.with_scalar("mul", scores, scale)?;
    let softcap = f64::from(node.attr_f_or("softcap", 0.0)?);
    let capped = match softcap == 0.0 {
        true => raw,
        false => {
            let small = cx.with_scalar("div", raw, softcap)?;
            let bounded = cx.unary("tanh", small)?;
            cx.with_scalar("mul", bounded, softcap)?
        }
    };
    let bias = bias(cx, node, &parts, compute)?;
    let biased = match bias {
        Some(bias) => cx.binary("add", capped, bias)?,
        None => capped,
    };
    let masked = bias.is_some_and(|bias| cx.rank(bias) > 0 && !shows_a_key(cx, bias));
    let weights = weights(cx, node, biased, masked)?;
    let mut y = parts.contract(cx, weights, parts.v, ["ls", "sd", "ld"])?;
    let first = cx.input(node, 0)?;
    if cx.rank(first) == 3 {
        let shape = cx.shape(y);
        y = cx.transpose(y, &[0, 2, 1, 3])?;
        let width = shape[1].clone() * shape[3].clone();
        y = cx.reshape(y, vec![shape[0].clone(), shape[2].clone(), width])?;
    }
    let y = cx.cast(y, dtype)?;
    let mut results = vec![y, parts.k, parts.v];
    if node.result(3).is_some() {
        let shown = match node.attr_i_or("qk_matmul_output_mode", 0)? {
            0 => raw,
            1 => capped,
            2 => biased,
            3 => weights,
            mode => return Err(cx.invalid(format!("qk_matmul_output_mode is {mode}"))),
        };
        results.push(cx.cast(shown, dtype)?);
    }
    Ok(all(results))
}

/// Whether what is added to the scores is known, and hides no row of keys as a whole.
fn shows_a_key(cx: &mut Cx<'_>, bias: ValueId) -> bool {
    let keys = cx.shape(bias).last().and_then(Expr::as_const);
    let (Some(bias), Some(keys)) = (cx.known_tensor(bias), keys) else {
        return false;
    };
    let values = bias.to_f64();
    let mut rows = values.chunks(usize::try_from(keys).unwrap_or(0).max(1));
    rows.all(|row| row.iter().any(|x| *x > f64::NEG_INFINITY))
}

/// The softmax of scores; if there is a mask, all 0 for a query that sees no key.
fn weights(cx: &mut Cx<'_>, node: &NodeProto, scores: ValueId, masked: bool) -> Result<ValueId> {
    let compute = cx.dtype(scores);
    let precision = match node.attr_i("softmax_precision")? {
        Some(number) => wide_type(element_type(cx, number)?),
        None => compute,
    };
    let precise = if precision == DType::F64 {
        precision
    } else {
        compute
    };
    let scores = cx.cast(scores, precise)?;
    let softmax = cx.row("softmax", &[scores], Attrs::new().with("axis", 3))?;
    let softmax = cx.cast(softmax, compute)?;
    if !masked {
        return Ok(softmax);
    }
    let greatest = cx.reduce("reduce_max", scores, &[3], true)?;
    let blind = cx.with_scalar("eq", greatest, f64::NEG_INFINITY)?;
    let zero = cx.scalar(compute, 0.0);
    cx.select(blind, zero, softmax)
}

fn rotary(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let input = cx.input(node, 0)?;
    let (shape, dtype) = (cx.shape(input), cx.dtype(input));
    // The axis of the heads: behind the sequence if they are split off here.
    let (x, heads_axis) = match shape.len() {
        3 => {
            let x = split_heads(cx, node, input, "num_heads")?;
            (cx.transpose(x, &[0, 2, 1, 3])?, 2)
        }
        4 => (input, 1),
        rank => return Err(cx.invalid(format!("operand 0 has rank {rank}"))),
    };
    let x = cx.widened(x)?;
    let Some(size) = cx.shape(x)[3].as_const() else {
        return Err(cx.unsupported("a head size that is not constant"));
    };
    let turned = match node.attr_i_or("rotary_embedding_dim", 0)? {
        0 => size,
        n => n,
    };
    if turned < 2 || turned > size || turned % 2 != 0 {
        return Err(cx.invalid(format!(
            "rotary_embedding_dim is {turned}, head size {size}"
        )));
    }
    let half = turned / 2;
    let places = cx.optional(node, 3)?;
    let mut caches = Vec::new();
    for k in [1, 2] {
        let mut cache = cx.input(node, k)?;
        if let Some(places) = places {
            cache = cx.gather(cache, places, 0)?;
        }
        if cx.rank(cache) != 3 {
            return Err(cx.invalid("the caches do not have an angle per batch and place"));
        }
        cache = cx.slice_axis(cache, 2, 0, half)?;
        cache = cx.cast(cache, cx.dtype(x))?;
        caches.push(cx.insert_axis(cache, heads_axis)?);
    }
    let interleaved = node.attr_bool_or("interleaved", false)?;
    let y = turn(cx, x, caches[0], caches[1], half, interleaved)?;
    let y = match turned == size {
        true => y,
        false => {
            let rest = cx.slice_axis(x, 3, turned, size - turned)?;
            cx.concat(&[y, rest], 3)?
        }
    };
    let y = cx.reshape(y, shape)?;
    cx.cast(y, dtype).map(one)
}

/// Pairs of elements as complex numbers times `cos + i sin`.
fn turn(
    cx: &mut Cx<'_>,
    x: ValueId,
    cos: ValueId,
    sin: ValueId,
    half: i64,
    interleaved: bool,
) -> Result<ValueId> {
    let part = |cx: &mut Cx<'_>, k: i64| {
        if !interleaved {
            return cx.slice_axis(x, 3, k * half, half);
        }
        let mut sizes = cx.shape(x);
        sizes[3] = half.into();
        let starts = vec![0.into(), 0.into(), 0.into(), k.into()];
        cx.slice(x, starts, sizes, vec![1, 1, 1, 2])
    };
    let (a, b) = (part(cx, 0)?, part(cx, 1)?);
    let (ac, bs) = (cx.binary("mul", a, cos)?, cx.binary("mul", b, sin)?);
    let (as_, bc) = (cx.binary("mul", a, sin)?, cx.binary("mul", b, cos)?);
    let mut real = cx.binary("sub", ac, bs)?;
    let mut imaginary = cx.binary("add", as_, bc)?;
    if !interleaved {
        return cx.concat(&[real, imaginary], 3);
    }
    real = cx.insert_axis(real, 4)?;
    imaginary = cx.insert_axis(imaginary, 4)?;
    let pairs = cx.concat(&[real, imaginary], 4)?;
    let mut shape = cx.shape(x);
    shape[3] = (2 * half).into();
    cx.reshape(pairs, shape)
}

/// Each place of the cache takes what was written there, if anything was.
fn tensor_scatter(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let (cache, update) = (cx.input(node, 0)?, cx.input(node, 1)?);
    let rank = cx.rank(cache);
    let axis = cx.axis(node.attr_i_or("axis", -2)?, rank)?;
    if axis == 0 || cx.rank(update) != rank {
        return Err(cx.invalid("axis 0, or operands of different ranks"));
    }
    let shape = cx.shape(cache);
    let (places, written) = (shape[axis].clone(), cx.shape(update)[axis].clone());
    if written.is(0) {
        return Ok(one(cache));
    }
    let mut line = vec![Expr::from(1); rank];
    line[axis] = places.clone();
    let mut source = cx.iota(line, axis, DType::I64)?;
    if let Some(first) = cx.optional(node, 2)? {
        let first = cx.cast(first, DType::I64)?;
        let first = cx.along_axis(first, 0, rank)?;
        source = cx.binary("sub", source, first)?;
    }
    let written = cx.size_value(&written)?;
    match node.attr_s_or("mode", "linear")? {
        "linear" => {}
        "circular" => {
            let places = cx.size_value(&places)?;
            source = cx.binary("mod", source, places)?;
        }
        other => return Err(cx.invalid(format!("mode {other:?}"))),
    }
    let low = cx.with_scalar("ge", source, 0.0)?;
    let high = cx.binary("lt", source, written)?;
    let fresh = cx.binary("and", low, high)?;
    let zero = cx.scalar(DType::I64, 0.0);
    let source = cx.select(fresh, source, zero)?;
    let source = cx.expand(source, shape)?;
    let attrs = Attrs::new().with("axis", axis as i64);
    let new = cx.row("gather_elements", &[update, source], attrs)?;
    cx.select(fresh, new, cache).map(one)
}
