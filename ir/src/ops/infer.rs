//! Shared dtype and shape rules.
use crate::expr::{Expr, Ranges};
use crate::graph::{Attrs, Graph, TensorType};
use crate::tensor::Tensor;

/// What a dtype and shape rule sees.
pub struct InferCx<'a> {
    /// The operands' types.
    pub inputs: &'a [&'a TensorType],
    /// The operands' values, where known.
    pub constants: &'a [Option<&'a Tensor>],
    /// The attributes.
    pub attrs: &'a Attrs,
    /// Subgraphs.
    pub regions: &'a [Graph],
    /// What is known of the size symbols.
    pub ranges: &'a Ranges,
}

impl InferCx<'_> {
    /// Checks that all operands have one element type.
    ///
    /// Errors: the first that differs.
    pub fn same_dtype(&self) -> Result<(), String> {
        match self
            .inputs
            .iter()
            .position(|t| t.dtype != self.inputs[0].dtype)
        {
            Some(k) => Err(format!(
                "operand {k} is {}, operand 0 is {}",
                self.inputs[k].dtype, self.inputs[0].dtype
            )),
            None => Ok(()),
        }
    }

    /// A non-negative axis of operand `k` out of an attribute.
    ///
    /// Errors: an axis outside `0..rank`.
    pub fn axis(&self, k: usize, name: &str) -> Result<usize, String> {
        let axis = self.attrs.int(name);
        let rank = self.inputs[k].rank();
        usize::try_from(axis)
            .ok()
            .filter(|a| *a < rank)
            .ok_or_else(|| {
                format!(
                    "`{name}` is {axis}, want 0 to {} (rank {rank})",
                    rank as i64 - 1
                )
            })
    }

    /// Non-negative, strictly increasing axes of operand `k` out of an attribute.
    ///
    /// Errors: an axis outside `0..rank`, or axes out of order.
    pub fn axes(&self, k: usize, name: &str) -> Result<Vec<usize>, String> {
        let axes = self.attrs.ints(name);
        let rank = self.inputs[k].rank() as i64;
        let fine =
            axes.iter().all(|a| (0..rank).contains(a)) && axes.windows(2).all(|w| w[0] < w[1]);
        if !fine {
            return Err(format!(
                "`{name}` is {axes:?}, want increasing axes below {rank}"
            ));
        }
        Ok(axes.iter().map(|a| *a as usize).collect())
    }
}

/// The shape that several shapes broadcast to, by ONNX's multidirectional rule. A symbolic
/// extent against a number other than 1 is taken to be that number only if it is proved equal.
///
/// Errors: extents that do not agree.
pub fn broadcast_shapes(shapes: &[&[Expr]]) -> Result<Vec<Expr>, String> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut out = vec![Expr::from(1); rank];
    for shape in shapes {
        let skip = rank - shape.len();
        for (slot, dim) in out[skip..].iter_mut().zip(*shape) {
            if slot.is(1) {
                *slot = dim.clone();
            } else if !dim.is(1) && dim != slot {
                let all: Vec<String> = shapes.iter().map(|s| show_shape(s)).collect();
                return Err(format!(
                    "shapes {} do not broadcast: {dim} against {slot}",
                    all.join(" and ")
                ));
            }
        }
    }
    Ok(out)
}

/// `[2, $batch]`.
pub fn show_shape(shape: &[Expr]) -> String {
    let dims: Vec<String> = shape.iter().map(|d| d.to_string()).collect();
    format!("[{}]", dims.join(", "))
}
