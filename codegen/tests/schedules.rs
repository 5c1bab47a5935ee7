//! Scheduled kernels against naive ones: the same results on the interpreter and as machine code.
mod support;

use std::collections::HashSet;
use support::{Edge, arguments, run_for};
use tensmith_codegen::target::Target as Machine;
use tensmith_ir::define::define_task;
use tensmith_ir::graph::{NodeId, TensorType};
use tensmith_ir::loops::interp::run_kernel;
use tensmith_ir::loops::{Kernel, parse_kernel, verify_kernel};
use tensmith_ir::ops::{self, Lower, Op, Sample, Sampler, single_node_graph};
use tensmith_ir::tensor::{Tensor, Wide};
use tensmith_passes::schedule::{Target, default_schedule};

#[test]
fn schedules_keep_what_kernels_compute() {
    let rows = ops::all().filter(|op| matches!(op.lower, Lower::Pointwise(_) | Lower::Kernel(_)));
    let mut failures = Vec::new();
    for op in rows {
        let contraction = op.class == ops::Class::Contraction;
        for seed in 0..if contraction { 60 } else { 10 } {
            for sample in (op.samples)(&mut Sampler::new(1000 + seed)) {
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
        failures[..failures.len().min(10)].join("\n")
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
    let Ok(want) = run_kernel(&definition.kernel, &[], &args) else {
        return Ok(());
    };
    let machines = [Machine::host(), Machine::named("x86-64-v2").expect("known")];
    for machine in machines {
        let kernel = definition.kernel.clone();
        check_for(&machine, op, kernel, &args, &want)
            .map_err(|e| format!("{}: {e}", machine.name))?;
    }
    Ok(())
}

fn check_for(
    machine: &Machine,
    op: Op,
    kernel: Kernel,
    args: &[Tensor],
    want: &[Tensor],
) -> Result<(), String> {
    let target = Target {
        fma: machine.has_fma(),
        vector_bytes: machine.vector_bytes(),
        reassociate: true,
        threads: 2,
        ..Target::default()
    };
    let exact = Target {
        reassociate: false,
        ..target.clone()
    };
    let exact = default_schedule(kernel.clone(), &exact, &|_| false).kernel;
    let interpreted = run_kernel(&exact, &[], args).map_err(|e| format!("{e}\n{exact}"))?;
    if !interpreted.iter().zip(want).all(|(a, b)| same_bits(a, b)) {
        return Err(format!("terms of sums changed their order\n{exact}"));
    }
    let scheduled = default_schedule(kernel, &target, &|_| false).kernel;
    verify_kernel(&scheduled).map_err(|e| format!("{e}\n{scheduled}"))?;
    let text = scheduled.to_string();
    let again = parse_kernel(&text).map_err(|e| format!("{e}\n{text}"))?;
    if again.to_string() != text {
        return Err(format!("prints differently after parsing:\n{text}"));
    }
    let interpreted = run_kernel(&scheduled, &[], args).map_err(|e| format!("{e}\n{scheduled}"))?;
    close(op, want, &interpreted).map_err(|e| format!("interpreted: {e}\n{scheduled}"))?;
    let one = compiled(machine, &scheduled, args, 1, Edge::End)?;
    close(op, want, &one).map_err(|e| format!("compiled: {e}\n{scheduled}"))?;
    let two = compiled(machine, &scheduled, args, 2, Edge::Begin)?;
    if one.iter().zip(&two).any(|(a, b)| a.data != b.data) {
        return Err(format!("1 and 2 threads differ\n{scheduled}"));
    }
    Ok(())
}

fn compiled(
    machine: &Machine,
    kernel: &Kernel,
    args: &[Tensor],
    threads: usize,
    edge: Edge,
) -> Result<Vec<Tensor>, String> {
    run_for(machine, kernel, &[], args, threads, edge).map_err(|e| e.to_string())
}

/// Whether elements are the same, NaN like NaN.
fn same_bits(a: &Tensor, b: &Tensor) -> bool {
    let (x, y) = (a.to_f64(), b.to_f64());
    let mut pairs = x.iter().zip(&y);
    a.data == b.data || pairs.all(|(x, y)| x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan())
}

/// Integers are the same; floats differ by the reordering of sums at most.
fn close(op: Op, want: &[Tensor], got: &[Tensor]) -> Result<(), String> {
    for (k, (w, g)) in want.iter().zip(got).enumerate() {
        let bad = match (w.to_wide(), g.to_wide()) {
            (Wide::Int(a), Wide::Int(b)) => a.iter().zip(&b).position(|(x, y)| x != y),
            (Wide::Float(a), Wide::Float(b)) => {
                let largest = a
                    .iter()
                    .filter(|x| x.is_finite())
                    .fold(0.0f64, |m, x| m.max(x.abs()));
                let limit = largest * epsilon(w.dtype);
                let same =
                    |x: f64, y: f64| x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= limit;
                a.iter().zip(&b).position(|(x, y)| !same(*x, *y))
            }
            _ => Some(0),
        };
        if let Some(at) = bad {
            let (a, b) = (w.to_f64()[at], g.to_f64()[at]);
            return Err(format!(
                "`{}` result {k}, element {at}: {a:e} and {b:e}",
                op.name
            ));
        }
    }
    Ok(())
}

/// Sums of the samples have some hundreds of terms: 16 units of rounding of the largest result.
fn epsilon(dtype: tensmith_ir::dtype::DType) -> f64 {
    use tensmith_ir::dtype::DType;
    16.0 * match dtype {
        DType::F16 => 2f64.powi(-11),
        DType::BF16 => 2f64.powi(-8),
        DType::F64 => 2f64.powi(-53),
        _ => 2f64.powi(-24),
    }
}
