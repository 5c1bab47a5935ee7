//! Building graphs: every node passes its op's checks and inference on the way in.
use super::{Attrs, Def, Graph, Node, NodeId, TensorType, Value, ValueId};
use crate::ops::{InferCx, Op};
use crate::tensor::Tensor;

/// Why a node cannot be part of a graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node `{node}` ({op}): {reason}")]
pub struct GraphError {
    /// The node's name.
    pub node: String,
    /// The op's name.
    pub op: &'static str,
    /// What is wrong, with expected and found.
    pub reason: String,
}

impl Graph {
    fn push_value(&mut self, name: String, ty: TensorType, def: Def) -> ValueId {
        self.values.push(Value { name, ty, def });
        ValueId(self.values.len() as u32 - 1)
    }

    /// Adds an input.
    pub fn add_input(&mut self, name: &str, ty: TensorType) -> ValueId {
        let id = self.push_value(name.into(), ty, Def::Input(self.inputs.len()));
        self.inputs.push(id);
        id
    }

    /// Adds a constant.
    pub fn add_constant(&mut self, name: &str, tensor: Tensor) -> ValueId {
        let shape = tensor.shape.iter().map(|d| (*d).into()).collect();
        let ty = TensorType::new(tensor.dtype, shape);
        self.push_value(name.into(), ty, Def::Constant(tensor))
    }

    /// Adds an output.
    pub fn add_output(&mut self, name: &str, value: ValueId) {
        self.outputs.push(value);
        self.output_names.push(name.into());
    }

    /// Adds a node without subgraphs and returns its results.
    ///
    /// Errors: operands or attributes that do not fit the op's row.
    pub fn add(
        &mut self,
        op: Op,
        name: &str,
        inputs: &[ValueId],
        attrs: Attrs,
    ) -> Result<Vec<ValueId>, GraphError> {
        self.add_with_regions(op, name, inputs, attrs, vec![])
    }

    /// Adds a node with one result and returns that.
    ///
    /// Errors: as [`Graph::add`].
    pub fn add_one(
        &mut self,
        op: Op,
        name: &str,
        inputs: &[ValueId],
        attrs: Attrs,
    ) -> Result<ValueId, GraphError> {
        let outputs = self.add(op, name, inputs, attrs)?;
        Ok(outputs[0])
    }

    /// Adds a node and returns its results.
    ///
    /// Errors: operands or attributes that do not fit the op's row.
    pub fn add_with_regions(
        &mut self,
        op: Op,
        name: &str,
        inputs: &[ValueId],
        attrs: Attrs,
        regions: Vec<Graph>,
    ) -> Result<Vec<ValueId>, GraphError> {
        let fail = |reason: String| GraphError {
            node: name.into(),
            op: op.name,
            reason,
        };
        let attrs = op.complete_attrs(attrs).map_err(fail)?;
        let types: Vec<&TensorType> = inputs.iter().map(|v| self.ty(*v)).collect();
        let constants: Vec<Option<&Tensor>> = inputs.iter().map(|v| self.constant(*v)).collect();
        let cx = InferCx {
            inputs: &types,
            constants: &constants,
            attrs: &attrs,
            regions: &regions,
            ranges: &self.ranges(),
        };
        let outputs = op.infer_types(&cx).map_err(fail)?;
        let node = NodeId(self.nodes.len() as u32);
        let outputs: Vec<ValueId> = outputs
            .into_iter()
            .enumerate()
            .map(|(k, ty)| {
                let label = if k == 0 {
                    name.to_string()
                } else {
                    format!("{name}.{k}")
                };
                self.push_value(label, ty, Def::Node(node, k))
            })
            .collect();
        self.nodes.push(Node {
            op,
            name: name.into(),
            inputs: inputs.to_vec(),
            outputs: outputs.clone(),
            attrs,
            regions,
        });
        Ok(outputs)
    }
}
