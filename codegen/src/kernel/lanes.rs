//! Lock step: which values differ between lanes, and how they are kept.
//!
//! Inside `vector` and `jam` loops every scalar is evaluated once per combination of those lanes
//! on which it depends: a tile of registers for an accumulator, one register for what all rows
//! share, one broadcast for what all columns share.
use super::GROUP;
use std::collections::{BTreeSet, HashMap};
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::{Expr, Var};
use tensmith_ir::loops::{
    BinaryOp, BufferId, Cond, For, Kernel, Mark, Role, Scalar, Scope, Stmt, UnaryOp,
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
pub(super) struct RegisterShape {
    /// Lane variables with the number of groups.
    pub lanes: Vec<(Var, usize)>,
    /// Whether the last lane is one of vectors.
    pub vector: bool,
    /// The number of Cranelift variables.
    pub count: usize,
}

/// For each register, the lanes over which it varies.
pub(super) struct RegisterLanes {
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

#[derive(Default)]
struct Analysis {
    deps: HashMap<BufferId, BTreeSet<Var>>,
    order: Vec<(Var, usize, bool)>,
    scalar_loops: BTreeSet<Var>,
    changed: bool,
}

/// Finds the lanes of every register of a kernel, to a fixed point.
pub(super) fn analyse(kernel: &Kernel) -> RegisterLanes {
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
                let vector = l.mark == Mark::Vector && vectorisable(kernel, l);
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

    /// `lanes` are the open lock-step space loops; `control` are those that decide whether the
    /// statements run.
    fn visit(&mut self, kernel: &Kernel, stmts: &[Stmt], lanes: &[Var], control: &BTreeSet<Var>) {
        for stmt in stmts {
            match stmt {
                Stmt::Store { buffer, value, .. }
                    if kernel.buffer(*buffer).scope == Scope::Register =>
                {
                    let mut deps = self.scalar_deps(value);
                    deps.extend(control);
                    deps.retain(|v| lanes.contains(v));
                    let slot = self.deps.entry(*buffer).or_default();
                    let before = slot.len();
                    slot.extend(deps);
                    self.changed |= slot.len() != before;
                }
                Stmt::Store { .. } => {}
                Stmt::For(l)
                    if matches!(l.mark, Mark::Vector | Mark::Jam) && l.role != Role::Reduce =>
                {
                    let inner = [lanes, &[l.var]].concat();
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

/// Whether the lanes of a loop can be those of 128-bit vectors: 32-bit elements throughout, and
/// control flow and index values that do not depend on the lane.
pub fn vectorisable(kernel: &Kernel, l: &For) -> bool {
    let whole = l.extent.as_const().is_some_and(|e| e > 0 && e % GROUP == 0);
    whole && statements_fit(kernel, &l.body, l.var)
}

fn statements_fit(kernel: &Kernel, stmts: &[Stmt], lane: Var) -> bool {
    stmts.iter().all(|stmt| match stmt {
        Stmt::For(l) => {
            !l.extent.mentions(lane)
                && l.mark != Mark::Vector
                && statements_fit(kernel, &l.body, lane)
        }
        Stmt::Store { buffer, value, .. } => {
            buffer_fits(kernel, *buffer) && scalar_fits(kernel, value, lane)
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

fn fits(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::I32 | DType::U32)
}

/// In registers `bool` lanes are masks.
fn fits_register(dtype: DType) -> bool {
    fits(dtype) || dtype == DType::Bool
}

fn buffer_fits(kernel: &Kernel, id: BufferId) -> bool {
    let buffer = kernel.buffer(id);
    if buffer.scope == Scope::Register {
        fits_register(buffer.dtype)
    } else {
        fits(buffer.dtype)
    }
}

fn scalar_fits(kernel: &Kernel, s: &Scalar, lane: Var) -> bool {
    let dtype = |s: &Scalar| s.dtype(&|b| kernel.buffer(b).dtype);
    let this = match s {
        Scalar::Const(c) => fits(c.dtype) || c.dtype == DType::Bool,
        Scalar::Index(_) => false,
        Scalar::Load(b, _) => buffer_fits(kernel, *b),
        Scalar::Unary(op, a) => match op {
            UnaryOp::Not | UnaryOp::Neg | UnaryOp::Abs => true,
            _ => dtype(a) == DType::F32,
        },
        Scalar::Binary(op, a, b) => binary_fits(*op, dtype(a), b),
        Scalar::Fma(a, ..) => dtype(a) == DType::F32,
        Scalar::Call(f, args) => call_fits(*f, dtype(&args[0])),
        Scalar::Select(..) => true,
        Scalar::Cast(to, a) => matches!(
            (dtype(a), *to),
            (DType::F32, DType::I32) | (DType::I32, DType::F32)
        ),
        Scalar::Bitcast(to, a) => fits(*to) && fits(dtype(a)),
        Scalar::Guard(conds, ..) => conds.iter().all(|c| !c.mentions(lane)),
    };
    this && s.children().iter().all(|c| scalar_fits(kernel, c, lane))
}

fn binary_fits(op: BinaryOp, dtype: DType, right: &Scalar) -> bool {
    match op {
        BinaryOp::Div => dtype == DType::F32,
        BinaryOp::Rem => false,
        BinaryOp::Shl | BinaryOp::Shr => matches!(right, Scalar::Const(_)),
        _ => true,
    }
}

/// Whether the body of a math function is vector code.
fn call_fits(f: tensmith_ir::loops::math::MathFn, dtype: DType) -> bool {
    static FITS: std::sync::LazyLock<
        std::sync::Mutex<HashMap<tensmith_ir::loops::math::MathFn, bool>>,
    > = std::sync::LazyLock::new(Default::default);
    if dtype != DType::F32 {
        return false;
    }
    let mut known = FITS
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    *known.entry(f).or_insert_with(|| math_body_fits(f))
}

fn math_body_fits(f: tensmith_ir::loops::math::MathFn) -> bool {
    let Some(body) = tensmith_ir::loops::math::body(f, DType::F32) else {
        return false;
    };
    let kernel = super::ops::math_kernel(body);
    body.lets
        .iter()
        .all(|(dtype, value)| fits_register(*dtype) && scalar_fits(&kernel, value, Var(u32::MAX)))
}
