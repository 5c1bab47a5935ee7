//! Transposes and reshapes around what works along rows.
use super::super::facts::Terms;
use super::super::pattern::calls;
use super::super::rule::{Rounding, Rule, Tree};
use super::super::term::Call;
use super::{REDUCTIONS, finished, float, node, number, structure};
use egg::Id;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph};
use tensmith_ir::ops::{Class, Sampler, op};

/// The rules.
pub const RULES: &[Rule] = &[
    structure(
        "softmax-between-transposes",
        Rounding::Reassociates,
        (
            "transpose",
            &["softmax", "log_softmax"],
            "(transpose (softmax (transpose ?x))) => (softmax ?x), if the transposes undo each other; the same for log_softmax",
        ),
        between_transposes,
        sample_transposes,
    ),
    structure(
        "reshape-of-function",
        Rounding::Exact,
        (
            "reshape",
            REDUCTIONS,
            "(reshape (f (reduce ?x))) => (f (reshape (reduce ?x))), for a function f of it and numbers",
        ),
        of_function,
        sample_function,
    ),
];

fn between_transposes(terms: &Terms, outer: &Call) -> Vec<Tree> {
    let back = outer.attrs.ints("perm");
    let mut found = Vec::new();
    let rows = calls(terms, outer.args[0]).filter(|c| c.op.class == Class::Row);
    for row in rows.filter(|c| matches!(c.op.name, "softmax" | "log_softmax")) {
        for inner in calls(terms, row.args[0]).filter(|c| c.op.name == "transpose") {
            let perm = inner.attrs.ints("perm");
            let undone = (0..perm.len()).all(|k| perm[back[k] as usize] == k as i64);
            if undone {
                let axis = perm[row.attrs.int("axis") as usize];
                let attrs = (*row.attrs).clone().with("axis", axis);
                found.push(Tree::Call(row.op, attrs, vec![Tree::Class(inner.args[0])]));
            }
        }
    }
    found
}

/// Operations between a reduction and a reshape, at most.
const DEPTH: usize = 4;

/// The operand of scalar work that is no number, if it is the only one.
fn only_operand(terms: &Terms, c: &Call) -> Option<usize> {
    let value = |k: &usize| terms[c.args[*k]].data.uniform().is_none();
    let mut values = (0..c.args.len()).filter(value);
    let only = values.next().filter(|_| values.next().is_none());
    only.filter(|_| c.op.class == Class::Elementwise)
}

/// Whether a value is a reduction, or scalar work with numbers on one.
fn is_of_reduction(terms: &Terms, class: Id, depth: usize) -> bool {
    let reduction = |c: &Call| c.op.class == Class::Reduction && c.attrs.get("keepdims").is_some();
    let below = |c: &Call| {
        let k = only_operand(terms, c).filter(|_| depth > 0);
        k.is_some_and(|k| is_of_reduction(terms, c.args[k], depth - 1))
    };
    calls(terms, class).any(|c| reduction(c) || below(c))
}

fn of_function(terms: &Terms, outer: &Call) -> Vec<Tree> {
    let mut found = Vec::new();
    for c in calls(terms, outer.args[0]) {
        let Some(k) = only_operand(terms, c) else {
            continue;
        };
        let same = terms[c.args[k]].data.ty().shape == terms[outer.args[0]].data.ty().shape;
        if !same || !is_of_reduction(terms, c.args[k], DEPTH) {
            continue;
        }
        let args = c.args.iter().enumerate().map(|(j, arg)| match j == k {
            true => {
                let of = vec![Tree::Class(*arg)];
                Tree::Call(op("reshape"), (*outer.attrs).clone(), of)
            }
            false => {
                let number = terms[*arg].data.uniform().unwrap_or(0.0);
                Tree::Number(number, terms[*arg].data.ty().dtype)
            }
        });
        found.push(Tree::Call(c.op, (*c.attrs).clone(), args.collect()));
    }
    found
}

fn sample_transposes(s: &mut Sampler) -> Graph {
    let mut g = Graph::default();
    let shape: Vec<i64> = (0..3).map(|_| s.int(1, 5)).collect();
    let x = float(&mut g, "x", &shape);
    let mut perm = vec![0, 1, 2];
    while perm == [0, 1, 2] {
        let (a, b) = (s.int(0, 2) as usize, s.int(0, 2) as usize);
        perm.swap(a, b);
    }
    let place = |k: i64| perm.iter().position(|p| *p == k).map_or(0, |p| p as i64);
    let back: Vec<i64> = (0..3).map(place).collect();
    let y = node(
        &mut g,
        "transpose",
        &[x],
        Attrs::new().with("perm", perm.clone()),
    );
    let row = *s.pick(&["softmax", "log_softmax"]);
    let y = node(&mut g, row, &[y], Attrs::new().with("axis", s.int(0, 2)));
    let y = node(&mut g, "transpose", &[y], Attrs::new().with("perm", back));
    finished(g, y)
}

fn sample_function(s: &mut Sampler) -> Graph {
    let mut g = Graph::default();
    let (a, b) = (s.int(1, 5), s.int(1, 5));
    let x = float(&mut g, "x", &[a, b]);
    let attrs = Attrs::new().with("axes", vec![1]).with("keepdims", false);
    let y = node(&mut g, "reduce_max", &[x], attrs);
    let name = *s.pick(&["exp", "abs", "tanh"]);
    let mut y = node(&mut g, name, &[y], Attrs::new());
    if s.int(0, 1) == 0 {
        let c = number(&mut g, 0.25);
        let operands = if s.int(0, 1) == 0 { [y, c] } else { [c, y] };
        let name = *s.pick(&["add", "mul", "sub"]);
        y = node(&mut g, name, &operands, Attrs::new());
    }
    let shape = vec![Expr::from(a), Expr::from(1)];
    let y = node(&mut g, "reshape", &[y], Attrs::new().with("shape", shape));
    finished(g, y)
}
