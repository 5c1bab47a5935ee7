//! Tunings from the command line with records of their own.
use super::asset;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A folder with a database of records to be.
pub struct Bench {
    /// The folder.
    pub folder: TempDir,
}

impl Bench {
    pub fn new() -> Bench {
        Bench {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub fn records(&self) -> PathBuf {
        self.folder.path().join("records.sqlite3")
    }

    pub fn tensmith(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tensmith"));
        command
            .args(arguments)
            .env("TENSMITH_RECORDS", self.records())
            .env("XDG_CACHE_HOME", self.folder.path());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.tensmith(arguments).output().unwrap()
    }

    /// Standard output of a run that succeeds.
    pub fn said(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn tune(&self, more: &[&str]) -> Value {
        let model = digits();
        let always = ["tune", model.to_str().unwrap(), "--threads", "1", "--json"];
        let said = self.said(&[&always, more].concat());
        serde_json::from_str(&said).unwrap()
    }
}

/// The digit model's file.
pub fn digits() -> PathBuf {
    asset("digits.onnx")
}

/// A number of JSON.
pub fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

/// Tasks and values with a time in an export.
pub fn measured(export: &str) -> Vec<(String, String)> {
    let record = |line: &str| -> Value { serde_json::from_str(line).unwrap() };
    let records = export.lines().map(record);
    let timed = records.filter(|r| r["outcome"] == "measured");
    let text = |r: &Value, name: &str| r[name].as_str().unwrap().to_string();
    timed
        .map(|r| (text(&r, "task"), text(&r, "values")))
        .collect()
}

/// Whether a task is a kernel, and no choice.
pub fn is_kernel(task: &str) -> bool {
    task.starts_with("kernel ")
}

/// Trials of kernels that have a time.
pub fn measured_of(said: &Value) -> f64 {
    let failures = said["tasks"].as_array().unwrap().iter();
    let failures = failures.flat_map(|t| t["failures"].as_object().unwrap().values());
    number(&said["trials"]) - failures.map(number).sum::<f64>()
}

/// How many records there are.
pub fn lines(records: &Path, bench: &Bench) -> usize {
    match records.exists() {
        true => bench.said(&["db", "export"]).lines().count(),
        false => 0,
    }
}

/// Records of an export.
pub fn records(export: &str) -> Vec<Value> {
    let lines = export.lines();
    lines.map(|l| serde_json::from_str(l).unwrap()).collect()
}

impl Bench {
    /// Imports changed records of kernels that were measured.
    pub fn change(&self, export: &str, change: impl Fn(&mut serde_json::Map<String, Value>)) {
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
