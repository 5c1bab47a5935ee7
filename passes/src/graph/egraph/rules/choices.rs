//! Choices and bounds: conditions, and functions of two pieces.
//!
//! A mask that is added is no choice: what it hides may be no number, which a sum keeps.
use super::super::facts::Terms;
use super::super::pattern::calls;
use super::super::rule::{Rounding, Rule, Tree};
use super::super::term::Call;
use super::{finished, float, node, normal, number, structure};
use crate::graph::fold_identities::moderate;
use egg::Id;
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, TensorType, ValueId};
use tensmith_ir::ops::{Sampler, op};

/// How many operations deep a value is looked into.
const DEPTH: usize = 4;

/// The rules.
pub const RULES: &[Rule] = &[
    structure(
        "choice-by-opposite",
        Rounding::Exact,
        (
            "select",
            &["not"],
            "(select (not ?c) ?x ?y) => (select ?c ?y ?x), if ?c is no constant",
        ),
        opposite,
        sample_opposite,
    ),
    // Complements are the same for numbers; where `?x` is NaN, both results are.
    structure(
        "choice-from-below",
        Rounding::Exact,
        (
            "select",
            &["gt", "ge", "lt", "le"],
            "(select (gt ?x ?z) ?y ?w) => (select (le ?x ?z) ?w ?y), if ?y and ?w are NaN where ?x is; the same for `ge` and `lt`",
        ),
        from_below,
        sample_from_below,
    ),
    // A slope of 0 is 0 on both sides.
    structure(
        "slope-at-zero",
        Rounding::Exact,
        (
            "select",
            &["mul"],
            "(select (le ?x 0) (mul ?x c) ?x) => (select (lt ?x 0) (mul ?x c) ?x), for a number c above 0",
        ),
        slope_at_zero,
        sample_slope_at_zero,
    ),
    // What is NaN is chosen, as bounds keep it.
    normal("bound-from-below", "(select (lt ?x 0) 0 ?x)", "(max ?x 0)"),
    normal("bound-from-above", "(select (gt ?x 0) 0 ?x)", "(min ?x 0)"),
    structure(
        "factor-of-choice",
        Rounding::Reassociates,
        (
            "select",
            &["mul"],
            "(select ?c (mul ?x a) (mul ?y b)) => (mul (select ?c ?x (mul ?y b/a)) a), for numbers a and b",
        ),
        factor_of_choice,
        sample_factor,
    ),
    of_negative(
        "power-of-negative",
        Rounding::Exact,
        "exp",
        "(exp (mul ?x c)) => (exp (neg (mul ?x -c))), for a number c below 0 that is not -1, and for a sign of ?x",
        |s| sample_negative(s, "exp"),
    ),
    of_negative(
        "tanh-of-negative",
        Rounding::Reassociates,
        "tanh",
        "(tanh (mul ?x c)) => (neg (tanh (mul ?x -c))), for a number c below 0 that is not -1, and for a sign of ?x",
        |s| sample_negative(s, "tanh"),
    ),
    of_negative(
        "erf-of-negative",
        Rounding::Reassociates,
        "erf",
        "(erf (mul ?x c)) => (neg (erf (mul ?x -c))), for a number c below 0 that is not -1, and for a sign of ?x",
        |s| sample_negative(s, "erf"),
    ),
    structure(
        "greater-slope",
        Rounding::Exact,
        (
            "max",
            &["mul"],
            "(max ?x (mul ?x c)) => (select (lt ?x 0) (mul ?x c) ?x), for a number c between 0 and 1",
        ),
        greater_slope,
        sample_greater_slope,
    ),
    structure(
        "bounds-from-below",
        Rounding::Exact,
        (
            "max",
            &["min"],
            "(max (min ?x b) a) => (min (max ?x a) b), for numbers a and b, a not above b",
        ),
        bounds,
        sample_bounds,
    ),
];

/// A rule about a function of a product with a number below 0.
const fn of_negative(
    name: &'static str,
    rounding: Rounding,
    op: &'static str,
    equation: &'static str,
    sample: fn(&mut Sampler) -> Graph,
) -> Rule {
    structure(
        name,
        rounding,
        (op, &["mul", "div"], equation),
        function_of_negative,
        sample,
    )
}

fn call(name: &str, args: Vec<Tree>) -> Tree {
    Tree::Call(op(name), Attrs::new(), args)
}

fn classes(ids: &[Id]) -> Vec<Tree> {
    ids.iter().map(|id| Tree::Class(*id)).collect()
}

/// Both orders of two operands.
fn orders(of: &Call) -> Vec<[Id; 2]> {
    match of.args[..] {
        [x, y] => vec![[x, y], [y, x]],
        _ => vec![],
    }
}

fn opposite(terms: &Terms, of: &Call) -> Vec<Tree> {
    let [c, x, y] = of.args[..] else {
        return vec![];
    };
    // Constants are as good as their complements.
    let turned = calls(terms, c).filter(|n| n.op.name == "not" && !terms[c].data.fixed);
    turned
        .map(|n| call("select", classes(&[n.args[0], y, x])))
        .collect()
}

/// Whether a value is NaN wherever another one is.
fn carries_nan(terms: &Terms, value: Id, of: Id, depth: usize) -> bool {
    if terms.find(value) == terms.find(of) {
        return true;
    }
    let passes = |c: &Call| {
        let name = c.op.name;
        let plain = matches!(
            name,
            "add" | "sub" | "mul" | "div" | "neg" | "exp" | "tanh" | "sigmoid" | "sqrt" | "abs"
        );
        plain && c.args.iter().any(|a| carries_nan(terms, *a, of, depth - 1))
    };
    depth > 0 && calls(terms, value).any(passes)
}

fn from_below(terms: &Terms, of: &Call) -> Vec<Tree> {
    let [c, y, w] = of.args[..] else {
        return vec![];
    };
    let turned = below(terms, c, [y, w]).into_iter();
    turned
        .map(|condition| call("select", vec![condition, Tree::Class(w), Tree::Class(y)]))
        .collect()
}

/// The complements of a condition from above, for a choice among values that are NaN where what is
/// compared is.
fn below(terms: &Terms, c: Id, [y, w]: [Id; 2]) -> Vec<Tree> {
    let mut found = Vec::new();
    for compare in calls(terms, c) {
        let [a, b] = compare.args[..] else { continue };
        // The number stands on the right.
        let (x, z, name) = match (compare.op.name, terms[b].data.uniform().is_some()) {
            ("gt", true) => (a, b, "le"),
            ("ge", true) => (a, b, "lt"),
            ("lt", false) if terms[a].data.uniform().is_some() => (b, a, "le"),
            ("le", false) if terms[a].data.uniform().is_some() => (b, a, "lt"),
            _ => continue,
        };
        if [y, w].iter().all(|v| carries_nan(terms, *v, x, DEPTH)) {
            let at_zero = terms[z].data.uniform() == Some(0.0);
            let slope = at_zero && terms.find(y) == terms.find(x);
            let slope = slope && is_slope(terms, w, x, 0.0..f64::INFINITY);
            let name = if slope { "lt" } else { name };
            found.push(call(name, classes(&[x, z])));
        }
    }
    found
}

/// Whether a value is another one times a number in a range.
fn is_slope(terms: &Terms, value: Id, of: Id, range: std::ops::Range<f64>) -> bool {
    let products = calls(terms, value).filter(|c| c.op.name == "mul");
    let mut pairs = products.flat_map(orders);
    pairs.any(|[x, n]| {
        let number = terms[n].data.uniform();
        terms.find(x) == terms.find(of) && number.is_some_and(|n| n > range.start && n < range.end)
    })
}

fn slope_at_zero(terms: &Terms, of: &Call) -> Vec<Tree> {
    let [c, y, x] = of.args[..] else {
        return vec![];
    };
    if !is_slope(terms, y, x, 0.0..f64::INFINITY) {
        return vec![];
    }
    let below = calls(terms, c).filter(|n| {
        n.op.name == "le"
            && terms.find(n.args[0]) == terms.find(x)
            && terms[n.args[1]].data.uniform() == Some(0.0)
    });
    let strictly = |n: &Call| {
        let condition = call("lt", classes(&n.args));
        call("select", vec![condition, Tree::Class(y), Tree::Class(x)])
    };
    below.map(strictly).collect()
}

/// What a value is multiplied by a number, and that number.
fn multiples(terms: &Terms, value: Id) -> Vec<(Id, f64)> {
    let products = calls(terms, value).filter(|c| c.op.name == "mul");
    let pairs = products.flat_map(orders);
    let numbers = pairs.filter_map(|[x, n]| Some((x, terms[n].data.uniform()?)));
    let dtype = terms[value].data.ty().dtype;
    let fits = |(x, n): &(Id, f64)| {
        dtype.is_float() && moderate(dtype, *n) && terms[*x].data.types == terms[value].data.types
    };
    numbers.filter(fits).collect()
}

fn factor_of_choice(terms: &Terms, of: &Call) -> Vec<Tree> {
    let [c, x, y] = of.args[..] else {
        return vec![];
    };
    let dtype = terms[x].data.ty().dtype;
    let mut found = Vec::new();
    for (x, a) in multiples(terms, x) {
        for (y, b) in multiples(terms, y) {
            let second = match b == a {
                true => Tree::Class(y),
                false => call("mul", vec![Tree::Class(y), Tree::Number(b / a, dtype)]),
            };
            let first = Tree::Class(x);
            let choice = match below(terms, c, [x, y]).pop() {
                Some(condition) => vec![condition, second, first],
                None => vec![Tree::Class(c), first, second],
            };
            let choice = call("select", choice);
            found.push(call("mul", vec![choice, Tree::Number(a, dtype)]));
        }
    }
    found
}

/// The opposites of a product that has a number below 0, or a sign, among its factors.
fn opposites(terms: &Terms, value: Id, depth: usize) -> Vec<Tree> {
    let mut found = Vec::new();
    let dtype = terms[value].data.ty().dtype;
    let of_number = |x: Id, n: f64, name: &str| match n {
        -1.0 => Tree::Class(x),
        n => call(name, vec![Tree::Class(x), Tree::Number(-n, dtype)]),
    };
    for c in calls(terms, value).filter(|_| depth > 0) {
        match (c.op.name, &c.args[..]) {
            ("neg", [x]) if depth < DEPTH => found.push(Tree::Class(*x)),
            ("mul", _) => {
                for [x, y] in orders(c) {
                    match terms[y].data.uniform() {
                        Some(n) if n < 0.0 => found.push(of_number(x, n, "mul")),
                        _ => {
                            let inner = opposites(terms, x, depth - 1).into_iter();
                            found.extend(inner.map(|x| call("mul", vec![x, Tree::Class(y)])));
                        }
                    }
                }
            }
            ("div", [x, y]) => match terms[*y].data.uniform() {
                Some(n) if n < 0.0 => found.push(of_number(*x, n, "div")),
                _ => {
                    let inner = opposites(terms, *x, depth - 1).into_iter();
                    found.extend(inner.map(|x| call("div", vec![x, Tree::Class(*y)])));
                }
            },
            _ => {}
        }
    }
    found.truncate(1);
    found
}

/// Functions of products with a negative factor: the negative stands in front of all others.
fn function_of_negative(terms: &Terms, of: &Call) -> Vec<Tree> {
    // What is a negative of all is in its form.
    if calls(terms, of.args[0]).any(|c| c.op.name == "neg") {
        return vec![];
    }
    let turned = |x: Tree| match of.op.name {
        "exp" => call("exp", vec![call("neg", vec![x])]),
        name => call("neg", vec![call(name, vec![x])]),
    };
    let found = opposites(terms, of.args[0], DEPTH).into_iter();
    found.map(turned).collect()
}

fn greater_slope(terms: &Terms, of: &Call) -> Vec<Tree> {
    let is = |[x, y]: &[Id; 2]| is_slope(terms, *y, *x, 0.0..1.0);
    let choice = |[x, y]: [Id; 2]| {
        let zero = Tree::Number(0.0, terms[x].data.ty().dtype);
        let condition = call("lt", vec![Tree::Class(x), zero]);
        call("select", vec![condition, Tree::Class(y), Tree::Class(x)])
    };
    orders(of).into_iter().filter(is).map(choice).collect()
}

fn bounds(terms: &Terms, of: &Call) -> Vec<Tree> {
    let mut found = Vec::new();
    let number = |id: Id| terms[id].data.uniform();
    for [upper, a] in orders(of) {
        let inner = calls(terms, upper).filter(|c| c.op.name == "min");
        for [x, b] in inner.flat_map(orders) {
            let (Some(least), Some(most)) = (number(a), number(b)) else {
                continue;
            };
            if least <= most && number(x).is_none() {
                let raised = call("max", classes(&[x, a]));
                found.push(call("min", vec![raised, Tree::Class(b)]));
            }
        }
    }
    found
}

fn condition(g: &mut Graph, shape: &[i64]) -> ValueId {
    let shape = shape.iter().map(|d| Expr::from(*d)).collect();
    g.add_input("c", TensorType::new(DType::Bool, shape))
}

fn sample_opposite(s: &mut Sampler) -> Graph {
    let (mut g, n) = (Graph::default(), s.int(1, 6));
    let c = condition(&mut g, &[n]);
    let (x, y) = (float(&mut g, "x", &[n]), float(&mut g, "y", &[n]));
    let c = node(&mut g, "not", &[c], Attrs::new());
    let y = node(&mut g, "select", &[c, x, y], Attrs::new());
    finished(g, y)
}

fn sample_from_below(s: &mut Sampler) -> Graph {
    let (mut g, n) = (Graph::default(), s.int(1, 6));
    let x = float(&mut g, "x", &[n]);
    let at = number(&mut g, s.int(-1, 1) as f64);
    let name = *s.pick(&["gt", "ge", "lt", "le"]);
    let operands = if name.starts_with('g') {
        [x, at]
    } else {
        [at, x]
    };
    let c = node(&mut g, name, &operands, Attrs::new());
    let power = node(&mut g, "exp", &[x], Attrs::new());
    let one = number(&mut g, 1.0);
    let below = node(&mut g, "sub", &[power, one], Attrs::new());
    let y = node(&mut g, "select", &[c, x, below], Attrs::new());
    finished(g, y)
}

fn slope(g: &mut Graph, s: &mut Sampler, x: ValueId) -> ValueId {
    let c = number(g, *s.pick(&[0.1, 0.25, 0.01]));
    let operands = if s.int(0, 1) == 0 { [x, c] } else { [c, x] };
    node(g, "mul", &operands, Attrs::new())
}

fn sample_slope_at_zero(s: &mut Sampler) -> Graph {
    let (mut g, n) = (Graph::default(), s.int(1, 6));
    let x = float(&mut g, "x", &[n]);
    let zero = number(&mut g, 0.0);
    let c = node(&mut g, "le", &[x, zero], Attrs::new());
    let y = slope(&mut g, s, x);
    let y = node(&mut g, "select", &[c, y, x], Attrs::new());
    finished(g, y)
}

fn sample_factor(s: &mut Sampler) -> Graph {
    let (mut g, n) = (Graph::default(), s.int(1, 6));
    let c = condition(&mut g, &[n]);
    let (x, y) = (float(&mut g, "x", &[n]), float(&mut g, "y", &[n]));
    let a = number(&mut g, *s.pick(&[0.5, 3.0, -2.0]));
    let b = number(&mut g, *s.pick(&[0.5, 3.0, -2.0]));
    let x = node(&mut g, "mul", &[x, a], Attrs::new());
    let y = node(&mut g, "mul", &[b, y], Attrs::new());
    let y = node(&mut g, "select", &[c, x, y], Attrs::new());
    finished(g, y)
}

fn sample_negative(s: &mut Sampler, name: &str) -> Graph {
    let (mut g, n) = (Graph::default(), s.int(1, 6));
    let (x, z) = (float(&mut g, "x", &[n]), float(&mut g, "z", &[n]));
    let c = number(&mut g, *s.pick(&[-0.5, -3.0, -1.702]));
    let operands = if s.int(0, 1) == 0 { [x, c] } else { [c, x] };
    let mut y = node(&mut g, "mul", &operands, Attrs::new());
    if s.int(0, 1) == 0 {
        let operands = if s.int(0, 1) == 0 { [y, z] } else { [z, y] };
        y = node(&mut g, "mul", &operands, Attrs::new());
    }
    let y = node(&mut g, name, &[y], Attrs::new());
    finished(g, y)
}

fn sample_greater_slope(s: &mut Sampler) -> Graph {
    let (mut g, n) = (Graph::default(), s.int(1, 6));
    let x = float(&mut g, "x", &[n]);
    let y = slope(&mut g, s, x);
    let operands = if s.int(0, 1) == 0 { [x, y] } else { [y, x] };
    let y = node(&mut g, "max", &operands, Attrs::new());
    finished(g, y)
}

fn sample_bounds(s: &mut Sampler) -> Graph {
    let (mut g, n) = (Graph::default(), s.int(1, 6));
    let x = float(&mut g, "x", &[n]);
    let (a, b) = (number(&mut g, -1.0), number(&mut g, s.int(-1, 2) as f64));
    let y = node(&mut g, "min", &[b, x], Attrs::new());
    let operands = if s.int(0, 1) == 0 { [a, y] } else { [y, a] };
    let y = node(&mut g, "max", &operands, Attrs::new());
    finished(g, y)
}
