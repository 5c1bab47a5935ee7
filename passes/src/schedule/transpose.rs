//! The recipe of transposing copies, and of scalar work that reads across its results.
//!
//! An anchor is a nest of scalar work whose innermost loop runs along consecutive elements of the
//! result, and along elements of an operand that lie far apart, while another loop runs along
//! consecutive elements of that operand. Both loops are cut into blocks of a cache line each, so
//! that all of a line that was loaded is used before it is lost.
use super::Target;
use super::nest::{Nest, all_ranges, space, substitute, visit_scalars};
use super::tile::{Split, tiles};
use super::window::contiguous;
use tensmith_ir::expr::{Expr, Ranges, Var};
use tensmith_ir::loops::{Cond, Kernel, Mark, Scalar, Scope, Stmt, vectorisable};

/// Elements of a block along the operand: those of a cache line.
const LINE: i64 = 16;
/// Elements of a block along the result.
const COLUMNS: i64 = 16;
/// Shorter loops are no blocks.
const FEW: i64 = 8;

/// Schedules the nest if it is an anchor.
pub fn schedule(kernel: &mut Kernel, nest: &Nest, target: &Target) -> Option<Vec<Stmt>> {
    if !is_scalar_work(&nest.body) {
        return None;
    }
    let columns = nest.loops.len().checked_sub(1)?;
    let long = |k: &usize| nest.loops[*k].1.as_const().is_some_and(|e| e >= FEW);
    let along = (0..columns).find(|k| long(k) && crosses(kernel, nest, *k))?;
    let (var, extent) = nest.loops[columns].clone();
    let Stmt::For(l) = &space(var, extent, Mark::Vector, nest.body.clone()) else {
        return None;
    };
    let loaded = |b| kernel.buffer(b).scope == Scope::Input;
    if !long(&columns) || !vectorisable(kernel, l) || !contiguous(kernel, l, &loaded) {
        return None;
    }
    Some(build(kernel, nest, target, along, columns))
}

/// Whether statements are stores and branches on indices.
fn is_scalar_work(stmts: &[Stmt]) -> bool {
    stmts.iter().all(|s| match s {
        Stmt::Store { .. } => true,
        Stmt::If {
            cond: Cond::Affine(_),
            then,
            otherwise,
        } => is_scalar_work(then) && is_scalar_work(otherwise),
        _ => false,
    })
}

/// Whether loop `k` runs along consecutive elements of an operand that lie far apart along the
/// innermost loop.
fn crosses(kernel: &Kernel, nest: &Nest, k: usize) -> bool {
    let columns = nest.loops.len() - 1;
    let mut found = false;
    visit_scalars(&nest.body, &mut |s| {
        s.visit(&mut |s| {
            if let Scalar::Load(b, index) = s
                && kernel.buffer(*b).scope == Scope::Input
            {
                let offset = kernel.buffer(*b).offset(index).simplify(&Ranges::new());
                let step = |k: usize| offset.linear_coefficient(nest.loops[k].0);
                let far = step(columns).and_then(|c| c.as_const());
                found |= step(k).is_some_and(|c| c.is(1)) && far.is_some_and(|c| c >= FEW);
            }
        });
    });
    found
}

fn build(
    kernel: &mut Kernel,
    nest: &Nest,
    target: &Target,
    along: usize,
    columns: usize,
) -> Vec<Stmt> {
    let mut ranges = all_ranges(kernel);
    for (var, extent) in &nest.loops {
        ranges.bind(*var, extent);
    }
    let mut splits = Vec::new();
    for (k, tile, mark) in [(along, LINE, Mark::Plain), (columns, COLUMNS, Mark::Vector)] {
        let (var, extent) = nest.loops[k].clone();
        let whole = if target.masks() { 0 } else { target.lanes() };
        let split = Split {
            var,
            extent,
            tile,
            mark,
            whole,
        };
        let tile_var = kernel.fresh_var();
        ranges.bind(tile_var, &split.count());
        splits.push((split, tile_var));
    }
    let mut body = tiles(kernel, &mut ranges, &splits, &nest.body);
    let others = (0..columns).filter(|k| *k != along);
    let others = others.map(|k| nest.loops[k].clone());
    let blocks = splits.iter().map(|(split, var)| (*var, split.count()));
    let loops: Vec<(Var, Expr)> = others.chain(blocks).collect();
    let (units, loops): (Vec<_>, Vec<_>) = loops.into_iter().partition(|(_, e)| e.is(1));
    let zeros = units.into_iter().map(|(v, _)| (v, 0.into())).collect();
    substitute(&mut body, &zeros, &ranges);
    loops.into_iter().rev().fold(body, |body, (var, extent)| {
        vec![space(var, extent, Mark::Plain, body)]
    })
}
