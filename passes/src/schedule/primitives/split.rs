//! Cuts the iterations of a loop into blocks: one loop over blocks, one inside of a block.
//!
//! Halide: `split`; TVM: `split`. Iterations keep their order. The inner loop of an extent that is
//! no multiple of the block ends early: see `peel`, which makes separate code of such tails.
//!
//! Requires: a loop without a mark; a block shorter than the loop.
//! Before:
//! ```text
//! kernel k() {
//!   in a: f32[10]
//!   out o: f32[10]
//!   for i0 < 10 space {
//!     o[i0] = a[i0]
//!   }
//! }
//! ```
//! Schedule: `split i0 by 4 -> i1, i2`
//! After:
//! ```text
//! kernel k() {
//!   in a: f32[10]
//!   out o: f32[10]
//!   for i1 < 3 space {
//!     for i2 < min(4, -4*i1 + 10) space {
//!       o[4*i1 + i2] = a[4*i1 + i2]
//!     }
//!   }
//! }
//! ```
use super::edit::{Known, find_plain, replace, wrap};
use super::{Forwarded, Rejected};
use tensmith_ir::expr::{Expr, Var};
use tensmith_ir::loops::{For, Kernel};

/// Units: iterations of a block at most, far from overflow of an index.
const LARGEST: i64 = 1 << 30;

/// Splits the loop over `var` into blocks of `by`; gives the loop over blocks, and the one inside.
///
/// Errors: what the head of this file requires.
pub fn apply(kernel: &mut Kernel, var: Var, by: i64) -> Result<Forwarded, Rejected> {
    let (place, l) = find_plain(kernel, var)?;
    if !(1..=LARGEST).contains(&by) {
        return Err(Rejected::Number(by));
    }
    if l.extent.as_const().is_some_and(|n| n <= by) {
        return Err(Rejected::NoEffect);
    }
    let extent = l.extent.clone();
    let mut known = Known::of(kernel);
    let count = extent.ceil_div(by).simplify(&known.ranges);
    let outer = known.fresh(kernel, &count);
    let left = extent.clone() - Expr::from(outer) * by;
    let inside = match extent.rem(by).simplify(&known.ranges).is(0) {
        true => Expr::from(by),
        false => Expr::from(by).at_most(left).simplify(&known.ranges),
    };
    let inner = known.fresh(kernel, &inside);
    replace(kernel, &place, |_, mut l| {
        let mut body = std::mem::take(&mut l.body);
        known.put(&mut body, var, Expr::from(outer) * by + Expr::from(inner));
        let of = |var, extent| For {
            var,
            extent,
            ..l.clone()
        };
        wrap(vec![of(outer, count), of(inner, inside)], body)
    });
    Ok(Forwarded::one(var, vec![outer, inner]))
}
