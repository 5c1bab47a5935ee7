//! Lock step: which values differ between lanes, and how they are kept.
//!
//! Inside `vector` and `jam` loops every scalar is evaluated once per combination of those lanes
//! on which it depends: a tile of registers for an accumulator, one register for what all rows
//! share, one broadcast for what all columns share.
use super::GROUP;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use tensmith_ir::expr::{Expr, Var};
use tensmith_ir::loops::{
    BufferId, Cond, For, Kernel, Mark, Role, Scalar, Scope, Stmt, accumulated, own_of_lanes,
    vectorisable,
};

/// An open lock-step loop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane {
    pub var: Var,
    pub extent: i64,
    /// Lanes of vector registers; else copies of code.
    pub vector: bool,
    /// The lane that code is emitted for just now, if only one.
    pub pinned: Option<i64>,
}

/// The registers that open loops over lanes add up in: each lane counts, also where all add the same.
#[derive(Default)]
pub(crate) struct Sums(Vec<(Var, BTreeSet<BufferId>)>);

impl Sums {
    /// Notes a loop whose iterations are lanes; only reductions add up.
    pub fn open(&mut self, l: &For) {
        if l.role == Role::Reduce {
            self.0.push((l.var, accumulated(&l.body)));
        }
    }

    /// Forgets a loop.
    pub fn close(&mut self, var: Var) {
        self.0.retain(|(v, _)| *v != var);
    }

    /// Those of the open lanes, as bits, over which a register adds up.
    pub fn lanes(&self, open: impl Iterator<Item = Var>, buffer: BufferId) -> u32 {
        let sums = |var: &Var| {
            self.0
                .iter()
                .any(|(v, of)| v == var && of.contains(&buffer))
        };
        let lanes = open.enumerate().filter(|(_, var)| sums(var));
        lanes.fold(0, |mask, (k, _)| mask | 1 << k)
    }
}

impl Lane {
    /// Registers or copies that hold all lanes.
    pub fn groups(&self) -> usize {
        (if self.vector {
            self.extent / GROUP
        } else {
            self.extent
        }) as usize
    }
}

/// How a register is kept: over which lanes, outermost first.
#[derive(Clone, Debug, Default)]
pub(crate) struct RegisterShape {
    /// Lane variables with the number of groups.
    pub lanes: Vec<(Var, usize)>,
    /// Whether the last lane is one of vectors.
    pub vector: bool,
    /// The number of Cranelift variables.
    pub count: usize,
}

/// For each register, the lanes over which it varies.
pub(crate) struct RegisterLanes {
    shapes: HashMap<BufferId, RegisterShape>,
    scalar: RegisterShape,
    /// `vector` loops that must run lane by lane.
    pub scalar_loops: BTreeSet<Var>,
}

impl RegisterLanes {
    pub fn shape(&self, id: BufferId) -> &RegisterShape {
        self.shapes.get(&id).unwrap_or(&self.scalar)
    }
}

/// The registers of which each lane of a loop has its own.
#[derive(Clone)]
enum Own {
    All,
    These(Rc<BTreeSet<BufferId>>),
}

impl Own {
    fn of(l: &For) -> Self {
        match l.role {
            Role::Reduce => Own::These(Rc::new(own_of_lanes(l))),
            _ => Own::All,
        }
    }

    fn contains(&self, id: &BufferId) -> bool {
        match self {
            Own::All => true,
            Own::These(own) => own.contains(id),
        }
    }
}

#[derive(Default)]
struct Analysis {
    deps: HashMap<BufferId, BTreeSet<Var>>,
    order: Vec<(Var, usize, bool)>,
    scalar_loops: BTreeSet<Var>,
    changed: bool,
}

/// Finds the lanes of every register of a kernel, to a fixed point.
pub(crate) fn analyse(kernel: &Kernel) -> RegisterLanes {
    let mut a = Analysis::default();
    a.collect_loops(kernel, &kernel.body);
    loop {
        a.changed = false;
        a.visit(kernel, &kernel.body, &[], &BTreeSet::new());
        if !a.changed {
            break;
        }
    }
    let mut shapes = HashMap::new();
    for (id, deps) in &a.deps {
        let mut shape = RegisterShape {
            count: 1,
            ..RegisterShape::default()
        };
        for (var, groups, vector) in a.order.iter().filter(|(v, ..)| deps.contains(v)) {
            shape.lanes.push((*var, *groups));
            shape.count *= groups;
            shape.vector |= vector;
        }
        // A vector lane is kept innermost, whatever the nesting.
        shape
            .lanes
            .sort_by_key(|(v, _)| a.order.iter().any(|(w, _, vector)| w == v && *vector));
        shapes.insert(*id, shape);
    }
    RegisterLanes {
        shapes,
        scalar: RegisterShape {
            count: 1,
            ..RegisterShape::default()
        },
        scalar_loops: a.scalar_loops,
    }
}

impl Analysis {
    fn collect_loops(&mut self, kernel: &Kernel, stmts: &[Stmt]) {
        for stmt in stmts {
            if let Stmt::For(l) = stmt
                && let Some(extent) = l
                    .extent
                    .as_const()
                    .filter(|_| matches!(l.mark, Mark::Vector | Mark::Jam))
            {
                let vector =
                    l.mark == Mark::Vector && extent % GROUP == 0 && vectorisable(kernel, l);
                if l.mark == Mark::Vector && !vector {
                    self.scalar_loops.insert(l.var);
                }
                let groups = if vector { extent / GROUP } else { extent };
                self.order.push((l.var, groups.max(0) as usize, vector));
            }
            stmt.bodies()
                .into_iter()
                .for_each(|body| self.collect_loops(kernel, body));
        }
    }

    /// `lanes` are the open lock-step loops, with the registers of which each lane has its own;
    /// `control` are variables that decide whether the statements run.
    fn visit(
        &mut self,
        kernel: &Kernel,
        stmts: &[Stmt],
        lanes: &[(Var, Own)],
        control: &BTreeSet<Var>,
    ) {
        for stmt in stmts {
            match stmt {
                Stmt::Store { buffer, value, .. }
                    if kernel.buffer(*buffer).scope == Scope::Register =>
                {
                    let mut deps = self.scalar_deps(value);
                    deps.extend(control);
                    deps.retain(|v| lanes.iter().any(|(l, own)| l == v && own.contains(buffer)));
                    let slot = self.deps.entry(*buffer).or_default();
                    let before = slot.len();
                    slot.extend(deps);
                    self.changed |= slot.len() != before;
                }
                Stmt::Store { .. } => {}
                Stmt::For(l) if matches!(l.mark, Mark::Vector | Mark::Jam) => {
                    let inner = [lanes, &[(l.var, Own::of(l))]].concat();
                    self.visit(kernel, &l.body, &inner, control);
                }
                Stmt::For(l) => {
                    let mut inner = control.clone();
                    inner.extend(expr_deps(&l.extent));
                    self.visit(kernel, &l.body, lanes, &inner);
                }
                Stmt::If {
                    cond,
                    then,
                    otherwise,
                } => {
                    let mut inner = control.clone();
                    match cond {
                        Cond::Affine(es) => es.iter().for_each(|e| inner.extend(expr_deps(e))),
                        Cond::Scalar(s) => inner.extend(self.scalar_deps(s)),
                    }
                    self.visit(kernel, then, lanes, &inner);
                    self.visit(kernel, otherwise, lanes, &inner);
                }
                Stmt::Check { value, body, .. } => {
                    let mut inner = control.clone();
                    inner.extend(self.scalar_deps(value));
                    self.visit(kernel, body, lanes, &inner);
                }
                Stmt::While { cond, body } => {
                    let mut inner = control.clone();
                    inner.extend(self.scalar_deps(cond));
                    self.visit(kernel, body, lanes, &inner);
                }
            }
        }
    }

    fn scalar_deps(&self, value: &Scalar) -> BTreeSet<Var> {
        let mut deps = BTreeSet::new();
        value.visit_exprs(&mut |e| deps.extend(expr_deps(e)));
        value.visit(&mut |s| {
            if let Scalar::Load(b, _) = s
                && let Some(d) = self.deps.get(b)
            {
                deps.extend(d);
            }
        });
        deps
    }
}

fn expr_deps(e: &Expr) -> BTreeSet<Var> {
    let mut deps = BTreeSet::new();
    e.visit(&mut |a| {
        if let tensmith_ir::expr::Atom::Var(v) = a {
            deps.insert(*v);
        }
    });
    deps
}
