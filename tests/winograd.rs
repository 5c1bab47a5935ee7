//! Convolutions by minimal filtering on adversarial inputs, against sums in `f64`.
//!
//! The promise, for finite inputs and results of less than a 16th of the largest number: no error
//! is larger than 1e-4 of the largest result; or, where filters cancel their inputs, than what one
//! sum of the direct algorithm may lose; or, where numbers are denormal, than some units of their
//! spacing.
//! Larger results may become infinite or NaN, never another number; what is not finite in a tile
//! reaches every result that depends on it, and no other tile.
use tensmith::convert::{to_ir, to_runtime};
use tensmith::{Options, Precision, compile};
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::{Attrs, Graph, TensorType};
use tensmith_ir::ops::{Sampler, op};
use tensmith_ir::tensor::{Tensor, Wide};
use tensmith_passes::graph::Algorithm;

/// What errors may be of the largest result.
const TOLERANCE: f64 = 1e-4;
/// Units of the least denormal number, for each unit of a result's weights: inputs are divided by
/// 8 before they are rounded, and what is transformed adds up in every result.
const DENORMAL_UNITS: f64 = 8.0;

/// A convolution of 3x3 taps.
#[derive(Clone, Copy, Debug)]
struct Shape {
    x: [usize; 4],
    results: usize,
    before: [usize; 2],
    after: [usize; 2],
}

/// Whole tiles, tiles cut off, padding of all kinds, several images, short and long sums.
const SHAPES: [Shape; 4] = [
    Shape::new([1, 64, 16, 16], 64, [1, 1], [1, 1]),
    Shape::new([2, 32, 9, 13], 48, [0, 0], [0, 0]),
    Shape::new([1, 40, 11, 8], 33, [2, 0], [1, 3]),
    Shape::new([1, 256, 14, 14], 32, [1, 1], [1, 1]),
];

impl Shape {
    const fn new(x: [usize; 4], results: usize, before: [usize; 2], after: [usize; 2]) -> Self {
        Shape {
            x,
            results,
            before,
            after,
        }
    }

    fn weights(&self) -> [usize; 4] {
        [self.results, self.x[1], 3, 3]
    }

    fn output(&self) -> [usize; 4] {
        let extent = |d: usize| self.x[d + 2] + self.before[d] + self.after[d] - 2;
        [self.x[0], self.results, extent(0), extent(1)]
    }

    fn graph(&self, weights: &Tensor) -> Graph {
        let mut g = Graph::default();
        let ints = |v: [usize; 2]| v.map(|p| p as i64).to_vec();
        let attrs = Attrs::new()
            .with("strides", vec![1, 1])
            .with("dilations", vec![1, 1])
            .with("groups", 1)
            .with("pads_before", ints(self.before))
            .with("pads_after", ints(self.after));
        let dims = self.x.iter().map(|d| (*d).into()).collect();
        let x = g.add_input("x", TensorType::new(DType::F32, dims));
        let w = g.add_constant("w", weights.clone());
        let y = g.add_one(op("conv"), "c", &[x, w], attrs).unwrap();
        g.add_output("y", y);
        g
    }
}

/// A tensor of `f32` whose elements are a function of their indices.
fn tensor(shape: [usize; 4], f: &mut dyn FnMut([usize; 4]) -> f64) -> Tensor {
    let [a, b, c, d] = shape;
    let mut values = Vec::with_capacity(a * b * c * d);
    for k in 0..a * b * c * d {
        values.push(f([k / (b * c * d), k / (c * d) % b, k / d % c, k % d]));
    }
    Tensor::from_wide(DType::F32, shape.to_vec(), &Wide::Float(values))
}

fn noise(shape: [usize; 4], seed: u64) -> Vec<f64> {
    let noise = Sampler::new(seed).tensor(DType::F32, &shape, -1.0, 1.0);
    noise.to_f64()
}

/// Ordinary weights, and weights that cancel or stand alone.
const WEIGHTS: [&str; 5] = ["noise", "positive", "zero mean", "zero filters", "corners"];

fn weights(kind: &str, shape: &Shape, seed: u64) -> Tensor {
    let dims = shape.weights();
    let (values, filter) = (noise(dims, seed), dims[1] * 9);
    let mean = |at: usize, count: usize| {
        let from = at / count * count;
        values[from..from + count].iter().sum::<f64>() / count as f64
    };
    let mut k = 0;
    tensor(dims, &mut |[_, _, r, s]| {
        k += 1;
        let (at, v) = (k - 1, values[k - 1]);
        match kind {
            "noise" => v,
            "positive" => v.abs(),
            "zero mean" => v - mean(at, filter),
            "zero filters" => v - mean(at, 9),
            "corners" => v * f64::from(r == 0 && s == 2),
            _ => panic!("no weights are called {kind}"),
        }
    })
}

/// Inputs that one algorithm or another finds hard.
const INPUTS: [&str; 11] = [
    "noise", "relu", "mean", "channels", "checks", "stripes", "step", "spike", "corner",
    "denormal", "huge",
];

fn input(kind: &str, shape: &Shape, seed: u64) -> Tensor {
    let values = noise(shape.x, seed);
    let channels = noise([shape.x[1], 1, 1, 1], seed + 1);
    let mut k = 0;
    tensor(shape.x, &mut |[_, c, h, w]| {
        k += 1;
        let v = values[k - 1];
        let sign = |odd: usize| if odd % 2 == 1 { -1.0 } else { 1.0 };
        match kind {
            "noise" => v,
            "relu" => v.max(0.0),
            "mean" => 1000.0 + v,
            "channels" => 1000.0 * channels[c] + v,
            "checks" => 1000.0 * sign(h + w) + v,
            "stripes" => 1000.0 * sign(w) + v,
            "step" => v + if h > 4 { 1000.0 } else { 0.0 },
            "spike" if (c, h, w) == (9, 4, 3) => 1e6,
            "corner" if (c, h + 1, w + 1) == (9, shape.x[2], shape.x[3]) => 1e6,
            "spike" | "corner" => v,
            "denormal" => 1e-40 * v,
            "huge" => 1e37 * v,
            _ => panic!("no inputs are called {kind}"),
        }
    })
}

/// The convolution in `f64`, of the elements' and the weights' powers.
fn reference(shape: &Shape, x: &Tensor, w: &Tensor, power: i32) -> Vec<f64> {
    let of = |t: &Tensor| -> Vec<f64> {
        let values = t.to_f64().into_iter();
        values.map(|v| v.powi(power)).collect()
    };
    let (x, w) = (of(x), of(w));
    let [images, results, height, width] = shape.output();
    let [_, channels, rows, columns] = shape.x;
    let mut y = vec![0.0; images * results * height * width];
    for n in 0..images {
        for (o, c) in (0..results).flat_map(|o| (0..channels).map(move |c| (o, c))) {
            let (plane, filter) = ((n * channels + c) * rows * columns, (o * channels + c) * 9);
            for (h, r) in (0..height).flat_map(|h| (0..3).map(move |r| (h, r))) {
                let Some(row) = (h + r).checked_sub(shape.before[0]).filter(|p| *p < rows) else {
                    continue;
                };
                let out = ((n * results + o) * height + h) * width;
                for (v, s) in (0..width).flat_map(|v| (0..3).map(move |s| (v, s))) {
                    let column = (v + s).checked_sub(shape.before[1]);
                    if let Some(column) = column.filter(|p| *p < columns) {
                        y[out + v] += w[filter + 3 * r + s] * x[plane + row * columns + column];
                    }
                }
            }
        }
    }
    y
}

fn run(graph: &Graph, x: &Tensor) -> Vec<f64> {
    run_with(graph, x, Precision::Standard)
}

fn run_with(graph: &Graph, x: &Tensor, precision: Precision) -> Vec<f64> {
    let options = Options {
        threads: Some(1),
        precision,
        ..Options::default()
    };
    let names = ["x".to_string()];
    let executable = compile::compile(graph, &options, vec![], &names).unwrap();
    let input = to_runtime(x).unwrap();
    let outputs = executable.run(&[("x", input.view())]).unwrap();
    to_ir(outputs[0].view()).to_f64()
}

fn algorithm(graph: &Graph) -> Algorithm {
    algorithm_with(graph, Precision::Standard)
}

fn algorithm_with(graph: &Graph, precision: Precision) -> Algorithm {
    let options = Options {
        precision,
        ..Options::default()
    };
    let found = compile::optimised_and_told(graph, &options);
    found.unwrap().1.algorithms.remove(0)
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m, v| v.abs().max(m))
}

/// The largest error of results that are finite.
fn worst(found: &[f64], want: &[f64]) -> f64 {
    let finite = found.iter().zip(want).filter(|(y, _)| y.is_finite());
    finite.fold(0.0, |m, (y, z)| (y - z).abs().max(m))
}

/// What an error may be.
fn allowed(shape: &Shape, x: &Tensor, w: &Tensor, want: &[f64]) -> f64 {
    let filters = w.to_f64();
    let filters = filters.chunks(shape.x[1] * 9);
    let weights = filters.map(|f| f.iter().map(|w| w.abs()).sum::<f64>());
    let denormal = f64::from(f32::from_bits(1)) * DENORMAL_UNITS * weights.fold(1.0, f64::max);
    // Six standard deviations of the roundings of the partial sums of products of random signs.
    let terms = (shape.x[1] * 9) as f64;
    let products = largest(&reference(shape, x, w, 2));
    let direct = 6.0 * f64::from(f32::EPSILON) / 2.0 * (terms * products / 18.0).sqrt();
    (TOLERANCE * largest(want)).max(direct) + denormal
}

#[test]
fn errors_stay_within_the_promise() {
    for (shape, kind) in SHAPES.iter().flat_map(|s| WEIGHTS.map(|k| (s, k))) {
        let w = weights(kind, shape, 7);
        let graph = shape.graph(&w);
        for inputs in INPUTS {
            let x = input(inputs, shape, 11);
            let want = reference(shape, &x, &w, 1);
            let found = run(&graph, &x);
            let (error, most) = (worst(&found, &want), allowed(shape, &x, &w, &want));
            let part = error / largest(&want);
            let what = format!("{kind} weights, {inputs} inputs, {shape:?}");
            println!(
                "{part:.1e} of the largest, {:.1e} of what is allowed: {what}",
                error / most
            );
            assert!(error <= most, "{part:.1e}: {what}");
            let range = largest(&want) < f64::from(f32::MAX) / 16.0;
            assert!(!range || found.iter().all(|y| y.is_finite()), "{what}");
        }
    }
}

#[test]
fn ordinary_weights_are_filtered_with_the_errors_that_are_expected() {
    for shape in &SHAPES {
        for kind in ["noise", "positive"] {
            let graph = shape.graph(&weights(kind, shape, 3));
            let chosen = algorithm(&graph);
            assert!(chosen.tile > 1, "{shape:?}: {}", chosen.text);
            let x = input("noise", shape, 5);
            let want = reference(shape, &x, &weights(kind, shape, 3), 1);
            let part = worst(&run(&graph, &x), &want) / largest(&want);
            let most = chosen.error;
            println!("{part:.1e} of {most:.1e}: {kind} {shape:?}");
            assert!(
                part <= most && part > most / 30.0,
                "{part:.1e} of {most:.1e}"
            );
        }
    }
}

#[test]
fn numbers_near_the_largest_are_right_or_not_finite() {
    let shape = SHAPES[0];
    let w = weights("noise", &shape, 7);
    let graph = shape.graph(&w);
    assert!(algorithm(&graph).tile > 1);
    for scale in [1e38, 3.4e38] {
        let mut values = noise(shape.x, 9).into_iter();
        let x = tensor(shape.x, &mut |_| scale * values.next().unwrap());
        let want = reference(&shape, &x, &w, 1);
        let error = worst(&run(&graph, &x), &want);
        assert!(error <= TOLERANCE * largest(&want), "{scale:e}: {error:e}");
    }
}

#[test]
fn what_is_not_finite_reaches_all_that_depend_on_it() {
    let shape = SHAPES[0];
    let w = weights("noise", &shape, 7);
    let graph = shape.graph(&w);
    let tile = algorithm(&graph).tile;
    assert!(tile > 1);
    let places = (0..6).map(|k| [0, 5 * k, 4 + k, 9 - k]);
    for (place, value) in places.zip([f64::INFINITY, f64::NEG_INFINITY, f64::NAN].repeat(2)) {
        let mut values = noise(shape.x, 9).into_iter();
        let x = tensor(shape.x, &mut |at| {
            let v = values.next().unwrap();
            if at == place { value } else { v }
        });
        let want = reference(&shape, &x, &w, 1);
        let found = run(&graph, &x);
        let width = shape.output()[3];
        for (k, (y, z)) in found.iter().zip(&want).enumerate() {
            let at = [k / width % shape.output()[2], k % width];
            let far = (0..2).any(|d| at[d].abs_diff(place[d + 2]) > tile as usize);
            assert!(z.is_finite() || !y.is_finite(), "{place:?}: {y} for {z}");
            assert!(
                !far || (y - z).abs() < 1e-3,
                "{place:?}, {at:?}: {y} for {z}"
            );
        }
    }
}

/// A bound that the user states admits what the standard one refuses, within that bound, and refuses
/// what that admits.
#[test]
fn stated_bounds_admit_and_refuse() {
    let (loose, tight) = (Precision::Fast(1e-2), Precision::Fast(1e-8));
    let mut admitted = 0;
    for (shape, kind) in SHAPES.iter().flat_map(|s| WEIGHTS.map(|k| (s, k))) {
        let w = weights(kind, shape, 7);
        let graph = shape.graph(&w);
        let [standard, fast] = [Precision::Standard, loose].map(|p| algorithm_with(&graph, p));
        let strict = algorithm_with(&graph, tight);
        println!(
            "{kind} {shape:?}: {}; loose: {}; tight: {}",
            standard.text, fast.text, strict.text
        );
        assert_eq!(strict.tile, 1, "{kind} {shape:?}: {}", strict.text);
        assert!(
            fast.tile >= standard.tile,
            "{kind} {shape:?}: {}",
            fast.text
        );
        admitted += usize::from(fast.tile > standard.tile);
        for inputs in ["noise", "mean"] {
            let x = input(inputs, shape, 11);
            let want = reference(shape, &x, &w, 1);
            let part = worst(&run_with(&graph, &x, loose), &want) / largest(&want);
            assert!(
                part <= 1e-2,
                "{part:.1e}: {kind} weights, {inputs} inputs, {shape:?}"
            );
        }
    }
    assert!(admitted > 0, "the looser bound admits nothing more");
}
