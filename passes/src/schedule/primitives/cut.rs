//! Cuts the range of a loop: one loop after the other, each over a part.
//!
//! Halide: `specialize` and loop partition; TVM: loop partition; compilers: index-set splitting.
//! Iterations keep their order.
//!
//! Requires: a loop without a mark; numbers in ascending order inside of its range, or, for a loop
//! that never has a negative extent, the greatest multiple of a number.
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
//! Schedule: `cut i0 at multiple 4 -> i1, i2`
//! After:
//! ```text
//! kernel k() {
//!   in a: f32[10]
//!   out o: f32[10]
//!   for i1 < 8 space {
//!     o[i1] = a[i1]
//!   }
//!   for i2 < 2 space {
//!     o[i2 + 8] = a[i2 + 8]
//!   }
//! }
//! ```
use super::edit::{Known, copy, find_plain, replace, wrap};
use super::registers::locals;
use super::{Forwarded, Rejected};
use tensmith_ir::expr::{Expr, Ranges, Var};
use tensmith_ir::loops::{For, Kernel};

/// Loops that one loop becomes at most.
const PARTS: usize = 128;

/// Where a loop is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// Before these iterations.
    Points(Vec<i64>),
    /// Before the greatest multiple of a number.
    Multiple(i64),
}

/// Cuts the loop over `var`; gives the loops over the parts.
///
/// Errors: what the head of this file requires.
pub fn apply(kernel: &mut Kernel, var: Var, at: &At) -> Result<Forwarded, Rejected> {
    let (place, l) = find_plain(kernel, var)?;
    let mut known = Known::of(kernel);
    let bounds = bounds(l, at, &known.ranges)?;
    let own = locals(kernel, l);
    let mut forwarded = Forwarded::nothing();
    replace(kernel, &place, |kernel, l| {
        let mut parts = Vec::new();
        let mut made = Vec::new();
        for pair in bounds.windows(2) {
            let extent = (pair[1].clone() - pair[0].clone()).simplify(&known.ranges);
            let part = known.fresh(kernel, &extent);
            let mut copied = copy(kernel, &mut known, &l.body, &own);
            known.put(&mut copied.stmts, var, Expr::from(part) + pair[0].clone());
            forwarded.copied(&copied.vars);
            made.push(part);
            let head = For {
                var: part,
                extent,
                role: l.role,
                mark: l.mark,
                reduction: None,
                body: vec![],
            };
            parts.extend(wrap(vec![head], copied.stmts));
        }
        forwarded.map.push((var, made.clone()));
        forwarded.made = made;
        parts
    });
    Ok(forwarded)
}

/// The begin and end of each part.
fn bounds(l: &For, at: &At, ranges: &Ranges) -> Result<Vec<Expr>, Rejected> {
    let mut bounds = vec![Expr::from(0)];
    match at {
        At::Points(points) => {
            let end = l.extent.as_const().ok_or(Rejected::Unknown(l.var))?;
            if points.is_empty() || points.len() >= PARTS {
                return Err(Rejected::Number(points.len() as i64));
            }
            let after: Vec<i64> = points[1..].iter().copied().chain([end]).collect();
            let wrong = points
                .iter()
                .zip(after)
                .find(|(p, next)| **p < 1 || *p >= next);
            if let Some((p, _)) = wrong {
                return Err(Rejected::Number(*p));
            }
            bounds.extend(points.iter().map(|p| Expr::from(*p)));
        }
        At::Multiple(of) => {
            if *of < 1 {
                return Err(Rejected::Number(*of));
            }
            if !ranges.proves_non_negative(&l.extent) {
                return Err(Rejected::Extent(l.var));
            }
            let point = l.extent.div(*of) * *of;
            if point.is(0) || point == l.extent {
                return Err(Rejected::NoEffect);
            }
            bounds.push(point);
        }
    }
    bounds.push(l.extent.clone());
    Ok(bounds)
}
