//! How long a load takes that the next one waits for, by where it finds its line.
use super::bandwidth::{LevelName, extents};
use super::{Result, internal};
use std::ffi::c_void;
use tensmith_codegen::target::Target;
use tensmith_runtime::{Context, Pool, Stopwatch};

/// Units: bytes of a cache line.
const LINE: usize = 64;

/// Units: bytes of a large page. With such pages, the figure is that of the cache and not of the
/// translation of addresses.
const LARGE_PAGE: usize = 2 << 20;

/// Loads of one run on each thread: a millisecond in the caches of a core, ten in memory.
const STEPS: usize = 100_000;

/// How often each level is measured; the fastest counts.
const REPEATS: usize = 6;

/// Units: nanoseconds of a load, by level, when all threads of a pool load at the same time.
///
/// Errors: memory cannot be had; a defect of the compiler.
pub(crate) fn level_latencies(pool: &Pool, target: &Target) -> Result<Vec<(LevelName, f64)>> {
    let mut least = 0_f64;
    let mut levels = Vec::new();
    for extent in extents(&target.machine, pool.threads()) {
        let mut chains = Chains::new(extent.read, pool.threads())?;
        // A faster level that was measured slower was disturbed.
        least = least.max(chains.best_ns(pool)?);
        levels.push((extent.name, least));
    }
    Ok(levels)
}

/// For each thread, lines that each hold the address of the next one.
struct Chains {
    _memory: Region,
    /// Where each thread goes on.
    heads: Vec<*const c_void>,
}

impl Chains {
    /// Lines in random order, which no prefetcher foresees.
    fn new(bytes: usize, threads: usize) -> Result<Self> {
        let lines = (bytes / threads / LINE).max(2);
        let memory = Region::new(threads * lines * LINE)?;
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut heads = Vec::with_capacity(threads);
        for thread in 0..threads {
            let first = thread * lines;
            let next = cycle(lines, &mut random);
            for (line, next) in next.iter().enumerate() {
                let next = memory.line(first + *next as usize);
                // SAFETY: lines lie in the region, aligned, and nothing else refers to them.
                unsafe { memory.line(first + line).write(next.cast()) };
            }
            heads.push(memory.line(first).cast_const().cast());
        }
        Ok(Chains {
            _memory: memory,
            heads,
        })
    }

    fn best_ns(&mut self, pool: &Pool) -> Result<f64> {
        let mut best = f64::INFINITY;
        for _ in 0..REPEATS {
            let mut context = Context::new();
            context.arena = self.heads.as_mut_ptr().cast();
            let watch = Stopwatch::start();
            // SAFETY: each thread reads and writes its own head, and the lines it leads to.
            unsafe { pool.run(chase, &raw mut context) }.map_err(internal)?;
            best = best.min(watch.elapsed_ns() as f64 / STEPS as f64);
        }
        Ok(best)
    }
}

/// Follows the chain of a thread, and keeps where it ends.
unsafe extern "C" fn chase(context: *mut Context, thread: u32, _threads: u32) {
    // SAFETY: `best_ns` passes a head for each thread, and every line holds the address of a line.
    unsafe {
        let head = (*context)
            .arena
            .cast::<*const c_void>()
            .add(thread as usize);
        let mut at = *head;
        for _ in 0..STEPS {
            at = *at.cast::<*const c_void>();
        }
        *head = at;
    }
}

/// The one after each of `n` places, in a random order that meets all of them.
///
/// Source: S. Sattolo, "An algorithm to generate a random cyclic permutation", 1986.
fn cycle(n: usize, random: &mut Random) -> Vec<u32> {
    let mut next: Vec<u32> = (0..n as u32).collect();
    for k in (1..n).rev() {
        next.swap(k, random.below(k));
    }
    next
}

/// Xorshift numbers: any order will do that does not follow the addresses.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

/// Memory of large pages, where the system gives them.
struct Region {
    base: *mut c_void,
    bytes: usize,
}

impl Region {
    fn new(bytes: usize) -> Result<Self> {
        use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
        // So many more that there is an aligned part.
        let bytes = bytes + LARGE_PAGE;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new anonymous mapping overlaps nothing; the advice changes no contents.
        let base = unsafe {
            let base = mmap_anonymous(std::ptr::null_mut(), bytes, access, MapFlags::PRIVATE)?;
            // A system without such pages refuses, and small ones are used.
            let _ = madvise(base, bytes, Advice::LinuxHugepage);
            base
        };
        Ok(Region { base, bytes })
    }

    /// The address of a line.
    fn line(&self, number: usize) -> *mut *mut c_void {
        let skipped = self.base.align_offset(LARGE_PAGE);
        self.base
            .cast::<u8>()
            .wrapping_add(skipped + number * LINE)
            .cast()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own. There is nothing to do about a failure.
        let _ = unsafe { rustix::mm::munmap(self.base, self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_meet_all_places() {
        for n in [2, 3, 10, 1000] {
            let next = cycle(n, &mut Random(7));
            let mut at = 0;
            for step in 1..=n {
                at = next[at] as usize;
                assert_eq!(at == 0, step == n, "{n}");
            }
        }
    }

    #[test]
    fn latencies_are_plausible() {
        let levels = level_latencies(&Pool::new(1).unwrap(), &Target::host()).unwrap();
        let first = levels[0].1;
        let last = levels[levels.len() - 1];
        assert!((0.3..20.0).contains(&first), "{levels:?}");
        assert_eq!(last.0, LevelName::Memory);
        assert!(last.1 > 3.0 * first && last.1 < 5000.0, "{levels:?}");
    }
}
