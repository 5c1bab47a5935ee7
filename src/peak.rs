//! What the machine can do, measured in this process: its multiply-add rate, and how fast it reads
//! memory.
mod bandwidth;
mod narrow;
mod probe;

pub use bandwidth::{MemoryLevel, memory_levels};

use crate::error::{Error, Result};
use std::ffi::c_void;
use tensmith_codegen::target::Target;
use tensmith_codegen::wide::vir::{Elem, FmaOp, FunctionBuilder, Width};
use tensmith_codegen::wide::{self, WideTarget};
use tensmith_runtime::{Context, Pool, Stopwatch};

/// Independent chains of multiply-adds: more than latency times throughput of any core, and few
/// enough to stay in the 16 registers of AVX2 with the two operands.
const CHAINS: usize = 12;

/// Multiply-adds of each chain in one call: some hundred microseconds.
const STEPS: u64 = 100_000;

/// How often the rate is measured; the best counts, since other programs only slow it down.
const REPEATS: usize = 24;

/// Units: FLOP/s of `f32` multiply-adds on all threads of a pool of `threads`, at the widest
/// width that the machine has.
///
/// Errors: threads or memory cannot be had; a defect of the compiler.
pub fn fma_flops(threads: usize) -> Result<f64> {
    fma_flops_for(threads, &Target::host())
}

/// As [`fma_flops`], at the widest width that code for `target` uses. This machine must run it.
///
/// Errors: as [`fma_flops`].
pub fn fma_flops_for(threads: usize, target: &Target) -> Result<f64> {
    let pool = Pool::new(threads)?;
    let widths = match target.wide {
        Some(Width::Z512) => &[Width::Y256, Width::Z512][..],
        Some(Width::Y256) => &[Width::Y256][..],
        None => return narrow::flops(&pool, target, REPEATS),
    };
    let mut best = 0_f64;
    for width in widths {
        let probe = Probe::new(*width, &target.wide_target())?;
        best = best.max(measure(&probe, &pool)?);
    }
    Ok(best)
}

/// A tile of nothing but multiply-adds, in executable memory.
struct Probe {
    base: *mut c_void,
    bytes: usize,
    /// Units: floating-point operations of a call.
    flops: f64,
}

type Tile = unsafe extern "C" fn(*const u64);

impl Probe {
    fn new(width: Width, target: &WideTarget) -> Result<Self> {
        let internal = |e: &dyn std::fmt::Display| Error::Internal(e.to_string());
        let mut f = FunctionBuilder::new("fma_probe", width);
        let (count, out) = (f.arg(0), f.arg(1));
        let zero = f.iconst(0);
        // Constants would be loaded at each use.
        let [x, y] = [0, 1].map(|k| {
            let at = wide::vir::Addr::at(out, (k * width.bytes()) as i32);
            f.load(Elem::F32, at)
        });
        let start: Vec<_> = (0..CHAINS).map(|_| f.zero()).collect();
        let open = f.begin_loop(zero, count, 1, &start);
        let carried = open.carried.clone();
        let next: Vec<_> = carried
            .iter()
            .map(|c| f.fma(FmaOp::MulAdd, Elem::F32, x, y, *c))
            .collect();
        let sums = f.end_loop(open, &next);
        for (k, sum) in sums.iter().enumerate() {
            let at = wide::vir::Addr::at(out, (k * width.bytes()) as i32);
            f.store(Elem::F32, at, *sum);
        }
        f.ret();
        let lanes = width.lanes(Elem::F32);
        let function = f.finish().map_err(|e| internal(&e))?;
        let code = wide::compile(&function, target).map_err(|e| internal(&e))?;
        let bytes = code.bytes.len().next_multiple_of(4096);
        let base = load(&code.bytes, bytes).map_err(|e| Error::Limit(e.to_string()))?;
        Ok(Probe {
            base,
            bytes,
            flops: (2 * CHAINS * lanes) as f64 * STEPS as f64,
        })
    }
}

/// Code in memory that is first written, then executable, never both.
fn load(code: &[u8], bytes: usize) -> rustix::io::Result<*mut c_void> {
    use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};
    let writable = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new anonymous mapping of `bytes` bytes overlaps nothing, and the code fits it.
    unsafe {
        let base = mmap_anonymous(std::ptr::null_mut(), bytes, writable, MapFlags::PRIVATE)?;
        std::ptr::copy_nonoverlapping(code.as_ptr(), base.cast(), code.len());
        mprotect(base, bytes, MprotectFlags::READ | MprotectFlags::EXEC)?;
        Ok(base)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own. There is nothing to do about a failure.
        let _ = unsafe { rustix::mm::munmap(self.base, self.bytes) };
    }
}

/// Calls the tile whose address is the only input.
unsafe extern "C" fn entry(context: *mut Context, _thread: u32, _threads: u32) {
    let mut sink = [0.5_f32; CHAINS * 16];
    // SAFETY: `measure` passes the address of a loaded tile that takes these arguments; the
    // sink holds as many vectors of the widest width as there are chains.
    unsafe {
        let tile: Tile = std::mem::transmute((*context).constants);
        tile([STEPS, sink.as_mut_ptr() as u64].as_ptr());
    }
    std::hint::black_box(sink);
}

fn measure(probe: &Probe, pool: &Pool) -> Result<f64> {
    let mut best = 0_f64;
    for _ in 0..REPEATS {
        let mut context = Context::new();
        context.constants = probe.base.cast();
        let watch = Stopwatch::start();
        // SAFETY: the entry uses no buffers but the tile's address.
        unsafe { pool.run(entry, &raw mut context) }.map_err(|e| Error::Internal(e.to_string()))?;
        let seconds = watch.elapsed_ns() as f64 / 1e9;
        best = best.max(probe.flops * pool.threads() as f64 / seconds);
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_plausible() {
        let rate = fma_flops(1).unwrap();
        assert!((1e9..1e13).contains(&rate), "{rate}");
    }

    #[test]
    fn targets_without_wide_vectors_have_a_peak() {
        let target = Target {
            wide: None,
            ..Target::host()
        };
        let rate = fma_flops_for(1, &target).unwrap();
        assert!((1e9..1e13).contains(&rate), "{rate}");
    }
}
