//! Sequences and optionals: lists of values during import, never values of the graph.
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::ValueId;
use tensmith_ir::tensor::{Tensor, Wide};

use super::cx::Cx;
use super::registry::{OpImport, onnx};
use super::value::{Val, one};
use crate::error::Result;
use crate::proto::NodeProto;

type Vals = Result<Vec<Val>>;

/// Items that a tensor is split into.
const MAX_ITEMS: i64 = 1 << 16;

pub(crate) const OPS: &[OpImport] = &[
    onnx("SequenceEmpty", |_, _| Ok(vec![Val::Sequence(vec![])])),
    onnx("SequenceConstruct", |cx, node| {
        Ok(vec![Val::Sequence(cx.inputs(node)?)])
    }),
    onnx("SequenceLength", |cx, node| {
        let count = cx.sequence(node, 0)?.len() as i64;
        Ok(one(cx.constant(Tensor::from_i64(vec![], &[count]))))
    }),
    onnx("SequenceAt", |cx, node| {
        let items = cx.sequence(node, 0)?;
        let at = position(cx, node, 1, items.len())?;
        Ok(one(items[at]))
    }),
    onnx("SequenceInsert", |cx, node| {
        let (mut items, new) = (cx.sequence(node, 0)?, cx.input(node, 1)?);
        let at = match node.operand(2) {
            Some(_) => position(cx, node, 2, items.len() + 1)?,
            None => items.len(),
        };
        items.insert(at, new);
        Ok(vec![Val::Sequence(items)])
    }),
    onnx("SequenceErase", |cx, node| {
        let mut items = cx.sequence(node, 0)?;
        let at = match node.operand(1) {
            Some(_) => position(cx, node, 1, items.len())?,
            None if items.is_empty() => return Err(cx.invalid("the sequence is empty")),
            None => items.len() - 1,
        };
        items.remove(at);
        Ok(vec![Val::Sequence(items)])
    }),
    onnx("SplitToSequence", split),
    onnx("ConcatFromSequence", concat),
    onnx("Optional", |cx, node| match node.operand(0) {
        Some(name) => Ok(vec![cx.meaning(name)?]),
        None => Ok(vec![Val::Nothing]),
    }),
    onnx("OptionalHasElement", |cx, node| {
        let full = match node.operand(0) {
            Some(name) => !matches!(cx.meaning(name)?, Val::Nothing),
            None => false,
        };
        let truth = Tensor::from_wide(DType::Bool, vec![], &Wide::Int(vec![full.into()]));
        Ok(one(cx.constant(truth)))
    }),
    onnx("OptionalGetElement", |cx, node| {
        match cx.meaning(node.required_operand(0)?)? {
            Val::Nothing => Err(cx.invalid("the optional is empty")),
            val => Ok(vec![val]),
        }
    }),
];

impl Cx<'_> {
    /// What a name stands for.
    pub(crate) fn meaning(&mut self, name: &str) -> Result<Val> {
        let val = self.lookup(name);
        val.ok_or_else(|| self.invalid(format!("operand {name:?} is not defined")))
    }

    /// Operand `k`, a sequence.
    pub(crate) fn sequence(&mut self, node: &NodeProto, k: usize) -> Result<Vec<ValueId>> {
        match self.meaning(node.required_operand(k)?)? {
            Val::Sequence(items) => Ok(items),
            _ => Err(self.invalid(format!("operand {k} is not a sequence"))),
        }
    }
}

/// Operand `k` as a position among `count`; negative ones count from the end.
fn position(cx: &mut Cx<'_>, node: &NodeProto, k: usize, count: usize) -> Result<usize> {
    match cx.ints(node, k)?[..] {
        // The end of a list that an element is inserted into is as far from it as its length.
        [at] if at < 0 && node.op_type == "SequenceInsert" => cx.axis(at.saturating_sub(1), count),
        [at] => cx.axis(at, count),
        _ => Err(cx.invalid("the position is not one element")),
    }
}

fn split(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = cx.input(node, 0)?;
    let axis = cx.axis(node.attr_i_or("axis", 0)?, cx.rank(x))?;
    let extent = cx.shape(x)[axis].clone();
    let total = extent.as_const();
    let total = total.ok_or_else(|| cx.unsupported(format!("a split of extent {extent}")))?;
    if total > MAX_ITEMS {
        return Err(cx.unsupported(format!("a split of extent {total}")));
    }
    let chunks = |chunk: i64| {
        let count = total / chunk + i64::from(total % chunk != 0);
        (0..count).map(|k| chunk.min(total - k * chunk)).collect()
    };
    let (parts, keep): (Vec<i64>, bool) = match cx.optional(node, 1)? {
        None => (
            vec![1; total as usize],
            node.attr_bool_or("keepdims", true)?,
        ),
        Some(split) => {
            let parts = cx.ints(node, 1)?;
            match (cx.rank(split), &parts[..]) {
                (0, [chunk]) if *chunk > 0 => (chunks(*chunk), true),
                (1, _) => (parts, true),
                _ => return Err(cx.invalid("split is neither a size nor a list of sizes")),
            }
        }
    };
    let mut start = 0i64;
    let mut items = Vec::new();
    for part in parts {
        let item = cx.slice_axis(x, axis, start, part)?;
        items.push(if keep {
            item
        } else {
            cx.drop_axis(item, axis)?
        });
        start = start.saturating_add(part);
    }
    Ok(vec![Val::Sequence(items)])
}

fn concat(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let mut items = cx.sequence(node, 0)?;
    let Some(first) = items.first() else {
        return Err(cx.invalid("the sequence is empty"));
    };
    let new = node.attr_bool_or("new_axis", false)?;
    let rank = cx.rank(*first) + usize::from(new);
    let axis = node.require_attr("axis", node.attr_i("axis")?)?;
    let axis = cx.axis(axis, rank)?;
    if new {
        for item in &mut items {
            *item = cx.insert_axis(*item, axis)?;
        }
    }
    cx.concat(&items, axis).map(one)
}
