//! What can go wrong between a graph and its plan.
use tensmith_ir::graph::GraphError;

/// Why a graph has no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PassError {
    /// A size symbol that no input states.
    #[error(
        "no input has a dimension that is exactly `{symbol}`; bind `{symbol}` to a number before compiling"
    )]
    UnknownSize {
        /// The symbol.
        symbol: String,
    },
    /// A rewritten node that its op's row refuses: a defect of a pass.
    #[error("a pass made an invalid node: {0}")]
    Rewrite(#[from] GraphError),
    /// A schedule wants a layout for a value that only exists at run time: a defect of a schedule.
    #[error("kernel `{kernel}` wants operand `{value}` in a layout that only constants can have")]
    Layout {
        /// The kernel.
        kernel: String,
        /// The value.
        value: String,
    },
}
