//! What a candidate will take, before it is measured.
//!
//! [`analytic`] is a model in closed form, fitted to the machine; [`trees`] learn what it misses
//! from [`features`] of loops; [`Ranker`] joins both with what was measured so far.
pub mod analytic;
mod collect;
mod dataset;
pub mod features;
pub mod metrics;
mod nest;
mod nnls;
mod ranker;
#[cfg(test)]
mod tests;
mod traffic;
pub mod train;
pub mod trees;
mod work;

pub use collect::collect;
pub use dataset::{Dataset, Sample};
pub use ranker::{Pretrained, Ranker};

use analytic::Coefficients;
use tensmith_ir::eval::Sizes;
use tensmith_ir::loops::Kernel;
use tensmith_ir::machine::Machine;
use work::Work;

/// What a kernel will run on.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The core.
    pub machine: Machine,
    /// Units: bytes of a vector register.
    pub vector_bytes: usize,
    /// Threads that share the parallel loops.
    pub threads: usize,
    /// Values of the sizes of kernels.
    pub sizes: Sizes,
}

impl Default for Setting {
    fn default() -> Self {
        Setting {
            machine: Machine::GENERIC,
            vector_bytes: 32,
            threads: 1,
            sizes: Sizes::new(),
        }
    }
}

/// What models see of a scheduled kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// What trees see; see [`features`].
    pub features: Vec<f32>,
    /// What the analytic model sees; see [`analytic`]. Units: cycles.
    pub terms: Vec<f64>,
}

impl Description {
    /// Of a scheduled kernel. Costs less than half a millisecond for most.
    pub fn new(kernel: &Kernel, setting: &Setting) -> Description {
        let work = Work::new(kernel, setting);
        let terms = analytic::terms_of(&work, setting);
        Description {
            features: features::features_of(&work, &terms, setting),
            terms: terms.to_vec(),
        }
    }

    /// Units: nanoseconds of a call, by the analytic model.
    pub fn predict_ns(&self, coefficients: &Coefficients) -> f64 {
        coefficients.predict_ns(&self.terms)
    }
}
