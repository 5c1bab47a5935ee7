//! Model files to checked models.

use std::fs::File;
use std::path::Path;

use bytes::Bytes;
use prost::Message as _;
use rustix::fs::{Mode, OFlags};

use crate::budget::{Budget, within};
use crate::check::Checker;
use crate::error::{OnnxError, Result};
use crate::external::{ExternalFiles, file_bytes};
use crate::inline::inline_functions;
use crate::model::{LoadedModel, opsets_of};
use crate::order::sort_nodes;
use crate::proto::ModelProto;
use crate::scan::scan;
use crate::tensor::TensorStore;
use crate::unknown::read_minus_one_as_unknown;

/// Reads, decodes and checks the model file at `path`; external tensors are looked up beneath its
/// folder.
///
/// Large files are mapped, so the file must not be truncated while the model is in use.
///
/// Errors: every kind of [`OnnxError`]; never a panic, and never more than `budget` grants.
pub fn load(path: impl AsRef<Path>, budget: &Budget) -> Result<LoadedModel> {
    let path = path.as_ref();
    // Without NONBLOCK, opening a named pipe would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| OnnxError::Io {
        path: path.to_owned(),
        source: errno.into(),
    })?;
    let bytes = file_bytes(File::from(fd), path, budget.file_bytes, "file_bytes")?;
    let external = ExternalFiles::beside(path, budget)?;
    decode(bytes, external, budget)
}

/// Decodes and checks a model in memory, whose tensors must all be inside it.
///
/// Errors: as [`load`].
pub fn load_bytes(bytes: impl Into<Bytes>, budget: &Budget) -> Result<LoadedModel> {
    let bytes = bytes.into();
    let len = bytes.len() as u64;
    within(
        len,
        budget.file_bytes,
        "bytes of file",
        "file_bytes",
        || "model in memory".into(),
    )?;
    decode(bytes, ExternalFiles::none(budget), budget)
}

fn decode(bytes: Bytes, external: ExternalFiles, budget: &Budget) -> Result<LoadedModel> {
    if bytes.is_empty() {
        let help = "the file was not written or not fetched: export or download it again";
        return Err(OnnxError::invalid_help("model file", "it is empty", help));
    }
    scan(&bytes, budget)?;
    let mut model = ModelProto::decode(bytes).map_err(|error| {
        let help = "the file is damaged or is not an ONNX model: download or export it again";
        OnnxError::invalid_help("model file", error.to_string(), help)
    })?;
    let opsets = opsets_of(&model)?;
    let unknown = read_minus_one_as_unknown(&mut model);
    let sorted = sort_nodes(&mut model);
    let Some(mut graph) = model.graph.take() else {
        return Err(OnnxError::invalid("model", "it has no graph"));
    };
    let store = TensorStore::new(external, budget.clone());
    for function in &model.functions {
        Checker::new(&store, budget).function(function)?;
    }
    Checker::new(&store, budget).main_graph(&graph)?;
    let functions = std::mem::take(&mut model.functions);
    if inline_functions(&mut graph, &functions, budget)? > 0 {
        Checker::new(&store, budget).main_graph(&graph)?;
    }
    let mut loaded = LoadedModel::new(model, graph, opsets, &functions, store);
    if unknown > 0 {
        loaded.note(format!(
            "{unknown} declared dimensions of -1 are read as unknown"
        ));
    }
    if sorted > 0 {
        loaded.note(format!(
            "{sorted} graphs whose nodes were not in topological order are sorted"
        ));
    }
    Ok(loaded)
}
