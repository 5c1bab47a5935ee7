//! Quantized graphs: what passes make of quotients that are rounded, and of bytes that are dequantised
//! too early, has the bits of the graph.
mod common;

use common::seeds::seeds;
use common::{check_with, wide_core};
use tensmith_ir::dtype::DType;
use tensmith_ir::eval::eval_graph;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, TensorType, ValueId, verify_graph};
use tensmith_ir::loops::{Kernel, Scope};
use tensmith_ir::ops::{Sampler, op};
use tensmith_ir::tensor::{Tensor, Wide};
use tensmith_passes::graph::{dequantise_late, eliminate_dead_code};
use tensmith_passes::pipeline::Precision;
use tensmith_passes::schedule::Target;
use tensmith_passes::{PassOptions, optimise, plan};

/// A graph that is built node by node.
struct Build(Graph);

impl Build {
    fn add(&mut self, name: &str, inputs: &[ValueId], attrs: Attrs) -> ValueId {
        let added = self.0.add_one(op(name), name, inputs, attrs);
        added.unwrap_or_else(|e| panic!("{name}: {}", e.reason))
    }

    fn cast(&mut self, x: ValueId, to: DType) -> ValueId {
        self.add("cast", &[x], Attrs::new().with("to", to))
    }

    fn with(&mut self, name: &str, x: ValueId, number: f64) -> ValueId {
        let number = Tensor::splat(self.0.ty(x).dtype, vec![], number);
        let number = self.0.add_constant("c", number);
        self.add(name, &[x, number], Attrs::new())
    }

    fn shape(&self, x: ValueId) -> Vec<usize> {
        self.0.ty(x).static_shape().expect("it is static")
    }

    fn dequantised(&mut self, bytes: ValueId, scale: f64, zero: i64) -> ValueId {
        let x = self.cast(bytes, DType::I32);
        let x = self.with("sub", x, zero as f64);
        let x = self.cast(x, DType::F32);
        self.with("mul", x, scale)
    }

    fn quantised(&mut self, x: ValueId, scale: f64, zero: i64, to: DType) -> ValueId {
        let x = self.with("div", x, scale);
        let x = self.add("round", &[x], Attrs::new());
        let x = self.with("add", x, zero as f64);
        let (least, most) = to.int_range().expect("it is an integer");
        let x = self.with("max", x, least as f64);
        let x = self.with("min", x, most as f64);
        self.cast(x, to)
    }
}

/// Movements, bounds and pooling of an image of dequantised bytes; whether all of it can be done
/// with the bytes.
fn step(
    b: &mut Build,
    s: &mut Sampler,
    x: ValueId,
    scale: f64,
    zero: i64,
    dtype: DType,
) -> (ValueId, bool) {
    let shape = b.shape(x);
    let dims = |d: &[usize]| -> Vec<Expr> { d.iter().map(|d| Expr::from(*d)).collect() };
    match s.int(0, 8) {
        0 => {
            let perm = *s.pick(&[[0, 2, 3, 1], [0, 1, 3, 2], [1, 0, 2, 3]]);
            let attrs = Attrs::new().with("perm", perm.map(i64::from).to_vec());
            (b.add("transpose", &[x], attrs), true)
        }
        1 => {
            let flat = [shape[0], shape[1], shape[2] * shape[3], 1];
            let attrs = Attrs::new().with("shape", dims(&flat));
            (b.add("reshape", &[x], attrs), true)
        }
        2 => {
            let sizes: Vec<usize> = shape.iter().map(|d| (*d).div_ceil(2)).collect();
            let attrs = Attrs::new()
                .with("starts", dims(&[0; 4]))
                .with("sizes", dims(&sizes))
                .with("steps", vec![1i64; 4]);
            (b.add("slice", &[x], attrs), true)
        }
        3 | 4 => {
            let zeros = s.int(0, 1) == 0;
            let fill = Tensor::splat(DType::F32, vec![], if zeros { 0.0 } else { 0.3 * scale });
            let fill = b.0.add_constant("fill", fill);
            let attrs = Attrs::new()
                .with("before", dims(&[0, 0, 1, 2]))
                .with("after", dims(&[0, 1, 0, 1]))
                .with("mode", "constant");
            (b.add("pad", &[x, fill], attrs), zeros)
        }
        5 => {
            let attrs = Attrs::new().with("axis", 1);
            (b.add("concat", &[x, x], attrs), true)
        }
        6 => {
            let attrs = Attrs::new()
                .with("kernel", vec![3, 2])
                .with("strides", vec![2, 1])
                .with("dilations", vec![1, 1])
                .with("pads_before", vec![1, 0])
                .with("pads_after", vec![1, 1]);
            (b.add("pool_max", &[x], attrs), true)
        }
        7 => {
            let fits = s.int(0, 1) == 0;
            let bound = f64::from(7.0 * scale as f32) + if fits { 0.0 } else { 0.2 * scale };
            let name = *s.pick(&["max", "min"]);
            // Of what is less than all bytes or more, a bound by none is one all the same.
            let (least, most) = dtype.int_range().expect("it is an integer");
            let inside = |n: i64| (least..=most).contains(&(i128::from(zero + n)));
            (b.with(name, x, bound), fits && inside(7))
        }
        _ => {
            let bytes = b.quantised(x, scale, zero, dtype);
            (b.dequantised(bytes, scale, zero), true)
        }
    }
}

/// A random graph, the bytes of its input, and whether all of it can be done with bytes.
fn draw(seed: u64) -> (Graph, Tensor, bool) {
    let mut s = Sampler::new(seed);
    let mut b = Build(Graph::default());
    let dtype = *s.pick(&[DType::U8, DType::I8]);
    let (least, most) = dtype.int_range().expect("it is an integer");
    let zero = s.int(least as i64, most as i64);
    let scale = f64::from(*s.pick(&[0.1f32, 1.0 / 3.0, 0.5, 0.003_921_569, 7.7e-5]));
    let shape = [1, 4, 4 + s.int(0, 3) as usize, 5];
    let dims = shape.iter().map(|d| Expr::from(*d)).collect();
    let x = b.0.add_input("x", TensorType::new(dtype, dims));
    let mut value = b.dequantised(x, scale, zero);
    let mut all = true;
    for _ in 0..s.int(1, 4) {
        let (next, fits) = step(&mut b, &mut s, value, scale, zero, dtype);
        value = next;
        all &= fits;
    }
    b.0.add_output("y", value);
    let count = shape.iter().product::<usize>();
    let bytes = (0..count).map(|_| i128::from(s.int(least as i64, most as i64)));
    let bytes = Wide::Int(bytes.collect());
    (b.0, Tensor::from_wide(dtype, shape.to_vec(), &bytes), all)
}

#[test]
fn bytes_are_dequantised_late_to_the_same_bits() {
    let (mut whole, mut count) = (0, 0);
    for seed in seeds(0..3000) {
        let (graph, x, all) = draw(seed);
        let late = dequantise_late(&graph).expect("the pass accepts the graph");
        let late = eliminate_dead_code(&late).expect("the graph is valid");
        verify_graph(&late).expect("the graph is valid");
        let run = |g: &Graph| eval_graph(g, std::slice::from_ref(&x)).expect("it evaluates");
        assert_eq!(run(&graph), run(&late), "seed {seed}:\n{graph}");
        let words = late.nodes.iter().filter(|n| {
            let scalar = ["cast", "sub", "mul"].contains(&n.op.name);
            !scalar && !late.ty(n.outputs[0]).dtype.is_byte()
        });
        let words = words.count();
        assert!(!all || words == 0, "seed {seed}:\n{graph}{late}");
        whole += usize::from(all);
        count += 1;
    }
    assert!(3 * whole > count, "{whole} of {count}");
}

fn options(fma: bool) -> PassOptions {
    PassOptions {
        target: Target {
            fma,
            ..Target::default()
        },
        precision: Precision::Standard,
        ..PassOptions::default()
    }
}

/// Quotients of floats that are halves of a scale, beside these, and at random.
#[test]
fn rounded_quotients_have_the_bits_of_a_division() {
    let mut s = Sampler::new(1);
    let mut fused = 0;
    for seed in seeds(0..300) {
        let scale =
            2f32.powi((seed % 17) as i32 - 8) * (1.0 + s.int(0, 1 << 23) as f32 / (1 << 23) as f32);
        let rounding = *s.pick(&["round", "round", "floor", "ceil"]);
        let halves = (0..256).flat_map(|k| {
            let bits = ((k - 128) as f32 + 0.5) * scale;
            [-1, 0, 1].map(|d| f32::from_bits(bits.to_bits().wrapping_add_signed(d)))
        });
        let some = (0..200).map(|_| s.int(-1 << 20, 1 << 20) as f32 * scale / 1000.0);
        let ends = [
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            0.0,
            -0.0,
            f32::MAX,
            f32::MIN_POSITIVE,
        ];
        let values: Vec<f32> = halves.chain(some).chain(ends).collect();
        let mut b = Build(Graph::default());
        let ty = TensorType::new(DType::F32, vec![values.len().into()]);
        let x = b.0.add_input("x", ty);
        let y = b.with("div", x, f64::from(scale));
        let y = b.add(rounding, &[y], Attrs::new());
        let y = b.with("max", y, -128.0);
        let y = b.with("min", y, 127.0);
        let y = b.cast(y, DType::I8);
        b.0.add_output("y", y);
        let x = Tensor::from_f32(vec![values.len()], &values);
        let run = |g: &Graph| eval_graph(g, std::slice::from_ref(&x)).expect("it evaluates");
        let want = run(&b.0);
        for fma in [false, true] {
            let found = optimise(b.0.clone(), &options(fma)).expect("the graph is valid");
            assert_eq!(want, run(&found), "{scale} {rounding}:\n{found}");
            fused += usize::from(found.nodes.iter().any(|n| n.op.name == "fma"));
        }
    }
    assert!(fused > 0);
}

/// A quotient that is a result as well is one of a division.
#[test]
fn quotients_that_others_see_are_divided() {
    let values: Vec<f32> = (0..512).map(|k| (k as f32 - 255.5) * 0.1).collect();
    let mut b = Build(Graph::default());
    let ty = TensorType::new(DType::F32, vec![values.len().into()]);
    let x = b.0.add_input("x", ty);
    let y = b.with("div", x, f64::from(0.1f32));
    let z = b.add("round", &[y], Attrs::new());
    b.0.add_output("y", y);
    b.0.add_output("z", z);
    let found = optimise(b.0.clone(), &options(true)).expect("the graph is valid");
    let x = Tensor::from_f32(vec![values.len()], &values);
    let run = |g: &Graph| eval_graph(g, std::slice::from_ref(&x)).expect("it evaluates");
    assert_eq!(run(&b.0), run(&found), "{found}");
    assert!(found.nodes.iter().any(|n| n.op.name == "div"), "{found}");
}

/// A quotient that is no integer afterwards, and one by a power of two, are products.
#[test]
fn other_quotients_are_products() {
    for (scale, rounds) in [(3.0, false), (0.25, true)] {
        let mut b = Build(Graph::default());
        let x =
            b.0.add_input("x", TensorType::new(DType::F32, vec![8.into()]));
        let mut y = b.with("div", x, scale);
        if rounds {
            y = b.add("round", &[y], Attrs::new());
        }
        b.0.add_output("y", y);
        let found = optimise(b.0, &options(true)).expect("the graph is valid");
        let names: Vec<&str> = found.nodes.iter().map(|n| n.op.name).collect();
        assert!(
            !names.contains(&"div") && !names.contains(&"fma"),
            "{found}"
        );
    }
}

/// Bounds of floats that are cast to bytes anyway: whole ones are gone, others stay.
#[test]
fn casts_saturate_by_themselves() {
    let values = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        -128.7,
        -3.5,
        0.9,
        127.2,
        128.0,
        300.0,
        1e30,
    ];
    let x = Tensor::from_f32(vec![values.len()], &values);
    for (to, least, most, gone) in [
        (DType::U8, 0.0, 255.0, true),
        (DType::I8, -128.0, 127.0, true),
        (DType::I8, 0.0, 127.0, false),
        (DType::U8, 0.0, 6.0, false),
    ] {
        let mut b = Build(Graph::default());
        let ty = TensorType::new(DType::F32, vec![values.len().into()]);
        let y = b.0.add_input("x", ty);
        let y = b.with("max", y, least);
        let y = b.with("min", y, most);
        let y = b.cast(y, to);
        b.0.add_output("y", y);
        let found = optimise(b.0.clone(), &options(true)).expect("the graph is valid");
        let run = |g: &Graph| eval_graph(g, std::slice::from_ref(&x)).expect("it evaluates");
        assert_eq!(run(&b.0), run(&found), "{to} {least} {most}");
        assert_eq!(found.nodes.len() == 1, gone, "{found}");
    }
}

/// What kernels of a block with a depthwise convolution hand on are bytes, but for the last.
#[test]
fn kernels_of_a_block_hand_on_bytes() {
    let mut b = Build(Graph::default());
    let dims = [1, 32, 20, 20].map(Expr::from).to_vec();
    let mut x = b.0.add_input("x", TensorType::new(DType::U8, dims));
    for (shape, groups) in [
        ([96, 32, 1, 1], 1),
        ([96, 1, 3, 3], 96),
        ([32, 96, 1, 1], 1),
    ] {
        let count: usize = shape.iter().product();
        let w = Wide::Int((0..count as i128).map(|k| k * 37 % 255 - 127).collect());
        let w = Tensor::from_wide(DType::I8, shape.to_vec(), &w);
        let w = b.0.add_constant("w", w);
        let (f, w) = (b.dequantised(x, 0.05, 120), b.dequantised(w, 0.01, 0));
        let pad = vec![shape[2] as i64 / 2; 2];
        let attrs = Attrs::new()
            .with("strides", vec![1, 1])
            .with("dilations", vec![1, 1])
            .with("groups", groups)
            .with("pads_before", pad.clone())
            .with("pads_after", pad);
        let y = b.add("conv", &[f, w], attrs);
        let y = b.with("max", y, 0.0);
        x = b.quantised(y, 0.05, 120, DType::U8);
    }
    b.0.add_output("y", x);
    let mut options = options(true);
    options.target = Target {
        vector_bytes: 64,
        dots: true,
        cost: wide_core(),
        ..options.target
    };
    let graph = optimise(b.0, &options).expect("the graph is valid");
    let plan = plan(&graph, &options).expect("the graph is valid");
    let images = plan.kernels.iter().flat_map(|k| &k.buffers);
    let images = images.filter(|b| b.shape.len() == 4 && b.shape[2].as_const() > Some(3));
    let (bytes, words): (Vec<_>, Vec<_>) = images.partition(|b| b.dtype.is_byte());
    assert!(bytes.len() >= 6 && words.is_empty(), "{words:?}\n{plan}");
}

/// Convolutions of bytes whose weights, less their zero point, are bytes only when they are moved: the
/// sums of windows are added, for one group or several.
#[test]
fn weights_without_sign_multiply_as_bytes() {
    for (groups, zero, pads) in [(1, 3, [1, 2]), (4, 0, [2, 0]), (2, 7, [0, 0])] {
        let mut g = Graph::default();
        let ints = |dtype, shape: &[usize], by: i128| {
            let count = shape.iter().product::<usize>() as i128;
            let all = (0..count).map(|k| (k * by + 11) % 256).collect();
            Tensor::from_wide(dtype, shape.to_vec(), &Wide::Int(all))
        };
        let shape = [2, 32, 19];
        let of_bytes = TensorType::new(DType::U8, shape.map(Expr::from).to_vec());
        let x = g.add_input("x", of_bytes);
        let w = g.add_constant("w", ints(DType::U8, &[16, 32 / groups, 5], 37));
        let to = || Attrs::new().with("to", DType::I32);
        let number = |n: i128| Tensor::from_wide(DType::I32, vec![], &Wide::Int(vec![n]));
        let mut wide = |name: &str, v, zero| {
            let v = g.add_one(op("cast"), name, &[v], to()).unwrap();
            let zero = g.add_constant(name, number(zero));
            g.add_one(op("sub"), name, &[v, zero], Attrs::new())
                .unwrap()
        };
        let (x, w) = (wide("x0", x, 120), wide("w0", w, zero));
        let attrs = Attrs::new()
            .with("strides", vec![1])
            .with("dilations", vec![1])
            .with("groups", groups as i64)
            .with("pads_before", vec![pads[0]])
            .with("pads_after", vec![pads[1]]);
        let y = g.add_one(op("conv"), "y", &[x, w], attrs).unwrap();
        g.add_output("y", y);
        let mut options = options(true);
        (options.target.dots, options.target.vector_bytes) = (true, 64);
        let input = ints(DType::U8, &shape, 101);
        let plan = check_with(&g, &[input], &options);
        let bytes = |k: &Kernel| {
            let inputs = k.buffers.iter().filter(|b| b.scope == Scope::Input);
            k.name.contains("conv") && inputs.filter(|b| b.dtype.is_byte()).count() == 2
        };
        assert!(plan.kernels.iter().any(bytes), "{plan}");
    }
}

/// Integers times an integer are not dequantised bytes.
#[test]
fn integers_times_integers_may_be_reshaped() {
    let mut g = Graph::default();
    let x = g.add_input("x", TensorType::new(DType::U8, vec![4.into(), 6.into()]));
    let wide = g
        .add_one(op("cast"), "c", &[x], Attrs::new().with("to", DType::I32))
        .unwrap();
    let by = g.add_constant(
        "by",
        Tensor::from_wide(DType::I32, vec![], &Wide::Int(vec![128])),
    );
    let product = g
        .add_one(op("mul"), "m", &[wide, by], Attrs::new())
        .unwrap();
    let shape: Vec<Expr> = vec![2.into(), 12.into()];
    let y = g
        .add_one(
            op("reshape"),
            "y",
            &[product],
            Attrs::new().with("shape", shape),
        )
        .unwrap();
    g.add_output("y", y);
    let input = Tensor::from_wide(DType::U8, vec![4, 6], &Wide::Int((0..24).collect()));
    check_with(&g, &[input], &options(true));
}
