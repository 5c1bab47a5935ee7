//! Values that an op needs at compile time.
use std::collections::HashMap;

use tensmith_ir::eval::{Sizes, eval_node};
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Def, ValueId};
use tensmith_ir::tensor::Tensor;

use super::cx::Cx;
use super::{SPECIALISE_ELEMENTS, known};
use crate::error::{Result, quoted};
use crate::proto::NodeProto;

/// Values with more elements are not computed at import.
const DEMAND_ELEMENTS: i64 = 1 << 20;
/// Values that one value may depend on to be computed at import.
const DEMAND_VALUES: usize = 4096;
/// Length of a chain of values that is followed; each takes stack.
const DEMAND_DEPTH: usize = 256;
/// Elements of all values that are computed at import.
const DEMAND_TOTAL: usize = 1 << 24;

/// The computed values and inputs used of one demand.
#[derive(Default)]
struct Demand {
    done: HashMap<(usize, ValueId), Option<Tensor>>,
    used: Vec<(String, Tensor)>,
    depth: usize,
    elements: usize,
}

impl Cx<'_> {
    /// The elements of an integer operand, symbolically, row-major.
    ///
    /// Errors: `Unsupported` when they depend on data.
    pub(crate) fn dims(&mut self, node: &NodeProto, k: usize) -> Result<Vec<Expr>> {
        let id = self.input(node, k)?;
        match self.known_dims(id) {
            Some(values) => Ok(values),
            None => Err(self.needs_value(node, k)),
        }
    }

    /// The elements of an operand that must be numbers at import.
    ///
    /// Errors: `Unsupported` when they depend on data or on symbols.
    pub(crate) fn ints(&mut self, node: &NodeProto, k: usize) -> Result<Vec<i64>> {
        let values = self.dims(node, k)?;
        let numbers: Option<Vec<i64>> = values.iter().map(Expr::as_const).collect();
        numbers.ok_or_else(|| self.needs_value(node, k))
    }

    /// The value of an operand that must be known at import.
    ///
    /// Errors: `Unsupported` when it depends on data or on symbols.
    pub(crate) fn tensor(&mut self, node: &NodeProto, k: usize) -> Result<Tensor> {
        let id = self.input(node, k)?;
        match self.known_tensor(id) {
            Some(tensor) => Ok(tensor),
            None => Err(self.needs_value(node, k)),
        }
    }

    /// The elements of a value as floats, known at import.
    ///
    /// Errors: `Unsupported` when they depend on data or on symbols.
    pub(crate) fn floats(&mut self, node: &NodeProto, k: usize) -> Result<Vec<f64>> {
        Ok(self.tensor(node, k)?.to_f64())
    }

    /// Says that operand `k` is needed at compile time.
    pub(crate) fn needs_value(&self, node: &NodeProto, k: usize) -> crate::OnnxError {
        let name = node.operand(k).unwrap_or("");
        self.unsupported(format!(
            "the value of operand {k}, {}, is needed at compile time: bind it (`--inputs` gives \
             the values of inputs of up to {SPECIALISE_ELEMENTS} elements, `--dim` those of \
             dimensions)",
            quoted(name)
        ))
    }

    /// The elements of an integer value, if they are known symbolically or can be computed.
    pub(crate) fn known_dims(&mut self, id: ValueId) -> Option<Vec<Expr>> {
        let frame = self.frame();
        if let Some(values) = known::values(&frame.graph, &frame.known, id) {
            return Some(values);
        }
        let tensor = self.known_tensor(id)?;
        let integers = !tensor.dtype.is_float() && tensor.count() as i64 <= DEMAND_ELEMENTS;
        integers.then(|| tensor.to_i64().into_iter().map(Expr::from).collect())
    }

    /// A value, if it can be computed: from constants and inputs given for that.
    pub(crate) fn known_tensor(&mut self, id: ValueId) -> Option<Tensor> {
        if let Some(tensor) = self.frame().graph.constant(id) {
            return Some(tensor.clone());
        }
        let mut demand = Demand::default();
        let computed = self.compute(&mut demand, self.frames.len() - 1, id);
        self.demanded += demand.elements;
        let tensor = computed?;
        for (name, value) in demand.used {
            if !self.specialised.iter().any(|(n, _)| *n == name) {
                self.specialised.push((name, value));
            }
        }
        Some(tensor)
    }

    fn compute(&self, demand: &mut Demand, level: usize, id: ValueId) -> Option<Tensor> {
        if let Some(done) = demand.done.get(&(level, id)) {
            return done.clone();
        }
        let full = self.demanded + demand.elements > DEMAND_TOTAL;
        if full || demand.done.len() > DEMAND_VALUES || demand.depth > DEMAND_DEPTH {
            return None;
        }
        demand.depth += 1;
        let result = self.compute_new(demand, level, id);
        demand.depth -= 1;
        // A value that cannot be computed counts, too: looking for it took time.
        demand.elements += 1 + result.as_ref().map_or(0, Tensor::count);
        demand.done.insert((level, id), result.clone());
        result
    }

    fn compute_new(&self, demand: &mut Demand, level: usize, id: ValueId) -> Option<Tensor> {
        let frame = &self.frames[level];
        let value = frame.graph.value(id);
        match &value.def {
            Def::Constant(tensor) => Some(tensor.clone()),
            Def::Input(_) if level > 0 => {
                let (outer, _) = frame.captures.iter().find(|(_, inner)| *inner == id)?;
                self.compute(demand, level - 1, *outer)
            }
            Def::Input(_) => {
                let tensor = self.options.specialise.get(&value.name)?;
                let fits = tensor.dtype == value.ty.dtype
                    && value.ty.static_shape().as_ref() == Some(&tensor.shape);
                if !fits {
                    return None;
                }
                demand.used.push((value.name.clone(), tensor.clone()));
                Some(tensor.clone())
            }
            Def::Node(node, k) => {
                let node = frame.graph.node(*node);
                let small = |v: &ValueId| {
                    let count = frame.graph.ty(*v).count().as_const();
                    count.is_some_and(|n| n <= DEMAND_ELEMENTS)
                };
                if !node.outputs.iter().all(small) || !node.inputs.iter().all(small) {
                    return None;
                }
                let operands: Vec<Tensor> = (node.inputs.iter())
                    .map(|v| self.compute(demand, level, *v))
                    .collect::<Option<_>>()?;
                let operands: Vec<&Tensor> = operands.iter().collect();
                let results = eval_node(&frame.graph, node, &operands, &Sizes::new()).ok()?;
                results.into_iter().nth(*k)
            }
        }
    }
}
