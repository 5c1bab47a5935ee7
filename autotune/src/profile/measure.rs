//! Measuring a profile.
use super::{Access, Arithmetic, Dots, Identity, Level, MAX_SPREAD, Profile};
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

/// How often everything is measured, at most, if one round is quiet: other programs that disturb one second rarely disturb
/// all.
const ROUNDS: usize = 4;

/// Units: milliseconds after which no round begins.
const LATEST_MS: f64 = 3500.0;

/// Units: as `LATEST_MS`, where no round was quiet.
const LATEST_DISTURBED_MS: f64 = 8000.0;

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
    /// The most that multiply-adds of a width took longer than at best, on average.
    spread: f64,
}

pub(super) fn measure(say: &mut dyn FnMut(Progress<'_>)) -> Result<Profile> {
    let watch = Stopwatch::start();
    let identity = Identity::here();
    let bench = Bench::new(identity.cores)?;
    let mut teller = Teller {
        say,
        clock: Clock::new(&bench.target)?,
        done: 0,
        of: ROUNDS * STEPS.len(),
    };
    let mut best = bench.round(&mut || teller.next())?;
    let mut rounds = 1;
    while is_another(rounds, watch.elapsed_ms(), best.spread) {
        if rounds == ROUNDS {
            (teller.say)(Progress::Note(
                "other programs disturb the measurement, so it goes on for some seconds",
            ));
        }
        teller.of = teller.of.max(teller.done + STEPS.len());
        best.improve(bench.round(&mut || teller.next())?);
        rounds += 1;
    }
    Ok(Profile {
        identity,
        clock_hz: teller.clock.hz(),
        clock_spread: teller.clock.spread(),
        fma_spread: best.spread,
        fma_latency_ns: best.fma_latency_ns,
        arithmetic: best.arithmetic,
        memory: best.memory,
        hand_off: Exchange::hand_off(&best.exchanges),
        when_s: unix_seconds(),
        took_ms: watch.elapsed_ms(),
    })
}

/// Whether another round is measured, after so many of which the quietest had this spread.
fn is_another(rounds: usize, elapsed_ms: f64, spread: f64) -> bool {
    match spread > MAX_SPREAD {
        true => elapsed_ms < LATEST_DISTURBED_MS,
        false => rounds < ROUNDS && elapsed_ms < LATEST_MS,
    }
}

/// Says what is measured, and looks at the clock before.
struct Teller<'s> {
    say: &'s mut dyn FnMut(Progress<'_>),
    clock: Clock,
    done: usize,
    of: usize,
}

impl Teller<'_> {
    fn next(&mut self) -> Result<()> {
        (self.say)(Progress::Step {
            done: self.done,
            of: self.of,
            what: STEPS[self.done % STEPS.len()],
        });
        self.done += 1;
        self.clock.look()
    }
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
        let mut spread = 0.0;
        let arithmetic = widths
            .map(|bytes| self.arithmetic(bytes, &mut spread))
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
            spread,
        })
    }

    /// What vectors of so many bytes do; `spread` becomes that of their multiply-adds, if it is
    /// less.
    fn arithmetic(&self, bytes: usize, spread: &mut f64) -> Result<Arithmetic> {
        let target = &self.target;
        let mut flops = |pool| -> Result<f64> {
            let rate = fma_flops_at(pool, target, bytes)?;
            *spread = spread.max(rate.spread);
            Ok(rate.per_s)
        };
        let flops_per_s = flops(&self.one)?;
        let all_flops_per_s = self.all.as_ref().map_or(Ok(flops_per_s), flops)?;
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
    /// Takes what another round measured as faster, and all hand-offs: the quietest round counts.
    fn improve(&mut self, other: Round) {
        self.spread = self.spread.min(other.spread);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_disturbed_is_measured_again() {
        let [quiet, disturbed] = [0.5 * MAX_SPREAD, 2.0 * MAX_SPREAD];
        assert!(is_another(1, 400.0, quiet) && is_another(3, 2000.0, quiet));
        assert!(!is_another(ROUNDS, 2000.0, quiet) && !is_another(2, 4000.0, quiet));
        assert!(is_another(ROUNDS, 2000.0, disturbed) && is_another(2, 4000.0, disturbed));
        assert!(!is_another(1, 9000.0, disturbed));
    }
}
