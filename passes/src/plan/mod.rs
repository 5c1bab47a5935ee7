//! Building a plan: kernels, slots and steps for every group of a partition.
//!
//! Requires: a graph whose size symbols all have bounds.
//! Ensures: every value that crosses a group lies in a slot; views of a value share its bytes;
//! results of the model are written in place where a kernel makes them.
mod alike;
mod constants;
mod control;
mod kernels;
mod layouts;
mod padding;
mod tasks;
mod weights;

use crate::barriers::insert_barriers;
use crate::choice::{Choice, note};
use crate::error::PassError;
use crate::memory::{StorageId, order_by_waves, place_arena, share_places};
use crate::partition::{Group, partition, streams_of};
use crate::pipeline::PassOptions;
use crate::schedule::Schedule;
use crate::schedule::task::Task;
use crate::split::{Split, split_constants};
use constants::{Constants, Origin};
use layouts::choose_layouts;
use padding::{Frame, framed_values, only_pads};
use std::collections::{HashMap, HashSet};
use tensmith_ir::define::Definition;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Def, Graph, NodeId, TensorType, ValueId};
use tensmith_ir::loops::{Kernel, Layout, Scope};
use tensmith_ir::ops::Lower;
use tensmith_ir::plan::{Call, KernelId, Place, Plan, Port, SizeParam, Slot, SlotId, Step};

/// Why a result of the graph is copied.
const COPIED_RESULT: &str = "no kernel writes the result in place: it is an input, a constant, \
                             another result as well, or wanted in another order of elements";

/// Where a value of a graph is.
#[derive(Clone)]
enum Bound {
    /// In memory.
    Slot(SlotId),
    /// Inside of the larger tensor in a slot, so many elements from its begin on each axis.
    Framed(SlotId, Vec<i64>),
    /// A constant; it gets slots as kernels ask for layouts.
    Constant(Origin),
}

/// One graph (the model's or a subgraph) while its steps are made.
struct Level<'g> {
    graph: &'g Graph,
    bound: HashMap<ValueId, Bound>,
    /// The layouts of values that are not row-major.
    layouts: HashMap<ValueId, Layout>,
    /// The values that lie inside of larger ones.
    framed: HashMap<ValueId, Frame>,
    /// The padded values whose frames are written.
    complete: HashSet<ValueId>,
    /// Where kernels write values that are results of the graph.
    direct: HashMap<ValueId, StorageId>,
    /// The slots of weights that were packed.
    packed: HashMap<(SlotId, Layout), SlotId>,
    steps: Vec<Step>,
}

/// What a call says of its kernel.
#[derive(Clone, Default)]
struct Label {
    /// The names of the nodes that it computes.
    nodes: Vec<String>,
    /// Why it stands alone; empty if it computes what other kernels join.
    alone: String,
}

impl Label {
    /// That of a copy, or of other bookkeeping.
    fn helper(nodes: Vec<String>, why: &str) -> Self {
        Label {
            nodes,
            alone: why.into(),
        }
    }
}

/// What a graph's results must be written to.
struct Target {
    slot: SlotId,
    value: ValueId,
}

/// Builds one plan.
pub struct Builder<'o> {
    options: &'o PassOptions,
    plan: Plan,
    storage_of: Vec<StorageId>,
    storages: u32,
    /// How each kernel of the plan came about.
    schedules: Vec<Schedule>,
    /// What naive kernels became, by their names.
    kernels: HashMap<String, Vec<KernelId>>,
    constants: Constants,
    /// In a plan that prepares constants: the layouts of its outputs.
    layouts: Option<Vec<Layout>>,
    /// What tuning may choose otherwise.
    choices: Vec<Choice>,
}

impl<'o> Builder<'o> {
    /// Plans a graph; also gives the schedule of each kernel.
    ///
    /// Errors: a size that no input states; defects of passes and schedules.
    pub fn build(
        graph: &Graph,
        options: &'o PassOptions,
    ) -> Result<(Plan, Vec<Schedule>), PassError> {
        let builder = Self::build_plan(graph, options, None)?;
        Ok((builder.plan, builder.schedules))
    }

    /// What tuning may choose otherwise where a graph is planned.
    ///
    /// Errors: as [`Builder::build`].
    pub fn choices(graph: &Graph, options: &'o PassOptions) -> Result<Vec<Choice>, PassError> {
        Ok(Self::build_plan(graph, options, None)?.choices)
    }

    /// Plans a graph of constants only, with outputs of given layouts.
    fn build_constants(
        graph: &Graph,
        options: &'o PassOptions,
        layouts: Vec<Layout>,
    ) -> Result<Plan, PassError> {
        Ok(Self::build_plan(graph, options, Some(layouts))?.plan)
    }

    fn build_plan(
        graph: &Graph,
        options: &'o PassOptions,
        layouts: Option<Vec<Layout>>,
    ) -> Result<Self, PassError> {
        let mut builder = Builder {
            options,
            plan: Plan {
                name: graph.name.clone(),
                sizes: size_params(graph)?,
                inputs: graph.inputs.iter().map(|v| port(graph, *v, None)).collect(),
                outputs: graph
                    .outputs
                    .iter()
                    .zip(&graph.output_names)
                    .map(|(v, name)| port(graph, *v, Some(name)))
                    .collect(),
                ..Plan::default()
            },
            storage_of: vec![],
            storages: 0,
            schedules: vec![],
            kernels: HashMap::new(),
            constants: Constants::default(),
            layouts,
            choices: vec![],
        };
        let inputs = builder.input_slots();
        let targets = builder.output_slots(graph);
        builder.plan.steps = builder.graph_steps(graph, inputs, &targets)?;
        builder.plan.prepare = builder.prepare_plan()?;
        share_places(&builder.plan, &mut builder.storage_of);
        let waves = match options.target.threads {
            ..2 => vec![],
            _ => order_by_waves(&mut builder.plan, &builder.storage_of),
        };
        place_arena(&mut builder.plan, &builder.storage_of, &waves);
        insert_barriers(&mut builder.plan);
        Ok(builder)
    }

    fn input_slots(&mut self) -> Vec<Bound> {
        let ports = self.plan.inputs.clone();
        let slot =
            |(k, p): (usize, &Port)| Bound::Slot(self.place_slot(&p.name, &p.ty, Place::Input(k)));
        ports.iter().enumerate().map(slot).collect()
    }

    fn output_slots(&mut self, graph: &Graph) -> Vec<Target> {
        let ports = self.plan.outputs.clone();
        let mut targets = Vec::new();
        for (k, p) in ports.iter().enumerate() {
            let slot = self.place_slot(&p.name, &p.ty, Place::Output(k));
            if let Some(layouts) = &self.layouts {
                self.plan.slots[slot.0 as usize].layout = layouts[k].clone();
            }
            let value = graph.outputs[k];
            targets.push(Target { slot, value });
        }
        targets
    }

    /// A row-major slot with bytes of its own in the arena.
    fn arena_slot(&mut self, name: &str, ty: &TensorType) -> SlotId {
        self.place_slot(name, ty, Place::Arena(0.into()))
    }

    /// A row-major slot with bytes of its own.
    fn place_slot(&mut self, name: &str, ty: &TensorType, place: Place) -> SlotId {
        self.storages += 1;
        let layout = Layout::row_major(ty.rank());
        self.push_slot(name, ty, layout, place, StorageId(self.storages - 1))
    }

    /// A row-major view of the bytes of another slot.
    fn alias_slot(&mut self, name: &str, ty: &TensorType, of: SlotId) -> SlotId {
        let place = self.plan.slot(of).place.clone();
        let storage = self.storage_of[of.0 as usize];
        self.push_slot(name, ty, Layout::row_major(ty.rank()), place, storage)
    }

    fn push_slot(
        &mut self,
        name: &str,
        ty: &TensorType,
        layout: Layout,
        place: Place,
        storage: StorageId,
    ) -> SlotId {
        self.plan.slots.push(Slot {
            name: name.into(),
            dtype: ty.dtype,
            shape: ty.shape.clone(),
            layout,
            place,
        });
        self.storage_of.push(storage);
        SlotId(self.plan.slots.len() as u32 - 1)
    }

    /// The steps of a graph whose inputs are bound; its results go to the targets.
    fn graph_steps(
        &mut self,
        graph: &Graph,
        mut inputs: Vec<Bound>,
        targets: &[Target],
    ) -> Result<Vec<Step>, PassError> {
        let split = match self.layouts {
            Some(_) => Split::nothing(graph),
            None => {
                let streamed = streams_of(graph);
                split_constants(graph, &mut self.constants.graph, &streamed)?
            }
        };
        inputs.extend(
            split
                .prepared
                .iter()
                .map(|v| Bound::Constant(Origin::Prepared(*v))),
        );
        let graph = &split.main;
        let mut level = Level {
            graph,
            bound: graph.inputs.iter().copied().zip(inputs).collect(),
            layouts: HashMap::new(),
            framed: HashMap::new(),
            complete: HashSet::new(),
            direct: HashMap::new(),
            packed: HashMap::new(),
            steps: vec![],
        };
        let values = graph.outputs.iter().zip(targets);
        let targets: Vec<Target> = values
            .map(|(value, t)| Target {
                slot: t.slot,
                value: *value,
            })
            .collect();
        let copied = self.assign_targets(&mut level, &targets);
        let partition = partition(graph, self.options);
        for choice in &partition.choices {
            note(&mut self.choices, choice.clone());
        }
        level.layouts = choose_layouts(graph, &partition, self.options, &mut self.choices);
        let kept = |v| level.direct.contains_key(&v);
        level.framed = framed_values(graph, &partition, &level.layouts, &kept);
        for id in graph.node_ids() {
            let node = graph.node(id);
            match (node.op.lower, partition.groups.get(&id)) {
                _ if partition.is_inside(id) => {}
                (Lower::View, _) => self.view(&mut level, id)?,
                (Lower::Plan, _) => self.control(&mut level, id)?,
                (_, Some(group)) => {
                    let alone = partition.alone(graph, group).unwrap_or_default();
                    self.group(&mut level, group, alone)?;
                }
                (_, None) => {}
            }
        }
        for k in copied {
            let from = self.slot_of(&level, targets[k].value)?;
            let label = Label::helper(vec![], COPIED_RESULT);
            let step = self.copy_step(from, targets[k].slot, label);
            level.steps.push(step);
        }
        Ok(level.steps)
    }

    /// Lets kernels write results in place; gives the targets that need a copy.
    fn assign_targets(&mut self, level: &mut Level<'_>, targets: &[Target]) -> Vec<usize> {
        let mut copied = Vec::new();
        for (k, target) in targets.iter().enumerate() {
            let base = base_value(level.graph, target.value);
            let made = level.graph.producer(base).is_some();
            let slot = self.plan.slot(target.slot);
            let plain = slot.layout == Layout::row_major(slot.shape.len());
            if made && plain && !level.direct.contains_key(&base) {
                let storage = self.storage_of[target.slot.0 as usize];
                level.direct.insert(base, storage);
            } else {
                copied.push(k);
            }
        }
        copied
    }

    /// A new slot for a result of a node: in place if it is a result of the graph.
    fn result_slot(&mut self, level: &Level<'_>, value: ValueId) -> SlotId {
        let v = level.graph.value(value);
        let Some(storage) = level.direct.get(&value).copied() else {
            let slot = self.arena_slot(&v.name, &v.ty);
            if let Some(layout) = level.layouts.get(&value) {
                self.plan.slots[slot.0 as usize].layout = layout.clone();
            }
            return slot;
        };
        let owner = self.storage_of.iter().position(|s| *s == storage);
        let owner = owner.expect("invariant: a target has a slot");
        self.alias_slot(&v.name, &v.ty, SlotId(owner as u32))
    }

    /// What a value is bound to.
    fn bound(&self, level: &Level<'_>, value: ValueId) -> Bound {
        match &level.graph.value(value).def {
            Def::Constant(t) => Bound::Constant(Origin::Data(
                level.graph.value(value).name.clone(),
                t.clone(),
            )),
            _ => level.bound[&value].clone(),
        }
    }

    /// The row-major slot of a value.
    fn slot_of(&mut self, level: &Level<'_>, value: ValueId) -> Result<SlotId, PassError> {
        let rank = level.graph.ty(value).rank();
        self.slot_in(level, value, &Layout::row_major(rank), "")
    }

    /// The slot of a value in a layout that `kernel` wants.
    fn slot_in(
        &mut self,
        level: &Level<'_>,
        value: ValueId,
        layout: &Layout,
        kernel: &str,
    ) -> Result<SlotId, PassError> {
        match self.bound(level, value) {
            Bound::Constant(origin) => Ok(self.constant_slot(&origin, layout)),
            Bound::Slot(slot) | Bound::Framed(slot, _)
                if self.plan.slot(slot).layout == *layout =>
            {
                Ok(slot)
            }
            Bound::Slot(_) | Bound::Framed(..) => Err(PassError::Layout {
                kernel: kernel.into(),
                value: level.graph.value(value).name.clone(),
            }),
        }
    }

    fn view(&mut self, level: &mut Level<'_>, id: NodeId) -> Result<(), PassError> {
        let node = level.graph.node(id);
        let result = level.graph.value(node.outputs[0]);
        let bound = match self.bound(level, node.inputs[0]) {
            Bound::Slot(slot) => Bound::Slot(self.alias_slot(&result.name, &result.ty, slot)),
            Bound::Framed(..) => {
                unreachable!("invariant: values that are viewed have bytes of their own")
            }
            Bound::Constant(origin) => {
                Bound::Constant(self.constants.view(&origin, &result.name, &result.ty)?)
            }
        };
        level.bound.insert(node.outputs[0], bound);
        Ok(())
    }

    fn group(
        &mut self,
        level: &mut Level<'_>,
        group: &Group,
        alone: String,
    ) -> Result<(), PassError> {
        if self.join_parts(level, group) {
            return Ok(());
        }
        let definition = group.define(level.graph);
        let mut members: Vec<NodeId> = group.members.iter().copied().collect();
        members.sort();
        let nodes = members.iter().map(|n| level.graph.node(*n).name.clone());
        let nodes: Vec<String> = nodes.collect();
        if let Some((value, frame, fill)) = only_pads(level.graph, group)
            && (level.bound.contains_key(&frame.whole) || self.converts(level, value, &frame))
        {
            return self.pad(level, (value, &frame, fill), nodes);
        }
        for value in &definition.outputs {
            let bound = self.new_bound(level, *value);
            level.bound.insert(*value, bound);
        }
        let turned = self.turned(level, group, &definition);
        let before = turned.as_ref().map(|t| self.turn(level, t));
        let (plain, framed) = self.tasks(level, group, &definition);
        let joined = framed.and_then(|(task, padded)| {
            let id = self.nest_of_all(task)?;
            level.complete.insert(padded);
            Some(id)
        });
        let kernel = joined.unwrap_or_else(|| {
            let shared = self.with_packed_weights(level, &plain, &definition);
            self.scheduled_kernel(shared.unwrap_or(plain))
        });
        let label = Label {
            nodes: nodes.clone(),
            alone,
        };
        let step = self.call(level, kernel, &definition, label)?;
        level.steps.push(step);
        if let (Some(turned), Some(before)) = (turned, before) {
            self.turn_back(level, &turned, before, nodes);
        }
        Ok(())
    }

    fn call(
        &mut self,
        level: &mut Level<'_>,
        id: KernelId,
        definition: &Definition,
        label: Label,
    ) -> Result<Step, PassError> {
        let kernel = self.plan.kernel(id);
        let name = kernel.name.clone();
        let weights = &self.schedules[id.0 as usize].task.weights;
        let params: Vec<(Scope, Layout, bool)> = kernel
            .params()
            .map(|(b, buffer)| (buffer.scope, buffer.layout.clone(), weights.contains(&b)))
            .collect();
        let (mut inputs, mut outputs) = (definition.inputs.iter(), definition.outputs.iter());
        let mut args = Vec::new();
        for (scope, layout, is_weights) in params {
            let value = match scope {
                Scope::Input => inputs.next(),
                _ => outputs.next(),
            };
            let value = value.expect("invariant: schedules keep parameters");
            args.push(match is_weights {
                true => self.packed_slot(level, *value, layout),
                false => self.slot_in(level, *value, &layout, &name)?,
            });
        }
        let site_base = self.plan.sites.len() as u32;
        self.plan.sites.extend(definition.sites.iter().cloned());
        Ok(Step::Call(Call {
            kernel: id,
            args,
            site_base,
            nodes: label.nodes,
            alone: label.alone,
        }))
    }

    /// The kernel of the plan that a task becomes; equal ones become one.
    fn scheduled_kernel(&mut self, task: Task) -> KernelId {
        let kernel = self.kernel_if(task, &|_| true);
        kernel.expect("invariant: every kernel is wanted")
    }

    /// As [`Self::scheduled_kernel`], if all statements of the kernel become one nest.
    fn nest_of_all(&mut self, task: Task) -> Option<KernelId> {
        self.kernel_if(task, &|k| k.body.len() == 1)
    }

    /// The kernel of the plan that a task becomes, if it is then as it is wanted.
    fn kernel_if(&mut self, mut task: Task, wanted: &dyn Fn(&Kernel) -> bool) -> Option<KernelId> {
        for naive in task.kernels_mut() {
            naive.sizes = self.plan.sizes.iter().map(|s| s.symbol.clone()).collect();
            naive.size_bounds = self.plan.sizes.iter().map(|s| (s.min, s.max)).collect();
        }
        let known = self.kernels.entry(task.naive.name.clone()).or_default();
        let is_same = |id: &&KernelId| self.schedules[id.0 as usize].task == task;
        if let Some(id) = known.iter().find(is_same) {
            return Some(*id);
        }
        let target = &self.options.target;
        let tuned = self.options.tuned.as_ref();
        let tuned = tuned.and_then(|t| t.values(&task.to_string()));
        let member = tuned.and_then(|values| task.member(target, values).ok());
        let scheduled = member.unwrap_or_else(|| task.default_schedule(target));
        if !wanted(&scheduled.kernel) {
            return None;
        }
        let id = KernelId(self.plan.kernels.len() as u32);
        known.push(id);
        self.plan.kernels.push(scheduled.kernel);
        self.schedules.push(Schedule {
            task,
            trace: scheduled.trace,
            parameters: scheduled.parameters,
        });
        Some(id)
    }

    /// A call of a kernel that no op defines.
    fn helper_step(&mut self, kernel: Kernel, args: Vec<SlotId>, label: Label) -> Step {
        let kernel = self.scheduled_kernel(Task::new(kernel, vec![]));
        self.step(kernel, args, label)
    }

    fn step(&self, kernel: KernelId, args: Vec<SlotId>, label: Label) -> Step {
        Step::Call(Call {
            kernel,
            args,
            site_base: self.plan.sites.len() as u32,
            nodes: label.nodes,
            alone: label.alone,
        })
    }

    /// Copies a slot to another slot of the same shape.
    fn copy_step(&mut self, from: SlotId, to: SlotId, label: Label) -> Step {
        let target = self.plan.slot(to);
        let ty = TensorType::new(target.dtype, target.shape.clone());
        let layouts = (self.plan.slot(from).layout.clone(), target.layout.clone());
        let kernel = kernels::copy(&ty, layouts, &self.plan.sizes);
        self.helper_step(kernel, vec![from, to], label)
    }
}

/// The value whose bytes a value views.
fn base_value(graph: &Graph, mut value: ValueId) -> ValueId {
    while let Some(n) = graph.producer(value)
        && matches!(graph.node(n).op.lower, Lower::View)
    {
        value = graph.node(n).inputs[0];
    }
    value
}

fn port(graph: &Graph, value: ValueId, name: Option<&String>) -> Port {
    let v = graph.value(value);
    Port {
        name: name.unwrap_or(&v.name).clone(),
        ty: v.ty.clone(),
    }
}

/// Finds an input dimension for every size symbol.
fn size_params(graph: &Graph) -> Result<Vec<SizeParam>, PassError> {
    let find = |symbol: &_| {
        let dim = |v: &ValueId| {
            let is = |d: &Expr| d.as_symbol() == Some(symbol);
            graph.ty(*v).shape.iter().position(is)
        };
        let dims = graph.inputs.iter().enumerate();
        dims.filter_map(|(k, v)| Some((k, dim(v)?))).next()
    };
    let param = |(symbol, info): (&tensmith_ir::expr::Symbol, &_)| {
        let info: &tensmith_ir::graph::SymbolInfo = info;
        let source = find(symbol).ok_or_else(|| PassError::UnknownSize {
            symbol: symbol.name().into(),
        })?;
        Ok(SizeParam {
            symbol: symbol.clone(),
            min: info.min,
            max: info.max,
            source,
        })
    };
    graph.symbols.iter().map(param).collect()
}
