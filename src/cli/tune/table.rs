//! What became of each task, as text and as JSON.
use console::{Alignment, pad_str, truncate_str};
use serde_json::json;
use std::fmt::Write;
use tensmith::text::plain;
use tensmith::tune::choices::TriedChoice;
use tensmith::tune::stitch::Kept;
use tensmith::tune::{TaskReport, Tuning};
use tensmith::units::human_ns;
use tensmith_autotune::profile::machine_key;
use tensmith_runtime::stats::Interval;

/// Units: cells of a name at most.
pub const NAME: usize = 44;

/// A task in a table.
pub struct Row {
    /// What it computes.
    pub name: String,
    /// Calls of a run.
    pub calls: u64,
    /// Units: nanoseconds of a call: the bound, untuned, and now.
    pub bound_ns: f64,
    /// Units: as `bound_ns`.
    pub before_ns: f64,
    /// Units: as `bound_ns`.
    pub now_ns: f64,
    /// Candidates that were measured, or failed.
    pub trials: u64,
    /// In a few words.
    pub state: String,
}

/// What stands above the rows, with names of so many cells.
pub fn heading(name: usize) -> String {
    format!(
        "{:<name$} calls     bound    before       now  of bound  trials  state",
        "task"
    )
}

/// A row as a line, with a name of at most `width` cells of a terminal, ten or more.
pub fn line(row: &Row, width: usize) -> String {
    let name = plain(&row.name);
    let name = truncate_str(&name, width, "..");
    let name = pad_str(&name, width, Alignment::Left, None);
    format!(
        "{name} {:>5} {:>9} {:>9} {:>9}    {:>4.0} %  {:>6}  {}",
        row.calls,
        human_ns(row.bound_ns),
        human_ns(row.before_ns),
        human_ns(row.now_ns),
        100.0 * row.bound_ns / row.now_ns.max(1.0),
        row.trials,
        row.state,
    )
}

/// What became of an option of a choice.
pub fn choice_line(tried: &TriedChoice) -> String {
    let outcome = match tried.ratio {
        Some(r) => format!("{:.3} of the model's time", r.estimate),
        None => "its results differ".into(),
    };
    let taken = if tried.is_accepted {
        "taken"
    } else {
        "not taken"
    };
    format!(
        "{}: {} instead of {}: {outcome}, {taken}",
        tried.choice.about,
        tried.option,
        tried.choice.parameter.value(),
    )
}

/// The end of a search for people.
pub fn text(tuning: &Tuning) -> String {
    let mut out = format!("{}\n", heading(NAME));
    for t in tuning.tasks.iter().filter(|t| t.is_searched) {
        let _ = writeln!(out, "{}", line(&row(t), NAME));
    }
    for tried in tuning.choices.iter().filter(|t| t.is_accepted) {
        let _ = writeln!(out, "{}", choice_line(tried));
    }
    let searched = tuning.tasks.iter().filter(|t| t.is_searched);
    let (searched, all) = (searched.count(), tuning.tasks.len());
    let accepted = tuning.accepted();
    let seconds = tuning.search_ns as f64 / 1e9;
    let _ = writeln!(
        out,
        "\n{} trials in {seconds:.1} s ({:.0}/s) of {searched} of {all} tasks; the search ended: {}",
        tuning.trials(),
        tuning.trials() as f64 / seconds.max(1e-3),
        tuning.stop,
    );
    let failures = failures(tuning);
    if !failures.is_empty() {
        let _ = writeln!(out, "failed candidates: {failures}");
    }
    let unmeasured: Vec<&TaskReport> = tuning.tasks.iter().filter(|t| t.is_failed).collect();
    if let [first, ..] = unmeasured[..] {
        let _ = writeln!(
            out,
            "{} of {searched} tasks could not be measured; {}: {}",
            unmeasured.len(),
            first.task.name,
            first.end.as_deref().unwrap_or_default(),
        );
    }
    let [before, after] = tuning.stitched.latency_ns.map(human_ns);
    match tuning.stitched.ratio {
        Some(r) if tuning.stitched.kept != Kept::Untuned => {
            let which = match tuning.stitched.kept {
                Kept::Earlier => ", as tuned earlier: nothing better was found",
                _ => "",
            };
            let _ = writeln!(
                out,
                "{}: {before} -> {after}, {:.3} of the untuned time (95 %: {:.3} to {:.3}), with \
                 {accepted} tuned tasks{which}",
                tuning.model, r.estimate, r.low, r.high
            );
        }
        Some(r) => {
            let _ = writeln!(
                out,
                "{}: {before}; nothing is taken: all together took {:.3} of the untuned time (95 %: \
                 {:.3} to {:.3})",
                tuning.model, r.estimate, r.low, r.high
            );
        }
        None => {
            let why = match tuning.stitched.is_cut {
                true => "what was found was not tried in the model to the end",
                false => "nothing faster was found",
            };
            let _ = writeln!(out, "{}: {before}; {why}", tuning.model);
        }
    }
    out
}

fn row(t: &TaskReport) -> Row {
    Row {
        name: t.task.name.clone(),
        calls: t.task.calls,
        bound_ns: t.task.bound_ns,
        before_ns: t.task.ns,
        now_ns: t.now_ns(),
        trials: t.trials,
        state: t.state(),
    }
}

fn failures(tuning: &Tuning) -> String {
    let mut counts = std::collections::BTreeMap::new();
    for (kind, n) in tuning.tasks.iter().flat_map(|t| &t.failures) {
        *counts.entry(kind.name()).or_insert(0) += n;
    }
    let parts = counts.iter().map(|(kind, n)| format!("{n} {kind}"));
    parts.collect::<Vec<_>>().join(", ")
}

/// The end of a search for programs.
pub fn json(tuning: &Tuning) -> serde_json::Value {
    let task = |t: &TaskReport| {
        let failures = t
            .failures
            .iter()
            .map(|(kind, n)| (kind.name().to_string(), json!(n)));
        json!({
            "name": t.task.name,
            "nodes": t.task.nodes,
            "calls": t.task.calls,
            "share": t.task.share,
            "bound_ns": t.task.bound_ns,
            "before_ns": t.task.ns,
            "now_ns": t.now_ns(),
            "of_bound": t.bound_share(),
            "state": t.state(),
            "flops": t.task.flops,
            "bytes": t.task.bytes,
            "ratio": t.best.as_ref().map(|(_, ratio)| ratio),
            "values": t.best.as_ref().map(|(values, _)| values.to_string()),
            "in_model": t.in_model,
            "accepted": t.is_accepted,
            "searched": t.is_searched,
            "trials": t.trials,
            "failures": failures.collect::<serde_json::Map<_, _>>(),
            "curve": t.curve,
            "end": t.end,
            "task": t.task.task.to_string(),
        })
    };
    let interval = |r: Interval| json!({"low": r.low, "estimate": r.estimate, "high": r.high});
    let choice = |t: &TriedChoice| {
        json!({
            "about": t.choice.about,
            "nodes": t.choice.nodes,
            "before": t.choice.parameter.value(),
            "option": t.option,
            "ratio": t.ratio.map(interval),
            "accepted": t.is_accepted,
        })
    };
    let ratio = tuning.stitched.ratio;
    json!({
        "model": tuning.model,
        "machine": machine_key(),
        "profile_s": tuning.machine.profile_s,
        "before_ms": tuning.stitched.latency_ns[0] / 1e6,
        "after_ms": tuning.stitched.latency_ns[1] / 1e6,
        "ratio": ratio.map(interval),
        "kept": tuning.stitched.kept.name(),
        "decided": !tuning.stitched.is_cut,
        "accepted": tuning.accepted(),
        "trials": tuning.trials(),
        "workers": tuning.workers,
        "search_s": tuning.search_ns as f64 / 1e9,
        "total_s": tuning.total_ns as f64 / 1e9,
        "left_share": tuning.left_share,
        "stop": tuning.stop.to_string(),
        "choices": tuning.choices.iter().map(choice).collect::<Vec<_>>(),
        "curve": tuning.curve(),
        "tasks": tuning.tasks.iter().map(task).collect::<Vec<_>>(),
    })
}
