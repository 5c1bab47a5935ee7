//! Decides between the ways to tile an anchor, one free parameter after the other.
use super::Choice;
use crate::cost;
use crate::schedule::parameters::Choices;
use std::fmt;

/// The way to take of those that were found: loop by loop, then the shape of the
/// tile, then whether the factor of its columns is packed.
pub(super) fn choice(choices: &mut Choices, mut found: Vec<Choice>) -> Option<Choice> {
    keep(choices, "columns", &mut found, |c| c.columns)?;
    keep(choices, "rows", &mut found, |c| Rows(c.rows))?;
    keep(choices, "tile", &mut found, |c| Shape(c.shape))?;
    let how = |c: &Choice| if c.pack.is_some() { "packed" } else { "as-is" };
    keep(choices, "factor", &mut found, how)?;
    let best = cheapest(&found)?;
    Some(found.swap_remove(best))
}

/// Keeps the ways that agree with what is taken of one decision.
fn keep<T: Clone + PartialEq + fmt::Display>(
    choices: &mut Choices,
    name: &str,
    found: &mut Vec<Choice>,
    decision: impl Fn(&Choice) -> T,
) -> Option<()> {
    let best = cheapest(found)?;
    let options: Vec<T> = found.iter().map(&decision).collect();
    let taken = choices.ask(name, &options, best);
    found.retain(|c| decision(c) == taken);
    Some(())
}

/// The loop of the rows of a tile, by its place in the nest.
#[derive(Clone, PartialEq)]
struct Rows(Option<usize>);

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(k) => write!(f, "{k}"),
            None => write!(f, "none"),
        }
    }
}

/// The shape of a tile: rows, vectors of columns, lanes.
#[derive(Clone, PartialEq)]
struct Shape(cost::Tile);

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tile = self.0;
        write!(f, "{}x{}x{}", tile.rows, tile.vectors, tile.lanes)
    }
}

/// The place of the first of the cheapest ways.
fn cheapest(found: &[Choice]) -> Option<usize> {
    let costs = found.iter().map(|c| c.cost).enumerate();
    costs
        .min_by(|(_, a), (_, b)| a.total_cmp(b))
        .map(|(k, _)| k)
}
