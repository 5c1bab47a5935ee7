//! Losses: a gathered score per label, weighed and reduced.
use tensmith_ir::graph::{Attrs, ValueId};

use super::cx::Cx;
use super::registry::{OpImport, onnx};
use super::value::{all, one};
use crate::error::Result;
use crate::proto::NodeProto;

pub(crate) const OPS: &[OpImport] = &[
    onnx("NegativeLogLikelihoodLoss", |cx, node| {
        let scores = cx.input(node, 0)?;
        likelihood(cx, node, scores).map(one)
    }),
    onnx("SoftmaxCrossEntropyLoss", |cx, node| {
        let scores = cx.input(node, 0)?;
        if cx.rank(scores) < 2 {
            return Err(cx.invalid("operand 0 has no class axis"));
        }
        let log = cx.row("log_softmax", &[scores], Attrs::new().with("axis", 1))?;
        let loss = likelihood(cx, node, log)?;
        Ok(all(vec![loss, log]))
    }),
];

/// The loss of log probabilities whose classes lie on axis 1.
fn likelihood(cx: &mut Cx<'_>, node: &NodeProto, log: ValueId) -> Result<ValueId> {
    let (labels, weights) = (cx.input(node, 1)?, cx.optional(node, 2)?);
    let dtype = cx.dtype(log);
    if cx.rank(log) != cx.rank(labels) + 1 || cx.rank(log) < 2 {
        return Err(cx.invalid("the labels must have the axes of the scores but axis 1"));
    }
    let (labels, ignored) = match node.attr_i("ignore_index")? {
        Some(index) => {
            let ignored = cx.with_scalar("eq", labels, index as f64)?;
            let zero = cx.scalar(cx.dtype(labels), 0.0);
            (cx.select(ignored, zero, labels)?, Some(ignored))
        }
        None => (labels, None),
    };
    let weight = match (weights, ignored) {
        (None, None) => None,
        (Some(weights), None) => Some(cx.gather(weights, labels, 0)?),
        (weights, Some(ignored)) => {
            let zero = cx.scalar(dtype, 0.0);
            let weight = match weights {
                Some(weights) => cx.gather(weights, labels, 0)?,
                None => cx.scalar(dtype, 1.0),
            };
            Some(cx.select(ignored, zero, weight)?)
        }
    };
    let places = cx.insert_axis(labels, 1)?;
    let score = cx.row(
        "gather_elements",
        &[log, places],
        Attrs::new().with("axis", 1),
    )?;
    let score = cx.drop_axis(score, 1)?;
    let mut loss = cx.unary("neg", score)?;
    if let Some(weight) = weight {
        loss = cx.binary("mul", loss, weight)?;
    }
    let axes: Vec<usize> = (0..cx.rank(loss)).collect();
    match (node.attr_s_or("reduction", "mean")?, weight) {
        ("none", _) => Ok(loss),
        ("sum", _) => cx.reduce("reduce_sum", loss, &axes, false),
        ("mean", None) => cx.reduce("reduce_mean", loss, &axes, false),
        ("mean", Some(weight)) => {
            let sum = cx.reduce("reduce_sum", loss, &axes, false)?;
            let total = cx.reduce("reduce_sum", weight, &axes, false)?;
            cx.binary("div", sum, total)
        }
        (other, _) => Err(cx.invalid(format!("reduction {other:?}"))),
    }
}
