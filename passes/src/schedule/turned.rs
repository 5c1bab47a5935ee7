//! Operands that lie apart along the lanes of vectors.
//!
//! A kernel between two orders of elements, such as a convolution of an image with channels
//! innermost to which a row-major one is added, reads vectors of elements that lie far apart. Where
//! those of another loop in lock step, or of statements side by side, follow one another, wide
//! vectors load rows of these and turn them in registers, as they do with what they store.
use super::Target;
use super::nest::{Nest, visit_scalars};
use std::collections::BTreeMap;
use tensmith_ir::expr::{Expr, Ranges, Var};
use tensmith_ir::loops::{BufferId, Kernel, Scalar, Scope, Stmt};

/// The inputs that each result of a nest reads once, at elements that lie at constant distances
/// along the loop `lanes` and one after the other along one of the loops `rows`.
pub fn turned(
    kernel: &Kernel,
    nest: &Nest<'_>,
    target: &Target,
    lanes: Var,
    rows: &[Var],
) -> Vec<BufferId> {
    if !target.masks() {
        return vec![];
    }
    let step = |offset: &Expr, v: Var| offset.linear_coefficient(v)?.as_const();
    let mut fits: BTreeMap<BufferId, bool> = BTreeMap::new();
    let mut look = |stmts: &[Stmt], inside: bool| {
        visit_scalars(stmts, &mut |s| {
            s.visit(&mut |s| {
                if let Scalar::Load(b, index) = s {
                    let buffer = kernel.buffer(*b);
                    let offset = buffer.offset(index).simplify(&Ranges::new());
                    let follows = rows.iter().any(|v| step(&offset, *v) == Some(1));
                    let held = buffer.dtype.bytes() == 4 || buffer.dtype.is_half();
                    let turned = buffer.scope == Scope::Input && held;
                    let fine = !inside && turned && follows && step(&offset, lanes).is_some();
                    *fits.entry(*b).or_insert(true) &= fine;
                }
            });
        });
    };
    for stmt in nest.body {
        look(
            std::slice::from_ref(stmt),
            !matches!(stmt, Stmt::Store { .. }),
        );
    }
    let fits = fits.into_iter().filter(|(_, fits)| *fits);
    fits.map(|(b, _)| b).collect()
}
