//! What users wait for: compiling models, and running them.
//!
//! Models other than the built-in one are measured if `cargo xtask models` has made them.
use std::collections::BTreeSet;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tensmith::{KeepSymbolic, LoadOptions, Model, Options, TensorView, compile};
use tensmith_ir::graph::parse_graph;

const DIGITS: &[u8] = include_bytes!("../assets/digits.onnx");

/// Height and width of an image of the digit model.
const SIDE: usize = 8;

fn options(threads: usize) -> Options {
    Options {
        threads: Some(threads),
        ..Options::default()
    }
}

/// One compiled digit model serves every batch.
fn digit_options(threads: usize) -> Options {
    Options {
        symbolic: KeepSymbolic::Names(BTreeSet::from(["batch".to_string()])),
        ..options(threads)
    }
}

fn digits() -> Model {
    Model::from_bytes(DIGITS, &LoadOptions::default()).expect("the built-in model is valid")
}

/// The file of a model that `cargo xtask models` makes, if it is there.
fn made_model(name: &str) -> Option<PathBuf> {
    let folder = match std::env::var_os("TENSMITH_MODELS") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("models"),
    };
    let path = folder.join(format!("{name}.onnx"));
    path.exists().then_some(path)
}

/// Import, passes, code generation and prepared constants; reading the file is not measured.
fn compile_time(c: &mut Criterion) {
    let mut group = c.benchmark_group("compile");
    let mut measure = |name: &str, model: &Model, options: &Options| {
        group.bench_function(name, |b| {
            b.iter(|| model.compile(black_box(options)).expect("it compiles"));
        });
    };
    measure("digits", &digits(), &digit_options(1));
    for name in ["mobilenet_v2", "minilm_l6"] {
        let Some(path) = made_model(name) else {
            eprintln!("compile/{name}: not measured; `cargo xtask models {name}` makes the model");
            continue;
        };
        let model = Model::load(path, &LoadOptions::default()).expect("the model is valid");
        measure(name, &model, &options(1));
    }
}

/// The digit model, one image at a time and many at once.
fn digit_latency(c: &mut Criterion) {
    let mut group = c.benchmark_group("digits");
    for threads in [1, 2] {
        let executable = digits()
            .compile(&digit_options(threads))
            .expect("it compiles");
        for batch in [1, 32] {
            let pixels = vec![0.5_f32; batch * SIDE * SIDE];
            let shape = [batch, 1, SIDE, SIDE];
            let image = TensorView::from_slice(&shape, &pixels).expect("the shape fits");
            let mut session = executable.session().expect("memory suffices");
            let id = BenchmarkId::new(format!("{threads} threads"), format!("batch {batch}"));
            group.throughput(Throughput::Elements(batch as u64));
            group.bench_function(id, |b| {
                b.iter(|| {
                    let outputs = session.run(black_box(&[image])).expect("it runs");
                    black_box(outputs.len())
                });
            });
        }
    }
}

/// One matrix product of operands that both are inputs; throughput is in operations.
fn matmul(c: &mut Criterion) {
    const N: usize = 512;
    let text = format!(
        "graph \"matmul\" () {{
           %0 = input \"a\" : f32[{N}, {N}]
           %1 = input \"b\" : f32[{N}, {N}]
           %2 = contract(%0, %1) {{spec=\"mk,kn->mn\"}} \"c\" : f32[{N}, {N}]
           output \"c\" = %2
         }}"
    );
    let graph = parse_graph(&text).expect("the graph is valid");
    let order = ["a".to_string(), "b".to_string()];
    let (a, b) = (vec![0.5_f32; N * N], vec![0.25_f32; N * N]);
    let view = |data| TensorView::from_slice(&[N, N], data).expect("the shape fits");
    let inputs = [view(&a), view(&b)];
    let mut group = c.benchmark_group("matmul 512");
    group.throughput(Throughput::Elements(2 * (N * N * N) as u64));
    for threads in [1, 2] {
        let executable = compile::compile(&graph, &options(threads), Vec::new(), &order);
        let executable = executable.expect("it compiles");
        let mut session = executable.session().expect("memory suffices");
        group.bench_function(format!("{threads} threads"), |b| {
            b.iter(|| black_box(session.run(black_box(&inputs)).expect("it runs").len()));
        });
    }
}

/// Short enough for the whole file to take a minute or two.
fn config() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(4))
}

criterion_group! {
    name = benches;
    config = config();
    targets = compile_time, digit_latency, matmul
}
criterion_main!(benches);
