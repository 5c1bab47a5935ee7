//! What it costs to run on several threads: a barrier, handing out a section, a whole run, and the
//! same models in both forms of execution.
#[allow(dead_code, reason = "other benchmarks need more of it")]
mod small_model;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use small_model::SmallModel;
use tensmith::{Executable, Execution, Executor, LoadOptions, Model, Options, Tensor};
use tensmith_runtime::executor::run_sections;
use tensmith_runtime::{Context, Pool};

const DIGITS: &[u8] = include_bytes!("../assets/digits.onnx");

/// Barriers or sections of one run, so that its begin and end do not count.
const ROUNDS: u32 = 1000;

unsafe extern "C" fn empty(_ctx: *mut Context, _thread: u32, _threads: u32) {}

unsafe extern "C" fn barriers(ctx: *mut Context, thread: u32, threads: u32) {
    for _ in 0..ROUNDS {
        // SAFETY: the context is that of a run.
        unsafe { ((*(*ctx).helpers).barrier)(ctx, thread, threads) };
    }
}

unsafe extern "C" fn sections(ctx: *mut Context, _thread: u32, parts: u32) {
    for _ in 0..ROUNDS {
        // SAFETY: the context is that of a run.
        unsafe { ((*(*ctx).helpers).parallel)(ctx, empty, parts) };
    }
}

/// The calling thread.
struct Serial;

impl Executor for Serial {
    fn parallel_for(&self, parts: usize, body: &(dyn Fn(usize) + Sync)) {
        (0..parts).for_each(body);
    }
}

/// The time of one of the [`ROUNDS`], for as many rounds as asked for.
fn per_round(iterations: u64, mut run: impl FnMut()) -> Duration {
    let runs = iterations.div_ceil(u64::from(ROUNDS));
    let start = Instant::now();
    (0..runs).for_each(|_| run());
    let rounds = runs * u64::from(ROUNDS);
    start.elapsed().mul_f64(iterations as f64 / rounds as f64)
}

/// Without any work.
fn hand_off(c: &mut Criterion) {
    let mut group = c.benchmark_group("hand-off");
    for threads in [2, 4] {
        let pool = Pool::new(threads).expect("threads start");
        let mut ctx = Context::new();
        let ctx = &raw mut ctx;
        group.bench_function(BenchmarkId::new("barrier", threads), |b| {
            // SAFETY: the context is exclusive; the entry uses no buffers.
            let mut run = || unsafe { pool.run(barriers, ctx).expect("it cannot fail") };
            b.iter_custom(|n| per_round(n, &mut run));
        });
        group.bench_function(BenchmarkId::new("section", threads), |b| {
            // SAFETY: as above.
            let mut run = || unsafe { pool.run_sections(sections, ctx).expect("it cannot fail") };
            b.iter_custom(|n| per_round(n, &mut run));
        });
        group.bench_function(
            BenchmarkId::new("section of a serial executor", threads),
            |b| {
                // SAFETY: as above.
                let mut run = || unsafe {
                    run_sections(&Serial, threads, sections, ctx).expect("it cannot fail")
                };
                b.iter_custom(|n| per_round(n, &mut run));
            },
        );
        group.bench_function(BenchmarkId::new("run", threads), |b| {
            // SAFETY: as above.
            b.iter(|| unsafe { pool.run(empty, ctx).expect("it cannot fail") });
        });
    }
}

fn digits(batch: i64) -> (Model, Vec<Tensor>) {
    let model = Model::from_bytes(DIGITS, &LoadOptions::default()).expect("the model is valid");
    let image = Tensor::zeros(tensmith::ElementType::F32, &[batch as usize, 1, 8, 8]);
    (model, vec![image.expect("it is small")])
}

/// Layers of `width` on `rows` rows.
fn perceptron(rows: usize, width: usize) -> (Model, Vec<Tensor>) {
    let mut b = SmallModel::default();
    let mut y = b.input(&[rows, width]);
    for _ in 0..4 {
        let w = b.weight(&[width, width]);
        let bias = b.weight(&[width]);
        y = b.node("MatMul", &[&y, &w], &[]);
        y = b.node("Add", &[&y, &bias], &[]);
        y = b.node("Relu", &[&y], &[]);
    }
    b.finish(&y)
}

fn compile(model: &Model, inputs: &[Tensor], execution: Execution, threads: usize) -> Executable {
    let mut options = Options {
        execution,
        threads: Some(threads),
        ..Options::default()
    };
    for name in model.input_names() {
        options
            .input_shapes
            .insert(name, inputs[0].shape().to_vec());
    }
    model.compile(&options).expect("it compiles")
}

/// Whole models of little work.
fn small_models(c: &mut Criterion) {
    let models = [
        ("digits, batch 1", digits(1)),
        ("digits, batch 32", digits(32)),
        ("perceptron 1x64", perceptron(1, 64)),
        ("perceptron 1x256", perceptron(1, 256)),
        ("perceptron 32x256", perceptron(32, 256)),
    ];
    let mut group = c.benchmark_group("small models");
    for (name, (model, inputs)) in &models {
        let views: Vec<_> = inputs.iter().map(Tensor::view).collect();
        for (form, execution, threads) in [
            ("1 thread", Execution::Spmd, 1),
            ("2 threads", Execution::Spmd, 2),
            ("2 threads in sections", Execution::Sections, 2),
            ("4 threads", Execution::Spmd, 4),
        ] {
            let executable = compile(model, inputs, execution, threads);
            let mut session = executable.session().expect("memory suffices");
            group.bench_function(BenchmarkId::new(*name, form), |b| {
                b.iter(|| black_box(session.run(black_box(&views)).expect("it runs").len()));
            });
        }
    }
}

/// Short enough for the whole file to take about a minute.
fn config() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
}

criterion_group! {
    name = benches;
    config = config();
    targets = hand_off, small_models
}
criterion_main!(benches);
