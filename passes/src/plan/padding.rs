//! Values that lie inside of others: what is only padded is written where the padded value wants
//! it, so that padding is no copy but a frame around it; and the parts of a concatenation in place
//! are written where its result lies.
//!
//! Requires: a partition of the graph and the layouts of its values.
//! Ensures: only values that kernels alone read and write lie inside of others.
use super::{Bound, Builder, Label, Level, kernels};
use crate::error::PassError;
use crate::partition::{Group, Partition, fixed_values, starts};
use crate::schedule::task::Task;
use std::collections::{HashMap, HashSet};
use tensmith_ir::define::Definition;
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{AttrValue, Def, Graph, Node, TensorType, ValueId};
use tensmith_ir::loops::{BufferId, Cond, Kernel, Layout, Scalar, Scope, Stmt};
use tensmith_ir::ops::Class;
use tensmith_ir::plan::{SlotId, Step};

/// Why a value is copied into its padded one.
const COPIED_INTO_FRAME: &str = "no kernel of this graph makes the value that is padded, or it makes it in another order of \
     elements";
/// Why a part of a concatenation in place is copied there.
const COPIED_PART: &str = "the kernel that makes this part makes others as well, or reads the \
                           whole; the other parts are written where they belong";
/// Why what is around a value in its padded one is a kernel of its own.
const FRAME: &str =
    "the value that is padded lies inside already, and this writes what is around it";

/// Where a value lies inside of a larger one.
#[derive(Clone)]
pub struct Frame {
    /// The larger value.
    pub whole: ValueId,
    /// Elements before the value on each axis.
    pub before: Vec<i64>,
    /// What is around it, if the larger one is padded; else other kernels write that.
    pub fill: Option<f64>,
}

/// The values that are written inside of larger ones. `kept` names those that must have bytes of
/// their own.
pub fn framed_values(
    graph: &Graph,
    partition: &Partition,
    layouts: &HashMap<ValueId, Layout>,
    kept: &dyn Fn(ValueId) -> bool,
) -> HashMap<ValueId, Frame> {
    let seen = fixed_values(graph);
    let apart = |v: ValueId| seen.contains(&v) || kept(v);
    let mut found = HashMap::new();
    for group in partition.groups.values().filter(|g| g.in_place) {
        let fits = |(value, frame): &(ValueId, Frame)| {
            let alike = layouts.get(value) == layouts.get(&frame.whole);
            alike && ![*value, frame.whole].into_iter().any(apart)
        };
        let own = |(value, _): &(ValueId, Frame)| !partition.copied.contains(value);
        let parts = parts_of(graph, group).into_iter();
        found.extend(parts.filter(|p| own(p) && fits(p)));
    }
    keep_operands_apart(graph, partition, &mut found);
    for group in partition.groups.values() {
        let Some((value, frame, _)) = only_pads(graph, group) else {
            continue;
        };
        let made = graph.producer(value).is_some_and(|n| {
            let maker = partition.groups.get(&n);
            maker.is_some_and(|g| graph.node(g.root).op.class != Class::Opaque)
        });
        let alike = layouts.get(&value) == layouts.get(&frame.whole);
        let inside = found.contains_key(&frame.whole);
        // What was padded already is written with its frame.
        let padded = |f: &Frame| f.whole == value && f.fill.is_some();
        let twice = found.values().any(padded);
        let fits = made && alike && !inside && !twice;
        if fits && !apart(value) && !apart(frame.whole) {
            found.entry(value).or_insert(frame);
        }
    }
    found
}

/// Lets no kernel write into a tensor that it reads.
fn keep_operands_apart(graph: &Graph, partition: &Partition, found: &mut HashMap<ValueId, Frame>) {
    for group in partition.groups.values().filter(|g| !g.in_place) {
        let results = &graph.node(group.root).outputs;
        let whole = |mut v: ValueId| {
            while let Some(frame) = found.get(&v) {
                v = frame.whole;
            }
            v
        };
        let read = group.members.iter().flat_map(|id| &graph.node(*id).inputs);
        let wholes: HashSet<ValueId> = read.map(|v| whole(*v)).collect();
        let into = |v: &&ValueId| found.contains_key(v) && wholes.contains(&whole(**v));
        let into: Vec<ValueId> = results.iter().filter(into).copied().collect();
        for value in into {
            found.remove(&value);
        }
    }
}

/// Where the parts of a concatenation in place lie.
fn parts_of(graph: &Graph, group: &Group) -> Vec<(ValueId, Frame)> {
    let node = graph.node(group.root);
    let (whole, axis) = (node.outputs[0], node.attrs.int("axis") as usize);
    let starts = starts(graph, node).unwrap_or_default();
    let parts = node.inputs.iter().zip(starts);
    let frame = |(value, start): (&ValueId, i64)| {
        let mut before = vec![0; graph.ty(whole).rank()];
        before[axis] = start;
        let frame = Frame {
            whole,
            before,
            fill: None,
        };
        (*value, frame)
    };
    parts.map(frame).collect()
}

/// What a group pads, and with which number, if it does nothing else.
pub fn only_pads(graph: &Graph, group: &Group) -> Option<(ValueId, Frame, f64)> {
    let node = graph.node(group.root);
    if group.members.len() > 1 {
        return None;
    }
    let (before, fill) = constant_frame(graph, node)?;
    let (value, padded) = (node.inputs[0], node.outputs[0]);
    let dtype = graph.ty(value).dtype;
    (dtype == DType::F32 || dtype.is_byte()).then_some((
        value,
        Frame {
            whole: padded,
            before,
            fill: Some(fill),
        },
        fill,
    ))
}

/// A naive kernel that also writes the frame around its result, of type `inner`.
pub fn with_frame(mut kernel: Kernel, inner: &TensorType, frame: &Frame) -> Option<Kernel> {
    let (to, _) = kernel.params().find(|(_, b)| b.scope == Scope::Output)?;
    let around = (&inner.shape[..], &frame.before[..]);
    let stmts = kernels::frame_stmts(&mut kernel, to, around, frame.fill?);
    kernel.body.splice(0..0, stmts);
    Some(kernel)
}

impl Level<'_> {
    /// The result of a definition and the frame that it lies in, if it has one result which does.
    pub(super) fn framed_output(&self, definition: &Definition) -> Option<(ValueId, &Frame)> {
        let [value] = definition.outputs[..] else {
            return None;
        };
        let frame = self.framed.get(&value)?;
        frame.fill.map(|_| (value, frame))
    }
}

impl Builder<'_> {
    /// Copies the parts of a concatenation in place that do not lie where they belong; whether it
    /// is one, and has any that does.
    pub(super) fn join_parts(&mut self, level: &mut Level<'_>, group: &Group) -> bool {
        if !group.in_place {
            return false;
        }
        let node = level.graph.node(group.root);
        let parts = parts_of(level.graph, group).into_iter();
        let (inside, apart): (Vec<_>, Vec<_>) = parts.partition(|(v, frame)| {
            let own = level.framed.get(v);
            own.is_some_and(|f| f.whole == frame.whole)
        });
        if inside.is_empty() {
            return false;
        }
        for (value, frame) in apart {
            let step = self.copy_part(level, value, &frame, &node.name);
            level.steps.push(step);
        }
        true
    }

    /// Copies a value to where it belongs in a larger one.
    fn copy_part(&mut self, level: &Level<'_>, value: ValueId, frame: &Frame, node: &str) -> Step {
        let (from, before) = self.place_of(level, value);
        let (to, whole) = self.place_of(level, frame.whole);
        let at: Vec<i64> = whole
            .iter()
            .zip(&frame.before)
            .map(|(a, b)| a + b)
            .collect();
        let slots = [from, to].map(|s| self.plan.slot(s).clone());
        let layouts = (slots[0].layout.clone(), slots[1].layout.clone());
        let ty = level.graph.ty(value);
        let mut kernel = kernels::copy(ty, layouts, &self.plan.sizes);
        let params: Vec<BufferId> = kernel.params().map(|(id, _)| id).collect();
        for ((param, slot), before) in params.into_iter().zip(&slots).zip([before, at]) {
            shift(&mut kernel, param, (&slot.shape, &slot.layout), &before);
        }
        let label = Label::helper(vec![node.into()], COPIED_PART);
        self.helper_step(kernel, vec![from, to], label)
    }

    /// The slot that a value lies in, and how far from its begin on each axis.
    fn place_of(&self, level: &Level<'_>, value: ValueId) -> (SlotId, Vec<i64>) {
        match self.bound(level, value) {
            Bound::Slot(slot) => (slot, vec![0; level.graph.ty(value).rank()]),
            Bound::Framed(slot, before) => (slot, before),
            Bound::Constant(_) => unreachable!("invariant: kernels make the parts"),
        }
    }

    /// Where a result of a kernel is written.
    pub(super) fn new_bound(&mut self, level: &mut Level<'_>, value: ValueId) -> Bound {
        if let Some(known) = level.bound.get(&value) {
            return known.clone();
        }
        let Some(frame) = level.framed.get(&value).cloned() else {
            return Bound::Slot(self.result_slot(level, value));
        };
        let whole = self.new_bound(level, frame.whole);
        level.bound.insert(frame.whole, whole.clone());
        match whole {
            Bound::Framed(slot, before) => {
                let before = before.iter().zip(&frame.before).map(|(a, b)| a + b);
                Bound::Framed(slot, before.collect())
            }
            Bound::Slot(slot) => Bound::Framed(slot, frame.before),
            Bound::Constant(_) => unreachable!("invariant: kernels make what lies inside"),
        }
    }

    /// Whether the padded value lies in another order than the value itself. Then the value is
    /// copied, and its frame is written apart: the copy needs no conditions.
    pub(super) fn converts(&self, level: &Level<'_>, value: ValueId, frame: &Frame) -> bool {
        match (self.bound(level, value), level.layouts.get(&frame.whole)) {
            (Bound::Slot(slot), Some(layout)) => self.plan.slot(slot).layout != *layout,
            _ => false,
        }
    }

    /// Pads a value that lies inside of its padded one, or copies it there.
    pub(super) fn pad(
        &mut self,
        level: &mut Level<'_>,
        (value, frame, fill): (ValueId, &Frame, f64),
        nodes: Vec<String>,
    ) -> Result<(), PassError> {
        if level.complete.contains(&frame.whole) {
            return Ok(());
        }
        let inner = level.graph.ty(value).clone();
        if !level.bound.contains_key(&frame.whole) {
            let to = self.result_slot(level, frame.whole);
            level.bound.insert(frame.whole, Bound::Slot(to));
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
            let stmts = kernels::frame_stmts(&mut whole, result, around, fill);
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
        let Bound::Slot(padded) = level.bound[&frame.whole] else {
            unreachable!("invariant: padded values have slots")
        };
        let kernel = kernels::frame(
            level.graph.ty(frame.whole),
            self.plan.slot(padded).layout.clone(),
            (&inner.shape, &frame.before),
            fill,
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

/// How many elements a node puts before each axis, and which number, if it pads with one.
pub fn constant_frame(graph: &Graph, node: &Node) -> Option<(Vec<i64>, f64)> {
    let constant = matches!(node.attrs.get("mode"), Some(AttrValue::Str(m)) if m == "constant");
    if node.op.name != "pad" || !constant {
        return None;
    }
    let Def::Constant(fill) = &graph.value(node.inputs[1]).def else {
        return None;
    };
    amounts(node, "after")?;
    Some((amounts(node, "before")?, *fill.to_f64().first()?))
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
