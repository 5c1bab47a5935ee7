//! Control flow: ops with closed subgraphs, whose captures are operands.
use super::{AttrDef, Class, InferCx, Lower, OpDef, Tolerance, attr};
use crate::dtype::DType;
use crate::eval::{EvalCx, EvalError, eval_with_sizes};
use crate::graph::{AttrKind, Graph, TensorType};
use crate::tensor::Tensor;

const LOOP_ATTRS: &[AttrDef] = &[
    attr(
        "carried",
        AttrKind::Int,
        "how many values pass from iteration to iteration",
    ),
    attr(
        "scans",
        AttrKind::Int,
        "how many values are collected, one element an iteration",
    ),
];

/// Rows with subgraphs.
pub const OPS: &[OpDef] = &[
    OpDef {
        name: "if",
        doc: "the results of the first region if `cond` is true, else of the second; operands: cond, captures...",
        arity: (1, usize::MAX),
        attrs: &[],
        class: Class::Control,
        types: &[DType::Bool],
        infer: infer_if,
        eval: eval_if,
        lower: Lower::Plan,
        row_axes: None,
        tolerance: Tolerance::Exact,
        samples: |_| vec![],
        source: "ONNX operators, If",
    },
    OpDef {
        name: "loop",
        doc: "repeats the region (iteration, cond, carried..., captures...) -> (cond, carried..., scan elements...) while iteration < trip and cond; operands: trip, cond, carried..., captures...",
        arity: (2, usize::MAX),
        attrs: LOOP_ATTRS,
        class: Class::Control,
        types: &[DType::I64],
        infer: infer_loop,
        eval: eval_loop,
        lower: Lower::Plan,
        row_axes: None,
        tolerance: Tolerance::Exact,
        samples: |_| vec![],
        source: "ONNX operators, Loop",
    },
];

fn scalar(dtype: DType) -> TensorType {
    TensorType::new(dtype, vec![])
}

fn want(what: &str, found: &TensorType, wanted: &TensorType) -> Result<(), String> {
    if found == wanted {
        return Ok(());
    }
    Err(format!("{what} is {found}, want {wanted}"))
}

/// Checks that a region takes values of these types.
fn check_inputs(region: &Graph, name: &str, wanted: &[&TensorType]) -> Result<(), String> {
    if region.inputs.len() != wanted.len() {
        return Err(format!(
            "region `{name}` has {} inputs, want {}",
            region.inputs.len(),
            wanted.len()
        ));
    }
    for (k, (v, ty)) in region.inputs.iter().zip(wanted).enumerate() {
        want(&format!("input {k} of region `{name}`"), region.ty(*v), ty)?;
    }
    Ok(())
}

fn output_types(region: &Graph) -> Vec<TensorType> {
    let types = region.outputs.iter();
    types.map(|v| region.ty(*v).clone()).collect()
}

fn infer_if(cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
    let [then, otherwise] = cx.regions else {
        return Err(format!("{} regions, want 2", cx.regions.len()));
    };
    want("the condition", cx.inputs[0], &scalar(DType::Bool))?;
    check_inputs(then, "then", &cx.inputs[1..])?;
    check_inputs(otherwise, "else", &cx.inputs[1..])?;
    let (types, others) = (output_types(then), output_types(otherwise));
    if types.len() != others.len() {
        let (a, b) = (types.len(), others.len());
        return Err(format!("region `then` has {a} results, `else` {b}"));
    }
    for (k, (other, ty)) in others.iter().zip(&types).enumerate() {
        want(&format!("result {k} of region `else`"), other, ty)?;
    }
    Ok(types)
}

/// A count out of an attribute.
fn count(cx: &InferCx<'_>, name: &str) -> Result<usize, String> {
    let n = cx.attrs.int(name);
    usize::try_from(n).map_err(|_| format!("`{name}` is {n}, want at least 0"))
}

fn infer_loop(cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
    let [body] = cx.regions else {
        return Err(format!("{} regions, want 1", cx.regions.len()));
    };
    let (carried, scans) = (count(cx, "carried")?, count(cx, "scans")?);
    want("the trip count", cx.inputs[0], &scalar(DType::I64))?;
    want("the condition", cx.inputs[1], &scalar(DType::Bool))?;
    if cx.inputs.len() - 2 < carried {
        let found = cx.inputs.len() - 2;
        return Err(format!("{found} carried operands, want {carried}"));
    }
    let (i64_scalar, bool_scalar) = (scalar(DType::I64), scalar(DType::Bool));
    let inputs = [&[&i64_scalar], &cx.inputs[1..]].concat();
    check_inputs(body, "body", &inputs)?;
    let outputs = output_types(body);
    if Some(outputs.len()) != carried.checked_add(scans).and_then(|n| n.checked_add(1)) {
        let found = outputs.len();
        return Err(format!(
            "region `body` has {found} results, want 1 + {carried} + {scans}"
        ));
    }
    want("result 0 of region `body`", &outputs[0], &bool_scalar)?;
    let state = cx.inputs[2..].iter().take(carried);
    for (k, (ty, wanted)) in outputs[1..].iter().zip(state).enumerate() {
        want(&format!("result {} of region `body`", k + 1), ty, wanted)?;
    }
    let mut types: Vec<TensorType> = outputs[1..=carried].to_vec();
    if scans > 0 {
        let trip = cx.constants[0].map(|t| t.to_i64()[0].max(0));
        let trip = trip.ok_or("a loop with scan results needs a constant trip count")?;
        for element in &outputs[1 + carried..] {
            let shape = [vec![trip.into()], element.shape.clone()].concat();
            types.push(TensorType::new(element.dtype, shape));
        }
    }
    Ok(types)
}

fn run_region(
    cx: &EvalCx<'_>,
    region: &Graph,
    inputs: &[Tensor],
) -> Result<Vec<Tensor>, EvalError> {
    eval_with_sizes(region, inputs, cx.sizes, &mut |_, _| {})
}

fn eval_if(cx: &EvalCx<'_>) -> Result<Vec<Tensor>, EvalError> {
    let chosen = if cx.inputs[0].to_i64()[0] != 0 { 0 } else { 1 };
    let captures: Vec<Tensor> = cx.inputs[1..].iter().map(|t| (*t).clone()).collect();
    run_region(cx, &cx.regions[chosen], &captures)
}

fn eval_loop(cx: &EvalCx<'_>) -> Result<Vec<Tensor>, EvalError> {
    let carried = cx.attrs.int("carried") as usize;
    let trip = cx.inputs[0].to_i64()[0].max(0);
    let mut cond = cx.inputs[1].clone();
    let operands: Vec<Tensor> = cx.inputs[2..].iter().map(|t| (*t).clone()).collect();
    let (state, captures) = operands.split_at(carried);
    let mut state = state.to_vec();
    let mut scans: Vec<Vec<u8>> = vec![vec![]; cx.attrs.int("scans") as usize];
    let mut at = 0;
    while at < trip && cond.to_i64()[0] != 0 {
        let counter = Tensor::from_i64(vec![], &[at]);
        let inputs = [&[counter, cond], &state[..], captures].concat();
        let mut results = run_region(cx, &cx.regions[0], &inputs)?.into_iter();
        cond = results
            .next()
            .expect("invariant: a body gives its condition");
        state = results.by_ref().take(carried).collect();
        for (scan, element) in scans.iter_mut().zip(results) {
            scan.extend_from_slice(&element.data);
        }
        at += 1;
    }
    if at != trip && !scans.is_empty() {
        return Err(cx.error(format!("the loop ended after {at} of {trip} iterations")));
    }
    for (k, data) in scans.into_iter().enumerate() {
        let ty = &cx.outputs[carried + k];
        let tensor = Tensor::new(ty.dtype, cx.output_shape(carried + k)?, data.into());
        state.push(tensor.expect("invariant: one element an iteration"));
    }
    Ok(state)
}
