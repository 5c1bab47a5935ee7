//! Quotients and remainders of one number: of its parts, and put together again.
use super::{Atom, Expr, Product, Ranges};
use crate::integer::gcd;

impl Expr {
    /// Quotient and remainder by `c` of `g*a + b`, where `g` divides `c` and `b` is proved to lie in
    /// `0..g`: `a div (c/g)`, and `g*(a mod (c/g)) + b`.
    pub(super) fn parted_div(&self, c: i64, ranges: &Ranges) -> Option<(Expr, Expr)> {
        let mut factors: Vec<i64> = self.terms.iter().map(|(_, k)| gcd(*k, c)).collect();
        factors.retain(|g| (2..c).contains(g));
        factors.sort_unstable();
        factors.dedup();
        factors.into_iter().rev().find_map(|g| {
            let (a, b) = self.split_multiples(g);
            let (quotient, remainder) = ranges
                .proves_within(&b, &g.into())
                .then(|| a.simplified_div(&(c / g).into(), ranges))?;
            Some((quotient, remainder * g + b))
        })
    }

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
            let known = |t: &(Product, i64)| self.terms.contains(t);
            !e.terms.is_empty() && e.constant == 0 && e.terms.iter().all(known)
        };
        let quotient = Expr::product_of(others.into()) * a.div(d.clone()) * d.clone() * k;
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
            let quotient = Expr::product_of(others.into()) * a.div(d).rem(e) * multiple;
            has(&quotient).then(|| Some((quotient, a.rem(d.checked_mul(e)?))))?
        })
    }

    fn product_of(atoms: Product) -> Expr {
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

    #[test]
    fn parts_of_a_split_number_are_its_own() {
        let [i, j] = [0, 1].map(|k| Expr::from(Var(k)));
        let mut ranges = Ranges::default();
        ranges.bind(Var(0), &64.into());
        ranges.bind(Var(1), &64.into());
        // A number below 4096 in steps of 64, as an index of three axes of 16.
        let flat = i.clone() * 64 + j.clone();
        assert_eq!(flat.div(256).simplify(&ranges), i.div(4));
        let middle = flat.div(16).rem(16).simplify(&ranges);
        assert_eq!(middle, i.rem(4) * 4 + j.div(16));
        let offset = flat.div(256) * 256 + flat.div(16).rem(16) * 16 + flat.rem(16);
        assert_eq!(offset.simplify(&ranges), flat);
        // One beyond the part.
        ranges.bind(Var(1), &65.into());
        assert_eq!(flat.div(256).simplify(&ranges), flat.div(256));
        for (i, j) in (0..64).flat_map(|i| (0..64).map(move |j| (i, j))) {
            assert_eq!(((64 * i + j) / 16) % 16, i % 4 * 4 + j / 16);
        }
    }
}
