//! Whose fault it is when operands do not fit a row: the model's, or what is known of its sizes.
use std::collections::BTreeSet;

use tensmith_ir::dtype::DType;
use tensmith_ir::expr::{Atom, Expr, Symbol};
use tensmith_ir::graph::{AttrValue, Attrs, Graph, TensorType, ValueId};
use tensmith_ir::ops::{Class, InferCx, Op};

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
        !accepts(op, &types, &attrs, &value)
    })
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

/// Whether a row takes operands for some sizes.
fn accepts(
    op: Op,
    types: &[&TensorType],
    attrs: &Attrs,
    value: &dyn Fn(&Symbol) -> Option<i64>,
) -> bool {
    let at = |e: &Expr| {
        let found = e.eval(&|atom| match atom {
            Atom::Size(s) => value(s),
            _ => None,
        });
        found.map_or_else(|| e.clone(), Expr::from)
    };
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
    };
    op.infer_types(&cx).is_ok()
}
