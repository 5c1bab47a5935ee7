//! The search over tasks, with workers that measure: how it ends.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tensmith_autotune::allocate::StopReason;
use tensmith_autotune::measure::Program;
use tensmith_autotune::measure::protocol::Failed;
use tensmith_autotune::tuner::{Config, Observer, Subject, Times, Tuner};
use tensmith_autotune::{Budget, Effort};
use tensmith_passes::schedule::parameters::Values;

/// A product whose space has more members than any test makes.
const TASK: &str = include_str!("../autotune/src/contest/matmul.task");

/// What remains of a search that is asked to stop: what a worker is at, and a member that is being
/// made, on a busy machine.
const SOON: Duration = Duration::from_secs(5);

fn tuner(budget: Budget, stop: &Arc<AtomicBool>) -> Tuner {
    let subject = Subject {
        task: TASK.parse().unwrap(),
        weight: 1.0,
        bound_ns: 1.0,
        ns: 1e6,
    };
    let config = Config {
        target: "host".into(),
        threads: 1,
        reassociate: true,
        budget,
        seed: 0,
        machine: None,
        program: Program {
            file: env!("CARGO_BIN_EXE_tensmith").into(),
            arguments: vec!["tune-worker".into()],
        },
        stop: Arc::clone(stop),
    };
    Tuner::new(vec![subject], vec![], config).unwrap()
}

/// Counts what it is told, and asks to stop a while after a round, when members of the next one are
/// being made.
#[derive(Default)]
struct Asking {
    stop: Arc<AtomicBool>,
    after: Option<Duration>,
    trials: u64,
}

impl Observer for Asking {
    fn trial(&mut self, _: usize, _: &Values, _: &Result<Times, Failed>) {
        self.trials += 1;
    }

    fn round(&mut self, _: &Tuner) {
        if let Some(after) = self.after.take() {
            ask(&self.stop, after);
        }
    }
}

fn ask(stop: &Arc<AtomicBool>, after: Duration) {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        std::thread::sleep(after);
        stop.store(true, Ordering::Relaxed);
    });
}

fn deep(deadline: Option<Duration>) -> Budget {
    Budget {
        deadline_ns: deadline.map(|d| d.as_nanos() as u64),
        trials: None,
        effort: Effort::Deep,
    }
}

#[test]
fn a_search_that_is_asked_to_stop_keeps_what_it_measured() {
    for after in [0, 5, 20] {
        let stop = Arc::new(AtomicBool::new(false));
        let mut asking = Asking {
            stop: Arc::clone(&stop),
            after: Some(Duration::from_millis(after)),
            trials: 0,
        };
        let mut tuner = tuner(deep(None), &stop);
        assert_eq!(tuner.run(&mut asking), StopReason::Asked);
        assert!(asking.trials > 0);
        assert_eq!(tuner.tasks()[0].trials, asking.trials);
        assert!(tuner.tasks()[0].end.is_none());
    }
}

#[test]
fn a_search_is_over_at_its_deadline() {
    let deadline = Duration::from_secs(3);
    let mut told = Asking::default();
    let mut tuner = tuner(deep(Some(deadline)), &told.stop.clone());
    let begin = Instant::now();
    assert_eq!(tuner.run(&mut told), StopReason::Deadline);
    assert!(begin.elapsed() < deadline + SOON);
    assert_eq!(tuner.tasks()[0].trials, told.trials);
}

/// Time that was kept for something else may be given to a search that is over.
#[test]
fn a_search_goes_on_to_a_later_deadline() {
    let mut told = Asking::default();
    let mut tuner = tuner(deep(Some(Duration::from_secs(2))), &told.stop.clone());
    assert_eq!(tuner.run(&mut told), StopReason::Deadline);
    let before = told.trials;
    tuner.set_deadline(tuner.elapsed_ns() + 2_000_000_000);
    assert_eq!(tuner.run(&mut told), StopReason::Deadline);
    assert!(told.trials > before);
}

/// Each record of the task is a member that is made before its search begins.
#[test]
fn taking_up_what_was_recorded_ends_when_it_is_asked_to() {
    let stop = Arc::new(AtomicBool::new(false));
    let mut tuner = tuner(deep(None), &stop);
    for seed in 0..20_000 {
        tuner.recall(0, &Values::drawn(seed), None);
    }
    let begin = Instant::now();
    ask(&stop, Duration::from_secs(2));
    assert_eq!(tuner.run(&mut Asking::default()), StopReason::Asked);
    assert!(begin.elapsed() < Duration::from_secs(2) + SOON);
}
