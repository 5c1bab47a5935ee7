//! Sizes of strips: those that a kernel could have besides the one it was given.
//!
//! A size changes when values are handed on, not what is computed. Which one is fastest depends on
//! caches more than the cost model says, so tuning may choose another one
//! ([`StripSizes`](crate::schedule::task::StripSizes)).
use super::{Group, Strips};
use tensmith_ir::graph::{Graph, ValueId};

/// Rows that are tried, and all of them.
const ROWS: [i64; 10] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32];
/// Queries that are tried: whole register tiles.
const QUERIES: [i64; 8] = [8, 16, 24, 32, 48, 64, 96, 128];
/// Units: bytes of what a strip hands on, at most: a second cache.
const BYTES: i64 = 2 << 20;

impl Group {
    /// Rows of its strips, if it has strips.
    pub fn strip_rows(&self) -> Option<i64> {
        Some(match self.strips.as_ref()? {
            Strips::Scores(s) => s.rows,
            Strips::Tiles(t) => t.rows,
            Strips::ImageRows(r) => r.rows,
        })
    }

    /// The same group with strips of so many rows.
    pub fn with_strip_rows(&self, rows: i64) -> Group {
        let mut group = self.clone();
        match &mut group.strips {
            Some(Strips::Scores(s)) => s.rows = rows,
            Some(Strips::Tiles(t)) => t.rows = rows,
            Some(Strips::ImageRows(r)) => r.rows = rows,
            None => {}
        }
        group
    }

    /// The rows that its strips could have instead; none where sizes are known at run time only.
    pub fn other_strip_rows(&self, graph: &Graph) -> Vec<i64> {
        self.rows_that_fit(graph).unwrap_or_default()
    }

    fn rows_that_fit(&self, graph: &Graph) -> Option<Vec<i64>> {
        let own = self.strip_rows()?;
        let (all, row_bytes) = self.extent(graph)?;
        let some = match self.strips {
            Some(Strips::Scores(_)) => &QUERIES[..],
            _ => &ROWS[..],
        };
        let mut rows: Vec<i64> = some.iter().copied().filter(|n| *n < all).collect();
        rows.push(all);
        let fits = |n: i64| n.checked_mul(row_bytes).is_some_and(|bytes| bytes <= BYTES);
        rows.retain(|n| *n != own && fits(*n));
        Some(rows)
    }

    /// All rows that strips are made of, and the bytes that a row of a strip takes.
    fn extent(&self, graph: &Graph) -> Option<(i64, i64)> {
        let shape = |v: ValueId| -> Option<Vec<i64>> {
            let shape = graph.ty(v).shape.iter();
            shape.map(|e| e.as_const().filter(|n| *n > 0)).collect()
        };
        let bytes = |v: ValueId| graph.ty(v).dtype.bytes() as i64;
        match self.strips.as_ref()? {
            Strips::Scores(s) => {
                let [.., queries, keys] = shape(s.scores)?[..] else {
                    return None;
                };
                Some((queries, keys.checked_mul(bytes(s.scores))?))
            }
            Strips::Tiles(t) => {
                let rows = *shape(t.tiles)?.get(3)?;
                let row = |v: ValueId| {
                    let mut count: i64 = bytes(v);
                    for (axis, n) in shape(v)?.iter().enumerate() {
                        // The batch and the rows are outside of a strip.
                        if axis != 2 && axis != 3 {
                            count = count.checked_mul(*n)?;
                        }
                    }
                    Some(count)
                };
                Some((rows, row(t.tiles)?.checked_add(row(t.products)?)?))
            }
            Strips::ImageRows(r) => {
                let rows = *shape(graph.node(self.root).outputs[0])?.get(2)?;
                let image = shape(r.image)?;
                let row = image.get(1)?.checked_mul(*image.get(3)?)?;
                let row = row.checked_mul(bytes(r.image))?;
                Some((rows, row.checked_mul(r.stride)?))
            }
        }
    }
}
