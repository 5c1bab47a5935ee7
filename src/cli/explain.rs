//! `tensmith explain`
use super::inputs::InputArgs;
use super::shared::{ModelArgs, print_notes};
use crate::cli::out::{errln, out, out_bytes, outln};
use clap::Args;
use std::io::Write;
use std::path::PathBuf;
use tensmith::compile::{optimised_and_told, partition, plan_optimised};
use tensmith::explain::graph::{dot, svg};
use tensmith::explain::html::html;
use tensmith::explain::rules::RulesReport;
use tensmith::explain::why_not::why_not;
use tensmith::explain::{KernelReport, Report, explain};
use tensmith::files::write_atomic;
use tensmith::units::{human_bytes, human_ns, parse_duration};
use tensmith::{Options, Result, TensorView};
use tensmith_ir::graph::Graph;
use tensmith_onnx::export::export;
use tensmith_passes::alternatives::Compiled;

/// Show what each kernel of a model does, how fast it is and how fast it could be.
#[derive(Args)]
#[command(after_help = "Examples:
  tensmith explain model.onnx --threads 1
  tensmith explain model.onnx --inputs in.npz --top 10
  tensmith explain model.onnx --html report.html
  tensmith explain model.onnx --json
  tensmith explain model.onnx --rules
  tensmith explain model.onnx --why-not /Conv_5 /Clip_6
  tensmith explain model.onnx --graph svg > model.svg

Times are medians over runs, of the thread that takes longest. GFLOP/s count the direct algorithm of
contractions and convolutions; bytes are those over the kernel's boundary. The bound is the time that
this machine needs for either, whichever is longer, by the rates that it has in this process.")]
pub struct Explain {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    inputs: InputArgs,
    /// How long to measure, such as 500ms or 2s
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    duration: u64,
    /// Shows only the N kernels that take longest, the longest first
    #[arg(long, value_name = "N", conflicts_with = "json")]
    top: Option<usize>,
    /// Writes everything as one page, with a timeline and rooflines
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,
    /// Lists the rules of the e-graph, passes, algorithms and layouts instead of running the model: how
    /// often each found something, how many nodes it made, what it does to rounding, and its equation
    #[arg(long, conflicts_with_all = ["top", "html", "why_not", "graph"])]
    rules: bool,
    /// Says why two nodes are not computed by one kernel, instead of running the model
    #[arg(long, num_args = 2, value_names = ["NODE", "NODE"], conflicts_with_all = ["top", "html", "json", "graph"])]
    why_not: Option<Vec<String>>,
    /// Prints the optimised graph instead of running the model: dot for Graphviz, svg as a picture,
    /// onnx for viewers such as Netron
    #[arg(long, value_name = "FORM", conflicts_with_all = ["top", "html", "json"])]
    graph: Option<Drawing>,
    /// Prints everything as JSON
    #[arg(long)]
    json: bool,
}

/// How a graph is drawn.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Drawing {
    Dot,
    Svg,
    Onnx,
}

impl Explain {
    /// Runs the verb.
    pub fn run(self) -> Result<()> {
        self.model.check_outputs(&[("--html", &self.html)])?;
        let model = self.model.load()?;
        let given = self.inputs.read(&model)?;
        let prepared = given.prepare(&model, self.model.options()?, true)?;
        print_notes(&prepared.imported);
        if self.rules || self.why_not.is_some() || self.graph.is_some() {
            return self.show_graph(&prepared.imported.graph, &prepared.options);
        }
        errln!("inputs: {}", prepared.describe());
        let views: Vec<TensorView<'_>> = prepared.inputs.iter().map(|(_, t)| t.view()).collect();
        let (imported, options) = (&prepared.imported, &prepared.options);
        let report = explain(imported, options, &views, self.duration)?;
        if report.lost_marks > 0 {
            let lost = report.lost_marks;
            errln!("note: {lost} steps of a run found no room and are not counted");
        }
        if let Some(path) = &self.html {
            write_atomic(path, |w| w.write_all(html(&report).as_bytes()))?;
            errln!("wrote {}", path.display());
        }
        if self.json {
            outln!("{}", serde_json::json!(report));
        } else if self.html.is_none() || self.top.is_some() {
            print_text(&report, self.top);
        }
        Ok(())
    }
}

impl Explain {
    /// What can be said without running the model.
    fn show_graph(&self, source: &Graph, options: &Options) -> Result<()> {
        let (graph, decisions) = optimised_and_told(source, options)?;
        let partition = partition(&graph, options)?;
        if self.rules {
            let compiled = Compiled {
                graph: &graph,
                partition: &partition,
                plan: &plan_optimised(&graph, options)?,
                algorithms: &decisions.algorithms,
            };
            let report = RulesReport::of(&decisions, &compiled);
            match self.json {
                true => outln!("{}", serde_json::json!(report)),
                false => out!("{}", report.text()),
            }
        }
        if let Some([a, b]) = self.why_not.as_deref() {
            out!("{}", why_not(source, (&graph, &partition), (a, b))?);
        }
        match self.graph {
            Some(Drawing::Dot) => out!("{}", dot(&graph, &partition)),
            Some(Drawing::Svg) => out!("{}", svg(&graph, &partition)),
            Some(Drawing::Onnx) => out_bytes(&export(&graph)),
            None => {}
        }
        Ok(())
    }
}

fn print_text(report: &Report, top: Option<usize>) {
    let mut rows: Vec<&KernelReport> = report.kernels.iter().collect();
    if let Some(count) = top {
        rows.sort_by(|a, b| b.ns.total_cmp(&a.ns));
        rows.truncate(count);
    }
    outln!("step      time   share  GFLOP/s       bytes    GB/s  of bound  barriers     kernel");
    for row in rows {
        outln!("{}", line(row));
        outln!("{:>22}  {}", "", row.nodes.join(", "));
        outln!("{:>22}  {}: {}", "", row.recipe, row.loops);
        if !row.rules.is_empty() {
            outln!("{:>22}  rules: {}", "", row.rules.join(", "));
        }
        if !row.algorithm.is_empty() {
            outln!("{:>22}  algorithm: {}", "", row.algorithm);
        }
        if !row.alone.is_empty() {
            outln!("{:>22}  alone: {}", "", row.alone);
        }
        if !row.fallback.is_empty() {
            outln!("{:>22}  narrow: {}", "", row.fallback);
        }
        if row.spills > 0 {
            outln!("{:>22}  spills: {} moves in its code", "", row.spills);
        }
    }
    print_totals(report);
}

fn line(row: &KernelReport) -> String {
    let gflops = match row.flops > 0.0 {
        true => format!("{:.1}", row.gflops()),
        false => "-".into(),
    };
    let barriers = match row.barriers {
        0 => "-".into(),
        n => format!("{n} ({})", human_ns(row.wait_ns)),
    };
    let calls = match row.calls {
        1 => String::new(),
        n => format!(" x{n}"),
    };
    format!(
        "{:>4} {:>9} {:>5.1} % {gflops:>8} {:>11} {:>7.1} {:>5.1} % {} {barriers:<12} {}{calls}",
        row.step,
        human_ns(row.ns),
        100.0 * row.share,
        human_bytes(row.bytes as u64),
        row.gbytes(),
        100.0 * row.bound_share(),
        mark_of(row.bound_by),
        row.name,
    )
}

/// What sets the bound, in one letter: `a`rithmetic, `1`, `2` or `3` for a cache, `m`emory.
fn mark_of(bound_by: &str) -> char {
    let first = |c: char| c.is_ascii_digit();
    let level = bound_by.chars().find(|c| first(*c));
    level.or(bound_by.chars().next()).unwrap_or(' ')
}

fn print_totals(report: &Report) {
    let (latency, machine) = (report.latency_ns, &report.machine);
    let part = |ns: f64| 100.0 * ns / latency.max(1.0);
    outln!();
    outln!(
        "latency   {} (with time kept: {}), median of {} runs, {} threads",
        human_ns(latency),
        human_ns(report.profiled_ns),
        report.runs,
        report.threads,
    );
    outln!(
        "speed     {:.1} GFLOP/s, {:.1} % of the peak of {:.1}",
        report.flops / latency.max(1.0),
        100.0 * report.flops * 1e9 / (latency.max(1.0) * machine.flops_per_s),
        machine.flops_per_s / 1e9,
    );
    outln!(
        "bound     {}, {:.1} % of the latency",
        human_ns(report.bound_ns),
        part(report.bound_ns),
    );
    outln!(
        "waiting   {} at barriers on average over the threads, {} in branches and loops",
        human_ns(report.wait_ns),
        human_ns(report.control_ns),
    );
    outln!(
        "alone     {} of {} kernel calls have no contraction and are inside of no other kernel",
        report.alone,
        report.kernels.len(),
    );
    let levels = machine.memory.iter();
    let levels: Vec<String> = levels
        .map(|l| format!("{} {:.0}", l.name.as_str(), l.bytes_per_s / 1e9))
        .collect();
    outln!("machine   reads {} GB/s", levels.join(", "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_letters() {
        let marks = ["arithmetic", "L1", "L3", "memory"].map(mark_of);
        assert_eq!(marks, ['a', '1', '3', 'm']);
    }
}
