//! `cargo xtask train-cost`: the weights of the tuner's ranker, made anew of records.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::process;
use crate::workspace::Workspace;

/// The weights that the tuner ships.
const WEIGHTS: &str = "autotune/assets/ranker.txt";

/// Options of `cargo xtask train-cost`.
#[derive(Args)]
pub struct Options {
    /// JSON lines of samples, to which those of the records are added
    #[arg(long)]
    dataset: Option<PathBuf>,
    /// Evaluates only, and leaves the weights as they are
    #[arg(long)]
    dry_run: bool,
    /// A family of models and a database that `tensmith tune` wrote on this machine for them
    #[arg(value_name = "FAMILY=RECORDS")]
    records: Vec<String>,
}

/// Train, and print how well the weights order families that training did not see.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    let example = ["-p", "tensmith-autotune", "--example", "train_cost"];
    command.args(["run", "--release", "--quiet"]).args(example);
    command.arg("--");
    if let Some(dataset) = &options.dataset {
        command.arg("--dataset").arg(dataset);
    }
    if !options.dry_run {
        command.arg("--weights").arg(workspace.root.join(WEIGHTS));
    }
    command.args(&options.records);
    process::run("train the cost model", &mut command)
}
