//! The rules, family by family.
mod algebra;
mod contractions;
mod norms;
mod recognise;
mod reduce;

use super::rule::{Equation, Kind, Rounding, Rule};

/// All rules.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    let families = [
        algebra::RULES,
        contractions::RULES,
        norms::RULES,
        recognise::RULES,
        reduce::RULES,
    ];
    families.into_iter().flatten()
}

/// The rule of a name.
pub fn find(name: &str) -> Option<&'static Rule> {
    all().find(|r| r.name == name)
}

/// A rule of one equation that holds in real numbers.
const fn equal(name: &'static str, left: &'static str, right: &'static str) -> Rule {
    Rule {
        name,
        rounding: Rounding::Reassociates,
        kind: Kind::Equation(Equation {
            left,
            right,
            first: None,
            normal: false,
            derive: None,
        }),
    }
}

/// As [`equal`]; the right side is the normal form of what is recognised, and is taken even where
/// another one looks cheaper.
const fn normal(name: &'static str, left: &'static str, right: &'static str) -> Rule {
    Rule {
        name,
        rounding: Rounding::Reassociates,
        kind: Kind::Equation(Equation {
            left,
            right,
            first: None,
            normal: true,
            derive: None,
        }),
    }
}
