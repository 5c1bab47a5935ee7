//! `tensmith bench`
mod compare;
mod record;
mod side;

use super::inputs::{InputArgs, Prepared};
use super::shared::{ModelArgs, print_notes};
use crate::cli::out::{errln, outln};
use clap::Args;
use compare::{Comparison, Other, check_remote};
use record::{Block, FORMAT, Latency, Setting, save};
use side::{Local, Ready, Remote, Side, serve};
use std::path::PathBuf;
use tensmith::flops::direct_flops;
use tensmith::units::{human_bytes, parse_duration};
use tensmith::{Error, Executable, Result};
use tensmith_autotune::probe::fma_flops_for;
use tensmith_codegen::target::Target;
use tensmith_ir::eval::bind_sizes;
use tensmith_runtime::{Stopwatch, peak_rss_bytes, rss_bytes};

/// Measure the latency of a model.
#[derive(Args)]
#[command(after_help = "Examples:
  tensmith bench model.onnx
  tensmith bench model.onnx --inputs in.npz --threads 2 --duration 2s --json
  tensmith bench model.onnx --save base.json
  tensmith bench model.onnx --compare base.json --fail-if-slower 3%
  tensmith bench model.onnx --compare other.onnx
  tensmith bench model.onnx --compare path/to/other/build/of/tensmith --fail-if-slower 3%

A comparison says faster, not slower, slower or inconclusive by the 95 % interval of the ratio of
latencies. With --fail-if-slower the exit code is 1 if the whole interval is beyond the limit.")]
pub struct Bench {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    inputs: InputArgs,
    /// How long to measure, such as 500ms or 2s; of each side if there are two
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_duration)]
    duration: u64,
    /// Blocks that the time is cut into; with --compare, turns of both sides
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u64).range(15..=1000))]
    pairs: u64,
    /// Compares with a result that --save wrote (.json), another model (.onnx), or this model by
    /// another build of this program
    #[arg(long, value_name = "BASE.json|MODEL.onnx|PROGRAM")]
    compare: Option<PathBuf>,
    /// Exit code 1 if this model is slower than the other by more than this
    #[arg(long, value_name = "N%", value_parser = parse_percent, requires = "compare")]
    fail_if_slower: Option<f64>,
    /// Writes the figures and the time of each run as JSON, for --compare
    #[arg(long, value_name = "FILE.json")]
    save: Option<PathBuf>,
    /// Prints the figures as JSON
    #[arg(long)]
    json: bool,
    /// Measures for each number of nanoseconds on stdin: what --compare starts
    #[arg(long, hide = true, conflicts_with_all = ["compare", "save", "json"])]
    on_request: bool,
}

/// The ratio of `3%`: 1.03.
fn parse_percent(text: &str) -> std::result::Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|n| n.parse::<f64>().ok());
    match number {
        Some(n) if (0.0..=10_000.0).contains(&n) => Ok(1.0 + n / 100.0),
        _ => Err("expected a percentage of at least 0, such as 3%".into()),
    }
}

/// A compiled model and what is known before it runs.
struct Subject {
    setting: Setting,
    /// What it is compiled for.
    target: Target,
    executable: Executable,
    compile_ms: f64,
    /// Units: floating-point operations of a run.
    flops: f64,
}

/// What running it said.
struct Measured {
    blocks: Vec<Block>,
    other_blocks: Vec<Block>,
    arena_bytes: usize,
}

impl Bench {
    /// Runs the verb.
    pub fn run(self) -> Result<()> {
        self.model.check_outputs(&[("--save", &self.save)])?;
        let other = self.compare.as_deref().map(Other::find).transpose()?;
        let (subject, mut local) = self.prepare()?;
        if self.on_request {
            let ready = Ready {
                threads: subject.setting.threads,
                inputs: subject.setting.inputs,
                compile_ms: subject.compile_ms,
            };
            return serve(&mut local, &ready);
        }
        let mut remote = self.start_other(other.as_ref(), &subject)?;
        let measured = self.measure(&mut local, remote.as_mut(), &subject)?;
        drop(remote);
        let comparison = self.compare(other.as_ref(), &measured, &subject)?;
        self.report(&subject, &measured, comparison.as_ref())?;
        match comparison {
            Some(comparison) if self.fail_if_slower.is_some() => comparison.conclude(),
            _ => Ok(()),
        }
    }

    /// Compiles the model and warms it up.
    fn prepare(&self) -> Result<(Subject, Local)> {
        let model = self.model.load()?;
        let given = self.inputs.read(&model)?;
        let prepared = given.prepare(&model, self.model.options()?, true)?;
        let described = prepared.describe();
        if !self.on_request {
            print_notes(&prepared.imported);
            errln!("inputs: {described}");
        }
        let target = Target::named(prepared.options.target_name())?;
        let watch = Stopwatch::start();
        let executable = prepared.imported.compile(&prepared.options)?;
        let compile_ms = watch.elapsed_ms();
        let subject = Subject {
            setting: Setting::here(executable.threads(), described),
            compile_ms,
            flops: flops(&prepared)?,
            target,
            executable,
        };
        let local = Local::new(&subject.executable, prepared, self.duration / 10)?;
        Ok((subject, local))
    }

    /// The name of the other side in messages.
    fn other_name(&self) -> String {
        let path = self.compare.as_deref().unwrap_or(&self.model.model);
        path.display().to_string()
    }

    /// Starts the other side if it is one that can run.
    fn start_other(&self, other: Option<&Other>, subject: &Subject) -> Result<Option<Remote>> {
        let own = std::env::current_exe().map_err(|e| Error::io("find", "this program", e))?;
        let (program, model) = match other {
            Some(Other::Model(model)) => (&own, model),
            Some(Other::Program(program)) => (program, &self.model.model),
            Some(Other::Stored(_)) | None => return Ok(None),
        };
        let threads = subject.setting.threads;
        let remote = Remote::start(program, model, &self.model, &self.inputs, threads)?;
        let same_model = matches!(other, Some(Other::Program(_)));
        check_remote(&self.other_name(), &remote, &subject.setting, same_model)?;
        Ok(Some(remote))
    }

    /// Measures block by block, in turns if there are two sides.
    fn measure(
        &self,
        local: &mut Local,
        mut remote: Option<&mut Remote>,
        subject: &Subject,
    ) -> Result<Measured> {
        let each = self.duration / self.pairs;
        let (mut blocks, mut other_blocks) = (Vec::new(), Vec::new());
        for _ in 0..self.pairs {
            let peak = fma_flops_for(subject.setting.threads, &subject.target)?;
            let peak = Some(peak / 1e9);
            if let Some(remote) = &mut remote {
                other_blocks.push(Block::new(remote.block(each)?, peak));
            }
            blocks.push(Block::new(local.block(each)?, peak));
        }
        Ok(Measured {
            blocks,
            other_blocks,
            arena_bytes: local.arena_bytes(),
        })
    }

    fn compare(
        &self,
        other: Option<&Other>,
        measured: &Measured,
        subject: &Subject,
    ) -> Result<Option<Comparison>> {
        let (name, limit) = (self.other_name(), self.fail_if_slower.unwrap_or(1.0));
        let ours = &measured.blocks;
        match other {
            None => Ok(None),
            Some(Other::Stored(stored)) => {
                let model = self.model.model.display().to_string();
                if stored.model != model {
                    errln!("note: {name} is of another file, {}", stored.model);
                }
                Comparison::stored(name, stored, ours, &subject.setting, limit).map(Some)
            }
            Some(Other::Model(_) | Other::Program(_)) => {
                Comparison::in_turns(name, &measured.other_blocks, ours, limit).map(Some)
            }
        }
    }

    fn report(
        &self,
        subject: &Subject,
        measured: &Measured,
        comparison: Option<&Comparison>,
    ) -> Result<()> {
        let figures = Figures::of(subject, measured);
        if let Some(path) = &self.save {
            save(
                path,
                &self.json(subject, measured, &figures, comparison, true),
            )?;
        }
        if self.json {
            let report = self.json(subject, measured, &figures, comparison, false);
            outln!("{report}");
            return Ok(());
        }
        figures.print(subject, measured);
        if let Some(comparison) = comparison {
            comparison.print();
        }
        Ok(())
    }

    fn json(
        &self,
        subject: &Subject,
        measured: &Measured,
        figures: &Figures,
        comparison: Option<&Comparison>,
        every_run: bool,
    ) -> serde_json::Value {
        let Setting {
            threads,
            inputs,
            machine,
        } = &subject.setting;
        let block = |b: &Block| if every_run { b.clone() } else { b.summary() };
        let mut report = serde_json::json!({
            "format": FORMAT,
            "model": self.model.model.display().to_string(),
            "threads": threads,
            "inputs": inputs,
            "machine": machine,
            "compile_ms": subject.compile_ms,
            "latency_ms": figures.latency,
            "iterations": figures.iterations,
            "gflops": figures.gflops,
            "peak_gflops": figures.peak,
            "peak_fraction": figures.peak_fraction(),
            "arena_bytes": measured.arena_bytes,
            "constant_bytes": subject.executable.constant_bytes(),
            "rss_bytes": figures.rss_bytes,
            "blocks": measured.blocks.iter().map(block).collect::<Vec<_>>(),
        });
        if let Some(comparison) = comparison {
            report["comparison"] = serde_json::json!(comparison);
        }
        report
    }
}

fn flops(prepared: &Prepared) -> Result<f64> {
    let graph = &prepared.imported.graph;
    let sizes = bind_sizes(graph, &prepared.graph_inputs()?);
    let sizes = sizes.map_err(|e| Error::Internal(e.to_string()))?;
    Ok(direct_flops(graph, &sizes))
}

/// What is said about the runs of all blocks together.
struct Figures {
    latency: Latency,
    iterations: usize,
    gflops: f64,
    /// Units: GFLOP/s, the best of all blocks, since other programs only lower it.
    peak: Option<f64>,
    rss_bytes: u64,
}

impl Figures {
    fn of(subject: &Subject, measured: &Measured) -> Self {
        let latency = Latency::of(&measured.blocks);
        let peaks = measured.blocks.iter().filter_map(|b| b.peak_gflops);
        Figures {
            gflops: subject.flops / (latency.median * 1e6),
            latency,
            iterations: measured.blocks.iter().map(|b| b.runs).sum(),
            peak: peaks.reduce(f64::max),
            rss_bytes: peak_rss_bytes().or_else(rss_bytes).unwrap_or(0),
        }
    }

    fn peak_fraction(&self) -> Option<f64> {
        self.peak.map(|p| self.gflops / p)
    }

    fn print(&self, subject: &Subject, measured: &Measured) {
        let Latency {
            min,
            median,
            mean,
            p90,
            p99,
        } = self.latency;
        outln!("threads        {}", subject.setting.threads);
        outln!("compile        {:.1} ms", subject.compile_ms);
        outln!(
            "latency        median {median:.4} ms, min {min:.4}, mean {mean:.4}, p90 {p90:.4}, p99 {p99:.4} ({} runs)",
            self.iterations
        );
        let gflops = self.gflops;
        match (self.peak, self.peak_fraction()) {
            (Some(peak), Some(f)) => {
                outln!(
                    "speed          {gflops:.2} GFLOP/s, {:.1} % of {peak:.1}",
                    100.0 * f
                );
            }
            _ => outln!("speed          {gflops:.2} GFLOP/s"),
        }
        let constants = subject.executable.constant_bytes() as u64;
        outln!(
            "arena          {}",
            human_bytes(measured.arena_bytes as u64)
        );
        outln!("constants      {}", human_bytes(constants));
        outln!("peak memory    {}", human_bytes(self.rss_bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_become_ratios() {
        assert_eq!(parse_percent("3%"), Ok(1.03));
        assert_eq!(parse_percent("0%"), Ok(1.0));
        for wrong in ["3", "-1%", "%", "NaN%", "three%"] {
            assert!(parse_percent(wrong).is_err(), "{wrong}");
        }
    }
}
