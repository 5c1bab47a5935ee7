//! Movement ops that spread elements over positions: one element to several, or channels to
//! positions.
use super::movement::{any_tensor, pick, row};
use super::types::ANY;
use super::{InferCx, Lower, OpDef, Sample, Sampler, attr};
use crate::eval::{EvalCx, EvalError};
use crate::expr::Expr;
use crate::graph::{AttrKind, Attrs, TensorType};
use crate::loops::Scalar;
use crate::tensor::Tensor;

type Types = Result<Vec<TensorType>, String>;
type Results = Result<Vec<Tensor>, EvalError>;

/// Bounds products of blocks far from overflow.
const LARGEST: i64 = 1 << 20;

/// Rows of ops that spread elements.
pub const OPS: &[OpDef] = &[
    row(
        "repeat",
        "y[i] = x[i div count], axis by axis",
        (1, 1),
        &[attr(
            "counts",
            AttrKind::Ints,
            "how often each element follows itself on each axis, at least 1",
        )],
        infer_repeat,
        eval_repeat,
        Lower::Pointwise(|cx, node, _, index| {
            let counts = cx.node(node).attrs.ints("counts").to_vec();
            let own: Vec<Expr> = index.iter().zip(counts).map(|(i, n)| i.div(n)).collect();
            cx.operand(node, 0, &own)
        }),
        repeat_samples,
        "NumPy, repeat, on every axis",
    ),
    row(
        "depth_to_space",
        "y[n, g*m + c, p...] = x[n, (g*k + phase)*m + c, p div block ...]: the channels of each of `groups` groups are k phases of m channels, k the product of `phases`, and phase is p mod block ..., row-major; elements of phases beyond are 0",
        (1, 1),
        &[
            attr(
                "blocks",
                AttrKind::Ints,
                "the extent of a block on each spatial axis",
            ),
            attr(
                "phases",
                AttrKind::Ints,
                "how many elements of a block on each spatial axis are channels: the first ones",
            ),
            attr("groups", AttrKind::Int, "the number of groups"),
        ],
        infer_depth,
        eval_depth,
        Lower::Pointwise(|cx, node, _, index| {
            let attrs = &cx.node(node).attrs;
            let blocks = attrs.ints("blocks").to_vec();
            let groups = attrs.int("groups");
            let channels = cx.operand_type(node, 0).shape[1].clone();
            let kept = attrs.ints("phases").to_vec();
            let default = Scalar::num(cx.operand_type(node, 0).dtype, 0.0);
            let phases: i64 = kept.iter().product();
            // Without channels, there is nothing to be asked for.
            let each = match channels.div(groups * phases) {
                none if none.is(0) => Expr::from(1),
                some => some,
            };
            let mut phase = Expr::from(0);
            let (mut own, mut conds) = (vec![index[0].clone(), Expr::from(0)], Vec::new());
            for ((i, b), k) in index[2..].iter().zip(&blocks).zip(&kept) {
                let at = i.rem(*b);
                let last = Expr::from(k - 1);
                if k < b {
                    conds.push(last.clone() - at.clone());
                }
                phase = phase * *k
                    + match k {
                        1 => Expr::from(0),
                        // Bounds of a product with channels of any number have no proof.
                        _ if k < b && channels.as_const().is_none() => Expr::at_most(&at, last),
                        _ => at,
                    };
                own.push(i.div(*b));
            }
            let group = index[1].div(each.clone());
            let within = index[1].rem(each.clone());
            own[1] = (group * phases + phase) * each + within;
            cx.guarded(&conds, default, &mut |cx| cx.operand(node, 0, &own))
        }),
        depth_samples,
        "ONNX operators, DepthToSpace: mode DCR is one group, CRD as many as there are results",
    ),
];

fn infer_repeat(cx: &InferCx<'_>) -> Types {
    let x = cx.inputs[0];
    let counts = cx.attrs.ints("counts");
    if counts.len() != x.rank() || counts.iter().any(|n| !(1..LARGEST).contains(n)) {
        return Err(format!(
            "`counts` is {counts:?}, want {} numbers that are at least 1",
            x.rank()
        ));
    }
    let shape = x.shape.iter().zip(counts);
    let shape = shape.map(|(e, n)| e.clone() * *n).collect();
    Ok(vec![TensorType::new(x.dtype, shape)])
}

fn eval_repeat(cx: &EvalCx<'_>) -> Results {
    let counts = cx.attrs.ints("counts");
    let y = pick(cx.inputs[0], cx.output_shape(0)?, &[0; 8], &mut |index| {
        let own = index.iter().zip(counts).map(|(i, n)| i / *n as usize);
        Some(own.collect())
    });
    Ok(vec![y])
}

fn infer_depth(cx: &InferCx<'_>) -> Types {
    let x = cx.inputs[0];
    let (blocks, groups) = (cx.attrs.ints("blocks"), cx.attrs.int("groups"));
    let kept = cx.attrs.ints("phases");
    let fine = x.rank() >= 2
        && blocks.len() == x.rank() - 2
        && blocks.iter().all(|b| (1..LARGEST).contains(b))
        && (1..LARGEST).contains(&groups);
    if !fine {
        return Err(format!(
            "`blocks` is {blocks:?} and `groups` {groups} for rank {}, want a positive number for each axis behind the second",
            x.rank()
        ));
    }
    let inside = kept.iter().zip(blocks).all(|(k, b)| (1..=*b).contains(k));
    if kept.len() != blocks.len() || !inside {
        return Err(format!(
            "`phases` is {kept:?} for blocks {blocks:?}, want a positive number of at most the block for each"
        ));
    }
    let phases = kept.iter().try_fold(groups, |p, b| p.checked_mul(*b));
    let phases = phases.ok_or_else(|| "`blocks` are too large".to_string())?;
    let each = x.shape[1].div(phases);
    if each.clone() * phases != x.shape[1] {
        return Err(format!(
            "{} channels are no multiple of {phases}",
            x.shape[1]
        ));
    }
    let mut shape = vec![x.shape[0].clone(), each * groups];
    shape.extend(x.shape[2..].iter().zip(blocks).map(|(e, b)| e.clone() * *b));
    Ok(vec![TensorType::new(x.dtype, shape)])
}

fn eval_depth(cx: &EvalCx<'_>) -> Results {
    let x = cx.inputs[0];
    let list = |name: &str| -> Vec<usize> {
        let all = cx.attrs.ints(name).iter();
        all.map(|n| *n as usize).collect()
    };
    let (blocks, kept) = (list("blocks"), list("phases"));
    let groups = cx.attrs.int("groups") as usize;
    let phases: usize = kept.iter().product();
    let each = x.shape[1] / (groups * phases);
    let y = pick(x, cx.output_shape(0)?, &[0; 8], &mut |index| {
        let mut from = index.to_vec();
        let mut phase = 0;
        for (d, (b, k)) in blocks.iter().zip(&kept).enumerate() {
            let own = index[d + 2] % b;
            if own >= *k {
                return None;
            }
            phase = phase * k + own;
            from[d + 2] = index[d + 2] / b;
        }
        let (group, channel) = (index[1] / each, index[1] % each);
        from[1] = group * phases * each + phase * each + channel;
        Some(from)
    });
    Ok(vec![y])
}

fn repeat_samples(s: &mut Sampler) -> Vec<Sample> {
    let x = any_tensor(s, 0, 3);
    let counts: Vec<i64> = x.shape.iter().map(|_| s.int(1, 3)).collect();
    vec![Sample::new(vec![x], Attrs::new().with("counts", counts))]
}

fn depth_samples(s: &mut Sampler) -> Vec<Sample> {
    let spatial = s.int(1, 2) as usize;
    let blocks: Vec<i64> = (0..spatial).map(|_| s.int(1, 3)).collect();
    let (groups, each) = (s.int(1, 2), s.int(1, 5));
    let kept: Vec<i64> = blocks.iter().map(|b| s.int(1, *b)).collect();
    let phases: i64 = kept.iter().product();
    let mut shape = vec![s.int(1, 2) as usize, (groups * phases * each) as usize];
    shape.extend((0..spatial).map(|_| s.int(0, 4) as usize));
    let dtype = s.dtype(ANY);
    let x = s.tensor(dtype, &shape, -9.0, 9.0);
    let attrs = Attrs::new().with("blocks", blocks).with("groups", groups);
    let attrs = attrs.with("phases", kept);
    vec![Sample::new(vec![x], attrs)]
}
