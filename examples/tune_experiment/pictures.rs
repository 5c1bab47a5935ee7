//! How the searches converged, as pictures of what the manual holds.
use crate::{budgets, page, search};
use anyhow::Result;
use std::fs;
use tensmith::page::plot::{Axis, Plot};
use tensmith_autotune::contest::Report;

/// Draws what there is.
pub fn run() -> Result<()> {
    if let Some(report) = search::written().ok().and_then(|log| Report::new(&log)) {
        write("search.svg", &contest(&report))?;
    }
    // Those that were searched for long.
    let rows = budgets::written().unwrap_or_default().into_iter();
    for row in rows.filter(|r| r.made.len() > 2) {
        write(&format!("budgets-{}.svg", row.model), &budget(&row))?;
    }
    Ok(())
}

fn write(name: &str, plot: &Plot) -> Result<()> {
    fs::write(page::folder().join(name), plot.file())?;
    eprintln!("wrote docs/tuning/{name}");
    Ok(())
}

/// The fastest member so far over the trials of a task, of both sides.
fn contest(report: &Report) -> Plot {
    let least = report.curves.iter().flatten().copied().fold(1.0, f64::min);
    let mut plot = Plot::new(
        Axis::linear("trials", 0.0, report.trials as f64),
        Axis::linear(
            "fastest so far over the default, geometric mean",
            floor(least),
            1.0,
        ),
    );
    for (k, (name, curve)) in ["search", "random"].iter().zip(&report.curves).enumerate() {
        let points = curve
            .iter()
            .enumerate()
            .map(|(n, ratio)| (n as f64 + 1.0, *ratio));
        plot.line(&format!("line s{k}"), name, points);
        plot.name(&format!("line s{k}"), name);
    }
    plot
}

/// What all tasks were predicted to take over the seconds of each search.
fn budget(row: &budgets::Row) -> Plot {
    let curves = row.made.iter().flat_map(|m| &m.tuned.curve);
    let least = curves.map(|point| point.1).fold(1.0, f64::min);
    let end = row
        .made
        .iter()
        .map(|m| m.tuned.search_s)
        .fold(10.0, f64::max);
    let mut plot = Plot::new(
        Axis::decades("seconds of the search", 1.0, 10.0, std::iter::once(end)),
        Axis::linear(
            &format!("{}: all tasks over untuned", row.model),
            floor(least),
            1.0,
        ),
    );
    for (k, made) in row.made.iter().enumerate() {
        let class = format!("line s{k}");
        plot.steps(&class, &made.name, &made.tuned.curve, made.tuned.search_s);
        plot.name(&class, &made.name);
    }
    plot
}

/// The end of an axis below a value.
fn floor(value: f64) -> f64 {
    (20.0 * value - 0.2).floor() / 20.0
}
