//! Comparison of compiled models with the reference evaluator or stored tensors.
use crate::compile;
use crate::convert::{dtype, to_ir, to_runtime};
use crate::error::{Error, Result};
use crate::executable::default_memory_bytes;
use crate::flops::node_flops;
use crate::model::Imported;
use crate::options::Options;
use std::collections::{BTreeSet, HashMap};
use tensmith_ir::dtype::DType;
use tensmith_ir::eval::{EvalError, Sizes, bind_sizes, concrete_shape, eval_graph_with};
use tensmith_ir::graph::{Def, Graph, ValueId};
use tensmith_ir::tensor as ir;
use tensmith_runtime::{Tensor, TensorView};

/// Interior values that are held at once, at most. Units: bytes.
const HELD_BYTES: usize = 2 << 30;

/// Bytes of an element while the reference evaluator works on it, at most.
const WIDE_BYTES: u64 = 16;

/// How far results may be off.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest absolute error over the largest reference magnitude of a tensor.
    pub relative: f64,
    /// Elementwise `|found - expected| <= atol + rtol * |expected|`, if given; `relative` then
    /// does not count.
    pub elementwise: Option<(f64, f64)>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            relative: 1e-4,
            elementwise: None,
        }
    }
}

/// How one value compares.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The value's name.
    pub value: String,
    /// The node that computes it, if one does.
    pub node: String,
    /// The largest absolute error over the largest reference magnitude; infinite where only one
    /// of both is finite, or where both are different infinities.
    pub error: f64,
    /// The index of the worst element.
    pub index: Vec<usize>,
    /// What was computed there.
    pub found: f64,
    /// What the reference has there.
    pub expected: f64,
    /// Whether the value is within the limits.
    pub passed: bool,
}

/// All comparisons, in the order of computation, and what was left out.
#[derive(Debug, Default)]
pub struct Report {
    /// The comparisons.
    pub values: Vec<Comparison>,
    /// Values that were not compared, and why.
    pub skipped: Vec<String>,
}

impl Report {
    /// Whether every value is within the limits, and there is one.
    pub fn passed(&self) -> bool {
        !self.values.is_empty() && self.values.iter().all(|v| v.passed)
    }

    /// The first value outside the limits, which is closest to the cause.
    pub fn first_failure(&self) -> Option<&Comparison> {
        self.values.iter().find(|v| !v.passed)
    }

    /// The value with the largest error.
    pub fn worst(&self) -> Option<&Comparison> {
        self.values
            .iter()
            .max_by(|a, b| a.error.total_cmp(&b.error))
    }
}

/// What expected values come from.
pub enum Against<'a> {
    /// The reference evaluator.
    Reference,
    /// Stored tensors by the names of values.
    Stored(&'a crate::files::Named),
}

/// How far a verification is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The share of the expected work that is done, from 0 to 1.
    pub done: f64,
    /// What was compared last.
    pub last: Option<&'a Comparison>,
}

/// Compares two tensors. The index of equally bad elements is that of the first.
pub fn compare(found: &Tensor, expected: &ir::Tensor, limits: &Limits) -> Comparison {
    let (a, b) = (to_ir(found.view()).to_f64(), expected.to_f64());
    let largest = b.iter().filter(|x| x.is_finite());
    let largest = largest.fold(0_f64, |m, x| m.max(x.abs()));
    let mut passed = found.shape() == expected.shape && dtype(found.dtype()) == expected.dtype;
    let (mut worst, mut at) = (0_f64, 0);
    for (k, (x, y)) in a.iter().zip(&b).enumerate() {
        let error = absolute_error(*x, *y);
        if error > worst {
            (worst, at) = (error, k);
        }
        if let Some((rtol, atol)) = limits.elementwise {
            let bound = atol + rtol * y.abs();
            passed &= error == 0.0 || error <= bound && bound.is_finite();
        }
    }
    // Subnormal numbers have fewer digits the smaller they are.
    let error = worst / largest.max(least_normal(expected.dtype));
    if limits.elementwise.is_none() {
        passed &= error <= limits.relative;
    }
    Comparison {
        value: String::new(),
        node: String::new(),
        error,
        index: index_of(at, &expected.shape),
        found: a.get(at).copied().unwrap_or(0.0),
        expected: b.get(at).copied().unwrap_or(0.0),
        passed,
    }
}

/// The least number with all its digits; integers have no others.
fn least_normal(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::MIN_POSITIVE,
        DType::F16 => 1.0 / f64::from(1 << 14),
        _ => f64::from(f32::MIN_POSITIVE),
    }
}

/// 0 for equal values and for NaN with NaN; infinite where one is NaN or infinite.
fn absolute_error(x: f64, y: f64) -> f64 {
    if x == y || x.is_nan() && y.is_nan() {
        return 0.0;
    }
    let error = (x - y).abs();
    if error.is_nan() { f64::INFINITY } else { error }
}

fn index_of(mut at: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (i, extent) in index.iter_mut().zip(shape).rev() {
        *i = at % (*extent).max(1);
        at /= (*extent).max(1);
    }
    index
}

/// Compares outputs and interior values of a compiled model on given inputs, which are in the
/// order of the graph's inputs. `see` hears of each comparison as it happens.
///
/// Outputs are those of the model compiled as it is. Interior values come from the same graph
/// compiled with them as further outputs, which fuses less.
///
/// Errors: inputs that do not fit, a failed run-time check, a defect of the compiler; no stored
/// tensor has the name of a value.
pub fn verify(
    imported: &Imported,
    options: &Options,
    inputs: &[ir::Tensor],
    against: &Against<'_>,
    limits: &Limits,
    see: &mut dyn FnMut(Progress<'_>),
) -> Result<Report> {
    let graph = &imported.graph;
    let sizes = bind_sizes(graph, inputs).map_err(data_error)?;
    let mut report = Report::default();
    let budget = memory_budget(graph, options, inputs);
    check_reference_memory(graph, &sizes, budget)?;
    let interior = choose(imported, against, &sizes, budget, &mut report)?;
    let mut computed = Computed::new();
    let outputs = run(graph, options, inputs, budget)?;
    for ((id, name), tensor) in graph.outputs.iter().zip(&graph.output_names).zip(outputs) {
        let names = vec![name.clone()];
        computed.entry(*id).or_default().push((names, tensor));
    }
    if !interior.is_empty() {
        let probed = with_outputs(graph, &interior);
        for (id, tensor) in interior.iter().zip(run(&probed, options, inputs, budget)?) {
            let names = names_of(imported, against, *id);
            computed.entry(*id).or_default().push((names, tensor));
        }
    }
    match against {
        Against::Reference => {
            against_reference(graph, inputs, &sizes, computed, limits, see, &mut report)?
        }
        Against::Stored(stored) => {
            against_stored(graph, stored, computed, limits, see, &mut report)?
        }
    }
    Ok(report)
}

/// What was computed for each value, with the names that it has.
type Computed = HashMap<ValueId, Vec<(Vec<String>, Tensor)>>;

/// The names under which an interior value is compared.
fn names_of(imported: &Imported, against: &Against<'_>, id: ValueId) -> Vec<String> {
    match against {
        Against::Reference => vec![imported.graph.value(id).name.clone()],
        Against::Stored(stored) => {
            let outputs = &imported.graph.output_names;
            let names = imported.names.iter().filter(|(_, v)| **v == id);
            let names = names.map(|(name, _)| name);
            let stored = names.filter(|n| stored.contains_key(*n) && !outputs.contains(n));
            stored.cloned().collect()
        }
    }
}

/// The interior values to compare: as many as memory allows, evenly chosen.
fn choose(
    imported: &Imported,
    against: &Against<'_>,
    sizes: &Sizes,
    budget: u64,
    report: &mut Report,
) -> Result<Vec<ValueId>> {
    let graph = &imported.graph;
    let ids: BTreeSet<ValueId> = match against {
        Against::Reference => (0..graph.values.len() as u32).map(ValueId).collect(),
        Against::Stored(stored) => {
            let names = stored.keys().filter(|n| !graph.output_names.contains(n));
            names
                .filter_map(|n| imported.names.get(n))
                .copied()
                .collect()
        }
    };
    let is_output = |id: &ValueId| match against {
        Against::Reference => graph.outputs.contains(id),
        Against::Stored(_) => false,
    };
    let wanted = |id: &ValueId| graph.producer(*id).is_some() && !is_output(id);
    let chosen: Vec<ValueId> = ids.into_iter().filter(wanted).collect();
    let bytes = |id: &ValueId| {
        let shape = concrete_shape(graph.ty(*id), sizes)?;
        let count = shape.iter().try_fold(1usize, |a, b| a.checked_mul(*b))?;
        count.checked_mul(graph.ty(*id).dtype.bytes())
    };
    let known: Vec<(ValueId, usize)> = chosen
        .iter()
        .filter_map(|id| Some((*id, bytes(id)?)))
        .collect();
    let total: usize = known.iter().map(|(_, b)| b).sum();
    let stride = total.div_ceil(HELD_BYTES.min(budget as usize)).max(1);
    let kept: Vec<ValueId> = known.iter().step_by(stride).map(|(id, _)| *id).collect();
    let left = chosen.len() - kept.len();
    if left > 0 {
        let reason = format!("{left} interior values: too many bytes to hold at once");
        report.skipped.push(reason);
    }
    Ok(kept)
}

/// The same graph with these values as its outputs.
fn with_outputs(graph: &Graph, values: &[ValueId]) -> Graph {
    let mut probed = graph.clone();
    probed.outputs.clear();
    probed.output_names.clear();
    for (k, id) in values.iter().enumerate() {
        probed.add_output(&format!("{}#{k}", graph.value(*id).name), *id);
    }
    probed
}

/// What a verification may hold. Units: bytes.
fn memory_budget(graph: &Graph, options: &Options, inputs: &[ir::Tensor]) -> u64 {
    let constants = graph.values.iter().filter_map(|v| match &v.def {
        Def::Constant(t) => Some(t.data.len() as u64),
        _ => None,
    });
    let known: u64 = constants
        .chain(inputs.iter().map(|t| t.data.len() as u64))
        .sum();
    options
        .memory_bytes
        .unwrap_or_else(|| default_memory_bytes(known))
}

/// Errors: a node whose operands and results, in the wide types of the reference evaluator, take
/// more than the budget.
fn check_reference_memory(graph: &Graph, sizes: &Sizes, budget: u64) -> Result<()> {
    for node in &graph.nodes {
        let values = node.inputs.iter().chain(&node.outputs);
        let bytes = values.map(|v| {
            let shape = concrete_shape(graph.ty(*v), sizes).unwrap_or_default();
            let extents = shape.iter().map(|d| *d as u64);
            extents.fold(WIDE_BYTES, u64::saturating_mul)
        });
        let bytes = bytes.fold(0, u64::saturating_add);
        if bytes > budget {
            return Err(Error::Limit(format!(
                "the reference evaluation of node `{}` takes {bytes} bytes, more than the limit of \
                 {budget}; use smaller sizes (--dim), or raise the limit (--memory-bytes)",
                node.name
            )));
        }
    }
    Ok(())
}

fn run(
    graph: &Graph,
    options: &Options,
    inputs: &[ir::Tensor],
    budget: u64,
) -> Result<Vec<Tensor>> {
    let order: Vec<String> = (graph.inputs.iter())
        .map(|v| graph.value(*v).name.clone())
        .collect();
    // Interior values as outputs make an honest model take more memory than the default bound.
    let options = Options {
        memory_bytes: Some(options.memory_bytes.unwrap_or(budget.saturating_mul(2))),
        ..options.clone()
    };
    let executable = compile::compile(graph, &options, Vec::new(), &order)?;
    let inputs = inputs.iter().map(to_runtime).collect::<Result<Vec<_>>>()?;
    let views: Vec<TensorView<'_>> = inputs.iter().map(Tensor::view).collect();
    executable.run_ordered(&views)
}

fn against_stored(
    graph: &Graph,
    stored: &crate::files::Named,
    computed: Computed,
    limits: &Limits,
    see: &mut dyn FnMut(Progress<'_>),
    report: &mut Report,
) -> Result<()> {
    let mut ids: Vec<&ValueId> = computed.keys().collect();
    ids.sort();
    let mut used = std::collections::BTreeSet::new();
    for (k, id) in ids.iter().enumerate() {
        let tensors = computed[id].iter();
        for (name, tensor) in tensors.flat_map(|(names, t)| names.iter().map(move |n| (n, t))) {
            let Some(expected) = stored.get(name) else {
                report.skipped.push(format!("`{name}`: no stored tensor"));
                continue;
            };
            used.insert(name.as_str());
            let expected = to_ir(expected.view());
            let comparison = label(compare(tensor, &expected, limits), graph, **id, name);
            see(Progress {
                done: (k + 1) as f64 / ids.len() as f64,
                last: Some(&comparison),
            });
            report.values.push(comparison);
        }
    }
    let unused = stored.keys().filter(|n| !used.contains(n.as_str()));
    let reason = |name: &String| format!("`{name}`: the compiled graph has no such value");
    report.skipped.extend(unused.map(reason));
    if report.values.is_empty() {
        let reason = "no stored tensor has the name of an output or interior value of the model";
        return Err(Error::Usage(reason.into()));
    }
    Ok(())
}

fn against_reference(
    graph: &Graph,
    inputs: &[ir::Tensor],
    sizes: &Sizes,
    mut computed: Computed,
    limits: &Limits,
    see: &mut dyn FnMut(Progress<'_>),
    report: &mut Report,
) -> Result<()> {
    let work = expected_work(graph, sizes);
    let total: f64 = work.values().sum::<f64>().max(1.0);
    let mut done = 0.0;
    let mut values = Vec::new();
    let mut check = |id: ValueId, expected: &ir::Tensor, done: f64| {
        let found = computed.remove(&id).unwrap_or_default();
        let tensors = found.iter();
        for (name, tensor) in tensors.flat_map(|(names, t)| names.iter().map(move |n| (n, t))) {
            let comparison = label(compare(tensor, expected, limits), graph, id, name);
            let last = Some(&comparison);
            see(Progress {
                done: done / total,
                last,
            });
            values.push(comparison);
        }
        if found.is_empty() {
            let last = None;
            see(Progress {
                done: done / total,
                last,
            });
        }
    };
    let outputs = eval_graph_with(graph, inputs, &mut |id, tensor| {
        done += work.get(&id).copied().unwrap_or(0.0);
        check(id, tensor, done);
    });
    // Outputs that no node computes: inputs and constants.
    for (id, tensor) in graph.outputs.iter().zip(outputs.map_err(data_error)?) {
        check(*id, &tensor, total);
    }
    report.values.extend(values);
    Ok(())
}

/// How long the reference evaluator is expected to take for each node, in arbitrary units.
fn expected_work(graph: &Graph, sizes: &Sizes) -> HashMap<ValueId, f64> {
    let mut work = HashMap::new();
    for node in &graph.nodes {
        let Some(first) = node.outputs.first() else {
            continue;
        };
        let shape = concrete_shape(graph.ty(*first), sizes).unwrap_or_default();
        let elements = shape.iter().map(|d| *d as f64).product::<f64>();
        work.insert(*first, 20.0 * elements + node_flops(graph, node, sizes));
    }
    work
}

fn label(mut comparison: Comparison, graph: &Graph, id: ValueId, name: &str) -> Comparison {
    comparison.value = name.into();
    let node = graph.producer(id).map(|n| &graph.node(n).name);
    comparison.node = node.cloned().unwrap_or_default();
    comparison
}

pub(crate) fn data_error(e: EvalError) -> Error {
    match e {
        EvalError::Data { node, reason } => Error::Data { node, reason },
        EvalError::Input { input, reason } => Error::Input {
            input,
            found: reason,
            expected: "what the model takes".into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(found: &[f32], expected: &[f32]) -> Comparison {
        let found = Tensor::from_slice(&[found.len()], found).unwrap();
        let expected = ir::Tensor::from_f32(vec![expected.len()], expected);
        compare(&found, &expected, &Limits::default())
    }

    #[test]
    fn errors_are_relative_to_the_largest_magnitude() {
        let near = check(&[1.0, 100.005], &[1.0, 100.0]);
        assert!(near.passed && near.error > 4e-5 && near.index == [1]);
        let far = check(&[1.0, 100.02], &[1.0, 100.0]);
        assert!(!far.passed && far.expected == 100.0);
        assert!(check(&[0.0], &[0.0]).passed);
        assert!(!check(&[1e-30], &[0.0]).passed, "all zeros allow no error");
        assert!(
            check(&[3e-45], &[1.5e-45]).passed,
            "one unit of a subnormal"
        );
    }

    #[test]
    fn special_values_must_match() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        assert!(check(&[nan, inf, 1.0], &[nan, inf, 1.0]).passed);
        assert!(!check(&[nan, 1.0], &[2.0, 1.0]).passed);
        assert!(!check(&[2.0, 1.0], &[nan, 1.0]).passed);
        assert!(!check(&[-inf, 1.0], &[inf, 1.0]).passed);
        assert!(!check(&[1.0], &[1.0, 1.0]).passed, "shapes differ");
    }

    #[test]
    fn elementwise_limits_replace_the_relative_one() {
        let limits = Limits {
            elementwise: Some((0.1, 0.0)),
            ..Limits::default()
        };
        let found = Tensor::from_slice(&[2], &[1.05_f32, 100.0]).unwrap();
        let expected = ir::Tensor::from_f32(vec![2], &[1.0, 100.0]);
        assert!(compare(&found, &expected, &limits).passed);
        let found = Tensor::from_slice(&[2], &[1.2_f32, 100.0]).unwrap();
        assert!(!compare(&found, &expected, &limits).passed);
    }
}
