//! Checks the invariants of kernels.
//!
//! - Names of buffers are words and unique; layouts give every element a place of its own; extents
//!   of registers are numbers.
//! - Types and ranks fit; every variable is bound once and used only where it is bound.
//! - Every access is in bounds, as extents of loops and checks and the conditions around it prove.
//! - A scalar register is written before it is read. One that is written in a parallel, vector or
//!   jam loop belongs to the iteration: nothing before or after the loop is seen through it.
//! - Parallel loops are outermost space loops, or inside of serial loops that a team of threads can
//!   run; vector and jam loops are space loops of known
//!   extent; nothing inside branches or repeats by the lane; both write elements of their own.
mod apart;
mod boxes;
mod declare;
mod marks;
mod prover;
mod registers;
pub(super) mod types;

pub use apart::stores_are_apart;
pub use boxes::{Region, touched_regions};
pub use registers::own_of_lanes;

use super::print::Show;
use super::{BufferId, Cond, For, Kernel, Role, Scalar, Scope, Stmt};
use crate::dtype::DType;
use crate::expr::{Atom, Expr, Var};
use prover::Prover;
use std::collections::BTreeSet;
use types::{buffer_of, check_rank, scalar_type};

/// A broken invariant of a kernel.
#[derive(Clone, Debug, thiserror::Error)]
#[error("kernel `{kernel}`: {reason}")]
pub struct VerifyError {
    /// The kernel.
    pub kernel: String,
    /// What is broken, with the statement around it.
    pub reason: String,
}

/// Checks the invariants of a kernel.
///
/// Errors: the first broken one.
pub fn verify_kernel(kernel: &Kernel) -> Result<(), VerifyError> {
    let fail = |reason| VerifyError {
        kernel: kernel.name.clone(),
        reason,
    };
    let mut verifier = Verifier {
        kernel,
        bound: BTreeSet::new(),
        seen: BTreeSet::new(),
    };
    declare::check(kernel).map_err(fail)?;
    let prover = Prover::new(kernel.ranges());
    verifier.body(&kernel.body, &prover).map_err(fail)?;
    marks::check(kernel).map_err(fail)?;
    marks::check_team(kernel).map_err(fail)?;
    registers::check(kernel).map_err(fail)
}

/// An error with the statement that it is about.
fn at(kernel: &Kernel, stmt: &Stmt, reason: &str) -> String {
    let show = Show {
        buffers: &kernel.buffers,
    };
    format!("{reason}\n  in: {}", show.head(stmt))
}

struct Verifier<'k> {
    kernel: &'k Kernel,
    /// Variables that may be used here.
    bound: BTreeSet<Var>,
    /// Variables that were bound anywhere.
    seen: BTreeSet<Var>,
}

impl Verifier<'_> {
    fn body(&mut self, stmts: &[Stmt], known: &Prover) -> Result<(), String> {
        stmts.iter().try_for_each(|s| self.stmt(s, known))
    }

    fn stmt(&mut self, stmt: &Stmt, known: &Prover) -> Result<(), String> {
        self.head(stmt, known)
            .map_err(|e| at(self.kernel, stmt, &e))?;
        match stmt {
            Stmt::For(l) => self.scope(l.var, &l.extent, &l.body, known),
            Stmt::Check {
                var, extent, body, ..
            } => self.scope(*var, extent, body, known),
            Stmt::Store { .. } => Ok(()),
            Stmt::If {
                cond: Cond::Affine(es),
                then,
                otherwise,
            } => {
                self.body(then, &assuming(known, es))?;
                self.body(otherwise, &refuting(known, es))
            }
            Stmt::If {
                then, otherwise, ..
            } => {
                self.body(then, known)?;
                self.body(otherwise, known)
            }
            Stmt::While { body, .. } => self.body(body, known),
        }
    }

    fn scope(
        &mut self,
        var: Var,
        extent: &Expr,
        body: &[Stmt],
        known: &Prover,
    ) -> Result<(), String> {
        let mut inside = known.clone();
        inside.bind(var, extent);
        self.bound.insert(var);
        self.body(body, &inside)?;
        self.bound.remove(&var);
        Ok(())
    }

    /// Checks a statement without those nested in it.
    fn head(&mut self, stmt: &Stmt, known: &Prover) -> Result<(), String> {
        match stmt {
            Stmt::For(l) => {
                self.expr(&l.extent)?;
                self.bind(l.var)?;
                self.reduction(l)
            }
            Stmt::Store {
                buffer,
                index,
                value,
            } => {
                let to = buffer_of(*buffer, &self.kernel.buffers)?;
                if to.scope == Scope::Input {
                    return Err(format!("a store to the input `{}`", to.name));
                }
                self.value(value, to.dtype, known)?;
                self.access(*buffer, index, known)
            }
            Stmt::If { cond, .. } => match cond {
                Cond::Affine(es) => es.iter().try_for_each(|e| self.expr(e)),
                Cond::Scalar(s) => self.value(s, DType::Bool, known),
            },
            Stmt::Check {
                var, value, extent, ..
            } => {
                self.expr(extent)?;
                self.value(value, DType::I64, known)?;
                self.bind(*var)
            }
            Stmt::While { cond, .. } => self.value(cond, DType::Bool, known),
        }
    }

    fn bind(&mut self, var: Var) -> Result<(), String> {
        if var.0 >= self.kernel.vars {
            return Err(format!("{var} is not below {}", self.kernel.vars));
        }
        if !self.seen.insert(var) {
            return Err(format!("{var} is bound twice"));
        }
        Ok(())
    }

    /// Checks that variables and sizes of an expression are known, and divisors positive.
    fn expr(&self, e: &Expr) -> Result<(), String> {
        let mut wrong = None;
        e.visit(&mut |a| match a {
            Atom::Var(v) if !self.bound.contains(v) => wrong = Some(format!("{v} is not bound")),
            Atom::Size(s) if !self.kernel.sizes.contains(s) => {
                wrong = Some(format!("{s} is not a size of the kernel"));
            }
            _ => {}
        });
        wrong.map_or(Ok(()), Err)
    }

    fn value(&self, s: &Scalar, want: DType, known: &Prover) -> Result<(), String> {
        let found = scalar_type(s, &self.kernel.buffers)?;
        if found != want {
            return Err(format!("a value of {found}, want {want}"));
        }
        self.scalar(s, known)
    }

    /// Checks the accesses of a scalar.
    fn scalar(&self, s: &Scalar, known: &Prover) -> Result<(), String> {
        match s {
            Scalar::Index(e) => self.expr(e),
            Scalar::Load(b, index) => self.access(*b, index, known),
            Scalar::Guard(conds, a, b) => {
                conds.iter().try_for_each(|e| self.expr(e))?;
                self.scalar(a, &assuming(known, conds))?;
                self.scalar(b, &refuting(known, conds))
            }
            _ => s
                .children()
                .into_iter()
                .try_for_each(|c| self.scalar(c, known)),
        }
    }

    fn access(&self, id: BufferId, index: &[Expr], known: &Prover) -> Result<(), String> {
        let buffer = buffer_of(id, &self.kernel.buffers)?;
        check_rank(buffer, index.len())?;
        for (d, i) in index.iter().enumerate() {
            self.expr(i)?;
            let extent = declare::reachable_extent(buffer, d);
            let name = &buffer.name;
            if !known.proves(i) {
                return Err(format!("not proved: {i} >= 0, index {d} of `{name}`"));
            }
            if !known.proves(&(extent.clone() - 1 - i.clone())) {
                return Err(format!("not proved: {i} < {extent}, index {d} of `{name}`"));
            }
        }
        Ok(())
    }

    fn reduction(&self, l: &For) -> Result<(), String> {
        let Some(r) = &l.reduction else {
            return Ok(());
        };
        if l.role != Role::Reduce {
            return Err("a reduction on a loop that does not reduce".into());
        }
        let n = r.state.len();
        if [r.other.len(), r.identity.len(), r.combine.len()] != [n; 3] {
            return Err("a reduction whose lists differ in length".into());
        }
        for k in 0..n {
            let want = scalar_type(&Scalar::Const(r.identity[k]), &[])?;
            let combine = scalar_type(&r.combine[k], &self.kernel.buffers)?;
            for id in [r.state[k], r.other[k]] {
                let b = buffer_of(id, &self.kernel.buffers)?;
                let scalar = b.scope == Scope::Register && b.shape.is_empty();
                if !scalar || b.dtype != want || combine != want {
                    return Err(format!("`{}` is no scalar register of {want}", b.name));
                }
            }
        }
        Ok(())
    }
}

/// What is known where all conditions hold.
fn assuming(known: &Prover, conds: &[Expr]) -> Prover {
    let mut known = known.clone();
    conds.iter().for_each(|c| known.assume(c));
    known
}

/// What is known where not all conditions hold.
fn refuting(known: &Prover, conds: &[Expr]) -> Prover {
    let mut known = known.clone();
    if let [only] = conds {
        known.assume(&(-only.clone() - 1));
    }
    known
}
