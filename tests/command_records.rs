//! `tensmith db` and `tensmith doctor` through the program: what they print, files, exit codes.

use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tensmith_autotune::records::{Database, Key, Outcome, Trial};

/// Runs the program in a folder that is also the user's home.
fn tensmith(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tensmith"));
    for name in ["XDG_CACHE_HOME", "XDG_DATA_HOME", "TENSMITH_RECORDS"] {
        command.env_remove(name);
    }
    command
        .args(arguments)
        .env("HOME", folder)
        .current_dir(folder);
    command.output().unwrap()
}

fn run(folder: &Path, arguments: &[&str], code: i32) -> (String, String) {
    let output = tensmith(folder, arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
    assert!(!errors.contains("panicked"), "{errors}");
    (String::from_utf8(output.stdout).unwrap(), errors)
}

fn succeed(folder: &Path, arguments: &[&str]) -> String {
    run(folder, arguments, 0).0
}

fn fail(folder: &Path, arguments: &[&str], code: i32, part: &str) {
    let (_, errors) = run(folder, arguments, code);
    assert!(errors.contains(part), "{arguments:?}: {errors}");
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("only JSON on stdout")
}

fn key(task: &str, machine: &str) -> Key {
    Key {
        task: format!("kernel {task}() {{\n  out o0: f32[4]\n}}\n"),
        target: "host".into(),
        threads: 2,
        machine: machine.into(),
        compiler: "0.0.9".into(),
    }
}

fn trial(values: &str, median_ns: f64) -> Trial {
    Trial {
        values: values.parse().unwrap(),
        outcome: Outcome::Measured {
            median_ns,
            default_ns: 2000.0,
            samples: 15,
        },
        when_s: 1_700_000_000,
    }
}

fn crash(values: &str) -> Trial {
    Trial {
        outcome: Outcome::Crashed,
        ..trial(values, 1.0)
    }
}

fn accepted(values: &str) -> Trial {
    Trial {
        outcome: Outcome::Accepted,
        ..trial(values, 1.0)
    }
}

/// A home with two tasks in its records, the first with a failure, the second with values that are used.
fn home(machine: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".local/share/tensmith/records.sqlite3");
    let database = Database::open(&path).unwrap();
    for (task, trial) in [
        ("first", trial("0/tile=6x4", 1500.0)),
        ("first", trial("0/tile=8x3", 1250.0)),
        ("first", crash("0/tile=1x1")),
        ("second", accepted("0/tile=2x2")),
        ("second", trial("0/tile=2x2", 1900.0)),
    ] {
        database.insert(&key(task, machine), &trial).unwrap();
    }
    folder
}

#[test]
fn tasks_are_listed_and_shown() {
    let home = home("m1");
    let text = succeed(home.path(), &["db", "list"]);
    let row = text.lines().find(|l| l.contains("first")).unwrap();
    for part in [
        "kernel first()",
        "1.2 us",
        "2.0 us",
        "0.625",
        "host x2",
        " d ",
    ] {
        assert!(row.contains(part), "{part}: {row}");
    }
    assert!(!text.contains("m1"), "one machine needs no column: {text}");
    let rows = json(&succeed(home.path(), &["db", "list", "--json"]));
    let first = &rows[0];
    assert_eq!(
        (&first["best_ns"], &first["default_ns"]),
        (&1250.0.into(), &2000.0.into())
    );
    assert_eq!((&first["trials"], &first["failed"]), (&3.into(), &1.into()));
    assert_eq!(
        (&first["accepted"], &rows[1]["accepted"]),
        (&Value::Null, &"0/tile=2x2".into())
    );
    assert_eq!(rows[1]["trials"], 1);
    let id = first["id"].as_str().unwrap();
    let text = succeed(home.path(), &["db", "show", &id[..8]]);
    assert!(text.starts_with("kernel first() {\n  out o0"), "{text}");
    assert!(
        text.contains("crashed") && text.contains("machine m1"),
        "{text}"
    );
    let best = text
        .lines()
        .find(|l| l.trim_start().starts_with('*'))
        .unwrap();
    assert!(best.contains("0/tile=8x3"), "{text}");
    let task = json(&succeed(home.path(), &["db", "show", id, "--json"]));
    assert_eq!(task["keys"][0]["best"]["values"], "0/tile=8x3");
    assert_eq!(task["keys"][0]["trials"].as_array().unwrap().len(), 3);
    fail(home.path(), &["db", "show", "zz"], 2, "tensmith db list");
    fail(home.path(), &["db", "show"], 2, "ID");
    fail(home.path(), &["db"], 2, "Usage");
}

#[test]
fn records_go_from_one_machine_to_another() {
    let (a, b) = (home("m1"), home("m2"));
    let file = a.path().join("mine.jsonl");
    succeed(a.path(), &["db", "export", "-o", "mine.jsonl"]);
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, succeed(a.path(), &["db", "export"]));
    assert_eq!(text.lines().count(), 5);
    let torn = text.clone() + &text[..100];
    std::fs::write(&file, torn).unwrap();
    let file = file.to_str().unwrap();
    let (out, errors) = run(b.path(), &["db", "import", file, "--json"], 0);
    let done = &json(&out)[0];
    assert_eq!((&done["added"], &done["refused"]), (&5.into(), &1.into()));
    assert!(errors.contains("mine.jsonl:6: no record"), "{errors}");
    let again = json(&succeed(b.path(), &["db", "import", file, "--json"]));
    assert_eq!(
        (&again[0]["added"], &again[0]["known"]),
        (&0.into(), &5.into())
    );
    let two = succeed(b.path(), &["db", "list"]);
    assert!(two.contains("m1") && two.contains("m2"), "{two}");
    let other = b.path().join(".local/share/tensmith/records.sqlite3");
    let other = other.to_str().unwrap();
    let merged = json(&succeed(a.path(), &["db", "merge", other, "--json"]));
    assert_eq!(
        (&merged[0]["added"], &merged[0]["known"]),
        (&5.into(), &5.into())
    );
    let [ours, theirs] = [&a, &b].map(|home| succeed(home.path(), &["db", "export"]));
    assert_eq!(ours, theirs);
}

#[test]
fn lines_come_from_the_standard_input_too() {
    let home = home("m1");
    let lines = succeed(home.path(), &["db", "export"]);
    let pool = home.path().join("pool/records");
    let pool = pool.to_str().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tensmith"))
        .args(["db", "import", "-", "--records", pool])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(lines.as_bytes()).unwrap();
    drop(input);
    assert!(child.wait().unwrap().success());
    assert_eq!(
        succeed(home.path(), &["db", "export", "--records", pool]),
        lines
    );
}

#[test]
fn files_that_are_none_are_refused() {
    let home = home("m1");
    std::fs::write(home.path().join("text"), "no database\n".repeat(500)).unwrap();
    fail(
        home.path(),
        &["db", "import", "text"],
        3,
        "no line is a record",
    );
    fail(home.path(), &["db", "import", "gone"], 6, "gone");
    fail(home.path(), &["db", "import"], 2, "FILE");
    fail(home.path(), &["db", "merge", "gone"], 3, "gone");
    fail(home.path(), &["db", "merge", "text"], 3, "text");
    fail(
        home.path(),
        &["db", "list", "--records", "text"],
        3,
        "damaged",
    );
    fail(home.path(), &["db", "list", "--records", "gone"], 6, "gone");
    fail(
        home.path(),
        &["db", "export", "-o", "no/such/folder"],
        6,
        "make it first",
    );
    fail(home.path(), &["db", "export", "--json"], 2, "--output");
    assert_eq!(
        json(&succeed(home.path(), &["db", "list", "--json"]))[0]["trials"],
        3
    );
}

#[test]
fn a_home_without_records_has_none() {
    let home = tempfile::tempdir().unwrap();
    for verb in ["list", "export", "check"] {
        let (_, errors) = run(home.path(), &["db", verb], 0);
        assert!(errors.contains("no records yet"), "{verb}: {errors}");
    }
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    let output = Command::new(env!("CARGO_BIN_EXE_tensmith"))
        .args(["db", "list"])
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--records FILE"));
}

#[test]
fn the_environment_names_the_file() {
    let home = home("m1");
    let path = home.path().join(".local/share/tensmith/records.sqlite3");
    let elsewhere = tempfile::tempdir().unwrap();
    let run = |name: &str, value: &Path| {
        let output = Command::new(env!("CARGO_BIN_EXE_tensmith"))
            .args(["db", "list", "--json"])
            .env_clear()
            .env("HOME", elsewhere.path())
            .env(name, value)
            .output()
            .unwrap();
        json(&String::from_utf8(output.stdout).unwrap())
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(run("TENSMITH_RECORDS", &path), 2);
    assert_eq!(run("XDG_DATA_HOME", &home.path().join(".local/share")), 2);
    assert_eq!(run("NOTHING", &path), 0);
}

#[test]
fn damage_is_found_and_named() {
    let home = home("m1");
    let report = json(&succeed(home.path(), &["db", "check", "--json"]));
    assert_eq!(
        (&report["records"], &report["journal_mode"]),
        (&5.into(), &"wal".into())
    );
    let path = home.path().join(".local/share/tensmith/records.sqlite3");
    let mut bytes = std::fs::read(&path).unwrap();
    // Behind the head, so that it still is a database.
    bytes[120..4096].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let (_, errors) = run(home.path(), &["db", "check"], 3);
    assert!(
        errors.contains("damaged") && errors.contains("--records FILE"),
        "{errors}"
    );
}

#[test]
fn pruning_says_what_it_would_do() {
    let home = home("m1");
    let prune = |words: &[&str]| {
        let report = succeed(home.path(), &[&["db", "prune", "--json"], words].concat());
        json(&report)["dropped"].as_u64().unwrap()
    };
    assert_eq!(prune(&["--other-compilers", "--dry-run"]), 5);
    assert_eq!(prune(&["--older-than", "1d", "--machine", "m2"]), 0);
    assert_eq!(prune(&["--keep-best", "1"]), 2);
    assert_eq!(prune(&["--compiler", "0.0.9"]), 3);
    assert_eq!(succeed(home.path(), &["db", "list"]), "");
    fail(home.path(), &["db", "prune"], 2, "--keep-best");
    fail(
        home.path(),
        &["db", "prune", "--older-than", "soon"],
        2,
        "90d",
    );
}

/// The first call measures, the second one reads what was kept.
#[test]
fn doctor_measures_once_and_shows_all() {
    let home = home("m1");
    let (out, _) = run(home.path(), &["doctor", "--json"], 0);
    let report = json(&out);
    let profile = &report["profile"];
    assert!(profile["took_ms"].as_f64().unwrap() > 100.0);
    assert_eq!(profile["memory"][0]["name"], "L1");
    assert!(profile["arithmetic"][0]["flops_per_s"].as_f64().unwrap() > 1e8);
    assert_eq!(report["records"]["health"]["records"], 5);
    assert!(report["cores"]["usable"].as_u64().unwrap() >= 1);
    let path = Path::new(report["profile_path"].as_str().unwrap());
    assert!(path.starts_with(home.path().join(".cache/tensmith")));
    let again = json(&succeed(home.path(), &["doctor", "--json"]));
    assert_eq!(&again["profile"], profile);
    let text = succeed(home.path(), &["doctor"]);
    for part in [
        "processor",
        "GFLOP/s",
        "L1",
        "memory",
        "5 of 2 tasks",
        "sound",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // A profile of another machine is measured again.
    let kept = std::fs::read_to_string(path).unwrap();
    let changed = kept.replace("\"machine\": \"", "\"machine\": \"another-");
    std::fs::write(path, &changed).unwrap();
    let (_, errors) = run(home.path(), &["doctor"], 0);
    assert!(errors.contains("another processor"), "{errors}");
    assert_ne!(std::fs::read_to_string(path).unwrap(), changed);
    std::fs::write(home.path().join("text"), "no database\n".repeat(500)).unwrap();
    let (out, errors) = run(home.path(), &["doctor", "--records", "text"], 1);
    assert!(
        out.contains("damaged") && errors.contains("damaged"),
        "{out} {errors}"
    );
}

/// As in a container without a home: all is measured and shown, and what cannot be kept is said.
#[test]
fn doctor_needs_no_home() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tensmith"));
    command.arg("doctor").current_dir(folder.path());
    for name in [
        "HOME",
        "XDG_CACHE_HOME",
        "XDG_DATA_HOME",
        "TENSMITH_RECORDS",
    ] {
        command.env_remove(name);
    }
    let output = command.output().unwrap();
    let [out, errors] = [output.stdout, output.stderr].map(|b| String::from_utf8(b).unwrap());
    assert_eq!(output.status.code(), Some(0), "{errors}");
    for part in [
        "GFLOP/s",
        "profile    not kept",
        "the profile cannot be kept",
        "there is no folder for records",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
