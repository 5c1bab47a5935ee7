//! Looking at and rebuilding loop nests.
use std::collections::HashMap;
use tensmith_ir::expr::{Expr, Ranges, Var};
use tensmith_ir::loops::{BufferId, For, Kernel, Mark, Role, Scalar, Scope, Stmt};

/// The perfectly nested space loops at the outside of a statement, and what is inside them.
pub struct Nest {
    /// Variables and extents, outermost first.
    pub loops: Vec<(Var, Expr)>,
    /// The body of the innermost loop.
    pub body: Vec<Stmt>,
}

impl Nest {
    /// Takes a statement apart.
    pub fn of(stmt: Stmt) -> Nest {
        let mut loops = Vec::new();
        let mut body = vec![stmt];
        while let [Stmt::For(l)] = &mut body[..] {
            if l.role != Role::Space || l.mark != Mark::Plain {
                break;
            }
            loops.push((l.var, l.extent.clone()));
            body = std::mem::take(&mut l.body);
        }
        Nest { loops, body }
    }

    /// The loops around the body again, none of them marked.
    pub fn rebuild(self) -> Vec<Stmt> {
        self.loops
            .into_iter()
            .rev()
            .fold(self.body, |body, (var, extent)| {
                vec![space(var, extent, Mark::Plain, body)]
            })
    }
}

/// A space loop.
pub fn space(var: Var, extent: Expr, mark: Mark, body: Vec<Stmt>) -> Stmt {
    repeat(Role::Space, var, extent, mark, body)
}

/// A loop of plain updates.
pub fn reduce(var: Var, extent: Expr, mark: Mark, body: Vec<Stmt>) -> Stmt {
    repeat(Role::Reduce, var, extent, mark, body)
}

fn repeat(role: Role, var: Var, extent: Expr, mark: Mark, body: Vec<Stmt>) -> Stmt {
    Stmt::For(Box::new(For {
        var,
        extent,
        role,
        mark,
        reduction: None,
        body,
    }))
}

/// Puts expressions in the place of variables, and simplifies.
pub fn substitute(stmts: &mut [Stmt], with: &HashMap<Var, Expr>, ranges: &Ranges) {
    let map = |e: &Expr| e.substitute(&|v| with.get(&v).cloned()).simplify(ranges);
    stmts.iter_mut().for_each(|s| s.map_exprs(&map));
}

/// What is known of sizes and of all loop variables of a kernel.
pub fn all_ranges(kernel: &Kernel) -> Ranges {
    fn bind(stmts: &[Stmt], ranges: &mut Ranges) {
        for stmt in stmts {
            match stmt {
                Stmt::For(l) => ranges.bind(l.var, &l.extent),
                Stmt::Check { var, extent, .. } => ranges.bind(*var, extent),
                _ => {}
            }
            stmt.bodies().into_iter().for_each(|b| bind(b, ranges));
        }
    }
    let mut ranges = kernel.ranges();
    bind(&kernel.body, &mut ranges);
    ranges
}

/// A copy of statements with variables and registers of its own, so that both can stand in one
/// kernel.
pub fn fresh_copy(kernel: &mut Kernel, stmts: &[Stmt], ranges: &mut Ranges) -> Vec<Stmt> {
    let mut copy = stmts.to_vec();
    let mut vars = HashMap::new();
    let mut registers = HashMap::new();
    rename_bound(kernel, &mut copy, &mut vars, &mut registers, ranges);
    substitute(&mut copy, &vars, ranges);
    rename_registers(&mut copy, &registers);
    copy
}

fn rename_bound(
    kernel: &mut Kernel,
    stmts: &mut [Stmt],
    vars: &mut HashMap<Var, Expr>,
    registers: &mut HashMap<BufferId, BufferId>,
    ranges: &mut Ranges,
) {
    for stmt in stmts {
        match stmt {
            Stmt::For(l) => {
                let new = kernel.fresh_var();
                vars.insert(l.var, new.into());
                l.var = new;
                ranges.bind(new, &l.extent);
            }
            Stmt::Check { var, extent, .. } => {
                let new = kernel.fresh_var();
                vars.insert(*var, new.into());
                *var = new;
                ranges.bind(new, extent);
            }
            Stmt::Store { buffer, .. } if kernel.buffer(*buffer).scope == Scope::Register => {
                registers.entry(*buffer).or_insert_with(|| {
                    let mut copy = kernel.buffer(*buffer).clone();
                    copy.name = format!("r{}", kernel.buffers.len());
                    kernel.add_buffer(copy)
                });
            }
            _ => {}
        }
        for body in stmt.bodies_mut() {
            rename_bound(kernel, body, vars, registers, ranges);
        }
    }
}

fn rename_registers(stmts: &mut [Stmt], registers: &HashMap<BufferId, BufferId>) {
    for stmt in stmts {
        match stmt {
            Stmt::Store { buffer, value, .. } => {
                rename(buffer, registers);
                rename_in(value, registers);
            }
            Stmt::If {
                cond: tensmith_ir::loops::Cond::Scalar(s),
                ..
            } => rename_in(s, registers),
            Stmt::Check { value, .. } => rename_in(value, registers),
            Stmt::While { cond, .. } => rename_in(cond, registers),
            Stmt::For(l) => {
                if let Some(r) = &mut l.reduction {
                    r.state
                        .iter_mut()
                        .chain(&mut r.other)
                        .for_each(|b| rename(b, registers));
                    r.combine.iter_mut().for_each(|s| rename_in(s, registers));
                }
            }
            Stmt::If { .. } => {}
        }
        stmt.bodies_mut()
            .into_iter()
            .for_each(|b| rename_registers(b, registers));
    }
}

fn rename(buffer: &mut BufferId, registers: &HashMap<BufferId, BufferId>) {
    if let Some(new) = registers.get(buffer) {
        *buffer = *new;
    }
}

fn rename_in(scalar: &mut Scalar, registers: &HashMap<BufferId, BufferId>) {
    if let Scalar::Load(buffer, _) = scalar {
        rename(buffer, registers);
    }
    scalar
        .children_mut()
        .into_iter()
        .for_each(|c| rename_in(c, registers));
}

/// Calls `f` with every scalar that statements evaluate.
pub fn visit_scalars<'a>(stmts: &'a [Stmt], f: &mut dyn FnMut(&'a Scalar)) {
    for stmt in stmts {
        match stmt {
            Stmt::Store { value, .. } | Stmt::Check { value, .. } => f(value),
            Stmt::If {
                cond: tensmith_ir::loops::Cond::Scalar(s),
                ..
            } => f(s),
            Stmt::While { cond, .. } => f(cond),
            _ => {}
        }
        stmt.bodies().into_iter().for_each(|b| visit_scalars(b, f));
    }
}
