//! Tiles of loops that run in lock step: the steps that recipes share.
//!
//! Each loop is split into blocks; the loops over blocks are put in the order that a recipe wants,
//! around the loops inside of blocks. Tails become code of their own, and the loops inside of
//! blocks get their marks: `for i < 10 { s(i) }` in tiles of 4 becomes
//! `for t < 3 { if 10 - 4*t - 4 >= 0 { for j < 4 jam { s(4*t + j) } } else { for j < 2 jam { .. } } }`.
use super::Target;
use super::primitives::{At, Forwarded, Primitive, Rejected};
use super::scheduler::Scheduler;
use tensmith_ir::expr::Var;
use tensmith_ir::loops::Mark;

/// So many lanes are no vector.
const FEW: i64 = 2;
/// Rows of a tile of a tail of unknown extent.
const FEW_ROWS: i64 = 4;

/// How one loop is tiled.
#[derive(Clone, Copy, Debug)]
pub struct Tile {
    /// The loop.
    pub var: Var,
    /// Iterations of a whole block.
    pub size: i64,
    /// What becomes of the loop inside of blocks; `Unroll` is left to the recipe.
    pub mark: Mark,
}

/// Blocks of a loop that are run, one after the other, around another loop: what they read stays in
/// a cache while the other loop passes over it.
#[derive(Clone, Copy, Debug)]
pub struct Blocks {
    /// The loop; of a tiled one, the loop over its tiles.
    pub var: Var,
    /// Iterations of a block.
    pub size: i64,
    /// The loop that is run for each block.
    pub around: Var,
}

/// Tiles loops of a nest. `order` lists all loops of the nest; a tiled one stands for the loop over
/// its blocks. `tiles` is from the outermost to the innermost loop inside of blocks. Gives those
/// loops, with their copies for tails, as they are listed in `tiles`.
///
/// Errors: as the primitives.
pub fn tile(
    s: &mut Scheduler,
    target: &Target,
    tiles: &[Tile],
    order: &[Var],
    blocks: Option<Blocks>,
) -> Result<Vec<Vec<Var>>, Rejected> {
    let places = |b: Blocks| [b.var, b.around].map(|v| order.iter().position(|w| *w == v));
    let places = blocks.map(places);
    let mut order = order.to_vec();
    let (mut inner, mut alone) = (Vec::new(), Vec::new());
    for tile in tiles {
        let at = order.iter().position(|v| *v == tile.var);
        let at = at.ok_or(Rejected::NoLoop(tile.var))?;
        // A loop of one block is that block.
        if s.extent(tile.var).is_some_and(|n| n <= tile.size) {
            inner.push(order[at]);
            alone.push(order[at]);
            continue;
        }
        let (blocks, inside) = s.split(tile.var, tile.size)?;
        order[at] = blocks;
        inner.push(inside);
    }
    if let (Some(blocks), Some([Some(at), Some(around)])) = (blocks, places)
        && s.extent(order[at]).is_none_or(|n| n > blocks.size)
    {
        let (outer, inside) = s.split(order[at], blocks.size)?;
        order[at] = inside;
        order.insert(around, outer);
    }
    order.retain(|v| !alone.contains(v));
    s.reorder(order.into_iter().chain(inner.iter().copied()).collect())?;
    let peeled = s.try_apply(Primitive::Peel(inner.clone()))?;
    let copies = |v: &Var| peeled.as_ref().map_or(vec![*v], |p| p.of(*v));
    let mut copies: Vec<Vec<Var>> = inner.iter().map(copies).collect();
    if target.masks() {
        part_tails(s, target, tiles, &mut copies)?;
    } else {
        whole_registers(s, target, tiles, &mut copies)?;
    }
    // What is left of vectors is a part of one, were it a single lane.
    let whole = |(tile, copies): (&Tile, &Vec<Var>)| match tile.mark {
        Mark::Vector if target.masks() => copies[..1].to_vec(),
        _ => copies.clone(),
    };
    let units: Vec<Var> = tiles.iter().zip(&copies).flat_map(whole).collect();
    s.drop_units(units)?;
    for (tile, copies) in tiles.iter().zip(&copies) {
        for (k, var) in copies.iter().enumerate() {
            mark(s, target, (*var, k > 0), tile.mark)?;
        }
    }
    Ok(copies)
}

/// Tiles tails of unknown extent again, by single vectors and by few rows, so that but a few iterations
/// run one by one.
fn part_tails(
    s: &mut Scheduler,
    target: &Target,
    tiles: &[Tile],
    copies: &mut [Vec<Var>],
) -> Result<(), Rejected> {
    for k in 0..tiles.len() {
        let size = match tiles[k].mark {
            Mark::Vector => target.lanes(),
            _ => FEW_ROWS,
        };
        for var in copies[k].clone() {
            if tiles[k].size <= size || s.extent(var).is_some() {
                continue;
            }
            let (_, inside) = s.split(var, size)?;
            copies[k]
                .iter_mut()
                .filter(|v| **v == var)
                .for_each(|v| *v = inside);
            if let Some(forwarded) = s.try_apply(Primitive::Peel(vec![inside]))? {
                copies.iter_mut().for_each(|list| forward(list, &forwarded));
            }
        }
    }
    Ok(())
}

/// Cuts vector loops that end in the middle of a register, outside of the other loops of a tile.
fn whole_registers(
    s: &mut Scheduler,
    target: &Target,
    tiles: &[Tile],
    copies: &mut [Vec<Var>],
) -> Result<(), Rejected> {
    let lanes = target.lanes();
    for k in 0..tiles.len() {
        for var in copies[k].clone() {
            let ends = |n: i64| tiles[k].mark == Mark::Vector && n > lanes && n % lanes != 0;
            if !s.extent(var).is_some_and(ends) {
                continue;
            }
            let around = around(s, var, copies);
            let inside_out = [&[var][..], &around].concat();
            s.reorder(inside_out)?;
            let forwarded = s.apply(Primitive::Cut(var, At::Multiple(lanes)))?;
            for part in 0..forwarded.made.len() {
                let band = around.iter().chain([&var]);
                let band = band.map(|v| forwarded.of(*v)[part]).collect();
                s.reorder(band)?;
            }
            for list in copies.iter_mut() {
                forward(list, &forwarded);
            }
        }
    }
    Ok(())
}

/// The loops of known extent among `copies` that a loop is nested in, up to the first other one.
fn around(s: &Scheduler, var: Var, copies: &[Vec<Var>]) -> Vec<Var> {
    let is_copy = |v: &Var| copies.iter().any(|list| list.contains(v));
    let mut found = Vec::new();
    let mut inner = var;
    while let Some(outer) = s.parent(inner)
        && is_copy(&outer)
        && s.extent(outer).is_some()
    {
        found.insert(0, outer);
        inner = outer;
    }
    found
}

fn forward(list: &mut Vec<Var>, forwarded: &Forwarded) {
    *list = list.iter().flat_map(|v| forwarded.of(*v)).collect();
}

/// Marks a loop inside of blocks, which may be what is left of them. One of unknown extent is a tail,
/// which runs one by one.
fn mark(
    s: &mut Scheduler,
    target: &Target,
    (var, is_left): (Var, bool),
    mark: Mark,
) -> Result<(), Rejected> {
    let Some(extent) = s.extent(var) else {
        return Ok(());
    };
    let vector = match target.masks() {
        true => is_left || extent > FEW,
        false => extent % target.lanes() == 0,
    };
    match mark {
        Mark::Vector if vector => s.apply(Primitive::Vectorize(var)).map(drop),
        Mark::Vector | Mark::Jam => s.apply(Primitive::Jam(var)).map(drop),
        _ => Ok(()),
    }
}
