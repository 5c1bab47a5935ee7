//! `tensmith tune` from the command line: what it keeps, what it says, and what compilations make
//! of it.
mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use support::asset;
use tempfile::TempDir;

/// A folder with a database of records to be.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Bench {
        Bench {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn records(&self) -> PathBuf {
        self.folder.path().join("records.sqlite3")
    }

    fn tensmith(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tensmith"));
        command
            .args(arguments)
            .env("TENSMITH_RECORDS", self.records())
            .env("XDG_CACHE_HOME", self.folder.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.tensmith(arguments).output().unwrap()
    }

    /// Standard output of a run that succeeds.
    fn said(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn tune(&self, more: &[&str]) -> Value {
        let model = digits();
        let always = ["tune", model.to_str().unwrap(), "--threads", "1", "--json"];
        let said = self.said(&[&always, more].concat());
        serde_json::from_str(&said).unwrap()
    }
}

fn digits() -> PathBuf {
    asset("digits.onnx")
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn a_search_keeps_its_trials_and_never_makes_the_model_slower() {
    let bench = Bench::new();
    let said = bench.tune(&["--trials", "40", "--budget", "60s"]);
    let tasks = said["tasks"].as_array().unwrap();
    assert!(!tasks.is_empty());
    assert!((1.0..=48.0).contains(&number(&said["trials"])), "{said}");
    let trials: f64 = tasks.iter().map(|t| number(&t["trials"])).sum();
    assert_eq!(trials, number(&said["trials"]));
    assert!(number(&said["before_ms"]) > 0.0 && number(&said["after_ms"]) > 0.0);
    let accepted = tasks.iter().filter(|t| t["accepted"] == true);
    let accepted: Vec<&Value> = accepted.collect();
    assert_eq!(accepted.len() as f64, number(&said["accepted"]));
    if !accepted.is_empty() {
        assert!(number(&said["ratio"]["high"]) < 1.0, "{said}");
        assert!(accepted.iter().all(|t| number(&t["in_model"]) < 1.0));
    }
    // Every trial is in the database, by its outcome.
    let export = bench.said(&["db", "export"]);
    let timed = measured(&export).into_iter();
    let (kernels, choices): (Vec<_>, Vec<_>) = timed.partition(|(task, _)| is_kernel(task));
    assert_eq!(kernels.len() as f64, measured_of(&said));
    // So is every option of a choice that was tried. The model's convolution has two others; one of
    // which the machine's rates promise nothing is not tried.
    let tried = said["choices"].as_array().unwrap();
    let algorithms = tried.iter().filter(|c| {
        let about = c["about"].as_str().unwrap();
        about.starts_with("convolution ")
    });
    assert!((1..=2).contains(&algorithms.count()), "{said}");
    // What was faster by itself is no record if the whole was not kept: it is tried again.
    let taken = tried.iter().filter(|c| c["accepted"] == true).count();
    let is_recorded = |c: &Value| {
        let option = c["option"].as_str().unwrap();
        let is_it = |(task, values): &(String, String)| {
            c["about"] == task.as_str() && values.ends_with(&format!("={option}"))
        };
        choices.iter().any(is_it)
    };
    for choice in tried.iter().filter(|c| !is_recorded(c)) {
        let is_taken = choice["accepted"] == true;
        assert!(is_taken || is_undone(&said, choice), "{said}");
    }
    assert_eq!(
        choices.len(),
        tried.iter().filter(|c| is_recorded(c)).count()
    );
    // The records are found by compilations: exactly the accepted kernels differ.
    let model = digits();
    let schedules = |more: &[&str]| {
        let stage = [
            "compile",
            model.to_str().unwrap(),
            "--emit",
            "schedule",
            "--threads",
            "1",
        ];
        bench.said(&[&stage, more].concat())
    };
    let (with, without) = (schedules(&[]), schedules(&["--no-records"]));
    assert_eq!(with == without, accepted.is_empty() && taken == 0);
    // An export makes the same build without the database.
    if !accepted.is_empty() || taken > 0 {
        let lines = bench.folder.path().join("lines.jsonl");
        std::fs::write(&lines, bench.said(&["db", "export"])).unwrap();
        assert_eq!(
            schedules(&["--tuning-record", lines.to_str().unwrap()]),
            with
        );
    }
    // What the model computes stays the same, within the reference's tolerance.
    bench.said(&["verify", model.to_str().unwrap(), "--threads", "1"]);
}

/// Whatever a later tuning says of what an earlier one accepted, compilations do what it says.
#[test]
fn what_was_accepted_earlier_stays_unless_the_model_says_otherwise() {
    let bench = Bench::new();
    bench.tune(&["--trials", "24", "--budget", "60s"]);
    let model = digits();
    let schedules = |more: &[&str]| {
        let stage = ["compile", model.to_str().unwrap(), "--emit", "schedule"];
        bench.said(&[&stage[..], &["--threads", "1"], more].concat())
    };
    let untuned = schedules(&["--no-records"]);
    // Something was accepted for sure, whether it is fast or not: a kernel that the model still has,
    // whatever became of its choices.
    let export = bench.said(&["db", "export"]);
    let lines = export.lines().map(|l| serde_json::from_str(l).unwrap());
    let is_timed = |r: &Value| r["outcome"] == "measured" && is_kernel(r["task"].as_str().unwrap());
    let accepted = lines.filter(is_timed).any(|mut record: Value| {
        let fields = record.as_object_mut().unwrap();
        fields.retain(|name, _| !name.ends_with("_ns") && name != "samples");
        fields["outcome"] = "accepted".into();
        fields["when_s"] = (number(&fields["when_s"]) as u64 + 1).into();
        let file = bench.folder.path().join("earlier.jsonl");
        std::fs::write(&file, format!("{record}\n")).unwrap();
        bench.said(&["db", "import", file.to_str().unwrap()]);
        schedules(&[]) != untuned
    });
    assert!(accepted, "{export}");
    for more in [["--trials", "1"], ["--trials", "16"]] {
        let before = schedules(&[]);
        let said = bench.tune(&[&more[..], &["--budget", "60s", "--resume"]].concat());
        let after = schedules(&[]);
        match said["kept"].as_str().unwrap() {
            "new" => assert!(number(&said["ratio"]["high"]) < 1.0, "{said}"),
            "earlier" => assert_eq!(after, before),
            "untuned" => assert_eq!(after, untuned),
            other => panic!("{other}"),
        }
        assert_eq!(after == untuned, said["kept"] == "untuned");
    }
}

/// A profile that is kept has the rates of bounds; one that was disturbed, or none, has not.
#[test]
fn bounds_are_by_the_profile_that_is_kept() {
    use tensmith_autotune::profile::{Identity, Profile};
    let bench = Bench::new();
    let rates = |said: &Value| -> Vec<f64> {
        let tasks = said["tasks"].as_array().unwrap().iter();
        tasks.map(|t| number(&t["bound_ns"])).collect()
    };
    let few = ["--trials", "8", "--tasks", "1/1"];
    let measured = bench.tune(&few);
    assert!(measured["profile_s"].is_null(), "{measured}");
    // A machine that is a thousand times as slow.
    let access = serde_json::json!({ "bytes_per_s": 1e7, "latency_ns": 1.0 });
    let level = |name: &str, bytes: Option<u64>| serde_json::json!({ "name": name, "bytes": bytes, "one": access, "all": access });
    let profile = |fma_spread: f64| {
        serde_json::json!({
            "identity": Identity::here(), "clock_hz": 1e9, "clock_spread": 0.0,
            "fma_spread": fma_spread, "fma_latency_ns": 4.0,
            "arithmetic": [{ "bits": 128, "flops_per_s": 1e8, "all_flops_per_s": 1e8, "dots": null, "loads_per_s": 1e6 }],
            "memory": [level("L1", Some(1 << 15)), level("memory", None)],
            "hand_off": null, "when_s": 5, "took_ms": 1.0,
        })
    };
    let name = Profile::path().unwrap();
    let path = bench
        .folder
        .path()
        .join("tensmith")
        .join(name.file_name().unwrap());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, profile(0.02).to_string()).unwrap();
    let kept = bench.tune(&few);
    assert_eq!(kept["profile_s"], 5);
    for (kept, measured) in rates(&kept).iter().zip(rates(&measured)) {
        assert!(*kept > 20.0 * measured, "{kept} {measured}");
    }
    std::fs::write(&path, profile(0.5).to_string()).unwrap();
    assert!(bench.tune(&few)["profile_s"].is_null());
}

/// Tasks and values with a time in an export.
fn measured(export: &str) -> Vec<(String, String)> {
    let record = |line: &str| -> Value { serde_json::from_str(line).unwrap() };
    let records = export.lines().map(record);
    let timed = records.filter(|r| r["outcome"] == "measured");
    let text = |r: &Value, name: &str| r[name].as_str().unwrap().to_string();
    timed
        .map(|r| (text(&r, "task"), text(&r, "values")))
        .collect()
}

/// Whether a task is a kernel, and no choice.
fn is_kernel(task: &str) -> bool {
    task.starts_with("kernel ")
}

/// Whether an option was faster by itself and went with a whole that was not kept.
fn is_undone(said: &Value, choice: &Value) -> bool {
    said["kept"] != "new" && number(&choice["ratio"]["high"]) < 1.0
}

/// Trials of kernels that have a time.
fn measured_of(said: &Value) -> f64 {
    let failures = said["tasks"].as_array().unwrap().iter();
    let failures = failures.flat_map(|t| t["failures"].as_object().unwrap().values());
    number(&said["trials"]) - failures.map(number).sum::<f64>()
}

#[test]
fn resumed_searches_do_not_measure_again() {
    let bench = Bench::new();
    let first = bench.tune(&["--trials", "24", "--seed", "3"]);
    let second = bench.tune(&["--trials", "24", "--seed", "3", "--resume"]);
    assert!(number(&first["trials"]) > 0.0);
    // So are options of choices, but for those that went with a whole that was not kept.
    let name = |c: &Value| format!("{} {}", c["about"], c["option"]);
    let tried = |said: &Value| said["choices"].as_array().unwrap().clone();
    assert!(!tried(&first).is_empty());
    let mut known = tried(&first);
    known.retain(|c| !is_undone(&first, c));
    let known: BTreeSet<String> = known.iter().map(name).collect();
    let again: BTreeSet<String> = tried(&second).iter().map(name).collect();
    assert!(known.is_disjoint(&again));
    let mut measured = measured(&bench.said(&["db", "export"]));
    measured.retain(|(task, _)| is_kernel(task));
    let count = measured.len();
    measured.sort();
    measured.dedup();
    assert_eq!(measured.len(), count, "something was measured twice");
    assert_eq!(count as f64, measured_of(&first) + measured_of(&second));
}

#[test]
fn shares_of_the_tasks_are_disjoint_and_complete() {
    let bench = Bench::new();
    let searched = |share: &str| -> Vec<String> {
        let said = bench.tune(&["--trials", "1", "--tasks", share]);
        let tasks = said["tasks"].as_array().unwrap().iter();
        let tasks = tasks.filter(|t| t["searched"] == true);
        tasks.map(|t| t["task"].to_string()).collect()
    };
    let (all, first, second) = (searched("1/1"), searched("1/2"), searched("2/2"));
    let mut joined = [first.clone(), second.clone()].concat();
    assert!(first.iter().all(|t| !second.contains(t)));
    let mut all = all;
    all.sort();
    joined.sort();
    assert_eq!(joined, all);
}

#[test]
fn interrupts_keep_what_was_found() {
    let bench = Bench::new();
    let model = digits();
    let page = bench.folder.path().join("report.html");
    let arguments = [
        "tune",
        model.to_str().unwrap(),
        "--threads",
        "1",
        "--budget",
        "10m",
        "--deep",
        "--html",
        page.to_str().unwrap(),
    ];
    let mut child = bench.tensmith(&arguments).spawn().unwrap();
    let before = lines(&bench.records(), &bench);
    while lines(&bench.records(), &bench) == before {
        std::thread::sleep(Duration::from_millis(200));
        if child.try_wait().unwrap().is_some() {
            // The whole space was searched: there is nothing to interrupt.
            return;
        }
    }
    let id = child.id().to_string();
    Command::new("kill").args(["-INT", &id]).status().unwrap();
    assert!(
        child.wait().unwrap().success(),
        "an interrupt is a good end"
    );
    assert!(bench.run(&["db", "check"]).status.success());
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.trim_end().ends_with("</html>"));
}

/// A disk that is full stands for all that refuses. The words of the shell limit the length of a
/// file, here that of the log of changes beside the database.
#[test]
fn records_that_refuse_end_the_search_with_what_it_found() {
    let bench = Bench::new();
    let page = bench.folder.path().join("report.html");
    let model = digits();
    let arguments = ["tune", model.to_str().unwrap(), "--threads", "1", "--json"];
    let more = [
        "--budget",
        "10m",
        "--deep",
        "--html",
        page.to_str().unwrap(),
    ];
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!(
            "trap '' XFSZ; ulimit -f {BLOCKS}; exec \"$0\" \"$@\""
        ))
        .arg(env!("CARGO_BIN_EXE_tensmith"))
        .args(arguments)
        .args(more)
        .env("TENSMITH_RECORDS", bench.records())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let told = std::thread::spawn(move || child.wait_with_output().unwrap());
    // What others have read was acknowledged.
    let mut seen = BTreeSet::new();
    while !told.is_finished() {
        if bench.records().exists() {
            seen.extend(bench.said(&["db", "export"]).lines().map(String::from));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let output = told.join().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = errors.trim_end().lines().last().unwrap();
    let records = bench.records();
    assert!(
        last.starts_with("tensmith: ") && last.contains(records.to_str().unwrap()),
        "{errors}"
    );
    assert_eq!(output.status.code(), Some(6), "{errors}");
    // Nobody draws where nobody looks.
    assert!(!errors.contains(['\r', '\u{1b}']), "{errors}");
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(number(&said["trials"]) > 0.0, "{said}");
    assert_eq!(
        (&said["kept"], &said["accepted"]),
        (&"untuned".into(), &0.into())
    );
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.trim_end().ends_with("</html>"));
    // What was not kept is the rest of a round at most.
    let export = bench.said(&["db", "export"]);
    let kept: BTreeSet<String> = export.lines().map(String::from).collect();
    assert!(!seen.is_empty() && seen.is_subset(&kept));
    let kernels = measured(&export).into_iter().filter(|(t, _)| is_kernel(t));
    assert!(kernels.count() as f64 >= measured_of(&said) - 8.0, "{said}");
    assert!(bench.run(&["db", "check"]).status.success());
    // With room, it goes on.
    bench.tune(&["--trials", "8", "--resume"]);
}

/// Units: blocks of 512 bytes: room for some of the trials of a search, and for its page.
const BLOCKS: u64 = 600;

fn lines(records: &Path, bench: &Bench) -> usize {
    match records.exists() {
        true => bench.said(&["db", "export"]).lines().count(),
        false => 0,
    }
}

/// The numbers of the cells of the tasks of a page, row by row.
fn cells(page: &str) -> Vec<Vec<f64>> {
    let (_, tasks) = page.split_once("<h2>Tasks</h2>").unwrap();
    let (_, rows) = tasks.split_once("<tbody>").unwrap();
    let (rows, _) = rows.split_once("</tbody>").unwrap();
    let number = |part: &str| part.split_once('"').unwrap().0.parse().unwrap();
    let row = |row: &str| row.split("data-value=\"").skip(1).map(number).collect();
    rows.split("<tr>").skip(1).map(row).collect()
}

#[test]
fn the_page_has_the_numbers_of_the_json() {
    let bench = Bench::new();
    let path = bench.folder.path().join("report.html");
    let said = bench.tune(&["--trials", "24", "--html", path.to_str().unwrap()]);
    let page = std::fs::read_to_string(&path).unwrap();
    let rows = cells(&page);
    let tasks = said["tasks"].as_array().unwrap();
    assert_eq!(rows.len(), tasks.len());
    for (row, task) in rows.iter().zip(tasks) {
        let names = [
            "calls",
            "share",
            "bound_ns",
            "before_ns",
            "now_ns",
            "of_bound",
            "trials",
        ];
        let mut wanted: Vec<f64> = names.iter().map(|n| number(&task[n])).collect();
        let ratios = ["ratio", "in_model"].map(|n| &task[n]);
        wanted.extend(ratios.iter().filter(|r| !r.is_null()).map(|r| number(r)));
        assert_eq!(*row, wanted, "{task}");
        assert!(page.contains(&format!(">{}<small>", task["name"].as_str().unwrap())));
    }
    assert_eq!(page.matches("</svg>").count(), 4);
}

#[test]
fn a_page_that_cannot_be_written_is_refused_before_the_search() {
    let bench = Bench::new();
    let model = digits();
    let path = bench.folder.path().join("nowhere/report.html");
    let begin = std::time::Instant::now();
    let page = ["--budget", "10m", "--html", path.to_str().unwrap()];
    let output = bench.run(&[&["tune", model.to_str().unwrap()], &page[..]].concat());
    assert_eq!(output.status.code(), Some(6));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("there is no folder"), "{errors}");
    assert!(begin.elapsed() < Duration::from_secs(60));
    assert!(!bench.records().exists(), "nothing was begun");
}

#[test]
fn what_cannot_be_used_is_said() {
    let bench = Bench::new();
    let model = digits();
    let model = model.to_str().unwrap();
    let code = |arguments: &[&str]| bench.run(arguments).status.code();
    assert_eq!(code(&["tune", model, "--no-records"]), Some(2));
    assert_eq!(code(&["tune", model, "--tasks", "3/2"]), Some(2));
    assert_eq!(code(&["tune", model, "--quick", "--deep"]), Some(2));
    assert_eq!(
        code(&["bench", model, "--records", "nowhere.sqlite3"]),
        Some(3)
    );
    // A file of lines without a record that fits.
    let lines = bench.folder.path().join("lines.jsonl");
    std::fs::write(&lines, "").unwrap();
    let file = lines.to_str().unwrap();
    assert_eq!(
        code(&["compile", model, "--emit", "plan", "--tuning-record", file]),
        Some(3)
    );
    std::fs::write(&lines, "{\"format\":1,\"task\":").unwrap();
    assert_eq!(
        code(&["compile", model, "--emit", "plan", "--tuning-record", file]),
        Some(3)
    );
    // A record that fits, of a kernel that the model does not have.
    let record = serde_json::json!({
        "format": 1, "task": "kernel a() {}\nconstants", "target": "host", "threads": 1,
        "machine": "m", "compiler": env!("CARGO_PKG_VERSION"), "values": "0/tile=1x1",
        "outcome": "accepted", "when_s": 1,
    });
    std::fs::write(&lines, format!("{record}\n")).unwrap();
    let build = ["compile", model, "--emit", "plan", "--threads", "1"];
    let output = bench.run(&[&build[..], &["--tuning-record", file]].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.contains("no record of"),
        "{errors}"
    );
    // A damaged database is a warning, and the model is compiled as the cost model prefers.
    std::fs::write(bench.records(), "no database").unwrap();
    let output = bench.run(&["compile", model, "--emit", "plan"]);
    assert!(output.status.success());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("without records"), "{errors}");
    let records = bench.records();
    let named = ["--records", records.to_str().unwrap()];
    let output = bench.run(&[&["compile", model, "--emit", "plan"], &named[..]].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.contains("without records"),
        "{errors}"
    );
}

/// A file that was cut off, or edited by hand, costs the lines that are damaged.
#[test]
fn lines_that_hold_no_record_cost_no_other_one() {
    let bench = Bench::new();
    let model = digits();
    let file = bench.folder.path().join("lines.jsonl");
    let compiled = |more: &[&str]| {
        let stage = ["compile", model.to_str().unwrap(), "--emit", "schedule"];
        let output = bench.run(&[&stage[..], &["--threads", "1"], more].concat());
        let text = |bytes| String::from_utf8(bytes).unwrap();
        assert!(output.status.success(), "{}", text(output.stderr));
        (text(output.stdout), text(output.stderr))
    };
    let (untuned, _) = compiled(&["--no-records"]);
    let named = ["--tuning-record", file.to_str().unwrap()];
    // Something that a kernel of the model is scheduled with, if anything is.
    bench.tune(&["--trials", "24"]);
    let mut whole = String::new();
    bench.change(&bench.said(&["db", "export"]), |record| {
        record.retain(|name, _| !name.ends_with("_ns") && name != "samples");
        record["outcome"] = "accepted".into();
    });
    for record in records(&bench.said(&["db", "export"])) {
        if record["outcome"] == "accepted" {
            whole += &format!("{record}\n");
        }
    }
    std::fs::write(&file, &whole).unwrap();
    let (tuned, errors) = compiled(&named);
    assert!(tuned != untuned && !errors.contains("warning"), "{errors}");
    let last = whole.lines().count() + 2;
    std::fs::write(&file, format!("not a line\n{whole}{{\"format\":1,\"ta")).unwrap();
    let (with, errors) = compiled(&named);
    assert_eq!(with, tuned);
    for line in [1, last] {
        let warning = format!("warning: {}:{line}: no record: ", file.display());
        assert_eq!(errors.matches(&warning).count(), 1, "{errors}");
    }
}

/// Records of an export.
fn records(export: &str) -> Vec<Value> {
    let lines = export.lines();
    lines.map(|l| serde_json::from_str(l).unwrap()).collect()
}

impl Bench {
    /// Imports changed records of kernels that were measured.
    fn change(&self, export: &str, change: impl Fn(&mut serde_json::Map<String, Value>)) {
        let mut lines = String::new();
        for mut record in records(export) {
            if record["outcome"] == "measured" && is_kernel(record["task"].as_str().unwrap()) {
                change(record.as_object_mut().unwrap());
                lines += &format!("{record}\n");
            }
        }
        let file = self.folder.path().join("changed.jsonl");
        std::fs::write(&file, lines).unwrap();
        self.said(&["db", "import", file.to_str().unwrap()]);
    }
}

#[test]
fn times_from_elsewhere_are_measured_here_before_anything_is_compared_with_them() {
    let bench = Bench::new();
    bench.tune(&["--trials", "24"]);
    bench.change(&bench.said(&["db", "export"]), |record| {
        record["median_ns"] = 1.0.into();
        record["default_ns"] = 1e9.into();
        record["samples"] = 1000.into();
    });
    let before = records(&bench.said(&["db", "export"]));
    let said = bench.tune(&["--trials", "16", "--resume"]);
    assert!(number(&said["trials"]) > 0.0, "{said}");
    let ratios = said["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| &t["ratio"]);
    assert!(ratios.filter(|r| !r.is_null()).all(|r| number(r) > 1e-3));
    let mut after = records(&bench.said(&["db", "export"]));
    after.retain(|r| r["outcome"] == "measured" && !before.contains(r));
    assert!(!after.is_empty());
    for record in after {
        let ratio = number(&record["median_ns"]) / number(&record["default_ns"]);
        assert!(ratio > 1e-3, "{record}");
    }
}

#[test]
fn what_failed_is_never_tried_again() {
    let bench = Bench::new();
    bench.tune(&["--trials", "24", "--seed", "3"]);
    let export = bench.said(&["db", "export"]);
    bench.change(&export, |record| {
        record.retain(|name, _| !name.ends_with("_ns") && name != "samples");
        record["outcome"] = "crashed".into();
    });
    let mut crashed = measured(&export);
    crashed.retain(|(task, _)| is_kernel(task));
    assert!(!crashed.is_empty());
    bench.tune(&["--trials", "24", "--seed", "3"]);
    let again = measured(&bench.said(&["db", "export"]));
    for tried in crashed {
        let times = again.iter().filter(|t| **t == tried).count();
        assert_eq!(times, 1, "{tried:?}");
    }
}

#[test]
fn a_budget_that_holds_no_run_is_said() {
    let bench = Bench::new();
    let model = digits();
    let output = bench.run(&["tune", model.to_str().unwrap(), "--budget", "1ms"]);
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("does not hold two runs"), "{errors}");
}

/// Models are compiled and run only while there is time for it.
#[test]
fn what_is_not_proven_in_time_is_not_accepted() {
    use std::sync::atomic::AtomicBool;
    use tensmith::tune::sides::{Sides, Variant};
    use tensmith::tune::stitch::{Earlier, Kept, Limits, stitch};
    use tensmith::tune::{Found, until::Until};
    let model = tensmith::Model::load(digits(), &tensmith::LoadOptions::default()).unwrap();
    let mut options = tensmith::Options {
        threads: Some(1),
        ..tensmith::Options::default()
    };
    let imported = model.import_for(&Default::default(), &mut options).unwrap();
    let untuned = Variant::new(&imported, &options, None).unwrap();
    let stop = AtomicBool::new(true);
    let asked = Until::new(tensmith_runtime::Stopwatch::start(), u64::MAX, &stop);
    let late = Until::never().by(0);
    for until in [&asked, &late] {
        let variants = [untuned.clone(), untuned.clone()];
        assert!(Sides::new(&variants, 1e6, until).unwrap().is_none());
        // No inputs: nothing is run.
        let made = Sides::new(&variants, 1e6, &Until::never()).unwrap();
        let mut made = made.unwrap();
        assert!(made.whole(&[], 1, until).unwrap().is_none());
        assert!(made.by_task(&[], 1, until).unwrap().is_none());
        let values = "0/tile=1x1".parse().unwrap();
        let found = Found::from_iter([("a task".to_string(), values)]);
        let limits = Limits {
            measure_ns: 1,
            by_task: true,
            until,
            latency_ns: 1.0,
            compile_ns: 1,
        };
        let earlier = Earlier::default();
        let stitched = stitch(&untuned, &found, &earlier, &[], &found, &limits).unwrap();
        assert!(stitched.is_cut && stitched.kept == Kept::Untuned);
        assert!(stitched.found.is_empty() && stitched.tasks.is_empty());
    }
}

#[test]
fn a_page_takes_the_place_of_nothing_that_is_needed() {
    let bench = Bench::new();
    let model = bench.folder.path().join("model.onnx");
    std::fs::copy(digits(), &model).unwrap();
    std::os::unix::fs::symlink(&model, bench.folder.path().join("link.html")).unwrap();
    let bytes = std::fs::read(&model).unwrap();
    for name in [
        "model.onnx",
        "link.html",
        "records.sqlite3",
        "records.sqlite3-wal",
    ] {
        let page = bench.folder.path().join(name);
        let page = page.to_str().unwrap();
        let output = bench.run(&["tune", model.to_str().unwrap(), "--html", page]);
        assert_eq!(output.status.code(), Some(2), "{name}");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains("--html needs another file"), "{errors}");
    }
    assert!(std::fs::read(&model).unwrap() == bytes && !bench.records().exists());
}

#[test]
fn more_threads_than_a_machine_can_use_are_refused() {
    let bench = Bench::new();
    let model = digits();
    // Nobody has a quarter as many cores.
    let threads = ["--threads", "1024"];
    if tensmith_runtime::usable_cores() >= 256 {
        return;
    }
    let output = bench.run(&[&["bench", model.to_str().unwrap()], &threads[..]].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("usable cores"), "{errors}");
}
