//! The recipe of rows that are put together of several rows, an element of each in turn.
//!
//! An anchor is a nest of scalar work whose innermost loop runs along consecutive elements of the
//! result and reads operands at its quotient and its remainder by a small number: phases of a
//! transposed convolution, or channels that become positions, of row-major operands. Quotients become
//! the lanes of vectors and remainders run in lock step, which decides guards; the vectors of all
//! remainders are put together in registers. Elements before the first whole period and behind the
//! last one are nests of their own.
//!
//! Before: `for i < 62 { o[i] = guard([1 - mod(i, 3)], a[mod(i, 3), div(i, 3)], 0) }`. After:
//! `for t < 2 { for j < 3 jam { for k < 10 vector { .. } } } for i < 2 { .. }`.
use super::Target;
use super::nest::{Nest, visit_scalars};
use super::phases::{join, period, stores_words};
use super::primitives::{At, Primitive, Rejected};
use super::scheduler::Scheduler;
use super::tile::{Tile, tile};
use super::transpose::is_scalar_work;
use super::window::{contiguous, visit_stores};
use tensmith_ir::expr::{Atom, Expr, Ranges, Var};
use tensmith_ir::loops::{BufferId, Kernel, Mark, Scalar, Scope, vectorisable};

/// Rows at most: so many vectors are put together by permutations.
const MOST: i64 = 5;
/// Fewer periods are no vector.
const FEW: i64 = 8;

/// What is decided for an anchor.
pub struct Choice {
    /// All loops, outermost first.
    vars: Vec<Var>,
    /// The number of rows.
    period: i64,
    /// The iterations of the innermost loop that are whole periods.
    whole: [i64; 2],
    /// The iterations of the innermost loop.
    extent: i64,
}

/// What to do with the nest at a place if it is an anchor.
pub fn choose(kernel: &Kernel, nest: &Nest<'_>, target: &Target) -> Option<Choice> {
    let (var, extent) = nest.loops.last()?;
    if !target.masks() || !is_scalar_work(nest.body) || !stores_words(kernel, nest.body) {
        return None;
    }
    let mut follows = true;
    visit_stores(nest.body, &mut |b, index| {
        let offset = kernel.buffer(b).offset(index).simplify(&Ranges::new());
        let in_memory = kernel.buffer(b).scope != Scope::Register;
        follows &= !in_memory || offset.linear_coefficient(*var).is_some_and(|c| c.is(1));
    });
    let extent = extent.as_const().filter(|_| follows)?;
    let (period, first) = rows(kernel, nest, *var)?;
    let count = (extent - first) / period;
    (count >= FEW).then(|| Choice {
        vars: nest.vars(),
        period,
        whole: [first, first + count * period],
        extent,
    })
}

/// Schedules the nest as was decided.
///
/// Errors: as the primitives; nothing to gain where quotients are no lanes.
pub fn schedule(s: &mut Scheduler, target: &Target, choice: Choice) -> Result<(), Rejected> {
    let (around, band) = choice.vars.split_at(usize::from(choice.vars.len() > 1));
    let mut whole = band.to_vec();
    let points = choice.whole.into_iter();
    let points: Vec<i64> = points.filter(|p| (1..choice.extent).contains(p)).collect();
    if let (Some(var), false) = (band.last(), points.is_empty()) {
        let inner = &band[..band.len() - 1];
        s.reorder([around, &[*var], inner].concat())?;
        let forwarded = s.apply(Primitive::Cut(*var, At::Points(points)))?;
        for n in 0..forwarded.made.len() {
            let part: Vec<Var> = band.iter().map(|v| forwarded.of(*v)[n]).collect();
            s.reorder(part.clone())?;
            match n == usize::from(choice.whole[0] > 0) {
                true => whole = part,
                false => s.drop_units(part)?,
            }
        }
    }
    let var = whole.pop().ok_or(Rejected::NoEffect)?;
    let (periods, phases) = s.split(var, choice.period)?;
    let mut lanes = s.find(periods)?.clone();
    lanes.mark = Mark::Vector;
    let stored = |b: BufferId| s.kernel().buffer(b).scope == Scope::Output;
    if !vectorisable(s.kernel(), &lanes) || !contiguous(s.kernel(), &lanes, 1, &stored) {
        return Err(Rejected::NoEffect);
    }
    let tiles = [
        Tile {
            var: phases,
            size: choice.period,
            mark: Mark::Jam,
        },
        Tile {
            var: periods,
            size: target.lanes(),
            mark: Mark::Vector,
        },
    ];
    let order = [&whole[..], &[phases, periods]].concat();
    tile(s, target, &tiles, &order, None).map(drop)
}

/// The number by which a nest takes quotients and remainders of a loop, and the first iteration
/// without a remainder.
fn rows(kernel: &Kernel, nest: &Nest<'_>, var: Var) -> Option<(i64, i64)> {
    let mut seen = Vec::new();
    visit_scalars(nest.body, &mut |s| {
        s.visit(&mut |s| match s {
            Scalar::Load(b, index) if kernel.buffer(*b).scope != Scope::Register => {
                seen.extend(index.iter().cloned());
            }
            Scalar::Guard(conds, ..) => seen.extend(conds.iter().cloned()),
            _ => {}
        });
    });
    let (mut rows, mut leads) = (1, Vec::new());
    for e in seen.iter().filter(|e| e.mentions(var)) {
        rows = join(rows, period(e, var)?).filter(|n| *n <= MOST)?;
        leads.extend(leads_of(e, var)?);
    }
    let [first, others @ ..] = &leads[..] else {
        return None;
    };
    let turns = seen.iter().any(|e| !is_quotient(e, var));
    let alike = others.iter().all(|lead| lead == first);
    (rows > 1 && turns && alike).then(|| (rows, (-first).rem_euclid(rows)))
}

/// Whether an index follows a loop by no remainder.
fn is_quotient(e: &Expr, var: Var) -> bool {
    let atoms = e.terms().iter().flat_map(|(all, _)| all);
    atoms
        .filter(|a| a.mentions(var))
        .all(|a| !matches!(a, Atom::Mod(_)))
}

/// What is added to a loop where its quotients and remainders are taken; `None` where something else
/// than a constant is.
fn leads_of(e: &Expr, var: Var) -> Option<Vec<i64>> {
    let mut found = Vec::new();
    for atom in e.terms().iter().flat_map(|(all, _)| all) {
        let (Atom::Div(parts) | Atom::Mod(parts)) = atom else {
            continue;
        };
        match (parts.0.clone() - Expr::from(var)).as_const() {
            Some(lead) => found.push(lead),
            None if parts.0.mentions(var) => {
                let own = leads_of(&parts.0, var)?;
                found.extend((!own.is_empty()).then_some(own)?);
            }
            None => {}
        }
    }
    Some(found)
}
