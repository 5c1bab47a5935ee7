//! Transposes and reshapes around what works along rows.
use super::super::facts::Terms;
use super::super::pattern::calls;
use super::super::rule::{Kind, Normal, Rounding, Rule, Stands, Structure, Tree};
use super::super::term::Call;
use super::{REDUCTIONS, finished, float, node, number, structure};
use egg::Id;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph};
use tensmith_ir::ops::{Class, Sampler};

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
    Rule {
        name: "reshape-of-function",
        rounding: Rounding::Exact,
        kind: Kind::Structure(Structure {
            equation: "(reshape (f (reduce ?x))) => (f (reshape (reduce ?x))), for a function f of reductions and numbers",
            op: "reshape",
            below: REDUCTIONS,
            normal: Normal::Root,
            rewrite: of_function,
            sample: sample_function,
        }),
        stands: Stands::IfAllAreCheaper,
    },
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
const DEPTH: usize = 6;

/// The operands of scalar work that are no numbers, if they are as large as its result: one, or
/// several.
fn operands<'c>(terms: &'c Terms, c: &'c Call, class: Id) -> Option<Vec<&'c Id>> {
    let value = |id: &&Id| terms[**id].data.uniform().is_none();
    let values: Vec<&Id> = c.args.iter().filter(value).collect();
    let shape = |id: Id| &terms[id].data.ty().shape;
    let same = |id: &&Id| shape(**id) == shape(class);
    let fits = c.op.class == Class::Elementwise && !values.is_empty() && values.iter().all(same);
    fits.then_some(values)
}

/// What a view makes of a value that is a reduction, or scalar work on reductions and numbers: the
/// same work on views of the reductions.
fn viewed(terms: &Terms, view: &Call, class: Id, depth: usize) -> Option<Tree> {
    let is_reduction =
        |c: &Call| c.op.class == Class::Reduction && c.attrs.get("keepdims").is_some();
    if calls(terms, class).any(is_reduction) {
        let of = vec![Tree::Class(class)];
        return Some(Tree::Call(view.op, (*view.attrs).clone(), of));
    }
    let mut works = calls(terms, class).filter(|_| depth > 0);
    works.find_map(|c| worked(terms, view, (c, class), depth))
}

/// As [`viewed`], of a member of a class.
fn worked(terms: &Terms, view: &Call, (c, class): (&Call, Id), depth: usize) -> Option<Tree> {
    let values = operands(terms, c, class)?;
    let arg = |id: &Id| match values.contains(&id) {
        true => viewed(terms, view, *id, depth - 1),
        false => {
            let number = terms[*id].data.uniform()?;
            Some(Tree::Number(number, terms[*id].data.ty().dtype))
        }
    };
    let args = c.args.iter().map(arg).collect::<Option<_>>()?;
    Some(Tree::Call(c.op, (*c.attrs).clone(), args))
}

fn of_function(terms: &Terms, outer: &Call) -> Vec<Tree> {
    let class = outer.args[0];
    let works = calls(terms, class);
    works
        .filter_map(|c| worked(terms, outer, (c, class), DEPTH))
        .collect()
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
        let attrs = Attrs::new().with("axes", vec![1]).with("keepdims", false);
        let mean = node(&mut g, "reduce_mean", &[x], attrs);
        y = node(&mut g, "sub", &[mean, y], Attrs::new());
    }
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
