//! Whose fault it is when operands do not fit a row: the model's, or what is known of its sizes.
use std::collections::BTreeSet;

use tensmith_ir::dtype::DType;
use tensmith_ir::expr::{Atom, Expr, Ranges, Symbol};
use tensmith_ir::graph::{AttrValue, Attrs, Graph, TensorType, ValueId};
use tensmith_ir::ops::{self, Class, InferCx, Op};

/// Values that are tried for size symbols: small ones, of which some are sums and multiples of
/// others, and one that all small numbers divide.
const SIZES: [i64; 7] = [1, 2, 3, 4, 8, 12, 720_720];

/// Assignments that are tried, at most.
const TRIALS: usize = 512;

/// Axes that rows with windows have, at most; the standard's operators have any number.
const AXES: usize = 5;

/// Whether operands that a row refused break the operator's rules, whatever sizes there are: then
/// the model is wrong. Else its sizes are not known well enough, or the row takes less than the
/// operator.
pub(super) fn is_certain(graph: &Graph, op: Op, inputs: &[ValueId], attrs: &Attrs) -> bool {
    let types: Vec<&TensorType> = inputs.iter().map(|v| graph.ty(*v)).collect();
    let Ok(attrs) = op.complete_attrs(attrs.clone()) else {
        return false;
    };
    if takes_less(op, &types) {
        return false;
    }
    let symbols: Vec<Symbol> = symbols(&types, &attrs).into_iter().collect();
    let trials = SIZES.len().saturating_pow(symbols.len() as u32).min(TRIALS);
    (0..trials).all(|trial| {
        let value = |symbol: &Symbol| {
            let k = symbols.iter().position(|s| s == symbol)?;
            let digit = trial / SIZES.len().saturating_pow(k as u32) % SIZES.len();
            Some(SIZES[digit])
        };
        let at = |e: &Expr| {
            let found = e.eval(&|atom| match atom {
                Atom::Size(s) => value(s),
                _ => None,
            });
            found.map_or_else(|| e.clone(), Expr::from)
        };
        !accepts(op, &types, &attrs, (&Ranges::new(), &at))
    })
}

/// The greatest value of a size symbol that a row can take which refused its operands, if that is
/// why: they have as many elements as a table has rows, of which no more than so many can be taken.
pub(super) fn greatest(
    graph: &Graph,
    op: Op,
    inputs: &[ValueId],
    attrs: &Attrs,
) -> Option<(Symbol, i64)> {
    let types: Vec<&TensorType> = inputs.iter().map(|v| graph.ty(*v)).collect();
    let shapes: Vec<&[Expr]> = types.iter().map(|t| &t.shape[..]).collect();
    let attrs = op.complete_attrs(attrs.clone()).ok()?;
    greatest_of(&graph.ranges(), &shapes, &|ranges| {
        let bound = |e: &Expr| e.simplify(ranges);
        accepts(op, &types, &attrs, (ranges, &bound))
    })
}

/// As [`greatest`], for shapes that do not broadcast.
pub(super) fn greatest_to_broadcast(ranges: &Ranges, shapes: &[&[Expr]]) -> Option<(Symbol, i64)> {
    greatest_of(ranges, shapes, &|ranges| {
        let bound = |s: &&[Expr]| s.iter().map(|e| e.simplify(ranges)).collect::<Vec<_>>();
        let bound: Vec<Vec<Expr>> = shapes.iter().map(bound).collect();
        let bound: Vec<&[Expr]> = bound.iter().map(|s| &s[..]).collect();
        ops::broadcast_shapes(&bound).is_ok()
    })
}

/// A limit among the extents of shapes that are accepted within it.
fn greatest_of(
    ranges: &Ranges,
    shapes: &[&[Expr]],
    accepted: &dyn Fn(&Ranges) -> bool,
) -> Option<(Symbol, i64)> {
    let dims = shapes.iter().copied().flatten();
    let limits: BTreeSet<(Symbol, i64)> = dims.filter_map(limited).collect();
    limits.into_iter().find(|(symbol, most)| {
        let mut ranges = ranges.clone();
        ranges.bind_size(symbol.clone(), 0, *most);
        accepted(&ranges)
    })
}

/// The symbol and the number of which an extent is the lesser.
fn limited(e: &Expr) -> Option<(Symbol, i64)> {
    let [(atoms, 1)] = e.terms() else { return None };
    let [Atom::Min(pair)] = &atoms[..] else {
        return None;
    };
    let (symbol, most) = match (pair.0.as_const(), pair.1.as_const()) {
        (Some(n), None) => (&pair.1, n),
        (None, Some(n)) => (&pair.0, n),
        _ => return None,
    };
    let symbol = symbol.symbols().into_iter().next()?;
    let least = Expr::at_most(&Expr::size(symbol.clone()), most);
    (*e == least).then_some((symbol, most))
}

/// Whether a row takes less than the operators that become it.
fn takes_less(op: Op, types: &[&TensorType]) -> bool {
    let windows = op.name.starts_with("conv") || op.name.starts_with("pool");
    let unknown = types.first().is_some_and(|t| !op.types.contains(&t.dtype));
    let wide = windows && types.iter().any(|t| t.rank() > AXES);
    let scatters = op.name.starts_with("scatter") && types.iter().any(|t| t.dtype == DType::Bool);
    unknown || wide || scatters || op.name == "resize" || op.class == Class::Control
}

fn symbols(types: &[&TensorType], attrs: &Attrs) -> BTreeSet<Symbol> {
    let dims = attrs.iter().filter_map(|(_, a)| match a {
        AttrValue::Dims(dims) => Some(dims),
        _ => None,
    });
    let all = types.iter().map(|t| &t.shape).chain(dims);
    all.flatten().flat_map(Expr::symbols).collect()
}

/// Whether a row takes operands whose extents are what `at` says, of symbols in ranges.
fn accepts(
    op: Op,
    types: &[&TensorType],
    attrs: &Attrs,
    (ranges, at): (&Ranges, &dyn Fn(&Expr) -> Expr),
) -> bool {
    let bound = |t: &&TensorType| TensorType::new(t.dtype, t.shape.iter().map(at).collect());
    let types: Vec<TensorType> = types.iter().map(bound).collect();
    let inputs: Vec<&TensorType> = types.iter().collect();
    let mut known = Attrs::new();
    for (name, attr) in attrs.iter() {
        known.set(
            name,
            match attr {
                AttrValue::Dims(dims) => AttrValue::Dims(dims.iter().map(at).collect()),
                other => other.clone(),
            },
        );
    }
    let cx = InferCx {
        inputs: &inputs,
        constants: &vec![None; inputs.len()],
        attrs: &known,
        regions: &[],
        ranges,
    };
    op.infer_types(&cx).is_ok()
}
