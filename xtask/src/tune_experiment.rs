//! `cargo xtask tune-experiment`: builds `examples/tune_experiment/` and runs it.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::peers;
use crate::process;
use crate::workspace::Workspace;

/// Options of `cargo xtask tune-experiment`: those of the program that it runs.
#[derive(Args)]
pub struct Options {
    /// Parts and options; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Run it with the command that it measures.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let tensmith = peers::build(workspace)?;
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(&workspace.root);
    command.args([
        "run",
        "--release",
        "--quiet",
        "--example",
        "tune_experiment",
        "--",
    ]);
    command
        .arg("--tensmith")
        .arg(tensmith)
        .args(&options.arguments);
    process::run("measure what tuning gives", &mut command)
}
