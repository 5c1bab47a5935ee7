//! The recipe of everything else: innermost loops become vectors.
//!
//! Innermost space loops are split into tiles of vector lanes; innermost reductions by plain
//! updates become lanes that each reduce their share of the terms and are joined once.
use super::block_sums::block_sums;
use super::nest::{fresh_copy, reduce, substitute};
use super::tile::{Split, tiles};
use super::{Target, window};
use std::collections::HashMap;
use tensmith_ir::expr::{Expr, Ranges};
use tensmith_ir::loops::{
    BinaryOp, BufferId, For, Kernel, Mark, Role, Scalar, Scope, Stmt, is_update, vectorisable,
};

/// Registers of a tile: enough to hide the latency of short chains.
const REGISTERS: i64 = 4;
/// Fewer iterations than these are no vector.
const FEW: i64 = 4;

/// Vectorises the innermost loops among `stmts`, at any depth.
pub fn vectorise(
    kernel: &mut Kernel,
    ranges: &mut Ranges,
    target: &Target,
    stmts: Vec<Stmt>,
) -> Vec<Stmt> {
    stmts
        .into_iter()
        .flat_map(|s| vectorise_stmt(kernel, ranges, target, s))
        .collect()
}

fn vectorise_stmt(
    kernel: &mut Kernel,
    ranges: &mut Ranges,
    target: &Target,
    mut stmt: Stmt,
) -> Vec<Stmt> {
    if let Stmt::For(l) = &stmt
        && l.mark == Mark::Plain
        && eligible(kernel, target, l)
    {
        return match l.role {
            Role::Space => split_space(kernel, ranges, target, l),
            _ => split_reduce(kernel, ranges, target, l),
        };
    }
    for body in stmt.bodies_mut() {
        *body = vectorise(kernel, ranges, target, std::mem::take(body));
    }
    vec![stmt]
}

fn eligible(kernel: &Kernel, target: &Target, l: &For) -> bool {
    let innermost = !l
        .body
        .iter()
        .any(|s| matches!(s, Stmt::For(_) | Stmt::While { .. } | Stmt::Check { .. }));
    let around_sums = l.role == Role::Space
        && window::reduces(&l.body)
        && window::contiguous(kernel, l, &|_| false);
    let long = l.extent.as_const().is_none_or(|e| e >= FEW);
    let role = match l.role {
        Role::Space => contiguous(kernel, l),
        Role::Reduce => {
            target.reassociate && l.reduction.is_none() && plain_updates(kernel, &l.body)
        }
        Role::Serial => false,
    };
    (innermost && role || around_sums) && long && vectorisable(kernel, l)
}

/// Whether at least one store or load has consecutive lanes: else vectors only add work.
fn contiguous(kernel: &Kernel, l: &For) -> bool {
    let mut found = false;
    let mut look = |b: BufferId, index: &[Expr]| {
        let buffer = kernel.buffer(b);
        found |= buffer.scope != Scope::Register
            && buffer
                .offset(index)
                .simplify(&Ranges::new())
                .linear_coefficient(l.var)
                .is_some_and(|c| c.is(1));
    };
    for stmt in &l.body {
        if let Stmt::Store { buffer, index, .. } = stmt {
            look(*buffer, index);
        }
    }
    found
}

/// Whether every store is an update of a register, or sets a register that is read only after.
fn plain_updates(kernel: &Kernel, body: &[Stmt]) -> bool {
    body.iter().all(|s| match s {
        Stmt::Store { buffer, value, .. } => {
            kernel.buffer(*buffer).scope == Scope::Register
                && (is_update(*buffer, value) || !reads(body, *buffer, s))
        }
        _ => false,
    })
}

/// Whether `buffer` is read in `body` before or in statement `at`.
fn reads(body: &[Stmt], buffer: BufferId, at: &Stmt) -> bool {
    let mut found = false;
    for stmt in body {
        if let Stmt::Store { value, .. } = stmt {
            value.visit(&mut |s| found |= matches!(s, Scalar::Load(b, _) if *b == buffer));
        }
        if std::ptr::eq(stmt, at) {
            break;
        }
    }
    found
}

fn split_space(kernel: &mut Kernel, ranges: &mut Ranges, target: &Target, l: &For) -> Vec<Stmt> {
    let split = Split {
        var: l.var,
        extent: l.extent.clone(),
        tile: REGISTERS * target.lanes(),
        mark: Mark::Vector,
        whole: if target.masks() { 0 } else { target.lanes() },
    };
    let tile_var = kernel.fresh_var();
    ranges.bind(tile_var, &split.count());
    let count = split.count();
    let mut naive = l.body.clone();
    window::unroll(&mut naive);
    if target.reassociate {
        block_sums(kernel, ranges, &mut naive);
    }
    let body = tiles(kernel, ranges, &[(split, tile_var)], &naive);
    if count.is(1) {
        let mut body = body;
        substitute(&mut body, &HashMap::from([(tile_var, 0.into())]), ranges);
        return body;
    }
    vec![super::nest::space(tile_var, count, Mark::Plain, body)]
}

/// Lanes of the narrowest register.
const LANES: i64 = 4;

/// A tile of lanes that each reduce their share of the terms and are joined at the end, then the
/// rest: as lanes where vectors may be partly filled, else one by one.
fn split_reduce(kernel: &mut Kernel, ranges: &mut Ranges, target: &Target, l: &For) -> Vec<Stmt> {
    let mut width = REGISTERS * target.lanes();
    if l.extent.as_const().is_none() {
        // The rest is as long as a tile at most.
        width = target.lanes();
    }
    let mut out = Vec::new();
    let whole = l.extent.div(width);
    if !whole.is(0) {
        out.push(lanes(kernel, ranges, l, &whole, width, &0.into()));
    }
    let mut done = whole * width;
    let rest = l.extent.clone() - done.clone();
    if let Some(rest) = rest.as_const() {
        let width = if target.masks() {
            rest
        } else {
            rest / LANES * LANES
        };
        if width >= FEW {
            out.push(lanes(kernel, ranges, l, &1.into(), width, &done));
            done = done + width;
        }
    }
    let rest = l.extent.clone() - done.clone();
    if !rest.is(0) {
        let var = kernel.fresh_var();
        ranges.bind(var, &rest);
        let mut tail = l.body.clone();
        let at = done + Expr::from(var);
        substitute(&mut tail, &HashMap::from([(l.var, at)]), ranges);
        out.push(reduce(var, rest, Mark::Plain, tail));
    }
    out
}

/// `width` lanes of `count` terms each, from term `first`.
fn lanes(
    kernel: &mut Kernel,
    ranges: &mut Ranges,
    l: &For,
    count: &Expr,
    width: i64,
    first: &Expr,
) -> Stmt {
    let lane = kernel.fresh_var();
    ranges.bind(lane, &width.into());
    if count.is(1) {
        let mut body = renamed_locals(kernel, ranges, &l.body);
        let at = first.clone() + Expr::from(lane);
        substitute(&mut body, &HashMap::from([(l.var, at)]), ranges);
        return reduce(lane, width.into(), Mark::Vector, body);
    }
    let term = kernel.fresh_var();
    ranges.bind(term, count);
    let at = first.clone() + Expr::from(term) * width + Expr::from(lane);
    let mut terms = fresh_copy(kernel, &l.body, ranges);
    substitute(&mut terms, &HashMap::from([(l.var, at)]), ranges);
    let (mut begin, mut end) = (Vec::new(), Vec::new());
    for (copy, original) in terms.iter().zip(&l.body) {
        if let (Some((partial, op)), Some((sum, _))) = (update(copy), update(original)) {
            let identity = op
                .identity(kernel.buffer(sum).dtype)
                .expect("invariant: updates have an identity");
            begin.push(store(partial, Scalar::Const(identity)));
            let [left, right] = [sum, partial].map(|b| Scalar::load(b, vec![]));
            end.push(store(sum, Scalar::binary(op, left, right)));
        }
    }
    let mut body = vec![reduce(term, count.clone(), Mark::Plain, terms)];
    block_sums(kernel, ranges, &mut body);
    reduce(
        lane,
        width.into(),
        Mark::Vector,
        [begin, body, end].concat(),
    )
}

fn store(buffer: BufferId, value: Scalar) -> Stmt {
    Stmt::Store {
        buffer,
        index: vec![],
        value,
    }
}

/// The register of an update, and by which operation it is joined with others.
fn update(stmt: &Stmt) -> Option<(BufferId, BinaryOp)> {
    match stmt {
        Stmt::Store { buffer, value, .. } if is_update(*buffer, value) => match value {
            Scalar::Binary(op, ..) => Some((*buffer, *op)),
            _ => Some((*buffer, BinaryOp::Add)),
        },
        _ => None,
    }
}

/// A copy whose temporaries are its own and whose accumulators are those of the original.
fn renamed_locals(kernel: &mut Kernel, ranges: &mut Ranges, body: &[Stmt]) -> Vec<Stmt> {
    let mut copy = fresh_copy(kernel, body, ranges);
    for (new, old) in copy.iter_mut().zip(body) {
        if let (Some((new_sum, _)), Some((sum, _))) = (update(new), update(old))
            && let Stmt::Store { buffer, value, .. } = new
        {
            *buffer = sum;
            put_back(value, new_sum, sum);
        }
    }
    copy
}

fn put_back(value: &mut Scalar, from: BufferId, to: BufferId) {
    if let Scalar::Load(b, _) = value
        && *b == from
    {
        *b = to;
    }
    for child in value.children_mut() {
        put_back(child, from, to);
    }
}
