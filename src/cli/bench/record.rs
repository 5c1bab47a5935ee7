//! Measurements as they are reported and stored.
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::Path;
use tensmith::files::write_atomic;
use tensmith::{Error, Result};
use tensmith_codegen::target::Target;
use tensmith_runtime::stats::median;

/// The name and version of the form of stored results.
pub const FORMAT: &str = "tensmith-bench-1";

/// Units: bytes of a stored result, at most.
const MAX_BYTES: u64 = 1 << 28;
/// Units: nanoseconds; eleven days, longer than any run.
const MAX_NS: f64 = 1e15;
/// Units: GFLOP/s of all cores, more than any machine has.
const MAX_GFLOPS: f64 = 1e9;

/// Runs that were made one after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// Units: nanoseconds, the median of the runs.
    pub median_ns: f64,
    /// How many runs.
    pub runs: usize,
    /// Units: GFLOP/s of multiply-adds on all threads, measured just before the runs.
    pub peak_gflops: Option<f64>,
    /// Units: nanoseconds of each run; only stored results have them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples_ns: Vec<u64>,
}

impl Block {
    /// A block of at least one run.
    pub fn new(samples_ns: Vec<u64>, peak_gflops: Option<f64>) -> Self {
        let times: Vec<f64> = samples_ns.iter().map(|ns| *ns as f64).collect();
        Block {
            median_ns: median(&times),
            runs: samples_ns.len(),
            peak_gflops,
            samples_ns,
        }
    }

    /// The same without the time of each run.
    pub fn summary(&self) -> Self {
        Block {
            samples_ns: Vec::new(),
            ..self.clone()
        }
    }
}

/// Latencies in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// The shortest.
    pub min: f64,
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The mean.
    pub mean: f64,
    /// The smallest that 90 % do not exceed.
    pub p90: f64,
    /// The smallest that 99 % do not exceed.
    pub p99: f64,
}

impl Latency {
    /// Of the runs of all blocks; at least one.
    pub fn of(blocks: &[Block]) -> Self {
        let mut samples: Vec<u64> = blocks.iter().flat_map(|b| &b.samples_ns).copied().collect();
        samples.sort_unstable();
        let n = samples.len();
        let rank = |q: f64| samples[((q * n as f64).ceil() as usize).clamp(1, n) - 1] as f64 / 1e6;
        Latency {
            min: samples[0] as f64 / 1e6,
            median: (samples[(n - 1) / 2] + samples[n / 2]) as f64 / 2e6,
            mean: samples.iter().sum::<u64>() as f64 / n as f64 / 1e6,
            p90: rank(0.9),
            p99: rank(0.99),
        }
    }
}

/// Which measurements may be compared although they were made apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Threads of a run.
    pub threads: usize,
    /// Names, types and shapes of the inputs.
    pub inputs: String,
    /// What the machine has that decides speed.
    pub machine: String,
}

impl Setting {
    /// This machine's.
    pub fn here(threads: usize, inputs: String) -> Self {
        let host = Target::host();
        let [l1, l2, l3] = [
            host.machine.l1_bytes,
            host.machine.l2_bytes,
            host.machine.l3_bytes,
        ]
        .map(|b| b >> 10);
        let machine = format!(
            "{}; {}; caches of {l1}, {l2} and {l3} KiB",
            host.triple,
            host.features.join(" ")
        );
        Setting {
            threads,
            inputs,
            machine,
        }
    }
}

/// What a comparison needs of a stored result.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Stored {
    /// [`FORMAT`].
    pub format: String,
    /// The model that was measured.
    pub model: String,
    /// How it was measured.
    #[serde(flatten)]
    pub setting: Setting,
    /// The measurements.
    pub blocks: Vec<Block>,
}

impl Stored {
    /// Reads what `--save` or `--json` wrote.
    ///
    /// Errors: the file cannot be read, or is no such result.
    pub fn read(path: &Path) -> Result<Self> {
        let io = |e| Error::io("read", path, e);
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(io)?;
        // A device states no length.
        file.take(MAX_BYTES + 1)
            .read_to_string(&mut text)
            .map_err(io)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(Error::Limit(format!(
                "{}: longer than {MAX_BYTES} bytes; no stored result is",
                path.display()
            )));
        }
        let wrong = |why: String| {
            let next = "write one with `tensmith bench MODEL --save FILE.json`";
            Error::file(path, format!("no stored result: {why}; {next}"))
        };
        let stored: Stored = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        if stored.format != FORMAT {
            let why = format!("its format is `{}`, expected `{FORMAT}`", stored.format);
            return Err(wrong(why));
        }
        let within = |x: f64, most: f64| x > 0.0 && x <= most;
        let sound = |b: &Block| {
            within(b.median_ns, MAX_NS) && b.peak_gflops.is_none_or(|p| within(p, MAX_GFLOPS))
        };
        if !stored.blocks.iter().all(sound) {
            let why = format!(
                "a time is not within 0 and {MAX_NS:e} ns, or a peak not within 0 and {MAX_GFLOPS:e} GFLOP/s"
            );
            return Err(wrong(why));
        }
        Ok(stored)
    }
}

/// Writes a report with all samples.
pub fn save(path: &Path, report: &serde_json::Value) -> Result<()> {
    write_atomic(path, |file| {
        serde_json::to_writer(&mut *file, report)?;
        std::io::Write::write_all(file, b"\n")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_ranks() {
        let samples: Vec<u64> = (1..=100).rev().map(|k| k * 1_000_000).collect();
        let (first, second) = samples.split_at(30);
        let blocks = [first, second].map(|s| Block::new(s.to_vec(), None));
        let l = Latency::of(&blocks);
        assert_eq!((l.min, l.median, l.mean), (1.0, 50.5, 50.5));
        assert_eq!((l.p90, l.p99), (90.0, 99.0));
        assert_eq!((blocks[0].median_ns, blocks[0].runs), (85.5e6, 30));
        assert_eq!(Latency::of(&[Block::new(vec![3_000_000], None)]).p99, 3.0);
    }
}
