//! Computes a value where it is read instead of keeping it in a register.
//!
//! Halide: `compute_inline`; TVM: `compute_inline`.
//!
//! Requires: a scalar register that one statement sets and that is read only after it in the same
//! list; a value of inputs and registers that nothing writes from there on.
//! Before:
//! ```text
//! kernel k() {
//!   in a: f32[8]
//!   out o: f32[8]
//!   reg r: f32[]
//!   for i0 < 8 space {
//!     r = a[i0] + 1.0f32
//!     o[i0] = r * r
//!   }
//! }
//! ```
//! Schedule: `inline r`
//! After:
//! ```text
//! kernel k() {
//!   in a: f32[8]
//!   out o: f32[8]
//!   reg r: f32[]
//!   for i0 < 8 space {
//!     o[i0] = (a[i0] + 1.0f32) * (a[i0] + 1.0f32)
//!   }
//! }
//! ```
use super::edit::{place_where, scalar_mut};
use super::registers::{Set, loads, seen_outside, visit_stmts, written};
use super::{Forwarded, Rejected, named};
use tensmith_ir::loops::{BufferId, Kernel, Scalar, Scope, Stmt};

/// How often a value is copied at most.
const COPIES: usize = 16;

/// Inlines the register called `name`.
///
/// Errors: what the head of this file requires.
pub fn apply(kernel: &mut Kernel, name: &str) -> Result<Forwarded, Rejected> {
    let id = named(kernel, name)?;
    let buffer = kernel.buffer(id);
    if buffer.scope != Scope::Register || !buffer.shape.is_empty() {
        return Err(Rejected::Use(id));
    }
    let sets = |s: &Stmt| matches!(s, Stmt::Store { buffer, .. } if *buffer == id);
    let place = place_where(&kernel.body, &sets).ok_or(Rejected::NoEffect)?;
    let list = place.list(&kernel.body);
    let Stmt::Store { value, .. } = &list[place.at] else {
        return Err(Rejected::Use(id));
    };
    let value = value.clone();
    let mut used = Set::new();
    loads(&value, &mut used);
    let after = &list[place.at + 1..];
    let changed = written(after);
    let lasting = |b: &BufferId| match kernel.buffer(*b).scope {
        Scope::Input => true,
        Scope::Register => !changed.contains(b) && *b != id,
        _ => false,
    };
    let own = Set::from([id]);
    let alone = seen_outside(kernel, &list[place.at..], &own).is_empty();
    let states = names_state(after, id);
    if !used.iter().all(lasting) || !alone || changed.contains(&id) || states {
        return Err(Rejected::Use(id));
    }
    let mut reads = 0;
    crate::schedule::nest::visit_scalars(after, &mut |s| {
        s.visit(&mut |s| reads += usize::from(matches!(s, Scalar::Load(b, _) if *b == id)));
    });
    if reads > COPIES {
        return Err(Rejected::Use(id));
    }
    let list = place.list_mut(&mut kernel.body);
    list.remove(place.at);
    put(&mut list[place.at..], id, &value);
    Ok(Forwarded::nothing())
}

/// Whether the state of a reduction is in the register.
fn names_state(stmts: &[Stmt], id: BufferId) -> bool {
    let mut found = false;
    visit_stmts(stmts, &mut |s| {
        if let Stmt::For(l) = s {
            let mut all = l
                .reduction
                .iter()
                .flat_map(|r| r.state.iter().chain(&r.other));
            found |= all.any(|b| *b == id);
        }
    });
    found
}

fn put(stmts: &mut [Stmt], id: BufferId, value: &Scalar) {
    for stmt in stmts {
        if let Some(s) = scalar_mut(stmt) {
            put_in(s, id, value);
        }
        for body in stmt.bodies_mut() {
            put(body, id, value);
        }
    }
}

fn put_in(s: &mut Scalar, id: BufferId, value: &Scalar) {
    if matches!(s, Scalar::Load(b, _) if *b == id) {
        *s = value.clone();
        return;
    }
    for child in s.children_mut() {
        put_in(child, id, value);
    }
}
