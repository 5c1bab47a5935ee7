//! Convolutions whose weights are known at run time only, and contractions of run-time values: a kernel
//! packs what the recipes want in another order, as constants are packed ahead, where that pays.
mod common;

use common::{check_with, conv_attrs, f32s, iota, pointwise, ty, vectors_of};
use tensmith_ir::graph::{Attrs, Graph, ValueId};
use tensmith_ir::loops::{Kernel, Layout, Mark, Role, Scope, Stmt};
use tensmith_ir::ops::{Sampler, op};
use tensmith_ir::plan::Plan;

fn planned(g: &Graph, vector_bytes: usize) -> Plan {
    let shape = |v: &ValueId| g.ty(*v).static_shape().expect("static");
    let inputs: Vec<_> = g.inputs.iter().map(|v| iota(&shape(v))).collect();
    check_with(g, &inputs, &vectors_of(vector_bytes))
}

fn padded(groups: i64) -> Attrs {
    conv_attrs(([1, 1], [1, 1]), groups, ([1, 1], [1, 1]))
}

fn add(g: &mut Graph, name: &str, label: &str, inputs: &[ValueId], attrs: Attrs) -> ValueId {
    g.add_one(op(name), label, inputs, attrs).expect("it fits")
}

fn kernels<'p>(plan: &'p Plan, name: &str) -> Vec<&'p Kernel> {
    let named = plan.kernels.iter().filter(|k| k.name.contains(name));
    named.collect()
}

/// The layouts of the weights of convolutions in a plan.
fn layouts_of_weights(plan: &Plan, shape: &[i64]) -> Vec<Layout> {
    let convolutions = kernels(plan, "conv").into_iter();
    let inputs = convolutions.flat_map(|k| &k.buffers);
    let weights = inputs.filter(|b| {
        let alike = b.shape.iter().zip(shape).all(|(e, n)| e.is(*n));
        b.scope == Scope::Input && b.shape.len() == shape.len() && alike
    });
    weights.map(|b| b.layout.clone()).collect()
}

/// The calls that pack weights.
fn packings(plan: &Plan) -> usize {
    let calls = plan.calls().into_iter();
    calls.filter(|c| c.alone.contains("weights")).count()
}

/// Whether all that innermost loops of sums compute is in lanes: loops of vectors are around or along
/// them.
fn sums_are_vectors(stmts: &[Stmt], lanes: bool) -> bool {
    stmts.iter().all(|stmt| match stmt {
        Stmt::For(l) => {
            let lanes = lanes || l.mark == Mark::Vector;
            let sums = l.role == Role::Reduce;
            let innermost = l.body.iter().all(|s| matches!(s, Stmt::Store { .. }));
            (!sums || !innermost || lanes) && sums_are_vectors(&l.body, lanes)
        }
        other => (other.bodies().into_iter()).all(|b| sums_are_vectors(b, lanes)),
    })
}

#[test]
fn inputs_are_packed_once_for_all_that_read_them() {
    for vector_bytes in [16, 32, 64] {
        let mut g = Graph::default();
        let w = g.add_input("w", ty(&[32, 16, 3, 3]));
        for name in ["x", "y"] {
            let x = g.add_input(name, ty(&[1, 16, 10, 10]));
            let x = pointwise(&mut g, &format!("{name}0"), x, &[16, 16, 1, 1]);
            let y = add(&mut g, "conv", name, &[x, w], padded(1));
            g.add_output(&format!("{name}1"), y);
        }
        let plan = planned(&g, vector_bytes);
        let layouts = layouts_of_weights(&plan, &[32, 16, 3, 3]);
        let are_panels = layouts
            .iter()
            .all(|l| l.0.last().is_some_and(|d| d.dim == 0));
        assert!(!layouts.is_empty() && are_panels, "{plan}");
        assert_eq!(packings(&plan), 1, "{plan}");
        let convolutions = kernels(&plan, "conv").into_iter();
        assert!(
            convolutions
                .into_iter()
                .all(|k| sums_are_vectors(&k.body, false)),
            "{plan}"
        );
    }
}

/// What packing copies of `outputs` results is whole vectors, and what is left.
#[test]
fn packing_copies_are_vectors() {
    for (outputs, taps) in [(64, 3), (40, 3), (72, 2)] {
        let mut g = Graph::default();
        let x = g.add_input("x", ty(&[1, 24, 18, 18]));
        let w = g.add_input("w", ty(&[outputs, 24, 1, taps]));
        let attrs = conv_attrs(([1, 1], [1, 1]), 1, ([0, 1], [0, 1]));
        let y = add(&mut g, "conv", "y", &[x, w], attrs);
        let y = pointwise(&mut g, "z", y, &[8, outputs, 1, 1]);
        g.add_output("z", y);
        let plan = planned(&g, 64);
        assert_eq!(packings(&plan), 1, "{plan}");
        let calls = plan.calls().into_iter();
        let packing = calls.filter(|c| c.alone.contains("weights"));
        for kernel in packing.map(|c| plan.kernel(c.kernel)) {
            assert!(stores_are_vectors(&kernel.body, false), "{kernel}");
        }
    }
}

fn stores_are_vectors(stmts: &[Stmt], lanes: bool) -> bool {
    stmts.iter().all(|stmt| match stmt {
        Stmt::Store { .. } => lanes,
        Stmt::For(l) => stores_are_vectors(&l.body, lanes || l.mark == Mark::Vector),
        other => (other.bodies().into_iter()).all(|b| stores_are_vectors(b, lanes)),
    })
}

/// Weights that a convolution makes lie as its own readers want them; the channels that both operands
/// have side by side are lanes.
#[test]
fn weights_may_be_results_of_convolutions() {
    let mut g = Graph::default();
    let (x, z) = (
        g.add_input("x", ty(&[1, 8, 20, 20])),
        g.add_input("z", ty(&[1, 8, 7, 7])),
    );
    let x = pointwise(&mut g, "fx", x, &[64, 8, 1, 1]);
    let z = pointwise(&mut g, "fz", z, &[64, 8, 1, 1]);
    let attrs = conv_attrs(([1, 1], [1, 1]), 1, ([0, 0], [0, 0]));
    let y = add(&mut g, "conv", "y", &[x, z], attrs);
    g.add_output("y", y);
    let plan = planned(&g, 32);
    let layouts = layouts_of_weights(&plan, &[1, 64, 7, 7]);
    let channels = layouts
        .iter()
        .all(|l| l.0.last().is_some_and(|d| d.dim == 1));
    assert!(!layouts.is_empty() && channels, "{plan}");
    assert_eq!(packings(&plan), 0, "{plan}");
}

/// One filter for each channel, the weights computed; a product reads the result.
#[test]
fn depthwise_weights_are_packed() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[1, 8, 14, 14]));
    let x = pointwise(&mut g, "x0", x, &[48, 8, 1, 1]);
    let (w, scale) = (
        g.add_input("w", ty(&[48, 1, 3, 3])),
        g.add_input("s", ty(&[48, 1, 1, 1])),
    );
    let w = add(&mut g, "mul", "scaled", &[w, scale], Attrs::new());
    let y = add(&mut g, "conv", "y", &[x, w], padded(48));
    let y = pointwise(&mut g, "y0", y, &[8, 48, 1, 1]);
    g.add_output("y", y);
    let plan = planned(&g, 32);
    assert_eq!(packings(&plan), 1, "{plan}");
    let layouts = layouts_of_weights(&plan, &[48, 1, 3, 3]);
    let channels = layouts
        .iter()
        .all(|l| l.0.last().is_some_and(|d| d.dim == 0));
    assert!(!layouts.is_empty() && channels, "{plan}");
}

/// The phases of a transposed convolution read the weights where they are, packed once for all.
#[test]
fn phases_share_packed_weights() {
    for groups in [1, 2] {
        let mut g = Graph::default();
        let x = g.add_input("x", ty(&[1, 32 * groups, 8, 8]));
        let w = g.add_input("w", ty(&[32 * groups, 32, 3, 3]));
        let attrs = conv_attrs(([2, 2], [1, 1]), groups as i64, ([0, 0], [0, 0]));
        let attrs = attrs.with("output_padding", vec![0, 0]);
        let y = add(&mut g, "conv_transpose", "y", &[x, w], attrs);
        g.add_output("y", y);
        let plan = planned(&g, 32);
        assert_eq!(packings(&plan), 1, "{plan}");
        assert_eq!(kernels(&plan, "conv").len(), 4, "{plan}");
        let slices = plan.kernels.iter().filter(|k| k.name == "slice").count();
        assert_eq!(slices, 0, "{plan}");
    }
}

/// Random convolutions of one to three axes with groups, strides, dilations and padding; a group may
/// be a sample of its own.
#[test]
fn random_convolutions_keep_their_results() {
    let mut packed = 0;
    for seed in 0..60 {
        let s = &mut Sampler::new(seed);
        let rank = s.int(1, 3) as usize;
        let groups = *s.pick(&[1, 1, 2, 4]);
        let channels = *s.pick(&[1, 3, 8, 16]);
        let results = *s.pick(&[1, 2, 5, 16, 24]);
        let draw = |s: &mut Sampler, most: i64| -> Vec<i64> {
            (0..rank).map(|_| s.int(1, most)).collect()
        };
        let (window, strides, dilations) = (draw(s, 3), draw(s, 2), draw(s, 2));
        let before: Vec<i64> = (0..rank).map(|_| s.int(0, 2)).collect();
        let after: Vec<i64> = (0..rank).map(|_| s.int(0, 2)).collect();
        let extents: Vec<usize> = (0..rank).map(|_| s.int(5, 9) as usize).collect();
        let attrs = Attrs::new()
            .with("strides", strides)
            .with("dilations", dilations)
            .with("groups", groups)
            .with("pads_before", before)
            .with("pads_after", after);
        let mut g = Graph::default();
        let shape = |head: [i64; 2], rest: Vec<usize>| {
            let head = head.map(|n| n as usize);
            [head.to_vec(), rest].concat()
        };
        let x = g.add_input("x", ty(&shape([s.int(1, 2), groups * channels], extents)));
        let taps = window.iter().map(|n| *n as usize).collect();
        let w = g.add_input("w", ty(&shape([groups * results, channels], taps)));
        let is_computed = s.int(0, 1) == 1;
        let w = match is_computed {
            true => {
                let by = g.add_constant("by", f32s(&[], 3.0));
                add(&mut g, "mul", "scaled", &[w, by], Attrs::new())
            }
            false => w,
        };
        let y = add(&mut g, "conv", "y", &[x, w], attrs);
        g.add_output("y", y);
        let plan = planned(&g, *s.pick(&[16, 32, 64]));
        packed += packings(&plan);
    }
    assert!(packed > 20, "only {packed} were packed");
}

/// The plan of a contraction of two inputs.
fn contracted(spec: &str, shapes: [&[usize]; 2], vector_bytes: usize) -> Plan {
    let mut g = Graph::default();
    let [x, y] = [("x", shapes[0]), ("y", shapes[1])].map(|(n, s)| g.add_input(n, ty(s)));
    let attrs = Attrs::new().with("spec", spec);
    let z = add(&mut g, "contract", "z", &[x, y], attrs);
    g.add_output("z", z);
    planned(&g, vector_bytes)
}

/// No loop runs along elements side by side of either factor but that of the sums, which are short:
/// one factor is packed to columns.
#[test]
fn operands_of_short_sums_are_packed() {
    for vector_bytes in [32, 64] {
        let shape: &[usize] = &[1, 100, 4, 16];
        let plan = contracted("bqhd,bkhd->bhqk", [shape, shape], vector_bytes);
        assert_eq!(packings(&plan), 1, "{plan}");
        for kernel in kernels(&plan, "contract") {
            assert!(sums_are_vectors(&kernel.body, false), "{kernel}");
        }
    }
}

/// Long sums are joined from lanes, where few results take as long to join as to copy.
#[test]
fn operands_of_long_sums_stay_as_they_are() {
    for (spec, shapes) in [
        ("nchw,nqhw->ncq", [&[2, 8, 15, 13][..], &[2, 10, 15, 13]]),
        // Two columns, which lie beside each other.
        ("ik,kj->ij", [&[65, 127], &[127, 2]]),
    ] {
        for vector_bytes in [32, 64] {
            let plan = contracted(spec, shapes, vector_bytes);
            assert_eq!(packings(&plan), 0, "{plan}");
            let [kernel] = kernels(&plan, "contract")[..] else {
                panic!("{plan}")
            };
            let mut lanes = false;
            visit(&kernel.body, &mut |l| {
                lanes |= l.role == Role::Reduce && l.mark == Mark::Vector;
            });
            assert!(lanes, "{kernel}");
        }
    }
}

fn visit(stmts: &[Stmt], f: &mut dyn FnMut(&tensmith_ir::loops::For)) {
    for stmt in stmts {
        if let Stmt::For(l) = stmt {
            f(l);
        }
        stmt.bodies().into_iter().for_each(|b| visit(b, f));
    }
}

/// What a packed copy takes is more than it saves where a factor is read about as often as it is copied.
#[test]
fn columns_side_by_side_are_not_packed() {
    for vector_bytes in [16, 32, 64] {
        let plan = contracted("ik,kj->ij", [&[12, 40], &[40, 48]], vector_bytes);
        assert_eq!(packings(&plan), 0, "{plan}");
    }
}

/// Random contractions of two run-time values, with axes of every kind in any order.
#[test]
fn random_contractions_keep_their_results() {
    let mut packed = 0;
    for seed in 0..80 {
        let s = &mut Sampler::new(seed);
        // In both and the result, in both only, and in either.
        let mut axes: Vec<(char, usize, u8)> = vec![];
        for (letter, most, kind) in [
            ('b', 3, 0),
            ('h', 4, 0),
            ('k', 40, 1),
            ('l', 9, 1),
            ('m', 40, 2),
            ('n', 40, 3),
            ('o', 5, 3),
        ] {
            if s.int(0, 3) > 0 {
                axes.push((letter, s.int(1, most) as usize, kind));
            }
        }
        let mut of = |kinds: &[u8]| -> (String, Vec<usize>) {
            let mut rest: Vec<_> = axes.iter().filter(|a| kinds.contains(&a.2)).collect();
            let mut found = (String::new(), vec![]);
            while !rest.is_empty() {
                let at = s.int(0, rest.len() as i64 - 1) as usize;
                let (letter, extent, _) = rest.remove(at);
                found.0.push(*letter);
                found.1.push(*extent);
            }
            found
        };
        let [x, y, z] = [of(&[0, 1, 2]), of(&[0, 1, 3]), of(&[0, 2, 3])];
        let spec = format!("{},{}->{}", x.0, y.0, z.0);
        for vector_bytes in [16, 32, 64] {
            packed += packings(&contracted(&spec, [&x.1, &y.1], vector_bytes));
        }
    }
    assert!(packed > 0);
}
