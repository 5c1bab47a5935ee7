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
            3 | 4 => {
                let kernel = self.s.int(1, 3) as usize;
                let pad = self.s.int(0, 1);
                let spatial = shape.len() - 2;
                if shape[1..].contains(&0)
                    || shape[2..].iter().any(|d| d + 2 * (pad as usize) < kernel)
                {
                    return;
                }
                let o = self.s.int(1, 5) as usize;
                let transposed = self.s.int(0, 2) == 0;
                let mut dims = if transposed {
                    vec![shape[1], o]
                } else {
                    vec![o, shape[1]]
                };
                dims.extend(vec![kernel; spatial]);
                let w = match self.s.int(0, 2) {
                    0 => self.source(&dims),
                    _ => self.constant(&dims),
                };
                let stride = self.s.int(1, 2 + i64::from(transposed));
                // What a transposed convolution leaves of one element must not be empty.
                let pad = if transposed && kernel < 3 { 0 } else { pad };
                let mut attrs = Attrs::new()
                    .with("strides", vec![stride; spatial])
                    .with("dilations", vec![1; spatial])
                    .with("pads_before", vec![pad; spatial])
                    .with("pads_after", vec![pad; spatial])
                    .with("groups", 1);
                let y = if transposed {
                    let more: Vec<i64> = (0..spatial).map(|_| self.s.int(0, stride - 1)).collect();
                    attrs.set("output_padding", more);
                    self.add("conv_transpose", &[x, w], attrs)
                } else {
                    self.add("conv", &[x, w], attrs)
                };
                if self.s.int(0, 1) == 0 {
                    let mut dims = vec![o];
                    dims.extend(vec![1; spatial]);
                    let mut y = y;
                    for _ in 0..self.s.int(1, 4) {
                        let name = *self.s.pick(&["add", "sub", "mul", "div"]);
                        let c = self.constant(&dims);
                        y = self.add(name, &[y, c], Attrs::new());
                    }
                }
            }
            _ => {}
        }
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

fn draw_steps(seed: u64, wide: bool) -> (Graph, Vec<Tensor>) {
    let mut d = Draw {
        s: Sampler::new(seed),
        graph: Graph {
            name: format!("random{seed}"),
            ..Graph::default()
        },
        inputs: vec![],
    };
    let rank = d.s.int(1, 4) as usize;
    let mut shape: Vec<usize> = (0..rank).map(|_| d.s.int(1, 7) as usize).collect();
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
        let last = ValueId(d.graph.values.len() as u32 - 1);
        if d.shape(last).iter().product::<usize>() > 3000 {
            break;
        }
    }
    for k in 0..d.s.int(1, 3) {
        let v = d.any();
        d.graph.add_output(&format!("y{k}"), v);
    }
    (d.graph, d.inputs)
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
