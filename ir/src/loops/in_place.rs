//! Whether a result of a kernel may lie in the place of one of its operands.
//!
//! It may if every element of the result is written at most once, as the last thing that an
//! iteration does, and if the iteration that writes it is the only one that reads the operand's
//! element in its place, before it does. Then no order of iterations, lanes or threads changes what
//! is read. That is proved by enumeration: the indices of each store are a product of sets, one for
//! each group of axes that share loop variables.
use super::{BufferId, Cond, Kernel, Scalar, Scope, Stmt};
use crate::expr::{Atom, Expr, Ranges, Var};
use std::collections::BTreeSet;

/// Combinations of loop variables that are enumerated for one group of axes, at most.
const COMBINATIONS: i64 = 1 << 17;

/// How often the digits of a loop variable are told apart, at most.
const SPLITS: usize = 8;

/// A store of the result: its index, the loops around it, and what holds where it is reached.
#[derive(Clone)]
struct Store {
    index: Vec<Expr>,
    loops: Vec<(Var, i64)>,
    guards: Vec<Expr>,
}

/// Whether `result` may be written over `operand`: never true without a proof.
pub fn may_write_over(kernel: &Kernel, operand: BufferId, result: BufferId) -> bool {
    let (from, to) = (kernel.buffer(operand), kernel.buffer(result));
    let alike = (from.dtype, &from.shape, &from.layout) == (to.dtype, &to.shape, &to.layout);
    let shape: Option<Vec<i64>> = to.shape.iter().map(Expr::as_const).collect();
    let (true, Some(shape)) = (
        alike && (from.scope, to.scope) == (Scope::Input, Scope::Output),
        shape,
    ) else {
        return false;
    };
    let mut walk = Walk {
        operand,
        result,
        around: Store {
            index: vec![],
            loops: vec![],
            guards: vec![],
        },
        stores: vec![],
    };
    if walk.list(&kernel.body).is_none() {
        return false;
    }
    let images = walk
        .stores
        .into_iter()
        .map(|s| image(kernel.vars, s, &shape));
    let Some(images) = images.collect::<Option<Vec<Vec<BTreeSet<i64>>>>>() else {
        return false;
    };
    let apart = |a: &Vec<BTreeSet<i64>>, b: &Vec<BTreeSet<i64>>| {
        a.iter().zip(b).any(|(x, y)| x.is_disjoint(y))
    };
    (0..images.len()).all(|k| images[k + 1..].iter().all(|b| apart(&images[k], b)))
}

struct Walk {
    operand: BufferId,
    result: BufferId,
    /// What is around the statements that are looked at.
    around: Store,
    stores: Vec<Store>,
}

impl Walk {
    /// Collects the stores of a list; `None` if one of its statements may not be there.
    fn list(&mut self, stmts: &[Stmt]) -> Option<()> {
        let written = match stmts.last() {
            Some(Stmt::Store { buffer, index, .. }) if *buffer == self.result => Some(&index[..]),
            _ => None,
        };
        for (k, stmt) in stmts.iter().enumerate() {
            match stmt {
                Stmt::Store {
                    buffer,
                    index,
                    value,
                } => {
                    self.reads_only_at(value, written).then_some(())?;
                    if *buffer == self.result {
                        (k + 1 == stmts.len()).then_some(())?;
                        let mut store = self.around.clone();
                        store.index = index.clone();
                        self.stores.push(store);
                    }
                }
                Stmt::For(l) if self.touches(&l.body) => {
                    self.around.loops.push((l.var, l.extent.as_const()?));
                    self.list(&l.body)?;
                    self.around.loops.pop();
                }
                Stmt::If {
                    cond,
                    then,
                    otherwise,
                } => self.branch(cond, (then, otherwise))?,
                Stmt::For(_) => {}
                Stmt::Check { value, body, .. } => {
                    let free = self.reads_only_at(value, None) && !self.touches(body);
                    free.then_some(())?;
                }
                Stmt::While { cond, body } => {
                    let free = self.reads_only_at(cond, None) && !self.touches(body);
                    free.then_some(())?;
                }
            }
        }
        Some(())
    }

    fn branch(&mut self, cond: &Cond, (then, otherwise): (&[Stmt], &[Stmt])) -> Option<()> {
        let guards = match cond {
            Cond::Affine(all) => [
                all.clone(),
                match &all[..] {
                    [one] => vec![-one.clone() - 1],
                    _ => vec![],
                },
            ],
            Cond::Scalar(s) => {
                self.reads_only_at(s, None).then_some(())?;
                [vec![], vec![]]
            }
        };
        for (side, guards) in [then, otherwise].into_iter().zip(guards) {
            let known = self.around.guards.len();
            self.around.guards.extend(guards);
            self.list(side)?;
            self.around.guards.truncate(known);
        }
        Some(())
    }

    /// Whether a value reads the operand at `index` only, and the result nowhere.
    fn reads_only_at(&self, value: &Scalar, index: Option<&[Expr]>) -> bool {
        let mut fits = true;
        value.visit(&mut |s| {
            if let Scalar::Load(buffer, at) = s {
                fits &= *buffer != self.result;
                fits &= *buffer != self.operand || index == Some(&at[..]);
            }
        });
        fits
    }

    /// Whether statements read the operand, or read or write the result.
    fn touches(&self, stmts: &[Stmt]) -> bool {
        stmts.iter().any(|s| {
            let own = match s {
                Stmt::Store { buffer, value, .. } => {
                    *buffer == self.result || !self.reads_only_at(value, None)
                }
                Stmt::If {
                    cond: Cond::Scalar(value),
                    ..
                }
                | Stmt::Check { value, .. }
                | Stmt::While { cond: value, .. } => !self.reads_only_at(value, None),
                Stmt::For(_) | Stmt::If { .. } => false,
            };
            own || s.bodies().into_iter().any(|b| self.touches(b))
        })
    }
}

/// The values of each axis of a store's index, if no two iterations have the same index.
fn image(vars: u32, store: Store, shape: &[i64]) -> Option<Vec<BTreeSet<i64>>> {
    let store = split_digits(vars, store);
    let mentions = |e: &Expr, v: Var| e.mentions(v);
    let used = |v: Var| store.index.iter().any(|e| mentions(e, v));
    // Iterations that an index does not tell apart write the same element.
    let again = |l: &(Var, i64)| !used(l.0) && reached(&store, *l) > 1;
    if store.loops.iter().any(again) {
        return None;
    }
    let mut images = vec![BTreeSet::new(); shape.len()];
    let mut left: BTreeSet<usize> = (0..shape.len()).collect();
    while let Some(first) = left.pop_first() {
        let mut axes = vec![first];
        let mut loops: Vec<(Var, i64)> = Vec::new();
        let mut k = 0;
        while k < axes.len() {
            let new = store
                .loops
                .iter()
                .filter(|(v, _)| mentions(&store.index[axes[k]], *v));
            let new: Vec<(Var, i64)> = new.filter(|l| !loops.contains(l)).copied().collect();
            loops.extend(new);
            let shares = |d: &usize| loops.iter().any(|(v, _)| mentions(&store.index[*d], *v));
            let more: Vec<usize> = left.iter().copied().filter(shares).collect();
            left.retain(|d| !more.contains(d));
            axes.extend(more);
            k += 1;
        }
        enumerate(&store, &loops, (&axes, shape), &mut images)?;
    }
    Some(images)
}

/// How many iterations of a loop reach a store, at most, by the conditions on its variable alone.
fn reached(store: &Store, (var, extent): (Var, i64)) -> i64 {
    if extent > COMBINATIONS {
        return extent;
    }
    let holds = |n: &i64| {
        let value = |atom: &Atom| (*atom == Atom::Var(var)).then_some(*n);
        let mut known = store.guards.iter().filter_map(|g| g.eval(&value));
        known.all(|g| g >= 0)
    };
    (0..extent).filter(holds).count() as i64
}

/// Adds the values of axes for all combinations of loop variables; `None` if two are the same, or
/// there are too many.
fn enumerate(
    store: &Store,
    loops: &[(Var, i64)],
    (axes, shape): (&[usize], &[i64]),
    images: &mut [BTreeSet<i64>],
) -> Option<()> {
    let count = loops
        .iter()
        .try_fold(1_i64, |n, (_, e)| n.checked_mul(*e))?;
    (count <= COMBINATIONS).then_some(())?;
    let only = |e: &&Expr| {
        let mut fits = true;
        e.visit(&mut |a| match a {
            Atom::Var(v) => fits &= loops.iter().any(|(w, _)| w == v),
            Atom::Size(_) => fits = false,
            _ => {}
        });
        fits
    };
    let guards: Vec<&Expr> = store.guards.iter().filter(only).collect();
    let mut seen = BTreeSet::new();
    for combination in 0..count {
        let value = |atom: &Atom| {
            let Atom::Var(var) = atom else { return None };
            let mut rest = combination;
            for (v, extent) in loops {
                if v == var {
                    return Some(rest % extent);
                }
                rest /= extent;
            }
            None
        };
        if guards.iter().any(|g| g.eval(&value).is_some_and(|n| n < 0)) {
            continue;
        }
        let mut key = 0;
        for d in axes {
            let at = store.index[*d].eval(&value)?;
            (0..shape[*d]).contains(&at).then_some(())?;
            key = key * shape[*d] + at;
            images[*d].insert(at);
        }
        seen.insert(key).then_some(())?;
    }
    Some(())
}

/// Makes two loops of one whose variable is divided by a divisor of its extent, so that axes which
/// need only the quotient or only the remainder share no variable.
fn split_digits(mut vars: u32, mut store: Store) -> Store {
    for _ in 0..SPLITS {
        let Some((k, divisor)) = divided(&store) else {
            break;
        };
        let (var, extent) = store.loops[k];
        let (quotient, remainder) = (Var(vars), Var(vars + 1));
        vars += 2;
        store.loops[k] = (quotient, extent / divisor);
        store.loops.push((remainder, divisor));
        let mut ranges = Ranges::new();
        for (v, e) in &store.loops {
            ranges.bind(*v, &Expr::from(*e));
        }
        let whole = Expr::from(quotient) * divisor + Expr::from(remainder);
        let split = |e: &Expr| {
            let substituted = e.substitute(&|v| (v == var).then(|| whole.clone()));
            substituted.simplify(&ranges)
        };
        store.index = store.index.iter().map(split).collect();
        store.guards = store.guards.iter().map(split).collect();
    }
    store
}

/// A loop whose variable is divided, and by what: a divisor of its extent.
fn divided(store: &Store) -> Option<(usize, i64)> {
    let all = store.index.iter().chain(&store.guards);
    all.flat_map(quotients).find_map(|(var, divisor)| {
        let k = store.loops.iter().position(|(v, _)| *v == var)?;
        let extent = store.loops[k].1;
        let fits = divisor > 1 && divisor < extent && extent % divisor == 0;
        fits.then_some((k, divisor))
    })
}

/// The variables of an expression that are divided as they are, with the divisors.
fn quotients(e: &Expr) -> Vec<(Var, i64)> {
    let mut found = Vec::new();
    for atom in e.terms().iter().flat_map(|(atoms, _)| atoms) {
        let (Atom::Div(pair) | Atom::Mod(pair) | Atom::Min(pair) | Atom::Max(pair)) = atom else {
            continue;
        };
        let divides = matches!(atom, Atom::Div(_) | Atom::Mod(_));
        if let (Some(var), Some(divisor), true) = (pair.0.as_var(), pair.1.as_const(), divides) {
            found.push((var, divisor));
        }
        found.extend(quotients(&pair.0));
        found.extend(quotients(&pair.1));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loops::parse_kernel;

    /// Whether `o0` may be written over `a1`.
    fn shares(body: &str) -> bool {
        let text = format!(
            "kernel k() {{ out o0: f32[6, 8] in a1: f32[6, 8] in a2: f32[8] reg r3: f32[] {body} }}"
        );
        let kernel = parse_kernel(&text).unwrap_or_else(|e| panic!("{e}"));
        may_write_over(&kernel, BufferId(1), BufferId(0))
    }

    #[test]
    fn elements_that_are_read_in_their_own_iteration_may_be_written_over() {
        assert!(shares(
            "for i0 < 6 space { for i1 < 8 space vector { o0[i0, i1] = a1[i0, i1] + a2[i1] } }"
        ));
        // After a sum, through a register.
        assert!(shares(
            "for i0 < 6 space parallel { for i1 < 8 space { r3 = 0.0f32
             for i2 < 8 reduce { r3 = r3 + a2[i2] }
             r3 = r3 + a1[i0, i1]
             o0[i0, i1] = max(r3, 0.0f32) } }"
        ));
        // One loop for two axes, and two nests that share them out.
        assert!(shares(
            "for i0 < 48 space { o0[div(i0, 8), mod(i0, 8)] = a1[div(i0, 8), mod(i0, 8)] }"
        ));
        assert!(shares(
            "for i0 < 6 space { for i1 < 5 space { o0[i0, i1] = a1[i0, i1] } }
             for i2 < 6 space { for i3 < 3 space { o0[i2, i3 + 5] = a1[i2, i3 + 5] } }"
        ));
        assert!(shares(
            "for i0 < 12 space { if [-mod(i0, 2)] { for i1 < 5 space { o0[div(i0, 2), i1] = a1[div(i0, 2), i1] } }
             else { for i2 < 3 space { o0[div(i0, 2), i2 + 5] = a1[div(i0, 2), i2 + 5] } } }"
        ));
    }

    #[test]
    fn what_is_read_elsewhere_or_written_twice_is_not() {
        for body in [
            // Another element, an inner loop, a condition.
            "for i0 < 6 space { for i1 < 8 space { o0[i0, i1] = a1[i0, -i1 + 7] } }",
            "for i0 < 6 space { for i1 < 8 space { r3 = 0.0f32
             for i2 < 8 reduce { r3 = r3 + a1[i0, i2] }
             o0[i0, i1] = r3 } }",
            "for i0 < 6 space { for i1 < 8 space { if (0.0f32 < a1[i0, i1]) { o0[i0, i1] = 1.0f32 } } }",
            // After the store.
            "for i0 < 6 space { for i1 < 8 space { o0[i0, i1] = a2[i1] r3 = a1[i0, i1] } }",
            // An element twice: by overlapping tiles, by a loop that no index has, by two nests.
            "for i0 < 6 space { for i1 < 2 space { for i2 < 5 space {
             o0[i0, 3*i1 + i2] = a1[i0, 3*i1 + i2] } } }",
            "for i0 < 6 space { for i1 < 8 space { for i2 < 2 serial { o0[i0, i1] = a1[i0, i1] } } }",
            "for i0 < 6 space { for i1 < 5 space { o0[i0, i1] = a1[i0, i1] } }
             for i2 < 6 space { for i3 < 4 space { o0[i2, i3 + 4] = a1[i2, i3 + 4] } }",
            // The result itself.
            "for i0 < 6 space { for i1 < 8 space { o0[i0, i1] = a1[i0, i1] + o0[i0, i1] } }",
        ] {
            assert!(!shares(body), "{body}");
        }
    }
}
