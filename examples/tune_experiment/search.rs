//! The search against random search, at equal trials on the largest tasks of all models.
use crate::subject::Subject;
use crate::{End, Options, page};
use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use tensmith::explain::explain;
use tensmith::tune::tasks::tasks_of;
use tensmith::units::human_ns;
use tensmith_autotune::contest::{
    Bench, Entrant, Head, Known, Log, Report, Side, Timing, replay, run as contest,
};
use tensmith_autotune::measure::Program;
use tensmith_autotune::space::Space;
use tensmith_passes::schedule::parameters::Values;
use tensmith_runtime::Stopwatch;

#[path = "../../tests/support/names.rs"]
mod names;

/// The part of the page.
const PART: &str = "search";
/// The log in the manual, and in the folder.
const LOG: &str = "search.jsonl";
/// Units: nanoseconds that a model is measured to see its tasks.
const TASKS_NS: u64 = 300_000_000;

/// Runs the part; whether it is complete.
pub fn run(options: &Options, end: &End) -> Result<bool> {
    if options.replay {
        return repeat(options).map(|()| true);
    }
    let Some((mut log, path)) = open(options, end)? else {
        return Ok(false);
    };
    let mut race = Race {
        bench: Bench::new(program(options), options.threads),
        file: OpenOptions::new().append(true).open(&path)?,
        progress: Progress::new(options, &log),
        end,
    };
    let is_complete = race.advance(&mut log, options.seeds)?;
    let log = log.complete();
    if let Some(report) = Report::new(&log) {
        show(options, &report)?;
        if options.write {
            fs::create_dir_all(page::folder())?;
            rewrite(&log, &page::folder().join(LOG))?;
            page::write(PART, &report.markdown())?;
        }
    }
    Ok(is_complete)
}

/// The log of the manual.
pub fn written() -> Result<Log> {
    read(&page::folder().join(LOG))
}

fn read(path: &Path) -> Result<Log> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    Log::read(BufReader::new(file)).with_context(|| path.display().to_string())
}

fn markdown(log: &Log) -> Result<String> {
    let report = Report::new(log).context("the log holds no complete seed")?;
    Ok(report.markdown())
}

fn show(options: &Options, report: &Report) -> Result<()> {
    match options.json {
        true => println!("{}", serde_json::to_string(report)?),
        false => println!("{}", report.markdown()),
    }
    Ok(())
}

fn program(options: &Options) -> Program {
    Program {
        file: options.tensmith.clone(),
        arguments: vec!["tune-worker".into()],
    }
}

/// The table of the log in the manual, and all its proposals again.
fn repeat(options: &Options) -> Result<()> {
    let log = written()?;
    page::check(PART, &markdown(&log)?)?;
    let report = Report::new(&log).context("the log holds no complete seed")?;
    show(options, &report)?;
    for (task, entrant) in log.tasks.iter().enumerate() {
        eprintln!(
            "replay of {} of {}: {}",
            task + 1,
            log.tasks.len(),
            entrant.name
        );
        let space = Known::new(&entrant.task, &log.head.host).map_err(|e| anyhow!(e))?;
        for seed in 0..log.seeds() {
            for side in Side::ALL {
                replay(&log, task, (side, seed), &space, log.head.trials)?;
            }
        }
    }
    eprintln!("the table is that of the log, and all members are proposed again");
    Ok(())
}

/// The log in the folder, begun if it is not there; `None` if the time did not suffice for that.
fn open(options: &Options, end: &End) -> Result<Option<(Log, PathBuf)>> {
    let path = options.folder.join(LOG);
    if path.exists() {
        let log = read(&path)?;
        // A line that was cut off would join the next one.
        rewrite(&log, &path)?;
        let here = Head::here(options.threads, options.trials);
        if log.head != here || log.tasks.len() != options.tasks {
            let path = path.display();
            return Err(anyhow!(
                "{path} is of another machine, version or choice of threads, tasks or trials; \
                 move it away, or choose another --folder"
            ));
        }
        return Ok(Some((log, path)));
    }
    let Some(tasks) = largest(options, end)? else {
        return Ok(None);
    };
    let mut log = Log::new(Head::here(options.threads, options.trials));
    let mut lines = Vec::new();
    log.write_head(&mut lines)?;
    for task in tasks {
        log.add_task(task, &mut lines)?;
    }
    fs::write(&path, lines)?;
    Ok(Some((log, path)))
}

/// Writes a log whole or not at all.
fn rewrite(log: &Log, path: &Path) -> Result<()> {
    let beside = path.with_extension("new");
    log.write(&mut std::io::BufWriter::new(File::create(&beside)?))?;
    fs::rename(&beside, path)?;
    Ok(())
}

/// A task with the time of all its calls.
#[derive(Serialize, Deserialize)]
struct Found {
    share_ns: f64,
    entrant: Entrant,
}

/// The tasks of all models that take longest, each text once; `None` if the time is over.
fn largest(options: &Options, end: &End) -> Result<Option<Vec<Entrant>>> {
    let folder = options.folder.join("tasks");
    fs::create_dir_all(&folder)?;
    let mut all: Vec<Found> = Vec::new();
    for name in names::MODELS {
        let path = folder.join(format!("{name}.json"));
        if !path.exists() {
            if end.is_due() {
                return Ok(None);
            }
            eprintln!("tasks of {name}");
            fs::write(&path, serde_json::to_vec(&found(name, options.threads)?)?)?;
        }
        let found: Vec<Found> = serde_json::from_slice(&fs::read(&path)?)?;
        all.extend(found);
    }
    all.sort_by(|a, b| b.share_ns.total_cmp(&a.share_ns));
    let mut chosen: Vec<Entrant> = Vec::new();
    for found in all {
        let is_new = chosen.iter().all(|c| c.task != found.entrant.task);
        if is_new && chosen.len() < options.tasks {
            chosen.push(found.entrant);
        }
    }
    Ok(Some(chosen))
}

fn found(name: &str, threads: usize) -> Result<Vec<Found>> {
    let subject = Subject::load(name, threads)?;
    let report = explain(
        &subject.imported,
        &subject.options,
        &subject.inputs(),
        TASKS_NS,
    )?;
    let tasks = tasks_of(&report).into_iter();
    let tasks = tasks.filter(|t| t.obstacle().is_none());
    let found = tasks.map(|t| Found {
        share_ns: t.calls as f64 * t.ns,
        entrant: Entrant {
            model: name.into(),
            name: t.nodes.first().cloned().unwrap_or(t.name),
            calls: t.calls,
            ns: t.ns,
            task: t.task.to_string(),
        },
    });
    Ok(found.collect())
}

/// Why a run is not to its end.
enum Cut {
    Due,
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Cut {
    fn from(error: E) -> Cut {
        Cut::Failed(error.into())
    }
}

/// What measures and keeps.
struct Race<'e> {
    bench: Bench,
    file: File,
    progress: Progress,
    end: &'e End,
}

impl Race<'_> {
    /// All runs that are not in the log yet, seed by seed; whether that was to the end.
    fn advance(&mut self, log: &mut Log, seeds: u64) -> Result<bool> {
        let spaces: Result<Vec<Known>> = (log.tasks.iter())
            .map(|t| Known::new(&t.task, &log.head.host).map_err(|e| anyhow!(e)))
            .collect();
        let spaces = spaces?;
        for seed in 0..seeds {
            for (task, space) in spaces.iter().enumerate() {
                for side in Side::ALL {
                    if log.run(task, side, seed).is_some() {
                        continue;
                    }
                    match self.one(log, (task, side, seed), space) {
                        Ok(()) => self.progress.show(log, (task, side, seed)),
                        Err(Cut::Due) => return Ok(false),
                        Err(Cut::Failed(error)) => return Err(error),
                    }
                }
            }
        }
        Ok(true)
    }

    fn one(
        &mut self,
        log: &mut Log,
        (task, side, seed): (usize, Side, u64),
        space: &Known,
    ) -> Result<(), Cut> {
        let default = space.member(&Values::default()).map(|m| m.identity);
        let entrant = log.tasks[task].clone();
        let size = (log.head.trials, entrant.ns);
        let proposed = contest(space, (side, seed), size, |id, values| {
            if let Some(known) = log.time(task, id) {
                return Ok(known);
            }
            if self.end.is_due() {
                return Err(Cut::Due);
            }
            let timing = match Some(id) == default {
                // Nothing is beside the default but itself.
                true => Timing {
                    ratio: Some(1.0),
                    pairs: 0,
                },
                false => (self.bench.time((task, &entrant), values)).map_err(|e| anyhow!(e))?,
            };
            log.add_time((task, id), timing, &mut self.file)?;
            self.progress.measured += 1;
            Ok(timing)
        })?;
        log.add_run((task, side, seed), proposed, &mut self.file)?;
        Ok(())
    }
}

/// How far the runs are.
struct Progress {
    watch: Stopwatch,
    runs: u64,
    done: u64,
    new: u64,
    measured: u64,
}

impl Progress {
    fn new(options: &Options, log: &Log) -> Progress {
        let tasks = 0..log.tasks.len();
        let all = tasks.flat_map(|t| Side::ALL.map(|s| (t, s)));
        let all = all.flat_map(|(t, s)| (0..options.seeds).map(move |seed| (t, s, seed)));
        let (mut runs, mut done) = (0, 0);
        for (task, side, seed) in all {
            runs += 1;
            done += u64::from(log.run(task, side, seed).is_some());
        }
        Progress {
            watch: Stopwatch::start(),
            runs,
            done,
            new: 0,
            measured: 0,
        }
    }

    fn show(&mut self, log: &Log, (task, side, seed): (usize, Side, u64)) {
        self.done += 1;
        self.new += 1;
        let each = self.watch.elapsed_ns() as f64 / self.new as f64;
        eprintln!(
            "{} of {} runs ({side}, seed {seed}, {}); {} members measured now, {} in all; about {} \
             left",
            self.done,
            self.runs,
            log.tasks[task].name,
            self.measured,
            log.measured(),
            human_ns(each * (self.runs - self.done) as f64),
        );
    }
}
