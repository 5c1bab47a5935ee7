//! The recipe of reductions beside contiguous results: pooling, depthwise convolutions, sums over
//! outer axes.
//!
//! An anchor is a nest around reductions whose innermost loop runs along consecutive elements of
//! the result, and along elements of every operand that varies with it that lie side by side or a
//! few apart, but for operands that are turned. That loop becomes vectors, the one around it rows in
//! lock step, so that enough sums are in flight; short windows are unrolled.
use super::block_sums::block_sums;
use super::nest::{Nest, space, visit_scalars};
use super::parameters::Choices;
use super::primitives::edit::Place;
use super::primitives::registers::visit_stmts;
use super::primitives::{Primitive, Rejected};
use super::scheduler::Scheduler;
use super::tile::{Tile, tile};
use super::turned::turned;
use super::{Packable, Target};
use std::collections::BTreeSet;
use tensmith_ir::expr::{Expr, Ranges, Var};
use tensmith_ir::loops::{
    BufferId, Cond, For, Kernel, Layout, LayoutDim, Mark, Role, Scalar, Scope, Stmt, vectorisable,
};

/// Vectors along the innermost loop at most: more would each need a load of their weights, where
/// more rows share them.
const VECTORS: i64 = 2;
/// Windows of at most so many elements are unrolled.
const UNROLLED: i64 = 25;
/// Fewer columns are no vector.
const FEW: i64 = 4;
/// Elements from one column of an operand to the next at most: as many vectors are loaded for one.
pub const STEP: i64 = 2;
/// The same for words of vectors of 256 and of 512 bits: lanes are chosen out of so many vectors,
/// which beyond that takes about as long as one by one.
const STEP_OF_WORDS: [i64; 2] = [5, 7];

/// What is decided for an anchor.
pub struct Choice {
    /// The loops of the nest, outermost first.
    order: Vec<Var>,
    tiles: Vec<Tile>,
    packed: Vec<(String, Layout)>,
    short: Vec<Var>,
}

/// What to do with the nest at a place if it is an anchor; `packable` says of which inputs
/// elements along the innermost loop may be made consecutive.
pub fn choose(
    s: &mut Scheduler,
    at: &Place,
    target: &Target,
    packable: &dyn Packable,
) -> Option<Choice> {
    let (kernel, choices) = s.kernel_and_choices();
    let nest = &Nest::at(kernel, at);
    if !reduces(nest.body) {
        return None;
    }
    let innermost = nest.loops.len().checked_sub(1)?;
    // Results may lie apart where those of neighbouring rows do not.
    let mut candidates = [innermost].into_iter().chain(0..innermost);
    let (columns, packed) =
        candidates.find_map(|k| Some((k, columns(kernel, nest, target, k, packable)?)))?;
    let (var, extent) = nest.loops[columns].clone();
    let count = extent.as_const()?;
    let lanes = target.lanes();
    let whole = (count + lanes - 1) / lanes;
    let widths = [1, 2, 3, 4, 8, 16];
    let widths: Vec<i64> = widths.into_iter().filter(|n| *n <= whole).collect();
    let around = around(nest, columns);
    // Half of the registers hold sums, and the others the weights that these share; where few rows
    // leave sums free, lines are read in pairs.
    let taps = short_taps(nest.body).filter(|_| !packed.is_empty());
    let half = target.registers() / 2;
    let beside = around.and_then(|k| nest.loops[k].1.as_const());
    let free = beside.map_or(1, |rows| half / rows.max(1));
    let fit = |taps: i64| (half / taps.max(1)).max(free).clamp(1, VECTORS);
    let most = match shares(kernel, nest, columns) {
        // Each of the widest vectors is picked out of two, which the next one shares no line with.
        true if target.vector_bytes >= 64 && !lies_dense(kernel, nest, columns) => 1,
        true => taps.map_or(VECTORS, fit),
        // Rows gain nothing, and what lies side by side is read as one stream.
        false => (target.registers() / 4 / accumulators(kernel, nest.body)).max(VECTORS),
    };
    let vectors = choices.number("vectors", &widths, whole.min(most));
    let most = half / vectors;
    let rows = around.and_then(|k| Some((k, rows(choices, &nest.loops[k].1, most)?)));
    let rows = rows.filter(|(_, size)| *size > 1).map(|(k, size)| Tile {
        var: nest.loops[k].0,
        size,
        mark: Mark::Jam,
    });
    let columns = Tile {
        var,
        size: vectors * lanes,
        mark: Mark::Vector,
    };
    let name = |b: BufferId| kernel.buffer(b).name.clone();
    Some(Choice {
        order: nest.vars(),
        tiles: rows.into_iter().chain([columns]).collect(),
        packed: packed.into_iter().map(|(b, l)| (name(b), l)).collect(),
        short: unrolled(choices, nest.body),
    })
}

/// Registers that any of the loops of a body has for each result, but for those of one iteration.
fn accumulators(kernel: &Kernel, body: &[Stmt]) -> i64 {
    let loops = body.iter().map(|stmt| {
        let (mut lasting, mut passing) = (BTreeSet::new(), BTreeSet::new());
        visit_stmts(std::slice::from_ref(stmt), &mut |s| {
            let Stmt::Store { buffer, value, .. } = s else {
                return;
            };
            value.visit(&mut |s| {
                if let Scalar::Load(b, _) = s
                    && kernel.buffer(*b).scope == Scope::Register
                    && !passing.contains(b)
                {
                    lasting.insert(*b);
                }
            });
            passing.insert(*buffer);
        });
        lasting.len() as i64
    });
    loops.max().unwrap_or(0).max(1)
}

/// Whether results share what is loaded: windows that overlap, or operands that do not depend on
/// all loops around the columns.
fn shares(kernel: &Kernel, nest: &Nest<'_>, columns: usize) -> bool {
    let others = nest.vars().into_iter().enumerate();
    let others: Vec<Var> = others
        .filter(|(k, _)| *k != columns)
        .map(|(_, v)| v)
        .collect();
    let mut found = !short_windows(nest.body).is_empty();
    visit_loads(nest.body, &mut |b, index| {
        let all = |v: &Var| index.iter().any(|e| e.mentions(*v));
        found |= kernel.buffer(b).scope == Scope::Input && !others.iter().all(all);
    });
    found
}

/// Whether no two columns have elements of an input between theirs.
fn lies_dense(kernel: &Kernel, nest: &Nest<'_>, columns: usize) -> bool {
    let var = nest.loops[columns].0;
    let mut dense = true;
    visit_loads(nest.body, &mut |b, index| {
        let offset = kernel.buffer(b).offset(index).simplify(&Ranges::new());
        let step = offset.linear_coefficient(var).and_then(|c| c.as_const());
        dense &= kernel.buffer(b).scope != Scope::Input || step != Some(STEP);
    });
    dense
}

/// The loop that is jammed around the columns, loop `k`.
fn around(nest: &Nest<'_>, k: usize) -> Option<usize> {
    (0..nest.loops.len()).rfind(|other| *other != k)
}

/// The layouts of packed inputs with which loop `k` can be the columns: all that windows load lies one
/// after the other along it, and results do, or lie so along the innermost loop; what each result
/// reads once lies so along any loop. Where that one is not in lock step, each lane is loaded on its
/// own, which is little beside a window.
fn columns(
    kernel: &Kernel,
    nest: &Nest<'_>,
    target: &Target,
    k: usize,
    packable: &dyn Packable,
) -> Option<Vec<(BufferId, Layout)>> {
    let (var, extent) = nest.loops[k].clone();
    extent.as_const().filter(|e| *e >= FEW)?;
    let Stmt::For(l) = &space(var, extent, Mark::Vector, nest.body.to_vec()) else {
        return None;
    };
    let packed = packed(kernel, l, packable);
    let innermost = k + 1 == nest.loops.len();
    let rows: Vec<Var> = nest.vars().into_iter().filter(|v| *v != var).collect();
    let turned = turned(kernel, nest, target, var, &rows);
    let done = |b: BufferId| {
        let result = kernel.buffer(b).scope == Scope::Output;
        packed.iter().any(|(p, _)| *p == b) || turned.contains(&b) || result && !innermost
    };
    (vectorisable(kernel, l) && contiguous(kernel, l, steps(target), &done)).then_some(packed)
}

/// Schedules the nest as was decided.
///
/// Errors: as the primitives.
pub fn schedule(s: &mut Scheduler, target: &Target, choice: Choice) -> Result<(), Rejected> {
    for (name, layout) in choice.packed {
        s.set_layout(name, layout)?;
    }
    for var in choice.short {
        s.apply(Primitive::Unroll(var))?;
    }
    if target.reassociate
        && let Some(outermost) = choice.order.first()
    {
        block_sums(s, *outermost)?;
    }
    tile(s, target, &choice.tiles, &choice.order, None).map(drop)
}

/// Whether statements are reductions, scans and scalar work, at least one of the former two, and
/// branches on indices; loops of scalar work among them, such as those that write the rows of a
/// softmax, run along other axes.
pub fn reduces(body: &[Stmt]) -> bool {
    fn plain(stmts: &[Stmt]) -> bool {
        stmts.iter().all(|s| match s {
            Stmt::For(l) => l.mark == Mark::Plain && plain(&l.body),
            Stmt::Store { .. } => true,
            Stmt::If {
                cond: Cond::Affine(_),
                then,
                otherwise,
            } => plain(then) && plain(otherwise),
            _ => false,
        })
    }
    let reduce = |s: &Stmt| matches!(s, Stmt::For(l) if l.role != Role::Space);
    body.iter().any(reduce) && plain(body)
}

/// Packable inputs with a dimension along the loop, and layouts that have it innermost.
fn packed(kernel: &Kernel, l: &For, packable: &dyn Packable) -> Vec<(BufferId, Layout)> {
    let mut loads: Vec<(BufferId, Option<usize>)> = Vec::new();
    visit_loads(&l.body, &mut |b, index| {
        let along: Vec<usize> = (0..index.len())
            .filter(|d| index[*d].mentions(l.var))
            .collect();
        let dim = match along[..] {
            [d] if index[d].as_var() == Some(l.var) => Some(d),
            _ => None,
        };
        loads.push((b, dim));
    });
    let loads = &loads;
    let once = |b: BufferId| loads.iter().filter(|(other, _)| *other == b).count() == 1;
    let candidates = loads.iter().filter_map(|(b, dim)| {
        let buffer = kernel.buffer(*b);
        let fits = buffer.scope == Scope::Input
            && packable.admits(*b)
            && once(*b)
            && packable.is_as_given(*b, &buffer.layout);
        let (rank, dim) = (buffer.shape.len(), (*dim)?);
        let order = (0..rank).filter(|d| *d != dim).chain([dim]);
        let layout = order.map(|dim| LayoutDim {
            dim,
            step: 1,
            extent: None,
        });
        fits.then(|| (*b, Layout(layout.collect())))
    });
    candidates.collect()
}

fn visit_loads(stmts: &[Stmt], f: &mut dyn FnMut(BufferId, &[Expr])) {
    visit_scalars(stmts, &mut |s| {
        s.visit(&mut |s| {
            if let Scalar::Load(b, index) = s {
                f(*b, index);
            }
        });
    });
}

/// Elements from one column of words to the next at most, for this target.
pub fn steps(target: &Target) -> i64 {
    match target.masks() {
        true => STEP_OF_WORDS[usize::from(target.vector_bytes >= 64)],
        false => STEP,
    }
}

/// Whether every element that varies with the loop lies beside the next one's, or up to `most`
/// elements before it if it is loaded, a few if it is no word; `packed` names the buffers that will be laid out so.
pub fn contiguous(kernel: &Kernel, l: &For, most: i64, packed: &dyn Fn(BufferId) -> bool) -> bool {
    let mut fine = true;
    let mut stores = 0;
    let ranges = kernel.all_ranges();
    let mut look = |b: BufferId, index: &[Expr], store: bool| {
        if kernel.buffer(b).scope == Scope::Register {
            return;
        }
        stores += usize::from(store);
        if packed(b) {
            return;
        }
        let offset = kernel.buffer(b).offset(index).simplify(&ranges);
        let step = offset.linear_coefficient(l.var);
        let words = kernel.buffer(b).dtype.bytes() == 4;
        let steps = match (store, words) {
            (true, _) => 1..=1,
            (false, true) => 0..=most,
            (false, false) => 0..=most.min(STEP),
        };
        fine &= step.is_some_and(|c| c.as_const().is_some_and(|c| steps.contains(&c)));
    };
    visit_loads(&l.body, &mut |b, index| look(b, index, false));
    visit_stores(&l.body, &mut |b, index| look(b, index, true));
    fine && stores > 0
}

pub(super) fn visit_stores(stmts: &[Stmt], f: &mut dyn FnMut(BufferId, &[Expr])) {
    for stmt in stmts {
        if let Stmt::Store { buffer, index, .. } = stmt {
            f(*buffer, index);
        }
        stmt.bodies().into_iter().for_each(|b| visit_stores(b, f));
    }
}

/// The rows of a tile, of which a loop leaves the least over.
fn rows(choices: &mut Choices, extent: &Expr, most: i64) -> Option<i64> {
    let count = extent.as_const()?;
    let tiles = |rows: &i64| (count + rows - 1) / rows;
    let default = (2..=most.min(count)).min_by_key(|rows| (tiles(rows), *rows))?;
    let options: Vec<i64> = (1..=most.min(count)).collect();
    Some(choices.number("rows", &options, default))
}

/// The loops of windows that are to be unrolled.
pub fn unrolled(choices: &mut Choices, body: &[Stmt]) -> Vec<Var> {
    let short = short_windows(body);
    if short.is_empty() || choices.ask("window", &["unrolled", "loop"], 0) == "unrolled" {
        return short;
    }
    vec![]
}

/// The loops of windows that are short enough to be unrolled.
pub fn short_windows(body: &[Stmt]) -> Vec<Var> {
    let mut short = Vec::new();
    for stmt in body {
        if let Stmt::For(l) = stmt
            && window(l).is_some_and(|n| n <= UNROLLED)
        {
            short.push(l.var);
            visit_stmts(&l.body, &mut |s| {
                if let Stmt::For(l) = s {
                    short.push(l.var);
                }
            });
        }
    }
    short
}

/// The loops of all windows of a body, and the elements of the longest; `None` if one is unknown.
pub(super) fn windows_of_taps(body: &[Stmt]) -> Option<(Vec<Var>, i64)> {
    let (mut loops, mut taps) = (Vec::new(), 0);
    for stmt in body {
        if let Stmt::For(l) = stmt {
            taps = window(l)?.max(taps);
        }
    }
    visit_stmts(body, &mut |s| {
        if let Stmt::For(l) = s {
            loops.push(l.var);
        }
    });
    Some((loops, taps))
}

/// The elements of the longest window that is short enough to be unrolled.
fn short_taps(body: &[Stmt]) -> Option<i64> {
    let loops = body.iter().filter_map(|s| match s {
        Stmt::For(l) => window(l),
        _ => None,
    });
    loops.filter(|n| *n <= UNROLLED).max()
}

/// The elements of a window.
fn window(l: &For) -> Option<i64> {
    let inner = l.body.iter().map(|s| match s {
        Stmt::For(l) => window(l),
        _ => Some(1),
    });
    let inner: Option<Vec<i64>> = inner.collect();
    inner?.into_iter().max()?.checked_mul(l.extent.as_const()?)
}
