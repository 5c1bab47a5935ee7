//! Gathers by constant indices, as movements that say which elements they take.
use super::Rewriter;
use super::simplify_movement::repetition;
use tensmith_ir::expr::{Expr, product};
use tensmith_ir::graph::{Attrs, GraphError, Node, ValueId};

type Found = Result<Option<ValueId>, GraphError>;

/// Indices of more elements are not looked at.
const MANY: usize = 1 << 14;
/// Slices that a gather may be joined of, at most.
const RUNS: usize = 4;

/// A gather by constants as a slice, or as a repetition.
pub(super) fn gathered(cx: &mut Rewriter<'_>, node: &Node) -> Found {
    let (x, indices) = (cx.get(node.inputs[0]), cx.get(node.inputs[1]));
    let axis = node.attrs.int("axis") as usize;
    let Some(indices) = cx.constant(indices).filter(|t| t.count() <= MANY) else {
        return Ok(None);
    };
    let places = indices.to_i64();
    let extent = cx.ty(x).shape[axis].as_const();
    match extent.and_then(|extent| Form::of(&places, extent)) {
        Some(form) => taken(cx, node, (x, axis), (&places, form)).map(Some),
        None => Ok(None),
    }
}

/// A gather of tuples by constants, as one along the axes that they index, seen as one axis.
pub(super) fn gathered_tuples(cx: &mut Rewriter<'_>, node: &Node) -> Found {
    let (x, indices) = (cx.get(node.inputs[0]), cx.get(node.inputs[1]));
    let shape = cx.ty(x).shape.clone();
    let Some(indices) = cx.constant(indices).filter(|t| t.count() <= MANY) else {
        return Ok(None);
    };
    let length = indices.shape.last().copied().unwrap_or(0);
    let extents: Option<Vec<i64>> = shape[..length].iter().map(Expr::as_const).collect();
    let Some(extents) = extents.filter(|_| length > 0 && node.attrs.int("batch_dims") == 0) else {
        return Ok(None);
    };
    let place = |tuple: &[i64]| {
        let mut pairs = tuple.iter().zip(&extents);
        pairs.try_fold(0, |sum: i64, (i, extent)| {
            let i = if *i < 0 { i + extent } else { *i };
            (0..*extent).contains(&i).then_some(sum * extent + i)
        })
    };
    let tuples = indices.to_i64();
    let Some(places) = tuples.chunks(length).map(place).collect::<Option<Vec<_>>>() else {
        return Ok(None);
    };
    let Some(form) = Form::of(&places, extents.iter().product()) else {
        return Ok(None);
    };
    let joined = [&[product(&shape[..length])], &shape[length..]].concat();
    let flat = cx.reshape(x, &joined, &node.name)?;
    taken(cx, node, (flat, 0), (&places, form)).map(Some)
}

/// How places along an axis follow each other.
enum Form {
    /// From a first one in steps.
    Steps(i64),
    /// All places once, in a few runs: where each begins, and how long it is.
    Runs(Vec<(i64, i64)>),
    /// All places in order, each so often.
    Each(i64),
}

impl Form {
    fn of(places: &[i64], extent: i64) -> Option<Self> {
        if places.is_empty() || places.iter().any(|i| !(0..extent).contains(i)) {
            return None;
        }
        let step = match places {
            [first, second, ..] => second - first,
            _ => 1,
        };
        if step > 0 && places.windows(2).all(|w| w[1] - w[0] == step) {
            return Some(Form::Steps(step));
        }
        let count = places.len() as i64;
        let times = count / extent;
        let each = |(k, at): (usize, &i64)| *at == k as i64 / times.max(1);
        if times > 1 && times * extent == count && places.iter().enumerate().all(each) {
            return Some(Form::Each(times));
        }
        let mut runs: Vec<(i64, i64)> = Vec::new();
        for at in places {
            match runs.last_mut() {
                Some((start, size)) if *start + *size == *at => *size += 1,
                _ => runs.push((*at, 1)),
            }
        }
        let mut ordered = runs.clone();
        ordered.sort_unstable();
        let beside = |w: &[(i64, i64)]| w[0].0 + w[0].1 == w[1].0;
        let once = ordered[0].0 == 0 && count == extent && ordered.windows(2).all(beside);
        (once && runs.len() <= RUNS).then_some(Form::Runs(runs))
    }
}

/// The elements of a value at places along an axis, under the shape of the node's result.
fn taken(
    cx: &mut Rewriter<'_>,
    node: &Node,
    (x, axis): (ValueId, usize),
    (places, form): (&[i64], Form),
) -> Result<ValueId, GraphError> {
    let label = &node.name;
    let found = match form {
        Form::Steps(step) => {
            let count = places.len() as i64;
            cx.slice(x, axis, (places[0].into(), count.into(), step), label)?
        }
        Form::Runs(runs) => {
            let part = |(start, size): (i64, i64)| {
                cx.slice(x, axis, (start.into(), size.into(), 1), label)
            };
            let parts = runs.into_iter().map(part).collect::<Result<Vec<_>, _>>()?;
            cx.add(
                "concat",
                label,
                &parts,
                Attrs::new().with("axis", axis as i64),
            )?
        }
        Form::Each(times) if cx.ty(x).shape[axis].is(1) => {
            let mut shape = cx.ty(x).shape.clone();
            shape[axis] = times.into();
            cx.add("expand", label, &[x], Attrs::new().with("shape", shape))?
        }
        Form::Each(times) => repetition(cx, node, x, axis, times)?,
    };
    let shape = cx.old.ty(node.outputs[0]).shape.clone();
    cx.reshape(found, &shape, label)
}

#[cfg(test)]
mod tests {
    use crate::graph::simplify_movement;
    use tensmith_ir::dtype::DType;
    use tensmith_ir::eval::eval_graph;
    use tensmith_ir::graph::{Attrs, Graph, TensorType};
    use tensmith_ir::ops::op;
    use tensmith_ir::tensor::Tensor;

    /// Gathers `x[3, 4]` by constant indices of a shape; gives the ops that are left, if values stay.
    fn left(name: &str, attrs: Attrs, shape: &[usize], indices: &[i64]) -> Vec<&'static str> {
        let mut g = Graph::default();
        let x = g.add_input("x", TensorType::new(DType::F32, vec![3.into(), 4.into()]));
        let at = g.add_constant("i", Tensor::from_i64(shape.to_vec(), indices));
        let y = g.add_one(op(name), "y", &[x, at], attrs).unwrap();
        g.add_output("y", y);
        let found = simplify_movement(&g).unwrap();
        let numbers: Vec<f32> = (0..12).map(|k| k as f32).collect();
        let x = Tensor::from_f32(vec![3, 4], &numbers);
        let [want, got] = [&g, &found].map(|g| eval_graph(g, std::slice::from_ref(&x)).unwrap());
        assert_eq!(want[0].shape, got[0].shape);
        assert_eq!(want[0].to_f64(), got[0].to_f64());
        found.nodes.iter().map(|n| n.op.name).collect()
    }

    fn along(axis: i64) -> Attrs {
        Attrs::new().with("axis", axis)
    }

    #[test]
    fn gathers_are_slices_turns_and_repetitions() {
        assert_eq!(left("gather", along(1), &[2], &[1, 3]), ["slice"]);
        assert_eq!(
            left("gather", along(1), &[2, 2], &[0, 1, 2, 3]),
            ["reshape"]
        );
        let turned = left("gather", along(1), &[4], &[2, 3, 0, 1]);
        assert_eq!(turned, ["slice", "slice", "concat"]);
        let repeated = left("gather", along(0), &[6], &[0, 0, 1, 1, 2, 2]);
        assert!(!repeated.contains(&"gather"), "{repeated:?}");
        // In no order that a movement has.
        assert_eq!(left("gather", along(1), &[3], &[3, 0, 1]), ["gather"]);
    }

    #[test]
    fn gathers_of_tuples_are_too() {
        let tuples = |length: usize, of: &[i64]| {
            let shape = [of.len() / length, length];
            left("gather_nd", Attrs::new().with("batch_dims", 0), &shape, of)
        };
        assert_eq!(tuples(1, &[0, 2]), ["slice"]);
        assert_eq!(tuples(2, &[0, 1, 0, 2, 0, 3]), ["reshape", "slice"]);
        // From the end, as the elements 11, 10 and 0.
        assert_eq!(tuples(2, &[-1, -1, 2, 2, 0, 0]), ["gather_nd"]);
        assert_eq!(tuples(1, &[-2, -1]), ["slice"]);
    }
}
