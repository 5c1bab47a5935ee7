//! `tensmith bench --compare`: is this slower than that?
//!
//! What can run now is measured in turns with this model, so that whatever the machine does
//! meanwhile touches both. A stored result cannot be measured again: it is compared as it is and
//! once more with every time multiplied by the peak that was probed beside it, and only what both
//! say counts.
use super::record::{Block, Setting, Stored};
use super::side::Remote;
use crate::cli::out::{errln, outln};
use serde::Serialize;
use std::io::Read;
use std::path::{Path, PathBuf};
use tensmith::{Error, Result};
use tensmith_runtime::stats::{Interval, Verdict, median, paired_ratio, unpaired_ratio};

/// What to compare with.
pub enum Other {
    /// A result that was stored earlier.
    Stored(Stored),
    /// Another model, by this program.
    Model(PathBuf),
    /// The same model, by another build of this program.
    Program(PathBuf),
}

impl Other {
    /// Finds out what lies at `path`.
    ///
    /// Errors: nothing that can be compared with, or a stored result that cannot be read.
    pub fn find(path: &Path) -> Result<Self> {
        let extension = path.extension().and_then(|e| e.to_str());
        match extension {
            Some("json") => return Stored::read(path).map(Other::Stored),
            Some("onnx") => return Ok(Other::Model(path.into())),
            _ => {}
        }
        let io = |e| Error::io("read", path, e);
        let mut head = Vec::new();
        let file = std::fs::File::open(path).map_err(io)?;
        file.take(4).read_to_end(&mut head).map_err(io)?;
        if head == b"\x7fELF" || head.starts_with(b"#!") {
            // A path without a slash would be looked up elsewhere.
            return path.canonicalize().map(Other::Program).map_err(io);
        }
        Err(Error::Usage(format!(
            "--compare {}: expected a result that --save wrote (.json), a model (.onnx) or another build of tensmith",
            path.display()
        )))
    }
}

/// An interval of a ratio as it is reported.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    median: f64,
    low: f64,
    high: f64,
}

impl From<Interval> for Ratio {
    fn from(i: Interval) -> Self {
        Ratio {
            median: i.estimate,
            low: i.low,
            high: i.high,
        }
    }
}

/// The outcome. Ratios are of this latency over the other's.
#[derive(Debug, Serialize)]
pub struct Comparison {
    with: String,
    /// `in turns` or `stored`.
    measured: &'static str,
    other_median_ms: f64,
    other_blocks: usize,
    /// What the verdict goes by.
    ratio: Ratio,
    /// Stored results only: of the times as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    plain_ratio: Option<Ratio>,
    /// Stored results with a probed peak only: of the times multiplied by the peak.
    #[serde(skip_serializing_if = "Option::is_none")]
    normalised_ratio: Option<Ratio>,
    /// Stored results with a probed peak only: the peak of then over the peak of now.
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_ratio: Option<f64>,
    limit: f64,
    verdict: &'static str,
    #[serde(skip)]
    is_slower: bool,
}

fn medians(blocks: &[Block]) -> Vec<f64> {
    blocks.iter().map(|b| b.median_ns).collect()
}

/// Each block's time as work that the machine could have done meanwhile.
fn normalised(blocks: &[Block]) -> Option<Vec<f64>> {
    let one = |b: &Block| Some(b.median_ns * b.peak_gflops?);
    blocks.iter().map(one).collect()
}

fn peaks(blocks: &[Block]) -> Vec<f64> {
    blocks.iter().filter_map(|b| b.peak_gflops).collect()
}

impl Comparison {
    fn new(with: String, other: &[Block], interval: Interval, limit: f64) -> Self {
        let verdict = interval.verdict(limit);
        Comparison {
            with,
            measured: "in turns",
            other_median_ms: median(&medians(other)) / 1e6,
            other_blocks: other.len(),
            ratio: interval.into(),
            plain_ratio: None,
            normalised_ratio: None,
            peak_ratio: None,
            limit,
            verdict: verdict.as_str(),
            is_slower: verdict == Verdict::Slower,
        }
    }

    /// Of blocks that were measured in turns, pair by pair.
    pub fn in_turns(with: String, other: &[Block], ours: &[Block], limit: f64) -> Result<Self> {
        let interval = paired_ratio(&medians(other), &medians(ours));
        let interval = interval.ok_or_else(|| too_few(other.len()))?;
        Ok(Self::new(with, other, interval, limit))
    }

    /// Of a stored result.
    pub fn stored(
        with: String,
        stored: &Stored,
        ours: &[Block],
        here: &Setting,
        limit: f64,
    ) -> Result<Self> {
        check_setting(&with, &stored.setting, here)?;
        let other = &stored.blocks;
        let plain = unpaired_ratio(&medians(other), &medians(ours));
        let plain = plain.ok_or_else(|| too_few(other.len().min(ours.len())))?;
        let scaled = match (normalised(other), normalised(ours)) {
            (Some(other), Some(ours)) => unpaired_ratio(&other, &ours),
            _ => None,
        };
        let both = scaled.map_or(plain, |s| s.hull(&plain));
        Ok(Comparison {
            measured: "stored",
            plain_ratio: Some(plain.into()),
            normalised_ratio: scaled.map(Ratio::from),
            peak_ratio: scaled.map(|_| median(&peaks(other)) / median(&peaks(ours))),
            ..Self::new(with, other, both, limit)
        })
    }

    /// Prints the outcome for people.
    pub fn print(&self) {
        let percent = |r: f64| 100.0 * (r - 1.0);
        let Ratio { median, low, high } = self.ratio;
        outln!(
            "compared       {}: median {:.4} ms, {} blocks, {}",
            self.with,
            self.other_median_ms,
            self.other_blocks,
            self.measured
        );
        outln!(
            "difference     {:+.2} % latency, 95 % interval {:+.2} to {:+.2} %",
            percent(median),
            percent(low),
            percent(high)
        );
        if let (Some(plain), Some(scaled), Some(peak)) =
            (self.plain_ratio, self.normalised_ratio, self.peak_ratio)
        {
            outln!(
                "               as timed {:+.2} %; by the probed peak, which was {:.3} of today's then, {:+.2} %",
                percent(plain.median),
                peak,
                percent(scaled.median)
            );
        }
        outln!(
            "verdict        {} (limit {:+.1} %)",
            self.verdict,
            percent(self.limit)
        );
        if self.verdict == Verdict::Inconclusive.as_str() {
            errln!("note: {}", self.next_step());
        }
    }

    fn next_step(&self) -> &'static str {
        match self.measured {
            "stored" => {
                "the interval reaches to both sides of the limit; for a verdict measure in turns: \
                 --compare with the other model or the other build itself"
            }
            _ => {
                "the interval reaches to both sides of the limit; a longer --duration, more \
                 --pairs or a quieter machine could tell"
            }
        }
    }

    /// Fails if this is slower by more than the limit.
    pub fn conclude(&self) -> Result<()> {
        if !self.is_slower {
            return Ok(());
        }
        let Ratio { median, low, high } = self.ratio;
        Err(Error::CheckFailed(format!(
            "slower than {}: {median:.4} times its latency, 95 % interval {low:.4} to {high:.4}, limit {:.4}",
            self.with, self.limit
        )))
    }
}

fn too_few(blocks: usize) -> Error {
    Error::Usage(format!(
        "{blocks} blocks are too few for a 95 % interval, which takes 6; measure again with --save"
    ))
}

/// Refuses to compare what differs in more than speed.
fn check_setting(with: &str, stored: &Setting, here: &Setting) -> Result<()> {
    let pairs = [
        (
            "threads",
            stored.threads.to_string(),
            here.threads.to_string(),
        ),
        ("inputs", stored.inputs.clone(), here.inputs.clone()),
        ("machine", stored.machine.clone(), here.machine.clone()),
    ];
    match pairs.into_iter().find(|(_, then, now)| then != now) {
        None => Ok(()),
        Some((what, then, now)) => Err(Error::Usage(format!(
            "{with} was measured with other {what}: `{then}`, here `{now}`; use the same, or store a new result with --save"
        ))),
    }
}

/// Refuses to compare with another build that runs something else. Another model may have other
/// inputs.
pub fn check_remote(with: &str, remote: &Remote, here: &Setting, same_model: bool) -> Result<()> {
    if !same_model && remote.ready.inputs != here.inputs {
        errln!("note: {with} has other inputs: {}", remote.ready.inputs);
        return Ok(());
    }
    let there = Setting {
        threads: remote.ready.threads,
        inputs: remote.ready.inputs.clone(),
        machine: here.machine.clone(),
    };
    check_setting(with, &there, here)
}

#[cfg(test)]
mod tests {
    use super::super::record::FORMAT;
    use super::*;

    fn blocks(times: &[u64], peak: Option<f64>) -> Vec<Block> {
        let block = |t: &u64| Block::new(vec![*t; 3], peak);
        times.iter().map(block).collect()
    }

    fn times(base: u64) -> Vec<u64> {
        (0..15).map(|k| base + k * base / 1000).collect()
    }

    fn setting() -> Setting {
        Setting::here(1, "x: f32[1]".into())
    }

    fn compare(base: Vec<Block>, ours: &[Block], limit: f64) -> Result<Comparison> {
        let stored = Stored {
            format: FORMAT.into(),
            model: "m.onnx".into(),
            setting: setting(),
            blocks: base,
        };
        Comparison::stored("base.json".into(), &stored, ours, &setting(), limit)
    }

    #[test]
    fn turns_are_compared_pair_by_pair() {
        let base = blocks(&times(1000), None);
        let slow: Vec<u64> = times(1000).iter().map(|t| t * 11 / 10).collect();
        let compare =
            |ours: &[Block], limit| Comparison::in_turns("x".into(), &base, ours, limit).unwrap();
        let slow = blocks(&slow, None);
        assert_eq!(compare(&slow, 1.03).verdict, "slower");
        assert!(compare(&slow, 1.03).conclude().is_err());
        assert_eq!(compare(&slow, 1.2).verdict, "not slower");
        assert!(compare(&slow, 1.2).conclude().is_ok());
        assert_eq!(compare(&base, 1.0).verdict, "not slower");
    }

    #[test]
    fn stored_results_need_both_views_for_a_verdict() {
        let base = || blocks(&times(1_000_000), Some(100.0));
        let same_machine = blocks(&times(1_100_000), Some(100.0));
        assert_eq!(
            compare(base(), &same_machine, 1.03).unwrap().verdict,
            "slower"
        );
        // 10 % slower on a machine that is 10 % slower: neither slower nor not.
        let slow_machine = blocks(&times(1_100_000), Some(90.9));
        let c = compare(base(), &slow_machine, 1.03).unwrap();
        assert_eq!(c.verdict, "inconclusive");
        assert!(c.conclude().is_ok());
        assert!((c.normalised_ratio.unwrap().median - 1.0).abs() < 0.01);
        // Without a peak there is one view only.
        let c = compare(blocks(&times(1_000_000), None), &slow_machine, 1.03).unwrap();
        assert_eq!((c.verdict, c.normalised_ratio), ("slower", None));
    }

    #[test]
    fn other_settings_and_few_blocks_are_refused() {
        let ours = blocks(&times(1000), None);
        assert!(compare(blocks(&[1, 2, 3, 4, 5], None), &ours, 1.0).is_err());
        let two = Setting {
            threads: 2,
            ..setting()
        };
        let refused = check_setting("base.json", &two, &setting()).unwrap_err();
        assert!(refused.to_string().contains("other threads: `2`, here `1`"));
        assert_eq!(refused.exit_code(), 2);
    }
}
