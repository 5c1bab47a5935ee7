//! The roofline of this machine: the least time that work and bytes can take.
use crate::error::Result;
use serde::Serialize;
use tensmith_autotune::probe::{MemoryLevel, dot_ops_for, fma_flops_for, memory_levels};
use tensmith_codegen::target::Target;
use tensmith_ir::dtype::DType;
use tensmith_ir::loops::{Kernel, Scope};

/// What the machine can do on a number of threads, measured in this process.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Threads of the measurement.
    pub threads: usize,
    /// Units: FLOP/s of `f32` multiply-adds.
    pub flops_per_s: f64,
    /// Units: OP/s of products of bytes; `None` where they have no instruction.
    pub dots_per_s: Option<f64>,
    /// Caches and main memory, the fastest first.
    pub memory: Vec<MemoryLevel>,
}

/// The least time that something can take, and what sets it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// Units: nanoseconds.
    pub ns: f64,
    /// `arithmetic`, or the level of memory.
    pub by: &'static str,
}

impl Machine {
    /// Measures this machine.
    ///
    /// Errors: threads or memory cannot be had; a defect of the compiler.
    pub fn probe(threads: usize, target: &Target) -> Result<Self> {
        Ok(Machine {
            threads,
            flops_per_s: fma_flops_for(threads, target)?,
            dots_per_s: dot_ops_for(threads, target)?,
            memory: memory_levels(threads)?,
        })
    }

    /// The higher rates of two measurements of one machine: others only slow it down.
    pub fn best(mut self, other: Machine) -> Self {
        self.flops_per_s = self.flops_per_s.max(other.flops_per_s);
        let dots = self.dots_per_s.into_iter().chain(other.dots_per_s);
        self.dots_per_s = dots.reduce(f64::max);
        for (level, other) in self.memory.iter_mut().zip(other.memory) {
            level.bytes_per_s = level.bytes_per_s.max(other.bytes_per_s);
        }
        self
    }

    /// Units: operations a second of a kernel's sums of products, at most.
    pub fn peak(&self, kernel: &Kernel) -> f64 {
        let reads = |dtype: DType| {
            let mut buffers = kernel.buffers.iter();
            buffers.any(|b| b.scope == Scope::Input && b.dtype == dtype)
        };
        let dots = self
            .dots_per_s
            .filter(|_| reads(DType::U8) && reads(DType::I8));
        self.flops_per_s.max(dots.unwrap_or(0.0))
    }

    /// The bound of work that moves `bytes` bytes: all arithmetic at `peak` operations a second, or
    /// all bytes at the rate of the fastest level that holds them, whichever takes longer.
    pub fn bound(&self, (operations, peak): (f64, f64), bytes: f64) -> Bound {
        let arithmetic = Bound {
            ns: 1e9 * operations / peak,
            by: "arithmetic",
        };
        let holds = |l: &&MemoryLevel| l.bytes.is_none_or(|b| b as f64 >= bytes);
        let Some(level) = self.memory.iter().find(holds) else {
            return arithmetic;
        };
        let moving = Bound {
            ns: 1e9 * bytes / level.bytes_per_s,
            by: level.name.as_str(),
        };
        if moving.ns > arithmetic.ns {
            moving
        } else {
            arithmetic
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensmith_autotune::probe::LevelName;
    use tensmith_ir::loops::parse_kernel;

    #[test]
    fn the_faster_measurement_counts() {
        let machine = |flops_per_s, bytes_per_s| Machine {
            threads: 1,
            flops_per_s,
            dots_per_s: Some(5.0 - flops_per_s),
            memory: vec![MemoryLevel {
                name: LevelName::Memory,
                bytes: None,
                bytes_per_s,
            }],
        };
        let best = machine(2.0, 3.0).best(machine(1.0, 4.0));
        assert_eq!((best.flops_per_s, best.memory[0].bytes_per_s), (2.0, 4.0));
        assert_eq!(best.dots_per_s, Some(4.0));
    }

    #[test]
    fn the_slower_of_both_is_the_bound() {
        let level = |name, bytes, bytes_per_s| MemoryLevel {
            name,
            bytes,
            bytes_per_s,
        };
        let machine = Machine {
            threads: 1,
            flops_per_s: 1e9,
            dots_per_s: None,
            memory: vec![
                level(LevelName::L1, Some(100), 4e9),
                level(LevelName::Memory, None, 1e9),
            ],
        };
        let bound = |flops, bytes| {
            let b = machine.bound((flops, machine.flops_per_s), bytes);
            (b.ns, b.by)
        };
        assert_eq!(bound(50.0, 100.0), (50.0, "arithmetic"));
        assert_eq!(bound(5.0, 100.0), (25.0, "L1"));
        assert_eq!(bound(5.0, 200.0), (200.0, "memory"));
        assert_eq!(bound(0.0, 0.0), (0.0, "arithmetic"));
    }
    #[test]
    fn only_products_of_bytes_have_the_peak_of_bytes() {
        let machine = Machine {
            threads: 1,
            flops_per_s: 1e9,
            dots_per_s: Some(4e9),
            memory: vec![],
        };
        let peak = |a: &str, b: &str| {
            let text = format!(
                "kernel k() {{
  out o0: i32[4]
  in a1: {a}[4]
  in a2: {b}[4]
  for i0 < 4 space {{
    o0[i0] = i32(a1[i0]) * i32(a2[i0])
  }}
}}
"
            );
            machine.peak(&parse_kernel(&text).unwrap())
        };
        assert_eq!(peak("u8", "i8"), 4e9);
        assert_eq!(peak("i8", "u8"), 4e9);
        assert_eq!(peak("u8", "u8"), 1e9);
    }
}
