//! Copies the elements of an input that the loops inside of a loop read into scratch.
//!
//! Halide: `in` with `compute_at`; TVM: `cache_read`. In scratch they lie in the order of the loops
//! that read them, and are read from there as often as those loops repeat.
//!
//! Requires: a loop whose body reads the input in one place, not under a condition, and inside of
//! loops of known extent only, over which the index is; no lanes around, which would share the
//! scratch.
//! Before:
//! ```text
//! kernel k() {
//!   in a: f32[8, 4]
//!   out o: f32[8]
//!   reg r: f32[]
//!   for i0 < 8 space {
//!     r = 0.0f32
//!     for i1 < 4 reduce {
//!       r = r + a[i0, i1]
//!     }
//!     o[i0] = r
//!   }
//! }
//! ```
//! Schedule: `pack a at i0 -> i2`
//! After:
//! ```text
//! kernel k() {
//!   in a: f32[8, 4]
//!   out o: f32[8]
//!   reg r: f32[]
//!   scratch t3: f32[4]
//!   for i0 < 8 space {
//!     for i2 < 4 space {
//!       t3[i2] = a[i0, i2]
//!     }
//!     r = 0.0f32
//!     for i1 < 4 reduce {
//!       r = r + t3[i1]
//!     }
//!     o[i0] = r
//!   }
//! }
//! ```
use super::edit::{Known, change, find_plain, new_scratch, scalar_mut};
use super::lanes::around;
use super::{Forwarded, Rejected, named};
use crate::schedule::nest::{space, substitute, visit_scalars};
use tensmith_ir::expr::{Expr, Var, product};
use tensmith_ir::loops::{BufferId, Kernel, Mark, Scalar, Scope, Stmt};

/// Units: elements of the scratch at most, so that it stays in a cache.
const MOST: i64 = 1 << 18;

/// Packs what the loop over `var` reads of the input called `name`; gives the loops that copy.
///
/// Errors: what the head of this file requires.
pub fn apply(kernel: &mut Kernel, name: &str, var: Var) -> Result<Forwarded, Rejected> {
    let id = named(kernel, name)?;
    let (place, l) = find_plain(kernel, var)?;
    if kernel.buffer(id).scope != Scope::Input {
        return Err(Rejected::Use(id));
    }
    if around(kernel, &place, &[Mark::Vector, Mark::Jam]) {
        return Err(Rejected::SameElement(var, id));
    }
    let mut reads = 0;
    visit_scalars(&l.body, &mut |s| {
        s.visit(&mut |s| reads += usize::from(matches!(s, Scalar::Load(b, _) if *b == id)));
    });
    let Read { index, mut loops } = lone_read(&l.body, id).ok_or(Rejected::Use(id))?;
    // The copy must not read what loops that never run would have read.
    let known = loops
        .iter()
        .all(|(_, e)| e.as_const().is_some_and(|n| n > 0));
    loops.retain(|(v, _)| index.iter().any(|e| e.mentions(*v)));
    let shape: Vec<Expr> = loops.iter().map(|(_, extent)| extent.clone()).collect();
    let count = product(&shape).as_const();
    if reads != 1 || loops.is_empty() || !known || count.is_none_or(|n| n > MOST) {
        return Err(Rejected::Use(id));
    }
    let mut known = Known::of(kernel);
    let scratch = new_scratch(kernel, id, shape);
    let made: Vec<Var> = loops
        .iter()
        .map(|(_, extent)| known.fresh(kernel, extent))
        .collect();
    let mut copy = vec![Stmt::Store {
        buffer: scratch,
        index: made.iter().map(|v| (*v).into()).collect(),
        value: Scalar::load(id, index),
    }];
    let with = loops
        .iter()
        .zip(&made)
        .map(|((v, _), new)| (*v, (*new).into()));
    substitute(&mut copy, &with.collect(), &known.ranges);
    for ((_, extent), new) in loops.iter().zip(&made).rev() {
        copy = vec![space(*new, extent.clone(), Mark::Plain, copy)];
    }
    let packed = loops.iter().map(|(v, _)| (*v).into()).collect();
    change(kernel, &place, |l| {
        read_from(&mut l.body, id, &Scalar::Load(scratch, packed));
        l.body.splice(0..0, copy);
    });
    Ok(Forwarded {
        made,
        ..Forwarded::nothing()
    })
}

/// A read: its index, and the loops around it.
struct Read {
    index: Vec<Expr>,
    loops: Vec<(Var, Expr)>,
}

/// The first read that no condition is around.
fn lone_read(stmts: &[Stmt], id: BufferId) -> Option<Read> {
    stmts.iter().find_map(|stmt| match stmt {
        Stmt::Store { value, .. } => Some(Read {
            index: read_in(value, id)?,
            loops: vec![],
        }),
        Stmt::For(l) => {
            let mut read = lone_read(&l.body, id)?;
            read.loops.insert(0, (l.var, l.extent.clone()));
            Some(read)
        }
        _ => None,
    })
}

fn read_in(s: &Scalar, id: BufferId) -> Option<Vec<Expr>> {
    match s {
        Scalar::Load(b, index) if *b == id => Some(index.clone()),
        Scalar::Guard(..) => None,
        _ => s.children().into_iter().find_map(|c| read_in(c, id)),
    }
}

fn read_from(stmts: &mut [Stmt], id: BufferId, packed: &Scalar) {
    for stmt in stmts {
        if let Some(s) = scalar_mut(stmt) {
            read_scalar_from(s, id, packed);
        }
        for body in stmt.bodies_mut() {
            read_from(body, id, packed);
        }
    }
}

fn read_scalar_from(s: &mut Scalar, id: BufferId, packed: &Scalar) {
    if matches!(s, Scalar::Load(b, _) if *b == id) {
        *s = packed.clone();
        return;
    }
    for child in s.children_mut() {
        read_scalar_from(child, id, packed);
    }
}
