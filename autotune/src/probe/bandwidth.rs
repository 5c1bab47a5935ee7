//! How fast this machine reads memory, by how much is read.
use super::Result;
use super::kernel::KernelProbe;
use serde::{Deserialize, Serialize};
use tensmith_codegen::target::Target;
use tensmith_codegen::wide::vir::Width;
use tensmith_ir::machine::Machine;
use tensmith_runtime::Pool;

/// A level of memory by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LevelName {
    /// The level-1 data cache.
    L1,
    /// The level-2 cache.
    L2,
    /// The level-3 cache.
    L3,
    /// Main memory.
    #[serde(rename = "memory")]
    Memory,
}

impl LevelName {
    /// The name as text.
    pub fn as_str(self) -> &'static str {
        match self {
            LevelName::L1 => "L1",
            LevelName::L2 => "L2",
            LevelName::L3 => "L3",
            LevelName::Memory => "memory",
        }
    }
}

/// A level of the memory hierarchy as all threads of a pool see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MemoryLevel {
    /// Its name.
    pub name: LevelName,
    /// Units: bytes that it holds, for all threads; `None` for main memory.
    pub bytes: Option<u64>,
    /// Units: bytes/s at which it is read.
    pub bytes_per_s: f64,
}

/// Independent sums: enough to hide the latency of additions.
const SUMS: usize = 8;

/// Elements of each vector of sums: a multiple of the lanes of every width.
const LANES: usize = 16;

/// Units: bytes of one iteration of the innermost loop.
const BLOCK: usize = SUMS * LANES * size_of::<f32>();

/// Units: bytes that each thread reads in one run, at least: some hundred microseconds of reads
/// that hit the level-1 cache.
const READ_BYTES: usize = 32 << 20;

/// Units: bytes of the buffer in main memory, at most.
const MAX_MEMORY_BYTES: usize = 256 << 20;

/// How many times the level before a buffer is, at most: enough to be read from its own level,
/// and few enough that other users of a shared cache leave it there.
const BEYOND: usize = 4;

/// How often each level is read; the fastest counts.
const REPEATS: usize = 8;

/// Main memory is read this seldom, since it takes long.
const MEMORY_REPEATS: usize = 4;

/// A level, and how much to read so that it comes from there.
pub(super) struct Extent {
    pub(super) name: LevelName,
    /// Units: bytes that it holds, for all threads; `None` for main memory.
    pub(super) bytes: Option<u64>,
    /// Units: bytes to read again and again, by all threads together.
    pub(super) read: usize,
}

/// The levels as `threads` threads see them, from the fastest to the slowest.
pub(super) fn extents(machine: &Machine, threads: usize) -> Vec<Extent> {
    let own = |bytes: usize| bytes * threads;
    let caches = [
        (LevelName::L1, own(machine.l1_bytes)),
        (LevelName::L2, own(machine.l2_bytes)),
        (LevelName::L3, machine.l3_bytes),
    ];
    let mut extents = Vec::new();
    let mut faster = usize::MAX / BEYOND;
    for (name, bytes) in caches.into_iter().filter(|(_, bytes)| *bytes > 0) {
        extents.push(Extent {
            name,
            bytes: Some(bytes as u64),
            // At most half, so that what else a cache holds does not count.
            read: (bytes / 2).min(BEYOND * faster),
        });
        faster = bytes;
    }
    let beyond = caches.into_iter().map(|(_, bytes)| bytes).max();
    extents.push(Extent {
        name: LevelName::Memory,
        bytes: None,
        read: (4 * beyond.unwrap_or(0)).clamp(MAX_MEMORY_BYTES / 4, MAX_MEMORY_BYTES),
    });
    extents
}

/// The levels of this machine's memory as `threads` threads see them, from the fastest to the
/// slowest.
///
/// Errors: threads or memory cannot be had; a defect of the compiler.
pub fn memory_levels(threads: usize) -> Result<Vec<MemoryLevel>> {
    level_bandwidths(&Pool::new(threads)?, &Target::host())
}

/// As [`memory_levels`], on the threads of a pool.
pub(crate) fn level_bandwidths(pool: &Pool, target: &Target) -> Result<Vec<MemoryLevel>> {
    let mut levels = Vec::new();
    for extent in extents(&target.machine, pool.threads()) {
        let repeats = match extent.name {
            LevelName::Memory => MEMORY_REPEATS,
            _ => REPEATS,
        };
        let rate = read_rate(pool, target, extent.read, repeats)?;
        levels.push((extent.name, extent.bytes, rate));
    }
    Ok(falling(levels))
}

/// Units: vectors of `bytes` bytes, 32 or 64 of them, that one core loads from its level-1 cache in
/// a second.
pub(crate) fn loads_per_s(target: &Target, bytes: usize) -> Result<f64> {
    let wide = match bytes {
        64 => Some(Width::Z512),
        32 => Some(Width::Y256),
        _ => None,
    };
    let target = Target {
        wide,
        ..target.clone()
    };
    let read = target.machine.l1_bytes / 2;
    Ok(read_rate(&Pool::new(1)?, &target, read, REPEATS)? / bytes as f64)
}

/// Levels whose rates do not rise: where a faster level was measured slower than a slower one,
/// it was disturbed.
fn falling(levels: Vec<(LevelName, Option<u64>, f64)>) -> Vec<MemoryLevel> {
    let mut most = 0_f64;
    let mut result: Vec<MemoryLevel> = Vec::with_capacity(levels.len());
    for (name, bytes, rate) in levels.into_iter().rev() {
        most = most.max(rate);
        result.push(MemoryLevel {
            name,
            bytes,
            bytes_per_s: most,
        });
    }
    result.reverse();
    result
}

/// Units: bytes/s of reading `bytes` bytes again and again, shared out to all threads.
fn read_rate(pool: &Pool, target: &Target, bytes: usize, repeats: usize) -> Result<f64> {
    let threads = pool.threads();
    let blocks = (bytes / threads / BLOCK).max(1);
    let rounds = (READ_BYTES / (blocks * BLOCK)).max(1);
    let mut probe = KernelProbe::new(&text(threads, rounds, blocks), target)?;
    let total = threads * rounds * blocks * BLOCK;
    Ok(total as f64 / probe.best_seconds(pool, repeats)?)
}

/// Each thread sums its part of the input, `rounds` times.
fn text(threads: usize, rounds: usize, blocks: usize) -> String {
    format!(
        "kernel read_probe() {{
  out o0: f32[{threads}, {SUMS}, {LANES}]
  in a1: f32[{threads}, {blocks}, {SUMS}, {LANES}]
  reg r2: f32[]
  for i0 < {threads} space parallel {{
    for i1 < {rounds} serial {{
      for i2 < {SUMS} space jam {{
        for i3 < {LANES} space vector {{
          r2 = 0.0f32
          for i4 < {blocks} reduce {{
            r2 = r2 + a1[i0, i4, i2, i3]
          }}
          o0[i0, i2, i3] = r2
        }}
      }}
    }}
  }}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_wide_where_the_machine_is() {
        let target = Target::host();
        let probe = KernelProbe::new(&text(1, 2, 4), &target).unwrap();
        let stats = probe.stats();
        assert_eq!(stats.wide_tiles, usize::from(target.wide.is_some()));
        assert_eq!(stats.scalarised_loops, 0);
    }

    #[test]
    fn rates_do_not_rise_with_the_level() {
        let levels = falling(vec![
            (LevelName::L1, Some(1), 5.0),
            (LevelName::L2, Some(2), 7.0),
            (LevelName::Memory, None, 3.0),
        ]);
        let rates: Vec<f64> = levels.iter().map(|l| l.bytes_per_s).collect();
        assert_eq!(rates, [7.0, 7.0, 3.0]);
        assert_eq!((levels[0].name, levels[2].bytes), (LevelName::L1, None));
    }

    #[test]
    fn every_level_has_a_plausible_rate() {
        let levels = memory_levels(1).unwrap();
        assert!(levels.len() >= 3);
        assert_eq!(levels.last().map(|l| l.bytes), Some(None));
        for level in levels {
            assert!((1e8..1e13).contains(&level.bytes_per_s), "{level:?}");
        }
    }
}
