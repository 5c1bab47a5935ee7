//! Code that keeps time notes every step that it reaches, on every thread, in order.
use tensmith_codegen::entry::{Execution, Form, Marks, numbered_steps};
use tensmith_codegen::jit::JitCode;
use tensmith_codegen::target::Target;
use tensmith_ir::plan::{Plan, Step, parse_plan};
use tensmith_runtime::abi::Context;
use tensmith_runtime::pool::Pool;
use tensmith_runtime::profile::{END, Profile};

/// Doubles `x`, negates it in either branch, then negates it as often as `trip` says.
const PLAN: &str = r#"plan "steps" () arena 64 {
  input "x" : f32[8]
  input "cond" : bool[]
  input "trip" : i64[]
  input "go" : bool[]
  output "y" : f32[8]
  kernel double() {
    in a0: f32[8]
    out o1: f32[8]
    for i0 < 8 space parallel {
      o1[i0] = a0[i0] + a0[i0]
    }
  }
  kernel negate_in_place() {
    out o0: f32[8]
    for i0 < 8 space parallel {
      o0[i0] = neg(o0[i0])
    }
  }
  slot 0 "x" : f32[8] layout(d0) input 0
  slot 1 "cond" : bool[] layout() input 1
  slot 2 "trip" : i64[] layout() input 2
  slot 3 "go" : bool[] layout() input 3
  slot 4 "y" : f32[8] layout(d0) output 0
  slot 5 "counter" : i64[] layout() arena 0
  steps {
    call 0(0, 4) sites 0 of ["double"]
    barrier
    if 1 {
      call 1(4) sites 0 of ["yes"]
      barrier
    } else {
      call 1(4) sites 0 of ["no"]
    }
    loop 2, 3, 5 {
      call 1(4) sites 0 of ["again"]
    }
  }
}
"#;

fn plan() -> Plan {
    parse_plan(PLAN).unwrap_or_else(|e| panic!("{e}"))
}

/// Code that every thread runs.
fn spmd(marks: Marks) -> Form {
    Form {
        execution: Execution::Spmd,
        marks,
    }
}

/// Code that one thread runs.
fn sections(marks: Marks) -> Form {
    Form {
        execution: Execution::Sections,
        marks,
    }
}

/// Runs the plan; the result, and the numbers of the marks of each thread.
fn run(form: Form, threads: usize, cond: u8, trip: i64) -> (Vec<f32>, Vec<Vec<u32>>) {
    let code = JitCode::compile_with(&plan(), &Target::host(), form).unwrap();
    let pool = Pool::new(threads).unwrap();
    let profile = Profile::new(threads, 64);
    let x: Vec<f32> = (0..8_u8).map(f32::from).collect();
    let mut y = vec![0_f32; 8];
    let mut arena = [0_u64; 8];
    let go = 1_u8;
    let inputs: [*const u8; 4] = [
        x.as_ptr().cast(),
        &raw const cond,
        (&raw const trip).cast(),
        &raw const go,
    ];
    let outputs: [*mut u8; 1] = [y.as_mut_ptr().cast()];
    let mut context = Context::new();
    context.inputs = inputs.as_ptr();
    context.outputs = outputs.as_ptr();
    context.arena = arena.as_mut_ptr().cast();
    context.profile = &raw const profile;
    // SAFETY: every pointer refers to memory of the sizes that the plan states.
    let result = unsafe {
        match form.execution {
            Execution::Spmd => pool.run(code.entry(), &raw mut context),
            Execution::Sections => pool.run_sections(code.entry(), &raw mut context),
        }
    };
    result.unwrap();
    assert_eq!(profile.lost(), 0);
    let steps = |thread| {
        let marks: Vec<_> = profile.marks(thread).collect();
        let ordered = marks.windows(2).all(|w| w[0].time_ns <= w[1].time_ns);
        assert!(ordered, "time runs forwards: {marks:?}");
        marks.iter().map(|m| m.step).collect()
    };
    (y, (0..threads).map(steps).collect())
}

#[test]
fn steps_are_numbered_before_what_they_hold() {
    let plan = plan();
    let names = numbered_steps(&plan).into_iter().map(|step| match step {
        Step::Call(call) => &call.nodes[0][..],
        Step::Barrier => "barrier",
        Step::If { .. } => "if",
        Step::Loop { .. } => "loop",
    });
    let expected = [
        "double", "barrier", "if", "yes", "barrier", "no", "loop", "again",
    ];
    assert_eq!(names.collect::<Vec<_>>(), expected);
}

#[test]
fn every_thread_marks_the_steps_that_it_reaches() {
    for threads in [1, 2] {
        let (_, marks) = run(spmd(Marks::Steps), threads, 1, 2);
        for track in marks {
            // The loop marks its bookkeeping after each iteration.
            assert_eq!(track, [0, 1, 2, 3, 4, 6, 7, 6, 7, 6, END]);
        }
        let (_, marks) = run(spmd(Marks::Steps), threads, 0, 0);
        for track in marks {
            assert_eq!(track, [0, 1, 2, 5, 6, END]);
        }
    }
}

#[test]
fn parts_mark_the_steps_of_their_section_and_what_comes_next() {
    let (_, marks) = run(sections(Marks::Steps), 2, 1, 2);
    assert_eq!(marks[0], [0, 1, 1, 2, 3, 4, 4, 6, 7, 6, 6, 7, 6, 6, END]);
    assert_eq!(marks[1], [0, 1, 3, 4, 7, 6, 7, 6]);
}

#[test]
fn keeping_time_changes_no_result() {
    for form in [spmd, sections] {
        let (with, _) = run(form(Marks::Steps), 2, 1, 3);
        let (without, marks) = run(form(Marks::None), 2, 1, 3);
        assert_eq!(with, without);
        assert!(marks.iter().all(Vec::is_empty), "{marks:?}");
    }
}
