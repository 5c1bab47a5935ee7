//! Index expressions with quotients, remainders and extremes of the tile's loops, as integer code.
use super::{Lowering, TileArg, WhyNot};
use crate::wide::vir::{IntOp, ShiftOp, Value};
use tensmith_ir::expr::{Atom, Expr};

/// Dividends must be below 2 to this power, so that their products with a reciprocal fit.
const DIVIDEND_BITS: u32 = 31;

/// `n / divisor == (n + bias) * factor >> shift - bias / divisor`, for the range of a dividend.
struct Reciprocal {
    bias: i64,
    factor: i64,
    shift: u8,
}

impl Reciprocal {
    /// Source: Granlund and Montgomery, Division by invariant integers using multiplication,
    /// PLDI 1994, theorem 4.2.
    fn new((least, greatest): (i64, i64), divisor: i64) -> Option<Self> {
        // A multiple of the divisor.
        let bias = (-least.div_euclid(divisor)).max(0).checked_mul(divisor)?;
        let top = greatest.checked_add(bias)?;
        let bits = 64 - top.max(1).leading_zeros();
        if bits > DIVIDEND_BITS {
            return None;
        }
        let shift = bits + 64 - (divisor - 1).leading_zeros();
        let factor = ((1i128 << shift) + i128::from(divisor) - 1) / i128::from(divisor);
        Some(Reciprocal {
            bias,
            factor: i64::try_from(factor).ok()?,
            shift: u8::try_from(shift).ok()?,
        })
    }
}

impl Lowering<'_> {
    /// The part of an expression that is not linear in the open loops of the tile.
    pub(super) fn bent_part(&self, e: &Expr) -> Expr {
        let open = self.open_vars();
        let mut bent = Expr::from(0);
        for (atoms, coef) in e.terms() {
            let term = atoms
                .iter()
                .fold(Expr::from(*coef), |t, a| t * atom_expr(a));
            let linear = open.iter().all(|v| {
                let coefficient = term.linear_coefficient(*v);
                coefficient.is_some_and(|c| open.iter().all(|w| !c.mentions(*w)))
            });
            if !linear {
                bent = bent + term;
            }
        }
        bent
    }

    /// The expression for the lanes at hand, `j` lanes further in vectors.
    pub(super) fn at_lanes(&self, e: &Expr, j: i64) -> Expr {
        let value = |v| {
            let lane = self.lanes.iter().find(|l| l.var == v)?;
            Some(Expr::from(lane.value + if lane.vector { j } else { 0 }))
        };
        e.substitute(&value).simplify(&self.ranges)
    }

    /// The value of an expression without lanes, computed once an iteration of the loops that it
    /// mentions.
    pub(super) fn index_value(&mut self, e: &Expr) -> Result<Value, WhyNot> {
        let scope = self.scope_of(e);
        if let Some(v) = self.scopes[scope].values.get(e) {
            return Ok(*v);
        }
        let mut terms = Vec::new();
        for (atoms, coef) in e.terms() {
            let factors = atoms.iter().map(|a| self.atom_value(a));
            terms.push((factors.collect::<Result<Vec<_>, _>>()?, *coef));
        }
        let constant = e.constant();
        let block = self.scopes[scope].block;
        let v = self.within(block, |cx| {
            let sum = terms.into_iter().map(|(factors, coef)| {
                let product = factors
                    .into_iter()
                    .reduce(|a, b| cx.b.int(IntOp::Mul, a, b));
                let product = product.expect("invariant: terms have atoms");
                cx.times(product, coef)
            });
            let sum: Vec<Value> = sum.collect();
            let sum = sum.into_iter().reduce(|a, b| cx.b.int(IntOp::Add, a, b));
            match sum {
                None => cx.b.iconst(constant),
                Some(v) if constant == 0 => v,
                Some(v) => cx.b.int_add_const(v, constant),
            }
        });
        // Constants are not kept: they belong to one block.
        if !e.terms().is_empty() {
            self.scopes[scope].values.insert(e.clone(), v);
        }
        Ok(v)
    }

    /// The innermost open loop that an expression mentions.
    pub(super) fn scope_of(&self, e: &Expr) -> usize {
        let mentioned = |s: &super::LoopScope| s.var.is_some_and(|(v, _)| e.mentions(v));
        self.scopes.iter().rposition(mentioned).unwrap_or(0)
    }

    fn times(&mut self, v: Value, by: i64) -> Value {
        if by == 1 {
            return v;
        }
        if by > 0 && by.count_ones() == 1 {
            return self.b.int_shift(ShiftOp::Shl, v, by.trailing_zeros() as u8);
        }
        let by = self.b.iconst(by);
        self.b.int(IntOp::Mul, v, by)
    }

    fn atom_value(&mut self, atom: &Atom) -> Result<Value, WhyNot> {
        match atom {
            Atom::Var(v) => {
                let open = self
                    .scopes
                    .iter()
                    .find_map(|s| s.var.filter(|(w, _)| w == v));
                Ok(match open {
                    Some((_, value)) => value,
                    None => self.outer_value(Expr::from(*v)),
                })
            }
            Atom::Size(s) => Ok(self.outer_value(Expr::size(s.clone()))),
            Atom::Div(p) | Atom::Mod(p) => {
                let divisor = p.1.as_const().filter(|d| *d > 0).ok_or(WhyNot::Index)?;
                self.quotient(&p.0, divisor, matches!(atom, Atom::Mod(_)))
            }
            Atom::Min(p) => self.extreme_of(IntOp::Min, &p.0, &p.1),
            Atom::Max(p) => self.extreme_of(IntOp::Max, &p.0, &p.1),
        }
    }

    fn outer_value(&mut self, e: Expr) -> Value {
        let word = self.word(TileArg::Value(e));
        self.word_value(word)
    }

    fn extreme_of(&mut self, op: IntOp, x: &Expr, y: &Expr) -> Result<Value, WhyNot> {
        let block = self.scopes[self.scope_of(x).max(self.scope_of(y))].block;
        let (x, y) = (self.operand(x)?, self.operand(y)?);
        Ok(self.within(block, |cx| {
            let [x, y] = [x, y].map(|v| v.unwrap_or_else(|c| cx.b.iconst(c)));
            cx.b.int(op, x, y)
        }))
    }

    /// A value, or a constant that is made where it is used.
    fn operand(&mut self, e: &Expr) -> Result<Result<Value, i64>, WhyNot> {
        match e.as_const() {
            Some(c) => Ok(Err(c)),
            None => self.index_value(e).map(Ok),
        }
    }

    /// The quotient rounded down, or its remainder.
    fn quotient(&mut self, x: &Expr, divisor: i64, remainder: bool) -> Result<Value, WhyNot> {
        let reciprocal = match divisor.count_ones() {
            1 => None,
            _ => {
                let range = self.ranges.bounds(x);
                Some(Reciprocal::new(range, divisor).ok_or(WhyNot::Index)?)
            }
        };
        let block = self.scopes[self.scope_of(x)].block;
        let x = self.index_value(x)?;
        Ok(self.within(block, |cx| {
            let q = match reciprocal {
                None => {
                    cx.b.int_shift(ShiftOp::Sar, x, divisor.trailing_zeros() as u8)
                }
                Some(r) => {
                    let biased = cx.b.int_add_const(x, r.bias);
                    let factor = cx.b.iconst(r.factor);
                    let product = cx.b.int(IntOp::Mul, biased, factor);
                    let q = cx.b.int_shift(ShiftOp::Sar, product, r.shift);
                    cx.b.int_add_const(q, -(r.bias / divisor))
                }
            };
            if !remainder {
                return q;
            }
            let whole = cx.times(q, divisor);
            cx.b.int(IntOp::Sub, x, whole)
        }))
    }
}

fn atom_expr(atom: &Atom) -> Expr {
    match atom {
        Atom::Size(s) => Expr::size(s.clone()),
        Atom::Var(v) => Expr::from(*v),
        Atom::Div(p) => p.0.div(p.1.clone()),
        Atom::Mod(p) => p.0.rem(p.1.clone()),
        Atom::Min(p) => p.0.at_most(p.1.clone()),
        Atom::Max(p) => p.0.at_least(p.1.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::Reciprocal;

    #[test]
    fn reciprocals_divide_as_division_does() {
        for divisor in [3, 5, 6, 7, 100, 641, 65_537] {
            for range in [
                (0, 50),
                (-1, 1),
                (-70_000, 70_000),
                (0, i64::from(i32::MAX)),
            ] {
                let r = Reciprocal::new(range, divisor).unwrap();
                let steps = (0..=2000).map(|k| range.0 + (range.1 - range.0) * k / 2000);
                let edges = (1..500).flat_map(|k| [k * divisor - 1, k * divisor, -k * divisor]);
                for n in steps
                    .chain(edges)
                    .filter(|n| (range.0..=range.1).contains(n))
                {
                    let q = (((n + r.bias) * r.factor) >> r.shift) - r.bias / divisor;
                    assert_eq!(q, n.div_euclid(divisor), "{n} / {divisor} in {range:?}");
                }
            }
        }
        assert!(Reciprocal::new((0, 1 << 40), 3).is_none());
    }
}
