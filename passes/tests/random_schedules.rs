//! Random schedules: what primitives make of a kernel computes what the kernel computes, reads
//! back from its text, and comes out the same again.
mod common;

use common::draw::draw;
use common::seeds::seeds;
use std::collections::{BTreeMap, HashSet};
use tensmith_ir::define::define_task;
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::{Expr, Var};
use tensmith_ir::graph::{NodeId, TensorType};
use tensmith_ir::loops::interp::{Program, run_kernel};
use tensmith_ir::loops::math::MathFn;
use tensmith_ir::loops::{
    Buffer, Kernel, Layout, LayoutDim, Role, Scalar, Scope, Stmt, parse_kernel, verify_kernel,
};
use tensmith_ir::ops::{self, Lower, Sampler, single_node_graph};
use tensmith_ir::tensor::{Tensor, Wide};
use tensmith_passes::partition::partition;
use tensmith_passes::pipeline::{PassOptions, optimise, plan_with_schedules};
use tensmith_passes::schedule::parameters::{Parameter, Values};
use tensmith_passes::schedule::primitives::{At, Primitive};
use tensmith_passes::schedule::task::Task;
use tensmith_passes::schedule::trace::{Line, Trace, replay};
use tensmith_passes::schedule::{Scheduled, Target, default_schedule};

/// Kernels that work longer are not interpreted: iterations of innermost statements.
const WORK: i64 = 20_000;
/// Code that grows beyond so many statements is not changed further.
const STATEMENTS: usize = 400;
/// Steps that are tried on a kernel.
const STEPS: i64 = 24;

/// Naive kernels of a seed: those of the op table, some that are written down, and groups of a
/// random graph.
fn kernels(seed: u64) -> Vec<Kernel> {
    let mut found: Vec<Kernel> = WRITTEN.iter().map(|text| read(text)).collect();
    let rows = ops::all().filter(|op| matches!(op.lower, Lower::Pointwise(_) | Lower::Kernel(_)));
    for op in rows {
        let samples = (op.samples)(&mut Sampler::new(seed));
        for sample in samples.into_iter().take(2) {
            let ty = |t: &Tensor| {
                let shape = t.shape.iter().map(|d| (*d).into()).collect();
                TensorType::new(t.dtype, shape)
            };
            let types: Vec<TensorType> = sample.inputs.iter().map(ty).collect();
            if let Ok(graph) = single_node_graph(op, &types, sample.attrs.clone()) {
                let members = HashSet::from([NodeId(0)]);
                found.push(define_task(&graph, NodeId(0), &members).kernel);
            }
        }
    }
    let (graph, _) = draw(seed);
    for group in partition(&graph, &PassOptions::default()).groups.values() {
        found.push(define_task(&graph, group.root, &group.members).kernel);
    }
    found
}

fn read(text: &str) -> Kernel {
    parse_kernel(text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// Kernels for what is seldom among others: scratch, independent statements, serial loops, state,
/// sizes that are known at run time only, elements that are known to be 0.
const WRITTEN: [&str; 12] = [
    "kernel scratch() { in a: f32[9, 6] out o: f32[9, 6] scratch t: f32[9, 6]
       for i0 < 9 space { for i1 < 6 space { t[i0, i1] = exp(a[i0, i1]) } }
       for i2 < 9 space { for i3 < 6 space { o[i2, i3] = t[i2, i3] + a[i2, i3] } } }",
    "kernel pair() { in a: f32[20] out o: f32[20] out p: f32[20] reg r: f32[] reg s: f32[]
       for i0 < 20 space { r = a[i0] * 2.0f32 o[i0] = r + r s = a[i0] + 1.0f32 p[i0] = s } }",
    "kernel framed() { in a: f32[6, 9] out o: f32[8, 12]
       for i0 < 2 space { for i1 < 12 space { o[i0, i1] = 1.0f32 } }
       for i2 < 6 space { for i3 < 3 space { o[i2 + 2, i3] = 2.0f32 } }
       for i4 < 6 space { for i5 < 9 space { o[i4 + 2, i5 + 3] = a[i4, i5] * 2.0f32 } } }",
    "kernel scan() { in a: f32[7, 5] out o: f32[7, 5] reg r: f32[]
       for i0 < 7 space { r = 0.0f32
         for i1 < 5 serial { r = r + a[i0, i1] o[i0, i1] = r } } }",
    "kernel softmax() { in a: f32[5, 37] out o: f32[5, 37] reg m: f32[] reg r: f32[]
       for i0 < 5 space { m = -inf_f32
         for i1 < 37 reduce { m = max(m, a[i0, i1]) }
         r = 0.0f32
         for i2 < 37 reduce { r = r + exp(a[i0, i2] - m) }
         for i3 < 37 space { o[i0, i3] = exp(a[i0, i3] - m) / r } } }",
    "kernel products($n in 0..=64) { in a: f32[$n, 6] in b: f32[6, 9] out o: f32[$n, 9] reg r: f32[]
       for i0 < $n space { for i1 < 9 space { r = 0.0f32
         for i2 < 6 reduce { r = r + a[i0, i2] * b[i2, i1] }
         o[i0, i1] = r } } }",
    "kernel terms($n in 0..=64) { in a: f32[4, $n] in b: f32[$n, 5] out o: f32[4, 5] reg r: f32[]
       for i0 < 4 space { for i1 < 5 space { r = 0.0f32
         for i2 < $n reduce { r = r + a[i0, i2] * b[i2, i1] }
         o[i0, i1] = r } } }",
    "kernel plane($m in 0..=64, $n in 0..=64) {
       in a: f32[$m, $n] in b: f32[$n] out o: f32[$n, $m] scratch t: f32[$m, $n]
       for i0 < $m space { for i1 < $n space { t[i0, i1] = exp(a[i0, i1]) } }
       for i2 < $m space { for i3 < $n space { o[i3, i2] = t[i2, i3] * b[i3] + a[i2, i3] } } }",
    "kernel rows($n in 0..=64) { in a: f32[3, $n] out o: f32[3, $n] reg m: f32[] reg r: f32[]
       for i0 < 3 space { m = -inf_f32
         for i1 < $n reduce { m = max(m, a[i0, i1]) }
         r = 0.0f32
         for i2 < $n reduce { r = r + exp(a[i0, i2] - m) }
         for i3 < $n space { o[i0, i3] = exp(a[i0, i3] - m) / r } } }",
    "kernel steps($n in 0..=64) { in a: f32[$n, 6] in h0: f32[6] out o: f32[$n, 6] scratch h: f32[6]
       for i0 < 6 space { h[i0] = h0[i0] }
       for i1 < $n serial { for i2 < 6 space { h[i2] = tanh(h[i2] + a[i1, i2]) o[i1, i2] = h[i2] } } }",
    "kernel padded() { in a: f32[14, 13] nonzero([4, 10], [5, 8]) in b: f32[3, 3] out o: f32[6, 5]
       reg r: f32[]
       for i0 < 6 space { for i1 < 5 space { r = 0.0f32
         for i2 < 3 reduce { for i3 < 3 reduce {
           r = r + a[i0 + 4*i2, i1 + 4*i3] * b[i2, i3] } }
         o[i0, i1] = r } } }",
    "kernel framed() { in a: f32[8, 7] nonzero([1, 7], [1, 6]) in b: f32[3, 3] out o: f32[6, 5]
       reg r: f32[]
       for i0 < 6 space { for i1 < 5 space jam { r = 0.0f32
         for i2 < 3 reduce { for i3 < 3 reduce {
           r = r + a[i0 + i2, i1 + i3] * b[i2, i3] } }
         o[i0, i1] = r } } }",
];

/// What sizes are at run time, those of a kernel in order.
const SIZES: [[i64; 2]; 4] = [[0, 5], [1, 0], [7, 2], [33, 9]];

/// Iterations of a loop whose extent is known at run time only.
const UNKNOWN: i64 = 64;

fn work(stmts: &[Stmt]) -> i64 {
    let of = |stmt: &Stmt| {
        let bodies = stmt.bodies().into_iter().map(|b| work(b));
        let inner = bodies.fold(0, i64::saturating_add);
        match stmt {
            Stmt::For(l) => inner
                .saturating_add(1)
                .saturating_mul(l.extent.as_const().unwrap_or(UNKNOWN)),
            Stmt::While { .. } => inner.saturating_mul(64),
            _ => inner.saturating_add(1),
        }
    };
    stmts.iter().map(of).fold(0, i64::saturating_add)
}

fn loops(stmts: &[Stmt], found: &mut Vec<(Var, Option<i64>, Role)>) {
    for stmt in stmts {
        if let Stmt::For(l) = stmt {
            found.push((l.var, l.extent.as_const(), l.role));
        }
        stmt.bodies().into_iter().for_each(|b| loops(b, found));
    }
}

fn statements(stmts: &[Stmt]) -> usize {
    let nested = |s: &Stmt| s.bodies().into_iter().map(|b| statements(b)).sum::<usize>();
    stmts.iter().map(|s| 1 + nested(s)).sum()
}

/// The loops of a perfect nest from one on.
fn nest(stmts: &[Stmt], var: Var) -> Vec<Var> {
    for stmt in stmts {
        match stmt {
            Stmt::For(l) if l.var == var => {
                let mut vars = vec![var];
                if let [Stmt::For(inner)] = &l.body[..] {
                    vars.extend(nest(&l.body, inner.var));
                }
                return vars;
            }
            _ => {
                for body in stmt.bodies() {
                    let found = nest(body, var);
                    if !found.is_empty() {
                        return found;
                    }
                }
            }
        }
    }
    vec![]
}

/// A primitive with random operands, most of which fit.
fn random(s: &mut Sampler, kernel: &Kernel) -> Primitive {
    let mut all = Vec::new();
    loops(&kernel.body, &mut all);
    let var = match all.is_empty() || s.int(0, 40) == 0 {
        true => Var(s.int(0, 30) as u32),
        false => s.pick(&all).0,
    };
    let extent = all.iter().find(|l| l.0 == var).and_then(|l| l.1);
    let near = |s: &mut Sampler| s.int(1, extent.unwrap_or(8).clamp(1, 40));
    let buffer = |s: &mut Sampler| match kernel.buffers.is_empty() {
        true => "none".to_string(),
        false => s.pick(&kernel.buffers).name.clone(),
    };
    let band = |s: &mut Sampler| {
        let mut band = nest(&kernel.body, var);
        band.push(var);
        band.dedup();
        band.truncate(s.int(1, 4) as usize);
        band
    };
    // Marks end what can be done to a loop, so they come seldom.
    match s.int(0, 36) {
        0..=2 => Primitive::Split(var, *s.pick(&[2, 3, 4, 8, 32])),
        3..=5 => Primitive::Reorder(shuffled(s, band)),
        6 | 7 => Primitive::Fuse(band(s)),
        8..=11 => Primitive::Peel(band(s)),
        12 => {
            let mut points = vec![near(s), near(s)];
            points.sort_unstable();
            points.dedup();
            Primitive::Cut(var, At::Points(points))
        }
        13 => Primitive::Cut(var, At::Multiple(near(s))),
        14 | 15 => Primitive::Fission(var, s.int(0, 3)),
        16 if kernel.buffers.iter().any(|b| !b.nonzero.is_empty()) => Primitive::SkipZeros(var),
        17 if kernel.buffers.iter().any(|b| !b.nonzero.is_empty()) => Primitive::SkipLanes(var),
        16..=18 => Primitive::FoldGuards(var),
        19 | 20 => Primitive::Rfactor(var),
        21 => Primitive::Straighten(var),
        22 => Primitive::Stage(var),
        23 => Primitive::Unroll(var),
        24 => Primitive::Jam(var),
        25 => Primitive::Vectorize(var),
        26 => Primitive::Parallelize(var),
        27 => Primitive::Inline(buffer(s)),
        28 => Primitive::Pack(buffer(s), var),
        29..=31 => Primitive::ComputeAt(var, beside(&kernel.body, var).unwrap_or(var)),
        32 => {
            let units = all.iter().filter(|l| l.1 == Some(1)).map(|l| l.0);
            let units: Vec<Var> = units.collect();
            let some = if units.is_empty() { vec![var] } else { units };
            Primitive::DropUnitLoops(some)
        }
        33 => Primitive::ContractFma,
        34 => Primitive::Prefetch(buffer(s), *s.pick(&[0, 16, 1024])),
        35 => Primitive::Attach(var, beside(&kernel.body, var).unwrap_or(var)),
        _ => layout(s, kernel),
    }
}

/// The loop that follows on one.
fn beside(stmts: &[Stmt], var: Var) -> Option<Var> {
    let of = |s: &Stmt| match s {
        Stmt::For(l) => Some(l.var),
        _ => None,
    };
    if let Some(pair) = stmts.windows(2).find(|pair| of(&pair[0]) == Some(var)) {
        return of(&pair[1]);
    }
    let mut nested = stmts.iter().flat_map(|s| s.bodies());
    nested.find_map(|b| beside(b, var))
}

fn shuffled(s: &mut Sampler, band: impl Fn(&mut Sampler) -> Vec<Var>) -> Vec<Var> {
    let mut vars = band(s);
    for k in (1..vars.len()).rev() {
        vars.swap(k, s.int(0, k as i64) as usize);
    }
    vars
}

fn layout(s: &mut Sampler, kernel: &Kernel) -> Primitive {
    let Some(buffer) = (!kernel.buffers.is_empty()).then(|| s.pick(&kernel.buffers)) else {
        return Primitive::ContractFma;
    };
    let rank = buffer.shape.len();
    let plain = |dim| LayoutDim {
        dim,
        step: 1,
        extent: None,
    };
    let mut dims: Vec<LayoutDim> = (0..rank).rev().map(plain).collect();
    if rank > 0 {
        let dim = s.int(0, rank as i64) as usize;
        let block = s.int(1, 5);
        for d in dims.iter_mut().filter(|d| d.dim == dim) {
            d.step = block;
        }
        dims.push(LayoutDim {
            dim,
            step: 1,
            extent: Some(block),
        });
    }
    Primitive::SetLayout(buffer.name.clone(), Layout(dims))
}

/// An expression with numbers in the place of sizes.
fn bound(kernel: &Kernel, e: &Expr, sizes: &[i64]) -> Option<i64> {
    let known = kernel.sizes.iter().zip(sizes);
    let bound = e.bind_sizes(&|s| known.clone().find(|(k, _)| *k == s).map(|(_, v)| *v));
    bound.as_const()
}

/// Inputs of a naive kernel, which is row-major.
fn inputs(s: &mut Sampler, kernel: &Kernel, sizes: &[i64]) -> Option<Vec<Tensor>> {
    let params = kernel.params().filter(|(_, b)| b.scope == Scope::Input);
    let tensor = |b: &Buffer, s: &mut Sampler| {
        let shape: Option<Vec<usize>> = b
            .shape
            .iter()
            .map(|e| Some(bound(kernel, e, sizes)? as usize))
            .collect();
        Some(with_zeros(b, s.tensor(b.dtype, &shape?, -2.0, 2.0)))
    };
    params.map(|(_, b)| tensor(b, s)).collect()
}

/// A tensor with those elements 0 that a buffer is known to have.
fn with_zeros(buffer: &Buffer, t: Tensor) -> Tensor {
    if buffer.nonzero.is_empty() {
        return t;
    }
    let mut values = t.to_f64();
    for (k, value) in values.iter_mut().enumerate() {
        let mut left = k;
        for (extent, (from, to)) in t.shape.iter().zip(&buffer.nonzero).rev() {
            if !(*from..*to).contains(&((left % extent) as i64)) {
                *value = 0.0;
            }
            left /= extent;
        }
    }
    Tensor::from_wide(t.dtype, t.shape.clone(), &Wide::Float(values))
}

/// The inputs of a scheduled kernel: those of the naive one in other layouts.
fn laid_out(kernel: &Kernel, sizes: &[i64], inputs: &[Tensor]) -> Vec<Tensor> {
    let program = Program::new(kernel, sizes).expect("the kernel is well formed");
    let physical = program.physical_shapes();
    let params = kernel.params().zip(&physical);
    let params = params.filter(|((_, b), _)| b.scope == Scope::Input);
    let moved = |(((_, b), shape), t): (((_, &Buffer), &Vec<usize>), &Tensor)| {
        if b.layout.is_row_major() {
            return t.clone();
        }
        let width = t.dtype.bytes();
        let mut data = vec![0u8; shape.iter().product::<usize>() * width];
        for (k, element) in t.data.chunks(width).enumerate() {
            let mut left = k;
            let mut index = vec![Expr::from(0); t.shape.len()];
            for d in (0..t.shape.len()).rev() {
                index[d] = Expr::from(left % t.shape[d]);
                left /= t.shape[d];
            }
            let at = bound(kernel, &b.offset(&index), sizes).expect("all is known") as usize;
            data[at * width..(at + 1) * width].copy_from_slice(element);
        }
        Tensor {
            dtype: t.dtype,
            shape: shape.clone(),
            data: data.into(),
        }
    };
    params.zip(inputs).map(moved).collect()
}

/// The largest finite magnitude.
fn largest(tensors: &[Tensor]) -> f64 {
    let values = tensors.iter().flat_map(|t| t.to_f64());
    let finite = values.filter(|x| x.is_finite());
    finite.fold(1.0, |m, x| m.max(x.abs()))
}

/// Exact results have the same bits, NaN like NaN. Sums of some hundred terms that are associated
/// in another way differ by some units of rounding of the sum of the magnitudes, `scale`.
fn agree(want: &[Tensor], found: &[Tensor], exact: bool, scale: f64) -> bool {
    want.iter().zip(found).all(|(w, f)| {
        let (a, b) = (w.to_f64(), f.to_f64());
        let unit = match w.dtype {
            _ if exact || !w.dtype.is_float() => 0.0,
            DType::F64 => 2f64.powi(-53),
            DType::F16 => 2f64.powi(-11),
            DType::BF16 => 2f64.powi(-8),
            _ => 2f64.powi(-24),
        };
        let same = |x: f64, y: f64| {
            let nan = x.is_nan() && y.is_nan();
            let near = !exact && (x == y || (x - y).abs() <= 64.0 * unit * scale);
            x.to_bits() == y.to_bits() || nan || near
        };
        (exact && w.data == f.data)
            || a.len() == b.len() && a.iter().zip(&b).all(|(x, y)| same(*x, *y))
    })
}

/// The magnitudes of the inputs.
fn magnitudes(inputs: &[Tensor]) -> Vec<Tensor> {
    let of = |t: &Tensor| match t.to_wide() {
        Wide::Float(x) => {
            let x = x.into_iter().map(f64::abs).collect();
            Tensor::from_wide(t.dtype, t.shape.clone(), &Wide::Float(x))
        }
        Wide::Int(_) => t.clone(),
    };
    inputs.iter().map(of).collect()
}

/// Puts arguments in the place of sines and cosines: what these are of errs by as much as they do, and
/// may be larger.
fn show_arguments(stmt: &mut Stmt) {
    fn in_scalar(scalar: &mut Scalar) {
        while let Scalar::Call(MathFn::Sin | MathFn::Cos, arguments) = scalar {
            *scalar = arguments.remove(0);
        }
        scalar.children_mut().into_iter().for_each(in_scalar);
    }
    if let Stmt::Store { value, .. } = stmt {
        in_scalar(value);
    }
    let bodies = stmt.bodies_mut().into_iter().flatten();
    bodies.for_each(show_arguments);
}

#[derive(Default)]
struct Counts {
    accepted: BTreeMap<&'static str, usize>,
    rejected: BTreeMap<&'static str, usize>,
    /// Steps after which the verifier does not see that accesses are in bounds.
    unproved: usize,
}

/// Tries random steps on a kernel; gives the trace of those that applied.
fn walk(s: &mut Sampler, naive: &Kernel, counts: &mut Counts) -> (Kernel, Trace, bool) {
    let mut kernel = naive.clone();
    let mut trace = Trace::default();
    let mut exact = true;
    for _ in 0..s.int(1, STEPS) {
        if statements(&kernel.body) > STATEMENTS {
            break;
        }
        let primitive = random(s, &kernel);
        let before = kernel.clone();
        match primitive.apply(&mut kernel) {
            Ok(forwarded) => match verify_kernel(&kernel) {
                Ok(()) => {
                    *counts.accepted.entry(primitive.name()).or_insert(0) += 1;
                    exact &= forwarded.exact;
                    let made = forwarded.made;
                    trace.lines.push(Line::Step { primitive, made });
                }
                // Without a proof, the step is taken back: only verified kernels are interpreted.
                Err(e) if e.reason.starts_with("not proved") => {
                    counts.unproved += 1;
                    kernel = before;
                }
                Err(e) => panic!("{e}\n{primitive} on\n{before}\ngives\n{kernel}"),
            },
            Err(_) => {
                *counts.rejected.entry(primitive.name()).or_insert(0) += 1;
                assert!(
                    kernel == before,
                    "{primitive} was rejected, but changed {before}"
                );
            }
        }
    }
    (kernel, trace, exact)
}

/// What a naive kernel computes with some sizes.
struct Run {
    sizes: Vec<i64>,
    given: Vec<Tensor>,
    want: Vec<Tensor>,
    /// The largest sum of magnitudes.
    scale: f64,
}

impl Run {
    fn of(s: &mut Sampler, naive: &Kernel, sizes: &[i64]) -> Option<Self> {
        let given = inputs(s, naive, sizes)?;
        let want = run_kernel(naive, sizes, &given).ok()?;
        let mut sums = naive.clone();
        sums.body.iter_mut().for_each(show_arguments);
        let scale = run_kernel(&sums, sizes, &magnitudes(&given));
        let scale = scale.map_or(1.0, |sums| largest(&sums)).max(largest(&want));
        let sizes = sizes.to_vec();
        Some(Run {
            sizes,
            given,
            want,
            scale,
        })
    }

    /// Whether a schedule of the kernel computes the same.
    fn holds(&self, kernel: &Kernel, exact: bool) -> Result<bool, String> {
        let args = laid_out(kernel, &self.sizes, &self.given);
        let found = run_kernel(kernel, &self.sizes, &args).map_err(|e| e.to_string())?;
        Ok(agree(&self.want, &found, exact, self.scale))
    }
}

fn check(seed: u64, naive: &Kernel, times: u64, counts: &mut Counts) {
    let s = &mut Sampler::new(seed);
    let sizes: Vec<&[i64]> = match naive.sizes.len() {
        0 => vec![&[]],
        n => SIZES.iter().map(|sizes| &sizes[..n]).collect(),
    };
    let runs: Vec<Run> = (sizes.iter())
        .filter_map(|n| Run::of(s, naive, n))
        .collect();
    if runs.is_empty() {
        return;
    }
    for _ in 0..times {
        let (kernel, trace, exact) = walk(s, naive, counts);
        let context = || format!("seed {seed}\n{naive}\n{trace}\n{kernel}");
        for run in &runs {
            let sizes = &run.sizes;
            let holds = run.holds(&kernel, exact);
            let holds = holds.unwrap_or_else(|e| panic!("{e}\nsizes {sizes:?}, {}", context()));
            assert!(holds, "sizes {sizes:?}, exact: {exact}, {}", context());
        }
        let text = trace.to_string();
        assert_eq!(text.parse().as_ref(), Ok(&trace), "{}", context());
        let again = replay(naive.clone(), &trace);
        assert!(
            again.as_ref() == Ok(&kernel),
            "replay differs, {}",
            context()
        );
    }
}

/// Seeds that kernels and schedules are drawn from.
const SEEDS: std::ops::Range<u64> = 0..12;

#[test]
fn random_schedules_keep_what_kernels_compute() {
    let mut counts = Counts::default();
    let seeds = seeds(SEEDS);
    for seed in seeds.clone() {
        for (k, naive) in kernels(seed).iter().enumerate() {
            // Those that are written down show what the others seldom do.
            let times = match k < WRITTEN.len() {
                true if naive.sizes.is_empty() => 120,
                true => 40,
                false => 4,
            };
            if work(&naive.body) <= WORK {
                check(seed * 1000 + k as u64, naive, times, &mut counts);
            }
        }
    }
    println!("accepted {:?}", counts.accepted);
    println!("rejected {:?}", counts.rejected);
    println!("without a proof {}", counts.unproved);
    if seeds == SEEDS {
        enough(&counts);
    }
}

/// The usual seeds try enough of every primitive.
fn enough(counts: &Counts) {
    for name in Primitive::NAMES {
        let accepted = counts.accepted.get(name).copied().unwrap_or(0);
        assert!(accepted >= 50, "`{name}` applied {accepted} times only");
    }
    let total: usize = counts.accepted.values().sum();
    assert!(total >= 10_000, "only {total} steps applied");
    assert!(
        counts.unproved * 20 < total,
        "{} without a proof",
        counts.unproved
    );
    assert!(counts.rejected.values().sum::<usize>() >= 1000);
}

fn targets() -> [Target; 3] {
    let target = |vector_bytes| Target {
        vector_bytes,
        fma: vector_bytes > 16,
        threads: 2,
        ..Target::default()
    };
    [target(16), target(32), target(64)]
}

fn replays(naive: &Kernel, trace: &Trace, kernel: &Kernel) {
    let again = replay(naive.clone(), trace);
    assert!(
        again.as_ref() == Ok(kernel),
        "replay differs:\n{naive}\n{trace}\n{kernel}"
    );
    let text = trace.to_string();
    assert_eq!(text.parse().as_ref(), Ok(trace), "{text}");
}

#[test]
fn traces_of_recipes_replay_on_samples() {
    for seed in 0..4 {
        for naive in kernels(seed) {
            for target in targets() {
                let packable = |b| naive.buffer(b).scope == Scope::Input;
                let scheduled = default_schedule(naive.clone(), &target, &packable);
                replays(&naive, &scheduled.trace, &scheduled.kernel);
            }
        }
    }
}

/// A member of a space, its values drawn one after the other, since later ones depend on earlier
/// ones; `None` if the verifier refuses one on the way, which it may for want of a proof only.
fn draw_member(s: &mut Sampler, task: &Task, target: &Target) -> Option<(Values, Scheduled)> {
    let mut values = Values::default();
    loop {
        let member = match task.member(target, values.clone()) {
            Ok(member) => member,
            Err(e) if e.reason.starts_with("not proved") => return None,
            Err(e) => panic!("{e}\n{task}\n{values}"),
        };
        let open = |p: &&Parameter| values.get(&p.name).is_none();
        let Some(p) = member.parameters.iter().find(open) else {
            return Some((values, member));
        };
        let at = s.int(0, p.options.len() as i64 - 1) as usize;
        values.set(&p.name, &p.options[at]);
    }
}

#[test]
fn members_of_spaces_keep_what_kernels_compute() {
    let (mut moved, mut refused) = (0, 0);
    for seed in seeds(0..6) {
        let s = &mut Sampler::new(seed);
        let small = |k: &Kernel| work(&k.body) <= WORK;
        for naive in kernels(seed).into_iter().filter(small) {
            let sizes = &SIZES[2][..naive.sizes.len()];
            let Some(run) = Run::of(s, &naive, sizes) else {
                continue;
            };
            let inputs = naive.params().filter(|(_, b)| b.scope == Scope::Input);
            let packable = inputs.map(|(id, _)| id).filter(|_| s.int(0, 1) == 1);
            let packable = packable.collect();
            let task = Task::new(naive, packable);
            let target = s.pick(&targets()).clone();
            let Some((values, member)) = draw_member(s, &task, &target) else {
                refused += 1;
                continue;
            };
            moved += usize::from(member.kernel != task.default_schedule(&target).kernel);
            let context = || format!("seed {seed}\n{task}\n{values}\n{}", member.kernel);
            let holds = run.holds(&member.kernel, false);
            assert!(holds == Ok(true), "{holds:?}\n{}", context());
            assert_eq!(Values::of(&member.parameters), values, "{}", context());
            assert_eq!(task.to_string().parse().as_ref(), Ok(&task), "{task}");
        }
    }
    println!("{moved} kernels differ from the default, {refused} were refused");
    assert!(moved > 50 && 10 * refused < moved, "{moved}, {refused}");
}

#[test]
fn traces_of_plans_replay() {
    for seed in 0..200 {
        let (graph, _) = draw(seed);
        for target in targets() {
            let options = PassOptions {
                target,
                ..PassOptions::default()
            };
            let graph = optimise(graph.clone(), &options).expect("passes accept the graph");
            let (plan, schedules) = plan_with_schedules(&graph, &options).expect("it has a plan");
            assert_eq!(plan.kernels.len(), schedules.len());
            for (kernel, schedule) in plan.kernels.iter().zip(&schedules) {
                replays(&schedule.task.naive, &schedule.trace, kernel);
            }
        }
    }
}
