//! From a group to the task that is scheduled: the naive kernel over the layouts of what it reads
//! and writes.
use super::padding::{constant_frame, shift, with_frame};
use super::{Bound, Builder, Level};
use crate::partition::Group;
use crate::schedule::task::{STRIP_ROWS, StripSizes, Task};
use tensmith_ir::define::Definition;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Graph, ValueId};
use tensmith_ir::loops::{BufferId, Kernel, Scope};

/// A frame is wide if it adds one in so many elements to an axis: of 14 rows, two are skipped by a tap.
/// A direct 3x3 convolution of 256 channels takes 0.955 of its time then.
const WIDE: i64 = 7;

impl Builder<'_> {
    /// The task of a group whose results have their places; and the one that also writes the frame
    /// around its result, with the padded value, if the result lies inside of one.
    pub(super) fn tasks(
        &self,
        level: &Level<'_>,
        group: &Group,
        definition: &Definition,
    ) -> (Task, Option<(Task, ValueId)>) {
        let frame = level.framed_output(definition);
        let plain = |d: &Definition| Some(self.laid_out(level, d));
        let framed = |d: &Definition| {
            let (value, frame) = frame?;
            with_frame(self.laid_out(level, d), level.graph.ty(value), frame)
        };
        let task = |form: &dyn Fn(&Definition) -> Option<Kernel>| {
            let packable = self.packable(level, definition);
            let weights = self.weights(level, group, definition);
            let mut task = Task::new(form(definition)?, packable).with_weights(weights);
            if let Some(rows) = group.strip_rows()
                && self.wants_strip_sizes(&task)
            {
                let others = other_strips(level.graph, group, form);
                task.strips = StripSizes::new(&task.naive, rows, others);
            }
            Some(task)
        };
        let whole = frame.and_then(|(_, frame)| Some((task(&framed)?, frame.whole)));
        let own = task(&plain).expect("invariant: every definition has a plain form");
        (own, whole)
    }

    /// Whether a task needs its kernels with strips of other sizes.
    fn wants_strip_sizes(&self, task: &Task) -> bool {
        let tuned = || {
            let values = self.options.tuned.as_ref()?.values(&task.to_string())?;
            values.get(STRIP_ROWS).map(drop)
        };
        self.options.spaces || tuned().is_some()
    }

    /// The naive kernel of a task over the layouts of the slots that it reads and writes.
    fn laid_out(&self, level: &Level<'_>, definition: &Definition) -> Kernel {
        let mut kernel = definition.kernel.clone();
        let (mut inputs, mut outputs) = (definition.inputs.iter(), definition.outputs.iter());
        let params: Vec<(BufferId, Scope)> = kernel.params().map(|(id, b)| (id, b.scope)).collect();
        for (id, scope) in params {
            let value = match scope {
                Scope::Input => inputs.next(),
                _ => outputs.next(),
            };
            let value = value.expect("invariant: definitions have their parameters");
            match self.bound(level, *value) {
                Bound::Slot(slot) => {
                    let buffer = &mut kernel.buffers[id.0 as usize];
                    buffer.layout = self.plan.slot(slot).layout.clone();
                    if scope == Scope::Input {
                        buffer.nonzero = widely_padded(level.graph, *value).unwrap_or_default();
                    }
                }
                Bound::Framed(slot, before) => {
                    let slot = self.plan.slot(slot);
                    shift(&mut kernel, id, (&slot.shape, &slot.layout), &before);
                }
                Bound::Constant(_) => {}
            }
        }
        kernel
    }

    /// The inputs of a task that are constants: their layout may change.
    fn packable(&self, level: &Level<'_>, definition: &Definition) -> Vec<BufferId> {
        let buffers = definition
            .kernel
            .params()
            .filter(|(_, b)| b.scope == Scope::Input);
        let pairs = buffers.zip(&definition.inputs);
        let constant = pairs.filter(|(_, v)| matches!(self.bound(level, **v), Bound::Constant(_)));
        constant.map(|((id, _), _)| id).collect()
    }
}

/// Where elements of a value that is 0 in a wide frame may not be 0: where much
/// is added to an axis, windows have terms of which none counts.
fn widely_padded(graph: &Graph, value: ValueId) -> Option<Vec<(i64, i64)>> {
    let node = graph.node(graph.producer(value)?);
    let (before, _) = constant_frame(graph, node).filter(|(_, fill)| *fill == 0.0)?;
    let known = |shape: &[Expr]| -> Option<Vec<i64>> { shape.iter().map(Expr::as_const).collect() };
    let [inner, whole] = [node.inputs[0], value].map(|v| known(&graph.ty(v).shape));
    let (inner, whole) = (inner?, whole?);
    let mut wide = inner.iter().zip(&whole);
    let is_wide = wide.any(|(inner, whole)| (whole - inner) * WIDE >= *inner);
    let range = |(from, extent): (i64, &i64)| (from, from + extent);
    is_wide.then(|| before.into_iter().zip(&inner).map(range).collect())
}

/// Forms of the definitions of a group with strips of other sizes.
fn other_strips(
    graph: &Graph,
    group: &Group,
    form: &dyn Fn(&Definition) -> Option<Kernel>,
) -> Vec<(i64, Kernel)> {
    let rows = group.other_strip_rows(graph).into_iter();
    rows.filter_map(|rows| Some((rows, form(&group.with_strip_rows(rows).define(graph))?)))
        .collect()
}
