//! What is shown on a terminal while nothing is told: how long it has taken, and how long it takes
//! as far as that is known. Elsewhere nothing is shown.
use console::{Term, truncate_str};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::fmt;
use std::time::Duration;
use tensmith::tune::Stage;

/// Between two drawings: drawing takes microseconds, which models that are measured lose now and
/// then.
const TICK: Duration = Duration::from_millis(500);
/// Cells of the bar.
const BAR: usize = 16;

/// What a stage is in words.
pub fn words(stage: Stage) -> &'static str {
    match stage {
        Stage::Measuring => "measuring the model",
        Stage::Choices { .. } => "trying choices in the model",
        Stage::InModel { .. } => "trying what was found in the model",
    }
}

/// A bar of so many cells, of which a part is full.
pub fn bar(part: f64, cells: usize) -> String {
    let full = (part.clamp(0.0, 1.0) * cells as f64) as usize;
    format!("[{}{}]", "#".repeat(full), "-".repeat(cells - full))
}

/// A stage on a terminal, until it is dropped.
pub struct Working(ProgressBar);

impl Working {
    /// Begins a stage.
    pub fn new(stage: Stage, terminal: &Term) -> Working {
        let width = usize::from(terminal.size().1);
        let line = move |state: &ProgressState, out: &mut dyn fmt::Write| {
            let text = line(stage, state.elapsed());
            // Nobody to tell if it cannot be drawn.
            let _ = out.write_str(&truncate_str(&text, width, ""));
        };
        let style = ProgressStyle::with_template("{line}");
        let style = style.expect("invariant: the template is valid");
        let target = ProgressDrawTarget::term(terminal.clone(), 20);
        let shown = ProgressBar::with_draw_target(None, target);
        shown.set_style(style.with_key("line", line));
        shown.enable_steady_tick(TICK);
        Working(shown)
    }

    /// Does something that prints lines.
    pub fn suspend(&self, print: impl FnOnce()) {
        self.0.suspend(print);
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// How far a stage is.
fn line(stage: Stage, elapsed: Duration) -> String {
    let (what, took) = (words(stage), elapsed.as_secs());
    let ns = match stage {
        Stage::Measuring => return format!("{what}: {took} s"),
        Stage::Choices { expected_ns } | Stage::InModel { expected_ns } => expected_ns,
    };
    let whole = Duration::from_nanos(ns);
    let far = match elapsed > whole {
        // What was foreseen was wrong, or something is tried again.
        true => "longer than expected".into(),
        false => format!("of about {} s", whole.as_secs_f64().ceil()),
    };
    let part = elapsed.as_secs_f64() / whole.as_secs_f64().max(1e-9);
    format!("{what} {} {took} s {far}", bar(part, BAR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_is_foreseen() {
        let at = |stage, ms| line(stage, Duration::from_millis(ms));
        assert_eq!(at(Stage::Measuring, 3200), "measuring the model: 3 s");
        let choices = Stage::Choices {
            expected_ns: 12_000_000_000,
        };
        assert_eq!(
            at(choices, 3000),
            "trying choices in the model [####------------] 3 s of about 12 s"
        );
        let trial = Stage::InModel {
            expected_ns: 7_200_000_000,
        };
        assert!(at(trial, 0).ends_with("[----------------] 0 s of about 8 s"));
        let late = at(trial, 9000);
        assert!(late.ends_with("[################] 9 s longer than expected"));
        assert!(late.len() <= 80, "{late}");
    }
}
