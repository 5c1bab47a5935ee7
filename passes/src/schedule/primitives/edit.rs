//! Finding loops in a kernel, and putting others in their place.
use super::Rejected;
use crate::schedule::nest::substitute;
use std::collections::{BTreeSet, HashMap};
use tensmith_ir::expr::{Expr, Ranges, Var};
use tensmith_ir::loops::{Buffer, BufferId, For, Kernel, Layout, Mark, Scalar, Scope, Stmt};

/// Where a statement stands: the statement and the list in it to descend into, again and again;
/// then the position in the last list. By default, the first statement of a kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    around: Vec<(usize, usize)>,
    /// The position in the list.
    pub at: usize,
}

impl Place {
    /// The list that the statement stands in.
    pub fn list<'s>(&self, body: &'s [Stmt]) -> &'s [Stmt] {
        let down = |list: &'s [Stmt], (stmt, nested): &(usize, usize)| -> &'s [Stmt] {
            list[*stmt].bodies()[*nested]
        };
        self.around.iter().fold(body, down)
    }

    /// The list that the statement stands in.
    pub fn list_mut<'s>(&self, body: &'s mut Vec<Stmt>) -> &'s mut Vec<Stmt> {
        let down = |list: &'s mut Vec<Stmt>, (stmt, nested): &(usize, usize)| {
            list[*stmt].bodies_mut().swap_remove(*nested)
        };
        self.around.iter().fold(body, down)
    }

    /// The first place in a list nested in the statement.
    pub fn inside(&self, nested: usize) -> Place {
        let mut around = self.around.clone();
        around.push((self.at, nested));
        Place { around, at: 0 }
    }

    /// The place of the statement that the list belongs to.
    pub fn parent(&self) -> Option<Place> {
        let (last, around) = self.around.split_last()?;
        Some(Place {
            around: around.to_vec(),
            at: last.0,
        })
    }
}

/// Where the first statement stands for which `is` holds, in the order of the text.
pub fn place_where(stmts: &[Stmt], is: &dyn Fn(&Stmt) -> bool) -> Option<Place> {
    for (k, stmt) in stmts.iter().enumerate() {
        if is(stmt) {
            return Some(Place {
                around: vec![],
                at: k,
            });
        }
        for (nested, body) in stmt.bodies().into_iter().enumerate() {
            if let Some(mut found) = place_where(body, is) {
                found.around.insert(0, (k, nested));
                return Some(found);
            }
        }
    }
    None
}

/// The loop over a variable, and where it stands.
///
/// Errors: there is none.
pub fn find(kernel: &Kernel, var: Var) -> Result<(Place, &For), Rejected> {
    let is = |s: &Stmt| matches!(s, Stmt::For(l) if l.var == var);
    let place = place_where(&kernel.body, &is).ok_or(Rejected::NoLoop(var))?;
    match &place.list(&kernel.body)[place.at] {
        Stmt::For(l) => Ok((place.clone(), l)),
        _ => Err(Rejected::NoLoop(var)),
    }
}

/// The loop over a variable, if it has no mark and no state of its own.
///
/// Errors: there is none such.
pub fn find_plain(kernel: &Kernel, var: Var) -> Result<(Place, &For), Rejected> {
    let (place, l) = find(kernel, var)?;
    match (&l.reduction, l.mark) {
        (Some(_), _) => Err(Rejected::State(var)),
        (None, Mark::Plain) => Ok((place, l)),
        _ => Err(Rejected::Marked(var)),
    }
}

/// Puts what `f` makes of the loop at a place there instead. Meanwhile the kernel has no body.
pub fn replace(kernel: &mut Kernel, place: &Place, f: impl FnOnce(&mut Kernel, For) -> Vec<Stmt>) {
    let mut body = std::mem::take(&mut kernel.body);
    let list = place.list_mut(&mut body);
    if let Stmt::For(l) = list.remove(place.at) {
        let new = f(kernel, *l);
        list.splice(place.at..place.at, new);
    }
    kernel.body = body;
}

/// Changes the loop at a place.
pub fn change(kernel: &mut Kernel, place: &Place, f: impl FnOnce(&mut For)) {
    if let Stmt::For(l) = &mut place.list_mut(&mut kernel.body)[place.at] {
        f(l);
    }
}

/// Loops, outermost first, that each are all there is in the one before.
///
/// Errors: a loop that is missing, listed twice, or not nested so.
pub fn band(kernel: &Kernel, vars: &[Var]) -> Result<(Place, Vec<Var>), Rejected> {
    let mut left: BTreeSet<Var> = vars.iter().copied().collect();
    let first = *vars.first().ok_or(Rejected::NoEffect)?;
    if left.len() != vars.len() {
        return Err(Rejected::Repeated(first));
    }
    for var in vars {
        find_plain(kernel, *var)?;
    }
    let is = |s: &Stmt| matches!(s, Stmt::For(l) if left.contains(&l.var));
    let place = place_where(&kernel.body, &is).ok_or(Rejected::NoLoop(first))?;
    let mut list = &place.list(&kernel.body)[place.at..=place.at];
    let mut order = Vec::new();
    while let [Stmt::For(l)] = list
        && left.remove(&l.var)
    {
        order.push(l.var);
        list = &l.body;
    }
    match left.first() {
        Some(apart) => Err(Rejected::NotNested(*apart, order[order.len() - 1])),
        None => Ok((place, order)),
    }
}

/// Takes `count` loops off, outermost first, each all there is in the one before.
pub fn heads(mut outermost: For, count: usize) -> (Vec<For>, Vec<Stmt>) {
    let mut heads = Vec::new();
    let mut body = std::mem::take(&mut outermost.body);
    heads.push(outermost);
    while heads.len() < count {
        let Some(Stmt::For(mut l)) = body.pop() else {
            break;
        };
        body = std::mem::take(&mut l.body);
        heads.push(*l);
    }
    (heads, body)
}

/// Loops around a body, outermost first.
pub fn wrap(heads: Vec<For>, body: Vec<Stmt>) -> Vec<Stmt> {
    heads.into_iter().rev().fold(body, |body, mut l| {
        l.body = body;
        vec![Stmt::For(Box::new(l))]
    })
}

/// What is known of variables, while new ones come.
pub struct Known {
    /// Their ranges.
    pub ranges: Ranges,
}

impl Known {
    /// What is known in a kernel.
    pub fn of(kernel: &Kernel) -> Known {
        Known {
            ranges: kernel.all_ranges(),
        }
    }

    /// A new variable in `0..extent`.
    pub fn fresh(&mut self, kernel: &mut Kernel, extent: &Expr) -> Var {
        let var = kernel.fresh_var();
        self.ranges.bind(var, extent);
        var
    }

    /// Puts an expression in the place of a variable.
    pub fn put(&self, stmts: &mut [Stmt], var: Var, with: Expr) {
        substitute(stmts, &HashMap::from([(var, with)]), &self.ranges);
    }
}

/// A new scalar register like another one.
pub fn new_register(kernel: &mut Kernel, like: BufferId) -> BufferId {
    let mut register = kernel.buffer(like).clone();
    register.name = free_name(kernel, "r");
    kernel.add_buffer(register)
}

/// A new row-major scratch buffer for elements of another one.
pub fn new_scratch(kernel: &mut Kernel, like: BufferId, shape: Vec<Expr>) -> BufferId {
    let buffer = Buffer {
        name: free_name(kernel, "t"),
        dtype: kernel.buffer(like).dtype,
        layout: Layout::row_major(shape.len()),
        shape,
        scope: Scope::Scratch,
        prefetch: 0,
        nonzero: vec![],
    };
    kernel.add_buffer(buffer)
}

fn free_name(kernel: &Kernel, prefix: &str) -> String {
    let taken = |name: &String| kernel.buffers.iter().any(|b| b.name == *name);
    let mut names = (kernel.buffers.len()..).map(|k| format!("{prefix}{k}"));
    names
        .find(|name| !taken(name))
        .expect("invariant: numbers do not end")
}

/// A copy of statements, and what its loops are called.
pub struct Copied {
    /// The statements.
    pub stmts: Vec<Stmt>,
    /// Old and new variables, in the order of the text.
    pub vars: Vec<(Var, Var)>,
}

/// A copy of statements with variables of its own, and registers of its own for `locals`, so that
/// both can stand in one kernel.
pub fn copy(
    kernel: &mut Kernel,
    known: &mut Known,
    stmts: &[Stmt],
    locals: &BTreeSet<BufferId>,
) -> Copied {
    let mut copy = Copied {
        stmts: stmts.to_vec(),
        vars: vec![],
    };
    let mut registers: Vec<(BufferId, BufferId)> = Vec::new();
    for register in locals {
        registers.push((*register, new_register(kernel, *register)));
    }
    rename_bound(kernel, known, &mut copy.stmts, &mut copy.vars);
    let with = copy.vars.iter().map(|(old, new)| (*old, (*new).into()));
    substitute(&mut copy.stmts, &with.collect(), &known.ranges);
    rename_registers(&mut copy.stmts, &registers);
    copy
}

fn rename_bound(
    kernel: &mut Kernel,
    known: &mut Known,
    stmts: &mut [Stmt],
    vars: &mut Vec<(Var, Var)>,
) {
    for stmt in stmts {
        let bound = match stmt {
            Stmt::For(l) => Some((&mut l.var, &l.extent)),
            Stmt::Check { var, extent, .. } => Some((var, &*extent)),
            _ => None,
        };
        if let Some((var, extent)) = bound {
            let new = known.fresh(kernel, extent);
            vars.push((*var, new));
            *var = new;
        }
        for body in stmt.bodies_mut() {
            rename_bound(kernel, known, body, vars);
        }
    }
}

/// Puts other registers in the place of some.
pub fn rename_registers(stmts: &mut [Stmt], with: &[(BufferId, BufferId)]) {
    if with.is_empty() {
        return;
    }
    let rename = |b: &mut BufferId| {
        if let Some((_, new)) = with.iter().find(|(old, _)| old == b) {
            *b = *new;
        }
    };
    for stmt in stmts {
        if let Stmt::Store { buffer, .. } = stmt {
            rename(buffer);
        }
        if let Stmt::For(l) = stmt
            && let Some(r) = &mut l.reduction
        {
            r.state.iter_mut().chain(&mut r.other).for_each(rename);
            for s in &mut r.combine {
                rename_loads(s, &rename);
            }
        }
        if let Some(s) = scalar_mut(stmt) {
            rename_loads(s, &rename);
        }
        for body in stmt.bodies_mut() {
            rename_registers(body, with);
        }
    }
}

fn rename_loads(scalar: &mut Scalar, rename: &dyn Fn(&mut BufferId)) {
    if let Scalar::Load(buffer, _) = scalar {
        rename(buffer);
    }
    for child in scalar.children_mut() {
        rename_loads(child, rename);
    }
}

/// The scalar that a statement evaluates, if it does.
pub fn scalar_mut(stmt: &mut Stmt) -> Option<&mut Scalar> {
    use tensmith_ir::loops::Cond;
    match stmt {
        Stmt::Store { value, .. } | Stmt::Check { value, .. } => Some(value),
        Stmt::If {
            cond: Cond::Scalar(s),
            ..
        } => Some(s),
        Stmt::While { cond, .. } => Some(cond),
        _ => None,
    }
}
