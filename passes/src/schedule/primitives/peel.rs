//! Makes separate code of whole blocks and of the tail of a loop that was split.
//!
//! Halide: `TailStrategy::GuardWithIf` hoisted out of the loops, or `specialize`; TVM: loop
//! partition. Of loops that are nested perfectly, each whose extent is the lesser of a block and of
//! what is left becomes a branch around all of them: whole blocks have the extent of a block, the
//! tail of an extent that is a number has a number again, so that vectors of a tail are masked and
//! register tiles have no loop in them. A tail of unknown extent stays a loop.
//!
//! Requires: loops without marks, listed from the outermost to the innermost, each all there is in
//! the one before, and at least one with such an extent.
//! Before:
//! ```text
//! kernel k() {
//!   in a: f32[10]
//!   out o: f32[10]
//!   for i0 < 3 space {
//!     for i1 < min(4, -4*i0 + 10) space {
//!       o[4*i0 + i1] = a[4*i0 + i1]
//!     }
//!   }
//! }
//! ```
//! Schedule: `peel i1 -> i2, i3`
//! After:
//! ```text
//! kernel k() {
//!   in a: f32[10]
//!   out o: f32[10]
//!   for i0 < 3 space {
//!     if [-4*i0 + 6] {
//!       for i2 < 4 space {
//!         o[4*i0 + i2] = a[4*i0 + i2]
//!       }
//!     } else {
//!       for i3 < 2 space {
//!         o[4*i0 + i3] = a[4*i0 + i3]
//!       }
//!     }
//!   }
//! }
//! ```
use super::edit::{Known, Place, band, copy, find, heads, replace, wrap};
use super::registers::{Set, locals};
use super::{Forwarded, Rejected};
use tensmith_ir::expr::{Atom, Expr, Ranges, Var};
use tensmith_ir::loops::{Cond, For, Kernel, Stmt};

/// Loops that are peeled together at most: each may double the code.
const LOOPS: usize = 6;

/// Peels the loops `vars`; gives the copies of these loops.
///
/// Errors: what the head of this file requires.
pub fn apply(kernel: &mut Kernel, vars: &[Var]) -> Result<Forwarded, Rejected> {
    let (place, order) = band(kernel, vars)?;
    if let Some((a, b)) = order.iter().zip(vars).find(|(a, b)| a != b) {
        return Err(Rejected::NotNested(*a, *b));
    }
    if vars.len() > LOOPS {
        return Err(Rejected::TooLarge(vars[0]));
    }
    let known = Known::of(kernel);
    let around = around(kernel, &place);
    let mut tails = Vec::new();
    for var in vars {
        let (_, l) = find(kernel, *var)?;
        let tail = Tail::of(&l.extent, &around, &known.ranges);
        if let Some(outer) = vars.iter().find(|v| l.extent.mentions(**v)) {
            return Err(Rejected::Depends(*var, *outer));
        }
        tails.push(tail);
    }
    if tails.iter().all(Option::is_none) {
        return Err(Rejected::NoEffect);
    }
    let (_, outermost) = find(kernel, vars[0])?;
    let own = locals(kernel, outermost);
    let mut forwarded = Forwarded::nothing();
    replace(kernel, &place, |kernel, l| {
        let (heads, body) = heads(l, vars.len());
        let mut peeling = Peeling {
            kernel,
            known,
            heads: &heads,
            tails: &tails,
            body: &body,
            own: &own,
            forwarded: &mut forwarded,
        };
        peeling.build(&mut vec![])
    });
    Ok(forwarded)
}

/// An extent that is the lesser of a block and of what is left.
struct Tail {
    block: i64,
    left: Expr,
    /// What is left where that is less than a block, if it is a number.
    size: Option<i64>,
}

impl Tail {
    /// `around`: the loops that the loop stands in, from the innermost one, with their extents.
    fn of(extent: &Expr, around: &[(Var, Expr)], ranges: &Ranges) -> Option<Tail> {
        let [(atoms, 1)] = extent.terms() else {
            return None;
        };
        let [Atom::Min(pair)] = &atoms[..] else {
            return None;
        };
        let (block, left) = match (pair.0.as_const(), pair.1.as_const()) {
            (Some(block), _) => (block, pair.1.clone()),
            (_, Some(block)) => (block, pair.0.clone()),
            _ => return None,
        };
        let size = Tail::size(block, &left, around, ranges);
        let fine = extent.constant() == 0 && block > 0;
        fine.then_some(Tail { block, left, size })
    }

    /// Of `n` less whole blocks, and never less than nothing, `n mod block` is left in the tail.
    fn size(block: i64, left: &Expr, around: &[(Var, Expr)], ranges: &Ranges) -> Option<i64> {
        let whole = left.terms().iter().all(|(_, c)| c % block == 0);
        let size = left.constant().rem_euclid(block);
        (whole && size > 0 && is_never_negative(left, around, ranges)).then_some(size)
    }
}

/// The loops that a place stands in, from the innermost one, with their extents.
fn around(kernel: &Kernel, place: &Place) -> Vec<(Var, Expr)> {
    let places = std::iter::successors(place.parent(), Place::parent);
    let stmts = places.map(|p| &p.list(&kernel.body)[p.at]);
    let loops = stmts.filter_map(|s| match s {
        Stmt::For(l) => Some((l.var, l.extent.clone())),
        _ => None,
    });
    loops.collect()
}

/// Whether an expression is at least zero in all iterations of the loops around it, whose extents
/// may depend on each other: where blocks of tiles are left over, fewer tiles are.
fn is_never_negative(e: &Expr, around: &[(Var, Expr)], ranges: &Ranges) -> bool {
    if ranges.proves_non_negative(e) {
        return true;
    }
    let Some(((var, extent), outer)) = around.split_first() else {
        return false;
    };
    let coefficient = e.linear_coefficient(*var).and_then(|c| c.as_const());
    let least = match coefficient {
        Some(0) => vec![e.clone()],
        Some(c) => {
            let ends = match c > 0 {
                true => vec![Expr::from(0)],
                false => uppers(extent).into_iter().map(|n| n - 1).collect(),
            };
            let at = |end: Expr| e.substitute(&|v| (v == *var).then(|| end.clone()));
            ends.into_iter()
                .map(|end| at(end).simplify(ranges))
                .collect()
        }
        None => vec![],
    };
    least.iter().any(|e| is_never_negative(e, outer, ranges))
}

/// Expressions that an extent is no greater than.
fn uppers(extent: &Expr) -> Vec<Expr> {
    match extent.terms() {
        [(atoms, 1)] if extent.constant() == 0 => match &atoms[..] {
            [Atom::Min(pair)] => vec![pair.0.clone(), pair.1.clone()],
            _ => vec![extent.clone()],
        },
        _ => vec![extent.clone()],
    }
}

struct Peeling<'p> {
    kernel: &'p mut Kernel,
    known: Known,
    heads: &'p [For],
    tails: &'p [Option<Tail>],
    body: &'p [Stmt],
    own: &'p Set,
    forwarded: &'p mut Forwarded,
}

impl Peeling<'_> {
    /// The code of the loops that are left, within those that were chosen: the extents of loops in
    /// this copy, or a variable where the loop stands around already.
    fn build(&mut self, chosen: &mut Vec<Chosen>) -> Vec<Stmt> {
        let k = chosen.len();
        let Some(head) = self.heads.get(k) else {
            return self.leaf(chosen);
        };
        let Some(tail) = &self.tails[k] else {
            return self.with(chosen, Chosen::Extent(head.extent.clone()));
        };
        let then = self.with(chosen, Chosen::Extent(tail.block.into()));
        let otherwise = match tail.size {
            Some(size) => self.with(chosen, Chosen::Extent(size.into())),
            None => self.open(chosen, k, tail.left.clone()),
        };
        let cond = Cond::Affine(vec![tail.left.clone() - tail.block]);
        vec![Stmt::If {
            cond,
            then,
            otherwise,
        }]
    }

    fn with(&mut self, chosen: &mut Vec<Chosen>, choice: Chosen) -> Vec<Stmt> {
        chosen.push(choice);
        let built = self.build(chosen);
        chosen.pop();
        built
    }

    /// A tail that stays a loop, around what is left.
    fn open(&mut self, chosen: &mut Vec<Chosen>, k: usize, left: Expr) -> Vec<Stmt> {
        let var = self.made(k, &left);
        let inner = self.with(chosen, Chosen::Around(var));
        wrap(vec![self.head(k, var, left)], inner)
    }

    fn leaf(&mut self, chosen: &[Chosen]) -> Vec<Stmt> {
        let mut loops = Vec::new();
        let mut index = Vec::new();
        for (k, choice) in chosen.iter().enumerate() {
            let var = match choice {
                Chosen::Around(var) => *var,
                Chosen::Extent(extent) => {
                    let var = self.made(k, extent);
                    loops.push(self.head(k, var, extent.clone()));
                    var
                }
            };
            index.push((self.heads[k].var, Expr::from(var)));
        }
        let mut copied = copy(self.kernel, &mut self.known, self.body, self.own);
        let with = index.into_iter().collect();
        crate::schedule::nest::substitute(&mut copied.stmts, &with, &self.known.ranges);
        self.forwarded.copied(&copied.vars);
        wrap(loops, copied.stmts)
    }

    /// A new variable for loop `k`.
    fn made(&mut self, k: usize, extent: &Expr) -> Var {
        let var = self.known.fresh(self.kernel, extent);
        self.forwarded.copied(&[(self.heads[k].var, var)]);
        self.forwarded.made.push(var);
        var
    }

    fn head(&self, k: usize, var: Var, extent: Expr) -> For {
        For {
            var,
            extent,
            role: self.heads[k].role,
            mark: self.heads[k].mark,
            reduction: None,
            body: vec![],
        }
    }
}

/// What becomes of a loop in a copy.
enum Chosen {
    /// A loop of this extent around the body.
    Extent(Expr),
    /// The loop stands around the code already.
    Around(Var),
}
