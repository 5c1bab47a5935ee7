//! Powers, quotients and factors.
use super::super::facts::{Sign, Terms};
use super::super::pattern::{Bindings, calls};
use super::super::rule::{Derive, Equation, Kind, Normal, Rounding, Rule, Stands, Structure, Tree};
use super::super::term::Call;
use super::{equal, finished, float, node, normal, plain, rule};
use std::sync::Arc;
use tensmith_ir::graph::{Attrs, Graph};
use tensmith_ir::ops::{Sampler, op};

/// The rules.
pub const RULES: &[Rule] = &[
    equal(
        "least-of-negatives",
        "(reduce_min@a (neg ?x))",
        "(neg (reduce_max@a ?x))",
    ),
    equal(
        "greatest-of-negatives",
        "(reduce_max@a (neg ?x))",
        "(neg (reduce_min@a ?x))",
    ),
    equal("factor-one", "(mul ?x 1)", "?x"),
    normal("negative", "(mul ?x -1)", "(neg ?x)"),
    normal("difference-from-zero", "(sub 0 ?x)", "(neg ?x)"),
    normal("odd-erf", "(erf (neg ?x))", "(neg (erf ?x))"),
    normal("odd-tanh", "(tanh (neg ?x))", "(neg (tanh ?x))"),
    normal("even-abs", "(abs (neg ?x))", "(abs ?x)"),
    equal("negative-of-negative", "(neg (neg ?x))", "?x"),
    normal("even-square", "(mul (abs ?x) (abs ?x))", "(mul ?x ?x)"),
    // Of the model's own quotients there are no reciprocals, which may overflow where those do not.
    Rule {
        name: "quotient",
        rounding: Rounding::Reassociates,
        kind: Kind::Structure(Structure {
            equation: "(mul ?x (reciprocal ?y)) => (div ?x ?y), for values of one shape",
            op: "mul",
            below: &["reciprocal"],
            normal: Normal::No,
            rewrite: quotient,
            sample: sample_quotient,
        }),
        stands: Stands::IfAllAreCheaper,
    },
    guarded(
        "square-of-root",
        "(mul (sqrt ?x) (sqrt ?x))",
        "?x",
        not_below,
    ),
    guarded(
        "root-of-inverse",
        "(sqrt (reciprocal ?x))",
        "(reciprocal (sqrt ?x))",
        positive,
    ),
    guarded("bound-of-positive", "(max ?x 0)", "?x", not_below),
    normal(
        "inverse-of-power",
        "(reciprocal (exp ?x))",
        "(exp (neg ?x))",
    ),
    equal("term-zero", "(add ?x 0)", "?x"),
    equal(
        "square-and-double",
        "(add (mul ?x ?x) (mul 2 ?x))",
        "(mul ?x (add ?x 2))",
    ),
    normal("square", "(pow ?x 2)", "(mul ?x ?x)"),
    normal("cube", "(pow ?x 3)", "(mul (mul ?x ?x) ?x)"),
    normal("inverse-power", "(pow ?x -1)", "(reciprocal ?x)"),
    guarded("root-power", "(pow ?x 0.5)", "(sqrt ?x)", positive),
    guarded(
        "inverse-root-power",
        "(pow ?x -0.5)",
        "(reciprocal (sqrt ?x))",
        positive,
    ),
    // One root and one quotient for each row instead of a quotient for each element.
    normal(
        "divide-by-root",
        "(div ?y (sqrt ?x))",
        "(mul ?y (reciprocal (sqrt ?x)))",
    ),
    // Between two values: what a mask of 0 and 1 leaves out has no part in the result, however large.
    normal(
        "interpolation",
        "(add ?x (mul ?z (sub ?y ?x)))",
        "(add (mul (sub 1 ?z) ?x) (mul ?z ?y))",
    )
    .always(),
    // The sum of two values may overflow where that of their products does not.
    rule(
        "common-factor",
        Equation {
            first: Some("(tanh ?y)"),
            derive: Some(one_is_bounded),
            ..plain("(add (mul ?y ?x) (mul ?z ?x))", "(mul ?x (add ?y ?z))")
        },
    ),
];

/// A rule about roots: powers are roots only where what they are of is positive, as those of -0 and
/// minus infinity differ, and squares of roots are what is not negative.
const fn guarded(
    name: &'static str,
    left: &'static str,
    right: &'static str,
    derive: Derive,
) -> Rule {
    let equation = Equation {
        first: Some("(add (mul ?x ?x) 0.1)"),
        normal: Normal::All,
        derive: Some(derive),
        ..plain(left, right)
    };
    rule(name, equation)
}

fn quotient(terms: &Terms, of: &Call) -> Vec<Tree> {
    let [x, y] = of.args[..] else { return vec![] };
    let mut found = Vec::new();
    for [x, y] in [[x, y], [y, x]] {
        let same = terms[x].data.types == terms[y].data.types && !terms[y].data.fixed;
        let inner = calls(terms, y).filter(|c| same && c.op.name == "reciprocal");
        let divided = |c: &Call| {
            let args = vec![Tree::Class(x), Tree::Class(c.args[0])];
            Tree::Call(op("div"), Attrs::new(), args)
        };
        found.extend(inner.map(divided));
    }
    found
}

fn sample_quotient(s: &mut Sampler) -> Graph {
    let (mut g, n) = (Graph::default(), s.int(1, 6));
    let (x, y) = (float(&mut g, "x", &[n]), float(&mut g, "y", &[n]));
    let y = node(&mut g, "reciprocal", &[y], Attrs::new());
    let operands = if s.int(0, 1) == 0 { [x, y] } else { [y, x] };
    let y = node(&mut g, "mul", &operands, Attrs::new());
    finished(g, y)
}

/// Magnitude of a number in a sum, at most, beside which no other one overflows that did not before.
const BOUND: f64 = 1024.0;

/// Nothing, if one of the two factors that are added is never large: a number, or a function that
/// has bounds.
fn one_is_bounded(_: &[Arc<Attrs>], terms: &Terms, found: &Bindings) -> Option<Attrs> {
    let is_bounded = |v: usize| {
        let class = found.vars[v]?;
        let function = |c: &Call| {
            matches!(
                c.op.name,
                "tanh" | "sigmoid" | "erf" | "sin" | "cos" | "softmax"
            )
        };
        let number = terms[class].data.uniform();
        let small = number.is_some_and(|n| n.abs() <= BOUND);
        Some(small || calls(terms, class).any(function))
    };
    let [y, _, z] = [0, 1, 2];
    (is_bounded(y)? || is_bounded(z)?).then(Attrs::new)
}

fn not_below(_: &[Arc<Attrs>], terms: &Terms, found: &Bindings) -> Option<Attrs> {
    let x = found.vars[0]?;
    (terms[x].data.sign >= Sign::NotBelow).then(Attrs::new)
}

fn positive(_: &[Arc<Attrs>], terms: &Terms, found: &Bindings) -> Option<Attrs> {
    let x = found.vars[0]?;
    (terms[x].data.sign == Sign::Positive).then(Attrs::new)
}
