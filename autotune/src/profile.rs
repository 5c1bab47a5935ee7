//! The machine's profile: what was measured of it, for which processor, cores and version that
//! holds, and the file that keeps it.
mod cache;
mod measure;

pub use measure::Progress;

use crate::COMPILER;
use crate::probe::{HandOff, LevelName, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use tensmith_codegen::host::{self, Cpu};
use tensmith_codegen::target::Target;
use tensmith_ir::machine::{Machine, Rates};
use tensmith_runtime::quota;

/// The version of what is measured and how it is kept.
const FORMAT: u32 = 3;

/// The spread of multiply-adds above which other programs have disturbed a measurement: idle machines
/// stay below a third of this, in rounds of which the quietest counts.
const MAX_SPREAD: f64 = 0.1;

/// What was measured of a machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What it holds for.
    pub identity: Identity,
    /// Units: cycles a second of one core that is busy alone.
    pub clock_hz: f64,
    /// How much slower the slowest measurement of the clock was than the fastest: 0.1 for a tenth.
    pub clock_spread: f64,
    /// How much longer repetitions of multiply-adds took on average than the fastest, in the quietest
    /// round of measurements: 0.1 for a tenth.
    pub fma_spread: f64,
    /// Units: nanoseconds from a multiply-add to one that needs its result.
    pub fma_latency_ns: f64,
    /// What each width of vectors does, narrow ones first.
    pub arithmetic: Vec<Arithmetic>,
    /// Caches and main memory, the fastest first.
    pub memory: Vec<Level>,
    /// What threads on all usable cores pay each other; `None` on one core.
    pub hand_off: Option<HandOff>,
    /// Units: seconds since 1970, when it was measured.
    pub when_s: u64,
    /// Units: milliseconds that measuring took.
    pub took_ms: f64,
}

/// What a profile holds for. Another one needs another measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The version of the profile.
    pub format: u32,
    /// The version of the compiler, whose code is measured.
    pub compiler: String,
    /// The machine: [`machine_key`].
    pub machine: String,
    /// The name that the processor is sold by.
    pub cpu: String,
    /// Cores that this process can use at the same time.
    pub cores: usize,
    /// Cores' worth of time that it is granted; `None` for no quota.
    pub quota: Option<f64>,
}

/// What vectors of one width do: multiply-adds of `f32` and products of bytes, which are those that
/// code has.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arithmetic {
    /// Units: bits of a vector.
    pub bits: u32,
    /// Units: FLOP/s of multiply-adds on one core.
    pub flops_per_s: f64,
    /// Units: FLOP/s of multiply-adds on all usable cores together.
    pub all_flops_per_s: f64,
    /// Sums of products of bytes; `None` without an instruction for them.
    pub dots: Option<Dots>,
    /// Units: vectors that one core loads from its level-1 cache in a second.
    pub loads_per_s: f64,
}

/// Products of 8-bit integers, one of them signed, that are added up as 32-bit integers: a product
/// and a sum are two operations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dots {
    /// Units: OP/s on one core.
    pub ops_per_s: f64,
    /// Units: OP/s on all usable cores together.
    pub all_ops_per_s: f64,
}

/// A level of memory.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// Its name.
    pub name: LevelName,
    /// Units: bytes that one core finds there; `None` for main memory.
    pub bytes: Option<u64>,
    /// What one core sees while the others rest.
    pub one: Access,
    /// What all usable cores see when they read at the same time.
    pub all: Access,
}

/// How memory answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// Units: bytes/s that are read, by all cores together that read.
    pub bytes_per_s: f64,
    /// Units: nanoseconds of a load that the next one waits for.
    pub latency_ns: f64,
}

/// A short name of this machine for the keys of records: what kind of core it has, its features
/// and caches; nothing that is measured, so it stays the same. Takes no time.
pub fn machine_key() -> String {
    let target = Target::host();
    key_of(
        &host::cpu(),
        &target.features,
        &target.machine,
        target.vector_bytes(),
    )
}

fn key_of(cpu: &Cpu, features: &[&str], machine: &Machine, vector_bytes: usize) -> String {
    let maker = match &cpu.vendor[..] {
        "GenuineIntel" => "intel".to_string(),
        "AuthenticAMD" => "amd".to_string(),
        other => {
            let plain = other.chars().filter(char::is_ascii_alphanumeric);
            plain.take(16).collect::<String>().to_lowercase()
        }
    };
    let maker = if maker.is_empty() {
        std::env::consts::ARCH
    } else {
        &maker
    };
    let mut digest = Sha256::new();
    for word in [&cpu.name[..], std::env::consts::ARCH]
        .iter()
        .chain(features)
    {
        digest.update(word.as_bytes());
        digest.update([0]);
    }
    let digest = digest.finalize();
    let [a, b] = [digest[0], digest[1]];
    format!(
        "{maker}-{}-{}-v{}-{}k-{}k-{}k-{a:02x}{b:02x}",
        cpu.family,
        cpu.model,
        8 * vector_bytes,
        machine.l1_bytes >> 10,
        machine.l2_bytes >> 10,
        machine.l3_bytes >> 10,
    )
}

impl Identity {
    /// That of this process on this machine.
    pub fn here() -> Self {
        let cores = quota::cores();
        Identity {
            format: FORMAT,
            compiler: COMPILER.into(),
            machine: machine_key(),
            cpu: host::cpu().name,
            cores: cores.usable,
            quota: cores.quota,
        }
    }

    /// The name of the file that keeps its profile.
    fn file_name(&self) -> String {
        let quota = self.quota.map_or(String::new(), |q| format!("-quota{q}"));
        let Identity { machine, cores, .. } = self;
        format!("profile-{machine}-{cores}c{quota}.json")
    }

    /// What another one has changed, in words.
    fn change(&self, now: &Identity) -> Option<&'static str> {
        let changes = [
            (self.format != now.format, "its format is another one"),
            (
                self.compiler != now.compiler,
                "another version of tensmith made it",
            ),
            (
                self.machine != now.machine || self.cpu != now.cpu,
                "it is of another processor",
            ),
            (
                self.cores != now.cores || self.quota != now.quota,
                "the usable cores have changed",
            ),
        ];
        let found = changes.into_iter().find(|(changed, _)| *changed);
        found.map(|(_, words)| words)
    }
}

/// No figure is as large: neither bytes, operations or cycles a second, nor nanoseconds or
/// milliseconds.
const MOST: f64 = 1e15;

impl Profile {
    /// The profile that was kept for this machine, or a new measurement of some seconds, which is
    /// kept. A kept one that cannot be used is noted and measured again.
    ///
    /// Errors: threads or memory cannot be had; a defect of the compiler.
    pub fn load_or_probe(say: &mut dyn FnMut(Progress<'_>)) -> Result<Profile> {
        let path = Self::path();
        if let Some(profile) = cache::load(path.as_deref(), &Identity::here(), say) {
            return Ok(profile);
        }
        Self::probe(say)
    }

    /// The profile that was kept for this machine, if one was measured without much disturbance: as
    /// it is, whatever is wrong with others.
    pub fn kept() -> Option<Profile> {
        let profile = cache::load(Self::path().as_deref(), &Identity::here(), &mut |_| {})?;
        Some(profile).filter(|p| !p.is_disturbed())
    }

    /// Measures this machine for some seconds, longer where other programs disturb that, and keeps
    /// the profile; but one that was disturbed takes the place of none that was less so.
    ///
    /// Errors: as [`Profile::load_or_probe`].
    pub fn probe(say: &mut dyn FnMut(Progress<'_>)) -> Result<Profile> {
        let profile = measure::measure(say)?;
        cache::store(Self::path().as_deref(), &profile, say);
        Ok(profile)
    }

    /// Where the profile of this machine is kept: a file of the user's cache folder, one for each
    /// number of cores and quota that processes here are given; `None` if there is no such folder.
    pub fn path() -> Option<PathBuf> {
        Some(crate::folders::cache()?.join(Identity::here().file_name()))
    }

    /// Whether other programs took so much of each round of measurements that its rates may be far
    /// from what the machine can do.
    pub fn is_disturbed(&self) -> bool {
        self.fma_spread > MAX_SPREAD
    }

    /// The name of its machine: [`machine_key`].
    pub fn key(&self) -> &str {
        &self.identity.machine
    }

    /// The machine with its measured rates, for a cost model.
    pub fn machine(&self) -> Machine {
        let bytes = |name| self.level(name).and_then(|l| l.bytes).unwrap_or(0) as usize;
        Machine {
            l1_bytes: bytes(LevelName::L1),
            l2_bytes: bytes(LevelName::L2),
            l3_bytes: bytes(LevelName::L3),
            rates: self.rates(),
        }
    }

    /// Rates of one core, in events a cycle.
    fn rates(&self) -> Rates {
        let per_cycle = |per_s: f64| per_s / self.clock_hz;
        let read = |name| self.level(name).map(|l| per_cycle(l.one.bytes_per_s));
        let narrow = self.arithmetic.iter().rfind(|a| a.bits <= 256);
        let fmas = |a: &Arithmetic| per_cycle(a.flops_per_s) / f64::from(2 * a.bits / 32);
        let loads = |a: &Arithmetic| per_cycle(a.loads_per_s);
        let usual = Rates::GENERIC;
        let (fmas_narrow, loads_narrow) = match narrow {
            Some(a) => (fmas(a), loads(a)),
            None => (usual.fmas, usual.loads),
        };
        let wide = self.arithmetic.iter().find(|a| a.bits == 512);
        let memory = read(LevelName::Memory).unwrap_or(usual.memory_bytes);
        let l3 = read(LevelName::L3).unwrap_or(memory);
        Rates {
            fmas: fmas_narrow,
            fmas_512: wide.map_or(fmas_narrow / 2.0, fmas),
            loads: loads_narrow,
            loads_512: wide.map_or(loads_narrow / 2.0, loads),
            fma_latency: self.fma_latency_ns * self.clock_hz / 1e9,
            l2_bytes: read(LevelName::L2).unwrap_or(l3),
            l3_bytes: l3,
            memory_bytes: memory,
        }
    }

    fn level(&self, name: LevelName) -> Option<&Level> {
        self.memory.iter().find(|l| l.name == name)
    }

    /// Whether every figure is one that a measurement can give.
    fn is_sound(&self) -> bool {
        let rate = |x: f64| x > 0.0 && x < MOST;
        let widths = self.arithmetic.iter();
        let mut widths = widths.map(|a| [a.flops_per_s, a.all_flops_per_s, a.loads_per_s]);
        let dots = self.arithmetic.iter().filter_map(|a| a.dots);
        let mut dots = dots.map(|d| [d.ops_per_s, d.all_ops_per_s]);
        let levels = self.memory.iter().flat_map(|l| [l.one, l.all]);
        let mut levels = levels.map(|a| [a.bytes_per_s, a.latency_ns]);
        let hand_off = self.hand_off.iter();
        let mut hand_off = hand_off.flat_map(|h| [h.run_ns, h.barrier_ns, h.line_ns]);
        let names = |name| self.level(name).is_some();
        !self.arithmetic.is_empty()
            && self
                .arithmetic
                .iter()
                .all(|a| [128, 256, 512].contains(&a.bits))
            && names(LevelName::L1)
            && names(LevelName::Memory)
            && [self.clock_hz, self.fma_latency_ns].into_iter().all(rate)
            && widths.all(|rates| rates.into_iter().all(rate))
            && dots.all(|rates| rates.into_iter().all(rate))
            && levels.all(|rates| rates.into_iter().all(rate))
            && hand_off.all(|ns| (0.0..MOST).contains(&ns))
            && [self.clock_spread, self.fma_spread, self.took_ms]
                .into_iter()
                .all(|x| (0.0..MOST).contains(&x))
    }
}

#[cfg(test)]
mod tests;
