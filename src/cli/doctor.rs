//! `tensmith doctor`
mod facts;
mod warnings;

use super::shared::{DatabaseArgs, table};
use crate::cli::out::{errln, outln};
use clap::Args;
use comfy_table::Table;
use facts::{Facts, Store};
use indicatif::{ProgressBar, ProgressStyle};
use tensmith::units::{human_age, human_bytes, human_ns};
use tensmith::{Error, Result};
use tensmith_autotune::profile::{Dots, Profile, Progress};
use tensmith_autotune::records::Health;
use tensmith_runtime::clock::unix_seconds;
use warnings::{Warning, warnings};

/// Show what this machine can do, and whether anything keeps models from being fast.
#[derive(Args)]
#[command(after_help = "Examples:
  tensmith doctor
  tensmith doctor --probe
  tensmith doctor --json --records pooled.sqlite3

The machine is measured for some seconds where no profile of it is kept, or with --probe: best while
nothing else runs. Where repetitions of multiply-adds take 10 % longer on average than the fastest, other
programs have disturbed it: then it goes on for up to eight seconds, is shown as disturbed if that
does not help, and replaces no profile that was less disturbed. Without a folder to keep the profile in, that is said. The exit code is 1 if the
records are damaged.")]
pub struct Doctor {
    #[command(flatten)]
    records: DatabaseArgs,
    /// Measures the machine again
    #[arg(long)]
    probe: bool,
    /// Prints everything as JSON
    #[arg(long)]
    json: bool,
}

impl Doctor {
    /// Runs the verb.
    pub fn run(self) -> Result<()> {
        let bar = ProgressBar::new(0).with_style(style());
        let mut say = |progress: Progress<'_>| show(&bar, progress);
        let profile = match self.probe {
            true => Profile::probe(&mut say)?,
            false => Profile::load_or_probe(&mut say)?,
        };
        bar.finish_and_clear();
        let facts = Facts::of(profile, self.records.path());
        let warnings = warnings(&facts);
        if self.json {
            let mut report = serde_json::json!(facts);
            report["warnings"] = serde_json::json!(warnings);
            outln!("{report}");
        } else {
            print_text(&facts, &warnings);
        }
        match facts.records.problem() {
            Some(problem) => Err(Error::CheckFailed(problem)),
            None => Ok(()),
        }
    }
}

fn style() -> ProgressStyle {
    let text = "measuring {msg} {bar:24} {pos}/{len}";
    ProgressStyle::with_template(text).expect("invariant: the template is valid")
}

fn show(bar: &ProgressBar, progress: Progress<'_>) {
    match progress {
        Progress::Step { done, .. } if bar.is_hidden() => {
            if done == 0 {
                errln!("measuring this machine for some seconds");
            }
        }
        Progress::Step { done, of, what } => {
            bar.set_length(of as u64);
            bar.set_position(done as u64);
            bar.set_message(what.to_string());
            bar.tick();
        }
        Progress::Note(text) => bar.suspend(|| errln!("note: {text}")),
    }
}

fn print_text(facts: &Facts, warnings: &[Warning]) {
    print_machine(facts);
    outln!();
    outln!("{}", arithmetic(&facts.profile));
    outln!();
    outln!("{}", memory(&facts.profile));
    outln!();
    if let Some(h) = &facts.profile.hand_off {
        outln!(
            "hand-off   {} to start {} threads and wait for them, {} at a barrier, {:.1} ns for a line of another core",
            human_ns(h.run_ns),
            facts.profile.identity.cores,
            human_ns(h.barrier_ns),
            h.line_ns,
        );
    }
    print_records(&facts.records);
    for Warning { what, next } in warnings {
        outln!();
        outln!("warning: {what}");
        outln!("         {next}");
    }
}

fn print_machine(facts: &Facts) {
    let Facts {
        profile,
        cores,
        memory,
        ..
    } = facts;
    let of = |bytes: Option<u64>| bytes.map_or("unknown".into(), human_bytes);
    outln!(
        "processor  {}, {:.2} GHz",
        profile.identity.cpu,
        profile.clock_hz / 1e9
    );
    outln!("machine    {}", profile.key());
    outln!(
        "features   {}; vectors of up to {} bits",
        facts.features.join(" "),
        facts.vector_bits
    );
    outln!(
        "cores      {} usable; the system allows {}, quota {}",
        cores.usable,
        cores.affinity.map_or("any".into(), |n| n.to_string()),
        cores.quota.map_or("none".into(), |q| format!("{q:.2}")),
    );
    outln!(
        "memory     {}, {} available, limit {}; large pages {}",
        of(memory.total_bytes),
        of(memory.available_bytes),
        memory.limit_bytes.map_or("none".into(), human_bytes),
        facts.large_pages.as_deref().unwrap_or("unknown"),
    );
    let age = human_age(unix_seconds().saturating_sub(profile.when_s));
    let path = facts.profile_path.as_ref();
    outln!(
        "profile    {}, measured {age} ago in {:.1} s; multiply-adds varied by {:.0} %{}",
        path.map_or("not kept".into(), |p| p.display().to_string()),
        profile.took_ms / 1e3,
        100.0 * profile.fma_spread,
        match profile.is_disturbed() {
            true => ": disturbed",
            false => "",
        },
    );
}

fn arithmetic(profile: &Profile) -> Table {
    let cores = profile.identity.cores;
    let all = format!("{cores} cores");
    let head = [
        "bits",
        "f32 GFLOP/s 1 core",
        &all,
        "a cycle",
        "int8 GOP/s 1 core",
        &all,
        "loads a cycle",
    ];
    let mut table = table(&head, 1..7);
    for a in &profile.arithmetic {
        let fmas = a.flops_per_s / f64::from(2 * a.bits / 32) / profile.clock_hz;
        let giga = |dots: fn(Dots) -> f64| {
            a.dots
                .map_or("-".into(), |d| format!("{:.1}", dots(d) / 1e9))
        };
        table.add_row([
            a.bits.to_string(),
            format!("{:.1}", a.flops_per_s / 1e9),
            format!("{:.1}", a.all_flops_per_s / 1e9),
            format!("{fmas:.2}"),
            giga(|d| d.ops_per_s),
            giga(|d| d.all_ops_per_s),
            format!("{:.2}", a.loads_per_s / profile.clock_hz),
        ]);
    }
    table
}

fn memory(profile: &Profile) -> Table {
    let cores = profile.identity.cores;
    let all = &format!("{cores} cores");
    let head = ["level", "size", "GB/s 1 core", all, "latency 1 core", all];
    let mut table = table(&head, 1..6);
    for level in &profile.memory {
        table.add_row([
            level.name.as_str().to_string(),
            level.bytes.map_or("-".into(), human_bytes),
            format!("{:.1}", level.one.bytes_per_s / 1e9),
            format!("{:.1}", level.all.bytes_per_s / 1e9),
            format!("{:.1} ns", level.one.latency_ns),
            format!("{:.1} ns", level.all.latency_ns),
        ]);
    }
    table
}

fn print_records(records: &Store) {
    let path = records.path.as_ref();
    let path = path.map_or("no folder".into(), |p| p.display().to_string());
    match (&records.health, &records.error) {
        (Some(health), _) => {
            let Health {
                bytes,
                format,
                journal_mode,
                tasks,
                records,
                problems,
            } = health;
            let state = match problems.len() {
                0 => "sound".to_string(),
                n => format!("{n} problems"),
            };
            let size = human_bytes(*bytes);
            outln!(
                "records    {path}, {size}: {records} of {tasks} tasks, format {format}, journal {journal_mode}; {state}"
            );
            for problem in problems {
                outln!("           {problem}");
            }
        }
        (None, Some(error)) => outln!("records    {error}"),
        (None, None) => outln!("records    {path}: none yet"),
    }
}
