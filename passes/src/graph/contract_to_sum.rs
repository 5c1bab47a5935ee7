//! Writes products with a matrix of equal elements as sums.
//!
//! Exporters of runtimes that reduce slowly spell sums and means of rows so: the variance of a norm,
//! or the denominator of a softmax.
//!
//! Requires: the standard precision: each sum is multiplied by the element, not each term.
//! Ensures: no contraction of floats whose second operand is a constant of equal elements, unless a
//! sum would leave the range of numbers where the product does not.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2, 3, 4]
//!   %1 = const "w" : f32[4, 1] = [0.25, 0.25, 0.25, 0.25]
//!   %2 = contract(%0, %1) {spec="abk,kn->abn"} "m" : f32[2, 3, 1]
//!   output "y" = %2
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2, 3, 4]
//!   %1 = reduce_sum(%0) {axes=[2], keepdims=true} "m" : f32[2, 3, 1]
//!   %2 = const "m" : f32[] = [0.25]
//!   %3 = mul(%1, %2) {} "m" : f32[2, 3, 1]
//!   output "y" = %3
//! }
//! ```
//! Source: the distributive law.
use super::Rewriter;
use super::fold_factors::is_fixed;
use super::fold_identities::{moderate, uniform};
use tensmith_ir::expr::{Expr, product};
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, ValueId};
use tensmith_ir::ops::Spec;
use tensmith_ir::tensor::Tensor;

/// The graph with sums.
///
/// Errors: never for a valid graph.
pub fn contract_to_sum(graph: &Graph) -> Result<Graph, GraphError> {
    Rewriter::run(graph, &mut |cx, node| match form(graph, node) {
        Some(form) => sum(cx, node, &form).map(|v| Some(vec![v])),
        None => Ok(None),
    })
}

/// A contraction as a sum of one operand.
struct Form {
    /// Which operand is summed.
    summand: usize,
    /// Its axes that are summed.
    axes: Vec<i64>,
    /// The axes of the result that it has, in its order.
    left: Vec<usize>,
    /// What the sum is multiplied by.
    factor: f64,
}

fn form(graph: &Graph, node: &Node) -> Option<Form> {
    let dtype = graph.ty(*node.outputs.first()?).dtype;
    if node.op.name != "contract" || !dtype.is_float() || graph.ty(node.inputs[0]).dtype != dtype {
        return None;
    }
    let spec = Spec::of(&node.attrs);
    for (k, own, other) in [(0, &spec.a, &spec.b), (1, &spec.b, &spec.a)] {
        let (x, w) = (node.inputs[k], node.inputs[1 - k]);
        let number = graph.constant(w).and_then(uniform);
        let Some(number) = number.filter(|n| n.is_finite() && !is_fixed(graph, x)) else {
            continue;
        };
        let shape = |v: ValueId| graph.ty(v).shape.as_slice();
        let summed = |c: &u8| !spec.out.contains(c);
        // What the constant alone sums is a number of equal terms.
        let alone = (other.iter().zip(shape(w))).filter(|(c, _)| summed(c) && !own.contains(c));
        let alone: Vec<Expr> = alone.map(|(_, e)| e.clone()).collect();
        let factor = number * product(&alone).as_const()? as f64;
        let terms = own.iter().zip(shape(x)).filter(|(c, _)| summed(c));
        let terms: Vec<Expr> = terms.map(|(_, e)| e.clone()).collect();
        let mean = product(&terms).as_const().map(|n| n as f64 * factor);
        if !moderate(dtype, factor) && !mean.is_some_and(|m| moderate(dtype, m)) {
            continue;
        }
        let places = 0..own.len();
        let (axes, left): (Vec<usize>, Vec<usize>) = places.partition(|d| summed(&own[*d]));
        let place = |d: &usize| spec.out.iter().position(|c| *c == own[*d]);
        return Some(Form {
            summand: k,
            axes: axes.iter().map(|d| *d as i64).collect(),
            left: left.iter().map(place).collect::<Option<_>>()?,
            factor,
        });
    }
    None
}

fn sum(cx: &mut Rewriter<'_>, node: &Node, form: &Form) -> Result<ValueId, GraphError> {
    let (label, result) = (&node.name, cx.old.ty(node.outputs[0]).clone());
    let mut y = cx.get(node.inputs[form.summand]);
    if !form.axes.is_empty() {
        // As means of rows are spelled, where the axes of the result allow it.
        let mut kept = cx.ty(y).shape.clone();
        form.axes.iter().for_each(|d| kept[*d as usize] = 1.into());
        let keeps = kept == result.shape && form.left.is_sorted();
        let attrs = Attrs::new().with("axes", form.axes.clone());
        y = cx.add("reduce_sum", label, &[y], attrs.with("keepdims", keeps))?;
    }
    if cx.ty(y).shape != result.shape || !form.left.is_sorted() {
        y = placed(cx, label, y, (&form.left, &result.shape))?;
    }
    if form.factor != 1.0 {
        let number = Tensor::splat(result.dtype, vec![], form.factor);
        let number = cx.new.add_constant(label, number);
        y = cx.add("mul", label, &[y, number], Attrs::new())?;
    }
    if cx.ty(y).shape != result.shape {
        let attrs = Attrs::new().with("shape", result.shape);
        y = cx.add("expand", label, &[y], attrs)?;
    }
    Ok(y)
}

/// A sum whose axes are those of places of the result, with its axes in order, and with axes of
/// extent 1 for all others.
fn placed(
    cx: &mut Rewriter<'_>,
    label: &str,
    y: ValueId,
    (places, result): (&[usize], &[Expr]),
) -> Result<ValueId, GraphError> {
    let (y, sorted) = cx.sort_axes(label, y, places)?;
    let extent = |d: usize| match sorted.contains(&d) {
        true => result[d].clone(),
        false => 1.into(),
    };
    let shape: Vec<Expr> = (0..result.len()).map(extent).collect();
    cx.reshape(y, &shape, label)
}

#[cfg(test)]
mod tests {
    use crate::graph::contract_to_sum;
    use tensmith_ir::eval::eval_graph;
    use tensmith_ir::graph::parse_graph;
    use tensmith_ir::tensor::Tensor;

    /// Whatever axes there are, and in whichever order the result has them.
    #[test]
    fn all_forms_are_sums() {
        let forms = [
            ("3, 4", "4, 5", "ab,bc->ac", "3, 5", 20),
            ("3, 4", "4, 5", "ab,bc->ca", "5, 3", 20),
            ("2, 3, 4", "2, 4, 1", "bmk,bkn->bnm", "2, 1, 3", 8),
            ("2, 3, 4", "4, 2", "bmk,kn->mnb", "3, 2, 2", 8),
            ("3, 4", "5", "ab,c->ba", "4, 3", 5),
        ];
        for (x, w, spec, y, count) in forms {
            let elements = vec!["0.5"; count].join(", ");
            let text = format!(
                r#"graph "g" () {{
  %0 = input "x" : f32[{x}]
  %1 = const "w" : f32[{w}] = [{elements}]
  %2 = contract(%0, %1) {{spec="{spec}"}} "y" : f32[{y}]
  output "y" = %2
}}
"#
            );
            let graph = parse_graph(&text).unwrap();
            let summed = contract_to_sum(&graph).unwrap();
            assert!(
                summed.nodes.iter().all(|n| n.op.name != "contract"),
                "{spec}"
            );
            let shape: Vec<usize> = x.split(", ").map(|d| d.parse().unwrap()).collect();
            let x: Vec<f32> = (0..shape.iter().product::<usize>())
                .map(|k| (k * k % 7) as f32)
                .collect();
            let x = [Tensor::from_f32(shape, &x)];
            let of = |g| eval_graph(g, &x).unwrap().remove(0);
            let (found, want) = (of(&summed), of(&graph));
            assert_eq!(
                (&found.shape, found.to_f64()),
                (&want.shape, want.to_f64()),
                "{spec}"
            );
        }
    }
}
