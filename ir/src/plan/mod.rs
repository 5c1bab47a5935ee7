//! The plan IR: when kernels run, and where their data lies.
//!
//! Every thread runs the steps in order (SPMD). A call whose kernel has a `parallel` loop is dealt
//! to the threads; any other call is run by thread 0 alone. Steps between two barriers may run at
//! the same time, so whoever makes a plan puts a barrier between steps that need an order.
mod alone;
mod interp;
mod parse;
mod print;
mod verify;

pub use interp::{PlanError, run_plan, run_prepare};
pub use parse::parse_plan;
pub use verify::verify_plan;

use crate::define::Site;
use crate::dtype::DType;
use crate::expr::{Expr, Symbol};
use crate::graph::TensorType;
use crate::loops::{Kernel, Layout};
use crate::tensor::Tensor;

/// A kernel of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelId(pub u32);

/// A buffer of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(pub u32);

/// A size symbol and how its value is found.
#[derive(Clone, Debug, PartialEq)]
pub struct SizeParam {
    /// The symbol.
    pub symbol: Symbol,
    /// Least value.
    pub min: i64,
    /// Greatest value.
    pub max: i64,
    /// The input and its dimension that has this size.
    pub source: (usize, usize),
}

/// An input or output of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// The name in the model.
    pub name: String,
    /// Element type and shape.
    pub ty: TensorType,
}

/// The bytes of a constant.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// As in the model: row-major.
    Data(Tensor),
    /// The k-th output of the plan that prepares constants.
    Prepared(usize),
}

/// A constant; in memory it has the layout that its slots state, padding is 0.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanConstant {
    /// The name in the model.
    pub name: String,
    /// Where its bytes come from.
    pub source: Source,
    /// Units: bytes, padding included.
    pub bytes: usize,
}

/// Where a slot lies.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// The k-th input.
    Input(usize),
    /// The k-th output.
    Output(usize),
    /// The k-th constant.
    Constant(usize),
    /// In the arena, from this byte on (a multiple of 64).
    Arena(Expr),
}

/// A tensor in memory. Slots with the same place are views of the same bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// The name of the value in the model.
    pub name: String,
    /// The element type.
    pub dtype: DType,
    /// The logical extents.
    pub shape: Vec<Expr>,
    /// How elements lie in memory.
    pub layout: Layout,
    /// Where.
    pub place: Place,
}

impl Slot {
    /// Units: bytes, padding included.
    pub fn bytes(&self) -> Expr {
        self.layout.count(&self.shape) * self.dtype.bytes()
    }
}

/// A kernel call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The kernel.
    pub kernel: KernelId,
    /// A slot for each parameter of the kernel, in order.
    pub args: Vec<SlotId>,
    /// The first of the kernel's sites in the plan's list.
    pub site_base: u32,
    /// The names of the model's nodes that it computes.
    pub nodes: Vec<String>,
    /// Why a kernel that only moves elements, maps them or reduces rows is not inside of another
    /// one; empty for other kernels.
    pub alone: String,
}

/// A step of a plan.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Runs a kernel.
    Call(Call),
    /// Waits until all threads have come here.
    Barrier,
    /// Chooses by a `bool` scalar, after a barrier.
    If {
        /// The condition.
        cond: SlotId,
        /// Steps if it is true.
        then: Vec<Step>,
        /// Steps if it is false.
        otherwise: Vec<Step>,
    },
    /// Repeats `body` while `counter < trip` and `cond`; `counter` (an `i64` scalar) starts at 0
    /// and is advanced by thread 0 after the body, with barriers around.
    Loop {
        /// The greatest number of iterations: an `i64` scalar.
        trip: SlotId,
        /// The condition: a `bool` scalar, read before each iteration; the body updates it.
        cond: SlotId,
        /// The number of the iteration: an `i64` scalar in the arena.
        counter: SlotId,
        /// The steps of an iteration.
        body: Vec<Step>,
    },
}

/// A plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The name of the model.
    pub name: String,
    /// Size symbols, in the order in which kernels take them.
    pub sizes: Vec<SizeParam>,
    /// The model's inputs.
    pub inputs: Vec<Port>,
    /// The model's outputs.
    pub outputs: Vec<Port>,
    /// Constants.
    pub constants: Vec<PlanConstant>,
    /// Kernels, each once.
    pub kernels: Vec<Kernel>,
    /// Tensors in memory.
    pub slots: Vec<Slot>,
    /// The steps.
    pub steps: Vec<Step>,
    /// What run-time checks name.
    pub sites: Vec<Site>,
    /// Units: bytes of the arena.
    pub arena_bytes: Expr,
    /// Makes the constants whose source is `Prepared`: run once, on the machine that compiles.
    pub prepare: Option<Box<Plan>>,
}

impl Plan {
    /// The kernel with an id.
    pub fn kernel(&self, id: KernelId) -> &Kernel {
        &self.kernels[id.0 as usize]
    }

    /// The slot with an id.
    pub fn slot(&self, id: SlotId) -> &Slot {
        &self.slots[id.0 as usize]
    }

    /// All calls, in order, those inside branches and loops included.
    pub fn calls(&self) -> Vec<&Call> {
        fn collect<'a>(steps: &'a [Step], calls: &mut Vec<&'a Call>) {
            for step in steps {
                match step {
                    Step::Call(call) => calls.push(call),
                    Step::Barrier => {}
                    Step::If {
                        then, otherwise, ..
                    } => {
                        collect(then, calls);
                        collect(otherwise, calls);
                    }
                    Step::Loop { body, .. } => collect(body, calls),
                }
            }
        }
        let mut calls = Vec::new();
        collect(&self.steps, &mut calls);
        calls
    }
}
