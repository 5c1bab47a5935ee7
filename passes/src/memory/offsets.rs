//! Offsets for pieces of memory of known sizes and lives, in as few bytes as can be found.
//!
//! Pieces are placed one after the other, each at the lowest place that is free while it lives; the
//! order decides. Some orders are tried; then pieces at the top of the best one, and those that
//! they rest on, move forward in it while that does not make it worse.
//! Source: R. Sekar et al., Unified static memory planner of TVM, hill climbing, for the idea of
//! searching orders.
use super::{Life, overlap};

/// A piece to be placed.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Units: bytes, a multiple of the alignment.
    pub bytes: i64,
    /// When it is used.
    pub life: Life,
}

/// Pairs of pieces that are compared at most, so that a large model takes some milliseconds.
const WORK: usize = 20_000_000;
/// Orders that are tried at most once the first ones are known.
const MOVES: usize = 4000;

/// The offset of each piece, and the bytes used.
pub fn place(pieces: &[Piece]) -> (Vec<i64>, i64) {
    let least = live_bytes(pieces);
    let mut best: Option<Layout> = None;
    for order in orders(pieces) {
        let layout = Layout::of(pieces, order);
        if best.as_ref().is_none_or(|b| layout.used < b.used) {
            best = Some(layout);
        }
    }
    let Some(mut best) = best else {
        return (vec![], 0);
    };
    let each = (pieces.len() * pieces.len()).max(1);
    let mut chance = 1u64;
    for _ in 0..MOVES.min(WORK / each) {
        if best.used <= least {
            break;
        }
        let next = Layout::of(pieces, best.moved(pieces, &mut chance));
        if next.used <= best.used {
            best = next;
        }
    }
    (best.offsets, best.used)
}

/// The most that lives at one time.
fn live_bytes(pieces: &[Piece]) -> i64 {
    let at = |time: usize| {
        let live = pieces
            .iter()
            .filter(|p| p.life.0 <= time && time <= p.life.1);
        live.fold(0i64, |sum, p| sum.saturating_add(p.bytes))
    };
    pieces.iter().map(|p| at(p.life.0)).max().unwrap_or(0)
}

/// Orders that are often good: by size, by size times life, by life, by time.
fn orders(pieces: &[Piece]) -> [Vec<usize>; 4] {
    let length = |p: &Piece| (p.life.1 - p.life.0 + 1) as i64;
    let area = |p: &Piece| p.bytes.saturating_mul(length(p));
    let by = |key: &dyn Fn(&Piece) -> (i64, i64)| {
        let mut order: Vec<usize> = (0..pieces.len()).collect();
        order.sort_by_key(|k| (key(&pieces[*k]), pieces[*k].life, *k));
        order
    };
    [
        by(&|p| (-p.bytes, 0)),
        by(&|p| (-area(p), 0)),
        by(&|p| (-length(p), -p.bytes)),
        by(&|p| (p.life.0 as i64, -p.bytes)),
    ]
}

struct Layout {
    order: Vec<usize>,
    offsets: Vec<i64>,
    used: i64,
}

impl Layout {
    fn of(pieces: &[Piece], order: Vec<usize>) -> Self {
        let mut offsets = vec![0i64; pieces.len()];
        let mut used = 0;
        let mut taken: Vec<(i64, i64)> = Vec::new();
        for (n, k) in order.iter().enumerate() {
            let piece = pieces[*k];
            taken.clear();
            let placed = order[..n]
                .iter()
                .filter(|o| overlap(pieces[**o].life, piece.life));
            taken.extend(
                placed.map(|o| (offsets[*o], offsets[*o].saturating_add(pieces[*o].bytes))),
            );
            taken.sort_unstable();
            offsets[*k] = lowest_gap(&taken, piece.bytes);
            used = used.max(offsets[*k].saturating_add(piece.bytes));
        }
        Layout {
            order,
            offsets,
            used,
        }
    }

    /// Another order: a piece that ends at the top, or one that lives while it does, comes earlier.
    fn moved(&self, pieces: &[Piece], chance: &mut u64) -> Vec<usize> {
        let end = |k: usize| self.offsets[k].saturating_add(pieces[k].bytes);
        let tops: Vec<usize> = (0..pieces.len()).filter(|k| end(*k) == self.used).collect();
        let top = tops[draw(chance, tops.len())];
        let near = |k: &usize| overlap(pieces[*k].life, pieces[top].life);
        let near: Vec<usize> = (0..pieces.len()).filter(near).collect();
        let chosen = match draw(chance, 2) {
            0 => top,
            _ => near[draw(chance, near.len())],
        };
        let mut order = self.order.clone();
        let at = order.iter().position(|k| *k == chosen).unwrap_or(0);
        order.remove(at);
        order.insert(draw(chance, at + 1), chosen);
        order
    }
}

/// A number below `count`, always the same ones in the same order.
/// Source: D. E. Knuth's MMIX, constants of a linear congruence.
fn draw(state: &mut u64, count: usize) -> usize {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize % count.max(1)
}

/// The start of the lowest gap between `taken` ranges that takes `bytes`; else their end.
fn lowest_gap(taken: &[(i64, i64)], bytes: i64) -> i64 {
    let mut end = 0;
    for &(lo, hi) in taken {
        if lo - end >= bytes {
            return end;
        }
        end = end.max(hi);
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[Piece]) -> (i64, i64) {
        let (offsets, used) = place(pieces);
        for (a, x) in pieces.iter().enumerate() {
            assert!(offsets[a] >= 0 && offsets[a] + x.bytes <= used);
            for (b, y) in pieces.iter().enumerate().skip(a + 1) {
                let apart =
                    offsets[a] + x.bytes <= offsets[b] || offsets[b] + y.bytes <= offsets[a];
                assert!(apart || !overlap(x.life, y.life), "{a} and {b}");
            }
        }
        (used, live_bytes(pieces))
    }

    #[test]
    fn random_pieces_lie_apart_and_waste_little() {
        let mut chance = 7;
        let (mut used, mut least) = (0, 0);
        for _ in 0..50 {
            let count = 5 + draw(&mut chance, 40);
            let piece = |_| {
                let begin = draw(&mut chance, 60);
                Piece {
                    bytes: 64 * (1 + draw(&mut chance, 100) as i64),
                    life: (begin, begin + draw(&mut chance, 12)),
                }
            };
            let pieces: Vec<Piece> = (0..count).map(piece).collect();
            let (u, l) = check(&pieces);
            used += u;
            least += l;
        }
        assert!(used as f64 <= 1.02 * least as f64, "{used} of {least}");
    }

    #[test]
    fn a_piece_that_outlives_others_goes_to_the_side() {
        let piece = |bytes, a, b| Piece {
            bytes,
            life: (a, b),
        };
        // By size alone, the long one would lie between the others.
        let pieces = [
            piece(128, 0, 1),
            piece(64, 1, 4),
            piece(256, 2, 3),
            piece(64, 3, 5),
        ];
        let (used, least) = check(&pieces);
        assert_eq!(used, least);
        assert_eq!(place(&[]).1, 0);
    }
}
