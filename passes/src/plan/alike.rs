//! Kernels that pass over windows or rows of what they read have lanes along one axis: what they
//! read and what they write lies alike, and copies convert between layouts before and after them,
//! where these are predicted to take less than elements one by one.
//!
//! Scalar work and movements convert as they read and write, and so do products, whose recipes know
//! both layouts. But a pool over a row-major image that makes one with channels innermost would have
//! no lanes along which both lie side by side. Nor has what joins channels: guards tell its lanes apart.
//!
//! Requires: a group whose results have their places.
//! Ensures: nothing.
use super::layouts::channels_last;
use super::{Bound, Builder, Label, Level};
use crate::cost::Pass;
use crate::partition::{COPY, Group, estimate, is_mirrored, is_spatial};
use tensmith_ir::define::Definition;
use tensmith_ir::graph::{AttrValue, Graph, Node, ValueId};
use tensmith_ir::loops::Layout;
use tensmith_ir::ops::Class;
use tensmith_ir::plan::SlotId;

/// Units: cycles of a tap of a window, or of a step of a row, without lanes.
const ONE_BY_ONE: f64 = 4.0;
/// Steps of an element of a row: two statistics at most, and what is made of both.
const STEPS_OF_ROW: f64 = 3.0;

/// Why a value is copied.
const TURNED: &str = "it puts a value into the order in which the kernel beside it has its lanes";

/// The values of a kernel that lie otherwise than it has its lanes.
pub(super) struct Turned {
    layout: Layout,
    operands: Vec<ValueId>,
    /// The result, and the slot where it is wanted.
    result: Option<(ValueId, SlotId)>,
}

impl Builder<'_> {
    /// What has to be converted around the kernel of a group; nothing if that can be left to it.
    pub(super) fn turned(
        &self,
        level: &Level<'_>,
        group: &Group,
        definition: &Definition,
    ) -> Option<Turned> {
        let graph = level.graph;
        let [result] = definition.outputs[..] else {
            return None;
        };
        let lies = |v: &ValueId| match self.bound(level, *v) {
            Bound::Slot(slot) | Bound::Framed(slot, _) => Some(self.plan.slot(slot).layout.clone()),
            Bound::Constant(_) => None,
        };
        let rank = graph.ty(result).rank();
        let is_image = |v: &ValueId| is_spatial(graph.ty(*v)) && graph.ty(*v).rank() == rank;
        let images = || definition.inputs.iter().filter(|v| is_image(v));
        let wanted = lies(&result).filter(|_| is_image(&result));
        let mut all = images().filter_map(lies).chain(wanted.clone());
        let first = all.next()?;
        if all.all(|layout| layout == first) {
            return None;
        }
        let turned = |layout: Layout| {
            let slot = |v: &ValueId| match self.bound(level, *v) {
                Bound::Slot(slot) if self.plan.slot(slot).layout != layout => Some(slot),
                _ => None,
            };
            let operands: Vec<ValueId> = images().filter(|v| slot(v).is_some()).copied().collect();
            let result = slot(&result)
                .filter(|_| is_image(&result))
                .map(|slot| (result, slot));
            let copied = operands.iter().chain(result.iter().map(|(v, _)| v));
            let cycles: f64 = copied.map(|v| self.copy_cycles(graph, *v)).sum();
            let turned = Turned {
                layout,
                operands,
                result,
            };
            (cycles, turned)
        };
        // What lies inside of a larger value stays there.
        let layouts = match (self.bound(level, result), lanes(graph, group)) {
            (Bound::Slot(_), layouts) => layouts,
            (_, layouts) if layouts.is_empty() => layouts,
            _ => lies(&result).into_iter().collect(),
        };
        let (copies, turned) = (layouts.into_iter().map(turned))
            .filter(|(cycles, _)| *cycles > 0.0)
            .min_by(|a, b| a.0.total_cmp(&b.0))?;
        (copies < ONE_BY_ONE * steps(graph, group)).then_some(turned)
    }

    /// Units: cycles of a copy of a value to another layout, and of the hand-off to the next kernel.
    fn copy_cycles(&self, graph: &Graph, value: ValueId) -> f64 {
        let target = &self.options.target;
        let ty = graph.ty(value);
        let elements = estimate(&ty.count());
        let pass = Pass {
            elements,
            operations: COPY,
            lanes: target.lanes(),
            bytes: 2.0 * elements * ty.dtype.bytes() as f64,
        };
        target.cost.pass_cycles(&pass) + target.cost.hand_off_cycles()
    }

    /// Copies the operands, and binds them and the result to slots of the kernel's own; gives what
    /// they were bound to.
    pub(super) fn turn(&mut self, level: &mut Level<'_>, turned: &Turned) -> Vec<(ValueId, Bound)> {
        let mut before = Vec::new();
        for value in &turned.operands {
            let copy = self.copied_slot(level, *value, turned.layout.clone(), TURNED);
            before.push((*value, self.bound(level, *value)));
            level.bound.insert(*value, Bound::Slot(copy));
        }
        if let Some((value, _)) = turned.result {
            let v = level.graph.value(value);
            let own = self.arena_slot(&v.name, &v.ty);
            self.plan.slots[own.0 as usize].layout = turned.layout.clone();
            before.push((value, self.bound(level, value)));
            level.bound.insert(value, Bound::Slot(own));
        }
        before
    }

    /// Binds the values as before, and copies the result to where it is wanted.
    pub(super) fn turn_back(
        &mut self,
        level: &mut Level<'_>,
        turned: &Turned,
        before: Vec<(ValueId, Bound)>,
        nodes: Vec<String>,
    ) {
        if let Some((value, wanted)) = turned.result
            && let Bound::Slot(own) = self.bound(level, value)
        {
            let step = self.copy_step(own, wanted, Label::helper(nodes, TURNED));
            level.steps.push(step);
        }
        // In reverse: what a value that was bound twice had first is what it gets back.
        level.bound.extend(before.into_iter().rev());
    }
}

/// The layouts in which the kernel of a group has its lanes: along positions where rows of these are
/// summed up, along channels in other windows, and along either where channels are joined; none if it
/// converts as it reads and writes.
fn lanes(graph: &Graph, group: &Group) -> Vec<Layout> {
    let nodes = || group.members.iter().map(|id| graph.node(*id));
    let converts = |n: &Node| {
        matches!(n.op.class, Class::Contraction | Class::Control) || n.op.name == "transpose"
    };
    if group.strips.is_some() || group.in_place || nodes().any(converts) {
        return vec![];
    }
    let rank = graph.ty(graph.node(group.root).outputs[0]).rank();
    let rows = |n: &Node| -> Option<Vec<usize>> {
        let axes =
            n.op.row_axes
                .map(|axes| axes(&n.attrs, graph.ty(n.inputs[0]).rank()));
        axes.filter(|_| matches!(n.op.class, Class::Row | Class::Reduction))
    };
    if nodes().any(|n| rows(n).is_some_and(|axes| axes.contains(&(rank - 1)))) {
        return vec![Layout::row_major(rank)];
    }
    match nodes().any(|n| has_lanes(n) && !joins(n)) {
        true => vec![channels_last(rank)],
        false if nodes().any(joins) => vec![channels_last(rank), Layout::row_major(rank)],
        false => vec![],
    }
}

/// Whether lanes of a node run along one axis of what it reads and makes.
fn has_lanes(n: &Node) -> bool {
    match n.op.class {
        Class::Row | Class::Reduction => true,
        _ => match n.op.name {
            "resize" => true,
            _ => is_mirrored(n) || joins(n),
        },
    }
}

/// Whether a node joins channels.
fn joins(n: &Node) -> bool {
    n.op.name == "concat" && n.attrs.int("axis") == 1
}

/// The taps of windows and the steps of rows of a group.
fn steps(graph: &Graph, group: &Group) -> f64 {
    let nodes = group.members.iter().map(|id| graph.node(*id));
    let steps = |n: &Node| {
        let count = |v: &ValueId| estimate(&graph.ty(*v).count());
        let made = count(&n.outputs[0]);
        let most = n.inputs.iter().map(count).fold(made, f64::max);
        match n.attrs.get("kernel") {
            Some(AttrValue::Ints(taps)) => made * taps.iter().product::<i64>() as f64,
            _ if matches!(n.op.class, Class::Row | Class::Reduction) => STEPS_OF_ROW * most,
            _ => most,
        }
    };
    nodes.filter(|n| has_lanes(n)).map(steps).sum()
}
