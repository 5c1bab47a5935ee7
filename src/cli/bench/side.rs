//! What can be measured block by block: a model in this process, or one in another process that
//! measures on request.
//!
//! The protocol of a process that measures on request: it prints a line of JSON when it is
//! ready, then reads lines from stdin, each a number of nanoseconds, and answers each by
//! `{"samples_ns": [..]}` after runs for about that long. It ends with its stdin.
use super::super::inputs::{InputArgs, Prepared};
use super::super::shared::{ModelArgs, RecordArgs, Rounding};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use tensmith::{Error, Executable, Result, Session, Tensor};
use tensmith_runtime::Stopwatch;

/// Runs of one block, at most.
const MAX_RUNS: usize = 100_000;

/// Something whose runs can be timed.
pub trait Side {
    /// Units: nanoseconds of each of at least one run, made for about `duration_ns`.
    fn block(&mut self, duration_ns: u64) -> Result<Vec<u64>>;
}

/// A model that runs in this process.
pub struct Local {
    session: Session,
    inputs: Vec<Tensor>,
    last_ns: u64,
}

impl Local {
    /// A session that has run for a while.
    pub fn new(executable: &Executable, prepared: Prepared, warm_up_ns: u64) -> Result<Self> {
        let mut local = Local {
            session: executable.session()?,
            inputs: prepared.inputs.into_iter().map(|(_, t)| t).collect(),
            last_ns: 0,
        };
        local.last_ns = *local.runs(warm_up_ns)?.last().unwrap_or(&0);
        Ok(local)
    }

    /// Units: bytes of working memory.
    pub fn arena_bytes(&self) -> usize {
        self.session.arena_bytes()
    }

    fn runs(&mut self, duration_ns: u64) -> Result<Vec<u64>> {
        let views: Vec<_> = self.inputs.iter().map(Tensor::view).collect();
        let total = Stopwatch::start();
        let mut samples = Vec::new();
        loop {
            let watch = Stopwatch::start();
            self.session.run(&views)?;
            samples.push(watch.elapsed_ns());
            if total.elapsed_ns() >= duration_ns || samples.len() == MAX_RUNS {
                return Ok(samples);
            }
        }
    }
}

impl Side for Local {
    /// A run that is short against the block wakes the threads and is not counted.
    fn block(&mut self, duration_ns: u64) -> Result<Vec<u64>> {
        if self.last_ns < duration_ns / 8 {
            self.runs(0)?;
        }
        let samples = self.runs(duration_ns)?;
        self.last_ns = samples[samples.len() - 1];
        Ok(samples)
    }
}

/// The first line of a process that measures on request.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Ready {
    /// Threads of a run.
    pub threads: usize,
    /// Names, types and shapes of the inputs.
    pub inputs: String,
    /// How long compilation took.
    pub compile_ms: f64,
}

#[derive(Serialize, Deserialize)]
struct Answer {
    samples_ns: Vec<u64>,
}

/// Answers requests on stdin until it ends.
pub fn serve(local: &mut Local, ready: &Ready) -> Result<()> {
    let stdout = |e| Error::io("write to", "stdout", e);
    let print = |line: serde_json::Result<String>| {
        let line = line.map_err(|e| Error::Internal(e.to_string()))?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}")
            .and_then(|()| out.flush())
            .map_err(stdout)
    };
    print(serde_json::to_string(ready))?;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|e| Error::io("read from", "stdin", e))?;
        let duration_ns = line.trim().parse().map_err(|_| {
            Error::Usage(format!(
                "`{line}`: expected a number of nanoseconds on stdin"
            ))
        })?;
        let samples_ns = local.block(duration_ns)?;
        print(serde_json::to_string(&Answer { samples_ns }))?;
    }
    Ok(())
}

/// A model in another process, possibly of another build of this program.
pub struct Remote {
    program: PathBuf,
    child: Child,
    answers: Lines<BufReader<ChildStdout>>,
    /// What it said when it was ready.
    pub ready: Ready,
}

impl Remote {
    /// Starts `program` on `model` with the other arguments as here, and waits until it has
    /// compiled the model.
    pub fn start(
        program: &Path,
        model: &Path,
        arguments: &ModelArgs,
        inputs: &InputArgs,
        threads: usize,
    ) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg("bench").arg(model).arg("--on-request");
        pass_on(&mut command, arguments, inputs, threads);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|e| Error::io("start", program, e))?;
        let stdout = child.stdout.take().expect("invariant: stdout is a pipe");
        let mut answers = BufReader::new(stdout).lines();
        let first = answers.next();
        match first.and_then(|line| line.ok()) {
            Some(line) => match serde_json::from_str(&line) {
                Ok(ready) => Ok(Remote {
                    program: program.into(),
                    child,
                    answers,
                    ready,
                }),
                Err(_) => Err(Error::file(
                    program,
                    "does not measure on request; expected a build of tensmith whose `bench` knows --on-request",
                )),
            },
            None => Err(ended(child, program, model)),
        }
    }

    fn broken(&self) -> Error {
        Error::CheckFailed(format!(
            "{}: ended or answered wrongly in the middle of the comparison; its message, if any, is above",
            self.program.display()
        ))
    }
}

/// Why a process ended before it was ready; it has printed the reason itself.
fn ended(mut child: Child, program: &Path, model: &Path) -> Error {
    let code = child.wait().ok().and_then(|status| status.code());
    let what = format!(
        "{} could not measure {}; its message is above",
        program.display(),
        model.display()
    );
    match code {
        Some(3) => Error::file(model, what),
        Some(4) => Error::Unsupported(what),
        Some(5) => Error::Limit(what),
        _ => Error::Usage(what),
    }
}

/// Every argument that decides what is compiled and run. Destructured, so that a new one is not
/// forgotten.
fn pass_on(command: &mut Command, model: &ModelArgs, inputs: &InputArgs, threads: usize) {
    let ModelArgs {
        model: _,
        dims,
        symbolic,
        threads: _,
        target,
        memory_bytes,
        max_constant_bytes,
        no_egraph,
        precision,
        tolerance,
        records,
    } = model;
    let InputArgs {
        inputs,
        input,
        seed,
    } = inputs;
    for (flag, values) in [
        ("--dim", dims),
        ("--symbolic", symbolic),
        ("--input", input),
    ] {
        for value in values {
            command.arg(flag).arg(value);
        }
    }
    for (flag, bytes) in [
        ("--memory-bytes", memory_bytes),
        ("--max-constant-bytes", max_constant_bytes),
    ] {
        if let Some(bytes) = bytes {
            command.arg(flag).arg(bytes.to_string());
        }
    }
    if *no_egraph {
        command.arg("--no-egraph");
    }
    // Another build may not know the words, so what is the default is not said.
    match precision {
        Rounding::Standard => {}
        Rounding::Exact => drop(command.args(["--precision", "exact"])),
        Rounding::Fast => drop(command.args(["--precision", "fast"])),
    }
    if let Some(bound) = tolerance {
        command.arg("--tolerance").arg(bound.to_string());
    }
    let RecordArgs {
        records,
        no_records,
        tuning_record,
    } = records;
    if *no_records {
        command.arg("--no-records");
    }
    for (flag, path) in [
        ("--inputs", inputs),
        ("--records", records),
        ("--tuning-record", tuning_record),
    ] {
        if let Some(path) = path {
            command.arg(flag).arg(path);
        }
    }
    command.arg("--target").arg(target);
    command.arg("--threads").arg(threads.to_string());
    command.arg("--seed").arg(seed.to_string());
}

impl Side for Remote {
    fn block(&mut self, duration_ns: u64) -> Result<Vec<u64>> {
        let sent = self
            .child
            .stdin
            .as_mut()
            .map(|stdin| writeln!(stdin, "{duration_ns}").and_then(|()| stdin.flush()));
        if !matches!(sent, Some(Ok(()))) {
            return Err(self.broken());
        }
        let line = match self.answers.next() {
            Some(Ok(line)) => line,
            _ => return Err(self.broken()),
        };
        match serde_json::from_str::<Answer>(&line) {
            Ok(answer) if !answer.samples_ns.is_empty() => Ok(answer.samples_ns),
            _ => Err(self.broken()),
        }
    }
}

impl Drop for Remote {
    /// Closing its stdin ends the process.
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // Its exit code says nothing that the measurements do not.
        let _ = self.child.wait();
    }
}
