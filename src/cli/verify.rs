//! `tensmith verify`
use super::inputs::InputArgs;
use super::shared::{ModelArgs, print_notes};
use crate::cli::out::{errln, outln};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::Path;
use tensmith::files::{self, Named};
use tensmith::text::plain;
use tensmith::verify::{Against, Comparison, Limits, Progress, Report, verify};
use tensmith::{Error, Model, Result};

/// Compare a compiled model with the reference evaluator or stored tensors.
#[derive(Args)]
#[command(after_help = "Examples:
  tensmith verify model.onnx --against reference
  tensmith verify model.onnx --inputs in.npz --against expected.npz --rtol 1e-3 --atol 1e-5")]
pub struct Verify {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    inputs: InputArgs,
    /// `reference`, or a file of outputs and interior values by name, or a folder of test data
    #[arg(
        long,
        value_name = "reference|FILE.npz|DIR",
        default_value = "reference"
    )]
    against: String,
    /// Largest absolute error over the largest reference magnitude of a tensor: 1e-4, or what
    /// --tolerance is
    #[arg(long, value_name = "X", value_parser = limit)]
    limit: Option<f64>,
    /// Elementwise relative limit; replaces --limit
    #[arg(long, value_name = "X", value_parser = limit)]
    rtol: Option<f64>,
    /// Elementwise absolute limit; replaces --limit
    #[arg(long, value_name = "X", value_parser = limit)]
    atol: Option<f64>,
    /// Prints all comparisons as JSON
    #[arg(long)]
    json: bool,
}

/// A limit of errors.
///
/// Errors: not a number of at least 0.
fn limit(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x >= 0.0 => Ok(x),
        _ => Err("want a number of at least 0, such as 1e-4".into()),
    }
}

/// Steps of the progress bar.
const STEPS: f64 = 10_000.0;

impl Verify {
    /// Runs the verb.
    pub fn run(self) -> Result<()> {
        let model = self.model.load()?;
        let given = self.inputs.read(&model)?;
        let prepared = given.prepare(&model, self.model.options()?, true)?;
        print_notes(&prepared.imported);
        errln!("inputs: {}", prepared.describe());
        let stored = match &self.against[..] {
            "reference" => None,
            path => Some(read_expected(Path::new(path), &model)?),
        };
        let against = stored.as_ref().map_or(Against::Reference, Against::Stored);
        let elementwise = match (self.rtol, self.atol) {
            (None, None) => None,
            (r, a) => Some((r.unwrap_or(0.0), a.unwrap_or(0.0))),
        };
        let stated = self.limit.or(self.model.tolerance);
        let limits = Limits {
            relative: stated.unwrap_or(Limits::default().relative),
            elementwise,
        };
        let bar = progress_bar();
        let report = verify(
            &prepared.imported,
            &prepared.options,
            &prepared.graph_inputs()?,
            &against,
            &limits,
            &mut |p| show(&bar, p),
        )?;
        bar.finish_and_clear();
        report.skipped.iter().for_each(|s| errln!("skipped: {s}"));
        if self.json {
            outln!("{}", as_json(&report, &limits.relative));
        } else {
            print_text(&report);
        }
        conclude(&report)
    }
}

fn read_expected(path: &Path, model: &Model) -> Result<Named> {
    if path.is_dir() {
        return Ok(files::read_data_set(path, model.loaded())?.outputs);
    }
    files::read_named(path)
}

fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {percent}% {eta} left  {msg}");
    let style = style.expect("invariant: the template is valid");
    let bar = ProgressBar::new(STEPS as u64).with_style(style);
    bar.set_message("compiling");
    bar.tick();
    bar
}

fn show(bar: &ProgressBar, progress: Progress<'_>) {
    bar.set_position((progress.done * STEPS) as u64);
    if let Some(last) = progress.last {
        bar.set_message(plain(&last.value).into_owned());
        if !last.passed {
            bar.suspend(|| errln!("differs: {}", line(last)));
        }
    }
}

fn line(c: &Comparison) -> String {
    format!(
        "`{}` (node `{}`): error {:.3e} at {:?}: found {:?}, expected {:?}",
        c.value, c.node, c.error, c.index, c.found, c.expected
    )
}

fn print_text(report: &Report) {
    let failed = report.values.iter().filter(|v| !v.passed).count();
    outln!("{} values compared, {failed} differ", report.values.len());
    if let Some(worst) = report.worst() {
        outln!("worst element: {}", line(worst));
    }
}

fn as_json(report: &Report, limit: &f64) -> serde_json::Value {
    let one = |c: &Comparison| {
        serde_json::json!({
            "value": c.value,
            "node": c.node,
            // JSON has no infinity.
            "error": if c.error.is_finite() { c.error.into() } else { serde_json::json!("inf") },
            "index": c.index,
            "found": c.found,
            "expected": c.expected,
            "passed": c.passed,
        })
    };
    serde_json::json!({
        "passed": report.passed(),
        "limit": limit,
        "compared": report.values.len(),
        "worst": report.worst().map(one),
        "values": report.values.iter().map(one).collect::<Vec<_>>(),
        "skipped": report.skipped,
    })
}

fn conclude(report: &Report) -> Result<()> {
    if report.passed() {
        return Ok(());
    }
    match (report.first_failure(), report.worst()) {
        (Some(first), Some(worst)) => Err(Error::CheckFailed(format!(
            "results differ; first: {}; worst: {}",
            line(first),
            line(worst)
        ))),
        _ => Err(Error::CheckFailed("nothing was compared".into())),
    }
}
