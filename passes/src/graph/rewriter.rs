//! Rebuilding graphs: passes never change a graph in place.
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Def, Graph, GraphError, Node, NodeId, TensorType, ValueId};
use tensmith_ir::ops::{Op, op};
use tensmith_ir::tensor::Tensor;

/// The new values of a node's results; `None` to copy the node.
pub type Rewritten = Result<Option<Vec<ValueId>>, GraphError>;

/// A graph being rebuilt: maps values of the old graph to values of the new one.
pub struct Rewriter<'g> {
    /// The old graph.
    pub old: &'g Graph,
    /// The new graph.
    pub new: Graph,
    map: Vec<Option<ValueId>>,
}

impl<'g> Rewriter<'g> {
    /// A new graph with the inputs of the old one.
    pub fn new(old: &'g Graph) -> Self {
        let mut new = Graph {
            name: old.name.clone(),
            symbols: old.symbols.clone(),
            ..Graph::default()
        };
        let mut map = vec![None; old.values.len()];
        for id in &old.inputs {
            let value = old.value(*id);
            map[id.0 as usize] = Some(new.add_input(&value.name, value.ty.clone()));
        }
        Rewriter { old, new, map }
    }

    /// Visits all nodes in order; those that `rewrite` gives no results for are copied.
    ///
    /// Errors: those of `rewrite`; results of another type than the node's.
    pub fn run(
        old: &'g Graph,
        rewrite: &mut dyn FnMut(&mut Self, &'g Node) -> Rewritten,
    ) -> Result<Graph, GraphError> {
        let mut cx = Rewriter::new(old);
        for node in &old.nodes {
            match rewrite(&mut cx, node)? {
                Some(results) => {
                    for (from, to) in node.outputs.iter().zip(results) {
                        cx.stand_in(node, *from, to)?;
                    }
                }
                None => cx.copy(node)?,
            }
        }
        Ok(cx.finish())
    }

    /// The new value of an old one.
    ///
    /// Panics: if the node that computes it was not visited.
    pub fn get(&mut self, id: ValueId) -> ValueId {
        if let (None, Def::Constant(t)) = (self.map[id.0 as usize], &self.old.value(id).def) {
            let new = self.new.add_constant(&self.old.value(id).name, t.clone());
            self.map[id.0 as usize] = Some(new);
        }
        self.map[id.0 as usize].expect("invariant: nodes are visited in order")
    }

    /// The new operands of an old node.
    pub fn operands(&mut self, node: &Node) -> Vec<ValueId> {
        node.inputs.iter().map(|v| self.get(*v)).collect()
    }

    /// States what an old value is in the new graph.
    pub fn set(&mut self, old: ValueId, new: ValueId) {
        self.map[old.0 as usize] = Some(new);
    }

    /// Whether it is known what an old value is in the new graph.
    pub fn is_set(&self, old: ValueId) -> bool {
        self.map[old.0 as usize].is_some()
    }

    /// States that a result of a node is a new value from here on.
    fn stand_in(&mut self, node: &Node, old: ValueId, new: ValueId) -> Result<(), GraphError> {
        let (want, found) = (self.old.ty(old), self.new.ty(new));
        // Extents that are not numbers may be the same and written otherwise.
        let differ = |(a, b): (&Expr, &Expr)| matches!((a.as_const(), b.as_const()), (Some(a), Some(b)) if a != b);
        let mut extents = want.shape.iter().zip(&found.shape);
        if want.dtype != found.dtype || want.rank() != found.rank() || extents.any(differ) {
            return Err(GraphError {
                node: node.name.clone(),
                op: node.op.name,
                reason: format!("its result is {want}, that of what replaces it {found}"),
            });
        }
        self.set(old, new);
        Ok(())
    }

    /// Copies a node.
    ///
    /// Errors: never for valid operands.
    pub fn copy(&mut self, node: &Node) -> Result<(), GraphError> {
        let inputs = self.operands(node);
        let outputs = self.new.add_with_regions(
            node.op,
            &node.name,
            &inputs,
            node.attrs.clone(),
            node.regions.clone(),
        )?;
        let pairs = node.outputs.iter().zip(outputs);
        pairs.for_each(|(from, to)| self.map[from.0 as usize] = Some(to));
        Ok(())
    }

    /// Adds a node of one result.
    ///
    /// Errors: as [`Graph::add`].
    pub fn add(
        &mut self,
        name: &str,
        label: &str,
        inputs: &[ValueId],
        attrs: Attrs,
    ) -> Result<ValueId, GraphError> {
        let row: Op = op(name);
        self.new.add_one(row, label, inputs, attrs)
    }

    /// A value whose axes have these places, turned so that they are in order, and these; no node if
    /// they are.
    ///
    /// Errors: another number of axes.
    pub fn sort_axes(
        &mut self,
        label: &str,
        value: ValueId,
        places: &[usize],
    ) -> Result<(ValueId, Vec<usize>), GraphError> {
        let mut order: Vec<usize> = (0..places.len()).collect();
        order.sort_by_key(|axis| places[*axis]);
        let sorted = order.iter().map(|axis| places[*axis]).collect();
        if order.is_sorted() {
            return Ok((value, sorted));
        }
        let perm: Vec<i64> = order.iter().map(|axis| *axis as i64).collect();
        let attrs = Attrs::new().with("perm", perm);
        let value = self.add("transpose", label, &[value], attrs)?;
        Ok((value, sorted))
    }

    /// The same elements under another shape; no node if it has that shape.
    ///
    /// Errors: another number of elements.
    pub fn reshape(
        &mut self,
        value: ValueId,
        shape: &[Expr],
        label: &str,
    ) -> Result<ValueId, GraphError> {
        if self.new.ty(value).shape == shape {
            return Ok(value);
        }
        let attrs = Attrs::new().with("shape", shape.to_vec());
        self.add("reshape", label, &[value], attrs)
    }

    /// So many elements of a value along an axis, from a first one in steps; no node if these are all.
    ///
    /// Errors: elements that are not there.
    pub fn slice(
        &mut self,
        value: ValueId,
        axis: usize,
        (start, size, step): (Expr, Expr, i64),
        label: &str,
    ) -> Result<ValueId, GraphError> {
        let shape = self.new.ty(value).shape.clone();
        if start.is(0) && size == shape[axis] && step == 1 {
            return Ok(value);
        }
        let mut starts = vec![Expr::from(0); shape.len()];
        let (mut sizes, mut steps) = (shape.clone(), vec![1; shape.len()]);
        (starts[axis], sizes[axis], steps[axis]) = (start, size, step);
        let attrs = Attrs::new()
            .with("starts", starts)
            .with("sizes", sizes)
            .with("steps", steps);
        self.add("slice", label, &[value], attrs)
    }

    /// The type of a new value.
    pub fn ty(&self, value: ValueId) -> &TensorType {
        self.new.ty(value)
    }

    /// The constant behind a new value.
    pub fn constant(&self, value: ValueId) -> Option<&Tensor> {
        self.new.constant(value)
    }

    /// The node that computes a new value, if its op has that name.
    pub fn producer(&self, value: ValueId, name: &str) -> Option<&Node> {
        let id: NodeId = self.new.producer(value)?;
        Some(self.new.node(id)).filter(|n| n.op.name == name)
    }

    /// The new graph.
    pub fn finish(mut self) -> Graph {
        for (name, v) in self.old.output_names.iter().zip(&self.old.outputs) {
            let new = self.get(*v);
            self.new.add_output(name, new);
        }
        self.new
    }
}
