//! The recipe of contractions of operands that both lie along their terms: lanes along the terms.
//!
//! An anchor is a sum of products of two elements, both of which lie contiguous along a loop of the
//! sum, or are packed to do so. That loop becomes vectors, whose lanes each reduce their share of the
//! terms; a tile of rows times columns runs in lock step around it, so that each vector that is
//! loaded is multiplied by several. What joining lanes takes is small where sums are long. It is
//! for contractions that cannot be tiles of columns side by side, or where making them so takes longer.
//!
//! Before: `for i < 8 { for j < 8 { r = 0; for k < 64 { r = fma(a[i, k], b[j, k], r) }; .. } }`. After:
//! `for i < 4 jam { for j < 4 jam { r = 0; for l < 16 vector { t = -0; for k < 4 { t = fma(a[i, 16*k + l],
//! b[j, 16*k + l], t) }; r = r + t }; .. } }`, in tiles.
use super::contraction::{self, Factor, factors, is_loaded_once};
use super::nest::Nest;
use super::primitives::Rejected;
use super::primitives::edit::Place;
use super::scheduler::Scheduler;
use super::terms::{packed, terms};
use super::tile::{Tile, tile};
use super::vectorise::split_reduce;
use super::{Packable, Target};
use crate::cost::Dots;
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Var;
use tensmith_ir::loops::{Kernel, Layout, Mark};

/// Rows and columns of a tile at most.
const MOST: i64 = 6;
/// Units: elements from a term of a column to the next at most, where they are picked out of vectors.
const NEAR: i64 = 4;
/// Fewer terms are no vector.
const FEW: i64 = 4;

/// What is decided for an anchor.
pub struct Choice {
    /// The loops of the nest.
    order: Vec<Var>,
    tiles: Vec<Tile>,
    /// The loops of the sums that become one, outermost first, that of the lanes last.
    lanes: Vec<Var>,
    packed: Option<(String, Layout)>,
}

/// One way to schedule an anchor.
#[derive(Clone)]
struct Way {
    rows: Option<Var>,
    columns: Option<Var>,
    tile: [i64; 2],
    lanes: Vec<Var>,
    packed: Option<(String, Layout)>,
    /// Units: cycles.
    cost: f64,
}

/// What to do with the nest at a place if it is an anchor, and tiles of columns are not cheaper;
/// `packable` says which inputs may be packed.
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
    let floats = [&x, &y].map(|f| kernel.buffer(f.buffer).dtype == DType::F32);
    // Constants lie as suits columns for nothing.
    let is_free = |f: &Factor<'_>| packable.admits(f.buffer) && packable.cycles(f.buffer) == 0.0;
    if floats != [true, true] || is_free(&x) || is_free(&y) || nest.loops.is_empty() {
        return None;
    }
    let sides = [[&x, &y], [&y, &x]].into_iter();
    let ways = sides.filter_map(|sides| ways(kernel, nest, target, sides, packable));
    let cheaper = |a: &Way, b: &Way| a.cost.total_cmp(&b.cost);
    let best = ways.flatten().min_by(cheaper)?;
    let columns = contraction::cheapest(kernel, nest, target, packable);
    if columns.is_some_and(|(cycles, _)| cycles <= best.cost) {
        return None;
    }
    let [rows, columns] =
        [("rows", 0, best.rows), ("columns", 1, best.columns)].map(|(name, k, var)| {
            var.map(|var| Tile {
                var,
                size: choices.number(name, &[1, 2, 3, 4], best.tile[k]),
                mark: Mark::Jam,
            })
        });
    let tiles: Vec<Tile> = rows.into_iter().chain(columns).collect();
    let is_tiled = |v: &Var| tiles.iter().any(|t| t.var == *v);
    let (inner, outer): (Vec<Var>, Vec<Var>) = nest.vars().into_iter().partition(is_tiled);
    Some(Choice {
        order: [outer, inner].concat(),
        tiles,
        lanes: best.lanes,
        packed: best.packed,
    })
}

/// Schedules the nest as was decided.
///
/// Errors: as the primitives.
pub fn schedule(s: &mut Scheduler, target: &Target, choice: Choice) -> Result<(), Rejected> {
    if let Some((name, layout)) = choice.packed {
        s.set_layout(name, layout)?;
    }
    let lanes = match choice.lanes[..] {
        [lanes] => lanes,
        _ => s.fuse(choice.lanes)?,
    };
    split_reduce(s, target, lanes, 1)?;
    tile(s, target, &choice.tiles, &choice.order, None).map(drop)
}

/// The ways to schedule an anchor with rows of `x` and columns of `y`, which may be packed.
fn ways(
    kernel: &Kernel,
    nest: &Nest<'_>,
    target: &Target,
    [x, y]: [&Factor<'_>; 2],
    packable: &dyn Packable,
) -> Option<Vec<Way>> {
    let mut sums = terms(nest.body, x)?;
    let (lanes, mut along) = sums.remove(0);
    let step = |f: &Factor<'_>, v: Var| f.offset.linear_coefficient(v)?.as_const();
    let mut joined = vec![lanes];
    let (packed, packing, column_loads) = match step(y, lanes)? {
        1 => {
            // What goes on where a row of terms ends is one loop with it.
            while let Some(k) = sums
                .iter()
                .position(|(v, _)| [x, y].map(|f| step(f, *v)) == [Some(along); 2])
            {
                let (outer, extent) = sums.remove(k);
                joined.insert(0, outer);
                along *= extent;
            }
            (None, 0.0, 1.0)
        }
        // Elements that lie near each other are picked out of few vectors.
        near @ 2..=NEAR => (None, 0.0, (near + 1) as f64),
        _ if packable.admits(y.buffer) && is_loaded_once(nest, y.buffer) => (
            Some(packed((kernel, nest), y, lanes, packable)?),
            packable.cycles(y.buffer),
            1.0,
        ),
        _ => return None,
    };
    if along < FEW || !sums.is_empty() {
        return None;
    }
    let extent = |k: usize| nest.loops[k].1.as_const();
    let (mut rows, mut columns, mut batch) = (None, None, 1);
    for k in (0..nest.loops.len()).rev() {
        let var = nest.loops[k].0;
        match [x, y].map(|f| f.offset.mentions(var)) {
            [true, false] if rows.is_none() => rows = Some(k),
            [false, true] if columns.is_none() => columns = Some(k),
            _ => batch *= extent(k)?,
        }
    }
    // Of one row or column, each element is read once, which sums of rows do as they lie.
    let side_by_side = packed.is_none() && column_loads == 1.0;
    if side_by_side && (rows.is_none() || columns.is_none()) {
        return None;
    }
    let results = [rows, columns].map(|k| k.map_or(Some(1), extent));
    let results = [results[0]?, results[1]?];
    let lanes = target.lanes();
    let rest = along % lanes;
    let terms = match rest < FEW {
        true => [along - rest, 0, rest],
        false => [along - rest, rest, 0],
    };
    let var = |k: Option<usize>| k.map(|k| nest.loops[k].0);
    let shapes = (1..=MOST).flat_map(|r| (1..=MOST).map(move |c| [r, c]));
    let fits = |[r, c]: &[i64; 2]| {
        r * c + r + c < target.registers() && *r <= results[0].max(1) && *c <= results[1].max(1)
    };
    let found = shapes.filter(fits).map(|tile| {
        let work = Dots {
            tile,
            lanes,
            results,
            batch,
            column_loads,
            terms,
        };
        Way {
            rows: var(rows),
            columns: var(columns),
            tile,
            lanes: joined.clone(),
            packed: packed.clone(),
            cost: target.cost.dots_cycles(&work) + packing,
        }
    });
    Some(found.collect())
}
