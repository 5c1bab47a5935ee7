//! What trees see of a scheduled kernel: a fixed row of numbers, none of which names an op.
//!
//! A row ([`row`]) has the kernel's own numbers, what they differ by from those of the task's
//! default schedule, and the logarithm of the ratio of what the analytic model predicts for both:
//! differences from a schedule that is known to be good mean the same in all tasks.
//!
//! Counts and bytes are binary logarithms of one more than they are, so that a tree splits by
//! orders of magnitude; ratios to caches are binary logarithms; shares lie in 0 to 1. Several
//! numbers are of the *hot group*: the statements between two jumps that take most of the cycles.
use super::analytic::{self, TERMS};
use super::nest::{Access, LaneOrder};
use super::work::{Group, Work};
use super::{Description, Setting, traffic};
use tensmith_ir::loops::{Kernel, Role};

/// The number of features.
pub const COUNT: usize = NAMES.len() + TERMS;

/// Loops around the hot group, from the inside, that have features of their own.
const LEVELS: usize = 5;

/// Features by name; behind them, the share of each term of the analytic model with its default
/// coefficients, in the order of [`analytic::names`].
const NAMES: [&str; 58] = [
    // Of the whole kernel. Log of counts, of a call.
    "flops",
    "instructions",
    "loop_iterations",
    "code_statements",
    // Shares of all arithmetic instructions.
    "fma_share",
    "add_share",
    "mul_share",
    "compare_share",
    "divide_share",
    "math_share",
    "convert_share",
    // Share of lanes of vectors that compute nothing.
    "idle_lane_share",
    // Shares of all loads and stores, by instructions.
    "single_load_share",
    "far_share",
    "turned_share",
    "store_share",
    // The hot group. Its share of all cycles; logs of counts.
    "hot_share",
    "hot_jam",
    "hot_vectors",
    "hot_vector_bytes",
    "hot_sums",
    // Machine registers it takes, over those there are.
    "hot_registers",
    // Logs: trips of its innermost reduction, and of all of them.
    "hot_depth",
    "hot_terms",
    // Copies by unrolling (log), and instructions of one execution (log): the size of its code.
    "hot_unrolled",
    "hot_code",
    // Per execution (log): loads of vectors, of single elements, stores.
    "hot_vector_loads",
    "hot_single_loads",
    "hot_stores",
    // Arithmetic instructions for each load (log).
    "hot_intensity",
    // Over the longest of arithmetic, loads and stores.
    "hot_arithmetic_bound",
    "hot_load_bound",
    "hot_latency_bound",
    // Shares of its loads, by instructions.
    "hot_packed_share",
    "hot_scratch_share",
    // The longest stride along a loop around it that is a multiple of a page: lines that fall on
    // the same ways of a cache. Share of its loads.
    "hot_aliased_share",
    // Units: elements ahead (log).
    "hot_prefetch",
    // Loops around the hot group that remain loops, from the inside: log of trips.
    "trips_0",
    "trips_1",
    "trips_2",
    "trips_3",
    "trips_4",
    // What they touch in one execution, over the level-1 cache (log of the ratio).
    "reach_0",
    "reach_1",
    "reach_2",
    "reach_3",
    "reach_4",
    // What a call touches, over each cache (log of the ratio).
    "touched_l1",
    "touched_l2",
    "touched_l3",
    // How often what is touched comes from beyond each cache (log).
    "again_l1",
    "again_l2",
    // Flops for each byte from beyond the level-2 cache, and for each byte over the boundary of the
    // kernel (logs).
    "intensity",
    "boundary_intensity",
    // Logs: bytes of scratch memory, and of operands with layouts of their own.
    "scratch_bytes",
    "packed_bytes",
    // Log: parts for each thread; and the share of threads that have work on average.
    "parts",
    "balance",
];

/// The names of all features.
pub fn names() -> Vec<String> {
    let own = NAMES.iter().map(|n| n.to_string());
    let terms = analytic::names().map(|n| format!("{n}_term_share"));
    own.chain(terms).collect()
}

/// The length of a [`row`].
pub const ROW: usize = 2 * COUNT + 1;

/// The names of the numbers of a [`row`].
pub fn row_names() -> Vec<String> {
    let differences = names().into_iter().map(|n| format!("{n}_more"));
    let own = names().into_iter().chain(differences);
    own.chain(["predicted_more".into()]).collect()
}

/// What trees see of a scheduled kernel whose task has this default.
pub fn row(own: &Description, default: &Description) -> Vec<f32> {
    let coefficients = analytic::Coefficients::default();
    let [mine, others] = [own, default].map(|d| d.predict_ns(&coefficients).ln());
    let pairs = own.features.iter().zip(&default.features);
    let differences = pairs.map(|(a, b)| a - b);
    let row = own.features.iter().copied().chain(differences);
    row.chain([(mine - others) as f32]).collect()
}

/// The features of a scheduled kernel.
pub fn features(kernel: &Kernel, setting: &Setting) -> Vec<f32> {
    let work = Work::new(kernel, setting);
    let terms = analytic::terms_of(&work, setting);
    features_of(&work, &terms, setting)
}

/// The features of a kernel whose work is known.
pub(super) fn features_of(work: &Work, terms: &[f64; TERMS], setting: &Setting) -> Vec<f32> {
    let mut row = Row(Vec::with_capacity(COUNT));
    whole(work, &mut row);
    hot(work, setting, &mut row);
    memory(work, setting, &mut row);
    shares(terms, &mut row);
    debug_assert_eq!(row.0.len(), COUNT, "a row has all features");
    row.0
}

/// Collects features; what is no number is 0.
struct Row(Vec<f32>);

impl Row {
    fn push(&mut self, x: f64) {
        self.0.push(if x.is_finite() { x as f32 } else { 0.0 });
    }

    /// A count or bytes.
    fn log(&mut self, x: f64) {
        self.push((1.0 + x.max(0.0)).log2());
    }

    /// A ratio, which may be less than 1.
    fn ratio(&mut self, x: f64, of: f64) {
        self.push((x.max(1e-3) / of.max(1e-3)).log2().clamp(-24.0, 24.0));
    }

    fn share(&mut self, x: f64, of: f64) {
        self.push(if of > 0.0 { x / of } else { 0.0 });
    }
}

fn whole(work: &Work, row: &mut Row) {
    let ops = work.ops();
    row.log(ops.flops);
    row.log(ops.all());
    row.log(work.iterations());
    row.log(work.nest.statements.len() as f64);
    let arithmetic = ops.arithmetic();
    for part in [
        ops.fma,
        ops.add,
        ops.mul,
        ops.compare,
        ops.divide,
        ops.math,
        ops.convert,
    ] {
        row.share(part, arithmetic);
    }
    row.share(ops.idle_lanes, ops.lanes);
    let moved = ops.loads() + ops.far + ops.turned + ops.stores;
    for part in [ops.single_loads, ops.far, ops.turned, ops.stores] {
        row.share(part, moved);
    }
}

fn hot(work: &Work, setting: &Setting, row: &mut Row) {
    let begin = row.0.len();
    if let Some(k) = work.hot() {
        hot_group(work, k, setting, row);
        hot_loops(work, &work.groups[k], setting, row);
    }
    // A kernel that does nothing.
    let end = begin + 21 + 2 * LEVELS;
    row.0.resize(end, 0.0);
}

fn hot_group(work: &Work, k: usize, setting: &Setting, row: &mut Row) {
    let (group, cycles) = (&work.groups[k], &work.cycles[k]);
    let all: f64 = work.cycles.iter().map(|c| c.longest() + c.divide).sum();
    row.share(cycles.longest() + cycles.divide, all);
    let around = || group.around.iter().map(|l| &work.nest.loops[*l]);
    let product = |mark| -> f64 {
        around()
            .filter(|l| l.mark == mark)
            .map(|l| l.trips)
            .product()
    };
    row.log(product(tensmith_ir::loops::Mark::Jam));
    let lanes = (group.vector_bytes / 4).max(1) as f64;
    row.log(product(tensmith_ir::loops::Mark::Vector) / lanes);
    row.log(group.vector_bytes as f64);
    row.log(group.sums);
    row.push(
        group.registers
            / if setting.vector_bytes >= 64 {
                32.0
            } else {
                16.0
            },
    );
    let reductions = || around().filter(|l| l.role == Role::Reduce);
    row.log(reductions().next_back().map_or(0.0, |l| l.trips));
    row.log(reductions().map(|l| l.trips).product());
    let runs = match group.rolled {
        None => 1.0,
        Some(_) => around()
            .filter(|l| l.is_rolled())
            .map(|l| l.trips)
            .product(),
    };
    row.log(group.times / f64::max(runs, 1.0));
    let each = |x: f64| x / group.times.max(1.0);
    row.log(each(group.ops.all()) * (group.times / f64::max(runs, 1.0)).max(1.0));
    row.log(each(group.ops.vector_loads));
    row.log(each(group.ops.single_loads));
    row.log(each(group.ops.stores));
    row.ratio(group.ops.arithmetic() + 1.0, group.ops.loads() + 1.0);
    let longest = cycles.longest();
    row.share(cycles.arithmetic, longest);
    row.share(cycles.loads, longest);
    row.push((cycles.latency / longest.max(1.0)).min(16.0));
    hot_accesses(work, group, row);
}

fn hot_accesses(work: &Work, group: &Group, row: &mut Row) {
    let loads = || {
        let all = group.accesses.iter().map(|k| &work.nest.accesses[*k]);
        all.filter(|a| !a.is_write)
    };
    let sum = |holds: &dyn Fn(&Access) -> bool| -> f64 {
        let issued = loads().filter(|a| holds(a)).map(|a| a.times * a.issues);
        issued.sum()
    };
    let all = sum(&|_| true);
    row.share(sum(&|a| a.is_packed), all);
    row.share(sum(&|a| a.is_scratch), all);
    row.share(sum(&is_aliased), all);
    row.log(loads().map(|a| a.prefetch).max().unwrap_or(0) as f64);
}

/// Whether elements that are needed together lie a multiple of a page apart.
fn is_aliased(access: &Access) -> bool {
    const PAGE: i64 = 4096;
    let steps = access.strides.iter().zip(&access.trips).rev().take(3);
    access.lanes != LaneOrder::Same
        && steps.into_iter().any(|(stride, trips)| {
            let bytes = stride.map_or(0, |s| s.saturating_mul(access.element as i64));
            *trips >= 8.0 && bytes != 0 && bytes % PAGE == 0
        })
}

/// The loops around the hot group, from the inside.
fn hot_loops(work: &Work, group: &Group, setting: &Setting, row: &mut Row) {
    let nest = &work.nest;
    // Levels of the loops that remain loops, innermost first; in lock-step loops among them the
    // whole tile runs.
    let numbers = &group.around;
    let rolled = || {
        let all = numbers.iter().enumerate().rev();
        all.filter(|(_, n)| nest.loops[**n].is_rolled())
    };
    let mut trips: Vec<f64> = rolled().map(|(_, n)| nest.loops[*n].trips).collect();
    trips.resize(LEVELS, 0.0);
    trips[..LEVELS].iter().for_each(|t| row.log(*t));
    let l1 = setting.machine.l1_bytes as f64;
    let mut reach: Vec<f64> = rolled()
        .take(LEVELS)
        .map(|(_, n)| {
            let node = find(&nest.root, *n);
            node.map_or(0.0, |node| traffic::footprint(nest, node))
        })
        .collect();
    let last = reach.last().copied().unwrap_or(0.0);
    reach.resize(LEVELS, last);
    reach.iter().for_each(|bytes| row.ratio(*bytes, l1));
}

/// The node of a loop.
fn find(node: &super::nest::Node, number: usize) -> Option<&super::nest::Node> {
    if matches!(node.kind, super::nest::Kind::Loop(n) if n == number) {
        return Some(node);
    }
    node.body.iter().find_map(|n| find(n, number))
}

fn memory(work: &Work, setting: &Setting, row: &mut Row) {
    let machine = &setting.machine;
    row.ratio(work.touched, machine.l1_bytes as f64);
    row.ratio(work.touched, machine.l2_bytes as f64);
    row.ratio(
        work.touched,
        machine.l3_share().max(machine.l2_bytes) as f64,
    );
    let [l1, l2, _] = work.beyond;
    row.ratio(l1, work.touched);
    row.ratio(l2, work.touched);
    row.ratio(work.ops().flops, l2);
    row.ratio(work.ops().flops, work.boundary);
    let bytes = |holds: &dyn Fn(&Access) -> bool| -> f64 {
        let mut buffers: Vec<_> = (work.nest.accesses.iter())
            .filter(|a| holds(a))
            .map(|a| (a.buffer, a.count * a.element))
            .collect();
        buffers.sort_by_key(|(id, _)| *id);
        buffers.dedup_by_key(|(id, _)| *id);
        buffers.iter().map(|(_, bytes)| bytes).sum()
    };
    row.log(bytes(&|a| a.is_scratch));
    row.log(bytes(&|a| a.is_packed && !a.is_scratch));
    let threads = setting.threads.max(1) as f64;
    row.log(work.parallel / threads);
    row.push(1.0 / (work.busiest * threads));
}

fn shares(terms: &[f64; TERMS], row: &mut Row) {
    let coefficients = analytic::Coefficients::default();
    let parts = terms.iter().zip(coefficients.values()).map(|(t, c)| t * c);
    let all: f64 = parts.clone().sum();
    parts.for_each(|part| row.share(part, all));
}
