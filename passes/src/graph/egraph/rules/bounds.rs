//! Bounds by two numbers, what they are scaled by and added to; and functions of two pieces that are
//! sums of what is above 0 and what is below.
use super::super::facts::Terms;
use super::super::pattern::calls;
use super::super::rule::{Kind, Normal, Rounding, Rule, Stands, Structure, Tree};
use super::super::term::Call;
use super::{finished, float, node, normal, number};
use crate::graph::fold_identities::moderate;
use egg::Id;
use tensmith_ir::graph::{Attrs, Graph};
use tensmith_ir::ops::{Sampler, op};

/// Signs and factors of a piece that are looked through, at most.
const FACTORS: usize = 3;

/// The rules.
pub const RULES: &[Rule] = &[
    line(
        "scaled-bounds",
        "mul",
        "(mul (min (max ?x a) b) c) => (min (max (mul ?x c) a*c) b*c), for numbers a, b and c, with the bounds exchanged for a c below 0",
        |s| sample_line(s, "mul"),
    ),
    line(
        "divided-bounds",
        "div",
        "(div (min (max ?x a) b) c) => (min (max (mul ?x 1/c) a/c) b/c), for numbers a, b and c, with the bounds exchanged for a c below 0",
        |s| sample_line(s, "div"),
    ),
    line(
        "raised-bounds",
        "add",
        "(add (min (max ?x a) b) c) => (min (max (add ?x c) a+c) b+c), for numbers a, b and c",
        |s| sample_line(s, "add"),
    ),
    line(
        "lowered-bounds",
        "sub",
        "(sub (min (max ?x a) b) c) => (min (max (add ?x -c) a-c) b-c), for numbers a, b and c",
        |s| sample_line(s, "sub"),
    ),
    normal("bound-of-negative", "(max (neg ?x) 0)", "(neg (min ?x 0))"),
    normal(
        "bound-from-above-of-negative",
        "(min (neg ?x) 0)",
        "(neg (max ?x 0))",
    ),
    normal(
        "bound-by-magnitude",
        "(mul 0.5 (add ?x (abs ?x)))",
        "(max ?x 0)",
    ),
    normal(
        "bound-by-negative-magnitude",
        "(mul 0.5 (sub ?x (abs ?x)))",
        "(min ?x 0)",
    ),
    normal(
        "factor-of-negative-magnitude",
        "(mul 0.5 ?y (sub ?x (abs ?x)))",
        "(mul ?y (min ?x 0))",
    ),
    normal(
        "slope-of-pieces",
        "(add (max ?x 0) (mul ?y (min ?x 0)))",
        "(select (lt ?x 0) (mul ?x ?y) ?x)",
    ),
    normal(
        "slope-of-opposite-pieces",
        "(sub (max ?x 0) (mul ?y (min ?x 0)))",
        "(select (lt ?x 0) (mul ?x (neg ?y)) ?x)",
    ),
    pieces(
        "slope-of-sum",
        "add",
        "(add (max ?x 0) (mul (min ?x 0) c)) => (select (lt ?x 0) (mul ?x c) ?x), for a number c",
    ),
    pieces(
        "slope-of-difference",
        "sub",
        "(sub (max ?x 0) (mul (min ?x 0) c)) => (select (lt ?x 0) (mul ?x -c) ?x), for a number c",
    ),
];

/// A rule about what is done to bounded values.
const fn line(
    name: &'static str,
    op: &'static str,
    equation: &'static str,
    sample: fn(&mut Sampler) -> Graph,
) -> Rule {
    Rule {
        name,
        rounding: Rounding::Reassociates,
        kind: Kind::Structure(Structure {
            equation,
            op,
            below: &["min"],
            normal: Normal::All,
            rewrite: line_of_bounds,
            sample,
        }),
        stands: Stands::IfAllAreCheaper,
    }
}

/// A rule about a sum of two pieces.
const fn pieces(name: &'static str, op: &'static str, equation: &'static str) -> Rule {
    Rule {
        name,
        rounding: Rounding::Reassociates,
        kind: Kind::Structure(Structure {
            equation,
            op,
            below: &["max"],
            normal: Normal::All,
            rewrite: slope,
            sample: match op.as_bytes()[0] {
                b'a' => |s| sample_pieces(s, "add"),
                _ => |s| sample_pieces(s, "sub"),
            },
        }),
        stands: Stands::IfAllAreCheaper,
    }
}

fn call(name: &str, args: Vec<Tree>) -> Tree {
    Tree::Call(op(name), Attrs::new(), args)
}

/// The operands of an application, in both orders if it commutes.
fn orders(of: &Call) -> Vec<[Id; 2]> {
    match of.args[..] {
        [x, y] if matches!(of.op.name, "add" | "mul" | "max" | "min") => vec![[x, y], [y, x]],
        [x, y] => vec![[x, y]],
        _ => vec![],
    }
}

/// What a class bounds by an op and a number, and that number.
fn bounded(terms: &Terms, class: Id, name: &str) -> Vec<(Id, f64)> {
    let found = calls(terms, class).filter(|c| c.op.name == name);
    let found = found.flat_map(orders);
    let number = |[x, n]: [Id; 2]| Some((x, terms[n].data.uniform()?));
    let same = |x: Id| terms[x].data.types == terms[class].data.types;
    found.filter_map(number).filter(|(x, _)| same(*x)).collect()
}

fn line_of_bounds(terms: &Terms, of: &Call) -> Vec<Tree> {
    let mut found = Vec::new();
    for [value, c] in orders(of) {
        let dtype = terms[value].data.ty().dtype;
        let Some(c) = terms[c].data.uniform().filter(|_| dtype.is_float()) else {
            continue;
        };
        let (factor, offset) = match of.op.name {
            "mul" => (c, 0.0),
            "div" => (1.0 / c, 0.0),
            "add" => (1.0, c),
            _ => (1.0, -c),
        };
        let nothing = factor == 1.0 && offset == 0.0;
        if nothing || !moderate(dtype, factor) || !offset.is_finite() {
            continue;
        }
        let number = |n: f64| Tree::Number(n * factor + offset, dtype);
        for (inner, most) in bounded(terms, value, "min") {
            // Bounds in the wrong order give the upper one, whatever the sign.
            for (x, least) in bounded(terms, inner, "max")
                .into_iter()
                .filter(|b| b.1 <= most)
            {
                let x = Tree::Class(x);
                let moved = match offset == 0.0 {
                    true => call("mul", vec![x, Tree::Number(factor, dtype)]),
                    false => call("add", vec![x, Tree::Number(offset, dtype)]),
                };
                let (least, most) = if factor < 0.0 {
                    (most, least)
                } else {
                    (least, most)
                };
                let raised = call("max", vec![moved, number(least)]);
                found.push(call("min", vec![raised, number(most)]));
            }
        }
    }
    found
}

/// The values of which a class is a number times what is below 0, and that number.
fn times_least(terms: &Terms, class: Id, depth: usize) -> Vec<(Id, f64)> {
    let mut found: Vec<(Id, f64)> = bounded(terms, class, "min")
        .into_iter()
        .filter(|(_, n)| *n == 0.0)
        .map(|(x, _)| (x, 1.0))
        .collect();
    if depth == 0 {
        return found;
    }
    for c in calls(terms, class) {
        let factor = |n: Id| terms[n].data.uniform();
        let (x, by) = match (c.op.name, &c.args[..]) {
            ("neg", [x]) => (*x, -1.0),
            ("mul", [x, y]) => match (factor(*x), factor(*y)) {
                (None, Some(n)) => (*x, n),
                (Some(n), None) => (*y, n),
                _ => continue,
            },
            ("div", [x, y]) => match factor(*y) {
                Some(n) => (*x, 1.0 / n),
                None => continue,
            },
            _ => continue,
        };
        let inner = times_least(terms, x, depth - 1).into_iter();
        found.extend(inner.map(|(x, n)| (x, n * by)));
    }
    found
}

fn slope(terms: &Terms, of: &Call) -> Vec<Tree> {
    let mut found = Vec::new();
    for [above, below] in orders(of) {
        let dtype = terms[above].data.ty().dtype;
        if !dtype.is_float() {
            continue;
        }
        let sign = if of.op.name == "sub" { -1.0 } else { 1.0 };
        let positive = bounded(terms, above, "max").into_iter();
        for (x, _) in positive.filter(|(_, n)| *n == 0.0) {
            for (y, by) in times_least(terms, below, FACTORS) {
                let by = by * sign;
                if terms.find(y) != terms.find(x) || !moderate(dtype, by) {
                    continue;
                }
                let (zero, by) = (Tree::Number(0.0, dtype), Tree::Number(by, dtype));
                let condition = call("lt", vec![Tree::Class(x), zero]);
                let product = call("mul", vec![Tree::Class(x), by]);
                found.push(call("select", vec![condition, product, Tree::Class(x)]));
            }
        }
    }
    found
}

fn sample_line(s: &mut Sampler, name: &str) -> Graph {
    let (mut g, n) = (Graph::default(), s.int(1, 6));
    let x = float(&mut g, "x", &[n]);
    let (a, b) = (number(&mut g, -1.0), number(&mut g, s.int(0, 2) as f64));
    let y = node(&mut g, "max", &[a, x], Attrs::new());
    let y = node(&mut g, "min", &[y, b], Attrs::new());
    let c = number(&mut g, *s.pick(&[0.5, 3.0, -2.0]));
    let turns = matches!(name, "add" | "mul") && s.int(0, 1) == 0;
    let operands = if turns { [c, y] } else { [y, c] };
    let y = node(&mut g, name, &operands, Attrs::new());
    finished(g, y)
}

fn sample_pieces(s: &mut Sampler, name: &str) -> Graph {
    let (mut g, n) = (Graph::default(), s.int(1, 6));
    let x = float(&mut g, "x", &[n]);
    let zero = number(&mut g, 0.0);
    let above = node(&mut g, "max", &[x, zero], Attrs::new());
    let below = match s.int(0, 1) {
        0 => node(&mut g, "min", &[zero, x], Attrs::new()),
        _ => {
            let opposite = node(&mut g, "neg", &[x], Attrs::new());
            node(&mut g, "max", &[opposite, zero], Attrs::new())
        }
    };
    let c = number(&mut g, *s.pick(&[0.5, 0.1, -2.0]));
    let below = node(&mut g, "mul", &[c, below], Attrs::new());
    let turns = name == "add" && s.int(0, 1) == 0;
    let operands = if turns {
        [below, above]
    } else {
        [above, below]
    };
    let y = node(&mut g, name, &operands, Attrs::new());
    finished(g, y)
}
