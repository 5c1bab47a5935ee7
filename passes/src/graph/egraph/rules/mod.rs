//! The rules, family by family.
mod algebra;
mod bounds;
mod choices;
mod contractions;
mod norms;
mod recognise;
mod reduce;
mod scores;
mod sums;
mod views;

use super::facts::Terms;
use super::rule::{Derive, Equation, Kind, Normal, Rounding, Rule, Stands, Structure, Tree};
use super::term::Call;
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, TensorType, ValueId};
use tensmith_ir::ops::{Sampler, op};
use tensmith_ir::tensor::Tensor;

/// Reductions along axes.
const REDUCTIONS: &[&str] = &[
    "reduce_sum",
    "reduce_mean",
    "reduce_max",
    "reduce_min",
    "reduce_prod",
];

/// All rules.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    let families = [
        algebra::RULES,
        bounds::RULES,
        choices::RULES,
        contractions::RULES,
        norms::RULES,
        recognise::RULES,
        reduce::RULES,
        scores::RULES,
        sums::RULES,
        views::RULES,
    ];
    families.into_iter().flatten()
}

/// An equation that cost decides on, and that always holds.
const fn plain(left: &'static str, right: &'static str) -> Equation {
    Equation {
        left,
        right,
        first: None,
        normal: Normal::No,
        derive: None,
    }
}

/// A rule of one equation that holds in real numbers.
const fn rule(name: &'static str, equation: Equation) -> Rule {
    Rule {
        name,
        rounding: Rounding::Reassociates,
        kind: Kind::Equation(equation),
        stands: Stands::IfAllAreCheaper,
    }
}

/// A rule by which cost decides.
const fn equal(name: &'static str, left: &'static str, right: &'static str) -> Rule {
    rule(name, plain(left, right))
}

/// As [`equal`]; the right side is the normal form of what is recognised, and is taken even where
/// another one looks cheaper.
const fn normal(name: &'static str, left: &'static str, right: &'static str) -> Rule {
    let equation = Equation {
        normal: Normal::All,
        ..plain(left, right)
    };
    rule(name, equation)
}

/// As [`normal`], with a guard or attributes of the right side.
const fn derived(
    name: &'static str,
    left: &'static str,
    right: &'static str,
    derive: Derive,
) -> Rule {
    let equation = Equation {
        normal: Normal::All,
        derive: Some(derive),
        ..plain(left, right)
    };
    rule(name, equation)
}

/// A rule in code, whose results are normal forms.
const fn structure(
    name: &'static str,
    rounding: Rounding,
    (op, below, equation): (&'static str, &'static [&'static str], &'static str),
    rewrite: fn(&Terms, &Call) -> Vec<Tree>,
    sample: fn(&mut Sampler) -> Graph,
) -> Rule {
    Rule {
        name,
        rounding,
        kind: Kind::Structure(Structure {
            equation,
            op,
            below,
            normal: Normal::All,
            rewrite,
            sample,
        }),
        stands: Stands::IfAllAreCheaper,
    }
}

/// A float input of a sample.
fn float(g: &mut Graph, name: &str, shape: &[i64]) -> ValueId {
    let shape = shape.iter().map(|d| Expr::from(*d)).collect();
    g.add_input(name, TensorType::new(DType::F32, shape))
}

/// A node of a sample.
fn node(g: &mut Graph, name: &str, operands: &[ValueId], attrs: Attrs) -> ValueId {
    let made = g.add_one(op(name), name, operands, attrs);
    made.expect("invariant: the sample's types fit")
}

/// A number of a sample.
fn number(g: &mut Graph, n: f64) -> ValueId {
    g.add_constant("c", Tensor::splat(DType::F32, vec![], n))
}

/// A sample with its output.
fn finished(mut g: Graph, y: ValueId) -> Graph {
    g.add_output("y", y);
    g
}
