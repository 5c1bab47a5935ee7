//! Makes two loops of one: the first statements of all iterations run before the others.
//!
//! Halide: computing stages at `compute_root`; TVM: `decompose`; compilers: loop distribution.
//! The opposite of `compute_at`.
//!
//! Requires: a loop of independent iterations without a mark; no register and no scratch that the
//! statements on one side write occurs on the other.
//! Before:
//! ```text
//! kernel k() {
//!   in a: f32[8]
//!   out o: f32[8]
//!   out p: f32[8]
//!   for i0 < 8 space {
//!     o[i0] = a[i0]
//!     p[i0] = neg(a[i0])
//!   }
//! }
//! ```
//! Schedule: `fission i0 at 1 -> i1, i2`
//! After:
//! ```text
//! kernel k() {
//!   in a: f32[8]
//!   out o: f32[8]
//!   out p: f32[8]
//!   for i1 < 8 space {
//!     o[i1] = a[i1]
//!   }
//!   for i2 < 8 space {
//!     p[i2] = neg(a[i2])
//!   }
//! }
//! ```
use super::edit::{Known, find_plain, replace, wrap};
use super::registers::{Set, read, written};
use super::reorder::handed_on;
use super::{Forwarded, Rejected};
use tensmith_ir::expr::Var;
use tensmith_ir::loops::{For, Kernel, Role, Scope, Stmt};

/// Splits the body of the loop over `var` before statement `at`; gives the two loops.
///
/// Errors: what the head of this file requires.
pub fn apply(kernel: &mut Kernel, var: Var, at: i64) -> Result<Forwarded, Rejected> {
    let (place, l) = find_plain(kernel, var)?;
    if l.role != Role::Space {
        return Err(Rejected::Serial(var));
    }
    let count = usize::try_from(at).map_err(|_| Rejected::Number(at))?;
    if count == 0 || count >= l.body.len() {
        return Err(Rejected::Number(at));
    }
    let (first, second) = l.body.split_at(count);
    for (a, b) in [(first, second), (second, first)] {
        if let Some(shared) = private(kernel, written(a))
            .intersection(&occurring(b))
            .next()
        {
            return Err(Rejected::Carried(var, *shared));
        }
    }
    handed_on(kernel, l)?;
    let extent = l.extent.clone();
    let mut known = Known::of(kernel);
    let vars = [(); 2].map(|()| known.fresh(kernel, &extent));
    replace(kernel, &place, |_, mut l| {
        let second = l.body.split_off(count);
        let first = std::mem::take(&mut l.body);
        let mut out = Vec::new();
        for (mut body, new) in [first, second].into_iter().zip(vars) {
            known.put(&mut body, var, new.into());
            let head = For {
                var: new,
                ..l.clone()
            };
            out.extend(wrap(vec![head], body));
        }
        out
    });
    Ok(Forwarded::one(var, vars.to_vec()))
}

/// Those of the buffers that have no elements of their own for each iteration.
fn private(kernel: &Kernel, mut among: Set) -> Set {
    among.retain(|b| kernel.buffer(*b).scope != Scope::Output);
    among
}

fn occurring(stmts: &[Stmt]) -> Set {
    let mut all = written(stmts);
    all.extend(read(stmts));
    all
}
