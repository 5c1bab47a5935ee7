//! From a graph to an executable, one line a step.
use crate::constants;
use crate::error::{Error, Result};
use crate::executable::{Executable, Shared, Threads};
use crate::options::Options;
use crate::session::Geometry;
use crate::signature::Signature;
use tensmith_codegen::entry::{Execution, Form, Marks};
use tensmith_codegen::jit::JitCode;
use tensmith_codegen::target::Target;
use tensmith_ir::graph::Graph;
use tensmith_ir::plan::Plan;
use tensmith_passes::choice::Choice;
use tensmith_passes::partition::Partition;
use tensmith_passes::pipeline::{self, Decisions};
use tensmith_passes::schedule::Schedule;
use tensmith_runtime::{Pool, Tensor};

/// The graph after all graph passes.
///
/// Errors: an unknown target; a defect of the compiler.
pub fn optimised(graph: &Graph, options: &Options) -> Result<Graph> {
    let target = Target::named(options.target_name())?;
    let passes = options.pass_options(&target, options.thread_count());
    Ok(pipeline::optimise(graph.clone(), &passes)?)
}

/// The graph as [`optimised`] gives it, what was chosen on the way, and what each pass did.
///
/// Errors: as [`optimised`].
pub fn optimised_and_told(graph: &Graph, options: &Options) -> Result<(Graph, Decisions)> {
    let target = Target::named(options.target_name())?;
    let passes = options.pass_options(&target, options.thread_count());
    let mut decisions = Decisions {
        passes: Some(vec![]),
        ..Decisions::default()
    };
    let graph = pipeline::optimise_and_tell(graph.clone(), &passes, &mut decisions)?;
    Ok((graph, decisions))
}

/// The choices of a graph's structure that come up on the way to what [`optimised`] gives.
///
/// Errors: as [`optimised`].
pub fn choices(graph: &Graph, options: &Options) -> Result<Vec<Choice>> {
    let target = Target::named(options.target_name())?;
    let passes = options.pass_options(&target, options.thread_count());
    Ok(pipeline::choices(graph, &passes)?)
}

/// Which nodes of a graph that [`optimised`] made become one kernel.
///
/// Errors: an unknown target.
pub fn partition(graph: &Graph, options: &Options) -> Result<Partition> {
    let target = Target::named(options.target_name())?;
    let passes = options.pass_options(&target, options.thread_count());
    Ok(tensmith_passes::partition::partition(graph, &passes))
}

/// Plans a graph for a target.
///
/// Errors: a size that no input states; an unknown target; a defect of the compiler.
pub fn plan(graph: &Graph, options: &Options) -> Result<Plan> {
    plan_optimised(&optimised(graph, options)?, options)
}

/// Plans a graph that [`optimised`] made.
///
/// Errors: as [`plan`].
pub fn plan_optimised(graph: &Graph, options: &Options) -> Result<Plan> {
    plan_with_schedules(graph, options).map(|(plan, _)| plan)
}

/// Plans as [`plan_optimised`] does; also gives the schedule of each kernel of the plan.
///
/// Errors: as [`plan`].
pub fn plan_with_schedules(graph: &Graph, options: &Options) -> Result<(Plan, Vec<Schedule>)> {
    let target = Target::named(options.target_name())?;
    let passes = options.pass_options(&target, options.thread_count());
    Ok(pipeline::plan_with_schedules(graph, &passes)?)
}

/// Plans as [`plan_with_schedules`] does; the tasks of the schedules have all that tuning chooses
/// among.
///
/// Errors: as [`plan`].
pub fn plan_with_spaces(graph: &Graph, options: &Options) -> Result<(Plan, Vec<Schedule>)> {
    let target = Target::named(options.target_name())?;
    let mut passes = options.pass_options(&target, options.thread_count());
    passes.spaces = true;
    Ok(pipeline::plan_with_schedules(graph, &passes)?)
}

/// Compiles a graph for this process. `fixed` are inputs that the graph was specialised for,
/// `order` the names of the model's inputs in order.
///
/// Errors: as [`plan`]; memory ends; threads cannot be started.
pub fn compile(
    graph: &Graph,
    options: &Options,
    fixed: Vec<(String, Tensor)>,
    order: &[String],
) -> Result<Executable> {
    compile_plan(&plan(graph, options)?, options, fixed, order)
}

/// Compiles a plan for this process.
///
/// Errors: as [`compile`].
pub fn compile_plan(
    plan: &Plan,
    options: &Options,
    fixed: Vec<(String, Tensor)>,
    order: &[String],
) -> Result<Executable> {
    let target = Target::named(options.target_name())?;
    check_runs_here(&target)?;
    let form = form(options);
    let threads = Threads::new(options.thread_count(), form.execution, plan)?;
    let code = JitCode::compile_with(plan, &target, form)?;
    let constants = match form.execution {
        Execution::Spmd => constants::fill(plan, threads.pool()?, options.memory_bytes)?,
        // The threads are the caller's, who has not lent any yet.
        Execution::Sections => constants::fill(plan, &Pool::new(1)?, options.memory_bytes)?,
    };
    let names = plan.kernels.iter().map(|k| k.name.clone());
    let stats = names.zip(code.stats.iter().copied()).collect();
    let shared = Shared {
        signature: Signature::new(plan, fixed, order),
        geometry: Geometry::new(plan),
        code,
        constants,
        threads,
        memory_bytes: options.memory_bytes,
    };
    Ok(Executable::new(shared, stats))
}

fn form(options: &Options) -> Form {
    let marks = if options.profile {
        Marks::Steps
    } else {
        Marks::None
    };
    Form {
        execution: options.execution,
        marks,
    }
}

/// Errors: code for the target does not run on this machine.
fn check_runs_here(target: &Target) -> Result<()> {
    let host = Target::host();
    let missing: Vec<&str> = (target.features.iter())
        .filter(|f| !host.features.contains(f))
        .copied()
        .collect();
    if target.triple.architecture == host.triple.architecture && missing.is_empty() {
        return Ok(());
    }
    let why = match &missing[..] {
        [] => "is another machine".to_string(),
        missing => format!("needs {}", missing.join(", ")),
    };
    Err(Error::Usage(format!(
        "code for target `{}` does not run here: it {why}; use `compile` to write it to a file",
        target.name
    )))
}
