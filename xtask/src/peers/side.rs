//! A process that runs one model and measures on request; it is stopped while others measure.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

/// Characters of a message that are kept.
const MESSAGE: usize = 300;

/// The first line of a process, or what a check of outputs says.
#[derive(Debug, Default, Deserialize)]
pub struct Ready {
    /// Why there is nothing to measure.
    failed: Option<String>,
    /// Units: milliseconds until the model could run.
    #[serde(alias = "compile_ms")]
    pub load_ms: Option<f64>,
    /// The largest error of its outputs; `None` for infinite or unknown.
    pub error: Option<f64>,
}

#[derive(Deserialize)]
struct Answer {
    samples_ns: Vec<f64>,
}

/// A model that is ready to run.
pub struct Side {
    child: Child,
    answers: Lines<BufReader<ChildStdout>>,
    /// What it said when it was ready.
    pub ready: Ready,
}

/// The stdout of a command that must succeed.
pub fn output(command: &mut Command) -> Result<String> {
    let done = command.output().context("cannot start")?;
    if !done.status.success() {
        bail!("{}: {}", done.status, tail(&done.stderr));
    }
    Ok(String::from_utf8(done.stdout)?)
}

/// The end of a message on one line.
fn tail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    let skipped = line.chars().count().saturating_sub(MESSAGE);
    line.chars().skip(skipped).collect()
}

impl Side {
    /// Starts a process and waits until it is ready.
    ///
    /// Errors: it ends or says that it failed.
    pub fn start(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let errors = tempfile::tempfile()?;
        command.stderr(errors.try_clone()?);
        let mut child = command.spawn().context("cannot start")?;
        let stdout = child.stdout.take().context("no stdout")?;
        let mut side = Side {
            child,
            answers: BufReader::new(stdout).lines(),
            ready: Ready::default(),
        };
        let Some(line) = side.answers.next() else {
            let status = side.child.wait()?;
            bail!("{status}: {}", tail(&read_again(errors)?));
        };
        side.ready = serde_json::from_str(&line?).context("its first line")?;
        if let Some(why) = &side.ready.failed {
            bail!("{why}");
        }
        side.signal(Signal::STOP)?;
        Ok(side)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(id.context("no process id")?, signal).context("cannot stop or continue it")
    }

    /// Units: nanoseconds of single runs, made for about `duration_ns`.
    pub fn block(&mut self, duration_ns: u64) -> Result<Vec<f64>> {
        self.signal(Signal::CONT)?;
        let stdin = self.child.stdin.as_mut().context("no stdin")?;
        writeln!(stdin, "{duration_ns}")?;
        stdin.flush()?;
        let line = self.answers.next().context("ended while it measured")??;
        let answer: Answer = serde_json::from_str(&line)?;
        ensure!(!answer.samples_ns.is_empty(), "measured nothing");
        self.signal(Signal::STOP)?;
        Ok(answer.samples_ns)
    }
}

fn read_again(mut file: std::fs::File) -> Result<Vec<u8>> {
    use std::io::Seek;
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Drop for Side {
    /// Some engines hang while they are taken down, and it may be stopped.
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Result<Side> {
        Side::start(Command::new("sh").args(["-c", script]))
    }

    #[test]
    fn asks_and_reads() {
        let script = "echo '{\"load_ms\":2,\"error\":0.5}'\n\
                      while read ns; do echo \"{\\\"samples_ns\\\":[$ns]}\"; done";
        let mut side = shell(script).unwrap();
        assert_eq!(side.ready.load_ms, Some(2.0));
        assert_eq!(side.ready.error, Some(0.5));
        for ns in [7, 9] {
            assert_eq!(side.block(ns).unwrap(), [ns as f64]);
        }
    }

    #[test]
    fn failures_say_why() {
        let why = |script: &str| shell(script).err().unwrap().to_string();
        assert_eq!(why("echo '{\"failed\":\"no such op\"}'"), "no such op");
        assert!(why("echo broken >&2; exit 3").contains("broken"));
        let mut side = shell("echo '{}'; read ns; exit").unwrap();
        assert!(side.block(1).unwrap_err().to_string().contains("ended"));
    }

    #[test]
    fn messages_are_short_lines() {
        assert_eq!(tail(b" a\n b\n"), "a b");
        assert_eq!(tail("x".repeat(1000).as_bytes()).len(), MESSAGE);
    }
}
