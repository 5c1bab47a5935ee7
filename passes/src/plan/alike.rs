//! Kernels that pass over windows or rows of what they read have lanes along one axis: what they
//! read and what they write lies alike, and copies convert between layouts before and after them.
//!
//! Scalar work and movements convert as they read and write, and so do products, whose recipes know
//! both layouts. But a pool over a row-major image that makes one with channels innermost would have
//! no lanes along which both lie side by side.
//!
//! Requires: a group whose results have their places.
//! Ensures: nothing.
use super::layouts::channels_last;
use super::{Bound, Builder, Label, Level};
use crate::partition::{Group, estimate, is_spatial};
use tensmith_ir::define::Definition;
use tensmith_ir::graph::{Graph, Node, ValueId};
use tensmith_ir::loops::Layout;
use tensmith_ir::ops::Class;
use tensmith_ir::plan::SlotId;

/// So few elements are computed one by one in less time than a copy and a hand-off take.
const FEW_ELEMENTS: f64 = 4096.0;

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
        let shape = &graph.ty(result).shape;
        let is_image = |v: &ValueId| {
            let ty = graph.ty(*v);
            let large = estimate(&ty.count()) > FEW_ELEMENTS;
            is_spatial(ty) && ty.rank() == shape.len() && large
        };
        let images = || definition.inputs.iter().filter(|v| is_image(v));
        let wanted = lies(&result);
        if !is_image(&result) || images().all(|v| lies(v).is_none_or(|l| Some(l) == wanted)) {
            return None;
        }
        // What lies inside of a larger value stays there.
        let layout = match self.bound(level, result) {
            Bound::Slot(_) => lanes(graph, group)?,
            _ => lanes(graph, group).and(wanted)?,
        };
        let slot = |v: &ValueId| match self.bound(level, *v) {
            Bound::Slot(slot) if self.plan.slot(slot).layout != layout => Some(slot),
            _ => None,
        };
        let operands: Vec<ValueId> = images().filter(|v| slot(v).is_some()).copied().collect();
        let result = slot(&result).map(|slot| (result, slot));
        (!operands.is_empty() || result.is_some()).then_some(Turned {
            layout,
            operands,
            result,
        })
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
        level.bound.extend(before);
    }
}

/// The layout in which the kernel of a group has its lanes: along positions where rows of these are
/// summed up, else along channels; `None` if it converts as it reads and writes.
fn lanes(graph: &Graph, group: &Group) -> Option<Layout> {
    let nodes = || group.members.iter().map(|id| graph.node(*id));
    let converts = |n: &Node| {
        matches!(n.op.class, Class::Contraction | Class::Control) || n.op.name == "transpose"
    };
    if group.strips.is_some() || group.in_place || nodes().any(converts) {
        return None;
    }
    let rank = graph.ty(graph.node(group.root).outputs[0]).rank();
    let rows = |n: &Node| -> Option<Vec<usize>> {
        let axes =
            n.op.row_axes
                .map(|axes| axes(&n.attrs, graph.ty(n.inputs[0]).rank()));
        axes.filter(|_| matches!(n.op.class, Class::Row | Class::Reduction))
    };
    if nodes().any(|n| rows(n).is_some_and(|axes| axes.contains(&(rank - 1)))) {
        return Some(Layout::row_major(rank));
    }
    let windows = |n: &Node| match n.op.class {
        Class::Row | Class::Reduction => true,
        _ => n.op.name == "resize" || n.op.name == "pad" && is_mirrored(n),
    };
    nodes().any(windows).then(|| channels_last(rank))
}

/// Whether what is outside of an image is made of its elements.
fn is_mirrored(pad: &Node) -> bool {
    pad.attrs.str("mode") != "constant"
}
