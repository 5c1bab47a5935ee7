//! Leaves out iterations of a sum that only multiply elements that are known to be 0.
//!
//! Compilers: guarding a loop by the bounds of what it reads. Which elements are 0 is said of an
//! input, such as one that was padded. The condition looks at no lane and at no inner loop: an
//! iteration runs if it may need an element of any of them. A sum without such terms is the same,
//! if the other factors are finite.
//!
//! Requires: a loop of a sum, without a mark, that updates registers by products with such an
//! input, whose index is linear in the loop.
//! Before:
//! ```text
//! kernel k() {
//!   in a: f32[12] nonzero([4, 8])
//!   in b: f32[3]
//!   out o: f32[4]
//!   reg r: f32[]
//!   for i0 < 4 space {
//!     r = 0.0f32
//!     for i1 < 3 reduce {
//!       r = r + a[i0 + 4*i1] * b[i1]
//!     }
//!     o[i0] = r
//!   }
//! }
//! ```
//! Schedule: `skip_zeros i1`
//! After:
//! ```text
//! kernel k() {
//!   in a: f32[12] nonzero([4, 8])
//!   in b: f32[3]
//!   out o: f32[4]
//!   reg r: f32[]
//!   for i0 < 4 space {
//!     r = 0.0f32
//!     for i1 < 3 reduce {
//!       if [i0 + 4*i1 - 4, -i0 - 4*i1 + 7] {
//!         r = r + a[i0 + 4*i1] * b[i1]
//!       }
//!     }
//!     o[i0] = r
//!   }
//! }
//! ```
use super::edit::{Place, change, find_plain};
use super::registers::visit_stmts;
use super::{Forwarded, Rejected};
use tensmith_ir::expr::{Expr, Var};
use tensmith_ir::loops::{BinaryOp, Cond, For, Kernel, Mark, Role, Scalar, Scope, Stmt};

/// Puts a condition around the body of the loop over `var`.
///
/// Errors: what the head of this file requires; nothing to leave out.
pub fn apply(kernel: &mut Kernel, var: Var) -> Result<Forwarded, Rejected> {
    let (place, l) = find_plain(kernel, var)?;
    if l.role != Role::Reduce {
        return Err(Rejected::Body(var));
    }
    let around = lanes_around(kernel, &place).into_iter();
    let mut lanes: Vec<(Var, i64)> =
        (around.filter_map(|l| Some((l.var, l.extent.as_const()?)))).collect();
    let mut wanted: Option<Vec<Expr>> = None;
    let mut fine = true;
    visit_stmts(&l.body, &mut |stmt| match stmt {
        Stmt::For(inner) => match inner.extent.as_const() {
            Some(extent) => lanes.push((inner.var, extent)),
            None => fine = false,
        },
        Stmt::Store { .. } => {}
        _ => fine = false,
    });
    visit_stmts(&l.body, &mut |stmt| {
        if let Stmt::Store { .. } = stmt {
            let found = conditions(kernel, stmt, var, &lanes);
            fine &= found.is_some() && wanted.as_ref().is_none_or(|w| Some(w) == found.as_ref());
            wanted = wanted.take().or(found);
        }
    });
    let mut conds = wanted.filter(|_| fine).ok_or(Rejected::Body(var))?;
    let ranges = kernel.all_ranges();
    conds.retain(|c| !ranges.proves_non_negative(c));
    if conds.is_empty() {
        return Err(Rejected::NoEffect);
    }
    change(kernel, &place, |l: &mut For| {
        let then = std::mem::take(&mut l.body);
        l.body = vec![Stmt::If {
            cond: Cond::Affine(conds),
            then,
            otherwise: vec![],
        }];
    });
    Ok(Forwarded::nothing())
}

/// The loops around a place that run in lock step or as copies.
pub(super) fn lanes_around<'k>(kernel: &'k Kernel, place: &Place) -> Vec<&'k For> {
    let mut found = Vec::new();
    let mut at = place.parent();
    while let Some(place) = at {
        if let Stmt::For(l) = &place.list(&kernel.body)[place.at]
            && matches!(l.mark, Mark::Vector | Mark::Jam | Mark::Unroll)
        {
            found.push(&**l);
        }
        at = place.parent();
    }
    found
}

/// What must be at least 0 for any of the lanes to multiply an element that may not be 0, of the
/// dimensions whose index has `var` in it; `None` if a store is no update by such a product.
pub(super) fn conditions(
    kernel: &Kernel,
    store: &Stmt,
    var: Var,
    lanes: &[(Var, i64)],
) -> Option<Vec<Expr>> {
    let Stmt::Store { buffer, value, .. } = store else {
        return None;
    };
    if kernel.buffer(*buffer).scope != Scope::Register {
        return None;
    }
    let is_sum = |s: &Scalar| matches!(s, Scalar::Load(b, _) if b == buffer);
    let factors = match value {
        Scalar::Fma(x, y, sum) if is_sum(sum) => [x, y],
        Scalar::Binary(BinaryOp::Add, sum, product) if is_sum(sum) => match &**product {
            Scalar::Binary(BinaryOp::Mul, x, y) => [x, y],
            _ => return None,
        },
        _ => return None,
    };
    factors.into_iter().find_map(|factor| {
        let Scalar::Load(b, index) = &**factor else {
            return None;
        };
        let known = &kernel.buffer(*b).nonzero;
        let pairs = known.iter().zip(index).filter(|(_, e)| e.mentions(var));
        let mut conds = Vec::new();
        for ((from, to), e) in pairs {
            let (least, most) = extremes(e, lanes)?;
            conds.push(most - *from);
            conds.push(-least + (*to - 1));
        }
        (!known.is_empty()).then_some(conds)
    })
}

/// The least and the greatest value of an index over all lanes, if it is linear in them.
fn extremes(e: &Expr, lanes: &[(Var, i64)]) -> Option<(Expr, Expr)> {
    let (mut least, mut most) = (e.clone(), e.clone());
    for (lane, extent) in lanes.iter().filter(|(lane, _)| e.mentions(*lane)) {
        let step = e.linear_coefficient(*lane)?.as_const()?;
        let at = |e: &Expr, value: i64| e.substitute(&|v| (v == *lane).then(|| Expr::from(value)));
        let [low, high] = match step >= 0 {
            true => [0, extent - 1],
            false => [extent - 1, 0],
        };
        (least, most) = (at(&least, low), at(&most, high));
    }
    Some((least, most))
}
