//! The multiply-add rate of 128-bit vectors.
use super::Result;
use super::fma::Rate;
use super::kernel::KernelProbe;
use tensmith_codegen::target::Target;
use tensmith_runtime::Pool;

/// Independent chains of multiply-adds: more than latency times throughput of most cores, and few
/// enough to stay in 16 registers with the two operands.
const CHAINS: usize = 12;

/// Elements of a vector.
const LANES: usize = 4;

/// Multiply-adds of each chain in one run: some hundred microseconds.
const STEPS: usize = 100_000;

/// A target without its wide vectors.
pub(super) fn target(target: &Target) -> Target {
    Target {
        wide: None,
        ..target.clone()
    }
}

/// FLOP/s on all threads of the pool, of fused multiply-adds if the target has them, else
/// of a multiplication and an addition.
///
/// Errors: memory ends; a defect of the compiler.
pub(super) fn flops(pool: &Pool, target: &Target, repeats: usize) -> Result<Rate> {
    let mut probe = KernelProbe::new(&text(pool.threads(), target.has_fma()), target)?;
    let count = 2 * pool.threads() * CHAINS * LANES * STEPS;
    Ok(Rate::of(count as f64, &probe.times(pool, repeats)?))
}

/// Each lane computes `x = x*a + b`, which no optimisation can shorten.
fn text(threads: usize, fma: bool) -> String {
    let step = if fma {
        "fma(r4, a1[i2], a2[i2])"
    } else {
        "r4 * a1[i2] + a2[i2]"
    };
    format!(
        "kernel fma_probe() {{
  out o0: f32[{threads}, {CHAINS}, {LANES}]
  in a1: f32[{LANES}]
  in a2: f32[{LANES}]
  in a3: f32[{CHAINS}, {LANES}]
  reg r4: f32[]
  for i0 < {threads} space parallel {{
    for i1 < {CHAINS} space jam {{
      for i2 < {LANES} space vector {{
        r4 = a3[i1, i2]
        for i3 < {STEPS} serial {{
          r4 = {step}
        }}
        o0[i0, i1, i2] = r4
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
    fn lanes_are_those_of_vectors() {
        let target = target(&Target::host());
        for fma in [false, target.has_fma()] {
            let probe = KernelProbe::new(&text(1, fma), &target).unwrap();
            assert_eq!(probe.stats().scalarised_loops, 0);
        }
    }
}
