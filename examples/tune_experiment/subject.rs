//! A model with inputs.
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use tensmith::files::read_npz;
use tensmith::{Imported, LoadOptions, Model, Options, Tensor, TensorView};

/// The folder of the checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn models() -> PathBuf {
    let named = std::env::var_os("TENSMITH_MODELS");
    named.map_or_else(|| root().join("models"), PathBuf::from)
}

/// The file of a model.
pub fn model_file(name: &str) -> PathBuf {
    models().join(format!("{name}.onnx"))
}

/// The file of its inputs.
pub fn inputs_file(name: &str) -> PathBuf {
    models().join(format!("cases/{name}/seed1/inputs.npz"))
}

/// A model that can be compiled and run.
pub struct Subject {
    /// The model as a graph.
    pub imported: Imported,
    /// How it is compiled, untuned.
    pub options: Options,
    tensors: Vec<Tensor>,
}

impl Subject {
    /// Reads a model of the models folder and its inputs.
    pub fn load(name: &str, threads: usize) -> Result<Subject> {
        let model = Model::load(model_file(name), &LoadOptions::default())
            .with_context(|| format!("{name}: `cargo xtask models` makes the models"))?;
        let mut options = Options {
            threads: Some(threads),
            ..Options::default()
        };
        let mut inputs = read_npz(&inputs_file(name))?;
        let imported = model.import_for(&inputs, &mut options)?;
        let tensor = |input: &String| {
            let found = inputs.remove(input);
            found.with_context(|| format!("{name}: no input `{input}`"))
        };
        let tensors = imported.order.iter().map(tensor).collect::<Result<_>>()?;
        Ok(Subject {
            imported,
            options,
            tensors,
        })
    }

    /// Its inputs in the model's order.
    pub fn inputs(&self) -> Vec<TensorView<'_>> {
        self.tensors.iter().map(Tensor::view).collect()
    }
}
