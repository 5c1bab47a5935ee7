//! Writes powers with a few constant exponents as products and roots.
//!
//! Requires: nothing.
//! Ensures: no power of `f32` or `f64` with the exponent -1, 1/2, 3/4, 2 or 3 in all places.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2, 3]
//!   %1 = const "e" : f32[] = [2.0]
//!   %2 = const "h" : f32[] = [0.5]
//!   %3 = pow(%0, %1) {} "a" : f32[2, 3]
//!   %4 = pow(%3, %2) {} "b" : f32[2, 3]
//!   output "y" = %4
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2, 3]
//!   %1 = mul(%0, %0) {} "a" : f32[2, 3]
//!   %2 = const "b" : f32[] = [-inf]
//!   %3 = eq(%1, %2) {} "b" : bool[2, 3]
//!   %4 = const "b" : f32[] = [inf]
//!   %5 = sqrt(%1) {} "b" : f32[2, 3]
//!   %6 = const "b" : f32[] = [0.0]
//!   %7 = add(%5, %6) {} "b" : f32[2, 3]
//!   %8 = select(%3, %4, %7) {} "b" : f32[2, 3]
//!   output "y" = %8
//! }
//! ```
//! Source: IEEE 754-2019, 9.2.1: `pow` of -0 is +0 and of minus infinity plus infinity for exponents
//! that are positive and no integers, where a root gives -0 and NaN. At most three roundings of
//! half a unit, so within the bound of `pow`.
use super::Rewriter;
use super::fold_identities::uniform;
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, ValueId};
use tensmith_ir::tensor::Tensor;

/// The graph with products and roots for powers.
///
/// Errors: never for a valid graph.
pub fn simplify_powers(graph: &Graph) -> Result<Graph, GraphError> {
    Rewriter::run(graph, &mut |cx, node| {
        if node.op.name != "pow" {
            return Ok(None);
        }
        let (x, exponent) = (cx.get(node.inputs[0]), cx.get(node.inputs[1]));
        let exponent = cx.constant(exponent).and_then(uniform);
        // Another shape would have to be expanded; halves would round twice.
        let result = cx.old.ty(node.outputs[0]);
        let fits = cx.ty(x) == result && matches!(result.dtype, DType::F32 | DType::F64);
        match exponent.filter(|_| fits) {
            Some(e) => Ok(power(cx, node, x, e)?.map(|v| vec![v])),
            None => Ok(None),
        }
    })
}

fn power(
    cx: &mut Rewriter<'_>,
    node: &Node,
    x: ValueId,
    exponent: f64,
) -> Result<Option<ValueId>, GraphError> {
    let mut op =
        |name: &str, operands: &[ValueId]| cx.add(name, &node.name, operands, Attrs::new());
    Ok(Some(if exponent == 2.0 {
        op("mul", &[x, x])?
    } else if exponent == 3.0 {
        let square = op("mul", &[x, x])?;
        op("mul", &[square, x])?
    } else if exponent == -1.0 {
        op("reciprocal", &[x])?
    } else if exponent == 0.5 || exponent == 0.75 {
        root(cx, node, x, exponent)?
    } else {
        return Ok(None);
    }))
}

/// The square root, or that times its own square root.
fn root(
    cx: &mut Rewriter<'_>,
    node: &Node,
    x: ValueId,
    exponent: f64,
) -> Result<ValueId, GraphError> {
    let dtype = cx.ty(x).dtype;
    let number = |cx: &mut Rewriter<'_>, value: f64| {
        let t = Tensor::splat(dtype, vec![], value);
        cx.new.add_constant(&node.name, t)
    };
    let least = number(cx, f64::NEG_INFINITY);
    let below = cx.add("eq", &node.name, &[x, least], Attrs::new())?;
    let greatest = number(cx, f64::INFINITY);
    let half = cx.add("sqrt", &node.name, &[x], Attrs::new())?;
    let root = if exponent == 0.75 {
        let quarter = cx.add("sqrt", &node.name, &[half], Attrs::new())?;
        cx.add("mul", &node.name, &[half, quarter], Attrs::new())?
    } else {
        let zero = number(cx, 0.0);
        cx.add("add", &node.name, &[half, zero], Attrs::new())?
    };
    cx.add("select", &node.name, &[below, greatest, root], Attrs::new())
}
