//! Development commands: `cargo xtask <command>`.

mod conformance;
mod docs;
mod models;
mod peers;
mod process;
mod soak;
mod stamp;
mod test;
mod tidy;
mod train;
mod tune_experiment;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Development commands", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the test models and their reference cases
    Models {
        /// Print the names of the models and whether each is up to date
        #[arg(long)]
        list: bool,
        /// Models to make; all if none is named
        names: Vec<String>,
    },
    /// Write the ONNX conformance cases as files
    ConformanceData,
    /// Format check, lints, test data, all tests, tidy checks
    Test {
        /// Go on after a failing step
        #[arg(long)]
        keep_going: bool,
    },
    /// Run the random tests on new seeds, for long
    #[command(after_help = soak::EXAMPLES)]
    Soak(soak::Options),
    /// Write the tables in docs/ that are made from the code
    Docs,
    /// Measure the same models on other engines, and print the table of ratios
    Peers(peers::Options),
    /// Train the weights of the tuner's ranker on records, and evaluate them on unseen families
    TrainCost(train::Options),
    /// Measure what tuning gives, and write the tables and pictures of docs/tuning.md
    #[command(disable_help_flag = true)]
    TuneExperiment(tune_experiment::Options),
    /// Check file sizes, documents, crate arrows and forbidden names
    Tidy,
}

fn main() -> ExitCode {
    let workspace = Workspace::here();
    let result = match Cli::parse().command {
        Command::Models { list: true, .. } => models::list(&workspace),
        Command::Models { names, .. } => models::make(&workspace, &names),
        Command::ConformanceData => conformance::make(&workspace),
        Command::Test { keep_going } => test::run(&workspace, keep_going),
        Command::Soak(options) => soak::run(&workspace, &options),
        Command::Docs => docs::write(&workspace),
        Command::Peers(options) => peers::run(&workspace, &options),
        Command::TrainCost(options) => train::run(&workspace, &options),
        Command::TuneExperiment(options) => tune_experiment::run(&workspace, &options),
        Command::Tidy => tidy::run(&workspace),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
