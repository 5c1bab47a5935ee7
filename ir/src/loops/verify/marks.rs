//! Marks: where parallel, vector, jam and unrolled loops may stand.
use super::super::team::{TeamFault, team_fault};
use super::super::{BufferId, Cond, For, Kernel, Mark, Role, Scalar, Scope, Stmt};
use super::{at, registers::own_of_lanes};
use crate::expr::{Expr, Var};
use std::collections::BTreeSet;

/// Checks the marks of all loops.
///
/// Errors: the first that is not legal.
pub(super) fn check(kernel: &Kernel) -> Result<(), String> {
    let around = Around {
        kernel,
        nested: false,
        steps: false,
        parallel: None,
        lanes: vec![],
        lane_registers: BTreeSet::new(),
    };
    kernel.body.iter().try_for_each(|s| around.stmt(s))
}

/// Checks that a team of threads can run the parallel loops in serial ones.
///
/// Errors: what is in the way.
pub(super) fn check_team(kernel: &Kernel) -> Result<(), String> {
    let name = |b: BufferId| &kernel.buffer(b).name;
    match team_fault(kernel) {
        None => Ok(()),
        Some(TeamFault::Around(v)) => Err(format!("threads cannot get to loop {v} alike")),
        Some(TeamFault::Shared(v, b)) => {
            Err(format!("iterations of loop {v} may meet in `{}`", name(b)))
        }
        Some(TeamFault::Register(b)) => Err(format!("`{}` is seen by one thread only", name(b))),
    }
}

#[derive(Clone)]
struct Around<'k> {
    kernel: &'k Kernel,
    /// Whether anything else than parallel loops is around.
    nested: bool,
    /// Whether a serial loop is around.
    steps: bool,
    parallel: Option<Var>,
    /// The variables of lock-step loops.
    lanes: Vec<Var>,
    /// Registers that each lane has its own of.
    lane_registers: BTreeSet<BufferId>,
}

impl Around<'_> {
    fn stmt(&self, stmt: &Stmt) -> Result<(), String> {
        self.head(stmt).map_err(|e| at(self.kernel, stmt, &e))?;
        let mut inside = self.clone();
        inside.nested |= !matches!(stmt, Stmt::Store { .. });
        if let Stmt::For(l) = stmt {
            inside.enter(l);
        }
        if let Stmt::If {
            cond: Cond::Affine(es),
            then,
            otherwise,
        } = stmt
        {
            otherwise.iter().try_for_each(|s| inside.stmt(s))?;
            // One iteration only comes here: there is no other to disagree with.
            inside.parallel = inside.parallel.filter(|v| !es.contains(&-Expr::from(*v)));
            return then.iter().try_for_each(|s| inside.stmt(s));
        }
        let mut nested = stmt.bodies().into_iter().flatten();
        nested.try_for_each(|s| inside.stmt(s))
    }

    fn enter(&mut self, l: &For) {
        self.steps |= l.role == Role::Serial;
        // A loop of one iteration has no other iteration to disagree with.
        if l.extent.is(1) {
            return;
        }
        match l.mark {
            Mark::Parallel => self.parallel = Some(l.var),
            Mark::Vector | Mark::Jam => {
                self.lanes.push(l.var);
                self.lane_registers.extend(own_of_lanes(l));
            }
            Mark::Plain | Mark::Unroll => {}
        }
    }

    fn head(&self, stmt: &Stmt) -> Result<(), String> {
        match stmt {
            Stmt::For(l) => {
                self.mark(l)?;
                self.same_for_lanes(&l.extent)
            }
            Stmt::Store { buffer, index, .. } => self.own_element(*buffer, index),
            Stmt::If { cond, .. } => match cond {
                Cond::Affine(es) => es.iter().try_for_each(|e| self.same_for_lanes(e)),
                Cond::Scalar(s) => self.value_same_for_lanes(s),
            },
            Stmt::Check { value, extent, .. } => {
                self.same_for_lanes(extent)?;
                self.value_same_for_lanes(value)
            }
            Stmt::While { cond, .. } => self.value_same_for_lanes(cond),
        }
    }

    fn mark(&self, l: &For) -> Result<(), String> {
        let space = l.role == Role::Space;
        let known = l.extent.as_const().is_some();
        match l.mark {
            Mark::Plain => Ok(()),
            Mark::Parallel if self.nested && !self.steps => {
                Err("a parallel loop that is not outermost, nor in a serial one".into())
            }
            Mark::Unroll if known => Ok(()),
            Mark::Parallel if space => Ok(()),
            Mark::Vector | Mark::Jam if known && l.role != Role::Serial => Ok(()),
            Mark::Unroll | Mark::Vector | Mark::Jam if !known => {
                Err(format!("the extent {} is not known", l.extent))
            }
            _ => Err("the iterations of this loop are not independent".into()),
        }
    }

    fn same_for_lanes(&self, e: &Expr) -> Result<(), String> {
        match self.lanes.iter().find(|v| e.mentions(**v)) {
            Some(v) => Err(format!("{e} depends on the lane {v}")),
            None => Ok(()),
        }
    }

    fn value_same_for_lanes(&self, s: &Scalar) -> Result<(), String> {
        let mut wrong = Ok(());
        s.visit(&mut |s| match s {
            Scalar::Load(b, _) if self.lane_registers.contains(b) => {
                let name = &self.kernel.buffer(*b).name;
                wrong = Err(format!("`{name}` depends on the lane"));
            }
            _ => {}
        });
        s.visit_exprs(&mut |e| {
            if let Err(e) = self.same_for_lanes(e) {
                wrong = Err(e);
            }
        });
        wrong
    }

    /// Lanes, and iterations of a parallel loop, write different elements.
    fn own_element(&self, id: BufferId, index: &[Expr]) -> Result<(), String> {
        let b = self.kernel.buffer(id);
        if b.scope == Scope::Register && b.shape.is_empty() {
            return Ok(());
        }
        let threads = self.parallel.filter(|_| b.scope == Scope::Output);
        let mut all = self.lanes.iter().chain(&threads);
        match all.find(|v| !index.iter().any(|e| e.mentions(**v))) {
            Some(v) => Err(format!("every {v} writes the same element of `{}`", b.name)),
            None => Ok(()),
        }
    }
}
