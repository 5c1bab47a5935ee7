//! `cargo xtask test`: everything that a change must pass.

use std::env;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::workspace::Workspace;
use crate::{conformance, models, process, tidy};

type Work = fn(&Workspace) -> Result<()>;

/// The steps in order.
const STEPS: [(&str, Work); 6] = [
    ("format", |w| cargo(w, &["fmt", "--all", "--check"])),
    ("clippy", |w| {
        let command = ["clippy", "--workspace", "--all-targets"];
        cargo(w, &[&command[..], &["--", "-D", "warnings"]].concat())
    }),
    ("models", |w| models::make(w, &[])),
    ("conformance data", conformance::make),
    ("tests", |w| {
        cargo(w, &["test", "--workspace", "--no-fail-fast"])
    }),
    ("tidy", tidy::run),
];

/// What a step took, and why it failed.
struct Outcome {
    name: &'static str,
    time: Duration,
    failure: Option<anyhow::Error>,
}

/// Run all steps; stops at the first failure unless `keep_going`.
pub fn run(workspace: &Workspace, keep_going: bool) -> Result<()> {
    let outcomes = run_steps(&STEPS, workspace, keep_going);
    for outcome in &outcomes {
        eprintln!("{}", outcome.line());
    }
    for (name, _) in &STEPS[outcomes.len()..] {
        eprintln!("  skipped         {name}");
    }
    let failed: Vec<&str> = outcomes
        .iter()
        .filter(|outcome| outcome.failure.is_some())
        .map(|outcome| outcome.name)
        .collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

impl Outcome {
    fn line(&self) -> String {
        let state = if self.failure.is_none() {
            "ok"
        } else {
            "FAILED"
        };
        format!(
            "  {state:<6} {:>6.1} s {}",
            self.time.as_secs_f64(),
            self.name
        )
    }
}

fn run_steps(
    steps: &[(&'static str, Work)],
    workspace: &Workspace,
    keep_going: bool,
) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for &(name, work) in steps {
        eprintln!("== {name}");
        let start = Instant::now();
        let failure = work(workspace).err();
        let time = start.elapsed();
        let stop = failure.is_some() && !keep_going;
        if let Some(error) = &failure {
            eprintln!("{name}: {error:#}");
        }
        outcomes.push(Outcome {
            name,
            time,
            failure,
        });
        if stop {
            break;
        }
    }
    outcomes
}

/// Run cargo in the checkout; tests find the models by `TENSMITH_MODELS`.
fn cargo(workspace: &Workspace, arguments: &[&str]) -> Result<()> {
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(&workspace.root)
        .env("TENSMITH_MODELS", &workspace.models)
        // What somebody has tuned here is not what is tested.
        .env(
            "TENSMITH_RECORDS",
            workspace.root.join("target/no-records.sqlite3"),
        );
    process::run(&format!("cargo {}", arguments[0]), &mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: [(&str, Work); 3] = [
        ("good", |_| Ok(())),
        ("bad", |_| bail!("no")),
        ("late", |_| Ok(())),
    ];

    fn failures(keep_going: bool) -> Vec<bool> {
        let outcomes = run_steps(&STEPS, &Workspace::here(), keep_going);
        outcomes
            .iter()
            .map(|outcome| outcome.failure.is_some())
            .collect()
    }

    #[test]
    fn stops_at_the_first_failure_unless_told_otherwise() {
        assert_eq!(failures(false), [false, true]);
        assert_eq!(failures(true), [false, true, false]);
    }
}
