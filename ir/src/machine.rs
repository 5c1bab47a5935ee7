//! What one core of a machine can do, as plain data: what cost models compute with.
//!
//! Rates are those of sustained work, in events or bytes a cycle, so that they hold at any clock.

/// A core and the memory that it reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Machine {
    /// Units: bytes of the level-1 data cache.
    pub l1_bytes: usize,
    /// Units: bytes of the level-2 cache of a core.
    pub l2_bytes: usize,
    /// Units: bytes of the level-3 cache that cores share; 0 if there is none.
    pub l3_bytes: usize,
    /// Rates of the core.
    pub rates: Rates,
}

/// What a core does in a cycle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Multiply-adds of vectors of up to 256 bits.
    pub fmas: f64,
    /// Multiply-adds of 512-bit vectors; half of `fmas` where they pass in two halves.
    pub fmas_512: f64,
    /// Loads of vectors of up to 256 bits, and of single elements.
    pub loads: f64,
    /// Loads of 512-bit vectors.
    pub loads_512: f64,
    /// Units: cycles from a multiply-add to one that needs its result.
    pub fma_latency: f64,
    /// Units: bytes that come from the level-2 cache.
    pub l2_bytes: f64,
    /// Units: bytes that come from the level-3 cache.
    pub l3_bytes: f64,
    /// Units: bytes that come from main memory.
    pub memory_bytes: f64,
}

/// A level of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The level-1 cache.
    L1,
    /// The level-2 cache.
    L2,
    /// The level-3 cache.
    L3,
    /// Main memory.
    Memory,
}

/// Units: bytes of a shared cache that one program is taken to have: others use it, too.
const SHARE: usize = 32 << 20;

impl Machine {
    /// A core of which only the instructions are known.
    pub const GENERIC: Machine = Machine {
        l1_bytes: 32 << 10,
        l2_bytes: 512 << 10,
        l3_bytes: 0,
        rates: Rates::GENERIC,
    };

    /// Units: bytes of the level-3 cache that one program is taken to have.
    pub fn l3_share(&self) -> usize {
        self.l3_bytes.min(SHARE)
    }

    /// The fastest level that holds `bytes` bytes beside as much else.
    pub fn level_of(&self, bytes: f64) -> Level {
        let holds = |capacity: usize| 2.0 * bytes <= capacity as f64;
        if holds(self.l1_bytes) {
            Level::L1
        } else if holds(self.l2_bytes) {
            Level::L2
        } else if holds(self.l3_share()) {
            Level::L3
        } else {
            Level::Memory
        }
    }

    /// Units: cycles that reading `bytes` bytes from a level takes; what the level-1 cache gives
    /// is bounded by loads, not by bytes.
    pub fn read_cycles(&self, bytes: f64, level: Level) -> f64 {
        match level {
            Level::L1 => 0.0,
            Level::L2 => bytes / self.rates.l2_bytes,
            Level::L3 => bytes / self.rates.l3_bytes,
            Level::Memory => bytes / self.rates.memory_bytes,
        }
    }

    /// Multiply-adds a cycle of vectors of `bytes` bytes.
    pub fn fmas(&self, bytes: usize) -> f64 {
        match bytes {
            64 => self.rates.fmas_512,
            _ => self.rates.fmas,
        }
    }

    /// Loads a cycle of vectors of `bytes` bytes.
    pub fn loads(&self, bytes: usize) -> f64 {
        match bytes {
            64 => self.rates.loads_512,
            _ => self.rates.loads,
        }
    }
}

impl Rates {
    /// Two multiply-adds and two loads a cycle, 512-bit vectors in two halves.
    pub const GENERIC: Rates = Rates {
        fmas: 2.0,
        fmas_512: 1.0,
        loads: 2.0,
        loads_512: 1.0,
        fma_latency: 4.0,
        l2_bytes: 32.0,
        l3_bytes: 16.0,
        memory_bytes: 7.0,
    };
}

impl Default for Machine {
    fn default() -> Self {
        Machine::GENERIC
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_a_level_is_read_at_its_rate() {
        let machine = Machine {
            l3_bytes: 256 << 20,
            ..Machine::GENERIC
        };
        let level = |kib: usize| machine.level_of((kib << 10) as f64);
        assert_eq!(level(16), Level::L1);
        assert_eq!(level(17), Level::L2);
        assert_eq!(level(257), Level::L3);
        // Of a large shared cache, others have most.
        assert_eq!(level(17 << 10), Level::Memory);
        assert_eq!(machine.read_cycles(64.0, Level::L2), 2.0);
    }
}
