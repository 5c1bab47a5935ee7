//! `tensmith tune` from the command line: what it keeps, what it says, and what compilations make
//! of it.
mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use support::bench::{Bench, digits, is_kernel, measured, measured_of, number, records};

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

/// Whether an option was faster by itself and went with a whole that was not kept.
fn is_undone(said: &Value, choice: &Value) -> bool {
    said["kept"] != "new" && number(&choice["ratio"]["high"]) < 1.0
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
