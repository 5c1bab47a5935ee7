//! The recipe of transposing copies, and of scalar work that reads across its results.
//!
//! An anchor is a nest of scalar work whose innermost loop runs along consecutive elements of the
//! result, and along elements of an operand that lie far apart, while another loop runs along
//! consecutive elements of that operand. Both loops are cut into blocks of a cache line each, so
//! that all of a line that was loaded is used before it is lost. Wide vectors turn blocks of words in
//! registers; what they make of them may be words or bytes, such as those of quantized tensors.
use super::Target;
use super::nest::{Nest, space, visit_scalars};
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
/// Blocks along the operand of which all columns are turned before the next ones: pairs of lines,
/// as hardware fetches them.
const PAIR: i64 = 2;
/// Columns that may be turned for each pair of lines: each column may be another page.
const NEAR: i64 = 2048;
/// Elements of a result that lies in the second cache, beside its operand.
const HELD: i64 = 1 << 18;
/// What a loop of unknown extent counts as.
const TYPICAL: i64 = 64;

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
    if !is_scalar_work(nest.body) || !are_turned(kernel, target, nest.body) {
        return None;
    }
    let columns = nest.loops.len().checked_sub(1)?;
    let long = |k: &usize| nest.loops[*k].1.as_const().is_some_and(|e| e >= FEW);
    let along = (0..columns).find(|k| long(k) && crosses(kernel, nest, *k))?;
    let (var, extent) = nest.loops[columns].clone();
    let Stmt::For(l) = &space(var, extent, Mark::Vector, nest.body.to_vec()) else {
        return None;
    };
    let loaded = |b| kernel.buffer(b).scope == Scope::Input;
    if !long(&columns) || !vectorisable(kernel, l) || !contiguous(kernel, l, 1, &loaded) {
        return None;
    }
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
        var,
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
    Some(Choice {
        order,
        tiles: [along, columns],
        blocks,
    })
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
fn is_scalar_work(stmts: &[Stmt]) -> bool {
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

/// Whether all elements have 32 bits, or are bytes where wide vectors widen and narrow these: others
/// are not turned in registers.
fn are_turned(kernel: &Kernel, target: &Target, stmts: &[Stmt]) -> bool {
    let word = |b: &BufferId| {
        let b = kernel.buffer(*b);
        b.scope == Scope::Register || b.dtype.bytes() == 4
    };
    let narrowed = |b: &BufferId| target.masks() && kernel.buffer(*b).dtype.is_byte();
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
    let mut found = false;
    visit_scalars(nest.body, &mut |s| {
        s.visit(&mut |s| {
            if let Scalar::Load(b, index) = s
                && kernel.buffer(*b).scope == Scope::Input
            {
                let offset = kernel.buffer(*b).offset(index).simplify(&Ranges::new());
                let step = |k: usize| offset.linear_coefficient(nest.loops[k].0);
                let far = step(columns).and_then(|c| c.as_const());
                found |= step(k).is_some_and(|c| c.is(1)) && far.is_some_and(|c| c >= FEW);
            }
        });
    });
    found
}
