//! Constants of a plan: bytes of the model, or prepared by a plan of their own.
use super::Builder;
use crate::error::PassError;
use std::collections::HashMap;
use tensmith_ir::graph::{Attrs, Graph, GraphError, TensorType, ValueId};
use tensmith_ir::loops::Layout;
use tensmith_ir::ops::op;
use tensmith_ir::plan::{Place, Plan, PlanConstant, SlotId, Source};
use tensmith_ir::tensor::Tensor;

/// Where the elements of a constant come from.
#[derive(Clone)]
pub enum Origin {
    /// A name and the bytes in the model.
    Data(String, Tensor),
    /// A value of the graph of constants.
    Prepared(ValueId),
}

/// What a constant of a plan is made of: bytes by address, or a prepared value; and its layout.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Data(usize, usize, Vec<usize>, Layout),
    Prepared(ValueId, Layout),
}

/// An output of the plan that prepares constants.
struct Wanted {
    value: ValueId,
    layout: Layout,
}

/// Constants while a plan is built.
#[derive(Default)]
pub struct Constants {
    /// What is computed from constants only.
    pub graph: Graph,
    slots: HashMap<Key, SlotId>,
    /// Data that are packed, as values of `graph`.
    shifted: HashMap<(usize, usize, Vec<usize>), ValueId>,
    wanted: Vec<Wanted>,
}

impl Constants {
    /// A constant under another shape.
    ///
    /// Errors: never for a valid view.
    pub fn view(
        &mut self,
        origin: &Origin,
        name: &str,
        ty: &TensorType,
    ) -> Result<Origin, GraphError> {
        if let (Origin::Data(name, t), Some(shape)) = (origin, ty.static_shape()) {
            let data = t.data.clone();
            let tensor = Tensor::new(t.dtype, shape, data);
            let tensor = tensor.expect("invariant: a view keeps the number of elements");
            return Ok(Origin::Data(name.clone(), tensor));
        }
        let from = self.value(origin);
        let attrs = Attrs::new().with("shape", ty.shape.clone());
        let value = self.graph.add_one(op("reshape"), name, &[from], attrs)?;
        Ok(Origin::Prepared(value))
    }

    /// The value of the graph of constants.
    fn value(&mut self, origin: &Origin) -> ValueId {
        match origin {
            Origin::Prepared(v) => *v,
            Origin::Data(name, t) => {
                let key = (t.data.as_ptr() as usize, t.data.len(), t.shape.clone());
                let graph = &mut self.graph;
                *self
                    .shifted
                    .entry(key)
                    .or_insert_with(|| graph.add_constant(name, t.clone()))
            }
        }
    }
}

impl Builder<'_> {
    /// The slot of a constant in a layout.
    pub(super) fn constant_slot(&mut self, origin: &Origin, layout: &Layout) -> SlotId {
        let key = match origin {
            Origin::Data(_, t) => Key::Data(
                t.data.as_ptr() as usize,
                t.data.len(),
                t.shape.clone(),
                layout.clone(),
            ),
            Origin::Prepared(v) => Key::Prepared(*v, layout.clone()),
        };
        if let Some(slot) = self.constants.slots.get(&key) {
            return *slot;
        }
        let slot = self.new_constant(origin, layout);
        self.constants.slots.insert(key, slot);
        slot
    }

    fn new_constant(&mut self, origin: &Origin, layout: &Layout) -> SlotId {
        let (name, ty) = match origin {
            Origin::Data(name, t) => {
                let shape = t.shape.iter().map(|d| (*d).into()).collect();
                (name.clone(), TensorType::new(t.dtype, shape))
            }
            Origin::Prepared(v) => {
                let v = self.constants.graph.value(*v);
                (v.name.clone(), v.ty.clone())
            }
        };
        let source = match origin {
            Origin::Data(_, t) if *layout == Layout::row_major(ty.rank()) => {
                Source::Data(t.clone())
            }
            _ => {
                let value = self.constants.value(origin);
                let layout = layout.clone();
                self.constants.wanted.push(Wanted { value, layout });
                Source::Prepared(self.constants.wanted.len() - 1)
            }
        };
        let place = Place::Constant(self.plan.constants.len());
        self.storages += 1;
        let storage = crate::memory::StorageId(self.storages - 1);
        let slot = self.push_slot(&name, &ty, layout.clone(), place, storage);
        let bytes = self.plan.slot(slot).bytes().as_const();
        let bytes = bytes.and_then(|b| usize::try_from(b).ok());
        self.plan.constants.push(PlanConstant {
            name,
            source,
            bytes: bytes.expect("invariant: constants have static shapes"),
        });
        slot
    }

    /// The plan that prepares the constants that were asked for. Its outputs have the layouts of
    /// their slots; who runs it clears them first.
    pub(super) fn prepare_plan(&mut self) -> Result<Option<Box<Plan>>, PassError> {
        if self.constants.wanted.is_empty() {
            return Ok(None);
        }
        let wanted = std::mem::take(&mut self.constants.wanted);
        let mut graph = std::mem::take(&mut self.constants.graph);
        graph.name = format!("{}_prepare", self.plan.name);
        for w in &wanted {
            let name = graph.value(w.value).name.clone();
            graph.add_output(&name, w.value);
        }
        let graph = crate::graph::eliminate_dead_code(&graph)?;
        let layouts: Vec<Layout> = wanted.into_iter().map(|w| w.layout).collect();
        Ok(Some(Box::new(Builder::build_constants(
            &graph,
            self.options,
            layouts,
        )?)))
    }
}
