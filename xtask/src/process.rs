//! Running other programs.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// Run a command to its end, with our streams; `what` names it in errors.
pub fn run(what: &str, command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("{what}: cannot start `{program}`; is it installed?"))?;
    if !status.success() {
        bail!("{what}: `{program}` failed ({status})");
    }
    Ok(())
}

/// Run a piece of work with a line on stderr before it and its seconds after it.
pub fn timed<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("{what} ...");
    let start = Instant::now();
    let result = work()?;
    eprintln!("{what}: {:.1} s", start.elapsed().as_secs_f64());
    Ok(result)
}
