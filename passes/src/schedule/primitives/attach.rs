//! Moves a loop into the first iteration of the one behind it, so that both are one nest.
//!
//! No other compiler has it by a name of its own: what writes the borders of a result becomes part
//! of what writes the result, and of its threads.
//!
//! Requires: outermost loops side by side, the second over independent iterations, of which there
//! is at least one; the first has no registers, and neither uses what the other one writes nor
//! writes the same elements.
//! Before:
//! ```text
//! kernel k() {
//!   in a: f32[8]
//!   out o: f32[10]
//!   for i0 < 2 space {
//!     o[i0] = 0.0f32
//!   }
//!   for i1 < 8 space {
//!     o[i1 + 2] = a[i1]
//!   }
//! }
//! ```
//! Schedule: `attach i0, i1`
//! After:
//! ```text
//! kernel k() {
//!   in a: f32[8]
//!   out o: f32[10]
//!   for i1 < 8 space {
//!     if [-i1] {
//!       for i0 < 2 space {
//!         o[i0] = 0.0f32
//!       }
//!     }
//!     o[i1 + 2] = a[i1]
//!   }
//! }
//! ```
use super::edit::{Known, find};
use super::registers::{read, written};
use super::{Forwarded, Rejected};
use tensmith_ir::expr::{Expr, Var};
use tensmith_ir::loops::{Cond, Kernel, Mark, Role, Scope, Stmt, stores_are_apart};

/// Moves the loop over `first` into that over `second`.
///
/// Errors: what the head of this file requires.
pub fn apply(kernel: &mut Kernel, first: Var, second: Var) -> Result<Forwarded, Rejected> {
    let (place, a) = find(kernel, first)?;
    let (next, b) = find(kernel, second)?;
    for (place, var) in [(&place, first), (&next, second)] {
        if place.parent().is_some() {
            return Err(Rejected::Inside(var));
        }
    }
    if next.at != place.at + 1 {
        return Err(Rejected::NotBeside(first, second));
    }
    if b.role != Role::Space {
        return Err(Rejected::Serial(second));
    }
    if a.mark == Mark::Parallel || !matches!(b.mark, Mark::Plain | Mark::Parallel) {
        return Err(Rejected::Marked(first));
    }
    let known = Known::of(kernel);
    if !known.ranges.proves_non_negative(&(b.extent.clone() - 1)) {
        return Err(Rejected::Extent(second));
    }
    check_shared(kernel, place.at, first)?;
    let Stmt::For(a) = kernel.body.remove(place.at) else {
        unreachable!("invariant: loops are found at loops")
    };
    let Stmt::For(b) = &mut kernel.body[place.at] else {
        unreachable!("invariant: loops are found at loops")
    };
    let begin = Stmt::If {
        cond: Cond::Affine(vec![-Expr::from(second)]),
        then: vec![Stmt::For(a)],
        otherwise: vec![],
    };
    b.body.insert(0, begin);
    Ok(Forwarded::nothing())
}

/// Checks that the loop at a place of the body and the one behind it have nothing in common.
fn check_shared(kernel: &Kernel, at: usize, first: Var) -> Result<(), Rejected> {
    let [a, b] = [0, 1].map(|k| &kernel.body[at + k]);
    let [in_a, in_b] = [a, b].map(std::slice::from_ref);
    let (writes, later) = (written(in_a), written(in_b));
    let own = |b| kernel.buffer(b).scope == Scope::Output;
    let mut used = read(in_b).union(&read(in_a)).copied().collect::<Vec<_>>();
    used.retain(|x| writes.contains(x) || (later.contains(x) && read(in_a).contains(x)));
    let foreign = writes.iter().copied().find(|b| !own(*b));
    let mut shared = writes.intersection(&later).copied();
    let met = shared.find(|x| !stores_are_apart(kernel, a, b, *x));
    match used.first().copied().or(foreign).or(met) {
        Some(x) => Err(Rejected::Carried(first, x)),
        None => Ok(()),
    }
}
