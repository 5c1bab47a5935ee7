//! Makes one loop of two where memory does not tell them apart.
//!
//! `for i < n { for j < 8 { o[i, j] = a[i, j] } }` becomes
//! `for k < 8*n { o[div(k, 8), mod(k, 8)] = a[div(k, 8), mod(k, 8)] }`, whose offsets are `k`.
use super::nest::Nest;
use super::primitives::edit::Place;
use super::scheduler::Scheduler;
use tensmith_ir::expr::{Expr, Var};
use tensmith_ir::loops::{BufferId, Cond, For, Kernel, Mark, Role, Scalar, Scope, Stmt};

/// Joins neighbouring loops of the nest of statement `at`, innermost first, as long as every
/// element that is accessed lies as far from the next as a single loop would have it. Loops along
/// buffers that `keep` names stay.
pub fn collapse(s: &mut Scheduler, at: &Place, keep: &dyn Fn(BufferId) -> bool) {
    let mut k = Nest::at(s.kernel(), at).loops.len().saturating_sub(1);
    while k > 0 {
        let nest = Nest::at(s.kernel(), at);
        let vars = vec![nest.loops[k - 1].0, nest.loops[k].0];
        let pair = [&nest.loops[k - 1], &nest.loops[k]];
        if joinable(s.kernel(), pair, nest.body, keep) {
            // Loops that cannot be joined are as good as they are.
            let _ = s.fuse(vars);
        }
        k -= 1;
    }
}

/// Joins loops of reductions in the nest of statement `at` as [`collapse`] does those of the nest.
pub fn collapse_sums(s: &mut Scheduler, at: &Place) {
    while let Some(vars) = sums(s.kernel(), Nest::at(s.kernel(), at).body) {
        if s.fuse(vars).is_err() {
            break;
        }
    }
}

/// Two loops of a reduction that can be joined, the outer one first.
fn sums(kernel: &Kernel, stmts: &[Stmt]) -> Option<Vec<Var>> {
    let is_sum = |l: &For| l.role == Role::Reduce && l.mark == Mark::Plain && l.reduction.is_none();
    stmts.iter().find_map(|stmt| {
        if let Stmt::For(outer) = stmt
            && let [Stmt::For(inner)] = &outer.body[..]
            && is_sum(outer)
            && is_sum(inner)
        {
            let pair = [outer, inner].map(|l| (l.var, l.extent.clone()));
            if joinable(kernel, [&pair[0], &pair[1]], &inner.body, &|_| false) {
                return Some(vec![outer.var, inner.var]);
            }
        }
        stmt.bodies().into_iter().find_map(|b| sums(kernel, b))
    })
}

/// Whether two loops around a body are one to memory.
fn joinable(
    kernel: &Kernel,
    [(outer, outer_extent), (inner, extent)]: [&(Var, Expr); 2],
    body: &[Stmt],
    keep: &dyn Fn(BufferId) -> bool,
) -> bool {
    let ranges = &kernel.all_ranges();
    if extent.mentions(*outer) || outer_extent.mentions(*inner) {
        return false;
    }
    let mut fine = true;
    visit_accesses(body, &mut |access| {
        fine = fine
            && match access {
                Access::Element(b, _) if kernel.buffer(b).scope == Scope::Register => true,
                Access::Element(b, index) => {
                    let offset = kernel.buffer(b).offset(index).simplify(ranges);
                    let outer = offset.linear_coefficient(*outer);
                    let inner = offset.linear_coefficient(*inner);
                    let stays = keep(b) && inner.as_ref().is_none_or(|c| !c.is(0));
                    outer.is_some() && !stays && outer == inner.map(|c| c * extent.clone())
                }
                Access::Expr(e) => !e.mentions(*outer) && !e.mentions(*inner),
            };
    });
    fine
}

enum Access<'a> {
    Element(BufferId, &'a [Expr]),
    Expr(&'a Expr),
}

fn visit_accesses(stmts: &[Stmt], f: &mut dyn FnMut(Access<'_>)) {
    for stmt in stmts {
        match stmt {
            Stmt::Store {
                buffer,
                index,
                value,
            } => {
                f(Access::Element(*buffer, index));
                visit_scalar(value, f);
            }
            Stmt::For(l) => f(Access::Expr(&l.extent)),
            Stmt::If {
                cond: Cond::Affine(es),
                ..
            } => es.iter().for_each(|e| f(Access::Expr(e))),
            Stmt::If {
                cond: Cond::Scalar(s),
                ..
            } => visit_scalar(s, f),
            Stmt::Check { value, extent, .. } => {
                f(Access::Expr(extent));
                visit_scalar(value, f);
            }
            Stmt::While { cond, .. } => visit_scalar(cond, f),
        }
        stmt.bodies().into_iter().for_each(|b| visit_accesses(b, f));
    }
}

fn visit_scalar(s: &Scalar, f: &mut dyn FnMut(Access<'_>)) {
    match s {
        Scalar::Load(b, index) => f(Access::Element(*b, index)),
        Scalar::Index(e) => f(Access::Expr(e)),
        Scalar::Guard(conds, ..) => conds.iter().for_each(|e| f(Access::Expr(e))),
        _ => {}
    }
    s.children().into_iter().for_each(|c| visit_scalar(c, f));
}
