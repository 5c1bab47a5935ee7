//! Plans compute what their graphs say: hand-made cases.
mod common;

use common::{calls_in_place, check, check_with, f32s, iota, scalar_type, ty, vectors_of};
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::{Expr, Symbol};
use tensmith_ir::graph::{Attrs, Graph, SymbolInfo, TensorType};
use tensmith_ir::loops::{Mark, Scalar, Scope, Stmt};
use tensmith_ir::ops::op;
use tensmith_ir::plan::{Plan, Step, verify_plan};
use tensmith_ir::tensor::{Tensor, Wide};
use tensmith_passes::liveness_bound;

fn shape_attr(dims: &[i64]) -> Attrs {
    let dims: Vec<Expr> = dims.iter().map(|d| (*d).into()).collect();
    Attrs::new().with("shape", dims)
}

#[test]
fn a_chain_of_scalar_maps() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[3, 5]));
    let w = g.add_constant("w", f32s(&[5], 2.0));
    let y = g.add_one(op("mul"), "m", &[x, w], Attrs::new()).unwrap();
    let y = g.add_one(op("sigmoid"), "s", &[y], Attrs::new()).unwrap();
    g.add_output("y", y);
    check(&g, &[iota(&[3, 5])]);
}

#[test]
fn outputs_may_be_inputs_constants_views_and_each_other() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[2, 3]));
    let c = g.add_constant("c", f32s(&[4], 1.0));
    let flat = g
        .add_one(op("reshape"), "r", &[x], shape_attr(&[6]))
        .unwrap();
    let n = g.add_one(op("neg"), "n", &[x], Attrs::new()).unwrap();
    let m = g
        .add_one(op("reshape"), "m", &[n], shape_attr(&[3, 2]))
        .unwrap();
    let e = g.add_one(op("exp"), "e", &[m], Attrs::new()).unwrap();
    for (k, v) in [x, c, flat, n, m, n, e].into_iter().enumerate() {
        g.add_output(&format!("y{k}"), v);
    }
    check(&g, &[iota(&[2, 3])]);
}

#[test]
fn what_depends_on_constants_only_is_prepared() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[2, 8192]));
    let c = g.add_constant("c", f32s(&[8192], 1.0));
    let e = g.add_one(op("exp"), "e", &[c], Attrs::new()).unwrap();
    let r = g
        .add_one(op("reshape"), "r", &[e], shape_attr(&[1, 8192]))
        .unwrap();
    let y = g.add_one(op("add"), "a", &[x, r], Attrs::new()).unwrap();
    let z = g.add_one(op("mul"), "b", &[y, e], Attrs::new()).unwrap();
    g.add_output("z", z);
    let plan = check(&g, &[iota(&[2, 8192])]);
    assert!(plan.prepare.is_some());
    assert!(
        plan.calls()
            .iter()
            .all(|c| !c.nodes.contains(&"e".to_string()))
    );
}

#[test]
fn counts_that_only_constants_need_are_not_computed_at_run_time() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[96, 96]));
    let count = |g: &mut Graph, axis: i64| {
        let attrs = shape_attr(&[96, 96]).with("axis", axis);
        let attrs = attrs.with("dtype", DType::I64);
        g.add_one(op("iota"), "i", &[], attrs).unwrap()
    };
    let (row, column) = (count(&mut g, 0), count(&mut g, 1));
    let below = g
        .add_one(op("le"), "le", &[column, row], Attrs::new())
        .unwrap();
    let zero = g.add_constant("zero", f32s(&[], 0.0));
    let y = g
        .add_one(op("select"), "s", &[below, x, zero], Attrs::new())
        .unwrap();
    g.add_output("y", y);
    let plan = check(&g, &[iota(&[96, 96])]);
    let names: Vec<&str> = plan.kernels.iter().map(|k| k.name.as_str()).collect();
    assert_eq!(names, ["select"]);
}

#[test]
fn one_plan_serves_all_sizes() {
    let n = Symbol::new("n");
    let mut g = Graph::default();
    g.symbols
        .insert(n.clone(), SymbolInfo { min: 1, max: 1000 });
    let rows = TensorType::new(DType::F32, vec![Expr::size(n), 4.into()]);
    let x = g.add_input("x", rows);
    let b = g.add_constant("b", f32s(&[4], 1.0));
    let mut y = x;
    for k in 0..3 {
        let name = format!("p{k}");
        let perm = Attrs::new().with("perm", vec![1, 0]);
        y = g
            .add_one(op("transpose"), &name, &[y], perm.clone())
            .unwrap();
        y = g.add_one(op("transpose"), &name, &[y], perm).unwrap();
        y = g.add_one(op("add"), "a", &[y, b], Attrs::new()).unwrap();
    }
    g.add_output("y", y);
    for n in [1, 3, 17] {
        check(&g, &[iota(&[n, 4])]);
    }
}

/// A region that computes `op(capture, capture)`.
fn region(name: &str) -> Graph {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[3]));
    let y = g.add_one(op(name), name, &[x, x], Attrs::new()).unwrap();
    g.add_output("y", y);
    g.add_output("x", x);
    g
}

#[test]
fn branches() {
    let mut g = Graph::default();
    let cond = g.add_input("c", scalar_type(DType::Bool));
    let x = g.add_input("x", ty(&[3]));
    let e = g.add_one(op("exp"), "e", &[x], Attrs::new()).unwrap();
    let regions = vec![region("add"), region("mul")];
    let r = g
        .add_with_regions(op("if"), "if", &[cond, e], Attrs::new(), regions)
        .unwrap();
    let z = g.add_one(op("neg"), "z", &[r[0]], Attrs::new()).unwrap();
    g.add_output("z", z);
    g.add_output("x", r[1]);
    for value in [0, 1] {
        let cond = Tensor::from_wide(DType::Bool, vec![], &Wide::Int(vec![value]));
        check(&g, &[cond, iota(&[3])]);
    }
}

/// (i, c, a, b, k) -> (a[0] < 100 reduced to true, b + k, a, a * b)
fn swapping_body() -> Graph {
    let mut g = Graph::default();
    let _i = g.add_input("i", scalar_type(DType::I64));
    let c = g.add_input("c", scalar_type(DType::Bool));
    let a = g.add_input("a", ty(&[2]));
    let b = g.add_input("b", ty(&[2]));
    let k = g.add_input("k", ty(&[2]));
    let next = g.add_one(op("add"), "next", &[b, k], Attrs::new()).unwrap();
    let scan = g.add_one(op("mul"), "scan", &[a, b], Attrs::new()).unwrap();
    for (name, v) in [("c", c), ("a", next), ("b", a), ("s", scan)] {
        g.add_output(name, v);
    }
    g
}

#[test]
fn loops_carry_swapped_state_and_collect_scans() {
    let mut g = Graph::default();
    let a = g.add_input("a", ty(&[2]));
    let b = g.add_input("b", ty(&[2]));
    let k = g.add_constant("k", f32s(&[2], 0.5));
    let trip = g.add_constant("trip", Tensor::from_i64(vec![], &[5]));
    let yes = Tensor::from_wide(DType::Bool, vec![], &Wide::Int(vec![1]));
    let yes = g.add_constant("yes", yes);
    let attrs = Attrs::new().with("carried", 2).with("scans", 1);
    let r = g
        .add_with_regions(
            op("loop"),
            "l",
            &[trip, yes, a, b, k],
            attrs,
            vec![swapping_body()],
        )
        .unwrap();
    for (j, v) in r.into_iter().enumerate() {
        g.add_output(&format!("y{j}"), v);
    }
    check(&g, &[iota(&[2]), f32s(&[2], -3.0)]);
}

/// A plan of two parallel kernels, one after the other, by way of the arena.
fn two_kernels() -> Plan {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[64]));
    let y = g.add_one(op("exp"), "e", &[x], Attrs::new()).unwrap();
    let y = g
        .add_one(op("reshape"), "r", &[y], shape_attr(&[8, 8]))
        .unwrap();
    let perm = Attrs::new().with("perm", vec![1, 0]);
    let y = g.add_one(op("transpose"), "t", &[y], perm).unwrap();
    g.add_output("y", y);
    check(&g, &[iota(&[64])])
}

#[test]
fn a_missing_barrier_is_found() {
    let mut plan = two_kernels();
    plan.steps.retain(|s| !matches!(s, Step::Barrier));
    for kernel in &mut plan.kernels {
        for stmt in &mut kernel.body {
            if let Stmt::For(l) = stmt {
                l.mark = Mark::Parallel;
            }
        }
    }
    let error = verify_plan(&plan).expect_err("kernels depend on each other");
    assert!(error.to_string().contains("no barrier"), "{error}");
}

#[test]
fn a_value_outside_of_the_arena_or_never_written_is_found() {
    let mut plan = two_kernels();
    plan.arena_bytes = 0.into();
    let error = verify_plan(&plan).expect_err("nothing fits").to_string();
    assert!(error.contains("ends at"), "{error}");
    let mut plan = two_kernels();
    plan.steps.remove(0);
    let error = verify_plan(&plan).expect_err("nothing writes").to_string();
    assert!(error.contains("is read, but was not written"), "{error}");
}

#[test]
fn values_that_are_not_live_together_share_bytes() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[32, 32]));
    let mut y = x;
    for k in 0..8 {
        let name = format!("p{k}");
        let perm = Attrs::new().with("perm", vec![1, 0]);
        y = g.add_one(op("transpose"), &name, &[y], perm).unwrap();
        let spec = Attrs::new().with("spec", "mk,kn->mn");
        y = g.add_one(op("contract"), &name, &[y, x], spec).unwrap();
        y = g.add_one(op("tanh"), &name, &[y], Attrs::new()).unwrap();
    }
    g.add_output("y", y);
    let plan = check(&g, &[iota(&[32, 32])]);
    let bound = liveness_bound(&plan, &Default::default()).unwrap();
    assert_eq!(bound, 2 * 32 * 32 * 4);
    assert_eq!(plan.arena_bytes.as_const(), Some(bound));
}

/// A block with a residual: `y = tanh(h)*w3 + r`, whose result and residual are large beside `h`.
fn residual() -> Plan {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[16, 8]));
    let dot = |g: &mut Graph, name: &str, x, shape: &[usize]| {
        let w = g.add_constant(&format!("w_{name}"), f32s(shape, 0.1));
        let spec = Attrs::new().with("spec", "mk,kn->mn");
        g.add_one(op("contract"), name, &[x, w], spec).unwrap()
    };
    let h = dot(&mut g, "h", x, &[8, 8]);
    let h = g.add_one(op("tanh"), "t", &[h], Attrs::new()).unwrap();
    let r = dot(&mut g, "r", x, &[8, 96]);
    let y = dot(&mut g, "y", h, &[8, 96]);
    let y = g.add_one(op("add"), "sum", &[y, r], Attrs::new()).unwrap();
    let z = dot(&mut g, "z", y, &[96, 8]);
    g.add_output("z", z);
    check(&g, &[iota(&[16, 8])])
}

#[test]
fn a_result_takes_the_place_of_a_residual_that_ends_there() {
    let plan = residual();
    let [call] = calls_in_place(&plan)[..] else {
        panic!("{plan}")
    };
    assert!(call.nodes.contains(&"sum".to_string()), "{plan}");
    let large = 16 * 96 * 4;
    let arena = plan.arena_bytes.as_const().unwrap();
    assert!(arena < 2 * large, "{arena} bytes:\n{plan}");
    assert_eq!(liveness_bound(&plan, &Default::default()), Some(arena));
}

/// An operand that a kernel reads in its inner loop must not be written over.
#[test]
fn plans_that_write_over_what_is_still_read_are_refused() {
    let mut plan = residual();
    let call = calls_in_place(&plan)[0].clone();
    let params: Vec<_> = plan
        .kernel(call.kernel)
        .params()
        .map(|(_, b)| b.clone())
        .collect();
    let at = |scope: Scope, columns: i64| {
        let fits = |b: &tensmith_ir::loops::Buffer| b.scope == scope && b.shape[1].is(columns);
        params.iter().position(fits).expect("a parameter")
    };
    let (result, residual) = (at(Scope::Output, 96), at(Scope::Input, 96));
    assert_eq!(verify_plan(&plan), Ok(()));
    // The kernel reads the residual behind the store now.
    let kernel = &mut plan.kernels[call.kernel.0 as usize];
    let ids: Vec<_> = kernel.params().map(|(id, _)| id).collect();
    let load = Scalar::load(ids[residual], vec![0.into(), 0.into()]);
    kernel.body.push(Stmt::Store {
        buffer: ids[result],
        index: vec![0.into(), 0.into()],
        value: load,
    });
    let error = verify_plan(&plan).expect_err("an element is read after it was written");
    assert!(error.to_string().contains("overlaps"), "{error}");
}

/// A function takes as long as several other statements, so fewer elements of one are enough for
/// two threads.
#[test]
fn functions_are_dealt_to_threads_before_sums_are() {
    let is_dealt = |name: &str, operands: usize| {
        let mut g = Graph::default();
        let x = g.add_input("x", ty(&[64, 160]));
        let operands = vec![x; operands];
        let y = g.add_one(op(name), name, &operands, Attrs::new()).unwrap();
        g.add_output("y", y);
        let mut options = vectors_of(64);
        options.target.threads = 2;
        let plan = check_with(&g, &[iota(&[64, 160])], &options);
        let [Stmt::For(l)] = &plan.kernels[0].body[..] else {
            panic!("{plan}");
        };
        l.mark == Mark::Parallel
    };
    assert!(is_dealt("exp", 1));
    assert!(!is_dealt("add", 2));
}
