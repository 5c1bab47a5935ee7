//! Values that are only padded: written where the padded value wants them, so that padding is no
//! copy but a frame around them.
//!
//! Requires: a partition of the graph and the layouts of its values.
//! Ensures: only values that kernels alone read and write lie inside of others.
use super::layouts::fixed_values;
use super::{Bound, Builder, Label, Level, kernels};
use crate::error::PassError;
use crate::partition::{Group, Partition};
use crate::schedule::task::Task;
use std::collections::HashMap;
use tensmith_ir::define::Definition;
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{AttrValue, Def, Graph, Node, TensorType, ValueId};
use tensmith_ir::loops::{BufferId, Cond, Kernel, Layout, Scalar, Scope, Stmt};
use tensmith_ir::ops::Class;

/// Why a value is copied into its padded one.
const COPIED_INTO_FRAME: &str = "no kernel of this graph makes the value that is padded, or it makes it in another order of \
     elements";
/// Why what is around a value in its padded one is a kernel of its own.
const FRAME: &str =
    "the value that is padded lies inside already, and this writes what is around it";

/// Where a value lies inside of its padded one.
#[derive(Clone)]
pub struct Frame {
    /// The padded value.
    pub padded: ValueId,
    /// Elements before the value on each axis.
    pub before: Vec<i64>,
    /// What is around it.
    pub fill: f64,
}

/// The values that are written inside of their padded ones. `kept` names those that must have
/// bytes of their own.
pub fn framed_values(
    graph: &Graph,
    partition: &Partition,
    layouts: &HashMap<ValueId, Layout>,
    kept: &dyn Fn(ValueId) -> bool,
) -> HashMap<ValueId, Frame> {
    let seen = fixed_values(graph);
    let mut found = HashMap::new();
    for group in partition.groups.values() {
        let Some((value, frame)) = only_pads(graph, group) else {
            continue;
        };
        let apart = |v: ValueId| seen.contains(&v) || kept(v);
        let made = graph.producer(value).is_some_and(|n| {
            let maker = partition.groups.get(&n);
            maker.is_some_and(|g| graph.node(g.root).op.class != Class::Opaque)
        });
        let alike = layouts.get(&value) == layouts.get(&frame.padded);
        if made && alike && !apart(value) && !apart(frame.padded) {
            found.entry(value).or_insert(frame);
        }
    }
    found
}

/// What a group pads, if it does nothing else.
pub fn only_pads(graph: &Graph, group: &Group) -> Option<(ValueId, Frame)> {
    let node = graph.node(group.root);
    let constant = matches!(node.attrs.get("mode"), Some(AttrValue::Str(m)) if m == "constant");
    if group.members.len() > 1 || node.op.name != "pad" || !constant {
        return None;
    }
    let (value, padded) = (node.inputs[0], node.outputs[0]);
    let Def::Constant(fill) = &graph.value(node.inputs[1]).def else {
        return None;
    };
    let before = amounts(node, "before")?;
    amounts(node, "after")?;
    let fill = *fill.to_f64().first()?;
    (graph.ty(value).dtype == DType::F32).then_some((
        value,
        Frame {
            padded,
            before,
            fill,
        },
    ))
}

/// A naive kernel that also writes the frame around its result, of type `inner`.
pub fn with_frame(mut kernel: Kernel, inner: &TensorType, frame: &Frame) -> Option<Kernel> {
    let (to, _) = kernel.params().find(|(_, b)| b.scope == Scope::Output)?;
    let around = (&inner.shape[..], &frame.before[..]);
    let stmts = kernels::frame_stmts(&mut kernel, to, around, frame.fill);
    kernel.body.splice(0..0, stmts);
    Some(kernel)
}

impl Level<'_> {
    /// The result of a definition and the frame that it lies in, if it has one result which does.
    pub(super) fn framed_output(&self, definition: &Definition) -> Option<(ValueId, &Frame)> {
        let [value] = definition.outputs[..] else {
            return None;
        };
        Some((value, self.framed.get(&value)?))
    }
}

impl Builder<'_> {
    /// Where a result of a kernel is written.
    pub(super) fn new_bound(&mut self, level: &mut Level<'_>, value: ValueId) -> Bound {
        let Some(frame) = level.framed.get(&value).cloned() else {
            return Bound::Slot(self.result_slot(level, value));
        };
        let slot = self.result_slot(level, frame.padded);
        level.bound.insert(frame.padded, Bound::Slot(slot));
        Bound::Framed(slot, frame.before)
    }

    /// Whether the padded value lies in another order than the value itself. Then the value is
    /// copied, and its frame is written apart: the copy needs no conditions.
    pub(super) fn converts(&self, level: &Level<'_>, value: ValueId, frame: &Frame) -> bool {
        match (self.bound(level, value), level.layouts.get(&frame.padded)) {
            (Bound::Slot(slot), Some(layout)) => self.plan.slot(slot).layout != *layout,
            _ => false,
        }
    }

    /// Pads a value that lies inside of its padded one, or copies it there.
    pub(super) fn pad(
        &mut self,
        level: &mut Level<'_>,
        value: ValueId,
        frame: &Frame,
        nodes: Vec<String>,
    ) -> Result<(), PassError> {
        if level.complete.contains(&frame.padded) {
            return Ok(());
        }
        let inner = level.graph.ty(value).clone();
        if !level.bound.contains_key(&frame.padded) {
            let to = self.result_slot(level, frame.padded);
            level.bound.insert(frame.padded, Bound::Slot(to));
            let from = self.slot_of(level, value)?;
            let slot = self.plan.slot(to);
            let layouts = (self.plan.slot(from).layout.clone(), slot.layout.clone());
            let mut kernel = kernels::copy(&inner, layouts, &self.plan.sizes);
            let (result, _) = kernel
                .params()
                .last()
                .expect("invariant: copies have a result");
            let padded = (&slot.shape[..], &slot.layout);
            shift(&mut kernel, result, padded, &frame.before);
            let around = (&inner.shape[..], &frame.before[..]);
            let mut whole = kernel.clone();
            let stmts = kernels::frame_stmts(&mut whole, result, around, frame.fill);
            whole.body.splice(0..0, stmts);
            if let Some(kernel) = self.nest_of_all(Task::new(whole, vec![])) {
                let label = Label::helper(nodes, COPIED_INTO_FRAME);
                let step = self.step(kernel, vec![from, to], label);
                level.steps.push(step);
                return Ok(());
            }
            let label = Label::helper(nodes.clone(), COPIED_INTO_FRAME);
            let step = self.helper_step(kernel, vec![from, to], label);
            level.steps.push(step);
        }
        let Bound::Slot(padded) = level.bound[&frame.padded] else {
            unreachable!("invariant: padded values have slots")
        };
        let kernel = kernels::frame(
            level.graph.ty(frame.padded),
            self.plan.slot(padded).layout.clone(),
            (&inner.shape, &frame.before),
            frame.fill,
            &self.plan.sizes,
        );
        let label = Label::helper(nodes, FRAME);
        let step = self.helper_step(kernel, vec![padded], label);
        level.steps.push(step);
        Ok(())
    }
}

/// Static amounts of padding, none of which crops.
fn amounts(node: &Node, name: &str) -> Option<Vec<i64>> {
    let Some(AttrValue::Dims(dims)) = node.attrs.get(name) else {
        return None;
    };
    let amount = |e: &Expr| e.as_const().filter(|n| *n >= 0);
    dims.iter().map(amount).collect()
}

/// Lets a kernel find a parameter inside of a larger tensor, `before` elements from its begin on
/// each axis.
pub fn shift(
    kernel: &mut Kernel,
    param: BufferId,
    (shape, layout): (&[Expr], &Layout),
    before: &[i64],
) {
    let buffer = &mut kernel.buffers[param.0 as usize];
    buffer.shape = shape.to_vec();
    buffer.layout = layout.clone();
    shift_stmts(&mut kernel.body, param, before);
}

fn shift_stmts(stmts: &mut [Stmt], param: BufferId, before: &[i64]) {
    for stmt in stmts {
        match stmt {
            Stmt::Store {
                buffer,
                index,
                value,
            } => {
                if *buffer == param {
                    shift_index(index, before);
                }
                shift_scalar(value, param, before);
            }
            Stmt::If {
                cond: Cond::Scalar(s),
                ..
            } => shift_scalar(s, param, before),
            Stmt::Check { value, .. } => shift_scalar(value, param, before),
            Stmt::While { cond, .. } => shift_scalar(cond, param, before),
            Stmt::For(_) | Stmt::If { .. } => {}
        }
        for body in stmt.bodies_mut() {
            shift_stmts(body, param, before);
        }
    }
}

fn shift_scalar(scalar: &mut Scalar, param: BufferId, before: &[i64]) {
    if let Scalar::Load(buffer, index) = scalar
        && *buffer == param
    {
        shift_index(index, before);
    }
    for child in scalar.children_mut() {
        shift_scalar(child, param, before);
    }
}

fn shift_index(index: &mut [Expr], before: &[i64]) {
    for (e, n) in index.iter_mut().zip(before) {
        *e = e.clone() + *n;
    }
}
