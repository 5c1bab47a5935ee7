//! From a graph to a plan.
mod passes;
mod trail;

pub use passes::{Pass, all as passes};
pub use trail::PassReport;

use crate::choice::Choice;
use crate::error::PassError;
use crate::graph::Algorithm;
use crate::graph::egraph;
use crate::graph::egraph::{Rounding, Stands};
use crate::partition::structure_cycles_of;
use crate::plan::Builder;
use crate::schedule::task::Tuned;
use crate::schedule::{Schedule, Target};
use crate::split::close_symbols;
use passes::{LOWER, NORMALISE, Step};
use std::sync::Arc;
use tensmith_ir::graph::Graph;
use tensmith_ir::plan::Plan;
use trail::Trail;

/// What passes may do to rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Precision {
    /// Operations as the model states them, in their order.
    Exact,
    /// Reductions reassociate; constant factors move into weights; algorithms whose errors stay within
    /// 1e-4 of the largest result may compute convolutions; what is stated of `f16` and `bf16` is
    /// computed in `f32` and rounded where it leaves the graph.
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
    /// What passes did; `None` if nobody asks, since telling takes time.
    pub passes: Option<Vec<PassReport>>,
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
    let mut way = Way {
        graph,
        decisions: Decisions::default(),
        trail: decisions.passes.as_ref().map(|_| Trail::default()),
    };
    way.go(NORMALISE, options)?;
    let (best, report) = match options.egraph {
        true => cheaper(&way, options).map(|(way, report)| (way, Some(report)))?,
        false => {
            way.go(LOWER, options)?;
            (way, None)
        }
    };
    decisions.egraph.extend(report);
    decisions.algorithms.extend(best.decisions.algorithms);
    decisions.choices.extend(best.decisions.choices);
    if let (Some(trail), Some(reports)) = (best.trail, &mut decisions.passes) {
        trail.end(&best.graph, reports);
    }
    Ok(best.graph)
}

/// A graph on its way through passes.
struct Way {
    graph: Graph,
    decisions: Decisions,
    trail: Option<Trail>,
}

impl Way {
    /// Errors: a defect of a pass.
    fn go(&mut self, steps: &[Step], options: &PassOptions) -> Result<(), PassError> {
        if let Some(trail) = &mut self.trail {
            trail.begin(&self.graph);
        }
        for Step(pass, _) in steps.iter().filter(|Step(_, applies)| applies(options)) {
            self.graph = pass.run(&self.graph, options, &mut self.decisions)?;
            if let Some(trail) = &mut self.trail {
                trail.add(pass.name, &self.graph);
            }
        }
        Ok(())
    }

    /// Goes on with an equal graph, to the end. Also gives what its kernels are predicted to take.
    ///
    /// Units: cycles of one core.
    ///
    /// Errors: a defect of a pass.
    fn lowered(&self, graph: Graph, options: &PassOptions) -> Result<(Self, f64), PassError> {
        let mut way = Way {
            graph,
            decisions: self.decisions.clone(),
            trail: self.trail.clone(),
        };
        way.go(LOWER, options)?;
        let cycles = structure_cycles_of(&way.graph, options);
        Ok((way, cycles))
    }
}

/// The cheaper of what rules and what the directed path alone make of a graph in normal form.
///
/// Errors: a defect of a pass.
fn cheaper(way: &Way, options: &PassOptions) -> Result<(Way, egraph::Report), PassError> {
    let (by_rules, mut report) = egraph::rewrite_by_rules(&way.graph, options.precision)?;
    if !report.changed {
        let (best, cycles) = way.lowered(by_rules, options)?;
        report.cycles = [cycles; 2];
        return Ok((best, report));
    }
    let always = egraph::admitted(options.precision).filter(|r| r.stands == Stands::Always);
    let (directed, made) = match report.has_lasting() {
        true => egraph::rewrite_by(&way.graph, always).map(|(graph, r)| (graph, r.made))?,
        false => (way.graph.clone(), vec![]),
    };
    let (best, cycles) = way.lowered(by_rules, options)?;
    let (directed, cycles_directed) = way.lowered(directed, options)?;
    // What stands whatever it costs is in both of these.
    let alone = match report.has_lasting() {
        true => way.lowered(way.graph.clone(), options)?.1,
        false => cycles_directed,
    };
    report.cycles = [alone, cycles.min(cycles_directed)];
    // Less than a kernel is no difference: the normal form of a pattern decides.
    report.gave_way = cycles_directed < cycles;
    if report.gave_way {
        report.made = made;
        return Ok((directed, report));
    }
    Ok((best, report))
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
