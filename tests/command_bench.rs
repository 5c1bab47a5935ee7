//! `tensmith bench`: comparisons with stored results, other models and other builds.
mod support;

use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use support::asset;

/// The inputs of the digit model as `bench` describes them.
const INPUTS: &str = "image: f32[1, 1, 8, 8]";

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tensmith"))
        .arg("bench")
        .arg(asset("digits.onnx"))
        .args(["--threads", "1", "--duration", "30ms"])
        .args(arguments)
        .output()
        .unwrap()
}

fn expect(arguments: &[&str], code: i32, message: &str) -> Output {
    let output = bench(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
    assert!(errors.contains(message), "{arguments:?}: {errors}");
    output
}

/// The comparison in the JSON report of a run that ended with `code`.
fn compare(with: &Path, limit: &str, code: i32, message: &str) -> Value {
    let with = with.to_str().unwrap();
    let arguments = ["--compare", with, "--fail-if-slower", limit, "--json"];
    let output = expect(&arguments, code, message);
    let report: Value = serde_json::from_slice(&output.stdout).expect("only JSON on stdout");
    let comparison = report["comparison"].clone();
    let ratio = |key: &str| comparison["ratio"][key].as_f64().unwrap();
    assert!(0.0 < ratio("low") && ratio("low") <= ratio("median"));
    assert!(ratio("median") <= ratio("high"));
    assert_eq!(comparison["other_blocks"], 15);
    comparison
}

/// A stored result with every time multiplied by `factor`.
fn store_scaled(path: &Path, mut report: Value, factor: f64) {
    for block in report["blocks"].as_array_mut().unwrap() {
        block["median_ns"] = (block["median_ns"].as_f64().unwrap() * factor).into();
    }
    std::fs::write(path, report.to_string()).unwrap();
}

/// A program that speaks the protocol and always answers the same. A child process writes it, so
/// that no descriptor of this process is open for writing while it starts.
fn impostor(folder: &Path, name: &str, answer: &str) -> PathBuf {
    let path = folder.join(name);
    let script = format!(
        "#!/bin/sh\necho '{{\"threads\":1,\"inputs\":\"{INPUTS}\",\"compile_ms\":1.0}}'\n\
         while read ns; do {answer}; done\n"
    );
    let mut writer = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod +x \"$0\""])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    writer
        .stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    assert!(writer.wait().unwrap().success());
    path
}

#[test]
fn stored_results_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base.json");
    expect(&["--save", base.to_str().unwrap()], 0, "");
    let report: Value = serde_json::from_slice(&std::fs::read(&base).unwrap()).unwrap();
    let blocks = report["blocks"].as_array().unwrap();
    assert_eq!(blocks.len(), 15);
    for block in blocks {
        assert_eq!(
            block["runs"].as_u64().unwrap() as usize,
            block["samples_ns"].as_array().unwrap().len()
        );
        assert!(block["peak_gflops"].as_f64().unwrap() > 0.0);
    }

    let comparison = compare(&base, "900%", 0, "");
    assert_eq!(comparison["measured"], "stored");
    assert!(comparison["normalised_ratio"]["median"].as_f64().unwrap() > 0.0);
    assert_ne!(comparison["verdict"], "slower");

    // A hundred times as fast, and a hundred times as slow.
    store_scaled(&base, report.clone(), 0.01);
    let comparison = compare(&base, "3%", 1, "slower than");
    assert_eq!(comparison["verdict"], "slower");
    expect(&["--compare", base.to_str().unwrap()], 0, "");
    store_scaled(&base, report, 100.0);
    assert_eq!(compare(&base, "3%", 0, "")["verdict"], "faster");
}

#[test]
fn the_json_report_serves_as_a_stored_result() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base.json");
    let report = expect(&["--json"], 0, "").stdout;
    std::fs::write(&base, report).unwrap();
    assert_eq!(compare(&base, "900%", 0, "")["measured"], "stored");
}

#[test]
fn other_models_and_builds_are_measured_in_turns() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("other.onnx");
    std::fs::copy(asset("digits.onnx"), &model).unwrap();
    assert_eq!(compare(&model, "900%", 0, "")["measured"], "in turns");
    let own = Path::new(env!("CARGO_BIN_EXE_tensmith"));
    assert_eq!(compare(own, "900%", 0, "")["measured"], "in turns");
}

#[test]
fn what_other_builds_answer_decides() {
    let folder = tempfile::tempdir().unwrap();
    let quick = impostor(folder.path(), "quick", r#"echo '{"samples_ns":[1,1,1]}'"#);
    let verdict = &compare(&quick, "3%", 1, "slower than")["verdict"];
    assert_eq!(verdict, "slower");
    let slow = impostor(
        folder.path(),
        "slow",
        r#"echo '{"samples_ns":[100000000000]}'"#,
    );
    assert_eq!(compare(&slow, "3%", 0, "")["verdict"], "faster");
    for (name, answer) in [
        ("mute", "exit 0"),
        ("wrong", "echo '{}'"),
        ("none", r#"echo '{"samples_ns":[]}'"#),
    ] {
        let path = impostor(folder.path(), name, answer);
        expect(
            &["--compare", path.to_str().unwrap()],
            1,
            "ended or answered wrongly",
        );
    }
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let file = |name: &str, text: &str| {
        std::fs::write(path(name), text).unwrap();
        path(name).to_str().unwrap().to_owned()
    };
    expect(&["--fail-if-slower", "3%"], 2, "--compare");
    expect(
        &["--compare", &file("a.txt", "hello")],
        2,
        "expected a result that --save wrote",
    );
    expect(&["--compare", &file("b.json", "{}")], 3, "no stored result");
    expect(
        &["--compare", &file("c.onnx", "no model")],
        3,
        "its message is above",
    );
    expect(
        &["--compare", path("absent").to_str().unwrap()],
        6,
        "absent",
    );
    expect(
        &["--compare", "x.onnx", "--fail-if-slower", "3"],
        2,
        "such as 3%",
    );
    expect(&["--pairs", "14"], 2, "15..=1000");

    let base = path("base.json");
    let base = base.to_str().unwrap();
    expect(&["--save", base], 0, "");
    expect(&["--compare", base, "--dim", "batch=2"], 2, "other inputs");
    let report = serde_json::from_slice(&std::fs::read(base).unwrap()).unwrap();
    store_scaled(Path::new(base), report, -1.0);
    expect(&["--compare", base], 3, "a time is not within");
    // A device without an end.
    std::os::unix::fs::symlink("/dev/zero", path("endless.json")).unwrap();
    let endless = path("endless.json");
    expect(&["--compare", endless.to_str().unwrap()], 5, "longer than");
}
