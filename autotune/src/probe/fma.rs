//! The rates of multiply-adds of wide vectors, and of sums of products of bytes.
use super::kernel::Times;
use super::{Result, internal, narrow};
use std::ffi::c_void;
use tensmith_codegen::target::Target;
use tensmith_codegen::wide::vir::{Elem, FmaOp, FunctionBuilder, Value, Width};
use tensmith_codegen::wide::{self, WideTarget};
use tensmith_runtime::{Context, Pool, Stopwatch};

/// Independent chains of multiply-adds: more than latency times throughput of any core, and few
/// enough to stay in the 16 registers of AVX2 with the two operands.
const CHAINS: usize = 12;

/// Multiply-adds of each chain in one call: some hundred microseconds.
const STEPS: u64 = 100_000;

/// How often the rate is measured; the best counts, since other programs only slow it down.
const REPEATS: usize = 24;

/// Units: FLOP/s of `f32` multiply-adds on `threads` threads, at the widest width that code for
/// `target` uses. This machine must run it.
///
/// Errors: threads or memory cannot be had; a defect of the compiler.
pub fn fma_flops_for(threads: usize, target: &Target) -> Result<f64> {
    let pool = Pool::new(threads)?;
    let widest = target.vector_bytes();
    let mut best = 0_f64;
    for width in widths(target) {
        // 512 bits may be no faster than 256; narrower vectors are slower where there are wide ones.
        if width == widest || (width == 32 && widest == 64) {
            best = best.max(fma_flops_at(&pool, target, width)?.per_s);
        }
    }
    Ok(best)
}

/// Units: OP/s of products of bytes on `threads` threads, at the faster width; `None` where code for
/// `target` has no instruction for them. This machine must run it.
///
/// Errors: as [`fma_flops_for`].
pub fn dot_ops_for(threads: usize, target: &Target) -> Result<Option<f64>> {
    let pool = Pool::new(threads)?;
    let mut best = None;
    for width in widths(target) {
        let rate = dot_ops_at(&pool, target, width)?;
        best = best.into_iter().chain(rate).reduce(f64::max);
    }
    Ok(best)
}

/// Units: bytes of the vectors that code for `target` may use, narrow ones first.
pub(crate) fn widths(target: &Target) -> Vec<usize> {
    let widest = target.vector_bytes();
    [16, 32, 64].into_iter().filter(|w| *w <= widest).collect()
}

/// What repetitions of a measurement say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// Units: operations a second of the fastest one.
    pub(crate) per_s: f64,
    /// How much longer they took on average: 0.1 for a tenth.
    pub(crate) spread: f64,
}

impl Rate {
    /// Of repetitions with so many operations each.
    pub(super) fn of(operations: f64, times: &Times) -> Rate {
        Rate {
            per_s: operations / times.best_s(),
            spread: times.spread(),
        }
    }
}

/// FLOP/s of `f32` multiply-adds on all threads of a pool, of vectors of `bytes` bytes, one
/// of the [`widths`] of `target`.
///
/// Errors: as [`fma_flops_for`].
pub(crate) fn fma_flops_at(pool: &Pool, target: &Target, bytes: usize) -> Result<Rate> {
    let width = match bytes {
        64 => Width::Z512,
        32 => Width::Y256,
        _ => return narrow::flops(pool, &narrow::target(target), REPEATS),
    };
    let probe = Probe::new(Operation::MulAdd, width, &target.wide_target())?;
    measure(&probe, pool)
}

/// Units: OP/s of products of bytes that are added up as 32-bit integers, a product and a sum being
/// two, on all threads of a pool, in vectors of `bytes` bytes; `None` where code for `target` has
/// no instruction for them.
///
/// Errors: as [`fma_flops_for`].
pub(crate) fn dot_ops_at(pool: &Pool, target: &Target, bytes: usize) -> Result<Option<f64>> {
    let width = match bytes {
        64 => Width::Z512,
        32 => Width::Y256,
        _ => return Ok(None),
    };
    let target = target.wide_target();
    if target.dots(width).is_none() {
        return Ok(None);
    }
    let rate = measure(&Probe::new(Operation::Dot, width, &target)?, pool)?;
    Ok(Some(rate.per_s))
}

/// What is measured.
#[derive(Clone, Copy)]
enum Operation {
    /// Multiply-adds of `f32`.
    MulAdd,
    /// Sums of four products of bytes in each lane.
    Dot,
}

impl Operation {
    /// Units: operations of a vector of so many 32-bit lanes.
    fn count(self, lanes: usize) -> usize {
        match self {
            Operation::MulAdd => 2 * lanes,
            Operation::Dot => 8 * lanes,
        }
    }

    /// The lanes of operands and sums.
    fn elem(self) -> Elem {
        match self {
            Operation::MulAdd => Elem::F32,
            Operation::Dot => Elem::I32,
        }
    }

    fn add(self, f: &mut FunctionBuilder, x: Value, y: Value, sum: Value) -> Value {
        match self {
            Operation::MulAdd => f.fma(FmaOp::MulAdd, Elem::F32, x, y, sum),
            Operation::Dot => f.dot(x, y, sum),
        }
    }
}

/// A tile of nothing but one operation, in executable memory.
struct Probe {
    base: *mut c_void,
    bytes: usize,
    /// Units: operations of a call.
    operations: f64,
}

type Tile = unsafe extern "C" fn(*const u64);

impl Probe {
    fn new(operation: Operation, width: Width, target: &WideTarget) -> Result<Self> {
        let mut f = FunctionBuilder::new("fma_probe", width);
        let (count, out) = (f.arg(0), f.arg(1));
        let zero = f.iconst(0);
        // Constants would be loaded at each use.
        let [x, y] = [0, 1].map(|k| {
            let at = wide::vir::Addr::at(out, (k * width.bytes()) as i32);
            f.load(operation.elem(), at)
        });
        let start: Vec<_> = (0..CHAINS).map(|_| f.zero()).collect();
        let open = f.begin_loop(zero, count, 1, &start);
        let carried = open.carried.clone();
        let next: Vec<_> = carried
            .iter()
            .map(|c| operation.add(&mut f, x, y, *c))
            .collect();
        let sums = f.end_loop(open, &next);
        for (k, sum) in sums.iter().enumerate() {
            let at = wide::vir::Addr::at(out, (k * width.bytes()) as i32);
            f.store(operation.elem(), at, *sum);
        }
        f.ret();
        let each = operation.count(width.lanes(Elem::F32));
        let function = f.finish().map_err(internal)?;
        let code = wide::compile(&function, target).map_err(internal)?;
        let bytes = code.bytes.len().next_multiple_of(4096);
        let base = load(&code.bytes, bytes)?;
        Ok(Probe {
            base,
            bytes,
            operations: (CHAINS * each) as f64 * STEPS as f64,
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

fn measure(probe: &Probe, pool: &Pool) -> Result<Rate> {
    let mut times = Times::default();
    for _ in 0..REPEATS {
        let mut context = Context::new();
        context.constants = probe.base.cast();
        let watch = Stopwatch::start();
        // SAFETY: the entry uses no buffers but the tile's address.
        unsafe { pool.run(entry, &raw mut context) }.map_err(internal)?;
        times.push(watch.elapsed_ns());
    }
    Ok(Rate::of(probe.operations * pool.threads() as f64, &times))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_has_a_plausible_rate() {
        let target = Target::host();
        let pool = Pool::new(1).unwrap();
        for bytes in widths(&target) {
            let rate = fma_flops_at(&pool, &target, bytes).unwrap().per_s;
            assert!((1e9..1e13).contains(&rate), "{bytes}: {rate}");
        }
    }

    #[test]
    fn bytes_have_a_rate_where_they_have_an_instruction() {
        let target = Target::host();
        let pool = Pool::new(1).unwrap();
        for bytes in widths(&target) {
            let rate = dot_ops_at(&pool, &target, bytes).unwrap();
            let width = [None, Some(Width::Y256), Some(Width::Z512)][bytes / 32];
            let has_dots = width.is_some_and(|w| target.wide_target().dots(w).is_some());
            assert_eq!(rate.is_some(), has_dots, "{bytes}");
            let plausible = |rate| (1e9..1e14).contains(&rate);
            assert!(rate.is_none_or(plausible), "{bytes}: {rate:?}");
        }
    }

    #[test]
    fn targets_without_wide_vectors_have_a_peak() {
        let target = narrow::target(&Target::host());
        assert_eq!(widths(&target), [16]);
        let rate = fma_flops_for(1, &target).unwrap();
        assert!((1e9..1e13).contains(&rate), "{rate}");
    }
}
