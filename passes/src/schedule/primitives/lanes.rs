//! Whether the iterations of a loop may run in lock step, or on several threads.
use super::Rejected;
use super::edit::Place;
use super::registers::{self, Set, accumulators, exposed, seen_outside, visit_stmts, written};
use tensmith_ir::expr::Expr;
use tensmith_ir::loops::{BufferId, Cond, For, Kernel, Mark, Role, Scalar, Scope, Stmt};

/// Whether a loop with one of these marks is around a place.
pub fn around(kernel: &Kernel, place: &Place, marks: &[Mark]) -> bool {
    let mut parent = place.parent();
    while let Some(place) = parent {
        let stmt = &place.list(&kernel.body)[place.at];
        if matches!(stmt, Stmt::For(l) if marks.contains(&l.mark)) {
            return true;
        }
        parent = place.parent();
    }
    false
}

/// Checks that the iterations of a loop may run in lock step. Says whether all results stay as
/// they are: lanes of a reduction join their terms in any order.
///
/// Errors: the first thing in the way.
pub fn lock_step(kernel: &Kernel, l: &For) -> Result<bool, Rejected> {
    l.extent.as_const().ok_or(Rejected::Unknown(l.var))?;
    let own = match l.role {
        Role::Serial => return Err(Rejected::Serial(l.var)),
        Role::Space => own(kernel, l, &Set::new())?,
        Role::Reduce => {
            let joined = accumulators(kernel, l).ok_or(Rejected::Body(l.var))?;
            own(kernel, l, &joined.iter().map(|a| a.register).collect())?
        }
    };
    control(l, &own)?;
    own_elements(l, &|b| {
        let b = kernel.buffer(b);
        b.scope != Scope::Register || !b.shape.is_empty()
    })?;
    Ok(l.role == Role::Space)
}

/// Checks that the iterations of a loop may run on several threads.
///
/// Errors: the first thing in the way.
pub fn threads(kernel: &Kernel, l: &For) -> Result<(), Rejected> {
    if l.role != Role::Space {
        return Err(Rejected::Serial(l.var));
    }
    own(kernel, l, &Set::new())?;
    own_elements(l, &|b| kernel.buffer(b).scope == Scope::Output)
}

/// The registers of which each iteration has its own: all that are written, but for those that
/// join all iterations.
fn own(kernel: &Kernel, l: &For, joined: &Set) -> Result<Set, Rejected> {
    let mut own = written(&l.body);
    own.retain(|b| kernel.buffer(*b).scope == Scope::Register && !joined.contains(b));
    let outside = seen_outside(kernel, &l.body, &own);
    let exposed = exposed(kernel, &l.body);
    match own
        .iter()
        .find(|b| outside.contains(b) || exposed.contains(b))
    {
        Some(b) => Err(Rejected::Carried(l.var, *b)),
        None => Ok(own),
    }
}

/// Checks that the same statements run in all iterations.
fn control(l: &For, own: &Set) -> Result<(), Rejected> {
    let mut fine = true;
    let same = |e: &Expr| !e.mentions(l.var);
    let same_value = |s: &Scalar| {
        let mut all = Set::new();
        registers::loads(s, &mut all);
        let mut fine = all.is_disjoint(own);
        s.visit_exprs(&mut |e| fine &= same(e));
        fine
    };
    visit_stmts(&l.body, &mut |s| {
        fine &= match s {
            Stmt::Store { .. } => true,
            Stmt::For(inner) => same(&inner.extent),
            Stmt::If { cond, .. } => match cond {
                Cond::Affine(es) => es.iter().all(same),
                Cond::Scalar(s) => same_value(s),
            },
            Stmt::Check { value, extent, .. } => same(extent) && same_value(value),
            Stmt::While { cond, .. } => same_value(cond),
        };
    });
    fine.then_some(()).ok_or(Rejected::Control(l.var))
}

/// Checks that iterations write different elements of the buffers for which `counts` holds.
fn own_elements(l: &For, counts: &dyn Fn(BufferId) -> bool) -> Result<(), Rejected> {
    let mut shared = None;
    visit_stmts(&l.body, &mut |s| {
        if let Stmt::Store { buffer, index, .. } = s
            && counts(*buffer)
            && !index.iter().any(|e| e.mentions(l.var))
        {
            shared = shared.or(Some(*buffer));
        }
    });
    match shared {
        Some(b) => Err(Rejected::SameElement(l.var, b)),
        None => Ok(()),
    }
}
