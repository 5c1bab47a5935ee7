//! What a call of a kernel does, summed up for models: groups of statements that run together,
//! and traffic between levels of memory.
use super::Setting;
use super::nest::{Nest, Ops};
use super::traffic;
use std::collections::BTreeMap;
use tensmith_ir::loops::{BufferId, Kernel, Mark, Role};

/// Units: cycles from one quotient or root of vectors to the next; few cores are faster.
const DIVIDE_CYCLES: f64 = 6.0;

/// The statements that share their loops, but for unrolled ones: what is between two jumps.
#[derive(Clone, Debug)]
pub struct Group {
    /// The loops around by their numbers, outermost first.
    pub around: Vec<usize>,
    /// The innermost loop around that remains a loop.
    pub rolled: Option<usize>,
    /// How often it runs in a call.
    pub times: f64,
    /// What it issues in a call.
    pub ops: Ops,
    /// Units: bytes of its widest vectors.
    pub vector_bytes: usize,
    /// Machine registers of the sums that it adds to.
    pub sums: f64,
    /// Machine registers that it takes to keep them there.
    pub registers: f64,
    /// Statements that follow each other on one sum in a call, of the sum that has most.
    pub chain: f64,
    /// The numbers of its accesses.
    pub accesses: Vec<usize>,
}

/// Units: cycles of a group in a call, by what takes them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cycles {
    /// Arithmetic but for quotients.
    pub arithmetic: f64,
    /// Quotients and roots.
    pub divide: f64,
    /// Loads of vectors and of elements that lanes share.
    pub loads: f64,
    /// Stores.
    pub stores: f64,
    /// From each sum to the next one on it.
    pub latency: f64,
}

impl Cycles {
    /// What takes longest of that which runs side by side.
    pub fn longest(&self) -> f64 {
        self.arithmetic.max(self.loads).max(self.stores)
    }
}

/// What a call of a kernel does.
#[derive(Clone, Debug)]
pub struct Work {
    /// The kernel in numbers.
    pub nest: Nest,
    /// Its groups, in the order of the text.
    pub groups: Vec<Group>,
    /// The cycles of each group.
    pub cycles: Vec<Cycles>,
    /// Units: bytes that come from beyond the level-1, the level-2 and the level-3 cache.
    pub beyond: [f64; 3],
    /// Units: bytes of cache lines that it touches.
    pub touched: f64,
    /// Units: bytes that it reads and writes of its operands.
    pub boundary: f64,
    /// Iterations of the parallel loop; 1 if there is none.
    pub parallel: f64,
    /// The part of the work that the busiest thread has.
    pub busiest: f64,
}

impl Work {
    /// Of a kernel on a machine.
    pub fn new(kernel: &Kernel, setting: &Setting) -> Work {
        let nest = Nest::new(kernel, setting);
        let machine = &setting.machine;
        let groups = groups(&nest);
        let cycles = groups.iter().map(|g| g.cycles(setting)).collect();
        let beyond = |bytes: usize| traffic::beyond(&nest, bytes as f64);
        // What there is no third cache for comes from memory.
        let last = machine.l3_share().max(machine.l2_bytes);
        let beyond = [
            beyond(machine.l1_bytes),
            beyond(machine.l2_bytes),
            beyond(last),
        ];
        let in_parallel = nest.loops.iter().filter(|l| l.mark == Mark::Parallel);
        let parallel = in_parallel.map(|l| l.trips).fold(1.0, f64::max);
        let threads = (setting.threads as f64).min(parallel).max(1.0);
        Work {
            touched: traffic::footprint(&nest, &nest.root),
            boundary: nest.boundary,
            groups,
            cycles,
            beyond,
            parallel,
            busiest: (parallel / threads).ceil() / parallel,
            nest,
        }
    }

    /// The group that takes longest; `None` of a kernel that does nothing.
    pub fn hot(&self) -> Option<usize> {
        let longest = |k: &usize| {
            let c = &self.cycles[*k];
            c.longest().max(c.latency) + c.divide
        };
        (0..self.groups.len()).max_by(|a, b| longest(a).total_cmp(&longest(b)))
    }

    /// What all groups issue in a call.
    pub fn ops(&self) -> Ops {
        let mut ops = Ops::default();
        self.groups.iter().for_each(|g| ops.add(&g.ops, 1.0));
        ops
    }

    /// Iterations of loops that remain loops, in a call.
    pub fn iterations(&self) -> f64 {
        fn of(nest: &Nest, node: &super::nest::Node, times: f64) -> f64 {
            let mut times = times * node.share;
            let mut own = 0.0;
            if let super::nest::Kind::Loop(number) = node.kind {
                let l = &nest.loops[number];
                if !l.is_lock_step() {
                    times *= l.trips;
                }
                own = if l.is_rolled() { times } else { 0.0 };
            }
            let inner = node.body.iter().map(|n| of(nest, n, times));
            own + inner.sum::<f64>()
        }
        of(&self.nest, &self.nest.root, 1.0)
    }

    /// How often a reduction begins, in a call.
    pub fn entries(&self) -> f64 {
        let entries = |g: &Group| {
            let rolled = &self.nest.loops[g.rolled?];
            let begins = rolled.role == Role::Reduce && rolled.trips > 0.0;
            begins.then_some(g.times / rolled.trips.max(1.0))
        };
        self.groups.iter().filter_map(entries).sum()
    }
}

fn groups(nest: &Nest) -> Vec<Group> {
    let mut found: BTreeMap<Vec<usize>, Group> = BTreeMap::new();
    let mut sums: BTreeMap<(Vec<usize>, BufferId), (f64, f64)> = BTreeMap::new();
    for statement in &nest.statements {
        let stays = |k: &&usize| nest.loops[**k].mark != Mark::Unroll;
        let key: Vec<usize> = statement.around.iter().filter(stays).copied().collect();
        if let (true, Some((register, lanes))) = (statement.is_update, statement.register) {
            let sum = sums.entry((key.clone(), register)).or_default();
            *sum = (lanes, sum.1 + statement.times);
        }
        let rolled = key
            .iter()
            .rev()
            .copied()
            .find(|k| nest.loops[*k].is_rolled());
        let group = found.entry(key.clone()).or_insert_with(|| Group {
            rolled,
            times: 0.0,
            ops: Ops::default(),
            vector_bytes: 4,
            sums: 0.0,
            registers: 0.0,
            chain: 0.0,
            accesses: vec![],
            around: key,
        });
        group.times = group.times.max(statement.times);
        group.vector_bytes = group.vector_bytes.max(statement.vector_bytes);
        group.ops.add(&statement.ops, statement.times);
        group.accesses.extend(statement.accesses.clone());
        let columns = statement.ops.vector_loads.min(statement.ops.arithmetic());
        group.registers = group.registers.max(columns + 1.0);
    }
    for ((key, _), (lanes, times)) in sums {
        if let Some(group) = found.get_mut(&key) {
            group.sums += lanes;
            group.registers += lanes;
            group.chain = group.chain.max(times);
        }
    }
    found.into_values().collect()
}

impl Group {
    fn cycles(&self, setting: &Setting) -> Cycles {
        let machine = &setting.machine;
        let ops = &self.ops;
        let fmas = machine.fmas(self.vector_bytes);
        let vectors = ops.vector_loads / machine.loads(self.vector_bytes);
        Cycles {
            arithmetic: (ops.arithmetic() - ops.divide) / fmas,
            divide: ops.divide * DIVIDE_CYCLES,
            loads: vectors + ops.single_loads / machine.rates.loads,
            stores: ops.stores,
            latency: self.chain * machine.rates.fma_latency,
        }
    }

    /// Machine registers that a group lacks.
    pub fn lacks(&self, setting: &Setting) -> f64 {
        let registers = if setting.vector_bytes >= 64 {
            32.0
        } else {
            16.0
        };
        (self.registers - registers).max(0.0)
    }
}
