//! The shapes of register tiles that a target has registers for.
use crate::cost::Tile;
use crate::schedule::Target;
use tensmith_ir::integer::gcd;

/// Rows of a tile at most.
const ROWS: i64 = 16;
/// So many rows are kept apart by every first cache, wherever they lie.
pub(super) const SAFE_ROWS: i64 = 8;
/// Units: bytes from a line to the next that falls on the same ways of a first cache.
const WAY_BYTES: i64 = 4096;
/// Units: bytes of a line of a cache.
const LINE_BYTES: i64 = 64;
/// Registers of columns at most.
const VECTORS: i64 = 6;
/// Registers of columns of a tile without rows at most: enough sums in flight to hide latency.
const LONE_VECTORS: i64 = 8;
/// Units: lanes of shorter vectors on a target with 512-bit ones.
const HALF: i64 = 8;
/// Shorter vectors of a tile at most: of more, code has as many 512-bit ones that are not full.
const MOST_HALVES: i64 = 3;

/// The shapes that fit the registers of a target.
///
/// The width of vectors follows from the width of tiles: where 512-bit vectors do not fill a tile,
/// its code has shorter ones, and half as many registers. A kernel has vectors of one width only, so
/// that is for nests that are `alone` in theirs.
pub(super) fn shapes(target: &Target, alone: bool) -> Vec<Tile> {
    let mut found = fitting(target.lanes(), target.registers());
    if target.vector_bytes == 64 && alone {
        let short = fitting(HALF, 16);
        let odd = |s: &Tile| s.vectors % 2 == 1 && s.vectors <= MOST_HALVES;
        found.extend(short.into_iter().filter(odd));
    }
    found
}

/// Tiles whose sums, whose columns and an element for all lanes fit the registers.
fn fitting(lanes: i64, registers: i64) -> Vec<Tile> {
    let of = |vectors| {
        (1..=ROWS).map(move |rows| Tile {
            rows,
            vectors,
            lanes,
        })
    };
    let fits = |s: &Tile| s.rows * s.vectors + s.vectors < registers;
    (1..=VECTORS).flat_map(of).filter(fits).collect()
}

/// Whether the first cache holds a line of each of `rows` rows that lie `stride` bytes apart (0 where
/// that is not known), beside twice as much else.
pub(super) fn rows_fit(rows: i64, stride: i64, l1_bytes: usize) -> bool {
    let step = gcd(stride, WAY_BYTES).max(LINE_BYTES);
    let ways = l1_bytes as i64 / WAY_BYTES;
    rows <= SAFE_ROWS || 3 * rows <= ways * (WAY_BYTES / step)
}

/// The shapes of tiles without rows.
pub(super) fn lone_shapes(target: &Target) -> impl Iterator<Item = Tile> + use<> {
    let lanes = target.lanes();
    (1..=LONE_VECTORS).map(move |vectors| Tile {
        rows: 1,
        vectors,
        lanes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_fall_together_are_few() {
        let l1 = 48 << 10;
        assert!(rows_fit(8, 4096, l1));
        assert!(!rows_fit(12, 4096, l1));
        assert!(!rows_fit(16, 2048, l1));
        assert!(rows_fit(16, 1024, l1));
        assert!(rows_fit(16, 400, l1));
    }

    #[test]
    fn tiles_leave_a_register_for_the_other_factor() {
        for vector_bytes in [16, 32, 64] {
            let target = Target {
                vector_bytes,
                ..Target::default()
            };
            let wide = shapes(&target, true);
            let wide = wide.iter().filter(|t| t.lanes == target.lanes());
            let most = wide.map(|t| t.rows * t.vectors + t.vectors + 1).max();
            assert!(most.unwrap() <= target.registers(), "{vector_bytes}");
        }
    }
}
