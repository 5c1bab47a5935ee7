//! Workers that measure candidates: what can go wrong is classified, and the next candidate is
//! measured as if nothing had been.
#[path = "../passes/tests/common/seeds.rs"]
mod seeds;

use seeds::seeds;
use std::time::Duration;
use tensmith_autotune::measure::protocol::{CompareRequest, Failure, Fault, TaskRequest};
use tensmith_autotune::measure::{Program, Worker};
use tensmith_ir::ops::Sampler;

const TASK: &str = "kernel scaled() { in a: f32[64, 100] in b: f32[100] out o: f32[64, 100]
  for i0 < 64 space { for i1 < 100 space { o[i0, i1] = a[i0, i1] * b[i1] } } }
constants b";

/// Long enough for a busy machine to compile a small kernel.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a candidate that hangs is waited for.
const SHORT: Duration = Duration::from_millis(500);

const FAULTS: [(Fault, Failure); 6] = [
    (Fault::Hang, Failure::Hang),
    (Fault::Segfault, Failure::Crash),
    (Fault::Abort, Failure::Crash),
    (Fault::Allocate, Failure::Memory),
    (Fault::WrongResult, Failure::WrongResult),
    (Fault::Nan, Failure::WrongResult),
];

fn worker() -> Worker {
    Worker::new(Program {
        file: env!("CARGO_BIN_EXE_tensmith").into(),
        arguments: vec!["tune-worker".into()],
    })
}

fn task(text: &str) -> TaskRequest {
    TaskRequest {
        task: text.into(),
        target: "host".into(),
        threads: 1,
        reassociate: true,
        strips: None,
    }
}

fn compare(values: &str) -> CompareRequest {
    CompareRequest {
        values: values.into(),
        pairs: 3,
        give_up: 10.0,
        ..CompareRequest::default()
    }
}

/// Faults at random among good candidates, as many as there are seeds.
#[test]
fn faults_are_classified_and_the_next_candidate_is_measured() {
    let mut worker = worker();
    worker.task(task(TASK), PATIENCE).unwrap();
    let mut counts = [0; FAULTS.len()];
    for seed in seeds(0..12) {
        let at = (seed as usize + Sampler::new(seed).int(0, 1) as usize) % FAULTS.len();
        let (fault, want) = FAULTS[at];
        counts[at] += 1;
        let request = CompareRequest {
            fault: Some(fault),
            ..compare("0/registers=2")
        };
        let patience = if fault == Fault::Hang {
            SHORT
        } else {
            PATIENCE
        };
        let failed = worker.compare(request, patience).unwrap_err();
        assert_eq!(failed.kind, want, "seed {seed}, {fault:?}: {}", failed.why);
        let samples = worker.compare(compare("0/registers=2"), PATIENCE);
        let samples = samples.unwrap_or_else(|e| panic!("after {fault:?}: {}: {}", e.kind, e.why));
        assert!(samples.candidate.len() >= 3 && samples.candidate.iter().all(|ns| *ns > 0.0));
        assert_eq!(samples.candidate.len(), samples.against.len());
    }
    println!("faults {counts:?}, {} processes", worker.starts);
}

#[test]
fn what_is_no_task_or_no_member_is_said() {
    let mut worker = worker();
    let bad = worker.task(task("kernel nothing"), PATIENCE).unwrap_err();
    assert_eq!(bad.kind, Failure::Rejected, "{}", bad.why);
    let early = worker.compare(compare(""), PATIENCE).unwrap_err();
    assert_eq!(early.kind, Failure::Rejected, "{}", early.why);
    let unknown = TaskRequest {
        target: "z80".into(),
        ..task(TASK)
    };
    assert_eq!(
        worker.task(unknown, PATIENCE).unwrap_err().kind,
        Failure::Rejected
    );
    worker.task(task(TASK), PATIENCE).unwrap();
    let values = worker.compare(compare("no values"), PATIENCE).unwrap_err();
    assert_eq!(values.kind, Failure::Rejected, "{}", values.why);
    // A value that is no option has the default.
    worker.compare(compare("0/registers=77"), PATIENCE).unwrap();
}

#[test]
fn a_worker_that_cannot_start_is_a_failure() {
    let mut worker = Worker::new(Program {
        file: "/nowhere/tensmith".into(),
        arguments: vec![],
    });
    let failed = worker.task(task(TASK), PATIENCE).unwrap_err();
    assert_eq!(failed.kind, Failure::Crash);
    assert!(failed.why.contains("/nowhere/tensmith"), "{}", failed.why);
}
