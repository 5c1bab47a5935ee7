//! Kernels by family, each as a small model: a group a family, on one thread and on two.
//!
//! Throughput is in operations of the direct algorithm for contractions and convolutions (so
//! Gelem/s are GFLOP/s), and in bytes of inputs and outputs for all else (GB/s).
mod small_model;

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group,
    criterion_main,
};
use small_model::SmallModel;
use tensmith::{Model, Options, Tensor};

/// Units: bytes of an `f32`.
const F32_BYTES: usize = size_of::<f32>();

/// Measures one model with one and with two threads.
fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    throughput: Throughput,
    model: &(Model, Vec<Tensor>),
) {
    measure_with(&Options::default(), group, name, throughput, model);
}

/// As [`measure`], compiled with some options.
fn measure_with(
    options: &Options,
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    throughput: Throughput,
    (model, inputs): &(Model, Vec<Tensor>),
) {
    group.throughput(throughput);
    group.sampling_mode(SamplingMode::Flat);
    let views: Vec<_> = inputs.iter().map(Tensor::view).collect();
    for threads in [1, 2] {
        let options = Options {
            threads: Some(threads),
            ..options.clone()
        };
        let executable = model.compile(&options).expect("it compiles");
        let mut session = executable.session().expect("memory suffices");
        let id = BenchmarkId::new(name, format!("{threads} threads"));
        group.bench_function(id, |b| {
            b.iter(|| black_box(session.run(black_box(&views)).expect("it runs").len()));
        });
    }
}

/// A multiplication and an addition for each term.
fn flops(terms: usize) -> Throughput {
    Throughput::Elements(2 * terms as u64)
}

/// What is read and written at least.
fn f32s(elements: usize) -> Throughput {
    Throughput::BytesDecimal((elements * F32_BYTES) as u64)
}

/// Products with a constant matrix, and batched ones of two inputs.
fn contraction(c: &mut Criterion) {
    let mut group = c.benchmark_group("contraction");
    let shapes = [
        (512, 512, 512),
        (1024, 1024, 1024),
        (196, 512, 1024),
        (3136, 64, 576),
    ];
    for (m, k, n) in shapes {
        let mut b = SmallModel::default();
        let (x, w) = (b.input(&[m, k]), b.weight(&[k, n]));
        let y = b.node("MatMul", &[&x, &w], &[]);
        let name = format!("{m}x{k}x{n}");
        measure(&mut group, &name, flops(m * k * n), &b.finish(&y));
    }
    // A single row reads each weight once: memory is the limit.
    let (k, n) = (1024, 1024);
    let mut b = SmallModel::default();
    let (x, w) = (b.input(&[1, k]), b.weight(&[k, n]));
    let y = b.node("MatMul", &[&x, &w], &[]);
    measure(&mut group, "1x1024x1024", f32s(k * n), &b.finish(&y));

    let (heads, length, width) = (12, 128, 32);
    let mut b = SmallModel::default();
    let (x, y) = (
        b.input(&[1, heads, length, width]),
        b.input(&[1, heads, width, length]),
    );
    let y = b.node("MatMul", &[&x, &y], &[]);
    let terms = heads * length * width * length;
    measure(&mut group, "12 of 128x32x128", flops(terms), &b.finish(&y));
}

/// Channels, filters, side of the input, of the window, distance of windows and of their taps.
struct Window {
    channels: usize,
    filters: usize,
    side: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
}

impl Window {
    fn name(&self) -> String {
        let Window {
            channels,
            filters,
            side,
            kernel,
            stride,
            dilation,
        } = self;
        let taps = match dilation {
            1 => String::new(),
            _ => format!(", dilation {dilation}"),
        };
        format!("{kernel}x{kernel} {channels} to {filters} at {side}, stride {stride}{taps}")
    }

    fn terms(&self) -> usize {
        let out = self.side.div_ceil(self.stride);
        out * out * self.filters * self.channels * self.kernel * self.kernel
    }

    /// With a bias and as much padding as keeps the size.
    fn model(&self) -> (Model, Vec<Tensor>) {
        let mut b = SmallModel::default();
        let x = b.input(&[1, self.channels, self.side, self.side]);
        let w = b.weight(&[self.filters, self.channels, self.kernel, self.kernel]);
        let bias = b.weight(&[self.filters]);
        let pads = [(self.kernel / 2 * self.dilation) as i64; 4];
        let [strides, dilations] = [self.stride, self.dilation].map(|n| [n as i64; 2]);
        let attributes = [
            ("pads", &pads[..]),
            ("strides", &strides[..]),
            ("dilations", &dilations[..]),
        ];
        let y = b.node("Conv", &[&x, &w, &bias], &attributes);
        b.finish(&y)
    }
}

fn convolution(c: &mut Criterion) {
    let mut group = c.benchmark_group("convolution");
    let window = |channels, filters, side, kernel, stride| Window {
        channels,
        filters,
        side,
        kernel,
        stride,
        dilation: 1,
    };
    let windows = [
        window(64, 64, 56, 3, 1),
        window(256, 256, 14, 3, 1),
        window(128, 128, 56, 3, 2),
        window(256, 256, 28, 1, 1),
        window(3, 64, 224, 7, 2),
        // Many taps lie in the padding.
        Window {
            dilation: 12,
            ..window(256, 64, 33, 3, 1)
        },
    ];
    for window in windows {
        let model = window.model();
        measure(&mut group, &window.name(), flops(window.terms()), &model);
    }
}

/// Minimal filtering, and the direct algorithm that it is chosen against.
fn winograd(c: &mut Criterion) {
    let mut group = c.benchmark_group("winograd");
    for (channels, side) in [(64, 56), (256, 14)] {
        let window = Window {
            channels,
            filters: channels,
            side,
            kernel: 3,
            stride: 1,
            dilation: 1,
        };
        let name = format!("{channels} to {channels} at {side}");
        for (algorithm, most) in [("chosen", None), ("direct", Some(0))] {
            let options = Options {
                max_constant_bytes: most,
                ..Options::default()
            };
            let name = format!("{name}, {algorithm}");
            let (terms, model) = (flops(window.terms()), window.model());
            measure_with(&options, &mut group, &name, terms, &model);
        }
    }
}

/// Windows that spread one element each.
fn transposed_convolution(c: &mut Criterion) {
    let mut group = c.benchmark_group("transposed convolution");
    for (channels, filters, side, kernel, pad) in [(64, 32, 56, 2, 0), (128, 64, 28, 4, 1)] {
        let mut b = SmallModel::default();
        let x = b.input(&[1, channels, side, side]);
        let w = b.weight(&[channels, filters, kernel, kernel]);
        let attributes = [("strides", &[2, 2][..]), ("pads", &[pad; 4][..])];
        let y = b.node("ConvTranspose", &[&x, &w], &attributes);
        let terms = side * side * channels * filters * kernel * kernel;
        let name = format!("{kernel}x{kernel} {channels} to {filters} at {side}, stride 2");
        measure(&mut group, &name, flops(terms), &b.finish(&y));
    }
}

/// Scores, their softmax and the sum of the values.
fn attention(c: &mut Criterion) {
    let mut group = c.benchmark_group("attention");
    for (heads, queries, keys, width) in [(12, 128, 128, 32), (8, 1024, 1024, 64), (12, 1, 512, 64)]
    {
        let mut b = SmallModel::default();
        let q = b.input(&[1, heads, queries, width]);
        let k = b.input(&[1, heads, keys, width]);
        let v = b.input(&[1, heads, keys, width]);
        let scale = b.floats(&[0.125]);
        let k = b.node("Transpose", &[&k], &[("perm", &[0, 1, 3, 2])]);
        let s = b.node("MatMul", &[&q, &k], &[]);
        let s = b.node("Mul", &[&s, &scale], &[]);
        let p = b.node("Softmax", &[&s], &[("axis", &[-1])]);
        let y = b.node("MatMul", &[&p, &v], &[]);
        let name = format!("{heads} heads of {width}, {queries} queries, {keys} keys");
        let terms = 2 * heads * queries * keys * width;
        measure(&mut group, &name, flops(terms), &b.finish(&y));
    }
}

/// Layers whose steps wait for each other.
fn recurrent(c: &mut Criterion) {
    let mut group = c.benchmark_group("recurrent");
    let (steps, width) = (64, 128);
    for (op, gates) in [("LSTM", 4), ("GRU", 3)] {
        for batch in [1, 16] {
            let mut b = SmallModel::default();
            let x = b.input(&[steps, batch, width]);
            let [w, r] = [0; 2].map(|_| b.weight(&[1, gates * width, width]));
            let size = [("hidden_size", &[width as i64][..])];
            let y = b.node(op, &[&x, &w, &r], &size);
            let name = format!("{op} of {width}, {steps} steps, batch {batch}");
            let terms = 2 * steps * batch * gates * width * width;
            measure(&mut group, &name, flops(terms), &b.finish(&y));
        }
    }
}

/// Windows whose greatest element, or mean, is taken.
fn pooling(c: &mut Criterion) {
    let mut group = c.benchmark_group("pooling");
    for (op, kernel, stride) in [("MaxPool", 3, 2), ("MaxPool", 5, 1), ("AveragePool", 2, 2)] {
        let (channels, side) = (64, 112);
        let mut b = SmallModel::default();
        let x = b.input(&[1, channels, side, side]);
        let pads = [(kernel - 1) / 2; 4];
        let attributes = [
            ("kernel_shape", &[kernel; 2][..]),
            ("strides", &[stride; 2][..]),
            ("pads", &pads[..]),
        ];
        let y = b.node(op, &[&x], &attributes);
        let read = channels * side * side;
        let name = format!("{op} {kernel}x{kernel}, stride {stride}, {channels} at {side}");
        measure(&mut group, &name, f32s(read), &b.finish(&y));
    }
}

/// Images of another size, and rows by their indices.
fn sampling(c: &mut Criterion) {
    let mut group = c.benchmark_group("sampling");
    let (channels, side) = (64, 56);
    for mode in ["nearest", "linear", "cubic"] {
        let mut b = SmallModel::default();
        let x = b.input(&[1, channels, side, side]);
        let scales = b.floats(&[1.0, 1.0, 2.0, 2.0]);
        let y = b.node("Resize", &[&x, "", &scales], &[]);
        b.text_attribute("mode", mode);
        let written = 4 * channels * side * side;
        let name = format!("{mode}, {channels} at {side} twice as large");
        measure(&mut group, &name, f32s(written), &b.finish(&y));
    }
    let (rows, width, count) = (1000, 384, 128);
    let mut b = SmallModel::default();
    let x = b.input(&[rows, width]);
    let indices: Vec<i64> = (0..count).map(|k| k * 389 % rows as i64).collect();
    let indices = b.integers(&indices);
    let y = b.node("Gather", &[&x, &indices], &[("axis", &[0])]);
    let name = format!("{count} rows of {rows}x{width}");
    let touched = f32s(2 * count as usize * width);
    measure(&mut group, &name, touched, &b.finish(&y));
}

/// Chains, since a single one is mostly a change of layout where layouts are blocked.
fn depthwise(c: &mut Criterion) {
    const LAYERS: usize = 8;
    let mut group = c.benchmark_group("depthwise");
    for (channels, side, kernel) in [(32, 112, 3), (144, 28, 5)] {
        let mut b = SmallModel::default();
        let mut y = b.input(&[1, channels, side, side]);
        let pads = [kernel as i64 / 2; 4];
        let groups = [channels as i64];
        for _ in 0..LAYERS {
            let w = b.weight(&[channels, 1, kernel, kernel]);
            let bias = b.weight(&[channels]);
            let attributes = [("pads", &pads[..]), ("group", &groups[..])];
            y = b.node("Conv", &[&y, &w, &bias], &attributes);
            y = b.node("Relu", &[&y], &[]);
        }
        let terms = LAYERS * channels * side * side * kernel * kernel;
        let name = format!("{LAYERS} of {kernel}x{kernel}, {channels} at {side}");
        measure(&mut group, &name, flops(terms), &b.finish(&y));
    }
}

/// Reductions along rows whose results are used in the same rows.
fn rows(c: &mut Criterion) {
    let mut group = c.benchmark_group("rows");
    for (rows, columns) in [(128, 768), (1536, 128)] {
        let mut b = SmallModel::default();
        let x = b.input(&[rows, columns]);
        let y = b.node("Softmax", &[&x], &[("axis", &[-1])]);
        let name = format!("softmax {rows}x{columns}");
        measure(&mut group, &name, f32s(2 * rows * columns), &b.finish(&y));
    }
    let (rows, columns) = (128, 384);
    let mut b = SmallModel::default();
    let x = b.input(&[rows, columns]);
    let (scale, bias) = (b.weight(&[columns]), b.weight(&[columns]));
    let operands = [&x[..], &scale, &bias];
    let y = b.node("LayerNormalization", &operands, &[("axis", &[-1])]);
    let name = format!("layer norm {rows}x{columns}");
    measure(&mut group, &name, f32s(2 * rows * columns), &b.finish(&y));

    let mut b = SmallModel::default();
    let x = b.input(&[1, 512, 28, 28]);
    let y = b.node("GlobalAveragePool", &[&x], &[]);
    let read = f32s(512 * 28 * 28);
    measure(
        &mut group,
        "mean of 512 planes of 28x28",
        read,
        &b.finish(&y),
    );
}

fn elementwise(c: &mut Criterion) {
    let mut group = c.benchmark_group("elementwise");
    let (rows, columns) = (128, 3072);
    let touched = || f32s(2 * rows * columns);
    let mut b = SmallModel::default();
    let x = b.input(&[rows, columns]);
    let (scale, bias) = (b.weight(&[columns]), b.weight(&[columns]));
    let y = b.node("Mul", &[&x, &scale], &[]);
    let y = b.node("Add", &[&y, &bias], &[]);
    let y = b.node("Gelu", &[&y], &[]);
    let name = format!("gelu(x * s + b) {rows}x{columns}");
    measure(&mut group, &name, touched(), &b.finish(&y));
    for op in ["Relu", "Exp", "Tanh", "Sigmoid", "HardSwish"] {
        let mut b = SmallModel::default();
        let x = b.input(&[rows, columns]);
        let y = b.node(op, &[&x], &[]);
        let name = format!("{} {rows}x{columns}", op.to_lowercase());
        measure(&mut group, &name, touched(), &b.finish(&y));
    }
    let mut b = SmallModel::default();
    let (x, y) = (b.input(&[rows, columns]), b.input(&[rows, columns]));
    let y = b.node("Add", &[&x, &y], &[]);
    let name = format!("add {rows}x{columns}");
    measure(&mut group, &name, f32s(3 * rows * columns), &b.finish(&y));
}

/// The greatest elements of rows.
fn order(c: &mut Criterion) {
    let mut group = c.benchmark_group("order");
    for (rows, columns, k) in [(1, 8400, 10), (1, 8400, 300), (100, 1000, 100)] {
        let mut b = SmallModel::default();
        let x = b.input(&[rows, columns]);
        let count = b.integers(&[k]);
        let y = b.node("TopK", &[&x, &count], &[]);
        b.another_result();
        let name = format!("{k} greatest of {rows}x{columns}");
        measure(&mut group, &name, f32s(rows * columns), &b.finish(&y));
    }
}

/// What only moves elements.
fn copies(c: &mut Criterion) {
    let mut group = c.benchmark_group("copies");
    let permutations: [(&str, &[usize], &[i64]); 3] = [
        ("transpose 1024x1024", &[1024, 1024], &[1, 0]),
        ("channels last 64 at 112", &[1, 64, 112, 112], &[0, 2, 3, 1]),
        ("heads first 128x12x64", &[1, 128, 12, 64], &[0, 2, 1, 3]),
    ];
    for (name, shape, perm) in permutations {
        let mut b = SmallModel::default();
        let x = b.input(shape);
        let y = b.node("Transpose", &[&x], &[("perm", perm)]);
        let touched = f32s(2 * shape.iter().product::<usize>());
        measure(&mut group, name, touched, &b.finish(&y));
    }
    let shape = [1, 64, 56, 56];
    let mut b = SmallModel::default();
    let (x, y) = (b.input(&shape), b.input(&shape));
    let y = b.node("Concat", &[&x, &y], &[("axis", &[1])]);
    let touched = f32s(4 * shape.iter().product::<usize>());
    measure(
        &mut group,
        "concat of 2 of 64 at 56",
        touched,
        &b.finish(&y),
    );
    let shape = [16, 256, 256];
    let mut b = SmallModel::default();
    let x = b.input(&shape);
    let y = b.node("Trilu", &[&x], &[("upper", &[0])]);
    let touched = f32s(2 * shape.iter().product::<usize>());
    measure(&mut group, "triangle 16x256x256", touched, &b.finish(&y));
}

/// Short enough for the whole file to take a few minutes.
fn config() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! {
    name = benches;
    config = config();
    targets = contraction, convolution, winograd, depthwise, transposed_convolution, attention,
        recurrent, rows, elementwise, pooling, sampling, order, copies
}
criterion_main!(benches);
