//! The recipe of contractions: register tiles of rows times vector columns.
//!
//! An anchor is a nest of space loops around a sum of products of two elements. One space loop
//! becomes the columns: the first factor lies contiguous along it (or is a constant or weights, which
//! are packed to do so then) and the second does not depend on it. Another becomes the rows: the second
//! factor depends on it and the first does not. A tile of rows times columns stays in registers
//! over the whole reduction.
mod bytes;
mod decide;
mod factors;
mod orders;
mod shapes;
mod unroll;
mod zeros;

use super::nest::Nest;
use super::primitives::Rejected;
use super::primitives::edit::Place;
use super::primitives::registers::visit_stmts;
use super::scheduler::Scheduler;
use super::tile::{Blocks, Tile, tile};
use super::{Packable, Target};
use crate::cost::{self, Contraction};
pub(super) use factors::{Factor, factors, is_loaded_once};
use factors::{depth, nearest_terms, order_reductions, runs_once};
use shapes::{SAFE_ROWS, lone_shapes, rows_fit, shapes};
use tensmith_ir::expr::{Expr, Var};
use tensmith_ir::loops::{
    BufferId, For, Kernel, Layout, LayoutDim, Mark, Role, Scope, Stmt, vectorisable,
};
use unroll::{unroll_all, unroll_terms};

/// Tiles of rows at most for which a packed factor streams through.
const FEW_TILES: i64 = 4;

/// Units: elements that a packed factor is fetched ahead, a page: the hardware's own streams end
/// with each page.
const AHEAD: i64 = 1024;

/// First caches that a second one surely has the size of.
const NEAR_CACHES: f64 = 4.0;

/// Terms at most whose products take no longer than the store of their sum.
const FEW_TERMS: i64 = 8;

/// Rows at most that tall tiles are worth their registers for.
const FEW_ROWS: i64 = 64;

/// Units: elements from a column to the next, if not one: vectors are picked out of pairs of others.
const NEAR: i64 = 2;

/// What rows cost that lie farther apart than those of another loop.
const FAR: f64 = 1.1;

/// What rows cost of which the first cache cannot hold a line each.
const CROWDED: f64 = 100.0;

/// What terms cost of which each lies in another line than the one before, for all rows: few of
/// the elements of a line are used before the next.
const FAR_TERMS: f64 = 1.2;

/// Units: elements of a line of a cache.
const LINE: i64 = 16;

/// One way to tile an anchor.
#[derive(Clone, Debug)]
struct Choice {
    columns: usize,
    rows: Option<usize>,
    /// The buffer to pack, with the dimension that the columns run along.
    pack: Option<(BufferId, usize)>,
    /// Columns that lie side by side in what is packed.
    panel: i64,
    shape: cost::Tile,
    /// Blocks of rows that stay in a cache.
    blocks: i64,
    /// Whether terms go in groups of bytes.
    bytes: bool,
    /// Whether the columns run along the second factor, and the rows along the first.
    is_swapped: bool,
    /// Units: cycles.
    cost: f64,
}

/// Units: cycles of a contraction with the best tile for it.
pub(crate) fn least_cycles(target: &Target, work: &Contraction) -> f64 {
    let cycles = shapes(target, true).into_iter().map(|tile| {
        let work = Contraction { tile, ..*work };
        target.cost.contraction_cycles(&work)
    });
    cycles.fold(f64::INFINITY, f64::min)
}

/// Whether the nest is a sum of products of two elements.
pub fn is_anchor(kernel: &Kernel, nest: &Nest<'_>, target: &Target) -> bool {
    factors(kernel, nest.body, &kernel.all_ranges(), target).is_some()
}

/// The cheapest way to tile the nest if it is an anchor: its cycles, and the input that it packs.
pub fn cheapest(
    kernel: &Kernel,
    nest: &Nest<'_>,
    target: &Target,
    packable: &dyn Packable,
) -> Option<(f64, Option<BufferId>)> {
    let factors = factors(kernel, nest.body, &kernel.all_ranges(), target)?;
    let ways = ways(kernel, nest, target, &factors, packable);
    let best = ways.iter().min_by(|a, b| a.cost.total_cmp(&b.cost))?;
    Some((best.cost, best.pack.map(|(buffer, _)| buffer)))
}

/// What is decided for an anchor.
pub struct Plan {
    /// The loops of the nest: those of independent contractions, then the columns, so that a panel
    /// of them stays in cache.
    order: Vec<Var>,
    tiles: Vec<Tile>,
    blocks: Option<Blocks>,
    packed: Option<(String, Layout)>,
    /// Units: elements that what is packed is fetched ahead; 0: not at all.
    ahead: i64,
    /// The loops of the reduction, outermost first, if they are to change their order.
    terms: Vec<Var>,
    /// Terms of a sum, or groups of them, in one iteration.
    terms_of_step: i64,
    /// Whether terms go in groups of bytes.
    bytes: bool,
}

/// What to do with the nest at a place if it is an anchor; `packable` says which inputs may
/// be packed.
pub fn choose(
    s: &mut Scheduler,
    at: &Place,
    target: &Target,
    packable: &dyn Packable,
) -> Option<Plan> {
    let (kernel, choices) = s.kernel_and_choices();
    let nest = &Nest::at(kernel, at);
    let factors = factors(kernel, nest.body, &kernel.all_ranges(), target)?;
    let found = ways(kernel, nest, target, &factors, packable);
    let choice = decide::choice(choices, found)?;
    let [x, y] = sides(&factors, choice.is_swapped);
    let group = match choice.bytes {
        true => Some(bytes::group(nest.body, x, y)?.1),
        false => None,
    };
    // Sums of integers are the same in any order.
    let terms = match target.reassociate || choice.bytes {
        true => order_reductions(nest.body, &y.offset),
        false => vec![],
    };
    let terms = match choice.bytes {
        true => terms,
        false => orders::ask(choices, "sums", terms, |v| !runs_once(nest.body, *v)),
    };
    let is_batch = |v: &Var| {
        let of_columns = x.index.iter().any(|e| e.mentions(*v));
        of_columns && y.offset.mentions(*v)
    };
    let loops = nest.vars().into_iter();
    let (batch, outer): (Vec<Var>, Vec<Var>) = loops.partition(is_batch);
    let packed = choice.pack.map(|(buffer, dim)| {
        let layout = packed_layout((x.index, dim), choice.panel, &terms, &batch);
        let layout = match group {
            Some(group) => Layout(bytes::grouped(layout.0, group)),
            None => layout,
        };
        (kernel.buffer(buffer).name.clone(), layout)
    });
    let ahead = match packed.is_some() && target.masks() {
        true => {
            let rows = choice.rows.and_then(|k| nest.loops[k].1.as_const());
            let few = rows.unwrap_or(1) <= FEW_TILES * choice.shape.rows;
            // A fetch for each vector of 256 bits takes more than it saves where many tiles of rows
            // find the factor near.
            let streams = choice.rows.is_some() || target.cost.fetches_ahead();
            let pays = (few || target.vector_bytes >= 64) && streams;
            choices.number("ahead", &[0, 256, 1024, 4096], if pays { AHEAD } else { 0 })
        }
        false => 0,
    };
    let tile = |k: usize, size, mark| Tile {
        var: nest.loops[k].0,
        size,
        mark,
    };
    let columns = tile(choice.columns, choice.shape.width(), Mark::Vector);
    let rows = choice.rows.map(|k| tile(k, choice.shape.rows, Mark::Jam));
    let outer = outer.into_iter();
    let outer = outer.filter(|v| *v != columns.var && rows.is_none_or(|r| *v != r.var));
    let inside: Vec<Var> = outer.chain(rows.map(|r| r.var)).collect();
    // Sums of few terms take as long as their stores: columns that a near cache holds anyway are
    // passed over for each tile of rows, so that results are written in their order.
    let short = depth(nest.body).is_some_and(|n| n <= FEW_TERMS);
    let near_bytes = NEAR_CACHES * target.cost.l1_bytes() as f64;
    let near = columns_bytes(kernel, nest, x, choice.columns) <= near_bytes;
    let along = short && near;
    let count = match inside.is_empty() {
        true => 1,
        false => {
            let default = if along { 1 } else { choice.blocks };
            choices.number("blocks", &[1, 2, 4, 8], default)
        }
    };
    let tiles_of = |v: &Var| {
        let (_, extent) = nest.loops.iter().find(|(w, _)| w == v)?;
        let tiled = rows.iter().chain([&columns]).find(|t| t.var == *v);
        let size = tiled.map_or(1, |t| t.size);
        extent.as_const().map(|n| (n + size - 1).div_euclid(size))
    };
    let blocks = inside.iter().find_map(|v| {
        let tiles = tiles_of(v).filter(|n| count > 1 && *n >= count)?;
        Some(Blocks {
            var: *v,
            size: size_of_blocks(tiles, count),
            around: columns.var,
        })
    });
    let around = [columns.var].into_iter();
    let order: Vec<Var> = match along && count == 1 {
        true => inside.into_iter().chain(around).collect(),
        false => around.chain(inside).collect(),
    };
    let order = match count > 1 {
        true => order,
        false => orders::ask(choices, "order", order, |v| {
            tiles_of(v).is_none_or(|n| n > 1)
        }),
    };
    let terms_of_step = unroll::steps(choices, target);
    let bytes = choice.bytes;
    Some(Plan {
        bytes,
        order: batch.into_iter().chain(order).collect(),
        blocks,
        tiles: rows.into_iter().chain([columns]).collect(),
        packed,
        ahead: if bytes { ahead * bytes::GROUP } else { ahead },
        terms,
        terms_of_step,
    })
}

/// Units: bytes of the factor of the columns of one contraction; infinite if that is not known.
fn columns_bytes(kernel: &Kernel, nest: &Nest<'_>, x: &Factor<'_>, columns: usize) -> f64 {
    let extents = [depth(nest.body), nest.loops[columns].1.as_const()];
    let element = kernel.buffer(x.buffer).dtype.bytes() as f64;
    let bytes = extents.map(|n| n.map_or(f64::INFINITY, |n| n as f64));
    bytes[0] * bytes[1] * element
}

/// The tiles of a block of at least so many: up to twice as many blocks, if then all are the same,
/// so that threads share them with what is around them.
fn size_of_blocks(tiles: i64, count: i64) -> i64 {
    let even = (count..2 * count).find(|n| tiles % n == 0);
    let count = even.unwrap_or(count);
    (tiles + count - 1) / count
}

/// Schedules the nest as was decided.
///
/// Errors: as the primitives.
pub fn schedule(s: &mut Scheduler, target: &Target, plan: Plan) -> Result<(), Rejected> {
    if !plan.terms.is_empty() {
        s.reorder(plan.terms)?;
    }
    if let Some((name, layout)) = plan.packed {
        s.set_layout(name.clone(), layout)?;
        if plan.ahead > 0 {
            s.prefetch(name, plan.ahead)?;
        }
    }
    let tiles = tile(s, target, &plan.tiles, &plan.order, plan.blocks)?;
    let inside = tiles.concat();
    match plan.bytes {
        true => {
            let groups = bytes::group_terms(s, &inside)?;
            unroll_all(s, groups, plan.terms_of_step)
        }
        false => {
            unroll_terms(s, plan.terms_of_step, &inside)?;
            zeros::skip(s, &inside)
        }
    }
}

/// The layout of a packed factor, as the loops run through it: for each of several contractions
/// panels of columns, and in them the terms in their order.
fn packed_layout(
    (index, dim): (&[Expr], usize),
    width: i64,
    terms: &[Var],
    batch: &[Var],
) -> Layout {
    let place = |d: &usize| {
        let used = |v: &Var| index[*d].mentions(*v);
        terms.iter().position(used).map_or(0, |k| k + 1)
    };
    let part = |dim, step, extent| LayoutDim { dim, step, extent };
    let others = (0..index.len()).filter(|d| *d != dim);
    let is_batch = |d: &usize| batch.iter().any(|v| index[*d].as_var() == Some(*v));
    let (apart, mut inside): (Vec<usize>, Vec<usize>) = others.partition(is_batch);
    inside.sort_by_key(place);
    let mut dims: Vec<LayoutDim> = apart.into_iter().map(|d| part(d, 1, None)).collect();
    dims.push(part(dim, width, None));
    dims.extend(inside.into_iter().map(|d| part(d, 1, None)));
    dims.push(part(dim, 1, Some(width)));
    Layout(dims)
}

/// All ways to tile an anchor.
fn ways(
    kernel: &Kernel,
    nest: &Nest<'_>,
    target: &Target,
    factors: &[Factor<'_>; 2],
    packable: &dyn Packable,
) -> Vec<Choice> {
    let mut found: Vec<Choice> = Vec::new();
    for is_swapped in [false, true] {
        let [x, y] = sides(factors, is_swapped);
        for columns in 0..nest.loops.len() {
            let bytes = kernel.buffer(x.buffer).dtype.is_byte();
            let fits = (!bytes || bytes::group(nest.body, x, y).is_some())
                && lanes_fit(kernel, nest, columns);
            let accesses = column_accesses(kernel, nest, target, columns, [x, y], packable);
            for access in accesses.into_iter().filter(|_| fits) {
                let mut ways = candidates(kernel, nest, target, columns, [x, y], access);
                for way in &mut ways {
                    (way.is_swapped, way.bytes) = (is_swapped, bytes);
                }
                found.append(&mut ways);
            }
        }
    }
    found
}

/// The factor of the columns, and that of the rows.
fn sides<'f, 'a>(factors: &'f [Factor<'a>; 2], is_swapped: bool) -> [&'f Factor<'a>; 2] {
    match is_swapped {
        false => [&factors[0], &factors[1]],
        true => [&factors[1], &factors[0]],
    }
}

fn lanes_fit(kernel: &Kernel, nest: &Nest<'_>, columns: usize) -> bool {
    let (var, extent) = nest.loops[columns].clone();
    let body = nest.body.to_vec();
    let l = For {
        var,
        extent,
        role: Role::Space,
        mark: Mark::Vector,
        reduction: None,
        body,
    };
    vectorisable(kernel, &l)
}

/// How the factor of the columns lies.
#[derive(Clone, Copy)]
enum Columns {
    /// To be packed, with the dimension that the columns run along, how many of them belong
    /// together, and the cycles that each run takes for it.
    ToPack(BufferId, usize, i64, f64),
    /// Packed before, in panels of so many columns.
    Panels(i64),
    /// So many elements from each to the next.
    Apart(i64),
}

/// How the factor of the columns may lie if loop `columns` is the columns.
fn column_accesses(
    kernel: &Kernel,
    nest: &Nest<'_>,
    target: &Target,
    columns: usize,
    [x, y]: [&Factor<'_>; 2],
    packable: &dyn Packable,
) -> Vec<Columns> {
    let (var, extent) = &nest.loops[columns];
    if y.offset.mentions(*var) || extent.as_const().is_none() {
        return vec![];
    }
    let packed = packed_columns(kernel, nest, columns, x, packable);
    let stride = x.offset.linear_coefficient(*var);
    // What is picked out of others is for rows that would not fill a vector as columns.
    let is_row = |v: &Var| y.offset.mentions(*v) && !x.offset.mentions(*v);
    let rows = nest.loops.iter().filter(|(v, _)| is_row(v));
    let rows: Option<i64> = rows.map(|(_, extent)| extent.as_const()).product();
    let few = target.masks() && rows.is_some_and(|n| n < target.lanes());
    let near = |step: &i64| *step == 1 || *step == NEAR && few;
    let step = stride.and_then(|c| c.as_const()).filter(near);
    let words = kernel.buffer(x.buffer).dtype.bytes() == 4;
    let step = step.filter(|n| words || *n == 1 && !kernel.buffer(x.buffer).dtype.is_byte());
    // What lies as columns want it is not copied in each run.
    let as_it_is =
        |c: &Columns| step == Some(1) && matches!(c, Columns::ToPack(.., cycles) if *cycles > 0.0);
    let packed = packed.filter(|c| !as_it_is(c));
    packed.into_iter().chain(step.map(Columns::Apart)).collect()
}

/// How the factor of the columns lies if it is packed, or is to be.
fn packed_columns(
    kernel: &Kernel,
    nest: &Nest<'_>,
    columns: usize,
    x: &Factor<'_>,
    packable: &dyn Packable,
) -> Option<Columns> {
    let var = nest.loops[columns].0;
    let extent = nest.loops[columns].1.as_const()?;
    if !packable.admits(x.buffer) || !is_loaded_once(nest, x.buffer) {
        return None;
    }
    let mut dims = (0..x.index.len()).filter(|d| x.index[*d].mentions(var));
    let (Some(d), None) = (dims.next(), dims.next()) else {
        return None;
    };
    let together = together(&x.index[d], var, extent)?;
    let layout = &kernel.buffer(x.buffer).layout;
    if packable.is_as_given(x.buffer, layout) {
        let cycles = packable.cycles(x.buffer);
        return Some(Columns::ToPack(x.buffer, d, together, cycles));
    }
    let last = layout.0.last()?;
    let width = last.extent?;
    let whole = together == i64::MAX || together % width == 0;
    (whole && (last.dim, last.step) == (d, 1)).then_some(Columns::Panels(width))
}

/// How many indices of the columns follow each other: all where the loop is the index, those of a
/// group where the index is a multiple of the loop's extent and the loop.
fn together(index: &Expr, var: Var, extent: i64) -> Option<i64> {
    if index.as_var() == Some(var) {
        return Some(i64::MAX);
    }
    let rest = index.clone() - Expr::from(var);
    (!rest.mentions(var) && extent > 0 && rest.rem(extent).is(0)).then_some(extent)
}

/// Tile shapes for a choice of columns, with their costs.
fn candidates(
    kernel: &Kernel,
    nest: &Nest<'_>,
    target: &Target,
    columns: usize,
    [x, y]: [&Factor<'_>; 2],
    access: Columns,
) -> Vec<Choice> {
    // Packed columns are read in order; the others from as many pages as there are terms.
    let scattered = match access {
        Columns::Apart(_) => 1.02,
        Columns::ToPack(..) | Columns::Panels(_) => 1.0,
    };
    let (pack, together, packing) = match access {
        Columns::ToPack(buffer, dim, together, cycles) => (Some((buffer, dim)), together, cycles),
        Columns::Panels(_) | Columns::Apart(_) => (None, i64::MAX, 0.0),
    };
    let column_loads = match access {
        Columns::Apart(step) if step > 1 => (step + 1) as f64,
        _ => 1.0,
    };
    let far_terms = match nearest_terms(nest.body, &y.offset) {
        Some(stride) if stride >= LINE => FAR_TERMS,
        _ => 1.0,
    };
    let is_row = |k: &usize| {
        *k != columns && y.offset.mentions(nest.loops[*k].0) && !x.offset.mentions(nest.loops[*k].0)
    };
    let extent = |k: usize| nest.loops[k].1.as_const();
    // What is the same for all shapes of tiles.
    let work = |rows: Option<usize>| {
        let others = (0..nest.loops.len()).filter(|k| *k != columns && Some(*k) != rows);
        let shares = |k: &usize| !x.offset.mentions(nest.loops[*k].0);
        let (outer, batch): (Vec<usize>, Vec<usize>) = others.partition(shares);
        let typical = |k: &usize| extent(*k).unwrap_or(cost::TYPICAL_EXTENT);
        let count = |loops: &[usize]| -> i64 { loops.iter().map(typical).product() };
        Contraction {
            tile: cost::Tile {
                rows: 1,
                vectors: 1,
                lanes: target.lanes(),
            },
            masks: target.masks(),
            rows: rows.map_or(Some(1), extent),
            outer: count(&outer),
            batch: count(&batch),
            columns: extent(columns).unwrap_or(cost::TYPICAL_EXTENT),
            column_loads,
            depth: match kernel.buffer(y.buffer).dtype.is_byte() {
                true => depth(nest.body).map(|n| n.saturating_add(bytes::GROUP - 1) / bytes::GROUP),
                false => depth(nest.body),
            },
            turned: match rows {
                Some(rows) => turned(kernel, nest, columns, rows),
                None => apart(kernel, nest, columns),
            },
            rows_bytes: bytes(kernel, y.buffer).map(|n| n / count(&batch) as f64),
            source: None,
        }
    };
    let choice = |rows: Option<usize>, work: &Contraction, shape: cost::Tile| {
        let work = Contraction {
            tile: shape,
            ..*work
        };
        Choice {
            blocks: target.cost.row_blocks(&work),
            columns,
            rows,
            pack,
            // A group that is no multiple of tiles is one panel.
            panel: match together % shape.width() {
                _ if together == i64::MAX => shape.width(),
                0 => shape.width(),
                _ => together,
            },
            shape,
            bytes: false,
            is_swapped: false,
            cost: target.cost.contraction_cycles(&work)
                * scattered
                * far_terms
                * zeros::needed(kernel, nest, y, rows, shape.rows),
        }
    };
    let mut found = Vec::new();
    let stride = |k: &usize| {
        let coefficient = y.offset.linear_coefficient(nest.loops[*k].0);
        coefficient.and_then(|c| c.as_const()).unwrap_or(i64::MAX)
    };
    let nearest = (0..nest.loops.len())
        .filter(is_row)
        .map(|k| stride(&k))
        .min();
    // Results of columns that lie apart are turned to rows that lie side by side, if there are such.
    let is_turned = |k: &usize| turned(kernel, nest, columns, *k);
    let side_by_side = (0..nest.loops.len()).filter(is_row).any(|k| is_turned(&k));
    let fitting = |k: &usize| is_row(k) && (!side_by_side || is_turned(k));
    let shapes = shapes(target, is_alone(kernel));
    for rows in (0..nest.loops.len()).filter(fitting) {
        let far = if Some(stride(&rows)) == nearest {
            1.0
        } else {
            FAR
        };
        let l1_bytes = target.cost.l1_bytes();
        let element = kernel.buffer(y.buffer).dtype.bytes() as i64;
        let stride_bytes = stride(&rows).checked_mul(element).unwrap_or(0);
        let few = extent(rows).is_some_and(|n| n <= FEW_ROWS) || is_turned(&rows);
        let fits =
            |s: &cost::Tile| s.rows <= SAFE_ROWS || few && rows_fit(s.rows, stride_bytes, l1_bytes);
        let work = work(Some(rows));
        found.extend(shapes.iter().map(|shape| {
            let mut choice = choice(Some(rows), &work, *shape);
            choice.cost *= if fits(shape) { far } else { CROWDED };
            choice
        }));
    }
    let lone = work(None);
    found.extend(lone_shapes(target).map(|shape| choice(None, &lone, shape)));
    found.iter_mut().for_each(|c| c.cost += packing);
    if let Columns::Panels(width) = access {
        found.retain(|c| width % c.shape.width() == 0);
    }
    found
}

/// Whether a kernel is one nest.
fn is_alone(kernel: &Kernel) -> bool {
    let mut body = &kernel.body[..];
    while let [Stmt::For(l)] = body
        && l.role == Role::Space
    {
        body = &l.body;
    }
    let is_nest = |s: &Stmt| matches!(s, Stmt::For(l) if l.role == Role::Space);
    !body.iter().any(is_nest)
}

/// Whether results of the rows lie side by side, and those of the columns do not.
fn turned(kernel: &Kernel, nest: &Nest<'_>, columns: usize, rows: usize) -> bool {
    let stores = steps_of_results(kernel, nest, [columns, rows]);
    stores.contains(&[false, true])
}

/// Whether results of the columns do not lie side by side.
fn apart(kernel: &Kernel, nest: &Nest<'_>, columns: usize) -> bool {
    let stores = steps_of_results(kernel, nest, [columns]);
    stores.contains(&[false])
}

/// For each store of results, along which of these loops they lie side by side.
fn steps_of_results<const N: usize>(
    kernel: &Kernel,
    nest: &Nest<'_>,
    loops: [usize; N],
) -> Vec<[bool; N]> {
    let ranges = kernel.all_ranges();
    let mut found = Vec::new();
    visit_stmts(nest.body, &mut |stmt| {
        if let Stmt::Store { buffer, index, .. } = stmt
            && kernel.buffer(*buffer).scope == Scope::Output
        {
            let offset = kernel.buffer(*buffer).offset(index).simplify(&ranges);
            found.push(loops.map(|k| {
                let coefficient = offset.linear_coefficient(nest.loops[k].0);
                coefficient.is_some_and(|c| c.is(1))
            }));
        }
    });
    found
}

/// Units: bytes of a buffer; `None` if its size is not known.
fn bytes(kernel: &Kernel, buffer: BufferId) -> Option<f64> {
    let buffer = kernel.buffer(buffer);
    let count = buffer.count().as_const()?;
    Some(count as f64 * buffer.dtype.bytes() as f64)
}
