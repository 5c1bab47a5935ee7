//! The recipe of elements at places out of data that several rows share.
//!
//! An anchor is a nest of scalar work under checks of indices that change with the innermost loop but
//! not with one around it, as where all channels of an image are sampled at the same places. Some
//! iterations of that loop run in lock step inside, so that an index is loaded and checked once for
//! them.
//!
//! Before: `for c < 8 { for i < 9 { check k = a[i] in 5 { o[c, i] = x[c, k] } } }`. After:
//! `for c < 2 { for i < 9 { for l < 4 jam { check k = a[i] in 5 { o[4*c + l, i] = x[4*c + l, k] }}}}`.
use super::Target;
use super::nest::Nest;
use super::primitives::Rejected;
use super::primitives::edit::Place;
use super::scheduler::Scheduler;
use super::tile::{Tile, tile};
use tensmith_ir::expr::Var;
use tensmith_ir::loops::{Mark, Scalar, Stmt};

/// Rows in lock step: so many elements may lie in as many pages.
const ROWS: i64 = 4;

/// What is decided for an anchor.
pub struct Choice {
    /// The loops of the nest.
    order: Vec<Var>,
    rows: Tile,
}

/// What to do with the nest at a place if it is an anchor.
pub fn choose(s: &mut Scheduler, at: &Place) -> Option<Choice> {
    let (kernel, choices) = s.kernel_and_choices();
    let nest = &Nest::at(kernel, at);
    let mut values = Vec::new();
    let ([Stmt::Check { .. }], true) = (nest.body, collect(nest.body, &mut values)) else {
        return None;
    };
    let mentions = |var: Var| {
        values.iter().any(|value| {
            let mut found = false;
            value.visit_exprs(&mut |e| found |= e.mentions(var));
            found
        })
    };
    let (innermost, around) = nest.loops.split_last()?;
    if !mentions(innermost.0) {
        return None;
    }
    let several = |e: Option<i64>| e.is_none_or(|n| n >= ROWS);
    let mut around = around.iter().rev();
    let (var, _) = around.find(|(v, e)| !mentions(*v) && several(e.as_const()))?;
    Some(Choice {
        order: nest.vars(),
        rows: Tile {
            var: *var,
            size: choices.number("rows", &[1, 2, 4, 8], ROWS),
            mark: Mark::Jam,
        },
    })
}

/// Schedules the nest as was decided.
///
/// Errors: as the primitives.
pub fn schedule(s: &mut Scheduler, target: &Target, choice: Choice) -> Result<(), Rejected> {
    tile(s, target, &[choice.rows], &choice.order, None).map(drop)
}

/// Collects the values that are checked; whether there are only stores inside of the checks.
fn collect<'k>(stmts: &'k [Stmt], values: &mut Vec<&'k Scalar>) -> bool {
    stmts.iter().all(|stmt| match stmt {
        Stmt::Store { .. } => true,
        Stmt::Check { value, body, .. } => {
            values.push(value);
            collect(body, values)
        }
        _ => false,
    })
}
