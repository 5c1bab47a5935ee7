//! Control flow: `if` and `loop` become steps with the steps of their subgraphs inside.
use super::{Bound, Builder, Label, Level, Target, kernels};
use crate::error::PassError;
use crate::schedule::task::Task;
use tensmith_ir::define::Site;
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::{Graph, Node, NodeId, TensorType, ValueId};
use tensmith_ir::plan::{Call, SlotId, Step};

/// Why carried values are copied.
const LOOP_STATE: &str = "values that a loop carries are copied to where its body reads them, once \
                          all of their next ones are computed";

/// Why a loop has kernels of its own.
const LOOP_CONTROL: &str = "it is part of the bookkeeping of a loop";

impl Builder<'_> {
    /// The steps of a control node.
    ///
    /// Errors: defects of passes and schedules.
    pub(super) fn control(&mut self, level: &mut Level<'_>, id: NodeId) -> Result<(), PassError> {
        let node = level.graph.node(id);
        match node.op.name {
            "if" => self.branch(level, node),
            "loop" => self.repeat(level, node),
            name => panic!("invariant: `{name}` is not a control op"),
        }
    }

    fn result_slots(&mut self, level: &mut Level<'_>, node: &Node) -> Vec<SlotId> {
        let mut slots = Vec::new();
        for value in &node.outputs {
            let slot = self.result_slot(level, *value);
            level.bound.insert(*value, Bound::Slot(slot));
            slots.push(slot);
        }
        slots
    }

    /// A subgraph that knows the size symbols of the plan.
    fn region(&self, region: &Graph, level: &Level<'_>) -> Graph {
        let mut region = region.clone();
        region.symbols = level.graph.symbols.clone();
        region
    }

    fn branch(&mut self, level: &mut Level<'_>, node: &Node) -> Result<(), PassError> {
        let cond = self.slot_of(level, node.inputs[0])?;
        let captures: Vec<Bound> = node.inputs[1..]
            .iter()
            .map(|v| self.bound(level, *v))
            .collect();
        let slots = self.result_slots(level, node);
        let mut arms = Vec::new();
        for region in &node.regions {
            let region = self.region(region, level);
            let targets = targets(&region.outputs, &slots);
            arms.push(self.graph_steps(&region, captures.clone(), &targets)?);
        }
        let otherwise = arms.pop().expect("invariant: `if` has two regions");
        let then = arms.pop().expect("invariant: `if` has two regions");
        level.steps.push(Step::If {
            cond,
            then,
            otherwise,
        });
        Ok(())
    }

    /// Carried values live in the slots of the loop's results: the body computes their next
    /// values beside them, and copies end the iteration.
    fn repeat(&mut self, level: &mut Level<'_>, node: &Node) -> Result<(), PassError> {
        let carried = node.attrs.int("carried") as usize;
        let label = Label::helper(vec![node.name.clone()], LOOP_STATE);
        let body = self.region(&node.regions[0], level);
        let trip = self.slot_of(level, node.inputs[0])?;
        let results = self.result_slots(level, node);
        let (state, scans) = results.split_at(carried);
        let scalar = |dtype| TensorType::new(dtype, vec![]);
        let counter = self.arena_slot(&format!("{}.counter", node.name), &scalar(DType::I64));
        let cond = self.arena_slot(&format!("{}.cond", node.name), &scalar(DType::Bool));
        let all_state: Vec<SlotId> = [&[cond], state].concat();
        for (to, value) in all_state.iter().zip(&node.inputs[1..]) {
            let from = self.slot_of(level, *value)?;
            let step = self.copy_step(from, *to, label.clone());
            level.steps.push(step);
        }
        let mut inputs = vec![Bound::Slot(counter)];
        inputs.extend(all_state.iter().map(|s| Bound::Slot(*s)));
        let captures = node.inputs[2 + carried..].iter();
        inputs.extend(captures.map(|v| self.bound(level, *v)));
        let next: Vec<SlotId> = body
            .outputs
            .iter()
            .map(|v| self.temporary(&body, *v))
            .collect();
        let mut steps = self.graph_steps(&body, inputs, &targets(&body.outputs, &next))?;
        for (from, to) in next.iter().zip(&all_state) {
            steps.push(self.copy_step(*from, *to, label.clone()));
        }
        for (from, to) in next[1 + carried..].iter().zip(scans) {
            steps.push(self.scan_step(*from, counter, *to, node));
        }
        level.steps.push(Step::Loop {
            trip,
            cond,
            counter,
            body: steps,
        });
        if let Some(scan) = scans.first() {
            let trip = self.plan.slot(*scan).shape[0].clone();
            let kernel = kernels::check_trip(&trip, &self.plan.sizes);
            let step = self.checked_step(kernel, vec![counter], node, "number of iterations");
            level.steps.push(step);
        }
        Ok(())
    }

    fn temporary(&mut self, graph: &Graph, value: ValueId) -> SlotId {
        let v = graph.value(value);
        self.arena_slot(&v.name, &v.ty)
    }

    /// Writes the element of a scan at the counter.
    fn scan_step(&mut self, element: SlotId, counter: SlotId, to: SlotId, node: &Node) -> Step {
        let ty = |slot: SlotId| {
            let s = self.plan.slot(slot);
            TensorType::new(s.dtype, s.shape.clone())
        };
        let kernel = kernels::store_scan(&ty(element), &ty(to), &self.plan.sizes);
        self.checked_step(kernel, vec![element, counter, to], node, "iteration")
    }

    /// A call of a kernel with one check.
    fn checked_step(
        &mut self,
        kernel: tensmith_ir::loops::Kernel,
        args: Vec<SlotId>,
        node: &Node,
        what: &str,
    ) -> Step {
        let kernel = self.scheduled_kernel(Task::new(kernel, vec![]));
        let site_base = self.plan.sites.len() as u32;
        self.plan.sites.push(Site {
            node: node.name.clone(),
            what: what.into(),
        });
        Step::Call(Call {
            kernel,
            args,
            site_base,
            nodes: vec![node.name.clone()],
            alone: LOOP_CONTROL.into(),
        })
    }
}

fn targets(values: &[ValueId], slots: &[SlotId]) -> Vec<Target> {
    let pairs = values.iter().zip(slots);
    pairs
        .map(|(value, slot)| Target {
            slot: *slot,
            value: *value,
        })
        .collect()
}
