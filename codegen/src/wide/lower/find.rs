//! Which loops of a kernel become tiles.
use super::{LowerError, Tile, WhyNot, lower_tile};
use crate::kernel::GROUP;
use crate::wide::vir::{Elem, Width};
use crate::wide::{TileCode, WideError, WideTarget, compile};
use std::collections::{HashMap, HashSet};
use tensmith_ir::expr::{Ranges, Var};
use tensmith_ir::loops::team::holds_parallel;
use tensmith_ir::loops::{For, Kernel, Mark, Stmt};

/// A compiled tile, to be called in place of a loop.
pub(crate) struct FoundTile {
    /// The loop's variable.
    pub var: Var,
    pub tile: Tile,
    pub code: TileCode,
}

/// The tiles of a kernel.
#[derive(Default)]
pub(crate) struct Found {
    pub tiles: Vec<FoundTile>,
    /// Loops with vectors that stay narrow.
    pub narrow: usize,
    pub reason: Option<WhyNot>,
}

/// Finds and compiles the tiles of a kernel: the outermost loops with vectors inside that a tile
/// can carry.
///
/// Errors: a defect of lowering or of the back end.
pub(crate) fn find_tiles(
    kernel: &Kernel,
    target: &WideTarget,
    most: Width,
) -> Result<Found, WideError> {
    let mut finder = Finder {
        kernel,
        target,
        most,
        ranges: kernel.ranges(),
        found: Found::default(),
        shared: shared_vars(kernel),
    };
    finder.visit(&kernel.body)?;
    Ok(finder.found)
}

struct Finder<'k> {
    kernel: &'k Kernel,
    target: &'k WideTarget,
    most: Width,
    ranges: Ranges,
    found: Found,
    /// Variables of more than one loop.
    shared: HashSet<Var>,
}

fn shared_vars(kernel: &Kernel) -> HashSet<Var> {
    fn count(stmts: &[Stmt], seen: &mut HashMap<Var, usize>) {
        for stmt in stmts {
            if let Stmt::For(l) = stmt {
                *seen.entry(l.var).or_default() += 1;
            }
            stmt.bodies().into_iter().for_each(|b| count(b, seen));
        }
    }
    let mut seen = HashMap::new();
    count(&kernel.body, &mut seen);
    seen.into_iter()
        .filter(|(_, n)| *n > 1)
        .map(|(v, _)| v)
        .collect()
}

/// A vector loop of a tile: its extent, and the iterations of the lock-step loops around it.
struct Lanes {
    extent: i64,
    rows: i64,
}

/// The vector loops in and below a loop.
fn vector_loops(l: &For, rows: i64, out: &mut Vec<Lanes>) {
    let extent = l.extent.as_const().unwrap_or(1);
    let mut rows = rows;
    match l.mark {
        Mark::Vector => out.push(Lanes { extent, rows }),
        Mark::Jam => rows *= extent,
        _ => {}
    }
    fn below(stmts: &[Stmt], rows: i64, out: &mut Vec<Lanes>) {
        for stmt in stmts {
            match stmt {
                Stmt::For(l) => vector_loops(l, rows, out),
                other => (other.bodies().into_iter()).for_each(|b| below(b, rows, out)),
            }
        }
    }
    below(&l.body, rows, out);
}

/// Registers of vectors of up to 256 bits.
const HALF_REGISTERS: i64 = 16;

/// More vectors of 256 bits for the lanes of one row are as many instructions as they save work.
const MOST_HALVES: i64 = 3;

/// Wider registers, but for lanes that would leave half of the last one empty, if the sums of each
/// tile, its columns and an element for all lanes fit the registers that shorter vectors have.
fn width(most: Width, loops: &[Lanes]) -> Width {
    let lanes = Width::Y256.lanes(Elem::F32) as i64;
    let halves = |l: &Lanes| (l.extent + lanes - 1) / lanes;
    let fits = |l: &Lanes| (l.rows + 1) * halves(l) < HALF_REGISTERS;
    let longest = loops.iter().max_by_key(|l| (l.extent, l.rows));
    match longest {
        Some(l)
            if most == Width::Z512
                && halves(l) % 2 == 1
                && halves(l) <= MOST_HALVES
                && loops.iter().all(fits) =>
        {
            Width::Y256
        }
        _ => most,
    }
}

impl Finder<'_> {
    fn visit(&mut self, stmts: &[Stmt]) -> Result<(), WideError> {
        for stmt in stmts {
            if let Stmt::For(l) = stmt {
                self.visit_loop(l)?;
            } else {
                stmt.bodies().into_iter().try_for_each(|b| self.visit(b))?;
            }
        }
        Ok(())
    }

    fn visit_loop(&mut self, l: &For) -> Result<(), WideError> {
        // What is around loops that a team shares has waits in it.
        if l.body.iter().any(holds_parallel) {
            self.ranges.bind(l.var, &l.extent);
            return self.visit(&l.body);
        }
        let mut loops = Vec::new();
        vector_loops(l, 1, &mut loops);
        // One whole 128-bit vector gains nothing.
        if loops.iter().all(|v| v.extent == GROUP) {
            return Ok(());
        }
        let lock_step = matches!(l.mark, Mark::Vector | Mark::Jam);
        match self.lower(l, width(self.most, &loops))? {
            Ok(tile) => {
                self.found.tiles.push(tile);
                return Ok(());
            }
            Err(why) if lock_step => {
                self.found.narrow += 1;
                self.found.reason.get_or_insert(why);
                return Ok(());
            }
            Err(_) => {}
        }
        self.ranges.bind(l.var, &l.extent);
        self.visit(&l.body)
    }

    fn lower(&self, l: &For, width: Width) -> Result<Result<FoundTile, WhyNot>, WideError> {
        if self.shared.contains(&l.var) {
            return Ok(Err(WhyNot::Variable));
        }
        let dots = self.target.dots(width).is_some();
        let tile = match lower_tile(self.kernel, l, &self.ranges, (width, dots)) {
            Ok(tile) => tile,
            Err(LowerError::Unsupported(why)) => return Ok(Err(why)),
            Err(LowerError::Defect(e)) => return Err(e),
        };
        match compile(&tile.function, self.target) {
            Ok(code) => Ok(Ok(FoundTile {
                var: l.var,
                tile,
                code,
            })),
            Err(WideError::Feature { .. }) => Ok(Err(WhyNot::Feature)),
            Err(e) => Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shorter_vectors_fit_all_loops() {
        let of = |loops: &[(i64, i64)]| {
            let lanes = |&(extent, rows): &(i64, i64)| Lanes { extent, rows };
            width(Width::Z512, &loops.iter().map(lanes).collect::<Vec<_>>())
        };
        assert_eq!(of(&[(8, 1)]), Width::Y256);
        assert_eq!(of(&[(8, 14)]), Width::Y256);
        assert_eq!(of(&[(24, 4)]), Width::Y256);
        assert_eq!(of(&[(24, 5)]), Width::Z512);
        assert_eq!(of(&[(16, 1)]), Width::Z512);
        // A short row beside a tile that needs all registers; a row of many vectors.
        assert_eq!(of(&[(24, 1), (16, 12)]), Width::Z512);
        assert_eq!(of(&[(49, 1)]), Width::Z512);
    }
}
