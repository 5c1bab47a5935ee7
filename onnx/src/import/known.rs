//! Elements of small integer tensors, followed symbolically.
use std::collections::HashMap;
use std::rc::Rc;

use tensmith_ir::dtype::DType;
use tensmith_ir::eval::{Sizes, eval_node};
use tensmith_ir::expr::{Expr, Ranges};
use tensmith_ir::graph::{Graph, Node, TensorType, ValueId};
use tensmith_ir::ops::single_node_graph;
use tensmith_ir::tensor::Tensor;

/// Tensors with more elements are not followed.
const MAX_ELEMENTS: usize = 1024;

type Known = HashMap<ValueId, Rc<[Expr]>>;

/// The elements of an integer value, row-major, if they are known.
pub(crate) fn values(graph: &Graph, known: &Known, id: ValueId) -> Option<Vec<Expr>> {
    if let Some(values) = known.get(&id) {
        return Some(values.to_vec());
    }
    let tensor = graph.constant(id)?;
    let fits = !tensor.dtype.is_float() && tensor.count() <= MAX_ELEMENTS;
    fits.then(|| tensor.to_i64().into_iter().map(Expr::from).collect())
}

/// The elements of the first result of the node added last, if they follow from known operands.
pub(crate) fn propagate(graph: &Graph, known: &Known, ranges: &Ranges) -> Option<Vec<Expr>> {
    let node = graph.nodes.last()?;
    let out = graph.ty(node.outputs[0]);
    let shape = small_shape(out)?;
    if out.dtype.is_float() {
        return None;
    }
    let operand = |k: usize| values(graph, known, *node.inputs.get(k)?);
    match node.op.name {
        "reshape" => operand(0),
        "transpose" | "expand" | "slice" | "tile" => moved(graph, known, node, 1),
        "concat" | "pad" => moved(graph, known, node, usize::MAX),
        "gather" | "gather_elements" | "gather_nd" => moved(graph, known, node, 1),
        "cast" => {
            let from = graph.ty(node.inputs[0]).dtype;
            let wide = |d: DType| matches!(d, DType::I32 | DType::I64);
            let exact = (wide(from) || from == DType::Bool) && wide(out.dtype);
            operand(0).filter(|_| exact)
        }
        "reduce_sum" | "reduce_prod" | "reduce_max" | "reduce_min"
            if shape.iter().all(|d| *d == 1) =>
        {
            let all = operand(0)?.into_iter();
            let total = match node.op.name {
                "reduce_sum" => all.fold(Expr::from(0), |a, b| a + b),
                "reduce_prod" => all.fold(Expr::from(1), |a, b| a * b),
                "reduce_max" => all.reduce(|a, b| Expr::at_least(&a, b).simplify(ranges))?,
                _ => all.reduce(|a, b| Expr::at_most(&a, b).simplify(ranges))?,
            };
            Some(vec![total])
        }
        "range" => {
            let (start, delta) = (operand(0)?, operand(1)?);
            let at = |i: usize| start[0].clone() + delta[0].clone() * i;
            Some((0..shape[0]).map(at).collect())
        }
        name => elementwise(graph, known, node, &shape, |x| map(name, x, ranges)),
    }
}

fn small_shape(ty: &TensorType) -> Option<Vec<usize>> {
    let shape = ty.static_shape()?;
    let count = (shape.iter()).try_fold(1usize, |a, d| a.checked_mul(*d))?;
    (count <= MAX_ELEMENTS).then_some(shape)
}

/// The elements of a row that only moves them: the reference evaluator moves their positions.
/// Operands from `data` on are indices.
fn moved(graph: &Graph, known: &Known, node: &Node, data: usize) -> Option<Vec<Expr>> {
    let mut pool: Vec<Expr> = Vec::new();
    let mut types = Vec::new();
    let mut operands = Vec::new();
    for (k, id) in node.inputs.iter().enumerate() {
        let shape = small_shape(graph.ty(*id))?;
        let elements = values(graph, known, *id)?;
        let numbers: Vec<i64> = if k < data {
            let first = pool.len() as i64;
            pool.extend(elements);
            (first..pool.len() as i64).collect()
        } else {
            elements.iter().map(Expr::as_const).collect::<Option<_>>()?
        };
        let dims = shape.iter().map(|d| Expr::from(*d)).collect();
        types.push(TensorType::new(DType::I64, dims));
        operands.push(Tensor::from_i64(shape, &numbers));
    }
    let small = single_node_graph(node.op, &types, node.attrs.clone()).ok()?;
    let operands: Vec<&Tensor> = operands.iter().collect();
    let results = eval_node(&small, &small.nodes[0], &operands, &Sizes::new()).ok()?;
    let places = results.first()?.to_i64();
    places
        .into_iter()
        .map(|p| pool.get(usize::try_from(p).ok()?).cloned())
        .collect()
}

fn elementwise(
    graph: &Graph,
    known: &Known,
    node: &Node,
    shape: &[usize],
    f: impl Fn(&[&Expr]) -> Option<Expr>,
) -> Option<Vec<Expr>> {
    if !FOLLOWED.contains(&node.op.name) {
        return None;
    }
    let mut operands = Vec::new();
    for id in &node.inputs {
        operands.push((small_shape(graph.ty(*id))?, values(graph, known, *id)?));
    }
    let count: usize = shape.iter().product();
    (0..count)
        .map(|at| {
            let elements: Vec<&Expr> = (operands.iter())
                .map(|(own, values)| &values[broadcast_position(at, shape, own)])
                .collect();
            f(&elements)
        })
        .collect()
}

/// The row-major position in an operand of shape `own` for position `at` of the result.
fn broadcast_position(mut at: usize, shape: &[usize], own: &[usize]) -> usize {
    let (mut position, mut stride) = (0, 1);
    let skip = shape.len() - own.len();
    for d in (0..shape.len()).rev() {
        let index = at % shape[d];
        at /= shape[d];
        if d >= skip {
            let extent = own[d - skip];
            position += if extent == 1 { 0 } else { index * stride };
            stride *= extent;
        }
    }
    position
}

const FOLLOWED: &[&str] = &[
    "add", "sub", "mul", "div", "rem", "mod", "min", "max", "neg", "abs", "eq", "ne", "lt", "le",
    "gt", "ge", "and", "or", "not", "select",
];

/// One element of an elementwise row.
fn map(op: &str, x: &[&Expr], ranges: &Ranges) -> Option<Expr> {
    let both = || (x[0].clone(), x[1].clone());
    let truth = |t: bool| Expr::from(i64::from(t));
    let fine = |x: &Expr| ranges.proves_non_negative(x);
    let positive = |x: &Expr| ranges.proves_non_negative(&(x.clone() - 1));
    Some(match op {
        "add" => both().0 + both().1,
        "sub" => both().0 - both().1,
        "mul" => both().0 * both().1,
        "div" | "rem" | "mod" => match (x[0].as_const(), x[1].as_const()) {
            (Some(a), Some(b)) if b != 0 && a != i64::MIN => Expr::from(match op {
                "div" => a / b,
                "rem" => a % b,
                _ => ((a % b) + b) % b,
            }),
            _ if fine(x[0]) && positive(x[1]) && op == "div" => {
                x[0].div(x[1].clone()).simplify(ranges)
            }
            _ if fine(x[0]) && positive(x[1]) => x[0].rem(x[1].clone()).simplify(ranges),
            _ => return None,
        },
        "min" => Expr::at_most(x[0], x[1].clone()).simplify(ranges),
        "max" => Expr::at_least(x[0], x[1].clone()).simplify(ranges),
        "neg" => -x[0].clone(),
        "abs" if fine(x[0]) => x[0].clone(),
        "eq" => truth(equal(x, ranges)?),
        "ne" => truth(!equal(x, ranges)?),
        "lt" => truth(less(x[0], x[1], ranges)?),
        "gt" => truth(less(x[1], x[0], ranges)?),
        "le" => truth(!less(x[1], x[0], ranges)?),
        "ge" => truth(!less(x[0], x[1], ranges)?),
        "and" | "or" | "not" if !x.iter().all(|e| e.is(0) || e.is(1)) => return None,
        "and" => truth(x[0].is(1) && x[1].is(1)),
        "or" => truth(x[0].is(1) || x[1].is(1)),
        "not" => truth(x[0].is(0)),
        "select" => match x[0].as_const()? {
            0 => x[2].clone(),
            _ => x[1].clone(),
        },
        _ => return None,
    })
}

fn equal(x: &[&Expr], ranges: &Ranges) -> Option<bool> {
    if x[0] == x[1] {
        return Some(true);
    }
    let differ = less(x[0], x[1], ranges) == Some(true) || less(x[1], x[0], ranges) == Some(true);
    differ.then_some(false)
}

fn less(a: &Expr, b: &Expr, ranges: &Ranges) -> Option<bool> {
    let gap = b.clone() - a.clone();
    if ranges.proves_non_negative(&(gap.clone() - 1)) {
        Some(true)
    } else if ranges.proves_non_negative(&-gap) {
        Some(false)
    } else {
        None
    }
}
