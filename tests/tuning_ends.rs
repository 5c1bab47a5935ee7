//! How `tensmith tune` ends before its time, and what it refuses.
mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::bench::{Bench, digits, is_kernel, lines, measured, measured_of, number, records};

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
