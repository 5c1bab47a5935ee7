//! Makes one loop of two where memory does not tell them apart.
//!
//! Before: `for i < n { for j < 8 { o[i, j] = a[i, j] } }`. After: `for k < 8*n { o[k] = a[k] }`,
//! with `o` and `a` seen as one dimension. Halide: `fuse`.
use super::nest::Nest;
use std::collections::HashMap;
use tensmith_ir::expr::{Expr, Var};
use tensmith_ir::loops::{BufferId, Cond, Kernel, Layout, Scalar, Scope, Stmt};

/// Joins neighbouring loops of a nest, innermost first, as long as every access of every buffer
/// agrees.
pub fn collapse(kernel: &mut Kernel, nest: &mut Nest) {
    let mut k = nest.loops.len().saturating_sub(1);
    while k > 0 {
        if let Some(plan) = plan(kernel, nest, k) {
            apply(kernel, nest, k, &plan);
        }
        k -= 1;
    }
}

/// For each buffer that depends on the two loops, the first of the two dimensions.
type Joined = HashMap<BufferId, usize>;

fn plan(kernel: &Kernel, nest: &Nest, k: usize) -> Option<Joined> {
    let (outer, inner) = (nest.loops[k - 1].0, nest.loops[k].0);
    let mut joined = Joined::new();
    let mut apart = Vec::new();
    let mut fine = true;
    visit_accesses(&nest.body, &mut |access| match access {
        Access::Element(b, index) if kernel.buffer(b).scope != Scope::Register => {
            match pair(kernel, b, index, outer, inner, &nest.loops[k].1) {
                Some(Some(d)) => fine &= *joined.entry(b).or_insert(d) == d,
                Some(None) => apart.push(b),
                None => fine = false,
            }
        }
        Access::Element(..) => {}
        Access::Expr(e) => fine &= !e.mentions(outer) && !e.mentions(inner),
    });
    let fine = fine && apart.iter().all(|b| !joined.contains_key(b));
    fine.then_some(joined)
}

/// `Some(Some(d))` if dimensions `d`, `d + 1` are indexed by just the two variables, `Some(None)`
/// if neither occurs.
fn pair(
    kernel: &Kernel,
    b: BufferId,
    index: &[Expr],
    outer: Var,
    inner: Var,
    extent: &Expr,
) -> Option<Option<usize>> {
    let buffer = kernel.buffer(b);
    let uses = |e: &Expr| e.mentions(outer) || e.mentions(inner);
    let used: Vec<usize> = (0..index.len()).filter(|d| uses(&index[*d])).collect();
    match used[..] {
        [] => Some(None),
        [a, c] => {
            let row_major = buffer.layout == Layout::row_major(buffer.shape.len());
            let exact = index[a].as_var() == Some(outer) && index[c].as_var() == Some(inner);
            (c == a + 1 && exact && row_major && buffer.shape[c] == *extent).then_some(Some(a))
        }
        _ => None,
    }
}

enum Access<'a> {
    Element(BufferId, &'a [Expr]),
    Expr(&'a Expr),
}

fn visit_accesses(stmts: &[Stmt], f: &mut dyn FnMut(Access<'_>)) {
    for stmt in stmts {
        match stmt {
            Stmt::Store {
                buffer,
                index,
                value,
            } => {
                f(Access::Element(*buffer, index));
                visit_scalar(value, f);
            }
            Stmt::For(l) => f(Access::Expr(&l.extent)),
            Stmt::If {
                cond: Cond::Affine(es),
                ..
            } => es.iter().for_each(|e| f(Access::Expr(e))),
            Stmt::If {
                cond: Cond::Scalar(s),
                ..
            } => visit_scalar(s, f),
            Stmt::Check { value, extent, .. } => {
                f(Access::Expr(extent));
                visit_scalar(value, f);
            }
            Stmt::While { cond, .. } => visit_scalar(cond, f),
        }
        stmt.bodies().into_iter().for_each(|b| visit_accesses(b, f));
    }
}

fn visit_scalar(s: &Scalar, f: &mut dyn FnMut(Access<'_>)) {
    match s {
        Scalar::Load(b, index) => f(Access::Element(*b, index)),
        Scalar::Index(e) => f(Access::Expr(e)),
        Scalar::Guard(conds, ..) => conds.iter().for_each(|e| f(Access::Expr(e))),
        _ => {}
    }
    s.children().into_iter().for_each(|c| visit_scalar(c, f));
}

fn apply(kernel: &mut Kernel, nest: &mut Nest, k: usize, joined: &Joined) {
    let (inner, inner_extent) = nest.loops.remove(k);
    let (outer, outer_extent) = nest.loops[k - 1].clone();
    nest.loops[k - 1].1 = outer_extent * inner_extent;
    for (b, d) in joined {
        let buffer = &mut kernel.buffers[b.0 as usize];
        let inner = buffer.shape.remove(d + 1);
        buffer.shape[*d] = buffer.shape[*d].clone() * inner;
        buffer.layout = Layout::row_major(buffer.shape.len());
    }
    let fix = |b: BufferId, index: &mut Vec<Expr>| {
        if let Some(d) = joined.get(&b) {
            debug_assert_eq!(index[d + 1].as_var(), Some(inner));
            index.remove(d + 1);
            index[*d] = outer.into();
        }
    };
    rewrite(&mut nest.body, &fix);
}

fn rewrite(stmts: &mut [Stmt], fix: &dyn Fn(BufferId, &mut Vec<Expr>)) {
    for stmt in stmts {
        match stmt {
            Stmt::Store {
                buffer,
                index,
                value,
            } => {
                fix(*buffer, index);
                rewrite_scalar(value, fix);
            }
            Stmt::If {
                cond: Cond::Scalar(s),
                ..
            } => rewrite_scalar(s, fix),
            Stmt::Check { value, .. } => rewrite_scalar(value, fix),
            Stmt::While { cond, .. } => rewrite_scalar(cond, fix),
            _ => {}
        }
        stmt.bodies_mut().into_iter().for_each(|b| rewrite(b, fix));
    }
}

fn rewrite_scalar(s: &mut Scalar, fix: &dyn Fn(BufferId, &mut Vec<Expr>)) {
    if let Scalar::Load(b, index) = s {
        fix(*b, index);
    }
    s.children_mut()
        .into_iter()
        .for_each(|c| rewrite_scalar(c, fix));
}
