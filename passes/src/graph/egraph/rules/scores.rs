//! Attention whose scores are written otherwise: with keys before queries, or as sums of products.
use super::super::facts::Terms;
use super::super::pattern::calls;
use super::super::rule::{Kind, Normal, Rounding, Rule, Stands, Structure, Tree};
use super::super::term::Call;
use super::contractions::{SCALAR, roles, text, transposed, views};
use super::{finished, float, node, number, structure};
use egg::Id;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph};
use tensmith_ir::ops::{Class, Sampler, Spec, op};

/// The rules.
pub const RULES: &[Rule] = &[
    structure(
        "softmax-of-keys-first",
        Rounding::Reassociates,
        (
            "contract",
            &["softmax"],
            "(contract (softmax (contract ?k ?q)) ?v) => the same with the softmax along the last axis of (contract ?q ?k), if it is along the axis that is summed; scalar work may be between",
        ),
        keys_last,
        sample_keys,
    ),
    Rule {
        name: "transpose-of-contraction",
        rounding: Rounding::Reassociates,
        kind: Kind::Structure(Structure {
            equation: "(transpose (contract ?x ?y)) => (contract ?x ?y) with the axes of its result in that order, for run-time ?x and ?y; scalar work may be between",
            op: "transpose",
            below: &["contract"],
            // The order of its axes has another rule.
            normal: Normal::No,
            rewrite: transposed_product,
            sample: sample_transposed,
        }),
        stands: Stands::IfAllAreCheaper,
    },
    Rule {
        name: "sum-of-outer-products",
        rounding: Rounding::Reassociates,
        kind: Kind::Structure(Structure {
            equation: "(reduce_sum (mul ?x ?y)) => (contract ?x ?y), if each repeats along axes of the other",
            op: "reduce_sum",
            below: &["mul"],
            // Its axes get their order by another rule.
            normal: Normal::No,
            rewrite: outer,
            sample: sample_outer,
        }),
        stands: Stands::IfAllAreCheaper,
    },
];

pub(super) fn keys_last(terms: &Terms, call: &Call) -> Vec<Tree> {
    let spec = Spec::of(&call.attrs);
    let [axis] = spec.summed()[..] else {
        return vec![];
    };
    let mut found = Vec::new();
    let sides = [&spec.a, &spec.b];
    for k in 0..2 {
        if !sides[1 - k].contains(&axis) {
            continue;
        }
        for (class, letters) in views(terms, call.args[k], sides[k]) {
            let along = |c: &&Call| {
                let place = c.attrs.int("axis") as usize;
                letters[place] == axis && place + 1 < letters.len()
            };
            let rows = calls(terms, class).filter(|c| c.op.name == "softmax");
            let Some(row) = rows.into_iter().find(along) else {
                continue;
            };
            let place = row.attrs.int("axis") as usize;
            let mut perm: Vec<usize> = (0..letters.len()).filter(|d| *d != place).collect();
            perm.push(place);
            let Some(scores) = turned(terms, row.args[0], &perm, SCALAR) else {
                continue;
            };
            let last = Attrs::new().with("axis", letters.len() as i64 - 1);
            let mut args: Vec<Tree> = call.args.iter().map(|a| Tree::Class(*a)).collect();
            args[k] = Tree::Call(row.op, last, vec![scores]);
            let mut forms = [spec.a.clone(), spec.b.clone(), spec.out.clone()];
            forms[k] = perm.iter().map(|d| letters[*d]).collect();
            found.push(Tree::Call(call.op, form(forms), args));
        }
    }
    found
}

/// A contraction, or scalar work on one, for a transpose of it.
fn transposed_product(terms: &Terms, outer: &Call) -> Vec<Tree> {
    let perm = outer.attrs.ints("perm").iter();
    let perm: Vec<usize> = perm.map(|p| *p as usize).collect();
    turned(terms, outer.args[0], &perm, SCALAR)
        .into_iter()
        .collect()
}

/// The attribute of a contraction, with its letters named by what they do.
fn form([a, b, out]: [Vec<u8>; 3]) -> Attrs {
    let spec = Spec { a, b, out };
    let sides = [&spec.a[..], &spec.b, &spec.out];
    let named = roles(&spec).map(|roles| text(&roles, sides));
    let plain = || {
        let [a, b, out] = sides.map(String::from_utf8_lossy);
        format!("{a},{b}->{out}")
    };
    Attrs::new().with("spec", named.unwrap_or_else(plain))
}

/// A contraction of values, or scalar work on one, with its axes in another order.
fn turned(terms: &Terms, class: Id, perm: &[usize], depth: usize) -> Option<Tree> {
    let varies = |c: &Call| c.args.iter().all(|id| !terms[*id].data.fixed);
    let mut products = calls(terms, class).filter(|c| c.op.name == "contract" && varies(c));
    if let Some(product) = products.next() {
        let Spec { a, b, out } = Spec::of(&product.attrs);
        let out: Vec<u8> = perm.iter().map(|d| out[*d]).collect();
        let mut args: Vec<Tree> = product.args.iter().map(|id| Tree::Class(*id)).collect();
        // The columns of the result are of the second operand, as in a product of matrices.
        let swaps = out.last().is_some_and(|c| !b.contains(c));
        let forms = if swaps { [b, a, out] } else { [a, b, out] };
        if swaps {
            args.reverse();
        }
        return Some(Tree::Call(product.op, form(forms), args));
    }
    let mut works = calls(terms, class).filter(|c| depth > 0 && c.op.class == Class::Elementwise);
    works.find_map(|c| worked(terms, (c, class), perm, depth - 1))
}

/// As [`turned`], of scalar work.
fn worked(terms: &Terms, (c, class): (&Call, Id), perm: &[usize], depth: usize) -> Option<Tree> {
    let shape = |id: Id| &terms[id].data.ty().shape;
    let mut has_product = false;
    let mut arg = |id: &Id| {
        if shape(*id).iter().all(|e| e.is(1)) && shape(*id).len() < perm.len() {
            return Tree::Class(*id);
        }
        let inner = (shape(*id) == shape(class)).then(|| turned(terms, *id, perm, depth));
        if let Some(inner) = inner.flatten() {
            has_product = true;
            return inner;
        }
        beside(terms, *id, perm)
    };
    let args: Vec<Tree> = c.args.iter().map(&mut arg).collect();
    has_product.then(|| Tree::Call(c.op, (*c.attrs).clone(), args))
}

/// What broadcasts to a value, so that it does to one with axes in another order.
fn beside(terms: &Terms, class: Id, perm: &[usize]) -> Tree {
    let shape = &terms[class].data.ty().shape;
    let missing = perm.len() - shape.len();
    let stay = perm[..missing].iter().copied().eq(0..missing);
    let mut tree = Tree::Class(class);
    if missing > 0 && !stay {
        let ones = vec![Expr::from(1); missing];
        let attrs = Attrs::new().with("shape", [&ones[..], shape].concat());
        tree = Tree::Call(op("reshape"), attrs, vec![tree]);
    }
    let first = if stay { missing } else { 0 };
    let to: Vec<u8> = perm[first..].iter().map(|d| (d - first) as u8).collect();
    let axes: Vec<u8> = (0..to.len() as u8).collect();
    // What is a transpose already may be read as it was.
    let known = views(terms, class, &axes).into_iter().filter(|_| stay);
    match known.into_iter().find(|(_, own)| *own == to) {
        Some((before, _)) => Tree::Class(before),
        None => transposed(tree, &axes, &to),
    }
}

/// A contraction for the sum of products of two values, of which each repeats along axes of the
/// other.
fn outer(terms: &Terms, call: &Call) -> Vec<Tree> {
    let (ty, axes) = (terms[call.args[0]].data.ty(), call.attrs.ints("axes"));
    if !ty.dtype.is_float() || ty.rank() > 26 {
        return vec![];
    }
    let product = |c: &&Call| c.op.name == "mul";
    let products = calls(terms, call.args[0]).filter(product);
    products
        .filter_map(|c| contracted(terms, call, (c, &ty.shape), axes))
        .collect()
}

fn contracted(
    terms: &Terms,
    call: &Call,
    (product, whole): (&Call, &[Expr]),
    axes: &[i64],
) -> Option<Tree> {
    let rank = whole.len();
    let sides: Vec<&[Expr]> = (product.args.iter())
        .map(|id| terms[*id].data.ty().shape.as_slice())
        .collect();
    let fixed = product.args.iter().any(|id| terms[*id].data.fixed);
    let varies = |side: &[Expr], d: usize| {
        let missing = rank - side.len();
        d >= missing && !side[d - missing].is(1)
    };
    let summed = |d: usize| axes.contains(&(d as i64));
    let own =
        |k: usize| (0..rank).any(|d| varies(sides[k], d) && !varies(sides[1 - k], d) && !summed(d));
    let both = |d: usize| varies(sides[0], d) && varies(sides[1], d);
    let many: Vec<usize> = (0..rank)
        .filter(|d| summed(*d) && !whole[*d].is(1))
        .collect();
    if fixed || !own(0) || !own(1) || many.is_empty() || !many.into_iter().all(both) {
        return None;
    }
    let letter = |d: usize| b'a' + d as u8;
    let mut args = Vec::new();
    let mut forms = Vec::new();
    for (id, side) in product.args.iter().zip(&sides) {
        let axes: Vec<usize> = (0..rank).filter(|d| varies(side, *d)).collect();
        let shape: Vec<Expr> = axes.iter().map(|d| whole[*d].clone()).collect();
        args.push(seen(Tree::Class(*id), side, shape));
        forms.push(axes.into_iter().map(letter).collect::<Vec<u8>>());
    }
    let varying = |d: &usize| !summed(*d) && !whole[*d].is(1);
    let out: Vec<usize> = (0..rank).filter(varying).collect();
    let shape: Vec<Expr> = out.iter().map(|d| whole[*d].clone()).collect();
    let out = out.into_iter().map(letter).collect();
    let [a, b] = [forms.remove(0), forms.remove(0)];
    let sum = Tree::Call(op("contract"), form([a, b, out]), args);
    let kept = call.attrs.flag("keepdims");
    let left = (0..rank).filter(|d| kept || !summed(*d));
    let extent = |d: usize| match summed(d) {
        true => 1.into(),
        false => whole[d].clone(),
    };
    Some(seen(sum, &shape, left.map(extent).collect()))
}

/// The same elements under another shape.
fn seen(tree: Tree, from: &[Expr], to: Vec<Expr>) -> Tree {
    if from == to {
        return tree;
    }
    Tree::Call(op("reshape"), Attrs::new().with("shape", to), vec![tree])
}

fn sample_keys(s: &mut Sampler) -> Graph {
    let mut g = Graph::default();
    let [b, m, n, k, l] = [
        s.int(1, 3),
        s.int(1, 4),
        s.int(1, 5),
        s.int(1, 4),
        s.int(1, 4),
    ];
    let q = float(&mut g, "q", &[b, m, k]);
    let keys = float(&mut g, "k", &[b, n, k]);
    let v = float(&mut g, "v", &[b, n, l]);
    let attrs = Attrs::new().with("spec", "bnk,bmk->bnm");
    let mut scores = node(&mut g, "contract", &[keys, q], attrs);
    if s.int(0, 1) == 0 {
        let c = number(&mut g, 0.5);
        scores = node(&mut g, "mul", &[scores, c], Attrs::new());
    }
    if s.int(0, 1) == 0 {
        let mask = float(&mut g, "mask", &[n, m]);
        scores = node(&mut g, "add", &[mask, scores], Attrs::new());
    }
    let rows = node(&mut g, "softmax", &[scores], Attrs::new().with("axis", 1));
    let (operands, spec) = match s.int(0, 1) {
        0 => ([rows, v], "bnm,bnl->bml"),
        _ => ([v, rows], "bnl,bnm->blm"),
    };
    let y = node(
        &mut g,
        "contract",
        &operands,
        Attrs::new().with("spec", spec),
    );
    finished(g, y)
}

/// A transposed product, perhaps with scalar work between.
fn sample_transposed(s: &mut Sampler) -> Graph {
    let mut g = Graph::default();
    let [b, m, n, k] = [s.int(1, 3), s.int(1, 5), s.int(1, 5), s.int(1, 4)];
    let x = float(&mut g, "x", &[b, m, k]);
    let y = float(&mut g, "y", &[b, k, n]);
    let attrs = Attrs::new().with("spec", "bmk,bkn->bmn");
    let mut z = node(&mut g, "contract", &[x, y], attrs);
    if s.int(0, 1) == 0 {
        let c = number(&mut g, 0.5);
        z = node(&mut g, "mul", &[z, c], Attrs::new());
    }
    if s.int(0, 1) == 0 {
        let mask = float(&mut g, "mask", &[m, n]);
        z = node(&mut g, "add", &[z, mask], Attrs::new());
    }
    let perm = s.pick(&[[0, 2, 1], [1, 0, 2], [2, 1, 0]]).to_vec();
    let z = node(&mut g, "transpose", &[z], Attrs::new().with("perm", perm));
    finished(g, z)
}

fn sample_outer(s: &mut Sampler) -> Graph {
    let mut g = Graph::default();
    let [b, m, n, k] = [s.int(1, 3), s.int(2, 4), s.int(2, 4), s.int(2, 5)];
    let x = float(&mut g, "x", &[b, m, 1, k]);
    let y = match s.int(0, 1) {
        0 => float(&mut g, "y", &[b, 1, n, k]),
        _ => float(&mut g, "y", &[n, k]),
    };
    let z = node(&mut g, "mul", &[x, y], Attrs::new());
    let keeps = s.int(0, 1) == 0;
    let attrs = Attrs::new().with("axes", vec![3]).with("keepdims", keeps);
    let z = node(&mut g, "reduce_sum", &[z], attrs);
    finished(g, z)
}
