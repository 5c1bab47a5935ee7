//! `tensmith run`
use super::inputs::{InputArgs, Prepared};
use super::shared::{ModelArgs, print_notes};
use crate::cli::out::{errln, outln};
use clap::Args;
use std::io::Write;
use std::path::{Path, PathBuf};
use tensmith::convert::{describe, to_ir};
use tensmith::explain::record;
use tensmith::explain::trace::chrome_trace;
use tensmith::files::{write_atomic, write_npz};
use tensmith::{Executable, Result, Tensor, TensorView, compile};
use tensmith_ir::plan::Plan;
use tensmith_runtime::Stopwatch;

/// Run a model on given inputs.
#[derive(Args)]
#[command(after_help = "Examples:
  tensmith run model.onnx --inputs in.npz -o out.npz --threads 2
  tensmith run model.onnx --input image=@image.npy --json
  tensmith run model.onnx --inputs in.npz --trace trace.json")]
pub struct Run {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    inputs: InputArgs,
    /// Writes all outputs by name to a .npz file
    #[arg(short, long, value_name = "FILE.npz")]
    output: Option<PathBuf>,
    /// Writes what each thread did when as Chrome trace events, for Perfetto (ui.perfetto.dev); the
    /// run that is traced follows one that warms up
    #[arg(long, value_name = "FILE.json")]
    trace: Option<PathBuf>,
    /// Prints shapes, times and a digest of the outputs as JSON
    #[arg(long)]
    json: bool,
}

impl Run {
    /// Runs the verb.
    pub fn run(self) -> Result<()> {
        let outputs = [("--output", &self.output), ("--trace", &self.trace)];
        self.model.check_outputs(&outputs)?;
        let model = self.model.load()?;
        let given = self.inputs.read(&model)?;
        let prepared = given.prepare(&model, self.model.options()?, false)?;
        print_notes(&prepared.imported);
        let mut watch = Stopwatch::start();
        let mut options = prepared.options.clone();
        options.profile = self.trace.is_some();
        let plan = compile::plan(&prepared.imported.graph, &options)?;
        let executable = prepared.imported.compile_plan(&plan, &options)?;
        let compile_ms = watch.lap_ns() as f64 / 1e6;
        let outputs = executable.run(&prepared.views())?;
        let run_ms = watch.lap_ns() as f64 / 1e6;
        if let Some(path) = &self.trace {
            write_trace(path, &plan, &executable, &prepared)?;
        }
        let names = executable.signature().outputs.iter().map(|o| &o.name[..]);
        let named: Vec<(&str, &Tensor)> = names.zip(&outputs).collect();
        if let Some(path) = &self.output {
            write_npz(path, named.iter().copied())?;
            errln!("wrote {} outputs to {}", named.len(), path.display());
        }
        errln!("compiled in {compile_ms:.1} ms, ran in {run_ms:.3} ms");
        if self.json {
            outln!("{}", as_json(&named, compile_ms, run_ms));
        } else {
            named
                .iter()
                .for_each(|(name, tensor)| outln!("{}", line(name, tensor)));
        }
        Ok(())
    }
}

fn write_trace(
    path: &Path,
    plan: &Plan,
    executable: &Executable,
    prepared: &Prepared,
) -> Result<()> {
    let views: Vec<TensorView<'_>> = prepared.inputs.iter().map(|(_, t)| t.view()).collect();
    let mut session = executable.session()?;
    let (labels, timeline) = record(plan, &mut session, executable.threads(), &views)?;
    let trace = chrome_trace(&plan.name, &labels, &timeline).to_string();
    write_atomic(path, |w| w.write_all(trace.as_bytes()))?;
    if timeline.lost > 0 {
        let lost = timeline.lost;
        errln!("note: the trace leaves out the last {lost} steps, for which there is no room");
    }
    errln!("wrote the trace of a run to {}", path.display());
    Ok(())
}

fn line(name: &str, tensor: &Tensor) -> String {
    let values = to_ir(tensor.view()).to_f64();
    let first: Vec<String> = values.iter().take(6).map(|v| format!("{v:.6}")).collect();
    let more = if values.len() > 6 { ", ..." } else { "" };
    let ty = describe(tensor.dtype(), tensor.shape());
    format!("{name}: {ty} = [{}{more}]", first.join(", "))
}

fn as_json(named: &[(&str, &Tensor)], compile_ms: f64, run_ms: f64) -> serde_json::Value {
    let outputs: Vec<_> = named
        .iter()
        .map(|(name, tensor)| {
            let values = to_ir(tensor.view()).to_f64();
            let finite = values.iter().filter(|v| v.is_finite());
            let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| {
                (a.min(*v), b.max(*v))
            });
            serde_json::json!({
                "name": name,
                "dtype": tensor.dtype().name(),
                "shape": tensor.shape(),
                "min": low,
                "max": high,
                "finite": values.iter().all(|v| v.is_finite()),
            })
        })
        .collect();
    serde_json::json!({ "outputs": outputs, "compile_ms": compile_ms, "run_ms": run_ms })
}
