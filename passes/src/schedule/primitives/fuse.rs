//! Makes one loop of loops that are nested perfectly.
//!
//! Halide: `fuse`; TVM: `fuse`. Iterations keep their order.
//!
//! Requires: loops of one role without marks, each all there is in the one before; extents that do
//! not depend on these loops and are never negative.
//! Before:
//! ```text
//! kernel k() {
//!   in a: f32[6, 8]
//!   out o: f32[6, 8]
//!   for i0 < 6 space {
//!     for i1 < 8 space {
//!       o[i0, i1] = a[i0, i1]
//!     }
//!   }
//! }
//! ```
//! Schedule: `fuse i0, i1 -> i2`
//! After:
//! ```text
//! kernel k() {
//!   in a: f32[6, 8]
//!   out o: f32[6, 8]
//!   for i2 < 48 space {
//!     o[div(i2, 8), mod(i2, 8)] = a[div(i2, 8), mod(i2, 8)]
//!   }
//! }
//! ```
use super::edit::{Known, band, find, heads, replace, wrap};
use super::{Forwarded, Rejected};
use crate::schedule::nest::substitute;
use tensmith_ir::define::unflatten;
use tensmith_ir::expr::{Expr, Var, product};
use tensmith_ir::loops::{For, Kernel};

/// Fuses `vars`, which are listed from the outermost to the innermost.
///
/// Errors: what the head of this file requires.
pub fn apply(kernel: &mut Kernel, vars: &[Var]) -> Result<Forwarded, Rejected> {
    let (place, order) = band(kernel, vars)?;
    if let Some((a, b)) = order.iter().zip(vars).find(|(a, b)| a != b) {
        return Err(Rejected::NotNested(*a, *b));
    }
    if vars.len() < 2 {
        return Err(Rejected::NoEffect);
    }
    let mut known = Known::of(kernel);
    let (_, outermost) = find(kernel, vars[0])?;
    let role = outermost.role;
    let mut extents: Vec<Expr> = Vec::new();
    for var in vars {
        let (_, l) = find(kernel, *var)?;
        if l.role != role {
            return Err(Rejected::Roles(vars[0], *var));
        }
        if let Some(outer) = vars.iter().find(|v| l.extent.mentions(**v)) {
            return Err(Rejected::Depends(*var, *outer));
        }
        if !known.ranges.proves_non_negative(&l.extent) {
            return Err(Rejected::Extent(*var));
        }
        extents.push(l.extent.clone());
    }
    let total = product(&extents);
    let fused = known.fresh(kernel, &total);
    let index = unflatten(&fused.into(), &extents, &known.ranges);
    replace(kernel, &place, |_, l| {
        let (mut found, mut body) = heads(l, vars.len());
        let with = vars.iter().copied().zip(index).collect();
        substitute(&mut body, &with, &known.ranges);
        let outermost = found.swap_remove(0);
        let l = For {
            var: fused,
            extent: total,
            ..outermost
        };
        wrap(vec![l], body)
    });
    let map = vars.iter().map(|v| (*v, vec![fused])).collect();
    Ok(Forwarded {
        made: vec![fused],
        map,
        exact: true,
    })
}
