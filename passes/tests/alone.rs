//! Kernels that stand alone: each says why it is not inside of another one, and no other does.
mod common;

use common::{check, conv_attrs, f32s, iota, pointwise, scalar_type, ty};
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, ValueId};
use tensmith_ir::ops::op;
use tensmith_ir::plan::Plan;
use tensmith_ir::tensor::{Tensor, Wide};

fn add(g: &mut Graph, name: &str, inputs: &[ValueId]) -> ValueId {
    g.add_one(op(name), name, inputs, Attrs::new()).unwrap()
}

/// The kernels of a plan with what they say.
fn reasons(plan: &Plan) -> Vec<(&str, &str)> {
    let of = |c: &&tensmith_ir::plan::Call| plan.kernel(c.kernel).name.as_str();
    plan.calls()
        .into_iter()
        .map(|c| (of(&c), c.alone.as_str()))
        .collect()
}

#[test]
fn contractions_and_what_joins_them_say_nothing() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[1, 4, 6, 6]));
    let y = pointwise(&mut g, "conv", x, &[4, 4, 1, 1]);
    let y = add(&mut g, "sigmoid", &[y]);
    g.add_output("y", y);
    let plan = check(&g, &[iota(&[1, 4, 6, 6])]);
    let contraction = |(name, why): &(&str, &str)| name.contains("conv") && why.is_empty();
    assert!(reasons(&plan).iter().any(contraction), "{plan}");
}

#[test]
fn a_kernel_says_what_keeps_it_out_of_its_readers_and_its_makers_out_of_it() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[5, 33]));
    let w = g.add_constant("w", f32s(&[33, 33], 0.1));
    let spec = || Attrs::new().with("spec", "mk,kn->mn");
    let dot = |g: &mut Graph, name: &str, x| g.add_one(op("contract"), name, &[x, w], spec());
    let a = dot(&mut g, "first", x).unwrap();
    let axis = Attrs::new().with("axis", 0);
    let s = g.add_one(op("softmax"), "soft", &[a], axis).unwrap();
    let b = dot(&mut g, "second", s).unwrap();
    g.add_output("b", b);
    let plan = check(&g, &[iota(&[5, 33])]);
    let found = reasons(&plan);
    let [first, softmax, second] = found[..] else {
        panic!("{plan}")
    };
    assert_eq!([first.1, second.1], ["", ""]);
    let (outwards, inwards) = softmax
        .1
        .split_once("; after `first` (contract): ")
        .unwrap();
    assert!(!outwards.is_empty() && !inwards.is_empty(), "{softmax:?}");
}

#[test]
fn copies_have_reasons_of_their_own() {
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[1, 16, 6, 6]));
    let fill = g.add_constant("fill", f32s(&[], 0.0));
    let amounts = || [0, 0, 1, 1].map(Expr::from).to_vec();
    let attrs = Attrs::new()
        .with("mode", "constant")
        .with("before", amounts())
        .with("after", amounts());
    let y = g.add_one(op("pad"), "pad", &[x, fill], attrs).unwrap();
    let w = g.add_constant("w", f32s(&[16, 16, 3, 3], 0.1));
    let attrs = conv_attrs(([2, 2], [1, 1]), 1, ([0, 0], [0, 0]));
    let y = g.add_one(op("conv"), "second", &[y, w], attrs).unwrap();
    g.add_output("y", y);
    g.add_output("x", x);
    let plan = check(&g, &[iota(&[1, 16, 6, 6])]);
    let found = reasons(&plan);
    let says = |name: &str, what: &str| {
        let of = found.iter().filter(|(n, _)| *n == name).collect::<Vec<_>>();
        assert!(!of.is_empty(), "{name}: {plan}");
        assert!(of.iter().all(|(_, why)| why.contains(what)), "{of:?}");
    };
    says(
        "pack",
        "no kernel of this graph makes the value that is padded",
    );
    says("copy", "no kernel writes the result in place");
}

#[test]
fn loops_say_what_they_copy() {
    let mut body = Graph::default();
    body.add_input("i", scalar_type(DType::I64));
    let go = body.add_input("go", scalar_type(DType::Bool));
    let state = body.add_input("state", ty(&[4]));
    let next = body
        .add_one(op("exp"), "next", &[state], Attrs::new())
        .unwrap();
    body.add_output("go", go);
    body.add_output("next", next);
    let mut g = Graph::default();
    let x = g.add_input("x", ty(&[4]));
    let trip = g.add_constant("trip", Tensor::from_i64(vec![], &[2]));
    let go = g.add_constant(
        "go",
        Tensor::from_wide(DType::Bool, vec![], &Wide::Int(vec![1])),
    );
    let attrs = Attrs::new().with("carried", 1).with("scans", 0);
    let made = g.add_with_regions(op("loop"), "loop", &[trip, go, x], attrs, vec![body]);
    g.add_output("y", made.unwrap()[0]);
    let plan = check(&g, &[f32s(&[4], 0.1)]);
    let carries = |(_, why): &&(&str, &str)| why.contains("loop carries");
    // The state and the condition, before the loop and in it.
    assert_eq!(reasons(&plan).iter().filter(carries).count(), 4, "{plan}");
}
