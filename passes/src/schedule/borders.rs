//! Cuts loops where windows begin to reach out of an operand, so that no guard is left inside.
//!
//! An anchor is a nest around reductions under guards that compare the innermost loop, moved by
//! the loops of a window, with the borders of an operand, as pooling of a row-major image is.
//! That loop, and the next one that is guarded so, are cut into what is before, inside of and
//! behind those positions whose windows lie inside; each part is scheduled on its own. A loop of few
//! positions, such as those along the rows of a narrow image, is one part for each. So is one loop
//! around the innermost cut that alone is guarded, and so is that loop of a transposing copy along
//! which its operand is guarded, as where an image is padded. Halide: loop partition.
//!
//! Before: `for i < 8 { for k < 3 reduce { r = r + guard([i + k - 1, 8 - i - k], a[i + k - 1], 0) } }`.
//! After: `for i < 1 { .. } for i < 6 { for k < 3 reduce { r = r + a[i + k] } } for i < 1 { .. }`.
use super::nest::{Nest, visit_scalars};
use super::primitives::edit::Place;
use super::primitives::registers::visit_stmts;
use super::primitives::{At, Primitive, Rejected};
use super::scheduler::Scheduler;
use super::window::{reduces, short_windows};
use super::{Target, transpose};
use std::collections::BTreeSet;
use tensmith_ir::expr::{Expr, Ranges, Var};
use tensmith_ir::loops::{Kernel, Role, Scalar, Stmt, vectorisable};

/// Fewer positions inside are no vector.
const FEW: i64 = 4;

/// A loop, and where it is cut.
struct Border {
    var: Var,
    points: Vec<i64>,
    /// Which of the parts has windows that lie inside, if one has lanes.
    inside: Option<usize>,
}

/// What is decided for an anchor.
pub struct Choice {
    /// The loops that stay, outermost first.
    around: Vec<Var>,
    /// The loops that are cut, outermost first.
    cut: Vec<Border>,
    /// The loops inside of these.
    inner: Vec<Var>,
}

/// A part of the positions: its loops, outermost first.
struct Part {
    band: Vec<Var>,
    inside: bool,
}

/// What to do with a nest if it is an anchor along its innermost loop.
pub fn choose(kernel: &Kernel, nest: &Nest<'_>) -> Option<Choice> {
    if !reduces(nest.body) {
        return None;
    }
    let ranges = kernel.all_ranges();
    let conds = conditions(nest.body);
    let at = |k: usize| border(&conds, nest, k, &ranges);
    let innermost = nest.loops.len().checked_sub(1)?;
    let mut cut = vec![at(innermost)?];
    // The outermost loop stays, to be dealt to threads.
    cut.extend((1..innermost).rev().find_map(at));
    cut.reverse();
    let is_cut = |v: &Var| cut.iter().any(|b| b.var == *v);
    Some(Choice {
        around: nest.vars().into_iter().filter(|v| !is_cut(v)).collect(),
        cut,
        inner: vec![],
    })
}

/// What to do with a nest if one of its loops alone is guarded, neither the outermost nor the
/// innermost one: the columns of a window that is split.
pub fn choose_columns(kernel: &Kernel, nest: &Nest<'_>) -> Option<Choice> {
    if !reduces(nest.body) {
        return None;
    }
    let conds = conditions(nest.body);
    let is_guarded = |k: &usize| conds.iter().any(|c| c.mentions(nest.loops[*k].0));
    let guarded: Vec<usize> = (0..nest.loops.len()).filter(is_guarded).collect();
    let [k] = guarded[..] else { return None };
    if k == 0 || k + 1 == nest.loops.len() {
        return None;
    }
    let vars = nest.vars();
    Some(Choice {
        around: vars[..k].to_vec(),
        cut: vec![border(&conds, nest, k, &kernel.all_ranges())?],
        inner: vars[k + 1..].to_vec(),
    })
}

/// What to do with a nest if it is an anchor of transposing copies and guarded along the loop whose
/// elements follow one another in the operand: blocks are turned where no guard tells their
/// elements apart.
pub fn choose_turned(kernel: &Kernel, nest: &Nest<'_>, target: &Target) -> Option<Choice> {
    let conds = conditions(nest.body);
    if conds.is_empty() || !target.masks() {
        return None;
    }
    let along = transpose::along(kernel, nest, target)?;
    let vars = nest.vars();
    let (columns, outer) = vars.split_last()?;
    // The outermost loop stays, to be dealt to threads.
    let around: Vec<Var> = (outer.iter().copied())
        .filter(|v| *v != vars[along])
        .collect();
    (!around.is_empty()).then_some(Choice {
        around,
        cut: vec![border(&conds, nest, along, &kernel.all_ranges())?],
        inner: vec![*columns],
    })
}

/// Cuts the nest at a place as was decided; gives where the first part stands, and how many
/// statements they are.
///
/// Errors: as the primitives; nothing to gain where the part inside still has no lanes.
pub fn schedule(
    s: &mut Scheduler,
    place: &Place,
    choice: Choice,
) -> Result<(Place, usize), Rejected> {
    let cut_vars = choice.cut.iter().map(|b| b.var);
    let band: Vec<Var> = cut_vars.chain(choice.inner).collect();
    s.reorder([&choice.around[..], &band].concat())?;
    let first = choice.around.iter().fold(place.clone(), |p, _| p.inside(0));
    let length = |s: &Scheduler| first.list(&s.kernel().body).len();
    let before = length(s);
    let mut parts = vec![Part { band, inside: true }];
    for (k, border) in choice.cut.iter().enumerate() {
        let mut finer = Vec::new();
        for part in parts {
            finer.extend(cut(s, part, k, border)?);
        }
        parts = finer;
    }
    for part in &parts {
        s.try_apply(Primitive::FoldGuards(part.band[0]))?;
        let innermost = s.find(part.band[part.band.len() - 1])?;
        if !part.inside {
            cut_windows(s, part)?;
        } else if !vectorisable(s.kernel(), innermost) {
            return Err(Rejected::NoEffect);
        }
    }
    s.drop_units(parts.iter().flat_map(|p| p.band.clone()).collect())?;
    let count = length(s) + 1 - before;
    Ok((first, count))
}

/// Cuts loop `k` of a part.
fn cut(s: &mut Scheduler, part: Part, k: usize, border: &Border) -> Result<Vec<Part>, Rejected> {
    let var = part.band[k];
    // All of the band is inside of what is cut, so that it is cut, too.
    let others = part.band.iter().copied().filter(|v| *v != var);
    s.reorder([var].into_iter().chain(others).collect())?;
    let forwarded = s.apply(Primitive::Cut(var, At::Points(border.points.clone())))?;
    let mut parts = Vec::new();
    for n in 0..forwarded.made.len() {
        let band: Vec<Var> = part.band.iter().map(|v| forwarded.of(*v)[n]).collect();
        s.reorder(band.clone())?;
        let inside = part.inside && border.inside == Some(n);
        parts.push(Part { band, inside });
    }
    Ok(parts)
}

/// Cuts the windows of a part where their taps begin to lie inside, so that no guard is left, and
/// unrolls those that have no lanes around them.
fn cut_windows(s: &mut Scheduler, part: &Part) -> Result<(), Rejected> {
    let (outermost, innermost) = (part.band[0], part.band[part.band.len() - 1]);
    let ranges = s.kernel().all_ranges();
    let body = &s.find(outermost)?.body;
    let conds = conditions(body);
    let cuts = windows(body).into_iter().filter_map(|(var, extent)| {
        let points: BTreeSet<i64> = conds
            .iter()
            .filter_map(|c| change(c, var, &ranges))
            .collect();
        let points = points.into_iter().filter(|p| (1..extent).contains(p));
        Some((var, points.collect::<Vec<_>>())).filter(|(_, p)| !p.is_empty())
    });
    // Inner ones first: those are copied where outer ones are cut.
    for (var, points) in cuts.collect::<Vec<_>>().into_iter().rev() {
        s.cut(var, At::Points(points))?;
    }
    s.try_apply(Primitive::FoldGuards(outermost))?;
    if s.extent(innermost).is_some_and(|n| n < FEW) {
        for var in short_windows(&s.find(innermost)?.body) {
            s.apply(Primitive::Unroll(var))?;
        }
    }
    Ok(())
}

/// The loops of reductions, outer ones first, and their extents.
fn windows(body: &[Stmt]) -> Vec<(Var, i64)> {
    let mut found = Vec::new();
    visit_stmts(body, &mut |stmt| {
        if let Stmt::For(l) = stmt
            && l.role == Role::Reduce
            && let Some(extent) = l.extent.as_const()
        {
            found.push((l.var, extent));
        }
    });
    found
}

/// The first iteration of a loop for which a condition differs from that before, if it looks at
/// nothing else.
fn change(cond: &Expr, var: Var, ranges: &Ranges) -> Option<i64> {
    let step = cond.linear_coefficient(var)?.as_const()?;
    let rest = cond.substitute(&|v| (v == var).then(|| 0.into()));
    let (rest, most) = ranges.bounds(&rest);
    match step {
        0 => None,
        _ if rest < most => None,
        1.. => rest.div_euclid(step).checked_neg(),
        _ => Some(rest.div_euclid(step.checked_neg()?) + 1),
    }
}

/// Where loop `k` of a nest is cut, if conditions compare it with constants.
fn border(conds: &[Expr], nest: &Nest<'_>, k: usize, ranges: &Ranges) -> Option<Border> {
    let (var, extent) = &nest.loops[k];
    let (mut begin, mut end) = (0, extent.as_const()?);
    let extent = end;
    for cond in conds.iter().filter(|c| c.mentions(*var)) {
        let step = cond.linear_coefficient(*var)?.as_const()?;
        let rest = cond.substitute(&|v| (v == *var).then(|| 0.into()));
        if nest.loops.iter().any(|(v, _)| rest.mentions(*v)) {
            return None;
        }
        let (least, _) = ranges.bounds(&rest);
        // step*v + least >= 0 from the one on, or before the other.
        match step {
            1.. => begin = begin.max(least.div_euclid(step).checked_neg()?),
            _ => end = end.min(least.div_euclid(step.checked_neg()?) + 1),
        }
    }
    if extent < FEW {
        let guarded = conds.iter().any(|c| c.mentions(*var));
        return (guarded && extent > 1).then(|| Border {
            var: *var,
            points: (1..extent).collect(),
            inside: None,
        });
    }
    let points: Vec<i64> = [begin, end]
        .into_iter()
        .filter(|p| (1..extent).contains(p))
        .collect();
    let wide = end.checked_sub(begin)? >= FEW;
    (wide && !points.is_empty()).then(|| Border {
        var: *var,
        points,
        inside: Some(usize::from(begin > 0)),
    })
}

/// The conditions of all guards.
fn conditions(body: &[Stmt]) -> Vec<Expr> {
    let mut conds = Vec::new();
    visit_scalars(body, &mut |s| {
        s.visit(&mut |s| {
            if let Scalar::Guard(own, ..) = s {
                conds.extend(own.iter().cloned());
            }
        });
    });
    conds
}
