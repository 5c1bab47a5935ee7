//! Random graphs through the whole compiler against the reference evaluator, on any number of
//! threads, side by side and in sections, in buffers that end and begin at unmapped pages.
#[path = "../passes/tests/common/draw.rs"]
mod draw;
#[path = "../passes/tests/common/seeds.rs"]
mod seeds;
#[path = "../passes/tests/common/shrink.rs"]
mod shrink;
mod support;

use draw::{draw_residual, draw_units, draw_wide, largest_magnitude};
use seeds::seeds;
use shrink::{check_drawn, check_found};
use support::guarded::{Edge, Runner, run_guarded};
use support::halves::{cast, halves_of, rounded};
use support::{X86_LEVELS, target_here};
use tensmith::convert::{to_ir, to_runtime};
use tensmith::{Options, compile};
use tensmith_ir::dtype::DType;
use tensmith_ir::eval::eval_graph;
use tensmith_ir::graph::Graph;
use tensmith_ir::plan::verify_plan;
use tensmith_ir::tensor::{Tensor, Wide};

/// The seeds, one graph each.
const SEEDS: std::ops::Range<u64> = 0..200;

/// Largest error over the largest magnitude in the graph: sums of up to some thousand terms
/// reassociate, functions are within a few units of the last place, and differences of large
/// values keep the error of those.
const LIMIT: f64 = 1e-5;

/// All of these give the same bits.
const RUNS: [(Runner, usize, Edge); 8] = [
    (Runner::Spmd, 1, Edge::End),
    (Runner::Spmd, 2, Edge::Begin),
    (Runner::Spmd, 3, Edge::End),
    (Runner::Spmd, 7, Edge::Begin),
    (Runner::Sections, 2, Edge::End),
    (Runner::Sections, 7, Edge::Begin),
    (Runner::Backwards, 1, Edge::Begin),
    (Runner::Backwards, 3, Edge::End),
];

#[test]
fn random_graphs_compute_what_the_reference_does() {
    check_drawn("random_graphs", SEEDS, &draw_wide, &check);
}

/// What is dropped where it does not matter is there again in results.
#[test]
fn axes_of_extent_one_count() {
    check_drawn("axes_of_extent_one", SEEDS, &draw_units, &check);
}

/// Their results are written over the residuals, by vectors of any width.
#[test]
fn residuals_are_written_over() {
    check_drawn("residuals", 0..60, &draw_residual, &check);
    for name in X86_LEVELS.into_iter().filter(|n| target_here(n).is_some()) {
        for seed in seeds(0..60) {
            let (graph, inputs) = draw_residual(seed);
            let options = Options {
                target: name.into(),
                threads: Some(2),
                ..Options::default()
            };
            let names = ["x".to_string()];
            let executable = compile::compile(&graph, &options, vec![], &names).unwrap();
            let input = to_runtime(&inputs[0]).unwrap();
            let found = executable.run(&[("x", input.view())]).unwrap();
            let want = eval_graph(&graph, &inputs).unwrap();
            let largest = largest_magnitude(&graph, &inputs);
            let result = close(&want[0], &to_ir(found[0].view()), largest);
            result.unwrap_or_else(|e| panic!("{name}, seed {seed}: {e}\n{graph}"));
        }
    }
}

/// The same graphs in half precision are computed as those of floats, and rounded at their ends.
#[test]
fn halves_are_rounded_where_they_leave() {
    for half in [DType::F16, DType::BF16] {
        let check = |graph: &Graph, inputs: &[Tensor]| check_halves(graph, inputs, half);
        check_drawn("halves", SEEDS, &draw_wide, &check);
        check_drawn("halves_of_residuals", 0..40, &draw_residual, &check);
    }
    let drawn = SEEDS.filter(|seed| halves_of(&draw_wide(*seed).0, DType::F16).is_some());
    assert!(drawn.count() > 120, "few graphs have a form in halves");
}

fn check_halves(graph: &Graph, inputs: &[Tensor], half: DType) -> Result<(), String> {
    let Some(halves) = halves_of(graph, half) else {
        return Ok(());
    };
    let given: Vec<Tensor> = inputs.iter().map(|t| rounded(t, half)).collect();
    let wide = |t: &Tensor| match t.dtype == half {
        true => cast(t, DType::F32),
        false => t.clone(),
    };
    let inputs: Vec<Tensor> = given.iter().map(wide).collect();
    let want = eval_graph(&halves.meant, &inputs).map_err(|e| format!("reference: {e}"))?;
    let largest = largest_magnitude(&halves.meant, &inputs);
    let plan = compile::plan(&halves.stated, &Options::default()).map_err(|e| e.to_string())?;
    for (runner, threads, edge) in [RUNS[0], RUNS[1]] {
        let found = run_guarded(&plan, &given, (runner, threads), edge);
        let found = found.map_err(|e| format!("{edge:?}: {e}"))?;
        for (k, (w, f)) in want.iter().zip(&found).enumerate() {
            let result = match f.dtype == half {
                true => close_halves(w, f, largest),
                false => close(w, f, largest),
            };
            result.map_err(|e| format!("{half}, output {k}: {e}\n{plan}"))?;
        }
    }
    Ok(())
}

/// As [`close`], but for the last rounding: by half of the last place, or of the least subnormal.
fn close_halves(want: &Tensor, found: &Tensor, largest: f64) -> Result<(), String> {
    let (place, least) = match found.dtype {
        DType::F16 => (2f64.powi(-11), 2f64.powi(-25)),
        _ => (2f64.powi(-8), 0.0),
    };
    let back = cast(&rounded(want, found.dtype), DType::F32);
    for (k, (x, y)) in want.to_f64().iter().zip(found.to_f64()).enumerate() {
        // Beyond the greatest half, infinity.
        let same = y == back.to_f64()[k] || x.is_nan() && y.is_nan();
        if !(same || (x - y).abs() <= LIMIT * largest + place * x.abs() + least) {
            return Err(format!("element {k}: found {y:e}, want {x:e}"));
        }
    }
    Ok(())
}

#[test]
fn graphs_that_failed_once() {
    check_found(&check);
}

fn check(graph: &Graph, inputs: &[Tensor]) -> Result<(), String> {
    let want = eval_graph(graph, inputs).map_err(|e| format!("reference: {e}"))?;
    let largest = largest_magnitude(graph, inputs);
    let plan = compile::plan(graph, &Options::default()).map_err(|e| e.to_string())?;
    verify_plan(&plan).map_err(|e| format!("{e}\n{plan}"))?;
    let mut first: Option<Vec<Tensor>> = None;
    for (runner, threads, edge) in RUNS {
        let place =
            format!("{runner:?}, {threads} threads, buffers touch a page at their {edge:?}");
        let found = run_guarded(&plan, inputs, (runner, threads), edge);
        let found = found.map_err(|e| format!("{place}: {e}"))?;
        for (k, (w, f)) in want.iter().zip(&found).enumerate() {
            close(w, f, largest).map_err(|e| format!("{place}: output {k}: {e}\n{plan}"))?;
        }
        let one = first.get_or_insert_with(|| found.clone());
        if one.iter().zip(&found).any(|(a, b)| a.data != b.data) {
            return Err(format!("{place}: other bits than the first run"));
        }
    }
    Ok(())
}

/// Integers are the same; floats differ by rounding.
fn close(want: &Tensor, found: &Tensor, largest: f64) -> Result<(), String> {
    if (want.dtype, &want.shape) != (found.dtype, &found.shape) {
        return Err(format!(
            "found {}{:?}, want {}{:?}",
            found.dtype, found.shape, want.dtype, want.shape
        ));
    }
    let bad = match (want.to_wide(), found.to_wide()) {
        (Wide::Int(a), Wide::Int(b)) => a.iter().zip(&b).position(|(x, y)| x != y),
        (Wide::Float(a), Wide::Float(b)) => {
            let same = |x: f64, y: f64| {
                x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= LIMIT * largest
            };
            a.iter().zip(&b).position(|(x, y)| !same(*x, *y))
        }
        _ => Some(0),
    };
    match bad {
        None => Ok(()),
        Some(at) => {
            let (a, b) = (want.to_f64()[at], found.to_f64()[at]);
            Err(format!("element {at}: found {b:e}, want {a:e}"))
        }
    }
}
