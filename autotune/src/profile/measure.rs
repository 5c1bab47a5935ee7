//! Measuring a profile.
use super::{Access, Arithmetic, Dots, Identity, Level, Profile};
use crate::probe::{
    Clock, Exchange, LevelName, Result, dot_ops_at, fma_flops_at, fma_latency_ns, level_bandwidths,
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

/// How often everything is measured, at most: other programs that disturb one second rarely disturb
/// all.
const ROUNDS: usize = 4;

/// Units: milliseconds after which no round begins.
const LATEST_MS: f64 = 3500.0;

/// The measurements of a round.
const STEPS: [&str; 4] = [
    "multiply-adds and loads",
    "bandwidths",
    "latencies",
    "hand-offs between threads",
];

/// The threads that measure.
struct Bench {
    target: Target,
    one: Pool,
    /// `None` on one core.
    all: Option<Pool>,
}

/// What a round finds.
struct Round {
    fma_latency_ns: f64,
    arithmetic: Vec<Arithmetic>,
    memory: Vec<Level>,
    exchanges: Vec<Exchange>,
}

pub(super) fn measure(say: &mut dyn FnMut(Progress<'_>)) -> Result<Profile> {
    let watch = Stopwatch::start();
    let identity = Identity::here();
    let bench = Bench::new(identity.cores)?;
    let mut clock = Clock::new(&bench.target)?;
    let mut done = 0;
    let mut next = || {
        say(Progress::Step {
            done,
            of: ROUNDS * STEPS.len(),
            what: STEPS[done % STEPS.len()],
        });
        done += 1;
        clock.look()
    };
    let mut best = bench.round(&mut next)?;
    for _ in 1..ROUNDS {
        if watch.elapsed_ms() < LATEST_MS {
            best.improve(bench.round(&mut next)?);
        }
    }
    Ok(Profile {
        identity,
        clock_hz: clock.hz(),
        clock_spread: clock.spread(),
        fma_latency_ns: best.fma_latency_ns,
        arithmetic: best.arithmetic,
        memory: best.memory,
        hand_off: Exchange::hand_off(&best.exchanges),
        when_s: unix_seconds(),
        took_ms: watch.elapsed_ms(),
    })
}

impl Bench {
    fn new(cores: usize) -> Result<Self> {
        Ok(Bench {
            target: Target::host(),
            one: Pool::new(1)?,
            all: (cores > 1).then(|| Pool::new(cores)).transpose()?,
        })
    }

    fn all(&self) -> &Pool {
        self.all.as_ref().unwrap_or(&self.one)
    }

    fn round(&self, next: &mut dyn FnMut() -> Result<()>) -> Result<Round> {
        next()?;
        let fma_latency_ns = fma_latency_ns(&self.target)?;
        let widths = widths(&self.target).into_iter();
        let arithmetic = widths
            .map(|bytes| self.arithmetic(bytes))
            .collect::<Result<_>>()?;
        next()?;
        let of_one = level_bandwidths(&self.one, &self.target)?;
        let of_all = level_bandwidths(self.all(), &self.target)?;
        next()?;
        let late_one = level_latencies(&self.one, &self.target)?;
        let late_all = level_latencies(self.all(), &self.target)?;
        next()?;
        let exchange = Exchange::measure(self.all())?;
        let access = |bytes_per_s, (_, latency_ns): (LevelName, f64)| Access {
            bytes_per_s,
            latency_ns,
        };
        let bandwidths = of_one.into_iter().zip(of_all);
        let levels = bandwidths.zip(late_one.into_iter().zip(late_all));
        let memory = levels.map(|((one, all), (late_one, late_all))| Level {
            name: one.name,
            bytes: one.bytes,
            one: access(one.bytes_per_s, late_one),
            all: access(all.bytes_per_s, late_all),
        });
        Ok(Round {
            fma_latency_ns,
            arithmetic,
            memory: memory.collect(),
            exchanges: exchange.into_iter().collect(),
        })
    }

    fn arithmetic(&self, bytes: usize) -> Result<Arithmetic> {
        let target = &self.target;
        let flops_per_s = fma_flops_at(&self.one, target, bytes)?;
        let all_flops_per_s = match &self.all {
            Some(all) => fma_flops_at(all, target, bytes)?,
            None => flops_per_s,
        };
        let dots = match dot_ops_at(&self.one, target, bytes)? {
            Some(ops_per_s) => Some(Dots {
                ops_per_s,
                all_ops_per_s: match &self.all {
                    Some(all) => dot_ops_at(all, target, bytes)?.unwrap_or(ops_per_s),
                    None => ops_per_s,
                },
            }),
            None => None,
        };
        Ok(Arithmetic {
            bits: 8 * bytes as u32,
            flops_per_s,
            all_flops_per_s,
            dots,
            loads_per_s: loads_per_s(target, bytes)?,
        })
    }
}

impl Round {
    /// Takes what another round measured as faster, and all hand-offs.
    fn improve(&mut self, other: Round) {
        let more = |mine: &mut f64, theirs: f64| *mine = mine.max(theirs);
        let less = |mine: &mut f64, theirs: f64| *mine = mine.min(theirs);
        less(&mut self.fma_latency_ns, other.fma_latency_ns);
        for (mine, theirs) in self.arithmetic.iter_mut().zip(other.arithmetic) {
            more(&mut mine.flops_per_s, theirs.flops_per_s);
            more(&mut mine.all_flops_per_s, theirs.all_flops_per_s);
            more(&mut mine.loads_per_s, theirs.loads_per_s);
            if let (Some(mine), Some(theirs)) = (&mut mine.dots, theirs.dots) {
                more(&mut mine.ops_per_s, theirs.ops_per_s);
                more(&mut mine.all_ops_per_s, theirs.all_ops_per_s);
            }
        }
        for (mine, theirs) in self.memory.iter_mut().zip(other.memory) {
            for (mine, theirs) in [(&mut mine.one, theirs.one), (&mut mine.all, theirs.all)] {
                more(&mut mine.bytes_per_s, theirs.bytes_per_s);
                less(&mut mine.latency_ns, theirs.latency_ns);
            }
        }
        self.exchanges.extend(other.exchanges);
    }
}
