//! `tensmith bench`
use super::inputs::{InputArgs, Prepared};
use super::shared::{ModelArgs, human_bytes, print_notes};
use clap::Args;
use tensmith::flops::direct_flops;
use tensmith::{Error, Executable, Result, peak};
use tensmith_ir::eval::bind_sizes;
use tensmith_runtime::{Stopwatch, peak_rss_bytes, rss_bytes};

/// Measure the latency of a model.
#[derive(Args)]
#[command(after_help = "Examples:
  tensmith bench model.onnx
  tensmith bench model.onnx --inputs in.npz --threads 2 --duration 2s --json")]
pub struct Bench {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    inputs: InputArgs,
    /// How long to measure, such as 500ms or 2s
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_duration)]
    duration: u64,
    /// Prints the figures as JSON
    #[arg(long)]
    json: bool,
}

/// Nanoseconds of `500ms`, `2s`, `1.5s` or `1m`.
fn parse_duration(text: &str) -> std::result::Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        _ => return Err("expected a time such as 500ms or 2s".into()),
    };
    match digits.parse::<f64>() {
        Ok(n) if n >= 0.0 && n * unit < 1e15 => Ok((n * unit) as u64),
        _ => Err("expected a time such as 500ms or 2s".into()),
    }
}

/// Latencies in milliseconds.
struct Latency {
    min: f64,
    median: f64,
    mean: f64,
    p90: f64,
    p99: f64,
    iterations: usize,
}

impl Latency {
    /// Nanoseconds of each run; at least one.
    fn of(mut samples: Vec<u64>) -> Self {
        samples.sort_unstable();
        let n = samples.len();
        let rank = |q: f64| samples[((q * n as f64).ceil() as usize).clamp(1, n) - 1] as f64 / 1e6;
        let middle = (samples[(n - 1) / 2] + samples[n / 2]) as f64 / 2e6;
        Latency {
            min: samples[0] as f64 / 1e6,
            median: middle,
            mean: samples.iter().sum::<u64>() as f64 / n as f64 / 1e6,
            p90: rank(0.9),
            p99: rank(0.99),
            iterations: n,
        }
    }
}

impl Bench {
    /// Runs the verb.
    pub fn run(self) -> Result<()> {
        let model = self.model.load()?;
        let given = self.inputs.read(&model)?;
        let prepared = given.prepare(&model, self.model.options()?, true)?;
        print_notes(&prepared.imported);
        eprintln!("inputs: {}", prepared.describe());
        let watch = Stopwatch::start();
        let executable = prepared.imported.compile(&prepared.options)?;
        let compile_ms = watch.elapsed_ms();
        let (latency, arena_bytes) = measure(&executable, &prepared, self.duration)?;
        let rss = peak_rss_bytes().or_else(rss_bytes).unwrap_or(0);
        let graph = &prepared.imported.graph;
        let sizes = bind_sizes(graph, &prepared.graph_inputs()?)
            .map_err(|e| Error::Internal(e.to_string()))?;
        let gflops = direct_flops(graph, &sizes) / (latency.median * 1e6);
        let peak = peak::fma_flops(executable.threads())?.map(|p| p / 1e9);
        let fraction = peak.map(|p| gflops / p);
        let constants = executable.constant_bytes();
        if self.json {
            let report = serde_json::json!({
                "model": self.model.model.display().to_string(),
                "threads": executable.threads(),
                "compile_ms": compile_ms,
                "latency_ms": {
                    "min": latency.min,
                    "median": latency.median,
                    "mean": latency.mean,
                    "p90": latency.p90,
                    "p99": latency.p99,
                },
                "iterations": latency.iterations,
                "gflops": gflops,
                "peak_gflops": peak,
                "peak_fraction": fraction,
                "arena_bytes": arena_bytes,
                "constant_bytes": constants,
                "rss_bytes": rss,
            });
            println!("{report}");
            return Ok(());
        }
        println!("threads        {}", executable.threads());
        println!("compile        {compile_ms:.1} ms");
        println!(
            "latency        median {:.4} ms, min {:.4}, mean {:.4}, p90 {:.4}, p99 {:.4} ({} runs)",
            latency.median, latency.min, latency.mean, latency.p90, latency.p99, latency.iterations
        );
        match (peak, fraction) {
            (Some(peak), Some(f)) => {
                println!(
                    "speed          {gflops:.2} GFLOP/s, {:.1} % of {peak:.1}",
                    100.0 * f
                );
            }
            _ => println!("speed          {gflops:.2} GFLOP/s"),
        }
        println!("arena          {}", human_bytes(arena_bytes as u64));
        println!("constants      {}", human_bytes(constants as u64));
        println!("peak memory    {}", human_bytes(rss));
        Ok(())
    }
}

/// Warms up for a tenth of the time, then runs as often as the time allows, at least once.
fn measure(
    executable: &Executable,
    prepared: &Prepared,
    duration_ns: u64,
) -> Result<(Latency, usize)> {
    let mut session = executable.session()?;
    let views: Vec<_> = prepared.inputs.iter().map(|(_, t)| t.view()).collect();
    let watch = Stopwatch::start();
    loop {
        session.run(&views)?;
        if watch.elapsed_ns() >= duration_ns / 10 {
            break;
        }
    }
    let mut samples = Vec::new();
    let total = Stopwatch::start();
    loop {
        let watch = Stopwatch::start();
        session.run(&views)?;
        samples.push(watch.elapsed_ns());
        if total.elapsed_ns() >= duration_ns {
            break;
        }
    }
    Ok((Latency::of(samples), session.arena_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("2s"), Ok(2_000_000_000));
        assert_eq!(parse_duration("1.5ms"), Ok(1_500_000));
        assert!(parse_duration("2").is_err() && parse_duration("-1s").is_err());
        assert!(parse_duration("s").is_err() && parse_duration("1e30s").is_err());
    }

    #[test]
    fn percentiles_are_ranks() {
        let l = Latency::of((1..=100).rev().map(|k| k * 1_000_000).collect());
        assert_eq!((l.min, l.median, l.mean), (1.0, 50.5, 50.5));
        assert_eq!((l.p90, l.p99, l.iterations), (90.0, 99.0, 100));
        assert_eq!(Latency::of(vec![3_000_000]).p99, 3.0);
    }
}
