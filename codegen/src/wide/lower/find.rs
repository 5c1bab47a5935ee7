//! Which loops of a kernel become tiles.
use super::{LowerError, Tile, WhyNot, lower_tile};
use crate::kernel::GROUP;
use crate::wide::vir::{Elem, Width};
use crate::wide::{TileCode, WideError, WideTarget, compile};
use std::collections::{HashMap, HashSet};
use tensmith_ir::expr::{Ranges, Var};
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

/// The extents of the vector loops in and below a loop.
fn vector_extents(l: &For, out: &mut Vec<i64>) {
    if l.mark == Mark::Vector {
        out.extend(l.extent.as_const());
    }
    fn below(stmts: &[Stmt], out: &mut Vec<i64>) {
        for stmt in stmts {
            match stmt {
                Stmt::For(l) => vector_extents(l, out),
                other => other.bodies().into_iter().for_each(|b| below(b, out)),
            }
        }
    }
    below(&l.body, out);
}

/// Wider registers where the lanes fill them.
fn width(most: Width, extents: &[i64]) -> Width {
    let lanes = Width::Z512.lanes(Elem::F32) as i64;
    let greatest = extents.iter().copied().max().unwrap_or(0);
    if most == Width::Z512 && greatest > 0 && greatest % lanes == 0 {
        Width::Z512
    } else {
        Width::Y256
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
        let mut extents = Vec::new();
        vector_extents(l, &mut extents);
        // One whole 128-bit vector gains nothing.
        if extents.iter().all(|e| *e == GROUP) {
            return Ok(());
        }
        let lock_step = matches!(l.mark, Mark::Vector | Mark::Jam);
        match self.lower(l, width(self.most, &extents))? {
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
        let tile = match lower_tile(self.kernel, l, &self.ranges, width) {
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
