//! The loop IR: how one kernel computes its results.
//!
//! A kernel is a list of statements over buffers. A naive kernel, as the op table defines it,
//! computes one output element per iteration of its space loops, accumulating in registers; a
//! schedule changes loops and marks, never what is computed. Marks:
//! - `parallel`: iterations are dealt to threads in contiguous ranges; inside of a serial loop,
//!   threads wait for each other where they need what others wrote ([`team`]);
//! - `vector`: iterations run in lock step as the lanes of vectors;
//! - `jam`: iterations run in lock step as copies of each statement (unroll and jam), so that a
//!   nest of `jam` and `vector` loops around a reduction is a register tile;
//! - `unroll`: the body is copied, one iteration after the other.
//!
//! Lock step means: every statement runs for all lanes before the next one does. It is legal for
//! space loops whose inner loop extents and branch conditions do not depend on the lane. In a
//! reduction that runs in lock step, an accumulator (`r = r op term`) joins the terms of all lanes,
//! in any order; other registers belong to a lane.
mod footprint;
mod in_place;
pub mod interp;
pub mod math;
mod parse;
mod print;
mod scalar;
pub mod team;
mod vectorise;
mod verify;

pub use footprint::boundary_bytes;
pub use in_place::may_write_over;
pub use parse::parse_kernel;
pub use scalar::{BinaryOp, Const, Scalar, UnaryOp};
pub use vectorise::{accumulated, is_update, vectorisable};
pub use verify::{
    Region, VerifyError, own_of_lanes, stores_are_apart, touched_regions, verify_kernel,
};

use crate::dtype::DType;
use crate::expr::{Expr, Symbol, Var};
use smallvec::{SmallVec, smallvec};

/// A buffer of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BufferId(pub u32);

/// Where a buffer lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Memory of the caller, only read: the k-th argument. A caller may pass memory that a result is
    /// written to as well, where [`may_write_over`] holds.
    Input,
    /// Memory of the caller, written (and read, if the kernel does): the k-th argument.
    Output,
    /// Memory of one thread, or of a [`team`]; contents undefined when an iteration of a parallel
    /// loop begins, but for what a team shares.
    Scratch,
    /// Virtual registers; extents are static. One element of rank 0 is a scalar variable. Inside
    /// a lock-step loop that writes it, each lane has its own.
    Register,
}

/// How a buffer's elements lie in memory: physical dimensions, outermost first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Layout(pub Vec<LayoutDim>);

/// One physical dimension: `mod(div(index[dim], step), extent)`, or without `extent` the
/// outermost part `div(index[dim], step)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LayoutDim {
    /// The logical dimension.
    pub dim: usize,
    /// The size of the blocks that this physical dimension counts.
    pub step: i64,
    /// How many of them make the next outer block of the same dimension.
    pub extent: Option<i64>,
}

impl Layout {
    /// Row-major.
    pub fn row_major(rank: usize) -> Self {
        Layout(
            (0..rank)
                .map(|dim| LayoutDim {
                    dim,
                    step: 1,
                    extent: None,
                })
                .collect(),
        )
    }

    /// Whether elements lie in the order of their indices.
    pub fn is_row_major(&self) -> bool {
        *self == Layout::row_major(self.0.len())
    }

    /// The physical extents for a logical shape: blocked dimensions are padded to whole blocks.
    pub fn physical_shape(&self, shape: &[Expr]) -> Vec<Expr> {
        let extent = |d: &LayoutDim| match d.extent {
            Some(e) => Expr::from(e),
            None => shape[d.dim].ceil_div(d.step),
        };
        self.0.iter().map(extent).collect()
    }

    /// The element offset of a logical index.
    pub fn offset(&self, shape: &[Expr], index: &[Expr]) -> Expr {
        let extents = self.physical_shape(shape);
        let mut offset = Expr::from(0);
        for (d, extent) in self.0.iter().zip(&extents) {
            let part = index[d.dim].div(d.step);
            let part = match d.extent {
                Some(e) => part.rem(e),
                None => part,
            };
            offset = offset * extent.clone() + part;
        }
        offset
    }

    /// The number of elements that a buffer of this layout holds, padding included.
    pub fn count(&self, shape: &[Expr]) -> Expr {
        crate::expr::product(&self.physical_shape(shape))
    }
}

/// A buffer: element type, logical shape and layout.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Buffer {
    /// The name in the text form.
    pub name: String,
    /// The element type.
    pub dtype: DType,
    /// The logical extents.
    pub shape: Vec<Expr>,
    /// How elements lie in memory.
    pub layout: Layout,
    /// Where it lives.
    pub scope: Scope,
    /// Units: elements. What lies so far behind each vector that is loaded will be loaded soon: a
    /// hint to emitters, which changes no result. 0: no hint.
    pub prefetch: i64,
    /// Of an input: for each dimension, the indices from the first number to before the second;
    /// every element with another index is 0. Empty: nothing is known.
    pub nonzero: Vec<(i64, i64)>,
}

impl Buffer {
    /// How far ahead a hint may point. Units: elements.
    pub const MOST_PREFETCH: i64 = 1 << 20;

    /// The element offset of an index.
    pub fn offset(&self, index: &[Expr]) -> Expr {
        self.layout.offset(&self.shape, index)
    }

    /// The number of elements in memory, padding included.
    pub fn count(&self) -> Expr {
        self.layout.count(&self.shape)
    }
}

/// A kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// What it computes, such as `conv_relu`; part of the text form.
    pub name: String,
    /// Size parameters, in the order in which they are passed.
    pub sizes: Vec<Symbol>,
    /// Bounds of the size parameters: least and greatest value.
    pub size_bounds: Vec<(i64, i64)>,
    /// Buffers; those of scope `Input` and `Output` are the parameters, in order.
    pub buffers: Vec<Buffer>,
    /// Statements, run in order.
    pub body: Vec<Stmt>,
    /// One more than the greatest variable number in use.
    pub vars: u32,
}

/// What the iterations of a loop mean to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Independent: each writes its own output elements.
    Space,
    /// They accumulate into registers by associative operations.
    Reduce,
    /// They run in order.
    Serial,
}

/// How a loop is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mark {
    /// One iteration after the other.
    Plain,
    /// Dealt to threads; only outermost loops of a kernel, and loops in the steps of serial ones.
    Parallel,
    /// Lanes of vectors, in lock step; static extent.
    Vector,
    /// Copies of each statement, in lock step; static extent.
    Jam,
    /// Copies of the body; static extent.
    Unroll,
}

/// How partial results of a reduction loop combine, where that is not a plain update: state
/// registers, their identity, and new values over `Scalar::Load` of `state` (left) and `other`
/// (right).
#[derive(Clone, Debug, PartialEq)]
pub struct Reduction {
    /// The state: rank-0 registers.
    pub state: Vec<BufferId>,
    /// The registers that stand for the right operand in `combine`.
    pub other: Vec<BufferId>,
    /// The values of the state before the first iteration.
    pub identity: Vec<Const>,
    /// The combined state.
    pub combine: Vec<Scalar>,
}

/// A loop.
#[derive(Clone, Debug, PartialEq)]
pub struct For {
    /// The variable; runs over `0..extent`.
    pub var: Var,
    /// The number of iterations; one below 1 means none.
    pub extent: Expr,
    /// What iterations mean to each other.
    pub role: Role,
    /// How they are executed.
    pub mark: Mark,
    /// For a `Reduce` loop with tuple state: how partial results combine.
    pub reduction: Option<Reduction>,
    /// The statements of an iteration.
    pub body: Vec<Stmt>,
}

/// A condition of a branch.
#[derive(Clone, Debug, PartialEq)]
pub enum Cond {
    /// All expressions are at least 0.
    Affine(Vec<Expr>),
    /// A boolean scalar.
    Scalar(Scalar),
}

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Stmt {
    /// A loop.
    For(Box<For>),
    /// Writes one element.
    Store {
        /// The buffer.
        buffer: BufferId,
        /// The logical index.
        index: Vec<Expr>,
        /// The value, of the buffer's type.
        value: Scalar,
    },
    /// A branch.
    If {
        /// The condition.
        cond: Cond,
        /// If it holds.
        then: Vec<Stmt>,
        /// If it does not.
        otherwise: Vec<Stmt>,
    },
    /// Binds `var` to an `i64` computed from data, after a check that it lies in `0..extent`. If
    /// it does not, the error `site` is reported and `body` is skipped.
    Check {
        /// The variable.
        var: Var,
        /// The value.
        value: Scalar,
        /// The bound.
        extent: Expr,
        /// Names the place in the model.
        site: u32,
        /// Where the variable may be used.
        body: Vec<Stmt>,
    },
    /// Runs the body as long as the condition holds; state lives in registers.
    While {
        /// The condition.
        cond: Scalar,
        /// The body.
        body: Vec<Stmt>,
    },
}

impl Kernel {
    /// The buffer with an id.
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0 as usize]
    }

    /// The parameters, in order.
    pub fn params(&self) -> impl Iterator<Item = (BufferId, &Buffer)> {
        let all = self
            .buffers
            .iter()
            .enumerate()
            .map(|(k, b)| (BufferId(k as u32), b));
        all.filter(|(_, b)| matches!(b.scope, Scope::Input | Scope::Output))
    }

    /// Whether iterations are dealt to threads.
    pub fn is_parallel(&self) -> bool {
        fn any(stmts: &[Stmt]) -> bool {
            stmts.iter().any(|s| match s {
                Stmt::For(l) if l.mark == Mark::Parallel => true,
                other => other.bodies().into_iter().any(|b| any(b)),
            })
        }
        any(&self.body)
    }

    /// A variable not in use.
    pub fn fresh_var(&mut self) -> Var {
        self.vars += 1;
        Var(self.vars - 1)
    }

    /// Adds a buffer.
    pub fn add_buffer(&mut self, buffer: Buffer) -> BufferId {
        self.buffers.push(buffer);
        BufferId(self.buffers.len() as u32 - 1)
    }

    /// What is known of the size parameters.
    pub fn ranges(&self) -> crate::expr::Ranges {
        let mut ranges = crate::expr::Ranges::new();
        for (symbol, (lo, hi)) in self.sizes.iter().zip(&self.size_bounds) {
            ranges.bind_size(symbol.clone(), *lo, *hi);
        }
        ranges
    }

    /// What is known of the size parameters and of all loop variables.
    pub fn all_ranges(&self) -> crate::expr::Ranges {
        fn bind(stmts: &[Stmt], ranges: &mut crate::expr::Ranges) {
            for stmt in stmts {
                match stmt {
                    Stmt::For(l) => ranges.bind(l.var, &l.extent),
                    Stmt::Check { var, extent, .. } => ranges.bind(*var, extent),
                    _ => {}
                }
                stmt.bodies().into_iter().for_each(|b| bind(b, ranges));
            }
        }
        let mut ranges = self.ranges();
        bind(&self.body, &mut ranges);
        ranges
    }
}

impl Stmt {
    /// The statement lists nested in this one.
    pub fn bodies(&self) -> SmallVec<[&Vec<Stmt>; 2]> {
        match self {
            Stmt::For(l) => smallvec![&l.body],
            Stmt::Store { .. } => smallvec![],
            Stmt::If {
                then, otherwise, ..
            } => smallvec![then, otherwise],
            Stmt::Check { body, .. } | Stmt::While { body, .. } => smallvec![body],
        }
    }

    /// The statement lists nested in this one.
    pub fn bodies_mut(&mut self) -> SmallVec<[&mut Vec<Stmt>; 2]> {
        match self {
            Stmt::For(l) => smallvec![&mut l.body],
            Stmt::Store { .. } => smallvec![],
            Stmt::If {
                then, otherwise, ..
            } => smallvec![then, otherwise],
            Stmt::Check { body, .. } | Stmt::While { body, .. } => smallvec![body],
        }
    }

    /// Calls `f` with every expression within; a variable that is bound counts as one.
    pub fn visit_exprs(&self, f: &mut dyn FnMut(&Expr)) {
        match self {
            Stmt::For(l) => {
                f(&l.var.into());
                f(&l.extent);
                let combine = l.reduction.iter().flat_map(|r| &r.combine);
                combine.for_each(|s| s.visit_exprs(f));
            }
            Stmt::Store { index, value, .. } => {
                index.iter().for_each(&mut *f);
                value.visit_exprs(f);
            }
            Stmt::If { cond, .. } => match cond {
                Cond::Affine(es) => es.iter().for_each(&mut *f),
                Cond::Scalar(s) => s.visit_exprs(f),
            },
            Stmt::Check {
                var, value, extent, ..
            } => {
                f(&(*var).into());
                f(extent);
                value.visit_exprs(f);
            }
            Stmt::While { cond, .. } => cond.visit_exprs(f),
        }
        for body in self.bodies() {
            body.iter().for_each(|s| s.visit_exprs(f));
        }
    }

    /// Rebuilds the statement with every expression (indices, extents, conditions) mapped.
    pub fn map_exprs(&mut self, f: &dyn Fn(&Expr) -> Expr) {
        match self {
            Stmt::For(l) => l.extent = f(&l.extent),
            Stmt::Store { index, value, .. } => {
                index.iter_mut().for_each(|e| *e = f(e));
                value.map_exprs(f);
            }
            Stmt::If {
                cond: Cond::Affine(es),
                ..
            } => es.iter_mut().for_each(|e| *e = f(e)),
            Stmt::If {
                cond: Cond::Scalar(s),
                ..
            } => s.map_exprs(f),
            Stmt::Check { value, extent, .. } => {
                *extent = f(extent);
                value.map_exprs(f);
            }
            Stmt::While { cond, .. } => cond.map_exprs(f),
        }
        for body in self.bodies_mut() {
            body.iter_mut().for_each(|s| s.map_exprs(f));
        }
    }
}
