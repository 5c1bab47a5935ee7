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

/// How much faster the widest vectors are taken to be where shorter ones fit the columns better.
const WIDE_GAIN: f64 = 1.2;
/// Units: lanes of shorter vectors on a target with 512-bit ones.
const HALF: i64 = 8;

/// Rows and registers of columns of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub rows: i64,
    pub vectors: i64,
    /// Lanes of a vector.
    pub lanes: i64,
}

/// The shapes that fit the registers of a target.
///
/// The width of vectors follows from the width of tiles: where 512-bit vectors do not fill a tile,
/// its code has shorter ones, and half as many registers.
pub(super) fn shapes(target: &Target) -> Vec<Shape> {
    let mut found = fitting(
        target.lanes(),
        target.registers(),
        target.broadcasts_from_memory(),
    );
    if target.vector_bytes == 64 {
        let short = fitting(HALF, 16, false);
        found.extend(short.into_iter().filter(|s| s.vectors % 2 == 1));
    }
    found
}

fn fitting(lanes: i64, registers: i64, broadcasts_from_memory: bool) -> Vec<Shape> {
    let left = registers - i64::from(!broadcasts_from_memory);
    let of = |vectors| {
        (1..=ROWS).map(move |rows| Shape {
            rows,
            vectors,
            lanes,
        })
    };
    let fits = |s: &Shape| s.rows * s.vectors + s.vectors <= left;
    (1..=VECTORS).flat_map(of).filter(fits).collect()
}

/// The shapes of tiles without rows.
pub(super) fn lone_shapes(target: &Target) -> impl Iterator<Item = Shape> + use<> {
    let lanes = target.lanes();
    (1..=LONE_VECTORS).map(move |vectors| Shape {
        rows: 1,
        vectors,
        lanes,
    })
}

impl Shape {
    /// Columns of a tile.
    pub(super) fn width(self) -> i64 {
        self.vectors * self.lanes
    }

    /// The cost for `rows` rows, if that is known, and `columns` columns.
    pub(super) fn cost(self, target: &Target, rows: Option<i64>, columns: i64) -> f64 {
        let all_rows = |vectors| Shape { vectors, ..self }.all_rows(self.rows, rows);
        let mut cost = (columns / self.width()) as f64 * all_rows(self.vectors);
        let tail = columns % self.width();
        if target.masks() {
            if tail > 0 {
                cost += all_rows((tail + self.lanes - 1) / self.lanes);
            }
        } else {
            if tail >= self.lanes {
                cost += all_rows(tail / self.lanes);
            }
            // Single columns are a scalar tile each, with as many instructions as a vector.
            cost += (tail % self.lanes) as f64 * all_rows(1);
        }
        if self.lanes > HALF {
            cost / WIDE_GAIN
        } else {
            cost
        }
    }

    fn all_rows(self, height: i64, rows: Option<i64>) -> f64 {
        let tile = |rows: i64| Shape { rows, ..self }.tile();
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
    fn tile(self) -> f64 {
        let (rows, vectors) = (self.rows as f64, self.vectors as f64);
        // 512-bit operations pass through the units in two halves.
        let halves = (self.lanes as f64 / HALF as f64).max(1.0);
        let sums = rows * vectors * halves;
        let loads = (rows + vectors * halves) / 2.0;
        let latency = IN_FLIGHT / 2.0;
        let stream = 4.0 * self.width() as f64 / BYTES_PER_CYCLE;
        (sums / 2.0).max(loads).max(latency).max(stream) + ENTRY
    }
}
