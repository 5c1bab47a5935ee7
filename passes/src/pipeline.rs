//! From a graph to a plan, one line a step.
use crate::choice::Choice;
use crate::error::PassError;
use crate::graph::Algorithm;
use crate::graph::egraph;
use crate::graph::egraph::{Rounding, Stands};
use crate::graph::{
    absorb_transposes, average_by_sums, cancel_transposes, contract_to_conv, conv_to_winograd,
    conv_transpose_to_conv, dequantise_late, eliminate_common_subexpressions, eliminate_dead_code,
    fold_constants, fold_factors, fold_identities, fold_operands, fold_signs, interleave_zeros,
    join_columns, join_transposes, materialise_padding, merge_contractions, merge_convolutions,
    multiply_bytes, order_nodes, order_operands, part_before_slices, part_rows, repeat_channels,
    resize_to_repeat, round_quotients, scale_bounds, scale_products, share_operands,
    simplify_conditions, simplify_movement, simplify_powers, sink_reshapes, sink_transposes,
    split_conv_transpose, split_pooling, sum_integers_in_floats, sum_weights, transpose_columns,
    trim_windows, widen_masks,
};
use crate::partition::structure_cycles_of;
use crate::plan::Builder;
use crate::schedule::task::Tuned;
use crate::schedule::{Schedule, Target};
use crate::split::close_symbols;
use std::sync::Arc;
use tensmith_ir::graph::Graph;
use tensmith_ir::plan::Plan;

/// What passes may do to rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Precision {
    /// Operations as the model states them, in their order.
    Exact,
    /// Reductions reassociate; constant factors move into weights; algorithms whose errors stay within
    /// 1e-4 of the largest result may compute convolutions.
    #[default]
    Standard,
    /// As [`Precision::Standard`], with this bound instead, which also admits approximations that keep
    /// to it. Units: errors over the largest result.
    Fast(f64),
}

impl Precision {
    /// What errors of algorithms may be of the largest result of a model.
    pub fn tolerance(self) -> f64 {
        match self {
            Precision::Exact => 0.0,
            Precision::Standard => 1e-4,
            Precision::Fast(bound) => bound,
        }
    }

    /// Whether what rounds so may be taken.
    pub fn admits(self, rounding: Rounding) -> bool {
        match rounding {
            Rounding::Exact => true,
            Rounding::Reassociates => self != Precision::Exact,
            Rounding::Approximates(error) => {
                matches!(self, Precision::Fast(bound) if error <= bound)
            }
        }
    }
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
    /// Units: bytes of constants, at most, where an algorithm that is faster needs more of them;
    /// `None`: as many as it takes. Constants of the model itself are not refused.
    pub constant_bytes: Option<u64>,
    /// Whether rules choose among equal terms in an e-graph; else only the directed passes rewrite.
    pub egraph: bool,
    /// Units: bytes of the tiles and products of one Winograd convolution beyond which they are
    /// streamed: half of a second cache, which they would fill.
    pub stream_bytes: usize,
    /// What tuning has found of kernels and choices.
    pub tuned: Option<Arc<dyn Tuned>>,
    /// Whether all is told that tuning chooses among: choices, and tasks with strips of other sizes.
    pub spaces: bool,
}

impl Default for PassOptions {
    fn default() -> Self {
        PassOptions {
            target: Target::default(),
            precision: Precision::default(),
            fold_bytes: 64 << 10,
            constant_bytes: None,
            egraph: true,
            stream_bytes: 1 << 20,
            tuned: None,
            spaces: false,
        }
    }
}

/// Rewrites a graph to an equal one that plans better.
///
/// Errors: a defect of a pass.
pub fn optimise(graph: Graph, options: &PassOptions) -> Result<Graph, PassError> {
    optimise_and_tell(graph, options, &mut Decisions::default())
}

/// What was chosen while a graph was rewritten, in its subgraphs first.
#[derive(Clone, Debug, Default)]
pub struct Decisions {
    /// What the e-graph did to each graph.
    pub egraph: Vec<egraph::Report>,
    /// Which algorithm computes each convolution that has several, and why.
    pub algorithms: Vec<Algorithm>,
    /// What tuning may choose otherwise, if [`PassOptions::spaces`] asks for it.
    pub choices: Vec<Choice>,
}

/// Rewrites a graph as [`optimise`] does; `decisions` gets what was chosen.
///
/// Errors: as [`optimise`].
pub fn optimise_and_tell(
    mut graph: Graph,
    options: &PassOptions,
    decisions: &mut Decisions,
) -> Result<Graph, PassError> {
    for node in &mut graph.nodes {
        for region in &mut node.regions {
            *region = optimise_and_tell(std::mem::take(region), options, decisions)?;
        }
    }
    let graph = normalise(&graph, options)?;
    if !options.egraph {
        return lower(&graph, options, decisions);
    }
    let (by_rules, mut report) = egraph::rewrite_by_rules(&graph, options.precision)?;
    let mut best = Lowered::of(by_rules, options)?;
    report.cycles = [best.cycles; 2];
    if report.changed {
        // Less than a kernel is no difference: the normal form of a pattern decides.
        let kernel = options.target.cost.hand_off_cycles();
        let always = egraph::admitted(options.precision).filter(|r| r.stands == Stands::Always);
        let (directed, made) = match report.has_lasting() {
            true => egraph::rewrite_by(&graph, always).map(|(graph, r)| (graph, r.made))?,
            false => (graph, vec![]),
        };
        let directed = Lowered::of(directed, options)?;
        report.cycles = [directed.cycles, best.cycles];
        report.gave_way = directed.cycles + kernel <= best.cycles;
        if report.gave_way {
            report.made = made;
            best = directed;
        }
    }
    decisions.egraph.push(report);
    decisions.algorithms.extend(best.decisions.algorithms);
    decisions.choices.extend(best.decisions.choices);
    Ok(best.graph)
}

/// A graph after all passes, with what its kernels are predicted to take.
struct Lowered {
    graph: Graph,
    decisions: Decisions,
    /// Units: cycles of one core.
    cycles: f64,
}

impl Lowered {
    /// Errors: a defect of a pass.
    fn of(graph: Graph, options: &PassOptions) -> Result<Self, PassError> {
        let mut decisions = Decisions::default();
        let graph = lower(&graph, options, &mut decisions)?;
        Ok(Lowered {
            cycles: structure_cycles_of(&graph, options),
            graph,
            decisions,
        })
    }
}

/// Normal forms, and what is cheaper whatever is around it: what both the rules and the directed
/// path begin with.
fn normalise(graph: &Graph, options: &PassOptions) -> Result<Graph, PassError> {
    let graph = simplify_movement(&fold_identities(graph)?)?;
    let graph = dequantise_late(&graph)?;
    // Before scales fold into what they scale.
    let graph = match options.precision.admits(Rounding::Reassociates) && options.target.dots {
        true => scale_products(&graph)?,
        false => graph,
    };
    let graph = fold_constants(&graph, options.fold_bytes)?;
    // Before divisions by constants are products.
    let graph = match options.precision.admits(Rounding::Reassociates) && options.target.fma {
        true => round_quotients(&graph)?,
        false => graph,
    };
    let graph = fold_signs(&fold_identities(&simplify_conditions(&graph)?)?)?;
    let graph = simplify_movement(&eliminate_common_subexpressions(&graph)?)?;
    let graph = cancel_transposes(&fold_identities(&graph)?)?;
    let graph = share_operands(&eliminate_dead_code(&graph)?)?;
    let graph = sink_reshapes(&contract_to_conv(&join_columns(&graph)?)?)?;
    let graph = part_rows(&eliminate_dead_code(&graph)?)?;
    let graph = join_transposes(&eliminate_dead_code(&graph)?)?;
    let graph = cancel_transposes(&graph)?;
    let graph = sink_transposes(&eliminate_dead_code(&graph)?)?;
    let graph = eliminate_dead_code(&graph)?;
    Ok(eliminate_common_subexpressions(&fold_identities(&graph)?)?)
}

/// Algorithms, layouts of operands and joined kernels: what follows the rules.
fn lower(
    graph: &Graph,
    options: &PassOptions,
    decisions: &mut Decisions,
) -> Result<Graph, PassError> {
    let graph = absorb_transposes(graph)?;
    let graph = match options.precision {
        Precision::Exact => graph,
        Precision::Standard | Precision::Fast(_) => {
            let graph = fold_constants(&graph, options.fold_bytes)?;
            let graph = eliminate_dead_code(&order_operands(&simplify_powers(&graph)?)?)?;
            let graph = eliminate_dead_code(&scale_bounds(&graph)?)?;
            let graph = fold_operands(&eliminate_common_subexpressions(&graph)?)?;
            let graph = fold_factors(&eliminate_dead_code(&graph)?)?;
            let graph = sum_weights(&eliminate_dead_code(&graph)?)?;
            let graph = conv_transpose_to_conv(&split_conv_transpose(&interleave_zeros(&graph)?)?)?;
            conv_to_winograd(&trim_windows(&graph)?, options, decisions)?
        }
    };
    let graph = match options.target.dots {
        true => multiply_bytes(&dequantise_late(&graph)?)?,
        false => graph,
    };
    let graph = sum_integers_in_floats(&graph)?;
    let graph = average_by_sums(&resize_to_repeat(&graph)?)?;
    let graph = split_pooling(&graph, options.precision.admits(Rounding::Reassociates))?;
    let graph = dequantise_late(&materialise_padding(&repeat_channels(&graph)?)?)?;
    let graph = transpose_columns(&sink_reshapes(&graph)?)?;
    let graph = merge_contractions(&eliminate_dead_code(&graph)?, options)?;
    let graph = fold_identities(&part_before_slices(&graph)?)?;
    let graph = fold_constants(&graph, options.fold_bytes)?;
    let graph = eliminate_common_subexpressions(&graph)?;
    // Where convolutions pad alike, they share an image now.
    let graph = merge_convolutions(&graph, &options.target)?;
    let graph = order_nodes(&eliminate_dead_code(&graph)?)?;
    Ok(eliminate_common_subexpressions(&widen_masks(&graph)?)?)
}

/// Plans a graph: what kernels run, in which order, and where their data lies.
///
/// Errors: a size that no input states; defects of passes and schedules.
pub fn plan(graph: &Graph, options: &PassOptions) -> Result<Plan, PassError> {
    plan_with_schedules(graph, options).map(|(plan, _)| plan)
}

/// Plans a graph as [`plan`] does; also gives the schedule of each kernel of the plan, in order.
///
/// Errors: as [`plan`].
pub fn plan_with_schedules(
    graph: &Graph,
    options: &PassOptions,
) -> Result<(Plan, Vec<Schedule>), PassError> {
    let mut graph = graph.clone();
    close_symbols(&mut graph);
    Builder::build(&graph, options)
}

/// What tuning may choose otherwise when a graph is optimised and planned: algorithms, which nodes
/// share a kernel and how these hand on values, and layouts.
///
/// Errors: as [`optimise`] and [`plan`].
pub fn choices(graph: &Graph, options: &PassOptions) -> Result<Vec<Choice>, PassError> {
    let options = PassOptions {
        spaces: true,
        ..options.clone()
    };
    let mut decisions = Decisions::default();
    let mut graph = optimise_and_tell(graph.clone(), &options, &mut decisions)?;
    close_symbols(&mut graph);
    decisions
        .choices
        .extend(Builder::choices(&graph, &options)?);
    Ok(decisions.choices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precisions_admit_what_keeps_to_their_bounds() {
        let roundings = [
            Rounding::Exact,
            Rounding::Reassociates,
            Rounding::Approximates(1e-3),
        ];
        let admitted = |p: Precision| roundings.map(|r| p.admits(r));
        assert_eq!(admitted(Precision::Exact), [true, false, false]);
        assert_eq!(admitted(Precision::Standard), [true, true, false]);
        assert_eq!(admitted(Precision::Fast(1e-4)), [true, true, false]);
        assert_eq!(admitted(Precision::Fast(1e-3)), [true, true, true]);
    }
}
