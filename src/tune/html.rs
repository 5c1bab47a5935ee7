//! A tuning as one page that needs nothing else: tasks, convergence, rooflines before and after.
use super::report::{TaskReport, Tuning};
use crate::page::plot::{Axis, Dot, Plot};
use crate::page::{document, escaped, filled, roofline};
use crate::units::human_ns;
use std::fmt::Write;

/// The body of the page, with places for what was found.
const PAGE: &str = include_str!("page.html");

/// Lines of tasks that have a colour and a name.
const NAMED: usize = 6;
/// Units: characters of a name in a picture.
const NAME: usize = 28;

/// The tuning as a page of HTML.
pub fn html(tuning: &Tuning) -> String {
    let [over_seconds, over_trials] = convergence(tuning).map(|plot| plot.svg());
    let [roofline, bandwidth] = rooflines(tuning).map(|plot| plot.svg());
    let threads = match tuning.threads {
        1 => "1 thread".into(),
        n => format!("{n} threads"),
    };
    let about = format!(
        "{threads}, target {}; {}; the search ended: {}",
        tuning.target,
        tuning.machine.origin(),
        tuning.stop
    );
    let texts = [
        ("{{model}}", &escaped(&tuning.model)[..]),
        ("{{about}}", &escaped(&about)),
        ("{{tiles}}", &tiles(tuning)),
        ("{{choices}}", &choices(tuning)),
        ("{{rows}}", &rows(tuning)),
        ("{{over_seconds}}", &over_seconds),
        ("{{over_trials}}", &over_trials),
        ("{{roofline}}", &roofline),
        ("{{bandwidth}}", &bandwidth),
    ];
    document("tensmith tune", &filled(PAGE, &texts))
}

fn tiles(tuning: &Tuning) -> String {
    let [before, after] = tuning.stitched.latency_ns.map(human_ns);
    let (ratio, interval) = match tuning.stitched.ratio {
        Some(r) => (
            format!("{:.3}", r.estimate),
            format!("of the untuned time (95 %: {:.3} to {:.3})", r.low, r.high),
        ),
        None => ("-".into(), "nothing was tried in the model".into()),
    };
    let seconds = tuning.search_ns as f64 / 1e9;
    let speed = tuning.trials() as f64 / seconds.max(1e-3);
    let tiles = [
        (before, "untuned".into()),
        (after, "from now on".into()),
        (ratio, interval),
        (
            tuning.accepted().to_string(),
            format!("of {} tasks accepted", tuning.tasks.len()),
        ),
        (
            tuning.trials().to_string(),
            format!("trials in {seconds:.1} s ({speed:.0}/s)"),
        ),
        (
            format!("{:.1} %", 100.0 * tuning.left_share),
            "expected to be left".into(),
        ),
    ];
    let tile = |(value, what): &(String, String)| {
        format!("<div class=\"tile\"><b>{value}</b><span>{what}</span></div>\n")
    };
    tiles.iter().map(tile).collect()
}

/// A cell that shows a number in short and holds it as it is.
fn cell(value: f64, shown: &str) -> String {
    format!("<td data-value=\"{value}\">{shown}</td>")
}

/// The options of choices that were tried, if there are any.
fn choices(tuning: &Tuning) -> String {
    if tuning.choices.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "<h2>Choices</h2>\n<p>Options were tried in the model itself, before the tasks.</p>\n\
         <div class=\"scroll\"><table>\n<thead><tr><th class=\"left\">about, nodes</th>\
         <th>before</th><th>option</th><th>time of the model</th><th class=\"left\">state</th></tr>\
         </thead>\n<tbody>\n",
    );
    for tried in &tuning.choices {
        let about = escaped(&tried.choice.about);
        let nodes = escaped(&tried.choice.nodes.join(", "));
        let [before, option] = [tried.choice.parameter.value(), &tried.option[..]].map(escaped);
        let ratio = tried.ratio.map(|r| r.estimate);
        let ratio = ratio.map_or("<td>-</td>".into(), |r| cell(r, &format!("{r:.3}")));
        let state = if tried.is_accepted {
            "taken"
        } else {
            "not taken"
        };
        let _ = writeln!(
            out,
            "<tr><td class=\"left wrap\">{about}<small>{nodes}</small></td><td>{before}</td>\
             <td>{option}</td>{ratio}<td class=\"left\">{state}</td></tr>"
        );
    }
    out + "</tbody>\n</table></div>\n"
}

fn rows(tuning: &Tuning) -> String {
    let mut out = String::new();
    for t in &tuning.tasks {
        let name = escaped(&t.task.name);
        let nodes = escaped(&t.task.nodes.join(", "));
        let _ = write!(
            out,
            "<tr><td class=\"left wrap\">{name}<small>{nodes}</small></td>{}{}{}{}{}{}{}",
            cell(t.task.calls as f64, &t.task.calls.to_string()),
            cell(t.task.share, &format!("{:.1} %", 100.0 * t.task.share)),
            cell(t.task.bound_ns, &human_ns(t.task.bound_ns)),
            cell(t.task.ns, &human_ns(t.task.ns)),
            cell(t.now_ns(), &human_ns(t.now_ns())),
            cell(
                t.bound_share(),
                &format!("{:.0} %", 100.0 * t.bound_share())
            ),
            cell(t.trials as f64, &t.trials.to_string()),
        );
        for ratio in [t.best.as_ref().map(|(_, ratio)| *ratio), t.in_model] {
            out += &ratio.map_or("<td>-</td>".into(), |r| cell(r, &format!("{r:.3}")));
        }
        let _ = writeln!(
            out,
            "<td class=\"left told\">{}</td></tr>",
            escaped(&t.state())
        );
    }
    out
}

fn shortened(name: &str) -> String {
    match name.chars().count() > NAME {
        true => name.chars().take(NAME - 2).chain("..".chars()).collect(),
        false => name.into(),
    }
}

/// The fastest member of each task so far, over seconds with the sum of all, and over trials.
fn convergence(tuning: &Tuning) -> [Plot; 2] {
    let searched: Vec<&TaskReport> = tuning.tasks.iter().filter(|t| t.trials > 0).collect();
    let ratios = searched.iter().flat_map(|t| &t.curve).map(|point| point.2);
    let least = ratios.fold(0.9, f64::min);
    let y = Axis::linear("time over untuned", (10.0 * least).floor() / 10.0, 1.0);
    let end = tuning.search_ns as f64 / 1e9;
    let most = searched.iter().map(|t| t.trials).max().unwrap_or(1) as f64;
    let mut over_seconds = Plot::new(Axis::linear("seconds of the search", 0.0, end), y.clone());
    let mut over_trials = Plot::new(Axis::linear("trials of the task", 0.0, most), y);
    for (k, t) in searched.iter().enumerate() {
        let class = match k < NAMED {
            true => format!("line s{k}"),
            false => "line".into(),
        };
        let title = format!("{}: {}", t.task.name, t.task.nodes.join(", "));
        let seconds = t.curve.iter().map(|(s, _, ratio)| (*s, *ratio));
        let seconds: Vec<_> = std::iter::once((0.0, 1.0)).chain(seconds).collect();
        over_seconds.steps(&class, &title, &seconds, end);
        let trials = t.curve.iter().map(|(_, n, ratio)| (*n as f64, *ratio));
        let trials: Vec<_> = std::iter::once((0.0, 1.0)).chain(trials).collect();
        over_trials.steps(&class, &title, &trials, t.trials as f64);
        if k < NAMED {
            over_trials.name(&class, &shortened(&t.task.name));
        }
    }
    over_seconds.steps("line sum", "all tasks", &tuning.curve(), end);
    over_seconds.name("line sum", "all tasks");
    [over_seconds, over_trials]
}

type Figure<'f> = &'f dyn Fn(&TaskReport) -> f64;

/// A task before and after: arithmetic or bytes for each second.
struct Move<'t> {
    task: &'t TaskReport,
    x: f64,
    before: f64,
    after: f64,
}

/// The tasks whose arithmetic is counted below the roofs, and the others by their bytes.
fn rooflines(tuning: &Tuning) -> [Plot; 2] {
    let ran = tuning
        .tasks
        .iter()
        .filter(|t| t.task.ns > 0.0 && t.task.bytes > 0.0);
    let (counted, others): (Vec<&TaskReport>, Vec<_>) = ran.partition(|t| t.task.flops > 0.0);
    let counted = moves(counted, &|t| t.task.flops / t.task.bytes, &|t| t.task.flops);
    let others = moves(others, &|t| t.task.bytes, &|t| t.task.bytes);
    let points = |moves: &[Move<'_>]| {
        let both = |m: &Move<'_>| [(m.x, m.before), (m.x, m.after)];
        moves.iter().flat_map(both).collect::<Vec<_>>()
    };
    let mut first = roofline::roofline(&tuning.machine, &points(&counted));
    draw(&mut first, &counted, "GFLOP/s", "after");
    let mut second = roofline::bandwidth(&tuning.machine, &points(&others));
    draw(&mut second, &others, "GB/s", "other");
    [first, second]
}

/// Tasks with what stands along the axis, and their work.
fn moves<'t>(tasks: Vec<&'t TaskReport>, x: Figure<'_>, work: Figure<'_>) -> Vec<Move<'t>> {
    let one = |task: &'t TaskReport| Move {
        task,
        x: x(task),
        before: work(task) / task.task.ns,
        after: work(task) / task.now_ns(),
    };
    tasks.into_iter().map(one).collect()
}

fn draw(plot: &mut Plot, moves: &[Move<'_>], unit: &str, class: &str) {
    for m in moves {
        let task = &m.task.task;
        let title = format!(
            "{}: {:.1} -> {:.1} {unit}\n{}\n{}",
            task.name,
            m.before,
            m.after,
            m.task.state(),
            task.nodes.join(", "),
        );
        plot.line(
            "move",
            &title,
            [(m.x, m.before), (m.x, m.after)].into_iter(),
        );
        for (y, class) in [(m.before, "before"), (m.after, class)] {
            plot.dot(&Dot {
                at: (m.x, y),
                radius: 3.0 + 12.0 * task.share.clamp(0.0, 1.0).sqrt(),
                class,
                step: None,
                title: &title,
            });
        }
    }
}

#[cfg(test)]
#[path = "html_tests.rs"]
mod tests;
