//! Random pooling, convolution and resampling of row-major images, and rows that are put together of short parts.
#![allow(dead_code, reason = "no test program uses all of it")]

use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, TensorType};
use tensmith_ir::ops::{Sampler, op};
use tensmith_ir::tensor::Tensor;

/// One spatial axis.
struct Axis {
    extent: usize,
    kernel: i64,
    stride: i64,
    dilation: i64,
    before: i64,
    after: i64,
    /// How much of `after` never counts.
    ceil: i64,
}

impl Axis {
    fn draw(s: &mut Sampler, longest: i64) -> Axis {
        let (kernel, stride, dilation) = (s.int(1, 4), s.int(1, 3), s.int(1, 2));
        let reach = (kernel - 1) * dilation;
        let least = (reach + 1).max(longest / 4);
        let after = s.int(0, kernel - 1);
        Axis {
            extent: s.int(least, longest) as usize,
            kernel,
            stride,
            dilation,
            before: s.int(0, kernel - 1),
            after,
            ceil: s.int(0, 1).min(after),
        }
    }
}

/// A pooling of an image of one to three axes, and its input; the same for a seed.
pub fn draw_pool(seed: u64) -> (Graph, Vec<Tensor>) {
    let s = &mut Sampler::new(seed);
    let rank = s.int(1, 3) as usize;
    let mut axes: Vec<Axis> = (1..rank).map(|_| Axis::draw(s, 12)).collect();
    axes.push(Axis::draw(s, 50));
    let mut shape = vec![s.int(1, 2) as usize, s.int(1, 3) as usize];
    shape.extend(axes.iter().map(|a| a.extent));
    let ints = |f: &dyn Fn(&Axis) -> i64| axes.iter().map(f).collect::<Vec<i64>>();
    let mut attrs = Attrs::new()
        .with("kernel", ints(&|a| a.kernel))
        .with("strides", ints(&|a| a.stride))
        .with("dilations", ints(&|a| a.dilation))
        .with("pads_before", ints(&|a| a.before))
        .with("pads_after", ints(&|a| a.after));
    let name = *s.pick(&["pool_max", "pool_avg", "pool_sum"]);
    if name == "pool_avg" {
        attrs.set("ceil_pads", ints(&|a| a.ceil));
        attrs.set("count_include_pad", s.int(0, 1) == 1);
    }
    let mut graph = Graph::default();
    let dims = shape.iter().map(|d| Expr::from(*d)).collect();
    let x = graph.add_input("x", TensorType::new(DType::F32, dims));
    let mut y = graph.add_one(op(name), "p", &[x], attrs).expect("a pool");
    if s.int(0, 1) == 1 {
        let added = graph.add_one(op("tanh"), "t", &[y], Attrs::new());
        y = added.expect("a function of a number");
    }
    graph.add_output("y", y);
    let input = s.tensor(DType::F32, &shape, -1.5, 1.5);
    (graph, vec![input])
}

/// A convolution of a small image of one or two axes, whose windows often reach out of it, and its
/// input; the same for a seed.
pub fn draw_conv(seed: u64) -> (Graph, Vec<Tensor>) {
    let s = &mut Sampler::new(seed);
    let channels = s.int(1, 6) as usize * 8 + s.int(0, 1) as usize;
    let results = s.int(1, 3) as usize * 16 + s.int(0, 1) as usize * s.int(1, 15) as usize;
    let rank = s.int(1, 2) as usize;
    let axes: Vec<Axis> = (0..rank)
        .map(|_| {
            let (kernel, dilation) = (s.int(1, 5), s.int(1, 3));
            let reach = (kernel - 1) * dilation;
            let (before, after) = (s.int(0, reach), s.int(0, reach));
            let least = (reach + 1 - before - after).max(1);
            Axis {
                extent: s.int(least, least.max(16)) as usize,
                kernel,
                stride: *s.pick(&[1, 1, 1, 2]),
                dilation,
                before,
                after,
                ceil: 0,
            }
        })
        .collect();
    let ints = |f: &dyn Fn(&Axis) -> i64| axes.iter().map(f).collect::<Vec<i64>>();
    let attrs = Attrs::new()
        .with("strides", ints(&|a| a.stride))
        .with("dilations", ints(&|a| a.dilation))
        .with("pads_before", ints(&|a| a.before))
        .with("pads_after", ints(&|a| a.after))
        .with("groups", 1);
    let mut shape = vec![s.int(1, 2) as usize, channels];
    shape.extend(axes.iter().map(|a| a.extent));
    let mut weights = vec![results, channels];
    weights.extend(axes.iter().map(|a| a.kernel as usize));
    let mut graph = Graph::default();
    let dims = shape.iter().map(|d| Expr::from(*d)).collect();
    let x = graph.add_input("x", TensorType::new(DType::F32, dims));
    // Sums of up to 1225 products of up to 0.03.
    let w = s.tensor(DType::F32, &weights, -0.02, 0.02);
    let w = graph.add_constant("w", w);
    let y = graph.add_one(op("conv"), "c", &[x, w], attrs);
    graph.add_output("y", y.expect("a convolution"));
    let input = s.tensor(DType::F32, &shape, -1.5, 1.5);
    (graph, vec![input])
}

/// A resampling of an image of one or two axes, and its input; the same for a seed.
pub fn draw_resize(seed: u64) -> (Graph, Vec<Tensor>) {
    let s = &mut Sampler::new(seed);
    let mut shape = vec![1, s.int(1, 3) as usize];
    if s.int(0, 2) > 0 {
        shape.push(s.int(1, 9) as usize);
    }
    shape.push(s.int(8, 40) as usize);
    let scales = [2.0, 2.0, 1.5, 3.0, 4.0, 0.5, 1.25, 2.6];
    let scaled = |n: usize, scale: f64| Expr::from((n as f64 * scale) as usize);
    let mut sizes: Vec<Expr> = shape[..2].iter().map(|n| Expr::from(*n)).collect();
    sizes.extend(shape[2..].iter().map(|n| scaled(*n, *s.pick(&scales))));
    let coordinates = ["half_pixel", "asymmetric", "align_corners"];
    let attrs = Attrs::new()
        .with("sizes", sizes)
        .with("mode", *s.pick(&["linear", "linear", "nearest"]))
        .with("scales", Vec::<f64>::new())
        .with("coordinate", *s.pick(&coordinates))
        .with("nearest", *s.pick(&["floor", "round_prefer_floor"]))
        .with("cubic_coeff", -0.75)
        .with("exclude_outside", false)
        .with("antialias", false)
        .with("roi", Vec::<f64>::new())
        .with("extrapolation", 0.0);
    let mut graph = Graph::default();
    let dims = shape.iter().map(|d| Expr::from(*d)).collect();
    let x = graph.add_input("x", TensorType::new(DType::F32, dims));
    let y = graph.add_one(op("resize"), "r", &[x], attrs);
    graph.add_output("y", y.expect("a resampling"));
    let input = s.tensor(DType::F32, &shape, -1.5, 1.5);
    (graph, vec![input])
}

/// Rows that are put together of up to six short parts, each columns of the input or a function of
/// them, between borders of positions where there are none; and the input; the same for a seed.
pub fn draw_parts(seed: u64) -> (Graph, Vec<Tensor>) {
    let s = &mut Sampler::new(seed);
    let width = s.int(1, 5) as usize;
    let shape = [s.int(1, 3) as usize, s.int(4, 70) as usize, width];
    let mut graph = Graph::default();
    let dims = shape.iter().map(|d| Expr::from(*d)).collect();
    let x = graph.add_input("x", TensorType::new(DType::F32, dims));
    let mut parts = Vec::new();
    for _ in 0..s.int(2, 6) {
        let start = s.int(0, width as i64 - 1);
        let count = s.int(1, width as i64 - start) as usize;
        let attrs = Attrs::new()
            .with("starts", [0, 0, start].map(Expr::from).to_vec())
            .with(
                "sizes",
                [shape[0], shape[1], count].map(Expr::from).to_vec(),
            )
            .with("steps", vec![1; 3]);
        let mut part = graph
            .add_one(op("slice"), "s", &[x], attrs)
            .expect("columns");
        for _ in 0..s.int(0, 2) {
            let name = *s.pick(&["sin", "tanh", "neg", "exp"]);
            let added = graph.add_one(op(name), "f", &[part], Attrs::new());
            part = added.expect("a function of a number");
        }
        parts.push(part);
    }
    let along = Attrs::new().with("axis", 2);
    let mut y = (graph.add_one(op("concat"), "c", &parts, along)).expect("rows");
    if s.int(0, 1) == 1 {
        let fill = graph.add_constant("fill", Tensor::from_f32(vec![], &[0.5]));
        let ends = |n: i64| vec![Expr::from(0), Expr::from(n), Expr::from(0)];
        let attrs = Attrs::new()
            .with("mode", "constant")
            .with("before", ends(s.int(0, 2)))
            .with("after", ends(s.int(0, 2)));
        y = (graph.add_one(op("pad"), "p", &[y, fill], attrs)).expect("borders");
    }
    graph.add_output("y", y);
    let input = s.tensor(DType::F32, &shape, -1.5, 1.5);
    (graph, vec![input])
}
