//! Quotients and remainders of one number, put together again.
use super::{Atom, Expr};

impl Expr {
    /// The same value with every `k*d*(a div d) + k*(a mod d)` as `k*a`, and every
    /// `k*d*((a div d) mod e) + k*(a mod d)` as `k*(a mod d*e)` for constant `d` and `e`.
    ///
    /// An index that was taken apart into places of several dimensions is one number again where
    /// the dimensions lie next to each other.
    pub(super) fn join_remainders(mut self) -> Expr {
        while let Some(joined) = self.join_one() {
            self = joined;
        }
        self
    }

    fn join_one(&self) -> Option<Expr> {
        self.terms.iter().find_map(|(atoms, coef)| {
            let at = atoms.iter().position(|a| matches!(a, Atom::Mod(_)))?;
            let Atom::Mod(p) = &atoms[at] else {
                return None;
            };
            let (a, d) = (&p.0, &p.1);
            let mut others = atoms.clone();
            others.remove(at);
            let part = Expr::product_of(others.clone()) * a.rem(d.clone()) * *coef;
            let (quotient, whole) = self.quotient_of(a, d, &others, *coef)?;
            Some(self.clone() - part - quotient + Expr::product_of(others) * whole * *coef)
        })
    }

    /// The term that holds the quotient to `k*others*(a mod d)`, and what both make together.
    fn quotient_of(&self, a: &Expr, d: &Expr, others: &[Atom], k: i64) -> Option<(Expr, Expr)> {
        let has = |e: &Expr| {
            let known = |t: &(Vec<Atom>, i64)| self.terms.contains(t);
            !e.terms.is_empty() && e.constant == 0 && e.terms.iter().all(known)
        };
        let quotient = Expr::product_of(others.to_vec()) * a.div(d.clone()) * d.clone() * k;
        if has(&quotient) {
            return Some((quotient, a.clone()));
        }
        let d = d.as_const()?;
        let multiple = k.checked_mul(d)?;
        let extents = self.terms.iter().filter(|(_, c)| *c == multiple);
        let extents = extents
            .flat_map(|(atoms, _)| atoms)
            .filter_map(|a| match a {
                Atom::Mod(p) => p.1.as_const(),
                _ => None,
            });
        extents.into_iter().find_map(|e| {
            let quotient = Expr::product_of(others.to_vec()) * a.div(d).rem(e) * multiple;
            has(&quotient).then(|| Some((quotient, a.rem(d.checked_mul(e)?))))?
        })
    }

    fn product_of(atoms: Vec<Atom>) -> Expr {
        if atoms.is_empty() {
            return Expr::from(1);
        }
        Expr {
            terms: vec![(atoms, 1)],
            constant: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::expr::{Expr, Ranges, Var};

    #[test]
    fn places_in_adjacent_dimensions_are_one_number() {
        let i = Expr::from(Var(0));
        let mut ranges = Ranges::default();
        ranges.bind(Var(0), &(5 * 28 * 7).into());
        let (w, h) = (i.rem(7), i.div(7).rem(28));
        let flat = (i.div(7 * 28) * 28 + h.clone()) * 7 + w.clone();
        assert_eq!(flat.simplify(&ranges), i);
        let strided = (h.clone() * 7 + w.clone()) * 64 + 3;
        assert_eq!(strided.simplify(&ranges), i.rem(7 * 28) * 64 + 3);
        let apart = h * 9 + w;
        assert_eq!(apart.simplify(&ranges), apart);
    }
}
