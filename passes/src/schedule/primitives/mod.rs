//! Schedule primitives: the only ways in which the loops of a kernel change.
//!
//! Each file holds one. It keeps what the kernel computes, or says why it does not apply; only
//! those that say so in their heads reorder the terms of sums. Loops are named by their variables,
//! which are never used again, and buffers by their names.
//!
//! Two primitives of other compilers are no primitives here. *Fusing kernels*
//! changes which nodes of the graph a kernel computes: the partition does that. *Tensorizing*: code
//! generation takes every nest of lanes that it can to the wide-vector emitter, so that marks say
//! all that there is to say.
mod attach;
mod compute_at;
mod contract_fma;
mod cut;
mod distinct;
mod drop_unit_loops;
pub(super) mod edit;
mod fission;
mod fold_guards;
mod fuse;
mod inline;
mod jam;
mod lanes;
mod pack;
mod parallelize;
mod peel;
mod prefetch;
pub(super) mod registers;
mod rejected;
mod reorder;
mod rfactor;
mod set_layout;
mod skip_lanes;
mod skip_zeros;
mod split;
mod stage;
mod straighten;
#[cfg(test)]
mod tests;
mod text;
mod unroll;
mod vectorize;

pub use cut::At;
pub use rejected::Rejected;
pub(super) use text::{Listed, vars as read_vars};

use tensmith_ir::expr::Var;
use tensmith_ir::loops::team::{is_team, shares_steps, team_fault};
use tensmith_ir::loops::{BufferId, Kernel, Layout};

/// One application of a primitive. Each is described at the head of the file that is called like
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Primitive {
    /// Moves a loop into the first iteration of the one behind it.
    Attach(Var, Var),
    /// Moves what a loop computes into the loop behind it.
    ComputeAt(Var, Var),
    /// Makes multiply and add one operation in sums.
    ContractFma,
    /// Cuts the range of a loop.
    Cut(Var, At),
    /// Removes loops of one iteration.
    DropUnitLoops(Vec<Var>),
    /// Makes two loops of one, whose body is cut before a statement.
    Fission(Var, i64),
    /// Removes decided guards in a loop.
    FoldGuards(Var),
    /// Makes one loop of perfectly nested ones.
    Fuse(Vec<Var>),
    /// Computes the value of a register where it is read.
    Inline(String),
    /// Marks a loop: lock step, copies of statements.
    Jam(Var),
    /// Copies what a loop reads of an input into scratch.
    Pack(String, Var),
    /// Marks a loop: dealt to threads.
    Parallelize(Var),
    /// Makes separate code of whole blocks and tails.
    Peel(Vec<Var>),
    /// Says how far ahead of its use a buffer is fetched.
    Prefetch(String, i64),
    /// Nests loops in another order.
    Reorder(Vec<Var>),
    /// Gives the terms of a loop a sum of their own.
    Rfactor(Var),
    /// Lays a buffer out in another way.
    SetLayout(String, Layout),
    /// Copies the body of a loop of a sum, without lanes that multiply zeros.
    SkipLanes(Var),
    /// Leaves out iterations of a sum that multiply zeros.
    SkipZeros(Var),
    /// Cuts a loop into blocks of so many iterations.
    Split(Var, i64),
    /// Keeps the terms of a sum in the result.
    Stage(Var),
    /// Puts straight code in the place of small loops.
    Straighten(Var),
    /// Marks a loop: copies of the body.
    Unroll(Var),
    /// Marks a loop: lanes of vectors.
    Vectorize(Var),
}

impl Primitive {
    /// The names of all primitives, which are those of their files.
    pub const NAMES: [&str; 24] = [
        "attach",
        "compute_at",
        "contract_fma",
        "cut",
        "drop_unit_loops",
        "fission",
        "fold_guards",
        "fuse",
        "inline",
        "jam",
        "pack",
        "parallelize",
        "peel",
        "prefetch",
        "reorder",
        "rfactor",
        "set_layout",
        "skip_lanes",
        "skip_zeros",
        "split",
        "stage",
        "straighten",
        "unroll",
        "vectorize",
    ];

    /// The name in the text form.
    pub fn name(&self) -> &'static str {
        match self {
            Primitive::Attach(..) => "attach",
            Primitive::ComputeAt(..) => "compute_at",
            Primitive::ContractFma => "contract_fma",
            Primitive::Cut(..) => "cut",
            Primitive::DropUnitLoops(_) => "drop_unit_loops",
            Primitive::Fission(..) => "fission",
            Primitive::FoldGuards(_) => "fold_guards",
            Primitive::Fuse(_) => "fuse",
            Primitive::Inline(_) => "inline",
            Primitive::Jam(_) => "jam",
            Primitive::Pack(..) => "pack",
            Primitive::Parallelize(_) => "parallelize",
            Primitive::Peel(_) => "peel",
            Primitive::Prefetch(..) => "prefetch",
            Primitive::Reorder(_) => "reorder",
            Primitive::Rfactor(_) => "rfactor",
            Primitive::SetLayout(..) => "set_layout",
            Primitive::SkipLanes(_) => "skip_lanes",
            Primitive::SkipZeros(_) => "skip_zeros",
            Primitive::Split(..) => "split",
            Primitive::Stage(_) => "stage",
            Primitive::Straighten(_) => "straighten",
            Primitive::Unroll(_) => "unroll",
            Primitive::Vectorize(_) => "vectorize",
        }
    }

    /// Changes a kernel; one that is rejected stays as it is.
    ///
    /// Errors: why the primitive does not apply.
    pub fn apply(&self, kernel: &mut Kernel) -> Result<Forwarded, Rejected> {
        if !is_team(kernel) {
            return self.change(kernel);
        }
        // Threads that share steps must still be able to.
        let before = kernel.clone();
        let forwarded = self.change(kernel)?;
        if shares_steps(kernel) && team_fault(kernel).is_none() {
            return Ok(forwarded);
        }
        *kernel = before;
        Err(Rejected::Team)
    }

    fn change(&self, kernel: &mut Kernel) -> Result<Forwarded, Rejected> {
        match self {
            Primitive::Attach(a, b) => attach::apply(kernel, *a, *b),
            Primitive::ComputeAt(p, c) => compute_at::apply(kernel, *p, *c),
            Primitive::ContractFma => contract_fma::apply(kernel),
            Primitive::Cut(v, at) => cut::apply(kernel, *v, at),
            Primitive::DropUnitLoops(vars) => drop_unit_loops::apply(kernel, vars),
            Primitive::Fission(v, at) => fission::apply(kernel, *v, *at),
            Primitive::FoldGuards(v) => fold_guards::apply(kernel, *v),
            Primitive::Fuse(vars) => fuse::apply(kernel, vars),
            Primitive::Inline(name) => inline::apply(kernel, name),
            Primitive::Jam(v) => jam::apply(kernel, *v),
            Primitive::Pack(name, v) => pack::apply(kernel, name, *v),
            Primitive::Parallelize(v) => parallelize::apply(kernel, *v),
            Primitive::Peel(vars) => peel::apply(kernel, vars),
            Primitive::Prefetch(name, by) => prefetch::apply(kernel, name, *by),
            Primitive::Reorder(vars) => reorder::apply(kernel, vars),
            Primitive::Rfactor(v) => rfactor::apply(kernel, *v),
            Primitive::SetLayout(name, layout) => set_layout::apply(kernel, name, layout),
            Primitive::SkipLanes(v) => skip_lanes::apply(kernel, *v),
            Primitive::SkipZeros(v) => skip_zeros::apply(kernel, *v),
            Primitive::Split(v, by) => split::apply(kernel, *v, *by),
            Primitive::Stage(v) => stage::apply(kernel, *v),
            Primitive::Straighten(v) => straighten::apply(kernel, *v),
            Primitive::Unroll(v) => unroll::apply(kernel, *v),
            Primitive::Vectorize(v) => vectorize::apply(kernel, *v),
        }
    }
}

/// What became of the loops of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// The loops that a primitive made in the place of those that it was given, in the order of the
    /// text.
    pub made: Vec<Var>,
    /// Loops that are gone, and what stands in their place: nothing, or copies.
    map: Vec<(Var, Vec<Var>)>,
    /// Whether every result keeps its bits: else the terms of sums are joined in another way.
    pub exact: bool,
}

impl Forwarded {
    fn nothing() -> Forwarded {
        Forwarded {
            made: vec![],
            map: vec![],
            exact: true,
        }
    }

    fn one(old: Var, made: Vec<Var>) -> Forwarded {
        Forwarded {
            map: vec![(old, made.clone())],
            made,
            exact: true,
        }
    }

    fn inexact(inexact: bool) -> Forwarded {
        Forwarded {
            exact: !inexact,
            ..Forwarded::nothing()
        }
    }

    /// Notes copies of loops.
    fn copied(&mut self, vars: &[(Var, Var)]) {
        for (old, new) in vars {
            match self.map.iter_mut().find(|(v, _)| v == old) {
                Some((_, copies)) => copies.push(*new),
                None => self.map.push((*old, vec![*new])),
            }
        }
    }

    /// The loops that stand in the place of one: itself if it is still there.
    pub fn of(&self, var: Var) -> Vec<Var> {
        match self.map.iter().find(|(v, _)| *v == var) {
            Some((_, loops)) => loops.clone(),
            None => vec![var],
        }
    }
}

/// The buffer with a name.
fn named(kernel: &Kernel, name: &str) -> Result<BufferId, Rejected> {
    let at = kernel.buffers.iter().position(|b| b.name == name);
    at.map(|k| BufferId(k as u32)).ok_or(Rejected::NoBuffer)
}
