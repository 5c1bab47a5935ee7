//! Computes in `f32` what a model states in `f16` or `bf16`: results are rounded where they leave the
//! graph, not after each operation.
//!
//! What only moves elements of inputs and constants does so in their type, and so does control
//! flow. Casts that the model states round as they say.
//!
//! Requires: nothing.
//! Ensures: no operation but casts, movements and control flow has operands of `f16` or `bf16`.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f16[2, 4]
//!   %1 = input "w" : f16[3, 4]
//!   %2 = transpose(%1) {perm=[1, 0]} "t" : f16[4, 3]
//!   %3 = contract(%0, %2) {spec="mk,kn->mn"} "c" : f16[2, 3]
//!   %4 = exp(%3) {} "e" : f16[2, 3]
//!   output "y" = %4
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f16[2, 4]
//!   %1 = input "w" : f16[3, 4]
//!   %2 = transpose(%1) {perm=[1, 0]} "t" : f16[4, 3]
//!   %3 = cast(%0) {to=f32} "x" : f32[2, 4]
//!   %4 = cast(%2) {to=f32} "t" : f32[4, 3]
//!   %5 = contract(%3, %4) {spec="mk,kn->mn"} "c" : f32[2, 3]
//!   %6 = exp(%5) {} "e" : f32[2, 3]
//!   %7 = cast(%6) {to=f16} "e" : f16[2, 3]
//!   output "y" = %7
//! }
//! ```
//! Source: excess precision of C (ISO/IEC 9899, 5.2.4.2.2, `FLT_EVAL_METHOD`), and of XLA
//! (`xla_allow_excess_precision`): fewer roundings than are stated.
use super::Rewriter;
use std::collections::HashMap;
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::{Attrs, Def, Graph, GraphError, Node, ValueId};
use tensmith_ir::ops::Class;

/// The graph with wide values between its inputs and outputs.
///
/// Errors: never for a valid graph.
pub fn widen_halves(graph: &Graph) -> Result<Graph, GraphError> {
    let is_half = |v: &ValueId| graph.ty(*v).dtype.is_half();
    if !graph.nodes.iter().any(|n| n.inputs.iter().any(is_half)) {
        return Ok(graph.clone());
    }
    let mut widening = Widening {
        cx: Rewriter::new(graph),
        wide: HashMap::new(),
        narrowed: HashMap::new(),
    };
    for node in &graph.nodes {
        widening.node(node)?;
    }
    for output in &graph.outputs {
        let value = widening.narrow(*output)?;
        widening.cx.set(*output, value);
    }
    Ok(widening.cx.finish())
}

struct Widening<'g> {
    cx: Rewriter<'g>,
    /// New values of `f32`, by old ones of half precision.
    wide: HashMap<ValueId, ValueId>,
    /// Those that were rounded again.
    narrowed: HashMap<ValueId, ValueId>,
}

impl<'g> Widening<'g> {
    fn is_half(&self, v: ValueId) -> bool {
        self.cx.old.ty(v).dtype.is_half()
    }

    fn node(&mut self, node: &'g Node) -> Result<(), GraphError> {
        let halves = |vs: &[ValueId]| vs.iter().any(|v| self.is_half(*v));
        let (reads, writes) = (halves(&node.inputs), halves(&node.outputs));
        if node.op.name == "cast" && (reads || writes) {
            return self.cast(node);
        }
        let stays = match node.op.class {
            Class::Control => true,
            Class::Movement => node.inputs.iter().all(|v| !self.wide_only(*v)),
            _ => !reads,
        };
        if stays {
            return self.as_stated(node);
        }
        let inputs = self.operands(node, Self::widened)?;
        let (attrs, regions) = (node.attrs.clone(), node.regions.clone());
        let outputs =
            (self.cx.new).add_with_regions(node.op, &node.name, &inputs, attrs, regions)?;
        for (old, new) in node.outputs.iter().zip(outputs) {
            match self.is_half(*old) && self.cx.ty(new).dtype == DType::F32 {
                true => drop(self.wide.insert(*old, new)),
                false => self.cx.set(*old, new),
            }
        }
        Ok(())
    }

    /// The node with operands of the types that it states.
    fn as_stated(&mut self, node: &'g Node) -> Result<(), GraphError> {
        let inputs = self.operands(node, Self::narrow)?;
        let (attrs, regions) = (node.attrs.clone(), node.regions.clone());
        let outputs =
            (self.cx.new).add_with_regions(node.op, &node.name, &inputs, attrs, regions)?;
        let pairs = node.outputs.iter().zip(outputs);
        pairs.for_each(|(old, new)| self.cx.set(*old, new));
        Ok(())
    }

    fn operands(
        &mut self,
        node: &Node,
        of: fn(&mut Self, ValueId) -> Result<ValueId, GraphError>,
    ) -> Result<Vec<ValueId>, GraphError> {
        node.inputs.iter().map(|v| of(self, *v)).collect()
    }

    /// A cast from a half reads what is not rounded; one to a half rounds, unless all numbers that it
    /// gets are halves.
    fn cast(&mut self, node: &'g Node) -> Result<(), GraphError> {
        let ([from], [result]) = (&node.inputs[..], &node.outputs[..]) else {
            return self.as_stated(node);
        };
        let given = self.cx.old.ty(*from).dtype;
        let to = node.attrs.dtype("to");
        let value = self.widened(*from)?;
        if given == to {
            self.wide.insert(*result, value);
            return Ok(());
        }
        if to == DType::F32 && given.is_half() {
            self.cx.set(*result, value);
            return Ok(());
        }
        let exact = to.is_half() && (given.is_byte() || given == DType::Bool);
        let to = if exact { DType::F32 } else { to };
        let attrs = Attrs::new().with("to", to);
        let new = self.cx.add("cast", &node.name, &[value], attrs)?;
        match exact {
            true => drop(self.wide.insert(*result, new)),
            false => self.cx.set(*result, new),
        }
        Ok(())
    }

    /// Whether an old value of half precision is one of `f32` only.
    fn wide_only(&self, v: ValueId) -> bool {
        let computed = matches!(self.cx.old.value(v).def, Def::Node(..));
        computed && self.wide.contains_key(&v) && !self.cx.is_set(v)
    }

    /// The new value of an old one, of `f32` where that is a half.
    fn widened(&mut self, v: ValueId) -> Result<ValueId, GraphError> {
        if !self.is_half(v) {
            return Ok(self.cx.get(v));
        }
        if let Some(wide) = self.wide.get(&v) {
            return Ok(*wide);
        }
        let half = self.cx.get(v);
        let attrs = Attrs::new().with("to", DType::F32);
        let name = &self.cx.old.value(v).name;
        let wide = self.cx.add("cast", name, &[half], attrs)?;
        self.wide.insert(v, wide);
        Ok(wide)
    }

    /// The new value of an old one, of its own type.
    fn narrow(&mut self, v: ValueId) -> Result<ValueId, GraphError> {
        if !self.wide_only(v) {
            return Ok(self.cx.get(v));
        }
        if let Some(half) = self.narrowed.get(&v) {
            return Ok(*half);
        }
        let old = self.cx.old.value(v);
        let attrs = Attrs::new().with("to", old.ty.dtype);
        let half = self.cx.add("cast", &old.name, &[self.wide[&v]], attrs)?;
        self.narrowed.insert(v, half);
        Ok(half)
    }
}
