//! Splits the innermost loop of a nest where a guard changes, so that no guard depends on it.
//!
//! Before: `for i < 8 { o[i] = guard([i - 5], b[i - 5], a[i]) }`. After:
//! `for i < 5 { o[i] = a[i] } for i < 3 { o[i + 5] = b[i] }`.
use super::nest::{Nest, fresh_copy, space, substitute, visit_scalars};
use std::collections::{BTreeSet, HashMap};
use tensmith_ir::expr::{Expr, Ranges, Var};
use tensmith_ir::loops::{Cond, Kernel, Mark, Scalar, Stmt};

/// Loops that one loop becomes at most.
const PARTS: usize = 16;

/// Splits the innermost loop if all guards that depend on it do so by a constant bound.
pub fn index_split(kernel: &mut Kernel, nest: &mut Nest, ranges: &mut Ranges) {
    let Some((var, extent)) = nest.loops.last().cloned() else {
        return;
    };
    let Some(extent) = extent.as_const() else {
        return;
    };
    let Some(starts) = starts(&nest.body, var, extent) else {
        return;
    };
    if starts.len() < 2 || starts.len() > PARTS {
        return;
    }
    nest.loops.pop();
    let body = std::mem::take(&mut nest.body);
    let starts: Vec<i64> = starts.into_iter().collect();
    let ends = starts.iter().skip(1).copied().chain([extent]);
    for (start, end) in starts.iter().copied().zip(ends) {
        let mut part = fresh_copy(kernel, &body, ranges);
        let inner = kernel.fresh_var();
        ranges.bind(inner, &(end - start).into());
        let with = HashMap::from([(var, Expr::from(inner) + start)]);
        substitute(&mut part, &with, ranges);
        fold_guards(&mut part, ranges);
        nest.body
            .push(space(inner, (end - start).into(), Mark::Plain, part));
    }
}

/// Where in `0..extent` a guard begins to hold or to fail, and 0; `None` if a guard or a
/// branch depends on more than the loop.
fn starts(body: &[Stmt], var: Var, extent: i64) -> Option<BTreeSet<i64>> {
    let mut starts = BTreeSet::from([0]);
    let mut fine = true;
    let mut look = |conds: &[Expr]| {
        for cond in conds.iter().filter(|c| c.mentions(var)) {
            let coefficient = cond.linear_coefficient(var).and_then(|c| c.as_const());
            let rest = cond.substitute(&|v| (v == var).then(|| 0.into()));
            match (coefficient, rest.as_const()) {
                // v + c >= 0 from -c on; c - v >= 0 up to c.
                (Some(1), Some(c)) => drop(starts.insert(-c)),
                (Some(-1), Some(c)) => drop(starts.insert(c + 1)),
                _ => fine = false,
            }
        }
    };
    visit_scalars(body, &mut |s| {
        s.visit(&mut |s| {
            if let Scalar::Guard(conds, ..) = s {
                look(conds);
            }
        });
    });
    visit_branches(body, &mut look);
    starts.retain(|s| (0..extent).contains(s));
    fine.then_some(starts)
}

fn visit_branches(stmts: &[Stmt], look: &mut dyn FnMut(&[Expr])) {
    for stmt in stmts {
        if let Stmt::If {
            cond: Cond::Affine(conds),
            ..
        } = stmt
        {
            look(conds);
        }
        for body in stmt.bodies() {
            visit_branches(body, look);
        }
    }
}

/// Folds guards and branches of statements by what is known of their variables.
pub fn fold_guards(stmts: &mut Vec<Stmt>, ranges: &Ranges) {
    for mut stmt in std::mem::take(stmts) {
        match &mut stmt {
            Stmt::Store { value, .. } | Stmt::Check { value, .. } => fold(value, ranges),
            Stmt::If {
                cond: Cond::Scalar(s),
                ..
            } => fold(s, ranges),
            Stmt::While { cond, .. } => fold(cond, ranges),
            _ => {}
        }
        for body in stmt.bodies_mut() {
            fold_guards(body, ranges);
        }
        match stmt {
            Stmt::If {
                cond: Cond::Affine(conds),
                otherwise,
                ..
            } if conds.iter().any(|c| never(c, ranges)) => stmts.extend(otherwise),
            Stmt::If {
                cond: Cond::Affine(conds),
                then,
                ..
            } if conds.iter().all(|c| ranges.proves_non_negative(c)) => stmts.extend(then),
            other => stmts.push(other),
        }
    }
}

fn never(cond: &Expr, ranges: &Ranges) -> bool {
    ranges.proves_non_negative(&(-cond.clone() - 1))
}

/// Drops conditions that always hold, and guards that never do.
fn fold(s: &mut Scalar, ranges: &Ranges) {
    if let Scalar::Guard(conds, then, otherwise) = s {
        if conds.iter().any(|c| never(c, ranges)) {
            *s = std::mem::replace(otherwise, Scalar::Index(0.into()));
            return fold(s, ranges);
        }
        conds.retain(|c| !ranges.proves_non_negative(c));
        if conds.is_empty() {
            *s = std::mem::replace(then, Scalar::Index(0.into()));
            return fold(s, ranges);
        }
    }
    s.children_mut().into_iter().for_each(|c| fold(c, ranges));
}
