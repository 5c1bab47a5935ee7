//! The recipe of everything else: innermost loops become vectors.
//!
//! Innermost space loops are split into tiles of vector lanes; innermost reductions by plain
//! updates are split so that a tile's terms are joined in registers.
use super::block_sums::block_sums;
use super::nest::{fresh_copy, substitute};
use super::tile::{Split, tiles};
use super::{Target, window};
use std::collections::HashMap;
use tensmith_ir::expr::{Expr, Ranges};
use tensmith_ir::loops::{For, Kernel, Mark, Role, Scope, Stmt, is_update, vectorisable};

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
            _ => split_reduce(kernel, ranges, l),
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
    let mut look = |b: tensmith_ir::loops::BufferId, index: &[Expr]| {
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
fn reads(body: &[Stmt], buffer: tensmith_ir::loops::BufferId, at: &Stmt) -> bool {
    let mut found = false;
    for stmt in body {
        if let Stmt::Store { value, .. } = stmt {
            value.visit(&mut |s| {
                found |= matches!(s, tensmith_ir::loops::Scalar::Load(b, _) if *b == buffer)
            });
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

/// Lanes of a register, and of a tile of terms that are joined at the end.
const LANES: i64 = 4;
const WIDTH: i64 = 16;

/// Whole tiles with lanes joined, then the rest one by one.
fn split_reduce(kernel: &mut Kernel, ranges: &mut Ranges, l: &For) -> Vec<Stmt> {
    let reduce = |var, extent: Expr, mark, body| {
        Stmt::For(Box::new(For {
            var,
            extent,
            role: Role::Reduce,
            mark,
            reduction: None,
            body,
        }))
    };
    let width = match l.extent.as_const() {
        Some(e) if e < WIDTH => e / LANES * LANES,
        _ => WIDTH,
    };
    let whole = l.extent.div(width);
    let (tile_var, lane) = (kernel.fresh_var(), kernel.fresh_var());
    ranges.bind(tile_var, &whole);
    ranges.bind(lane, &width.into());
    let at = Expr::from(tile_var) * width + Expr::from(lane);
    let mut main = renamed_locals(kernel, ranges, &l.body);
    substitute(&mut main, &HashMap::from([(l.var, at)]), ranges);
    let mut out = vec![reduce(
        tile_var,
        whole.clone(),
        Mark::Plain,
        vec![reduce(lane, width.into(), Mark::Vector, main)],
    )];
    let rest = l.extent.clone() - whole.clone() * width;
    if !rest.is(0) {
        let var = kernel.fresh_var();
        ranges.bind(var, &rest);
        let mut tail = l.body.clone();
        substitute(
            &mut tail,
            &HashMap::from([(l.var, whole * width + Expr::from(var))]),
            ranges,
        );
        out.push(reduce(var, rest, Mark::Plain, tail));
    }
    out
}

/// A copy whose temporaries are its own and whose accumulators are those of the original.
fn renamed_locals(kernel: &mut Kernel, ranges: &mut Ranges, body: &[Stmt]) -> Vec<Stmt> {
    let mut out = Vec::new();
    let mut locals: Vec<Stmt> = Vec::new();
    let update =
        |s: &Stmt| matches!(s, Stmt::Store { buffer, value, .. } if is_update(*buffer, value));
    if body.iter().all(update) {
        return body.to_vec();
    }
    // Accumulators keep their registers: copy all, then put the accumulators back.
    locals.extend(fresh_copy(kernel, body, ranges));
    for (copy, original) in locals.into_iter().zip(body) {
        match (copy, original) {
            (
                Stmt::Store {
                    buffer,
                    index,
                    value,
                },
                Stmt::Store {
                    buffer: old,
                    value: old_value,
                    ..
                },
            ) if is_update(*old, old_value) => {
                out.push(Stmt::Store {
                    buffer: *old,
                    index,
                    value: put_back(value, buffer, *old),
                });
            }
            (copy, _) => out.push(copy),
        }
    }
    out
}

fn put_back(
    mut value: tensmith_ir::loops::Scalar,
    from: tensmith_ir::loops::BufferId,
    to: tensmith_ir::loops::BufferId,
) -> tensmith_ir::loops::Scalar {
    if let tensmith_ir::loops::Scalar::Load(b, _) = &mut value
        && *b == from
    {
        *b = to;
    }
    for child in value.children_mut() {
        *child = put_back(child.clone(), from, to);
    }
    value
}
