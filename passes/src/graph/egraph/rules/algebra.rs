//! Powers, quotients and factors.
use super::super::facts::{Sign, Terms};
use super::super::pattern::Bindings;
use super::super::rule::{Equation, Rule};
use super::{equal, normal, plain, rule};
use std::sync::Arc;
use tensmith_ir::graph::Attrs;

/// The rules.
pub const RULES: &[Rule] = &[
    equal("factor-one", "(mul ?x 1)", "?x"),
    normal("negative", "(mul ?x -1)", "(neg ?x)"),
    normal("difference-from-zero", "(sub 0 ?x)", "(neg ?x)"),
    normal("odd-erf", "(erf (neg ?x))", "(neg (erf ?x))"),
    normal("odd-tanh", "(tanh (neg ?x))", "(neg (tanh ?x))"),
    normal("even-abs", "(abs (neg ?x))", "(abs ?x)"),
    equal("negative-of-negative", "(neg (neg ?x))", "?x"),
    normal("square", "(pow ?x 2)", "(mul ?x ?x)"),
    normal("cube", "(pow ?x 3)", "(mul (mul ?x ?x) ?x)"),
    normal("inverse-power", "(pow ?x -1)", "(reciprocal ?x)"),
    rooted("root-power", "(pow ?x 0.5)", "(sqrt ?x)"),
    rooted(
        "inverse-root-power",
        "(pow ?x -0.5)",
        "(reciprocal (sqrt ?x))",
    ),
    // One root and one quotient for each row instead of a quotient for each element.
    normal(
        "divide-by-root",
        "(div ?y (sqrt ?x))",
        "(mul ?y (reciprocal (sqrt ?x)))",
    ),
    // Between two values: a product less.
    normal(
        "interpolation",
        "(add (mul (sub 1 ?z) ?x) (mul ?z ?y))",
        "(add ?x (mul ?z (sub ?y ?x)))",
    ),
    equal(
        "common-factor",
        "(add (mul ?x ?y) (mul ?x ?z))",
        "(mul ?x (add ?y ?z))",
    ),
];

/// A rule about roots, which powers are only where what they are of is not negative: those of -0
/// and minus infinity differ.
const fn rooted(name: &'static str, left: &'static str, right: &'static str) -> Rule {
    let equation = Equation {
        first: Some("(add (mul ?x ?x) 0.1)"),
        normal: true,
        derive: Some(positive),
        ..plain(left, right)
    };
    rule(name, equation)
}

fn positive(_: &[Arc<Attrs>], terms: &Terms, found: &Bindings) -> Option<Attrs> {
    let x = found.vars[0]?;
    (terms[x].data.sign == Sign::Positive).then(Attrs::new)
}
