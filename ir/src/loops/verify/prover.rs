//! Proves that index expressions are not negative: linear reasoning over loop extents and facts.
use crate::expr::{Atom, Expr, Ranges, Var};
use crate::integer::gcd;

/// How many facts a proof may combine.
const DEPTH: usize = 4;

/// How many expressions a proof may look at.
const BUDGET: usize = 4000;

/// What is known at a place in a kernel.
#[derive(Clone)]
pub(super) struct Prover {
    ranges: Ranges,
    /// Variables with their extents, outermost first.
    vars: Vec<(Var, Expr)>,
    /// Expressions that are at least 0.
    facts: Vec<Expr>,
    /// Whether what is known excludes itself: no run comes here.
    impossible: bool,
}

impl Prover {
    pub(super) fn new(ranges: Ranges) -> Self {
        Prover {
            ranges,
            vars: vec![],
            facts: vec![],
            impossible: false,
        }
    }

    /// States that `var` lies in `0..extent`, and so that there is such a number.
    pub(super) fn bind(&mut self, var: Var, extent: &Expr) {
        self.impossible |= self.ranges.bounds(extent).1 < 1;
        self.ranges.bind(var, extent);
        self.vars.push((var, extent.clone()));
        if extent.as_const().is_none() {
            self.assume(&(extent.clone() - 1));
            self.assume(&(extent.clone() - 1 - Expr::from(var)));
        }
    }

    /// States that `e >= 0`.
    pub(super) fn assume(&mut self, e: &Expr) {
        let e = e.simplify(&self.ranges);
        self.impossible |= self.ranges.bounds(&e).1 < 0;
        if e.as_const().is_some() || self.facts.contains(&e) || self.facts.len() > 64 {
            return;
        }
        self.facts.push(e.clone());
        for implied in implied(&e) {
            self.assume(&implied);
        }
    }

    /// Whether no run comes here.
    pub(super) fn is_impossible(&self) -> bool {
        self.impossible
    }

    /// The inclusive bounds of an expression: by intervals, and where one fact is the rest of it.
    pub(super) fn bounds(&self, e: &Expr) -> (i64, i64) {
        let e = e.simplify(&self.ranges);
        let (mut lo, mut hi) = self.ranges.bounds(&e);
        for fact in &self.facts {
            for (keep, take) in factors(&e, fact) {
                let (own, fact) = (e.clone() * keep, fact.clone() * take);
                // The fact times `take` is not negative where `take` is not.
                match take > 0 {
                    true => lo = lo.max(ceil_div(self.ranges.bounds(&(own - fact)).0, keep)),
                    false => hi = hi.min(self.ranges.bounds(&(own - fact)).1.div_euclid(keep)),
                }
            }
        }
        (lo, hi)
    }

    /// Whether `e >= 0` can be proved.
    pub(super) fn proves(&self, e: &Expr) -> bool {
        self.impossible || self.search(e, DEPTH, &mut BUDGET.clone())
    }

    fn search(&self, e: &Expr, depth: usize, budget: &mut usize) -> bool {
        if *budget == 0 {
            return false;
        }
        *budget -= 1;
        let e = e.simplify(&self.ranges);
        if self.ranges.proves_non_negative(&e) || self.stated(&e) {
            return true;
        }
        if let Some(ways) = resolve_compound(&e) {
            let mut all = |goals: &Vec<Expr>| goals.iter().all(|g| self.search(g, depth, budget));
            if ways.iter().any(&mut all) {
                return true;
            }
        }
        if let Some(least) = self.eliminate(&e)
            && self.search(&least, depth, budget)
        {
            return true;
        }
        depth > 0 && self.with_facts(&e, depth, budget)
    }

    /// Whether `e` is a fact, or more than one.
    fn stated(&self, e: &Expr) -> bool {
        let more = |fact: &Expr| (e.clone() - fact.clone()).as_const();
        self.facts.iter().any(|f| more(f).is_some_and(|c| c >= 0))
    }

    /// The least value over the innermost variable whose extent is symbolic.
    fn eliminate(&self, e: &Expr) -> Option<Expr> {
        let symbolic = self.vars.iter().rev();
        symbolic
            .filter(|(var, extent)| extent.as_const().is_none() && e.mentions(*var))
            .find_map(|(var, extent)| {
                let (lo, hi) = self.ranges.bounds(&e.linear_coefficient(*var)?);
                let at = match (lo >= 0, hi <= 0) {
                    (true, _) => Expr::from(0),
                    (_, true) => extent.clone() - 1,
                    _ => return None,
                };
                Some(e.substitute(&|v| (v == *var).then(|| at.clone())))
            })
    }

    /// Subtracts a fact, scaled so that one of the terms of `e` goes.
    fn with_facts(&self, e: &Expr, depth: usize, budget: &mut usize) -> bool {
        self.facts.iter().any(|fact| {
            let factors = factors(e, fact).into_iter();
            factors.filter(|(_, take)| *take > 0).any(|(keep, take)| {
                let rest = e.clone() * keep - fact.clone() * take;
                self.search(&rest, depth - 1, budget)
            })
        })
    }
}

/// How often an expression and a fact are to be taken so that a term of their difference goes; the
/// former at least once.
fn factors(e: &Expr, fact: &Expr) -> Vec<(i64, i64)> {
    let mut factors: Vec<(i64, i64)> = Vec::new();
    for (atoms, a) in e.terms() {
        let same = fact.terms().iter().find(|(other, _)| other == atoms);
        if let Some((_, b)) = same
            && a.unsigned_abs().max(b.unsigned_abs()) < 1 << 20
        {
            let g = gcd(a.abs(), b.abs());
            factors.push((b.abs() / g, a * b.signum() / g));
        }
    }
    factors.dedup();
    factors
}

/// The least integer that is no less than a quotient, for a positive divisor.
fn ceil_div(a: i64, b: i64) -> i64 {
    a.div_euclid(b) + i64::from(a.rem_euclid(b) > 0)
}

/// A compound atom that stands alone in a term, its coefficient, and the other terms.
fn lone_compounds(e: &Expr) -> impl Iterator<Item = (Atom, i64, Expr)> + '_ {
    e.terms()
        .iter()
        .filter_map(|(atoms, coef)| match &atoms[..] {
            [atom] if !matches!(atom, Atom::Size(_) | Atom::Var(_)) => {
                Some((atom.clone(), *coef, without(e, atoms)))
            }
            _ => None,
        })
}

/// The expression without the term of these atoms.
fn without(e: &Expr, atoms: &[Atom]) -> Expr {
    let mut rest = Expr::from(e.constant());
    for (others, coef) in e.terms() {
        if others[..] != *atoms {
            let product = others
                .iter()
                .fold(Expr::from(*coef), |p, a| p * atom_expr(a));
            rest = rest + product;
        }
    }
    rest
}

fn atom_expr(atom: &Atom) -> Expr {
    match atom {
        Atom::Size(s) => Expr::size(s.clone()),
        Atom::Var(v) => Expr::var(*v),
        Atom::Div(p) => p.0.div(p.1.clone()),
        Atom::Mod(p) => p.0.rem(p.1.clone()),
        Atom::Min(p) => Expr::at_most(&p.0, p.1.clone()),
        Atom::Max(p) => Expr::at_least(&p.0, p.1.clone()),
    }
}

/// Ways to prove `e >= 0` without its first lone compound atom: any list of goals will do.
fn resolve_compound(e: &Expr) -> Option<Vec<Vec<Expr>>> {
    let (atom, coef, rest) = lone_compounds(e).next()?;
    let with = |x: &Expr| rest.clone() + x.clone() * coef;
    Some(match (&atom, coef > 0) {
        (Atom::Min(p), true) | (Atom::Max(p), false) => vec![vec![with(&p.0), with(&p.1)]],
        (Atom::Min(p), false) | (Atom::Max(p), true) => vec![vec![with(&p.0)], vec![with(&p.1)]],
        (Atom::Mod(p), true) => {
            // A remainder is never negative, and with its multiple of the divisor it is `p.0`.
            vec![vec![rest.clone()], vec![with(&whole(p))]]
        }
        (Atom::Mod(p), false) => {
            let most = rest.clone() + (p.1.clone() - 1) * coef;
            vec![vec![most], vec![with(&whole(p))]]
        }
        (Atom::Div(p), _) => vec![vec![without_div(p, coef, &rest)]],
        (Atom::Size(_) | Atom::Var(_), _) => return None,
    })
}

/// `mod(a, b)` as `a - b*div(a, b)`.
fn whole(p: &(Expr, Expr)) -> Expr {
    p.0.clone() - p.0.div(p.1.clone()) * p.1.clone()
}

/// What implies `coef*div(x, d) + rest >= 0`; the same for a coefficient of 1 or -1.
fn without_div((x, d): &(Expr, Expr), coef: i64, rest: &Expr) -> Expr {
    let scaled = rest.clone() * d.clone();
    match coef {
        1 => scaled + x.clone(),
        -1 => scaled + d.clone() - 1 - x.clone(),
        c if c > 0 => scaled + (x.clone() - d.clone() + 1) * c,
        c => scaled + x.clone() * c,
    }
}

/// What follows from `e >= 0`, with one compound atom less.
fn implied(e: &Expr) -> Vec<Expr> {
    let mut found = Vec::new();
    for (atom, coef, rest) in lone_compounds(e) {
        let with = |x: &Expr| rest.clone() + x.clone() * coef;
        match (&atom, coef) {
            (Atom::Min(p), c) if c > 0 => found.extend([with(&p.0), with(&p.1)]),
            (Atom::Max(p), c) if c < 0 => found.extend([with(&p.0), with(&p.1)]),
            (Atom::Div(p), 1 | -1) => found.push(without_div(p, coef, &rest)),
            (Atom::Div(p), c) if c > 0 => found.push(rest.clone() * p.1.clone() + p.0.clone() * c),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::Symbol;

    fn v(n: u32) -> Expr {
        Expr::var(Var(n))
    }

    #[test]
    fn guards_bound_shifted_indices() {
        let mut p = Prover::new(Ranges::new());
        p.bind(Var(0), &8.into());
        p.bind(Var(1), &3.into());
        let index = v(0) + v(1) - 1;
        assert!(!p.proves(&index));
        p.assume(&index);
        p.assume(&(Expr::from(7) - index.clone()));
        assert!(p.proves(&index));
        assert!(p.proves(&(Expr::from(7) - index.clone())));
        assert!(!p.proves(&(Expr::from(6) - index)));
    }

    #[test]
    fn strided_windows_of_symbolic_extent_are_in_bounds() {
        let h = Expr::size(Symbol::new("h"));
        let mut p = Prover::new(Ranges::new());
        p.bind(Var(0), &((h.clone() - 3).div(2) + 1));
        p.bind(Var(1), &3.into());
        let index = v(0) * 2 + v(1);
        assert!(p.proves(&(h.clone() - 1 - index.clone())));
        assert!(!p.proves(&(h - 2 - index)));
    }

    #[test]
    fn tails_of_blocks_are_in_bounds() {
        let n = Expr::size(Symbol::new("n"));
        let mut p = Prover::new(Ranges::new());
        p.bind(Var(0), &n.ceil_div(8));
        p.bind(Var(1), &Expr::at_most(&(n.clone() - v(0) * 8), 8));
        let index = v(0) * 8 + v(1);
        assert!(p.proves(&(n.clone() - 1 - index.clone())));
        assert!(!p.proves(&(n - 2 - index)));
    }
}
