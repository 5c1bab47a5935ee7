//! The ONNX conformance cases, one test each.
//!
//! `tests/conformance/expected_failures.txt` lists the cases that fail, with reasons; a listed
//! case that passes is a failure, so the list can only be right. With
//! `TENSMITH_UPDATE_CONFORMANCE=1` a run of all cases rewrites it.
mod support;

use libtest_mimic::{Arguments, Failed, Trial};
use prost::Message;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::cases::{lock, models_folder, panic_text, same_bits};
use support::watchdog;
use tensmith::convert::to_ir;
use tensmith::files::read_data_set;
use tensmith::verify::{Comparison, Limits, compare};
use tensmith::{Error, LoadOptions, Model, Options, Tensor, TensorView};
use tensmith_onnx::OnnxError;
use tensmith_onnx::proto::{ModelProto, type_proto};

/// A case that takes longer hangs: the slowest take some seconds.
const HANGS_AFTER: Duration = Duration::from_secs(180);

/// Longest reason in the list, in characters.
const REASON_CHARS: usize = 140;

/// The schema's number of the element type of strings.
const STRING: i32 = 8;

#[derive(Deserialize)]
struct Case {
    name: String,
    kind: String,
    rtol: f64,
    atol: f64,
}

/// How a case ended.
#[derive(Clone, PartialEq)]
enum Outcome {
    Passed,
    /// With a reason that is the same in every run, and the details.
    Failed(String, String),
    Panicked(String),
}

type Outcomes = Arc<Mutex<BTreeMap<String, Outcome>>>;

fn main() {
    let mut args = Arguments::from_args();
    args.test_threads.get_or_insert(2);
    let root = models_folder().join("conformance");
    let cases = match read_index(&root) {
        Ok(cases) => cases,
        Err(reason) => {
            eprintln!("{reason}; make the cases with `cargo xtask conformance-data`");
            std::process::exit(101);
        }
    };
    let list = read_list(&list_path());
    let listed: Arc<BTreeSet<String>> = Arc::new(list.keys().cloned().collect());
    let outcomes = Outcomes::default();
    let cases = Arc::new(cases);
    let mut trials: Vec<Trial> = (0..cases.len())
        .map(|k| trial(k, &cases, &root, &listed, &outcomes))
        .collect();
    trials.push(every_listed_case_exists(&cases, &listed));
    let conclusion = libtest_mimic::run(&args, trials);
    let outcomes = lock(&outcomes);
    if outcomes.len() == cases.len() {
        report(&cases, &outcomes, &root);
        if std::env::var_os("TENSMITH_UPDATE_CONFORMANCE").is_some_and(|v| v == "1") {
            write_list(&list_path(), &outcomes);
        }
    }
    drop(outcomes);
    conclusion.exit();
}

fn read_index(root: &Path) -> Result<Vec<Case>, String> {
    let path = root.join("index.json");
    let text = std::fs::read_to_string(&path);
    let text = text.map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
}

/// Names of different kinds may be the same.
fn full_name(case: &Case) -> String {
    format!("{}::{}", case.kind, case.name)
}

fn list_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/expected_failures.txt")
}

/// `case: reason` lines.
fn read_list(path: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().filter(|l| !l.starts_with('#'));
    let entries = lines.filter_map(|l| l.split_once(": "));
    entries.map(|(n, r)| (n.into(), r.into())).collect()
}

fn write_list(path: &Path, outcomes: &BTreeMap<String, Outcome>) {
    let mut text = String::from(
        "# Conformance cases that do not pass yet, each with its reason.\n\
         # Rewritten by a run with TENSMITH_UPDATE_CONFORMANCE=1.\n",
    );
    for (name, outcome) in outcomes {
        if let Outcome::Failed(reason, _) = outcome {
            text += &format!("{name}: {reason}\n");
        }
    }
    std::fs::write(path, text).expect("the list can be written");
    println!("wrote {}", path.display());
}

fn every_listed_case_exists(cases: &Arc<Vec<Case>>, listed: &Arc<BTreeSet<String>>) -> Trial {
    let (cases, listed) = (Arc::clone(cases), Arc::clone(listed));
    Trial::test("every_listed_case_exists", move || {
        let known: BTreeSet<String> = cases.iter().map(full_name).collect();
        let unknown: Vec<&String> = listed.difference(&known).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        Err(format!("the list names cases that do not exist: {unknown:?}").into())
    })
}

fn trial(
    k: usize,
    cases: &Arc<Vec<Case>>,
    root: &Path,
    listed: &Arc<BTreeSet<String>>,
    outcomes: &Outcomes,
) -> Trial {
    let (cases, listed, outcomes) = (Arc::clone(cases), Arc::clone(listed), Arc::clone(outcomes));
    let name = full_name(&cases[k]);
    let folder = root.join(&cases[k].kind).join(&cases[k].name);
    Trial::test(name.clone(), move || {
        let _guard = watchdog::watch(&name, HANGS_AFTER);
        let outcome = run_case(&folder, &cases[k]);
        lock(&outcomes).insert(name.clone(), outcome.clone());
        judge(outcome, listed.contains(&name))
    })
}

fn judge(outcome: Outcome, listed: bool) -> Result<(), Failed> {
    match outcome {
        Outcome::Passed if listed => Err("it passes: take it off the list".into()),
        Outcome::Failed(..) if listed => Ok(()),
        Outcome::Passed => Ok(()),
        Outcome::Failed(_, details) => Err(details.into()),
        Outcome::Panicked(text) => Err(format!("panic: {text}").into()),
    }
}

fn run_case(folder: &Path, case: &Case) -> Outcome {
    let sets = || -> Result<(), (String, String)> {
        for k in 0.. {
            let set = folder.join(format!("test_data_set_{k}"));
            if !set.is_dir() {
                break;
            }
            run_set(folder, &set, case)?;
        }
        Ok(())
    };
    match catch_unwind(AssertUnwindSafe(sets)) {
        Ok(Ok(())) => Outcome::Passed,
        Ok(Err((reason, details))) => Outcome::Failed(reason, details),
        Err(payload) => Outcome::Panicked(panic_text(&*payload)),
    }
}

/// Errors: a reason that is the same in every run, and the details.
fn run_set(folder: &Path, set: &Path, case: &Case) -> Result<(), (String, String)> {
    let failed = |e: Error| (stable_reason(&e, folder), e.to_string());
    let model = Model::load(folder.join("model.onnx"), &LoadOptions::default()).map_err(failed)?;
    if let Some(text) = unreadable_port(&model) {
        return Err((text.clone(), text));
    }
    let data = read_data_set(set, model.loaded()).map_err(failed)?;
    let mut options = Options::default();
    let imported = model
        .import_for(&data.inputs, &mut options)
        .map_err(failed)?;
    let mut runs = Vec::new();
    let mut names = Vec::new();
    for threads in [1, 2] {
        options.threads = Some(threads);
        let executable = imported.compile(&options).map_err(failed)?;
        let known = &executable.signature().inputs;
        let inputs = known
            .iter()
            .filter_map(|i| data.inputs.get_key_value(&i.name));
        let inputs: Vec<(&str, TensorView<'_>)> =
            inputs.map(|(name, t)| (&name[..], t.view())).collect();
        runs.push(executable.run(&inputs).map_err(failed)?);
        let outputs = &executable.signature().outputs;
        names = outputs.iter().map(|o| o.name.clone()).collect();
    }
    if !same_bits(&runs[0], &runs[1]) {
        let text = "1 and 2 threads give different bits".to_string();
        return Err((text.clone(), text));
    }
    if data.outputs.is_empty() {
        let text = "no expected outputs are stored".to_string();
        return Err((text.clone(), text));
    }
    for (name, expected) in &data.outputs {
        let found = names.iter().position(|n| n == name);
        let found = found.map(|at| &runs[0][at]);
        check_output(name, found, expected, case)?;
    }
    Ok(())
}

/// What the files of an input or output hold, if not a tensor of numbers.
fn unreadable_port(model: &Model) -> Option<String> {
    let graph = model.loaded().graph();
    graph.input.iter().chain(&graph.output).find_map(|port| {
        let value = port.r#type.as_ref().and_then(|t| t.value.as_ref());
        let what = match value {
            Some(type_proto::Value::Tensor(t)) if t.elem_type == STRING => "a tensor of strings",
            Some(type_proto::Value::Tensor(_)) | None => return None,
            Some(_) => "not a tensor",
        };
        Some(format!("`{}` is {what}", port.name))
    })
}

fn check_output(
    name: &str,
    found: Option<&Tensor>,
    expected: &Tensor,
    case: &Case,
) -> Result<(), (String, String)> {
    let Some(found) = found else {
        let text = format!("output `{name}` is missing");
        return Err((text.clone(), text));
    };
    let limits = Limits {
        elementwise: Some((case.rtol, case.atol)),
        ..Limits::default()
    };
    let kind = if found.dtype() != expected.dtype() {
        "type"
    } else if found.shape() != expected.shape() {
        "shape"
    } else {
        "values"
    };
    let result = compare(found, &to_ir(expected.view()), &limits);
    if result.passed {
        return Ok(());
    }
    let Comparison {
        index,
        found: a,
        expected: b,
        ..
    } = result;
    let details = format!(
        "output `{name}`: {kind} differ: found {}{:?}, expected {}{:?}; worst at {index:?}: found {a:?}, expected {b:?}",
        found.dtype(),
        found.shape(),
        expected.dtype(),
        expected.shape()
    );
    Err((format!("output `{name}`: other {kind}"), details))
}

/// The first line of an error, without paths; of a list of what is not supported, the first item.
fn stable_reason(error: &Error, folder: &Path) -> String {
    let text = match error {
        Error::Model(OnnxError::Unsupported { items }) => {
            format!("unsupported: {}", items[0].what)
        }
        Error::File { reason, .. } => reason.clone(),
        other => other.to_string(),
    };
    let text = text.replace(&folder.display().to_string(), "");
    let line = text.lines().next().unwrap_or("");
    let mut short: String = line.chars().take(REASON_CHARS).collect();
    if short.len() < line.len() {
        short += "...";
    }
    short
}

/// Passes and cases.
#[derive(Default, serde::Serialize)]
struct Count {
    passed: usize,
    total: usize,
}

impl Count {
    fn add(&mut self, passed: bool) {
        self.total += 1;
        self.passed += usize::from(passed);
    }
}

/// Prints the passes by kind and by operator, and writes them beside the cases.
fn report(cases: &[Case], outcomes: &BTreeMap<String, Outcome>, root: &Path) {
    let mut kinds: BTreeMap<&str, Count> = BTreeMap::new();
    let mut ops: BTreeMap<String, Count> = BTreeMap::new();
    for case in cases {
        let passed = outcomes[&full_name(case)] == Outcome::Passed;
        kinds.entry(&case.kind).or_default().add(passed);
        if case.kind != "node" || case.name.contains("_expanded") {
            continue;
        }
        for op in operators(&root.join("node").join(&case.name)) {
            ops.entry(op).or_default().add(passed);
        }
    }
    println!("\npasses by operator (node cases without the expanded ones):");
    for (op, count) in &ops {
        println!("  {op:<32} {:>4} of {:>4}", count.passed, count.total);
    }
    println!("passes by kind:");
    for (kind, count) in &kinds {
        println!("  {kind:<32} {:>4} of {:>4}", count.passed, count.total);
    }
    let summary = serde_json::json!({ "kinds": kinds, "operators": ops });
    let path = root.with_file_name("conformance-summary.json");
    let text = serde_json::to_string_pretty(&summary).expect("counts are JSON");
    if let Err(e) = std::fs::write(&path, text) {
        eprintln!("cannot write {}: {e}", path.display());
    }
}

/// The operators of the main graph of a case.
fn operators(folder: &Path) -> BTreeSet<String> {
    let bytes = std::fs::read(folder.join("model.onnx")).unwrap_or_default();
    let model = ModelProto::decode(&bytes[..]).unwrap_or_default();
    let nodes = model.graph.map(|g| g.node).unwrap_or_default();
    let name = |domain: &str, op: &str| match domain {
        "" => op.to_string(),
        domain => format!("{domain}.{op}"),
    };
    nodes.iter().map(|n| name(&n.domain, &n.op_type)).collect()
}
