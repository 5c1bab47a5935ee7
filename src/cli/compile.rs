//! `tensmith compile`
use super::inputs::InputArgs;
use super::shared::{ModelArgs, print_notes};
use crate::cli::out::{errln, out};
use clap::{Args, ValueEnum};
use std::fmt::Write;
use std::path::PathBuf;
use tensmith::units::human_bytes;
use tensmith::{Options, Result, compile, native};
use tensmith_codegen::module::{kernel_asm, kernel_clif};
use tensmith_codegen::target::Target;
use tensmith_ir::graph::Graph;
use tensmith_passes::choice::Choice;
use tensmith_passes::partition::Partition;
use tensmith_passes::schedule::Schedule;
use tensmith_runtime::Stopwatch;

/// Write a model as a native file, or show a stage of its compilation.
#[derive(Args)]
#[command(after_help = "Examples:
  tensmith compile model.onnx -o model.o --target x86-64-v3
  tensmith compile model.onnx -o libmodel.so --symbolic batch
  tensmith compile model.onnx -o libmodel.so --inputs in.npz
  tensmith compile model.onnx --emit plan")]
pub struct Compile {
    #[command(flatten)]
    model: ModelArgs,
    /// Binds dimensions to what these inputs have, and what the model computes shapes from to their
    /// values: a .npz or .safetensors file, or a folder of ONNX test data
    #[arg(long, value_name = "FILE|DIR")]
    inputs: Option<PathBuf>,
    /// The file to write: .o, .a or .so, with a C header beside it
    #[arg(short, long, value_name = "FILE", required_unless_present = "emit")]
    output: Option<PathBuf>,
    /// Prints a stage to stdout
    #[arg(long, value_name = "STAGE")]
    emit: Option<Stage>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Stage {
    /// The graph after all graph passes
    Graph,
    /// Which nodes become one kernel
    Tasks,
    /// Each task in naive loops
    Loops,
    /// The primitives that make each kernel of its naive loops
    Schedule,
    /// What is tuned: each task, and the free parameters of its schedule with their options
    Spaces,
    /// Each kernel in scheduled loops
    Kernels,
    /// Kernel calls, barriers and memory
    Plan,
    /// Cranelift IR of each kernel
    Clif,
    /// Assembly of each kernel
    Asm,
}

impl Compile {
    /// Runs the verb.
    pub fn run(self) -> Result<()> {
        let watch = Stopwatch::start();
        self.model.check_outputs(&[("--output", &self.output)])?;
        let model = self.model.load()?;
        let mut options = self.model.options()?;
        let imported = match self.inputs {
            Some(path) => {
                model.import_for(&InputArgs::of(path).read(&model)?.tensors, &mut options)?
            }
            None => model.import(&options)?,
        };
        print_notes(&imported);
        if let Some(stage) = self.emit {
            out!("{}", emit(stage, &imported.graph, &options)?);
        }
        let Some(path) = &self.output else {
            return Ok(());
        };
        let plan = compile::plan(&imported.graph, &options)?;
        let header = native::write(&plan, &options, path)?;
        let bytes = std::fs::metadata(path).map_or(0, |m| m.len());
        errln!(
            "wrote {} ({}) and {} in {:.1} ms",
            path.display(),
            human_bytes(bytes),
            header.display(),
            watch.elapsed_ms()
        );
        Ok(())
    }
}

fn emit(stage: Stage, graph: &Graph, options: &Options) -> Result<String> {
    let mut out = String::new();
    let optimised = || compile::optimised(graph, options);
    match stage {
        Stage::Graph => return Ok(optimised()?.to_string()),
        Stage::Tasks | Stage::Loops => {
            let graph = optimised()?;
            let partition = compile::partition(&graph, options)?;
            let text = match stage {
                Stage::Tasks => tasks,
                _ => loops,
            };
            return Ok(text(&graph, &partition));
        }
        Stage::Schedule => return schedules(&optimised()?, options, &trace),
        Stage::Spaces => {
            let kernels = schedules(&optimised()?, options, &space)?;
            let choices = compile::choices(graph, options)?;
            return Ok(kernels + &choices.iter().map(choice).collect::<String>());
        }
        Stage::Plan => return Ok(compile::plan(graph, options)?.to_string()),
        _ => {}
    }
    let plan = compile::plan(graph, options)?;
    let target = Target::named(options.target_name())?;
    for kernel in &plan.kernels {
        let text = match stage {
            Stage::Clif => kernel_clif(kernel, &target)?,
            Stage::Asm => kernel_asm(kernel, &target)?,
            _ => kernel.to_string(),
        };
        if matches!(stage, Stage::Clif | Stage::Asm) {
            let _ = writeln!(out, "; kernel {}", kernel.name);
        }
        let _ = writeln!(out, "{text}");
    }
    Ok(out)
}

fn schedules(
    graph: &Graph,
    options: &Options,
    text: &dyn Fn(&Schedule) -> String,
) -> Result<String> {
    let (_, schedules) = compile::plan_with_spaces(graph, options)?;
    Ok(schedules.iter().map(text).collect())
}

fn trace(s: &Schedule) -> String {
    format!("// kernel {}\n{}\n", s.task.naive.name, s.trace)
}

fn space(s: &Schedule) -> String {
    let mut out = format!("{}\n", s.task);
    for p in &s.parameters {
        let _ = writeln!(
            out,
            "// {} = {} of {}",
            p.name,
            p.value(),
            p.options.join(" ")
        );
    }
    out.push('\n');
    out
}

fn choice(choice: &Choice) -> String {
    let p = &choice.parameter;
    format!(
        "choice {}\n// {} = {} of {}\n\n",
        choice.about,
        p.name,
        p.value(),
        p.options.join(" ")
    )
}

fn tasks(graph: &Graph, partition: &Partition) -> String {
    let mut out = String::new();
    for (k, group) in partition.groups.values().enumerate() {
        let mut members: Vec<_> = group.members.iter().copied().collect();
        members.sort();
        let _ = writeln!(out, "task {k}: {}", graph.node(group.root).name);
        for id in members {
            let node = graph.node(id);
            let ty = node.outputs.first().map(|v| graph.ty(*v).to_string());
            let ty = ty.unwrap_or_default();
            let _ = writeln!(out, "  {:<16} {ty:<24} {}", node.op.name, node.name);
        }
        if let Some(why) = partition.alone(graph, group) {
            let _ = writeln!(out, "  stands alone: {why}");
        }
    }
    out
}

fn loops(graph: &Graph, partition: &Partition) -> String {
    let kernels = partition.groups.values().map(|g| g.define(graph).kernel);
    kernels.map(|k| format!("{k}\n")).collect()
}
