//! The model in closed form: a sum of terms, each a time that something takes, with coefficients
//! that are fitted to measurements.
//!
//! Terms are cycles of a core as the machine's description has them, of the busiest thread.
//! Coefficients are nanoseconds a cycle, and say how much of a term shows: what is hidden behind
//! something else has a small one.
use super::nnls::Normal;
use super::work::{Cycles, Group, Work};
use super::{Setting, dataset::Sample};
use tensmith_ir::loops::Kernel;

/// The number of terms.
pub const TERMS: usize = TABLE.len();

/// The names of the terms, with what of them shows by default, as long as nothing was measured.
const TABLE: [(&str, f64); 14] = [
    // The longest of arithmetic, loads and stores of each group of statements.
    ("core", 1.0),
    // The others of these.
    ("beside", 0.25),
    // What sums that wait for themselves take beyond all that.
    ("latency", 0.8),
    // Quotients and roots.
    ("divide", 1.0),
    // Elements that are loaded or stored one by one.
    ("far", 1.0),
    // Elements of blocks that are turned in registers.
    ("turned", 1.0),
    // What comes from beyond each cache.
    ("l2", 0.4),
    ("l3", 0.5),
    ("memory", 0.7),
    // Iterations of loops that remain loops.
    ("loops", 1.0),
    // Reductions that begin and end.
    ("entries", 1.0),
    // Registers that are lacking.
    ("spills", 1.0),
    // The call.
    ("call", 1.0),
    // Handing work to threads.
    ("threads", 1.0),
];

/// Units: nanoseconds of a cycle, as long as nothing was measured: 3 GHz.
const CYCLE_NS: f64 = 1.0 / 3.0;
/// Units: cycles of an iteration: a count, a comparison, a jump, and addresses.
const LOOP_CYCLES: f64 = 1.5;
/// Units: cycles of beginning and ending a register tile.
const ENTRY_CYCLES: f64 = 20.0;
/// Units: cycles of an element that is loaded into a lane, or stored from it.
const FAR_CYCLES: f64 = 1.5;
/// Units: cycles of an element of a block that is turned.
const TURNED_CYCLES: f64 = 0.5;
/// Units: cycles of a register that is stored and loaded again.
const SPILL_CYCLES: f64 = 1.0;
/// Units: cycles of a call.
const CALL_CYCLES: f64 = 100.0;
/// Units: cycles until all threads have begun and ended.
const THREADS_CYCLES: f64 = 3000.0;
/// How much the coefficients of before weigh when new ones are fitted: samples, at least, and the
/// part of all samples. A term that hardly shows in any of them stays as it is.
const KEPT: (f64, f64) = (0.1, 1.0 / 2000.0);
/// Logarithms of ratios above this are large.
const LARGE: f64 = 0.3;
/// Steps of a fit.
const STEPS: usize = 20;

/// The names of the terms.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(name, _)| *name)
}

/// The terms of a kernel.
///
/// Units: cycles.
pub fn terms(kernel: &Kernel, setting: &Setting) -> Vec<f64> {
    terms_of(&Work::new(kernel, setting), setting).to_vec()
}

/// The terms of a kernel whose work is known.
pub(super) fn terms_of(work: &Work, setting: &Setting) -> [f64; TERMS] {
    let sum = |f: &dyn Fn(&Group, &Cycles) -> f64| -> f64 {
        let groups = work.groups.iter().zip(&work.cycles);
        groups.map(|(g, c)| f(g, c)).sum()
    };
    let ops = work.ops();
    let rates = &setting.machine.rates;
    let [l2, l3, memory] = work.beyond;
    let l3 = if setting.machine.l3_bytes > 0 {
        l3
    } else {
        0.0
    };
    let has_threads = setting.threads > 1 && work.parallel > 1.0;
    let shared = [
        sum(&|_, c| c.longest()),
        sum(&|_, c| c.arithmetic + c.loads + c.stores - c.longest()),
        sum(&|_, c| (c.latency - c.longest()).max(0.0)),
        sum(&|_, c| c.divide),
        FAR_CYCLES * ops.far,
        TURNED_CYCLES * ops.turned,
        l2 / rates.l2_bytes,
        l3 / rates.l3_bytes,
        memory / rates.memory_bytes,
        LOOP_CYCLES * work.iterations(),
        ENTRY_CYCLES * work.entries(),
        sum(&|g, _| SPILL_CYCLES * g.lacks(setting) * g.times),
    ];
    let mut terms = [0.0; TERMS];
    for (term, cycles) in terms.iter_mut().zip(shared) {
        *term = cycles * work.busiest;
    }
    terms[TERMS - 2] = CALL_CYCLES;
    terms[TERMS - 1] = if has_threads { THREADS_CYCLES } else { 0.0 };
    terms
}

/// What of each term shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Coefficients(Vec<f64>);

impl Default for Coefficients {
    fn default() -> Self {
        Coefficients(TABLE.iter().map(|(_, shows)| CYCLE_NS * shows).collect())
    }
}

impl Coefficients {
    /// Of numbers, one a term; `None` if they are too few or too many, negative, or none.
    pub fn new(values: Vec<f64>) -> Option<Coefficients> {
        let good = |x: &f64| x.is_finite() && *x >= 0.0;
        (values.len() == TERMS && values.iter().all(good)).then_some(Coefficients(values))
    }

    /// Units: nanoseconds of a cycle of each term.
    pub fn values(&self) -> &[f64] {
        &self.0
    }

    /// Units: nanoseconds of a call, predicted.
    ///
    /// Panics: another number of terms.
    pub fn predict_ns(&self, terms: &[f64]) -> f64 {
        assert_eq!(terms.len(), TERMS, "all terms are there");
        let sum: f64 = self.0.iter().zip(terms).map(|(c, t)| c * t).sum();
        // The logarithm of the prediction is what others build on.
        sum.max(1e-3)
    }

    /// The coefficients that fit measurements best, by the logarithm of prediction over time:
    /// squares of small ones, sizes of large ones (Huber's loss), so that kernels which the model
    /// does not understand do not decide. What was not measured stays near what it is.
    ///
    /// Source: P. Huber, Robust estimation of a location parameter, 1964; solved by least squares
    /// with weights that are made anew, each time a step to the half.
    pub fn fit<'s>(&self, samples: impl IntoIterator<Item = &'s Sample>) -> Coefficients {
        let whole = |s: &&Sample| s.ns > 0.0 && s.terms.len() == TERMS;
        let samples: Vec<&Sample> = samples.into_iter().filter(whole).collect();
        let mut now = self.clone();
        for _ in 0..STEPS {
            let next = self.step(&now, &samples);
            let pairs = now.0.iter_mut().zip(next);
            pairs.for_each(|(now, next)| *now = (*now + next) / 2.0);
        }
        now
    }

    /// The solution around `now`, for logarithms that are straight there.
    fn step(&self, now: &Coefficients, samples: &[&Sample]) -> Vec<f64> {
        let mut normal = Normal::new(TERMS);
        for s in samples {
            let predicted = now.predict_ns(&s.terms);
            let error = (predicted / s.ns).ln();
            // Each row says: the logarithm of prediction over time is 0.
            let row: Vec<f64> = s.terms.iter().map(|t| t / predicted).collect();
            let weight = 1.0 / (error.abs() / LARGE).max(1.0);
            normal.add(&row, 1.0 - error, weight);
        }
        let kept = KEPT.0.max(KEPT.1 * samples.len() as f64);
        for (k, old) in self.0.iter().enumerate().filter(|(_, old)| **old > 0.0) {
            let mut row = vec![0.0; TERMS];
            row[k] = 1.0 / old;
            normal.add(&row, 1.0, kept);
        }
        normal.solve()
    }
}
