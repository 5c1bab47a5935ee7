//! What a user can choose.
use std::collections::BTreeMap;
use std::sync::Arc;
use tensmith_autotune::target::schedule_target;
use tensmith_codegen::entry::Execution;
use tensmith_ir::tensor::Tensor;
use tensmith_onnx::Budget;
use tensmith_onnx::import::KeepSymbolic;
use tensmith_passes::PassOptions;
use tensmith_passes::pipeline::Precision;
use tensmith_passes::schedule::task::Tuned;

/// How a model file is read.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// What the file may ask for.
    pub budget: Budget,
}

/// How a model is compiled.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Values of named dimensions.
    pub dims: BTreeMap<String, i64>,
    /// Which dimensions stay symbolic: one compiled model serves every value. Others without a
    /// value become 1, with a note.
    pub symbolic: KeepSymbolic,
    /// Greatest values of symbolic dimensions.
    pub max_dims: BTreeMap<String, i64>,
    /// Shapes of inputs, which bind their dimensions.
    pub input_shapes: BTreeMap<String, Vec<usize>>,
    /// Values that inputs always have; what depends on them is computed while compiling.
    pub specialise: BTreeMap<String, Tensor>,
    /// Threads of a run, and the most parts of a section; `None` for as many as there are usable
    /// cores.
    pub threads: Option<usize>,
    /// Whether the executable's own threads run the code side by side, or one thread runs it and
    /// hands out sections, which [`Session::run_on`](crate::Session::run_on) needs.
    pub execution: Execution,
    /// The machine to compile for: `host` (also if empty) or a name of
    /// `tensmith_codegen::target::Target`.
    pub target: String,
    /// What may happen to rounding.
    pub precision: Precision,
    /// Units: bytes of memory that a run may take besides constants; `None` for a bound that
    /// grows with the model and its inputs, so that a small file cannot ask for much.
    pub memory_bytes: Option<u64>,
    /// Units: bytes of constants, at most, where a faster algorithm (Winograd convolutions) needs
    /// more of them than the model has; `None`: as many as it takes.
    pub max_constant_bytes: Option<u64>,
    /// Whether the graph is rewritten by directed passes only, without the rules of the e-graph
    /// (`docs/rules.md`).
    pub no_egraph: bool,
    /// Whether the code notes when each of its steps begins: see
    /// [`Session::run_profiled`](crate::Session::run_profiled).
    pub profile: bool,
    /// What tuning has found, by which kernels are scheduled; `None`: as the cost model prefers.
    pub tuned: Option<Arc<dyn Tuned>>,
}

impl Options {
    /// The number of threads of a run.
    pub fn thread_count(&self) -> usize {
        self.threads.unwrap_or_else(tensmith_runtime::usable_cores)
    }

    /// The target's name.
    pub fn target_name(&self) -> &str {
        if self.target.is_empty() {
            "host"
        } else {
            &self.target
        }
    }

    /// What the passes need to know for a target.
    pub(crate) fn pass_options(
        &self,
        target: &tensmith_codegen::target::Target,
        threads: usize,
    ) -> PassOptions {
        let mut options = PassOptions {
            precision: self.precision,
            constant_bytes: self.max_constant_bytes,
            egraph: !self.no_egraph,
            tuned: self.tuned.clone(),
            ..PassOptions::default()
        };
        let reassociate = self.precision != Precision::Exact;
        options.target = schedule_target(target, threads, reassociate);
        options
    }
}
