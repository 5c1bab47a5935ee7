//! Sums that are written as contractions, and quotients by sums that stand behind contractions.
use super::super::facts::Terms;
use super::super::pattern::calls;
use super::super::rule::{Kind, Normal, Rounding, Rule, Stands, Structure, Tree};
use super::super::term::Call;
use super::{finished, float, node, structure};
use egg::Id;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, ValueId};
use tensmith_ir::ops::{Sampler, Spec, op};

/// Views between a sum and the quotient by it, at most.
const VIEWS: usize = 3;

/// The rules.
pub const RULES: &[Rule] = &[
    behind(
        "softmax-behind-contraction",
        "div",
        "(div (contract (exp ?x) ?y) (reduce_sum (exp ?x))) => (contract (softmax ?x) ?y), if both sum along the same axis",
    )
    .always(),
    behind(
        "softmax-behind-contraction-by-product",
        "mul",
        "(mul (contract (exp ?x) ?y) (reciprocal (reduce_sum (exp ?x)))) => (contract (softmax ?x) ?y), if both sum along the same axis",
    )
    .always(),
    structure(
        "contraction-of-rows",
        Rounding::Reassociates,
        (
            "contract",
            &[],
            "(contract ?x ?y) => (reduce_sum (mul ?x ?y)), if both have the same axes",
        ),
        of_rows,
        sample_rows,
    ),
];

const fn behind(name: &'static str, op: &'static str, equation: &'static str) -> Rule {
    Rule {
        name,
        rounding: Rounding::Reassociates,
        kind: Kind::Structure(Structure {
            equation,
            op,
            below: &["contract"],
            // Its axes get their order by another rule.
            normal: Normal::No,
            rewrite: softmax_before,
            sample: match op.as_bytes()[0] {
                b'd' => |s| sample_behind(s, "div"),
                _ => |s| sample_behind(s, "mul"),
            },
        }),
        stands: Stands::IfAllAreCheaper,
    }
}

/// What each axis of a view is an axis of; those of extent 1 are of nothing.
type Axes = Vec<Option<u8>>;

fn softmax_before(terms: &Terms, of: &Call) -> Vec<Tree> {
    let [x, y] = of.args[..] else { return vec![] };
    if of.op.name == "div" {
        return normalised(terms, x, y);
    }
    let inverse = |class: Id| -> Vec<Id> {
        let one = |c: &Call| terms[c.args[0]].data.uniform() == Some(1.0);
        let of = |c: &Call| match c.op.name {
            "reciprocal" => Some(c.args[0]),
            "div" if one(c) => Some(c.args[1]),
            _ => None,
        };
        calls(terms, class).filter_map(of).collect()
    };
    let pairs = [[x, y], [y, x]].into_iter();
    let pairs = pairs.flat_map(|[p, q]| inverse(q).into_iter().map(move |sum| (p, sum)));
    pairs
        .flat_map(|(p, sum)| normalised(terms, p, sum))
        .collect()
}

/// A contraction of powers, over their sum, as one of the softmax.
fn normalised(terms: &Terms, product: Id, sum: Id) -> Vec<Tree> {
    let mut found = Vec::new();
    for contract in calls(terms, product).filter(|c| c.op.name == "contract") {
        let spec = Spec::of(&contract.attrs);
        let summed = spec.summed();
        let [axis] = summed[..] else { continue };
        let sides = [&spec.a, &spec.b];
        for (k, letters) in sides.into_iter().enumerate() {
            let Some(place) = letters.iter().position(|c| *c == axis) else {
                continue;
            };
            let powers = contract.args[k];
            let of = Sum {
                terms,
                powers,
                letters,
                place,
            };
            let fits = |axes: &Axes| of.divides(axes, &spec.out, product);
            if !sides[1 - k].contains(&axis) || !of.views(sum, VIEWS).iter().any(fits) {
                continue;
            }
            for power in calls(terms, powers).filter(|c| c.op.name == "exp") {
                let along = Attrs::new().with("axis", place as i64);
                let rows = Tree::Call(op("softmax"), along, vec![Tree::Class(power.args[0])]);
                let mut args: Vec<Tree> = contract.args.iter().map(|a| Tree::Class(*a)).collect();
                args[k] = rows;
                found.push(Tree::Call(contract.op, (*contract.attrs).clone(), args));
            }
        }
    }
    found
}

/// The sum of values along one of their axes.
struct Sum<'t> {
    terms: &'t Terms,
    powers: Id,
    /// The axes of the values.
    letters: &'t [u8],
    /// The axis that is summed.
    place: usize,
}

impl Sum<'_> {
    fn shape(&self, class: Id) -> &[Expr] {
        &self.terms[class].data.ty().shape
    }

    /// The axes of the values that are left, of more than one element.
    fn own(&self, d: usize) -> Option<u8> {
        let one = self.shape(self.powers)[d].is(1);
        (d != self.place && !one).then_some(self.letters[d])
    }

    /// The ways in which a class is this sum: what each of its axes is.
    fn views(&self, class: Id, depth: usize) -> Vec<Axes> {
        let mut found = Vec::new();
        for c in calls(self.terms, class) {
            let inner = || match depth {
                0 => vec![],
                _ => self.views(c.args[0], depth - 1),
            };
            match c.op.name {
                "reduce_sum" => found.extend(self.reduced(c)),
                "transpose" => {
                    let perm = c.attrs.ints("perm");
                    let moved = |axes: Axes| perm.iter().map(|p| axes[*p as usize]).collect();
                    found.extend(inner().into_iter().map(moved));
                }
                "reshape" => {
                    let seen = |axes: Axes| self.reshaped(&axes, class);
                    found.extend(inner().into_iter().filter_map(seen));
                }
                _ => {}
            }
        }
        found
    }

    fn reduced(&self, c: &Call) -> Option<Axes> {
        let same = self.terms.find(c.args[0]) == self.terms.find(self.powers);
        if !same || c.attrs.ints("axes") != [self.place as i64] {
            return None;
        }
        let kept = c.attrs.flag("keepdims");
        let all = (0..self.letters.len()).filter(|d| kept || *d != self.place);
        Some(all.map(|d| self.own(d)).collect())
    }

    /// The axes after a reshape that only adds and drops axes of extent 1.
    fn reshaped(&self, axes: &Axes, to: Id) -> Option<Axes> {
        let mut left = axes.iter().flatten();
        let mut next = |extent: &Expr| -> Option<Option<u8>> {
            if extent.is(1) {
                return Some(None);
            }
            let letter = *left.next()?;
            let d = self.letters.iter().position(|c| *c == letter)?;
            (self.shape(self.powers)[d] == *extent).then_some(Some(letter))
        };
        let found: Axes = self
            .shape(to)
            .iter()
            .map(&mut next)
            .collect::<Option<_>>()?;
        left.next().is_none().then_some(found)
    }

    /// Whether what has these axes divides each element of a contraction by the sum of the values
    /// that are in it.
    fn divides(&self, axes: &Axes, out: &[u8], product: Id) -> bool {
        let Some(missing) = out.len().checked_sub(axes.len()) else {
            return false;
        };
        let shape = self.shape(product);
        (0..out.len()).all(|d| {
            let has = d.checked_sub(missing).and_then(|k| axes[k]);
            let needs = self.letters.contains(&out[d]) && !shape[d].is(1);
            has == needs.then_some(out[d])
        })
    }
}

fn of_rows(terms: &Terms, call: &Call) -> Vec<Tree> {
    let spec = Spec::of(&call.attrs);
    let [x, y] = call.args[..] else { return vec![] };
    let summed = spec.summed();
    let rest: Vec<u8> = spec
        .a
        .iter()
        .copied()
        .filter(|c| !summed.contains(c))
        .collect();
    let float = terms[x].data.ty().dtype.is_float();
    if !float || spec.a != spec.b || rest != spec.out || summed.is_empty() {
        return vec![];
    }
    let axes = (0..spec.a.len()).filter(|d| summed.contains(&spec.a[*d]));
    let axes: Vec<i64> = axes.map(|d| d as i64).collect();
    let attrs = Attrs::new().with("axes", axes).with("keepdims", false);
    let product = Tree::Call(
        op("mul"),
        Attrs::new(),
        vec![Tree::Class(x), Tree::Class(y)],
    );
    vec![Tree::Call(op("reduce_sum"), attrs, vec![product])]
}

/// Powers of scores times values, over the sums of the powers.
fn sample_behind(s: &mut Sampler, by: &str) -> Graph {
    let mut g = Graph::default();
    let [b, m, k, n] = [(); 4].map(|()| s.int(1, 5));
    let x = float(&mut g, "x", &[b, m, k]);
    let v = float(&mut g, "v", &[b, k, n]);
    let along = |keepdims: bool| {
        Attrs::new()
            .with("axes", vec![2])
            .with("keepdims", keepdims)
    };
    let shifted = match s.int(0, 1) {
        0 => x,
        _ => {
            let most = node(&mut g, "reduce_max", &[x], along(true));
            node(&mut g, "sub", &[x, most], Attrs::new())
        }
    };
    let powers = node(&mut g, "exp", &[shifted], Attrs::new());
    let turned = s.int(0, 1) == 0;
    let spec = if turned {
        "bmk,bkn->mbn"
    } else {
        "bmk,bkn->bmn"
    };
    let product = node(
        &mut g,
        "contract",
        &[powers, v],
        Attrs::new().with("spec", spec),
    );
    let kept = turned || s.int(0, 1) == 0;
    let mut sum = node(&mut g, "reduce_sum", &[powers], along(kept));
    if turned {
        let perm = Attrs::new().with("perm", vec![1, 0, 2]);
        sum = node(&mut g, "transpose", &[sum], perm);
    } else if !kept {
        let shape: Vec<Expr> = [b, m, 1].map(Expr::from).to_vec();
        sum = node(&mut g, "reshape", &[sum], Attrs::new().with("shape", shape));
    }
    let y = over(&mut g, s, [product, sum], by);
    finished(g, y)
}

fn over(g: &mut Graph, s: &mut Sampler, [x, sum]: [ValueId; 2], by: &str) -> ValueId {
    if by == "div" {
        return node(g, "div", &[x, sum], Attrs::new());
    }
    let inverse = node(g, "reciprocal", &[sum], Attrs::new());
    let operands = if s.int(0, 1) == 0 {
        [x, inverse]
    } else {
        [inverse, x]
    };
    node(g, "mul", &operands, Attrs::new())
}

fn sample_rows(s: &mut Sampler) -> Graph {
    let mut g = Graph::default();
    let shape = [s.int(1, 4), s.int(1, 4), s.int(1, 5)];
    let (x, y) = (float(&mut g, "x", &shape), float(&mut g, "y", &shape));
    let operands = if s.int(0, 1) == 0 { [x, x] } else { [x, y] };
    let spec = *s.pick(&["abc,abc->ab", "abc,abc->ac", "abc,abc->b"]);
    let attrs = Attrs::new().with("spec", spec);
    let y = node(&mut g, "contract", &operands, attrs);
    finished(g, y)
}
