//! What integers of a graph are at least and at most, as far as their types and constants say it.
use super::conv_moments::Weights;
use crate::split::constant_values;
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::{Graph, ValueId};
use tensmith_ir::tensor::{Tensor, Wide};

/// Elements of an operand that are looked at, at most.
const ELEMENTS: usize = 1 << 22;

/// Nodes behind each other that the search for bounds follows at most.
const NODES: usize = 24;

/// What depends on constants only.
pub(super) struct Known<'g> {
    constant: Vec<bool>,
    weights: Weights<'g>,
}

impl<'g> Known<'g> {
    /// Of a graph.
    pub fn new(graph: &'g Graph) -> Self {
        Known {
            constant: constant_values(graph),
            weights: Weights::new(graph),
        }
    }

    /// Whether a value depends on constants only.
    pub fn is_constant(&self, value: ValueId) -> bool {
        self.constant[value.0 as usize]
    }

    /// The elements of a value, if they are few enough to be looked at.
    pub fn tensor(&mut self, graph: &Graph, value: ValueId) -> Option<Tensor> {
        let shape = graph.ty(value).static_shape()?;
        let count = shape.into_iter().try_fold(1usize, usize::checked_mul)?;
        let fits = self.constant[value.0 as usize] && count <= ELEMENTS;
        fits.then(|| self.weights.tensor(value)).flatten()
    }

    /// The least and the greatest element of an integer value, by its type or its elements.
    pub fn bounds(&mut self, graph: &Graph, value: ValueId) -> Option<(i64, i64)> {
        let by_type = bounds(graph, value);
        match self.tensor(graph, value) {
            Some(t) => extremes(&t).or(by_type),
            None => by_type,
        }
    }
}

/// What no element of a value exceeds in magnitude, if types and constants say it.
pub(super) fn magnitude(graph: &Graph, value: ValueId) -> Option<i64> {
    let (least, most) = bounds(graph, value)?;
    Some(least.abs().max(most.abs()))
}

/// The least and the greatest element of a value, if types and constants say it.
pub(super) fn bounds(graph: &Graph, value: ValueId) -> Option<(i64, i64)> {
    bounds_behind(graph, value, NODES)
}

/// The least and the greatest element of integers.
fn extremes(t: &Tensor) -> Option<(i64, i64)> {
    let Wide::Int(values) = t.to_wide() else {
        return None;
    };
    let (least, most) = (values.iter().min()?, values.iter().max()?);
    Some((i64::try_from(*least).ok()?, i64::try_from(*most).ok()?))
}

fn bounds_behind(graph: &Graph, value: ValueId, nodes: usize) -> Option<(i64, i64)> {
    if let Some(t) = graph.constant(value).filter(|t| t.data.len() <= ELEMENTS) {
        return extremes(t);
    }
    match graph.ty(value).dtype {
        DType::Bool => return Some((0, 1)),
        d if d.bytes() <= 2 => {
            let (least, most) = d.int_range()?;
            return Some((least as i64, most as i64));
        }
        _ => {}
    }
    let node = graph.node(graph.producer(value)?);
    let nodes = nodes.checked_sub(1)?;
    let of = |k: usize| bounds_behind(graph, *node.inputs.get(k)?, nodes);
    match node.op.name {
        "cast" if graph.ty(node.inputs[0]).dtype.is_float() => None,
        "cast" => {
            let (least, most) = of(0)?;
            let (low, high) = graph.ty(value).dtype.int_range()?;
            let fits = low <= i128::from(least) && i128::from(most) <= high;
            fits.then_some((least, most))
        }
        "reshape" | "transpose" | "slice" | "expand" => of(0),
        "pad" => {
            let (a, b) = (of(0)?, of(1)?);
            Some((a.0.min(b.0), a.1.max(b.1)))
        }
        "sub" => {
            let (a, b) = (of(0)?, of(1)?);
            let (least, most) = (a.0.checked_sub(b.1)?, a.1.checked_sub(b.0)?);
            let narrow = i32::try_from(least).is_ok() && i32::try_from(most).is_ok();
            narrow.then_some((least, most))
        }
        _ => None,
    }
}
