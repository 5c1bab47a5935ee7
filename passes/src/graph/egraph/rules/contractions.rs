//! Contractions: one order of axes, whatever transposes are around, and factors outside.
use super::super::facts::Terms;
use super::super::pattern::calls;
use super::super::rule::{Kind, Normal, Rounding, Rule, Stands, Structure, Tree};
use super::super::term::Call;
use super::scores::keys_last;
use super::{finished, float, node, number, structure};
use crate::graph::fold_identities::moderate;
use egg::Id;
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::{Expr, product};
use tensmith_ir::graph::{Attrs, Graph};
use tensmith_ir::ops::{Class, Sampler, Spec, op};

/// The rules.
pub const RULES: &[Rule] = &[
    structure(
        "order-of-axes",
        Rounding::Reassociates,
        (
            "contract",
            &[],
            "(contract ?x ?y) => (transpose (contract (transpose ?x) (transpose ?y))), with axes as in a product of matrices, and a softmax first",
        ),
        order_axes,
        sample_axes,
    ),
    Rule {
        name: "factor-of-contraction",
        rounding: Rounding::Reassociates,
        kind: Kind::Structure(Structure {
            equation: "(contract (mul ?x c) ?y) => (mul (contract ?x ?y) c), for a moderate number c",
            op: "contract",
            below: &["mul", "div", "neg"],
            normal: Normal::Root,
            rewrite: factor_outside,
            sample: sample_factor,
        }),
        stands: Stands::IfAllAreCheaper,
    },
    structure(
        "contraction-of-joined",
        Rounding::Reassociates,
        (
            "contract",
            &["concat"],
            "(contract (concat ?x ?y) w) => (add (contract ?x (slice w)) (contract ?y (slice w))), if what is joined is summed and in memory",
        ),
        of_joined,
        sample_joined,
    )
    .always(),
    structure(
        "rows-of-flat-contraction",
        Rounding::Exact,
        (
            "contract",
            &["reshape"],
            "(contract (reshape ?x) w) => (reshape (contract ?x w)), if the summed axis stays",
        ),
        keep_rows,
        sample_rows,
    ),
];

/// The letters of a contraction by what they do; each list in the order of the result, or of the
/// first operand.
pub(super) struct Roles {
    batch: Vec<u8>,
    rows: Vec<u8>,
    sums: Vec<u8>,
    columns: Vec<u8>,
}

/// `None` if an axis is only summed in one operand.
pub(super) fn roles(spec: &Spec) -> Option<Roles> {
    let of = |a: bool, b: bool| -> Vec<u8> {
        let is = |c: &&u8| (spec.a.contains(c), spec.b.contains(c)) == (a, b);
        spec.out.iter().filter(is).copied().collect()
    };
    let sums = spec.summed();
    let both = |c: &u8| spec.a.contains(c) && spec.b.contains(c);
    sums.iter().all(both).then(|| Roles {
        batch: of(true, true),
        rows: of(true, false),
        columns: of(false, true),
        sums,
    })
}

/// An operand: a class, and the letters of its axes.
pub(super) type Lettered = (Id, Vec<u8>);

/// An operand, and what it is a transpose of.
pub(super) fn views(terms: &Terms, class: Id, letters: &[u8]) -> Vec<Lettered> {
    let mut views = vec![(class, letters.to_vec())];
    for call in calls(terms, class).filter(|c| c.op.name == "transpose") {
        let mut before = letters.to_vec();
        for (letter, from) in letters.iter().zip(call.attrs.ints("perm")) {
            before[*from as usize] = *letter;
        }
        views.push((call.args[0], before));
    }
    views
}

/// An operand with its axes in an order, and whether it is one without a transpose of its own.
fn ordered(views: &[Lettered], to: &[u8]) -> (Tree, bool) {
    if let Some((class, _)) = views.iter().find(|(_, letters)| letters == to) {
        return (Tree::Class(*class), true);
    }
    let (class, letters) = &views[views.len() - 1];
    (transposed(Tree::Class(*class), letters, to), false)
}

pub(super) fn transposed(tree: Tree, from: &[u8], to: &[u8]) -> Tree {
    if from == to {
        return tree;
    }
    let place = |c: &u8| from.iter().position(|f| f == c).map_or(0, |k| k as i64);
    let perm: Vec<i64> = to.iter().map(place).collect();
    Tree::Call(op("transpose"), Attrs::new().with("perm", perm), vec![tree])
}

/// The text of a spec whose letters are named in their order of roles.
pub(super) fn text(roles: &Roles, [a, b, out]: [&[u8]; 3]) -> String {
    let Roles {
        batch,
        rows,
        sums,
        columns,
    } = roles;
    let all = [&batch[..], rows, sums, columns].concat();
    let name = |c: &u8| {
        let k = all.iter().position(|l| l == c).unwrap_or(0);
        char::from(if k < 26 {
            b'a' + k as u8
        } else {
            b'A' + k as u8 - 26
        })
    };
    let names = |letters: &[u8]| letters.iter().map(name).collect::<String>();
    format!("{},{}->{}", names(a), names(b), names(out))
}

/// Scalar work between a softmax and a contraction, at most.
pub(super) const SCALAR: usize = 3;

/// Whether a class is a softmax along its last axis, or scalar work on one.
fn is_softmax(terms: &Terms, class: Id, depth: usize) -> bool {
    let shape = &terms[class].data.ty().shape;
    let same = |id: &&Id| terms[**id].data.ty().shape == *shape;
    calls(terms, class).any(|c| match c.op.class {
        Class::Row => c.op.name == "softmax" && c.attrs.int("axis") + 1 == shape.len() as i64,
        Class::Elementwise if depth > 0 => {
            let mut operands = c.args.iter().filter(same);
            operands.any(|id| is_softmax(terms, *id, depth - 1))
        }
        _ => false,
    })
}

/// The operands of a contraction and its letters, with the one first whose own axes come first: the
/// weights of an attention (`V P^T` is the transpose of `P V^T`, which is streamed), else that which
/// gives the rows of the result.
fn rows_first(terms: &Terms, call: &Call) -> Option<([Id; 2], Spec)> {
    let spec = Spec::of(&call.attrs);
    let [x, y] = call.args[..] else { return None };
    let are_weights = |class: Id, letters: &[u8]| {
        let of = views(terms, class, letters).into_iter();
        let along_sums = of.filter(|(_, l)| l.last().is_some_and(|c| spec.summed() == [*c]));
        !terms[class].data.fixed
            && along_sums
                .into_iter()
                .any(|(c, _)| is_softmax(terms, c, SCALAR))
    };
    let [of_x, of_y] = [(x, &spec.a), (y, &spec.b)].map(|(c, l)| are_weights(c, l));
    let varies = [x, y].iter().all(|c| !terms[*c].data.fixed);
    let swaps = !of_x && (of_y || varies && has_columns_first(&spec));
    if !swaps {
        return Some(([x, y], spec));
    }
    let (a, b) = (spec.b, spec.a);
    Some(([y, x], Spec { a, b, ..spec }))
}

/// Whether the result of a contraction has all of the second operand's own axes before those of the
/// first: the same product with the operands exchanged gives it as a product of matrices does.
fn has_columns_first(spec: &Spec) -> bool {
    let own = |of: &[u8], other: &[u8]| -> Vec<usize> {
        let is = |c: &u8| of.contains(c) && !other.contains(c);
        (0..spec.out.len()).filter(|k| is(&spec.out[*k])).collect()
    };
    let [rows, columns] = [own(&spec.a, &spec.b), own(&spec.b, &spec.a)];
    columns
        .last()
        .is_some_and(|last| rows.first().is_some_and(|first| last < first))
}

fn order_axes(terms: &Terms, call: &Call) -> Vec<Tree> {
    let Some(([x, y], spec)) = rows_first(terms, call) else {
        return vec![];
    };
    let fixed = terms[y].data.fixed;
    let Some(roles) = roles(&spec).filter(|_| !terms[x].data.fixed || fixed) else {
        return vec![];
    };
    let other_forms = [factor_outside, keep_rows, of_joined, keys_last];
    if other_forms.iter().any(|form| !form(terms, call).is_empty()) {
        return vec![];
    }
    let [batch, rows, sums, columns] = [&roles.batch, &roles.rows, &roles.sums, &roles.columns];
    let a = [&batch[..], rows, sums].concat();
    let out = [&batch[..], rows, columns].concat();
    let down = [&batch[..], sums, columns].concat();
    let across = [&batch[..], columns, sums].concat();
    let (left, _) = ordered(&views(terms, x, &spec.a), &a);
    let of_right = views(terms, y, &spec.b);
    let mut found = Vec::new();
    for b in [down, across] {
        let (right, as_is) = ordered(&of_right, &b);
        // Columns that are rows in memory may stay so, where that saves a transpose.
        if !found.is_empty() && (fixed || !as_is) {
            break;
        }
        let spec = text(&roles, [&a, &b, &out]);
        let attrs = Attrs::new().with("spec", spec);
        found.push(Tree::Call(call.op, attrs, vec![left.clone(), right]));
    }
    let back = |tree| transposed(tree, &out, &spec.out);
    found.into_iter().map(back).collect()
}

fn factor_outside(terms: &Terms, call: &Call) -> Vec<Tree> {
    let [x, y] = call.args[..] else { return vec![] };
    if !terms[x].data.ty().dtype.is_float() {
        return vec![];
    }
    let mut found = Vec::new();
    for (k, class) in [x, y].into_iter().enumerate() {
        if terms[class].data.fixed {
            continue;
        }
        let dtype = terms[class].data.ty().dtype;
        let numbers = scaled(terms, class).into_iter();
        for (value, number) in numbers.filter(|(_, n)| moderate(dtype, *n)) {
            let mut args = vec![Tree::Class(x), Tree::Class(y)];
            args[k] = value;
            let inner = Tree::Call(call.op, (*call.attrs).clone(), args);
            found.push(Tree::Call(
                op("mul"),
                Attrs::new(),
                vec![inner, Tree::Number(number, dtype)],
            ));
        }
    }
    found
}

/// How many views a factor is looked for behind.
const VIEWS: usize = 3;

/// The values of which a class is a multiple of the same shape, behind views perhaps.
fn scaled(terms: &Terms, class: Id) -> Vec<(Tree, f64)> {
    multiples(terms, class, VIEWS)
}

fn multiples(terms: &Terms, class: Id, depth: usize) -> Vec<(Tree, f64)> {
    let number = |id: Id| terms[id].data.uniform();
    let of = |c: &Call| match (c.op.name, &c.args[..]) {
        ("neg", [x]) => Some((*x, -1.0)),
        ("mul", [x, y]) => number(*y)
            .map(|n| (*x, n))
            .or_else(|| number(*x).map(|n| (*y, n))),
        ("div", [x, y]) => number(*y).map(|n| (*x, 1.0 / n)),
        _ => None,
    };
    let same = |id: Id| terms[id].data.types == terms[class].data.types;
    let fits = |(id, n): &(Id, f64)| same(*id) && n.is_finite() && *n != 0.0;
    let mut found: Vec<(Tree, f64)> = Vec::new();
    for call in calls(terms, class) {
        if let Some((x, n)) = of(call).filter(fits) {
            found.push((Tree::Class(x), n));
        }
        if depth > 0 && matches!(call.op.name, "transpose" | "reshape") {
            let moved = |x: Tree| Tree::Call(call.op, (*call.attrs).clone(), vec![x]);
            let inner = multiples(terms, call.args[0], depth - 1).into_iter();
            found.extend(inner.map(|(x, n)| (moved(x), n)));
        }
    }
    found
}

fn keep_rows(terms: &Terms, call: &Call) -> Vec<Tree> {
    let spec = Spec::of(&call.attrs);
    let [x, w] = call.args[..] else { return vec![] };
    let plain = spec.a.len() == 2 && spec.out.len() == 2 && spec.a[0] == spec.out[0];
    if !plain || spec.summed() != [spec.a[1]] || !terms[w].data.fixed || terms[x].data.fixed {
        return vec![];
    }
    let shape = &terms[x].data.ty().shape;
    let mut found = Vec::new();
    for view in calls(terms, x).filter(|c| c.op.name == "reshape") {
        let Some((last, rows)) = terms[view.args[0]].data.ty().shape.split_last() else {
            continue;
        };
        if rows.len() < 2 || *last != shape[1] || product(rows) != shape[0] {
            continue;
        }
        let free = (b'a'..=b'z').filter(|c| !spec.a.contains(c) && !spec.b.contains(c));
        let more: Vec<u8> = free.take(rows.len()).collect();
        let roles = Roles {
            batch: vec![],
            rows: more.clone(),
            sums: vec![spec.a[1]],
            columns: vec![spec.out[1]],
        };
        let side = |last: u8| [&more[..], &[last]].concat();
        let down = [spec.a[1], spec.out[1]];
        let form = text(&roles, [&side(spec.a[1]), &down, &side(spec.out[1])]);
        let attrs = Attrs::new().with("spec", form);
        let weight = transposed(Tree::Class(w), &spec.b, &down);
        let args = vec![Tree::Class(view.args[0]), weight];
        let inner = Tree::Call(call.op, attrs, args);
        let k = spec.b.iter().position(|c| *c == spec.out[1]).unwrap_or(0);
        let columns = terms[w].data.ty().shape[k].clone();
        let flat = Attrs::new().with("shape", vec![shape[0].clone(), columns]);
        found.push(Tree::Call(op("reshape"), flat, vec![inner]));
    }
    found
}

/// Parts of a concatenation that are multiplied by themselves, at most.
const PARTS: usize = 4;

/// Whether all parts are cut from one value, as neighbouring places of an image are: they are moved
/// once for one product, and each by itself for several.
fn are_of_one(terms: &Terms, parts: &[Id]) -> bool {
    let source = |part: &Id| {
        let mut cuts = calls(terms, *part).filter(|c| c.op.name == "slice");
        cuts.next().map(|c| c.args[0])
    };
    let first = parts.first().and_then(source);
    first.is_some() && parts.iter().all(|p| source(p) == first)
}

/// Scalar work between a part of a concatenation and what it is computed of, at most.
const WORK: usize = 8;

/// Whether a class is scalar work that no product, reduction or row computes: a kernel of its own
/// for a product of its own, and inside of the concatenation otherwise.
fn is_scalar_work(terms: &Terms, class: Id, depth: usize) -> bool {
    let shape = &terms[class].data.ty().shape;
    let same = |id: &&Id| terms[**id].data.ty().shape == *shape && !terms[**id].data.fixed;
    let work = |c: &Call| c.op.class == Class::Elementwise;
    let Some(call) = calls(terms, class).find(|c| work(c)) else {
        return false;
    };
    let mut operands = call.args.iter().filter(same).peekable();
    let stands = |id: &Id| {
        let mut makers = calls(terms, *id);
        let moved = |c: &Call| c.op.class == Class::Movement;
        makers.all(moved) || depth > 0 && is_scalar_work(terms, *id, depth - 1)
    };
    operands.peek().is_some() && operands.all(stands)
}

fn of_joined(terms: &Terms, call: &Call) -> Vec<Tree> {
    let spec = Spec::of(&call.attrs);
    let [x, w] = call.args[..] else { return vec![] };
    let float = terms[x].data.ty().dtype.is_float();
    let Some(roles) = roles(&spec).filter(|_| float && terms[w].data.fixed) else {
        return vec![];
    };
    if terms[x].data.fixed {
        return vec![];
    }
    let form = Attrs::new().with("spec", text(&roles, [&spec.a, &spec.b, &spec.out]));
    let mut found = Vec::new();
    for joined in calls(terms, x).filter(|c| c.op.name == "concat") {
        let axis = joined.attrs.int("axis") as usize;
        let Some(place) = spec.b.iter().position(|c| *c == spec.a[axis]) else {
            continue;
        };
        if spec.out.contains(&spec.a[axis]) || !(2..=PARTS).contains(&joined.args.len()) {
            continue;
        }
        let works = |part: &Id| is_scalar_work(terms, *part, WORK);
        if are_of_one(terms, &joined.args) || joined.args.iter().any(works) {
            continue;
        }
        let of = &terms[w].data.ty().shape;
        let mut start = Expr::from(0);
        let mut sum: Option<Tree> = None;
        for part in &joined.args {
            let extent = terms[*part].data.ty().shape[axis].clone();
            let mut starts = vec![Expr::from(0); of.len()];
            let mut sizes = of.clone();
            (starts[place], sizes[place]) = (start.clone(), extent.clone());
            start = start + extent;
            let attrs = Attrs::new()
                .with("starts", starts)
                .with("sizes", sizes)
                .with("steps", vec![1; of.len()]);
            let weight = Tree::Call(op("slice"), attrs, vec![Tree::Class(w)]);
            let args = vec![Tree::Class(*part), weight];
            let product = Tree::Call(call.op, form.clone(), args);
            sum = Some(match sum {
                None => product,
                Some(sum) => Tree::Call(op("add"), Attrs::new(), vec![sum, product]),
            });
        }
        found.extend(sum);
    }
    found
}

fn sample_joined(s: &mut Sampler) -> Graph {
    let mut g = Graph::default();
    let (m, k, l, n) = (s.int(1, 4), s.int(1, 5), s.int(1, 5), s.int(1, 5));
    let (x, y) = (float(&mut g, "x", &[m, k]), float(&mut g, "y", &[m, l]));
    let joined = node(&mut g, "concat", &[x, y], Attrs::new().with("axis", 1));
    let w = s.tensor(DType::F32, &[(k + l) as usize, n as usize], -1.0, 1.0);
    let w = g.add_constant("w", w);
    let attrs = Attrs::new().with("spec", "mk,kn->mn");
    let z = node(&mut g, "contract", &[joined, w], attrs);
    finished(g, z)
}

/// A contraction whose operands and result have their axes in random orders.
fn sample_axes(s: &mut Sampler) -> Graph {
    let mut g = Graph::default();
    let batch = s.int(0, 1) as usize;
    let letters = b"bmkn";
    let extents: Vec<i64> = (0..4).map(|_| s.int(1, 5)).collect();
    let mut side = |own: &[u8]| -> Vec<u8> {
        let mut all = letters[1 - batch..1].to_vec();
        all.extend_from_slice(own);
        for k in (1..all.len()).rev() {
            let other = s.int(0, k as i64) as usize;
            all.swap(k, other);
        }
        all
    };
    let (a, mut b, mut out) = (side(b"mk"), side(b"kn"), side(b"mn"));
    // At least one of the orders is not that of a product of matrices.
    if a.ends_with(b"mk") && b.ends_with(b"kn") && out.ends_with(b"mn") {
        b.reverse();
        out.reverse();
    }
    let extent = |c: &u8| {
        letters
            .iter()
            .position(|l| l == c)
            .map_or(1, |k| extents[k])
    };
    let shape = |l: &[u8]| l.iter().map(extent).collect::<Vec<i64>>();
    let x = float(&mut g, "x", &shape(&a));
    let mut y = float(&mut g, "y", &shape(&b));
    if b.last() == Some(&b'k') && s.int(0, 1) == 0 {
        let axis = b.len() as i64 - 1;
        y = node(&mut g, "softmax", &[y], Attrs::new().with("axis", axis));
    }
    let text = |l: &[u8]| String::from_utf8_lossy(l).into_owned();
    let spec = format!("{},{}->{}", text(&a), text(&b), text(&out));
    let attrs = Attrs::new().with("spec", spec);
    let z = node(&mut g, "contract", &[x, y], attrs);
    finished(g, z)
}

fn sample_factor(s: &mut Sampler) -> Graph {
    let mut g = Graph::default();
    let (m, k, n) = (s.int(1, 5), s.int(1, 5), s.int(1, 5));
    let x = float(&mut g, "x", &[m, k]);
    let y = float(&mut g, "y", &[k, n]);
    let mut operands = [x, y];
    let which = s.int(0, 1) as usize;
    let name = *s.pick(&["mul", "div", "neg"]);
    let mut of = vec![operands[which]];
    if name != "neg" {
        of.push(number(&mut g, 4.0));
        if name == "mul" && s.int(0, 1) == 0 {
            of.reverse();
        }
    }
    operands[which] = node(&mut g, name, &of, Attrs::new());
    let attrs = Attrs::new().with("spec", "mk,kn->mn");
    let z = node(&mut g, "contract", &operands, attrs);
    finished(g, z)
}

fn sample_rows(s: &mut Sampler) -> Graph {
    let mut g = Graph::default();
    let (a, b, k, n) = (s.int(1, 3), s.int(1, 4), s.int(1, 5), s.int(1, 5));
    let x = float(&mut g, "x", &[a, b, k]);
    let flat = Attrs::new().with("shape", vec![Expr::from(a * b), Expr::from(k)]);
    let x = node(&mut g, "reshape", &[x], flat);
    let w = s.tensor(DType::F32, &[k as usize, n as usize], -1.0, 1.0);
    let w = g.add_constant("w", w);
    let attrs = Attrs::new().with("spec", "mk,kn->mn");
    let z = node(&mut g, "contract", &[x, w], attrs);
    finished(g, z)
}
