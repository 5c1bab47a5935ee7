//! From a graph to a plan, one line a step.
use crate::error::PassError;
use crate::plan::Builder;
use crate::schedule::Target;
use crate::split::close_symbols;
use tensmith_ir::graph::Graph;
use tensmith_ir::plan::Plan;

/// What passes may do to rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Operations as the model states them, in their order.
    Exact,
    /// Reductions reassociate; constant factors move into weights.
    #[default]
    Standard,
}

/// What passes need to know besides the graph.
#[derive(Clone, Debug)]
pub struct PassOptions {
    /// The machine that the plan is for.
    pub target: Target,
    /// What may happen to rounding.
    pub precision: Precision,
    /// Units: bytes of one result of constant folding, at most.
    pub fold_bytes: usize,
}

impl Default for PassOptions {
    fn default() -> Self {
        PassOptions {
            target: Target::default(),
            precision: Precision::default(),
            fold_bytes: 64 << 10,
        }
    }
}

/// Rewrites a graph to an equal one that plans better.
pub fn optimise(graph: Graph, _options: &PassOptions) -> Result<Graph, PassError> {
    Ok(graph)
}

/// Plans a graph: what kernels run, in which order, and where their data lies.
///
/// Errors: a size that no input states; defects of passes and schedules.
pub fn plan(graph: &Graph, options: &PassOptions) -> Result<Plan, PassError> {
    let mut graph = graph.clone();
    close_symbols(&mut graph);
    Builder::build(&graph, options)
}
