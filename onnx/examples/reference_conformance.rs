//! Imports ONNX test cases and compares the reference evaluator with their expected results.
//!
//! `cargo run -p tensmith-onnx --example reference_conformance -- DIR [FILTER]` walks the folders
//! of DIR that hold a `model.onnx` and prints each case that does not pass, with the reason.
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use prost::Message as _;
use tensmith_ir::eval::eval_graph;
use tensmith_ir::tensor::{Tensor, Wide};
use tensmith_onnx::import::{ImportOptions, import, ir_tensor};
use tensmith_onnx::proto::{GraphProto, ModelProto, OperatorSetIdProto, TensorProto};
use tensmith_onnx::{Budget, load, load_bytes};

const RTOL: f64 = 1e-3;
const ATOL: f64 = 1e-5;

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().expect("DIR"));
    let filter = args.next().unwrap_or_default();
    let mut cases: Vec<PathBuf> = std::fs::read_dir(&dir)
        .expect("DIR is readable")
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.join("model.onnx").exists() && p.to_string_lossy().contains(&filter))
        .collect();
    cases.sort();
    std::panic::set_hook(Box::new(|_| {}));
    let (mut passed, mut kinds) = (0, BTreeMap::<String, usize>::new());
    for case in &cases {
        let run = catch_unwind(AssertUnwindSafe(|| run_case(case)));
        let outcome = run.unwrap_or_else(|p| {
            let text = p.downcast_ref::<String>().cloned();
            let text = text.or_else(|| p.downcast_ref::<&str>().map(|s| s.to_string()));
            Err(format!("PANIC {}", text.unwrap_or_default()))
        });
        match outcome {
            Ok(()) => passed += 1,
            Err(why) => {
                let name = case.file_name().unwrap_or_default().to_string_lossy();
                println!("{name}: {}", why.replace('\n', " | "));
                let kind = why.split_whitespace().next().unwrap_or("").to_string();
                *kinds.entry(kind).or_default() += 1;
            }
        }
    }
    println!("{passed} of {} pass; {kinds:?}", cases.len());
}

fn run_case(case: &Path) -> Result<(), String> {
    let model =
        load(case.join("model.onnx"), &Budget::default()).map_err(|e| format!("LOAD {e}"))?;
    let sets = std::fs::read_dir(case).map_err(|e| e.to_string())?;
    let mut sets: Vec<PathBuf> = sets
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.is_dir())
        .collect();
    sets.sort();
    for set in sets {
        let required: Vec<String> = model.required_inputs().map(|i| i.name.clone()).collect();
        let mut options = ImportOptions::default();
        let mut inputs = Vec::new();
        for (k, name) in required.iter().enumerate() {
            let tensor = read_tensor(&set.join(format!("input_{k}.pb")))?;
            let shape = tensor.shape.iter().map(|n| *n as i64).collect();
            options.input_shapes.insert(name.clone(), shape);
            options.specialise.insert(name.clone(), tensor.clone());
            inputs.push(tensor);
        }
        let imported = import(&model, &options).map_err(|e| format!("IMPORT {e}"))?;
        let outputs = eval_graph(&imported.graph, &inputs).map_err(|e| format!("EVAL {e}"))?;
        for (k, found) in outputs.iter().enumerate() {
            let want = read_tensor(&set.join(format!("output_{k}.pb")))?;
            compare(found, &want).map_err(|e| format!("WRONG output {k}: {e}"))?;
        }
    }
    Ok(())
}

/// A tensor message, decoded by wrapping it into a model.
fn read_tensor(path: &Path) -> Result<Tensor, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("DATA {}: {e}", path.display()))?;
    let tensor = TensorProto::decode(&bytes[..]).map_err(|e| format!("DATA {e}"))?;
    let opset = OperatorSetIdProto {
        version: 20,
        ..Default::default()
    };
    let model = ModelProto {
        ir_version: 9,
        opset_import: vec![opset],
        graph: Some(GraphProto {
            name: "tensor".into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let empty =
        load_bytes(model.encode_to_vec(), &Budget::default()).map_err(|e| format!("DATA {e}"))?;
    let data = empty
        .tensor(&tensor, "data")
        .map_err(|e| format!("DATA {e}"))?;
    ir_tensor(&data, "data").map_err(|e| format!("DATA {e}"))
}

fn compare(found: &Tensor, want: &Tensor) -> Result<(), String> {
    if (found.dtype, &found.shape) != (want.dtype, &want.shape) {
        return Err(format!("found {found:?}, want {want:?}"));
    }
    let (a, b) = match (found.to_wide(), want.to_wide()) {
        (Wide::Int(a), Wide::Int(b)) => {
            let k = (0..a.len()).find(|k| a[*k] != b[*k]);
            return k.map_or(Ok(()), |k| Err(format!("[{k}] is {}, want {}", a[k], b[k])));
        }
        _ => (found.to_f64(), want.to_f64()),
    };
    for (k, (x, y)) in a.iter().zip(&b).enumerate() {
        let near = (x - y).abs() <= ATOL + RTOL * y.abs();
        if !near && x != y && !(x.is_nan() && y.is_nan()) {
            return Err(format!("[{k}] is {x}, want {y} ({})", found.dtype));
        }
    }
    Ok(())
}
