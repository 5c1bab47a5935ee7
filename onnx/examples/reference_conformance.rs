//! Runs the conformance cases of a folder by the reference evaluator and counts what passes.
//!
//! `reference_conformance <folder> [part of a name] [--failed]` reads `<folder>/index.json` for
//! names and tolerances, and each case in `<folder>/<kind>/<name>/`.
use std::collections::BTreeMap;
use std::path::Path;

use prost::Message;
use tensmith_ir::eval::eval_graph_with;
use tensmith_ir::tensor::{Tensor, Wide};
use tensmith_onnx::import::{ImportOptions, import, ir_tensor};
use tensmith_onnx::proto::TensorProto;
use tensmith_onnx::{Budget, LoadedModel, load};

/// A case of the index.
struct Case {
    name: String,
    kind: String,
    rtol: f64,
    atol: f64,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut plain = args.iter().filter(|a| !a.starts_with("--"));
    let Some(root) = plain.next() else {
        eprintln!("usage: reference_conformance <folder> [part of a name] [--failed]");
        std::process::exit(2);
    };
    let part = plain.next().map_or("", String::as_str);
    let index = Path::new(root).join("index.json");
    let text = std::fs::read_to_string(&index).expect("the folder has an index.json");
    let cases = read_index(&text);
    let mut passed = 0;
    let mut failures: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut total = 0;
    for case in cases.iter().filter(|c| c.name.contains(part)) {
        let folder = Path::new(root).join(&case.kind).join(&case.name);
        if !folder.is_dir() {
            continue;
        }
        total += 1;
        let run = std::panic::catch_unwind(|| run(&folder, case));
        match run.unwrap_or_else(|_| Err("PANIC".into())) {
            Ok(()) => passed += 1,
            Err(reason) => failures.entry(reason).or_default().push(case.name.clone()),
        }
    }
    let mut groups: Vec<_> = failures.into_iter().collect();
    groups.sort_by_key(|(_, names)| std::cmp::Reverse(names.len()));
    for (reason, names) in &groups {
        let shown = if args.iter().any(|a| a == "--failed") {
            names.len()
        } else {
            4
        };
        println!(
            "{:4} {reason}: {}",
            names.len(),
            names[..shown.min(names.len())].join(" ")
        );
    }
    println!("{passed} of {total} pass");
}

/// Reads the flat list of objects that the index is.
fn read_index(text: &str) -> Vec<Case> {
    let field = |object: &str, name: &str| {
        let at = object.find(&format!("\"{name}\":"))? + name.len() + 3;
        let rest = object[at..].trim_start();
        let end = rest.find([',', '\n', '}']).unwrap_or(rest.len());
        Some(rest[..end].trim().trim_matches('"').to_owned())
    };
    let number = |text: Option<String>| text.and_then(|t| t.parse().ok()).unwrap_or(0.0);
    text.split('{')
        .filter_map(|object| {
            Some(Case {
                name: field(object, "name")?,
                kind: field(object, "kind")?,
                rtol: number(field(object, "rtol")),
                atol: number(field(object, "atol")),
            })
        })
        .collect()
}

fn run(folder: &Path, case: &Case) -> Result<(), String> {
    let model = load(folder.join("model.onnx"), &Budget::default())
        .map_err(|e| format!("load: {}", first_line(&e.to_string())))?;
    for k in 0.. {
        let set = folder.join(format!("test_data_set_{k}"));
        if !set.is_dir() {
            break;
        }
        run_set(&model, &set, case)?;
    }
    Ok(())
}

fn run_set(model: &LoadedModel, set: &Path, case: &Case) -> Result<(), String> {
    let mut options = ImportOptions::default();
    let mut inputs = Vec::new();
    let names: Vec<String> = model.required_inputs().map(|i| i.name.clone()).collect();
    for (k, name) in names.iter().enumerate() {
        let Some(tensor) = read_tensor(model, &set.join(format!("input_{k}.pb")))? else {
            return Err(format!("input {k} is not stored"));
        };
        let shape = tensor.shape.iter().map(|n| *n as i64).collect();
        options.input_shapes.insert(name.clone(), shape);
        options.specialise.insert(name.clone(), tensor.clone());
        inputs.push(tensor);
    }
    let imported = import(model, &options).map_err(|e| group(&e))?;
    let results = eval_graph_with(&imported.graph, &inputs, &mut |_, _| {})
        .map_err(|e| format!("eval: {e}"))?;
    for (k, found) in results.iter().enumerate() {
        if let Some(want) = read_tensor(model, &set.join(format!("output_{k}.pb")))? {
            compare(k, found, &want, case)?;
        }
    }
    Ok(())
}

fn read_tensor(model: &LoadedModel, path: &Path) -> Result<Option<Tensor>, String> {
    let Ok(bytes) = std::fs::read(path) else {
        return Ok(None);
    };
    let proto = TensorProto::decode(&bytes[..]).map_err(|_| "data is no tensor".to_owned())?;
    let data = model.tensor(&proto, "data");
    let data = data.map_err(|e| format!("data: {}", first_line(&e.to_string())))?;
    ir_tensor(&data, "data").map(Some).map_err(|e| group(&e))
}

fn compare(k: usize, found: &Tensor, want: &Tensor, case: &Case) -> Result<(), String> {
    if found.dtype != want.dtype || found.shape != want.shape {
        return Err(format!(
            "WRONG type of result {k}: {found:?}, want {want:?}"
        ));
    }
    let differs = match (found.to_wide(), want.to_wide()) {
        (Wide::Int(a), Wide::Int(b)) => a.iter().zip(&b).position(|(a, b)| a != b),
        _ => {
            let near = |a: f64, b: f64| {
                a == b
                    || (a.is_nan() && b.is_nan())
                    || (a - b).abs() <= case.atol + case.rtol * b.abs()
            };
            let (a, b) = (found.to_f64(), want.to_f64());
            a.iter().zip(&b).position(|(a, b)| !near(*a, *b))
        }
    };
    match differs {
        Some(at) => Err(format!(
            "WRONG result {k} at {at} of {}: {}, want {}",
            want.count(),
            found.to_f64()[at],
            want.to_f64()[at]
        )),
        None => Ok(()),
    }
}

/// An import error without the names of nodes, so that equal reasons fall together.
fn group(error: &tensmith_onnx::OnnxError) -> String {
    match error {
        tensmith_onnx::OnnxError::Unsupported { items } => {
            let mut whats: Vec<&str> = items.iter().map(|i| i.what.as_str()).collect();
            whats.sort_unstable();
            whats.dedup();
            whats.join("; ")
        }
        other => first_line(&other.to_string()),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or("").to_owned()
}
