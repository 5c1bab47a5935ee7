//! Graphs of `f32` in half precision.
use std::collections::HashMap;
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::{Attrs, Def, Graph, GraphError, Node, ValueId};
use tensmith_ir::ops::op;
use tensmith_ir::tensor::Tensor;

/// A graph in half precision, and what it computes.
pub struct Halves {
    /// All that was `f32` is of half precision.
    pub stated: Graph,
    /// What [`Self::stated`] computes where only what it is given is rounded: constants, and results of
    /// casts, which are rounded as it says and then `f32` again.
    pub meant: Graph,
}

/// `graph` in half precision; `None` if it has subgraphs, or an operation that no model states of
/// halves, such as the transforms of tiles.
pub fn halves_of(graph: &Graph, half: DType) -> Option<Halves> {
    if graph.nodes.iter().any(|n| !n.regions.is_empty()) {
        return None;
    }
    let build = |stated| Builder::build(graph, half, stated);
    Some(Halves {
        stated: build(true)?,
        meant: build(false)?,
    })
}

/// A tensor of floats in another type of floats.
pub fn cast(tensor: &Tensor, to: DType) -> Tensor {
    Tensor::from_wide(to, tensor.shape.clone(), &tensor.to_wide())
}

/// A tensor of `f32` in half precision; others as they are.
pub fn rounded(tensor: &Tensor, half: DType) -> Tensor {
    match tensor.dtype {
        DType::F32 => cast(tensor, half),
        _ => tensor.clone(),
    }
}

struct Builder<'g> {
    old: &'g Graph,
    new: Graph,
    map: HashMap<ValueId, ValueId>,
    half: DType,
    /// Whether values are of half precision.
    stated: bool,
}

impl<'g> Builder<'g> {
    fn build(old: &'g Graph, half: DType, stated: bool) -> Option<Graph> {
        let new = Graph {
            name: old.name.clone(),
            symbols: old.symbols.clone(),
            ..Graph::default()
        };
        let map = HashMap::new();
        let mut builder = Builder {
            old,
            new,
            map,
            half,
            stated,
        };
        for id in &old.inputs {
            let value = old.value(*id);
            let mut ty = value.ty.clone();
            ty.dtype = builder.dtype(ty.dtype);
            let new = builder.new.add_input(&value.name, ty);
            builder.map.insert(*id, new);
        }
        (old.nodes.iter()).try_for_each(|node| builder.node(node).ok())?;
        for (name, v) in old.output_names.iter().zip(&old.outputs) {
            let value = builder.get(*v);
            builder.new.add_output(name, value);
        }
        Some(builder.new)
    }

    fn dtype(&self, d: DType) -> DType {
        match d {
            DType::F32 if self.stated => self.half,
            d => d,
        }
    }

    fn get(&mut self, v: ValueId) -> ValueId {
        if let Some(new) = self.map.get(&v) {
            return *new;
        }
        let value = self.old.value(v);
        let Def::Constant(tensor) = &value.def else {
            panic!("invariant: nodes are visited in order");
        };
        let mut tensor = rounded(tensor, self.half);
        if !self.stated && tensor.dtype == self.half {
            tensor = cast(&tensor, DType::F32);
        }
        let new = self.new.add_constant(&value.name, tensor);
        self.map.insert(v, new);
        new
    }

    fn node(&mut self, node: &Node) -> Result<(), GraphError> {
        let inputs: Vec<ValueId> = node.inputs.iter().map(|v| self.get(*v)).collect();
        let mut attrs = node.attrs.clone();
        let made = match node.op.name {
            "cast" => Some("to"),
            "iota" => Some("dtype"),
            _ => None,
        };
        if let Some(name) = made {
            attrs.set(name, self.dtype(attrs.dtype(name)));
        }
        let mut outputs = self.new.add(node.op, &node.name, &inputs, attrs)?;
        let float = |v: &ValueId| self.old.ty(*v).dtype == DType::F32;
        let given = made.is_some() || node.op.name == "range";
        if !self.stated && given && float(&node.outputs[0]) && !node.inputs.iter().any(float) {
            for to in [self.half, DType::F32] {
                let attrs = Attrs::new().with("to", to);
                outputs = self.new.add(op("cast"), "rounded", &outputs, attrs)?;
            }
        }
        self.map.extend(node.outputs.iter().copied().zip(outputs));
        Ok(())
    }
}
