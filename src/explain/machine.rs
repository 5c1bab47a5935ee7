//! The roofline of this machine: the least time that work and bytes can take.
use crate::error::Result;
use crate::units::human_age;
use serde::Serialize;
use tensmith_autotune::probe::{LevelName, MemoryLevel, dot_ops_for, fma_flops_for, memory_levels};
use tensmith_autotune::profile::{Level, Profile};
use tensmith_codegen::target::Target;
use tensmith_ir::dtype::DType;
use tensmith_ir::loops::{Kernel, Scope};
use tensmith_runtime::clock;

/// The target of code that profiles measure.
const HOST: &str = "host";

/// What the machine can do on a number of threads.
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
    /// Units: seconds since 1970, when the profile was measured that has these rates; `None`: they
    /// were measured in this process.
    pub profile_s: Option<u64>,
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
            profile_s: None,
        })
    }

    /// By the rates of a profile of this machine; `None` if it has none for so many threads, or if
    /// code for `target` is not that which was measured.
    pub fn of_profile(profile: &Profile, threads: usize, target: &Target) -> Option<Self> {
        let is_all = threads == profile.identity.cores;
        if (threads != 1 && !is_all) || target.name != HOST {
            return None;
        }
        let of = |one: f64, all: f64| if threads == 1 { one } else { all };
        // As in a measurement: 512 bits may be no faster than 256.
        let widest = profile.arithmetic.iter().map(|a| a.bits).max()?;
        let widths = (profile.arithmetic.iter()).filter(|a| a.bits == widest || a.bits == 256);
        let flops = widths.clone().map(|a| of(a.flops_per_s, a.all_flops_per_s));
        let dots = widths.filter_map(|a| a.dots);
        let level = |l: &Level| MemoryLevel {
            name: l.name,
            bytes: match l.name {
                // Each core has its own.
                LevelName::L1 | LevelName::L2 => l.bytes.map(|b| b * threads as u64),
                LevelName::L3 | LevelName::Memory => l.bytes,
            },
            bytes_per_s: of(l.one.bytes_per_s, l.all.bytes_per_s),
        };
        Some(Machine {
            threads,
            flops_per_s: flops.reduce(f64::max)?,
            dots_per_s: dots
                .map(|d| of(d.ops_per_s, d.all_ops_per_s))
                .reduce(f64::max),
            memory: profile.memory.iter().map(level).collect(),
            profile_s: Some(profile.when_s),
        })
    }

    /// Where the rates come from, in words.
    pub fn origin(&self) -> String {
        match self.profile_s {
            Some(when_s) => {
                let age = human_age(clock::unix_seconds().saturating_sub(when_s));
                format!("rates of the machine: its profile, measured {age} ago")
            }
            None => "rates of the machine: measured in this process".into(),
        }
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
    use tensmith_autotune::profile::{Access, Arithmetic, Dots, Identity};
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
            profile_s: None,
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
            profile_s: None,
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
    fn profiles_have_rates_of_one_core_and_of_all() {
        let arithmetic = |bits: u32, flops_per_s| Arithmetic {
            bits,
            flops_per_s,
            all_flops_per_s: 3.0 * flops_per_s,
            dots: (bits == 512).then_some(Dots {
                ops_per_s: 8e9,
                all_ops_per_s: 9e9,
            }),
            loads_per_s: 1e9,
        };
        let access = |bytes_per_s| Access {
            bytes_per_s,
            latency_ns: 1.0,
        };
        let level = |name, bytes| Level {
            name,
            bytes,
            one: access(4e9),
            all: access(5e9),
        };
        let profile = Profile {
            identity: Identity {
                cores: 4,
                ..Identity::here()
            },
            clock_hz: 1e9,
            clock_spread: 0.0,
            fma_spread: 0.0,
            fma_latency_ns: 1.0,
            arithmetic: vec![
                arithmetic(128, 9e9),
                arithmetic(256, 2e9),
                arithmetic(512, 1e9),
            ],
            memory: vec![
                level(LevelName::L1, Some(100)),
                level(LevelName::L3, Some(300)),
                level(LevelName::Memory, None),
            ],
            hand_off: None,
            when_s: 7,
            took_ms: 1.0,
        };
        let of = |threads| Machine::of_profile(&profile, threads, &Target::host());
        let one = of(1).unwrap();
        assert_eq!((one.flops_per_s, one.dots_per_s), (2e9, Some(8e9)));
        let bytes = |m: &Machine| m.memory.iter().map(|l| l.bytes).collect::<Vec<_>>();
        assert_eq!(bytes(&one), [Some(100), Some(300), None]);
        assert_eq!((one.memory[0].bytes_per_s, one.profile_s), (4e9, Some(7)));
        let all = of(4).unwrap();
        assert_eq!((all.flops_per_s, all.dots_per_s), (6e9, Some(9e9)));
        assert_eq!(bytes(&all), [Some(400), Some(300), None]);
        assert_eq!(all.memory[0].bytes_per_s, 5e9);
        assert!(of(2).is_none());
        let other = Target::named("x86-64-v3").unwrap();
        assert!(Machine::of_profile(&profile, 1, &other).is_none());
    }

    #[test]
    fn only_products_of_bytes_have_the_peak_of_bytes() {
        let machine = Machine {
            threads: 1,
            flops_per_s: 1e9,
            dots_per_s: Some(4e9),
            memory: vec![],
            profile_s: None,
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
