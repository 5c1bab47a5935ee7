//! The recipe of transforms by small matrices, such as those of Winograd convolutions.
//!
//! An anchor is a nest of scalar work whose guards look at small loops, or at the remainder of a
//! loop, and choose what is added: a matrix with zeros, written down. Its innermost other loop
//! runs along consecutive elements of all operands and becomes vectors; the small loops are unrolled inside of
//! it, which decides all their guards, and what several elements of a tile share is computed
//! once.
//!
//! Before: `for i < 2 { for c < 64 { r = a[c] + b[c]; o[i, c] = guard([-i], r, r * 2) } }`. After:
//! `for c < 64 vector { r = a[c] + b[c]; o[0, c] = r; o[1, c] = r * 2 }`.
use super::Target;
use super::index_split::fold_guards;
use super::nest::{Nest, all_ranges, space, substitute, visit_scalars};
use super::tile::{Split, tiles};
use super::window::contiguous;
use std::collections::HashMap;
use tensmith_ir::expr::{Atom, Expr, Ranges, Var};
use tensmith_ir::loops::{BufferId, Kernel, Mark, Scalar, Scope, Stmt, vectorisable};

/// A loop of more iterations is not unrolled.
const SMALL: i64 = 8;
/// Unrolled iterations of all small loops at most.
const COPIES: i64 = 64;
/// Vectors along the innermost loop.
const VECTORS: i64 = 1;
/// Fewer elements along the innermost loop are no vector.
const FEW: i64 = 4;

/// Schedules the nest if it is an anchor.
pub fn schedule(kernel: &mut Kernel, nest: &Nest, target: &Target) -> Option<Vec<Stmt>> {
    if !nest.body.iter().all(|s| matches!(s, Stmt::Store { .. })) {
        return None;
    }
    let small = small_loops(nest);
    if small.is_empty() || small.iter().map(|(_, tile)| tile).product::<i64>() > COPIES {
        return None;
    }
    let is_small = |k: usize| small.iter().any(|(s, _)| *s == k);
    let columns = (0..nest.loops.len()).rev().find(|k| !is_small(*k))?;
    let (var, extent) = nest.loops[columns].clone();
    extent.as_const().filter(|e| *e >= FEW)?;
    let Stmt::For(l) = &space(var, extent, Mark::Vector, nest.body.clone()) else {
        return None;
    };
    if reads_results(kernel, &nest.body)
        || !vectorisable(kernel, l)
        || !contiguous(kernel, l, &|b| kernel.buffer(b).scope == Scope::Output)
    {
        return None;
    }
    let mut ranges = all_ranges(kernel);
    for (var, extent) in &nest.loops {
        ranges.bind(*var, extent);
    }
    Some(build(kernel, nest, target, columns, &small, &mut ranges))
}

/// The loops whose guards an unrolled tile decides, and the iterations of a tile.
fn small_loops(nest: &Nest) -> Vec<(usize, i64)> {
    let loops = nest.loops.iter().enumerate();
    let tile = |(k, (var, extent)): (usize, &(Var, Expr))| {
        let mut found = None;
        visit_scalars(&nest.body, &mut |s| {
            s.visit(&mut |s| {
                if let Scalar::Guard(conds, ..) = s {
                    let tiles = conds.iter().filter_map(|c| decided_by(c, *var, extent));
                    found = found.or(tiles.max());
                }
            });
        });
        found.map(|tile| (k, tile))
    };
    loops.filter_map(tile).collect()
}

/// The iterations of a loop after which a condition repeats: those of the whole loop if the
/// condition compares its variable with a constant, the divisor if it looks at a remainder.
fn decided_by(cond: &Expr, var: Var, extent: &Expr) -> Option<i64> {
    let [(atoms, _)] = cond.terms() else {
        return None;
    };
    let period = match &atoms[..] {
        [Atom::Var(v)] if *v == var => extent.as_const(),
        [Atom::Mod(parts)] if parts.0.as_var() == Some(var) => parts.1.as_const(),
        _ => None,
    };
    period.filter(|p| (1..=SMALL).contains(p))
}

fn reads_results(kernel: &Kernel, body: &[Stmt]) -> bool {
    let mut found = false;
    visit_scalars(body, &mut |s| {
        s.visit(&mut |s| {
            if let Scalar::Load(b, _) = s {
                found |= !matches!(kernel.buffer(*b).scope, Scope::Input | Scope::Register);
            }
        });
    });
    found
}

fn build(
    kernel: &mut Kernel,
    nest: &Nest,
    target: &Target,
    columns: usize,
    small: &[(usize, i64)],
    ranges: &mut Ranges,
) -> Vec<Stmt> {
    let lanes = target.lanes();
    let mut splits = Vec::new();
    let mut tile_vars: HashMap<usize, (Var, Expr)> = HashMap::new();
    let unrolled = small.iter().map(|(k, tile)| (*k, *tile, Mark::Unroll));
    for (k, tile, mark) in [(columns, VECTORS * lanes, Mark::Vector)]
        .into_iter()
        .chain(unrolled)
    {
        let (var, extent) = nest.loops[k].clone();
        let whole = if target.masks() { 0 } else { lanes };
        let split = Split {
            var,
            extent,
            tile,
            mark,
            whole,
        };
        let tile_var = (kernel.fresh_var(), split.count());
        ranges.bind(tile_var.0, &tile_var.1);
        splits.push((split, tile_var.0));
        tile_vars.insert(k, tile_var);
    }
    let mut body = tiles(kernel, ranges, &splits, &nest.body);
    straighten(kernel, ranges, &mut body);
    let loops = (0..nest.loops.len())
        .filter(|k| *k != columns)
        .chain([columns]);
    let loops = loops.map(|k| tile_vars.get(&k).unwrap_or(&nest.loops[k]).clone());
    let (units, loops): (Vec<_>, Vec<_>) = loops.partition(|(_, extent)| extent.is(1));
    let zeros = units.into_iter().map(|(v, _)| (v, 0.into())).collect();
    substitute(&mut body, &zeros, ranges);
    loops.into_iter().rev().fold(body, |body, (var, extent)| {
        vec![space(var, extent, Mark::Plain, body)]
    })
}

/// Puts straight code in the place of nests of loops marked `unroll`.
fn straighten(kernel: &mut Kernel, ranges: &mut Ranges, stmts: &mut Vec<Stmt>) {
    let old = std::mem::take(stmts);
    for mut stmt in old {
        match &stmt {
            Stmt::For(l) if l.mark == Mark::Unroll => {
                let mut iterations = Vec::new();
                unrolled(&stmt, &HashMap::new(), ranges, &mut iterations);
                stmts.extend(shared(kernel, iterations));
            }
            _ => {
                for body in stmt.bodies_mut() {
                    straighten(kernel, ranges, body);
                }
                stmts.push(stmt);
            }
        }
    }
}

/// Appends the iterations of a nest, with numbers in the place of its variables.
fn unrolled(stmt: &Stmt, at: &HashMap<Var, Expr>, ranges: &Ranges, out: &mut Vec<Stmt>) {
    match stmt {
        Stmt::For(l) if l.mark == Mark::Unroll => {
            for k in 0..l.extent.as_const().unwrap_or(0) {
                let mut at = at.clone();
                at.insert(l.var, k.into());
                l.body.iter().for_each(|s| unrolled(s, &at, ranges, out));
            }
        }
        _ => {
            let mut copy = vec![decided(stmt, at)];
            substitute(&mut copy, at, ranges);
            fold_guards(&mut copy, ranges);
            out.extend(copy);
        }
    }
}

/// A copy of a statement without the branches of guards that numbers decide.
fn decided(stmt: &Stmt, at: &HashMap<Var, Expr>) -> Stmt {
    match stmt {
        Stmt::Store {
            buffer,
            index,
            value: Scalar::Guard(conds, then, otherwise),
        } => {
            let mut holds = conds
                .iter()
                .map(|c| c.substitute(&|v| at.get(&v).cloned()).as_const());
            let value = match holds.try_fold(true, |all, c| Some(all && c? >= 0)) {
                Some(true) => then,
                Some(false) => otherwise,
                None => return stmt.clone(),
            };
            let value = (**value).clone();
            let (buffer, index) = (*buffer, index.clone());
            let store = Stmt::Store {
                buffer,
                index,
                value,
            };
            decided(&store, at)
        }
        _ => stmt.clone(),
    }
}

/// Stores of registers as values that are computed once.
fn shared(kernel: &mut Kernel, stmts: Vec<Stmt>) -> Vec<Stmt> {
    let mut holds: HashMap<BufferId, Scalar> = HashMap::new();
    let mut known: HashMap<Scalar, Scalar> = HashMap::new();
    let mut out = Vec::new();
    for stmt in stmts {
        let Stmt::Store {
            buffer,
            index,
            mut value,
        } = stmt
        else {
            unreachable!("invariant: anchors consist of stores");
        };
        follow(&mut value, &holds);
        if kernel.buffer(buffer).scope != Scope::Register {
            out.push(Stmt::Store {
                buffer,
                index,
                value,
            });
            continue;
        }
        let simple = matches!(value, Scalar::Const(_) | Scalar::Load(..));
        let place = match known.get(&value) {
            _ if simple => value,
            Some(place) => place.clone(),
            None => {
                let mut register = kernel.buffer(buffer).clone();
                register.name = format!("r{}", kernel.buffers.len());
                let register = kernel.add_buffer(register);
                known.insert(value.clone(), Scalar::load(register, vec![]));
                out.push(Stmt::Store {
                    buffer: register,
                    index,
                    value,
                });
                Scalar::load(register, vec![])
            }
        };
        holds.insert(buffer, place);
    }
    out
}

/// Puts what registers hold in the place of loads of them.
fn follow(value: &mut Scalar, holds: &HashMap<BufferId, Scalar>) {
    if let Scalar::Load(b, _) = value
        && let Some(held) = holds.get(b)
    {
        *value = held.clone();
        return;
    }
    value
        .children_mut()
        .into_iter()
        .for_each(|c| follow(c, holds));
}
