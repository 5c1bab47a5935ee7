//! The recipe of short rows: several of them in lock step.
//!
//! An anchor is a nest around reductions over lanes and other loops over lanes, such as a softmax
//! along a short axis: the steps of a row wait for each other, from the lanes that are joined to
//! the function of their sum. A core looks a row or two ahead at most; several rows in lock step
//! have their steps beside each other.
//!
//! Before: `for i < 8 { r = 0; for k < 49 vector { r = r + exp(a[i, k]) }; o[i] = log(r) }`. After:
//! `for t < 4 { for i < 2 jam { r = 0; for k < 49 vector { .. }; o[2*t + i] = log(r) } }`.
use super::Target;
use super::nest::{Nest, visit_scalars};
use super::primitives::Rejected;
use super::primitives::edit::Place;
use super::scheduler::Scheduler;
use super::tile::{Tile, tile};
use tensmith_ir::expr::Var;
use tensmith_ir::loops::{Mark, Role, Scalar, Stmt};

/// Rows in lock step at most.
const ROWS: i64 = 4;

/// What is decided for an anchor.
pub struct Choice {
    /// The loops of the nest.
    order: Vec<Var>,
    rows: Tile,
}

/// What to do with the nest at a place if it is an anchor.
pub fn choose(s: &mut Scheduler, at: &Place, target: &Target) -> Option<Choice> {
    let (kernel, choices) = s.kernel_and_choices();
    let nest = Nest::at(kernel, at);
    let (var, extent) = nest.loops.last()?;
    let vectors = vectors(nest.body, target)?;
    if !target.masks() || !calls(nest.body) {
        return None;
    }
    // Half of the registers hold what the steps of the rows have in between.
    let most = (target.registers() / 2 / vectors).min(ROWS);
    let most = extent.as_const().map_or(most, |n| most.min(n));
    let size = choices.number("rows", &[1, 2, 4, 8], most.max(1));
    (size > 1).then(|| Choice {
        order: nest.vars(),
        rows: Tile {
            var: *var,
            size,
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

/// The vectors of the longest loop over lanes, if a body is such loops and steps between them, and
/// reduces.
fn vectors(body: &[Stmt], target: &Target) -> Option<i64> {
    let mut most = None;
    let mut reduces = false;
    for stmt in body {
        match stmt {
            Stmt::For(l) if l.mark == Mark::Vector => {
                if !l.body.iter().all(|s| matches!(s, Stmt::Store { .. })) {
                    return None;
                }
                let vectors = (l.extent.as_const()? + target.lanes() - 1) / target.lanes();
                most = most.max(Some(vectors));
                reduces |= l.role == Role::Reduce;
            }
            Stmt::Store { .. } => {}
            _ => return None,
        }
    }
    most.filter(|_| reduces)
}

/// Whether functions are computed.
fn calls(body: &[Stmt]) -> bool {
    let mut found = false;
    visit_scalars(body, &mut |s| {
        s.visit(&mut |s| found |= matches!(s, Scalar::Call(..)));
    });
    found
}
