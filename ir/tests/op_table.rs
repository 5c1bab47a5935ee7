//! Generated from the op table: reference evaluation against the definition in loops, verified
//! and run by the loop interpreter.
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tensmith_ir::define::{Definition, define_task};
use tensmith_ir::dtype::DType;
use tensmith_ir::eval::{EvalError, eval_graph};
use tensmith_ir::expr::{Expr, Symbol};
use tensmith_ir::graph::{Graph, NodeId, SymbolInfo, TensorType};
use tensmith_ir::loops::interp::{InterpError, run_kernel};
use tensmith_ir::loops::{parse_kernel, verify_kernel};
use tensmith_ir::ops::{self, Lower, Op, Sample, Sampler, Tolerance, single_node_graph};
use tensmith_ir::tensor::{Tensor, Wide};

/// Samples that every row is tried on.
const SAMPLES: usize = 40;

/// Seeds that may be drawn from to get them.
const SEEDS: u64 = 200;

#[test]
fn definitions_agree_with_the_reference() {
    std::panic::set_hook(Box::new(|_| {}));
    let rows: Vec<Op> = ops::all()
        .filter(|op| matches!(op.lower, Lower::Pointwise(_) | Lower::Kernel(_)))
        .collect();
    let failures: Vec<String> = rows.iter().filter_map(|op| check_row(*op).err()).collect();
    let _ = std::panic::take_hook();
    let (bad, all) = (failures.len(), rows.len());
    assert!(bad == 0, "{bad} of {all} rows:\n{}", failures.join("\n"));
}

fn check_row(op: Op) -> Result<(), String> {
    let (mut count, mut with_symbols) = (0, 0);
    for seed in 0..SEEDS {
        let samples = guarded(|| Ok((op.samples)(&mut Sampler::new(seed))))
            .map_err(|e| format!("`{}` seed {seed}: samples: {e}", op.name))?;
        for (k, sample) in samples.iter().enumerate() {
            count += 1;
            for symbolic in [false, true] {
                let done = guarded(|| check_sample(op, sample, symbolic)).map_err(|e| {
                    let inputs = &sample.inputs;
                    let attrs = &sample.attrs;
                    let name = op.name;
                    format!("`{name}` seed {seed} sample {k} (symbolic: {symbolic}): {e}\n    {inputs:?} {attrs:?}")
                })?;
                with_symbols += usize::from(symbolic && done);
            }
        }
        if count >= SAMPLES {
            println!(
                "`{}`: {count} samples, {with_symbols} of them also with a size symbol",
                op.name
            );
            return Ok(());
        }
    }
    Err(format!("`{}`: only {count} samples", op.name))
}

/// A panic becomes an error, so that one row does not hide the others.
fn guarded<T>(f: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

/// Whether there was something to check.
fn check_sample(op: Op, sample: &Sample, symbolic: bool) -> Result<bool, String> {
    let graph = match graph_of(op, sample, symbolic) {
        Some(Ok(graph)) => graph,
        // Not every row takes every extent as a symbol.
        Some(Err(_)) if symbolic => return Ok(false),
        Some(Err(e)) => return Err(format!("graph: {e}")),
        None => return Ok(false),
    };
    let want = eval_graph(&graph, &sample.inputs);
    let definition = define_task(&graph, NodeId(0), &HashSet::from([NodeId(0)]));
    let kernel = &definition.kernel;
    verify_kernel(kernel).map_err(|e| e.to_string())?;
    let text = kernel.to_string();
    let back = parse_kernel(&text).map_err(|e| format!("{e}\n{text}"))?;
    if back != *kernel {
        return Err(format!("reads back as another kernel:\n{text}"));
    }
    let got = run(&graph, &definition, sample, symbolic);
    match (want, got) {
        (Ok(want), Ok(got)) => compare(op, sample, &graph, &definition, &want, &got).map(|()| true),
        (Err(EvalError::Data { .. }), Err(InterpError::Check { .. })) => Ok(true),
        (Err(e), Ok(_)) => Err(format!("the reference refuses, the kernel does not: {e}")),
        (_, Err(e)) => Err(format!("interpreter: {e}")),
    }
}

/// The graph of a sample; if `symbolic`, with a size symbol for one of its extents.
fn graph_of(op: Op, sample: &Sample, symbolic: bool) -> Option<Result<Graph, String>> {
    let size = symbolic_extent(sample);
    if symbolic {
        size?;
    }
    let dim = |d: &usize| match size {
        Some(n) if symbolic && n == *d => Expr::size(Symbol::new("n")),
        _ => Expr::from(*d),
    };
    let operands: Vec<TensorType> = sample
        .inputs
        .iter()
        .map(|t| TensorType::new(t.dtype, t.shape.iter().map(dim).collect()))
        .collect();
    let graph = single_node_graph(op, &operands, sample.attrs.clone());
    Some(graph.map_err(|e| e.to_string()).map(|mut graph| {
        if symbolic {
            let info = SymbolInfo { min: 0, max: 4096 };
            graph.symbols.insert(Symbol::new("n"), info);
        }
        graph
    }))
}

/// An extent that is made symbolic, wherever it occurs.
fn symbolic_extent(sample: &Sample) -> Option<usize> {
    let mut extents = sample.inputs.iter().flat_map(|t| &t.shape);
    extents.find(|d| **d > 1).copied()
}

fn run(
    graph: &Graph,
    definition: &Definition,
    sample: &Sample,
    symbolic: bool,
) -> Result<Vec<Tensor>, InterpError> {
    let inputs: Vec<Tensor> = definition
        .inputs
        .iter()
        .map(|v| {
            let at = graph.inputs.iter().position(|i| i == v);
            sample.inputs[at.expect("a parameter is an input of the graph")].clone()
        })
        .collect();
    let sizes: Vec<i64> = symbolic_extent(sample)
        .filter(|_| symbolic)
        .map(|n| n as i64)
        .into_iter()
        .collect();
    run_kernel(&definition.kernel, &sizes, &inputs)
}

fn compare(
    op: Op,
    sample: &Sample,
    graph: &Graph,
    definition: &Definition,
    want: &[Tensor],
    got: &[Tensor],
) -> Result<(), String> {
    for (k, want) in want.iter().enumerate() {
        let value = graph.outputs[k];
        let at = definition.outputs.iter().position(|v| *v == value);
        let got = &got[at.ok_or_else(|| format!("no kernel output for result {k}"))?];
        if (got.dtype, &got.shape) != (want.dtype, &want.shape) {
            return Err(format!("result {k} is {got:?}, want {want:?}"));
        }
        let slack = slack(op.tolerance, sample, want);
        if let Some(at) = first_difference(want, got, slack) {
            let (w, g) = (want.to_f64()[at], got.to_f64()[at]);
            let dtype = want.dtype;
            return Err(format!(
                "result {k} ({dtype}{:?}) at {at}: reference {w:e}, kernel {g:e}, off by {:e}",
                want.shape,
                (w - g).abs()
            ));
        }
    }
    Ok(())
}

/// How far an element may be off.
#[derive(Clone, Copy)]
enum Slack {
    Same,
    /// Units in the last place of the element.
    Ulp(f64),
    Absolute(f64),
}

fn slack(tolerance: Tolerance, sample: &Sample, want: &Tensor) -> Slack {
    match tolerance {
        Tolerance::Exact => Slack::Same,
        Tolerance::Ulp(n) => Slack::Ulp(n),
        Tolerance::Sum(n) => {
            // No reduction accumulates more terms than the operands have elements.
            let terms = sample.inputs.iter().map(Tensor::count).max().unwrap_or(1);
            let finite = want.to_f64().into_iter().filter(|x| x.is_finite());
            let largest = finite.fold(0.0, |m: f64, x| m.max(x.abs()));
            Slack::Absolute(n * ulp(want.dtype, largest) * (terms.max(1) as f64).sqrt())
        }
    }
}

fn first_difference(want: &Tensor, got: &Tensor, slack: Slack) -> Option<usize> {
    match (want.to_wide(), got.to_wide()) {
        (Wide::Int(w), Wide::Int(g)) if matches!(slack, Slack::Same) => {
            w.iter().zip(&g).position(|(w, g)| w != g)
        }
        _ => {
            let (w, g) = (want.to_f64(), got.to_f64());
            let fine = |w: f64, g: f64| match slack {
                _ if w == g || (w.is_nan() && g.is_nan()) => true,
                Slack::Same => false,
                Slack::Ulp(n) => (w - g).abs() <= n * ulp(want.dtype, w),
                Slack::Absolute(d) => (w - g).abs() <= d,
            };
            w.iter().zip(&g).position(|(w, g)| !fine(*w, *g))
        }
    }
}

/// The unit in the last place of a value.
fn ulp(dtype: DType, x: f64) -> f64 {
    let (digits, least) = match dtype {
        DType::F32 => (24, -126),
        DType::F64 => (53, -1022),
        DType::F16 => (11, -14),
        DType::BF16 => (8, -126),
        _ => return 1.0,
    };
    let exponent = (x.abs().log2().floor() as i32).max(least);
    2f64.powi(exponent + 1 - digits)
}
