//! Writes conditions and choices by them in one way, however masks are stored.
//!
//! Requires: nothing.
//! Ensures: no cast to bool and no comparison of a bool that was cast with 0; no complement of
//! another complement, of `eq` and `ne`, and of comparisons of integers; no conjunction with what is
//! all true, and no disjunction with what is all false; where one of two values
//! that are chosen is a number, it is the second one, if the condition has a complement that costs
//! nothing.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2, 3]
//!   %1 = input "m" : i64[2, 3]
//!   %2 = const "n" : f32[] = [-1.0]
//!   %3 = cast(%1) {to=bool} "b" : bool[2, 3]
//!   %4 = not(%3) {} "h" : bool[2, 3]
//!   %5 = select(%4, %2, %0) {} "y" : f32[2, 3]
//!   output "y" = %5
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2, 3]
//!   %1 = input "m" : i64[2, 3]
//!   %2 = const "b" : i64[] = [0]
//!   %3 = ne(%1, %2) {} "y" : bool[2, 3]
//!   %4 = const "n" : f32[] = [-1.0]
//!   %5 = select(%3, %0, %4) {} "y" : f32[2, 3]
//!   output "y" = %5
//! }
//! ```
//! Source: a number casts to true if it is not 0; complements of comparisons, which floats that are
//! NaN have for `eq` and `ne` only.
use super::Rewriter;
use super::fold_identities::uniform;
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::{Attrs, Def, Graph, GraphError, Node, ValueId};
use tensmith_ir::tensor::Tensor;

type Found = Result<Option<ValueId>, GraphError>;

/// The graph with conditions in one form.
///
/// Errors: never for a valid graph.
pub fn simplify_conditions(graph: &Graph) -> Result<Graph, GraphError> {
    Rewriter::run(graph, &mut |cx, node| {
        let found = match node.op.name {
            "cast" if node.attrs.dtype("to") == DType::Bool => as_bool(cx, node)?,
            "eq" | "ne" => compared(cx, node)?,
            "not" => {
                let x = cx.get(node.inputs[0]);
                complement(cx, &node.name, x)?
            }
            "select" => choice(cx, node)?,
            "and" | "or" => decided(cx, node)?,
            _ => None,
        };
        Ok(found.map(|v| vec![v]))
    })
}

/// The bool that a value is a cast of.
fn source(cx: &Rewriter<'_>, value: ValueId) -> Option<ValueId> {
    let from = cx.producer(value, "cast")?.inputs[0];
    (cx.ty(from).dtype == DType::Bool).then_some(from)
}

fn as_bool(cx: &mut Rewriter<'_>, node: &Node) -> Found {
    let x = cx.get(node.inputs[0]);
    let dtype = cx.ty(x).dtype;
    if let Some(from) = source(cx, x) {
        return Ok(Some(from));
    }
    if dtype == DType::Bool {
        return Ok(None);
    }
    let zero = cx
        .new
        .add_constant(&node.name, Tensor::splat(dtype, vec![], 0.0));
    cx.add("ne", &node.name, &[x, zero], Attrs::new()).map(Some)
}

/// Comparisons with 0 of what was a bool.
fn compared(cx: &mut Rewriter<'_>, node: &Node) -> Found {
    let operands = cx.operands(node);
    for [x, c] in [[operands[0], operands[1]], [operands[1], operands[0]]] {
        let zero = cx.constant(c).and_then(uniform) == Some(0.0);
        let from =
            source(cx, x).filter(|_| zero && cx.ty(x).shape == cx.old.ty(node.outputs[0]).shape);
        let Some(from) = from else { continue };
        if node.op.name == "ne" {
            return Ok(Some(from));
        }
        return match complement(cx, &node.name, from)? {
            Some(found) => Ok(Some(found)),
            None => cx.add("not", &node.name, &[from], Attrs::new()).map(Some),
        };
    }
    Ok(None)
}

/// The operand that a conjunction or a disjunction is, as the other one is a constant that changes
/// nothing.
fn decided(cx: &mut Rewriter<'_>, node: &Node) -> Found {
    let operands = cx.operands(node);
    let to = cx.old.ty(node.outputs[0]).clone();
    let neutral = f64::from(u8::from(node.op.name == "and"));
    for [x, c] in [[operands[0], operands[1]], [operands[1], operands[0]]] {
        let number = cx.constant(c).and_then(uniform);
        if to.dtype != DType::Bool || number != Some(neutral) {
            continue;
        }
        if *cx.ty(x) == to {
            return Ok(Some(x));
        }
        let attrs = Attrs::new().with("shape", to.shape);
        return cx.add("expand", &node.name, &[x], attrs).map(Some);
    }
    Ok(None)
}

/// The complement of a bool, if it takes no operation more.
fn complement(cx: &mut Rewriter<'_>, label: &str, value: ValueId) -> Found {
    if cx.ty(value).dtype != DType::Bool {
        return Ok(None);
    }
    if cx.constant(value).is_some() {
        return cx.add("not", label, &[value], Attrs::new()).map(Some);
    }
    let Def::Node(id, _) = cx.new.value(value).def else {
        return Ok(None);
    };
    let node = cx.new.node(id).clone();
    let integers = node.inputs.iter().all(|v| !cx.ty(*v).dtype.is_float());
    let (name, operands) = match (node.op.name, &node.inputs[..]) {
        ("not", [x]) => return Ok(Some(*x)),
        ("eq", [x, y]) => ("ne", [*x, *y]),
        ("ne", [x, y]) => ("eq", [*x, *y]),
        ("lt", [x, y]) if integers => ("le", [*y, *x]),
        ("le", [x, y]) if integers => ("lt", [*y, *x]),
        ("gt", [x, y]) if integers => ("le", [*x, *y]),
        ("ge", [x, y]) if integers => ("lt", [*x, *y]),
        ("reshape" | "expand", [x]) => {
            let Some(x) = complement(cx, label, *x)? else {
                return Ok(None);
            };
            return cx.add(node.op.name, label, &[x], node.attrs).map(Some);
        }
        _ => return Ok(None),
    };
    cx.add(name, label, &operands, Attrs::new()).map(Some)
}

/// A choice whose first value is a number and whose second is not, the other way round.
fn choice(cx: &mut Rewriter<'_>, node: &Node) -> Found {
    let [c, x, y] = cx.operands(node)[..] else {
        return Ok(None);
    };
    let number = |cx: &Rewriter<'_>, v| cx.constant(v).and_then(uniform).is_some();
    if !number(cx, x) || number(cx, y) {
        return Ok(None);
    }
    let Some(c) = complement(cx, &node.name, c)? else {
        return Ok(None);
    };
    cx.add("select", &node.name, &[c, y, x], Attrs::new())
        .map(Some)
}
