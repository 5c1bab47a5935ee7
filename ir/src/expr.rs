//! Quasi-affine integer expressions: dimensions of tensors and indices of accesses.
//!
//! One type serves shapes (`2*$seq + 1`) and indices (`i0*4 + i1 - 1`): a polynomial over atoms,
//! kept in a canonical form, so that structural equality decides most questions. Arithmetic
//! saturates; whoever takes sizes from untrusted input bounds them.
mod conditions;
mod remainders;

use smallvec::{SmallVec, smallvec};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Add, Mul, Neg, Sub};
use std::sync::Arc;

/// The name of a size that is known only at run time, such as `batch`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(Arc<str>);

impl Symbol {
    /// A symbol; characters that the text forms cannot hold become `_`.
    pub fn new(name: &str) -> Self {
        let fine = |c: char| {
            if c.is_ascii_alphanumeric() || c == '_' {
                c
            } else {
                '_'
            }
        };
        let name: String = name.chars().take(64).map(fine).collect();
        Symbol(if name.is_empty() {
            "_".into()
        } else {
            name.into()
        })
    }

    /// The name, without the `$` of the text forms.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// A loop variable or a checked indirect index of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Var(pub u32);

/// What a polynomial is over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Atom {
    /// A size symbol; never negative.
    Size(Symbol),
    /// A loop variable.
    Var(Var),
    /// Quotient rounded towards minus infinity; the divisor is positive.
    Div(Box<(Expr, Expr)>),
    /// The remainder that belongs to `Div`: in `0..divisor`.
    Mod(Box<(Expr, Expr)>),
    /// The lesser.
    Min(Box<(Expr, Expr)>),
    /// The greater.
    Max(Box<(Expr, Expr)>),
}

/// Atoms that are multiplied, sorted. Most are one.
pub type Product = SmallVec<[Atom; 1]>;

/// A polynomial with integer coefficients over [`Atom`]s, in canonical form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Expr {
    /// Products of at least one atom with their coefficients (never 0), sorted.
    terms: Vec<(Product, i64)>,
    constant: i64,
}

/// Ranges of variables and symbols: inclusive lower and upper bounds.
#[derive(Clone, Debug, Default)]
pub struct Ranges {
    vars: BTreeMap<Var, (i64, i64)>,
    /// Upper bounds that are expressions: `var <= bound`.
    symbolic: BTreeMap<Var, Expr>,
    sizes: BTreeMap<Symbol, (i64, i64)>,
    /// What conditions say of single atoms.
    said: BTreeMap<Atom, (i64, i64)>,
}

/// The bound of symbols and unknown values: large, yet far from overflow.
pub const UNBOUNDED: i64 = 1 << 48;

impl Ranges {
    /// No knowledge: symbols lie in `0..=UNBOUNDED`.
    pub fn new() -> Self {
        Self::default()
    }

    /// States that `var` lies in `0..extent`.
    pub fn bind(&mut self, var: Var, extent: &Expr) {
        let (_, hi) = self.bounds(extent);
        self.vars.insert(var, (0, hi.saturating_sub(1).max(0)));
        if extent.as_const().is_none() {
            self.symbolic.insert(var, extent.clone() - 1);
        }
    }

    /// States that `symbol` lies in `lo..=hi`.
    pub fn bind_size(&mut self, symbol: Symbol, lo: i64, hi: i64) {
        self.sizes.insert(symbol, (lo, hi));
    }

    /// States that `cond >= 0`, of which only what it says of a single atom is kept.
    pub fn assume(&mut self, cond: &Expr) {
        let [(atoms, by)] = &cond.terms[..] else {
            return;
        };
        let [atom] = &atoms[..] else { return };
        let (mut least, mut most) = self.atom_bounds(atom);
        match *by {
            by @ 1.. => least = least.max(-cond.constant.div_euclid(by)),
            by => most = most.min(cond.constant.div_euclid(by.saturating_neg())),
        }
        if least <= most {
            self.said.insert(atom.clone(), (least, most));
        }
    }

    /// The inclusive bounds of an expression by interval arithmetic.
    pub fn bounds(&self, e: &Expr) -> (i64, i64) {
        let mut total = (e.constant, e.constant);
        for (atoms, coef) in &e.terms {
            let mut product = (*coef, *coef);
            for atom in atoms {
                product = interval_mul(product, self.atom_bounds(atom));
            }
            total = (
                total.0.saturating_add(product.0),
                total.1.saturating_add(product.1),
            );
        }
        total
    }

    fn atom_bounds(&self, atom: &Atom) -> (i64, i64) {
        if let Some(said) = self.said.get(atom) {
            return *said;
        }
        match atom {
            Atom::Size(s) => self.sizes.get(s).copied().unwrap_or((0, UNBOUNDED)),
            Atom::Var(v) => self.vars.get(v).copied().unwrap_or((-UNBOUNDED, UNBOUNDED)),
            Atom::Div(p) => {
                let ((a, b), (c, d)) = (self.bounds(&p.0), self.bounds(&p.1));
                let (c, d) = (c.max(1), d.max(1));
                let q = [
                    a.div_euclid(c),
                    a.div_euclid(d),
                    b.div_euclid(c),
                    b.div_euclid(d),
                ];
                (
                    q.into_iter().min().unwrap_or(a),
                    q.into_iter().max().unwrap_or(b),
                )
            }
            Atom::Mod(p) => {
                let ((lo, hi), (_, d)) = (self.bounds(&p.0), self.bounds(&p.1));
                let top = d.max(1) - 1;
                (0, if lo >= 0 { hi.min(top) } else { top })
            }
            Atom::Min(p) => {
                let ((a, b), (c, d)) = (self.bounds(&p.0), self.bounds(&p.1));
                (a.min(c), b.min(d))
            }
            Atom::Max(p) => {
                let ((a, b), (c, d)) = (self.bounds(&p.0), self.bounds(&p.1));
                (a.max(c), b.max(d))
            }
        }
    }

    /// Whether `e >= 0` can be proved: by intervals, after variables with symbolic bounds that
    /// occur linearly were replaced by the bound that makes `e` least.
    pub fn proves_non_negative(&self, e: &Expr) -> bool {
        if self.bounds(e).0 >= 0 {
            return true;
        }
        let mut least = e.clone();
        for (var, bound) in self.symbolic.iter().rev() {
            if let Some(coef) = least.linear_coefficient(*var) {
                let at = if self.bounds(&coef).0 >= 0 {
                    Expr::from(0)
                } else if self.bounds(&coef).1 <= 0 {
                    bound.clone()
                } else {
                    continue;
                };
                least = least.substitute(&|v| (v == *var).then(|| at.clone()));
            }
        }
        self.bounds(&least).0 >= 0
    }

    /// Whether `0 <= e < d` can be proved.
    fn proves_within(&self, e: &Expr, d: &Expr) -> bool {
        let below = d.clone() - 1 - e.clone();
        self.proves_non_negative(e) && self.proves_non_negative(&below)
    }

    /// Whether `a <= b` can be proved.
    pub fn proves_le(&self, a: &Expr, b: &Expr) -> bool {
        self.proves_non_negative(&(b.clone() - a.clone()))
    }
}

fn interval_mul(a: (i64, i64), b: (i64, i64)) -> (i64, i64) {
    let p = [
        a.0.saturating_mul(b.0),
        a.0.saturating_mul(b.1),
        a.1.saturating_mul(b.0),
        a.1.saturating_mul(b.1),
    ];
    (
        p.into_iter().min().unwrap_or(0),
        p.into_iter().max().unwrap_or(0),
    )
}

impl Expr {
    /// The value of a variable.
    pub fn var(var: Var) -> Self {
        Self::atom(Atom::Var(var))
    }

    /// The value of a size symbol.
    pub fn size(symbol: Symbol) -> Self {
        Self::atom(Atom::Size(symbol))
    }

    /// An atom alone.
    pub fn atom(atom: Atom) -> Self {
        Expr {
            terms: vec![(smallvec![atom], 1)],
            constant: 0,
        }
    }

    /// The number, if this is one.
    pub fn as_const(&self) -> Option<i64> {
        self.terms.is_empty().then_some(self.constant)
    }

    /// The variable, if this is just one.
    pub fn as_var(&self) -> Option<Var> {
        match (self.constant, &self.terms[..]) {
            (0, [(atoms, 1)]) => match &atoms[..] {
                [Atom::Var(v)] => Some(*v),
                _ => None,
            },
            _ => None,
        }
    }

    /// The symbol, if this is just one.
    pub fn as_symbol(&self) -> Option<&Symbol> {
        match (self.constant, &self.terms[..]) {
            (0, [(atoms, 1)]) => match &atoms[..] {
                [Atom::Size(s)] => Some(s),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether this is the number `n`.
    pub fn is(&self, n: i64) -> bool {
        self.as_const() == Some(n)
    }

    /// The constant summand.
    pub fn constant(&self) -> i64 {
        self.constant
    }

    /// The summands that are not constant: atoms and coefficient.
    pub fn terms(&self) -> &[(Product, i64)] {
        &self.terms
    }

    fn from_terms(map: BTreeMap<Product, i64>, constant: i64) -> Self {
        let terms = map.into_iter().filter(|(_, c)| *c != 0).collect();
        Expr { terms, constant }
    }

    /// The expression that many times.
    fn scaled(mut self, by: i64) -> Self {
        match by {
            0 => self.terms.clear(),
            _ => {
                let coefs = self.terms.iter_mut().map(|(_, coef)| coef);
                coefs.for_each(|coef| *coef = coef.saturating_mul(by));
            }
        }
        self.constant = self.constant.saturating_mul(by);
        self
    }

    /// Quotient rounded towards minus infinity. A divisor that is not positive counts as 1.
    pub fn div(&self, d: impl Into<Expr>) -> Expr {
        let d = d.into();
        if let Some(c) = d.as_const() {
            return self.div_const(c.max(1));
        }
        if *self == d {
            return 1.into();
        }
        if let Some(q) = self.exact_quotient(&d) {
            return q;
        }
        Self::atom(Atom::Div(Box::new((self.clone(), d))))
    }

    fn div_const(&self, c: i64) -> Expr {
        if c == 1 {
            return self.clone();
        }
        if let Some(n) = self.as_const() {
            return n.div_euclid(c).into();
        }
        let (whole, rest) = self.split_multiples(c);
        if let Some(r) = rest.as_const() {
            return whole + r.div_euclid(c);
        }
        let nested = match &rest.terms[..] {
            [(atoms, 1)] if rest.constant == 0 => match &atoms[..] {
                [Atom::Div(p)] => p.1.as_const().map(|inner| (p.0.clone(), inner)),
                _ => None,
            },
            _ => None,
        };
        if let Some((inner, by)) = nested {
            return whole + inner.div(by.saturating_mul(c));
        }
        whole + Self::atom(Atom::Div(Box::new((rest, c.into()))))
    }

    /// `self = c * whole + rest`, with coefficients and constant of `rest` in `0..c`.
    fn split_multiples(&self, c: i64) -> (Expr, Expr) {
        let mut whole = Expr::from(self.constant.div_euclid(c));
        let mut rest = Expr::from(self.constant.rem_euclid(c));
        for (atoms, coef) in &self.terms {
            if coef % c == 0 {
                whole.terms.push((atoms.clone(), coef / c));
            } else {
                rest.terms.push((atoms.clone(), *coef));
            }
        }
        (whole, rest)
    }

    /// The quotient by a single product of atoms that divides every term.
    fn exact_quotient(&self, d: &Expr) -> Option<Expr> {
        let [(divisor, by)] = &d.terms[..] else {
            return None;
        };
        if d.constant != 0 || self.constant != 0 {
            return None;
        }
        let mut map = BTreeMap::new();
        for (atoms, coef) in &self.terms {
            if coef % by != 0 {
                return None;
            }
            let mut left = atoms.clone();
            for atom in divisor {
                let at = left.iter().position(|a| a == atom)?;
                left.remove(at);
            }
            *map.entry(left).or_insert(0) += coef / by;
        }
        let constant = map.remove(&Product::new()).unwrap_or(0);
        Some(Self::from_terms(map, constant))
    }

    /// The remainder that belongs to [`Expr::div`].
    pub fn rem(&self, d: impl Into<Expr>) -> Expr {
        let d = d.into();
        match d.as_const() {
            Some(c) if c <= 1 => 0.into(),
            Some(c) => {
                let (_, rest) = self.split_multiples(c);
                match rest.as_const() {
                    Some(r) => r.rem_euclid(c).into(),
                    None => Self::atom(Atom::Mod(Box::new((rest, d)))),
                }
            }
            None if self.exact_quotient(&d).is_some() => 0.into(),
            None => Self::atom(Atom::Mod(Box::new((self.clone(), d)))),
        }
    }

    /// The lesser of two.
    pub fn at_most(&self, other: impl Into<Expr>) -> Expr {
        let other = other.into();
        match (self.clone() - other.clone()).as_const() {
            Some(d) => {
                if d <= 0 {
                    self.clone()
                } else {
                    other
                }
            }
            None => Self::atom(Atom::Min(Box::new((self.clone(), other)))),
        }
    }

    /// The greater of two.
    pub fn at_least(&self, other: impl Into<Expr>) -> Expr {
        let other = other.into();
        match (self.clone() - other.clone()).as_const() {
            Some(d) => {
                if d >= 0 {
                    self.clone()
                } else {
                    other
                }
            }
            None => Self::atom(Atom::Max(Box::new((self.clone(), other)))),
        }
    }

    /// The quotient rounded up.
    pub fn ceil_div(&self, d: i64) -> Expr {
        (self.clone() + (d - 1)).div(d)
    }

    /// Rebuilds the expression with each atom replaced.
    pub fn map_atoms(&self, f: &dyn Fn(&Atom) -> Option<Expr>) -> Expr {
        let mut total = Expr::from(self.constant);
        for (atoms, coef) in &self.terms {
            let mut product = Expr::from(*coef);
            for atom in atoms {
                product = product * Self::map_atom(atom, f);
            }
            total = total + product;
        }
        total
    }

    fn map_atom(atom: &Atom, f: &dyn Fn(&Atom) -> Option<Expr>) -> Expr {
        if let Some(e) = f(atom) {
            return e;
        }
        let both = |p: &(Expr, Expr)| (p.0.map_atoms(f), p.1.map_atoms(f));
        match atom {
            Atom::Size(_) | Atom::Var(_) => Self::atom(atom.clone()),
            Atom::Div(p) => {
                let (a, b) = both(p);
                a.div(b)
            }
            Atom::Mod(p) => {
                let (a, b) = both(p);
                a.rem(b)
            }
            Atom::Min(p) => {
                let (a, b) = both(p);
                Expr::at_most(&a, b)
            }
            Atom::Max(p) => {
                let (a, b) = both(p);
                Expr::at_least(&a, b)
            }
        }
    }

    /// The expression with variables replaced.
    pub fn substitute(&self, f: &dyn Fn(Var) -> Option<Expr>) -> Expr {
        let mut replaced = false;
        self.visit(&mut |a| replaced |= matches!(a, Atom::Var(v) if f(*v).is_some()));
        if !replaced {
            return self.clone();
        }
        self.map_atoms(&|a| match a {
            Atom::Var(v) => f(*v),
            _ => None,
        })
    }

    /// The expression with symbols replaced.
    pub fn bind_sizes(&self, f: &dyn Fn(&Symbol) -> Option<i64>) -> Expr {
        self.map_atoms(&|a| match a {
            Atom::Size(s) => f(s).map(Expr::from),
            _ => None,
        })
    }

    /// The same value, simpler: quotients, remainders, minima and maxima that the ranges decide.
    pub fn simplify(&self, ranges: &Ranges) -> Expr {
        if !self.has_compound() {
            return self.clone();
        }
        let simple = self.map_atoms(&|a| {
            let (Atom::Div(p) | Atom::Mod(p) | Atom::Min(p) | Atom::Max(p)) = a else {
                return None;
            };
            let (x, y) = (p.0.simplify(ranges), p.1.simplify(ranges));
            Some(match a {
                Atom::Div(_) => x.simplified_div(&y, ranges).0,
                Atom::Mod(_) => x.simplified_div(&y, ranges).1,
                Atom::Min(_) if ranges.proves_le(&x, &y) => x,
                Atom::Min(_) if ranges.proves_le(&y, &x) => y,
                Atom::Min(_) => Expr::at_most(&x, y),
                _ if ranges.proves_le(&x, &y) => y,
                _ if ranges.proves_le(&y, &x) => x,
                _ => Expr::at_least(&x, y),
            })
        });
        simple.join_remainders()
    }

    fn has_compound(&self) -> bool {
        let compound = |a: &Atom| !matches!(a, Atom::Size(_) | Atom::Var(_));
        self.terms
            .iter()
            .any(|(atoms, _)| atoms.iter().any(compound))
    }

    /// Quotient and remainder; terms that are multiples of the divisor leave the quotient when
    /// what remains is proved to lie in `0..divisor`.
    fn simplified_div(&self, d: &Expr, ranges: &Ranges) -> (Expr, Expr) {
        let mut whole = Expr::from(0);
        let mut rest = Expr::from(self.constant);
        for (atoms, coef) in &self.terms {
            let term = Expr {
                terms: vec![(atoms.clone(), *coef)],
                constant: 0,
            };
            match (d.as_const(), term.exact_quotient(d)) {
                (Some(c), _) if c > 0 && coef % c == 0 => {
                    whole = whole
                        + Expr {
                            terms: vec![(atoms.clone(), coef / c)],
                            constant: 0,
                        };
                }
                (None, Some(q)) => whole = whole + q,
                _ => rest = rest + term,
            }
        }
        if ranges.proves_within(&rest, d) {
            return (whole, rest);
        }
        // All values have one quotient.
        if let Some(c) = d.as_const().filter(|c| *c > 0) {
            let (least, most) = ranges.bounds(&rest);
            let quotient = least.div_euclid(c);
            if quotient == most.div_euclid(c)
                && let Some(gone) = quotient.checked_mul(c)
            {
                return (whole + quotient, rest - gone);
            }
        }
        let parted = d.as_const().and_then(|c| rest.parted_div(c, ranges));
        match parted {
            Some((quotient, remainder)) => (whole + quotient, remainder),
            None => (self.div(d.clone()), self.rem(d.clone())),
        }
    }

    /// The coefficient of `var`, if the expression is linear in it and it occurs nowhere else.
    pub fn linear_coefficient(&self, var: Var) -> Option<Expr> {
        let mut coefficient = Expr::from(0);
        for (atoms, coef) in &self.terms {
            let at = atoms.iter().position(|a| *a == Atom::Var(var));
            let Some(at) = at else {
                if atoms.iter().any(|a| a.mentions(var)) {
                    return None;
                }
                continue;
            };
            let mut left = atoms.clone();
            left.remove(at);
            if left.iter().any(|a| a.mentions(var)) {
                return None;
            }
            let constant = if left.is_empty() { *coef } else { 0 };
            let terms = if left.is_empty() {
                vec![]
            } else {
                vec![(left, *coef)]
            };
            coefficient = coefficient + Expr { terms, constant };
        }
        Some(coefficient)
    }

    /// Whether `var` occurs anywhere.
    pub fn mentions(&self, var: Var) -> bool {
        self.terms
            .iter()
            .any(|(atoms, _)| atoms.iter().any(|a| a.mentions(var)))
    }

    /// Calls `f` with every variable and symbol that occurs.
    pub fn visit(&self, f: &mut dyn FnMut(&Atom)) {
        for atom in self.terms.iter().flat_map(|(atoms, _)| atoms) {
            match atom {
                Atom::Size(_) | Atom::Var(_) => f(atom),
                Atom::Div(p) | Atom::Mod(p) | Atom::Min(p) | Atom::Max(p) => {
                    p.0.visit(f);
                    p.1.visit(f);
                }
            }
        }
    }

    /// The symbols that occur, in order of first occurrence.
    pub fn symbols(&self) -> Vec<Symbol> {
        let mut found = Vec::new();
        self.visit(&mut |a| match a {
            Atom::Size(s) if !found.contains(s) => found.push(s.clone()),
            _ => {}
        });
        found
    }

    /// The value for given variables and symbols; `None` on an unknown one, overflow, or a
    /// divisor that is not positive.
    pub fn eval(&self, value: &dyn Fn(&Atom) -> Option<i64>) -> Option<i64> {
        let mut total = self.constant;
        for (atoms, coef) in &self.terms {
            let mut product = *coef;
            for atom in atoms {
                product = product.checked_mul(Self::eval_atom(atom, value)?)?;
            }
            total = total.checked_add(product)?;
        }
        Some(total)
    }

    fn eval_atom(atom: &Atom, value: &dyn Fn(&Atom) -> Option<i64>) -> Option<i64> {
        let both = |p: &(Expr, Expr)| Some((p.0.eval(value)?, p.1.eval(value)?));
        match atom {
            Atom::Size(_) | Atom::Var(_) => value(atom),
            Atom::Div(p) => {
                let (a, b) = both(p)?;
                (b > 0).then(|| a.div_euclid(b))
            }
            Atom::Mod(p) => {
                let (a, b) = both(p)?;
                (b > 0).then(|| a.rem_euclid(b))
            }
            Atom::Min(p) => {
                let (a, b) = both(p)?;
                Some(a.min(b))
            }
            Atom::Max(p) => {
                let (a, b) = both(p)?;
                Some(a.max(b))
            }
        }
    }
}

impl Atom {
    /// Whether the value depends on a variable.
    pub fn mentions(&self, var: Var) -> bool {
        match self {
            Atom::Size(_) => false,
            Atom::Var(v) => *v == var,
            Atom::Div(p) | Atom::Mod(p) | Atom::Min(p) | Atom::Max(p) => {
                p.0.mentions(var) || p.1.mentions(var)
            }
        }
    }
}

/// The product of dimensions.
pub fn product(dims: &[Expr]) -> Expr {
    dims.iter().fold(Expr::from(1), |a, b| a * b.clone())
}

impl From<i64> for Expr {
    fn from(constant: i64) -> Self {
        Expr {
            terms: vec![],
            constant,
        }
    }
}

impl From<i32> for Expr {
    fn from(constant: i32) -> Self {
        Expr::from(i64::from(constant))
    }
}

impl From<usize> for Expr {
    fn from(n: usize) -> Self {
        Expr::from(i64::try_from(n).unwrap_or(i64::MAX))
    }
}

impl From<Var> for Expr {
    fn from(var: Var) -> Self {
        Expr::var(var)
    }
}

impl From<&Expr> for Expr {
    fn from(e: &Expr) -> Self {
        e.clone()
    }
}

impl<T: Into<Expr>> Add<T> for Expr {
    type Output = Expr;

    fn add(self, other: T) -> Expr {
        let other = other.into();
        let constant = self.constant.saturating_add(other.constant);
        let mut terms = Vec::with_capacity(self.terms.len() + other.terms.len());
        let mut second = other.terms.into_iter().peekable();
        for (atoms, coef) in self.terms {
            while let Some(before) = second.next_if(|(b, _)| *b < atoms) {
                terms.push(before);
            }
            let same = second.next_if(|(b, _)| *b == atoms);
            let sum = coef.saturating_add(same.map_or(0, |(_, c)| c));
            if sum != 0 {
                terms.push((atoms, sum));
            }
        }
        terms.extend(second);
        Expr { terms, constant }
    }
}

impl Neg for Expr {
    type Output = Expr;

    fn neg(self) -> Expr {
        self * -1
    }
}

impl<T: Into<Expr>> Sub<T> for Expr {
    type Output = Expr;

    fn sub(self, other: T) -> Expr {
        self + -other.into()
    }
}

impl<T: Into<Expr>> Mul<T> for Expr {
    type Output = Expr;

    fn mul(self, other: T) -> Expr {
        let other = other.into();
        match (self.as_const(), other.as_const()) {
            (_, Some(by)) => return self.scaled(by),
            (Some(by), _) => return other.scaled(by),
            _ => {}
        }
        let mut map: BTreeMap<Product, i64> = BTreeMap::new();
        let mut add = |atoms: Product, coef: i64| {
            let slot = map.entry(atoms).or_insert(0);
            *slot = slot.saturating_add(coef);
        };
        for (a, x) in &self.terms {
            add(a.clone(), x.saturating_mul(other.constant));
            for (b, y) in &other.terms {
                let mut atoms: Product = a.iter().chain(b).cloned().collect();
                atoms.sort();
                add(atoms, x.saturating_mul(*y));
            }
        }
        for (b, y) in other.terms {
            add(b, y.saturating_mul(self.constant));
        }
        Expr::from_terms(map, self.constant.saturating_mul(other.constant))
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}", self.0)
    }
}

impl fmt::Display for Var {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "i{}", self.0)
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Atom::Size(s) => write!(f, "{s}"),
            Atom::Var(v) => write!(f, "{v}"),
            Atom::Div(p) => write!(f, "div({}, {})", p.0, p.1),
            Atom::Mod(p) => write!(f, "mod({}, {})", p.0, p.1),
            Atom::Min(p) => write!(f, "min({}, {})", p.0, p.1),
            Atom::Max(p) => write!(f, "max({}, {})", p.0, p.1),
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (k, (atoms, coef)) in self.terms.iter().enumerate() {
            let size = coef.unsigned_abs();
            f.write_str(match (k, *coef < 0) {
                (0, false) => "",
                (0, true) => "-",
                (_, false) => " + ",
                (_, true) => " - ",
            })?;
            if size != 1 {
                write!(f, "{size}*")?;
            }
            for (j, atom) in atoms.iter().enumerate() {
                write!(f, "{}{atom}", if j == 0 { "" } else { "*" })?;
            }
        }
        match (self.terms.is_empty(), self.constant) {
            (true, c) => write!(f, "{c}"),
            (false, 0) => Ok(()),
            (false, c) if c < 0 => write!(f, " - {}", c.unsigned_abs()),
            (false, c) => write!(f, " + {c}"),
        }
    }
}

#[cfg(test)]
#[path = "expr_tests.rs"]
mod tests;
