//! The clock of the core: how many dependent steps of known latency it takes in a second.
use super::Result;
use super::kernel::KernelProbe;
use super::narrow;
use tensmith_codegen::target::Target;
use tensmith_runtime::Pool;
use tensmith_runtime::stats::median;

/// Pairs of an addition and an exclusive or in one iteration: so many that the loop around them
/// does not count.
const PAIRS: usize = 8;

/// Iterations: some hundred microseconds.
const STEPS: usize = 50_000;

/// Multiply-adds that wait for each other, in one run.
const FMA_STEPS: usize = 100_000;

/// Measurements at a time.
const REPEATS: usize = 12;

/// The clock of one core. It is looked at now and then, since it varies.
pub(crate) struct Clock {
    probe: KernelProbe,
    pool: Pool,
    /// Units: cycles a second.
    samples: Vec<f64>,
}

impl Clock {
    /// Errors: memory cannot be had; a defect of the compiler.
    pub(crate) fn new(target: &Target) -> Result<Self> {
        let mut clock = Clock {
            probe: KernelProbe::new(&chain(), &narrow::target(target))?,
            pool: Pool::new(1)?,
            samples: vec![],
        };
        // Cores take a while to reach their clock.
        clock.probe.best_seconds(&clock.pool, REPEATS)?;
        Ok(clock)
    }

    /// Looks at it. Integer additions and exclusive ors take one cycle on all cores.
    ///
    /// Errors: a defect of the compiler.
    pub(crate) fn look(&mut self) -> Result<()> {
        for _ in 0..REPEATS {
            let seconds = self.probe.best_seconds(&self.pool, 2)?;
            self.samples.push((2 * PAIRS * STEPS) as f64 / seconds);
        }
        Ok(())
    }

    /// Units: cycles a second, the most that were seen.
    pub(crate) fn hz(&self) -> f64 {
        self.samples.iter().copied().fold(0.0, f64::max)
    }

    /// How much slower the median was: 0.1 for a tenth.
    pub(crate) fn spread(&self) -> f64 {
        self.hz() / median(&self.samples) - 1.0
    }
}

/// A chain of integers in which each step waits for the one before.
fn chain() -> String {
    let step = "          r3 = r3 + a1[]\n          r3 = xor(r3, a2[])\n";
    format!(
        "kernel clock_probe() {{
  out o0: i32[]
  in a1: i32[]
  in a2: i32[]
  reg r3: i32[]
  r3 = 1i32
  for i0 < {STEPS} serial {{
{}  }}
  o0[] = r3
}}
",
        step.repeat(PAIRS)
    )
}

/// Units: nanoseconds from a multiply-add to one that needs its result.
///
/// Errors: memory cannot be had; a defect of the compiler.
pub(crate) fn fma_latency_ns(target: &Target) -> Result<f64> {
    let text = fma_chain(target.has_fma());
    let mut probe = KernelProbe::new(&text, &narrow::target(target))?;
    let seconds = probe.best_seconds(&Pool::new(1)?, REPEATS)?;
    Ok(seconds * 1e9 / FMA_STEPS as f64)
}

fn fma_chain(fma: bool) -> String {
    let step = if fma {
        "fma(r3, a1[], a2[])"
    } else {
        "r3 * a1[] + a2[]"
    };
    format!(
        "kernel latency_probe() {{
  out o0: f32[]
  in a1: f32[]
  in a2: f32[]
  reg r3: f32[]
  r3 = 1.0f32
  for i0 < {FMA_STEPS} serial {{
    r3 = {step}
  }}
  o0[] = r3
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_plausible() {
        let target = Target::host();
        let mut clock = Clock::new(&target).unwrap();
        clock.look().unwrap();
        assert!((3e8..1e10).contains(&clock.hz()), "{}", clock.hz());
        assert!(clock.spread() >= 0.0);
        let cycles = fma_latency_ns(&target).unwrap() * clock.hz() / 1e9;
        assert!((2.0..30.0).contains(&cycles), "{cycles}");
    }
}
