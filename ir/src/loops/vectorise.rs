//! Whether the iterations of a loop can be the lanes of vector registers.
//!
//! Lanes hold 32-bit elements (`f32`, `i32`, `u32`), and integers of 8 and 16 bits, floats of 16 bits
//! and `bool` as such, which are loaded, stored, chosen, compared and converted, but not computed
//! with otherwise. Loads and stores
//! may have any stride; control flow and index values must not depend on the lane.
use super::math::{self, MathBody, MathFn};
use super::{
    BinaryOp, Buffer, BufferId, Cond, For, Kernel, Layout, Mark, Scalar, Scope, Stmt, UnaryOp,
};
use crate::dtype::DType;
use crate::expr::Var;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Whether the lanes of `l` can be those of vectors; the extent is not considered.
pub fn vectorisable(kernel: &Kernel, l: &For) -> bool {
    statements_fit(kernel, &l.body, l.var)
}

/// Whether a store is `acc = acc op term` (or an `Fma` onto `acc`) on a register.
pub fn is_update(buffer: BufferId, value: &Scalar) -> bool {
    let is_acc = |s: &Scalar| matches!(s, Scalar::Load(b, _) if *b == buffer);
    let free = |s: &Scalar| {
        let mut found = false;
        s.visit(&mut |x| found |= is_acc(x));
        !found
    };
    match value {
        Scalar::Binary(op, a, b) if associative(*op) => {
            (is_acc(a) && free(b)) || (is_acc(b) && free(a))
        }
        Scalar::Fma(a, b, c) => is_acc(c) && free(a) && free(b),
        _ => false,
    }
}

/// The registers that the iterations of a body add up in: updated there, and not set there. Each
/// iteration counts, also where all of them add the same.
pub fn accumulated(body: &[Stmt]) -> BTreeSet<BufferId> {
    let (mut updated, mut set) = (BTreeSet::new(), BTreeSet::new());
    collect_stores(body, &mut updated, &mut set);
    updated.difference(&set).copied().collect()
}

fn collect_stores(stmts: &[Stmt], updated: &mut BTreeSet<BufferId>, set: &mut BTreeSet<BufferId>) {
    for stmt in stmts {
        if let Stmt::Store { buffer, value, .. } = stmt {
            let of = if is_update(*buffer, value) {
                &mut *updated
            } else {
                &mut *set
            };
            of.insert(*buffer);
        }
        for body in stmt.bodies() {
            collect_stores(body, updated, set);
        }
    }
}

/// Whether partial results of an op may be joined in any order.
fn associative(op: BinaryOp) -> bool {
    use BinaryOp::{Add, And, Max, Min, Mul, Or, Xor};
    matches!(op, Add | Mul | Min | Max | And | Or | Xor)
}

fn statements_fit(kernel: &Kernel, stmts: &[Stmt], lane: Var) -> bool {
    stmts.iter().all(|stmt| match stmt {
        Stmt::For(l) => {
            !l.extent.mentions(lane)
                && l.mark != Mark::Vector
                && statements_fit(kernel, &l.body, lane)
        }
        Stmt::Store { buffer, value, .. } => {
            fits(kernel.buffer(*buffer).dtype) && scalar_fits(kernel, value, lane)
        }
        Stmt::If {
            cond: Cond::Affine(es),
            then,
            otherwise,
        } => {
            es.iter().all(|e| !e.mentions(lane))
                && statements_fit(kernel, then, lane)
                && statements_fit(kernel, otherwise, lane)
        }
        Stmt::If {
            cond: Cond::Scalar(_),
            ..
        }
        | Stmt::Check { .. }
        | Stmt::While { .. } => false,
    })
}

/// Types that lanes compute with.
fn is_word(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::I32 | DType::U32)
}

/// Integers that lanes hold as 32-bit ones of the same value.
fn is_short(dtype: DType) -> bool {
    matches!(dtype, DType::I8 | DType::U8 | DType::I16 | DType::U16)
}

fn fits(dtype: DType) -> bool {
    is_word(dtype) || is_short(dtype) || dtype.is_half() || dtype == DType::Bool
}

fn cast_fits(from: DType, to: DType) -> bool {
    use DType::{Bool, F32, I32, U32};
    match (from, to) {
        (F32, I32 | Bool) | (I32, F32) => true,
        (F32, U32) | (U32, F32) => false,
        (F32, _) if to.is_half() => true,
        (_, F32) if from.is_half() => true,
        // By way of `f32`.
        (I32 | U32, _) if to.is_half() => false,
        (_, U32) if from.is_half() => false,
        (F32, _) => is_short(to),
        (_, F32) => is_short(from) || from == Bool,
        _ => fits(from) && fits(to),
    }
}

fn scalar_fits(kernel: &Kernel, s: &Scalar, lane: Var) -> bool {
    let dtype = |s: &Scalar| s.dtype(&|b| kernel.buffer(b).dtype);
    // The number that an index is.
    if let Scalar::Cast(DType::F32, a) = s
        && matches!(**a, Scalar::Index(_))
    {
        return true;
    }
    let this = match s {
        Scalar::Const(c) => fits(c.dtype),
        Scalar::Index(_) => false,
        Scalar::Load(b, _) => fits(kernel.buffer(*b).dtype),
        Scalar::Unary(UnaryOp::Not | UnaryOp::Neg | UnaryOp::Abs, a) => !is_short(dtype(a)),
        Scalar::Unary(_, a) | Scalar::Fma(a, ..) => dtype(a) == DType::F32,
        Scalar::Binary(BinaryOp::Div | BinaryOp::Scale, a, _) => dtype(a) == DType::F32,
        Scalar::Binary(BinaryOp::Rem, ..) => false,
        Scalar::Binary(BinaryOp::Shl | BinaryOp::Shr, _, b) => matches!(**b, Scalar::Const(_)),
        Scalar::Binary(BinaryOp::Min | BinaryOp::Max, ..) => true,
        Scalar::Binary(op, a, _) => op.is_compare() || !is_short(dtype(a)),
        Scalar::Select(..) => true,
        Scalar::Call(f, args) => dtype(&args[0]) == DType::F32 && call_fits(*f),
        Scalar::Cast(to, a) => cast_fits(dtype(a), *to),
        Scalar::Bitcast(to, a) => is_word(*to) && is_word(dtype(a)),
        Scalar::Guard(conds, ..) => conds.iter().all(|c| !c.mentions(lane)),
    };
    this && s.children().iter().all(|c| scalar_fits(kernel, c, lane))
}

static CALLS: LazyLock<Vec<bool>> = LazyLock::new(|| {
    let fits = |f: &MathFn| math::body(*f, DType::F32).is_some_and(body_fits);
    MathFn::ALL.iter().map(fits).collect()
});

fn call_fits(f: MathFn) -> bool {
    MathFn::ALL
        .iter()
        .position(|g| *g == f)
        .is_some_and(|k| CALLS[k])
}

fn body_fits(body: &MathBody) -> bool {
    let types = body.params.iter().chain(body.lets.iter().map(|(d, _)| d));
    let register = |dtype: &DType| Buffer {
        name: String::new(),
        dtype: *dtype,
        shape: vec![],
        layout: Layout::row_major(0),
        scope: Scope::Register,
        prefetch: 0,
        nonzero: vec![],
    };
    let kernel = Kernel {
        name: "math".into(),
        sizes: vec![],
        size_bounds: vec![],
        buffers: types.map(register).collect(),
        body: vec![],
        vars: 0,
    };
    body.lets
        .iter()
        .all(|(dtype, value)| fits(*dtype) && scalar_fits(&kernel, value, Var(u32::MAX)))
}
