//! The recipe of windows along the rows of narrow images.
//!
//! An anchor is a nest around small windows whose innermost loop runs along few consecutive elements
//! of the result, and whose loop around it runs along whole rows, one after the other, of the result
//! and of all operands. Rows become the lanes of vectors and the elements of a row run in lock step,
//! which decides the guards at its ends; elements are dealt to lanes, and put together again, in
//! registers.
//!
//! Before: `for r < 64 { for i < 4 { s = 0; for k < 3 reduce { s = s + guard([i + k - 1, 4 - i - k],
//! a[r, i + k - 1], 0) } o[r, i] = s } }`. After:
//! `for t < 4 { for i < 4 jam { for r < 16 vector { s = 0; for k < 3 reduce unroll { .. } .. } } }`.
use super::Target;
use super::nest::{Nest, space, visit_scalars};
use super::primitives::edit::Place;
use super::primitives::{Primitive, Rejected};
use super::scheduler::Scheduler;
use super::tile::{Tile, tile};
use super::window::{reduces, visit_stores, windows_of_taps};
use tensmith_ir::expr::{Expr, Ranges, Var};
use tensmith_ir::loops::{BufferId, Kernel, Mark, Scalar, Scope, Stmt, vectorisable};

/// Elements of a row at most.
const ROW: i64 = 8;
/// Taps of all windows at most.
const TAPS: i64 = 32;

/// What is decided for an anchor.
pub struct Choice {
    order: Vec<Var>,
    tiles: [Tile; 2],
    windows: Vec<Var>,
}

/// What to do with the nest at a place if it is an anchor.
pub fn choose(s: &Scheduler, at: &Place, target: &Target) -> Option<Choice> {
    let kernel = s.kernel();
    let nest = &Nest::at(kernel, at);
    if !target.masks() || !reduces(nest.body) {
        return None;
    }
    let [.., (rows, count), (columns, width)] = &nest.loops[..] else {
        return None;
    };
    let (count, width) = (count.as_const()?, width.as_const()?);
    let (windows, taps) = windows_of_taps(nest.body)?;
    let fits = (2..=ROW).contains(&width) && count >= target.lanes() && taps <= TAPS;
    if !fits || !runs_along(kernel, nest.body, [*rows, *columns], width) {
        return None;
    }
    let body = nest.body.to_vec();
    let Stmt::For(l) = &space(*rows, count.into(), Mark::Vector, body) else {
        return None;
    };
    let lanes = Tile {
        var: *rows,
        size: target.lanes(),
        mark: Mark::Vector,
    };
    let row = Tile {
        var: *columns,
        size: width,
        mark: Mark::Jam,
    };
    vectorisable(kernel, l).then(|| Choice {
        order: nest.vars(),
        tiles: [row, lanes],
        windows,
    })
}

/// Schedules the nest as was decided.
///
/// Errors: as the primitives.
pub fn schedule(s: &mut Scheduler, target: &Target, choice: Choice) -> Result<(), Rejected> {
    for window in choice.windows {
        s.apply(Primitive::Unroll(window))?;
    }
    tile(s, target, &choice.tiles, &choice.order, None).map(drop)
}

/// Whether all elements in memory are words that lie in rows: of `width` where they are stored, and of
/// few where they are loaded, the columns one after the other.
fn runs_along(kernel: &Kernel, body: &[Stmt], [rows, columns]: [Var; 2], width: i64) -> bool {
    let steps = |b: BufferId, index: &[Expr]| {
        let offset = kernel.buffer(b).offset(index).simplify(&Ranges::new());
        let step = |v: Var| offset.linear_coefficient(v)?.as_const();
        Some((step(rows)?, step(columns)?))
    };
    let word = |b: BufferId| kernel.buffer(b).dtype.bytes() == 4;
    let in_memory = |b: BufferId| kernel.buffer(b).scope != Scope::Register;
    let (mut fine, mut guarded) = (true, false);
    visit_scalars(body, &mut |s| {
        s.visit(&mut |s| match s {
            Scalar::Load(b, index) if in_memory(*b) => {
                let near = |(row, _): (i64, i64)| (0..=ROW).contains(&row);
                fine &= word(*b) && steps(*b, index).is_some_and(near);
            }
            Scalar::Guard(conds, ..) => guarded |= conds.iter().any(|c| c.mentions(columns)),
            _ => {}
        });
    });
    let mut stores = 0;
    visit_stores(body, &mut |b, index| {
        if in_memory(b) {
            stores += 1;
            fine &= word(b) && steps(b, index) == Some((width, 1));
        }
    });
    // Without guards, lanes of columns take fewer steps.
    fine && stores > 0 && (guarded || width < 4)
}
