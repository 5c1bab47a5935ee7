//! `tensmith tune-worker`: the process in which `tune` measures.
use clap::Args;
use tensmith::{Error, Result};
use tensmith_autotune::measure::serve;

/// Measures kernels that requests on stdin name, a line of JSON each: what `tune` starts.
#[derive(Args)]
pub struct TuneWorker {}

impl TuneWorker {
    /// Runs the verb.
    pub fn run(self) -> Result<()> {
        let served = serve(std::io::stdin().lock(), std::io::stdout().lock());
        served.map_err(|e| Error::io("serve requests on", "stdin", e))
    }
}
