//! Models in half precision on machines of every width: what they compute, and what stays of 16 bits.
mod support;

use support::guarded::{Edge, Runner, run_guarded};
use support::halves::cast;
use support::{X86_LEVELS, target_here};
use tensmith::convert::{to_ir, to_runtime};
use tensmith::{Options, Precision, compile};
use tensmith_ir::dtype::DType;
use tensmith_ir::eval::eval_graph;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, TensorType, ValueId};
use tensmith_ir::loops::{Buffer, Scope};
use tensmith_ir::ops::{Sampler, op};
use tensmith_ir::plan::Plan;
use tensmith_ir::tensor::Tensor;

const HALVES: [DType; 2] = [DType::F16, DType::BF16];

fn ty(dtype: DType, shape: &[usize]) -> TensorType {
    TensorType::new(dtype, shape.iter().map(|d| Expr::from(*d)).collect())
}

/// `rows` rows times constant weights of a type, which are transposed before or not, and a bound.
fn product(dtype: DType, rows: usize, [inner, columns]: [usize; 2], turned: bool) -> Graph {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(dtype, &[rows, inner]));
    let shape = if turned {
        [columns, inner]
    } else {
        [inner, columns]
    };
    let weights = Sampler::new(5).tensor(DType::F32, &shape, -0.5, 0.5);
    let mut w = g.add_constant("w", cast(&weights, dtype));
    if turned {
        let perm = Attrs::new().with("perm", vec![1, 0]);
        w = g.add_one(op("transpose"), "t", &[w], perm).unwrap();
    }
    let spec = Attrs::new().with("spec", "mk,kn->mn");
    let y = g.add_one(op("contract"), "c", &[x, w], spec).unwrap();
    let least = g.add_constant("z", Tensor::splat(dtype, vec![], 0.0));
    let y = (g.add_one(op("max"), "r", &[y, least], Attrs::new())).unwrap();
    g.add_output("y", y);
    g
}

fn input(dtype: DType, shape: &[usize]) -> Tensor {
    cast(&Sampler::new(7).tensor(DType::F32, shape, -1.0, 1.0), dtype)
}

/// Largest error over the largest magnitude of what a graph is computed to.
fn error(graph: &Graph, found: &Tensor, inputs: &[Tensor]) -> f64 {
    let want = eval_graph(graph, inputs).unwrap()[0].to_f64();
    let largest = want.iter().fold(1e-30, |m: f64, x| m.max(x.abs()));
    let errors = want.iter().zip(found.to_f64()).map(|(a, b)| (a - b).abs());
    errors.fold(0.0, f64::max) / largest
}

/// Units in the last place of numbers next to 1, of which a rounding is half a unit.
fn place(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 2f64.powi(-10),
        _ => 2f64.powi(-7),
    }
}

/// Whether a kernel reads so many elements of a type.
fn reads(plan: &Plan, dtype: DType, count: usize) -> bool {
    let is_such = |b: &Buffer| {
        let elements = b.shape.iter().map(Expr::as_const).product::<Option<i64>>();
        b.scope == Scope::Input && b.dtype == dtype && elements == Some(count as i64)
    };
    let mut kernels = plan.kernels.iter();
    kernels.any(|k| k.params().any(|(_, b)| is_such(b)))
}

/// Weights that are read once are read as halves, whatever moves them before; others are floats.
#[test]
fn weights_that_are_read_once_stay_halves() {
    for dtype in HALVES {
        for (rows, turned) in [(1, false), (1, true), (2, false), (2, true)] {
            let graph = product(dtype, rows, [160, 203], turned);
            let plan = compile::plan(&graph, &Options::default()).unwrap();
            let case = format!("{dtype}, {rows} rows\n{plan}");
            assert_eq!(reads(&plan, dtype, 160 * 203), rows == 1, "{case}");
            let x = input(dtype, &[rows, 160]);
            for edge in [Edge::End, Edge::Begin] {
                let found =
                    run_guarded(&plan, std::slice::from_ref(&x), (Runner::Spmd, 2), edge).unwrap();
                let error = error(&graph, &found[0], std::slice::from_ref(&x));
                assert!(error <= place(dtype), "{error:e}, {case}");
            }
        }
    }
}

/// On every machine, in every precision.
#[test]
fn products_are_right_at_every_width() {
    let exact = Precision::Exact;
    for (name, precision) in X86_LEVELS
        .into_iter()
        .filter(|n| target_here(n).is_some())
        .flat_map(|n| [(n, Precision::Standard), (n, exact)])
    {
        for dtype in HALVES {
            for (rows, columns) in [(1, 203), (1, 256), (5, 33), (17, 64)] {
                let graph = product(dtype, rows, [160, columns], rows == 5);
                let options = Options {
                    target: name.into(),
                    threads: Some(1),
                    precision,
                    ..Options::default()
                };
                let names = ["x".to_string()];
                let executable = compile::compile(&graph, &options, vec![], &names).unwrap();
                let x = input(dtype, &[rows, 160]);
                let given = to_runtime(&x).unwrap();
                let found = executable.run(&[("x", given.view())]).unwrap();
                let error = error(&graph, &to_ir(found[0].view()), &[x]);
                let case = format!("{name}, {precision:?}, {dtype}, {rows} by {columns}");
                assert!(error <= place(dtype), "{case}: {error:e}");
            }
        }
    }
}

/// Transposed halves keep their bits, NaN among them, and take blocks of a cache line each.
#[test]
fn transposed_halves_are_the_same() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(DType::F16, &[3, 50, 70]));
    let perm = Attrs::new().with("perm", vec![0, 2, 1]);
    let y = g.add_one(op("transpose"), "t", &[x], perm).unwrap();
    g.add_output("y", y);
    let bits = |k: usize| (k as u32).wrapping_mul(40503) as u16;
    let data = |at: &dyn Fn(usize) -> usize| -> Vec<u8> {
        (0..3 * 50 * 70)
            .flat_map(|k| bits(at(k)).to_le_bytes())
            .collect()
    };
    let x = Tensor::new(DType::F16, vec![3, 50, 70], data(&|k| k).into()).unwrap();
    let want = data(&|k| {
        let (image, column, row) = (k / 3500, k / 50 % 70, k % 50);
        image * 3500 + row * 70 + column
    });
    let plan = compile::plan(&g, &Options::default()).unwrap();
    for edge in [Edge::End, Edge::Begin] {
        let found = run_guarded(&plan, std::slice::from_ref(&x), (Runner::Spmd, 2), edge).unwrap();
        assert_eq!(found[0].data[..], want[..], "{edge:?}");
    }
}

/// `standard` rounds what leaves the graph, `exact` each result: of 1 + 2^-11, 1 is left to add to.
#[test]
fn precisions_differ_by_roundings() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(DType::F16, &[64]));
    let step = Tensor::from_wide(
        DType::F16,
        vec![],
        &Tensor::splat(DType::F32, vec![], 2f64.powi(-11)).to_wide(),
    );
    let step = g.add_constant("s", step);
    let add = |g: &mut Graph, v: ValueId| g.add_one(op("add"), "a", &[v, step], Attrs::new());
    let mut y = x;
    for _ in 0..4 {
        y = add(&mut g, y).unwrap();
    }
    g.add_output("y", y);
    let one = cast(&Tensor::splat(DType::F32, vec![64], 1.0), DType::F16);
    for (precision, want) in [
        (Precision::Exact, 1.0),
        (Precision::Standard, 1.0 + 2f64.powi(-9)),
    ] {
        let options = Options {
            precision,
            ..Options::default()
        };
        let plan = compile::plan(&g, &options).unwrap();
        let found = run_guarded(
            &plan,
            std::slice::from_ref(&one),
            (Runner::Spmd, 1),
            Edge::End,
        );
        assert_eq!(found.unwrap()[0].to_f64(), vec![want; 64], "{precision:?}");
    }
}
