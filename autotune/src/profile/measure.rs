//! Measuring a profile.
use super::{Access, Arithmetic, Identity, Level, Profile};
use crate::probe::{
    Clock, LevelName, Result, fma_flops_at, fma_latency_ns, hand_off, level_bandwidths,
    level_latencies, loads_per_s, widths,
};
use tensmith_codegen::target::Target;
use tensmith_runtime::clock::unix_seconds;
use tensmith_runtime::{Pool, Stopwatch};

/// What is told while a profile is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// A measurement begins.
    Step {
        /// Those that are done.
        done: usize,
        /// All of them.
        of: usize,
        /// What is measured.
        what: &'a str,
    },
    /// Something that the user should know.
    Note(&'a str),
}

/// The measurements on one core, and on all.
const STEPS: [&str; 8] = [
    "the clock",
    "multiply-adds on 1 core",
    "multiply-adds on all cores",
    "bandwidth for 1 core",
    "bandwidth for all cores",
    "latency for 1 core",
    "latency for all cores",
    "hand-offs between threads",
];

/// Rates of the levels for one core, or for all.
type Accesses = Vec<(LevelName, Option<u64>, Access)>;

pub(super) fn measure(say: &mut dyn FnMut(Progress<'_>)) -> Result<Profile> {
    let watch = Stopwatch::start();
    let mut step = steps(say);
    let target = Target::host();
    let identity = Identity::here();
    let one = Pool::new(1)?;
    step();
    let clock = Clock::measure(&target)?;
    let fma_latency_ns = fma_latency_ns(&target)?;
    step();
    let mut arithmetic = vec![];
    for bytes in widths(&target) {
        let flops_per_s = fma_flops_at(&one, &target, bytes)?;
        arithmetic.push(Arithmetic {
            bits: 8 * bytes as u32,
            flops_per_s,
            all_flops_per_s: flops_per_s,
            loads_per_s: loads_per_s(&target, bytes)?,
        });
    }
    // Threads of a pool spin for a while after their work, so the pool begins as late as it can.
    step();
    let all = match identity.cores {
        1 => None,
        cores => Some(Pool::new(cores)?),
    };
    if let Some(all) = &all {
        for a in &mut arithmetic {
            a.all_flops_per_s = fma_flops_at(all, &target, a.bits as usize / 8)?;
        }
    }
    let accesses = |pool: &Pool, step: &mut dyn FnMut()| -> Result<Accesses> {
        let bandwidths = level_bandwidths(pool, &target)?;
        step();
        let latencies = level_latencies(pool, &target)?;
        let both = bandwidths.into_iter().zip(latencies);
        let both = both.map(|(level, (_, latency_ns))| {
            let access = Access {
                bytes_per_s: level.bytes_per_s,
                latency_ns,
            };
            (level.name, level.bytes, access)
        });
        Ok(both.collect())
    };
    step();
    let of_one = accesses(&one, &mut step)?;
    step();
    let of_all = match &all {
        Some(all) => accesses(all, &mut step)?,
        None => of_one.clone(),
    };
    step();
    let hand_off = all.as_ref().map_or(Ok(None), hand_off)?;
    let levels = of_one.into_iter().zip(of_all);
    let levels = levels.map(|((name, bytes, one), (_, _, all))| Level {
        name,
        bytes,
        one,
        all,
    });
    Ok(Profile {
        memory: levels.collect(),
        identity,
        clock_hz: clock.hz,
        clock_spread: clock.spread,
        fma_latency_ns,
        arithmetic,
        hand_off,
        when_s: unix_seconds(),
        took_ms: watch.elapsed_ms(),
    })
}

/// Says the next step each time it is called.
fn steps(say: &mut dyn FnMut(Progress<'_>)) -> impl FnMut() {
    let mut done = 0;
    move || {
        if let Some(what) = STEPS.get(done) {
            say(Progress::Step {
                done,
                of: STEPS.len(),
                what,
            });
        }
        done += 1;
    }
}
