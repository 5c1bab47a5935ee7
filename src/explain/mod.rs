//! What a compiled model does, kernel by kernel: from what, how, how fast, and how fast it could
//! be.
//!
//! A model is compiled so that its code keeps time, and run again and again. Each kernel's work
//! is counted from the model's nodes and the kernel's loops, and compared with the roofline of
//! this machine.
pub mod graph;
pub mod html;
pub mod machine;
pub mod rules;
pub mod schedule;
pub mod timeline;
pub mod trace;
pub mod why_not;
pub mod work;

use crate::compile::{optimised_and_told, partition, plan_with_spaces};
use crate::error::Result;
use crate::executable::Executable;
use crate::model::Imported;
use crate::options::Options;
use crate::session::Session;
use machine::Machine;
use serde::Serialize;
use tensmith_autotune::profile::Profile as MachineProfile;
use tensmith_codegen::entry::numbered_steps;
use tensmith_codegen::kernel::KernelStats;
use tensmith_codegen::target::Target;
use tensmith_ir::eval::Sizes;
use tensmith_ir::expr::Ranges;
use tensmith_ir::loops::{Kernel, boundary_bytes};
use tensmith_ir::plan::{Call, Plan, Step};
use tensmith_passes::alternatives::Compiled;
use tensmith_passes::graph::Algorithm;
use tensmith_passes::schedule::Schedule;
use tensmith_runtime::{Profile, Stopwatch, TensorView};
use timeline::{Kind, StepCost, StepLabel, Timeline, step_labels};
use work::Flops;

/// Room for marks on each thread, at most: 16 bytes each. Loops with more iterations lose the
/// rest, which is reported.
const MARKS: usize = 1 << 17;

/// Room for marks on all threads, at most.
const ALL_MARKS: usize = 1 << 22;

/// Runs that are measured at least.
const LEAST_RUNS: usize = 3;

/// Runs that are measured at most: enough for a median.
const MOST_RUNS: usize = 1000;

/// Times of steps that are kept at most, over all runs: 24 bytes each.
const ALL_COSTS: usize = 1 << 21;

/// One kernel call of a plan.
#[derive(Clone, Debug, Serialize)]
pub struct KernelReport {
    /// The kernel's number in the plan, and the ops that it computes.
    pub name: String,
    /// The number of the step in the plan.
    pub step: usize,
    /// The place of its kernel among the plan's, and of its schedule among the report's.
    #[serde(skip)]
    pub kernel: usize,
    /// The nodes of the model that it computes.
    pub nodes: Vec<String>,
    /// The rules of the e-graph that made nodes of it.
    pub rules: Vec<&'static str>,
    /// The ops whose definitions it is made of, in order.
    pub definition: String,
    /// Which algorithm computes its convolution, and why, if there are several.
    pub algorithm: String,
    /// Why it is not inside of another kernel, if it only moves elements, maps them or reduces
    /// rows; empty for a contraction or a recurrence with what has joined it.
    pub alone: String,
    /// How its work is laid out: the register tile and the width of vectors.
    pub recipe: String,
    /// Its loops from the outermost to the innermost, and layouts.
    pub loops: String,
    /// The primitives that make it of its naive loops, a line each.
    pub schedule: String,
    /// Why parts of it run with narrower vectors than the target has; empty if none does.
    pub fallback: String,
    /// Moves between registers and the stack in the code of its wide tiles, for lack of registers.
    pub spills: u32,
    /// Whether all threads share its work.
    pub parallel: bool,
    /// How often it is called in a run.
    pub calls: u64,
    /// Units: floating-point operations of a run, by the direct algorithms.
    pub flops: f64,
    /// Units: bytes that it moves over its boundary in a run.
    pub bytes: f64,
    /// Units: nanoseconds of a run on the thread that spends most on it; the median over runs.
    pub ns: f64,
    /// Units: nanoseconds that the machine needs for its arithmetic, by the algorithm chosen if
    /// that takes less than the direct one, and for `bytes`, at least.
    pub bound_ns: f64,
    /// What sets the bound: `arithmetic`, or a level of memory.
    pub bound_by: &'static str,
    /// `ns` as a part of the run.
    pub share: f64,
    /// Barriers that follow it directly.
    pub barriers: usize,
    /// Units: nanoseconds that threads wait there in a run, on average.
    pub wait_ns: f64,
}

impl KernelReport {
    /// Units: GFLOP/s; 0 for a kernel that was not run.
    pub fn gflops(&self) -> f64 {
        if self.ns > 0.0 {
            self.flops / self.ns
        } else {
            0.0
        }
    }

    /// Units: GB/s over the boundary; 0 for a kernel that was not run.
    pub fn gbytes(&self) -> f64 {
        if self.ns > 0.0 {
            self.bytes / self.ns
        } else {
            0.0
        }
    }

    /// The bound as a part of the time; 0 for a kernel that was not run.
    pub fn bound_share(&self) -> f64 {
        if self.ns > 0.0 {
            self.bound_ns / self.ns
        } else {
            0.0
        }
    }
}

/// A whole model.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The model's name.
    pub model: String,
    /// Threads of a run.
    pub threads: usize,
    /// The target that it was compiled for.
    pub target: String,
    /// Runs that were measured.
    pub runs: usize,
    /// Units: nanoseconds that compiling took.
    #[serde(skip)]
    pub compile_ns: u64,
    /// Units: nanoseconds of a run of the same code that keeps no marks; the median.
    pub latency_ns: f64,
    /// Units: nanoseconds of a run that keeps marks, from the first to the last; the median.
    pub profiled_ns: f64,
    /// Units: nanoseconds that threads wait at barriers in a run, on average.
    pub wait_ns: f64,
    /// Units: nanoseconds of branches and of the bookkeeping of loops in a run.
    pub control_ns: f64,
    /// Units: floating-point operations of a run, by the direct algorithms.
    pub flops: f64,
    /// Units: nanoseconds: the sum of the kernels' bounds.
    pub bound_ns: f64,
    /// Marks of the fastest run that found no room.
    pub lost_marks: usize,
    /// The roofline.
    pub machine: Machine,
    /// What the rules of the e-graph did.
    pub egraph: rules::RulesReport,
    /// How many kernel calls stand alone: those that state why.
    pub alone: usize,
    /// The kernel calls, in the order of the plan.
    pub kernels: Vec<KernelReport>,
    /// What each step is; the numbers in `timeline` count these.
    #[serde(skip)]
    pub labels: Vec<StepLabel>,
    /// How each kernel of the plan came about.
    #[serde(skip)]
    pub schedules: Vec<Schedule>,
    /// The fastest run that kept marks.
    #[serde(skip)]
    pub timeline: Timeline,
}

/// Measures a model on inputs in the model's order, for about `duration_ns` nanoseconds besides
/// compiling and probing.
///
/// Errors: as [`Imported::compile`]; inputs that do not fit; a failed run-time check.
pub fn explain(
    imported: &Imported,
    options: &Options,
    inputs: &[TensorView<'_>],
    duration_ns: u64,
) -> Result<Report> {
    let pace = Pace {
        duration_ns,
        profile: None,
        is_over: &|| false,
        begun: &|_| Ok(()),
    };
    explain_at(imported, options, inputs, &pace)
}

/// How long a model is measured.
pub(crate) struct Pace<'p> {
    /// Units: nanoseconds, if that is enough for a few runs.
    pub duration_ns: u64,
    /// The rates of the machine, if it has them; else they are measured.
    pub profile: Option<&'p MachineProfile>,
    /// Whether the runs until now have to be enough.
    pub is_over: &'p dyn Fn() -> bool,
    /// Hears how many nanoseconds the first run took; an error ends it all.
    pub begun: &'p dyn Fn(u64) -> Result<()>,
}

/// As [`explain`].
///
/// Errors: as [`explain`], and those of `begun`.
pub(crate) fn explain_at(
    imported: &Imported,
    options: &Options,
    inputs: &[TensorView<'_>],
    pace: &Pace<'_>,
) -> Result<Report> {
    let watch = Stopwatch::start();
    let options = Options {
        profile: true,
        ..options.clone()
    };
    let target = Target::named(options.target_name())?;
    let (graph, decisions) = optimised_and_told(&imported.graph, &options)?;
    let (plan, schedules) = plan_with_spaces(&graph, &options)?;
    let compiled = Compiled {
        graph: &graph,
        partition: &partition(&graph, &options)?,
        plan: &plan,
        algorithms: &decisions.algorithms,
    };
    let egraph = rules::RulesReport::of(&decisions, &compiled);
    let executable = imported.compile_plan(&plan, &options)?;
    let compile_ns = watch.elapsed_ns();
    let threads = executable.threads();
    let known = pace.profile;
    let known = known.and_then(|profile| Machine::of_profile(profile, threads, &target));
    let (measured, machine) = match known {
        Some(machine) => (Measured::of(&plan, &executable, inputs, pace)?, machine),
        None => {
            let before = Machine::probe(threads, &target)?;
            let measured = Measured::of(&plan, &executable, inputs, pace)?;
            (measured, before.best(Machine::probe(threads, &target)?))
        }
    };
    let sizes = sizes_of(&plan, &executable, inputs);
    let steps = numbered_steps(&plan);
    let flops = work::step_flops((&imported.graph, &graph), &plan, &steps, &sizes);
    let stats: Vec<KernelStats> = executable.kernel_stats().iter().map(|(_, s)| *s).collect();
    let cx = Cx {
        plan: &plan,
        algorithms: &decisions.algorithms,
        schedules: &schedules,
        machine: &machine,
        measured: &measured,
        sizes: &sizes,
        stats: &stats,
        egraph: &egraph,
    };
    let kernels = cx.kernels(&steps, &flops);
    let total = |f: &dyn Fn(&KernelReport) -> f64| kernels.iter().map(f).fold(0.0, |a, b| a + b);
    Ok(Report {
        model: plan.name.clone(),
        threads,
        target: target.name.clone(),
        runs: measured.runs,
        compile_ns,
        latency_ns: measured.latency_ns,
        profiled_ns: measured.profiled_ns,
        wait_ns: measured.sum(Kind::Barrier),
        control_ns: measured.sum(Kind::Branch) + measured.sum(Kind::Loop),
        flops: total(&|k| k.flops),
        bound_ns: total(&|k| k.bound_ns),
        lost_marks: measured.fastest.lost,
        alone: kernels.iter().filter(|k| !k.alone.is_empty()).count(),
        kernels,
        machine,
        egraph,
        schedules,
        labels: measured.labels,
        timeline: measured.fastest,
    })
}

/// One run of a model whose code keeps time, after one that makes memory and caches warm: what
/// each step is, and what each thread did. The outputs are in the session.
///
/// Errors: as [`Session::run`].
pub fn record(
    plan: &Plan,
    session: &mut Session,
    threads: usize,
    inputs: &[TensorView<'_>],
) -> Result<(Vec<StepLabel>, Timeline)> {
    let mut profile = new_profile(threads);
    session.run(inputs)?;
    session.run_profiled(inputs, &mut profile)?;
    Ok((step_labels(plan), Timeline::of(&profile)))
}

pub(crate) fn new_profile(threads: usize) -> Profile {
    Profile::new(threads, MARKS.min(ALL_MARKS / threads.max(1)))
}

/// The values of a plan's size symbols for inputs.
fn sizes_of(plan: &Plan, executable: &Executable, inputs: &[TensorView<'_>]) -> Sizes {
    let passed = &executable.signature().passed;
    let value = |s: &tensmith_ir::plan::SizeParam| {
        let (port, dim) = s.source;
        inputs[passed[port]].shape()[dim] as i64
    };
    let pairs = plan.sizes.iter().map(|s| (s.symbol.clone(), value(s)));
    pairs.collect()
}

/// What many runs took.
struct Measured {
    labels: Vec<StepLabel>,
    /// For each step the median over runs.
    costs: Vec<StepCost>,
    runs: usize,
    latency_ns: f64,
    profiled_ns: f64,
    fastest: Timeline,
}

impl Measured {
    /// Warms up for a tenth of the time; then runs without and with marks take turns.
    fn of(
        plan: &Plan,
        executable: &Executable,
        inputs: &[TensorView<'_>],
        pace: &Pace<'_>,
    ) -> Result<Self> {
        let duration_ns = pace.duration_ns;
        let labels = step_labels(plan);
        let mut session = executable.session()?;
        let mut profile = new_profile(executable.threads());
        let most_runs = (ALL_COSTS / labels.len().max(1)).clamp(LEAST_RUNS, MOST_RUNS);
        let warm = Stopwatch::start();
        session.run(inputs)?;
        (pace.begun)(warm.elapsed_ns())?;
        while warm.elapsed_ns() < duration_ns / 10 {
            session.run(inputs)?;
        }
        let (mut plain, mut profiled) = (Vec::new(), Vec::new());
        let mut costs: Vec<Vec<StepCost>> = vec![Vec::new(); labels.len()];
        let mut fastest: Option<Timeline> = None;
        let total = Stopwatch::start();
        while profiled.len() < LEAST_RUNS
            || (profiled.len() < most_runs && total.elapsed_ns() < duration_ns)
        {
            let watch = Stopwatch::start();
            session.run(inputs)?;
            plain.push(watch.elapsed_ns() as f64);
            session.run_profiled(inputs, &mut profile)?;
            let timeline = Timeline::of(&profile);
            profiled.push(timeline.ns as f64);
            for (all, cost) in costs.iter_mut().zip(timeline.costs(labels.len())) {
                all.push(cost);
            }
            if fastest.as_ref().is_none_or(|f| timeline.ns < f.ns) {
                fastest = Some(timeline);
            }
            if (pace.is_over)() {
                break;
            }
        }
        Ok(Measured {
            labels,
            costs: costs.into_iter().map(median_cost).collect(),
            runs: profiled.len(),
            latency_ns: median(plain),
            profiled_ns: median(profiled),
            fastest: fastest.unwrap_or_default(),
        })
    }

    /// Units: nanoseconds of all steps of a kind in a run, on average over the threads.
    fn sum(&self, kind: Kind) -> f64 {
        let of_kind = self.labels.iter().zip(&self.costs);
        let of_kind = of_kind.filter(|(label, _)| label.kind == kind);
        of_kind.fold(0.0, |sum, (_, cost)| sum + cost.mean_ns)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n => (values[(n - 1) / 2] + values[n / 2]) / 2.0,
    }
}

fn median_cost(runs: Vec<StepCost>) -> StepCost {
    let of = |f: &dyn Fn(&StepCost) -> f64| median(runs.iter().map(f).collect());
    StepCost {
        slowest_ns: of(&|c| c.slowest_ns as f64).round() as u64,
        mean_ns: of(&|c| c.mean_ns),
        count: of(&|c| c.count as f64).round() as u64,
    }
}

/// What rows are made of.
struct Cx<'a> {
    plan: &'a Plan,
    algorithms: &'a [Algorithm],
    schedules: &'a [Schedule],
    machine: &'a Machine,
    measured: &'a Measured,
    sizes: &'a Sizes,
    stats: &'a [KernelStats],
    egraph: &'a rules::RulesReport,
}

impl Cx<'_> {
    fn kernels(&self, steps: &[&Step], flops: &[Flops]) -> Vec<KernelReport> {
        let mut rows: Vec<KernelReport> = Vec::new();
        for (k, step) in steps.iter().enumerate() {
            match step {
                Step::Call(call) => rows.push(self.row(k, call, flops[k])),
                Step::Barrier => {
                    if let Some(row) = rows.last_mut() {
                        row.barriers += 1;
                        row.wait_ns += self.measured.costs[k].mean_ns;
                    }
                }
                Step::If { .. } | Step::Loop { .. } => {}
            }
        }
        rows
    }

    /// The row of step `step`, which calls a kernel that does `flops` in each call.
    fn row(&self, step: usize, call: &Call, flops: Flops) -> KernelReport {
        let number = call.kernel.0 as usize;
        let (label, cost) = (&self.measured.labels[step], &self.measured.costs[step]);
        let trace = &self.schedules[number].trace;
        let (kernel, stats) = (&self.plan.kernels[number], &self.stats[number]);
        let calls = cost.count as f64;
        let bytes = boundary_bytes(kernel, &self.ranges(kernel));
        let peak = self.machine.peak(kernel);
        let bound = self.machine.bound((flops.least(), peak), bytes);
        KernelReport {
            name: label.name.clone(),
            step,
            kernel: number,
            nodes: label.nodes.clone(),
            rules: self.egraph.rules_of(&label.nodes),
            definition: kernel.name.clone(),
            algorithm: self.algorithm(&kernel.name, &label.nodes),
            alone: call.alone.clone(),
            recipe: schedule::recipe_text(kernel, stats),
            loops: schedule::loops_text(kernel),
            schedule: trace.to_string(),
            fallback: schedule::fallback_text(kernel, stats),
            spills: stats.spills,
            parallel: !label.serial,
            calls: cost.count,
            flops: calls * flops.direct,
            bytes: calls * bytes,
            ns: cost.slowest_ns as f64,
            bound_ns: calls * bound.ns,
            bound_by: bound.by,
            share: cost.slowest_ns as f64 / self.measured.profiled_ns.max(1.0),
            barriers: 0,
            wait_ns: 0.0,
        }
    }

    /// What was decided for the convolution that a kernel computes.
    fn algorithm(&self, kernel: &str, nodes: &[String]) -> String {
        let ops = ["conv", "winograd_input", "winograd_output"];
        let of = |a: &&Algorithm| nodes.contains(&a.node);
        let found = self.algorithms.iter().find(of);
        let found = found.filter(|_| ops.iter().any(|op| work::names_op(kernel, op)));
        found.map(|a| a.text.clone()).unwrap_or_default()
    }

    /// What is known of a kernel's sizes: their values.
    fn ranges(&self, kernel: &Kernel) -> Ranges {
        let mut ranges = kernel.ranges();
        for (symbol, value) in self.sizes {
            ranges.bind_size(symbol.clone(), *value, *value);
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_those_of_sorted_values() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(vec![]), 0.0);
    }
}
