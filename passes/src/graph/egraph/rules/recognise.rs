//! Recognisers: what exporters spell in many ways gets one normal form.
//!
//! The normal forms are those in which the importer writes the operators of the same names.
use super::super::facts::{Sign, Terms};
use super::super::pattern::{Bindings, calls};
use super::super::rule::Rule;
use super::super::term::Call;
use super::{derived, normal};
use egg::Id;
use std::sync::Arc;
use tensmith_ir::graph::Attrs;

/// The rules.
pub const RULES: &[Rule] = &[
    normal(
        "sigmoid",
        "(reciprocal (add 1 (exp (neg ?x))))",
        "(sigmoid ?x)",
    ),
    normal(
        "sigmoid-of-powers",
        "(div (exp ?x) (add 1 (exp ?x)))",
        "(sigmoid ?x)",
    ),
    normal(
        "sigmoid-of-tanh",
        "(mul 0.5 (add 1 (tanh ?x)))",
        "(sigmoid (mul 2 ?x))",
    ),
    normal(
        "sigmoid-of-complement",
        "(sub 1 (sigmoid (neg ?x)))",
        "(sigmoid ?x)",
    ),
    normal(
        "power-of-log-sigmoid",
        "(exp (sub (min ?x 0) (log (add (exp (neg (abs ?x))) 1))))",
        "(sigmoid ?x)",
    ),
    normal(
        "tanh-of-quotient-of-powers",
        "(div (sub (exp ?x) 1) (add (exp ?x) 1))",
        "(tanh (mul 0.5 ?x))",
    ),
    normal("tanh-of-quotient", "(div (sinh ?x) (cosh ?x))", "(tanh ?x)"),
    normal(
        "elu-of-pieces",
        "(add (max ?x 0) (min (sub (exp ?x) 1) 0))",
        "(select (le ?x 0) (sub (exp ?x) 1) ?x)",
    ),
    normal(
        "elu-of-bounds",
        "(add (max ?x 0) (sub (exp (min ?x 0)) 1))",
        "(select (le ?x 0) (sub (exp ?x) 1) ?x)",
    ),
    normal(
        "elu-of-bounded-power",
        "(select (gt ?x 0) ?x (sub (exp (min ?x 0)) 1))",
        "(select (le ?x 0) (sub (exp ?x) 1) ?x)",
    ),
    normal(
        "gate",
        "(div ?y (add 1 (exp (neg ?x))))",
        "(mul ?y (sigmoid ?x))",
    ),
    normal(
        "gate-of-powers",
        "(div (mul ?y (exp ?x)) (add 1 (exp ?x)))",
        "(mul ?y (sigmoid ?x))",
    ),
    normal(
        "gate-by-tanh",
        "(mul 0.5 ?y (add 1 (tanh ?x)))",
        "(mul ?y (sigmoid (mul 2 ?x)))",
    ),
    normal(
        "gate-by-tanh-distributed",
        "(add (mul 0.5 ?y) (mul 0.5 ?y (tanh ?x)))",
        "(mul ?y (sigmoid (mul 2 ?x)))",
    ),
    normal("magnitude-of-power", "(abs (exp ?x))", "(exp ?x)"),
    normal(
        "tanh-of-powers",
        "(div (sub (exp ?x) (exp (neg ?x))) (add (exp ?x) (exp (neg ?x))))",
        "(tanh ?x)",
    ),
    normal(
        "tanh-of-sigmoid",
        "(sub (mul 2 (sigmoid (mul 2 ?x))) 1)",
        "(tanh ?x)",
    ),
    // A power that never overflows.
    derived(
        "softplus",
        "(log (add 1 (exp ?x)))",
        "(add (max ?x 0) (log (add (exp (neg (abs ?x))) 1)))",
        may_be_above,
    )
    .always(),
    normal(
        "softplus-of-opposite",
        "(add (sub ?x (min ?x 0)) (log (add (exp (neg (abs ?x))) 1)))",
        "(add (max ?x 0) (log (add (exp (neg (abs ?x))) 1)))",
    ),
    // Beyond 17, one and the power of what is left are one in `f32`.
    normal(
        "softplus-with-threshold",
        "(select (gt ?x 20) ?x (add (max ?x 0) (log (add (exp (neg (abs ?x))) 1))))",
        "(add (max ?x 0) (log (add (exp (neg (abs ?x))) 1)))",
    ),
    normal(
        "mish-of-squares",
        "(div (sub (mul (add 1 (exp ?x)) (add 1 (exp ?x))) 1) (add (mul (add 1 (exp ?x)) (add 1 (exp ?x))) 1))",
        "(tanh (add (max ?x 0) (log (add (exp (neg (abs ?x))) 1))))",
    )
    .always(),
    normal(
        "mish-of-powers",
        "(div (mul (exp ?x) (add (exp ?x) 2)) (add 2 (mul (exp ?x) (add (exp ?x) 2))))",
        "(tanh (add (max ?x 0) (log (add (exp (neg (abs ?x))) 1))))",
    )
    .always(),
    normal(
        "mish-as-quotient",
        "(div (mul ?y (exp ?x) (add (exp ?x) 2)) (add 2 (mul (exp ?x) (add (exp ?x) 2))))",
        "(mul ?y (tanh (add (max ?x 0) (log (add (exp (neg (abs ?x))) 1)))))",
    )
    .always(),
    normal(
        "hard-gate",
        "(mul 1/6 ?y (min (max (add ?x 3) 0) 6))",
        "(mul ?y (min (max (add (mul ?x 1/6) 0.5) 0) 1))",
    ),
    normal(
        "hard-gate-from-above",
        "(mul 1/6 ?y (max (min (add ?x 3) 6) 0))",
        "(mul ?y (min (max (add (mul ?x 1/6) 0.5) 0) 1))",
    ),
    normal(
        "gelu",
        "(mul 0.5 ?x (add 1 (erf (mul ?x 1/sqrt2))))",
        "(mul (mul ?x 0.5) (add (erf (mul ?x 1/sqrt2)) 1))",
    ),
    normal(
        "gelu-distributed",
        "(add (mul 0.5 ?x) (mul 0.5 ?x (erf (mul ?x 1/sqrt2))))",
        "(mul (mul ?x 0.5) (add (erf (mul ?x 1/sqrt2)) 1))",
    ),
    // As a gate by the logistic function, of fewer operations. 1.702 as its approximation stays
    // what the model says.
    normal(
        "gelu-tanh",
        "(sigmoid (mul 1.5957691216057308 (add ?x (mul 0.044715 ?x ?x ?x))))",
        "(sigmoid (mul ?x (add 1.5957691216057308 (mul 0.07135481627260025 (mul ?x ?x)))))",
    ),
    normal(
        "gelu-tanh-factored",
        "(sigmoid (mul 1.5957691216057308 ?x (add 1 (mul 0.044715 ?x ?x))))",
        "(sigmoid (mul ?x (add 1.5957691216057308 (mul 0.07135481627260025 (mul ?x ?x)))))",
    ),
    derived(
        "softmax",
        "(div (exp (sub ?x (reduce_max@a ?x))) (reduce_sum@a (exp (sub ?x (reduce_max@a ?x)))))",
        "(softmax@! ?x)",
        one_axis,
    ),
    derived(
        "softmax-unshifted",
        "(div (exp ?x) (reduce_sum@a (exp ?x)))",
        "(softmax@! ?x)",
        one_axis,
    )
    .always(),
    derived(
        "softmax-shifted-before",
        "(softmax@s (sub ?x (reduce_max@a ?x)))",
        "(softmax@! ?x)",
        same_axis,
    ),
    normal(
        "log-of-softmax",
        "(log (softmax@s ?x))",
        "(log_softmax@s ?x)",
    ),
    derived(
        "log-softmax",
        "(sub (sub ?x (reduce_max@a ?x)) (log (reduce_sum@a (exp (sub ?x (reduce_max@a ?x))))))",
        "(log_softmax@! ?x)",
        one_axis,
    ),
    derived(
        "log-softmax-shifted-if-finite",
        "(sub (sub ?x (select (isinf (reduce_max@a ?x)) 0 (reduce_max@a ?x))) (log (reduce_sum@a (exp (sub ?x (select (isinf (reduce_max@a ?x)) 0 (reduce_max@a ?x)))))))",
        "(log_softmax@! ?x)",
        one_axis,
    ),
    normal(
        "power-of-log-softmax",
        "(exp (log_softmax@s ?x))",
        "(softmax@s ?x)",
    ),
    // A power that never overflows.
    derived(
        "log-of-sigmoid",
        "(log (sigmoid ?x))",
        "(sub (min ?x 0) (log (add (exp (neg (abs ?x))) 1)))",
        no_negative,
    )
    .always(),
    normal(
        "log-of-opposite-sigmoid",
        "(log (sigmoid (neg ?x)))",
        "(neg (add (max ?x 0) (log (add (exp (neg (abs ?x))) 1))))",
    )
    .always(),
    derived(
        "log-softmax-unshifted",
        "(sub ?x (log (reduce_sum@a (exp ?x))))",
        "(log_softmax@! ?x)",
        one_axis,
    )
    .always(),
    derived(
        "variance-of-squares",
        "(sub (reduce_mean@a (mul ?x ?x)) (mul (reduce_mean@a ?x) (reduce_mean@a ?x)))",
        "(reduce_mean@a (mul (sub ?x (reduce_mean@a ?x)) (sub ?x (reduce_mean@a ?x))))",
        keeps_axes,
    )
    .always(),
];

/// Nothing, if the first variable is the negative of something.
fn no_negative(_: &[Arc<Attrs>], terms: &Terms, found: &Bindings) -> Option<Attrs> {
    let negative = calls(terms, found.vars[0]?).any(|c| c.op.name == "neg");
    (!negative).then(Attrs::new)
}

/// Nothing, unless the first variable is the negative of a magnitude.
fn may_be_above(_: &[Arc<Attrs>], terms: &Terms, found: &Bindings) -> Option<Attrs> {
    let sign = |id: Id| terms[id].data.sign;
    let below = |id: Id| terms[id].data.uniform().is_some_and(|n| n < 0.0);
    let never_above = |c: &Call| match (c.op.name, &c.args[..]) {
        ("neg", [x]) => sign(*x) >= Sign::NotBelow,
        ("mul", [x, y]) => {
            below(*x) && sign(*y) >= Sign::NotBelow || below(*y) && sign(*x) >= Sign::NotBelow
        }
        ("div", [x, y]) => below(*y) && sign(*x) >= Sign::NotBelow,
        _ => false,
    };
    (!calls(terms, found.vars[0]?).any(never_above)).then(Attrs::new)
}

/// The attributes of a softmax along the one axis of reductions.
fn one_axis(left: &[Arc<Attrs>], _: &Terms, _: &Bindings) -> Option<Attrs> {
    match left[0].ints("axes") {
        [axis] if left[0].flag("keepdims") => Some(Attrs::new().with("axis", *axis)),
        _ => None,
    }
}

/// The attributes of a softmax along the axis that a reduction has, too.
fn same_axis(left: &[Arc<Attrs>], terms: &Terms, found: &Bindings) -> Option<Attrs> {
    let of_softmax = left[0].int("axis");
    let of_reduction = one_axis(&left[1..], terms, found)?;
    (of_reduction.int("axis") == of_softmax).then_some(of_reduction)
}

fn keeps_axes(left: &[Arc<Attrs>], _: &Terms, _: &Bindings) -> Option<Attrs> {
    left[0].flag("keepdims").then(Attrs::new)
}
