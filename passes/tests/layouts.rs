//! Which values lie with channels innermost, and that kernels compute with vectors wherever values
//! lie.
mod common;

use common::{check_with, conv_attrs, f32s, iota, pointwise, ty, vectors_of};
use tensmith_ir::expr::{Expr, Var};
use tensmith_ir::graph::{Attrs, Graph, ValueId};
use tensmith_ir::loops::{Kernel, Layout, Mark, Role, Scalar, Scope, Stmt};
use tensmith_ir::ops::op;
use tensmith_ir::plan::Plan;

fn add(g: &mut Graph, name: &str, label: &str, inputs: &[ValueId], attrs: Attrs) -> ValueId {
    g.add_one(op(name), label, inputs, attrs).expect("it fits")
}

fn planned(g: &Graph) -> Plan {
    let shape = |v: &ValueId| g.ty(*v).static_shape().expect("static");
    let inputs: Vec<_> = g.inputs.iter().map(|v| iota(&shape(v))).collect();
    check_with(g, &inputs, &vectors_of(32))
}

fn kernel<'p>(plan: &'p Plan, name: &str) -> &'p Kernel {
    let found = plan.kernels.iter().find(|k| k.name.contains(name));
    found.unwrap_or_else(|| panic!("no kernel of `{name}`:\n{plan}"))
}

/// The layouts of the buffers of rank 4 that a kernel reads or writes.
fn layouts(kernel: &Kernel, scope: Scope) -> Vec<&Layout> {
    let of = kernel.buffers.iter().filter(|b| b.scope == scope);
    of.filter(|b| b.shape.len() == 4)
        .map(|b| &b.layout)
        .collect()
}

/// Whether there is a loop over vectors that sums in itself: lanes of one result, added up at its end.
fn sums_in_lanes(stmts: &[Stmt]) -> bool {
    stmts.iter().any(|stmt| match stmt {
        Stmt::For(l) if l.mark == Mark::Vector && l.role == Role::Reduce => true,
        other => other.bodies().into_iter().any(|b| sums_in_lanes(b)),
    })
}

/// Scores of heads that a convolution of one tap mixes, which are few or many.
#[test]
fn products_by_channel_are_row_major() {
    for heads in [4, 16] {
        let mut g = Graph::default();
        let q = g.add_input("q", ty(&[1, heads, 24, 16]));
        let k = g.add_input("k", ty(&[1, heads, 16, 24]));
        let spec = Attrs::new().with("spec", "bhmk,bhkn->bhmn");
        let scores = add(&mut g, "contract", "scores", &[q, k], spec);
        let mixed = pointwise(&mut g, "mix", scores, &[heads, heads, 1, 1]);
        let y = add(
            &mut g,
            "softmax",
            "s",
            &[mixed],
            Attrs::new().with("axis", 3),
        );
        g.add_output("y", y);
        let plan = planned(&g);
        let product = kernel(&plan, "contract");
        assert!(
            layouts(product, Scope::Output)
                .iter()
                .all(|l| l.is_row_major()),
            "{product}"
        );
        assert!(!sums_in_lanes(&product.body), "{product}");
        // Fewer channels than lanes.
        let rows = kernel(&plan, "softmax");
        let read = layouts(rows, Scope::Input);
        assert!(heads > 8 || read.iter().all(|l| l.is_row_major()), "{rows}");
    }
}

/// Behind a transpose, axis 1 is no channel of the convolution before it.
#[test]
fn what_is_transposed_has_no_channels() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[1, 8, 12, 12]));
    let c = pointwise(&mut g, "c", x, &[32, 8, 1, 1]);
    let last = Attrs::new().with("perm", vec![0, 2, 3, 1]);
    let t = add(&mut g, "transpose", "t", &[c], last);
    let other = g.add_input("z", ty(&[1, 12, 12, 32]));
    let sum = add(&mut g, "add", "sum", &[t, other], Attrs::new());
    let w = g.add_input("w", ty(&[32, 48]));
    let spec = Attrs::new().with("spec", "abcd,de->abce");
    let y = add(&mut g, "contract", "y", &[sum, w], spec);
    let y = add(&mut g, "tanh", "tanh", &[y], Attrs::new());
    let z = add(&mut g, "exp", "exp", &[sum], Attrs::new());
    let z = add(&mut g, "mul", "z", &[z, z], Attrs::new());
    g.add_output("y", y);
    g.add_output("z", z);
    let plan = planned(&g);
    let product = kernel(&plan, "contract");
    for scope in [Scope::Input, Scope::Output] {
        assert!(
            layouts(product, scope).iter().all(|l| l.is_row_major()),
            "{product}"
        );
    }
}

/// A norm of a whole image, scaled inside of the convolution that reads it: the scale is computed
/// before the rows of the image are.
#[test]
fn rows_of_an_image_may_need_a_number_first() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[1, 16, 64, 64]));
    let x = pointwise(&mut g, "before", x, &[16, 16, 1, 1]);
    let all = Attrs::new()
        .with("axes", vec![1, 2, 3])
        .with("keepdims", true);
    let square = add(&mut g, "mul", "square", &[x, x], Attrs::new());
    let mean = add(&mut g, "reduce_mean", "mean", &[square], all);
    let root = add(&mut g, "sqrt", "root", &[mean], Attrs::new());
    let scale = add(&mut g, "reciprocal", "scale", &[root], Attrs::new());
    let norm = add(&mut g, "mul", "norm", &[x, scale], Attrs::new());
    let c = pointwise(&mut g, "c", norm, &[64, 16, 1, 1]);
    let y = add(&mut g, "tanh", "y", &[c], Attrs::new());
    g.add_output("y", y);
    let plan = planned(&g);
    let convolution = kernel(&plan, "conv_tanh");
    assert!(!sums_in_lanes(&convolution.body), "{convolution}");
    // The sum over the image reads it where it lies.
    let sum = kernel(&plan, "reduce_mean");
    let read = layouts(sum, Scope::Input);
    assert!(read.iter().all(|l| !l.is_row_major()), "{sum}");
    let loads = loads_of_lanes(&sum.body, None);
    let along = |(index, lane): &(Vec<Expr>, Var)| index[1].mentions(*lane);
    assert!(!loads.is_empty() && loads.iter().all(along), "{sum}");
}

/// The indices of the elements that are read in lanes, with the loops over these.
fn loads_of_lanes(stmts: &[Stmt], lane: Option<Var>) -> Vec<(Vec<Expr>, Var)> {
    let mut loads = Vec::new();
    for stmt in stmts {
        let lane = match stmt {
            Stmt::For(l) if l.mark == Mark::Vector => Some(l.var),
            _ => lane,
        };
        if let (Stmt::Store { value, .. }, Some(lane)) = (stmt, lane) {
            value.visit(&mut |s| match s {
                Scalar::Load(_, index) if index.len() == 4 => loads.push((index.clone(), lane)),
                _ => {}
            });
        }
        for body in stmt.bodies() {
            loads.extend(loads_of_lanes(body, lane));
        }
    }
    loads
}

/// Transforms of tiles read channels side by side, from a copy if the image is one that others see.
#[test]
fn transforms_never_read_row_major_images() {
    for padding in [0, 1] {
        let mut g = Graph::default();
        let extent = 34 - 2 * padding;
        let x = g.add_input("x", ty(&[1, 32, extent as usize, extent as usize]));
        let w = g.add_constant("w", f32s(&[32, 32, 3, 3], 0.1));
        let pads = [padding; 2];
        let attrs = conv_attrs(([1, 1], [1, 1]), 1, (pads, pads));
        let y = add(&mut g, "conv", "y", &[x, w], attrs);
        g.add_output("y", y);
        let plan = planned(&g);
        let transform = kernel(&plan, "winograd_input");
        let read = layouts(transform, Scope::Input);
        let images: Vec<_> = read.iter().filter(|l| !l.is_row_major()).collect();
        assert!(!images.is_empty(), "{padding}: {transform}");
    }
}

/// A pool of a row-major image before a convolution, and a norm of each channel behind one whose result
/// is row-major: lanes run along one axis in what they read and write.
#[test]
fn windows_and_rows_lie_alike() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[1, 32, 18, 18]));
    let window = Attrs::new()
        .with("kernel", vec![3, 3])
        .with("strides", vec![1, 1])
        .with("dilations", vec![1, 1])
        .with("pads_before", vec![0, 0])
        .with("pads_after", vec![0, 0]);
    let pooled = add(&mut g, "pool_max", "pool", &[x], window);
    let c = pointwise(&mut g, "c", pooled, &[32, 32, 1, 1]);
    let axes = || Attrs::new().with("axes", vec![2, 3]).with("keepdims", true);
    let mean = add(&mut g, "reduce_mean", "mean", &[c], axes());
    let y = add(&mut g, "sub", "y", &[c, mean], Attrs::new());
    g.add_output("y", y);
    let plan = planned(&g);
    for name in ["pool_max", "reduce_mean"] {
        let kernel = kernel(&plan, name);
        let [read, written] = [Scope::Input, Scope::Output].map(|s| layouts(kernel, s));
        assert!(
            read.iter().all(|l| written.iter().all(|w| l == w)),
            "{kernel}"
        );
    }
}

/// Loops over vectors, and stores that no such loop is around.
fn lanes_and_scalars(stmts: &[Stmt], in_lanes: bool) -> [usize; 2] {
    let mut found = [0, 0];
    for stmt in stmts {
        let lanes = matches!(stmt, Stmt::For(l) if l.mark == Mark::Vector);
        found[0] += usize::from(lanes);
        found[1] += usize::from(matches!(stmt, Stmt::Store { .. }) && !in_lanes);
        for body in stmt.bodies() {
            let inner = lanes_and_scalars(body, in_lanes || lanes);
            found = [found[0] + inner[0], found[1] + inner[1]];
        }
    }
    found
}

/// Pools of an input that a convolution reads, of few positions and of many: the image is copied into a
/// frame, so that no guard is left in the windows.
#[test]
fn pools_before_convolutions_have_frames() {
    for (image, stride) in [
        ([1, 64, 35, 35], 1),
        ([2, 32, 20, 28], 2),
        ([1, 16, 20, 28], 2),
    ] {
        for name in ["pool_max", "pool_sum"] {
            let mut g = Graph::default();
            let x = g.add_input("x", ty(&image));
            let window = Attrs::new()
                .with("kernel", vec![3, 3])
                .with("strides", vec![stride, stride])
                .with("dilations", vec![1, 1])
                .with("pads_before", vec![1, 1])
                .with("pads_after", vec![1, 1]);
            let pooled = add(&mut g, name, "pool", &[x], window);
            let c = pointwise(&mut g, "c", pooled, &[32, image[1], 1, 1]);
            g.add_output("y", c);
            let plan = planned(&g);
            let pool = kernel(&plan, name);
            let [lanes, scalars] = lanes_and_scalars(&pool.body, false);
            assert!(lanes > 0 && scalars == 0, "{pool}");
            let mut all = layouts(pool, Scope::Input);
            all.extend(layouts(pool, Scope::Output));
            assert!(all.iter().all(|l| !l.is_row_major()), "{pool}");
            assert!(stride > 1 || !pool.to_string().contains("guard"), "{pool}");
        }
    }
}

/// Keys that a convolution makes: their columns lie side by side where a product reads them.
#[test]
fn columns_of_products_are_row_major() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[2, 64, 48]));
    let w = g.add_constant("w", f32s(&[24, 64, 1], 0.1));
    let along = Attrs::new()
        .with("strides", vec![1])
        .with("dilations", vec![1])
        .with("groups", 1)
        .with("pads_before", vec![0])
        .with("pads_after", vec![0]);
    let keys = add(&mut g, "conv", "keys", &[x, w], along);
    let q = g.add_input("q", ty(&[2, 4, 48, 24]));
    let spec = Attrs::new().with("spec", "abcd,ade->abce");
    let scores = add(&mut g, "contract", "scores", &[q, keys], spec);
    let y = add(
        &mut g,
        "softmax",
        "y",
        &[scores],
        Attrs::new().with("axis", 3),
    );
    g.add_output("y", y);
    let plan = planned(&g);
    let product = kernel(&plan, "contract");
    assert!(!sums_in_lanes(&product.body), "{product}");
}

/// Images of both orders are joined along their channels: those of one order are copied.
#[test]
fn joined_channels_lie_alike() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[2, 32, 24, 24]));
    let c = pointwise(&mut g, "before", x, &[32, 32, 1, 1]);
    let both = Attrs::new().with("axis", 1);
    let joined = add(&mut g, "concat", "joined", &[c, x], both);
    let gate = add(&mut g, "sigmoid", "gate", &[joined], Attrs::new());
    g.add_output("y", gate);
    let plan = planned(&g);
    let kernels = plan.kernels.iter().filter(|k| k.name.contains("sigmoid"));
    for kernel in kernels {
        let mut all = layouts(kernel, Scope::Input);
        all.extend(layouts(kernel, Scope::Output));
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{kernel}");
    }
}
