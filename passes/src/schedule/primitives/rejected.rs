//! Why a primitive does not apply.
use std::fmt;
use tensmith_ir::expr::Var;
use tensmith_ir::loops::{BufferId, Kernel};

/// Why a primitive does not apply: a code with handles, which says what it means when it is shown.
/// Rejections are normal in a search, so that making one costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// No loop has this variable.
    NoLoop(Var),
    /// No buffer has this name.
    NoBuffer,
    /// The kernel would be the same.
    NoEffect,
    /// The loop has a mark already.
    Marked(Var),
    /// The loop combines tuples of state.
    State(Var),
    /// A loop that is named twice.
    Repeated(Var),
    /// The first loop is not nested perfectly with the second.
    NotNested(Var, Var),
    /// The loops do not stand side by side in this order.
    NotBeside(Var, Var),
    /// The extent of the first loop changes with the second.
    Depends(Var, Var),
    /// The iterations of the loops mean different things to each other.
    Roles(Var, Var),
    /// The iterations of the loop must run in order.
    Serial(Var),
    /// The loop is not outermost.
    Inside(Var),
    /// The extent of the loop is not a known number.
    Unknown(Var),
    /// The extent of the loop may be negative, or differs from the other loop's.
    Extent(Var),
    /// The loop does not run just once.
    NotUnit(Var),
    /// A number that is out of range.
    Number(i64),
    /// The loop makes too much code.
    TooLarge(Var),
    /// The iterations of the loop hand on a buffer, or what is around sees it.
    Carried(Var, BufferId),
    /// The iterations write the same element.
    SameElement(Var, BufferId),
    /// What runs, and how often, depends on the iteration.
    Control(Var),
    /// The body holds something that has no lanes.
    NoLanes(Var),
    /// The body of the loop is not of the kind that the primitive knows.
    Body(Var),
    /// The buffer is used in a way that the primitive does not know.
    Use(BufferId),
    /// The layout does not give every element a place of its own.
    Layout(BufferId),
    /// Threads could no longer share the steps of a serial loop.
    Team,
    /// A trace whose step makes other loops than it says.
    OtherLoops,
}

impl Rejected {
    /// The reason with the names that buffers have in a kernel.
    pub fn show<'k>(self, kernel: &'k Kernel) -> impl fmt::Display + use<'k> {
        Shown(self, Some(kernel))
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown(*self, None).fmt(f)
    }
}

impl std::error::Error for Rejected {}

struct Shown<'k>(Rejected, Option<&'k Kernel>);

impl Shown<'_> {
    fn name(&self, b: BufferId) -> String {
        let buffer = self.1.and_then(|k| k.buffers.get(b.0 as usize));
        buffer.map_or_else(|| format!("buffer {}", b.0), |b| format!("`{}`", b.name))
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Rejected::NoLoop(v) => write!(f, "there is no loop {v}"),
            Rejected::NoBuffer => write!(f, "there is no buffer of this name"),
            Rejected::NoEffect => write!(f, "nothing would change"),
            Rejected::Marked(v) => write!(f, "loop {v} has a mark"),
            Rejected::State(v) => write!(f, "loop {v} combines tuples of state"),
            Rejected::Repeated(v) => write!(f, "loop {v}, or one beside it, is named twice"),
            Rejected::NotNested(v, w) => write!(f, "loops {v} and {w} are not nested perfectly"),
            Rejected::NotBeside(v, w) => write!(f, "loop {w} does not follow on loop {v}"),
            Rejected::Depends(v, w) => write!(f, "the extent of loop {v} depends on {w}"),
            Rejected::Roles(v, w) => write!(f, "loops {v} and {w} differ in their roles"),
            Rejected::Serial(v) => write!(f, "the iterations of loop {v} must keep their order"),
            Rejected::Inside(v) => write!(f, "loop {v} is not outermost"),
            Rejected::Unknown(v) => write!(f, "the extent of loop {v} is not a known number"),
            Rejected::Extent(v) => write!(f, "the extent of loop {v} does not fit"),
            Rejected::NotUnit(v) => write!(f, "loop {v} does not run just once"),
            Rejected::Number(n) => write!(f, "{n} is out of range"),
            Rejected::TooLarge(v) => write!(f, "loop {v} would become too much code"),
            Rejected::Carried(v, b) => {
                write!(f, "{} outlives an iteration of loop {v}", self.name(b))
            }
            Rejected::SameElement(v, b) => {
                write!(
                    f,
                    "iterations of loop {v} may share an element of {}",
                    self.name(b)
                )
            }
            Rejected::Control(v) => write!(f, "what runs depends on the iteration of loop {v}"),
            Rejected::NoLanes(v) => write!(f, "the body of loop {v} has no form for lanes"),
            Rejected::Body(v) => write!(f, "the body of loop {v} is of another kind"),
            Rejected::Use(b) => write!(f, "{} is used in another way", self.name(b)),
            Rejected::Layout(b) => {
                write!(
                    f,
                    "the layout does not tell all elements of {} apart",
                    self.name(b)
                )
            }
            Rejected::Team => write!(f, "threads could not share the steps as before"),
            Rejected::OtherLoops => write!(f, "the step makes other loops than it says"),
        }
    }
}
