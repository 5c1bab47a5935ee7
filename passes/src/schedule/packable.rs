//! Inputs whose layout a schedule may choose.
//!
//! Constants are packed when a model is compiled. Weights that are known at run time only are packed
//! by a kernel before the one that reads them, in each run; what that takes is a part of the cost of
//! each layout that is not the one in which they come.
use tensmith_ir::loops::{BufferId, Layout};

/// Says which inputs of a kernel may be packed.
pub trait Packable {
    /// Whether the layout of an input may change.
    fn admits(&self, input: BufferId) -> bool;

    /// Whether an input in this layout is as it came: nothing has packed it yet.
    fn is_as_given(&self, input: BufferId, layout: &Layout) -> bool {
        let _ = input;
        layout.is_row_major()
    }

    /// Units: cycles that each run takes to pack an input.
    fn cycles(&self, input: BufferId) -> f64 {
        let _ = input;
        0.0
    }
}

/// Names of constants.
impl<F: Fn(BufferId) -> bool> Packable for F {
    fn admits(&self, input: BufferId) -> bool {
        self(input)
    }
}
