//! Models on threads of the caller's, through the library.
mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use support::executors::{Backwards, Failing, Lazy, Scoped};
use support::{digits, images, symbolic};
use tensmith::{Error, Executable, Execution, Executor, Options, Session, TensorView};

/// Enough for kernels with parallel loops.
const BATCH: usize = 17;

fn options(execution: Execution, threads: usize) -> Options {
    Options {
        execution,
        ..symbolic(threads)
    }
}

fn compile(execution: Execution, threads: usize) -> Executable {
    digits().compile(&options(execution, threads)).unwrap()
}

fn run_on(session: &mut Session, executor: &dyn Executor) -> tensmith::Result<Vec<u8>> {
    let pixels = images(BATCH);
    let view = TensorView::from_slice(&[BATCH, 1, 8, 8], &pixels)?;
    Ok(session.run_on(executor, &[view])?[0].bytes().to_vec())
}

fn run(session: &mut Session) -> Vec<u8> {
    let pixels = images(BATCH);
    let view = TensorView::from_slice(&[BATCH, 1, 8, 8], &pixels).unwrap();
    session.run(&[view]).unwrap()[0].bytes().to_vec()
}

#[test]
fn every_executor_gives_the_same_bits() {
    let want = run(&mut compile(Execution::Spmd, 1).session().unwrap());
    for threads in [1, 2, 3, 7] {
        let spmd = compile(Execution::Spmd, threads);
        assert_eq!(run(&mut spmd.session().unwrap()), want);
        let sections = compile(Execution::Sections, threads);
        assert_eq!(sections.threads(), threads);
        let mut session = sections.session().unwrap();
        assert_eq!(run(&mut session), want, "{threads} threads of its own");
        for executor in [&Backwards as &dyn Executor, &Scoped] {
            let found = run_on(&mut session, executor).unwrap();
            assert_eq!(found, want, "{threads} parts");
        }
    }
}

#[test]
fn code_for_its_own_threads_takes_no_executor() {
    let mut session = compile(Execution::Spmd, 2).session().unwrap();
    let error = run_on(&mut session, &Scoped).unwrap_err();
    assert!(matches!(error, Error::Usage(_)), "{error}");
}

#[test]
fn broken_contracts_are_errors_and_leave_nothing_behind() {
    let executable = compile(Execution::Sections, 2);
    let mut session = executable.session().unwrap();
    let want = run_on(&mut session, &Backwards).unwrap();
    let error = run_on(&mut session, &Lazy).unwrap_err();
    assert!(matches!(error, Error::Executor(_)), "{error}");
    assert!(error.to_string().contains("part 0 of 2"), "{error}");
    let panics = AssertUnwindSafe(|| run_on(&mut session, &Failing));
    assert!(catch_unwind(panics).is_err());
    assert_eq!(run_on(&mut session, &Backwards).unwrap(), want);
}
