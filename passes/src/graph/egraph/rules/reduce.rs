//! Reductions: the axes they keep, and means of sums.
use super::super::facts::Terms;
use super::super::pattern::{calls, near};
use super::super::rule::{Kind, Normal, Rounding, Rule, Stands, Structure, Tree};
use super::super::term::Call;
use super::{REDUCTIONS, finished, float, node, number as number_of, structure};
use egg::Id;
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, TensorType};
use tensmith_ir::ops::{Class, Sampler, op};
use tensmith_ir::tensor::Tensor;

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        name: "keep-reduced-axes",
        rounding: Rounding::Exact,
        kind: Kind::Structure(Structure {
            equation: "(reshape (reduce{keepdims=false} ?x)) => (reduce{keepdims=true} ?x), if the shapes are the same",
            op: "reshape",
            below: REDUCTIONS,
            normal: Normal::No,
            rewrite: keep_axes,
            sample: sample_keep_axes,
        }),
        stands: Stands::IfAllAreCheaper,
    },
    structure(
        "drop-reduced-axes",
        Rounding::Exact,
        (
            "reshape",
            REDUCTIONS,
            "(reshape (reduce{keepdims=true} ?x)) => (reduce{keepdims=false} ?x), if the shapes are the same",
        ),
        drop_axes,
        sample_drop_axes,
    ),
    twice(
        "sum-of-sums",
        "reduce_sum",
        "(reduce_sum (reduce_sum ?x)) => (reduce_sum ?x) over both axes, if both stay or neither does",
    ),
    twice(
        "mean-of-means",
        "reduce_mean",
        "(reduce_mean (reduce_mean ?x)) => (reduce_mean ?x) over both axes, if both stay or neither does",
    ),
    structure(
        "sum-of-whole-window",
        Rounding::Reassociates,
        (
            "pool_sum",
            &[],
            "(pool_sum ?x) => (reduce_sum ?x), if the window is the image",
        ),
        whole_window,
        |s| sample_window(s, "pool_sum"),
    ),
    structure(
        "mean-of-whole-window",
        Rounding::Reassociates,
        (
            "pool_avg",
            &[],
            "(pool_avg ?x) => (reduce_mean ?x), if the window is the image",
        ),
        whole_window,
        |s| sample_window(s, "pool_avg"),
    ),
    Rule {
        name: "mean-of-sum",
        rounding: Rounding::Reassociates,
        kind: Kind::Structure(Structure {
            equation: "(mul (reduce_sum ?x) 1/n) => (reduce_mean ?x), if n elements are added",
            op: "mul",
            below: &["reduce_sum"],
            normal: Normal::No,
            rewrite: mean_by_product,
            sample: |s| sample_mean(s, "mul"),
        }),
        stands: Stands::IfAllAreCheaper,
    },
    Rule {
        name: "mean-of-sum-quotient",
        rounding: Rounding::Reassociates,
        kind: Kind::Structure(Structure {
            equation: "(div (reduce_sum ?x) n) => (reduce_mean ?x), if n elements are added",
            op: "div",
            below: &["reduce_sum"],
            normal: Normal::No,
            rewrite: mean_by_quotient,
            sample: |s| sample_mean(s, "div"),
        }),
        stands: Stands::IfAllAreCheaper,
    },
    Rule {
        name: "sum-of-mean",
        rounding: Rounding::Reassociates,
        kind: Kind::Structure(Structure {
            equation: "(mul (reduce_mean ?x) n) => (reduce_sum ?x), if n elements are averaged",
            op: "mul",
            below: &["reduce_mean"],
            normal: Normal::No,
            rewrite: sum_by_product,
            sample: sample_sum,
        }),
        stands: Stands::IfAllAreCheaper,
    },
    Rule {
        name: "bound-of-sum-of-powers",
        rounding: Rounding::Reassociates,
        kind: Kind::Structure(Structure {
            equation: "(max (reduce_sum (exp (sub ?x (reduce_max ?x)))) n) => (reduce_sum (exp (sub ?x (reduce_max ?x)))), if n is 1 at most",
            op: "max",
            below: &["reduce_sum"],
            normal: Normal::No,
            rewrite: bound_of_powers,
            sample: sample_bound,
        }),
        stands: Stands::IfAllAreCheaper,
    },
];

/// A reduction of a reduction: of means as many elements are in each.
const fn twice(name: &'static str, op: &'static str, equation: &'static str) -> Rule {
    Rule {
        name,
        rounding: Rounding::Reassociates,
        kind: Kind::Structure(Structure {
            equation,
            op,
            below: REDUCTIONS,
            // The inner result may be read by others; then both are dearer than one after the other.
            normal: Normal::No,
            rewrite: both_axes,
            sample: match op.as_bytes()[7] {
                b's' => |s| sample_twice(s, "reduce_sum"),
                _ => |s| sample_twice(s, "reduce_mean"),
            },
        }),
        stands: Stands::IfAllAreCheaper,
    }
}

fn both_axes(terms: &Terms, call: &Call) -> Vec<Tree> {
    let keeps = call.attrs.flag("keepdims");
    let inner = calls(terms, call.args[0]).filter(|c| c.op.name == call.op.name);
    let alike = inner.filter(|c| c.attrs.flag("keepdims") == keeps);
    let both = |c: &Call| {
        let first = c.attrs.ints("axes");
        // The axes that the outer one sees.
        let rank = terms[c.args[0]].data.ty().rank() as i64;
        let left: Vec<i64> = (0..rank).filter(|d| keeps || !first.contains(d)).collect();
        let second = call.attrs.ints("axes").iter().map(|a| left[*a as usize]);
        let mut axes: Vec<i64> = first.iter().copied().chain(second).collect();
        axes.sort_unstable();
        axes.dedup();
        let attrs = (*call.attrs).clone().with("axes", axes);
        Tree::Call(call.op, attrs, vec![Tree::Class(c.args[0])])
    };
    alike.map(both).collect()
}

fn drop_axes(terms: &Terms, call: &Call) -> Vec<Tree> {
    let shape = call.attrs.dims("shape");
    let inner = calls(terms, call.args[0]).filter(|c| c.op.class == Class::Reduction);
    let kept = inner.filter(|c| c.attrs.get("axes").is_some() && c.attrs.flag("keepdims"));
    let dropped = |c: &Call| {
        let axes = c.attrs.ints("axes");
        let of = terms[c.args[0]].data.ty().shape.iter().enumerate();
        let rest = of.filter(|(k, _)| !axes.contains(&(*k as i64)));
        rest.map(|(_, d)| d.clone()).collect::<Vec<_>>() == shape
    };
    let without = |c: &Call| {
        let attrs = (*c.attrs).clone().with("keepdims", false);
        Tree::Call(c.op, attrs, vec![Tree::Class(c.args[0])])
    };
    kept.filter(|c| dropped(c)).map(without).collect()
}

/// A window that is all of an image.
fn whole_window(terms: &Terms, call: &Call) -> Vec<Tree> {
    let shape = &terms[call.args[0]].data.ty().shape;
    let none = |name: &str| call.attrs.ints(name).iter().all(|n| *n == 0);
    let kernel = call.attrs.ints("kernel");
    let whole = kernel.iter().zip(&shape[2..]).all(|(k, d)| d.is(*k));
    let plain = call.attrs.ints("dilations").iter().all(|d| *d == 1);
    let float = terms[call.args[0]].data.ty().dtype.is_float();
    if !float || !whole || !plain || !none("pads_before") || !none("pads_after") {
        return vec![];
    }
    let axes: Vec<i64> = (2..shape.len() as i64).collect();
    let attrs = Attrs::new().with("axes", axes).with("keepdims", true);
    let name = match call.op.name {
        "pool_avg" => "reduce_mean",
        _ => "reduce_sum",
    };
    vec![Tree::Call(op(name), attrs, vec![Tree::Class(call.args[0])])]
}

fn keep_axes(terms: &Terms, call: &Call) -> Vec<Tree> {
    let shape = call.attrs.dims("shape");
    let inner = calls(terms, call.args[0]).filter(|c| c.op.class == Class::Reduction);
    let kept = inner.filter(|c| {
        c.attrs.get("axes").is_some()
            && !c.attrs.flag("keepdims")
            && kept_shape(&terms[c.args[0]].data.types[0].shape, c.attrs.ints("axes")) == shape
    });
    let with = |c: &Call| {
        let attrs = (*c.attrs).clone().with("keepdims", true);
        Tree::Call(c.op, attrs, vec![Tree::Class(c.args[0])])
    };
    kept.map(with).collect()
}

fn kept_shape(shape: &[Expr], axes: &[i64]) -> Vec<Expr> {
    let kept = |(k, d): (usize, &Expr)| match axes.contains(&(k as i64)) {
        true => Expr::from(1),
        false => d.clone(),
    };
    shape.iter().enumerate().map(kept).collect()
}

fn mean_by_product(terms: &Terms, call: &Call) -> Vec<Tree> {
    let [x, y] = call.args[..] else { return vec![] };
    [(x, y), (y, x)]
        .into_iter()
        .flat_map(|(sum, c)| mean(terms, sum, number(terms, c)))
        .collect()
}

fn mean_by_quotient(terms: &Terms, call: &Call) -> Vec<Tree> {
    mean(
        terms,
        call.args[0],
        number(terms, call.args[1]).map(|n| 1.0 / n),
    )
}

fn sum_by_product(terms: &Terms, call: &Call) -> Vec<Tree> {
    let [x, y] = call.args[..] else { return vec![] };
    let mut found = Vec::new();
    for (mean, c) in [(x, y), (y, x)] {
        let factor = number(terms, c);
        let means = calls(terms, mean).filter(|c| c.op.name == "reduce_mean");
        let all = means.filter(|c| {
            let count = count(terms, c);
            count
                .zip(factor)
                .is_some_and(|(n, f)| n > 0 && near(f, n as f64))
        });
        let sum = |c: &Call| {
            let of = vec![Tree::Class(c.args[0])];
            Tree::Call(op("reduce_sum"), (*c.attrs).clone(), of)
        };
        found.extend(all.map(sum));
    }
    found
}

/// How many elements a reduction has of each result.
fn count(terms: &Terms, of: &Call) -> Option<i64> {
    let shape = &terms[of.args[0]].data.ty().shape;
    let axes = of.attrs.ints("axes").iter();
    axes.map(|a| shape[*a as usize].as_const()).product()
}

/// The largest of powers is 1 if the exponents are differences to the largest one.
fn bound_of_powers(terms: &Terms, call: &Call) -> Vec<Tree> {
    let [x, y] = call.args[..] else { return vec![] };
    let named =
        |class: Id, name: &'static str| calls(terms, class).filter(move |c| c.op.name == name);
    let is_shifted = |power: Id, axes: &[i64]| {
        named(power, "exp")
            .flat_map(|e| named(e.args[0], "sub"))
            .any(|s| {
                named(s.args[1], "reduce_max").any(|m| {
                    let same = terms.find(m.args[0]) == terms.find(s.args[0]);
                    same && m.attrs.flag("keepdims") && m.attrs.ints("axes") == axes
                })
            })
    };
    let mut found = Vec::new();
    for (sum, c) in [(x, y), (y, x)] {
        let low = number(terms, c).is_some_and(|n| n <= 1.0);
        let sums = named(sum, "reduce_sum").filter(|_| low);
        let shifted = sums.filter(|c| is_shifted(c.args[0], c.attrs.ints("axes")));
        found.extend(shifted.map(|_| Tree::Class(sum)));
    }
    found
}

fn sample_sum(s: &mut Sampler) -> Graph {
    let mut g = Graph::default();
    let shape = [s.int(1, 4), s.int(1, 5)];
    let x = float(&mut g, "x", &shape);
    let attrs = Attrs::new().with("axes", vec![1]).with("keepdims", true);
    let y = node(&mut g, "reduce_mean", &[x], attrs);
    let n = number_of(&mut g, shape[1] as f64);
    let operands = if s.int(0, 1) == 0 { [y, n] } else { [n, y] };
    let y = node(&mut g, "mul", &operands, Attrs::new());
    finished(g, y)
}

fn sample_bound(s: &mut Sampler) -> Graph {
    let mut g = Graph::default();
    let shape = [s.int(1, 4), s.int(1, 5)];
    let x = float(&mut g, "x", &shape);
    let axes = Attrs::new()
        .with("axes", vec![s.int(0, 1)])
        .with("keepdims", true);
    let most = node(&mut g, "reduce_max", &[x], axes.clone());
    let y = node(&mut g, "sub", &[x, most], Attrs::new());
    let y = node(&mut g, "exp", &[y], Attrs::new());
    let y = node(&mut g, "reduce_sum", &[y], axes);
    let n = number_of(&mut g, 1e-6);
    let operands = if s.int(0, 1) == 0 { [y, n] } else { [n, y] };
    let y = node(&mut g, "max", &operands, Attrs::new());
    finished(g, y)
}

fn number(terms: &Terms, class: Id) -> Option<f64> {
    let data = &terms[class].data;
    data.ty().dtype.is_float().then(|| data.uniform()).flatten()
}

/// The means that are sums in a class times a number.
fn mean(terms: &Terms, sum: Id, factor: Option<f64>) -> Vec<Tree> {
    let Some(factor) = factor else { return vec![] };
    let sums = calls(terms, sum).filter(|c| c.op.name == "reduce_sum");
    let of = sums.filter(|c| {
        let count = count(terms, c);
        count.is_some_and(|n| n > 0 && near(factor * n as f64, 1.0))
    });
    let mean = |c: &Call| {
        Tree::Call(
            op("reduce_mean"),
            (*c.attrs).clone(),
            vec![Tree::Class(c.args[0])],
        )
    };
    of.map(mean).collect()
}

/// A float tensor, some of its axes in order, and whether they stay.
fn sample_reduction(s: &mut Sampler, keepdims: bool) -> (Graph, TensorType, Attrs) {
    let rank = s.int(1, 3) as usize;
    let shape: Vec<usize> = (0..rank).map(|_| s.int(1, 5) as usize).collect();
    let axes: Vec<i64> = (0..rank as i64).filter(|_| s.int(0, 1) == 1).collect();
    let extents = shape.iter().map(|d| Expr::from(*d as i64)).collect();
    let attrs = Attrs::new().with("axes", axes).with("keepdims", keepdims);
    (
        Graph::default(),
        TensorType::new(DType::F32, extents),
        attrs,
    )
}

fn sample_keep_axes(s: &mut Sampler) -> Graph {
    let (mut g, ty, attrs) = sample_reduction(s, false);
    let shape = kept_shape(&ty.shape, attrs.ints("axes"));
    let reduction = *s.pick(&["reduce_sum", "reduce_mean", "reduce_max", "reduce_min"]);
    let x = g.add_input("x", ty);
    let fits = "invariant: the sample's types fit";
    let y = g.add_one(op(reduction), "r", &[x], attrs).expect(fits);
    let shape = Attrs::new().with("shape", shape);
    let y = g.add_one(op("reshape"), "y", &[y], shape).expect(fits);
    g.add_output("y", y);
    g
}

fn sample_mean(s: &mut Sampler, by: &'static str) -> Graph {
    let keepdims = s.int(0, 1) == 1;
    let (mut g, ty, attrs) = sample_reduction(s, keepdims);
    let extent = |a: &i64| ty.shape[*a as usize].as_const().unwrap_or(1);
    let count = attrs.ints("axes").iter().map(extent).product::<i64>() as f64;
    let number = if by == "mul" { 1.0 / count } else { count };
    let x = g.add_input("x", ty);
    let c = g.add_constant("c", Tensor::splat(DType::F32, vec![], number));
    let fits = "invariant: the sample's types fit";
    let y = g.add_one(op("reduce_sum"), "r", &[x], attrs).expect(fits);
    let operands = if by == "mul" && s.int(0, 1) == 0 {
        [c, y]
    } else {
        [y, c]
    };
    let y = g.add_one(op(by), "y", &operands, Attrs::new()).expect(fits);
    g.add_output("y", y);
    g
}

fn sample_drop_axes(s: &mut Sampler) -> Graph {
    let mut g = Graph::default();
    let (a, b) = (s.int(1, 5), s.int(2, 5));
    let x = float(&mut g, "x", &[a, b]);
    let attrs = Attrs::new().with("axes", vec![1]).with("keepdims", true);
    let name = *s.pick(&["reduce_sum", "reduce_max"]);
    let y = node(&mut g, name, &[x], attrs);
    let shape = Attrs::new().with("shape", vec![Expr::from(a)]);
    let y = node(&mut g, "reshape", &[y], shape);
    finished(g, y)
}

fn sample_twice(s: &mut Sampler, name: &'static str) -> Graph {
    let mut g = Graph::default();
    let shape: Vec<i64> = (0..3).map(|_| s.int(1, 5)).collect();
    let x = float(&mut g, "x", &shape);
    let keeps = s.int(0, 1) == 0;
    let axes = |k: i64| Attrs::new().with("axes", vec![k]).with("keepdims", keeps);
    let first = s.int(0, 2);
    let y = node(&mut g, name, &[x], axes(first));
    let second = match keeps {
        true => (first + s.int(1, 2)) % 3,
        false => s.int(0, 1),
    };
    let y = node(&mut g, name, &[y], axes(second));
    finished(g, y)
}

fn sample_window(s: &mut Sampler, name: &str) -> Graph {
    let mut g = Graph::default();
    let (h, w) = (s.int(1, 4), s.int(1, 4));
    let shape = [s.int(1, 2), s.int(1, 3), h, w];
    let x = float(&mut g, "x", &shape);
    let mut attrs = Attrs::new()
        .with("kernel", vec![h, w])
        .with("strides", vec![s.int(1, 2), 1])
        .with("dilations", vec![1, 1])
        .with("pads_before", vec![0, 0])
        .with("pads_after", vec![0, 0]);
    if name == "pool_avg" {
        attrs = attrs
            .with("ceil_pads", vec![0, 0])
            .with("count_include_pad", s.int(0, 1) == 0);
    }
    let y = node(&mut g, name, &[x], attrs);
    finished(g, y)
}
