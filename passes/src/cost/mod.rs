//! What work costs on a machine: the numbers by which recipes and algorithms are chosen.
//!
//! A [`CostModel`] is asked with descriptions of work, not with loops, so that choices can be
//! compared before anything is rewritten. [`Analytic`] answers in closed form from the rates of a
//! [`Machine`](tensmith_ir::machine::Machine).
mod analytic;

pub use analytic::Analytic;

use std::fmt::Debug;
use tensmith_ir::machine::Level;

/// Rows or columns of a contraction, or iterations of a loop around it, whose number is not known.
pub const TYPICAL_EXTENT: i64 = 64;

/// Predicts what work takes.
pub trait CostModel: Debug + Send + Sync {
    /// Units: cycles of one core for a contraction whose sums stay in a register tile.
    fn contraction_cycles(&self, work: &Contraction) -> f64;

    /// Units: cycles of one core for sums of products whose lanes are terms, joined at the end.
    fn dots_cycles(&self, work: &Dots) -> f64;

    /// Into how many blocks the rows of a contraction are cut, each of which is run through all
    /// columns before the next, so that it stays in a cache; 1 where that does not pay.
    fn row_blocks(&self, work: &Contraction) -> i64;

    /// Units: cycles of one core for passing over memory.
    fn pass_cycles(&self, work: &Pass) -> f64;

    /// Units: cycles from the end of one kernel to the begin of the next that the last one would
    /// not have taken if both were one: until all threads have come, and until the lines of a value
    /// that another core wrote have come to the one that reads them.
    fn hand_off_cycles(&self) -> f64;

    /// Units: bytes of the level-1 data cache.
    fn l1_bytes(&self) -> usize;

    /// The level from which weights are read again in each run of a model that has `bytes` bytes
    /// of them.
    fn weights_level(&self, bytes: f64) -> Level;

    /// Whether it pays to fetch weights ahead of the hardware where nothing but reading them takes
    /// time: in products of one row.
    fn fetches_ahead(&self) -> bool;
}

/// A register tile: rows times vectors of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Rows.
    pub rows: i64,
    /// Vectors of columns.
    pub vectors: i64,
    /// `f32` lanes of a vector.
    pub lanes: i64,
}

impl Tile {
    /// Columns of a tile.
    pub fn width(self) -> i64 {
        self.vectors * self.lanes
    }

    /// Units: bytes of a vector.
    pub fn vector_bytes(self) -> usize {
        4 * self.lanes as usize
    }
}

/// A sum of products over `depth` terms for each of `outer` groups of rows times columns, computed
/// tile by tile: all rows of a block for one tile of columns, then the next columns.
#[derive(Clone, Copy, Debug)]
pub struct Contraction {
    /// The tile.
    pub tile: Tile,
    /// Whether the ends of columns are parts of vectors; else they are computed one by one.
    pub masks: bool,
    /// Rows that follow each other; `None` if that is not known.
    pub rows: Option<i64>,
    /// Groups of such rows that share the factor of the columns.
    pub outer: i64,
    /// Independent contractions.
    pub batch: i64,
    /// Columns.
    pub columns: i64,
    /// Loads that a vector of columns takes, what picks it out of them included; 1 where its elements
    /// lie side by side.
    pub column_loads: f64,
    /// Terms of a sum; `None` if that is not known.
    pub depth: Option<i64>,
    /// Whether results of neighbouring columns lie far apart, so that each column of a tile is a
    /// store of its own: of all rows of the tile, which lie side by side, or of its only one.
    pub turned: bool,
    /// Units: bytes of the factor of all groups of rows of one contraction; `None` if that is not
    /// known.
    pub rows_bytes: Option<f64>,
    /// Where the factor of the columns lies before it is read for the first time; `None`: in the
    /// fastest level that holds it.
    pub source: Option<Level>,
}

/// Sums of products of rows and columns that both lie along their terms: lanes are terms, and a
/// tile of rows times columns is computed at once.
#[derive(Clone, Copy, Debug)]
pub struct Dots {
    /// Rows and columns of a tile.
    pub tile: [i64; 2],
    /// `f32` lanes of a vector.
    pub lanes: i64,
    /// Rows and columns.
    pub results: [i64; 2],
    /// Independent contractions.
    pub batch: i64,
    /// Loads that a vector of columns takes, what picks it out of them included; 1 where its elements
    /// lie side by side.
    pub column_loads: f64,
    /// Terms of a sum that are lanes of whole vectors, those that are lanes of one that is not full,
    /// and those that are computed one by one.
    pub terms: [i64; 3],
}

/// A pass over memory that computes element by element.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// Elements that are written.
    pub elements: f64,
    /// Units: vector operations for a vector of elements, loads and stores included.
    pub operations: f64,
    /// `f32` lanes of a vector.
    pub lanes: i64,
    /// Units: bytes that are read and written.
    pub bytes: f64,
}
