//! Splits loops that read the same elements again and again into repetitions and elements, and loops
//! that run through several operands, one after the other, into parts that lie in one each.
//!
//! `for i < 82 { o[i] = a[mod(i, 41)] }` becomes `for r < 2 { for i < 41 { o[41*r + i] = a[i] } }`,
//! whose rows are copies. `for i < 180 { o[i, j] = guard([59 - i], a[i, j], b[j, i - 60]) }` becomes
//! `for p < 3 { for i < 60 { .. } }`, where the number of the part chooses.
use super::nest::{Nest, visit_scalars};
use super::primitives::edit::Place;
use super::scheduler::Scheduler;
use super::transpose::is_scalar_work;
use tensmith_ir::expr::{Atom, Expr, Var};
use tensmith_ir::integer::gcd;
use tensmith_ir::loops::{Kernel, Scalar, Scope};

/// Fewer elements of the innermost loop are no rows: lanes pick them out of a vector.
const FEW: i64 = 8;

/// Splits the loops of a nest that repeat.
pub fn split_repeats(s: &mut Scheduler, at: &Place) {
    for (var, size) in choose(s.kernel(), &Nest::at(s.kernel(), at)) {
        let _ = s.recipe("repeats", |s| s.split(var, size).map(drop));
    }
    for (var, size) in parts(&Nest::at(s.kernel(), at)) {
        let _ = s.recipe("operands", |s| s.split(var, size).map(drop));
    }
}

/// The loops around the innermost one where scalar work goes from one operand to the next at multiples
/// of a number, and the greatest such number.
fn parts(nest: &Nest<'_>) -> Vec<(Var, i64)> {
    let Some((_, others)) = nest
        .loops
        .split_last()
        .filter(|_| is_scalar_work(nest.body))
    else {
        return vec![];
    };
    let size = |(var, extent): &(Var, Expr)| {
        let extent = extent.as_const()?;
        let (mut size, mut fine, mut several) = (extent, true, false);
        visit_scalars(nest.body, &mut |s| {
            s.visit(&mut |s| {
                let Scalar::Guard(conds, a, b) = s else {
                    return;
                };
                for cond in conds.iter().filter(|c| c.mentions(*var)) {
                    match border(cond, *var) {
                        Some(at) if loads(a) => size = gcd(size, at),
                        _ => fine = false,
                    }
                    several |= loads(b);
                }
            });
        });
        (fine && several && size >= FEW && size < extent).then_some((*var, size))
    };
    others.iter().filter_map(size).collect()
}

/// The iteration of a loop from which on a condition of it alone holds, or no longer does.
fn border(cond: &Expr, var: Var) -> Option<i64> {
    let rest = cond
        .substitute(&|v| (v == var).then(|| 0.into()))
        .as_const()?;
    match cond.linear_coefficient(var)?.as_const()? {
        1 => rest.checked_neg(),
        -1 => rest.checked_add(1),
        _ => None,
    }
}

fn loads(s: &Scalar) -> bool {
    let mut found = false;
    s.visit(&mut |s| found |= matches!(s, Scalar::Load(..)));
    found
}

/// The loops of scalar work of which operands see the remainder by one number only, and that number.
fn choose(kernel: &Kernel, nest: &Nest<'_>) -> Vec<(Var, i64)> {
    if !is_scalar_work(nest.body) {
        return vec![];
    }
    let ranges = kernel.all_ranges();
    let mut offsets = Vec::new();
    visit_scalars(nest.body, &mut |s| {
        s.visit(&mut |s| match s {
            Scalar::Load(b, index) if kernel.buffer(*b).scope != Scope::Register => {
                offsets.push(kernel.buffer(*b).offset(index).simplify(&ranges));
            }
            Scalar::Guard(conds, ..) => offsets.extend(conds.iter().cloned()),
            Scalar::Index(e) => offsets.push(e.clone()),
            _ => {}
        });
    });
    let loops = nest.loops.iter().enumerate();
    let repeats = loops.filter_map(|(k, (var, extent))| {
        let least = if k + 1 == nest.loops.len() { FEW } else { 2 };
        let size = remainder(&offsets, *var)?;
        let extent = extent.as_const()?;
        (size >= least && size < extent && extent % size == 0).then_some((*var, size))
    });
    repeats.collect()
}

/// The number by which all expressions that mention a variable take its remainder.
fn remainder(offsets: &[Expr], var: Var) -> Option<i64> {
    let mut found = None;
    for (atoms, _) in offsets.iter().flat_map(|e| e.terms()) {
        for atom in atoms.iter().filter(|a| a.mentions(var)) {
            let Atom::Mod(parts) = atom else { return None };
            let size = parts.1.as_const().filter(|_| parts.0.as_var() == Some(var));
            if size.is_none() || found.is_some_and(|n| Some(n) != size) {
                return None;
            }
            found = size;
        }
    }
    found
}
