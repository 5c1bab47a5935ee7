//! Random graphs.
#![allow(dead_code, reason = "no test program uses all of it")]

use tensmith_ir::dtype::DType;
use tensmith_ir::eval::{eval_graph, eval_graph_with};
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, TensorType, ValueId};
use tensmith_ir::ops::{self, Class, Lower, Op, Sample, Sampler, op};
use tensmith_ir::tensor::Tensor;

/// A graph has as many nodes at most, or a few more.
const NODES: i64 = 14;

struct Draw {
    s: Sampler,
    graph: Graph,
    inputs: Vec<Tensor>,
}

impl Draw {
    fn new(seed: u64) -> Draw {
        Draw {
            s: Sampler::new(seed),
            graph: Graph {
                name: format!("random{seed}"),
                ..Graph::default()
            },
            inputs: vec![],
        }
    }

    fn last_is_large(&self) -> bool {
        let last = ValueId(self.graph.values.len() as u32 - 1);
        self.shape(last).iter().product::<usize>() > 3000
    }

    /// The graph with some of its values as results, and its inputs.
    fn with_outputs(mut self) -> (Graph, Vec<Tensor>) {
        for k in 0..self.s.int(1, 3) {
            let v = self.any();
            self.graph.add_output(&format!("y{k}"), v);
        }
        (self.graph, self.inputs)
    }

    fn source(&mut self, shape: &[usize]) -> ValueId {
        let tensor = self.s.tensor(DType::F32, shape, -1.5, 1.5);
        let name = format!("v{}", self.graph.values.len());
        if self.s.int(0, 2) == 0 {
            return self.graph.add_constant(&name, tensor);
        }
        let dims = shape.iter().map(|d| Expr::from(*d)).collect();
        self.inputs.push(tensor);
        self.graph
            .add_input(&name, TensorType::new(DType::F32, dims))
    }

    /// A constant that one can divide by.
    fn constant(&mut self, shape: &[usize]) -> ValueId {
        let tensor = self.s.tensor(DType::F32, shape, 0.5, 1.5);
        let name = format!("c{}", self.graph.values.len());
        self.graph.add_constant(&name, tensor)
    }

    fn shape(&self, v: ValueId) -> Vec<usize> {
        self.graph.ty(v).static_shape().expect("static")
    }

    /// A value of this graph, often a late one.
    fn any(&mut self) -> ValueId {
        let floats: Vec<ValueId> = (0..self.graph.values.len() as u32)
            .map(ValueId)
            .filter(|v| self.graph.ty(*v).dtype == DType::F32)
            .collect();
        let last = floats.len() as i64 - 1;
        let first = if self.s.int(0, 1) == 0 {
            0
        } else {
            (last - 3).max(0)
        };
        floats[self.s.int(first, last) as usize]
    }

    fn add(&mut self, name: &str, inputs: &[ValueId], attrs: Attrs) -> ValueId {
        let label = format!("{name}{}", self.graph.nodes.len());
        let added = self.graph.add_one(op(name), &label, inputs, attrs);
        added.unwrap_or_else(|e| panic!("{e}"))
    }

    fn unary(&mut self) {
        let x = self.any();
        let name = *self
            .s
            .pick(&["neg", "abs", "tanh", "sigmoid", "sin", "floor"]);
        self.add(name, &[x], Attrs::new());
    }

    /// With a value of the same shape, one that broadcasts, or a number.
    fn binary(&mut self) {
        let x = self.any();
        let mut shape = self.shape(x);
        let mates: Vec<ValueId> = (0..self.graph.values.len() as u32)
            .map(ValueId)
            .filter(|v| self.graph.ty(*v) == self.graph.ty(x))
            .collect();
        let y = match self.s.int(0, 3) {
            0 | 1 => *self.s.pick(&mates),
            2 => {
                for d in &mut shape {
                    if self.s.int(0, 1) == 0 {
                        *d = 1;
                    }
                }
                self.source(&shape)
            }
            _ => self.source(&[]),
        };
        let name = *self
            .s
            .pick(&["add", "sub", "mul", "min", "max", "add", "mul"]);
        let pair = if self.s.int(0, 1) == 0 {
            [x, y]
        } else {
            [y, x]
        };
        self.add(name, &pair, Attrs::new());
    }

    /// With a value of any rank whose shape broadcasts with its own.
    fn broadcast(&mut self) {
        let x = self.any();
        let shape = self.shape(x);
        let fits = |other: &[usize]| {
            let mut pairs = shape.iter().rev().zip(other.iter().rev());
            pairs.all(|(a, b)| a == b || *a == 1 || *b == 1)
        };
        let mates: Vec<ValueId> = (0..self.graph.values.len() as u32)
            .map(ValueId)
            .filter(|v| fits(&self.shape(*v)))
            .collect();
        let y = *self.s.pick(&mates);
        let name = *self.s.pick(&["add", "sub", "mul", "max"]);
        self.add(name, &[x, y], Attrs::new());
    }

    /// A reshape that adds or drops axes of extent 1, the first ones often, and may join neighbours.
    fn view(&mut self) {
        let x = self.any();
        let mut shape = self.shape(x);
        for _ in 0..self.s.int(1, 2) {
            let at = self.s.int(0, shape.len() as i64) as usize;
            let one = shape.iter().position(|d| *d == 1);
            match (self.s.int(0, 4), one) {
                (0, _) if shape.len() < 5 => shape.insert(at, 1),
                (1, _) if shape.len() < 5 => shape.insert(0, 1),
                (2..=3, Some(one)) => drop(shape.remove(one)),
                _ if at + 1 < shape.len() => shape[at] *= shape.remove(at + 1),
                _ => {}
            }
        }
        let to: Vec<Expr> = shape.iter().map(|d| (*d).into()).collect();
        self.add("reshape", &[x], Attrs::new().with("shape", to));
    }

    fn reduction(&mut self) {
        let x = self.any();
        let rank = self.shape(x).len() as i64;
        if rank == 0 {
            return;
        }
        let axis = if self.s.int(0, 2) == 0 {
            self.s.int(0, rank - 1)
        } else {
            rank - 1
        };
        if self.s.int(0, 3) == 0 {
            self.add("softmax", &[x], Attrs::new().with("axis", axis));
            return;
        }
        if self.shape(x)[axis as usize] == 0 {
            return;
        }
        let attrs = Attrs::new().with("axes", vec![axis]);
        let keep = self.s.int(0, 3) > 0;
        let name = *self.s.pick(&["reduce_sum", "reduce_mean", "reduce_max"]);
        let r = self.add(name, &[x], attrs.with("keepdims", keep));
        if keep {
            let name = *self.s.pick(&["sub", "mul", "add"]);
            self.add(name, &[x, r], Attrs::new());
        }
    }

    fn movement(&mut self) {
        let x = self.any();
        let shape = self.shape(x);
        let rank = shape.len();
        match self.s.int(0, 3) {
            0 => {
                let mut perm: Vec<i64> = (0..rank as i64).collect();
                for k in (1..rank).rev() {
                    perm.swap(k, self.s.int(0, k as i64) as usize);
                }
                self.add("transpose", &[x], Attrs::new().with("perm", perm));
            }
            1 => {
                let count: usize = shape.iter().product();
                let to = vec![Expr::from(count)];
                let flat = self.add("reshape", &[x], Attrs::new().with("shape", to));
                if self.s.int(0, 1) == 0 {
                    let back: Vec<Expr> = shape.iter().rev().map(|d| (*d).into()).collect();
                    self.add("reshape", &[flat], Attrs::new().with("shape", back));
                }
            }
            2 if rank > 0 => {
                let axis = self.s.int(0, rank as i64 - 1);
                let inputs = if self.s.int(0, 2) == 0 {
                    vec![x]
                } else {
                    vec![x, x]
                };
                self.add("concat", &inputs, Attrs::new().with("axis", axis));
            }
            _ => {
                let (mut starts, mut sizes) = (Vec::new(), Vec::new());
                for d in &shape {
                    let start = self.s.int(0, *d as i64);
                    starts.push(Expr::from(start));
                    sizes.push(Expr::from(self.s.int(0, *d as i64 - start)));
                }
                let attrs = Attrs::new().with("starts", starts).with("sizes", sizes);
                self.add("slice", &[x], attrs.with("steps", vec![1; rank]));
            }
        }
    }

    /// Any op of the table on operands of its own, of which some are values of this graph where
    /// that is sure to keep the op away from jumps and poles.
    fn sampled(&mut self) {
        let rows: Vec<Op> = ops::all()
            .filter(|op| {
                matches!(
                    op.lower,
                    Lower::Pointwise(_) | Lower::Kernel(_) | Lower::View
                )
            })
            .collect();
        let op = *self.s.pick(&rows);
        let samples = (op.samples)(&mut self.s);
        let Some(sample) = samples.iter().find(|s| self.admits(op, s)) else {
            return;
        };
        let inputs: Vec<ValueId> = (sample.inputs.iter().enumerate())
            .map(|(k, tensor)| self.operand(op, k, tensor))
            .collect();
        let label = format!("{}{}", op.name, self.graph.nodes.len());
        let added = self.graph.add(op, &label, &inputs, sample.attrs.clone());
        let results = added.unwrap_or_else(|e| panic!("{e}"));
        for v in results {
            if self.graph.ty(v).dtype != DType::F32 {
                self.add("cast", &[v], Attrs::new().with("to", DType::F32));
            }
        }
    }

    /// Whether a sample is small, of usual types, and without errors.
    fn admits(&self, op: Op, sample: &Sample) -> bool {
        let usual = [DType::F32, DType::I64, DType::I32, DType::U8, DType::Bool];
        let types: Vec<TensorType> = (sample.inputs.iter())
            .map(|t| TensorType::new(t.dtype, t.shape.iter().map(|d| (*d).into()).collect()))
            .collect();
        let Ok(graph) = ops::single_node_graph(op, &types, sample.attrs.clone()) else {
            return false;
        };
        let Ok(results) = eval_graph(&graph, &sample.inputs) else {
            return false;
        };
        let mut all = sample.inputs.iter().chain(&results);
        all.all(|t| usual.contains(&t.dtype) && t.count() <= 3000)
            && results
                .iter()
                .all(|t| t.to_f64().iter().all(|x| x.abs() < 1e6))
    }

    fn operand(&mut self, op: Op, k: usize, tensor: &Tensor) -> ValueId {
        let shape: Vec<Expr> = tensor.shape.iter().map(|d| (*d).into()).collect();
        let ty = TensorType::new(tensor.dtype, shape);
        let smooth = [
            "add", "sub", "mul", "min", "max", "select", "and", "or", "xor",
        ];
        let any_value = smooth.contains(&op.name) || (op.class == Class::Movement && k == 0);
        let mates: Vec<ValueId> = (0..self.graph.values.len() as u32)
            .map(ValueId)
            .filter(|v| *self.graph.ty(*v) == ty)
            .collect();
        if any_value && !mates.is_empty() && self.s.int(0, 1) == 0 {
            return *self.s.pick(&mates);
        }
        let name = format!("v{}", self.graph.values.len());
        if self.s.int(0, 2) == 0 {
            return self.graph.add_constant(&name, tensor.clone());
        }
        self.inputs.push(tensor.clone());
        self.graph.add_input(&name, ty)
    }

    fn contraction(&mut self) {
        let x = self.any();
        let shape = self.shape(x);
        match shape.len() {
            2 => {
                let n = self.s.int(1, 6) as usize;
                let w = self.source(&[shape[1], n]);
                self.add("contract", &[x, w], Attrs::new().with("spec", "mk,kn->mn"));
            }
            3 | 4 => self.convolution(x, &shape),
            _ => {}
        }
    }

    /// A convolution or a transposed one of any groups, and what may follow it.
    fn convolution(&mut self, x: ValueId, shape: &[usize]) {
        let (channels, spatial) = (shape[1], &shape[2..]);
        if shape[1..].contains(&0) {
            return;
        }
        let divisors: Vec<usize> = (1..=channels).filter(|g| channels % g == 0).collect();
        let groups = match self.s.int(0, 3) {
            0 | 1 => 1,
            2 => channels,
            _ => *self.s.pick(&divisors),
        };
        let most = if groups == 1 { 5 } else { 3 };
        let each = self.s.int(1, most) as usize;
        let transposed = self.s.int(0, 2) == 0;
        let mut dims = match transposed {
            true => vec![channels, each],
            false => vec![groups * each, channels / groups],
        };
        let mut attrs = Attrs::new().with("groups", groups as i64);
        let Some(taps) = self.window(spatial, transposed, &mut attrs) else {
            return;
        };
        dims.extend(taps);
        let w = match self.s.int(0, 2) {
            0 => self.source(&dims),
            _ => self.constant(&dims),
        };
        let name = if transposed { "conv_transpose" } else { "conv" };
        let mut y = self.add(name, &[x, w], attrs);
        if self.s.int(0, 1) == 0 {
            let dims = [vec![groups * each], vec![1; spatial.len()]].concat();
            for _ in 0..self.s.int(1, 4) {
                let name = *self.s.pick(&["add", "sub", "mul", "div"]);
                let c = self.constant(&dims);
                y = self.add(name, &[y, c], Attrs::new());
            }
        }
    }

    /// Draws taps, steps and padding of each axis, the same for all or not; `None` if an axis of
    /// the result would have no elements.
    fn window(
        &mut self,
        spatial: &[usize],
        transposed: bool,
        attrs: &mut Attrs,
    ) -> Option<Vec<usize>> {
        let alike = self.s.int(0, 1) == 0;
        let mut axes: Vec<[i64; 6]> = Vec::new();
        for extent in spatial {
            let [kernel, stride, dilation, before, after, _] = match axes.first() {
                Some(first) if alike => *first,
                _ => [
                    self.s.int(1, 3),
                    self.s.int(1, 2 + i64::from(transposed)),
                    *self.s.pick(&[1, 1, 2]),
                    self.s.int(0, 2),
                    self.s.int(0, 2),
                    0,
                ],
            };
            let span = (kernel - 1) * dilation + 1;
            let (extent, pads) = (*extent as i64, before + after);
            let more = match transposed {
                true => self.s.int(0, stride - 1),
                false => 0,
            };
            let left = match transposed {
                true => (extent - 1) * stride + span + more - pads,
                false => extent + pads - span + 1,
            };
            if left < 1 {
                return None;
            }
            axes.push([kernel, stride, dilation, before, after, more]);
        }
        let of = |k: usize| -> Vec<i64> { axes.iter().map(|a| a[k]).collect() };
        let names = ["strides", "dilations", "pads_before", "pads_after"];
        for (k, name) in names.into_iter().enumerate() {
            attrs.set(name, of(k + 1));
        }
        if transposed {
            attrs.set("output_padding", of(5));
        }
        Some(axes.iter().map(|a| a[0] as usize).collect())
    }
}

/// A random graph of `f32` and its inputs, always the same for a seed.
pub fn draw(seed: u64) -> (Graph, Vec<Tensor>) {
    draw_steps(seed, false)
}

/// A random graph of any op of the table and its inputs, always the same for a seed.
pub fn draw_wide(seed: u64) -> (Graph, Vec<Tensor>) {
    draw_steps(seed, true)
}

/// A block with a residual that is large beside what it is added to: matrix products or convolutions
/// of one tap; always the same for a seed.
pub fn draw_residual(seed: u64) -> (Graph, Vec<Tensor>) {
    let mut s = Sampler::new(seed);
    let mut int = |lo, hi| s.int(lo, hi) as usize;
    let (rows, inner, wide) = (int(2, 30), int(1, 9), int(20, 120));
    let images = int(0, 2) == 0;
    let extents = [int(2, 12), int(2, 12)];
    let mut g = Graph::default();
    let shape = match images {
        true => vec![1, inner, extents[0], extents[1]],
        false => vec![rows, inner],
    };
    let dims = shape.iter().map(|d| Expr::from(*d)).collect();
    let x = g.add_input("x", TensorType::new(DType::F32, dims));
    let inputs = vec![s.tensor(DType::F32, &shape, -1.5, 1.5)];
    let mut layer = |g: &mut Graph, name: &str, x: ValueId, from: usize, to: usize| {
        let (op_name, shape, attrs) = match images {
            true => {
                let ones = || vec![1, 1];
                let attrs = Attrs::new()
                    .with("strides", ones())
                    .with("dilations", ones())
                    .with("groups", 1)
                    .with("pads_before", vec![0, 0])
                    .with("pads_after", vec![0, 0]);
                ("conv", vec![to, from, 1, 1], attrs)
            }
            false => (
                "contract",
                vec![from, to],
                Attrs::new().with("spec", "mk,kn->mn"),
            ),
        };
        let w = g.add_constant(
            &format!("w_{name}"),
            s.tensor(DType::F32, &shape, -0.5, 0.5),
        );
        g.add_one(op(op_name), name, &[x, w], attrs)
            .expect("the types fit")
    };
    let h = layer(&mut g, "h", x, inner, inner);
    // Without it, both terms of the sum would be products of one value.
    let h = g
        .add_one(op("tanh"), "t", &[h], Attrs::new())
        .expect("the types fit");
    let r = layer(&mut g, "r", x, inner, wide);
    let y = layer(&mut g, "y", h, inner, wide);
    let y = g
        .add_one(op("add"), "sum", &[y, r], Attrs::new())
        .expect("the types fit");
    let y = g
        .add_one(op("abs"), "abs", &[y], Attrs::new())
        .expect("the types fit");
    let z = layer(&mut g, "z", y, wide, inner);
    g.add_output("z", z);
    (g, inputs)
}

/// A random graph of many axes of extent 1, and views that add and drop them between scalar work and
/// reductions; always the same for a seed.
pub fn draw_units(seed: u64) -> (Graph, Vec<Tensor>) {
    let mut d = Draw::new(seed);
    let rank = d.s.int(1, 4);
    let mut shape: Vec<usize> = (0..rank).map(|_| *d.s.pick(&[1, 1, 2, 3, 5])).collect();
    if d.s.int(0, 11) == 0 {
        shape[0] = 0;
    }
    for _ in 0..2 {
        d.source(&shape);
    }
    for _ in 0..d.s.int(2, NODES) {
        match d.s.int(0, 11) {
            0 => d.unary(),
            1..=4 => d.broadcast(),
            5..=6 => d.reduction(),
            7..=10 => d.view(),
            _ => d.movement(),
        }
        if d.last_is_large() {
            break;
        }
    }
    d.with_outputs()
}

fn draw_steps(seed: u64, wide: bool) -> (Graph, Vec<Tensor>) {
    let mut d = Draw::new(seed);
    let rank = d.s.int(1, 4) as usize;
    let mut shape: Vec<usize> = (0..rank).map(|_| d.s.int(1, 7) as usize).collect();
    if rank > 2 && d.s.int(0, 3) == 0 {
        // Channels that fall into groups, some of them of whole vectors.
        shape[1] = *d.s.pick(&[8, 12, 16, 32]);
    }
    if wide && d.s.int(0, 11) == 0 {
        shape[0] = 0;
    }
    d.source(&shape);
    d.source(&shape);
    for _ in 0..d.s.int(1, NODES) {
        if wide && d.s.int(0, 2) == 0 {
            d.sampled();
            continue;
        }
        match d.s.int(0, 9) {
            0..=1 => d.unary(),
            2..=4 => d.binary(),
            5 => d.reduction(),
            6..=7 => d.movement(),
            _ => d.contraction(),
        }
        if d.last_is_large() {
            break;
        }
    }
    d.with_outputs()
}

/// The largest finite magnitude of all values, at least 1.
pub fn largest_magnitude(graph: &Graph, inputs: &[Tensor]) -> f64 {
    let mut largest = 1f64;
    let mut see = |tensor: &Tensor| {
        if tensor.dtype.is_float() {
            let finite = tensor.to_f64().into_iter().filter(|x| x.is_finite());
            largest = finite.fold(largest, |m, x| m.max(x.abs()));
        }
    };
    inputs.iter().for_each(&mut see);
    eval_graph_with(graph, inputs, &mut |_, tensor| see(tensor)).expect("it was evaluated before");
    largest
}
