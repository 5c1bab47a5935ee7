//! Quantized graphs on all targets that run here: with scales that round nothing, each result has the
//! bits of the reference evaluator, whatever computes it.
use tensmith::convert::{to_ir, to_runtime};
use tensmith::{Error, Options, compile};
use tensmith_codegen::target::Target;
use tensmith_ir::dtype::DType;
use tensmith_ir::eval::eval_graph;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, TensorType, ValueId};
use tensmith_ir::ops::{Sampler, op};
use tensmith_ir::tensor::{Tensor, Wide};

/// A graph of one input.
struct Model {
    graph: Graph,
    input: Tensor,
    sampler: Sampler,
}

impl Model {
    fn new(input: Tensor) -> (Self, ValueId) {
        let mut graph = Graph::default();
        let dims = input.shape.iter().map(|d| (*d).into()).collect();
        let x = graph.add_input("x", TensorType::new(input.dtype, dims));
        let sampler = Sampler::new(7);
        (
            Model {
                graph,
                input,
                sampler,
            },
            x,
        )
    }

    fn add(&mut self, name: &str, inputs: &[ValueId], attrs: Attrs) -> ValueId {
        self.graph.add_one(op(name), name, inputs, attrs).unwrap()
    }

    fn with(&mut self, name: &str, x: ValueId, number: f64) -> ValueId {
        let number = Tensor::splat(self.graph.ty(x).dtype, vec![], number);
        let number = self.graph.add_constant("c", number);
        self.add(name, &[x, number], Attrs::new())
    }

    fn cast(&mut self, x: ValueId, to: DType) -> ValueId {
        self.add("cast", &[x], Attrs::new().with("to", to))
    }

    fn dequantised(&mut self, x: ValueId, zero: f64, scale: f64) -> ValueId {
        let x = self.cast(x, DType::I32);
        let x = self.with("sub", x, zero);
        let x = self.cast(x, DType::F32);
        self.with("mul", x, scale)
    }

    fn quantised(&mut self, x: ValueId, zero: f64, scale: f64) -> ValueId {
        let x = self.with("div", x, scale);
        let x = self.add("round", &[x], Attrs::new());
        let x = self.with("add", x, zero);
        let x = self.with("max", x, 0.0);
        let x = self.with("min", x, 255.0);
        self.cast(x, DType::U8)
    }

    /// The convolution by constant bytes, and what it adds.
    fn convolved(&mut self, x: ValueId, shape: [usize; 4], stride: i64, groups: i64) -> ValueId {
        let w = self.sampler.tensor(DType::I8, &shape, -128.0, 127.0);
        let w = self.graph.add_constant("w", w);
        let w = self.dequantised(w, 0.0, 1.0 / 64.0);
        let pad = vec![shape[2] as i64 / 2; 2];
        let attrs = Attrs::new()
            .with("strides", vec![stride; 2])
            .with("dilations", vec![1, 1])
            .with("groups", groups)
            .with("pads_before", pad.clone())
            .with("pads_after", pad);
        self.add("conv", &[x, w], attrs)
    }

    /// Compares what is compiled with the reference.
    fn check(mut self, result: ValueId, what: &str) {
        self.graph.add_output("y", result);
        let want = eval_graph(&self.graph, std::slice::from_ref(&self.input)).unwrap();
        let mut ran = 0;
        for target in Target::NAMES.into_iter().chain(["host"]) {
            let options = Options {
                threads: Some(1),
                target: target.into(),
                ..Options::default()
            };
            let names = ["x".to_string()];
            let executable = match compile::compile(&self.graph, &options, vec![], &names) {
                Err(Error::Usage(_)) => continue,
                other => other.unwrap(),
            };
            let input = to_runtime(&self.input).unwrap();
            let outputs = executable.run(&[("x", input.view())]).unwrap();
            assert_eq!(to_ir(outputs[0].view()), want[0], "{what} on {target}");
            ran += 1;
        }
        assert!(ran > 0);
    }
}

fn bytes(shape: &[usize]) -> Tensor {
    Sampler::new(3).tensor(DType::U8, shape, 0.0, 255.0)
}

/// Halves of a scale, and the floats beside them.
#[test]
fn quotients() {
    for scale in [0.1f32, 0.034_197_472, 3.0, 1.3e-4, 0.007_843_138] {
        let near = |k: i32| {
            let half = ((k as f32 + 0.5) * scale).to_bits();
            [-1, 0, 1].map(|d| f32::from_bits(half.wrapping_add_signed(d)))
        };
        let ends = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, -0.0];
        let values: Vec<f32> = (-300..300).flat_map(near).chain(ends).collect();
        let (mut m, x) = Model::new(Tensor::from_f32(vec![values.len()], &values));
        let y = m.quantised(x, 130.0, scale.into());
        m.check(y, &format!("quotients by {scale}"));
    }
}

/// Bytes that are turned to other orders of axes, as bytes and as floats.
#[test]
fn transposes_of_bytes() {
    for shape in [[1, 20, 9, 33], [2, 64, 16, 16], [1, 17, 31, 5]] {
        for perm in [[0, 2, 3, 1], [0, 3, 1, 2], [1, 3, 0, 2]] {
            for floats in [false, true] {
                let (mut m, x) = Model::new(bytes(&shape));
                let attrs = Attrs::new().with("perm", perm.map(i64::from).to_vec());
                let mut y = m.add("transpose", &[x], attrs);
                if floats {
                    y = m.dequantised(y, 3.0, 0.5);
                }
                m.check(y, &format!("{shape:?} by {perm:?}"));
            }
        }
    }
}

/// A block of a network for small devices: an expansion, a convolution of each channel by itself, a
/// projection, and what goes round them.
#[test]
fn blocks() {
    for (channels, side, stride) in [(8, 11, 1), (24, 9, 2), (32, 16, 1), (3, 13, 2)] {
        let (mut m, x) = Model::new(bytes(&[1, channels, side, side]));
        let x = m.dequantised(x, 120.0, 0.25);
        let wide = 4 * channels;
        let y = m.convolved(x, [wide, channels, 1, 1], 1, 1);
        let y = m.with("max", y, 0.0);
        let y = m.with("min", y, 512.0);
        let y = m.quantised(y, 0.0, 2.0);
        let y = m.dequantised(y, 0.0, 2.0);
        let y = m.convolved(y, [wide, 1, 3, 3], stride, wide as i64);
        let y = m.quantised(y, 100.0, 16.0);
        let y = m.dequantised(y, 100.0, 16.0);
        let y = m.convolved(y, [channels, wide, 1, 1], 1, 1);
        let mut y = m.quantised(y, 128.0, 256.0);
        if stride == 1 {
            let f = m.dequantised(y, 128.0, 256.0);
            let sum = m.add("add", &[f, x], Attrs::new());
            y = m.quantised(sum, 128.0, 256.0);
        }
        m.check(y, &format!("a block of {channels} channels, {side}"));
    }
}

/// The first layer of a network: an image of floats with few channels.
#[test]
fn first_layers() {
    for (channels, side, taps) in [(3, 32, 7), (3, 19, 3), (1, 24, 5), (2, 17, 4)] {
        let shape = [1, channels, side, side];
        let image = Sampler::new(5).tensor(DType::F32, &shape, -30.0, 30.0);
        let (mut m, x) = Model::new(image);
        let x = m.quantised(x, 128.0, 0.25);
        let x = m.dequantised(x, 128.0, 0.25);
        let y = m.convolved(x, [40, channels, taps, taps], 2, 1);
        let y = m.quantised(y, 100.0, 8.0);
        m.check(y, &format!("{channels} channels and {taps} taps"));
    }
}

/// What moves between a dequantisation and a product.
#[test]
fn movement_before_products() {
    let (mut m, x) = Model::new(bytes(&[1, 16, 9, 9]));
    let x = m.dequantised(x, 7.0, 0.5);
    let pool = Attrs::new()
        .with("kernel", vec![3, 3])
        .with("strides", vec![2, 2])
        .with("dilations", vec![1, 1])
        .with("pads_before", vec![1, 1])
        .with("pads_after", vec![1, 1]);
    let y = m.add("pool_max", &[x], pool);
    let y = m.with("max", y, 0.0);
    let flat = Attrs::new().with("shape", [1, 400].map(Expr::from).to_vec());
    let y = m.add("reshape", &[y], flat);
    let w: Vec<i128> = (0..400 * 12).map(|k| (k * 37 % 255) - 127).collect();
    let w = Tensor::from_wide(DType::I8, vec![12, 400], &Wide::Int(w));
    let w = m.graph.add_constant("w", w);
    let w = m.dequantised(w, 0.0, 0.125);
    let w = m.add("transpose", &[w], Attrs::new().with("perm", vec![1, 0]));
    let spec = Attrs::new().with("spec", "mk,kn->mn");
    let y = m.add("contract", &[y, w], spec);
    m.check(y, "movement before a product");
}
