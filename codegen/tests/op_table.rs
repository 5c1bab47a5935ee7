//! Generated from the op table: the loop interpreter against machine code, bit by bit, on one and
//! two threads, in buffers that begin and end at unmapped pages.
mod support;

use std::collections::HashSet;
use support::seeds::seeds;
use support::{Edge, arguments, run};
use tensmith_ir::define::define_task;
use tensmith_ir::graph::{NodeId, TensorType};
use tensmith_ir::loops::interp::{InterpError, run_kernel};
use tensmith_ir::loops::{Mark, Stmt};
use tensmith_ir::ops::{self, Lower, Op, Sample, Sampler, single_node_graph};
use tensmith_ir::tensor::{Tensor, Wide};

#[test]
fn machine_code_agrees_with_the_interpreter() {
    let rows = ops::all().filter(|op| matches!(op.lower, Lower::Pointwise(_) | Lower::Kernel(_)));
    let mut failures = Vec::new();
    for op in rows {
        for seed in seeds(0..12) {
            for sample in (op.samples)(&mut Sampler::new(seed)) {
                if let Err(e) = check(op, &sample) {
                    failures.push(format!(
                        "{} seed {seed}: {e}\n    {:?} {:?}",
                        op.name, sample.inputs, sample.attrs
                    ));
                }
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} failures:\n{}",
        failures.len(),
        failures[..failures.len().min(20)].join("\n")
    );
}

fn check(op: Op, sample: &Sample) -> Result<(), String> {
    let types: Vec<TensorType> = sample
        .inputs
        .iter()
        .map(|t| TensorType::new(t.dtype, t.shape.iter().map(|d| (*d).into()).collect()))
        .collect();
    let graph = single_node_graph(op, &types, sample.attrs.clone()).map_err(|e| e.to_string())?;
    let definition = define_task(&graph, NodeId(0), &HashSet::from([NodeId(0)]));
    let args = arguments(&definition, &graph, &sample.inputs);
    let want = run_kernel(&definition.kernel, &[], &args);
    let mut kernel = definition.kernel.clone();
    if let [Stmt::For(l)] = &mut kernel.body[..]
        && l.role == tensmith_ir::loops::Role::Space
    {
        l.mark = Mark::Parallel;
    }
    for (threads, edge) in [(1, Edge::End), (2, Edge::Begin)] {
        let got = run(&kernel, &[], &args, threads, edge);
        match (&want, got) {
            (Ok(want), Ok(got)) => compare(want, &got)?,
            (Err(InterpError::Check { .. }), Err(_)) => {}
            (want, got) => return Err(format!("interpreter {want:?}, code {got:?}")),
        }
    }
    Ok(())
}

/// The same bits, but any NaN equals any NaN.
fn compare(want: &[Tensor], got: &[Tensor]) -> Result<(), String> {
    for (k, (w, g)) in want.iter().zip(got).enumerate() {
        if w.data == g.data && w.shape == g.shape {
            continue;
        }
        let same = match (w.to_wide(), g.to_wide()) {
            (Wide::Float(a), Wide::Float(b)) => a
                .iter()
                .zip(&b)
                .position(|(x, y)| !(x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan())),
            (Wide::Int(a), Wide::Int(b)) => a.iter().zip(&b).position(|(x, y)| x != y),
            _ => Some(0),
        };
        if let Some(at) = same {
            let (a, b) = (w.to_f64()[at], g.to_f64()[at]);
            return Err(format!(
                "result {k}, element {at}: interpreter {a:e}, code {b:e}"
            ));
        }
    }
    Ok(())
}
