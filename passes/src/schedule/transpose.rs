//! The recipe of transposing copies, and of scalar work that reads across its results.
//!
//! An anchor is a nest of scalar work whose innermost loop runs along consecutive elements of the
//! result, and along elements of an operand that lie far apart, while another loop runs along
//! consecutive elements of that operand. Both loops are cut into blocks of a cache line each, so
//! that all of a line that was loaded is used before it is lost. Wide vectors turn blocks of words in
//! registers; what they make of them may be words, halves or bytes, such as those of quantized tensors.
//!
//! So is a nest with a short loop along consecutive elements of an operand or of the result, such as
//! the channels of an image: the loop around it runs in vectors, all iterations of the short one in
//! lock step, so that what is loaded or stored in between lies in whole vectors.
use super::Target;
use super::nest::{Nest, space, visit_scalars};
use super::parameters::Choices;
use super::primitives::Rejected;
use super::primitives::edit::Place;
use super::scheduler::Scheduler;
use super::tile::{Blocks, Tile, tile};
use super::window::contiguous;
use tensmith_ir::expr::{Expr, Ranges, Var};
use tensmith_ir::loops::{BufferId, Cond, Kernel, Mark, Scalar, Scope, Stmt, vectorisable};

/// Elements of a block along the operand: those of a cache line.
const LINE: i64 = 16;
/// Elements of a block along the result.
const COLUMNS: i64 = 16;
/// Shorter loops are no blocks.
const FEW: i64 = 8;
/// The same for rows that are loaded as parts of wide vectors.
const FEW_OF_PART: i64 = 4;
/// Blocks along the operand of which all columns are turned before the next ones: pairs of lines,
/// as hardware fetches them.
const PAIR: i64 = 2;
/// Columns that may be turned for each pair of lines: each column may be another page.
const NEAR: i64 = 2048;
/// Elements of a result that lies in the second cache, beside its operand.
const HELD: i64 = 1 << 18;
/// What a loop of unknown extent counts as.
const TYPICAL: i64 = 64;

/// Iterations of a short loop at most that runs along elements side by side.
const SHORT: i64 = 8;
/// Elements of a block along the loop around a short one.
const LONG_COLUMNS: i64 = 64;

/// What is decided for an anchor.
pub struct Choice {
    /// The loops of the nest; of the two that are cut into blocks, those over blocks.
    order: Vec<Var>,
    tiles: [Tile; 2],
    blocks: Option<Blocks>,
}

/// What to do with the nest at a place if it is an anchor.
pub fn choose(s: &mut Scheduler, at: &Place, target: &Target) -> Option<Choice> {
    let (kernel, choices) = s.kernel_and_choices();
    let nest = &Nest::at(kernel, at);
    if let Some(along) = along(kernel, nest, target) {
        return Some(blocks(choices, target, nest, along));
    }
    if !is_scalar_work(nest.body) || !are_turned(kernel, target, nest.body) {
        return None;
    }
    let (short, columns) = short(kernel, target, nest)?;
    let columns = Tile {
        var: nest.loops[columns].0,
        size: choices.number("columns", &[16, 32, 64, 128], LONG_COLUMNS),
        mark: Mark::Vector,
    };
    let short = Tile {
        var: nest.loops[short].0,
        size: SHORT,
        mark: Mark::Jam,
    };
    let others = nest.vars().into_iter();
    let others = others.filter(|v| ![short.var, columns.var].contains(v));
    Some(Choice {
        order: others.chain([columns.var, short.var]).collect(),
        tiles: [short, columns],
        blocks: None,
    })
}

/// The loop along consecutive elements of an operand, if the innermost one runs along those of the
/// result.
pub(super) fn along(kernel: &Kernel, nest: &Nest<'_>, target: &Target) -> Option<usize> {
    if !is_scalar_work(nest.body) || !are_turned(kernel, target, nest.body) {
        return None;
    }
    let columns = nest.loops.len().checked_sub(1)?;
    let extent = |k: usize| nest.loops[k].1.as_const();
    let least = if target.masks() { FEW_OF_PART } else { FEW };
    let rows = |k: &usize| extent(*k).is_some_and(|e| e >= least);
    let is_long = extent(columns).is_some_and(|e| e >= FEW);
    if !is_long || !has_columns(kernel, nest, columns, Scope::Input) {
        return None;
    }
    (0..columns).find(|k| rows(k) && crosses(kernel, nest, *k))
}

/// Whether loop `k` can be the lanes of vectors if buffers of one scope may be accessed in any way.
fn has_columns(kernel: &Kernel, nest: &Nest<'_>, k: usize, free: Scope) -> bool {
    let (var, extent) = nest.loops[k].clone();
    let Stmt::For(l) = &space(var, extent, Mark::Vector, nest.body.to_vec()) else {
        return false;
    };
    let free = |b| kernel.buffer(b).scope == free;
    vectorisable(kernel, l) && contiguous(kernel, l, 1, &free)
}

/// Both loops in blocks: the innermost one, and the one along the operand.
fn blocks(choices: &mut Choices, target: &Target, nest: &Nest<'_>, along: usize) -> Choice {
    let columns = nest.loops.len() - 1;
    let along = Tile {
        var: nest.loops[along].0,
        size: choices.number("rows", &[4, 8, 16, 32], LINE),
        // Blocks of wide vectors are turned in registers.
        mark: if target.masks() {
            Mark::Jam
        } else {
            Mark::Plain
        },
    };
    let columns = Tile {
        var: nest.loops[columns].0,
        size: choices.number("columns", &[8, 16, 32, 64], COLUMNS),
        mark: Mark::Vector,
    };
    let orders = ["rows", "columns", "pairs"];
    let outermost = choices.ask("outermost", &orders, order(nest, along.var));
    let others = nest.vars().into_iter();
    let others = others.filter(|v| ![along.var, columns.var].contains(v));
    let order: Vec<Var> = match outermost {
        "rows" => [along.var]
            .into_iter()
            .chain(others)
            .chain([columns.var])
            .collect(),
        "columns" => [columns.var]
            .into_iter()
            .chain(others)
            .chain([along.var])
            .collect(),
        _ => others.chain([columns.var, along.var]).collect(),
    };
    let blocks = (outermost == "pairs").then_some(Blocks {
        var: along.var,
        size: PAIR,
        around: columns.var,
    });
    Choice {
        order,
        tiles: [along, columns],
        blocks,
    }
}

/// A short loop along elements side by side, and the loop that is to be the lanes of vectors around
/// it: elements of an operand are dealt to several vectors, or those of several vectors make a
/// result, as the channels of an image do. Only wide vectors deal in registers.
fn short(kernel: &Kernel, target: &Target, nest: &Nest<'_>) -> Option<(usize, usize)> {
    if !target.masks() {
        return None;
    }
    let innermost = nest.loops.len() - 1;
    let extent = |k: usize| nest.loops[k].1.as_const();
    let is_short = |k: &usize| extent(*k).is_some_and(|e| (2..=SHORT).contains(&e));
    let is_long = |k: &usize| extent(*k).is_none_or(|e| e >= FEW);
    let loads = loads(kernel, nest);
    let deals = |k: &usize| {
        let dealt =
            |o: &Expr| stride(nest, o, *k) == Some(1) && stride(nest, o, innermost) == extent(*k);
        loads.iter().any(dealt)
    };
    let mut others = 0..innermost;
    if is_long(&innermost) && has_columns(kernel, nest, innermost, Scope::Input) {
        return Some((others.find(|k| is_short(k) && deals(k))?, innermost));
    }
    let stores = words_stored(kernel, nest.body)?;
    let around = |k: &usize| {
        let gathers = |o: &Expr| {
            stride(nest, o, innermost) == Some(1) && stride(nest, o, *k) == extent(innermost)
        };
        stores.iter().all(gathers)
    };
    let columns = others.find(|k| is_long(k) && around(k))?;
    let fits = is_short(&innermost) && has_columns(kernel, nest, columns, Scope::Output);
    fits.then_some((innermost, columns))
}

/// The place among rows, columns and pairs of what is outermost. What caches hold follows the
/// longer loop, so that few streams are read or written at a time.
fn order(nest: &Nest<'_>, along: Var) -> usize {
    let extent = |(_, e): &(Var, Expr)| e.as_const().unwrap_or(TYPICAL);
    let columns = nest.loops.last().map_or(1, extent);
    let along = nest.loops.iter().find(|(v, _)| *v == along);
    let elements = nest.loops.iter().map(extent).fold(1, i64::saturating_mul);
    match elements > HELD {
        true if columns <= NEAR => 2,
        true => 1,
        // Rows that are parts of lines go on in the rows of other loops.
        false if nest.loops.len() > 2 && along.is_some_and(|l| extent(l) < LINE) => 1,
        false => usize::from(along.map_or(1, extent) >= columns),
    }
}

/// Schedules the nest as was decided.
///
/// Errors: as the primitives.
pub fn schedule(s: &mut Scheduler, target: &Target, choice: Choice) -> Result<(), Rejected> {
    tile(s, target, &choice.tiles, &choice.order, choice.blocks).map(drop)
}

/// Whether statements are stores and branches on indices.
pub(super) fn is_scalar_work(stmts: &[Stmt]) -> bool {
    stmts.iter().all(|s| match s {
        Stmt::Store { .. } => true,
        Stmt::If {
            cond: Cond::Affine(_),
            then,
            otherwise,
        } => is_scalar_work(then) && is_scalar_work(otherwise),
        _ => false,
    })
}

/// Whether all elements have 32 bits, or are bytes or halves where wide vectors widen and narrow these:
/// others are not turned in registers.
pub(super) fn are_turned(kernel: &Kernel, target: &Target, stmts: &[Stmt]) -> bool {
    let word = |b: &BufferId| {
        let b = kernel.buffer(*b);
        b.scope == Scope::Register || b.dtype.bytes() == 4
    };
    let narrowed = |b: &BufferId| {
        let dtype = kernel.buffer(*b).dtype;
        target.masks() && (dtype.is_byte() || dtype.is_half())
    };
    let mut fine = true;
    visit_scalars(stmts, &mut |s| {
        s.visit(&mut |s| {
            if let Scalar::Load(b, _) = s {
                fine &= word(b) || narrowed(b);
            }
        });
    });
    fine && stmts.iter().all(|s| match s {
        Stmt::Store { buffer, .. } => word(buffer) || narrowed(buffer),
        other => (other.bodies().into_iter()).all(|b| are_turned(kernel, target, b)),
    })
}

/// Whether loop `k` runs along consecutive elements of an operand that lie far apart along the
/// innermost loop.
fn crosses(kernel: &Kernel, nest: &Nest<'_>, k: usize) -> bool {
    let columns = nest.loops.len() - 1;
    let ranges = kernel.all_ranges();
    let far = |o: &Expr| first_step(nest, o, columns, &ranges).is_some_and(|c| c.abs() >= FEW);
    let loads = loads(kernel, nest);
    loads
        .iter()
        .any(|o| stride(nest, o, k) == Some(1) && far(o))
}

/// The offsets at which inputs are loaded.
fn loads(kernel: &Kernel, nest: &Nest<'_>) -> Vec<Expr> {
    let ranges = kernel.all_ranges();
    let mut found = Vec::new();
    visit_scalars(nest.body, &mut |s| {
        s.visit(&mut |s| {
            if let Scalar::Load(b, index) = s
                && kernel.buffer(*b).scope == Scope::Input
            {
                found.push(kernel.buffer(*b).offset(index).simplify(&ranges));
            }
        });
    });
    found
}

/// Elements from each iteration of loop `k` to the next one.
fn stride(nest: &Nest<'_>, offset: &Expr, k: usize) -> Option<i64> {
    offset.linear_coefficient(nest.loops[k].0)?.as_const()
}

/// Elements from the first to the second iteration of loop `k`, which need not be those between
/// others: the phases of an image that is put together lie in channels of their own.
fn first_step(nest: &Nest<'_>, offset: &Expr, k: usize, ranges: &Ranges) -> Option<i64> {
    let var = nest.loops[k].0;
    let at = |n: i64| {
        let place = offset.substitute(&|v| (v == var).then(|| n.into()));
        place.simplify(ranges)
    };
    (at(1) - at(0)).as_const()
}

/// The offsets at which statements store, if they are all of words in memory.
fn words_stored(kernel: &Kernel, stmts: &[Stmt]) -> Option<Vec<Expr>> {
    let ranges = kernel.all_ranges();
    let mut found = Vec::new();
    for stmt in stmts {
        let Stmt::Store { buffer, index, .. } = stmt else {
            return None;
        };
        let b = kernel.buffer(*buffer);
        if b.scope == Scope::Register || b.dtype.bytes() != 4 {
            return None;
        }
        found.push(b.offset(index).simplify(&ranges));
    }
    Some(found)
}
