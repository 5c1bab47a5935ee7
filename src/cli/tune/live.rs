//! What a search shows while it runs: on a terminal a table that is drawn anew, else a line from
//! time to time. All of it on stderr.
use super::table::{NAME, Row, choice_line, heading, line};
use super::working::{Working, bar, words};
use crate::cli::out::errln;
use console::{Term, truncate_str};
use std::io::Write;
use std::iter;
use tensmith::text::plain;
use tensmith::tune::choices::TriedChoice;
use tensmith::tune::tasks::ModelTask;
use tensmith::tune::{Stage, Watcher};
use tensmith::units::human_ns;
use tensmith_autotune::tuner::{End, Tuner};
use tensmith_runtime::Stopwatch;

/// Tasks that are shown.
const ROWS: usize = 12;
/// Units: nanoseconds between two drawings on a terminal.
const DRAW_NS: u64 = 200_000_000;
/// Units: nanoseconds between two lines elsewhere.
const LINE_NS: u64 = 5_000_000_000;
/// Units: cells of a row beside its name, while it is searched.
const BESIDE: usize = 65;
/// Units: cells of a name on a narrow terminal.
const LEAST_NAME: usize = 10;
/// Cells of the bar.
const BAR: usize = 30;

/// The view of a search.
pub struct Live {
    budget_ns: u64,
    watch: Stopwatch,
    drawn_ns: Option<u64>,
    /// `None` if the view is kept in a file.
    terminal: Option<Term>,
    /// What is shown between the lines that are told.
    working: Option<Working>,
    /// Lines of the last drawing.
    lines: usize,
    /// The tasks that are searched.
    tasks: Vec<ModelTask>,
    /// Units: nanoseconds of a run that are in no task that is searched.
    rest_ns: f64,
}

impl Live {
    /// Of a search with so many nanoseconds.
    pub fn new(budget_ns: u64) -> Live {
        Live {
            budget_ns,
            watch: Stopwatch::start(),
            drawn_ns: None,
            terminal: Some(Term::stderr()).filter(|t| t.is_term() && moves_its_cursor()),
            working: None,
            lines: 0,
            tasks: vec![],
            rest_ns: 0.0,
        }
    }

    /// Leaves the last drawing as it is.
    pub fn end(&mut self) {
        self.working = None;
        self.lines = 0;
    }

    /// Prints a line above what is shown.
    fn tell(&self, text: &str) {
        match &self.working {
            Some(working) => working.suspend(|| errln!("{text}")),
            None => errln!("{text}"),
        }
    }

    fn draw(&mut self, lines: &[String]) {
        let mut err = std::io::stderr().lock();
        let up = match self.lines {
            0 => String::new(),
            n => format!("\x1b[{n}A\x1b[J"),
        };
        // Nobody to tell if nobody can read it.
        let _ = writeln!(err, "{up}{}", lines.join("\n"));
        let _ = err.flush();
        self.lines = lines.len();
    }

    fn rows(&self, tuner: &Tuner) -> Vec<Row> {
        let state = |k: usize| {
            let t = &tuner.tasks()[k];
            match &t.end {
                Some(End::AllTried) => "done",
                Some(End::Failed(_)) => "failed",
                None if tuner.last() == Some(k) => "searching",
                None if t.trials == 0 => "waiting",
                None => "paused",
            }
        };
        let row = |(k, task): (usize, &ModelTask)| {
            let t = &tuner.tasks()[k];
            Row {
                name: task.name.clone(),
                calls: task.calls,
                bound_ns: task.bound_ns,
                before_ns: task.ns,
                now_ns: task.ns * t.ratio,
                trials: t.trials,
                state: state(k).into(),
            }
        };
        self.tasks.iter().enumerate().map(row).collect()
    }

    /// How far the search is, and what it has found.
    fn status(&self, tuner: &Tuner, rows: &[Row]) -> [String; 2] {
        let elapsed = self.watch.elapsed_ns();
        let bar = bar(elapsed as f64 / self.budget_ns.max(1) as f64, BAR);
        let sum = |f: &dyn Fn(&Row) -> f64| rows.iter().map(f).sum::<f64>() + self.rest_ns;
        let before = sum(&|r| r.calls as f64 * r.before_ns);
        let now = sum(&|r| r.calls as f64 * r.now_ns);
        let trials: u64 = rows.iter().map(|r| r.trials).sum();
        let begin = elapsed.saturating_sub(tuner.elapsed_ns());
        let end = (begin + tuner.predicted_end_ns()).min(self.budget_ns);
        let far = format!(
            "{bar} {} of {}, {}",
            human_ns(elapsed as f64),
            human_ns(self.budget_ns as f64),
            ends_in(end.saturating_sub(elapsed)),
        );
        let found = format!(
            "{trials} trials, {:.0}/s; kernels {} -> {}",
            trials as f64 / (tuner.elapsed_ns() as f64 / 1e9).max(1e-3),
            human_ns(before),
            human_ns(now),
        );
        [far, found]
    }
}

/// The view on a terminal of so many rows and columns: no line is longer, since one that goes on in
/// the next row would be counted as one.
fn drawing(rows: &[Row], status: [String; 2], (height, width): (u16, u16)) -> Vec<String> {
    // Beside the tasks: the heading, how many more, two last lines, and where the cursor is.
    let shown = ROWS.min(usize::from(height).saturating_sub(5)).max(1);
    let name = usize::from(width)
        .saturating_sub(BESIDE)
        .clamp(LEAST_NAME, NAME);
    let tasks = rows.iter().take(shown).map(|row| line(row, name));
    let more = match rows.len().saturating_sub(shown) {
        0 => None,
        n => Some(format!("and {n} more")),
    };
    let lines = iter::once(heading(name)).chain(tasks).chain(more);
    let cut = |text: String| truncate_str(&plain(&text), usize::from(width), "").into_owned();
    lines.chain(status).map(cut).collect()
}

/// Whether the terminal says of itself that lines can be drawn anew.
fn moves_its_cursor() -> bool {
    std::env::var_os("TERM").is_none_or(|name| name != "dumb")
}

/// When the search ends, as far as it can be foreseen: rounds take tenths of seconds.
fn ends_in(ns: u64) -> String {
    match ns {
        0..1_000_000_000 => "the search is about to end".into(),
        _ => format!("search ends in about {}", human_ns(ns as f64)),
    }
}

impl Watcher for Live {
    fn note(&mut self, text: &str) {
        self.lines = 0;
        self.tell(&format!("note: {text}"));
    }

    fn choice(&mut self, tried: &TriedChoice) {
        self.tell(&choice_line(tried));
    }

    fn begin(&mut self, tasks: &[ModelTask], searched: &[bool]) {
        self.end();
        errln!("{}", heading(NAME));
        for (task, searched) in tasks.iter().zip(searched) {
            let state = match (task.obstacle(), searched) {
                (Some(why), _) => format!("not tuned: {why}"),
                (None, true) => format!("{:.0e} schedules", task.members()),
                (None, false) => "of another share".into(),
            };
            let row = Row {
                name: task.name.clone(),
                calls: task.calls,
                bound_ns: task.bound_ns,
                before_ns: task.ns,
                now_ns: task.ns,
                trials: 0,
                state,
            };
            errln!("{}", line(&row, NAME));
            match searched {
                true => self.tasks.push(task.clone()),
                false => self.rest_ns += task.calls as f64 * task.ns,
            }
        }
        errln!();
    }

    fn round(&mut self, tuner: &Tuner) {
        let now = self.watch.elapsed_ns();
        let pause = self.terminal.as_ref().map_or(LINE_NS, |_| DRAW_NS);
        if self.drawn_ns.is_some_and(|then| now - then < pause) {
            return;
        }
        self.drawn_ns = Some(now);
        let rows = self.rows(tuner);
        let status = self.status(tuner, &rows);
        match &self.terminal {
            None => errln!("{}", status.join("; ")),
            Some(terminal) => {
                let lines = drawing(&rows, status, terminal.size());
                self.draw(&lines);
            }
        }
    }

    fn stage(&mut self, stage: Stage) {
        self.end();
        match &self.terminal {
            Some(terminal) => self.working = Some(Working::new(stage, terminal)),
            None => errln!("{}", words(stage)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawings_fit_their_terminal() {
        let row = |_| Row {
            name: "a convolution 畳み込み\u{1b}[2J".into(),
            calls: 1,
            bound_ns: 1.0,
            before_ns: 3.0,
            now_ns: 2.0,
            trials: 7,
            state: "searching".into(),
        };
        let rows: Vec<_> = (0..30).map(row).collect();
        let view = |size| drawing(&rows, ["[###---] 3 s".into(), "9 trials".into()], size);
        for (height, width) in [(24, 80), (50, 200), (10, 40), (24, 3)] {
            let lines = view((height, width));
            assert!(
                lines.len() < usize::from(height),
                "{height}: {}",
                lines.len()
            );
            for line in &lines {
                let cells = console::measure_text_width(line);
                assert!(cells <= usize::from(width), "{width}: {line}");
                assert!(!line.contains('\u{1b}'), "{line}");
            }
        }
        assert_eq!(view((50, 200)).len(), ROWS + 4);
        assert_eq!(
            view((10, 40))[6..],
            ["and 25 more", "[###---] 3 s", "9 trials"]
        );
        assert!(!view((2, 40)).is_empty());
    }

    #[test]
    fn the_state_of_each_task_is_seen_on_eighty_columns() {
        let row = |name: &str, state: &str| Row {
            name: name.into(),
            calls: 99_999,
            bound_ns: 123.45e6,
            before_ns: 123.45e6,
            now_ns: 123.45e6,
            trials: 999_999,
            state: state.into(),
        };
        let rows = [
            row("kernel", "searching"),
            row(&"a long name ".repeat(9), "waiting"),
            row(&"畳み込み".repeat(9), "searching"),
            row(&"\u{1b}[31m\u{202e}".repeat(9), "paused"),
        ];
        let lines = drawing(&rows, [String::new(), String::new()], (24, 80));
        assert!(lines[0].ends_with("trials  state"), "{}", lines[0]);
        let states = lines[0].find("state").unwrap();
        for (row, line) in rows.iter().zip(&lines[1..]) {
            let before = line.strip_suffix(&row.state);
            let before = before.unwrap_or_else(|| panic!("no {}: {line}", row.state));
            assert_eq!(console::measure_text_width(before), states, "{line}");
            assert!(console::measure_text_width(line) <= 80, "{line}");
        }
    }

    #[test]
    fn no_end_is_foreseen_to_the_nanosecond() {
        assert_eq!(ends_in(30), "the search is about to end");
        assert_eq!(ends_in(12_000_000_000), "search ends in about 12.00 s");
    }
}
