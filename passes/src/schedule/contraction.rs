//! The recipe of contractions: register tiles of rows times vector columns.
//!
//! An anchor is a nest of space loops around a sum of products of two elements. One space loop
//! becomes the columns: the first factor lies contiguous along it (or is a constant, which then
//! is packed to do so) and the second does not depend on it. Another becomes the rows: the second
//! factor depends on it and the first does not. A tile of rows times columns stays in registers
//! over the whole reduction.
use super::nest::{Nest, all_ranges, space, visit_scalars};
use super::tile::{Split, tiles};
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::{Expr, Ranges, Var};
use tensmith_ir::loops::{
    BufferId, For, Kernel, Layout, LayoutDim, Mark, Role, Scalar, Scope, Stmt, vectorisable,
};

/// Lanes of a vector register.
const LANES: i64 = 4;
/// Vector registers that accumulators may take: 16, less the columns' and one broadcast.
const ACCUMULATORS: i64 = 12;
/// Columns of a tile without rows, in registers: enough sums in flight to hide their latency.
const LONE_COLUMNS: i64 = 6;

/// One way to tile an anchor.
#[derive(Clone, Debug)]
struct Choice {
    columns: usize,
    rows: Option<usize>,
    /// The buffer to pack, with the dimension that the columns run along.
    pack: Option<(BufferId, usize)>,
    vectors: i64,
    height: i64,
    /// Units: vector operations for the whole nest's rows and columns, per reduction step.
    cost: f64,
}

/// An element of a factor: buffer, offset, index.
struct Factor<'a> {
    buffer: BufferId,
    offset: Expr,
    index: &'a [Expr],
}

/// Schedules the nest if it is an anchor; `packable` says which inputs are constants.
pub fn schedule(
    kernel: &mut Kernel,
    nest: &Nest,
    packable: &dyn Fn(BufferId) -> bool,
) -> Option<Vec<Stmt>> {
    let mut ranges = all_ranges(kernel);
    for (var, extent) in &nest.loops {
        ranges.bind(*var, extent);
    }
    let choice = best(kernel, nest, &ranges, packable)?;
    if let Some((buffer, dim)) = choice.pack {
        let b = &mut kernel.buffers[buffer.0 as usize];
        b.layout = panels(b.shape.len(), dim, choice.vectors * LANES);
    }
    Some(build(kernel, nest, &choice, &mut ranges))
}

/// Panels of `width` along `dim`: that dimension's blocks outermost, its elements innermost.
fn panels(rank: usize, dim: usize, width: i64) -> Layout {
    let mut dims = vec![LayoutDim {
        dim,
        step: width,
        extent: None,
    }];
    dims.extend((0..rank).filter(|d| *d != dim).map(|d| LayoutDim {
        dim: d,
        step: 1,
        extent: None,
    }));
    dims.push(LayoutDim {
        dim,
        step: 1,
        extent: Some(width),
    });
    Layout(dims)
}

/// The factors of the sum of products in a nest's body, if it has just one.
fn factors<'a>(kernel: &Kernel, body: &'a [Stmt], ranges: &Ranges) -> Option<[Factor<'a>; 2]> {
    let mut found = Vec::new();
    collect_sums(body, false, &mut found);
    let [(x, y)] = found[..] else { return None };
    let factor = |s: &'a Scalar| match s {
        Scalar::Load(b, index)
            if kernel.buffer(*b).scope != Scope::Register
                && kernel.buffer(*b).dtype == DType::F32 =>
        {
            Some(Factor {
                buffer: *b,
                offset: kernel.buffer(*b).offset(index).simplify(ranges),
                index,
            })
        }
        _ => None,
    };
    Some([factor(x)?, factor(y)?])
}

fn collect_sums<'a>(stmts: &'a [Stmt], reducing: bool, found: &mut Vec<(&'a Scalar, &'a Scalar)>) {
    for stmt in stmts {
        match stmt {
            Stmt::Store {
                value: Scalar::Fma(x, y, _),
                ..
            } if reducing => found.push((x, y)),
            Stmt::Store {
                buffer,
                value: Scalar::Binary(_, acc, product),
                ..
            } if reducing => {
                if matches!(&**acc, Scalar::Load(b, _) if b == buffer)
                    && let Scalar::Binary(tensmith_ir::loops::BinaryOp::Mul, x, y) = &**product
                {
                    found.push((x, y));
                }
            }
            Stmt::For(l) => collect_sums(&l.body, reducing || l.role == Role::Reduce, found),
            other => other
                .bodies()
                .into_iter()
                .for_each(|b| collect_sums(b, reducing, found)),
        }
    }
}

fn best(
    kernel: &Kernel,
    nest: &Nest,
    ranges: &Ranges,
    packable: &dyn Fn(BufferId) -> bool,
) -> Option<Choice> {
    let factors = factors(kernel, &nest.body, ranges)?;
    let mut best: Option<Choice> = None;
    for (x, y) in [(&factors[0], &factors[1]), (&factors[1], &factors[0])] {
        for columns in 0..nest.loops.len() {
            let Some(pack) = column_access(kernel, nest, columns, x, y, packable) else {
                continue;
            };
            for choice in shapes(nest, columns, x, y, pack) {
                if best.as_ref().is_none_or(|b| choice.cost < b.cost) {
                    best = Some(choice);
                }
            }
        }
    }
    best.filter(|c| lanes_fit(kernel, nest, c.columns))
}

fn lanes_fit(kernel: &Kernel, nest: &Nest, columns: usize) -> bool {
    let (var, extent) = nest.loops[columns].clone();
    let body = nest.body.clone();
    let l = For {
        var,
        extent,
        role: Role::Space,
        mark: Mark::Vector,
        reduction: None,
        body,
    };
    vectorisable(kernel, &l)
}

/// Whether loop `columns` can be the columns, and what has to be packed for that.
fn column_access(
    kernel: &Kernel,
    nest: &Nest,
    columns: usize,
    x: &Factor<'_>,
    y: &Factor<'_>,
    packable: &dyn Fn(BufferId) -> bool,
) -> Option<Option<(BufferId, usize)>> {
    let var = nest.loops[columns].0;
    nest.loops[columns].1.as_const()?;
    if y.offset.mentions(var) {
        return None;
    }
    if packable(x.buffer) && once(kernel, nest, x.buffer) {
        let dims: Vec<usize> = (0..x.index.len())
            .filter(|d| x.index[*d].mentions(var))
            .collect();
        if let [d] = dims[..]
            && x.index[d].as_var() == Some(var)
        {
            return Some(Some((x.buffer, d)));
        }
    }
    let stride = x.offset.linear_coefficient(var)?;
    stride.is(1).then_some(None)
}

/// Whether a buffer is loaded in one place only, and lies row-major so far.
fn once(kernel: &Kernel, nest: &Nest, buffer: BufferId) -> bool {
    let mut loads = 0;
    visit_scalars(&nest.body, &mut |s| {
        s.visit(&mut |s| loads += usize::from(matches!(s, Scalar::Load(b, _) if *b == buffer)));
    });
    let b = kernel.buffer(buffer);
    loads == 1 && b.layout == Layout::row_major(b.shape.len())
}

/// Tile shapes for a choice of columns, with their costs.
fn shapes(
    nest: &Nest,
    columns: usize,
    x: &Factor<'_>,
    y: &Factor<'_>,
    pack: Option<(BufferId, usize)>,
) -> Vec<Choice> {
    let width = nest.loops[columns].1.as_const().unwrap_or(1);
    let scattered = if pack.is_some() { 1.02 } else { 1.0 };
    let mut found = Vec::new();
    let is_row = |k: usize| {
        k != columns && y.offset.mentions(nest.loops[k].0) && !x.offset.mentions(nest.loops[k].0)
    };
    for rows in (0..nest.loops.len()).filter(|k| is_row(*k)) {
        let count = nest.loops[rows].1.as_const();
        for (vectors, height) in [
            (1, 8),
            (2, 6),
            (2, 5),
            (2, 4),
            (3, 4),
            (3, 3),
            (3, 2),
            (2, 3),
            (2, 2),
            (1, 6),
        ] {
            debug_assert!(vectors * height <= ACCUMULATORS);
            let cost = row_cost(count, height, vectors) * column_cost(width, vectors) * scattered;
            found.push(Choice {
                columns,
                rows: Some(rows),
                pack,
                vectors,
                height,
                cost,
            });
        }
    }
    for vectors in 1..=LONE_COLUMNS {
        let rows: f64 = nest
            .loops
            .iter()
            .enumerate()
            .filter(|(k, _)| is_row(*k))
            .filter_map(|(_, l)| l.1.as_const())
            .map(|e| e as f64)
            .fold(1.0, f64::max);
        let latency = (8.0 / vectors as f64).max(2.0);
        let cost = rows * latency * column_cost(width, vectors) * scattered;
        found.push(Choice {
            columns,
            rows: None,
            pack,
            vectors,
            height: 1,
            cost,
        });
    }
    found
}

/// Cycles that the rows of one column vector take: two multiply-adds a cycle, if enough sums are
/// in flight to hide a latency of four cycles, and two loads a cycle.
fn row_cost(count: Option<i64>, height: i64, vectors: i64) -> f64 {
    let tile = |h: i64| {
        let (h, v) = (h as f64, vectors as f64);
        let work = (h * v / 2.0).max(4.0).max((h + v) / 2.0);
        (work + 0.5) / v
    };
    match count {
        None => tile(height) / height as f64 * 16.0,
        Some(c) => {
            (c / height) as f64 * tile(height)
                + if c % height == 0 {
                    0.0
                } else {
                    tile(c % height)
                }
        }
    }
}

/// Column vectors that are computed, those of tails included.
fn column_cost(width: i64, vectors: i64) -> f64 {
    let tile = vectors * LANES;
    let tail = width % tile;
    // A tail of columns keeps fewer sums in flight, and single columns run as scalars.
    let tail_cost = if tail == 0 {
        0.0
    } else {
        vectors as f64 * 0.3 + (tail / LANES) as f64 + (tail % LANES) as f64
    };
    (width / tile * vectors) as f64 + tail_cost
}

fn build(kernel: &mut Kernel, nest: &Nest, choice: &Choice, ranges: &mut Ranges) -> Vec<Stmt> {
    let split = |k: usize, tile: i64, mark: Mark| {
        let (var, extent) = nest.loops[k].clone();
        Split {
            var,
            extent,
            tile,
            mark,
        }
    };
    let columns = split(choice.columns, choice.vectors * LANES, Mark::Vector);
    let rows = choice.rows.map(|k| split(k, choice.height, Mark::Jam));
    let mut splits = Vec::new();
    let mut tile_loop = |kernel: &mut Kernel, ranges: &mut Ranges, s: Split| {
        let var = kernel.fresh_var();
        ranges.bind(var, &s.count());
        splits.push((s.clone(), var));
        (var, s.count())
    };
    let row_loop = rows.map(|s| tile_loop(kernel, ranges, s));
    let column_loop = tile_loop(kernel, ranges, columns);
    let body = tiles(kernel, ranges, &splits, &nest.body);
    let others: Vec<(Var, Expr)> = nest
        .loops
        .iter()
        .enumerate()
        .filter(|(k, _)| *k != choice.columns && Some(*k) != choice.rows)
        .map(|(_, l)| l.clone())
        .collect();
    // A panel of columns stays in cache while rows and the other loops pass by.
    let mut order = vec![column_loop];
    order.extend(others);
    order.extend(row_loop);
    let inner: Vec<(Var, Expr)> = order.into_iter().filter(|(_, e)| !e.is(1)).collect();
    let units: Vec<Var> = splits
        .iter()
        .filter(|(s, _)| s.count().is(1))
        .map(|(_, v)| *v)
        .collect();
    let mut body = body;
    let zeros = units.into_iter().map(|v| (v, Expr::from(0))).collect();
    super::nest::substitute(&mut body, &zeros, ranges);
    inner.into_iter().rev().fold(body, |body, (var, extent)| {
        vec![space(var, extent, Mark::Plain, body)]
    })
}
