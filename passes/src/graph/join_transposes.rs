//! Makes one transpose of two that only a reshape is between.
//!
//! Requires: nothing.
//! Ensures: no transpose of a reshape of a transpose, each read by the next one only, if the axes
//! that the reshape splits and joins have common parts.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[6, 5, 4]
//!   %1 = transpose(%0) {perm=[1, 0, 2]} "t" : f32[5, 6, 4]
//!   %2 = reshape(%1) {shape=[5, 2, 12]} "r" : f32[5, 2, 12]
//!   %3 = transpose(%2) {perm=[1, 0, 2]} "y" : f32[2, 5, 12]
//!   output "y" = %3
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[6, 5, 4]
//!   %1 = reshape(%0) {shape=[2, 3, 5, 4]} "y" : f32[2, 3, 5, 4]
//!   %2 = transpose(%1) {perm=[0, 2, 1, 3]} "y" : f32[2, 5, 3, 4]
//!   %3 = reshape(%2) {shape=[2, 5, 12]} "y" : f32[2, 5, 12]
//!   output "y" = %3
//! }
//! ```
//! Source: the definitions of the ops; an index of an axis is a number in mixed radix, whose digits
//! are those of the parts.
use super::Rewriter;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, NodeId};

/// The graph with transposes joined.
///
/// Errors: never for a valid graph.
pub fn join_transposes(graph: &Graph) -> Result<Graph, GraphError> {
    let uses = graph.uses();
    Rewriter::run(graph, &mut |cx, node| {
        let Some([inner, reshape]) = between(graph, &uses, node) else {
            return Ok(None);
        };
        let Some(joined) = joined(graph, [inner, reshape, node]) else {
            return Ok(None);
        };
        let x = cx.get(inner.inputs[0]);
        let split = cx.reshape(x, &joined.split, &node.name)?;
        let stays = joined.perm.iter().copied().eq(0..joined.perm.len() as i64);
        let moved = match stays {
            true => split,
            false => {
                let attrs = Attrs::new().with("perm", joined.perm);
                cx.add("transpose", &node.name, &[split], attrs)?
            }
        };
        let shape = &graph.ty(node.outputs[0]).shape;
        Ok(Some(vec![cx.reshape(moved, shape, &node.name)?]))
    })
}

/// The transpose and the reshape before a transpose, if nothing else reads them.
fn between<'g>(graph: &'g Graph, uses: &[Vec<NodeId>], node: &'g Node) -> Option<[&'g Node; 2]> {
    let above = |node: &Node, name: &str| {
        let value = node.inputs[0];
        let only = uses[value.0 as usize].len() == 1 && !graph.outputs.contains(&value);
        let id = graph.producer(value).filter(|_| only)?;
        Some(graph.node(id)).filter(|n| n.op.name == name)
    };
    if node.op.name != "transpose" {
        return None;
    }
    let reshape = above(node, "reshape")?;
    Some([above(reshape, "transpose")?, reshape])
}

/// One transpose between two reshapes.
struct Joined {
    /// The shape before the transpose.
    split: Vec<Expr>,
    perm: Vec<i64>,
}

fn joined(graph: &Graph, [inner, reshape, outer]: [&Node; 3]) -> Option<Joined> {
    let shape = |node: &Node| &graph.ty(node.outputs[0]).shape;
    let parts = parts(shape(inner), shape(reshape))?;
    // The parts of the axes of the first operand, in their order there.
    let perm = inner.attrs.ints("perm");
    let place = |axis: usize| perm.iter().position(|p| *p == axis as i64);
    let mut order = Vec::new();
    for axis in 0..perm.len() {
        order.extend(parts.from[place(axis)?].iter().copied());
    }
    let outer = outer.attrs.ints("perm").iter();
    let wanted = outer.flat_map(|p| parts.to[*p as usize].iter());
    let at = |part: &usize| order.iter().position(|o| o == part).map(|k| k as i64);
    Some(Joined {
        perm: wanted.map(at).collect::<Option<_>>()?,
        split: order.iter().map(|k| parts.extents[*k].clone()).collect(),
    })
}

/// The common parts of the axes of two shapes with the same elements.
pub(super) struct Parts {
    extents: Vec<Expr>,
    /// The parts of each axis of the first shape, and of the second; axes of extent 1 have none.
    pub(super) from: Vec<Vec<usize>>,
    pub(super) to: Vec<Vec<usize>>,
}

/// `None` where an axis ends within a part of the other shape's.
pub(super) fn parts(from: &[Expr], to: &[Expr]) -> Option<Parts> {
    let mut found = Parts {
        extents: vec![],
        from: vec![vec![]; from.len()],
        to: vec![vec![]; to.len()],
    };
    let (mut i, mut j) = (0, 0);
    // What is left of the axes at hand.
    let mut left: [Option<Expr>; 2] = [None, None];
    loop {
        while left[0].is_none() && from.get(i).is_some_and(|e| e.is(1)) {
            i += 1;
        }
        while left[1].is_none() && to.get(j).is_some_and(|e| e.is(1)) {
            j += 1;
        }
        if i == from.len() || j == to.len() {
            return (i == from.len() && j == to.len()).then_some(found);
        }
        let a = left[0].take().unwrap_or_else(|| from[i].clone());
        let b = left[1].take().unwrap_or_else(|| to[j].clone());
        let part = if a == b {
            a.clone()
        } else {
            let (x, y) = (a.as_const()?, b.as_const()?);
            let (small, large) = (x.min(y), x.max(y));
            if small == 0 || large % small != 0 {
                return None;
            }
            left[usize::from(x < y)] = Some((large / small).into());
            small.into()
        };
        let number = found.extents.len();
        found.extents.push(part);
        found.from[i].push(number);
        found.to[j].push(number);
        i += usize::from(left[0].is_none());
        j += usize::from(left[1].is_none());
    }
}

#[cfg(test)]
mod tests {
    use super::parts;
    use tensmith_ir::expr::Expr;

    fn shape(extents: &[i64]) -> Vec<Expr> {
        extents.iter().map(|e| Expr::from(*e)).collect()
    }

    #[test]
    fn parts_are_common_to_both_shapes() {
        let found = parts(&shape(&[1, 6, 4]), &shape(&[2, 12, 1])).unwrap();
        assert_eq!(found.extents, shape(&[2, 3, 4]));
        assert_eq!(found.from, [vec![], vec![0, 1], vec![2]]);
        assert_eq!(found.to, [vec![0], vec![1, 2], vec![]]);
        assert!(parts(&shape(&[6, 4]), &shape(&[4, 6])).is_none());
        assert!(parts(&shape(&[0, 4]), &shape(&[2, 0])).is_none());
    }
}
