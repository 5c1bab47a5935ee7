//! Normalisations: differences to means, and what they are multiplied by.
use super::super::rule::Rule;
use super::normal;

/// The rules.
pub const RULES: &[Rule] = &[
    normal(
        "variance",
        "(reduce_mean@a (mul (sub ?x (reduce_mean@a ?x)) (sub ?x (reduce_mean@a ?x))))",
        "(reduce_mean@a (mul (sub ?x (reduce_mean@a ?x)) (sub ?x (reduce_mean@a ?x))))",
    ),
    normal(
        "centre",
        "(sub ?x (reduce_mean@a ?x))",
        "(sub ?x (reduce_mean@a ?x))",
    ),
    // A product for each element less, and no difference of large products.
    normal(
        "factor-of-centre",
        "(sub (mul ?x ?f) (mul ?f (reduce_mean@a ?x)))",
        "(mul (sub ?x (reduce_mean@a ?x)) ?f)",
    ),
    normal(
        "factor-of-centre-and-offset",
        "(add ?b (sub (mul ?x ?f) (mul ?f (reduce_mean@a ?x))))",
        "(add (mul (sub ?x (reduce_mean@a ?x)) ?f) ?b)",
    ),
];
