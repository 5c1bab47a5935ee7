//! Models as files hold them.
use crate::compile;
use crate::convert::{to_ir, to_runtime};
use crate::error::{Error, Result};
use crate::executable::Executable;
use crate::files::Named;
use crate::options::{LoadOptions, Options};
use std::collections::BTreeMap;
use std::path::Path;
use tensmith_ir::graph::{Graph, ValueId};
use tensmith_ir::plan::Plan;
use tensmith_ir::tensor as ir;
use tensmith_onnx::import::{DIM_MAX, ImportOptions, KeepSymbolic, SPECIALISE_ELEMENTS, import};
use tensmith_onnx::proto::dimension;
use tensmith_onnx::{LoadedModel, OnnxError};

/// A checked model.
#[derive(Debug)]
pub struct Model {
    loaded: LoadedModel,
}

/// A model as a graph.
#[derive(Debug)]
pub struct Imported {
    /// What is computed.
    pub graph: Graph,
    /// What the model's names stand for, as far as an output needs it. Several may stand for one
    /// value.
    pub names: BTreeMap<String, ValueId>,
    /// What a user should know: dimensions that were chosen, inputs that were fixed.
    pub notes: Vec<String>,
    /// Inputs that the graph was specialised for, and their values.
    pub fixed: Vec<(String, ir::Tensor)>,
    /// The names of the model's inputs, in order.
    pub order: Vec<String>,
}

impl Model {
    /// Reads and checks a model file. Large files are mapped: do not truncate them while the
    /// model is in use.
    ///
    /// Errors: the file cannot be read, is invalid, or asks for more than the budget grants.
    pub fn load(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Self> {
        let loaded = tensmith_onnx::load(path, &options.budget)?;
        Ok(Model { loaded })
    }

    /// Reads and checks a model in memory.
    ///
    /// Errors: as [`Model::load`]; tensors outside the file.
    pub fn from_bytes(bytes: impl Into<bytes::Bytes>, options: &LoadOptions) -> Result<Self> {
        let loaded = tensmith_onnx::load_bytes(bytes, &options.budget)?;
        Ok(Model { loaded })
    }

    /// The checked file.
    pub fn loaded(&self) -> &LoadedModel {
        &self.loaded
    }

    /// The names of the inputs that a caller supplies, in order.
    pub fn input_names(&self) -> Vec<String> {
        let inputs = self.loaded.required_inputs();
        inputs.map(|i| i.name.clone()).collect()
    }

    /// The names of the dimensions that a caller can bind: those of the inputs, and
    /// `INPUT_AXIS` for dimensions without a name.
    pub fn dimension_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for input in self.loaded.required_inputs() {
            let Some((_, Some(dims))) = input.tensor_type() else {
                continue;
            };
            for (axis, dim) in dims.iter().enumerate() {
                let name = match &dim.value {
                    Some(dimension::Value::Extent(_)) => continue,
                    Some(dimension::Value::Symbol(name)) if !name.is_empty() => name.clone(),
                    _ => format!("{}_{axis}", input.name),
                };
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// Errors: a dimension that the model does not have, or that is too large.
    fn check_dims(&self, options: &Options) -> Result<()> {
        if let Some((name, n)) = options.dims.iter().find(|(_, n)| **n > DIM_MAX) {
            return Err(Error::Usage(format!(
                "dimension `{name}` is bound to {n}: bind it to {DIM_MAX} at most"
            )));
        }
        let known = self.dimension_names();
        // Inputs of unknown rank may have any dimension.
        let mut inputs = self.loaded.required_inputs();
        if inputs.any(|i| i.tensor_type().is_none_or(|(_, shape)| shape.is_none())) {
            return Ok(());
        }
        let kept = match &options.symbolic {
            KeepSymbolic::Names(names) => Some(names),
            _ => None,
        };
        let mut asked = options.dims.keys().chain(kept.into_iter().flatten());
        match asked.find(|name| !known.contains(name)) {
            None => Ok(()),
            Some(name) if known.is_empty() => Err(Error::Usage(format!(
                "there is no dimension `{name}`: all dimensions of the model's inputs are fixed"
            ))),
            Some(name) => Err(Error::Usage(format!(
                "there is no dimension `{name}`; the model has: {}",
                known.join(", ")
            ))),
        }
    }

    /// The model as a graph.
    ///
    /// Errors: everything in it that is not supported; dimensions that contradict each other.
    pub fn import(&self, options: &Options) -> Result<Imported> {
        self.check_dims(options)?;
        let shapes = options.input_shapes.iter().map(|(name, shape)| {
            let shape = shape.iter().map(|d| *d as i64).collect();
            (name.clone(), shape)
        });
        let settings = ImportOptions {
            dims: options.dims.clone(),
            keep_symbolic: options.symbolic.clone(),
            max_dims: options.max_dims.clone(),
            input_shapes: shapes.collect(),
            specialise: options.specialise.clone(),
            ..ImportOptions::default()
        };
        let imported = import(&self.loaded, &settings)?;
        Ok(Imported {
            graph: imported.graph,
            names: imported.names,
            notes: imported.notes,
            fixed: imported.specialised,
            order: self.input_names(),
        })
    }

    /// The model as a graph for given inputs, whose shapes bind dimensions. Where an op needs a
    /// value while compiling, those of small integer inputs are taken, and if that is not enough,
    /// of small inputs of any type. `options` then holds what was taken from the inputs.
    ///
    /// Errors: as [`Model::import`].
    pub fn import_for(&self, inputs: &Named, options: &mut Options) -> Result<Imported> {
        for (name, tensor) in inputs {
            let shape = tensor.shape().to_vec();
            options.input_shapes.insert(name.clone(), shape);
        }
        let small = inputs.iter();
        let small = small.filter(|(_, t)| t.element_count() <= SPECIALISE_ELEMENTS);
        let (floats, integers): (Vec<_>, Vec<_>) = small
            .map(|(name, tensor)| (name.clone(), to_ir(tensor.view())))
            .partition(|(_, tensor)| tensor.dtype.is_float());
        options.specialise.extend(integers);
        match self.import(options) {
            Err(Error::Model(OnnxError::Unsupported { .. })) if !floats.is_empty() => {
                options.specialise.extend(floats);
                self.import(options)
            }
            result => result,
        }
    }

    /// Compiles the model for this process.
    ///
    /// Errors: as [`Model::import`]; an unknown target; memory ends.
    pub fn compile(&self, options: &Options) -> Result<Executable> {
        self.import(options)?.compile(options)
    }
}

impl Imported {
    /// Compiles the graph for this process.
    ///
    /// Errors: an unknown target; memory ends; a defect of the compiler.
    pub fn compile(&self, options: &Options) -> Result<Executable> {
        self.compile_plan(&compile::plan(&self.graph, options)?, options)
    }

    /// Compiles a plan of the graph for this process.
    ///
    /// Errors: as [`Imported::compile`].
    pub fn compile_plan(&self, plan: &Plan, options: &Options) -> Result<Executable> {
        let fixed = self.fixed.iter();
        let fixed = fixed.map(|(name, value)| Ok((name.clone(), to_runtime(value)?)));
        let fixed = fixed.collect::<Result<Vec<_>>>()?;
        compile::compile_plan(plan, options, fixed, &self.order)
    }
}
