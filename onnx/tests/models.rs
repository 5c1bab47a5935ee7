//! Every downloaded model is imported, with bound and with symbolic dimensions.
//!
//! The models are not part of the repository: without them the test prints a note and passes.
use std::path::PathBuf;

use tensmith_ir::graph::verify_graph;
use tensmith_onnx::import::{ImportOptions, KeepSymbolic, import};
use tensmith_onnx::{Budget, load};

fn models() -> Vec<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../models");
    let folder = std::env::var("TENSMITH_MODELS").unwrap_or_else(|_| default.into());
    let entries = std::fs::read_dir(&folder).into_iter().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "onnx"))
        .collect();
    found.sort();
    if found.is_empty() {
        println!("no models in {folder}: `cargo xtask models` fetches them");
    }
    found
}

fn import_all(options: &ImportOptions) {
    let mut failed = Vec::new();
    for path in models() {
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let model = load(&path, &Budget::default()).expect("a downloaded model loads");
        match import(&model, options) {
            Ok(imported) => {
                if let Err(error) = verify_graph(&imported.graph) {
                    failed.push(format!("{name}: {error:?}"));
                }
            }
            Err(error) => failed.push(format!("{name}: {error}")),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn models_import_with_default_dimensions() {
    import_all(&ImportOptions::default());
}

#[test]
fn models_import_with_a_symbolic_batch() {
    let names = ["batch", "N", "n", "batch_size"];
    import_all(&ImportOptions {
        keep_symbolic: KeepSymbolic::Names(names.map(String::from).into()),
        ..ImportOptions::default()
    });
}
