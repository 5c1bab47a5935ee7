//! A scheduled kernel in numbers: how often each statement runs, what it issues, what it touches.
//!
//! Sizes are bound to values, so that every extent is a number; an extent that depends on an outer
//! loop counts with its greatest value, and a branch with the part of the iterations that take it.
//! A statement in lock-step loops is *executed* once for all lanes; what it *issues* follows from
//! the loops in lock step on which each scalar depends, as emitters do it: a load that depends on
//! no lane is one instruction, however large the tile.
mod access;
mod count;

pub use access::{Access, LaneOrder};
pub use count::Ops;

use super::Setting;
use access::{Place, Reach};
use count::Counter;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use tensmith_ir::expr::{Atom, Expr, Ranges, Symbol, Var};
use tensmith_ir::loops::{
    BufferId, Cond, For, Kernel, Mark, Role, Scalar, Scope, Stmt, boundary_bytes,
};

/// Iterations that a `while` loop is taken to do.
const TYPICAL_WHILE: f64 = 16.0;
/// Combinations of loop variables for which a condition is evaluated, at most.
const SAMPLES: i64 = 128;

/// A loop.
#[derive(Clone, Debug)]
pub struct Loop {
    /// Its variable; `None` for a `while`.
    pub var: Option<Var>,
    /// Iterations of one execution.
    pub trips: f64,
    /// What iterations mean to each other.
    pub role: Role,
    /// How they are executed.
    pub mark: Mark,
}

impl Loop {
    /// Whether iterations run in lock step.
    pub fn is_lock_step(&self) -> bool {
        matches!(self.mark, Mark::Vector | Mark::Jam)
    }

    /// Whether the loop remains a loop in the code.
    pub fn is_rolled(&self) -> bool {
        matches!(self.mark, Mark::Plain | Mark::Parallel)
    }
}

/// What a node of the tree is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A loop, by its number.
    Loop(usize),
    /// Statements in a row: the kernel, or a side of a branch.
    List,
    /// A statement.
    Statement,
}

/// A node of the tree of statements.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// How many loops are around it.
    pub level: usize,
    /// The part of the iterations around it that run it.
    pub share: f64,
    /// What is in it.
    pub body: Vec<Node>,
    /// The accesses in it.
    pub accesses: Range<usize>,
}

/// A statement that computes and stores a value.
#[derive(Clone, Debug)]
pub struct Statement {
    /// The loops around it by their numbers, outermost first.
    pub around: Vec<usize>,
    /// How often it is executed in a call, for all lanes together.
    pub times: f64,
    /// What one execution issues.
    pub ops: Ops,
    /// Whether it is `acc = acc op term` on a register.
    pub is_update: bool,
    /// The register that it sets, and how many machine registers its lanes are.
    pub register: Option<(BufferId, f64)>,
    /// Units: bytes of the vectors that it computes with; those of an element if there are none.
    pub vector_bytes: usize,
    /// Its loads and its store.
    pub accesses: Range<usize>,
}

/// A kernel in numbers.
#[derive(Clone, Debug)]
pub struct Nest {
    /// The loops, in the order of the text.
    pub loops: Vec<Loop>,
    /// The statements, in the order of the text.
    pub statements: Vec<Statement>,
    /// Loads and stores of memory, in the order of the text.
    pub accesses: Vec<Access>,
    /// The kernel.
    pub root: Node,
    /// Units: bytes that it reads and writes of its operands.
    pub boundary: f64,
}

impl Nest {
    /// Of a kernel, at the sizes of the setting; sizes that are not stated are the least ones.
    pub fn new(kernel: &Kernel, setting: &Setting) -> Nest {
        let bound = bound(kernel, setting);
        let kernel = bound.as_ref().unwrap_or(kernel);
        let mut builder = Builder::new(kernel, setting);
        let body = builder.list(&kernel.body, 1.0);
        let root = Node {
            kind: Kind::List,
            level: 0,
            share: 1.0,
            accesses: 0..builder.nest.accesses.len(),
            body,
        };
        Nest {
            root,
            boundary: boundary_bytes(kernel, &Ranges::new()),
            ..builder.nest
        }
    }
}

/// The kernel with its sizes bound; `None` if it has none.
fn bound(kernel: &Kernel, setting: &Setting) -> Option<Kernel> {
    if kernel.sizes.is_empty() {
        return None;
    }
    let value = |s: &Symbol| {
        let stated = setting.sizes.get(s).copied();
        let at = kernel.sizes.iter().position(|k| k == s);
        let least = at.map(|k| kernel.size_bounds[k].0.max(1));
        Some(stated.or(least).unwrap_or(1))
    };
    let mut kernel = kernel.clone();
    let bind = |e: &Expr| e.bind_sizes(&value);
    kernel.body.iter_mut().for_each(|s| s.map_exprs(&bind));
    for buffer in &mut kernel.buffers {
        buffer.shape.iter_mut().for_each(|e| *e = bind(e));
    }
    Some(kernel)
}

struct Builder<'a> {
    kernel: &'a Kernel,
    counter: Counter<'a>,
    nest: Nest,
    ranges: Ranges,
    /// The loops around, by their numbers.
    around: Vec<usize>,
    /// Where each variable is bound: the loop, or the loops around a check.
    places: BTreeMap<Var, Place>,
}

impl<'a> Builder<'a> {
    fn new(kernel: &'a Kernel, setting: &Setting) -> Builder<'a> {
        let root = Node {
            kind: Kind::List,
            level: 0,
            share: 1.0,
            body: vec![],
            accesses: 0..0,
        };
        Builder {
            kernel,
            counter: Counter::new(kernel, setting),
            nest: Nest {
                loops: vec![],
                statements: vec![],
                accesses: vec![],
                root,
                boundary: 0.0,
            },
            ranges: Ranges::new(),
            around: vec![],
            places: BTreeMap::new(),
        }
    }

    fn list(&mut self, stmts: &[Stmt], times: f64) -> Vec<Node> {
        stmts.iter().flat_map(|s| self.stmt(s, times)).collect()
    }

    fn node(&mut self, kind: Kind, share: f64, body: impl FnOnce(&mut Self) -> Vec<Node>) -> Node {
        let (begin, level) = (self.nest.accesses.len(), self.around.len());
        let body = body(self);
        Node {
            kind,
            level,
            share,
            body,
            accesses: begin..self.nest.accesses.len(),
        }
    }

    fn stmt(&mut self, stmt: &Stmt, times: f64) -> Vec<Node> {
        match stmt {
            Stmt::For(l) => vec![self.for_loop(l, times)],
            Stmt::Store {
                buffer,
                index,
                value,
            } => vec![self.store((*buffer, index), value, times)],
            Stmt::If {
                cond,
                then,
                otherwise,
            } => {
                let mut nodes = Vec::new();
                let share = match cond {
                    Cond::Affine(conds) => self.share(conds),
                    Cond::Scalar(value) => {
                        nodes.push(self.value(value, times));
                        0.5
                    }
                };
                for (side, share) in [(then, share), (otherwise, 1.0 - share)] {
                    if !side.is_empty() {
                        let body = |b: &mut Self| b.list(side, times * share);
                        nodes.push(self.node(Kind::List, share, body));
                    }
                }
                nodes
            }
            Stmt::Check {
                var,
                value,
                extent,
                body,
                ..
            } => {
                let mut nodes = vec![self.value(value, times)];
                self.ranges.bind(*var, extent);
                self.places.insert(*var, Place::Check(self.around.len()));
                nodes.extend(self.list(body, times));
                nodes
            }
            Stmt::While { cond, body } => {
                let l = Loop {
                    var: None,
                    trips: TYPICAL_WHILE,
                    role: Role::Serial,
                    mark: Mark::Plain,
                };
                let inner = times * TYPICAL_WHILE;
                vec![self.in_loop(l, |b| {
                    let mut nodes = vec![b.value(cond, inner)];
                    nodes.extend(b.list(body, inner));
                    nodes
                })]
            }
        }
    }

    fn for_loop(&mut self, l: &For, times: f64) -> Node {
        let most = self.ranges.bounds(&l.extent).1.max(0);
        self.ranges.bind(l.var, &l.extent);
        let one = Loop {
            var: Some(l.var),
            trips: most as f64,
            role: l.role,
            mark: l.mark,
        };
        self.places.insert(l.var, Place::Loop(self.around.len()));
        let times = match one.is_lock_step() {
            true => times,
            false => times * one.trips,
        };
        self.in_loop(one, |b| b.list(&l.body, times))
    }

    fn in_loop(&mut self, l: Loop, body: impl FnOnce(&mut Self) -> Vec<Node>) -> Node {
        let number = self.nest.loops.len();
        self.nest.loops.push(l);
        self.node(Kind::Loop(number), 1.0, |b| {
            b.around.push(number);
            let nodes = body(b);
            b.around.pop();
            nodes
        })
    }

    /// A value that is computed for a condition or a check.
    fn value(&mut self, value: &Scalar, times: f64) -> Node {
        self.statement(None, value, times)
    }

    fn store(&mut self, to: (BufferId, &[Expr]), value: &Scalar, times: f64) -> Node {
        self.statement(Some(to), value, times)
    }

    fn statement(&mut self, to: Option<(BufferId, &[Expr])>, value: &Scalar, times: f64) -> Node {
        self.node(Kind::Statement, 1.0, |b| {
            let begin = b.nest.accesses.len();
            let loops = &b.nest.loops;
            let lanes = b.counter.lanes(loops, &b.around);
            let mut ops = b.counter.ops(value, &lanes);
            value.visit(&mut |s| {
                if let Scalar::Load(buffer, index) = s {
                    b.access(*buffer, index, false, times);
                }
            });
            let mut register = None;
            let mut is_update = false;
            if let Some((buffer, index)) = to {
                if b.kernel.buffer(buffer).scope == Scope::Register {
                    is_update = tensmith_ir::loops::is_update(buffer, value);
                    register = Some((buffer, lanes.issues(lanes.all())));
                } else {
                    b.access(buffer, index, true, times);
                }
            }
            for access in &b.nest.accesses[begin..] {
                ops.access(access);
            }
            b.nest.statements.push(Statement {
                vector_bytes: lanes.vector_bytes(),
                around: b.around.clone(),
                times,
                ops,
                is_update,
                register,
                accesses: begin..b.nest.accesses.len(),
            });
            vec![]
        })
    }

    fn access(&mut self, buffer: BufferId, index: &[Expr], is_write: bool, times: f64) {
        if self.kernel.buffer(buffer).scope == Scope::Register {
            return;
        }
        let reach = Reach {
            kernel: self.kernel,
            loops: &self.nest.loops,
            around: &self.around,
            places: &self.places,
            ranges: &self.ranges,
        };
        let lanes = self.counter.lanes(&self.nest.loops, &self.around);
        let access = reach.access((buffer, index), is_write, times, &lanes);
        self.nest.accesses.push(access);
    }

    /// The part of the iterations around in which all expressions are at least 0.
    fn share(&self, conds: &[Expr]) -> f64 {
        let mut vars = BTreeSet::new();
        for cond in conds {
            cond.visit(&mut |atom| {
                if let Atom::Var(v) = atom {
                    vars.insert(*v);
                }
            });
        }
        let extents: BTreeMap<Var, i64> = (vars.into_iter())
            .map(|v| {
                (
                    v,
                    self.ranges.bounds(&Expr::var(v)).1.saturating_add(1).max(1),
                )
            })
            .collect();
        let all = extents.values().fold(1_i64, |a, b| a.saturating_mul(*b));
        let samples = all.min(SAMPLES);
        let holds = |k: &i64| {
            // Evenly among all combinations, the first and the last included.
            let at = match all <= SAMPLES {
                true => *k,
                false => (i128::from(*k) * i128::from(all - 1) / i128::from(samples - 1)) as i64,
            };
            let point = decode(&extents, at);
            let value = |atom: &Atom| match atom {
                Atom::Var(v) => point.get(v).copied(),
                _ => None,
            };
            conds.iter().all(|e| e.eval(&value).is_some_and(|x| x >= 0))
        };
        (0..samples).filter(holds).count() as f64 / samples.max(1) as f64
    }
}

/// The `at`-th combination of values.
fn decode(extents: &BTreeMap<Var, i64>, mut at: i64) -> BTreeMap<Var, i64> {
    let mut point = BTreeMap::new();
    for (var, extent) in extents.iter().rev() {
        point.insert(*var, at % extent);
        at /= extent;
    }
    point
}
