//! The cost model in closed form.
//!
//! A step of a register tile takes as long as the slowest of its multiply-adds, its loads and the
//! latency of its sums; reading the factors takes what the level of memory that holds them needs.
//! Of the shorter of both, half is hidden behind the longer; but only the first tile of rows runs
//! while a factor comes from afar.
use super::{Contraction, CostModel, Dots, Pass, TYPICAL_EXTENT, Tile};
use tensmith_ir::machine::{Level, Machine};

/// Units: cycles that entering and leaving a tile takes: sums begin at zero, are added to what
/// follows them, and are written while no multiply-add runs.
const ENTRY: f64 = 24.0;
/// Units: cycles of joining the lanes of a vector, where as much is done for other vectors.
const JOIN: f64 = 4.0;
/// Units: cycles of a store of the rows of one column, most of which begin and end in the middle of
/// a line.
const TURNED_STORE: f64 = 7.0;
/// Terms of a sum whose number is not known.
const TYPICAL_DEPTH: i64 = 256;
/// Columns at most that are no vector, but computed one by one.
const SCALARS: i64 = 2;
/// The part of the shorter of arithmetic and memory that does not hide behind the longer.
const EXPOSED: f64 = 0.5;
/// Units: cycles of a hand-off between kernels; on a server, models on two threads were the faster
/// the more of them was charged, up to this.
const HAND_OFF: f64 = 40000.0;
/// Units: bytes a cycle of a level-3 cache that the hardware's own streams do not keep busy. A
/// product of one row with 4 MB of weights took 0.84 of its time without fetches where the cache
/// gives 26 (Zen 4). Products of more rows, which have other work meanwhile, took up to 1.03 of it.
const SLOW_L3: f64 = 16.0;
/// Units: bytes of an element.
const ELEMENT: f64 = 4.0;

/// Costs from the rates of a machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Analytic {
    /// The machine.
    pub machine: Machine,
}

impl CostModel for Analytic {
    fn contraction_cycles(&self, work: &Contraction) -> f64 {
        let depth = depth_of(work);
        let groups = (work.batch * work.outer) as f64;
        let arithmetic = self.column_tiles(work, depth) * groups;
        // The first tile of rows waits for the columns, the others find them near.
        let first = arithmetic / row_tiles_of(work);
        let others = overlapped(arithmetic - first, self.near(work));
        overlapped(first, self.columns(work)) + others
    }

    fn dots_cycles(&self, work: &Dots) -> f64 {
        let [whole, part, single] = work.terms;
        let bytes = 4 * work.lanes as usize;
        let of = |[rows, columns]: [i64; 2]| {
            let results = (rows * columns) as f64;
            let loads = rows as f64 + columns as f64 * work.column_loads;
            let step = |fmas: f64, rate: f64| {
                let busy = f64::max(results / fmas, loads / rate);
                busy.max(self.machine.rates.fma_latency)
            };
            let vectors = (whole / work.lanes) as f64 + f64::from(u8::from(part > 0));
            let joins = f64::from(u8::from(whole > 0)) + f64::from(u8::from(part > 0));
            vectors * step(self.machine.fmas(bytes), self.machine.loads(bytes))
                + single as f64 * step(self.machine.rates.fmas, self.machine.rates.loads)
                + joins * JOIN * results
                + ENTRY
        };
        // Whole tiles and what is left of rows and of columns.
        let parts = |k: usize| {
            let (size, count) = (work.tile[k].max(1), work.results[k]);
            [
                (size, count / size),
                (count % size, i64::from(count % size > 0)),
            ]
        };
        let mut arithmetic = 0.0;
        for (rows, row_tiles) in parts(0) {
            for (columns, column_tiles) in parts(1) {
                let tiles = (row_tiles * column_tiles) as f64;
                arithmetic += if tiles > 0.0 {
                    tiles * of([rows, columns])
                } else {
                    0.0
                };
            }
        }
        let terms: i64 = work.terms.iter().sum();
        let [rows, columns] = work.results.map(|n| ELEMENT * (n * terms) as f64);
        let batch = work.batch as f64;
        let machine = &self.machine;
        let again = (work.results[0] as f64 / work.tile[0] as f64).ceil() - 1.0;
        let first = (rows + columns) * batch;
        let memory = machine.read_cycles(first, machine.level_of(first))
            + machine.read_cycles(columns * again * batch, machine.level_of(columns));
        overlapped(arithmetic * batch, memory)
    }

    fn row_blocks(&self, work: &Contraction) -> i64 {
        let Some(bytes) = work.rows_bytes else {
            return 1;
        };
        // A block and as much else fit the second cache.
        let blocks = (2.0 * bytes / self.machine.l2_bytes as f64).ceil().max(1.0);
        let panels = (work.columns as f64 / work.tile.width() as f64).ceil();
        let columns = self.columns_bytes(work);
        match (blocks - 1.0) * columns < (panels - 1.0) * bytes {
            true => blocks as i64,
            false => 1,
        }
    }

    fn pass_cycles(&self, work: &Pass) -> f64 {
        let vectors = work.elements / work.lanes as f64;
        let each = work.operations / self.machine.fmas(4 * work.lanes as usize);
        let level = self.machine.level_of(work.bytes);
        overlapped(vectors * each, self.machine.read_cycles(work.bytes, level))
    }

    fn hand_off_cycles(&self) -> f64 {
        HAND_OFF
    }

    fn l1_bytes(&self) -> usize {
        self.machine.l1_bytes
    }

    fn weights_level(&self, bytes: f64) -> Level {
        // What a run reads once is read again only after all else of the next run.
        self.machine.level_of(bytes).max(Level::L2)
    }

    fn fetches_ahead(&self) -> bool {
        self.machine.rates.l3_bytes <= SLOW_L3
    }
}

fn overlapped(a: f64, b: f64) -> f64 {
    a.max(b) + EXPOSED * a.min(b)
}

impl Analytic {
    /// The tiles of all columns, for one group of rows.
    fn column_tiles(&self, work: &Contraction, depth: f64) -> f64 {
        let tile = work.tile;
        let rows = |vectors| {
            let tile = Tile { vectors, ..tile };
            let stores = if work.turned {
                TURNED_STORE * tile.width() as f64
            } else {
                0.0
            };
            let each = (depth, ENTRY + stores, work.column_loads);
            self.row_tiles(tile, work.rows, each)
        };
        let mut cycles = (work.columns / tile.width()) as f64 * rows(tile.vectors);
        let tail = work.columns % tile.width();
        if work.masks {
            cycles += match tail {
                0 => 0.0,
                // Each takes as many instructions as a vector.
                ..=SCALARS => tail as f64 * rows(1),
                _ => rows((tail + tile.lanes - 1) / tile.lanes),
            };
        } else {
            if tail >= tile.lanes {
                cycles += rows(tail / tile.lanes);
            }
            // Single columns are a scalar tile each, with as many instructions as a vector.
            cycles += (tail % tile.lanes) as f64 * rows(1);
        }
        cycles
    }

    /// The tiles of all rows, for one tile of columns.
    fn row_tiles(
        &self,
        tile: Tile,
        rows: Option<i64>,
        (depth, entry, column_loads): (f64, f64, f64),
    ) -> f64 {
        let of = |rows: i64| self.step(Tile { rows, ..tile }, column_loads) * depth + entry;
        match rows {
            None => {
                let left = (tile.rows - 1) as f64 / 2.0;
                (TYPICAL_EXTENT as f64 - left) / tile.rows as f64 * of(tile.rows) + left * of(1)
            }
            Some(n) => {
                let tail = n % tile.rows;
                let last = if tail == 0 { 0.0 } else { of(tail) };
                (n / tile.rows) as f64 * of(tile.rows) + last
            }
        }
    }

    /// Units: cycles of one term of the sums of a tile.
    fn step(&self, tile: Tile, column_loads: f64) -> f64 {
        let bytes = tile.vector_bytes();
        let (rows, vectors) = (tile.rows as f64, tile.vectors as f64);
        let arithmetic = rows * vectors / self.machine.fmas(bytes);
        let columns = vectors * column_loads;
        let loads = rows / self.machine.rates.loads + columns / self.machine.loads(bytes);
        arithmetic.max(loads).max(self.machine.rates.fma_latency)
    }

    /// Units: bytes of the factor of the columns of one contraction.
    fn columns_bytes(&self, work: &Contraction) -> f64 {
        ELEMENT * (depth_of(work) * work.columns as f64)
    }

    /// Units: cycles of reading the factor of the columns for the first time.
    fn columns(&self, work: &Contraction) -> f64 {
        let weights = self.columns_bytes(work) * work.batch as f64;
        let source = work.source.unwrap_or(self.machine.level_of(weights));
        self.machine.read_cycles(weights, source)
    }

    /// The part of so many bytes that the first cache does not hold from one pass over them to the
    /// next, beside what else is read: none of half of it, all of the whole.
    fn beyond_l1(&self, bytes: f64) -> f64 {
        (2.0 * bytes / self.machine.l1_bytes as f64 - 1.0).clamp(0.0, 1.0)
    }

    /// Units: cycles of reading the other factor, and of reading the columns again.
    fn near(&self, work: &Contraction) -> f64 {
        let depth = depth_of(work);
        let machine = &self.machine;
        let (blocks, batch) = (self.row_blocks(work) as f64, work.batch as f64);
        let panel = ELEMENT * depth * work.tile.width().min(work.columns) as f64;
        let columns = self.columns_bytes(work) * batch;
        let again = columns * (row_tiles_of(work) - blocks).max(0.0) * self.beyond_l1(panel);
        let again = machine.read_cycles(again, machine.level_of(panel));
        let far = machine.read_cycles(columns * (blocks - 1.0), machine.level_of(columns));
        let panels = (work.columns as f64 / work.tile.width() as f64).ceil();
        // Windows of neighbouring rows overlap: what they share is found near.
        let rows = ELEMENT * depth * (work.rows.unwrap_or(TYPICAL_EXTENT) * work.outer) as f64;
        let rows = work.rows_bytes.map_or(rows, |bytes| rows.min(bytes)) * batch;
        let factor = |panels, bytes| machine.read_cycles(rows * panels, machine.level_of(bytes));
        let factor = match blocks > 1.0 {
            true => factor(1.0, rows) + factor(panels - 1.0, rows / blocks / batch),
            false => factor(panels, rows / batch),
        };
        again + far + factor
    }
}

/// Terms of a sum.
fn depth_of(work: &Contraction) -> f64 {
    work.depth.unwrap_or(TYPICAL_DEPTH) as f64
}

/// Tiles of rows that read the same columns.
fn row_tiles_of(work: &Contraction) -> f64 {
    let tiles = (work.rows.unwrap_or(TYPICAL_EXTENT) as f64 / work.tile.rows as f64).ceil();
    (tiles * work.outer as f64).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensmith_ir::machine::Rates;

    fn full_rate() -> Analytic {
        Analytic {
            machine: Machine {
                l2_bytes: 2 << 20,
                l3_bytes: 64 << 20,
                rates: Rates {
                    fmas_512: 2.0,
                    loads_512: 2.0,
                    ..Rates::GENERIC
                },
                ..Machine::GENERIC
            },
        }
    }

    fn square(rows: i64, vectors: i64, n: i64) -> Contraction {
        Contraction {
            tile: Tile {
                rows,
                vectors,
                lanes: 16,
            },
            masks: true,
            rows: Some(n),
            outer: 1,
            batch: 1,
            columns: n,
            column_loads: 1.0,
            depth: Some(n),
            turned: false,
            rows_bytes: Some(4.0 * (n * n) as f64),
            source: None,
        }
    }

    #[test]
    fn large_tiles_come_near_the_peak() {
        let model = full_rate();
        let cycles = |rows, vectors| model.contraction_cycles(&square(rows, vectors, 512));
        let peak = 512.0 * 512.0 * 512.0 / 32.0;
        assert!(cycles(8, 3) < 1.35 * peak);
        assert!(cycles(8, 3) < cycles(4, 3));
        assert!(cycles(4, 3) < cycles(1, 1));
    }

    #[test]
    fn rows_beyond_the_second_cache_are_cut() {
        let model = full_rate();
        assert_eq!(model.row_blocks(&square(8, 3, 512)), 1);
        assert_eq!(model.row_blocks(&square(8, 3, 1024)), 4);
        // One tile of columns reads each row once.
        let narrow = Contraction {
            columns: 48,
            ..square(8, 3, 1024)
        };
        assert_eq!(model.row_blocks(&narrow), 1);
    }

    #[test]
    fn weights_from_afar_bound_few_rows() {
        let model = full_rate();
        let few = |source| Contraction {
            rows: Some(4),
            source: Some(source),
            ..square(4, 4, 512)
        };
        let near = model.contraction_cycles(&few(Level::L2));
        let far = model.contraction_cycles(&few(Level::Memory));
        assert!(far > 3.0 * near, "{near} {far}");
        assert!(far >= 512.0 * 512.0 * 4.0 / Rates::GENERIC.memory_bytes);
    }

    #[test]
    fn passes_are_bound_by_the_level_that_holds_them() {
        let model = full_rate();
        let pass = |elements: f64| Pass {
            elements,
            operations: 4.0,
            lanes: 16,
            bytes: 8.0 * elements,
        };
        let each = |n: f64| model.pass_cycles(&pass(n)) / n;
        assert!(each(1e3) < each(1e5));
        assert!(each(1e5) < each(1e7));
    }
}
