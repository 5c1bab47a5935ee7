//! Named targets: object files for all of them, and fused multiply-add where there is none.
mod support;

use object::{Architecture, Object, ObjectSymbol};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use std::collections::HashSet;
use std::path::Path;
use support::{Edge, plan_of, run_for};
use tensmith_codegen::object::write_object;
use tensmith_codegen::target::Target;
use tensmith_ir::define::define_task;
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::{NodeId, TensorType};
use tensmith_ir::loops::interp::run_kernel;
use tensmith_ir::loops::{Kernel, parse_kernel, verify_kernel};
use tensmith_ir::ops::{self, Lower, Sampler, single_node_graph};
use tensmith_ir::plan::Plan;
use tensmith_ir::tensor::{Tensor, Wide};
use tensmith_onnx::Budget;
use tensmith_onnx::import::{ImportOptions, KeepSymbolic, import};
use tensmith_passes::PassOptions;
use tensmith_passes::pipeline;
use tensmith_passes::schedule::{Target as ScheduleTarget, default_schedule};

/// Numbers a test of `fma` draws.
const NUMBERS: usize = 40_000;

/// The kernel of one sample of each row of the op table, scheduled for a target.
fn kernels(target: &Target) -> Vec<Kernel> {
    let rows = ops::all().filter(|op| matches!(op.lower, Lower::Pointwise(_) | Lower::Kernel(_)));
    rows.flat_map(|op| {
        let samples = (op.samples)(&mut Sampler::new(7));
        samples.into_iter().map(move |sample| {
            let ty = |t: &Tensor| {
                TensorType::new(t.dtype, t.shape.iter().map(|d| (*d).into()).collect())
            };
            let types: Vec<TensorType> = sample.inputs.iter().map(ty).collect();
            let graph = single_node_graph(op, &types, sample.attrs).expect("a valid sample");
            let node = NodeId(0);
            define_task(&graph, node, &HashSet::from([node])).kernel
        })
    })
    .map(|kernel| {
        let machine = ScheduleTarget {
            fma: target.has_fma(),
            vector_bytes: target.vector_bytes(),
            ..ScheduleTarget::default()
        };
        default_schedule(kernel, &machine, &|_| false).kernel
    })
    .collect()
}

/// The object file of a plan is one of its target, exports what its header declares, and needs no
/// symbol.
fn check_object(plan: &Plan, target: &Target, place: &str) {
    let bytes = write_object(plan, &[], target, "model").unwrap_or_else(|e| panic!("{place}: {e}"));
    let file = object::File::parse(&bytes[..]).unwrap();
    let architecture = match target.name.as_str() {
        "aarch64" => Architecture::Aarch64,
        _ => Architecture::X86_64,
    };
    assert_eq!(file.architecture(), architecture, "{place}");
    let undefined: Vec<_> = file
        .symbols()
        .filter(|s| s.is_undefined() && !s.name().unwrap_or_default().is_empty())
        .map(|s| s.name().unwrap_or_default().to_string())
        .collect();
    assert!(undefined.is_empty(), "{place} needs {undefined:?}");
    let exported: HashSet<_> = file
        .symbols()
        .filter(|s| s.is_global() && s.is_definition())
        .map(|s| s.name().unwrap_or_default().to_string())
        .collect();
    for symbol in ["model_run", "model_arena_bytes", "model_scratch_bytes"] {
        assert!(exported.contains(symbol), "{place}: no {symbol}");
    }
}

#[test]
fn object_files_need_no_symbol() {
    for name in Target::NAMES {
        let target = Target::named(name).unwrap();
        let kernels = kernels(&target);
        assert!(kernels.len() > 80, "{}", kernels.len());
        for kernel in kernels {
            let place = format!("{name}: {}", kernel.name);
            check_object(&plan_of(kernel), &target, &place);
        }
    }
}

/// Every kernel and the entry of the embedded model, for any batch.
#[test]
fn a_model_becomes_an_object_file_for_every_target() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/digits.onnx");
    let model = tensmith_onnx::load(path, &Budget::default()).unwrap();
    let settings = ImportOptions {
        keep_symbolic: KeepSymbolic::All,
        ..ImportOptions::default()
    };
    let graph = import(&model, &settings).unwrap().graph;
    for name in Target::NAMES {
        let target = Target::named(name).unwrap();
        let mut options = PassOptions::default();
        options.target.fma = target.has_fma();
        let optimised = pipeline::optimise(graph.clone(), &options).unwrap();
        let plan = pipeline::plan(&optimised, &options).unwrap();
        assert!(plan.kernels.len() > 3 && plan.sizes.len() == 1);
        check_object(&plan, &target, name);
    }
}

/// A kernel of vectors with a tail.
fn fma_kernel(dtype: &str) -> Kernel {
    let text = format!(
        "
kernel fused() {{
  in a0: {dtype}[{NUMBERS}] in b1: {dtype}[{NUMBERS}] in c2: {dtype}[{NUMBERS}]
  out o3: {dtype}[{NUMBERS}]
  for i0 < {} space {{
    for i1 < 4 space vector {{ o3[4*i0 + i1] = fma(a0[4*i0 + i1], b1[4*i0 + i1], c2[4*i0 + i1]) }}
  }}
  for i2 < {} space {{ o3[i2 + {}] = fma(a0[i2 + {}], b1[i2 + {}], c2[i2 + {}]) }}
}}",
        NUMBERS / 8,
        NUMBERS / 2,
        NUMBERS / 2,
        NUMBERS / 2,
        NUMBERS / 2,
        NUMBERS / 2,
    );
    let kernel = parse_kernel(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    verify_kernel(&kernel).unwrap();
    kernel
}

/// Numbers whose products nearly cancel, few bits that make ties, and all kinds of others.
fn draw(rng: &mut StdRng, mantissa: u32) -> [f64; 3] {
    let (x, y): (f64, f64) = (rng.random_range(-2.0..2.0), rng.random_range(-2.0..2.0));
    let short = |x: f64| (x * 64.0).round() / 64.0;
    let ulp = 2f64.powi(-(mantissa as i32));
    match rng.next_u32() % 4 {
        0 => [x, y, -x * y],
        1 => [short(x) + ulp, short(y) + ulp, short(x)],
        2 => [
            x,
            y,
            rng.random_range(-2.0..2.0) * 2f64.powi(rng.random_range(-80..80)),
        ],
        _ => [x, y, rng.random_range(-2.0..2.0)],
    }
}

const SPECIAL: [f64; 10] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
    3.0e38,
    -3.0e38,
    1.0e-40,
];

/// Tables of operands: specials first.
fn operands(mantissa: u32) -> [Vec<f64>; 3] {
    let mut rng = StdRng::seed_from_u64(11);
    let mut tables = [const { Vec::new() }; 3];
    for k in 0..NUMBERS {
        let row = match k {
            k if k < 1000 => [k % 10, k / 10 % 10, k / 100].map(|d| SPECIAL[d]),
            _ => draw(&mut rng, mantissa),
        };
        tables.iter_mut().zip(row).for_each(|(t, x)| t.push(x));
    }
    // The tail sees the same.
    for table in &mut tables {
        let half = NUMBERS / 2;
        let (first, second) = table.split_at_mut(half);
        second[..1000].copy_from_slice(&first[..1000]);
    }
    tables
}

#[test]
fn fma_rounds_once_without_the_instruction() {
    let target = Target::named("x86-64-v2").unwrap();
    assert!(!target.has_fma());
    for dtype in [DType::F32, DType::F64] {
        let tables = operands(if dtype == DType::F32 { 23 } else { 52 });
        let tensors = tables.map(|t| Tensor::from_wide(dtype, vec![NUMBERS], &Wide::Float(t)));
        let kernel = fma_kernel(&dtype.to_string());
        let found = run_for(&target, &kernel, &[], &tensors, 1, Edge::End).unwrap();
        let [a, b, c] = tensors.each_ref().map(Tensor::to_f64);
        for (k, found) in found[0].to_f64().into_iter().enumerate() {
            let want = match dtype {
                DType::F32 => f64::from((a[k] as f32).mul_add(b[k] as f32, c[k] as f32)),
                _ => a[k].mul_add(b[k], c[k]),
            };
            assert!(
                found.to_bits() == want.to_bits() || found.is_nan() && want.is_nan(),
                "{dtype} {k}: fma({:e}, {:e}, {:e}) is {want:e}, found {found:e}",
                a[k],
                b[k],
                c[k]
            );
        }
    }
}

#[test]
fn minima_and_maxima_keep_the_first_of_equal_operands() {
    let text = "
kernel least() {
  in a0: f32[8] in b1: f32[8] out o2: f32[8] out o3: f32[8] out o4: f32[8]
  for i0 < 8 space vector { o2[i0] = min(a0[i0], b1[i0]) }
  for i1 < 8 space vector { o3[i1] = max(a0[i1], b1[i1]) }
  for i2 < 8 space { o4[i2] = max(a0[i2], 0.0f32) }
}";
    let kernel = parse_kernel(text).unwrap();
    verify_kernel(&kernel).unwrap();
    let a = [0.0, -0.0, 1.0, f32::NAN, f32::NAN, -1.0, -0.0, 0.0];
    let b = [-0.0, 0.0, f32::NAN, 1.0, f32::NAN, 1.0, -0.0, 0.0];
    let args = [a, b].map(|x| Tensor::from_f32(vec![8], &x));
    let want = run_kernel(&kernel, &[], &args).unwrap();
    let host = Target::host();
    for target in [Target::named("x86-64-v2").unwrap(), host] {
        let found = run_for(&target, &kernel, &[], &args, 1, Edge::End).unwrap();
        for (w, f) in want.iter().zip(&found) {
            for (w, f) in w.to_f64().into_iter().zip(f.to_f64()) {
                let same = w.to_bits() == f.to_bits() || w.is_nan() && f.is_nan();
                assert!(same, "{}: {f:?}, want {w:?}", target.name);
            }
        }
    }
}

/// A load that a loop repeats is done once before it, but not where a condition decides whether it
/// is done at all.
#[test]
fn loads_stay_behind_their_conditions() {
    let text = "
kernel rows() {
  in a: f32[7]
  out o: f32[7, 3]
  for i0 < 2 space {
    for i1 < 3 space {
      if [-i0] {
        o[4*i0, i1] = a[4*i0] o[4*i0 + 1, i1] = a[4*i0 + 1]
        o[4*i0 + 2, i1] = a[4*i0 + 2] o[4*i0 + 3, i1] = a[4*i0 + 3]
      } else {
        o[4*i0, i1] = guard([i0 - 1], a[4*i0], 0.0f32)
        o[4*i0 + 1, i1] = a[4*i0 + 1] o[4*i0 + 2, i1] = a[4*i0 + 2]
      }
    }
  }
}
";
    let kernel = parse_kernel(text).unwrap();
    verify_kernel(&kernel).unwrap();
    let a = Tensor::from_f32(vec![7], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    let want = run_kernel(&kernel, &[], std::slice::from_ref(&a)).unwrap();
    let target = Target::named("x86-64-v2").unwrap();
    let got = run_for(&target, &kernel, &[], &[a], 1, Edge::End).unwrap();
    assert_eq!(want[0].data, got[0].data);
}
