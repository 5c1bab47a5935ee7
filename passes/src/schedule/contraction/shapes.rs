//! Shapes of register tiles, and what they cost.
//!
//! Costs count cycles of a core with two multiply-adds and two loads a cycle, for one step of the
//! reduction over all rows and columns of the nest. Only their order matters.
use crate::schedule::Target;

/// Rows of a tile at most: more rows of an operand that is not packed fall on the same ways of the
/// first cache where its rows lie a power of two apart.
const ROWS: i64 = 8;
/// Registers of columns at most.
const VECTORS: i64 = 6;
/// Registers of columns of a tile without rows at most: enough sums in flight to hide latency.
const LONE_VECTORS: i64 = 8;
/// Sums that must be in flight to keep two multiply-adds of four cycles busy.
const IN_FLIGHT: f64 = 8.0;
/// Units: bytes a cycle that come from the second cache.
const BYTES_PER_CYCLE: f64 = 32.0;
/// Units: cycles a step of the reduction that entering and leaving a tile cost, for a typical
/// length of reductions.
const ENTRY: f64 = 0.5;

/// Rows and registers of columns of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub rows: i64,
    pub vectors: i64,
}

/// The shapes that fit the registers of a target.
pub(super) fn shapes(target: &Target) -> impl Iterator<Item = Shape> + use<> {
    let registers = target.registers() - i64::from(!target.broadcasts_from_memory());
    let fits = move |s: &Shape| s.rows * s.vectors + s.vectors <= registers;
    let of = |vectors| (1..=ROWS).map(move |rows| Shape { rows, vectors });
    (1..=VECTORS).flat_map(of).filter(fits)
}

/// The shapes of tiles without rows.
pub(super) fn lone_shapes() -> impl Iterator<Item = Shape> {
    (1..=LONE_VECTORS).map(|vectors| Shape { rows: 1, vectors })
}

impl Shape {
    /// The cost for `rows` rows, if that is known, and `columns` columns.
    pub(super) fn cost(self, target: &Target, rows: Option<i64>, columns: i64) -> f64 {
        let lanes = target.lanes();
        let width = self.vectors * lanes;
        let mut cost = 0.0;
        let mut add = |count: i64, shape: Shape| {
            cost += count as f64 * shape.all_rows(target, self.rows, rows);
        };
        add(columns / width, self);
        let tail = columns % width;
        let whole = if target.masks() {
            (tail + lanes - 1) / lanes
        } else {
            tail / lanes
        };
        let scalars = if target.masks() { 0 } else { tail % lanes };
        if whole > 0 {
            let vectors = whole;
            add(1, Shape { vectors, ..self });
        }
        // Single columns are a scalar tile each, with as many instructions as a vector.
        let vectors = 1;
        add(scalars, Shape { vectors, ..self });
        cost
    }

    fn all_rows(self, target: &Target, height: i64, rows: Option<i64>) -> f64 {
        let tile = |rows: i64| Shape { rows, ..self }.tile(target);
        match rows {
            None => tile(height) / height as f64 * 16.0,
            Some(n) => {
                let tail = if n % height == 0 {
                    0.0
                } else {
                    tile(n % height)
                };
                (n / height) as f64 * tile(height) + tail
            }
        }
    }

    /// One tile.
    fn tile(self, target: &Target) -> f64 {
        let (rows, vectors) = (self.rows as f64, self.vectors as f64);
        let sums = rows * vectors;
        let loads = (rows + vectors) / 2.0;
        let latency = IN_FLIGHT / 2.0;
        let stream = vectors * target.vector_bytes as f64 / BYTES_PER_CYCLE;
        (sums / 2.0).max(loads).max(latency).max(stream) + ENTRY
    }
}
