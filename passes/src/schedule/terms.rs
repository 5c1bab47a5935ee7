//! The recipe of contractions with few columns: lanes along the terms of the sums.
//!
//! An anchor is a sum of products of two elements whose constant factor has so few columns, such as
//! the filters of a convolution, that they would leave most lanes of a vector empty, while the other
//! factor lies contiguous along one of the loops of the sum, as the channels of an image do. That
//! loop becomes vectors, whose lanes each reduce their share of the terms; several rows and all
//! columns run in lock step around it.
//!
//! Before: `for i < 8 { r = 0; for c < 64 { r = fma(a[i, c], w[c], r) }; o[i] = r }`. After:
//! `for i < 8 jam { r = 0; for l < 16 vector { t = -0; for c < 4 { t = fma(a[i, 16*c + l], ..) };
//! r = r + t }; o[i] = r }`.
use super::contraction::{Factor, factors, is_loaded_once};
use super::nest::Nest;
use super::primitives::edit::Place;
use super::primitives::{Primitive, Rejected};
use super::scheduler::Scheduler;
use super::tile::{Tile, tile};
use super::vectorise::split_reduce;
use super::window::STEP;
use super::{Packable, Target};
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Var;
use tensmith_ir::loops::{Kernel, Layout, LayoutDim, Mark, Role, Stmt};

/// Columns at most.
const COLUMNS: i64 = 4;
/// Units: instructions of a result beside its products: lanes are joined.
const JOIN: i64 = 12;
/// Sums in lock step, of all columns and rows: as many as hide the latency of multiply-adds. More
/// only take registers that the elements of rows need.
const SUMS: i64 = 8;
/// Terms at least that are lanes.
const LANES: i64 = 4;
/// Terms of a window at most that are unrolled.
const UNROLLED: i64 = 25;

/// What is decided for an anchor.
pub struct Choice {
    /// The loops of the nest.
    order: Vec<Var>,
    tiles: Vec<Tile>,
    /// The loops of the sums, that of the lanes outermost.
    terms: Vec<Var>,
    unrolled: Vec<Var>,
    packed: Option<(String, Layout)>,
}

/// What to do with the nest at a place if it is an anchor; `packable` says which inputs may
/// be packed.
pub fn choose(
    s: &mut Scheduler,
    at: &Place,
    target: &Target,
    packable: &dyn Packable,
) -> Option<Choice> {
    if !target.masks() || !target.reassociate {
        return None;
    }
    let (kernel, choices) = s.kernel_and_choices();
    let nest = &Nest::at(kernel, at);
    let [x, y] = factors(kernel, nest.body, &kernel.all_ranges(), target)?;
    let (x, y) = if packable.admits(x.buffer) {
        (y, x)
    } else {
        (x, y)
    };
    let floats = [&x, &y].map(|f| kernel.buffer(f.buffer).dtype == DType::F32);
    if packable.admits(x.buffer) || !packable.admits(y.buffer) || floats != [true, true] {
        return None;
    }
    // Products of two values known at run time are no windows: other recipes weigh copies of them.
    let is_plain = x
        .index
        .iter()
        .all(|e| e.as_var().is_some() || e.as_const().is_some());
    if is_plain && packable.cycles(y.buffer) > 0.0 {
        return None;
    }
    let Sides { columns, rows } = sides(nest, &x, &y)?;
    let count = columns.map_or(1, |(_, n)| n);
    let terms = terms(nest.body, &x)?;
    if count == 0 || !pays(target, &terms, count, along_rows(target, nest, &x, rows)) {
        return None;
    }
    let packed = match y.offset.linear_coefficient(terms[0].0)? {
        next if next.is(1) => None,
        _ => Some(packed((kernel, nest), &y, terms[0].0, packable)?),
    };
    let most = (target.registers() / 2).min(SUMS) / count;
    let tiles = columns.map(|(var, size)| Tile {
        var,
        size,
        mark: Mark::Jam,
    });
    let rows = rows.map(|var| Tile {
        var,
        size: choices.number("rows", &[1, 2, 4, 6, 8], most),
        mark: Mark::Jam,
    });
    let tiles: Vec<Tile> = tiles.into_iter().chain(rows).collect();
    let is_tiled = |v: &Var| tiles.iter().any(|t| t.var == *v);
    let (inner, outer): (Vec<Var>, Vec<Var>) = nest.vars().into_iter().partition(is_tiled);
    let window: i64 = terms[1..].iter().map(|(_, n)| n).product();
    let unrolled = if window <= UNROLLED { &terms[1..] } else { &[] };
    Some(Choice {
        order: [outer, inner].concat(),
        tiles,
        terms: terms.iter().map(|(v, _)| *v).collect(),
        unrolled: unrolled.iter().map(|(v, _)| *v).collect(),
        packed,
    })
}

/// Schedules the nest as was decided.
///
/// Errors: as the primitives.
pub fn schedule(s: &mut Scheduler, target: &Target, choice: Choice) -> Result<(), Rejected> {
    if let Some((name, layout)) = choice.packed {
        s.set_layout(name, layout)?;
    }
    let lanes = choice.terms[0];
    s.reorder(choice.terms.clone())?;
    // Lanes that are no loop within their vector would be joined after each term of a window.
    let is_whole = s
        .extent(lanes)
        .is_some_and(|n| n > target.lanes() && n % target.lanes() == 0);
    if let Some(window) = choice.terms.get(1).filter(|_| !is_whole) {
        s.apply(Primitive::Rfactor(*window))?;
    }
    for var in choice.unrolled {
        s.apply(Primitive::Unroll(var))?;
    }
    split_reduce(s, target, lanes, 1)?;
    tile(s, target, &choice.tiles, &choice.order, None).map(drop)
}

/// The loops of a nest that are not the same to both factors.
#[derive(Default)]
struct Sides {
    /// The loop of the columns, with its extent.
    columns: Option<(Var, i64)>,
    /// The innermost loop of the rows.
    rows: Option<Var>,
}

/// The loops of the columns and of the rows; `None` if there are too many columns.
fn sides(nest: &Nest<'_>, x: &Factor<'_>, y: &Factor<'_>) -> Option<Sides> {
    let mut found = Sides::default();
    for (var, extent) in &nest.loops {
        match (x.offset.mentions(*var), y.offset.mentions(*var)) {
            (false, true) if found.columns.is_none() => {
                found.columns = Some((*var, extent.as_const().filter(|n| *n <= COLUMNS)?));
            }
            (false, true) => return None,
            (true, false) => found.rows = Some(*var),
            _ => {}
        }
    }
    (!nest.loops.is_empty()).then_some(found)
}

/// The loops of the sums with their extents, the one first along which the first factor lies
/// contiguous.
pub(super) fn terms(body: &[Stmt], x: &Factor<'_>) -> Option<Vec<(Var, i64)>> {
    let mut found = Vec::new();
    let outermost = body.iter().find_map(|s| match s {
        Stmt::For(l) if l.role == Role::Reduce => Some(l),
        _ => None,
    });
    let mut next = outermost;
    while let Some(l) = next {
        if l.mark != Mark::Plain || l.reduction.is_some() {
            return None;
        }
        found.push((l.var, l.extent.as_const()?));
        next = match &l.body[..] {
            [Stmt::For(inner)] => Some(inner),
            _ => None,
        };
    }
    let along = |(v, _): &(Var, i64)| x.offset.linear_coefficient(*v).is_some_and(|c| c.is(1));
    let lanes = found.iter().position(along)?;
    let lanes = found.remove(lanes);
    found.insert(0, lanes);
    Some(found)
}

/// The rows of a vector, if these lie side by side as those of a window do.
fn along_rows(target: &Target, nest: &Nest<'_>, x: &Factor<'_>, rows: Option<Var>) -> Option<i64> {
    let step = x.offset.linear_coefficient(rows?)?.as_const()?;
    let (innermost, extent) = nest.loops.last()?;
    let extent = extent.as_const()?.max(1);
    let vectors = (extent + target.lanes() - 1) / target.lanes();
    (rows == Some(*innermost) && (1..=STEP).contains(&step)).then_some(extent / vectors)
}

/// Whether vectors along the terms take fewer instructions than a vector of all columns for each
/// term, or one of so many rows; one column would be no vector.
fn pays(target: &Target, terms: &[(Var, i64)], columns: i64, rows: Option<i64>) -> bool {
    let (_, along) = terms[0];
    let window: i64 = terms[1..].iter().map(|(_, n)| n).product();
    let vectors = window * ((along + target.lanes() - 1) / target.lanes());
    let all = window * along;
    let all_columns = match (columns, rows) {
        (1, Some(rows)) => all / rows,
        (1, None) => all,
        _ => 2 * all / 3,
    };
    along >= LANES && columns * (vectors + JOIN) <= all_columns
}

/// The layout of a factor with a dimension innermost whose index is a loop.
pub(super) fn packed(
    (kernel, nest): (&Kernel, &Nest<'_>),
    y: &Factor<'_>,
    along: Var,
    packable: &dyn Packable,
) -> Option<(String, Layout)> {
    let buffer = kernel.buffer(y.buffer);
    let rank = y.index.len();
    let used: Vec<usize> = (0..rank).filter(|d| y.index[*d].mentions(along)).collect();
    let [dim] = used[..] else { return None };
    let fits = y.index[dim].as_var() == Some(along)
        && packable.is_as_given(y.buffer, &buffer.layout)
        && is_loaded_once(nest, y.buffer);
    let order = (0..rank).filter(|d| *d != dim).chain([dim]);
    let dims = order.map(|dim| LayoutDim {
        dim,
        step: 1,
        extent: None,
    });
    fits.then(|| (buffer.name.clone(), Layout(dims.collect())))
}
