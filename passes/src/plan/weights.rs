//! Weights and other operands that are known at run time only: which inputs of a task may be packed,
//! and the copies that pack them.
//!
//! Requires: nodes in the order in which they run.
//! Ensures: a copy runs before the first kernel that reads weights in its layout; others read the same.
use super::{Bound, Builder, Label, Level};
use crate::partition::Group;
use crate::schedule::Scheduled;
use crate::schedule::task::Task;
use tensmith_ir::define::Definition;
use tensmith_ir::graph::{Graph, Node, ValueId};
use tensmith_ir::loops::{BufferId, Layout, Scope};
use tensmith_ir::ops::{Class, Spec};
use tensmith_ir::plan::SlotId;

/// The end of the name of the parameter that says what tile a contraction has.
const TILE: &str = "tile";

/// Why weights are packed.
const PACKED: &str = "it puts an operand that is known at run time only, such as weights, into the order in \
                      which a convolution or a product reads it";

/// What is read less often is not copied: sums along its terms read it as it lies.
const REUSED: i64 = 4;

/// Whether a contraction reads each element of an operand for several results.
fn are_reused(graph: &Graph, node: &Node, value: ValueId) -> bool {
    let spec = Spec::of(&node.attrs);
    let result = spec.out.iter().zip(&graph.ty(node.outputs[0]).shape);
    let reads = |own: &[u8]| -> i64 {
        let others = result.clone().filter(|(c, _)| !own.contains(c));
        others.filter_map(|(_, e)| e.as_const()).product()
    };
    let operands = node.inputs.iter().zip([&spec.a, &spec.b]);
    let mut own = operands.filter(|(v, _)| **v == value);
    own.all(|(_, letters)| reads(letters) >= REUSED)
}

impl Builder<'_> {
    /// The inputs of a task that are known at run time only, and of which it needs nothing but the
    /// weights of convolutions or the operands of contractions: they may be packed before.
    pub(super) fn weights(
        &self,
        level: &Level<'_>,
        group: &Group,
        definition: &Definition,
    ) -> Vec<BufferId> {
        let buffers = definition
            .kernel
            .params()
            .filter(|(_, b)| b.scope == Scope::Input);
        let pairs = buffers.zip(&definition.inputs);
        let weights = pairs.filter(|((_, buffer), v)| {
            let in_memory = matches!(self.bound(level, **v), Bound::Slot(_));
            let known = buffer.count().as_const().is_some();
            let of_contractions = || self.are_operands(level, group, **v);
            in_memory && known && (are_weights(level.graph, group, **v) || of_contractions())
        });
        weights.map(|((id, _), _)| id).collect()
    }

    /// Whether the nodes of a group read a value, or what they move it to, in contractions only that
    /// read each element several times, and none of which has a constant operand, which would be
    /// packed for nothing. Strips read what is turned for them.
    fn are_operands(&self, level: &Level<'_>, group: &Group, value: ValueId) -> bool {
        let graph = level.graph;
        let nodes = group.members.iter().map(|id| graph.node(*id));
        let mut readers = nodes.filter(|n| n.inputs.contains(&value)).peekable();
        let is_constant = |v: &ValueId| {
            let inside = graph
                .producer(*v)
                .is_some_and(|n| group.members.contains(&n));
            !inside && matches!(self.bound(level, *v), Bound::Constant(_))
        };
        let is_read = readers.peek().is_some() && group.strip_rows().is_none();
        is_read
            && readers.all(|n| match n.op.class {
                Class::Movement => (n.outputs.iter()).all(|v| self.are_operands(level, group, *v)),
                _ => {
                    n.op.name == "contract"
                        && !n.inputs.iter().any(is_constant)
                        && are_reused(graph, n, value)
                }
            })
    }

    /// The task over weights that were packed for another one, if it has a tile over these as it has
    /// one over weights of its own.
    pub(super) fn with_packed_weights(
        &self,
        level: &Level<'_>,
        task: &Task,
        definition: &Definition,
    ) -> Option<Task> {
        let (mut shared, mut known) = (task.clone(), false);
        let inputs = task.naive.params();
        let inputs = inputs.filter(|(_, b)| b.scope == Scope::Input);
        let inputs = inputs.zip(&definition.inputs);
        for ((id, _), value) in inputs.filter(|((id, _), _)| task.weights.contains(id)) {
            let Bound::Slot(given) = self.bound(level, *value) else {
                continue;
            };
            let packed = level.packed.iter().filter(|((slot, _), _)| *slot == given);
            let panels = packed.filter(|((_, l), _)| l.0.iter().any(|d| d.extent.is_some()));
            if let Some((_, first)) = panels.min_by_key(|(_, packed)| **packed) {
                shared.naive.buffers[id.0 as usize].layout = self.plan.slot(*first).layout.clone();
                known = true;
            }
        }
        if !known || task.strips.is_some() {
            return None;
        }
        let [own, other] = [task, &shared].map(|t| t.default_schedule(&self.options.target));
        let is_packed = |l: &Layout| l.0.iter().any(|d| d.extent.is_some());
        let packs = |id: &BufferId| is_packed(&own.kernel.buffer(*id).layout);
        let tiles = |s: &Scheduled| {
            let names = s.parameters.iter().map(|p| &p.name);
            names.filter(|n| n.ends_with(TILE)).count()
        };
        let alike = tiles(&own) == tiles(&other) && tiles(&own) > 0;
        (task.weights.iter().all(packs) && alike).then_some(shared)
    }

    /// The slot of weights that are known at run time only in a layout, into which a kernel packs
    /// them before the first that reads them so.
    pub(super) fn packed_slot(
        &mut self,
        level: &mut Level<'_>,
        value: ValueId,
        layout: Layout,
    ) -> SlotId {
        self.copied_slot(level, value, layout, PACKED)
    }

    /// The slot of a value in memory in a layout, into which a kernel copies it before the first that
    /// reads it so; `why` says what for.
    pub(super) fn copied_slot(
        &mut self,
        level: &mut Level<'_>,
        value: ValueId,
        layout: Layout,
        why: &str,
    ) -> SlotId {
        let Bound::Slot(given) = self.bound(level, value) else {
            unreachable!("invariant: what is copied lies in memory")
        };
        if self.plan.slot(given).layout == layout {
            return given;
        }
        let known = level.packed.get(&(given, layout.clone()));
        if let Some(packed) = known {
            return *packed;
        }
        let v = level.graph.value(value);
        let packed = self.arena_slot(&v.name, &v.ty);
        self.plan.slots[packed.0 as usize].layout = layout.clone();
        level.packed.insert((given, layout), packed);
        let nodes = level.graph.producer(value).into_iter();
        let nodes = nodes.map(|id| level.graph.node(id).name.clone());
        let label = Label::helper(nodes.collect(), why);
        let step = self.copy_step(given, packed, label);
        level.steps.push(step);
        packed
    }
}

/// Whether the nodes of a group read a value, or what they move it to, as weights of convolutions
/// only.
fn are_weights(graph: &Graph, group: &Group, value: ValueId) -> bool {
    let nodes = group.members.iter().map(|id| graph.node(*id));
    let mut readers = nodes.filter(|n| n.inputs.contains(&value)).peekable();
    let is_read = readers.peek().is_some();
    is_read
        && readers.all(|n| match n.op.class {
            Class::Movement => n.outputs.iter().all(|v| are_weights(graph, group, *v)),
            _ => n.op.name == "conv" && n.inputs[0] != value && n.inputs[1] == value,
        })
}
