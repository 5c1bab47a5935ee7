//! What the tests of plans share.
#![allow(dead_code, reason = "no test file uses all of it")]

pub mod canonical;
pub mod draw;
pub mod images;
pub mod races;
pub mod seeds;
pub mod shrink;

use std::sync::Arc;
use tensmith_ir::dtype::DType;
use tensmith_ir::eval::eval_graph;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, TensorType, ValueId, verify_graph};
use tensmith_ir::loops::Scope;
use tensmith_ir::machine::{Machine, Rates};
use tensmith_ir::ops::op;
use tensmith_ir::plan::{Call, Plan, parse_plan, run_plan, verify_plan};
use tensmith_ir::tensor::Tensor;
use tensmith_passes::cost::Analytic;
use tensmith_passes::schedule::Target;
use tensmith_passes::{PassOptions, optimise, plan};

/// A static `f32` type.
pub fn ty(shape: &[usize]) -> TensorType {
    let shape = shape.iter().map(|d| Expr::from(*d)).collect();
    TensorType::new(DType::F32, shape)
}

/// A type of rank 0.
pub fn scalar_type(dtype: DType) -> TensorType {
    TensorType::new(dtype, vec![])
}

/// Distinct values from -1 to 1, scaled.
pub fn f32s(shape: &[usize], scale: f32) -> Tensor {
    let count = shape.iter().product();
    let value = |k: usize| ((k * 7919 + 13) % 101) as f32 / 50.5 - 1.0;
    let values: Vec<f32> = (0..count).map(|k| scale * value(k)).collect();
    Tensor::from_f32(shape.to_vec(), &values)
}

/// Distinct values from -1 to 1.
pub fn iota(shape: &[usize]) -> Tensor {
    f32s(shape, 1.0)
}

/// Options for vectors of so many bytes, and two threads.
pub fn vectors_of(vector_bytes: usize) -> PassOptions {
    PassOptions {
        target: Target {
            vector_bytes,
            fma: vector_bytes > 16,
            threads: 2,
            ..Target::default()
        },
        ..PassOptions::default()
    }
}

/// What work costs on a core whose 512-bit units run at full rate.
pub fn wide_core() -> Arc<Analytic> {
    let rates = Rates {
        fmas_512: 2.0,
        loads_512: 2.0,
        ..Rates::GENERIC
    };
    let machine = Machine {
        rates,
        l1_bytes: 48 << 10,
        l2_bytes: 2 << 20,
        ..Machine::GENERIC
    };
    Arc::new(Analytic { machine })
}

/// Attributes of a convolution of images: strides and dilations, groups, and padding before and after.
pub fn conv_attrs(
    (strides, dilations): ([i64; 2], [i64; 2]),
    groups: i64,
    (before, after): ([i64; 2], [i64; 2]),
) -> Attrs {
    Attrs::new()
        .with("strides", strides.to_vec())
        .with("dilations", dilations.to_vec())
        .with("groups", groups)
        .with("pads_before", before.to_vec())
        .with("pads_after", after.to_vec())
}

/// A convolution without padding.
pub fn pointwise(g: &mut Graph, name: &str, x: ValueId, w: &[usize]) -> ValueId {
    let w = g.add_constant(name, f32s(w, 0.1));
    let attrs = conv_attrs(([1, 1], [1, 1]), 1, ([0, 0], [0, 0]));
    g.add_one(op("conv"), name, &[x, w], attrs).unwrap()
}

/// Optimises, plans and runs a graph, for a narrow target by rules and for a wide one by directed
/// passes only; the results must be those of the graph as it was. Gives the plan for the narrow one.
pub fn check(graph: &Graph, inputs: &[Tensor]) -> Plan {
    check_within(graph, inputs, 1.0)
}

/// As [`check`]; errors of values inside of the graph may be as those of one of this magnitude.
pub fn check_within(graph: &Graph, inputs: &[Tensor], magnitude: f64) -> Plan {
    let wide = Target {
        vector_bytes: 32,
        fma: true,
        threads: 2,
        ..Target::default()
    };
    let options = |target, egraph| PassOptions {
        target,
        egraph,
        ..PassOptions::default()
    };
    run(graph, inputs, &options(wide, false), magnitude);
    run(graph, inputs, &options(Target::default(), true), magnitude)
}

/// As [`check`], with options.
pub fn check_with(graph: &Graph, inputs: &[Tensor], options: &PassOptions) -> Plan {
    run(graph, inputs, options, 1.0)
}

/// As [`check_within`], with options.
pub fn check_options(
    graph: &Graph,
    inputs: &[Tensor],
    options: &PassOptions,
    magnitude: f64,
) -> Plan {
    run(graph, inputs, options, magnitude)
}

fn run(graph: &Graph, inputs: &[Tensor], options: &PassOptions, magnitude: f64) -> Plan {
    let want = eval_graph(graph, inputs).expect("the graph evaluates");
    let optimised = optimise(graph.clone(), options).expect("passes accept the graph");
    verify_graph(&optimised).expect("passes keep the graph valid");
    let made = plan(&optimised, options).expect("the graph has a plan");
    verify_plan(&made).expect("the plan is valid");
    let read = parse_plan(&made.full_text());
    assert!(read.as_ref() == Ok(&made), "text of {made}");
    let found = run_plan(&made, inputs).expect("the plan runs");
    for ((k, a), b) in want.iter().enumerate().zip(&found) {
        assert_close(k, a, b, magnitude);
    }
    made
}

/// Calls whose result lies in the place of an operand.
pub fn calls_in_place(plan: &Plan) -> Vec<&Call> {
    let in_place = |call: &&Call| {
        let params = plan.kernel(call.kernel).params();
        let places = call.args.iter().map(|s| &plan.slot(*s).place).zip(params);
        let (results, operands): (Vec<_>, Vec<_>) =
            places.partition(|(_, (_, b))| b.scope == Scope::Output);
        results
            .iter()
            .any(|(r, _)| operands.iter().any(|(o, _)| o == r))
    };
    plan.calls().into_iter().filter(in_place).collect()
}

/// Within 1e-5 of the largest magnitude, `least` at least: reductions of up to some hundred terms
/// reassociate and functions are within a few ULP of `f32`.
pub fn assert_close(output: usize, want: &Tensor, found: &Tensor, least: f64) {
    assert_eq!(want.shape, found.shape, "shape of output {output}");
    assert_eq!(want.dtype, found.dtype, "type of output {output}");
    let (want, found) = (want.to_f64(), found.to_f64());
    let largest = want
        .iter()
        .filter(|x| x.is_finite())
        .fold(least, |m, x| m.max(x.abs()));
    for (k, (a, b)) in want.iter().zip(&found).enumerate() {
        let same = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-5 * largest;
        assert!(same, "output {output}, element {k}: {b}, want {a}");
    }
}
