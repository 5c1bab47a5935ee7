//! Looking at loop nests.
use super::primitives::edit::Place;
use std::collections::HashMap;
use tensmith_ir::expr::{Expr, Ranges, Var};
use tensmith_ir::loops::{Cond, For, Kernel, Mark, Role, Scalar, Stmt};

/// The perfectly nested space loops at the outside of a statement, and what is inside them.
#[derive(Clone)]
pub struct Nest<'k> {
    /// Variables and extents, outermost first.
    pub loops: Vec<(Var, Expr)>,
    /// The body of the innermost loop.
    pub body: &'k [Stmt],
}

impl<'k> Nest<'k> {
    /// The nest of the statement at a place of a kernel.
    pub fn at(kernel: &'k Kernel, place: &Place) -> Nest<'k> {
        let mut loops = Vec::new();
        let mut body = &place.list(&kernel.body)[place.at..=place.at];
        while let [Stmt::For(l)] = body
            && l.role == Role::Space
            && l.mark == Mark::Plain
        {
            loops.push((l.var, l.extent.clone()));
            body = &l.body;
        }
        Nest { loops, body }
    }

    /// The variables of the reductions that stand in the body of the loops.
    pub fn sums(&self) -> Vec<Var> {
        let loops = self.body.iter().filter_map(|s| match s {
            Stmt::For(l) if l.role == Role::Reduce => Some(l.var),
            _ => None,
        });
        loops.collect()
    }

    /// The variables of the loops.
    pub fn vars(&self) -> Vec<Var> {
        self.loops.iter().map(|(v, _)| *v).collect()
    }
}

/// A space loop.
pub fn space(var: Var, extent: Expr, mark: Mark, body: Vec<Stmt>) -> Stmt {
    Stmt::For(Box::new(For {
        var,
        extent,
        role: Role::Space,
        mark,
        reduction: None,
        body,
    }))
}

/// Puts expressions in the place of variables, and simplifies where there is one.
pub fn substitute(stmts: &mut [Stmt], with: &HashMap<Var, Expr>, ranges: &Ranges) {
    let map = |e: &Expr| match with.keys().any(|v| e.mentions(*v)) {
        true => e.substitute(&|v| with.get(&v).cloned()).simplify(ranges),
        false => e.clone(),
    };
    stmts.iter_mut().for_each(|s| s.map_exprs(&map));
}

/// Calls `f` with every scalar that statements evaluate.
pub fn visit_scalars<'a>(stmts: &'a [Stmt], f: &mut dyn FnMut(&'a Scalar)) {
    for stmt in stmts {
        match stmt {
            Stmt::Store { value, .. } | Stmt::Check { value, .. } => f(value),
            Stmt::If {
                cond: Cond::Scalar(s),
                ..
            } => f(s),
            Stmt::While { cond, .. } => f(cond),
            _ => {}
        }
        stmt.bodies().into_iter().for_each(|b| visit_scalars(b, f));
    }
}
