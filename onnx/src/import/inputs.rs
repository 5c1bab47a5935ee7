//! Inputs of the main graph, and what their dimensions are.
use std::collections::BTreeMap;

use tensmith_ir::expr::{Expr, Symbol};
use tensmith_ir::graph::{SymbolInfo, TensorType};

use super::cx::Cx;
use super::value::{Val, dtype_of, no_dtype};
use super::{ImportOptions, KeepSymbolic};
use crate::error::{OnnxError, Result, quoted};
use crate::proto::dimension::Value as Extent;
use crate::proto::{Dimension, ValueInfoProto};

/// The greatest value of a symbol without a bound of its own.
const SYMBOL_MAX: i64 = 1 << 20;
/// The largest dimension of an input.
pub const DIM_MAX: i64 = 1 << 40;

/// Adds the inputs that a caller must supply; `least` is the least value of symbols.
pub(crate) fn add_inputs(cx: &mut Cx<'_>, least: i64) -> Result<()> {
    let inputs: Vec<&ValueInfoProto> = cx.model.required_inputs().collect();
    let mut bound = cx.options.dims.clone();
    for input in &inputs {
        bind_by_shape(cx.options, input, &mut bound);
    }
    let mut defaulted = Vec::new();
    for input in inputs {
        let place = format!("input {}", quoted(&input.name));
        let Some((elem, dims)) = input.tensor_type() else {
            let what = "only dense tensors of numbers are supported as inputs";
            cx.problem(&place, what.into());
            cx.bind(&input.name, Val::Failed);
            continue;
        };
        let Some(dtype) = dtype_of(elem) else {
            cx.problem(&place, no_dtype(elem));
            cx.bind(&input.name, Val::Failed);
            continue;
        };
        let given = cx.options.input_shapes.get(&input.name);
        let shape = match (dims, given) {
            (Some(dims), _) => named_shape(cx, input, dims, (&bound, least), &mut defaulted)?,
            (None, Some(given)) => given.iter().map(|n| Expr::from(*n)).collect(),
            (None, None) => {
                let what = "its rank is unknown: give it a value (`--inputs`)";
                cx.problem(&place, what.into());
                cx.bind(&input.name, Val::Failed);
                continue;
            }
        };
        let frame = cx.frame_mut();
        let id = frame
            .graph
            .add_input(&input.name, TensorType::new(dtype, shape));
        frame.named.insert(id);
        cx.bind(&input.name, id.into());
    }
    if !defaulted.is_empty() {
        let names = defaulted.join(", ");
        cx.notes.push(format!(
            "dimensions without a value are taken as 1: {names} (bind them: --dim NAME=N)"
        ));
    }
    Ok(())
}

/// The name of a dimension that is not a number.
fn dim_name(input: &ValueInfoProto, axis: usize, dim: &Dimension) -> String {
    match &dim.value {
        Some(Extent::Symbol(name)) if !name.is_empty() => name.clone(),
        _ => format!("{}_{axis}", input.name),
    }
}

fn bind_by_shape(
    options: &ImportOptions,
    input: &ValueInfoProto,
    bound: &mut BTreeMap<String, i64>,
) {
    let Some(given) = options.input_shapes.get(&input.name) else {
        return;
    };
    let Some((_, Some(dims))) = input.tensor_type() else {
        return;
    };
    for (axis, (dim, n)) in dims.iter().zip(given).enumerate() {
        let name = dim_name(input, axis, dim);
        if !matches!(dim.value, Some(Extent::Extent(_))) && !kept(options, &name) {
            bound.entry(name).or_insert(*n);
        }
    }
}

fn kept(options: &ImportOptions, name: &str) -> bool {
    match &options.keep_symbolic {
        KeepSymbolic::None => false,
        KeepSymbolic::Names(names) => names.contains(name),
        KeepSymbolic::All => !options.dims.contains_key(name),
    }
}

fn named_shape(
    cx: &mut Cx<'_>,
    input: &ValueInfoProto,
    dims: &[Dimension],
    (bound, least): (&BTreeMap<String, i64>, i64),
    defaulted: &mut Vec<String>,
) -> Result<Vec<Expr>> {
    let mut shape = Vec::new();
    for (axis, dim) in dims.iter().enumerate() {
        if let Some(Extent::Extent(n)) = dim.value {
            shape.push(extent(input, axis, n)?);
            continue;
        }
        let name = dim_name(input, axis, dim);
        if kept(cx.options, &name) {
            let max = *cx.options.max_dims.get(&name).unwrap_or(&SYMBOL_MAX);
            let symbol = Symbol::new(&name);
            let info = SymbolInfo { min: least, max };
            cx.frame_mut().graph.symbols.insert(symbol.clone(), info);
            shape.push(Expr::size(symbol));
        } else if let Some(n) = bound.get(&name) {
            shape.push(extent(input, axis, *n)?);
        } else {
            if !defaulted.contains(&name) {
                defaulted.push(name);
            }
            shape.push(Expr::from(1));
        }
    }
    Ok(shape)
}

fn extent(input: &ValueInfoProto, axis: usize, n: i64) -> Result<Expr> {
    if (0..=DIM_MAX).contains(&n) {
        return Ok(n.into());
    }
    let place = format!("input {}", quoted(&input.name));
    Err(OnnxError::invalid(
        place,
        format!("dimension {axis} is {n}"),
    ))
}
