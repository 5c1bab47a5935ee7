//! A worker as the tuner sees it: asked with a deadline, and started again when it is gone.
use super::protocol::{CompareRequest, Failed, Failure, Reply, Request, Samples, TaskRequest};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Units: bytes of what a worker says on its error stream that are kept.
const KEPT_TEXT: usize = 4096;

/// How a worker is started.
#[derive(Clone, Debug)]
pub struct Program {
    /// The file.
    pub file: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// A worker process and the task that it works on.
pub struct Worker {
    program: Program,
    process: Option<Process>,
    task: Option<TaskRequest>,
    /// How often a process was started.
    pub starts: usize,
}

struct Process {
    child: Child,
    input: ChildStdin,
    replies: Receiver<String>,
    text: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Worker {
    /// A worker that is started when it is first asked.
    pub fn new(program: Program) -> Worker {
        Worker {
            program,
            process: None,
            task: None,
            starts: 0,
        }
    }

    /// Sets the task; `patience` is how long compiling and running it once may take.
    ///
    /// Errors: the task cannot be measured, with the reason.
    pub fn task(&mut self, task: TaskRequest, patience: Duration) -> Result<(), Failed> {
        self.task = None;
        self.ask(&Request::Task(task.clone()), patience)?;
        self.task = Some(task);
        Ok(())
    }

    /// Measures a candidate. A worker that is gone since is started anew.
    ///
    /// Errors: why the candidate has no time.
    pub fn compare(
        &mut self,
        request: CompareRequest,
        patience: Duration,
    ) -> Result<Samples, Failed> {
        if self.process.is_none()
            && let Some(task) = self.task.take()
        {
            self.task(task, patience)?;
        }
        match self.ask(&Request::Compare(request), patience)? {
            Reply::Samples(samples) => Ok(samples),
            other => Err(Failed::new(
                Failure::Crash,
                format!("it answered {other:?}"),
            )),
        }
    }

    fn ask(&mut self, request: &Request, patience: Duration) -> Result<Reply, Failed> {
        let mut process = match self.process.take() {
            Some(process) => process,
            None => {
                self.starts += 1;
                Process::start(&self.program)?
            }
        };
        match process.ask(request, patience) {
            Ok(Reply::Failed(failed)) => {
                self.process = Some(process);
                Err(failed)
            }
            Ok(reply) => {
                self.process = Some(process);
                Ok(reply)
            }
            Err(failed) => Err(process.end(failed)),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            process.end(Failed::new(Failure::Crash, ""));
        }
    }
}

impl Process {
    fn start(program: &Program) -> Result<Process, Failed> {
        let file = &program.file;
        let failed = |e: std::io::Error| {
            Failed::new(
                Failure::Crash,
                format!("cannot start {}: {e}", file.display()),
            )
        };
        let mut command = Command::new(file);
        // An interrupt is for the tuner, which ends its workers.
        command.args(&program.arguments).process_group(0);
        // Below `perf record` compiled code would be listed in a file, which a worker may not write.
        command.env_remove("PERF_BUILDID_DIR");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().map_err(failed)?;
        let input = child.stdin.take().expect("invariant: it is a pipe");
        let output = child.stdout.take().expect("invariant: it is a pipe");
        let errors = child.stderr.take().expect("invariant: it is a pipe");
        let (sender, replies) = channel();
        let lines = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let text = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&text);
        let words = std::thread::spawn(move || keep_text(errors, &kept));
        Ok(Process {
            child,
            input,
            replies,
            text,
            readers: vec![lines, words],
        })
    }

    fn ask(&mut self, request: &Request, patience: Duration) -> Result<Reply, Failed> {
        let gone = |e: String| Failed::new(Failure::Crash, e);
        let mut line = serde_json::to_string(request).map_err(|e| gone(e.to_string()))?;
        line.push('\n');
        let sent = self.input.write_all(line.as_bytes());
        sent.map_err(|e| gone(e.to_string()))?;
        match self.replies.recv_timeout(patience) {
            Ok(line) => serde_json::from_str(&line).map_err(|e| gone(format!("{e}: {line}"))),
            Err(RecvTimeoutError::Timeout) => Err(Failed::new(
                Failure::Hang,
                format!("no answer in {:.1} s", patience.as_secs_f64()),
            )),
            Err(RecvTimeoutError::Disconnected) => Err(gone("it ended".into())),
        }
    }

    /// Ends the process; says better what went wrong, if it can be seen.
    fn end(mut self, mut failed: Failed) -> Failed {
        if failed.kind == Failure::Hang {
            // What does not answer does not end either.
            let _ = self.child.kill();
        }
        drop(self.input);
        let patience = Duration::from_millis(200);
        // A process that is about to end closes its output.
        while self.replies.recv_timeout(patience).is_ok() {}
        let _ = self.child.kill();
        let status = self.child.wait();
        for reader in self.readers {
            let _ = reader.join();
        }
        if failed.kind == Failure::Crash {
            let text = self
                .text
                .lock()
                .map(|t| String::from_utf8_lossy(&t).into_owned());
            let text = text.unwrap_or_default();
            if text.contains("memory allocation of") {
                failed.kind = Failure::Memory;
            }
            if let Ok(status) = status {
                failed.why = format!("{status} {}", text.lines().last().unwrap_or_default());
            }
        }
        failed
    }
}

fn keep_text(mut from: impl Read, kept: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 512];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        if let Ok(mut kept) = kept.lock() {
            kept.extend_from_slice(&buffer[..n]);
            let surplus = kept.len().saturating_sub(KEPT_TEXT);
            kept.drain(..surplus);
        }
    }
}
