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
    let indices = indices.to_i64();
    taken(cx, node, (x, axis), &indices)
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
    let joined = [&[product(&shape[..length])], &shape[length..]].concat();
    let flat = cx.reshape(x, &joined, &node.name)?;
    taken(cx, node, (flat, 0), &places)
}

/// The elements of a value at places along an axis, under the shape of the node's result.
fn taken(cx: &mut Rewriter<'_>, node: &Node, (x, axis): (ValueId, usize), places: &[i64]) -> Found {
    let Some(extent) = cx.ty(x).shape[axis].as_const() else {
        return Ok(None);
    };
    if places.is_empty() || places.iter().any(|i| !(0..extent).contains(i)) {
        return Ok(None);
    }
    let mut found = in_steps(cx, node, (x, axis), places)?;
    if found.is_none() {
        found = turned(cx, node, (x, axis), places)?;
    }
    if found.is_none() {
        found = each_repeated(cx, node, (x, axis), places)?;
    }
    let Some(found) = found else { return Ok(None) };
    let shape = cx.old.ty(node.outputs[0]).shape.clone();
    cx.reshape(found, &shape, &node.name).map(Some)
}

/// Places that run in steps, as a slice.
fn in_steps(
    cx: &mut Rewriter<'_>,
    node: &Node,
    (x, axis): (ValueId, usize),
    places: &[i64],
) -> Found {
    let step = match places {
        [first, second, ..] => second - first,
        _ => 1,
    };
    let runs = |k: usize| places[0] + k as i64 * step;
    if step <= 0 || (0..places.len()).any(|k| places[k] != runs(k)) {
        return Ok(None);
    }
    let shape = cx.ty(x).shape.clone();
    let mut starts = vec![Expr::from(0); shape.len()];
    let (mut sizes, mut steps) = (shape.clone(), vec![1; shape.len()]);
    sizes[axis] = (places.len() as i64).into();
    (starts[axis], steps[axis]) = (places[0].into(), step);
    let attrs = Attrs::new()
        .with("starts", starts)
        .with("sizes", sizes)
        .with("steps", steps);
    cx.add("slice", &node.name, &[x], attrs).map(Some)
}

/// All elements in a few runs, as a concatenation of slices.
fn turned(
    cx: &mut Rewriter<'_>,
    node: &Node,
    (x, axis): (ValueId, usize),
    places: &[i64],
) -> Found {
    let shape = cx.ty(x).shape.clone();
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for at in places {
        match runs.last_mut() {
            Some((start, size)) if *start + *size == *at => *size += 1,
            _ => runs.push((*at, 1)),
        }
    }
    let mut ordered = runs.clone();
    ordered.sort_unstable();
    let next = ordered.iter().map(|(start, size)| start + size);
    let disjoint = next
        .zip(&ordered[1..])
        .all(|(end, (start, _))| end == *start);
    let all = shape[axis].is(places.len() as i64) && disjoint && ordered[0].0 == 0;
    if runs.len() > RUNS || !all {
        return Ok(None);
    }
    let mut parts = Vec::new();
    for (start, size) in runs {
        let mut starts = vec![Expr::from(0); shape.len()];
        let mut sizes = shape.clone();
        (starts[axis], sizes[axis]) = (start.into(), size.into());
        let attrs = Attrs::new()
            .with("starts", starts)
            .with("sizes", sizes)
            .with("steps", vec![1; shape.len()]);
        parts.push(cx.add("slice", &node.name, &[x], attrs)?);
    }
    let attrs = Attrs::new().with("axis", axis as i64);
    cx.add("concat", &node.name, &parts, attrs).map(Some)
}

/// All elements in order, each as often, as a repetition.
fn each_repeated(
    cx: &mut Rewriter<'_>,
    node: &Node,
    (x, axis): (ValueId, usize),
    places: &[i64],
) -> Found {
    let mut shape = cx.ty(x).shape.clone();
    let count = places.len() as i64;
    let extent = shape[axis].as_const().unwrap_or(1);
    let times = count / extent;
    let each = (0..places.len()).all(|k| places[k] == k as i64 / times.max(1));
    if times < 2 || times * extent != count || !each {
        return Ok(None);
    }
    if extent > 1 {
        return repetition(cx, node, x, axis, times).map(Some);
    }
    shape[axis] = times.into();
    let attrs = Attrs::new().with("shape", shape);
    cx.add("expand", &node.name, &[x], attrs).map(Some)
}
