//! The command line: one file a verb. Results go to stdout, all else to stderr.
mod bench;
mod compile;
mod db;
mod demo;
mod doctor;
mod explain;
mod inputs;
mod inspect;
mod out;
mod run;
mod shared;
mod tune;
mod tune_worker;
mod verify;

use crate::cli::out::errln;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Compiles ONNX models to machine code for this machine, runs, measures and checks them.
#[derive(Parser)]
#[command(name = "tensmith", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

const EXIT_CODES: &str = "Exit codes: 0 ok, 1 check failed, 2 usage, 3 bad input, 4 unsupported, \
5 resource limit, 6 I/O, 70 internal error";

#[derive(Subcommand)]
enum Verb {
    /// Read handwritten digits with the built-in model, and say how fast
    Demo(demo::Demo),
    /// Show inputs, outputs, operators and size of a model
    Inspect(inspect::Inspect),
    /// Run a model on given inputs
    Run(run::Run),
    /// Measure the latency of a model
    Bench(bench::Bench),
    /// Show what each kernel of a model does and how near it is to the machine's limits
    Explain(explain::Explain),
    /// Compare a compiled model with the reference evaluator or stored tensors
    Verify(verify::Verify),
    /// Write a model as a native file, or show a stage of its compilation
    Compile(compile::Compile),
    /// Show, share and tidy up the records of what was tuned
    Db(db::Db),
    /// Show what this machine can do, and whether anything keeps models from being fast
    Doctor(doctor::Doctor),
    /// Find the fastest schedule of each kernel of a model on this machine
    Tune(tune::Tune),
    /// Measures kernels for `tune`, on request
    #[command(hide = true)]
    TuneWorker(tune_worker::TuneWorker),
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let work = move || match arguments.verb {
        Verb::Demo(verb) => verb.run(),
        Verb::Inspect(verb) => verb.run(),
        Verb::Run(verb) => verb.run(),
        Verb::Bench(verb) => verb.run(),
        Verb::Explain(verb) => verb.run(),
        Verb::Verify(verb) => verb.run(),
        Verb::Compile(verb) => verb.run(),
        Verb::Db(verb) => verb.run(),
        Verb::Doctor(verb) => verb.run(),
        Verb::Tune(verb) => verb.run(),
        Verb::TuneWorker(verb) => verb.run(),
    };
    match std::panic::catch_unwind(work) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            errln!("tensmith: {error}");
            ExitCode::from(error.exit_code())
        }
        Err(_) => {
            errln!("tensmith: internal error; please report this with the model");
            ExitCode::from(70)
        }
    }
}
