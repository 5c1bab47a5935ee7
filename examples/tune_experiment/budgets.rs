//! What a minute and five of tuning reach of what a long one does.
//!
//! Each tuning is a process of `tensmith tune` with a database of its own. What the tunings of a
//! model became is then run in turns in this process, with the untuned model.
use crate::page::{self, Kept};
use crate::subject::{Subject, inputs_file, model_file};
use crate::{End, Options};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tensmith::tune::records::Source;
use tensmith::tune::sides::{Sides, Variant};
use tensmith::tune::until::Until;
use tensmith::units::{human_ns, parse_duration};
use tensmith_runtime::stats::{Interval, median, paired_ratio};

/// The part of the page, and the file of what was measured.
const PART: &str = "budgets";

/// What is seldom of a tuning that is 12 % over its time: loading and compiling a large model.
const OVERTIME: f64 = 1.2;

/// A tuning that is to be made.
struct Plan {
    model: String,
    /// The time as it is said.
    budget: String,
    ns: u64,
    is_deep: bool,
}

impl Plan {
    fn name(&self) -> String {
        match self.is_deep {
            true => format!("{} --deep", self.budget),
            false => self.budget.clone(),
        }
    }

    fn file(&self, folder: &Path, ending: &str) -> PathBuf {
        let deep = if self.is_deep { "-deep" } else { "" };
        folder.join(format!("{}-{}{deep}.{ending}", self.model, self.budget))
    }
}

/// What `tensmith tune --json` says of a tuning.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Tuned {
    /// Units: seconds of the search, and what all tasks took then over the untuned ones.
    pub curve: Vec<(f64, f64)>,
    /// Units: seconds of the search.
    pub search_s: f64,
    trials: u64,
    accepted: u64,
    stop: String,
    /// What the model is compiled with from then on.
    #[serde(default)]
    kept: String,
    /// The kind of machine.
    #[serde(default)]
    machine: String,
}

/// A tuning that was made.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Made {
    /// Its budget.
    pub name: String,
    /// What became of it.
    pub tuned: Tuned,
    /// Units: nanoseconds of runs; the k-th was taken in the round of the k-th of the others.
    times_ns: Vec<f64>,
}

/// A model with its tunings, the longest first.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Row {
    /// Its name.
    pub model: String,
    threads: usize,
    /// Units: nanoseconds of runs, untuned.
    untuned_ns: Vec<f64>,
    /// Its tunings.
    pub made: Vec<Made>,
}

/// Runs the part; whether it is complete.
pub fn run(options: &Options, end: &End) -> Result<bool> {
    let kept: Kept<Vec<Row>> = Kept::new(PART);
    if options.replay {
        let rows = kept.read()?;
        page::check(PART, &markdown(&rows))?;
        show(options, &rows)?;
        return Ok(true);
    }
    let folder = options.folder.join(PART);
    fs::create_dir_all(&folder)?;
    let (mut rows, mut is_complete) = (Vec::new(), true);
    let models = models(options)?;
    let mut left: f64 = models
        .iter()
        .flatten()
        .filter(|p| !p.file(&folder, "json").exists())
        .map(|p| p.ns as f64)
        .sum();
    for plans in &models {
        for plan in plans {
            if plan.file(&folder, "json").exists() {
                continue;
            }
            if end.left_ns() as f64 <= OVERTIME * plan.ns as f64 {
                is_complete = false;
                continue;
            }
            eprintln!(
                "{}, {}; tunings take about {} yet",
                plan.model,
                plan.name(),
                human_ns(left)
            );
            is_complete &= tune(options, &folder, plan)?;
            left -= plan.ns as f64;
        }
        if plans.iter().all(|p| p.file(&folder, "json").exists()) {
            match compared(options, end, &folder, plans)? {
                Some(row) => rows.push(row),
                None => is_complete = false,
            }
        }
    }
    show(options, &rows)?;
    if options.write && !rows.is_empty() {
        kept.write(&rows)?;
        page::write(PART, &markdown(&rows))?;
    }
    Ok(is_complete)
}

/// What the manual holds.
pub fn written() -> Result<Vec<Row>> {
    Kept::new(PART).read()
}

/// The tunings of each model, the longest first.
fn models(options: &Options) -> Result<Vec<Vec<Plan>>> {
    let plan = |model: &str, budget: &str, is_deep| {
        let ns = parse_duration(budget).map_err(|e| anyhow::anyhow!("{budget}: {e}"))?;
        Ok(Plan {
            model: model.into(),
            budget: budget.into(),
            ns,
            is_deep,
        })
    };
    let plans = |model: &String, is_reference: bool| {
        let mut plans: Vec<Plan> = (options.budgets.iter())
            .map(|budget| plan(model, budget, false))
            .collect::<Result<_>>()?;
        if is_reference {
            plans.push(plan(model, &options.reference, true)?);
        }
        plans.sort_by_key(|p| std::cmp::Reverse((p.is_deep, p.ns)));
        Ok(plans)
    };
    let references = options.references.iter().map(|model| plans(model, true));
    let others = options.models.iter().map(|model| plans(model, false));
    references.chain(others).collect()
}

/// A tuning by the command; whether it was to its end.
fn tune(options: &Options, folder: &Path, plan: &Plan) -> Result<bool> {
    let records = plan.file(folder, "sqlite3");
    // What was cut off is begun again: half a search twice is not a whole one.
    for ending in ["", "-wal", "-shm"] {
        let mut file = records.clone().into_os_string();
        file.push(ending);
        if Path::new(&file).exists() {
            fs::remove_file(&file)?;
        }
    }
    let mut command = Command::new(&options.tensmith);
    command
        .arg("tune")
        .arg(model_file(&plan.model))
        .arg("--inputs")
        .arg(inputs_file(&plan.model));
    command.args([
        "--threads",
        &options.threads.to_string(),
        "--budget",
        &plan.budget,
        "--json",
    ]);
    command
        .arg("--records")
        .arg(&records)
        .arg("--html")
        .arg(plan.file(folder, "html"));
    if plan.is_deep {
        command.arg("--deep");
    }
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.with_context(|| options.tensmith.display().to_string())?;
    ensure!(
        output.status.success(),
        "{}: tune: {}",
        plan.model,
        output.status
    );
    let tuned: Tuned = serde_json::from_slice(&output.stdout)?;
    if tuned.stop.contains("interrupted") {
        return Ok(false);
    }
    fs::write(plan.file(folder, "json"), &output.stdout)?;
    Ok(true)
}

/// The tunings of a model in turns, kept in the folder; `None` if the time is over.
fn compared(options: &Options, end: &End, folder: &Path, plans: &[Plan]) -> Result<Option<Row>> {
    let model = &plans[0].model;
    let names: Vec<String> = plans.iter().map(Plan::name).collect();
    let path = folder.join(format!("{model}-compared.json"));
    if path.exists() {
        let row: Row = serde_json::from_slice(&fs::read(&path)?)?;
        if row.made.iter().map(|m| &m.name).eq(&names) {
            return Ok(Some(row));
        }
    }
    if end.left_ns() <= options.compare {
        return Ok(None);
    }
    eprintln!("{model}: running what was tuned in turns");
    let subject = Subject::load(model, options.threads)?;
    let untuned = Variant::new(&subject.imported, &subject.options, None)?;
    let mut variants = vec![untuned.clone()];
    for plan in plans {
        let records = Source::Database(plan.file(folder, "sqlite3"));
        variants.push(untuned.with(records.open(&subject.options, &mut |_| {})?)?);
    }
    let until = Until::never();
    // Runs of models that were tuned for long are few enough.
    let latency_ns = latency_ns(&plans[0].file(folder, "json"))?;
    let sides = Sides::new(&variants, latency_ns, &until)?;
    let mut sides = sides.context("there is no end")?;
    let times = sides.whole(&subject.inputs(), options.compare, &until)?;
    let mut times = times.context("there is no end")?.into_iter();
    let untuned_ns = times.next().context("the untuned model was not run")?;
    let made = plans.iter().zip(times).map(|(plan, times_ns)| {
        let tuned = serde_json::from_slice(&fs::read(plan.file(folder, "json"))?)?;
        Ok(Made {
            name: plan.name(),
            tuned,
            times_ns,
        })
    });
    let row = Row {
        model: model.clone(),
        threads: options.threads,
        untuned_ns,
        made: made.collect::<Result<_>>()?,
    };
    fs::write(&path, serde_json::to_vec(&row)?)?;
    Ok(Some(row))
}

/// Units: nanoseconds of a run of the untuned model, as a tuning has it.
fn latency_ns(file: &Path) -> Result<f64> {
    let tuned: serde_json::Value = serde_json::from_slice(&fs::read(file)?)?;
    let ms = tuned["before_ms"].as_f64();
    Ok(1e6 * ms.with_context(|| format!("{} has no before_ms", file.display()))?)
}

/// Ours over another one's speed: the ratio of its times to ours.
fn speed(ours: &[f64], others: &[f64]) -> Option<Interval> {
    paired_ratio(ours, others)
}

fn shown(interval: Option<Interval>) -> String {
    interval.map_or("-".into(), |i| {
        format!("{:.3} ({:.3} to {:.3})", i.estimate, i.low, i.high)
    })
}

/// The table: of each tuning its speed over the untuned model, and over the longer ones.
fn markdown(rows: &[Row]) -> String {
    let mut out = String::from(
        "| model | budget | trials | accepted | latency, ms | speed over untuned | speed over the \
         longest | speed over the next longer | verdict |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let _ = writeln!(
            out,
            "| {} | untuned | | | {:.3} | | | | |",
            row.model,
            median(&row.untuned_ns) / 1e6
        );
        for (k, made) in row.made.iter().enumerate() {
            let longest = (k > 0)
                .then(|| speed(&made.times_ns, &row.made[0].times_ns))
                .flatten();
            let next = (k > 1)
                .then(|| speed(&made.times_ns, &row.made[k - 1].times_ns))
                .flatten();
            let untuned = paired_ratio(&row.untuned_ns, &made.times_ns);
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} | {:.3} | {} | {} | {} | {} |",
                row.model,
                made.name,
                made.tuned.trials,
                made.tuned.accepted,
                median(&made.times_ns) / 1e6,
                shown(speed(&made.times_ns, &row.untuned_ns)),
                shown(longest),
                shown(next),
                match untuned {
                    _ if made.tuned.kept == "untuned" => "untuned is kept",
                    None => "too few runs",
                    Some(r) => r.verdict(1.0).as_str(),
                },
            );
        }
    }
    let rounds = rows.iter().map(|r| r.untuned_ns.len()).min().unwrap_or(0);
    let _ = writeln!(
        out,
        "\nMedians of {rounds} or more rounds in which each ran once, and 95 % intervals of the \
         median ratio in a round; verdicts are on the untuned model. Where the \
         untuned one is kept the kernels are the same, and what differs is where their memory lies."
    );
    let mut machines: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (row, made) in rows.iter().filter_map(|r| Some((r, r.made.first()?))) {
        let models = machines.entry(&made.tuned.machine).or_default();
        models.push(&row.model);
    }
    for (machine, models) in machines {
        let _ = writeln!(out, "\nOn `{machine}`: {}.", models.join(", "));
    }
    out
}

fn show(options: &Options, rows: &[Row]) -> Result<()> {
    match options.json {
        true => println!("{}", serde_json::to_string(rows)?),
        false => println!("{}", markdown(rows)),
    }
    Ok(())
}
