//! Sums of products of bytes: four terms of a sum are one step of a tile.
//!
//! Targets with dot products of bytes multiply four bytes of each lane and add the products up in
//! 32 bits: such a step is what a multiply-add is for floats. So the loop over terms becomes one
//! over groups of four around one over the four, and the packed factor has the four side by side.
//! The other factor must have them side by side as it is.
use super::{Factor, order_reductions};
use crate::schedule::Target;
use crate::schedule::primitives::registers::visit_stmts;
use crate::schedule::primitives::{At, Rejected};
use crate::schedule::scheduler::Scheduler;
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Var;
use tensmith_ir::loops::{Kernel, LayoutDim, Mark, Role, Scalar, Stmt};

/// Terms of a step.
pub(super) const GROUP: i64 = 4;

/// The element of a widened byte.
pub(super) fn widened<'a>(kernel: &Kernel, s: &'a Scalar) -> Option<&'a Scalar> {
    match s {
        Scalar::Cast(DType::I32, load) => match &**load {
            Scalar::Load(b, _) if kernel.buffer(*b).dtype.is_byte() => Some(load),
            _ => None,
        },
        _ => None,
    }
}

/// Whether the factors are those of dot products: bytes with a sign, and bytes without.
pub(super) fn multiply(kernel: &Kernel, target: &Target, factors: &[Factor<'_>; 2]) -> bool {
    let types = factors.each_ref().map(|f| kernel.buffer(f.buffer).dtype);
    target.dots && matches!(types, [DType::I8, DType::U8] | [DType::U8, DType::I8])
}

/// The loop over terms along which `y` lies byte by byte, and the dimension of `x` that it runs
/// along: where both factors can have groups of terms.
pub(super) fn group(body: &[Stmt], x: &Factor<'_>, y: &Factor<'_>) -> Option<(Var, usize)> {
    let innermost = *order_reductions(body, &y.offset).last()?;
    let next = y.offset.linear_coefficient(innermost)?.is(1);
    let dims: Vec<usize> = (0..x.index.len())
        .filter(|d| x.index[*d].mentions(innermost))
        .collect();
    match dims[..] {
        [d] if next && x.index[d].as_var() == Some(innermost) => Some((innermost, d)),
        _ => None,
    }
}

/// A packed layout with groups of terms, which run along `dim`, innermost.
pub(super) fn grouped(mut dims: Vec<LayoutDim>, dim: usize) -> Vec<LayoutDim> {
    dims.iter_mut()
        .filter(|d| d.dim == dim)
        .for_each(|d| d.step = GROUP);
    dims.push(LayoutDim {
        dim,
        step: 1,
        extent: Some(GROUP),
    });
    dims
}

/// Makes groups of the terms of the sums in the loops over `vars`; gives the loops over whole
/// groups.
///
/// Errors: as the primitives.
pub(super) fn group_terms(s: &mut Scheduler, vars: &[Var]) -> Result<Vec<Var>, Rejected> {
    let mut found: Vec<Var> = Vec::new();
    for var in vars {
        // A loop that runs once is gone.
        let Ok(l) = s.find(*var) else { continue };
        visit_stmts(&l.body, &mut |stmt| match stmt {
            Stmt::For(l)
                if l.role == Role::Reduce
                    && l.mark == Mark::Plain
                    && l.body.iter().all(|s| matches!(s, Stmt::Store { .. }))
                    && !found.contains(&l.var) =>
            {
                found.push(l.var);
            }
            _ => {}
        });
    }
    let mut groups = Vec::new();
    for var in found {
        let whole = match s.extent(var) {
            Some(n) if n <= GROUP => continue,
            Some(n) if n % GROUP != 0 => s.cut(var, At::Multiple(GROUP))?[0],
            _ => var,
        };
        groups.push(match s.extent(whole) {
            Some(GROUP) => continue,
            _ => s.split(whole, GROUP)?.0,
        });
    }
    Ok(groups)
}
